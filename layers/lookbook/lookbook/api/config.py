"""What the API function's environment tells it."""

from __future__ import annotations

from functools import cache

from lookbook.settings import ApiSettings
from lookbook.tables import bind


@cache
def settings() -> ApiSettings:
    """Return the settings, read at the first request; the tables are then bound too."""
    found = ApiSettings.from_environment()
    bind(found)
    return found
