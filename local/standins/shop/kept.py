"""All shops as JSON, so that they are there again after a restart; their pictures' bytes stay where they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from local.standins.shop.pictures import BadPictureError, Content, Store
from local.standins.shop.state import MediaImage, NewShop, Product, Shop, count_from

_PICTURE = ("id", "alt", "created_by", "source", "wish", "filename", "created_at")
_PRODUCT = ("number", "title", "handle", "updated_at")
_SHOP = ("points", "throttled", "tokens_granted", "mutations", "tokens")


def save(shops: Iterable[Shop], file: Path) -> None:
    """Write shops to a file, in which they replace those that it held. Nothing may be in the making."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"last_number": count_from(0), "shops": [_written(shop) for shop in shops]}))
    new.replace(file)


def load(file: Path, url: str, store: Store) -> Iterator[Shop]:
    """Read the shops of a file, which are served at `url` from now on. What was staged for upload is gone."""
    document = json.loads(file.read_text())
    count_from(document["last_number"])
    for written in document["shops"]:
        yield _read(written, url, store)


def _written(shop: Shop) -> dict[str, Any]:
    return {
        "shop": shop.domain,
        "settings": shop.settings.model_dump(),
        **{name: getattr(shop, name) for name in _SHOP},
        "pictures": [_picture_written(picture) for picture in shop.pictures.values()],
        "products": [
            {
                **{name: getattr(product, name) for name in _PRODUCT},
                "variants": [{"sku": each["sku"], "barcode": each["barcode"]} for each in product.variants],
                "pictures": [picture.id for picture in product.pictures],
            }
            for product in shop.products.values()
        ],
    }


def _picture_written(picture: MediaImage) -> dict[str, Any]:
    content, failure = picture.content, picture.failure
    return {
        **{name: getattr(picture, name) for name in _PICTURE},
        "content": content and {"sha256": content.file.name, "kind": content.kind},
        "failure": failure and {"code": failure.code, "message": str(failure)},
    }


def _read(written: dict[str, Any], url: str, store: Store) -> Shop:
    shop = Shop(NewShop(shop=written["shop"], **written["settings"]), f"{url}/{written['shop']}", store)
    for name in _SHOP:
        setattr(shop, name, written[name])
    shop.mutations = Counter(shop.mutations)
    for each in written["pictures"]:
        picture = MediaImage(shop, **{name: each[name] for name in _PICTURE})
        if each["content"]:
            picture.content = Content(store.file(each["content"]["sha256"]), each["content"]["kind"])
        if each["failure"]:
            picture.failure = BadPictureError(**each["failure"])
        shop.pictures[picture.id] = picture
        if picture.filename:
            shop.by_filename[picture.filename] = picture
    for each in written["products"]:
        product = Product(**{name: each[name] for name in _PRODUCT})
        product.variants = [{"product": product, **variant} for variant in each["variants"]]
        product.pictures = [shop.pictures[picture_id] for picture_id in each["pictures"]]
        shop.products[product.id] = product
    return shop
