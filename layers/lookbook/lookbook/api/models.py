"""Model photos: list and add."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Path

from lookbook import aws, model_photos
from lookbook.api.access import editors_only
from lookbook.api.config import settings
from lookbook.api.products import URL_SECONDS

router = Router()

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
# What a try-on worker makes of it is 768 x 1024; a little more leaves room for better ones.
LONGEST_SIDE = 1536


@router.get("/api/models", summary="List model photos", tags=["models"])
def list_models() -> dict[str, Any]:
    """All model photos by name."""
    told = settings()
    return {"models": [_show(told.bucket, name) for name in model_photos.names(told.bucket)]}


@router.put("/api/models/<name>", summary="Add a model photo", middlewares=[editors_only], tags=["models"])
def add_model(name: Name) -> dict[str, Any]:
    """Add or replace a model photo: the body is the picture itself (JPEG, PNG, WebP or GIF, up to about 4.5 MB)."""
    from lookbook import imaging  # noqa: PLC0415 - Pillow, which no read needs

    told = settings()
    picture = imaging.normalise(_body(), LONGEST_SIDE)
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


def _body() -> bytes:
    """Return the request's body; API Gateway hands binary ones over as base64."""
    body: str = router.current_event.body or ""
    return base64.b64decode(body) if router.current_event.is_base64_encoded else body.encode()


def _show(bucket: str, name: str) -> dict[str, Any]:
    where = {"Bucket": bucket, "Key": model_photos.key(name)}
    head = aws.s3().head_object(Bucket=bucket, Key=model_photos.key(name))
    return {
        "name": name,
        "width": int(head["Metadata"].get("width", 0)),  # 0 if it was not put there by us; a run refuses it then
        "height": int(head["Metadata"].get("height", 0)),
        "bytes": head["ContentLength"],
        "url": aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS),
    }
