"""Stores: their records and credentials, what is mapped to and live in each, and who is publishing to it.

A store's credentials are one secret, written by the API and read by Publish alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from pynamodb.exceptions import DoesNotExist, TransactWriteError, UpdateError
from pynamodb.transactions import TransactWrite

from lookbook import shapes
from lookbook.errors import ConflictError, NotFoundError
from lookbook.options import STORE_ID
from lookbook.runs import dollars
from lookbook.tables import ALL_STORES, CONDITION_FAILED, Publishing, Store, Usage, connection
from lookbook.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pynamodb.expressions.update import Action

# scrapes/uploads/ is where the command uploads scrapes to, so no store can be called so.
RESERVED_IDS = frozenset({"uploads"})
DOMAIN = re.compile(r"^[a-z0-9][a-z0-9-]*\.myshopify\.com$")
# As long as Publish may run (template.yaml), so that none outlives its lease. One that has died holds up the next run
# for so long, if that run's Finish could not give the lease back.
LEASE_SECONDS = 300.0
COUNTED = (
    *("published", "unchanged", "taken_out", "failed", "not_mapped", "without_images", "removed", "not_reached"),
    *("images_added", "images_removed", "images_generated", "images_reused", "throttled"),
)
SUMMED = (*COUNTED, "saved_microusd", "saved_work_ms", "points")


def sort_key(store_id: str) -> str:
    return f"store#{store_id}"


def secret_id(prefix: str, store_id: str) -> str:
    return f"{prefix}{store_id}"


# ---------------------------------------------------------------------- their records


def get(store_id: str) -> Store:
    """Return a store, read consistently, or raise NotFoundError."""
    if STORE_ID.match(store_id):
        try:
            return Store.get(ALL_STORES, sort_key(store_id), consistent_read=True)
        except DoesNotExist:
            pass
    raise NotFoundError(f"There is no store {store_id[:40]}. Add it with: lookbook stores add {store_id[:40]}")


def every() -> list[Store]:
    """Return all stores, by id: one Query."""
    return [each for each in Store.query(ALL_STORES) if isinstance(each, Store)]


def id_of(store: Store) -> str:
    return str(store.sort_key.removeprefix("store#"))


def put(store_id: str, *, name: str, domain: str, credentials: str, now: datetime) -> Store:
    """Write a store's record, or change it; its counters stay. `credentials` says of which kind they are."""
    store = Store(ALL_STORES, sort_key(store_id))
    moment = iso(now)
    store.update(
        [
            Store.kind.set(Store),
            Store.name.set(name),
            Store.domain.set(domain),
            Store.credentials.set(credentials),
            Store.created_at.set(Store.created_at | moment),
            Store.updated_at.set(moment),
            *(getattr(Store, column).set(getattr(Store, column) | 0) for column in _COUNTERS),
        ]
    )
    return store


_COUNTERS = ("images_generated", "images_reused", "saved_microusd", "saved_work_ms")


# ---------------------------------------------------------------------- who publishes


