"""The part of Shopify's schema that is spoken here, and the pages of its connections."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    build_schema,
    get_operation_ast,
    parse,
    validate,
)

MOST_ITEMS = 250  # in a page, and in one list of an input


def _unsigned(value: Any) -> int:
    """Shopify writes numbers of 64 bits as strings."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    raise GraphQLError(f"{value!r} is no UnsignedInt64: digits in a string")


def _date(at: float) -> str:
    """Shopify's dates have whole seconds; these have milliseconds, so that each change shows."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


SCHEMA = build_schema((Path(__file__).parent / "shop.graphql").read_text())
_scalars: dict[str, Any] = dict(SCHEMA.type_map)  # the SDL cannot say how they are read and written
_scalars["UnsignedInt64"].coerce_input_value = _unsigned
_scalars["DateTime"].coerce_output_value = _date


@lru_cache(256)
def read_query(query: str) -> tuple[DocumentNode, OperationDefinitionNode]:
    """Parse a query with one operation. Raises GraphQLError."""
    document = parse(query)
    errors, operation = validate(SCHEMA, document), get_operation_ast(document)
    if errors or operation is None:
        raise errors[0] if errors else GraphQLError("An operation name is required")
    return document, operation


def page(
    things: Iterable[tuple[int, Any]], first: int | None = None, last: int | None = None, after: str | None = None
) -> dict[str, Any]:
    """Return a connection over things in order, each with its place, which a cursor names. Raises GraphQLError."""
    size = first or last or 0
    if (first is None) == (last is None):
        raise GraphQLError("you must provide one of first or last")
    if not 0 < size <= MOST_ITEMS:
        raise GraphQLError(f"first and last must be from 1 to {MOST_ITEMS}")
    if after and not after.isdecimal():
        raise GraphQLError("Invalid cursor for current pagination sort.")
    left = [each for each in things if not after or each[0] > int(after)]
    chosen = left[:size] if first else left[-size:]
    return {
        "nodes": [thing for _, thing in chosen],
        "pageInfo": {
            "hasNextPage": bool(first) and len(left) > size,
            "endCursor": str(chosen[-1][0]) if chosen else None,
        },
    }
