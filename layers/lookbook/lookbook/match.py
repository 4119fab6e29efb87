"""Match: finds which product of a shop one of the library is, by SKU, barcode or handle. It changes nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from lookbook import aws, mapping, stores
from lookbook.tables import ALL_PRODUCTS, RUN, Product, Run, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from lookbook.shopify import Shop, Variant

WAYS = ("sku", "barcode", "handle")
COLUMNS = [*mapping.HEADER, "Title", "Shopify Title", "Matched By"]
SPARE_SECONDS = 45.0  # for a page of 250 variants, which has to wait for 502 points, and for writing what was found
# What CJ appends to a product's SKU for a variant: `-Black-M`, or two digits and two letters.
_OF_A_VARIANT = re.compile(r"(-.+|\d{2}[A-Z]{2})$")

# By product: by way: the title of each product of the shop that it may be, by id.
Candidates = dict[str, dict[str, dict[str, str]]]


def matches_key(run_id: str) -> str:
    return f"runs/{run_id}/matches.csv"


def match(
    shop: Shop, bucket: str, run_id: str, store_id: str, after: str | None, seconds_left: Callable[[], float]
) -> str | None:
    """Look through the shop's variants after this cursor for products that are not mapped yet.

    Returns the cursor to go on from, if time is up: what was found so far lies in S3. At the end it writes
    runs/<id>/matches.csv, a mapping, counts in the run's plan, and returns None. The library's products are held in
    memory by id and handle.
    """
    usages = [each for each in stores.usages(store_id) if isinstance(each, Usage) and each.status != "removed"]
    mapped = {str(usage.product_id) for usage in usages}
    titles = {str(each.product_id): str(each.title) for each in _products()}
    pairing = Pairing(
        {key: title for key, title in titles.items() if key not in mapped},
        {str(usage.shop_product_id) for usage in usages},
    )
    so_far = f"runs/{run_id}/candidates.json"
    if after is not None:
        pairing.candidates = json.loads(aws.get_object(bucket, so_far))
    for variants, cursor in shop.variant_pages(after):
        pairing.add(variants)
        if cursor is not None and seconds_left() < SPARE_SECONDS:
            aws.s3().put_object(Bucket=bucket, Key=so_far, Body=json.dumps(pairing.candidates).encode())
            return cursor
    found = pairing.pairs()
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for product_id, (shop_product_id, title, way) in sorted(found.items()):
        # A spreadsheet must not take a title for a formula.
        titled = [_plain(titles[product_id]), _plain(title)]
        writer.writerow([product_id, shop_product_id.rpartition("/")[2], *titled, way])
    body = "\N{BOM}".encode() + out.getvalue().encode()
    aws.s3().put_object(Bucket=bucket, Key=matches_key(run_id), Body=body, ContentType="text/csv; charset=utf-8")
    counts = {
        "matched": len(found),
        "ambiguous": len(pairing.candidates) - len(found),
        "not_found": len(titles) - len(mapped & titles.keys()) - len(pairing.candidates),
        "mapped_before": len(mapped),
        "by": {by: sum(each[2] == by for each in found.values()) for by in WAYS},
    }
    Run(run_id, RUN).update([Run.plan.set(counts)])
    return None


class Pairing:
    """Finds for products (titles by id) which of the shop's they may be; those of `held` are taken already."""

    def __init__(self, titles: dict[str, str], held: Collection[str] = ()) -> None:
        self._held = held
        self._by_id = {product_id.lower(): product_id for product_id in titles}
        self._by_handle: dict[str, list[str]] = defaultdict(list)
        for product_id, title in titles.items():
            self._by_handle[handle_of(title)].append(product_id)
        self.candidates: Candidates = {}

    def add(self, variants: Iterable[Variant]) -> None:
        """Look at some of the shop's variants.

        A SKU is a product's id, or that of one of its variants; a handle is its id, or what Shopify makes of its title.
        """
        for variant in variants:
            if variant.shop_product_id in self._held:
                continue
            skus = (variant.sku, _OF_A_VARIANT.sub("", variant.sku))
            for way, texts in (("sku", skus), ("barcode", (variant.barcode,)), ("handle", (variant.handle,))):
                named = next((self._by_id[text.lower()] for text in texts if text.lower() in self._by_id), None)
                if named is not None:
                    self._note(named, way, variant)
            for product_id in self._by_handle.get(variant.handle, ()):
                self._note(product_id, "handle", variant)

    def _note(self, product_id: str, way: str, variant: Variant) -> None:
        ways = self.candidates.setdefault(product_id, {})
        ways.setdefault(way, {})[variant.shop_product_id] = variant.title

    def pairs(self) -> dict[str, tuple[str, str, str]]:
        """Return each product's id in the shop, title there, and by what it was found; never one of several.

        A SKU goes before a barcode, and that before a handle.
        """
        best = {
            product_id: next((way, ways[way]) for way in WAYS if way in ways)
            for product_id, ways in self.candidates.items()
        }
        taken = Counter(shop_product_id for _, several in best.values() for shop_product_id in several)
        found = {}
        for product_id, (way, several) in best.items():
            (shop_product_id, title), *others = several.items()
            if not others and taken[shop_product_id] == 1:
                found[product_id] = (shop_product_id, title, way)
        return found


def handle_of(title: str) -> str:
    """Return the handle that Shopify makes of a title."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _products() -> Iterator[Product]:
    found = Product.by_time.query(ALL_PRODUCTS, attributes_to_get=["product_id", "sort_key", "kind", "title"])
    return (each for each in found if isinstance(each, Product))


def _plain(title: str) -> str:
    return f"'{title}" if title.startswith(("=", "+", "-", "@", "\t")) else title
