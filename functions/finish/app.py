"""Finish's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.finish import Finisher
from lookbook.logging import logger
from lookbook.providers.registry import all_of
from lookbook.settings import MethodSettings
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def finisher() -> Finisher:
    settings = MethodSettings.from_environment()
    bind(settings)
    return Finisher(settings, all_of(settings))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    ended = finisher().finish(event["state"], event["execution_arn"], now())
    run_id = event["state"].get("run", {}).get("run_id")
    logger.info("pass finished", extra={"run_id": run_id, "next": ended["next"], "reason": ended.get("reason")})
    return ended
