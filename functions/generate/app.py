"""Generate's handler."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from lookbook import aws
from lookbook.generate import Generator
from lookbook.gpu import GpuEndpoint
from lookbook.logging import logger
from lookbook.settings import GenerateSettings
from lookbook.state import ProductState
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def generator() -> Generator:
    settings = GenerateSettings.from_environment()
    bind(settings)
    return Generator(
        GpuEndpoint(settings.gpu_endpoint_url, partial(aws.secret, settings.gpu_endpoint_key_secret)),
        settings.bucket,
        settings.gpu_usd_per_second,
        settings.allow_private_urls,
    )


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    state = generator().advance(ProductState.model_validate(event), now().timestamp(), seconds_left)
    logger.info("product advanced", extra=state.ids())
    return state.model_dump(mode="json")
