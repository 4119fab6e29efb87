"""The first model photos of a local cloud, so that the first run needs no manual."""

from __future__ import annotations

import io

import requests

from local.art import draw_model

NAMES = ["man_30_black", "woman_25_latina", "woman_45_caucasian"]


def seed_model_photos(api_url: str, token: str) -> list[str]:
    """Add the drawn model photos over the API, as `lookbook models add` would, and return their names."""
    for name in NAMES:
        drawn = io.BytesIO()
        draw_model(name).save(drawn, "PNG")
        answer = requests.put(
            f"{api_url}/api/models/{name}",
            data=drawn.getvalue(),
            headers={"authorization": f"Bearer {token}", "content-type": "image/png"},
            timeout=60,
        )
        answer.raise_for_status()
    return NAMES
