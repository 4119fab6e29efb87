"""The pictures that the stand-ins make: products, model photos, previews of a try-on, and contact sheets of them.

All of it is drawn by Pillow, with nothing to install or download, and from its arguments alone: equal arguments give
equal pixels on every machine with the same Pillow.

Garments and people are drawn in one *body frame*: x counts from the middle of the body to its left arm, y from the
picture's top, in pixels of a 768 x 1024 photo. A garment that was drawn therefore fits the people that were drawn;
`try_on` finds both again in pictures that came from elsewhere.
"""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import Literal, TypeVar

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

Category = Literal["upper", "lower", "overall"]
Colour = tuple[int, int, int]
Point = tuple[float, float]
Outline = list[Point]
Paint = Colour | Image.Image
Choice = TypeVar("Choice")

PHOTO_SIZE = (768, 1024)  # pixels; what CatVTON makes
PRODUCT_SIZE = (800, 1000)
MODEL_NAMES = ("woman_25_latina", "woman_45_caucasian", "man_30_black")

_SMOOTH = 3  # polygons are drawn this many times larger and averaged, for smooth edges
_WHITE: Colour = (255, 255, 255)
_INK: Colour = (38, 36, 40)


# ---------------------------------------------------------------------------------------------------------------------
# Choices and colours
# ---------------------------------------------------------------------------------------------------------------------


class _Dice:
    """Choices that look random and follow from a text: the same text gives the same choices, in every process."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._throws = 0

    def between(self, low: float, high: float) -> float:
        self._throws += 1
        digest = sha256(f"{self._throws}:{self._text}".encode()).digest()
        return low + (high - low) * int.from_bytes(digest[:6]) / (1 << 48)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.between(0, len(choices)))]


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of `other` in `one`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def _luma(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


# ---------------------------------------------------------------------------------------------------------------------
# Lines and shapes
# ---------------------------------------------------------------------------------------------------------------------


def _curve(points: Sequence[Point], steps: int = 7) -> Outline:
    """A smooth line (Catmull-Rom) through all points."""
    padded = [points[0], *points, points[-1]]
    line = [points[0]]
    for (ax, ay), (bx, by), (cx, cy), (dx, dy) in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(1, steps + 1):
            t = step / steps
            x = 2 * bx + (cx - ax) * t + (2 * ax - 5 * bx + 4 * cx - dx) * t**2 + (3 * bx - ax - 3 * cx + dx) * t**3
            y = 2 * by + (cy - ay) * t + (2 * ay - 5 * by + 4 * cy - dy) * t**2 + (3 * by - ay - 3 * cy + dy) * t**3
            line.append((x / 2, y / 2))
    return line


def _path(*strokes: Sequence[Point]) -> Outline:
    """One outline of smooth strokes, with corners where they meet."""
    return [point for stroke in strokes for point in _curve(stroke)]


def _mirror(outline: Iterable[Point]) -> Outline:
    return [(-x, y) for x, y in outline]


def _whole(half: Outline) -> Outline:
    """The outline of a symmetric shape from its half, which runs from top to bottom along the middle."""
    return half + _mirror(reversed(half))


def _ellipse(x: float, y: float, rx: float, ry: float) -> Outline:
    return [(x + rx * math.cos(a * math.pi / 18), y + ry * math.sin(a * math.pi / 18)) for a in range(36)]


@dataclass(frozen=True)
class _Fold:
    """A soft crease: light where `light` is positive (1 at most), dark where it is negative."""

    line: Sequence[Point]
    width: float
    light: float


class _Canvas:
    """A picture that is painted in the body frame.

    `scale` is pixels per unit, `origin` the pixel of (0, 0).
    """

    def __init__(self, picture: Image.Image, scale: float, origin: Point) -> None:
        self.picture = picture
        self.scale = scale
        self.origin = origin

    def fill(
        self,
        *outlines: Outline,
        paint: Paint,
        depth: float = 0,
        soft: float = 0,
        opacity: float = 1,
        folds: Sequence[_Fold] = (),
    ) -> None:
        """Paint shapes. `depth` (0..1) rounds them by darkening their edges, `soft` blurs them (in units)."""
        self._paint([(outline, 0.0) for outline in outlines], paint, depth, soft, opacity, folds)

    def line(self, *lines: Sequence[Point], width: float, paint: Paint, soft: float = 0, opacity: float = 1) -> None:
        self._paint([(line, width) for line in lines], paint, 0, soft, opacity, ())

    def _paint(
        self,
        shapes: Sequence[tuple[Sequence[Point], float]],
        paint: Paint,
        depth: float,
        soft: float,
        opacity: float,
        folds: Sequence[_Fold],
    ) -> None:
        margin = max(width for _, width in shapes) * self.scale + soft * self.scale * 3 + 2
        pixels = [([self._pixel(point) for point in line], width) for line, width in shapes]
        box = self._box([point for line, _ in pixels for point in line], margin)
        if box is None:
            return
        left, top, right, bottom = box
        mask = Image.new("L", ((right - left) * _SMOOTH, (bottom - top) * _SMOOTH))
        draw = ImageDraw.Draw(mask)
        for line, width in pixels:
            enlarged = [((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in line]
            if width:
                draw.line(enlarged, fill=255, width=max(1, round(width * self.scale * _SMOOTH)), joint="curve")
            else:
                draw.polygon(enlarged, fill=255)
        mask = mask.reduce(_SMOOTH)
        if soft:
            mask = mask.filter(ImageFilter.GaussianBlur(soft * self.scale))
        patch = paint.crop(box) if isinstance(paint, Image.Image) else Image.new("RGB", mask.size, paint)
        if depth:
            relief = self._relief(mask, depth, folds, (left, top))
            patch = ImageChops.multiply(patch, Image.merge("RGB", (relief, relief, relief)))
        if opacity < 1:
            mask = mask.point([round(value * opacity) for value in range(256)])
        self.picture.paste(patch, box, mask)

    def _pixel(self, point: Point) -> Point:
        return (self.origin[0] + point[0] * self.scale, self.origin[1] + point[1] * self.scale)

    def _box(self, points: Sequence[Point], margin: float) -> tuple[int, int, int, int] | None:
        left = max(0, math.floor(min(x for x, _ in points) - margin))
        top = max(0, math.floor(min(y for _, y in points) - margin))
        right = min(self.picture.width, math.ceil(max(x for x, _ in points) + margin))
        bottom = min(self.picture.height, math.ceil(max(y for _, y in points) + margin))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _relief(self, mask: Image.Image, depth: float, folds: Sequence[_Fold], corner: Point) -> Image.Image:
        """Light and shade over a shape, lit from the upper left; at a quarter of the size, since it is soft anyway."""
        small = mask.resize((max(1, mask.width // 4), max(1, mask.height // 4)), Image.Resampling.BOX)
        reach = max(2, round(self.scale * 3.2))
        lit = ImageOps.expand(small, border=reach * 3)
        lit = ImageChops.offset(lit, -reach // 2, -reach // 3).filter(ImageFilter.GaussianBlur(reach))
        lit = lit.crop((reach * 3, reach * 3, reach * 3 + small.width, reach * 3 + small.height))
        peak, floor = 242, 255 * (1 - depth)
        relief = lit.point([round(min(peak, floor + (peak - floor) * (value / 205) ** 0.8)) for value in range(256)])
        for fold in folds:
            stroke = Image.new("L", small.size)
            line = [((x - corner[0]) / 4, (y - corner[1]) / 4) for x, y in map(self._pixel, _curve(fold.line))]
            ImageDraw.Draw(stroke).line(line, fill=255, width=max(1, round(fold.width * self.scale / 4)), joint="curve")
            stroke = stroke.filter(ImageFilter.GaussianBlur(fold.width * self.scale / 5))
            strength = stroke.point([round(value * abs(fold.light)) for value in range(256)])
            relief.paste(255 if fold.light > 0 else 90, (0, 0), strength)
        return relief.resize(mask.size, Image.Resampling.BICUBIC)


# ---------------------------------------------------------------------------------------------------------------------
# Fabrics
# ---------------------------------------------------------------------------------------------------------------------

_COLOURS: dict[str, Colour] = {
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
_USUAL_COLOURS: tuple[Colour, ...] = (
    (58, 84, 128), (176, 88, 74), (88, 122, 100), (206, 158, 86), (122, 92, 140), (70, 72, 84), (196, 134, 142),
    (64, 124, 136), (152, 124, 100), (214, 196, 168), (140, 162, 186), (146, 60, 74),
)  # fmt: skip
_PATTERNS: dict[str, str] = {
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
    line = _mix(accent, _WHITE if _luma(accent) < 120 else _INK, 0.75)
    middle = round(side * 0.7)
    for box in ((middle, 0, middle + thin, side), (0, middle, side, middle + thin)):
        tile.paste(_mix(colour, line, 0.6), box)
    return tile


def _floral_tile(unit: float, colour: Colour, accent: Colour) -> Image.Image:
    side = max(32, round(92 * unit))
    large = Image.new("RGB", (side * 2, side * 2), colour)
    draw = ImageDraw.Draw(large)
    leaf = _mix((88, 124, 84), colour, 0.25)
    second = _mix(accent, _WHITE, 0.5)
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
                draw.ellipse(_around(cx, cy, radius * size * 0.3), fill=_mix((240, 204, 110), tint, 0.2))
    return large.reduce(2)


def _knit_tile(unit: float, colour: Colour, _accent: Colour) -> Image.Image:
    side = max(6, round(9 * unit))
    large = Image.new("RGB", (side * 4, side * 4), _mix(colour, _INK, 0.2))
    draw = ImageDraw.Draw(large)
    full, half = side * 4, side * 2
    for y in (-full, 0, full):
        draw.line([(0, y), (half, y + half)], fill=_mix(colour, _WHITE, 0.06), width=round(side * 1.7))
        draw.line([(full, y), (half, y + half)], fill=colour, width=round(side * 1.7))
    return large.reduce(4)


def _denim_tile(unit: float, colour: Colour, _accent: Colour) -> Image.Image:
    side = max(4, round(4 * unit))
    large = Image.new("RGB", (side * 3, side * 3), colour)
    draw = ImageDraw.Draw(large)
    for shift in (-3, 0, 3):
        draw.line([(shift * side, side * 3), ((shift + 3) * side, 0)], fill=_mix(colour, _WHITE, 0.16), width=side)
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


def _fabric(size: tuple[int, int], unit: float, look: "_Look", turn: float = 0) -> Image.Image:
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


# ---------------------------------------------------------------------------------------------------------------------
# Garments
# ---------------------------------------------------------------------------------------------------------------------

_KINDS: dict[str, str] = {
    "t-shirt": "tshirt", "tshirt": "tshirt", "tee": "tshirt", "tees": "tshirt", "polo": "tshirt",
    "shirt": "shirt", "shirts": "shirt", "overshirt": "shirt", "button-down": "shirt",
    "blouse": "blouse", "tunic": "blouse", "kimono": "blouse",
    "hoodie": "hoodie", "hoody": "hoodie", "tracksuit": "hoodie",
    "sweater": "sweater", "jumper": "sweater", "pullover": "sweater", "sweatshirt": "sweater", "turtleneck": "sweater",
    "knitwear": "sweater", "cardigan": "cardigan",
    "jacket": "jacket", "bomber": "jacket", "windbreaker": "jacket", "anorak": "jacket", "fleece": "jacket",
    "blazer": "blazer", "suit": "blazer", "waistcoat": "blazer", "tuxedo": "blazer",
    "coat": "coat", "trench": "coat", "parka": "coat", "overcoat": "coat", "trenchcoat": "coat", "raincoat": "coat",
    "tank": "tank", "camisole": "tank", "cami": "tank", "vest": "tank", "bodysuit": "tank", "corset": "tank",
    "top": "tank", "bra": "tank", "singlet": "tank",
    "skirt": "skirt", "skirts": "skirt", "skort": "skirt",
    "shorts": "shorts", "bermudas": "shorts", "trunks": "shorts",
    "jeans": "jeans", "denims": "jeans",
    "trousers": "trousers", "pants": "trousers", "chinos": "trousers", "slacks": "trousers", "joggers": "trousers",
    "sweatpants": "trousers", "culottes": "trousers", "leggings": "leggings", "tights": "leggings",
    "dress": "dress", "frock": "dress", "sundress": "dress", "kaftan": "dress", "minidress": "dress",
    "gown": "gown", "ballgown": "gown",
    "jumpsuit": "jumpsuit", "romper": "jumpsuit", "playsuit": "jumpsuit", "overalls": "jumpsuit",
    "dungarees": "jumpsuit", "coverall": "jumpsuit",
}  # fmt: skip
_ASIDES = ("with", "for", "from", "and", "in")  # what follows them does not name the garment
_USUAL_KINDS = ("tshirt", "shirt", "dress", "sweater", "blouse", "jacket", "skirt", "trousers")
_USUAL_PATTERNS: dict[str, Sequence[str]] = {
    "tshirt": ("plain", "plain", "stripes"), "shirt": ("plain", "plain", "pinstripes", "check"),
    "blouse": ("plain", "plain", "dots", "floral"), "dress": ("plain", "dots", "floral", "floral"),
    "skirt": ("plain", "plain", "check", "floral"), "jumpsuit": ("plain", "plain", "dots"),
    "jeans": ("denim",), "sweater": ("knit",), "cardigan": ("knit",),
}  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """What a title (and, where it says nothing, the seed) makes a garment look like."""

    kind: str
    colour: Colour
    accent: Colour
    pattern: str
    words: frozenset[str]
    dice: _Dice

    def says(self, *words: str) -> bool:
        return not self.words.isdisjoint(words)


def _words(title: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", f" {title.lower()} ").replace("/", " ")
    plain = plain.replace(" t shirt", " t-shirt").replace(" polo shirt", " polo")
    return ["".join(c for c in word if c.isalnum() or c == "-") for word in plain.split()]


def _kind(words: Sequence[str], dice: _Dice) -> str:
    """The last garment named before any "with ..."; English titles end in what the thing is."""
    cut = next((i for i, word in enumerate(words) if word in _ASIDES[:3] and i > 0), len(words))
    for part in (words[:cut], words):
        named = [_KINDS[word] for word in part if word in _KINDS]
        if named:
            return named[-1]
    return dice.pick(_USUAL_KINDS)


def _look(title: str, seed: int) -> _Look:
    words = _words(title)
    dice = _Dice(f"{seed}:{title}")
    kind = _kind(words, dice)
    default = _COLOURS["denim"] if kind == "jeans" else dice.pick(_USUAL_COLOURS)
    named = [_COLOURS[word] for word in words if word in _COLOURS]
    colour = named[0] if named else default
    reach = 7 if max(colour) - min(colour) > 20 else 3  # greys stay grey
    shift = [dice.between(-reach, reach) for _ in range(3)]  # no two products are quite alike
    red, green, blue = (max(30, min(247, round(value + by))) for value, by in zip(colour, shift, strict=True))
    colour = (red, green, blue)
    patterns = [_PATTERNS[word] for word in words if word in _PATTERNS]
    usual = dice.pick(_USUAL_PATTERNS.get(kind, ("plain",)))
    pattern = patterns[0] if patterns else usual
    soft = _mix(colour, _WHITE, 0.78) if _luma(colour) < 170 else _mix(colour, dice.pick(_USUAL_COLOURS), 0.8)
    accent = named[1] if len(named) > 1 else soft
    return _Look(kind, colour, accent, pattern, frozenset(words), dice)


@dataclass(frozen=True)
class _Piece:
    """One part of a garment: filled outlines, or lines where `width` is set. `paint` may name a cloth."""

    outlines: Sequence[Sequence[Point]]
    paint: Colour | Literal["cloth", "left", "right"] = "cloth"
    depth: float = 0
    folds: Sequence[_Fold] = ()
    width: float = 0
    soft: float = 0
    opacity: float = 1


_SHOULDER: Point = (90, 262)
_WRIST: Point = (202, 530)
_NECKLINES: dict[str, Sequence[Point]] = {
    "crew": [(0, 249), (18, 246), (31, 237), (38, 224)],
    "v": [(0, 296), (20, 258), (38, 224)],
    "scoop": [(0, 280), (26, 272), (44, 248), (50, 226)],
    "boat": [(0, 240), (36, 236), (62, 230)],
}


def _neckband(look: _Look, neckline: Sequence[Point], width: float) -> list[_Piece]:
    """A band around the neck; the back of the neck is hinted at, too faintly to be cut out with the garment."""
    front = _mirror(reversed(_curve(neckline))) + _curve(neckline)
    corner = neckline[-1]
    back = _curve([corner, (corner[0] * 0.6, corner[1] - 5), (0, corner[1] - 7)])
    inside = front + back + _mirror(reversed(back))
    return [_Piece([inside], _INK, opacity=0.05), _Piece([front], _trim(look), width=width)]


def _drapes(look: _Look, top: float, bottom: float, half: float, count: int) -> list[_Fold]:
    """Soft vertical folds between two heights, light beside dark."""
    folds = []
    for _ in range(count):
        x, lean = look.dice.between(-half, half), look.dice.between(-0.35, 0.35) * half
        start = look.dice.between(top, top + (bottom - top) * 0.4)
        line = [(x * 0.7, start), (x + lean * 0.4, (start + bottom) / 2), (x + lean, bottom)]
        folds.append(_Fold(line, 9, -0.34))
        folds.append(_Fold([(px - 9, py) for px, py in line], 8, 0.5))
    return folds


def _chest_folds(look: _Look) -> list[_Fold]:
    """The pull from the armpits to the middle, and at the waist."""
    sag = look.dice.between(14, 40)
    folds = []
    for side in (-1, 1):
        folds.append(_Fold([(side * 84, 322), (side * 62, 346 + sag), (side * 50, 384 + sag)], 6, -0.26))
        folds.append(_Fold([(side * 84, 336), (side * 68, 362 + sag), (side * 58, 396 + sag)], 7, 0.4))
        folds.append(_Fold([(side * 80, 404), (side * 60, 416 + sag / 3), (side * 36, 420)], 5, -0.2))
        folds.append(_Fold([(side * 80, 414), (side * 60, 426 + sag / 3), (side * 38, 430)], 5, 0.3))
    folds.append(_Fold([(-34, 290), (-40, 380), (-36, 480)], 26, 0.3))
    return folds


def _bodice(neckline: Sequence[Point], waist: float, hem: Point, bust: float = 88, tail: float = 5) -> Outline:
    """A top's body. `hem` is its lower corner; `tail` is how much lower the middle hangs."""
    shoulder = (98.0, 248.0)
    return _whole(
        _path(
            neckline,
            [neckline[-1], ((neckline[-1][0] + shoulder[0]) / 2, 235), shoulder],
            [shoulder, (bust - 1, 290), (bust, 324)],
            [(bust, 324), (waist, min(424, hem[1] - 20)), hem],
            [hem, (hem[0] * 0.6, hem[1] + tail), (0, hem[1] + tail)],
        )
    )


