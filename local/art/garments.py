"""Products: a garment as a flat-lay photo, guessed from its title."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageChops

from local.art.fabrics import COLOURS, PATTERNS, USUAL_COLOURS, woven
from local.art.frame import INK, PRODUCT_SIZE, WHITE, Colour, Outline, Point
from local.art.shapes import Canvas, Dice, Fold, arc, joined, mirror, mix, oval, path, tone

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
class Look:
    """What a title (and, where it says nothing, the seed) makes a garment look like."""

    kind: str
    colour: Colour
    accent: Colour
    pattern: str
    words: frozenset[str]
    dice: Dice

    def says(self, *words: str) -> bool:
        return not self.words.isdisjoint(words)


def _words(title: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", f" {title.lower()} ").replace("/", " ")
    plain = plain.replace(" t shirt", " t-shirt").replace(" polo shirt", " polo")
    return ["".join(c for c in word if c.isalnum() or c == "-") for word in plain.split()]


def _kind(words: Sequence[str], dice: Dice) -> str:
    """The last garment named before any "with ..."; English titles end in what the thing is."""
    cut = next((i for i, word in enumerate(words) if word in _ASIDES[:3] and i > 0), len(words))
    for part in (words[:cut], words):
        named = [_KINDS[word] for word in part if word in _KINDS]
        if named:
            return named[-1]
    return dice.pick(_USUAL_KINDS)


def _look(title: str, seed: int) -> Look:
    words = _words(title)
    dice = Dice(f"{seed}:{title}")
    kind = _kind(words, dice)
    default = COLOURS["denim"] if kind == "jeans" else dice.pick(USUAL_COLOURS)
    named = [COLOURS[word] for word in words if word in COLOURS]
    colour = named[0] if named else default
    reach = 7 if max(colour) - min(colour) > 20 else 3  # greys stay grey
    shift = [dice.between(-reach, reach) for _ in range(3)]  # no two products are quite alike
    red, green, blue = (max(30, min(247, round(value + by))) for value, by in zip(colour, shift, strict=True))
    colour = (red, green, blue)
    patterns = [PATTERNS[word] for word in words if word in PATTERNS]
    usual = dice.pick(_USUAL_PATTERNS.get(kind, ("plain",)))
    pattern = patterns[0] if patterns else usual
    soft = mix(colour, WHITE, 0.78) if tone(colour) < 170 else mix(colour, dice.pick(USUAL_COLOURS), 0.8)
    accent = named[1] if len(named) > 1 else soft
    return Look(kind, colour, accent, pattern, frozenset(words), dice)


@dataclass(frozen=True)
class _Piece:
    """One part of a garment: filled outlines, or lines where `width` is set. `paint` may name a cloth."""

    outlines: Sequence[Sequence[Point]]
    paint: Colour | Literal["cloth", "left", "right"] = "cloth"
    depth: float = 0
    folds: Sequence[Fold] = ()
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


def _neckband(look: Look, neckline: Sequence[Point], width: float) -> list[_Piece]:
    """A band around the neck; the back of the neck is hinted at, too faintly to be cut out with the garment."""
    front = mirror(reversed(arc(neckline))) + arc(neckline)
    corner = neckline[-1]
    back = arc([corner, (corner[0] * 0.6, corner[1] - 5), (0, corner[1] - 7)])
    inside = front + back + mirror(reversed(back))
    return [_Piece([inside], INK, opacity=0.05), _Piece([front], _trim(look), width=width)]


def _drapes(look: Look, top: float, bottom: float, half: float, count: int) -> list[Fold]:
    """Soft vertical folds between two heights, light beside dark."""
    folds = []
    for _ in range(count):
        x, lean = look.dice.between(-half, half), look.dice.between(-0.35, 0.35) * half
        start = look.dice.between(top, top + (bottom - top) * 0.4)
        line = [(x * 0.7, start), (x + lean * 0.4, (start + bottom) / 2), (x + lean, bottom)]
        folds.append(Fold(line, 9, -0.34))
        folds.append(Fold([(px - 9, py) for px, py in line], 8, 0.5))
    return folds


def _chest_folds(look: Look) -> list[Fold]:
    """The pull from the armpits to the middle, and at the waist."""
    sag = look.dice.between(14, 40)
    folds = []
    for side in (-1, 1):
        folds.append(Fold([(side * 84, 322), (side * 62, 346 + sag), (side * 50, 384 + sag)], 6, -0.26))
        folds.append(Fold([(side * 84, 336), (side * 68, 362 + sag), (side * 58, 396 + sag)], 7, 0.4))
        folds.append(Fold([(side * 80, 404), (side * 60, 416 + sag / 3), (side * 36, 420)], 5, -0.2))
        folds.append(Fold([(side * 80, 414), (side * 60, 426 + sag / 3), (side * 38, 430)], 5, 0.3))
    folds.append(Fold([(-34, 290), (-40, 380), (-36, 480)], 26, 0.3))
    return folds


def _bodice(neckline: Sequence[Point], waist: float, hem: Point, bust: float = 88, tail: float = 5) -> Outline:
    """A top's body. `hem` is its lower corner; `tail` is how much lower the middle hangs."""
    shoulder = (98.0, 248.0)
    return joined(
        path(
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


def _sleeves(look: Look, reach: float, cuff: float, middle: float, puff: float = 0) -> list[_Piece]:
    """A pair of sleeves, `reach` of the arm's length; `cuff` and `middle` are half widths."""
    half = path(
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
    folds = [Fold([(98, 262), _beside(reach * 0.5, 6), _beside(reach * 0.95, 4)], 10, 0.45)]
    folds.append(Fold([(88, 330), _beside(reach * 0.5, -middle * 0.35), _beside(reach * 0.62, middle * 0.2)], 8, -0.4))
    if reach > 0.6:
        for shift in (-0.06, 0.05):
            folds.append(Fold([_beside(bend + shift, -middle), _beside(bend + shift - 0.07, middle * 0.3)], 5, -0.3))
            folds.append(
                Fold([_beside(bend + shift + 0.04, -middle), _beside(bend + shift - 0.03, middle * 0.3)], 5, 0.4)
            )
    mirrored = [Fold(mirror(fold.line), fold.width, fold.light) for fold in folds]
    return [
        _Piece([half], "right", 0.42, folds),
        _Piece([mirror(half)], "left", 0.42, mirrored),
    ]


def _cuffs(look: Look, reach: float, half: float, length: float = 0.05, middle: float = 0) -> list[_Piece]:
    """Ribbed or buttoned bands at the sleeves' ends."""
    band = path(
        [_beside(reach - length, half + 0.6 + middle), _beside(reach + 0.012, half)],
        [_beside(reach + 0.012, half), _beside(reach + 0.02, 0), _beside(reach + 0.012, -half)],
        [_beside(reach + 0.012, -half), _beside(reach - length, -half - 0.6 - middle)],
    )
    return [_Piece([band, mirror(band)], _trim(look), 0.35)]


def _trim(look: Look) -> Colour:
    return mix(look.colour, INK, 0.16)


def _seam(look: Look, *lines: Sequence[Point], width: float = 1.3, opacity: float = 0.45) -> _Piece:
    return _Piece([arc(line) for line in lines], mix(look.colour, INK, 0.62), width=width, opacity=opacity)


def _both(line: Sequence[Point]) -> tuple[Sequence[Point], Sequence[Point]]:
    return (line, mirror(line))


def _ribs(look: Look, left: float, right: float, top: float, bottom: float) -> list[_Piece]:
    """A ribbed hem."""
    band = path(
        [(left, top), (0, top + 5), (right, top)],
        [(right, top), (right - 3, bottom)],
        [(right - 3, bottom), (0, bottom + 5), (left + 3, bottom)],
        [(left + 3, bottom), (left, top)],
    )
    lines = [[(x, top + 4), (x * 0.98, bottom - 1)] for x in range(round(left) + 5, round(right) - 2, 7)]
    return [_Piece([band], _trim(look), 0.35), _seam(look, *lines, width=1.2, opacity=0.25)]


def _buttons(look: Look, places: Sequence[Point], radius: float = 3.6, metal: bool = False) -> list[_Piece]:
    light = tone(look.colour) > 150
    face: Colour = (
        (196, 176, 132) if metal else (mix(look.colour, INK, 0.55) if light else mix(look.colour, WHITE, 0.72))
    )
    return [
        _Piece([oval(x + 0.8, y + 1.4, radius, radius) for x, y in places], INK, soft=1.2, opacity=0.35),
        _Piece([oval(x, y, radius, radius) for x, y in places], face, 0.25),
        _Piece([oval(x, y, radius * 0.28, radius * 0.28) for x, y in places], mix(face, INK, 0.5)),
    ]


def _collar(look: Look, spread: float = 34, drop: float = 280) -> list[_Piece]:
    """A turned-down collar: two wings around an open neck."""
    wing = path(
        [(2, 250), (12, 232), (26, 212)],
        [(26, 212), (40, 216), (47, 228)],
        [(47, 228), (spread + 6, drop - 16), (spread - 6, drop)],
        [(spread - 6, drop), (14, 266), (2, 250)],
    )
    return [
        _Piece([wing, mirror(wing)], INK, soft=3.2, opacity=0.3),
        _Piece([wing, mirror(wing)], "cloth", 0.24),
        _seam(look, *_both([(40, 230), (spread + 1, drop - 18), (spread - 7, drop - 5), (14, 261)]), opacity=0.3),
    ]


def _tshirt(look: Look) -> list[_Piece]:
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


def _emblem(look: Look) -> list[_Piece]:
    """A small abstract print on the chest."""
    ink = mix(look.colour, WHITE, 0.82) if tone(look.colour) < 150 else mix(look.colour, INK, 0.72)
    warm = look.dice.pick([(226, 132, 66), (206, 158, 56), (190, 92, 84), (90, 150, 150)])
    choice = look.dice.pick(["sun", "hills", "bars"])
    if choice == "sun":
        waves = [arc([(-30, y), (-15, y - 5), (0, y), (15, y + 5), (30, y)]) for y in (372, 382, 392)]
        return [_Piece([oval(0, 344, 20, 20)], warm), _Piece(waves, ink, width=3.2)]
    if choice == "hills":
        hills = [[(-36, 384), (-12, 340), (8, 384)], [(-8, 384), (16, 352), (36, 384)]]
        return [_Piece([oval(18, 334, 8, 8)], warm), _Piece(hills, ink)]
    bars = [[(-34, y), (34, y), (34, y + 7), (-34, y + 7)] for y in (340, 354, 368)]
    return [_Piece(bars[:2], ink), _Piece(bars[2:], warm)]


def _placket(look: Look, top: float, bottom: float) -> list[_Piece]:
    return [
        _Piece([[(-9, top), (9, top), (9, bottom), (-9, bottom)]], "cloth", 0.14),
        _seam(look, [(-9, top), (-9, bottom)], [(9, top), (9, bottom)], opacity=0.4),
    ]


def _shirt(look: Look) -> list[_Piece]:
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
            _Piece([pocket, [(30, 330), (66, 330)]], mix(look.colour, INK, 0.6), width=1.3, opacity=0.5),
        ]
    pieces += _buttons(look, [(0, y) for y in range(286, round(hem) - 10, 42)])
    pieces += _collar(look)
    return pieces


def _blouse(look: Look) -> list[_Piece]:
    hem = look.dice.between(500, 530)
    reach = 0.62 if look.says("short") else 0.9
    pieces = [*_sleeves(look, reach, 24, 34, 10), *_cuffs(look, reach, 21, 0.05, 3)]
    neck = _NECKLINES[look.dice.pick(["v", "scoop", "v"])]
    body = _bodice(neck, 78, (98, hem), tail=10)
    pieces.append(_Piece([body], "cloth", 0.36, _chest_folds(look) + _drapes(look, 400, hem, 80, 5)))
    pieces.append(_seam(look, *_both([(98, 248), (87, 290), (88, 324)]), opacity=0.4))
    pieces.append(_Piece([arc(neck), mirror(arc(neck))], _trim(look), width=4.5))
    if neck is _NECKLINES["v"]:  # a tied bow
        knot, x = (0.0, 300.0), look.dice.between(14, 20)
        tails = [
            [knot, (x, 340), (x - 6, 392), (x + 6, 394), (x + 12, 340)],
            [knot, (-x, 336), (-x - 4, 378), (-x - 14, 378), (-x - 8, 334)],
        ]
        loops = [
            path([knot, (20, 282), (40, 290), (38, 306), knot]),
            path([knot, (-20, 282), (-40, 290), (-38, 306), knot]),
        ]
        pieces += [
            _Piece(tails, "cloth", 0.4),
            _Piece(loops, INK, soft=2.5, opacity=0.25),
            _Piece(loops, "cloth", 0.45),
            _Piece([oval(*knot, 7, 8)], _trim(look), 0.3),
        ]
    return pieces


def _hoodie(look: Look) -> list[_Piece]:
    hem = look.dice.between(508, 520)
    hood = joined(path([(0, 178), (34, 184), (58, 208), (66, 238)], [(66, 238), (40, 262), (0, 274)]))
    opening = joined(path([(0, 200), (20, 204), (32, 222), (24, 244), (0, 262)]))
    pieces = [*_sleeves(look, 0.96, 22, 31), *_cuffs(look, 0.99, 18, 0.06)]
    body = _bodice([(0, 262), (22, 246), (40, 226)], 90, (92, hem), bust=94, tail=3)
    pieces.append(_Piece([body], "cloth", 0.38, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.45))
    pieces += _ribs(look, -91, 91, hem - 6, hem + 22)
    pocket = joined(path([(0, 424), (44, 424)], [(44, 424), (60, 462), (66, 500)], [(66, 500), (0, 504)]))
    pieces += [_Piece([pocket], "cloth", 0.2), _Piece([pocket], mix(look.colour, INK, 0.6), width=1.5, opacity=0.5)]
    pieces += [
        _Piece([hood], INK, soft=4, opacity=0.3),
        _Piece([hood], "cloth", 0.5),
        _Piece([opening], mix(look.colour, INK, 0.55), 0.5),
    ]
    cords = [arc([(12, 262), (15, 300), (13, 338)]), arc([(-12, 262), (-16, 296), (-13, 326)])]
    pieces += [
        _Piece(cords, mix(look.colour, WHITE, 0.75), width=3.4),
        _Piece([oval(13, 340, 2.6, 6), oval(-13, 328, 2.6, 6)], mix(look.colour, INK, 0.5)),
    ]
    return pieces


def _sweater(look: Look) -> list[_Piece]:
    hem = look.dice.between(500, 516)
    neck = _NECKLINES["v" if look.says("v-neck") else "crew"]
    pieces = [*_sleeves(look, 0.95, 23, 31), *_cuffs(look, 0.98, 19, 0.07)]
    body = _bodice(neck, 90, (91, hem), bust=93, tail=3)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.5))
    pieces += _ribs(look, -90, 90, hem - 6, hem + 24)
    pieces += _neckband(look, neck, 13)
    return pieces


