"""Notes: texts on a product, kept as they were typed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from pynamodb.exceptions import UpdateError

from lookbook import library
from lookbook.errors import NotFoundError
from lookbook.tables import CONDITION_FAILED, NOTES, Note
from lookbook.times import iso

if TYPE_CHECKING:
    from datetime import datetime

    from pynamodb.pagination import ResultIterator

MOST_CHARS = 5000


def add(product_id: str, text: str, author: str, now: datetime) -> Note:
    """Add a note to a product. Raises NotFoundError."""
    library.must_have(product_id)
    note = Note(
        product_id=product_id,
        sort_key=f"{NOTES}{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}",
        text=text,
        author=author,
        created_at=iso(now),
    )
    note.save()
    return note


def page(product_id: str, limit: int, start: dict[str, dict[str, Any]] | None = None) -> ResultIterator[Note]:
    """Return a product's notes, newest first."""
    found: Any = Note.query(
        product_id,
        Note.sort_key.startswith(NOTES),
        Note.deleted_at.does_not_exist(),
        scan_index_forward=False,
        limit=limit,
        last_evaluated_key=start,
    )
    return cast("ResultIterator[Note]", found)


def edit(product_id: str, note_id: str, text: str, editor: str, now: datetime) -> Note:
    """Change a note's text; its author stays. Raises NotFoundError."""
    return _change(product_id, note_id, [Note.text.set(text), Note.edited_at.set(iso(now)), Note.edited_by.set(editor)])


def delete(product_id: str, note_id: str, editor: str, now: datetime) -> Note:
    """Take a note off its product, and return it. The table keeps it. Raises NotFoundError."""
    return _change(product_id, note_id, [Note.deleted_at.set(iso(now)), Note.deleted_by.set(editor)])


def _change(product_id: str, note_id: str, actions: list[Any]) -> Note:
    note = Note(product_id, f"{NOTES}{note_id}")
    try:
        note.update(actions, condition=Note.text.exists() & Note.deleted_at.does_not_exist())
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        raise NotFoundError(f"The product {product_id} has no note {note_id}.") from error
    return note


def id_of(note: Note) -> str:
    return str(note.sort_key.removeprefix(NOTES))
