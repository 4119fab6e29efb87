"""The stand-ins' pictures: the same from the same, of the size asked for, and never a failure."""

from __future__ import annotations

from hashlib import shake_256
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image, ImageChops, ImageStat

from local.art import MODEL_NAMES, PHOTO_SIZE, Category, contact_sheet, draw_garment, draw_model, try_on

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
TITLES = (
    "Blue Cotton T-Shirt", "Plaid Flannel Shirt", "Chiffon Blouse", "Grey Hoodie", "Knit Sweater", "Lavender Cardigan",
    "Denim Jacket", "Beige Blazer", "Trench Coat", "Striped Tank Top", "Pleated Skirt", "Skinny Jeans", "Wide Trousers",
    "Yoga Leggings", "Khaki Shorts", "Floral Dress", "Evening Gown", "Olive Jumpsuit", "An unheard-of thing", "",
)  # fmt: skip


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), shake_256(b"noise").digest(width * height * 3))


def changed(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, in levels."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("title", TITLES)
def test_equal_titles_and_seeds_give_equal_garments(title: str) -> None:
    # When the same garment is drawn again, and others
    one, again = draw_garment(title, 7), draw_garment(title, 7)
    other_seed, other_title = draw_garment(title, 8), draw_garment(f"{title} II", 7)

    # Then only the same one is the same
    assert one.tobytes() == again.tobytes()
    assert len({picture.tobytes() for picture in (one, other_seed, other_title)}) == 3


def test_a_garment_has_its_size_its_colour_and_a_light_ground() -> None:
    garment = draw_garment("Red T-Shirt", 1, size=(400, 500))

    red, green, blue = ImageStat.Stat(garment.crop((180, 200, 220, 240))).mean
    corners = [garment.getpixel((x, y)) for x in (0, 399) for y in (0, 499)]
    assert (garment.mode, garment.size) == ("RGB", (400, 500))
    assert red > 1.5 * max(green, blue)
    assert all(min(corner) > 225 for corner in corners if isinstance(corner, tuple))


@pytest.mark.parametrize("name", [*MODEL_NAMES, "man_50_asian", "anyone"])
def test_models_are_drawn_by_name(name: str) -> None:
    assert draw_model(name).size == PHOTO_SIZE
    assert draw_model(name, (96, 128)).tobytes() == draw_model(name, (96, 128)).tobytes()


def test_no_two_models_are_alike() -> None:
    assert len({draw_model(name, (96, 128)).tobytes() for name in (*MODEL_NAMES, "a", "b", "c")}) == 6


@pytest.mark.parametrize(
    ("title", "category", "worn", "bare"),
    [
        ("Blue T-Shirt", "upper", (384, 380), (384, 700)),
        ("Blue Trousers", "lower", (324, 700), (384, 300)),
        ("Blue Dress", "overall", (384, 560), (384, 960)),
    ],
)
def test_a_garment_is_worn_where_its_category_says(
    title: str, category: Category, worn: tuple[int, int], bare: tuple[int, int]
) -> None:
    # Given a garment and a person
    person = draw_model("woman_25_latina")

    # When the person tries it on
    preview = try_on(draw_garment(title, 3), person, category)

    # Then it covers the right part of the body, and neither the face nor what is left bare
    def around(place: tuple[int, int]) -> tuple[int, int, int, int]:
        return (place[0] - 8, place[1] - 8, place[0] + 8, place[1] + 8)

    assert changed(preview.crop(around(worn)), person.crop(around(worn))) > 20
    for same in (bare, (384, 140)):
        assert changed(preview.crop(around(same)), person.crop(around(same))) < 2


def test_a_light_garment_is_cut_from_its_light_ground() -> None:
    # Given a white hoodie on white
    person = draw_model("man_30_black")

    preview = try_on(draw_garment("White Hoodie", 1), person, "upper")

    # Then its cloth is on the sleeves, and its ground is not around them
    assert changed(preview.crop((510, 360, 524, 374)), person.crop((510, 360, 524, 374))) > 60
    assert changed(preview.crop((100, 100, 140, 700)), person.crop((100, 100, 140, 700))) < 1


ODD = {
    "one pixel": Image.new("RGB", (1, 1)),
    "white": Image.new("RGB", (300, 400), "white"),
    "black": Image.new("RGB", (50, 40)),
    "skin": Image.new("RGB", (300, 400), (214, 160, 124)),
    "noise": noise(120, 160),
    "wide": noise(900, 8),
    "tall": noise(8, 900),
    "grey": Image.linear_gradient("L"),
    "see-through": Image.new("RGBA", (80, 80), (200, 40, 40, 90)),
    "a model": draw_model("woman_45_caucasian", (384, 512)),
    "a garment": draw_garment("Tan Dress", 2, (160, 200)),
}


@pytest.mark.parametrize("category", get_args(Category))
@pytest.mark.parametrize("garment", ODD)
def test_any_pictures_give_a_preview(garment: str, category: Category) -> None:
    for person in ODD.values():
        preview = try_on(ODD[garment], person, category, (192, 256))
        assert (preview.mode, preview.size) == ("RGB", (192, 256))


def test_the_preview_is_marked_and_repeatable() -> None:
    plain = Image.new("RGB", PHOTO_SIZE, (120, 140, 160))

    preview = try_on(noise(40, 40), plain, "upper")

    corner = (600, 960, 768, 1024)
    assert changed(preview.crop(corner), plain.crop(corner)) > 2, "there is a mark in the corner"
    assert preview.tobytes() == try_on(noise(40, 40), plain, "upper").tobytes()


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the shared photographs are not beside the project")
def test_photographs_work_too() -> None:
    # Given a photograph of a person, and one of a garment that someone wears
    with Image.open(PHOTOS / "model.webp") as person, Image.open(PHOTOS / "garment.webp") as garment:
        # When the one tries on the other
        before = try_on(Image.new("RGB", (9, 9)), person, "lower").crop((0, 0, 768, 420))
        preview = try_on(garment, person, "upper")

    # Then the black shirt is on the body, and the wearer's face is not
    torso = preview.crop((440, 330, 600, 520))
    assert sum(ImageStat.Stat(torso).median) / 3 < 60
    face = (430, 60, 520, 180)
    assert changed(preview.crop(face), before.crop(face)) < 1


@pytest.mark.parametrize(("entries", "columns"), [(0, 4), (1, 4), (5, 2), (3, 0)])
def test_a_contact_sheet_holds_all_entries(entries: int, columns: int) -> None:
    pictures = [
        (draw_garment("Shirt", seed, (80, 100)), f"Chemise d'été \u2013 No. {seed}\nfür alle " * 9) for seed in range(5)
    ]

    sheet = contact_sheet(pictures[:entries], columns, "Ein langer Titel: " + "Mode " * 40)

    rows = -(-entries // max(1, columns))
    assert sheet.mode == "RGB"
    assert sheet.width >= max(1, columns) * 300
    assert rows * 400 <= sheet.height < rows * 550 + 300
