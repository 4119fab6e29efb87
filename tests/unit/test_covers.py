"""Covers: the same from the same, others for another nonce, and of any picture."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageStat

from local.art import draw_cover, draw_garment

SIZES = [(1024, 1024), (1536, 1024), (1024, 1536), (96, 128), (40, 16)]
SHIRT = draw_garment("Blue Shirt", 1, (160, 200))


@pytest.mark.parametrize("reference", [None, SHIRT])
@pytest.mark.parametrize("size", SIZES)
def test_a_cover_has_its_size_and_follows_from_its_arguments(
    size: tuple[int, int], reference: Image.Image | None
) -> None:
    one, again = (draw_cover("A calm cover", size, reference, "1") for _ in range(2))

    assert (one.mode, one.size) == ("RGB", size)
    assert one.tobytes() == again.tobytes()


@pytest.mark.parametrize("reference", [None, SHIRT])
def test_no_two_nonces_or_prompts_give_the_same_cover(reference: Image.Image | None) -> None:
    covers = [draw_cover("A calm cover", (192, 128), reference, str(nonce)) for nonce in range(20)]
    covers += [draw_cover(f"Cover {number}", (192, 128), reference) for number in range(20)]

    assert len({cover.tobytes() for cover in covers}) == 40


@pytest.mark.parametrize("colour", [(200, 20, 20, 255), (0, 0, 0, 0)])
def test_the_reference_is_in_the_middle_and_clear_parts_are_white(colour: tuple[int, int, int, int]) -> None:
    cover = draw_cover("A calm cover", (200, 300), Image.new("RGBA", (50, 50), colour))

    assert cover.getpixel((100, 150)) == (colour[:3] if colour[3] else (255, 255, 255))
    assert cover.getpixel((3, 3)) != cover.getpixel((100, 150))


@pytest.mark.parametrize("size", [(1, 1), (900, 8), (8, 900)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_any_picture_may_be_the_reference(mode: str, size: tuple[int, int]) -> None:
    assert draw_cover("A calm cover", (96, 64), Image.new(mode, size)).size == (96, 64)


def test_a_cover_is_marked() -> None:
    cover = draw_cover("A calm cover", (1024, 1024), SHIRT)

    def contrast(left: int, top: int) -> float:
        """How much a corner's pixels differ from their mean, in levels."""
        corner = cover.crop((left, top, left + 124, top + 64))
        plain = corner.resize((1, 1), Image.Resampling.BOX).resize(corner.size)
        return sum(ImageStat.Stat(ImageChops.difference(corner, plain)).mean) / 3

    assert contrast(900, 960) > 8
    assert contrast(0, 0) < 4
