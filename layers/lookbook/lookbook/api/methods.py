"""Methods: the ways to make an image, with licence and price."""

from __future__ import annotations

from lookbook import shapes
from lookbook.api.config import settings
from lookbook.api.http import Router

router = Router()


@router.get("/api/methods", summary="List the ways to make an image", tags=["methods"])
def list_methods() -> shapes.Methods:
    """What can make images, what that costs (US dollars, seconds an image), and what the images may be used for."""
    from lookbook import forecast, notices  # noqa: PLC0415 - the providers' clients, which no other route needs
    from lookbook.providers.registry import all_of  # noqa: PLC0415 - as above

    told = settings()
    methods: list[shapes.ReadyMethod] = [
        {
            **forecast.describe(provider, told),
            "ready": not provider.unavailable,
            "notices": [*_why_not(provider.unavailable), *notices.of(provider)],
        }
        for provider in all_of(told).values()
    ]
    return {"methods": methods, "prices_as_of": told.prices_as_of}


def _why_not(reason: str) -> list[str]:
    return [f"{reason[0].upper()}{reason[1:]}."] if reason else []
