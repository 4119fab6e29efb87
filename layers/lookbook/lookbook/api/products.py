"""Products: list them, look at one and at its images."""

from __future__ import annotations

from typing import Literal

from lookbook import aws, library, shapes, stores
from lookbook.api import cursor as cursors
from lookbook.api.config import settings
from lookbook.api.http import Router
from lookbook.api.parameters import Cursor, Limit, ProductId
from lookbook.errors import NotFoundError
from lookbook.runs import dollars
from lookbook.tables import ALL_PRODUCTS, Image, Product, Usage

router = Router()

URL_SECONDS = 3600
KEY = {"updated_at", "product_id", "sort_key"}

Source = Literal["cj", "shopify", "hotmart", "scrape"]


@router.get("/api/products", summary="List products", tags=["products"])
def list_products(source: Source | None = None, limit: Limit = 20, cursor: Cursor = None) -> shapes.Products:
    """Products, newest change first; of one source, or of all."""
    if source is None:
        start = cursors.decode_key(cursor, {"listing": ALL_PRODUCTS}, KEY)
        page = Product.by_time.query(ALL_PRODUCTS, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    else:
        start = cursors.decode_key(cursor, {"source": source}, KEY)
        page = Product.by_source.query(source, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    found = [_show(product) for product in page if isinstance(product, Product)]
    return {"products": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


@router.get("/api/products/{product_id}", summary="Look at a product", tags=["products"])
def get_product(product_id: ProductId) -> shapes.ProductPage:
    """A product, its images, and in which stores they are used: one Query."""
    product, images, usages = _page(product_id)
    return {
        **_show(product),
        "image_list": [_show_image(image) for image in images],
        "usages": [stores.show_usage(usage) for usage in usages],
    }


@router.get("/api/products/{product_id}/images", summary="List a product's images", tags=["products"])
def get_images(product_id: ProductId) -> shapes.Images:
    """A product's images with links that work for an hour."""
    _, images, _ = _page(product_id)
    return {"images": [_show_image(image) for image in images]}


def _page(product_id: str) -> tuple[Product, list[Image], list[Usage]]:
    product, images, usages = library.product_page_with_usages(product_id)
    if product is None:
        raise NotFoundError(f"The library has no product {product_id}.")
    return product, images, usages


def _url(image_id: str) -> str:
    told = settings()
    where = {"Bucket": told.bucket, "Key": library.image_key(image_id)}
    return aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS)


def _show(product: Product) -> shapes.Product:
    variants = sorted(int(variant) for variant in product.variants or ())
    return {
        "product_id": product.product_id,
        "title": product.title,
        "category": product.category,
        "source": product.source,
        "cover_image_id": product.cover_image_id,
        "cover_url": _url(product.cover_image_id) if product.cover_image_id else None,
        "image_count": len(variants),
        "variants": variants,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def _show_image(image: Image) -> shapes.Image:
    return {
        "image_id": image.image_id,
        "variant": int(image.variant),
        "method": image.method,
        "model_photo": image.model_photo,
        "model_version": image.model_version,
        "licence": image.licence,
        "width": int(image.width),
        "height": int(image.height),
        "bytes": int(image.size),
        "url": _url(image.image_id),
        "created_at": image.created_at,
        "run_id": image.run_id,
        "cost_usd": dollars(image.cost_microusd),
        "seconds": image.work_ms / 1000,
    }
