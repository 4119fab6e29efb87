"""Notes are kept as they were typed, by whom they were typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookbook import library, notes
from lookbook.errors import NotFoundError
from lookbook.tables import Note
from tests.unit.fakes import Tables, a_product, tables_in_memory

NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    made = tables_in_memory(monkeypatch)
    library.claim(a_product(product_id="P"), "20261121T101502-3f9a2c1b", 1, NOW)
    return made


def add(text: str, seconds: float = 0, author: str = "ana") -> Note:
    return notes.add("P", text, author, NOW + timedelta(seconds=seconds))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_text_comes_back_as_it_was_typed(tables: Tables, text: str) -> None:  # noqa: ARG001 - it is in memory then
    note = add(text)
    assert Note.get("P", note.sort_key).text == text


def test_the_newest_note_comes_first(tables: Tables) -> None:
    for number in range(3):
        add(f"note {number}", number)

    assert [note.text for note in notes.page("P", 10)] == ["note 2", "note 1", "note 0"]
    assert [note.text for note in library.whole_page("P").notes] == ["note 2", "note 1", "note 0"]
    assert len(tables.rows["LibraryItem"]) == 4


def test_an_edited_note_keeps_its_author_and_says_who_changed_it(tables: Tables) -> None:  # noqa: ARG001 - as above
    note = add("draft")

    edited = notes.edit("P", notes.id_of(note), "done", "ben", NOW + timedelta(seconds=5))

    assert (edited.text, edited.author, edited.edited_by, edited.created_at) == ("done", "ana", "ben", note.created_at)
    assert [each.text for each in notes.page("P", 10)] == ["done"]


def test_a_deleted_note_is_shown_nowhere_and_still_there(tables: Tables) -> None:
    note = add("secret plan")

    assert notes.delete("P", notes.id_of(note), "ben", NOW).text == "secret plan"

    assert (list(notes.page("P", 10)), library.whole_page("P").notes) == ([], [])
    assert tables.rows["LibraryItem"]["P", note.sort_key]["text"] == {"S": "secret plan"}
    with pytest.raises(NotFoundError):
        notes.edit("P", notes.id_of(note), "again", "ben", NOW)
    with pytest.raises(NotFoundError):
        notes.delete("P", notes.id_of(note), "ben", NOW)


def test_there_is_no_note_on_a_product_that_is_none(tables: Tables) -> None:
    before = tables.copy()
    with pytest.raises(NotFoundError):
        notes.add("Q", "hello", "ana", NOW)
    with pytest.raises(NotFoundError):
        notes.edit("P", "20261121T102000000000-abcdef", "hello", "ana", NOW)
    assert tables.copy() == before


def test_steps_that_need_no_notes_do_not_read_them(tables: Tables) -> None:
    add("x" * 5000)
    product, images, usages = library.product_page_with_usages("P")
    assert (product is not None, images, usages, tables.items_read) == (True, [], [], 1)
