"""The work of the try-on stand-ins: inputs told apart, the pictures they bring, and previews drawn from them."""

import base64
import binascii
import io
import json
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import urllib3
from PIL import Image, ImageOps, PngImagePlugin

from local.art import Category, try_on

_LONG = 1000  # characters; longer strings are known by their hash


class UnreadableError(Exception):
    """A picture's source gives no picture."""


def brief(given: dict[str, Any]) -> str:
    """An input as canonical JSON: pictures by their hash, and URLs without what differs whenever they are signed."""
    return json.dumps({name: _brief_value(value) for name, value in given.items()}, sort_keys=True, ensure_ascii=False)


def _brief_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        parts = urlsplit(value)
        return parts._replace(query="").geturl() if "X-Amz-Signature" in parts.query else value
    value = _bare_base64(value)
    return "sha256:" + sha256(value.encode()).hexdigest() if len(value) > _LONG else value


def _bare_base64(value: str) -> str:
    return value.partition(",")[2] if value.startswith("data:") else value


def read_picture(source: str) -> Image.Image:
    """The picture (RGB) at a URL, in a data URI or in base64. Raises UnreadableError."""
    try:
        data = _fetched(source) if source.startswith(("http://", "https://")) else _decoded(source)
        with Image.open(io.BytesIO(data)) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError, urllib3.exceptions.HTTPError) as error:
        raise UnreadableError(str(error)) from error


def _decoded(source: str) -> bytes:
    try:
        return base64.b64decode(_bare_base64(source), validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error


def _fetched(url: str) -> bytes:
    response = urllib3.request("GET", url, timeout=urllib3.Timeout(connect=5, read=15), retries=False)
    if response.status != 200:
        raise ValueError(f"its address answers {response.status}")
    return response.data


def preview(
    person: Image.Image, garment: Image.Image, category: Category, size: tuple[int, int], seed: int
) -> Image.Image:
    """The person with the garment on, `size` in pixels. The seed may mirror the person, and changes the light."""
    throw = sha256(f"seed {seed}".encode()).digest()
    if throw[0] % 2:
        person = ImageOps.mirror(person)
    picture = try_on(garment, person, category, size)
    gains = [0.94 + 0.1 * byte / 255 for byte in throw[1:4]]  # warmer or cooler light
    return picture.point([min(255, round(value * gain)) for gain in gains for value in range(256)])


def encoded(picture: Image.Image, seed: int | None = None, kind: str = "png") -> bytes:
    """The picture as PNG or JPEG, compressed quickly rather than well.

    The seed is noted in the file, so that different seeds always give different bytes.
    """
    out = io.BytesIO()
    note = "" if seed is None else str(seed)
    if kind == "jpeg":
        picture.save(out, "JPEG", quality=90, comment=note)
    else:
        notes = PngImagePlugin.PngInfo()
        if note:
            notes.add_text("seed", note)
        picture.save(out, "PNG", compress_level=1, pnginfo=notes)
    return out.getvalue()
