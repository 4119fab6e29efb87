"""Fabrics: colours by name, and patterns as pictures to paint with."""

import math
from collections.abc import Callable
from hashlib import shake_256
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

from local.art.frame import INK, WHITE, Colour
from local.art.shapes import mix, tone

if TYPE_CHECKING:
    from local.art.garments import Look


COLOURS: dict[str, Colour] = {
    "black": (54, 53, 58), "white": (246, 246, 244), "grey": (150, 152, 158), "gray": (150, 152, 158),
    "charcoal": (72, 74, 80), "silver": (188, 191, 197), "navy": (38, 52, 88), "blue": (66, 108, 172),
    "denim": (74, 102, 146), "sky": (150, 192, 224), "teal": (38, 124, 126), "turquoise": (70, 176, 176),
    "mint": (172, 214, 192), "green": (76, 134, 92), "olive": (112, 114, 70), "khaki": (166, 152, 112),
    "sage": (160, 176, 150), "emerald": (26, 122, 88), "yellow": (236, 198, 88), "mustard": (206, 158, 56),
    "gold": (204, 168, 92), "golden": (204, 168, 92), "orange": (226, 132, 66), "rust": (176, 88, 54),
    "coral": (236, 128, 112), "peach": (244, 190, 160), "red": (190, 52, 56), "burgundy": (118, 36, 54),
    "wine": (118, 36, 54), "maroon": (112, 40, 46), "pink": (232, 158, 178), "rose": (212, 134, 146),
    "fuchsia": (204, 58, 126), "purple": (116, 78, 150), "violet": (124, 92, 170), "lavender": (184, 172, 216),
    "lilac": (196, 178, 214), "brown": (118, 82, 60), "chocolate": (84, 58, 46), "camel": (190, 148, 100),
    "tan": (198, 164, 124), "beige": (216, 200, 174), "cream": (242, 232, 208), "ivory": (244, 240, 226),
    "creme": (242, 232, 208),    "nude": (222, 190, 168), "leather": (62, 48, 44),
}  # fmt: skip
USUAL_COLOURS: tuple[Colour, ...] = (
    (58, 84, 128), (176, 88, 74), (88, 122, 100), (206, 158, 86), (122, 92, 140), (70, 72, 84), (196, 134, 142),
    (64, 124, 136), (152, 124, 100), (214, 196, 168), (140, 162, 186), (146, 60, 74),
)  # fmt: skip
PATTERNS: dict[str, str] = {
    "stripe": "stripes", "striped": "stripes", "stripes": "stripes", "pinstripe": "pinstripes", "breton": "stripes",
    "dot": "dots", "dots": "dots", "dotted": "dots", "polka": "dots", "spotted": "dots",
    "check": "check", "checked": "check", "checkered": "check", "plaid": "check", "tartan": "check",
    "gingham": "check", "flannel": "check",
    "floral": "floral", "flower": "floral", "flowers": "floral", "flowery": "floral", "botanical": "floral",
    "tropical": "floral", "hawaiian": "floral", "boho": "floral", "bohemian": "floral",
    "knit": "knit", "knitted": "knit", "cable": "knit", "crochet": "knit",
    "denim": "denim", "jean": "denim", "jeans": "denim",
}  # fmt: skip


def _texture(strength: int) -> Image.Image:
    """A tile of quiet, woven unevenness to multiply a fabric with."""
    grain = Image.frombytes("L", (48, 48), shake_256(b"weave").digest(48 * 48))
    across = grain.resize((96, 12)).resize((96, 96), Image.Resampling.BICUBIC)
    along = grain.transpose(Image.Transpose.ROTATE_90).resize((12, 96)).resize((96, 96), Image.Resampling.BICUBIC)
    weave = Image.blend(Image.blend(across, along, 0.5), grain.resize((96, 96)), 0.35)
    return weave.point([255 - strength + round(strength * value / 255) for value in range(256)])


def _stripes_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    height = max(6, round(22 * unit))
    tile = Image.new("RGB", (16, height), colour)
    tile.paste(accent, (0, 0, 16, round(height * 0.42)))
    return tile


def _pinstripes_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    width = max(6, round(13 * unit))
    tile = Image.new("RGB", (width, 16), colour)
    tile.paste(accent, (0, 0, max(1, round(unit * 1.6)), 16))
    return tile


def _dots_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    side = max(8, round(26 * unit))
    large = Image.new("RGB", (side * 3, side * 3), colour)
    draw = ImageDraw.Draw(large)
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        draw.ellipse(_around(x * side * 3, y * side * 3, side * 0.42), fill=accent)
    return large.reduce(3)


