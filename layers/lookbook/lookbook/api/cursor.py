"""Opaque cursors: where a list goes on, as text a client hands back unread."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from lookbook.errors import InputError

FORGED = "The cursor is not one that this list gave out; start without it."


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
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InputError(FORGED) from error


def decode_key(cursor: str | None, fixed: dict[str, str], names: set[str]) -> dict[str, Any] | None:
    """Return a DynamoDB start key with these attributes, some of them fixed by the list, or raise InputError."""
    position = decode(cursor)
    if position is None:
        return None
    if not isinstance(position, dict) or set(position) != names | set(fixed):
        raise InputError(FORGED)
    for name, value in position.items():
        is_text = isinstance(value, dict) and list(value) == ["S"] and isinstance(value["S"], str)
        if not is_text or not value["S"] or value["S"] != fixed.get(name, value["S"]):
            raise InputError(FORGED)
    return position
