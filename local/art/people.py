"""Model photos: drawn people in plain underclothes, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from local.art.frame import INK, PHOTO_SIZE, WHITE, Colour, Outline
from local.art.shapes import Canvas, Dice, Fold, arc, joined, mirror, mix, oval, path


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
    dice = Dice(name)
    words = set(name.lower().replace("-", "_").replace(" ", "_").split("_"))
    man = not words.isdisjoint({"man", "male", "boy", "men"}) or (
        words.isdisjoint({"woman", "female", "girl", "women"}) and dice.between(0, 1) > 0.5
    )
    tones = [_SKIN_WORDS[word] for word in sorted(words) if word in _SKIN_WORDS]
    skin = mix(_SKINS[tones[0]] if tones else dice.pick(_SKINS), dice.pick(_SKINS), dice.between(0, 0.15))
    mature = any(word.isdigit() and int(word) >= _OLD for word in words)
    return _Person(
        skin,
        mix(dice.pick(_HAIRS), (150, 148, 150), 0.4 if mature else dice.between(0, 0.08)),
        dice.pick(["short", "curls"] if man else ["long", "bob", "bun"]),
        mix(dice.pick(_BACKDROPS), WHITE, dice.between(0, 0.2)),
        man,
        mix(skin, (176, 64, 70), 0.25 if man else 0.55),
        mature=mature,
        beard=man and dice.between(0, 1) > 0.5,
    )


def draw_model(name: str, size: tuple[int, int] = PHOTO_SIZE) -> Image.Image:
    """A model photo (RGB, `size` in pixels): one person, front view, whole body, plain fitted underclothes.

    `name` is one of `MODEL_NAMES`, or any other: its words (woman_30_asian) and its hash make up a person.
    """
    person = _person(name)
    scale = min(size[0] / PHOTO_SIZE[0], size[1] / PHOTO_SIZE[1])
    canvas = Canvas(_studio(size, person.backdrop), scale, (size[0] / 2, size[1] - PHOTO_SIZE[1] * scale))
    canvas.fill(oval(0, 974, 150, 16), paint=mix(person.backdrop, INK, 0.75), soft=9, opacity=0.32)
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
        Image.new("RGB", size, mix(colour, INK, 0.14)), Image.new("RGB", size, mix(colour, WHITE, 0.42)), light
    )
    floor = Image.linear_gradient("L").resize((size[0], max(1, size[1] // 6)), Image.Resampling.BICUBIC)
    floor = floor.point([round(80 * (1 - value / 255)) for value in range(256)])
    ground = Image.new("RGB", floor.size, mix(colour, INK, 0.2))
    wall.paste(ground, (0, size[1] - floor.height), floor)
    return wall


def _draw_body(canvas: Canvas, person: _Person) -> None:
    man = person.man
    shoulder, bust, waist, hip, neck = (100, 89, 74, 80, 28) if man else (94, 80, 59, 84, 21)
    arm = path(
        [(60, 240), (shoulder - 8, 248), (shoulder + 6, 262), (shoulder + 21, 306), (158, 384), (184, 440), (205, 512)],
        [(205, 512), (216, 530), (224, 556), (221, 580), (212, 594)],
        [(212, 594), (203, 582), (197, 558), (186, 528)],
        [(186, 528), (160, 456), (132, 402), (103, 346), (72, 312), (60, 240)],
    )
    thumb = path([(195, 534), (188, 552), (190, 570), (196, 573), (200, 558), (202, 540), (195, 534)])
    calf = 21 if man else 19
    leg = path(
        [(0, 470), (hip, 500), (hip + 3, 545), (88, 620), (62 + calf, 735)],
        [(62 + calf, 735), (65 + calf, 800), (71 + calf / 3, 880), (71, 932)],
        [(71, 932), (50, 932), (47 - calf / 6, 880), (59 - calf, 800), (62 - calf, 735), (27, 640), (3, 556)],
        [(3, 556), (0, 470)],
    )
    torso = joined(
        path(
            [(0, 168), (neck - 1, 172), (neck, 205), (neck + 9, 226), (shoulder - 26, 239), (shoulder - 8, 248)],
            [(shoulder - 8, 248), (shoulder - 12, 300), (bust, 330)],
            [(bust, 330), (waist, 424), (hip, 500), (hip - 4, 552)],
            [(hip - 4, 552), (0, 566)],
        )
    )
    folds = [Fold([(side * 8, 252), (side * 34, 246), (side * 66, 247)], 4, -0.18) for side in (-1, 1)]
    for side in (-1, 1):
        folds.append(Fold([(side * shoulder, 270), (side * 146, 384), (side * 195, 510)], 10, 0.4))
        folds.append(Fold([(side * (bust + 1), 346), (side * (bust - 7), 318), (side * (bust - 4), 292)], 4, -0.28))
        folds.append(Fold([(side * 58, 600), (side * 60, 700), (side * 62, 920)], 15, 0.4))
        folds.append(Fold([(side * 50, 744), (side * 62, 750), (side * 74, 744)], 5, -0.2))
    fingers = [[(side * x, 552), (side * (x + 3), 582)] for side in (-1, 1) for x in (205, 212)]
    for flip in (list, mirror):
        _shoe(canvas, flip)
    limbs = [arm, thumb, leg]
    canvas.fill(torso, *limbs, *map(mirror, limbs), paint=person.skin, depth=0.36, folds=folds)
    canvas.line(*fingers, width=1.2, paint=mix(person.skin, (96, 36, 30), 0.5), soft=0.5, opacity=0.5)
    _underclothes(canvas, person, waist, hip)


def _shoe(canvas: Canvas, flip: Callable[[Outline], Outline]) -> None:
    sole = path([(44, 930), (76, 930)], [(76, 930), (84, 962), (80, 978), (62, 982), (46, 978), (42, 962), (44, 930)])
    upper = path([(46, 924), (74, 924)], [(74, 924), (81, 958), (76, 970), (62, 973), (48, 970), (44, 956), (46, 924)])
    laces: list[Outline] = [[(53, y), (69, y + 2)] for y in (936, 943, 950)]
    canvas.fill(flip(sole), paint=(206, 206, 208), depth=0.3)
    canvas.fill(flip(upper), paint=(244, 244, 244), depth=0.25)
    canvas.line(*[flip(lace) for lace in laces], width=1.6, paint=(190, 190, 196))


def _underclothes(canvas: Canvas, person: _Person, waist: float, hip: float) -> None:
    cloth = person.clothes
    bust = 90 if person.man else 80
    strap = (46, 64) if person.man else (42, 56)
    tank = joined(
        path(
            [(0, 286), (26, 278), (strap[0] - 5, 256), (strap[0], 236)],
            [(strap[0], 236), (strap[1], 240)],
            [(strap[1], 240), (strap[1] + 3, 288), (bust + 1, 330)],
            [(bust + 1, 330), (waist + 1, 424), ((waist + hip) / 2 + 1, 458)],
            [((waist + hip) / 2 + 1, 458), (0, 462)],
        )
    )
    shorts = joined(
        path(
            [(0, 456), ((waist + hip) / 2 + 1, 452)],
            [((waist + hip) / 2 + 1, 452), (hip + 5, 500), (hip + 9, 545), (93, 606)],
            [(93, 606), (50, 614), (17, 610)],
            [(17, 610), (8, 576), (0, 562)],
        )
    )
    light = [Fold([(-40, 300), (-44, 380), (-36, 460)], 20, 0.35)]
    if not person.man:
        light += [Fold([(side * 60, 346), (side * 40, 358), (side * 16, 350)], 8, -0.25) for side in (-1, 1)]
    creases = [Fold([(side * 8, 560), (side * 36, 556), (side * 70, 540)], 6, -0.3) for side in (-1, 1)]
    canvas.fill(shorts, paint=mix(cloth, INK, 0.08), depth=0.34, folds=creases)
    canvas.fill(tank, paint=cloth, depth=0.34, folds=light)
    seam = mix(cloth, INK, 0.4)
    edge = (waist + hip) / 2
    canvas.line(arc([(-edge, 455), (0, 460), (edge, 455)]), width=2, paint=seam, opacity=0.6)
    canvas.line(
        arc([(-strap[0], 238), (-26, 278), (0, 286), (26, 278), (strap[0], 238)]), width=2, paint=seam, opacity=0.5
    )


def _long_hair(canvas: Canvas, person: _Person) -> None:
    back = path(
        [(0, 66), (40, 74), (58, 118), (60, 170), (70, 226), (66, 282), (44, 304)],
        [(44, 304), (0, 250), (-44, 304)],
        [(-44, 304), (-68, 280), (-70, 226), (-60, 170), (-58, 118), (-40, 74), (0, 66)],
    )
    waves = [Fold([(side * 50, 120), (side * 54, 180), (side * 58, 250)], 6, 0.35) for side in (-1, 1)]
    canvas.fill(back, paint=mix(person.hair, WHITE, 0.06), depth=0.4, folds=waves)


def _draw_head(canvas: Canvas, person: _Person) -> None:
    skin, hair, man = person.skin, person.hair, person.man
    deep = mix(skin, (96, 36, 30), 0.3)
    if person.style == "bob":
        back = joined(path([(0, 64), (44, 76), (60, 130), (58, 184), (48, 206)], [(48, 206), (24, 196), (0, 190)]))
        canvas.fill(back, paint=mix(hair, INK, 0.3), depth=0.3)
    if person.style == "bun":
        canvas.fill(oval(0, 62, 25, 22), paint=hair, depth=0.4)
    # The head's shadow on the neck, ears, the face.
    jaw = 38 if man else 33
    canvas.fill(joined(path([(0, 180), (17, 186), (15, 206), (0, 214)])), paint=deep, soft=4, opacity=0.45)
    for side in (-1, 1):
        canvas.fill(oval(side * 43, 141, 6, 12), paint=mix(skin, deep, 0.25), depth=0.3)
    face = joined(
        path(
            [(0, 76), (26, 82), (40, 106), (43, 136), (jaw + 3, 164), (jaw - 12, 186), (9 if man else 7, 197), (0, 198)]
        )
    )
    cheeks = [Fold([(side * 30, 156), (side * 25, 172)], 8, -0.12) for side in (-1, 1)]
    canvas.fill(face, paint=skin, depth=0.22, folds=[Fold([(-8, 96), (-10, 112)], 26, 0.4), *cheeks])
    canvas.fill(oval(-24, 160, 9, 6), oval(24, 160, 9, 6), paint=mix(skin, (214, 84, 80), 0.5), soft=4, opacity=0.3)
    if person.beard:
        beard = joined(
            path(
                [(0, 169), (13, 170), (17, 178), (27, 168), (40, 146)],
                [(40, 146), (39, 166), (28, 187), (10, 200), (0, 201)],
            )
        )
        canvas.fill(beard, paint=hair, soft=1.6, opacity=0.72)
    _draw_features(canvas, person, deep)
    _draw_hair(canvas, person)


def _draw_features(canvas: Canvas, person: _Person, deep: Colour) -> None:
    man = person.man
    for side in (-1, 1):
        eye = path(
            [(side * 10, 140), (side * 17, 135.4), (side * 26, 139)],
            [(side * 26, 139), (side * 17, 143.4), (side * 10, 140)],
        )
        canvas.fill(oval(side * 18, 137, 11, 6), paint=deep, soft=3, opacity=0.3)
        canvas.fill(eye, paint=(246, 242, 238))
        canvas.fill(oval(side * 18, 139.2, 3.9, 4.1), paint=person.eyes)
        canvas.fill(oval(side * 18, 139.2, 1.9, 2), paint=(16, 12, 12))
        canvas.fill(oval(side * 18 - 1.4, 137.6, 1, 1), paint=WHITE)
        lid = [(side * 9.6, 140), (side * 17, 134.8), (side * 26.6, 138.4)]
        canvas.line(arc(lid), width=1.5 if man else 2.1, paint=(40, 26, 24))
        if not man:
            canvas.line([(side * 25, 138.4), (side * 29, 135.4)], width=1.3, paint=(40, 26, 24))
        brow = [(side * 8, 127.5), (side * 18, 123.5), (side * 29, 128)]
        canvas.line(arc(brow), width=4 if man else 2.6, paint=mix(person.hair, INK, 0.3), soft=0.5, opacity=0.85)
        if person.mature:
            crow = [[(side * 30, 141), (side * 35, 143)], [(side * 30, 138), (side * 35, 137)]]
            canvas.line(
                *crow,
                arc([(side * 15, 160), (side * 20, 166), (side * 20, 172)]),
                width=0.9,
                paint=deep,
                opacity=0.4,
            )
    canvas.line(arc([(-3, 134), (-4.5, 150), (-7, 158)]), width=2.6, paint=deep, soft=1.6, opacity=0.4)
    canvas.line(
        arc([(-7.5, 157), (-6, 161), (0, 162.5), (6, 161), (7.5, 157)]), width=1.5, paint=deep, soft=0.5, opacity=0.7
    )
    width = 14 if man else 13
    upper = path(
        [(-width, 175.5), (-4, 171.5), (0, 173), (4, 171.5), (width, 175.5)],
        [(width, 175.5), (0, 177.5), (-width, 175.5)],
    )
    lower = path(
        [(-width, 175.5), (0, 177), (width, 175.5)], [(width, 175.5), (6, 182), (0, 183.2), (-6, 182), (-width, 175.5)]
    )
    canvas.fill(upper, paint=mix(person.lips, INK, 0.12))
    canvas.fill(lower, paint=person.lips, depth=0.12)
    smile = [(-width - 1, 174.5), (-5, 176.8), (0, 176.4), (5, 176.8), (width + 1, 174.5)]
    canvas.line(arc(smile), width=1.1, paint=mix(person.lips, INK, 0.6))


def _draw_hair(canvas: Canvas, person: _Person) -> None:
    hair = person.hair
    shine = mix(hair, WHITE, 0.3)
    if person.style == "curls":
        cap = joined(path([(0, 63), (28, 67), (43, 90), (44.5, 126)], [(44.5, 126), (39, 112), (30, 96), (0, 93)]))
        canvas.fill(cap, paint=hair, depth=0.2, soft=0.8)
        dice = Dice("curls")
        curls = [oval(dice.between(-42, 42), dice.between(66, 92), 3.4, 3.2) for _ in range(70)]
        inside = [curl for curl in curls if abs(curl[9][0]) < 41 - max(0, 88 - curl[9][1]) * 0.8]
        canvas.fill(*inside, paint=mix(hair, WHITE, 0.1), opacity=0.5)
        return
    if person.style == "short":
        cap = path(
            [(-45, 132), (-50, 98), (-30, 64), (6, 56), (38, 70), (49, 100), (45, 132)],
            [(45, 132), (40, 108), (28, 98), (-4, 100), (-30, 92), (-40, 110), (-45, 132)],
        )
    elif person.style == "bob":
        cap = path(
            [(-50, 200), (-61, 150), (-54, 90), (-22, 62), (14, 61), (50, 82), (62, 140), (52, 202)],
            [(52, 202), (42, 168), (45, 126), (32, 98), (-14, 84)],
            [(-14, 84), (-34, 106), (-45, 134), (-42, 168), (-50, 200)],
        )
    elif person.style == "bun":
        cap = path(
            [(-45, 136), (-48, 98), (-26, 68), (0, 63), (26, 68), (48, 98), (45, 136)],
            [(45, 136), (38, 104), (0, 86), (-38, 104), (-45, 136)],
        )
    else:
        cap = path(
            [(-58, 196), (-60, 120), (-46, 78), (-8, 61), (30, 66), (56, 104), (60, 196)],
            [(60, 196), (46, 160), (45, 128), (32, 96), (8, 80)],
            [(8, 80), (-26, 100), (-44, 130), (-46, 160), (-58, 196)],
        )
    strands = [
        Fold([(-34, 96), (-14, 76), (16, 72)], 5, 0.5),
        Fold([(50, 110), (53, 150), (54, 180)], 4, 0.4),
        Fold([(-50, 120), (-54, 150), (-54, 180)], 4, 0.4),
    ]
    canvas.fill(cap, paint=hair, depth=0.3, folds=strands)
    lines = [arc([(-40, 96), (-20, 76), (10, 70)]), arc([(20, 72), (42, 92), (50, 126)])]
    canvas.line(*lines, width=1.6, paint=shine, soft=1, opacity=0.35)
