"""Ingest's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.ingest import ingest
from lookbook.logging import logger
from lookbook.settings import MethodSettings
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def settings() -> MethodSettings:
    found = MethodSettings.from_environment()
    bind(found)
    return found


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    planned = ingest(event["input"], event["execution_arn"], settings=settings(), now=now())
    logger.info("run planned", extra={"run_id": planned["run"]["run_id"], "next": planned["next"]})
    return planned
