"""The handler of what has been uploaded past the API: EventBridge tells of an object under uploads/."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook import uploads
from lookbook.logging import logger
from lookbook.settings import Settings
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def settings() -> Settings:
    found = Settings.from_environment()
    bind(found)
    return found


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:  # noqa: ARG001 - Lambda passes it
    sent = event["detail"]["object"]
    uploads.accept(sent["key"], sent.get("version-id"), settings().bucket, now())
