"""The reuse key: equal keys mean equal work, which is never paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def reuse_key(
    source_sha256: str,
    model_photo_sha256: str,
    method: str,
    model_version: str,
    parameters: Mapping[str, int | float | str],
) -> str:
    """Return the SHA-256 (hex) over everything that decides what a provider would make.

    `source_sha256` and `model_photo_sha256` are hashes of the pictures' bytes, not of their names: the same picture
    under another product id, or a model photo under another name, is the same work. They are empty where the method
    uses none.
    """
    parts = {
        "source": source_sha256,
        "model_photo": model_photo_sha256,
        "method": method,
        "model_version": model_version,
        "parameters": dict(sorted(parameters.items())),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# Added to a seed whose result the provider's filter has blocked: far from every variant's own.
OTHER_SEED = 1000


def seed_for(variant: int, fresh_for: str = "") -> int:
    """Return the seed of a variant: always the same, unless new pictures are wanted, for a run whose id is given."""
    if not fresh_for:
        return variant
    return int.from_bytes(hashlib.sha256(f"{fresh_for}/{variant}".encode()).digest()[:4], "big")
