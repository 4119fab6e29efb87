"""Generate's handler."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.generate import Generator
from lookbook.logging import logger
from lookbook.providers.registry import all_of
from lookbook.settings import MethodSettings
from lookbook.state import ProductState
from lookbook.tables import bind

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def generator() -> Generator:
    settings = MethodSettings.from_environment()
    bind(settings)
    return Generator(all_of(settings), settings.bucket, settings.allow_private_urls)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    state = generator().advance(ProductState.model_validate(event), time.time, seconds_left)
    logger.info("product advanced", extra=state.ids())
    return state.model_dump(mode="json")
