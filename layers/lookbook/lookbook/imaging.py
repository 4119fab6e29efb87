"""Turn the bytes of a stranger's picture into a plain sRGB JPEG: its pixels survive, nothing else does.

The only module that imports Pillow.
"""

import functools
import hashlib
import itertools
import re
import warnings
from dataclasses import dataclass
from io import BytesIO

# WebPImagePlugin for its effect: what Pillow does not know yet, it looks for by loading all of its forty readers.
from PIL import ExifTags, Image, ImageCms, WebPImagePlugin  # noqa: F401 - see above

from lookbook.errors import ImageError
from lookbook.fetch import content_name, picture_type

MAX_PIXELS = 40_000_000
MAX_BYTES = 20 * 1024 * 1024
MIN_SIDE = 32  # pixels

# Pillow's own guard refuses what is more than twice this, as soon as a header tells the size, and again where a frame
# turns out larger than the header said.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

_QUALITY = 90

# What `dhash` is made of: the size Generate sends to the provider, so that both see the same pixels.
_HASHED_SIDE = 1024
_HASH_WIDTH, _HASH_HEIGHT = 9, 8  # pixels; nine in a row have eight neighbours

# A JPEG's decoder goes over the whole picture once per scan, and a scan may be 50 bytes. Editors write up to 20.
_MAX_SCANS = 100
_MAX_SEGMENTS = 2000
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # all markers but those without a length

# The colour space of an embedded profile -> the mode its pixels are in, then what else can be brought into that.
_PROFILE_MODES = {"RGB": ("RGB", "L"), "GRAY": ("L",), "CMYK": ("CMYK",)}

# As EXIF numbers them: what sets the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: a JPEG without metadata in sRGB. `dhash` says what it looks like: see there."""

    data: bytes
    width: int
    height: int
    sha256: str
    dhash: str


def normalise(data: bytes, longest_side: int = 2048) -> Picture:
    """Decode a JPEG, PNG, WebP or GIF (its first frame) and encode it anew.

    The same bytes give the same picture. It stands upright, is sRGB on white, carries no metadata, and is made smaller
    so that no side exceeds `longest_side` pixels; it is never made larger.
    Raises ImageError, with what to do, for other formats, damaged files, and those over 20 MB, over 40 megapixels or
    under 32 pixels a side.
    """
    image = _read(data, longest_side)
    encoded = BytesIO()
    image.save(encoded, "JPEG", quality=_QUALITY)
    jpeg = encoded.getvalue()
    return Picture(jpeg, image.width, image.height, hashlib.sha256(jpeg).hexdigest(), _difference_hash(image))


def dhash(data: bytes) -> str:
    """Return the difference hash of a picture: 64 bits as 16 hexadecimal digits; it is `normalise(data, 1024).dhash`.

    A bit is set where, of 9 x 8 grey pixels, one is darker than its neighbour to the right; row by row, the first bit
    is the highest. Pictures that look the same have hashes that differ in few bits, whatever their size, format and
    compression: see duplicates.py. Colour is not seen. Raises ImageError as `normalise` does.
    Source: Neal Krawetz, "Kind of Like That", 2013, hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html.
    """
    return _difference_hash(_read(data, _HASHED_SIDE))


def _difference_hash(image: Image.Image) -> str:
    # Of Pillow's filters, Lanczos tells pictures on white apart best and minds a change of size least. It takes 2 ms at
    # 1024 pixels and 8 ms at 2048; `reducing_gap` would make that a quarter, and two or three times the bits waver.
    grey = image.convert("L").resize((_HASH_WIDTH, _HASH_HEIGHT), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for start in range(0, len(grey), _HASH_WIDTH):
        row = grey[start : start + _HASH_WIDTH]
        for left, right in itertools.pairwise(row):
            bits = bits << 1 | (left < right)
    return f"{bits:016x}"


def _read(data: bytes, longest_side: int) -> Image.Image:
    """Refuse what is no picture, or too much of one, and decode the rest: upright sRGB pixels on white."""
    if len(data) > MAX_BYTES:
        raise ImageError(f"The picture is larger than {MAX_BYTES // 1024**2} MB; use a smaller one.")
    kind = picture_type(data)
    if kind is None:
        raise ImageError(f"This is {content_name(data)}, not a picture. Use a JPEG, PNG, WebP or GIF file.")
    if kind == "jpeg":
        _check_jpeg(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata we drop, and sizes that are refused below
            image = _decode(data, kind, longest_side)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"The picture has more than {MAX_PIXELS // 10**6} megapixels; use a smaller one.") from error
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise ImageError("The picture is damaged or cut short; save or download it again.") from error
    if min(image.size) < MIN_SIDE:
        raise ImageError("The picture is far too thin; crop it.")
    return image


def _decode(data: bytes, kind: str, longest_side: int) -> Image.Image:
    """Read the picture into RGB pixels: shrunk first, for the rest then has less to do."""
    with Image.open(BytesIO(data), formats=[kind]) as source:
        if min(source.size) < MIN_SIDE:
            raise ImageError(f"The picture is smaller than {MIN_SIDE} x {MIN_SIDE} pixels; use a larger one.")
        scale = min(1.0, longest_side / max(source.size))
        size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
        # A JPEG's decoder can skip detail; twice the size wanted leaves the resampling enough of it.
        source.draft(None, (2 * size[0], 2 * size[1]))
        source.load()
        image = _on_white(source)
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        image = _upright(_to_srgb(image, source.info.get("icc_profile")), source)
    image.info = {}  # Pillow would write a comment it finds here
    return image


def _check_jpeg(data: bytes) -> None:
    """Refuse a JPEG that was made to keep its decoder busy for hours."""
    at = segments = scans = 0
    while found := _JPEG_SEGMENT.search(data, at):
        marker = data[found.end() - 1]
        if marker == _JPEG_END:
            return
        segments += 1
        scans += marker == _JPEG_SCAN
        if segments > _MAX_SEGMENTS or scans > _MAX_SCANS:
            raise ImageError("The picture is a JPEG in far too many pieces; open it in an editor and save it again.")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])


def _on_white(image: Image.Image) -> Image.Image:
    """Bring the pixels into a mode without palette and transparency: `L`, `RGB` or `CMYK`, 8 bits each."""
    clear = image.info.get("transparency")
    if image.mode == "I;16":  # Pillow would clip these, not scale them
        image = Image.frombytes("L", image.size, image.tobytes()[1::2])
        if clear is not None:
            image.info["transparency"] = clear >> 8
    elif isinstance(clear, tuple) and max(clear) > 255:  # noqa: PLR2004 - the clear colour of a 16-bit picture
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    mode = "L" if image.mode in ("1", "L", "LA") else "CMYK" if image.mode == "CMYK" else "RGB"
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    image = image.convert(f"{mode}A")
    white = Image.new(mode, image.size, "white")
    white.paste(image, mask=image)
    return white


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB by the picture's own colour profile; one that is broken or for other pixels counts as none."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            mode, *others = _PROFILE_MODES[source.profile.xcolor_space.strip()]
            if image.mode == mode or image.mode in others:
                transform = ImageCms.buildTransform(
                    source,
                    _srgb(),
                    mode,
                    "RGB",
                    ImageCms.Intent.RELATIVE_COLORIMETRIC,
                    ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )
                return transform.apply(image.convert(mode))
        except (ImageCms.PyCMSError, OSError, KeyError, TypeError, ValueError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(source.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - Pillow's reader of EXIF raises nearly anything, and broken EXIF harms no picture
        return image
    return image if turn is None else image.transpose(turn)
