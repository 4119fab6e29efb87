"""What a user should know of a provider before he relies on it: that its model ends soon."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pynamodb.exceptions import DoesNotExist

from lookbook.tables import ModelNotice
from lookbook.times import iso, now

if TYPE_CHECKING:
    from datetime import datetime

    from lookbook.providers.base import Provider

WARN_DAYS = 30


def keep(model: str, shutdown_date: date | None, checked_at: datetime) -> None:
    """Note when a model ends, as its provider says now; None if no end is known."""
    ModelNotice(
        _key(model), shutdown_date=shutdown_date.isoformat() if shutdown_date else None, checked_at=iso(checked_at)
    ).save()


def of(provider: Provider) -> list[str]:
    """Return what is to be said of a provider's model, in whole sentences."""
    try:
        found = ModelNotice.get(_key(provider.model_version), "notice")
    except DoesNotExist:
        return []
    if not found.shutdown_date:
        return []
    days = days_left(date.fromisoformat(found.shutdown_date), now())
    if days > WARN_DAYS:
        return []
    when = f"ends on {found.shutdown_date}" if days > 0 else f"ended on {found.shutdown_date}"
    return [f"The model {provider.model_version} {when}; set OpenAiModel to one that goes on."]


def days_left(shutdown_date: date, moment: datetime) -> int:
    return (shutdown_date - moment.date()).days


def _key(model: str) -> str:
    return f"notice#{model}"
