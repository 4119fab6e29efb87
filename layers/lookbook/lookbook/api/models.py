"""Model photos: list and add."""

from __future__ import annotations

import hashlib

from lookbook import aws, model_photos, shapes
from lookbook.api.config import settings
from lookbook.api.http import Request, Router
from lookbook.api.parameters import ModelPhotoName
from lookbook.api.products import URL_SECONDS

router = Router()

# What a try-on worker makes of it is 768 x 1024; a little more leaves room for better ones.
LONGEST_SIDE = 1536


@router.get("/api/models", summary="List model photos", tags=["models"])
def list_models() -> shapes.ModelPhotos:
    """All model photos by name."""
    told = settings()
    return {"models": [_show(told.bucket, name) for name in model_photos.names(told.bucket)]}


@router.put("/api/models/{name}", summary="Add a model photo", takes="image/*", tags=["models"])
def add_model(name: ModelPhotoName, request: Request) -> shapes.ModelPhoto:
    """Add or replace a model photo: the body is the picture itself (JPEG, PNG, WebP or GIF, up to about 4.5 MB)."""
    from lookbook import imaging  # noqa: PLC0415 - Pillow, which no read needs

    told = settings()
    picture = imaging.normalise(request.body, LONGEST_SIDE)
    aws.s3().put_object(
        Bucket=told.bucket,
        Key=model_photos.key(name),
        Body=picture.data,
        ContentType="image/jpeg",
        Metadata={
            "sha256": hashlib.sha256(picture.data).hexdigest(),
            "width": str(picture.width),
            "height": str(picture.height),
        },
    )
    return _show(told.bucket, name)


def _show(bucket: str, name: str) -> shapes.ModelPhoto:
    where = {"Bucket": bucket, "Key": model_photos.key(name)}
    head = aws.s3().head_object(Bucket=bucket, Key=model_photos.key(name))
    return {
        "name": name,
        "width": int(head["Metadata"].get("width", 0)),  # 0 if it was not put there by us; a run refuses it then
        "height": int(head["Metadata"].get("height", 0)),
        "bytes": head["ContentLength"],
        "url": aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS),
    }