def _check_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    side = max(16, round(54 * unit))
    tile = Image.new("RGB", (side, side), colour)
    band, thin = round(side * 0.4), max(1, round(side * 0.035))
    overlay = Image.new("L", (side, side))
    cross = Image.new("L", (side, side))
    overlay.paste(120, (0, 0, band, side))
    cross.paste(120, (0, 0, side, band))
    tile.paste(accent, (0, 0), overlay)
    tile.paste(accent, (0, 0), cross)
    line = mix(accent, WHITE if tone(accent) < 120 else INK, 0.75)
    middle = round(side * 0.7)
    for box in ((middle, 0, middle + thin, side), (0, middle, side, middle + thin)):
        tile.paste(mix(colour, line, 0.6), box)
    return tile


def _floral_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    side = max(32, round(92 * unit))
    large = Image.new("RGB", (side * 2, side * 2), colour)
    draw = ImageDraw.Draw(large)
    leaf = mix((88, 124, 84), colour, 0.25)
    second = mix(accent, WHITE, 0.5)
    size = side * 2 / 92
    for x, y, radius, petals, turn, tint in (
        (24, 24, 13, 5, 0.2, accent), (70, 62, 11, 6, 0.7, accent), (68, 14, 7, 5, 0.4, second),
        (20, 68, 8, 5, 0.9, second), (46, 44, 5, 5, 0.1, second), (46, 86, 4, 5, 0.5, accent),
    ):  # fmt: skip
        for dx in (-92, 0, 92):  # flowers cross the tile's edges
            for dy in (-92, 0, 92):
                cx, cy = (x + dx) * size, (y + dy) * size
                for side_leaf in (0.9, -2.0):
                    lx, ly = (
                        cx + math.cos(turn + side_leaf) * radius * size * 1.5,
                        cy + math.sin(turn + side_leaf) * radius * size * 1.5,
                    )
                    draw.ellipse(_around(lx, ly, radius * size * 0.42), fill=leaf)
                for petal in range(petals):
                    angle = turn + petal * math.tau / petals
                    px, py = cx + math.cos(angle) * radius * size * 0.62, cy + math.sin(angle) * radius * size * 0.62
                    draw.ellipse(_around(px, py, radius * size * 0.48), fill=tint)
                draw.ellipse(_around(cx, cy, radius * size * 0.3), fill=mix((240, 204, 110), tint, 0.2))
    return large.reduce(2)


def _knit_tile(unit: float, colour: Colour, _accent: Colour) -> Image.Image:
    side = max(6, round(9 * unit))
    large = Image.new("RGB", (side * 4, side * 4), mix(colour, INK, 0.2))
    draw = ImageDraw.Draw(large)
    full, half = side * 4, side * 2
    for y in (-full, 0, full):
        draw.line([(0, y), (half, y + half)], fill=mix(colour, WHITE, 0.06), width=round(side * 1.7))
        draw.line([(full, y), (half, y + half)], fill=colour, width=round(side * 1.7))
    return large.reduce(4)


def _denim_tile(unit: float, colour: Colour, _accent: Colour) -> Image.Image:
    side = max(4, round(4 * unit))
    large = Image.new("RGB", (side * 3, side * 3), colour)
    draw = ImageDraw.Draw(large)
    for shift in (-3, 0, 3):
        draw.line([(shift * side, side * 3), ((shift + 3) * side, 0)], fill=mix(colour, WHITE, 0.16), width=side)
    return large.reduce(3)


_TILES: dict[str, Callable[[float, Colour, Colour], Image.Image]] = {
    "stripes": _stripes_tile, "pinstripes": _pinstripes_tile, "dots": _dots_tile, "check": _check_tile,
    "floral": _floral_tile, "knit": _knit_tile, "denim": _denim_tile,
}  # fmt: skip


def _around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return (x - radius, y - radius, x + radius, y + radius)


def _tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    row = Image.new(tile.mode, (size[0], tile.height))
    for x in range(0, size[0], tile.width):
        row.paste(tile, (x, 0))
    sheet = Image.new(tile.mode, size)
    for y in range(0, size[1], tile.height):
        sheet.paste(row, (0, y))
    return sheet


def woven(size: tuple[int, int], unit: float, look: "Look", turn: float = 0) -> Image.Image:
    """The garment's cloth over a whole picture; `unit` is pixels per body unit, `turn` degrees (for sleeves)."""
    if look.pattern in _TILES:
        tile = _TILES[look.pattern](unit, look.colour, look.accent)
        if turn:
            wide = _tiled(tile, (round(size[0] * 1.35), round(size[1] * 1.35))).rotate(turn, Image.Resampling.BILINEAR)
            left, top = (wide.width - size[0]) // 2, (wide.height - size[1]) // 2
            cloth = wide.crop((left, top, left + size[0], top + size[1]))
        else:
            cloth = _tiled(tile, size)
    else:
        cloth = Image.new("RGB", size, look.colour)
    grain = _tiled(_texture(30 if look.pattern == "denim" else 11), size)
    return ImageChops.multiply(cloth, Image.merge("RGB", (grain, grain, grain)))
