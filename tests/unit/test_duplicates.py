"""Near-duplicates: exactly what brute force finds; pictures that look the same have hashes that are near."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageDraw

from lookbook import duplicates, imaging, shapes
from lookbook.api import cursor as cursors
from lookbook.api import duplicates as api
from lookbook.duplicates import DISTANCE, Member, SourcePicture, groups
from lookbook.errors import ImageError, InputError
from lookbook.tables import Product, ProductsByPicture

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos"

TELLING = 0x0F1E2D3C4B5A6978


def picture(number: int, value: int, sha256: str = "") -> SourcePicture:
    return SourcePicture(f"P{number}", sha256 or f"sha{number}", f"{value:016x}")


def pictures(*values: int) -> list[SourcePicture]:
    return [picture(number, value) for number, value in enumerate(values)]


def found(given_pictures: list[SourcePicture]) -> list[list[tuple[str, int]]]:
    return [[(member.product_id, member.distance) for member in group] for group in groups(given_pictures)]


def flip(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def dice_of(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 - the same numbers each time


def flips(value: int, count: int, dice: random.Random) -> int:
    return flip(value, *dice.sample(range(64), count))


# ---------------------------------------------------------------- groups


def by_brute_force(given_pictures: list[SourcePicture]) -> list[list[Member]]:
    """Compare each with each, and spread numbers until nothing changes."""

    def telling(value: int) -> bool:
        return DISTANCE < value.bit_count() < 64 - DISTANCE

    values = [int(each.dhash, 16) for each in given_pictures]
    numbers = list(range(len(values)))
    pairs = [
        (a, b)
        for a in range(len(values))
        for b in range(a)
        if given_pictures[a].sha256 == given_pictures[b].sha256
        or (telling(values[a]) and telling(values[b]) and (values[a] ^ values[b]).bit_count() <= DISTANCE)
    ]
    while changes := [(a, b) for a, b in pairs if numbers[a] != numbers[b]]:
        for a, b in changes:
            numbers[a] = numbers[b] = min(numbers[a], numbers[b])
    together = [[n for n in range(len(values)) if numbers[n] == number] for number in sorted(set(numbers))]
    return [
        [Member(given_pictures[n].product_id, (values[n] ^ values[group[0]]).bit_count()) for n in group]
        for group in together
        if len(group) > 1
    ]


HASHES = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sets(st.integers(0, 63), max_size=9).map(lambda bits: flip(TELLING, *bits)),  # near each other
    st.sets(st.integers(0, 63), max_size=9).map(lambda bits: flip(0, *bits)),  # flat, or just not
    st.sets(st.integers(0, 63), max_size=9).map(lambda bits: flip(2**64 - 1, *bits)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(HASHES, st.integers(0, 30)), max_size=40))
def test_the_groups_are_those_of_brute_force(values: list[tuple[int, int]]) -> None:
    # Given some pictures, a few of them the same bytes: then their hashes are the same as well
    first = {f"sha{sha}": value for value, sha in reversed(values)}
    given_pictures = [picture(n, first[f"sha{sha}"], f"sha{sha}") for n, (_, sha) in enumerate(values)]
    # When, Then
    assert groups(given_pictures) == by_brute_force(given_pictures)


@pytest.mark.parametrize("away", [3, 7, 10])
@pytest.mark.parametrize("centres", [1, 60])
@pytest.mark.parametrize("free", [14, 30, 64])
@pytest.mark.parametrize("blocks", [8, 9, 10])
def test_crowds_are_grouped_as_by_brute_force(
    centres: int, away: int, free: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given hashes in clouds of each size and density, and each way to find those that are near
    monkeypatch.setattr(duplicates, "_BLOCKS", (blocks,))
    dice = dice_of((centres, away, free))
    middles = [flip(TELLING, *dice.sample(range(free), free // 2)) for _ in range(centres)]
    values = [flip(dice.choice(middles), *dice.sample(range(free), away)) for _ in range(400)]
    given_pictures = pictures(*values)
    # When, Then
    assert groups(given_pictures) == by_brute_force(given_pictures)


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), min_size=7, max_size=7), st.integers(0, 9))
def test_six_bits_are_near_and_seven_are_not(value: int, bits: set[int], seed: int) -> None:
    # Given two hashes seven bits apart, neither of them flat, among many others
    dice = dice_of(seed)
    others = [dice.getrandbits(64) for _ in range(100)]
    value = flip(TELLING, *[bit for bit in range(0, 64, 4) if value >> bit & 1])
    seven = flip(value, *bits)
    six = flip(seven, min(bits))
    crowd = [picture(n + 2, other) for n, other in enumerate(others)]
    # When, Then
    assert found([picture(0, value), picture(1, six), *crowd]) == [[("P0", 0), ("P1", 6)]]
    assert found([picture(0, value), picture(1, seven), *crowd]) == []


def test_what_hangs_together_by_others_is_one_group_in_the_order_given() -> None:
    a, b, c = TELLING, flip(TELLING, *range(6)), flip(TELLING, *range(12))
    apart = flip(TELLING, *range(30, 50))
    assert found(pictures(apart, c, a)) == []
    assert found(pictures(apart, c, a, b)) == [[("P1", 0), ("P2", 12), ("P3", 6)]]
    assert found(pictures(b, apart, a, flip(apart, 1), c)) == [
        [("P0", 0), ("P2", 6), ("P4", 6)],
        [("P1", 0), ("P3", 1)],
    ]


@pytest.mark.parametrize("flat", [0, 1, 0b111111 << 20, 2**64 - 1, flip(2**64 - 1, 3, 40)])
def test_flat_pictures_are_duplicates_by_their_bytes_only(flat: int) -> None:
    # Given plain pictures, two of them the same file
    given_pictures = [picture(0, flat), picture(1, flat, "same"), picture(2, flip(flat, 7)), picture(3, flat, "same")]
    # When, Then
    assert found(given_pictures) == [[("P1", 0), ("P3", 0)]]


def test_a_flat_picture_is_no_bridge() -> None:
    # Given two hashes of eight bits, ten apart, and a flat one between them
    one, other = flip(0, *range(8)), flip(0, *range(5, 13))
    assert found(pictures(one, 0b11100000, other)) == []


def test_nothing_and_one_picture_make_no_group() -> None:
    assert found([]) == []
    assert found(pictures(TELLING)) == []
    assert found(pictures(0)) == []


@pytest.mark.parametrize("value", [TELLING, 0])
def test_tens_of_thousands_with_the_same_hash(value: int) -> None:
    dice = dice_of(1)
    same = [picture(n, value, "same" if value == 0 else "") for n in range(30_000)]
    others = [picture(n, dice.getrandbits(64)) for n in range(30_000, 32_000)]
    assert [len(group) for group in groups([*others, *same])] == [30_000]


def test_tens_of_thousands_with_nearly_the_same_hash() -> None:
    given_pictures = pictures(*(TELLING ^ number << 20 for number in range(20_000)))
    assert [len(group) for group in groups(given_pictures)] == [20_000]


def test_pairs_are_found_among_many() -> None:
    # Given 10,000 hashes, and 500 more that are up to six bits from one of these
    dice = dice_of(2)
    values = [dice.getrandbits(64) for _ in range(10_000)]
    near = [flips(values[n], n % 7, dice) for n in range(500)]
    # When, Then
    assert found(pictures(*values, *near)) == [[(f"P{n}", 0), (f"P{10_000 + n}", n % 7)] for n in range(500)]


# ---------------------------------------------------------------- hashes of pictures


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def distance(one: bytes, other: bytes) -> int:
    return (int(imaging.dhash(one), 16) ^ int(imaging.dhash(other), 16)).bit_count()


def drawing(size: tuple[int, int] = (800, 1000)) -> Image.Image:
    """A dress of a kind on white, lit from one side."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    width, height = size
    for x in range(width // 4, 3 * width // 4):
        depth = 100 + x * 100 // width
        draw.line(((x, height // 8 + abs(x - width // 2)), (x, 7 * height // 8)), (depth, 40, 250 - depth))
    draw.rectangle((width // 3, height // 2, width // 2, height // 2 + height // 10), "black")
    return image


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """Parts of the drawing, and of the photographs where they are."""
    images = {"drawing": drawing()}
    for path in sorted(PHOTOS.glob("*.webp")):
        with Image.open(path) as photo:
            images[path.stem] = photo.convert("RGB")
    for name, image in images.items():
        width, height = image.size
        yield name, image
        if name != "drawing":
            yield f"{name}'s upper half", image.crop((0, 0, width, height // 2))
            yield f"{name}'s lower half", image.crop((0, height // 2, width, height))


PICTURES = dict(photographs())


def test_a_hash_has_sixteen_digits_and_says_where_it_gets_brighter() -> None:
    # Given a picture that gets brighter from left to right in its upper half, and darker in its lower one
    ramp = Image.linear_gradient("L").rotate(90).resize((256, 128))
    image = Image.new("L", (256, 256))
    image.paste(ramp, (0, 0))
    image.paste(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (0, 128))
    # When, Then
    assert imaging.dhash(encode(image, "PNG")) == "ffffffff00000000"
    assert imaging.dhash(encode(image.rotate(180), "PNG")) == "ffffffff00000000"
    assert imaging.dhash(encode(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), "PNG")) == "00000000ffffffff"


@pytest.mark.parametrize("color", ["white", "black", (200, 30, 40)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_plain_picture_has_the_hash_0(kind: str, color: Any) -> None:
    assert imaging.dhash(encode(Image.new("RGB", (300, 200), color), kind)) == "0" * 16


@pytest.mark.parametrize("name", PICTURES)
def test_normalise_hands_out_the_same_hash(name: str) -> None:
    data = encode(PICTURES[name], "JPEG", quality=90)
    assert imaging.normalise(data, 1024).dhash == imaging.dhash(data)
    assert (int(imaging.normalise(data).dhash, 16) ^ int(imaging.dhash(data), 16)).bit_count() <= 2


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_saved_anew_is_near(name: str) -> None:
    # Given a picture, and what shops make of it
    image = PICTURES[name]
    original = encode(image, "JPEG", quality=95)
    half = image.resize((image.width // 2, image.height // 2))
    third = image.resize((image.width // 3, image.height // 3))
    others = {
        "quality 40": encode(image, "JPEG", quality=40),
        "half the size": encode(half, "JPEG", quality=85),
        "a third, quality 40": encode(third, "JPEG", quality=40),
        "twice the size": encode(image.resize((image.width * 2, image.height * 2)), "JPEG", quality=85),
        "PNG": encode(image, "PNG"),
        "WebP": encode(image, "WEBP", quality=75),
        "small WebP": encode(half, "WEBP", quality=50),
        "progressive, no subsampling": encode(image, "JPEG", quality=75, progressive=True, subsampling=0),
        "grey": encode(image.convert("L"), "JPEG", quality=75),
    }
    # When, Then
    assert {how: away for how, other in others.items() if (away := distance(original, other)) > DISTANCE} == {}


def test_different_pictures_are_far_apart() -> None:
    data = {name: encode(image, "JPEG") for name, image in PICTURES.items()}
    near = [(a, b) for a in data for b in data if a < b and distance(data[a], data[b]) <= 2 * DISTANCE]
    assert near == []


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_picture_that_lies_on_its_side_by_its_exif_is_the_same(orientation: int) -> None:
    # Given a picture stored turned, with the note that it is
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = drawing().transpose(turn)
    # When, Then
    upright = encode(drawing(), "JPEG")
    assert distance(upright, encode(turned, "JPEG", exif=exif)) <= 2
    assert distance(upright, encode(turned, "JPEG")) > DISTANCE


def test_a_clear_ground_is_a_white_one() -> None:
    # Given the drawing cut out, with colours left under what is clear
    image = drawing().convert("RGBA")
    cut = Image.new("RGBA", image.size, (0, 90, 0, 0))
    cut.paste(image, mask=image.convert("L").point(lambda grey: 255 * (grey < 250)))
    # When, Then
    assert distance(encode(image.convert("RGB"), "PNG"), encode(cut, "PNG")) <= 1


def test_what_is_no_picture_is_refused() -> None:
    for data in (b"", b"<html>", encode(drawing(), "JPEG")[:5000], encode(Image.new("RGB", (9, 8)), "PNG")):
        with pytest.raises(ImageError):
            imaging.dhash(data)


# ---------------------------------------------------------------- the API's list


def product(product_id: str, value: int, images: int = 0, sha256: str = "") -> Product:
    return Product(
        product_id,
        title=f"Title of {product_id}",
        source_seen=f"{sha256 or product_id} https://example.com/{product_id}.jpg",
        source_dhash=f"{value:016x}",
        variants=set(range(1, images + 1)) or None,
        cover_image_id=f"cover-{product_id}" if images else None,
    )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[Product]:
    """What the index holds; a test may change it."""
    held: list[Product] = []
    monkeypatch.setattr(ProductsByPicture, "query", lambda _index, _listing: iter(held))
    monkeypatch.setattr(api, "_url", lambda image_id: f"https://bucket/{image_id}")
    return held


def ids(answer: shapes.Duplicates) -> list[list[str]]:
    return [[each["product_id"] for each in group["products"]] for group in answer["groups"]]


A, B, C, D = TELLING, ~TELLING & (2**64 - 1), 0x00FF00FF00FF00FF, 0x3333333300FF33CC


def test_groups_where_images_can_be_shared_come_first_then_larger_ones(library: list[Product]) -> None:
    # Given a group without images, a larger one in which all have some, two in which some have, and a single product
    library += [product("a1", A), product("a2", A)]
    library += [product("b1", B, 3), product("b2", B, 3), product("b3", flip(B, 1), 3)]
    library += [product("c1", C), product("c2", flip(C, 1, 2), 2), product("c3", 0, 1, "x"), product("c0", 0, 0, "x")]
    library += [product("d", D, 3)]
    # When
    answer = api.list_duplicates()
    # Then
    assert ids(answer) == [["c2", "c1"], ["c3", "c0"], ["b1", "b2", "b3"], ["a1", "a2"]]
    assert (answer["compared"], answer["cursor"]) == (10, None)
    assert answer["groups"][0] == {
        "products": [
            {
                "product_id": "c2",
                "title": "Title of c2",
                "image_count": 2,
                "cover_url": "https://bucket/cover-c2",
                "distance": 0,
            },
            {"product_id": "c1", "title": "Title of c1", "image_count": 0, "cover_url": None, "distance": 2},
        ],
        "product_count": 2,
    }


def test_pages_go_on_after_the_last_group_even_if_groups_change(library: list[Product]) -> None:
    library += [
        product(f"{name}{n}", value, n) for name, value in zip("abcd", (A, B, C, D), strict=True) for n in (0, 1)
    ]
    # Given the first two of four groups
    first = api.list_duplicates(limit=2)
    assert ids(first) == [["a1", "a0"], ["b1", "b0"]]
    # When the offer for the first group is taken up, so that it moves to the end
    library[0].variants = {1}
    second = api.list_duplicates(limit=2, cursor=first["cursor"])
    last = api.list_duplicates(limit=2, cursor=second["cursor"])
    # Then no group is left out
    assert ids(second) == [["c1", "c0"], ["d1", "d0"]]
    assert ids(last) == [["a0", "a1"]]
    assert last["cursor"] is None


def test_of_a_large_group_some_with_and_some_without_images_are_shown(library: list[Product]) -> None:
    library += [product(f"P{n:03}", A, n % 2) for n in range(200)]
    answer = api.list_duplicates()
    [group] = answer["groups"]
    assert group["product_count"] == answer["compared"] == 200
    assert [each["image_count"] for each in group["products"]] == [1] * 10 + [0] * 10


def test_an_empty_library_has_no_duplicates(library: list[Product]) -> None:
    assert library == []
    assert api.list_duplicates() == {"groups": [], "compared": 0, "cursor": None}


@pytest.mark.parametrize("position", [7, [], ["x", 1, "y"], [True, 1], {"a": 1}, [True, "x", "y"], [False, 1, None]])
def test_a_cursor_of_another_list_is_refused(library: list[Product], position: Any) -> None:
    assert library == []
    with pytest.raises(InputError, match="start without it"):
        api.list_duplicates(cursor=cursors.encode(position))
