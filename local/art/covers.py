"""Covers: a product's picture in a studio, or an abstract scene where there is none."""

from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from local.art.fitting import mark_of
from local.art.frame import INK, WHITE, Colour, Outline, Point
from local.art.shapes import Canvas, Dice, arc, mix, oval

_PALETTES: tuple[tuple[Colour, Colour, Colour, Colour], ...] = (  # the wall, then three that go well with it
    ((233, 222, 209), (196, 138, 110), (128, 94, 84), (222, 184, 150)),
    ((217, 226, 219), (122, 153, 134), (70, 98, 92), (228, 205, 172)),
    ((221, 228, 238), (118, 146, 184), (64, 84, 122), (232, 196, 186)),
    ((238, 220, 220), (201, 130, 134), (124, 76, 96), (240, 198, 168)),
    ((229, 223, 236), (150, 132, 180), (92, 78, 124), (232, 190, 196)),
    ((240, 231, 208), (222, 170, 92), (150, 98, 62), (140, 156, 130)),
)
_UNITS = 1000  # units that a picture's shorter side has


def draw_cover(
    prompt: str, size: tuple[int, int], reference: Image.Image | None = None, nonce: str = ""
) -> Image.Image:
    """A cover (RGB, `size` in pixels) whose colours and shapes follow from the prompt and the nonce.

    With a reference, that picture hangs before a studio's wall; without, there is an abstract scene. Equal arguments
    give equal pixels; another nonce gives others. The result is marked PREVIEW.
    """
    dice = Dice(f"{prompt}\n{nonce}")
    palette = Dice(prompt).pick(_PALETTES)
    wall, *accents = (mix(colour, (dice.pick(_PALETTES))[1], dice.between(0, 0.12)) for colour in palette)
    picture = _shaded(size, dice, mix(wall, WHITE, 0.35), mix(wall, accents[0], 0.4))
    canvas = Canvas(picture, min(size) / _UNITS, (size[0] / 2, size[1] / 2))
    half = (size[0] / 2 / canvas.scale, size[1] / 2 / canvas.scale)
    if reference is None:
        dice.pick(_SCENES)(canvas, dice, accents, half)
    else:
        _studio(canvas, dice, accents, half)
        _hang(picture, reference)
    mark = mark_of(size)
    picture.paste(mark, (0, 0), mark.getchannel("A"))
    return picture


