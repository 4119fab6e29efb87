"""Dice for choices that are always the same, colours, and smooth lines and shapes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from local.art.frame import SMOOTH, Choice, Colour, Outline, Paint, Point


class Dice:
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


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of `other` in `one`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def tone(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def arc(points: Sequence[Point], steps: int = 7) -> Outline:
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


def path(*strokes: Sequence[Point]) -> Outline:
    """One outline of smooth strokes, with corners where they meet."""
    return [point for stroke in strokes for point in arc(stroke)]


def mirror(outline: Iterable[Point]) -> Outline:
    return [(-x, y) for x, y in outline]


def joined(half: Outline) -> Outline:
    """The outline of a symmetric shape from its half, which runs from top to bottom along the middle."""
    return half + mirror(reversed(half))


def oval(x: float, y: float, rx: float, ry: float) -> Outline:
    return [(x + rx * math.cos(a * math.pi / 18), y + ry * math.sin(a * math.pi / 18)) for a in range(36)]


@dataclass(frozen=True)
class Fold:
    """A soft crease: light where `light` is positive (1 at most), dark where it is negative."""

    line: Sequence[Point]
    width: float
    light: float


class Canvas:
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
        folds: Sequence[Fold] = (),
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
        folds: Sequence[Fold],
    ) -> None:
        margin = max(width for _, width in shapes) * self.scale + soft * self.scale * 3 + 2
        pixels = [([self._pixel(point) for point in line], width) for line, width in shapes]
        box = self._box([point for line, _ in pixels for point in line], margin)
        if box is None:
            return
        left, top, right, bottom = box
        mask = Image.new("L", ((right - left) * SMOOTH, (bottom - top) * SMOOTH))
        draw = ImageDraw.Draw(mask)
        for line, width in pixels:
            enlarged = [((x - left) * SMOOTH, (y - top) * SMOOTH) for x, y in line]
            if width:
                draw.line(enlarged, fill=255, width=max(1, round(width * self.scale * SMOOTH)), joint="curve")
            else:
                draw.polygon(enlarged, fill=255)
        mask = mask.reduce(SMOOTH)
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

    def _relief(self, mask: Image.Image, depth: float, folds: Sequence[Fold], corner: Point) -> Image.Image:
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
            line = [((x - corner[0]) / 4, (y - corner[1]) / 4) for x, y in map(self._pixel, arc(fold.line))]
            ImageDraw.Draw(stroke).line(line, fill=255, width=max(1, round(fold.width * self.scale / 4)), joint="curve")
            stroke = stroke.filter(ImageFilter.GaussianBlur(fold.width * self.scale / 5))
            strength = stroke.point([round(value * abs(fold.light)) for value in range(256)])
            relief.paste(255 if fold.light > 0 else 90, (0, 0), strength)
        return relief.resize(mask.size, Image.Resampling.BICUBIC)
