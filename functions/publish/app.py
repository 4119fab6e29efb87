"""Publish's handler."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lookbook import aws, shopify, stores
from lookbook.logging import logger
from lookbook.publish import Publisher, PublishTask, try_out
from lookbook.settings import StoreSettings
from lookbook.tables import Store, bind

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def settings() -> StoreSettings:
    found = StoreSettings.from_environment()
    bind(found)
    return found


def open_shop(store: Store) -> shopify.Shop:
    secret = stores.secret_id(settings().store_secrets_prefix, stores.id_of(store))
    return _shop(secret, store.domain, store.updated_at)


@cache
def _shop(secret: str, domain: str, updated_at: str) -> shopify.Shop:  # noqa: ARG001 - changed credentials are new ones
    """Return a shop's client, which keeps its token and its pace while the function is warm."""
    return shopify.Shop(
        domain, settings().shopify_admin_url, lambda: shopify.credentials_from_json(aws.read_secret(secret))
    )


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    settings()
    if "test" in event:
        return try_out(str(event["test"]), open_shop)
    task = PublishTask.model_validate(event)
    then = Publisher(settings(), open_shop).publish(task, seconds_left)
    logger.info("store visited", extra=then.model_dump())
    return then.model_dump()
