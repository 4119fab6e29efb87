"""Pictures of every kind go in; plain upright sRGB JPEGs come out, or a reason."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from lookbook import imaging
from lookbook.errors import ImageError
from lookbook.imaging import Picture, normalise

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos"

RED, GREEN, BLUE, WHITE = (200, 30, 40), (20, 160, 60), (30, 60, 190), (255, 255, 255)

Color = tuple[int, ...]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decode(picture: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (picture.width, picture.height))
    return image


def plain(color: Color = RED, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, color)


def quarters(size: tuple[int, int] = (64, 96)) -> Image.Image:
    """A picture whose corners tell how it stands: red, green over blue, white."""
    image = Image.new("RGB", size, WHITE)
    width, height = size[0] // 2, size[1] // 2
    image.paste(RED, (0, 0, width, height))
    image.paste(GREEN, (width, 0, *size))
    image.paste(BLUE, (0, height, width, size[1]))
    image.paste(WHITE, (width, height, *size))
    return image


def corners(image: Image.Image) -> list[Color]:
    x, y = image.width - 9, image.height - 9
    return [color_at(image, 8, 8), color_at(image, x, 8), color_at(image, 8, y), color_at(image, x, y)]


def color_at(image: Image.Image, x: int, y: int) -> Color:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def near(found: Color, wanted: Color, by: int = 6) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def middle(picture: Picture) -> Color:
    return color_at(decode(picture), picture.width // 2, picture.height // 2)


def png(width: int, height: int, depth: int, color_type: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: what Pillow reads and cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * height)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_becomes_a_jpeg_named_by_its_hash(kind: str) -> None:
    # Given
    data = encode(quarters(), kind)
    # When
    picture = normalise(data)
    # Then
    assert (picture.width, picture.height) == (64, 96)
    assert picture.sha256 == hashlib.sha256(picture.data).hexdigest()
    assert all(map(near, corners(decode(picture)), [RED, GREEN, BLUE, WHITE], [40] * 4))
    assert normalise(data) == picture


@pytest.mark.parametrize(
    ("size", "longest_side", "result"),
    [
        ((3000, 1500), 2048, (2048, 1024)),
        ((1500, 3000), 2048, (1024, 2048)),
        ((2048, 2048), 2048, (2048, 2048)),
        ((100, 80), 2048, (100, 80)),
        ((1001, 500), 100, (100, 50)),
        ((6000, 4000), 300, (300, 200)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_longest_side_is_limited_and_nothing_is_made_larger(
    kind: str, size: tuple[int, int], longest_side: int, result: tuple[int, int]
) -> None:
    picture = normalise(encode(quarters(size), kind), longest_side)
    assert (picture.width, picture.height) == result
    assert all(map(near, corners(decode(picture)), [RED, GREEN, BLUE, WHITE]))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    data = encode(plain(RED), kind, save_all=True, append_images=[plain(BLUE)], duration=100)
    assert near(middle(normalise(data)), RED)


@pytest.mark.parametrize("name", ["garment.webp", "model.webp"])
def test_a_photograph_stays_what_it_was(name: str) -> None:
    if not (PHOTOS / name).exists():
        pytest.skip("the photographs are not part of the repository")
    # Given a photograph
    data = (PHOTOS / name).read_bytes()
    with Image.open(io.BytesIO(data)) as photo:
        before = photo.convert("RGB")
    # When
    after = decode(normalise(data))
    # Then the two differ by a JPEG's rounding only
    assert after.size == before.size
    pixels = zip(before.resize((8, 8)).tobytes(), after.resize((8, 8)).tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pixels) <= 3


# ---------------------------------------------------------------- nothing but pixels survives

UPRIGHT = [RED, GREEN, BLUE, WHITE]


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    data[ExifTags.Base.Make] = "SECRET maker"
    data.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSDateStamp] = "SECRET gps"
    return data


def segments(jpeg: bytes) -> list[int]:
    """The markers of a JPEG up to its pixels."""
    markers, at = [], 2
    while jpeg[at + 1] != 0xDA:
        markers.append(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return markers


def assert_only_pixels(picture: Picture) -> None:
    # JFIF's header, quantisation, frame, Huffman tables; no APP1 to APP15, no comment.
    assert set(segments(picture.data)) == {0xE0, 0xDB, 0xC0, 0xC4}
    assert b"SECRET" not in picture.data
    assert picture.data.endswith(b"\xff\xd9")
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(decode(picture).info)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_picture_stands_upright_and_loses_its_metadata(kind: str, orientation: int) -> None:
    # Given a picture turned as a camera would store it, with where and by whom it was taken
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    image = quarters() if turned is None else quarters().transpose(turned)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(image, kind, exif=exif(orientation), xmp=b"<x:xmpmeta>SECRET</x:xmpmeta>", **options)
    assert b"SECRET gps" in data
    # When
    picture = normalise(data)
    # Then
    assert all(map(near, corners(decode(picture)), UPRIGHT))
    assert_only_pixels(picture)


def test_comments_and_text_are_gone() -> None:
    jpeg = encode(plain(), "JPEG", comment=b"SECRET <script>")
    gif = encode(plain(), "GIF", comment=b"SECRET <script>")
    photoshop = jpeg[:2] + b"\xff\xed\0\x20Photoshop 3.0\0" + b"SECRET IPTC ....".ljust(16) + jpeg[2:]
    text = png(64, 64, 8, 0, bytes(64), (b"tEXt", b"Comment\0SECRET"), (b"zTXt", b"a\0\0" + zlib.compress(b"SECRET")))
    for data in (jpeg, gif, photoshop, text):
        assert_only_pixels(normalise(data))


def test_what_is_hidden_behind_a_picture_is_gone() -> None:
    # Given pictures that are also an archive or a page
    for kind in ("JPEG", "PNG", "GIF", "WEBP"):
        data = encode(plain(), kind) + b"PK\3\4 SECRET <script>alert(1)</script>"
        # When, Then
        assert_only_pixels(normalise(data))


@pytest.mark.parametrize(
    "broken", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 600]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_harms_no_picture(kind: str, broken: bytes) -> None:
    assert near(middle(normalise(encode(plain(), kind, exif=broken))), RED)


# ---------------------------------------------------------------- colour

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def display_p3() -> bytes:
    """Display P3: sRGB's curve with other primaries (XYZ, adapted to D50), written over those of an sRGB profile."""
    profile = bytearray(SRGB)
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in primaries[name]))
    return bytes(profile)