def _cardigan(look: Look) -> list[_Piece]:
    hem = look.dice.between(516, 540)
    neck = [(0.0, 352.0), (18, 284), (40, 224)]
    pieces = [*_sleeves(look, 0.95, 22, 30), *_cuffs(look, 0.98, 19, 0.07)]
    body = _bodice(neck, 88, (91, hem), bust=93, tail=3)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 430, hem, 60, 2)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.5))
    pieces += _ribs(look, -90, 90, hem - 6, hem + 20)
    pieces.append(_Piece([arc(neck), mirror(arc(neck))], _trim(look), width=13))
    pieces.append(_Piece([[(-7, 346), (7, 346), (7, hem + 24), (-7, hem + 24)]], _trim(look), 0.2))
    return [*pieces, *_buttons(look, [(0, y) for y in range(368, round(hem) + 10, 36)], 4.4)]


def _jacket(look: Look) -> list[_Piece]:
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
            _Piece([arc(line) for line in lines], thread, width=1.4, opacity=0.7),
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


def _tailored(look: Look, hem: float, flare: float) -> list[_Piece]:
    """Blazers and coats: lapels, flap pockets, buttons."""
    double = look.says("double", "double-breasted", "trench", "pea") or look.dice.between(0, 1) < 0.3
    close = 372.0
    pieces = [*_sleeves(look, 0.98, 22, 29), _seam(look, *_both([_beside(0.9, 21), _beside(0.9, -21)]))]
    pieces += _buttons(look, [_beside(0.95, -12), (-_beside(0.95, -12)[0], _beside(0.95, -12)[1])], 2.6)
    shirt = joined(path([(0, 250), (20, 240), (34, 224)], [(34, 224), (24, 300), (0, close)]))
    pieces.append(_Piece([shirt], mix(look.colour, WHITE, 0.9), 0.2))
    body = _bodice([(0, close), (22, 300), (40, 222)], 84, (flare, hem), bust=93, tail=4)
    pieces.append(_Piece([body], "cloth", 0.4, _chest_folds(look) + _drapes(look, 450, hem, 70, 3)))
    pieces.append(_seam(look, *_both([(98, 248), (92, 290), (93, 324)]), opacity=0.6))
    overlap = 12 if double else 4
    pieces.append(_seam(look, [(0, close), (-overlap, close + 50), (-overlap, hem + 3)], width=1.8, opacity=0.7))
    lapel = path(
        [(36, 214), (50, 230)],
        [(50, 230), (66, 288), (56, 296)],
        [(64, 308), (40, 350), (2, close)],
        [(2, close), (14, 320), (26, 256), (36, 214)],
    )
    pieces += [
        _Piece([lapel, mirror(lapel)], INK, soft=3, opacity=0.35),
        _Piece([lapel, mirror(lapel)], "cloth", 0.28),
    ]
    pieces.append(_seam(look, *_both([(30, 262), (60, 296)]), width=1.6, opacity=0.6))
    flaps = [[(34, 452), (78, 446), (79, 460), (34, 467)], [(-34, 452), (-78, 446), (-79, 460), (-34, 467)]]
    pieces += [_Piece(flaps, INK, soft=2, opacity=0.3), _Piece(flaps, "cloth", 0.22)]
    places = [(x, y) for x in ((-20, 20) if double else (0,)) for y in range(384, round(min(hem - 40, 560)), 46)]
    if look.says("trench", "belt", "belted"):
        belt = [(-88, 418), (88, 418), (88, 436), (-88, 436)]
        pieces += [
            _Piece([belt], _trim(look), 0.3),
            _Piece([[(-16, 414), (16, 414), (16, 440), (-16, 440), (-16, 414)]], mix(look.colour, INK, 0.6), width=4),
        ]
        places = [(x, y) for x, y in places if not 400 < y < 450]
    return [*pieces, *_buttons(look, places, 4.6)]