def _along(reach: float) -> Point:
    """The point of the arm's middle line at a share of its length."""
    return (_SHOULDER[0] + (_WRIST[0] - _SHOULDER[0]) * reach, _SHOULDER[1] + (_WRIST[1] - _SHOULDER[1]) * reach)


def _beside(reach: float, half: float) -> Point:
    """The same, `half` units outwards (negative: towards the body)."""
    x, y = _along(reach)
    return (x + 0.924 * half, y - 0.382 * half)


def _sleeves(look: _Look, reach: float, cuff: float, middle: float, puff: float = 0) -> list[_Piece]:
    """A pair of sleeves, `reach` of the arm's length; `cuff` and `middle` are half widths."""
    half = _path(
        [
            (72, 239),
            (98, 248 - puff / 4),
            (117 + puff * 0.5, 268 - puff / 3),
            _beside(0.12 + reach * 0.4, middle + puff),
            _beside(reach, cuff),
        ],
        [_beside(reach, cuff), _beside(reach * 1.012, 0), _beside(reach, -cuff)],
        [_beside(reach, -cuff), _beside(reach * 0.55, -middle), (82, 330)],
        [(82, 330), (66, 300), (72, 239)],
    )
    bend = look.dice.between(0.46, 0.54)
    folds = [_Fold([(98, 262), _beside(reach * 0.5, 6), _beside(reach * 0.95, 4)], 10, 0.45)]
    folds.append(_Fold([(88, 330), _beside(reach * 0.5, -middle * 0.35), _beside(reach * 0.62, middle * 0.2)], 8, -0.4))
    if reach > 0.6:
        for shift in (-0.06, 0.05):
            folds.append(_Fold([_beside(bend + shift, -middle), _beside(bend + shift - 0.07, middle * 0.3)], 5, -0.3))
            folds.append(
                _Fold([_beside(bend + shift + 0.04, -middle), _beside(bend + shift - 0.03, middle * 0.3)], 5, 0.4)
            )
    mirrored = [_Fold(_mirror(fold.line), fold.width, fold.light) for fold in folds]
    return [
        _Piece([half], "right", 0.42, folds),
        _Piece([_mirror(half)], "left", 0.42, mirrored),
    ]


def _cuffs(look: _Look, reach: float, half: float, length: float = 0.05, middle: float = 0) -> list[_Piece]:
    """Ribbed or buttoned bands at the sleeves' ends."""
    band = _path(
        [_beside(reach - length, half + 0.6 + middle), _beside(reach + 0.012, half)],
        [_beside(reach + 0.012, half), _beside(reach + 0.02, 0), _beside(reach + 0.012, -half)],
        [_beside(reach + 0.012, -half), _beside(reach - length, -half - 0.6 - middle)],
    )
    return [_Piece([band, _mirror(band)], _trim(look), 0.35)]


def _trim(look: _Look) -> Colour:
    return _mix(look.colour, _INK, 0.16)


def _seam(look: _Look, *lines: Sequence[Point], width: float = 1.3, opacity: float = 0.45) -> _Piece:
    return _Piece([_curve(line) for line in lines], _mix(look.colour, _INK, 0.62), width=width, opacity=opacity)


def _both(line: Sequence[Point]) -> tuple[Sequence[Point], Sequence[Point]]:
    return (line, _mirror(line))


def _ribs(look: _Look, left: float, right: float, top: float, bottom: float) -> list[_Piece]:
    """A ribbed hem."""
    band = _path(
        [(left, top), (0, top + 5), (right, top)],
        [(right, top), (right - 3, bottom)],
        [(right - 3, bottom), (0, bottom + 5), (left + 3, bottom)],
        [(left + 3, bottom), (left, top)],
    )
    lines = [[(x, top + 4), (x * 0.98, bottom - 1)] for x in range(round(left) + 5, round(right) - 2, 7)]
    return [_Piece([band], _trim(look), 0.35), _seam(look, *lines, width=1.2, opacity=0.25)]


def _buttons(look: _Look, places: Sequence[Point], radius: float = 3.6, metal: bool = False) -> list[_Piece]:
    light = _luma(look.colour) > 150
    face: Colour = (
        (196, 176, 132) if metal else (_mix(look.colour, _INK, 0.55) if light else _mix(look.colour, _WHITE, 0.72))
    )
    return [
        _Piece([_ellipse(x + 0.8, y + 1.4, radius, radius) for x, y in places], _INK, soft=1.2, opacity=0.35),
        _Piece([_ellipse(x, y, radius, radius) for x, y in places], face, 0.25),
        _Piece([_ellipse(x, y, radius * 0.28, radius * 0.28) for x, y in places], _mix(face, _INK, 0.5)),
    ]


def _collar(look: _Look, spread: float = 34, drop: float = 280) -> list[_Piece]:
    """A turned-down collar: two wings around an open neck."""
    wing = _path(
        [(2, 250), (12, 232), (26, 212)],
        [(26, 212), (40, 216), (47, 228)],
        [(47, 228), (spread + 6, drop - 16), (spread - 6, drop)],
        [(spread - 6, drop), (14, 266), (2, 250)],
    )
    return [
        _Piece([wing, _mirror(wing)], _INK, soft=3.2, opacity=0.3),
        _Piece([wing, _mirror(wing)], "cloth", 0.24),
        _seam(look, *_both([(40, 230), (spread + 1, drop - 18), (spread - 7, drop - 5), (14, 261)]), opacity=0.3),
    ]


