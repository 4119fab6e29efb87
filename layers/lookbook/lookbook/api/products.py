"""Products: list them, search them, look at one and at its images, tag it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from lookbook import aws, library, notes, search, shapes, stores
from lookbook.api import cursor as cursors
from lookbook.api.config import settings
from lookbook.api.http import JsonBody, Router, example
from lookbook.api.parameters import Cursor, Limit, ProductId
from lookbook.errors import InputError
from lookbook.runs import dollars
from lookbook.tables import ALL_PRODUCTS, PRODUCT, Note, Product

router = Router()

URL_SECONDS = 3600
# Signing takes 0.4 ms, and a list has many links; a warm function gives the same ones again for so long.
SIGNED_ANEW_SECONDS = 300
KEY = {"updated_at", "product_id", "sort_key"}

Source = Literal["cj", "shopify", "hotmart", "scrape"]
Sought = Annotated[
    str | None,
    Field(
        max_length=200,
        description="Words; found is what has, in title, id or tags, words that begin with each of them.",
        examples=["linen shirt"],
    ),
]
MOST_TAGS = 50
Tag = Annotated[str, Field(min_length=1, max_length=50, pattern=r"\S")]


class Tags(JsonBody):
    """A product's tags: `tags` and no others, or some more (`add`) and some less (`remove`); case does not matter."""

    model_config = example(add=["summer"])

    tags: list[Tag] | None = Field(None, max_length=MOST_TAGS)
    add: list[Tag] = Field([], max_length=MOST_TAGS)
    remove: list[Tag] = Field([], max_length=MOST_TAGS)


@router.get("/api/products", summary="List or search products", tags=["products"])
def list_products(
    source: Source | None = None, q: Sought = None, limit: Limit = 20, cursor: Cursor = None
) -> shapes.Products:
    """Products, newest change first; of one source, or of all.

    With `q` they come by the word that was found, and a page may be short of `limit` before the last.
    """
    if q is not None:
        return _search(q, source, limit, cursor)
    if source is None:
        start = cursors.decode_key(cursor, {"listing": ALL_PRODUCTS}, KEY)
        page = Product.by_time.query(ALL_PRODUCTS, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    else:
        start = cursors.decode_key(cursor, {"source": source}, KEY)
        page = Product.by_source.query(source, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    found = [show(product) for product in page if isinstance(product, Product)]
    return {"products": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


def _search(text: str, source: str | None, limit: int, cursor: str | None) -> shapes.Products:
    start = cursors.decode(cursor)
    if start is not None and not (isinstance(start, str) and search.goes_on(text, start)):
        raise InputError(cursors.FORGED)
    ids, more = search.find(text, limit, start, source)
    found = {each.product_id: each for each in Product.batch_get([(each, PRODUCT) for each in ids])} if ids else {}
    products = [found[each] for each in ids if each in found]
    return {"products": [show(product) for product in products], "cursor": cursors.encode(more)}


@router.get("/api/products/{product_id}", summary="Look at a product", tags=["products"])
def get_product(product_id: ProductId) -> shapes.ProductPage:
    """A product, its images but the hidden ones, in which stores they are used, and its notes: one Query."""
    page = library.whole_page(product_id)
    product = page.product
    return {
        **show(product),
        "description": product.description,
        "price": product.price,
        "source_status": product.source_status,
        "source_deleted_at": product.source_deleted_at,
        "image_list": [show_image(image, product) for image in page.images if not image.hidden_at],
        "usages": [stores.show_usage(usage) for usage in page.usages],
        "notes": [show_note(note) for note in page.notes],
        "more_notes": page.more_notes,
    }


@router.put("/api/products/{product_id}/tags", summary="Tag a product", errors=[409], tags=["products"])
def set_tags(product_id: ProductId, given: Tags) -> shapes.Product:
    """Give a product these tags in the place of those it had, or change those that it has."""
    if given.tags is not None:
        if given.add or given.remove:
            raise InputError("Give either tags, or add and remove.")
        return show(library.set_tags(product_id, _once_each(given.tags)))
    removed = {tag.strip().casefold() for tag in given.remove}

    def change(tags: list[str]) -> list[str]:
        changed = [tag for tag in _once_each([*tags, *given.add]) if tag.casefold() not in removed]
        if len(changed) > MOST_TAGS:
            raise InputError(f"A product has {MOST_TAGS} tags at most; remove some.")
        return changed

    return show(library.change_tags(product_id, change))


def _once_each(tags: list[str]) -> list[str]:
    """Return the tags without blanks around, each as it was written first."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(tag.strip().casefold(), tag.strip())
    return list(found.values())


def url_of(image_id: str) -> str:
    """Return a link to an image's bytes that works for an hour, from when it was last signed anew."""
    return _signed(settings().bucket, image_id, int(time.time() // SIGNED_ANEW_SECONDS))


@lru_cache(maxsize=10_000)
def _signed(bucket: str, image_id: str, _period: int) -> str:
    where = {"Bucket": bucket, "Key": library.image_key(image_id)}
    return aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS)


def show(product: Product) -> shapes.Product:
    """Return a product as lists show it."""
    variants = library.shown_variants(product)
    return {
        "product_id": product.product_id,
        "title": product.title,
        "category": product.category,
        "source": product.source,
        "cover_image_id": product.cover_image_id,
        "cover_url": url_of(product.cover_image_id) if product.cover_image_id else None,
        "image_count": len(variants),
        "variants": variants,
        "tags": [str(tag) for tag in product.tags or ()],
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def show_image(image: Any, product: Product) -> shapes.Image:
    """Return an image of a product; `image` is an Image, some of whose attributes PynamoDB's types call never null."""
    return {
        "image_id": image.image_id,
        "variant": int(image.variant),
        "method": image.method,
        "model_photo": image.model_photo,
        "model_version": image.model_version,
        "licence": image.licence,
        "prompt": image.prompt,
        "stars": int(image.stars) if image.stars else None,
        "hidden": bool(image.hidden_at),
        "is_cover": image.image_id == product.cover_image_id,
        "width": int(image.width),
        "height": int(image.height),
        "bytes": int(image.size),
        "url": url_of(image.image_id),
        "created_at": image.created_at,
        "run_id": image.run_id,
        "cost_usd": dollars(image.cost_microusd),
        "seconds": image.work_ms / 1000,
    }


def show_note(note: Note) -> shapes.Note:
    """Return a note as it was typed."""
    return {
        "note_id": notes.id_of(note),
        "note": note.text,
        "author": note.author,
        "created_at": note.created_at,
        "edited_at": note.edited_at,
        "edited_by": note.edited_by,
    }
