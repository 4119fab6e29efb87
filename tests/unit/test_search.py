"""Search by the beginnings of words of title, id and tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookbook import library, search
from lookbook.tables import Product, SearchWord
from tests.unit.fakes import KilledError, Tables, a_product, tables_in_memory

NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
RUN_ID = "20261121T101502-3f9a2c1b"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    return tables_in_memory(monkeypatch)


def has(product_id: str, title: str, *tags: str) -> Any:
    library.claim(a_product(product_id=product_id, title=title), RUN_ID, 1, NOW)
    product = Product(product_id, "product")
    product.update([Product.tags.set(list(tags))])
    search.keep(product)
    return product


def found(text: str, limit: int = 100) -> list[str]:
    return search.find(text, limit, None)[0]


def test_products_are_found_by_title_id_and_tag(tables: Tables) -> None:  # noqa: ARG001 - it is in memory then
    has("CJ12345678", "Blue Linen Shirt", "summer")
    has("hotmart:698441", "Coração de Mãe: Curso Avançado", "Best Seller")

    for text in ("linen", "LIN", "blue shirt", "shirt blu", "cj123", "summer", "sum shirt cj1234"):
        assert found(text) == ["CJ12345678"], text
    for text in ("coracao", "Coração", "avanc", "698441", "hotmart:698441", "hotmart", "seller best", "mãe"):
        assert found(text) == ["hotmart:698441"], text
    for text in ("shirts", "linen dress", "inen", "45678", "", "…", "seller linen"):
        assert found(text) == [], text


def test_a_product_is_told_once_however_many_of_its_words_begin_so(tables: Tables) -> None:  # noqa: ARG001 - as above
    has("A", "Dress for dressing, dresses")
    has("B", "dress")
    assert found("dres") == ["A", "B"]


def test_what_is_no_longer_so_is_no_longer_found(tables: Tables) -> None:
    has("A", "Red Hat", "old", "sale")
    has("A", "Green Hat", "sale")

    assert [found(text) for text in ("red", "old", "green", "hat sale")] == [[], [], ["A"], ["A"]]
    words = [key for key in tables.rows["LibraryItem"] if key[0].startswith("word#")]
    assert sorted(words) == [("word#a", "a#A"), ("word#g", "green#A"), ("word#h", "hat#A"), ("word#s", "sale#A")]


def test_a_product_that_is_as_it_was_costs_no_write(tables: Tables) -> None:
    product = has("A", "Red Hat")
    tables.about_to_write = lambda: pytest.fail("a write")
    search.keep(product)


def test_letters_in_fancy_dress_are_plain_ones(tables: Tables) -> None:  # noqa: ARG001 - as above
    fancy = (
        "\N{MATHEMATICAL BOLD SCRIPT CAPITAL A}mazing \N{FULLWIDTH LATIN CAPITAL LETTER D}ress Ströme STRASSE İstanbul"
    )
    has("A", fancy)
    for text in ("amazing", "DRESS", "strome", "straße", "istanbul"):
        assert found(text) == ["A"], text


def test_of_one_source_only_its_products_are_looked_through(tables: Tables) -> None:  # noqa: ARG001 - as above
    for number in range(30):
        has(f"CJ{number}", "dress")
    library.claim(a_product(product_id="hotmart:1", title="dress", source="hotmart"), RUN_ID, 1, NOW)
    search.keep(Product.get("hotmart:1", "product"))

    assert search.find("dress", 5, None, "hotmart") == (["hotmart:1"], None)


def test_a_product_without_a_word_is_found_by_none(tables: Tables) -> None:
    product = has("~~~", "!!!", "sale")
    product.update([Product.tags.set([])])
    search.keep(product)
    assert (found("sale"), product.words) == ([], set())
    assert not [key for key in tables.rows["LibraryItem"] if key[0].startswith("word#")]


def test_a_search_goes_on_where_it_stopped(tables: Tables) -> None:  # noqa: ARG001 - as above
    for number in range(10):
        has(f"P{number}", f"Hat {number}")

    seen: list[str] = []
    start: str | None = None
    while True:
        page, start = search.find("hat", 3, start)
        seen += page
        if start is None:
            break
    assert seen == [f"P{number}" for number in range(10)]


def test_whoever_is_cut_off_is_made_good_by_the_next(tables: Tables) -> None:
    # Given a product whose title changes, and a process that dies at each of its writes in turn
    has("A", " ".join(f"old{number}" for number in range(40)))
    wanted = Product("A", "product")
    wanted.update([Product.title.set("New Hat")])
    for last in range(10):
        before = tables.copy()
        left = [last]

        def die(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError

        tables.about_to_write = die
        product = Product.get("A", "product")
        try:
            search.keep(product)
        except KilledError:
            # When the next one does it again
            tables.about_to_write = lambda: None
            search.keep(Product.get("A", "product"))
        tables.about_to_write = lambda: None

        # Then the index is right
        assert (found("hat"), found("old1"), found("old39")) == (["A"], [], [])
        tables.rows["LibraryItem"].clear()
        tables.rows["LibraryItem"].update(before["LibraryItem"])


def test_two_that_change_title_and_tags_at_once_are_both_found(tables: Tables) -> None:
    # Given a change of title that has not come to the index, and then one of tags that has
    stale = has("A", "Red Hat")
    stale.update([Product.title.set("Green Hat")])
    other = Product("A", "product")
    other.update([Product.tags.set(["sale"])])
    search.keep(other)

    search.keep(stale)

    assert [found(text) for text in ("green sale", "sale", "red")] == [["A"], ["A"], []]
    assert {frozenset(item.words) for item in SearchWord.query("word#s")} == {frozenset({"a", "green", "hat", "sale"})}
    assert tables.rows


@given(st.text(max_size=300))
def test_words_are_comparable_and_short(text: str) -> None:
    for word in search.split(text):
        assert 0 < len(word) <= search.MOST_CHARS
        assert search.split(word) == [word]
        assert "#" not in word
