"""Pictures' bytes: fetched, judged by the limits in Shopify's documentation, and kept."""

import io
import re
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from PIL import Image, UnidentifiedImageError

MOST_BYTES = 20 * 1024 * 1024
MOST_PIXELS = 25_000_000
MOST_SIDE = 5000  # pixels
KINDS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}


class BadPictureError(Exception):
    """A picture that Shopify does not take; `code` is of FileErrorCode, and of MediaErrorCode."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or f"Media could not be processed: {code}.")
        self.code = code


class Content(NamedTuple):
    """A picture's bytes, in a file that is named by their SHA-256."""

    file: Path
    kind: str


class Store:
    """Bytes in files that are named by their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str) -> Path:
        return self._folder / name

    def put(self, data: bytes) -> Path:
        file = self.file(sha256(data).hexdigest())
        if not file.exists():
            file.write_bytes(data)
        return file

    def take_in(self, data: bytes) -> Content:
        """Judge a picture by its bytes, and keep it. Raises BadPictureError."""
        kind = judge(data)
        return Content(self.put(data), kind)


def judge(data: bytes) -> str:
    """Return a picture's format. Raises BadPictureError."""
    if len(data) > MOST_BYTES:
        raise BadPictureError("INVALID_IMAGE_FILE_SIZE")
    try:
        with Image.open(io.BytesIO(data), formats=list(KINDS)) as picture:
            if picture.width * picture.height <= MOST_PIXELS and max(picture.size) <= MOST_SIDE:
                picture.load()
                return str(picture.format)
    except UnidentifiedImageError as error:
        raise BadPictureError("UNSUPPORTED_IMAGE_FILE_TYPE") from error
    except Image.DecompressionBombError as error:
        raise BadPictureError("INVALID_IMAGE_RESOLUTION") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadPictureError("IMAGE_PROCESSING_FAILURE") from error
    raise BadPictureError("INVALID_IMAGE_RESOLUTION")


def fetch(url: str) -> bytes:
    """Return what is at an address, up to one byte more than a picture may have. Raises BadPictureError."""
    try:
        retries = urllib3.Retry(3, connect=0, read=0)  # redirects only
        response = urllib3.request("GET", url, preload_content=False, timeout=15, retries=retries)
        with response:
            if response.status == 200:
                return response.read(MOST_BYTES + 1)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise BadPictureError("IMAGE_DOWNLOAD_FAILURE") from error
    raise BadPictureError("IMAGE_DOWNLOAD_FAILURE")


def name_of(source: str) -> str:
    """Return the file name that a source's address brings, as Shopify writes it."""
    name = PurePosixPath(unquote(urlsplit(source).path)).name
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) or "image"
