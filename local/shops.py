"""Shops on the stand-in for Shopify, with the products of a scrape: for the demo, the tests, and to try stores out.

    python -m local.shops one .local/sample.json

opens one.myshopify.com on the local cloud that `make up` has started, and says how to add it as a store.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from local.cloud import ROOT, Cloud
from lookbook import mapping, scrape, stores
from lookbook.match import handle_of

FIRST_NUMBER = 632_910_000
MERCHANTS_BLUE = (214, 224, 234)


@dataclass(frozen=True, slots=True)
class OpenShop:
    """A shop as its owner knows it; `numbers` are its products' by our ids."""

    domain: str
    token: str
    numbers: dict[str, int]

    def mapping(self, product_ids: list[str] | None = None) -> str:
        """Return a mapping as CSV, of all products or of these."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(mapping.HEADER)
        writer.writerows((each, self.numbers[each]) for each in product_ids or self.numbers)
        return out.getvalue()


def open_shop(
    shop_url: str,
    name: str,
    products: list[tuple[str, str]],
    *,
    own_pictures: Mapping[str, str] | None = None,
    **settings: Any,
) -> OpenShop:
    """Make a shop with these products (id, title), each with a picture of the merchant's own.

    `own_pictures` says where that is, by product; others get a plain one. A product has our id as its SKU, as tools
    that import from a supplier leave it.
    """
    domain, token = f"{name}.myshopify.com", f"shpat_{secrets.token_hex(16)}"
    plain, own_pictures = own_picture(), own_pictures or {}
    numbers = {product_id: FIRST_NUMBER + place for place, (product_id, _) in enumerate(products)}
    body = {
        "shop": domain,
        "title": name.replace("-", " ").title(),
        "tokens": [token],
        "products": [
            {
                "id": numbers[product_id],
                "title": title,
                "handle": handle_of(title),
                "variants": [{"sku": product_id}],
                "pictures": [
                    {
                        "base64": fetched(own_pictures[product_id]) if product_id in own_pictures else plain,
                        "filename": "own.jpg",
                        "alt": "In the shop",
                    }
                ],
            }
            for product_id, title in products
        ],
        **settings,
    }
    requests.post(f"{shop_url}/_shops", json=body, timeout=60).raise_for_status()
    return OpenShop(domain, token, numbers)


def look(shop_url: str, shop: OpenShop) -> dict[str, Any]:
    """Return a shop's whole state: its products with their media, its files, points and requests."""
    answer = requests.get(f"{shop_url}/_shops/{shop.domain}", timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def fetched(url: str) -> str:
    """Return what is at an address as base64."""
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return base64.b64encode(answer.content).decode()


def own_picture() -> str:
    """Return a plain picture as base64."""
    out = io.BytesIO()
    Image.new("RGB", (300, 400), MERCHANTS_BLUE).save(out, "JPEG", quality=70)
    return base64.b64encode(out.getvalue()).decode()


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


def main() -> int:
    given = argparse.ArgumentParser(description="Open a shop on the stand-in for Shopify.")
    given.add_argument("name", help="such as one, for one.myshopify.com")
    given.add_argument("scrape", type=Path, help="whose products it sells")
    asked = given.parse_args()
    cloud = Cloud(ROOT / ".local")
    known = cloud.stack() if cloud.alive() else None
    domain = f"{asked.name}.myshopify.com"
    if known is None:
        return _refuse("The local cloud is not running; start it with: make up")
    if not stores.DOMAIN.fullmatch(domain):
        return _refuse("A shop's name has a-z, 0-9 and - in it, such as: one")
    if not asked.scrape.is_file():
        return _refuse(f"There is no file {asked.scrape}.")
    if requests.get(f"{known['shop_url']}/_shops/{domain}", timeout=10).ok:
        return _refuse(f"{domain} is open already.")
    found = (each for _, each in scrape.read_products(asked.scrape))
    products = [(each.product_id, each.title) for each in found if isinstance(each, scrape.Product)]
    shop = open_shop(known["shop_url"], asked.name, products)
    folder = ROOT / ".local"
    token, pairs = folder / f"{asked.name}-token", folder / f"{asked.name}-mapping.csv"
    token.write_text(shop.token)
    token.chmod(0o600)
    pairs.write_text(shop.mapping())
    print(f"{shop.domain} is open, with {len(products):,} products. To publish to it:")
    where = [each.relative_to(ROOT) for each in (token, pairs)]
    print(f"  lookbook stores add {asked.name} --domain {shop.domain} --secret-file {where[0]}")
    print(f"  lookbook sync {asked.name} {where[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