def lease(store_id: str, holder: str, now: float) -> bool:
    """Take, or renew, the right to publish to a store, which one run has at a time; False if another one has it.

    So that two runs never add the same picture, and calls to a shop are paced in one place.
    """
    free = Store.leased_by.does_not_exist() | (Store.leased_by == holder) | (Store.leased_until < now)
    try:
        Store(ALL_STORES, sort_key(store_id)).update(
            [Store.leased_by.set(holder), Store.leased_until.set(now + LEASE_SECONDS)],
            condition=Store.domain.exists() & free,
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False
    return True


def release(store_id: str, holder: str) -> None:
    """Give the right to publish up, if this run still has it."""
    try:
        Store(ALL_STORES, sort_key(store_id)).update(
            [Store.leased_by.remove(), Store.leased_until.remove()], condition=Store.leased_by == holder
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise


# ---------------------------------------------------------------------- mappings and usages


def usages(store_id: str, *, limit: int | None = None, start: dict[str, Any] | None = None) -> Any:
    """Return the store's usages by product id, from its index: a page of them, or all."""
    return Usage.by_store.query(store_id, limit=limit, last_evaluated_key=start)


def map_product(usage: Usage | None, store_id: str, product_id: str, shop_product_id: str, now: datetime) -> Usage:
    """Say which product of the shop a product is. What was live at another one has to go from there."""
    actions: list[Action] = [
        Usage.kind.set(Usage),
        Usage.store_id.set(store_id),
        Usage.shop_product_id.set(shop_product_id),
        Usage.mapped_at.set(iso(now)),
        Usage.status.set("mapped"),
        Usage.library_seen.remove(),
        Usage.reason.remove(),
    ]
    if usage is not None:
        gone = [*(usage.old_media or []), *(entry["media_id"] for entry in usage.media or [])]
        actions += [Usage.media.set([]), Usage.old_media.set(gone)]
    mapped = Usage(product_id, sort_key(store_id))
    mapped.update(actions)
    return mapped


def show(store: Store) -> shapes.Store:
    """Return a store as the API answers it: never its credentials. US dollars, seconds."""
    generated, reused = int(store.images_generated or 0), int(store.images_reused or 0)
    return {
        "store_id": id_of(store),
        "name": store.name,
        "domain": store.domain,
        "credentials": store.credentials,
        "created_at": store.created_at,
        "updated_at": store.updated_at,
        "published_at": store.published_at,
        "images_generated": generated,
        "images_reused": reused,
        "reuse_rate": round(reused / (reused + generated), 4) if reused + generated else None,
        "saved_usd": dollars(store.saved_microusd),
        "saved_work_seconds": (store.saved_work_ms or 0) / 1000,
    }


def show_usage(usage: Usage) -> shapes.Usage:
    """Return a usage as the API answers it."""
    return {
        "product_id": usage.product_id,
        "store_id": usage.store_id,
        "shop_product_id": usage.shop_product_id,
        "status": usage.status,
        "reason": usage.reason,
        "mapped_at": usage.mapped_at,
        "synced_at": usage.synced_at,
        "images": list(usage.media or []),
    }


# ---------------------------------------------------------------------- a run's progress with its stores


def publishings(run_id: str) -> list[Publishing]:
    """Return how far a run is with each of its stores, read consistently."""
    found = Publishing.query(run_id, Publishing.sort_key.startswith("store#"), consistent_read=True)
    return [each for each in found if isinstance(each, Publishing)]


def show_publishing(each: Publishing) -> shapes.RunInStore:
    """Return a run's progress with a store as the API answers it."""
    counts = cast("shapes.StoreCounts", {name: int(getattr(each, name) or 0) for name in COUNTED})
    return {
        "store_id": each.store_id,
        "done": each.finished_at is not None,
        "reason": each.reason,
        **counts,
        "points": round(float(each.points or 0), 1),
        "saved_usd": dollars(each.saved_microusd),
        "problems": each.problems or [],
    }


def settle(each: Publishing, now: datetime) -> None:
    """Add what a run has published to a store to the store's counters, once."""
    actions = [getattr(Store, column).add(int(getattr(each, column) or 0)) for column in _COUNTERS]
    if each.published:
        actions.append(Store.published_at.set(iso(now)))
    try:
        with TransactWrite(connection=connection()) as transaction:
            transaction.update(
                each,
                actions=[Publishing.settled_at.set(iso(now))],
                condition=Publishing.settled_at.does_not_exist(),
            )
            store = Store(ALL_STORES, sort_key(each.store_id))
            transaction.update(store, actions=actions, condition=Store.domain.exists())
    except TransactWriteError as error:
        codes = {reason.code for reason in error.cancellation_reasons if reason is not None}
        if "ConditionalCheckFailed" not in codes:
            raise  # else it is settled already, or the store has been removed meanwhile


def check_exist(store_ids: list[str]) -> None:
    """Raise NotFoundError for the first of these stores that there is none of."""
    for store_id in store_ids:
        get(store_id)


def live_products(store_id: str) -> Iterator[Usage]:
    """Yield the store's usages that have pictures in the shop."""
    yield from (usage for usage in usages(store_id) if isinstance(usage, Usage) and (usage.media or usage.old_media))


def refuse_reserved(store_id: str) -> None:
    if store_id in RESERVED_IDS:
        raise ConflictError(f"A store cannot be called {store_id}; choose another id.")