def _shaded(size: tuple[int, int], dice: Dice, light: Colour, deep: Colour) -> Image.Image:
    """A surface that darkens from the light colour to the deep one, more or less downwards."""
    ramp = Image.linear_gradient("L").rotate(dice.between(-40, 40), Image.Resampling.BICUBIC)
    ramp = ramp.crop((64, 64, 192, 192)).resize(size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", size, deep), Image.new("RGB", size, light), ramp)


def _block(canvas: Canvas, dice: Dice, outline: Outline, colour: Colour) -> None:
    """A shape that stands before what was painted so far, and throws a soft shadow on it."""
    canvas.fill([(x + 10, y + 16) for x, y in outline], paint=INK, soft=18, opacity=0.2)
    paint = _shaded(canvas.picture.size, dice, mix(colour, WHITE, 0.16), mix(colour, INK, 0.1))
    canvas.fill(outline, paint=paint)


def _arch(x: float, base: float, radius: float, height: float) -> Outline:
    """A round arch on the line y = base; `height` is that of its straight legs."""
    turn = [(x + a, base - height + b) for a, b in oval(0, 0, radius, radius)[18:]]
    return [(x - radius, base), *turn, (x + radius, base - height), (x + radius, base)]


def _hills(canvas: Canvas, dice: Dice, accents: list[Colour], half: Point) -> None:
    sun = dice.between(130, 210)
    _block(canvas, dice, oval(dice.between(-0.5, 0.5) * half[0], -0.4 * half[1], sun, sun), accents[2])
    steps = [half[0] * share / 3 for share in range(-4, 5)]
    for number, share in enumerate((0.05, 0.3, 0.55)):
        ridge = arc([(x, share * half[1] + dice.between(-110, 110)) for x in steps])
        colour = mix(accents[number % 2], WHITE, 0.45 - 0.2 * number)
        _block(canvas, dice, [*ridge, (steps[-1], half[1] + 40), (steps[0], half[1] + 40)], colour)


def _arches(canvas: Canvas, dice: Dice, accents: list[Colour], half: Point) -> None:
    _floor(canvas, dice, accents, half)
    base, x = 0.62 * half[1], dice.between(-120, 120)
    radius, height = dice.between(300, 350), 0.55 * half[1]
    for number, colour in enumerate((accents[0], accents[2], accents[1])):
        share = 1 - 0.27 * number
        _block(canvas, dice, _arch(x, base, radius * share, height * share), colour)
    ball, side = dice.between(70, 110), dice.pick((-1, 1))
    _block(canvas, dice, oval(x + side * (radius + 20), base - ball + 30, ball, ball), accents[2])


def _discs(canvas: Canvas, dice: Dice, accents: list[Colour], half: Point) -> None:
    for number in range(5):
        radius = dice.between(300, 380) / (1 + number * 0.45)
        x, y = dice.between(-0.6, 0.6) * half[0], dice.between(-0.6, 0.6) * half[1]
        _block(canvas, dice, oval(x, y, radius, radius), mix(accents[number % 3], WHITE, 0.12 * (number % 4)))


_SCENES: tuple[Callable[[Canvas, Dice, list[Colour], Point], None], ...] = (_hills, _arches, _discs)


def _floor(canvas: Canvas, dice: Dice, accents: list[Colour], half: Point) -> None:
    top = dice.between(0.5, 0.58) * half[1]
    corners = [(-half[0] - 9, top), (half[0] + 9, top), (half[0] + 9, half[1] + 9), (-half[0] - 9, half[1] + 9)]
    canvas.fill(corners, paint=mix(accents[0], WHITE, 0.45), soft=5)


def _studio(canvas: Canvas, dice: Dice, accents: list[Colour], half: Point) -> None:
    """What stands around the product's picture: a floor, an arch behind, and a ball beside."""
    _floor(canvas, dice, accents, half)
    side = dice.pick((-1, 1))
    x, radius = side * dice.between(0.3, 0.42) * half[0], dice.between(230, 300)
    _block(canvas, dice, _arch(x, 0.78 * half[1], radius, 0.85 * half[1]), mix(accents[0], WHITE, 0.2))
    ball = dice.between(60, 95)
    _block(canvas, dice, oval(-side * dice.between(0.7, 0.8) * half[0], 0.74 * half[1], ball, ball), accents[2])


def _hang(picture: Image.Image, reference: Image.Image) -> None:
    """The reference as a print with a white rim and round corners, in the middle; with the shadow it throws."""
    rim = max(1, round(min(picture.size) * 0.014))
    room = (round(picture.width * 0.74), round(picture.height * 0.78))
    sheet = Image.new("RGB", reference.size, WHITE)
    opaque = reference.convert("RGBA")
    sheet.paste(opaque, (0, 0), opaque.getchannel("A"))
    card = ImageOps.expand(ImageOps.contain(sheet, room, Image.Resampling.LANCZOS), border=rim, fill=WHITE)
    mask = Image.new("L", card.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, card.width - 1, card.height - 1), radius=rim * 1.6, fill=255)
    margin = rim * 4
    shadow = ImageOps.expand(mask, border=margin).filter(ImageFilter.GaussianBlur(rim * 1.5))
    shadow = shadow.point([round(value * 0.3) for value in range(256)])
    corner = ((picture.width - card.width) // 2, (picture.height - card.height) // 2)
    picture.paste(INK, (corner[0] - margin + rim // 2, corner[1] - margin + rim), shadow)
    picture.paste(card, corner, mask)
