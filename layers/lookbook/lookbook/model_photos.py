"""Model photos: the persons that garments are tried on, in S3 under models/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lookbook import aws
from lookbook.errors import InputError
from lookbook.state import ModelPhoto

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "models/"


def names(bucket: str) -> list[str]:
    """Return the names of all model photos, sorted."""
    pages = aws.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    return [key.removeprefix(PREFIX).removesuffix(".jpg") for key in _keys(pages)]


def _keys(pages: Any) -> Iterator[str]:
    for page in pages:
        for entry in page.get("Contents", []):
            if entry["Key"].endswith(".jpg"):
                yield entry["Key"]


def key(name: str) -> str:
    return f"{PREFIX}{name}.jpg"


def choose(bucket: str, wanted: list[str], variants: int) -> list[ModelPhoto]:
    """Return the model photos of a run: those it names, else the first ones there are, at most one a variant.

    Raises InputError if one is missing, or if there are none at all.
    """
    chosen = wanted or names(bucket)
    if not chosen:
        raise InputError("There are no model photos yet. Add one with: lookbook models add PHOTO.jpg")
    return [_describe(bucket, name) for name in chosen[:variants]]


def _describe(bucket: str, name: str) -> ModelPhoto:
    try:
        head = aws.s3().head_object(Bucket=bucket, Key=key(name))
    except ClientError as error:
        if aws.error_code(error) in {"404", "NoSuchKey"}:
            known = ", ".join(names(bucket)) or "none"
            raise InputError(f"There is no model photo {name}. Known: {known}.") from error
        raise
    if "sha256" not in head["Metadata"]:
        raise InputError(f"The model photo {name} was put into the bucket by hand. Use: lookbook models add")
    return ModelPhoto(name=name, key=key(name), sha256=head["Metadata"]["sha256"])