def _blazer(look: Look) -> list[_Piece]:
    return _tailored(look, look.dice.between(534, 552), 94)


def _coat(look: Look) -> list[_Piece]:
    return _tailored(look, look.dice.between(690, 760), look.dice.between(108, 124))


def _strapped(look: Look, waist: float, hem: Point, tail: float) -> Outline:
    """A sleeveless body on two straps."""
    low = look.dice.between(272, 292)
    return joined(
        path(
            [(0, low), (24, low - 8), (40, 252), (44, 228)],
            [(44, 228), (62, 234)],
            [(62, 234), (66, 288), (86, 326)],
            [(86, 326), (waist, 420), hem],
            [hem, (hem[0] * 0.6, hem[1] + tail), (0, hem[1] + tail)],
        )
    )


def _tank(look: Look) -> list[_Piece]:
    hem = look.dice.between(440, 460) if look.says("crop", "cropped") else look.dice.between(510, 526)
    body = _strapped(look, 76, (82, hem), 5)
    edges = _Piece([[*body, body[0]]], _trim(look), width=4)
    return [
        edges,
        _Piece([body], "cloth", 0.38, _chest_folds(look) + _drapes(look, 400, hem, 60, 3)),
        _seam(look, [(-80, hem - 7), (0, hem - 2), (80, hem - 7)], opacity=0.35),
    ]


