"""Uploads through S3, of pictures too large for the API: announced, sent to uploads/<id>, checked, then made a cover.

The bytes that were sent are private, lie there for a moment only, and are deleted when they have been looked at;
what is kept is what imaging.py makes of them.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook import aws, covers, library
from lookbook.errors import InputError, NotFoundError
from lookbook.logging import logger
from lookbook.tables import CONDITION_FAILED, Upload
from lookbook.times import iso, seconds_between

if TYPE_CHECKING:
    from lookbook.tables import Image

PREFIX = "uploads/"
WAITING, DONE, REFUSED = "waiting", "done", "refused"
URL_SECONDS = 3600
# An upload that nobody has heard of for so long after its link has expired never comes.
LATE_SECONDS = 600
NEVER_CAME = "Nothing arrived, or it could not be read. Upload it again."


def announce(product_id: str, actor: str, now: datetime) -> Upload:
    """Write down that a picture of a product is to come. Raises NotFoundError."""
    library.must_have(product_id)
    upload = Upload(
        run_id=_key(f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"),
        product_id=product_id,
        actor=actor,
        created_at=iso(now),
    )
    upload.save()
    return upload


def get(product_id: str, upload_id: str, now: datetime) -> Upload:
    """Return what has become of an upload to a product. Raises NotFoundError."""
    upload = _get(upload_id)
    if upload is None or upload.product_id != product_id:
        raise NotFoundError(f"There is no upload {upload_id} to the product {product_id}.")
    if upload.status == WAITING and seconds_between(upload.created_at, iso(now)) > URL_SECONDS + LATE_SECONDS:
        upload.status, upload.reason = REFUSED, NEVER_CAME
    return upload


def accept(key: str, version_id: str | None, bucket: str, now: datetime) -> Upload | None:
    """Look at what has arrived: make it its product's cover, or say why not. May be repeated.

    Returns None for what nobody has announced or what is settled already. What was sent is deleted for good.
    """
    upload = _get(key.removeprefix(PREFIX))
    if upload is not None and upload.status == WAITING:
        _settle(upload, key, bucket, now)
    else:
        upload = None
    if version_id:  # without it, a versioned bucket would only hide it
        aws.s3().delete_object(Bucket=bucket, Key=key, VersionId=version_id)
    else:
        aws.s3().delete_object(Bucket=bucket, Key=key)
    return upload


def _settle(upload: Upload, key: str, bucket: str, now: datetime) -> None:
    from lookbook import imaging  # noqa: PLC0415 - Pillow, which whoever announces an upload or asks for it needs not

    # The first look decides when it came, so that a repeated one gives it the same place in history.
    upload.update([Upload.arrived_at.set(Upload.arrived_at | iso(now))])
    act = covers.Act(upload.actor, datetime.fromisoformat(str(upload.arrived_at)).astimezone(UTC))
    try:
        picture = imaging.normalise(aws.get_object(bucket, key))
        image = covers.upload(upload.product_id, picture, bucket, act, tail=id_of(upload)[-16:])
    except (InputError, NotFoundError) as error:
        _end(upload, REFUSED, reason=str(error))
    else:
        _end(upload, DONE, image=image)


def _end(upload: Upload, status: str, *, reason: str | None = None, image: Image | None = None) -> None:
    actions: list[Any] = [Upload.status.set(status)]
    if reason is not None:
        actions.append(Upload.reason.set(reason))
    if image is not None:
        actions.append(Upload.image_id.set(image.image_id))
    try:
        upload.update(actions, condition=Upload.status == WAITING)
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return  # another call, of the same event, was faster: what it says stands
    logger.info("upload settled", extra={"upload_id": id_of(upload), "product_id": upload.product_id, "status": status})


def id_of(upload: Upload) -> str:
    return str(upload.run_id.removeprefix(_key("")))


def _get(upload_id: str) -> Upload | None:
    try:
        return Upload.get(_key(upload_id), "upload", consistent_read=True)
    except DoesNotExist:
        return None


def _key(upload_id: str) -> str:
    return f"upload#{upload_id}"
