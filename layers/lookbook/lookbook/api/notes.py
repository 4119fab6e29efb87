"""Notes on a product: list, add, edit, delete."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lookbook import library, notes, shapes
from lookbook.api import cursor as cursors
from lookbook.api.access import user
from lookbook.api.http import JsonBody, Request, Router, example
from lookbook.api.parameters import Cursor, Limit, ProductId
from lookbook.api.products import show_note
from lookbook.errors import InputError
from lookbook.tables import NOTES
from lookbook.times import now

router = Router()

NoteId = Annotated[str, Field(pattern=r"^\d{8}T\d{12}-[0-9a-f]{6}$", examples=["20261121T101502123456-3f9a2c"])]


class Text(JsonBody):
    """A note: 1 to 5,000 characters of any script, given back as typed."""

    model_config = example(note="Sells best with the blue cover.")

    note: str = Field(min_length=1, max_length=notes.MOST_CHARS)


@router.get("/api/products/{product_id}/notes", summary="List a product's notes", tags=["notes"])
def list_notes(product_id: ProductId, limit: Limit = 20, cursor: Cursor = None) -> shapes.Notes:
    """A product's notes, newest first."""
    start = cursors.decode_key(cursor, {"product_id": product_id}, {"sort_key"})
    if start is not None and not start["sort_key"]["S"].startswith(NOTES):
        raise InputError(cursors.FORGED)
    page = notes.page(product_id, limit, start)
    found = [show_note(note) for note in page]
    if not found:
        library.must_have(product_id)
    return {"notes": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


@router.post("/api/products/{product_id}/notes", summary="Add a note", status=201, tags=["notes"])
def add_note(product_id: ProductId, text: Text, request: Request) -> shapes.Note:
    """Add a note to a product. Its author is who is signed in."""
    return show_note(notes.add(product_id, text.note, user(request), now()))


@router.put("/api/products/{product_id}/notes/{note_id}", summary="Edit a note", tags=["notes"])
def edit_note(product_id: ProductId, note_id: NoteId, text: Text, request: Request) -> shapes.Note:
    """Change a note's text. Its author stays; who changed it last is told beside."""
    return show_note(notes.edit(product_id, note_id, text.note, user(request), now()))


@router.delete("/api/products/{product_id}/notes/{note_id}", summary="Delete a note", tags=["notes"])
def delete_note(product_id: ProductId, note_id: NoteId, request: Request) -> shapes.Note:
    """Take a note off its product, and return it."""
    return show_note(notes.delete(product_id, note_id, user(request), now()))
