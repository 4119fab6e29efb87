"""The reuse key: equal keys mean equal work, which is never paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

# What a picture is made with when nobody says otherwise; CatVTON's own defaults.
PARAMETERS: Mapping[str, int | float] = {
    "num_inference_steps": 50,
    "guidance_scale": 2.5,
    "width": 768,
    "height": 1024,
}


def reuse_key(
    source_sha256: str,
    model_photo_sha256: str,
    method: str,
    model_version: str,
    parameters: Mapping[str, int | float | str],
) -> str:
    """Return the SHA-256 (hex) over everything that decides what a provider would make.

    `source_sha256` and `model_photo_sha256` are hashes of the pictures' bytes, not of their names: the same picture
    under another product id, or a model photo under another name, is the same work.
    """
    parts = {
        "source": source_sha256,
        "model_photo": model_photo_sha256,
        "method": method,
        "model_version": model_version,
        "parameters": dict(sorted(parameters.items())),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seed_for(variant: int, run_id: str | None = None) -> int:
    """Return the seed of a variant: always the same, unless a run asks for new pictures and so gives its id."""
    if run_id is None:
        return variant
    return int.from_bytes(hashlib.sha256(f"{run_id}/{variant}".encode()).digest()[:4], "big")