def _tshirt(look: _Look) -> list[_Piece]:
    polo = look.says("polo")
    neck = _NECKLINES["v" if look.says("v-neck", "vneck") else "crew"]
    if not polo and not look.says("crew") and look.dice.between(0, 1) < 0.2:
        neck = _NECKLINES["v"]
    long = look.says("long", "long-sleeve")
    hem = look.dice.between(518, 534)
    sleeves = _sleeves(look, 1, 19, 25) if long else _sleeves(look, look.dice.between(0.35, 0.41), 33, 36)
    body = _bodice(neck, 84, (88, hem))
    pieces = [*sleeves, _Piece([body], "cloth", 0.36, _chest_folds(look) + _drapes(look, 420, hem, 60, 2))]
    pieces.append(_seam(look, *_both([(98, 248), (87, 290), (88, 324)]), opacity=0.4))
    pieces.append(_seam(look, [(-85, hem - 7), (0, hem - 2), (85, hem - 7)], opacity=0.3))
    if not long:
        pieces.append(_seam(look, *_both([_beside(0.355, 33), _beside(0.36, 0), _beside(0.355, -31)]), opacity=0.3))
    if polo:
        pieces += [*_placket(look, 250, 330), *_collar(look, 30, 270), *_buttons(look, [(0, 284), (0, 314)], 3)]
    else:
        pieces += _neckband(look, neck, 8)
        inner = [(x * 1.16, y + 7) for x, y in neck]
        pieces.append(_seam(look, *_both(inner), opacity=0.4))
    if look.pattern == "plain" and (look.says("graphic", "print", "printed", "logo") or look.dice.between(0, 1) < 0.4):
        pieces += _emblem(look)
    return pieces


def _emblem(look: _Look) -> list[_Piece]:
    """A small abstract print on the chest."""
    ink = _mix(look.colour, _WHITE, 0.82) if _luma(look.colour) < 150 else _mix(look.colour, _INK, 0.72)
    warm = look.dice.pick([(226, 132, 66), (206, 158, 56), (190, 92, 84), (90, 150, 150)])
    choice = look.dice.pick(["sun", "hills", "bars"])
    if choice == "sun":
        waves = [_curve([(-30, y), (-15, y - 5), (0, y), (15, y + 5), (30, y)]) for y in (372, 382, 392)]
        return [_Piece([_ellipse(0, 344, 20, 20)], warm), _Piece(waves, ink, width=3.2)]
    if choice == "hills":
        hills = [[(-36, 384), (-12, 340), (8, 384)], [(-8, 384), (16, 352), (36, 384)]]
        return [_Piece([_ellipse(18, 334, 8, 8)], warm), _Piece(hills, ink)]
    bars = [[(-34, y), (34, y), (34, y + 7), (-34, y + 7)] for y in (340, 354, 368)]
    return [_Piece(bars[:2], ink), _Piece(bars[2:], warm)]


def _placket(look: _Look, top: float, bottom: float) -> list[_Piece]:
    return [
        _Piece([[(-9, top), (9, top), (9, bottom), (-9, bottom)]], "cloth", 0.14),
        _seam(look, [(-9, top), (-9, bottom)], [(9, top), (9, bottom)], opacity=0.4),
    ]


def _shirt(look: _Look) -> list[_Piece]:
    short = look.says("short", "short-sleeve", "hawaiian", "summer") or look.dice.between(0, 1) < 0.25
    hem = look.dice.between(524, 542)
    pieces = _sleeves(look, 0.42, 33, 35) if short else _sleeves(look, 0.97, 20, 25)
    if not short:
        ends = [[_beside(0.9, 21), _beside(0.9, -21)], [_beside(0.9, 12), _beside(0.8, 13)]]
        pieces.append(_seam(look, *[line for end in ends for line in _both(end)], width=1.6))
    neck = [(0, 256), (22, 236), (36, 222)]
    body = _bodice(neck, 82, (84, hem - 18), tail=26)
    pieces.append(_Piece([body], "cloth", 0.36, _chest_folds(look) + _drapes(look, 420, hem, 60, 3)))
    pieces.append(_seam(look, *_both([(98, 248), (87, 290), (88, 324)]), opacity=0.45))
    pieces += _placket(look, 254, hem + 6)
    if look.dice.between(0, 1) < 0.6:
        pocket = [(30, 322), (66, 322), (66, 360), (48, 370), (30, 360), (30, 322)]
        pieces += [
            _Piece([pocket], "cloth", 0.1),
            _Piece([pocket, [(30, 330), (66, 330)]], _mix(look.colour, _INK, 0.6), width=1.3, opacity=0.5),
        ]
    pieces += _buttons(look, [(0, y) for y in range(286, round(hem) - 10, 42)])
    pieces += _collar(look)
    return pieces


def _blouse(look: _Look) -> list[_Piece]:
    hem = look.dice.between(500, 530)
    reach = 0.62 if look.says("short") else 0.9
    pieces = [*_sleeves(look, reach, 24, 34, 10), *_cuffs(look, reach, 21, 0.05, 3)]
    neck = _NECKLINES[look.dice.pick(["v", "scoop", "v"])]
    body = _bodice(neck, 78, (98, hem), tail=10)
    pieces.append(_Piece([body], "cloth", 0.36, _chest_folds(look) + _drapes(look, 400, hem, 80, 5)))
    pieces.append(_seam(look, *_both([(98, 248), (87, 290), (88, 324)]), opacity=0.4))
    pieces.append(_Piece([_curve(neck), _mirror(_curve(neck))], _trim(look), width=4.5))
    if neck is _NECKLINES["v"]:  # a tied bow
        knot, x = (0.0, 300.0), look.dice.between(14, 20)
        tails = [
            [knot, (x, 340), (x - 6, 392), (x + 6, 394), (x + 12, 340)],
            [knot, (-x, 336), (-x - 4, 378), (-x - 14, 378), (-x - 8, 334)],
        ]
        loops = [
            _path([knot, (20, 282), (40, 290), (38, 306), knot]),
            _path([knot, (-20, 282), (-40, 290), (-38, 306), knot]),
        ]
        pieces += [
            _Piece(tails, "cloth", 0.4),
            _Piece(loops, _INK, soft=2.5, opacity=0.25),
            _Piece(loops, "cloth", 0.45),
            _Piece([_ellipse(*knot, 7, 8)], _trim(look), 0.3),
        ]
    return pieces


def _hoodie(look: _Look) -> list[_Piece]:
    hem = look.dice.between(508, 520)
    hood = _whole(_path([(0, 178), (34, 184), (58, 208), (66, 238)], [(66, 238), (40, 262), (0, 274)]))
    opening = _whole(_path([(0, 200), (20, 204), (32, 222), (24, 244), (0, 262)]))
    pieces = [*_sleeves(look, 0.96, 22, 31), *_cuffs(look, 0.99, 18, 0.06)]
    body = _bodice([(0, 262), (22, 246), (40, 226)], 90, (92, hem), bust=94, tail=3)
    pieces.append(_Piece([body], "cloth", 0.38, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.45))
    pieces += _ribs(look, -91, 91, hem - 6, hem + 22)
    pocket = _whole(_path([(0, 424), (44, 424)], [(44, 424), (60, 462), (66, 500)], [(66, 500), (0, 504)]))
    pieces += [_Piece([pocket], "cloth", 0.2), _Piece([pocket], _mix(look.colour, _INK, 0.6), width=1.5, opacity=0.5)]
    pieces += [
        _Piece([hood], _INK, soft=4, opacity=0.3),
        _Piece([hood], "cloth", 0.5),
        _Piece([opening], _mix(look.colour, _INK, 0.55), 0.5),
    ]
    cords = [_curve([(12, 262), (15, 300), (13, 338)]), _curve([(-12, 262), (-16, 296), (-13, 326)])]
    pieces += [
        _Piece(cords, _mix(look.colour, _WHITE, 0.75), width=3.4),
        _Piece([_ellipse(13, 340, 2.6, 6), _ellipse(-13, 328, 2.6, 6)], _mix(look.colour, _INK, 0.5)),
    ]
    return pieces


def _sweater(look: _Look) -> list[_Piece]:
    hem = look.dice.between(500, 516)
    neck = _NECKLINES["v" if look.says("v-neck") else "crew"]
    pieces = [*_sleeves(look, 0.95, 23, 31), *_cuffs(look, 0.98, 19, 0.07)]
    body = _bodice(neck, 90, (91, hem), bust=93, tail=3)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.5))
    pieces += _ribs(look, -90, 90, hem - 6, hem + 24)
    pieces += _neckband(look, neck, 13)
    return pieces


def _cardigan(look: _Look) -> list[_Piece]:
    hem = look.dice.between(516, 540)
    neck = [(0.0, 352.0), (18, 284), (40, 224)]
    pieces = [*_sleeves(look, 0.95, 22, 30), *_cuffs(look, 0.98, 19, 0.07)]
    body = _bodice(neck, 88, (91, hem), bust=93, tail=3)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.5))
    pieces += _ribs(look, -90, 90, hem - 6, hem + 20)
    pieces.append(_Piece([_curve(neck), _mirror(_curve(neck))], _trim(look), width=13))
    pieces.append(_Piece([[(-7, 346), (7, 346), (7, hem + 24), (-7, hem + 24)]], _trim(look), 0.2))
    return [*pieces, *_buttons(look, [(0, y) for y in range(368, round(hem) + 10, 36)], 4.4)]


def _jacket(look: _Look) -> list[_Piece]:
    hem = look.dice.between(500, 524)
    stitched = look.pattern == "denim"
    pieces = [*_sleeves(look, 0.97, 23, 31), *_cuffs(look, 0.99, 21, 0.06)]
    body = _bodice([(0, 262), (22, 244), (38, 224)], 90, (92, hem), bust=94, tail=3)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 430, hem, 70, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.6))
    pieces += (
        _ribs(look, -91, 91, hem - 8, hem + 16)
        if not stitched
        else [_seam(look, [(-91, hem - 14), (0, hem - 9), (91, hem - 14)], width=2)]
    )
    if stitched:
        thread: Colour = (206, 158, 92)
        lines = [
            *_both([(20, 318), (34, 420), (30, hem - 14)]),
            *_both([(72, 330), (66, 420), (60, hem - 14)]),
            *_both([(92, 312), (48, 318), (10, 312)]),
        ]
        flaps = [
            [(24, 318), (66, 318), (66, 334), (45, 346), (24, 334)],
            [(-24, 318), (-66, 318), (-66, 334), (-45, 346), (-24, 334)],
        ]
        pieces += [
            _Piece([_curve(line) for line in lines], thread, width=1.4, opacity=0.7),
            *_placket(look, 258, hem + 2),
        ]
        pieces += [
            _Piece(flaps, "cloth", 0.2),
            _Piece([[*flap, flap[0]] for flap in flaps], thread, width=1.4, opacity=0.8),
        ]
        pieces += _buttons(
            look, [(0, y) for y in range(290, round(hem) - 4, 46)] + [(45, 336), (-45, 336)], 4, metal=True
        )
    else:
        zip_colour: Colour = (178, 180, 186)
        pieces += [_seam(look, [(-5, 262), (-5, hem + 18)], [(5, 262), (5, hem + 18)], width=1.6, opacity=0.5)]
        pieces += [
            _Piece([[(0, 262), (0, hem + 18)]], zip_colour, width=3.6),
            _Piece([[(-2.5, 276), (2.5, 276), (2.5, 290), (-2.5, 290)]], zip_colour, 0.3),
        ]
        pieces += [_seam(look, *_both([(44, 468), (64, 424)]), width=4, opacity=0.6)]
    return [*pieces, *_collar(look, 40, 276)]


