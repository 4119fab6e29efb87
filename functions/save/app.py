"""Save's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.logging import logger
from lookbook.providers.registry import all_of
from lookbook.save import Saver
from lookbook.settings import MethodSettings
from lookbook.state import ProductState
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def saver() -> Saver:
    settings = MethodSettings.from_environment()
    bind(settings)
    return Saver(all_of(settings), settings.bucket)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    state = saver().save(ProductState.model_validate(event), now())
    logger.info("product saved", extra=state.ids())
    return state.model_dump(mode="json")
