"""Match: finds which product of a shop one of the library is, by SKU, barcode or handle. It changes nothing."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from lookbook import aws, mapping, stores
from lookbook.tables import ALL_PRODUCTS, RUN, Product, Run, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lookbook.shopify import Shop, Variant

WAYS = ("sku", "barcode", "handle")
COLUMNS = [*mapping.HEADER, "Title", "Shopify Title", "Matched By"]


def matches_key(run_id: str) -> str:
    return f"runs/{run_id}/matches.csv"


def match(shop: Shop, bucket: str, run_id: str, store_id: str) -> None:
    """Write runs/<id>/matches.csv, a mapping for the products that are not mapped yet, and count in the run's plan.

    Reads the library's products and the shop's variants once each; both are held in memory by id and handle.
    """
    mapped = {str(usage.product_id) for usage in stores.usages(store_id) if isinstance(usage, Usage)}
    titles = {str(each.product_id): str(each.title) for each in _products()}
    found, ambiguous = pair({key: title for key, title in titles.items() if key not in mapped}, shop.variants())
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for product_id, (variant, way) in sorted(found.items()):
        # A spreadsheet must not take a title for a formula.
        titled = [_plain(titles[product_id]), _plain(variant.title)]
        writer.writerow([product_id, variant.shop_product_id.rpartition("/")[2], *titled, way])
    body = "\N{BOM}".encode() + out.getvalue().encode()
    aws.s3().put_object(Bucket=bucket, Key=matches_key(run_id), Body=body, ContentType="text/csv; charset=utf-8")
    Run(run_id, RUN).update(
        [
            Run.plan.set(
                {
                    "matched": len(found),
                    "ambiguous": ambiguous,
                    "not_found": len(titles) - len(mapped & titles.keys()) - len(found) - ambiguous,
                    "mapped_before": len(mapped),
                    "by": {by: sum(each[1] == by for each in found.values()) for by in WAYS},
                }
            )
        ]
    )


def pair(titles: dict[str, str], variants: Iterable[Variant]) -> tuple[dict[str, tuple[Variant, str]], int]:
    """Return each product's variant and by what it was found (WAYS), and how many could be more than one product.

    SKU goes before barcode, and that before handle: a handle is the product's id, or what Shopify makes of its title.
    """
    by_id = {product_id.lower(): product_id for product_id in titles}
    by_handle: dict[str, set[str]] = defaultdict(set)
    for product_id, title in titles.items():
        by_handle[handle_of(title)].add(product_id)
    candidates: dict[str, dict[str, dict[str, Variant]]] = defaultdict(lambda: defaultdict(dict))
    for variant in variants:
        for way, text in zip(WAYS, (variant.sku, variant.barcode, variant.handle), strict=True):
            if text and (named := by_id.get(text.lower())):
                candidates[named][way][variant.shop_product_id] = variant
        for product_id in by_handle.get(variant.handle, ()):
            candidates[product_id]["handle"][variant.shop_product_id] = variant
    best = {product_id: next((way, ways[way]) for way in WAYS if ways[way]) for product_id, ways in candidates.items()}
    taken = Counter(shop_product_id for _, variants in best.values() for shop_product_id in variants)
    found = {
        product_id: (next(iter(variants.values())), way)
        for product_id, (way, variants) in best.items()
        # one product of ours is one of the shop, and the other way round
        if len(variants) == 1 and taken[next(iter(variants))] == 1
    }
    return found, len(candidates) - len(found)


def handle_of(title: str) -> str:
    """Return the handle that Shopify makes of a title."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _products() -> Iterator[Product]:
    found = Product.by_time.query(ALL_PRODUCTS, attributes_to_get=["product_id", "sort_key", "kind", "title"])
    return (each for each in found if isinstance(each, Product))


def _plain(title: str) -> str:
    return f"'{title}" if title.startswith(("=", "+", "-", "@", "\t")) else title
