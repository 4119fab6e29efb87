"""Mappings as CSV: which product of a shop each of our products is."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lookbook.errors import InputError
from lookbook.shopify import product_gid

HEADER = ["CJ Product ID", "Shopify Product ID"]
# What people and other tools call the two columns, without case, spaces and underscores.
_OURS = {"cjproductid", "productid", "pid", "lookbookproductid"}
_THEIRS = {"shopifyproductid", "shopifyid", "shopifyproductgid", "shopproductid"}
_OUR_ID = re.compile(r"[\w.~()'!*:@,;=+&$<>\[\]{}^-]{1,128}")
_MANGLED = re.compile(r"\d+(?:[.,]\d+)?[eE]\+?\d+")
MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of a mapping: a product and the gid of the shop's product, or why the line cannot be used."""

    line: int
    product_id: str
    shop_product_id: str = ""
    reason: str = ""


def parse(data: bytes) -> Iterator[Pair]:
    """Yield the lines of a mapping, bad ones too. Raises InputError if it is none.

    Ids are numbers or gids; a byte order mark, semicolons or tabs instead of commas, more columns, and empty lines are
    taken as they come.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("The mapping is not UTF-8 text. Save it as CSV (UTF-8).") from None
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    # Lines are counted as an editor counts them; nobody has line breaks within an id.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    ours, theirs = _columns(rows)
    products: dict[str, int] = {}
    shop_products: dict[str, int] = {}
    before = rows.line_num
    try:
        for row in rows:
            line, before = before + 1, rows.line_num
            if rows.line_num > MOST_LINES:
                raise InputError(f"The mapping has more than {MOST_LINES:,} lines; split it.")
            if line != rows.line_num:
                yield Pair(line, "", reason=f"A quote in it is only closed in line {rows.line_num}, or never.")
            elif any(cell.strip() for cell in row):
                yield _pair(line, _cell(row, ours), _cell(row, theirs), products, shop_products)
    except csv.Error:
        raise InputError(f"The mapping cannot be read from line {before + 1} on; look for a quote there.") from None


def _columns(rows: Iterator[list[str]]) -> tuple[int, int]:
    """Find the two columns in the header."""
    header = next((row for row in rows if any(cell.strip() for cell in row)), [])
    names = [re.sub(r"[\s_-]", "", cell).lower() for cell in header]
    ours = next((place for place, name in enumerate(names) if name in _OURS), None)
    theirs = next((place for place, name in enumerate(names) if name in _THEIRS), None)
    if ours is None or theirs is None:
        raise InputError(f"The mapping's first line has to be: {','.join(HEADER)}")
    return ours, theirs


def _cell(row: list[str], place: int) -> str:
    return row[place].strip().strip("'") if place < len(row) else ""


def _pair(line: int, product_id: str, shop_id: str, products: dict[str, int], shop_products: dict[str, int]) -> Pair:
    def bad(reason: str) -> Pair:
        return Pair(line, product_id[:128], reason=reason)

    if reason := _unusable(product_id, shop_id):
        return bad(reason)
    gid = product_gid(shop_id)
    if product_id in products:
        return bad(f"The product is in line {products[product_id]} already.")
    if gid in shop_products:
        return bad(f"The Shopify product is in line {shop_products[gid]} already, for another product.")
    products[product_id] = shop_products[gid] = line
    return Pair(line, product_id, gid)


def _unusable(product_id: str, shop_id: str) -> str:
    """Say why these cannot be the ids of a product; empty if they can."""
    if not product_id or not shop_id:
        return f"The {HEADER[0] if not product_id else HEADER[1]} is missing."
    mangled = next((text for text in (product_id, shop_id) if _MANGLED.fullmatch(text)), "")
    if mangled:
        return f"A spreadsheet has shortened the id to {mangled[:40]}; format the column as text and export it again."
    if not _OUR_ID.fullmatch(product_id):
        return "The CJ Product ID cannot be one: it has spaces or characters that no product id has."
    try:
        product_gid(shop_id)
    except InputError as error:
        return str(error)
    return ""
