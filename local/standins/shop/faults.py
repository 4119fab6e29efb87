"""Faults that tell shops and operations apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from local.standins.control import TRANSPORT_KINDS, Control, Fault, refusal

_KINDS = ("throttled", "processing_failed", "user_error", "partial")


@dataclass
class ShopFault(Fault):
    """A fault that may hit one shop or one operation only, and say what went wrong."""

    shop: str | None = None
    operation: str | None = None
    code: str | None = None
    message: str | None = None

    def hits(self, text: str, call: str | None) -> bool:
        """Return whether it hits a call that `called` describes."""
        names, _, said = text.partition("\n")
        return super().hits(said, call) and {self.shop, self.operation} - {None} <= set(names.split())


def called(shop: str, operations: Iterable[str] = (), said: str = "") -> str:
    """Return a call as faults see it: the shop and the operations' names in the first line, below it what is said."""
    return f"{' '.join([shop, *operations])}\n{said}"


class ShopControl(Control):
    def __init__(self) -> None:
        super().__init__(_KINDS, dict.fromkeys(TRANSPORT_KINDS, "graphql"), _refuse)

    def take(self, kinds: Sequence[str], text: str, call: str | None = None) -> ShopFault | None:
        fault = super().take(kinds, text, call)
        return fault if isinstance(fault, ShopFault) else None

    def _read_fault(self, body: dict[str, Any]) -> ShopFault:
        named = {name: body.get(name) for name in ("shop", "operation", "code", "message")}
        return ShopFault(**{**vars(super()._read_fault(body)), **named})


def _refuse(status: int) -> Response:
    if status == 429:
        return JSONResponse({"errors": "Exceeded the limit of requests."}, 429, headers={"Retry-After": "2.0"})
    return refusal(status)
