"""Examples of what the API answers, put together from one table by the names of fields: one name means one thing."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

IMAGE_ID = "3b1f6c2e9a7d40585e1c8f0b2d64a97f13c5e8b07a2946d1f0e3b5c7a9d81264"
RUN_ID = "20261121T101502-3f9a2c1b"
URL = f"https://bucket.example.com/images/{IMAGE_ID}.jpg?X-Amz-Signature=…"

# By a field's name, or by that of its shape and its own where a name means several things.
FIELDS: Json = {
    "about": "Tries a garment on a model photo.",
    "action": "generated",
    "added": 2,
    "actor": "anna@example.com",
    "ambiguous": 1,
    "at_most_usd": None,
    "attempts": 3,
    "author": "anna@example.com",
    "basis": "measured over the last 100 images; 8 GPU workers",
    "blocked": 0,
    "by": {"sku": 240, "barcode": 12, "handle": 31},
    "bytes": 184_320,
    "changed": 1,
    "category": "Women's Clothing > Dresses",
    "configured": True,
    "client_id": "4f1k9s0example",
    "compared": 1200,
    "cost_usd": 0.0279,
    "HotmartStatus.counts": {
        "listed": 12,
        "added": 2,
        "changed": 1,
        "unchanged": 5,
        "skipped": 4,
        "deleted": 0,
        "without_image": 2,
        "given_up": 0,
    },
    "counts": {"products": 1, "reused": 0, "generated": 1, "failed": 0},
    "cover_image_id": IMAGE_ID,
    "cover_url": URL,
    "created_at": "2026-11-21T10:15:02.000Z",
    "credentials": "admin_token",
    "cursor": None,
    "deleted": 0,
    "error": None,
    "given_up": 0,
    "listed": 12,
    "next_at": "2026-11-21T16:15:02.000Z",
    "run_status": "succeeded",
    "schedule": "rate(6 hours)",
    "skipped": 4,
    "sync_id": RUN_ID,
    "without_image": 2,
    "description": "Airy linen with a tie belt.",
    "detail": "The request cannot be used; see /query/limit.",
    "distance": 2,
    "domain": "summer-shop.myshopify.com",
    "done": True,
    "edited_at": None,
    "edited_by": None,
    "entry_id": "2026-11-21T10:15:02.000Z#3f9a2c1b",
    "expires_at": "2026-11-21T11:15:02.000Z",
    "failed": 0,
    "fields": {"key": f"scrapes/uploads/{RUN_ID}/summer.json", "policy": "eyJ…"},
    "AwaitedUpload.fields": {"key": "uploads/20261121T101502-3f9a2c1b3f9a2c1b", "policy": "eyJ…"},
    "finished_at": "2026-11-21T10:16:41.000Z",
    "height": 1024,
    "hidden": False,
    "hidden_image_id": None,
    "image_count": 3,
    "image_id": IMAGE_ID,
    "images_added": 3,
    "images_generated": 3,
    "images_removed": 0,
    "images_reused": 0,
    "index": 0,
    "is_cover": True,
    "job_id": "job-7f3a",
    "kind": "scrape",
    "licence": "CC BY-NC-SA 4.0",
    "mapped_at": "2026-11-21T10:10:00.000Z",
    "mapped_before": 15,
    "matched": 283,
    "media_id": "gid://shopify/MediaImage/1234567890",
    "message": "Unauthorized",
    "method": "catvton",
    "missing": [],
    "model_photo": "woman_45_caucasian",
    "model_version": "catvton-mix-48k-1024",
    "more_notes": False,
    "most_bytes": 20_971_520,
    "name": "summer.json",
    "ModelPhoto.name": "woman_45_caucasian",
    "Store.name": "Summer shop",
    "not_found": 40,
    "not_mapped": 0,
    "not_reached": 0,
    "note": None,
    "Note.note": "Sells best with the blue cover.",
    "note_id": "20261121T101502123456-3f9a2c",
    "notices": [],
    "ok": True,
    "open": 0,
    "options": {"variants": 3, "stores": ["summer-shop"]},
    "phase": None,
    "plan": None,
    "points": 28.0,
    "price": "29.90",
    "prices_as_of": "2026-11-21",
    "problems": [],
    "product_count": 2,
    "product_id": "CJ12345678",
    "FoundImage.products": ["CJ12345678"],
    "progress": None,
    "prompt": None,
    "provider": "catvton",
    "published": 1,
    "published_at": "2026-11-21T10:16:40.000Z",
    "ready": True,
    "reason": None,
    "Item.reason": "",
    "StoreTest.reason": "",
    "region": "eu-west-1",
    "removed": 0,
    "retry_of": None,
    "reuse_rate": 0.85,
    "run_id": RUN_ID,
    "saved_usd": 1.86,
    "saved_work_seconds": 6000.0,
    "scopes": ["read_products", "write_files", "write_products"],
    "seconds": 30.1,
    "seconds_per_image": 30.0,
    "shop": "Summer shop",
    "shop_product_id": "gid://shopify/Product/8123456789",
    "since": "2026-11-21T10:16:40.000Z",
    "source": "cj",
    "source_deleted_at": None,
    "source_status": None,
    "stars": 5,
    "started_at": "2026-11-21T10:15:03.000Z",
    "started_by": "anna@example.com",
    "status": "succeeded",
    "Item.status": "generated",
    "Upload.status": "done",
    "Usage.status": "live",
    "stopping": None,
    "store_id": "summer-shop",
    "succeeded": 3,
    "synced_at": "2026-11-21T10:16:40.000Z",
    "tags": ["summer"],
    "taken_out": 0,
    "throttled": 0,
    "title": "Linen Summer Dress",
    "total": 1,
    "unchanged": 0,
    "unknown": 0,
    "unknown_usd": 0.0,
    "updated_at": "2026-11-21T10:16:40.000Z",
    "upload_id": "20261121T101502-3f9a2c1b3f9a2c1b",
    "url": URL,
    "AwaitedUpload.url": "https://bucket.example.com/",
    "PresignedPost.url": "https://bucket.example.com/",
    "usage": None,
    "usd_per_image": 0.0093,
    "variant": 1,
    "variants": [1, 2, 3],
    "width": 768,
    "without_images": 0,
    "work_seconds": 90.0,
}


def example_of(schema: Json, components: Json, name: str = "") -> Any:
    """Return an example of what a JSON schema describes; `name` is the field's, after that of its shape.

    Raises LookupError for a field that is not in the table.
    """
    short = name.rpartition(".")[2]
    match schema:
        case {"$ref": str(ref)}:
            return example_of(components[ref.rpartition("/")[2]], components, name)
        case {"examples": [first, *_]}:
            found = first
        case _ if name in FIELDS or short in FIELDS:
            found = FIELDS.get(name, FIELDS.get(short))
        case {"anyOf": [first, *_]}:
            found = example_of(first, components, name)
        case {"properties": fields, "title": shape}:
            found = {field: example_of(each, components, f"{shape}.{field}") for field, each in fields.items()}
        case {"type": "array", "items": items}:
            found = [example_of(items, components, name)]
        case {"type": "object"} if not name:
            found = {}
        case _:
            raise LookupError(f"api/examples.py has no example of the field {name}.")
    return found
