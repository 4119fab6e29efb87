"""The Hotmart sync's handler."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from lookbook import aws, hotmart_sync
from lookbook.hotmart import Hotmart
from lookbook.logging import logger
from lookbook.settings import HotmartSettings
from lookbook.tables import bind

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def syncer(function: str) -> hotmart_sync.Syncer:
    """Return the sync, which keeps its token and its pace while the function is warm."""
    settings = HotmartSettings.from_environment()
    bind(settings)
    secret = partial(aws.read_secret, settings.hotmart_secret)
    account = Hotmart(settings.hotmart_auth_url, settings.hotmart_api_url, secret)
    return hotmart_sync.Syncer(settings, account, partial(hotmart_sync.invoke, function))


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    task = hotmart_sync.Task.model_validate(event)
    working = syncer(context.function_name)
    told = working.try_out() if task.test else working.sync(task, context.aws_request_id, seconds_left)
    logger.info("hotmart synced", extra=told)
    return told