def printing_profile(lab_of_cyan: Color) -> bytes:
    """A CMYK profile by which paper is white, cyan has the Lab colour given (0..255 each), and the rest is black."""
    paper, black = (255, 128, 128), (0, 128, 128)
    colors = [paper if number == 0 else lab_of_cyan if number == 0b1000 else black for number in range(16)]
    straight = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0\x04\x03\x02\0" + identity + straight * 4 + b"".join(map(bytes, colors)) + straight * 3
    size = 128 + 4 + 12 + len(table)
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    header = (header.ljust(68, b"\0") + d50).ljust(128, b"\0")
    return header + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_display_p3_becomes_srgb() -> None:
    # Given a colour in Display P3, and what it is in sRGB by the two spaces' matrices
    given_p3 = (200, 100, 50)
    linear = [(value / 255 + 0.055) ** 2.4 / 1.055**2.4 for value in given_p3]
    matrix = ((1.22494, -0.22494, 0.0), (-0.04206, 1.04206, 0.0), (-0.01964, -0.07864, 1.09828))
    wanted = tuple(
        round(255 * (1.055 * sum(a * b for a, b in zip(row, linear, strict=True)) ** (1 / 2.4) - 0.055))
        for row in matrix
    )
    assert not near(wanted, given_p3)
    for kind in ("PNG", "JPEG", "WEBP"):
        # When
        picture = normalise(encode(plain(given_p3), kind, icc_profile=display_p3()))
        # Then
        assert near(middle(picture), wanted)
        assert_only_pixels(picture)


def test_display_p3_with_transparency_and_palette_becomes_srgb() -> None:
    wanted = middle(normalise(encode(plain(RED), "PNG", icc_profile=display_p3())))
    for image in (plain(RED).convert("RGBA"), plain(RED).convert("P", palette=Image.Palette.ADAPTIVE)):
        picture = normalise(encode(image, "PNG", icc_profile=display_p3()))
        assert near(middle(picture), wanted, 2)


def test_an_srgb_profile_changes_nothing() -> None:
    assert near(middle(normalise(encode(plain(RED), "PNG", icc_profile=SRGB))), RED, 2)


def test_cmyk_goes_through_its_own_profile() -> None:
    # Given a press whose cyan is a strong red
    data = encode(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "JPEG", icc_profile=printing_profile((140, 200, 180)))
    # When
    picture = normalise(data)
    # Then
    red, green, blue = middle(picture)
    assert red > 200
    assert max(green, blue) < 100
    assert_only_pixels(picture)


