"""A mapping as people have it: from a spreadsheet, with a byte order mark, semicolons, and lines that are wrong."""

from __future__ import annotations

import pytest

from lookbook import mapping
from lookbook.errors import InputError
from lookbook.mapping import Pair

GID = "gid://shopify/Product/"


def read(text: str, encoding: str = "utf-8") -> list[Pair]:
    return list(mapping.parse(text.encode(encoding)))


@pytest.mark.parametrize(
    "text",
    [
        "CJ Product ID,Shopify Product ID\nCJ1,632910392\nCJ2,gid://shopify/Product/99\n",
        "CJ Product ID;Shopify Product ID\r\nCJ1;632910392\r\n;\r\nCJ2;99\r\n",
        "\ufeffcj_product_id\tshopify_product_id\nCJ1\t632910392\n\nCJ2\t99",
        'Title,"Shopify Product ID","CJ Product ID"\n"Shirt, red",632910392,CJ1\nDress,99, CJ2 \n',
        "'CJ Product ID,Shopify Product ID\n'CJ1,'632910392\n'CJ2,'99\n".removeprefix("'"),
    ],
)
def test_ids_are_read_however_the_file_was_made(text: str) -> None:
    pairs = read(text)
    assert [(each.product_id, each.shop_product_id, each.reason) for each in pairs] == [
        ("CJ1", f"{GID}632910392", ""),
        ("CJ2", f"{GID}99", ""),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CJ1,", "Shopify Product ID is missing"),
        (",5", "CJ Product ID is missing"),
        ("CJ1", "Shopify Product ID is missing"),
        ("1.72900000000000E+18,5", "A spreadsheet has shortened"),
        ("CJ1,6.3291E+12", "A spreadsheet has shortened"),
        ("CJ 1,5", "cannot be one"),
        ("CJ1,shirt-red", "is not a product of Shopify"),
        ("CJ1,gid://shopify/ProductVariant/5", "is not a product of Shopify"),
        ("CJ1,0", "is not a product of Shopify"),
        ("CJ1,99999999999999999999", "is not a product of Shopify"),
        ("CJ0,5", "line 2 already"),
        ("CJ1,1", "line 2 already, for another product"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_rest_is_read(line: str, said: str) -> None:
    # Given a bad line between good ones
    pairs = read(f"CJ Product ID,Shopify Product ID\nCJ0,1\n{line}\nCJ9,9\n")

    # Then only that one is not used
    assert [bool(each.reason) for each in pairs] == [False, True, False]
    assert pairs[1].line == 3
    assert said in pairs[1].reason


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", "CJ1,632910392\n", "CJ Product ID\nCJ1\n"])
def test_what_is_no_mapping_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(InputError, match="first line has to be: CJ Product ID,Shopify Product ID"):
        read(text)


def test_text_of_another_encoding_is_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        read("CJ Product ID,Shopify Product ID\nCJ1,5\n", "utf-16")


def test_a_mapping_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "MOST_LINES", 3)
    with pytest.raises(InputError, match="more than 3 lines"):
        read("CJ Product ID,Shopify Product ID\n" + "".join(f"CJ{n},{n}\n" for n in range(1, 9)))


def test_a_quote_that_is_never_closed_swallows_no_line_in_silence() -> None:
    # Given a stray quote, as spreadsheets leave it in a title
    pairs = read('CJ Product ID,Shopify Product ID,Title\nCJ0,1,Shirt\nCJ1,2,"Dress\nCJ2,3,Skirt\n')

    # Then what comes after it is told as one bad line
    assert [(each.line, bool(each.reason)) for each in pairs] == [(2, False), (3, True)]
    assert "quote" in pairs[1].reason


def test_a_quote_without_an_end_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read from line 3 on"):
        read('CJ Product ID,Shopify Product ID\nCJ0,1\nCJ1,"' + "2" * 200_000)
