"""Finish's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.finish import finish
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
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    ended = finish(event["state"], event["execution_arn"], bucket=settings().bucket, now=now())
    run_id = event["state"].get("run", {}).get("run_id")
    logger.info("pass finished", extra={"run_id": run_id, "next": ended["next"], "reason": ended.get("reason")})
    return ended
