"""Contact sheets: pictures with captions on one page."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from local.art.frame import INK, WHITE, Colour

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
    draw.text((_MARGIN, _MARGIN - 10), _shortened(title, font, room), font=font, fill=INK)
    draw.line((_MARGIN, head - 24, sheet.width - _MARGIN, head - 24), fill=(216, 214, 210), width=2)
    for index, (picture, caption) in enumerate(entries):
        x, y = _MARGIN + index % columns * step_x, head + index // columns * step_y
        _card(sheet, picture, (x, y))
        for number, line in enumerate(caption.split("\n")[:2]):
            font = ImageFont.load_default(size=19 if number == 0 else 16)
            place = (x + 2, y + _CELL[1] + 12 + 25 * number)
            draw.text(place, _shortened(line, font, _CELL[0] - 4), font=font, fill=_GREY if number else INK)
    return sheet


def _card(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int]) -> None:
    """One picture with round corners and a soft shadow; cropped if it nearly fits, else whole on white."""
    picture = picture.convert("RGB")
    shape = (picture.width / picture.height) / (_CELL[0] / _CELL[1])
    if 0.8 < shape < 1.3:
        picture = ImageOps.fit(picture, _CELL, Image.Resampling.LANCZOS, centering=(0.5, 0.3))
    else:
        picture = ImageOps.pad(picture, _CELL, Image.Resampling.LANCZOS, color=WHITE)
    shadow, mask = _frame()
    sheet.paste(INK, (corner[0] - 20, corner[1] - 14), shadow)
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
