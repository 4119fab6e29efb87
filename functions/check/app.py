"""Check's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.check import check
from lookbook.logging import logger
from lookbook.settings import CheckSettings
from lookbook.state import ProductState
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def settings() -> CheckSettings:
    found = CheckSettings.from_environment()
    bind(found)
    return found


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    told = settings()
    state = check(ProductState.model_validate(event), now(), told.defer_after_seconds)
    logger.info("product checked", extra=state.ids())
    return state.model_dump(mode="json")
