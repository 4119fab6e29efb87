"""The HTTP API's handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lookbook.api import respond
from lookbook.api.config import settings
from lookbook.logging import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - the logger's
    settings()
    answer = respond(event)
    logger.info("request", extra={"route": event.get("rawPath"), "status": answer["statusCode"]})
    return answer
