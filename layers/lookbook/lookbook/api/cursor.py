"""Opaque cursors: where a list goes on, as text a client hands back unread."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from lookbook.errors import InputError


def encode(position: Any) -> str | None:
    """Return a cursor for a JSON-able position, None for the end of a list."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode()


def decode(cursor: str | None) -> Any:
    """Return what `encode` was given, or raise InputError."""
    if cursor is None:
        return None
    try:
        return json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise InputError("The cursor is not one that this list gave out; start without it.") from error


def decode_key(cursor: str | None, names: set[str]) -> dict[str, Any] | None:
    """Return a DynamoDB start key of just these attributes, or raise InputError."""
    position = decode(cursor)
    if position is None:
        return None
    if not (
        isinstance(position, dict)
        and set(position) == names
        and all(
            isinstance(value, dict) and list(value) == ["S"] and isinstance(value["S"], str)
            for value in position.values()
        )
    ):
        raise InputError("The cursor is not one that this list gave out; start without it.")
    return position