def _tailored(look: _Look, hem: float, flare: float) -> list[_Piece]:
    """Blazers and coats: lapels, flap pockets, buttons."""
    double = look.says("double", "double-breasted", "trench", "pea") or look.dice.between(0, 1) < 0.3
    close = 372.0
    pieces = [*_sleeves(look, 0.98, 22, 29), _seam(look, *_both([_beside(0.9, 21), _beside(0.9, -21)]))]
    pieces += _buttons(look, [_beside(0.95, -12), (-_beside(0.95, -12)[0], _beside(0.95, -12)[1])], 2.6)
    shirt = _whole(_path([(0, 250), (20, 240), (34, 224)], [(34, 224), (24, 300), (0, close)]))
    pieces.append(_Piece([shirt], _mix(look.colour, _WHITE, 0.9), 0.2))
    body = _bodice([(0, close), (22, 300), (40, 222)], 84, (flare, hem), bust=93, tail=4)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 450, hem, 70, 3)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.6))
    overlap = 12 if double else 4
    pieces.append(_seam(look, [(0, close), (-overlap, close + 50), (-overlap, hem + 3)], width=1.8, opacity=0.7))
    lapel = _path(
        [(36, 214), (50, 230)],
        [(50, 230), (66, 288), (56, 296)],
        [(64, 308), (40, 350), (2, close)],
        [(2, close), (14, 320), (26, 256), (36, 214)],
    )
    pieces += [
        _Piece([lapel, _mirror(lapel)], _INK, soft=3, opacity=0.35),
        _Piece([lapel, _mirror(lapel)], "cloth", 0.28),
    ]
    pieces.append(_seam(look, *_both([(30, 262), (60, 296)]), width=1.6, opacity=0.6))
    flaps = [[(34, 452), (78, 446), (79, 460), (34, 467)], [(-34, 452), (-78, 446), (-79, 460), (-34, 467)]]
    pieces += [_Piece(flaps, _INK, soft=2, opacity=0.3), _Piece(flaps, "cloth", 0.22)]
    places = [(x, y) for x in ((-20, 20) if double else (0,)) for y in range(384, round(min(hem - 40, 560)), 46)]
    if look.says("trench", "belt", "belted"):
        belt = [(-88, 418), (88, 418), (88, 436), (-88, 436)]
        pieces += [
            _Piece([belt], _trim(look), 0.3),
            _Piece([[(-16, 414), (16, 414), (16, 440), (-16, 440), (-16, 414)]], _mix(look.colour, _INK, 0.6), width=4),
        ]
        places = [(x, y) for x, y in places if not 400 < y < 450]
    return [*pieces, *_buttons(look, places, 4.6)]


def _blazer(look: _Look) -> list[_Piece]:
    return _tailored(look, look.dice.between(534, 552), 94)


def _coat(look: _Look) -> list[_Piece]:
    return _tailored(look, look.dice.between(690, 760), look.dice.between(108, 124))


def _strapped(look: _Look, waist: float, hem: Point, tail: float) -> Outline:
    """A sleeveless body on two straps."""
    low = look.dice.between(272, 292)
    return _whole(
        _path(
            [(0, low), (24, low - 8), (40, 252), (44, 228)],
            [(44, 228), (62, 234)],
            [(62, 234), (66, 288), (86, 326)],
            [(86, 326), (waist, 420), hem],
            [hem, (hem[0] * 0.6, hem[1] + tail), (0, hem[1] + tail)],
        )
    )


def _tank(look: _Look) -> list[_Piece]:
    hem = look.dice.between(440, 460) if look.says("crop", "cropped") else look.dice.between(510, 526)
    body = _strapped(look, 76, (82, hem), 5)
    edges = _Piece([[*body, body[0]]], _trim(look), width=4)
    return [
        edges,
        _Piece([body], "cloth", 0.38, _chest_folds(look) + _drapes(look, 400, hem, 60, 3)),
        _seam(look, [(-80, hem - 7), (0, hem - 2), (80, hem - 7)], opacity=0.35),
    ]


def _waistband(look: _Look, half: float, top: float, height: float = 18) -> list[_Piece]:
    band = _whole(
        _path(
            [(0, top + 4), (half, top)],
            [(half, top), (half + 3, top + height)],
            [(half + 3, top + height), (0, top + height + 5)],
        )
    )
    return [_Piece([band], _trim(look), 0.28)]


def _skirt(look: _Look) -> list[_Piece]:
    hem = look.dice.between(690, 740)
    hem = 585 if look.says("mini", "short") else 880 if look.says("maxi", "long") else hem
    slim = look.says("pencil", "denim", "leather") or look.dice.between(0, 1) < 0.15
    flare = 96 if slim else 100 + (hem - 500) * 0.22 + look.dice.between(0, 14)
    body = _whole(
        _path(
            [(0, 412), (66, 408)],
            [(66, 408), (92, 500), (flare, hem)],
            [(flare, hem), (flare * 0.5, hem + 12), (0, hem + 14)],
        )
    )
    pleats = 9 if look.says("pleated", "pleats") else 3 if slim else 6
    folds = [
        fold
        for i in range(pleats)
        for x in [(-1 + 2 * (i + look.dice.between(0.3, 0.7)) / pleats)]
        for fold in (
            _Fold([(x * 54, 440), (x * 80, 520), (x * flare * 0.94, hem + 8)], 9, -0.46),
            _Fold([(x * 54 - 9, 440), (x * 80 - 11, 520), (x * flare * 0.94 - 14, hem + 8)], 9, 0.55),
        )
    ]
    hemline = [
        (-flare + 3, hem - 8),
        (-flare * 0.5, hem + 3),
        (0, hem + 6),
        (flare * 0.5, hem + 3),
        (flare - 3, hem - 8),
    ]
    return [_Piece([body], "cloth", 0.4, folds), _seam(look, hemline, opacity=0.3), *_waistband(look, 66, 408)]


def _legs(outer: float, inner: float, hem: float, hip: float = 94) -> Outline:
    """Both legs from the waist down; `outer` and `inner` are where a leg's hem ends."""
    middle = (inner + 6, 548 + (hem - 548) * 0.5)
    return _whole(
        _path(
            [(0, 414), (68, 410)],
            [
                (68, 410),
                (hip, 500),
                (hip + 2, 560),
                (max(outer, 62 + (outer - 62) * 0.8) + 3, 740 if hem > 760 else (560 + hem) / 2),
                (outer, hem),
            ],
            [(outer, hem), ((outer + inner) / 2, hem + 5), (inner, hem + 2)],
            [(inner, hem + 2), middle, (5, 568)],
            [(5, 568), (0, 558)],
        )
    )


def _leg_folds(look: _Look, hem: float) -> list[_Fold]:
    folds = []
    for side in (-1, 1):
        folds.append(_Fold([(side * 50, 600), (side * 60, 740), (side * 62, hem - 10)], 13, 0.4))
        folds.append(_Fold([(side * 6, 556), (side * 36, 574), (side * 74, 570)], 6, -0.24))
        folds.append(_Fold([(side * 8, 572), (side * 34, 596), (side * 60, 606)], 6, 0.3))
        if hem > 760:
            knee = look.dice.between(720, 744)
            folds.append(_Fold([(side * 40, knee), (side * 62, knee + 10), (side * 80, knee)], 6, -0.2))
            folds.append(_Fold([(side * 40, knee + 16), (side * 62, knee + 26), (side * 82, knee + 16)], 6, 0.28))
            folds.append(_Fold([(side * 46, hem - 34), (side * 66, hem - 26)], 6, -0.22))
    return folds


def _trousers(look: _Look) -> list[_Piece]:
    wide = look.says("wide", "wide-leg", "flared", "culottes", "palazzo", "baggy")
    slim = look.says("skinny", "slim")
    width = 46 if wide else 22 if slim else look.dice.between(26, 33)
    outer, inner = 62 + width, max(8, 62 - width)
    hem = look.dice.between(916, 936)
    body = _legs(outer, inner, hem, 90 if slim else 94)
    jeans = look.pattern == "denim"
    thread: Colour = (206, 158, 92) if jeans else _mix(look.colour, _INK, 0.6)
    strength = 0.85 if jeans else 0.4
    pieces = [_Piece([body], "cloth", 0.44, _leg_folds(look, hem))]
    lines = [*_both([(64, 430), (58, 462), (90, 478)]), [(0, 428), (0, 548)], [(18, 432), (18, 500), (4, 530)]]
    hems = _both([(outer - 1, hem - 12), (62, hem - 6), (inner + 1, hem - 10)])
    sides = _both([(88, 490), (92, 560), (outer - 3, 740), (outer - 4, hem)]) if jeans else ()
    pieces.append(_Piece([_curve(line) for line in (*lines, *hems, *sides)], thread, width=1.5, opacity=strength))
    if not jeans:
        pieces.append(_seam(look, *_both([(44, 440), (60, 700), (62, hem)]), opacity=0.28))
    pieces += _waistband(look, 68, 408)
    if look.says("joggers", "sweatpants"):
        cords = [_curve([(-4, 424), (-10, 452), (-8, 476)]), _curve([(4, 424), (11, 448), (10, 468)])]
        return [*pieces, _Piece(cords, _mix(look.colour, _WHITE, 0.8), width=3)]
    loops = [[(x - 2.5, 408), (x + 2.5, 408), (x + 2.5, 428), (x - 2.5, 428)] for x in (-44, 44)]
    return [*pieces, _Piece(loops, _mix(look.colour, _INK, 0.3)), *_buttons(look, [(0, 420)], 4.2, metal=jeans)]


def _leggings(look: _Look) -> list[_Piece]:
    hem = look.dice.between(910, 928)
    body = _legs(80, 45, hem, 87)
    return [
        _Piece([body], "cloth", 0.46, _leg_folds(look, hem)),
        _seam(look, *_both([(78, 470), (76, 560), (66, 740), (64, hem)]), [(0, 440), (0, 550)], opacity=0.35),
        *_waistband(look, 66, 404, 34),
    ]


def _shorts(look: _Look) -> list[_Piece]:
    hem = look.dice.between(640, 676)
    body = _legs(99, 13, hem)
    hems = _both([(97, hem - 12), (56, hem - 7), (14, hem - 10)])
    pieces = [_Piece([body], "cloth", 0.42, _leg_folds(look, hem))]
    pieces.append(_seam(look, *_both([(64, 430), (58, 462), (90, 478)]), [(0, 428), (0, 548)], *hems, width=1.5))
    cords = [_curve([(-4, 424), (-10, 450), (-8, 470)]), _curve([(4, 424), (11, 446), (10, 462)])]
    return [*pieces, *_waistband(look, 68, 408), _Piece(cords, _mix(look.colour, _WHITE, 0.8), width=3)]


def _dress(look: _Look, hem: float | None = None) -> list[_Piece]:
    long = hem is not None or look.says("maxi", "long", "evening")
    hem = hem or (
        look.dice.between(860, 900) if long else 610 if look.says("mini", "short") else look.dice.between(690, 760)
    )
    flare = look.dice.between(118, 140) if long else look.dice.between(118, 150)
    if look.says("bodycon", "pencil", "fitted", "tight"):
        flare = 84
    sleeveless = (
        look.says("sleeveless", "strap", "strappy", "slip", "summer", "evening") or look.dice.between(0, 1) < 0.45
    )
    long_sleeves = look.says("long-sleeve", "winter", "knit", "sweater")
    neck = _NECKLINES[look.dice.pick(["v", "scoop", "crew", "v"])]
    top = _strapped(look, 66, (70, 424), 4) if sleeveless else _bodice(neck, 66, (70, 424), bust=86, tail=4)
    pieces: list[_Piece] = []
    if long_sleeves:
        pieces += _sleeves(look, 0.96, 18, 24)
    elif not sleeveless:
        pieces += _sleeves(look, look.dice.between(0.26, 0.36), 31, 33, look.dice.between(0, 10))
    skirt = _whole(
        _path(
            [(0, 418), (68, 414)],
            [(68, 414), (92, 496), (flare, hem)],
            [(flare, hem), (flare * 0.5, hem + 14), (0, hem + 16)],
        )
    )
    folds = []
    for i in range(6):
        x = -1 + 2 * (i + look.dice.between(0.25, 0.75)) / 6
        line = [(x * 50, 428), (x * 82, 520), (x * flare * 0.95, hem + 8)]
        folds += [_Fold(line, 10, -0.44), _Fold([(px - 12, py) for px, py in line], 10, 0.52)]
    pieces.append(_Piece([skirt], "cloth", 0.42, folds))
    pieces.append(_Piece([top], "cloth", 0.38, _chest_folds(look)))
    if not sleeveless:
        pieces.append(_Piece([_curve(neck), _mirror(_curve(neck))], _trim(look), width=4.5))
        pieces.append(_seam(look, *_both([(98, 248), (86, 290), (86, 324)]), opacity=0.4))
    belt = _whole(_path([(0, 416), (69, 412)], [(69, 412), (70, 430)], [(70, 430), (0, 434)]))
    pieces.append(
        _Piece([belt], _mix(look.accent, look.colour, 0.5) if look.says("belt", "belted") else _trim(look), 0.3)
    )
    return [*pieces, _seam(look, [(-flare + 3, hem - 9), (0, hem + 7), (flare - 3, hem - 9)], opacity=0.3)]


