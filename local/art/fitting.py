"""The try-on preview: a garment is cut from its picture and laid over a person."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from local.art.frame import INK, PHOTO_SIZE, Category, Colour
from local.art.shapes import oval

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
    photo.paste(INK, (target[0] - 20, target[1] - 15), shadow)
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
        oval(0, 138, 41, 57),
        [(-21.0, 180.0), (21, 180), (20, 205), (10, 226), (0, 236), (-10, 226), (-20, 205)],
    )
    for shape in shapes:
        ImageDraw.Draw(mask).polygon([((x + 48) * scale, (y - 70) * scale) for x, y in shape], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(1.2))
    mask = mask.resize((target[2] - target[0], target[3] - target[1]), Image.Resampling.BILINEAR)
    return photo.crop(target), target, mask


@lru_cache(maxsize=8)
def mark_of(size: tuple[int, int]) -> Image.Image:
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
    mark = mark_of(size)
    photo.paste(mark, (0, 0), mark.getchannel("A"))
    return photo
