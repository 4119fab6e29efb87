"""Sync: what Ingest does for a run that only publishes to a store, or takes pictures out: maps and lists products."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from lookbook import aws, library, mapping, stores
from lookbook.errors import InputError
from lookbook.mapping import Pair
from lookbook.options import StoreId
from lookbook.plan import LOOKED_UP_AT_ONCE, MAX_PROBLEMS, PlanLine, dump
from lookbook.tables import PRODUCT, Product, Usage

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO


NO_IMAGES = "It is mapped, but the library has no images of it yet; run the scrape that it is in."


class SyncOptions(BaseModel):
    """What a sync, an unpublish or a match was asked to do."""

    model_config = ConfigDict(extra="forbid")

    store: StoreId
    changed: bool = Field(False, description="Only products that are not in the shop as the library has them.")
    mapping: bool = Field(False, description="A mapping was given: only its products.")
    publish: bool = Field(True, description="False: only map.")
    products: list[str] | None = Field(None, max_length=100, description="Only these products.")


@dataclass(slots=True)
class Listed:
    """How many products a run is about, as Ingest writes it to the run."""

    products: int = 0
    rejected: int = 0
    reused: int = 0
    images_reused: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Product:
    index: int
    product_id: str
    usage: Usage | None = None
    reason: str = ""


def plan(options: SyncOptions, action: str, bucket: str, key: str, folder: Path, now: datetime) -> Listed:
    """Apply the mapping, if there is one, and write the run's plan.jsonl into `folder`. Raises InputError."""
    store = stores.get(options.store)
    usages = {str(each.product_id): each for each in stores.usages(options.store) if isinstance(each, Usage)}
    if not usages and not options.mapping and action == "publish":
        raise InputError(
            f"No product is mapped to the store {options.store} yet. Map them with: lookbook sync {options.store} "
            f"MAPPING.csv, or: lookbook stores match {options.store}"
        )
    products: Iterable[_Product]
    if options.mapping:
        products = _mapped(mapping.parse(aws.get_object(bucket, key)), usages, options.store, now)
    elif options.products is not None:
        products = _named(options, usages)
    else:
        products = (_Product(n, product_id, usages[product_id]) for n, product_id in enumerate(sorted(usages)))
    if action == "unpublish":
        products = (each for each in products if each.reason or _may_have_media(each.usage))
    listed = Listed()
    with (folder / "plan").open("wb") as lines:
        left = iter(products)
        while batch := list(itertools.islice(left, LOOKED_UP_AT_ONCE)):
            _list(batch, options, action, store.domain, listed, lines)
    return listed


def _mapped(pairs: Iterator[Pair], usages: dict[str, Usage], store_id: str, now: datetime) -> Iterator[_Product]:
    """Write what the mapping says anew; a product that is mapped so already costs no write."""
    lines = list(pairs)
    held = {str(usage.shop_product_id): product_id for product_id, usage in usages.items()}
    taken = _taken(lines, held)
    for pair in lines:
        usage = usages.get(pair.product_id)
        reason = pair.reason
        if not reason and pair.product_id in taken:
            other = held[pair.shop_product_id]
            reason = f"The Shopify product is mapped to {other} already; two products cannot be one in the shop."
        if not reason and (usage is None or usage.shop_product_id != pair.shop_product_id or usage.status == "removed"):
            usage = stores.map_product(usage, store_id, pair.product_id, pair.shop_product_id, now)
        yield _Product(pair.line, pair.product_id, usage, reason and f"Line {pair.line}: {reason}")


def _taken(pairs: list[Pair], held: dict[str, str]) -> set[str]:
    """Return the products that cannot be mapped as given, as another one holds the Shopify product and keeps it."""
    asked = {pair.product_id: pair.shop_product_id for pair in pairs if not pair.reason}
    wanted_by = {shop_product_id: product_id for product_id, shop_product_id in asked.items()}
    holds = {product_id: shop_product_id for shop_product_id, product_id in held.items()}
    taken: set[str] = set()
    for product_id, shop_product_id in asked.items():
        loser: str | None = product_id
        if held.get(shop_product_id, product_id) in asked:
            continue
        while loser is not None and loser not in taken:  # it keeps what it holds, which another one may want
            taken.add(loser)
            loser = wanted_by.get(holds.get(loser, ""))
    return taken


def _named(options: SyncOptions, usages: dict[str, Usage]) -> Iterator[_Product]:
    for number, product_id in enumerate(dict.fromkeys(options.products or ())):
        reason = "" if product_id in usages else f"It is not mapped to a product of the store {options.store}."
        yield _Product(number, product_id, usages.get(product_id), reason)


def _list(
    batch: list[_Product], options: SyncOptions, action: str, domain: str, listed: Listed, lines: BinaryIO
) -> None:
    """Decide about up to a hundred products with one read of the library."""
    keys = [(each.product_id, PRODUCT) for each in batch if not each.reason]
    found = {str(each.product_id): each for each in Product.batch_get(keys, consistent_read=True)} if keys else {}
    for each in batch:
        product = found.get(each.product_id)
        images = len(library.holding(product).variants) if product is not None else 0
        if options.changed and not each.reason and not _is_behind(product, each.usage, domain):
            continue
        lacks = options.publish and action == "publish" and not images and not _has_media(each.usage)
        reason = each.reason or (NO_IMAGES if lacks else "")
        title = product.title if product is not None else ""
        about = {"index": each.index, "product_id": each.product_id, "title": title}
        listed.products += 1
        if reason:
            listed.rejected += 1
            if len(listed.problems) < MAX_PROBLEMS:
                listed.problems.append({**about, "status": "rejected", "reason": reason})
        else:
            listed.reused += 1
            listed.images_reused += images
        decision = "rejected" if reason else "reused"
        lines.write(dump(PlanLine.model_validate({**about, "decision": decision, "reason": reason, "images": images})))


def _has_media(usage: Usage | None) -> bool:
    return usage is not None and bool(usage.media or usage.old_media)


def _may_have_media(usage: Usage | None) -> bool:
    """Whether pictures of ours may be in the shop: what has failed may have put some there and never heard of it."""
    return _has_media(usage) or (usage is not None and usage.status == "failed")


def _is_behind(product: Product | None, usage: Usage | None, domain: str) -> bool:
    """Whether the shop lacks what the library has come to have of a product since it was last brought up to it."""
    if usage is None or product is None:
        return False
    if not product.variants and not _has_media(usage):
        return False
    if usage.status in {"unpublished", "removed"}:
        return False
    return (
        usage.status != "live"
        or usage.domain != domain
        or usage.library_seen != product.updated_at
        or bool(usage.old_media)
    )