def _gown(look: _Look) -> list[_Piece]:
    return _dress(look, look.dice.between(880, 915))


def _jumpsuit(look: _Look) -> list[_Piece]:
    hem = 640 if look.says("romper", "playsuit", "short") else look.dice.between(905, 925)
    short = hem < 700
    legs = _legs(99, 13, hem) if short else _legs(98, 30, hem)
    neck = _NECKLINES["v"]
    top = (
        _strapped(look, 68, (72, 426), 4)
        if look.says("sleeveless", "overalls", "dungarees")
        else _bodice(neck, 70, (72, 426), tail=4)
    )
    sleeves = [] if look.says("sleeveless", "overalls", "dungarees") else _sleeves(look, 0.34, 32, 34)
    belt = _whole(_path([(0, 414), (71, 410)], [(71, 410), (72, 432)], [(72, 432), (0, 436)]))
    ends = [_path([(4, 428), (16, 470), (12, 500)], [(12, 500), (22, 498)], [(22, 498), (26, 466), (10, 426)])]
    return [
        *sleeves,
        _Piece([legs], "cloth", 0.44, _leg_folds(look, hem)),
        _Piece([top], "cloth", 0.38, _chest_folds(look)),
        _seam(look, *_both([(98, 248), (87, 290), (88, 324)]), [(0, 436), (0, 548)], opacity=0.4),
        _Piece([belt, *ends], _trim(look), 0.3),
        _Piece([_ellipse(6, 424, 9, 8)], _mix(look.colour, _INK, 0.24), 0.3),
    ]


_GARMENTS: dict[str, Callable[[_Look], list[_Piece]]] = {
    "tshirt": _tshirt, "shirt": _shirt, "blouse": _blouse, "hoodie": _hoodie, "sweater": _sweater,
    "cardigan": _cardigan, "jacket": _jacket, "blazer": _blazer, "coat": _coat, "tank": _tank, "skirt": _skirt,
    "trousers": _trousers, "jeans": _trousers, "leggings": _leggings, "shorts": _shorts, "dress": _dress,
    "gown": _gown, "jumpsuit": _jumpsuit,
}  # fmt: skip


_TURNS = {"cloth": 0, "left": -20, "right": 20}  # degrees; a sleeve's pattern runs along the arm