def _waistband(look: Look, half: float, top: float, height: float = 18) -> list[_Piece]:
    band = joined(
        path(
            [(0, top + 4), (half, top)],
            [(half, top), (half + 3, top + height)],
            [(half + 3, top + height), (0, top + height + 5)],
        )
    )
    return [_Piece([band], _trim(look), 0.28)]


def _skirt(look: Look) -> list[_Piece]:
    hem = look.dice.between(690, 740)
    hem = 585 if look.says("mini", "short") else 880 if look.says("maxi", "long") else hem
    slim = look.says("pencil", "denim", "leather") or look.dice.between(0, 1) < 0.15
    flare = 96 if slim else 100 + (hem - 500) * 0.22 + look.dice.between(0, 14)
    body = joined(
        path(
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
            Fold([(x * 54, 440), (x * 80, 520), (x * flare * 0.94, hem + 8)], 9, -0.46),
            Fold([(x * 54 - 9, 440), (x * 80 - 11, 520), (x * flare * 0.94 - 14, hem + 8)], 9, 0.55),
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
    return joined(
        path(
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


def _leg_folds(look: Look, hem: float) -> list[Fold]:
    folds = []
    for side in (-1, 1):
        folds.append(Fold([(side * 50, 600), (side * 60, 740), (side * 62, hem - 10)], 13, 0.4))
        folds.append(Fold([(side * 6, 556), (side * 36, 574), (side * 74, 570)], 6, -0.24))
        folds.append(Fold([(side * 8, 572), (side * 34, 596), (side * 60, 606)], 6, 0.3))
        if hem > 760:
            knee = look.dice.between(720, 744)
            folds.append(Fold([(side * 40, knee), (side * 62, knee + 10), (side * 80, knee)], 6, -0.2))
            folds.append(Fold([(side * 40, knee + 16), (side * 62, knee + 26), (side * 82, knee + 16)], 6, 0.28))
            folds.append(Fold([(side * 46, hem - 34), (side * 66, hem - 26)], 6, -0.22))
    return folds


def _trousers(look: Look) -> list[_Piece]:
    wide = look.says("wide", "wide-leg", "flared", "culottes", "palazzo", "baggy")
    slim = look.says("skinny", "slim")
    width = 46 if wide else 22 if slim else look.dice.between(26, 33)
    outer, inner = 62 + width, max(8, 62 - width)
    hem = look.dice.between(916, 936)
    body = _legs(outer, inner, hem, 90 if slim else 94)
    jeans = look.pattern == "denim"
    thread: Colour = (206, 158, 92) if jeans else mix(look.colour, INK, 0.6)
    strength = 0.85 if jeans else 0.4
    pieces = [_Piece([body], "cloth", 0.44, _leg_folds(look, hem))]
    lines = [*_both([(64, 430), (58, 462), (90, 478)]), [(0, 428), (0, 548)], [(18, 432), (18, 500), (4, 530)]]
    hems = _both([(outer - 1, hem - 12), (62, hem - 6), (inner + 1, hem - 10)])
    sides = _both([(88, 490), (92, 560), (outer - 3, 740), (outer - 4, hem)]) if jeans else ()
    pieces.append(_Piece([arc(line) for line in (*lines, *hems, *sides)], thread, width=1.5, opacity=strength))
    if not jeans:
        pieces.append(_seam(look, *_both([(44, 440), (60, 700), (62, hem)]), opacity=0.28))
    pieces += _waistband(look, 68, 408)
    if look.says("joggers", "sweatpants"):
        cords = [arc([(-4, 424), (-10, 452), (-8, 476)]), arc([(4, 424), (11, 448), (10, 468)])]
        return [*pieces, _Piece(cords, mix(look.colour, WHITE, 0.8), width=3)]
    loops = [[(x - 2.5, 408), (x + 2.5, 408), (x + 2.5, 428), (x - 2.5, 428)] for x in (-44, 44)]
    return [*pieces, _Piece(loops, mix(look.colour, INK, 0.3)), *_buttons(look, [(0, 420)], 4.2, metal=jeans)]


def _leggings(look: Look) -> list[_Piece]:
    hem = look.dice.between(910, 928)
    body = _legs(80, 45, hem, 87)
    return [
        _Piece([body], "cloth", 0.46, _leg_folds(look, hem)),
        _seam(look, *_both([(78, 470), (76, 560), (66, 740), (64, hem)]), [(0, 440), (0, 550)], opacity=0.35),
        *_waistband(look, 66, 404, 34),
    ]


def _shorts(look: Look) -> list[_Piece]:
    hem = look.dice.between(640, 676)
    body = _legs(99, 13, hem)
    hems = _both([(97, hem - 12), (56, hem - 7), (14, hem - 10)])
    pieces = [_Piece([body], "cloth", 0.42, _leg_folds(look, hem))]
    pieces.append(_seam(look, *_both([(64, 430), (58, 462), (90, 478)]), [(0, 428), (0, 548)], *hems, width=1.5))
    cords = [arc([(-4, 424), (-10, 450), (-8, 470)]), arc([(4, 424), (11, 446), (10, 462)])]
    return [*pieces, *_waistband(look, 68, 408), _Piece(cords, mix(look.colour, WHITE, 0.8), width=3)]


def _dress(look: Look, hem: float | None = None) -> list[_Piece]:
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
    skirt = joined(
        path(
            [(0, 418), (68, 414)],
            [(68, 414), (92, 496), (flare, hem)],
            [(flare, hem), (flare * 0.5, hem + 14), (0, hem + 16)],
        )
    )
    folds = []
    for i in range(6):
        x = -1 + 2 * (i + look.dice.between(0.25, 0.75)) / 6
        line = [(x * 50, 428), (x * 82, 520), (x * flare * 0.95, hem + 8)]
        folds += [Fold(line, 10, -0.44), Fold([(px - 12, py) for px, py in line], 10, 0.52)]
    pieces.append(_Piece([skirt], "cloth", 0.42, folds))
    pieces.append(_Piece([top], "cloth", 0.38, _chest_folds(look)))
    if not sleeveless:
        pieces.append(_Piece([arc(neck), mirror(arc(neck))], _trim(look), width=4.5))
        pieces.append(_seam(look, *_both([(98, 248), (86, 290), (86, 324)]), opacity=0.4))
    belt = joined(path([(0, 416), (69, 412)], [(69, 412), (70, 430)], [(70, 430), (0, 434)]))
    pieces.append(
        _Piece([belt], mix(look.accent, look.colour, 0.5) if look.says("belt", "belted") else _trim(look), 0.3)
    )
    return [*pieces, _seam(look, [(-flare + 3, hem - 9), (0, hem + 7), (flare - 3, hem - 9)], opacity=0.3)]


def _gown(look: Look) -> list[_Piece]:
    return _dress(look, look.dice.between(880, 915))


def _jumpsuit(look: Look) -> list[_Piece]:
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
    belt = joined(path([(0, 414), (71, 410)], [(71, 410), (72, 432)], [(72, 432), (0, 436)]))
    ends = [path([(4, 428), (16, 470), (12, 500)], [(12, 500), (22, 498)], [(22, 498), (26, 466), (10, 426)])]
    return [
        *sleeves,
        _Piece([legs], "cloth", 0.44, _leg_folds(look, hem)),
        _Piece([top], "cloth", 0.38, _chest_folds(look)),
        _seam(look, *_both([(98, 248), (87, 290), (88, 324)]), [(0, 436), (0, 548)], opacity=0.4),
        _Piece([belt, *ends], _trim(look), 0.3),
        _Piece([oval(6, 424, 9, 8)], mix(look.colour, INK, 0.24), 0.3),
    ]


_GARMENTS: dict[str, Callable[[Look], list[_Piece]]] = {
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

    light = tone(look.colour) > 205
    canvas = Canvas(_table(size, look, light=light), scale, origin)
    solid = [piece.outlines for piece in pieces if not piece.width]
    shapes = [list(outline) for outlines in solid for outline in outlines]
    fallen = [[(x + 2, y + 6) for x, y in shape] for shape in shapes]
    canvas.fill(*fallen, paint=(70, 66, 70), soft=7, opacity=0.16)
    used = {piece.paint for piece in pieces if isinstance(piece.paint, str)}
    turned = look.pattern in ("stripes", "pinstripes", "check")
    cloth = woven(size, scale, look)
    fabrics = {name: woven(size, scale, look, _TURNS[name]) if turned and _TURNS[name] else cloth for name in used}
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


def _table(size: tuple[int, int], look: Look, light: bool) -> Image.Image:
    """The ground a garment lies on: nearly white, and quite white under light garments, so that they stand out."""
    if light:
        return Image.new("RGB", size, (254, 254, 254))
    warm = round(look.dice.between(-2, 2))
    edge = Image.radial_gradient("L").resize(size, Image.Resampling.BICUBIC)
    edge = edge.point([round(max(0, value - 60) * 0.04) for value in range(256)])
    ground = Image.new("RGB", size, (246 + warm, 246, 246 - warm))
    return ImageChops.subtract(ground, Image.merge("RGB", (edge, edge, edge)))
