"""A product's images and covers: upload, generate by a prompt, go back in history, rate, hide."""

from __future__ import annotations

import json
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field

from lookbook import aws, covers, history, library, runs, shapes, uploads
from lookbook.api import cursor as cursors
from lookbook.api.access import user
from lookbook.api.config import settings
from lookbook.api.http import HttpError, JsonBody, Request, Router, example
from lookbook.api.parameters import Cursor, ImageId, Limit, Nothing, ProductId
from lookbook.api.products import show, show_image, url_of
from lookbook.api.runs import execute
from lookbook.errors import ConflictError
from lookbook.logging import logger
from lookbook.tables import HistoryEntry, Image
from lookbook.times import iso, now

router = Router()

MOST_INLINE_BYTES = 4_400_000
MOST_BYTES = 20 * 1024 * 1024  # as imaging.py, which is not imported here: most requests need no Pillow

ImageIdStart = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$", examples=["3f9a2c1b77aa"])]
UploadId = Annotated[str, Field(pattern=r"^\d{8}T\d{6}-[0-9a-f]{16}$", examples=["20261121T101502-3f9a2c1b3f9a2c1b"])]


class Prompt(JsonBody):
    """What to ask for in your own words, passed on as written; without it, what suits the product."""

    model_config = example(customPrompt="A cosy kitchen at dawn, fresh bread on a wooden table")

    customPrompt: str | None = Field(None, min_length=1, max_length=4000)  # noqa: N815 - the API's name for it


class Rating(JsonBody):
    """How good an image is: 1 to 5 stars."""

    model_config = example(stars=5)

    stars: int = Field(ge=1, le=5)


@router.get("/api/products/{product_id}/images", summary="List a product's images", tags=["images"])
def get_images(product_id: ProductId) -> shapes.Images:
    """A product's images, the hidden ones too, with links that work for an hour."""
    product, images = library.product_page(product_id)
    product = product or library.must_have(product_id)
    return {"images": [show_image(image, product) for image in images]}


@router.post(
    "/api/products/{product_id}/images/upload",
    summary="Upload a cover",
    status=201,
    takes="multipart/form-data",
    field="image",
    errors=[409, 413],
    tags=["images"],
)
def upload(product_id: ProductId, request: Request) -> shapes.Image:
    """Make a picture the product's cover: JPEG, PNG, WebP or GIF, up to 4 MB; a larger one by `upload-url`.

    It is judged by its bytes, decoded, and kept as a JPEG without metadata of at most 2048 pixels a side; the file's
    name and what it says it is are ignored. Up to 40 megapixels, and 32 pixels a side at least.
    """
    from lookbook import imaging  # noqa: PLC0415 - Pillow, which no read needs

    if len(request.body) > MOST_INLINE_BYTES:  # what Lambda takes at most, in base64
        detail = "The picture is larger than 4 MB: ask images/upload-url where to send it."
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    library.must_have(product_id)
    picture = imaging.normalise(request.file("image"))
    return _shown(covers.upload(product_id, picture, settings().bucket, _act(request)))


@router.post(
    "/api/products/{product_id}/images/upload-url", summary="Upload a large cover", status=201, tags=["images"]
)
def upload_url(product_id: ProductId, _nothing: Nothing, request: Request) -> shapes.AwaitedUpload:
    """Say where to send a picture of up to 20 MB. It is checked as a smaller one is, and then becomes the cover.

    Send `fields` and then the picture, as `file`, as a form to `url`; what becomes of it is at `uploads/{upload_id}`.
    """
    moment = now()
    announced = uploads.announce(product_id, user(request), moment)
    upload_id = uploads.id_of(announced)
    post = aws.s3().generate_presigned_post(
        settings().bucket,
        f"{uploads.PREFIX}{upload_id}",
        Conditions=[["content-length-range", 1, MOST_BYTES]],
        ExpiresIn=uploads.URL_SECONDS,
    )
    expires_at = iso(moment + timedelta(seconds=uploads.URL_SECONDS))
    return {
        "upload_id": upload_id,
        "url": post["url"],
        "fields": post["fields"],
        "expires_at": expires_at,
        "most_bytes": MOST_BYTES,
    }


