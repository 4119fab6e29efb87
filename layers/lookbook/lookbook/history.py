"""History: every change of a product's cover, and with that the rule which image is the cover.

An entry's id begins with the time at which its change was asked for, and the cover is the image of the entry with the
highest id. So of two requests the later one wins, whichever is done first: what comes late lands in its place in
history and leaves the cover alone. The product holds the id of the entry that its cover comes from, and every change
is a transaction on entry and product under the condition that this id is still the one that was read.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pynamodb.exceptions import DoesNotExist, TransactWriteError

from lookbook.errors import ConflictError
from lookbook.tables import MOST_CONFLICTS, HistoryEntry, Product, pause
from lookbook.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action
    from pynamodb.pagination import ResultIterator

Result = TypeVar("Result")


def page(product_id: str, limit: int, start: dict[str, dict[str, Any]] | None = None) -> ResultIterator[HistoryEntry]:
    """Return a product's history, newest first, read consistently."""
    found: Any = HistoryEntry.query(
        product_id, scan_index_forward=False, limit=limit, last_evaluated_key=start, consistent_read=True
    )
    return cast("ResultIterator[HistoryEntry]", found)


def has(product_id: str, entry_id: str) -> bool:
    """Tell whether a product's history has an entry, read consistently."""
    try:
        HistoryEntry.get(product_id, entry_id, consistent_read=True)
    except DoesNotExist:
        return False
    return True


def entry_id(requested_at: str, tail: str = "") -> str:
    """Return the id of an entry for a change that was asked for then."""
    return f"{requested_at}#{tail or uuid.uuid4().hex[:8]}"


def no_sooner(product: Product, moment: str) -> str:
    """Return a moment, or the one after the newest entry's: clocks differ, and what is done now comes after it."""
    newest = time_of(product)
    if moment > newest:
        return moment
    return iso(datetime.fromisoformat(newest) + timedelta(milliseconds=1))


def time_of(product: Product) -> str:
    """Return when the product's cover was asked for; empty if nothing ever was."""
    return (product.cover_entry_id or "").partition("#")[0]


def wins(product: Product, entry: HistoryEntry) -> bool:
    """Tell whether an entry is newer than the one that the cover comes from."""
    return product.cover_entry_id is None or entry.entry_id > product.cover_entry_id


def set_cover(entry: HistoryEntry) -> list[Action]:
    """Return what an entry that wins makes of the product."""
    image_id = entry.image_id
    return [
        Product.cover_image_id.set(image_id) if image_id else Product.cover_image_id.remove(),
        Product.cover_entry_id.set(entry.entry_id),
    ]


def unchanged(product: Product) -> Condition:
    """Return the condition that the cover is still the one that was read."""
    if product.cover_entry_id is None:
        return Product.cover_entry_id.does_not_exist()
    condition: Condition = Product.cover_entry_id == product.cover_entry_id
    return condition


def is_conflict(error: TransactWriteError) -> bool:
    """Tell whether a transaction failed only because another one was at the same items at that moment."""
    codes = {reason.code for reason in error.cancellation_reasons if reason is not None}
    return "TransactionConflict" in codes and codes <= {"TransactionConflict", "None"}


def repeat(change: Callable[[], Result]) -> Result:
    """Do a change that reads before it writes, again when someone else was faster. Raises ConflictError in the end."""
    for _ in range(MOST_CONFLICTS):
        try:
            return change()
        except TransactWriteError as error:
            codes = {reason.code for reason in error.cancellation_reasons if reason is not None}
            if not codes & {"TransactionConflict", "ConditionalCheckFailed"}:
                raise
            pause()
    raise ConflictError("Others are changing this product at the same moment. Try it again.")
