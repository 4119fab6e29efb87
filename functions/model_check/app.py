"""The model check's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook.logging import logger
from lookbook.model_check import ModelCheck
from lookbook.settings import MethodSettings
from lookbook.tables import bind
from lookbook.times import now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def model_check() -> ModelCheck:
    settings = MethodSettings.from_environment()
    bind(settings)
    return ModelCheck(settings)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes them
    told = model_check().run(now())
    logger.info("model checked", extra=told)
    return told