@pytest.mark.parametrize(
    ("cmyk", "rgb"), [((0, 0, 0, 0), WHITE), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk_without_a_profile(cmyk: Color, rgb: Color) -> None:
    assert near(middle(normalise(encode(Image.new("CMYK", (64, 64), cmyk), "JPEG"))), rgb)


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", SRGB[:100], SRGB[:400], SRGB[:128] + bytes(len(SRGB) - 128), printing_profile((140, 200, 180))],
    ids=["nonsense", "header cut", "tags cut", "tags zero", "for other pixels"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_profile_that_cannot_be_used_counts_as_none(kind: str, profile: bytes) -> None:
    assert near(middle(normalise(encode(plain(), kind, icc_profile=profile))), RED)


def test_grey_becomes_rgb_with_and_without_a_profile() -> None:
    for kind in ("JPEG", "PNG"):
        for options in ({}, {"icc_profile": SRGB}):
            assert near(middle(normalise(encode(Image.new("L", (64, 64), 90), kind, **options))), (90, 90, 90), 2)


def test_sixteen_bits_become_eight() -> None:
    grey = Image.frombytes("I;16", (64, 64), struct.pack("<H", 0x5A80) * 64 * 64)
    assert near(middle(normalise(encode(grey, "PNG"))), (0x5A, 0x5A, 0x5A), 1)
    rgb = png(64, 64, 16, 2, struct.pack(">HHH", 0x5A80, 0x2010, 0xA0FF) * 64)
    assert near(middle(normalise(rgb)), (0x5A, 0x20, 0xA0), 3)


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (png(64, 64, 16, 0, struct.pack(">H", 0x5A80) * 32 + bytes(64), (b"tRNS", b"\0\0")), (0x5A,) * 3),
        (
            png(64, 64, 16, 2, struct.pack(">H", 0x5A80) * 96 + b"\x12\x34" * 96, (b"tRNS", b"\x12\x34" * 3)),
            (0x5A,) * 3,
        ),
        (png(64, 64, 8, 0, b"\x5a" * 32 + bytes(32), (b"tRNS", b"\0\0")), (0x5A,) * 3),
        (png(64, 64, 8, 2, b"\x5a" * 96 + bytes(96), (b"tRNS", bytes(6))), (0x5A,) * 3),
        (png(64, 64, 8, 4, b"\x5a\xff" * 32 + b"\x5a\0" * 32), (0x5A,) * 3),
        (png(64, 64, 8, 6, b"\x5a\x5a\x5a\xff" * 32 + bytes(128)), (0x5A,) * 3),
        (png(64, 64, 8, 3, bytes(32) + b"\1" * 32, (b"PLTE", b"\x5a" * 6), (b"tRNS", b"\xff\0")), (0x5A,) * 3),
        (png(64, 64, 1, 0, b"\0" * 4 + b"\xff" * 4, (b"tRNS", b"\0\1")), (0, 0, 0)),
        (png(64, 64, 1, 3, b"\0" * 4 + b"\xff" * 4, (b"PLTE", RED_ROW := bytes(RED) * 2), (b"tRNS", b"\xff\0")), RED),
    ],
    ids=["grey 16", "rgb 16", "grey", "rgb", "grey alpha", "rgba", "palette", "1 bit", "1 bit palette"],
)
def test_transparency_is_laid_on_white(data: bytes, left: Color) -> None:
    # Given a picture of which the right half is clear
    # When
    image = decode(normalise(data))
    # Then
    assert near(color_at(image, 8, 32), left)
    assert near(color_at(image, 56, 32), WHITE)


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(Image.new("RGBA", (64, 64), (0, 100, 200, 128)), kind, **options)
        assert near(middle(normalise(data)), (127, 177, 227))


def test_a_transparent_gif_is_laid_on_white() -> None:
    image = Image.new("P", (64, 64), 0)
    image.putpalette(bytes((*RED, *BLUE)))
    image.paste(1, (32, 0, 64, 64))
    result = decode(normalise(encode(image, "GIF", transparency=1)))
    assert near(color_at(result, 8, 32), RED)
    assert near(color_at(result, 56, 32), WHITE)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<html><img src=x>", "an HTML page"),
        (b"<html>" + encode(Image.new("RGB", (64, 64)), "JPEG"), "an HTML page"),
        (encode(Image.new("RGB", (64, 64)), "BMP"), "a BMP picture"),
        (encode(Image.new("RGB", (64, 64)), "TIFF"), "a TIFF picture"),
        (encode(Image.new("RGB", (64, 64)), "ICO"), "an icon"),
        (encode(Image.new("RGB", (64, 64)), "PDF"), "a PDF"),
        (b"\0\0\0\x1cftypheic", "an AVIF or HEIC picture"),
        (b"\0\0\0\x1cftypavif", "an AVIF or HEIC picture"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a file of another kind"),
    ],
)
def test_other_formats_are_refused_and_named(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=f"This is {says}, not a picture. Use a JPEG"):
        normalise(data)


