"""The HTTP API's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.api import build
from lookbook.api.config import settings
from lookbook.logging import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def resolver() -> APIGatewayHttpResolver:
    settings()
    return build()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    answer = resolver().resolve(event, context)
    logger.info("request", extra={"route": event.get("rawPath"), "status": answer.get("statusCode")})
    return answer