@router.get("/api/products/{product_id}/images/uploads/{upload_id}", summary="Look at an upload", tags=["images"])
def get_upload(product_id: ProductId, upload_id: UploadId) -> shapes.Upload:
    """What has become of a picture that was sent to an `upload-url`."""
    found: Any = uploads.get(product_id, upload_id, now())
    image = Image.get(product_id, f"image#{found.image_id}") if found.image_id else None
    shown = _shown(image) if image is not None else None
    return {"upload_id": upload_id, "status": found.status, "reason": found.reason, "image": shown}


@router.post(
    "/api/products/{product_id}/images/generate",
    summary="Generate a cover",
    status=202,
    errors=[409],
    tags=["images"],
)
def generate(product_id: ProductId, prompt: Prompt, request: Request) -> shapes.Run:
    """Have a new cover made: of the product's own picture, if it has one, else of words. 202 with a run.

    May be asked for while another one is being made. Both are then in history, and the later request's is the cover.
    """
    told = settings()
    if not told.open_ai_model:
        raise ConflictError("Covers are switched off: set OpenAiModel and deploy again.")
    product = library.must_have(product_id, consistent=True)
    moment = now()
    options: dict[str, Any] = {"variants": 1, "method": "openai", "reuse": False}
    if prompt.customPrompt is not None:
        options["prompt"] = prompt.customPrompt
    run = runs.create(
        runs.new_id(moment),
        name=f"Cover of {product.title}"[:200],
        purpose=runs.COVER,
        status=runs.RUNNING,
        options=options,
        started_by=user(request),
        now=moment,
    )
    logger.info("cover asked for", extra={"run_id": run.run_id, "product_id": product_id})
    about = {
        "product_id": product_id,
        "title": product.title,
        "category": product.category,
        "source": product.source,
        "image": product.source_url or None,
        "description": product.description,
        "locale": product.locale,
    }
    return execute(run, json.dumps([about]).encode())


@router.get("/api/products/{product_id}/images/history", summary="List a product's covers", tags=["images"])
def get_history(product_id: ProductId, limit: Limit = 20, cursor: Cursor = None) -> shapes.History:
    """Every change of the product's cover, newest first; the cover is the newest one's image."""
    start = cursors.decode_key(cursor, {"product_id": product_id}, {"entry_id"})
    page = history.page(product_id, limit, start)
    found = [_show_entry(entry) for entry in page]
    if not found:
        library.must_have(product_id)
    return {"entries": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


@router.post(
    "/api/products/{product_id}/images/{image_id}/activate",
    summary="Go back to an image",
    errors=[409],
    tags=["images"],
)
def activate(product_id: ProductId, image_id: ImageId, _nothing: Nothing, request: Request) -> shapes.Product:
    """Make an image that the product has, or had, its cover again. What has been the cover since stays in history."""
    return show(covers.activate(product_id, image_id, _act(request)))


@router.put(
    "/api/products/{product_id}/images/{image_id}/rating", summary="Rate an image", errors=[409], tags=["images"]
)
def rate(product_id: ProductId, image_id: ImageId, rating: Rating, request: Request) -> shapes.Image:
    """Give an image 1 to 5 stars. Stores show the best rated first."""
    return _shown(covers.rate(product_id, image_id, rating.stars, _act(request)))


@router.delete("/api/products/{product_id}/images/{image_id}", summary="Hide an image", errors=[409], tags=["images"])
def hide(product_id: ProductId, image_id: ImageId, request: Request) -> shapes.Image:
    """Show an image nowhere any more. Its bytes and its history stay; activating it shows it again.

    If it is the cover, the one before it takes its place.
    """
    return _shown(covers.hide(product_id, image_id, _act(request)))


@router.get("/api/images/{image_id}", summary="Find an image", errors=[409], tags=["images"])
def find_image(image_id: ImageIdStart) -> shapes.FoundImage:
    """The image whose id is this or begins so, and the products that have it; 409 if several begin so."""
    found, products = covers.which(image_id)
    return {"image_id": found, "products": products}


def _act(request: Request) -> covers.Act:
    return covers.Act(user(request), now())


def _shown(image: Image) -> shapes.Image:
    return show_image(image, library.must_have(str(image.product_id), consistent=True))


def _show_entry(entry: HistoryEntry) -> shapes.HistoryEntry:
    return {
        "entry_id": entry.entry_id,
        "action": entry.action,
        "image_id": entry.image_id,
        "url": url_of(entry.image_id) if entry.image_id else None,
        "method": entry.method,
        "prompt": entry.prompt,
        "actor": entry.actor,
        "run_id": entry.run_id,
        "hidden_image_id": entry.hidden_image_id,
        "created_at": entry.created_at,
    }