def draw_garment(title: str, seed: int, size: tuple[int, int] = PRODUCT_SIZE) -> Image.Image:
    """A product photo of the garment that `title` names, laid flat before a near-white background.

    Its cut, colour and pattern come from the title's words, and from `seed` where the title says nothing.
    `size` is in pixels; the answer is RGB.
    """
    look = _look(title, seed)
    pieces = _GARMENTS[look.kind](look)
    points = [point for piece in pieces for outline in piece.outlines for point in outline]
    half = max(abs(x) for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    scale = min(size[0] * 0.84 / (2 * half), size[1] * 0.84 / (bottom - top), size[0] * 0.003)
    origin = (size[0] / 2, size[1] * 0.49 - (top + bottom) / 2 * scale)

    light = _luma(look.colour) > 205
    canvas = _Canvas(_table(size, look, light=light), scale, origin)
    solid = [piece.outlines for piece in pieces if not piece.width]
    shapes = [list(outline) for outlines in solid for outline in outlines]
    fallen = [[(x + 2, y + 6) for x, y in shape] for shape in shapes]
    canvas.fill(*fallen, paint=(70, 66, 70), soft=7, opacity=0.16)
    used = {piece.paint for piece in pieces if isinstance(piece.paint, str)}
    turned = look.pattern in ("stripes", "pinstripes", "check")
    cloth = _fabric(size, scale, look)
    fabrics = {name: _fabric(size, scale, look, _TURNS[name]) if turned and _TURNS[name] else cloth for name in used}
    for piece in pieces:
        paint = fabrics[piece.paint] if isinstance(piece.paint, str) else piece.paint
        outlines = [list(outline) for outline in piece.outlines]
        if piece.width:
            canvas.line(*outlines, width=piece.width, paint=paint, soft=piece.soft, opacity=piece.opacity)
        else:
            canvas.fill(
                *outlines, paint=paint, depth=piece.depth, soft=piece.soft, opacity=piece.opacity, folds=piece.folds
            )
    return canvas.picture


def _table(size: tuple[int, int], look: _Look, light: bool) -> Image.Image:
    """The ground a garment lies on: nearly white, and quite white under light garments, so that they stand out."""
    if light:
        return Image.new("RGB", size, (254, 254, 254))
    warm = round(look.dice.between(-2, 2))
    edge = Image.radial_gradient("L").resize(size, Image.Resampling.BICUBIC)
    edge = edge.point([round(max(0, value - 60) * 0.04) for value in range(256)])
    ground = Image.new("RGB", size, (246 + warm, 246, 246 - warm))
    return ImageChops.subtract(ground, Image.merge("RGB", (edge, edge, edge)))


# ---------------------------------------------------------------------------------------------------------------------
# People
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Person:
    """How a model looks. Widths are half widths in units of the body frame."""

    skin: Colour
    hair: Colour
    style: Literal["long", "bob", "bun", "short", "curls"]
    backdrop: Colour
    man: bool
    lips: Colour
    mature: bool = False
    beard: bool = False
    clothes: Colour = (226, 226, 230)
    eyes: Colour = (74, 50, 36)


_PEOPLE = {
    "woman_25_latina": _Person(
        skin=(222, 166, 128),
        hair=(52, 34, 28),
        style="long",
        backdrop=(192, 208, 202),
        man=False,
        lips=(190, 88, 84),
    ),
    "woman_45_caucasian": _Person(
        skin=(248, 208, 182),
        hair=(172, 128, 82),
        style="bob",
        backdrop=(204, 208, 224),
        man=False,
        lips=(196, 104, 100),
        mature=True,
        eyes=(70, 104, 124),
    ),
    "man_30_black": _Person(
        skin=(128, 83, 59),
        hair=(28, 24, 24),
        style="curls",
        backdrop=(214, 212, 204),
        man=True,
        lips=(134, 76, 66),
        beard=True,
    ),
}
_SKINS: tuple[Colour, ...] = ((242, 206, 182), (230, 184, 150), (208, 154, 118), (170, 116, 82), (126, 82, 58))
_SKIN_WORDS = {"caucasian": 0, "white": 0, "asian": 1, "latina": 2, "latino": 2, "hispanic": 2, "indian": 3, "black": 4}
_HAIRS: tuple[Colour, ...] = ((34, 28, 28), (66, 42, 30), (112, 74, 46), (172, 132, 84), (150, 72, 44), (150, 148, 150))
_BACKDROPS: tuple[Colour, ...] = ((196, 208, 204), (204, 210, 222), (206, 212, 206), (212, 206, 216), (198, 212, 220))
_OLD = 40  # years


def _person(name: str) -> _Person:
    """The named person, or one that the name's words and hash describe."""
    if name in _PEOPLE:
        return _PEOPLE[name]
    dice = _Dice(name)
    words = set(name.lower().replace("-", "_").replace(" ", "_").split("_"))
    man = not words.isdisjoint({"man", "male", "boy", "men"}) or (
        words.isdisjoint({"woman", "female", "girl", "women"}) and dice.between(0, 1) > 0.5
    )
    tones = [_SKIN_WORDS[word] for word in sorted(words) if word in _SKIN_WORDS]
    skin = _mix(_SKINS[tones[0]] if tones else dice.pick(_SKINS), dice.pick(_SKINS), dice.between(0, 0.15))
    mature = any(word.isdigit() and int(word) >= _OLD for word in words)
    return _Person(
        skin,
        _mix(dice.pick(_HAIRS), (150, 148, 150), 0.4 if mature else dice.between(0, 0.08)),
        dice.pick(["short", "curls"] if man else ["long", "bob", "bun"]),
        _mix(dice.pick(_BACKDROPS), _WHITE, dice.between(0, 0.2)),
        man,
        _mix(skin, (176, 64, 70), 0.25 if man else 0.55),
        mature=mature,
        beard=man and dice.between(0, 1) > 0.5,
    )


def draw_model(name: str, size: tuple[int, int] = PHOTO_SIZE) -> Image.Image:
    """A model photo (RGB, `size` in pixels): one person, front view, whole body, plain fitted underclothes.

    `name` is one of `MODEL_NAMES`, or any other: its words (woman_30_asian) and its hash make up a person.
    """
    person = _person(name)
    scale = min(size[0] / PHOTO_SIZE[0], size[1] / PHOTO_SIZE[1])
    canvas = _Canvas(_studio(size, person.backdrop), scale, (size[0] / 2, size[1] - PHOTO_SIZE[1] * scale))
    canvas.fill(_ellipse(0, 974, 150, 16), paint=_mix(person.backdrop, _INK, 0.75), soft=9, opacity=0.32)
    if person.style == "long":
        _long_hair(canvas, person)
    _draw_body(canvas, person)
    _draw_head(canvas, person)
    return canvas.picture


def _studio(size: tuple[int, int], colour: Colour) -> Image.Image:
    """A paper backdrop: lit in the middle, rolling into the floor."""
    light = Image.radial_gradient("L").resize((size[0] * 2, size[1] * 2), Image.Resampling.BICUBIC)
    light = light.crop(
        (size[0] // 2, size[1] // 2 + size[1] // 6, size[0] // 2 + size[0], size[1] // 2 + size[1] // 6 + size[1])
    )
    wall = Image.composite(
        Image.new("RGB", size, _mix(colour, _INK, 0.14)), Image.new("RGB", size, _mix(colour, _WHITE, 0.42)), light
    )
    floor = Image.linear_gradient("L").resize((size[0], max(1, size[1] // 6)), Image.Resampling.BICUBIC)
    floor = floor.point([round(80 * (1 - value / 255)) for value in range(256)])
    ground = Image.new("RGB", floor.size, _mix(colour, _INK, 0.2))
    wall.paste(ground, (0, size[1] - floor.height), floor)
    return wall


def _draw_body(canvas: _Canvas, person: _Person) -> None:
    man = person.man
    shoulder, bust, waist, hip, neck = (100, 89, 74, 80, 28) if man else (94, 80, 59, 84, 21)
    arm = _path(
        [(60, 240), (shoulder - 8, 248), (shoulder + 6, 262), (shoulder + 21, 306), (158, 384), (184, 440), (205, 512)],
        [(205, 512), (216, 530), (224, 556), (221, 580), (212, 594)],
        [(212, 594), (203, 582), (197, 558), (186, 528)],
        [(186, 528), (160, 456), (132, 402), (103, 346), (72, 312), (60, 240)],
    )
    thumb = _path([(195, 534), (188, 552), (190, 570), (196, 573), (200, 558), (202, 540), (195, 534)])
    calf = 21 if man else 19
    leg = _path(
        [(0, 470), (hip, 500), (hip + 3, 545), (88, 620), (62 + calf, 735)],
        [(62 + calf, 735), (65 + calf, 800), (71 + calf / 3, 880), (71, 932)],
        [(71, 932), (50, 932), (47 - calf / 6, 880), (59 - calf, 800), (62 - calf, 735), (27, 640), (3, 556)],
        [(3, 556), (0, 470)],
    )
    torso = _whole(
        _path(
            [(0, 168), (neck - 1, 172), (neck, 205), (neck + 9, 226), (shoulder - 26, 239), (shoulder - 8, 248)],
            [(shoulder - 8, 248), (shoulder - 12, 300), (bust, 330)],
            [(bust, 330), (waist, 424), (hip, 500), (hip - 4, 552)],
            [(hip - 4, 552), (0, 566)],
        )
    )
    folds = [_Fold([(side * 8, 252), (side * 34, 246), (side * 66, 247)], 4, -0.18) for side in (-1, 1)]
    for side in (-1, 1):
        folds.append(_Fold([(side * shoulder, 270), (side * 146, 384), (side * 195, 510)], 10, 0.4))
        folds.append(_Fold([(side * (bust + 1), 346), (side * (bust - 7), 318), (side * (bust - 4), 292)], 4, -0.28))
        folds.append(_Fold([(side * 58, 600), (side * 60, 700), (side * 62, 920)], 15, 0.4))
        folds.append(_Fold([(side * 50, 744), (side * 62, 750), (side * 74, 744)], 5, -0.2))
    fingers = [[(side * x, 552), (side * (x + 3), 582)] for side in (-1, 1) for x in (205, 212)]
    for flip in (list, _mirror):
        _shoe(canvas, flip)
    limbs = [arm, thumb, leg]
    canvas.fill(torso, *limbs, *map(_mirror, limbs), paint=person.skin, depth=0.36, folds=folds)
    canvas.line(*fingers, width=1.2, paint=_mix(person.skin, (96, 36, 30), 0.5), soft=0.5, opacity=0.5)
    _underclothes(canvas, person, waist, hip)


def _shoe(canvas: _Canvas, flip: Callable[[Outline], Outline]) -> None:
    sole = _path([(44, 930), (76, 930)], [(76, 930), (84, 962), (80, 978), (62, 982), (46, 978), (42, 962), (44, 930)])
    upper = _path([(46, 924), (74, 924)], [(74, 924), (81, 958), (76, 970), (62, 973), (48, 970), (44, 956), (46, 924)])
    laces: list[Outline] = [[(53, y), (69, y + 2)] for y in (936, 943, 950)]
    canvas.fill(flip(sole), paint=(206, 206, 208), depth=0.3)
    canvas.fill(flip(upper), paint=(244, 244, 244), depth=0.25)
    canvas.line(*[flip(lace) for lace in laces], width=1.6, paint=(190, 190, 196))


def _underclothes(canvas: _Canvas, person: _Person, waist: float, hip: float) -> None:
    cloth = person.clothes
    bust = 90 if person.man else 80
    strap = (46, 64) if person.man else (42, 56)
    tank = _whole(
        _path(
            [(0, 286), (26, 278), (strap[0] - 5, 256), (strap[0], 236)],
            [(strap[0], 236), (strap[1], 240)],
            [(strap[1], 240), (strap[1] + 3, 288), (bust + 1, 330)],
            [(bust + 1, 330), (waist + 1, 424), ((waist + hip) / 2 + 1, 458)],
            [((waist + hip) / 2 + 1, 458), (0, 462)],
        )
    )
    shorts = _whole(
        _path(
            [(0, 456), ((waist + hip) / 2 + 1, 452)],
            [((waist + hip) / 2 + 1, 452), (hip + 5, 500), (hip + 9, 545), (93, 606)],
            [(93, 606), (50, 614), (17, 610)],
            [(17, 610), (8, 576), (0, 562)],
        )
    )
    light = [_Fold([(-40, 300), (-44, 380), (-36, 460)], 20, 0.35)]
    if not person.man:
        light += [_Fold([(side * 60, 346), (side * 40, 358), (side * 16, 350)], 8, -0.25) for side in (-1, 1)]
    creases = [_Fold([(side * 8, 560), (side * 36, 556), (side * 70, 540)], 6, -0.3) for side in (-1, 1)]
    canvas.fill(shorts, paint=_mix(cloth, _INK, 0.08), depth=0.34, folds=creases)
    canvas.fill(tank, paint=cloth, depth=0.34, folds=light)
    seam = _mix(cloth, _INK, 0.4)
    edge = (waist + hip) / 2
    canvas.line(_curve([(-edge, 455), (0, 460), (edge, 455)]), width=2, paint=seam, opacity=0.6)
    canvas.line(
        _curve([(-strap[0], 238), (-26, 278), (0, 286), (26, 278), (strap[0], 238)]), width=2, paint=seam, opacity=0.5
    )


def _long_hair(canvas: _Canvas, person: _Person) -> None:
    back = _path(
        [(0, 66), (40, 74), (58, 118), (60, 170), (70, 226), (66, 282), (44, 304)],
        [(44, 304), (0, 250), (-44, 304)],
        [(-44, 304), (-68, 280), (-70, 226), (-60, 170), (-58, 118), (-40, 74), (0, 66)],
    )
    waves = [_Fold([(side * 50, 120), (side * 54, 180), (side * 58, 250)], 6, 0.35) for side in (-1, 1)]
    canvas.fill(back, paint=_mix(person.hair, _WHITE, 0.06), depth=0.4, folds=waves)


def _draw_head(canvas: _Canvas, person: _Person) -> None:
    skin, hair, man = person.skin, person.hair, person.man
    deep = _mix(skin, (96, 36, 30), 0.3)
    if person.style == "bob":
        back = _whole(_path([(0, 64), (44, 76), (60, 130), (58, 184), (48, 206)], [(48, 206), (24, 196), (0, 190)]))
        canvas.fill(back, paint=_mix(hair, _INK, 0.3), depth=0.3)
    if person.style == "bun":
        canvas.fill(_ellipse(0, 62, 25, 22), paint=hair, depth=0.4)
    # The head's shadow on the neck, ears, the face.
    jaw = 38 if man else 33
    canvas.fill(_whole(_path([(0, 180), (17, 186), (15, 206), (0, 214)])), paint=deep, soft=4, opacity=0.45)
    for side in (-1, 1):
        canvas.fill(_ellipse(side * 43, 141, 6, 12), paint=_mix(skin, deep, 0.25), depth=0.3)
    face = _whole(
        _path(
            [(0, 76), (26, 82), (40, 106), (43, 136), (jaw + 3, 164), (jaw - 12, 186), (9 if man else 7, 197), (0, 198)]
        )
    )
    cheeks = [_Fold([(side * 30, 156), (side * 25, 172)], 8, -0.12) for side in (-1, 1)]
    canvas.fill(face, paint=skin, depth=0.22, folds=[_Fold([(-8, 96), (-10, 112)], 26, 0.4), *cheeks])
    canvas.fill(
        _ellipse(-24, 160, 9, 6), _ellipse(24, 160, 9, 6), paint=_mix(skin, (214, 84, 80), 0.5), soft=4, opacity=0.3
    )
    if person.beard:
        beard = _whole(
            _path(
                [(0, 169), (13, 170), (17, 178), (27, 168), (40, 146)],
                [(40, 146), (39, 166), (28, 187), (10, 200), (0, 201)],
            )
        )
        canvas.fill(beard, paint=hair, soft=1.6, opacity=0.72)
    _draw_features(canvas, person, deep)
    _draw_hair(canvas, person)


def _draw_features(canvas: _Canvas, person: _Person, deep: Colour) -> None:
    man = person.man
    for side in (-1, 1):
        eye = _path(
            [(side * 10, 140), (side * 17, 135.4), (side * 26, 139)],
            [(side * 26, 139), (side * 17, 143.4), (side * 10, 140)],
        )
        canvas.fill(_ellipse(side * 18, 137, 11, 6), paint=deep, soft=3, opacity=0.3)
        canvas.fill(eye, paint=(246, 242, 238))
        canvas.fill(_ellipse(side * 18, 139.2, 3.9, 4.1), paint=person.eyes)
        canvas.fill(_ellipse(side * 18, 139.2, 1.9, 2), paint=(16, 12, 12))
        canvas.fill(_ellipse(side * 18 - 1.4, 137.6, 1, 1), paint=_WHITE)
        lid = [(side * 9.6, 140), (side * 17, 134.8), (side * 26.6, 138.4)]
        canvas.line(_curve(lid), width=1.5 if man else 2.1, paint=(40, 26, 24))
        if not man:
            canvas.line([(side * 25, 138.4), (side * 29, 135.4)], width=1.3, paint=(40, 26, 24))
        brow = [(side * 8, 127.5), (side * 18, 123.5), (side * 29, 128)]
        canvas.line(_curve(brow), width=4 if man else 2.6, paint=_mix(person.hair, _INK, 0.3), soft=0.5, opacity=0.85)
        if person.mature:
            crow = [[(side * 30, 141), (side * 35, 143)], [(side * 30, 138), (side * 35, 137)]]
            canvas.line(
                *crow,
                _curve([(side * 15, 160), (side * 20, 166), (side * 20, 172)]),
                width=0.9,
                paint=deep,
                opacity=0.4,
            )
    canvas.line(_curve([(-3, 134), (-4.5, 150), (-7, 158)]), width=2.6, paint=deep, soft=1.6, opacity=0.4)
    canvas.line(
        _curve([(-7.5, 157), (-6, 161), (0, 162.5), (6, 161), (7.5, 157)]), width=1.5, paint=deep, soft=0.5, opacity=0.7
    )
    width = 14 if man else 13
    upper = _path(
        [(-width, 175.5), (-4, 171.5), (0, 173), (4, 171.5), (width, 175.5)],
        [(width, 175.5), (0, 177.5), (-width, 175.5)],
    )
    lower = _path(
        [(-width, 175.5), (0, 177), (width, 175.5)], [(width, 175.5), (6, 182), (0, 183.2), (-6, 182), (-width, 175.5)]
    )
    canvas.fill(upper, paint=_mix(person.lips, _INK, 0.12))
    canvas.fill(lower, paint=person.lips, depth=0.12)
    smile = [(-width - 1, 174.5), (-5, 176.8), (0, 176.4), (5, 176.8), (width + 1, 174.5)]
    canvas.line(_curve(smile), width=1.1, paint=_mix(person.lips, _INK, 0.6))


def _draw_hair(canvas: _Canvas, person: _Person) -> None:
    hair = person.hair
    shine = _mix(hair, _WHITE, 0.3)
    if person.style == "curls":
        cap = _whole(_path([(0, 63), (28, 67), (43, 90), (44.5, 126)], [(44.5, 126), (39, 112), (30, 96), (0, 93)]))
        canvas.fill(cap, paint=hair, depth=0.2, soft=0.8)
        dice = _Dice("curls")
        curls = [_ellipse(dice.between(-42, 42), dice.between(66, 92), 3.4, 3.2) for _ in range(70)]
        inside = [curl for curl in curls if abs(curl[9][0]) < 41 - max(0, 88 - curl[9][1]) * 0.8]
        canvas.fill(*inside, paint=_mix(hair, _WHITE, 0.1), opacity=0.5)
        return
    if person.style == "short":
        cap = _path(
            [(-45, 132), (-50, 98), (-30, 64), (6, 56), (38, 70), (49, 100), (45, 132)],
            [(45, 132), (40, 108), (28, 98), (-4, 100), (-30, 92), (-40, 110), (-45, 132)],
        )
    elif person.style == "bob":
        cap = _path(
            [(-50, 200), (-61, 150), (-54, 90), (-22, 62), (14, 61), (50, 82), (62, 140), (52, 202)],
            [(52, 202), (42, 168), (45, 126), (32, 98), (-14, 84)],
            [(-14, 84), (-34, 106), (-45, 134), (-42, 168), (-50, 200)],
        )
    elif person.style == "bun":
        cap = _path(
            [(-45, 136), (-48, 98), (-26, 68), (0, 63), (26, 68), (48, 98), (45, 136)],
            [(45, 136), (38, 104), (0, 86), (-38, 104), (-45, 136)],
        )
    else:
        cap = _path(
            [(-58, 196), (-60, 120), (-46, 78), (-8, 61), (30, 66), (56, 104), (60, 196)],
            [(60, 196), (46, 160), (45, 128), (32, 96), (8, 80)],
            [(8, 80), (-26, 100), (-44, 130), (-46, 160), (-58, 196)],
        )
    strands = [
        _Fold([(-34, 96), (-14, 76), (16, 72)], 5, 0.5),
        _Fold([(50, 110), (53, 150), (54, 180)], 4, 0.4),
        _Fold([(-50, 120), (-54, 150), (-54, 180)], 4, 0.4),
    ]
    canvas.fill(cap, paint=hair, depth=0.3, folds=strands)
    lines = [_curve([(-40, 96), (-20, 76), (10, 70)]), _curve([(20, 72), (42, 92), (50, 126)])]
    canvas.line(*lines, width=1.6, paint=shine, soft=1, opacity=0.35)


# ---------------------------------------------------------------------------------------------------------------------
# Try-on
# ---------------------------------------------------------------------------------------------------------------------

_GRID = 96  # pixels: the width to which pictures are reduced before anything is looked for in them
_SKIN_CR = (140, 182)
_SKIN_CB = (78, 126)
_FACE = 88.0  # width of a drawn face, in units
_CHIN = 198.0
_TORSO, _WAIST = 179.0, 141.0  # widths of a drawn top and of a drawn waist, in units
_TOP_Y = {"upper": 229.0, "lower": 408.0, "overall": 229.0}  # where a garment without visible shoulders begins
_LONGEST = {"upper": 580.0, "lower": 545.0, "overall": 725.0}
_PANELS = {"upper": (-104, 236, 104, 536), "lower": (-98, 408, 98, 900), "overall": (-108, 236, 108, 880)}

Area = tuple[float, float, float, float]  # left, top, right, bottom
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Body:
    """Where the body frame lies in a picture: pixels of its (0, 0), pixels per unit, and whether a face was seen."""

    x: float
    y: float
    unit: float
    seen: bool


def _skin(picture: Image.Image, redness: int = _SKIN_CR[0]) -> Image.Image:
    """A mask (L) of what has the colour of skin, light or dark. `redness` is the least Cr that counts."""
    _, blue, red = picture.convert("YCbCr").split()
    return ImageChops.darker(blue.point(_between(*_SKIN_CB)), red.point(_between(redness, _SKIN_CR[1])))


def _lit_skin(picture: Image.Image, redness: int = _SKIN_CR[0]) -> Image.Image:
    """The same without what is much darker than most of it: brown hair, wood, rust."""
    skin, luma = _skin(picture, redness), picture.convert("L")
    counts = luma.histogram(skin)
    rest = sum(counts) * 0.25
    bright = 255
    while bright > 0 and rest > 0:
        rest -= counts[bright]
        bright -= 1
    return ImageChops.darker(skin, luma.point(_between(max(30, round(bright * 0.66)), 255)))


_ANY = [0] + [255] * 255


def _between(low: int, high: int) -> list[int]:
    return [255 if low <= value <= high else 0 for value in range(256)]


_Island = dict[int, tuple[int, int]]  # a connected part of a mask: row -> (first x, last x)


def _islands(mask: Image.Image) -> Iterable[_Island]:
    """The connected parts of a small mask."""
    width = mask.width
    left = bytearray(ImageOps.expand(mask, border=(0, 0, 1, 1)).tobytes())  # the margin keeps rows apart
    width += 1
    start = left.find(255)
    while start >= 0:
        island: _Island = {}
        left[start] = 0
        stack = [start]
        while stack:
            place = stack.pop()
            y, x = divmod(place, width)
            first, last = island.get(y, (x, x))
            island[y] = (min(first, x), max(last, x))
            for near in (place - 1, place + 1, place - width, place + width):
                if near >= 0 and left[near]:
                    left[near] = 0
                    stack.append(near)
        yield island
        start = left.find(255, start)


@dataclass(frozen=True)
class _Face:
    """A face in a picture, in its pixels."""

    middle: float
    top: float
    chin: float
    width: float


def _face(island: _Island) -> _Face | None:
    """The face an island of skin begins with, if it begins with something like one."""
    top, bottom = min(island), max(island)
    spans = {y: last - first + 1 for y, (first, last) in island.items()}
    widest = max(span for y, span in spans.items() if y - top <= max(6, 1.1 * spans[top]))
    for y in range(top, bottom + 1):  # the head ends where it narrows to the neck, or widens to the shoulders
        widest = max(widest, spans[y]) if spans[y] <= 1.4 * widest else widest
        if y - top > 0.6 * widest and not 0.6 * widest < spans[y] <= 1.4 * widest:
            bottom = y
            break
    head = [y for y in range(top, bottom + 1) if y - top <= 1.3 * widest]
    width = sorted(spans[y] for y in head)[round(0.6 * (len(head) - 1))]
    middle = sum(sum(island[y]) / 2 for y in head) / len(head)
    chin = min(max(head[-1], top + 1.1 * width), top + 1.4 * width)
    if top == 0 or not 0.055 * _GRID < width < 0.5 * _GRID or max(island) - top < 0.8 * width:
        return None  # what runs out of the picture's top, or is small or flat, is no face
    return _Face(middle, top, chin, width) if spans[top] < 0.85 * widest else None


def _grid(picture: Image.Image) -> Image.Image:
    height = max(8, min(4 * _GRID, round(_GRID * picture.height / picture.width)))
    return picture.resize((_GRID, height), Image.Resampling.BOX, reducing_gap=2)


def _find_face(grid: Image.Image, pixel: float) -> _Face | None:
    """The face that is highest, largest and nearest to the middle; `pixel` is picture pixels per grid pixel."""
    for redness in (150, _SKIN_CR[0]):  # beige hats and walls look like pale skin: look for redder skin first
        faces = [face for face in map(_face, _islands(_lit_skin(grid, redness))) if face]
        if faces:
            best = min(faces, key=lambda face: face.chin + abs(face.middle - _GRID / 2) - 2 * face.width)
            middle, top, chin = (value * pixel for value in (best.middle + 0.5, best.top, best.chin + 0.5))
            return _Face(middle, top, chin, best.width * pixel)
    return None


def _find_body(picture: Image.Image) -> _Body:
    """Where the body is, told by its face; without one, where the people of `draw_model` have theirs."""
    width, height = picture.size
    unit = min(width / PHOTO_SIZE[0], height / PHOTO_SIZE[1])
    usual = _Body(width / 2, height - PHOTO_SIZE[1] * unit, unit, seen=False)
    grid = _grid(picture)
    pixel = width / _GRID
    skin = _lit_skin(grid)

    def share(*units: float) -> float:
        box = tuple(value / pixel for value in _target(usual, (units[0], units[1], units[2], units[3])))
        part = skin.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
        return _area(part) / (part.width * part.height)

    if share(-32, 108, 32, 160) > 0.7 and share(-140, 80, -74, 190) + share(74, 80, 140, 190) < 0.2:
        return replace(usual, seen=True)
    face = _find_face(grid, pixel)
    if face is None:
        return usual
    scale = min(max(face.width / _FACE, 0.5 * unit), 1.6 * unit)
    clothed = _find_top(grid, _Face(face.middle / pixel, face.top / pixel, face.chin / pixel, face.width / pixel))
    if clothed:
        left, top, right = (value * pixel for value in clothed)
        scale = min(max((scale + (right - left) / _TORSO) / 2, 0.5 * unit), 1.6 * unit)
        return _Body((left + right) / 2, top - 226 * scale, scale, seen=False)
    return _Body(face.middle, face.chin - _CHIN * scale, scale, seen=True)


def _find_top(grid: Image.Image, face: _Face) -> tuple[float, float, float] | None:
    """Left, top and right of the plain top that someone wears, by its colour; nothing if there is none to be seen."""
    x, y = round(face.middle), round(face.chin + 0.9 * face.width)
    if not (0 <= x < grid.width and 0 <= y < grid.height):
        return None
    colour = grid.getpixel((x, y))
    red, green, blue = ImageChops.difference(grid, Image.new("RGB", grid.size, colour)).split()
    like = ImageChops.lighter(ImageChops.lighter(red, green), blue).point(_between(0, 44))
    for island in _islands(like):
        if y in island and island[y][0] <= x <= island[y][1]:
            top, height = min(island), max(island) - min(island)
            rows = [island[row] for row in island if 0.6 * height <= row - top <= 0.9 * height]
            left = sorted(row[0] for row in rows)[len(rows) // 2] if rows else x
            right = sorted(row[1] for row in rows)[len(rows) // 2] if rows else x
            likely = top > face.top and 1.2 < (right - left) / face.width < 3.2 and 1 < height / face.width < 6
            return (left, top, right + 1) if likely else None
    return None


@dataclass(frozen=True)
class _Cut:
    """A garment found in its picture: the picture made small, a mask and its bounds there, the ground's colour."""

    grid: Image.Image
    raw: Image.Image  # with its holes
    mask: Image.Image
    box: Box
    ground: Colour


def _cut(garment: Image.Image) -> _Cut | None:
    """Find a garment on a nearly uniform ground; nothing if there is no such ground, or nothing on it."""
    grid = _grid(garment)
    width, height = grid.size
    side = round(height * 0.8)  # a worn garment may run out of the picture at the bottom
    edge = b"".join(
        grid.crop(box).tobytes() for box in ((0, 0, width, 1), (0, 0, 1, side), (width - 1, 0, width, side))
    )
    bands = [sorted(edge[i::3]) for i in range(3)]
    ground = (bands[0][len(bands[0]) // 2], bands[1][len(bands[1]) // 2], bands[2][len(bands[2]) // 2])
    spread = [
        abs(r - ground[0]) + abs(g - ground[1]) + abs(b - ground[2])
        for r, g, b in zip(edge[::3], edge[1::3], edge[2::3], strict=True)
    ]
    if sorted(spread)[int(len(spread) * 0.7)] > 40:
        return None
    raw = _distance(grid, ground).point(_between(18, 255))
    mask = _filled(raw, 7)
    box = mask.getbbox()
    share = _area(mask) / (width * height)
    if box is None or not 0.03 < share < 0.92:
        return None
    return _Cut(grid, raw, mask, box, ground)


def _distance(picture: Image.Image, ground: Colour) -> Image.Image:
    """How unlike the ground each pixel is, in its most different band. Lighter counts double: it is no shadow."""
    flat = Image.new("RGB", picture.size, ground)
    lighter = ImageChops.subtract(picture, flat, 0.5)
    red, green, blue = ImageChops.lighter(lighter, ImageChops.subtract(flat, picture)).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _filled(mask: Image.Image, hole: int) -> Image.Image:
    """The mask without holes, since a light garment on a light ground shows little but its outline.

    If the mask is solid otherwise, a hole of more than `hole` pixels both ways stays open, as does a deep bay: there
    the ground shows between arm and body.
    """
    closed = mask.filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.MinFilter(5))
    turned = _spans(closed.transpose(Image.Transpose.TRANSPOSE)).transpose(Image.Transpose.TRANSPOSE)
    blunt = ImageChops.darker(_spans(closed), turned)
    bare = ImageChops.invert(mask)
    outside = ImageChops.invert(blunt)
    for _ in range(24):  # in from the sides, into what no straight line reaches
        outside = ImageChops.darker(outside.filter(ImageFilter.BoxBlur(1)).point(_ANY), bare)
    filled = ImageChops.invert(outside)
    if _area(mask) < 0.8 * _area(filled) or _area(filled) < 0.8 * _area(blunt):
        return blunt
    holes = ImageChops.darker(bare, filled)
    big = holes.filter(ImageFilter.MinFilter(hole)).filter(ImageFilter.MaxFilter(hole + 2))
    return ImageChops.subtract(filled, ImageChops.darker(big, holes))


def _area(mask: Image.Image) -> int:
    return mask.histogram()[255]


def _spans(mask: Image.Image) -> Image.Image:
    width, height = mask.size
    data = mask.tobytes()
    rows = []
    for start in range(0, width * height, width):
        row = data[start : start + width]
        first, last = row.find(255), row.rfind(255)
        rows.append(
            bytes(width) if first < 0 else bytes(first) + b"\xff" * (last + 1 - first) + bytes(width - last - 1)
        )
    return Image.frombytes("L", mask.size, b"".join(rows))


@dataclass(frozen=True)
class _Placing:
    """Which part of a garment's grid goes where in the body frame (left, top, right, bottom)."""

    source: Area
    target: Area
    worn: bool


def _place_flat(cut: _Cut, category: Category) -> _Placing:
    """A flat-lay garment by its torso or waist, and its shoulders."""
    left, top, right, bottom = cut.box
    height = bottom - top
    data, width = cut.mask.tobytes(), cut.mask.width
    rows = [data[y * width : (y + 1) * width] for y in range(top, bottom)]
    middle = (left + right) // 2

    def inner(share_from: float, share_to: float) -> float:
        """The narrowest middle part between two heights: the torso without its sleeves."""
        spans = []
        for row in rows[int(height * share_from) : max(int(height * share_to), int(height * share_from) + 1)]:
            if 0 in row[max(0, middle - 2) : middle + 3]:
                continue  # an open neck
            end = row.find(0, middle) if 0 in row[middle:] else width
            start = row.rfind(0, 0, middle) + 1
            if 0.6 < (end - middle) / (middle - start + 1) < 1.6:
                spans.append(end - start)
        return max(2.0, min(spans, default=(right - left) * 0.6))

    extents = [row.rfind(255) - row.find(255) + 1 for row in rows]
    if category == "lower":
        scale = _WAIST / max(2, *extents[: max(1, height // 30)])
    else:
        scale = _TORSO / inner(0.35, 0.75) if category == "upper" else _WAIST / inner(0.2, 0.5)
    scale = min(scale, _LONGEST[category] / height, 520 / (right - left))
    y = _TOP_Y[category]
    if category != "lower":
        shoulder = next((i for i, extent in enumerate(extents) if extent * scale >= 0.72 * _TORSO), height)
        if shoulder < 0.18 * height:
            y = 234 - shoulder * scale
    half = (right - left) / 2 * scale
    return _Placing(cut.box, (-half, y, half, y + height * scale), worn=False)


def _place_worn(cut: _Cut, category: Category) -> _Placing | None:
    """The part of a worn garment below its wearer's face; nothing if nobody wears it."""
    face = _find_face(cut.grid, 1)
    if face is None:
        return None
    left, top, right, bottom = cut.box
    above = (round(face.middle), round(face.top - max(2, 0.14 * face.width)))
    middle = round((face.top + face.chin) / 2)
    beside = cut.mask.crop((0, middle, cut.mask.width, middle + 1)).getbbox()
    if above[1] < 0 or not cut.mask.getpixel(above) or not beside or beside[2] - beside[0] > 2.2 * face.width:
        return None  # no hair above the skin, or more than a head around it: a garment of that colour
    unit = face.width / _FACE
    x, y = face.middle, face.chin - _CHIN * unit
    first, last = {"upper": (206, 545), "lower": (400, 980), "overall": (206, 980)}[category]
    top, bottom = max(top, round(y + first * unit)), min(bottom, round(y + last * unit))
    if bottom - top < 0.15 * (cut.box[3] - cut.box[1]):
        return None
    target = ((left - x) / unit, (top - y) / unit, (right - x) / unit, (bottom - y) / unit)
    return _Placing((left, top, right, bottom), target, worn=True)


def _target(body: _Body, units: Area) -> Box:
    left, top, right, bottom = units
    x, y = round(body.x + left * body.unit), round(body.y + top * body.unit)
    right, bottom = round(body.x + right * body.unit), round(body.y + bottom * body.unit)
    return (x, y, max(x + 8, right), max(y + 8, bottom))


def _lay(photo: Image.Image, garment: Image.Image, cut: _Cut, body: _Body, placing: _Placing) -> None:
    """Cut the garment out at its final size, and paste it on the photo with a shadow beneath."""
    target = _target(body, placing.target)
    size = (target[2] - target[0], target[3] - target[1])
    left, top, right, bottom = placing.source
    scale_x, scale_y = garment.width / cut.grid.width, garment.height / cut.grid.height
    source = (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
    cloth = garment.resize(size, Image.Resampling.BICUBIC, box=source, reducing_gap=2)
    mask = _filled(cut.raw, 3) if placing.worn else cut.mask
    faint = _area(cut.raw) < 0.94 * _area(mask)  # then its edge is not to be found any finer than in the grid
    inside = mask if faint else mask.filter(ImageFilter.MinFilter(3))
    inside = inside.resize(size, Image.Resampling.BICUBIC, box=placing.source)
    near = mask.filter(ImageFilter.MaxFilter(3)).resize(size, Image.Resampling.BICUBIC, box=placing.source)
    edge = _distance(cloth, cut.ground).point(_ramp(16, 36))
    alpha = ImageChops.lighter(ImageChops.darker(edge, near), inside.point(_ramp(120, 200)))
    if placing.worn:
        skin = _skin(cloth).filter(ImageFilter.BoxBlur(3)).point(_ramp(40, 110))
        alpha = ImageChops.subtract(alpha, skin)
        body_of_it = alpha.reduce(4).filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(7))
        alpha = ImageChops.darker(alpha, body_of_it.resize(size, Image.Resampling.BILINEAR))  # without slivers
    alpha = alpha.filter(ImageFilter.BoxBlur(1)).point(_ramp(120, 235))
    _paste_shaded(photo, cloth, alpha, target)


def _ramp(low: int, high: int) -> list[int]:
    """A look-up table that rises from 0 at `low` to 255 at `high`."""
    return [round(255 * min(1.0, max(0.0, (value - low) / (high - low)))) for value in range(256)]


def _paste_shaded(photo: Image.Image, cloth: Image.Image, alpha: Image.Image, target: Box) -> None:
    """Paste a cut-out: rounder at its edges, and with the shadow it throws."""
    small = alpha.resize((max(1, alpha.width // 6), max(1, alpha.height // 6)), Image.Resampling.BOX)
    padded = ImageOps.expand(small, border=4).filter(ImageFilter.GaussianBlur(1.6))
    shadow = padded.resize((padded.width * 6, padded.height * 6), Image.Resampling.BILINEAR).point(_SHADOW)
    photo.paste(_INK, (target[0] - 20, target[1] - 15), shadow)
    relief = padded.crop((4, 4, 4 + small.width, 4 + small.height)).point(_RELIEF)
    relief = relief.resize(cloth.size, Image.Resampling.BILINEAR)
    photo.paste(ImageChops.multiply(cloth, Image.merge("RGB", (relief, relief, relief))), target, alpha)


_SHADOW = [round(value * 0.3) for value in range(256)]
_RELIEF = [round(196 + 59 * (value / 255) ** 0.7) for value in range(256)]


def _lay_panel(photo: Image.Image, garment: Image.Image, body: _Body, category: Category) -> None:
    """Lay a picture without a usable ground on the body, as a panel with soft edges."""
    target = _target(body, _PANELS[category])
    size = (target[2] - target[0], target[3] - target[1])
    cloth = ImageOps.fit(garment, size, Image.Resampling.BICUBIC)
    small = (max(8, size[0] // 6), max(8, size[1] // 6))
    alpha = Image.new("L", small)
    ImageDraw.Draw(alpha).rounded_rectangle((2, 2, small[0] - 3, small[1] - 3), radius=min(small) // 5, fill=255)
    alpha = alpha.filter(ImageFilter.GaussianBlur(1.2)).resize(size, Image.Resampling.BICUBIC)
    _paste_shaded(photo, cloth, alpha, target)


def _head(photo: Image.Image, body: _Body) -> tuple[Image.Image, Box, Image.Image]:
    """The face and throat, with where and through which mask to paste them back over a hood or collar."""
    target = _target(body, (-48, 70, 48, 242))
    size = ((target[2] - target[0]) // 2, (target[3] - target[1]) // 2)
    mask = Image.new("L", size)
    scale = body.unit / 2
    shapes = (
        _ellipse(0, 138, 41, 57),
        [(-21.0, 180.0), (21, 180), (20, 205), (10, 226), (0, 236), (-10, 226), (-20, 205)],
    )
    for shape in shapes:
        ImageDraw.Draw(mask).polygon([((x + 48) * scale, (y - 70) * scale) for x, y in shape], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(1.2))
    mask = mask.resize((target[2] - target[0], target[3] - target[1]), Image.Resampling.BILINEAR)
    return photo.crop(target), target, mask


@lru_cache(maxsize=8)
def _mark(size: tuple[int, int]) -> Image.Image:
    """PREVIEW, small and legible, in the lower right corner of a clear RGBA picture."""
    mark = Image.new("RGBA", size)
    height = max(9, round(min(size) * 0.024))
    font = ImageFont.load_default(size=height)
    draw = ImageDraw.Draw(mark)
    left, top, right, bottom = draw.textbbox((0, 0), "PREVIEW", font=font)
    pad = height * 0.55
    x, y = size[0] - pad * 2.4 - (right - left), size[1] - pad * 2.4 - (bottom - top)
    box = (x - pad, y - pad * 0.8, x + right - left + pad, y + bottom - top + pad * 0.8)
    draw.rounded_rectangle(box, radius=pad, fill=(30, 30, 34, 130))
    draw.text((x - left, y - top), "PREVIEW", font=font, fill=(255, 255, 255, 235))
    return mark


def try_on(
    garment: Image.Image, person: Image.Image, category: Category, size: tuple[int, int] = PHOTO_SIZE
) -> Image.Image:
    """A preview (RGB, `size` in pixels) of the garment laid over the person: what stands in for the GPU's work.

    The garment is cut from a nearly uniform ground and fitted to the body under the person's face. One that is worn
    in its picture loses its wearer; one without such a ground is laid on as a soft-edged panel. Any RGB picture will
    do for either; the result is marked PREVIEW.
    """
    garment, person = garment.convert("RGB"), person.convert("RGB")
    photo = ImageOps.fit(person, size, Image.Resampling.BICUBIC, centering=(0.5, 0.25))
    body = _find_body(photo)
    head = _head(photo, body) if body.seen else None
    cut = _cut(garment)
    if cut is None:
        _lay_panel(photo, garment, body, category)
    else:
        _lay(photo, garment, cut, body, _place_worn(cut, category) or _place_flat(cut, category))
    if head:
        photo.paste(*head)
    mark = _mark(size)
    photo.paste(mark, (0, 0), mark.getchannel("A"))
    return photo


# ---------------------------------------------------------------------------------------------------------------------
# Contact sheet
# ---------------------------------------------------------------------------------------------------------------------

_CELL = (300, 400)  # pixels of a picture on a sheet
_GAP = 28
_MARGIN = 56
_PAPER: Colour = (247, 246, 243)
_GREY: Colour = (122, 120, 124)
_LETTERS = {0x2013: "-", 0x2014: "-", 0x2018: "'", 0x2019: "'", 0xD7: "x", 0xDF: "ss", 0x20AC: "EUR "}


def contact_sheet(entries: Sequence[tuple[Image.Image, str]], columns: int, title: str) -> Image.Image:
    """All pictures with their captions on one sheet (RGB), `columns` beside each other, under a title.

    A caption's first line is dark; what follows a line break is grey and smaller. Lines too long are cut short.
    """
    columns = max(1, columns)
    rows = -(-len(entries) // columns)
    lines = max((min(2, caption.count("\n") + 1) for _, caption in entries), default=1)
    step_x, step_y = _CELL[0] + _GAP, _CELL[1] + 20 + 22 * lines + _GAP
    head = _MARGIN + 74
    sheet = Image.new(
        "RGB", (2 * _MARGIN + columns * step_x - _GAP, head + rows * step_y - min(rows, 1) * _GAP + _MARGIN), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _MARGIN
    font = ImageFont.load_default(size=38 if room > 700 else 26)
    draw.text((_MARGIN, _MARGIN - 10), _shortened(title, font, room), font=font, fill=_INK)
    draw.line((_MARGIN, head - 24, sheet.width - _MARGIN, head - 24), fill=(216, 214, 210), width=2)
    for index, (picture, caption) in enumerate(entries):
        x, y = _MARGIN + index % columns * step_x, head + index // columns * step_y
        _card(sheet, picture, (x, y))
        for number, line in enumerate(caption.split("\n")[:2]):
            font = ImageFont.load_default(size=19 if number == 0 else 16)
            place = (x + 2, y + _CELL[1] + 12 + 25 * number)
            draw.text(place, _shortened(line, font, _CELL[0] - 4), font=font, fill=_GREY if number else _INK)
    return sheet


def _card(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int]) -> None:
    """One picture with round corners and a soft shadow; cropped if it nearly fits, else whole on white."""
    picture = picture.convert("RGB")
    shape = (picture.width / picture.height) / (_CELL[0] / _CELL[1])
    if 0.8 < shape < 1.3:
        picture = ImageOps.fit(picture, _CELL, Image.Resampling.LANCZOS, centering=(0.5, 0.3))
    else:
        picture = ImageOps.pad(picture, _CELL, Image.Resampling.LANCZOS, color=_WHITE)
    shadow, mask = _frame()
    sheet.paste(_INK, (corner[0] - 20, corner[1] - 14), shadow)
    sheet.paste(picture, corner, mask)


@lru_cache(maxsize=1)
def _frame() -> tuple[Image.Image, Image.Image]:
    """The masks of a card's shadow and of its picture."""
    large = Image.new("L", (_CELL[0] * 3, _CELL[1] * 3))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, large.width - 1, large.height - 1), radius=36, fill=255)
    mask = large.reduce(3)
    shadow = (
        ImageOps.expand(mask, border=20)
        .filter(ImageFilter.GaussianBlur(8))
        .point([round(v * 0.16) for v in range(256)])
    )
    return shadow, mask


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """The text as far as it fits, in letters that Pillow's own font has."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    text = "".join(c if c.isascii() or c == "·" else "?" for c in plain if not unicodedata.combining(c)).strip()
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..."
