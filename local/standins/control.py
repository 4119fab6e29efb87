"""What every stand-in shares: it counts what it charged, fails on request, and is started in one way.

`GET /_charges` lists the charges, `DELETE /_charges` forgets them. `POST /_faults` adds a fault, `GET /_faults` lists
what is left of them, `DELETE /_faults` removes all. `GET /_health` answers 200 when the stand-in is ready.
"""

import argparse
import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

TRANSPORT_KINDS = ("latency", "429", "5xx", "timeout_after_success", "slow_body", "garbage_json")
"""Faults of the connection, which every stand-in has; its service may add kinds of its own."""

_SERVER_ERRORS = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    524: "A timeout occurred",
}
_TRICKLE = 20  # pieces in which a slow body arrives
_TRANSPORT = "standin.transport"  # key of a request's scope


@dataclass
class Fault:
    """A failure that was asked for.

    `count` is how often it will still happen (None: until it is removed), `match` a part of the path or the input it
    needs, `on` the call it hits (None: any). `seconds` and `status` (HTTP) say more where the kind has a use for them.
    """

    kind: str
    count: int | None = None
    seconds: float | None = None
    match: str = ""
    on: str | None = None
    status: int | None = None
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def hits(self, text: str, call: str | None) -> bool:
        return self.match in text and self.on in (None, call)

    def shown(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("kind", "count", "seconds", "match", "on", "status")}


class Control:
    """A stand-in's charges and faults. Used from one event loop only."""

    def __init__(
        self,
        kinds: Sequence[str] = (),
        default_on: Mapping[str, str] | None = None,
        refuse: Callable[[int], Response] | None = None,
    ) -> None:
        """`kinds` are the service's own faults; `default_on` names the call a kind hits if the fault names none.

        `refuse` makes the answer of a `429` or `5xx` fault from its HTTP status, in the service's own words.
        """
        self.charges: list[dict[str, Any]] = []
        self._refuse = refuse or refusal
        self._kinds = (*TRANSPORT_KINDS, *kinds)
        self._default_on = default_on or {}
        self._faults: list[Fault] = []

    def charge(self, charge_id: str, **details: Any) -> dict[str, Any]:
        """Note a charge; the answer may be completed later, in place."""
        charge = {"id": charge_id, "at": time.time(), **details}
        self.charges.append(charge)
        return charge

    def take(self, kinds: Sequence[str], text: str, call: str | None = None) -> Fault | None:
        """The first fault of these kinds that matches `text` (and hits this call), used up once; else nothing."""
        for fault in self._faults:
            if fault.kind in kinds and fault.count != 0 and fault.hits(text, call):
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None

    async def answer(self, call: str, text: str, handle: Callable[[], Awaitable[Response]]) -> Response:
        """What `handle` answers, after and before the connection's faults that are due for this call."""
        if fault := self.take(["latency"], text, call):
            await asyncio.sleep(1 if fault.seconds is None else fault.seconds)
        if self.take(["429"], text, call):
            return self._refuse(429)
        if fault := self.take(["5xx"], text, call):
            return self._refuse(fault.status or 503)
        response = await handle()
        return response if response.status_code >= 400 else self._spoiled(response, text, call)

    def _spoiled(self, response: Response, text: str, call: str) -> Response:
        """A good answer, after the faults that hit it on its way back."""
        if fault := self.take(["timeout_after_success"], text, call):
            return _Late(60 if fault.seconds is None else fault.seconds, fault.status)
        if isinstance(response, StreamingResponse):
            return response
        if self.take(["garbage_json"], text, call):
            return Response(b'{"id": "cut off in the mid', media_type="application/json")
        if fault := self.take(["slow_body"], text, call):
            return _slowly(response, 30 if fault.seconds is None else fault.seconds)
        return response

    def routes(self) -> list[Route]:
        return [
            Route("/_health", self._health, methods=["GET"]),
            Route("/_charges", self._list_charges, methods=["GET"]),
            Route("/_charges", self._forget_charges, methods=["DELETE"]),
            Route("/_faults", self._list_faults, methods=["GET"]),
            Route("/_faults", self._add_fault, methods=["POST"]),
            Route("/_faults", self._remove_faults, methods=["DELETE"]),
        ]

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _list_charges(self, _: Request) -> Response:
        paths = Counter(charge["path"] for charge in self.charges if "path" in charge)
        answer = {"count": len(self.charges), "charges": self.charges}
        return JSONResponse({**answer, "paths": paths} if paths else answer)

    async def _forget_charges(self, _: Request) -> Response:
        self.charges.clear()
        return Response(status_code=204)

    async def _list_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": [fault.shown() for fault in self._faults if fault.count != 0]})

    async def _add_fault(self, request: Request) -> Response:
        try:
            fault = self._read_fault(await request.json())
        except (ValueError, TypeError, AttributeError) as error:
            return JSONResponse({"error": f"no usable fault: {error}"}, 400)
        self._faults.append(fault)
        return JSONResponse(fault.shown(), 201)

    def _read_fault(self, body: dict[str, Any]) -> Fault:
        kind = str(body.get("kind"))
        if kind not in self._kinds:
            raise ValueError(f"kind must be one of {', '.join(self._kinds)}")
        count, seconds = body.get("count"), body.get("seconds")
        return Fault(
            kind,
            count=None if count is None else int(count),
            seconds=None if seconds is None else float(seconds),
            match=str(body.get("match") or ""),
            on=body.get("on") or self._default_on.get(kind),
            status=int(body["status"]) if body.get("status") else None,
        )

    async def _remove_faults(self, _: Request) -> Response:
        for fault in self._faults:
            fault.removed.set()
        self._faults.clear()
        return Response(status_code=204)


def refusal(status: int) -> Response:
    """The answer of a service, or of a proxy before it, that has no words of its own for this HTTP status."""
    if status == 429:
        return JSONResponse({"error": "too many requests"}, 429, headers={"Retry-After": "1"})
    return Response(_SERVER_ERRORS.get(status, "error"), status, media_type="text/html")


class _Late(Response):
    """No answer for a while; then the connection is cut, or a proxy answers in the service's stead (524)."""

    def __init__(self, seconds: float, status: int | None) -> None:
        super().__init__()
        self._seconds = seconds
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(self._seconds)
        if self._status:
            await refusal(self._status)(scope, receive, send)
            return
        scope[_TRANSPORT].abort()
        await asyncio.sleep(0)  # the server learns of the loss, and does not try to answer


def _slowly(response: Response, seconds: float) -> Response:
    """The same answer, its body spread over some seconds."""
    body = bytes(response.body)
    size = max(1, -(-len(body) // _TRICKLE))

    async def trickle() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            await asyncio.sleep(seconds / _TRICKLE)
            yield body[start : start + size]

    return StreamingResponse(trickle(), response.status_code, dict(response.headers))


def parser(description: str) -> argparse.ArgumentParser:
    """The command line that all stand-ins share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (the default) takes a free one")
    return made


def serve(app: ASGIApp, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT. The first line on stdout says where."""

    async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # ASGI has no way to cut a connection; uvicorn's `send` is a method of what holds it.
            scope[_TRANSPORT] = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn has it, ASGI does not say so
        await app(scope, receive, send)

    # Only to sockets that name TCP does asyncio give TCP_NODELAY; without it every answer takes 40 ms longer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            with_transport,
            http="h11",
            lifespan="on",
            log_level="error",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listener])