def jpeg_of(width: int, height: int) -> bytes:
    data = encode(Image.new("RGB", (64, 64)), "JPEG")
    frame = data.index(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


HUGE = {
    "png": png(50_000, 50_000, 8, 2, b""),
    "jpeg": jpeg_of(50_000, 50_000),
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 50_000, 50_000, 0, 0, 0)
    + b","
    + struct.pack("<HHHHB", 0, 0, 9, 9, 0)
    + b"\x08",
    "gif frame": b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 9999, 9999, 0),
    "webp canvas": b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + (49_999).to_bytes(3, "little") * 2 + bytes(99),
    "webp lossy": b"RIFF\xff\0\0\0WEBPVP8 \xf0\0\0\0\x10\0\0\x9d\x01\x2a"
    + struct.pack("<HH", 16383, 16383)
    + bytes(99),
    "webp lossless": b"RIFF\xff\0\0\0WEBPVP8L\xf0\0\0\0\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(99),
    "just over": png(8000, 5001, 8, 0, b""),
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE.keys())
def test_more_than_40_megapixels_are_refused_by_the_header(data: bytes) -> None:
    # Given a header that claims a huge picture, with no pixels behind it, which decoding would call damaged
    with pytest.raises(ImageError, match="more than 40 megapixels"):
        normalise(data)


def test_40_megapixels_are_taken_without_a_warning() -> None:
    picture = normalise(png(8000, 5000, 1, 0, bytes(1000)), 64)
    assert (picture.width, picture.height) == (64, 40)


def test_more_than_20_megabytes_are_refused() -> None:
    data = encode(plain(), "PNG")
    with pytest.raises(ImageError, match="larger than 20 MB"):
        normalise(data.ljust(imaging.MAX_BYTES + 1, b"\0"))
    assert normalise(data.ljust(imaging.MAX_BYTES, b"\0")).width == 64


@pytest.mark.parametrize(
    ("size", "says"),
    [((1, 1), "smaller than 32 x 32"), ((31, 500), "smaller than 32 x 32"), ((4000, 40), "far too thin")],
)
def test_too_small_or_too_thin(size: tuple[int, int], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        normalise(encode(plain(size=size), "PNG"))
    assert normalise(encode(plain(size=(32, 32)), "PNG")).width == 32


@pytest.mark.parametrize("zero", [(0, 64), (64, 0), (0, 0)])
def test_a_picture_without_pixels(zero: tuple[int, int]) -> None:
    for data in (png(*zero, 8, 0, b""), jpeg_of(*zero)):
        with pytest.raises(ImageError):
            normalise(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, part: float) -> None:
    # Given a picture with some detail, cut short
    noise = Image.effect_noise((200, 200), 80)
    data = encode(noise.convert("RGB"), kind)
    # When, Then
    with pytest.raises(ImageError, match="damaged or cut short"):
        normalise(data[: int(len(data) * part)])


def test_a_progressive_jpeg_cut_short_is_refused() -> None:
    data = encode(Image.effect_noise((200, 200), 80), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="damaged or cut short"):
        normalise(data[: len(data) // 2])


def test_a_jpeg_made_to_keep_its_decoder_busy_is_refused() -> None:
    # Given a progressive JPEG whose last scan is repeated, 65 bytes each
    data = encode(Image.new("L", (640, 640), 128), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    # When it is a few times more than usual, it is decoded; when it is thousands, not
    assert normalise(data[:-2] + scan * 20 + b"\xff\xd9").width == 640
    with pytest.raises(ImageError, match="far too many pieces"):
        normalise(data[:-2] + scan * 2000 + b"\xff\xd9")


def test_a_jpeg_of_very_many_segments_is_refused() -> None:
    data = encode(plain(), "JPEG")
    with pytest.raises(ImageError, match="far too many pieces"):
        normalise(data[:2] + b"\xff\xe1\0\x0aExif\0\0aa" * 5000 + data[2:])


SAMPLES = [encode(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=4)), max_size=5)
)
def test_whatever_the_bytes_it_is_a_picture_or_an_image_error(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    # Given a picture with bytes overwritten
    changed = bytearray(data)
    for at, new in changes:
        changed[at : at + len(new)] = new
    # When
    try:
        picture = normalise(bytes(changed), 256)
    except ImageError:
        return
    # Then
    assert_only_pixels(picture)
