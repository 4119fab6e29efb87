"""What an image of a method costs and takes: as measured by the runs so far, else as configured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pynamodb.exceptions import DoesNotExist

from lookbook.providers.base import Estimate
from lookbook.tables import Rate

if TYPE_CHECKING:
    from lookbook.providers.base import Provider

# Fewer images than this say little about the next one.
ENOUGH_IMAGES = 20
KEPT_SECONDS = 60.0

_kept: dict[str, tuple[float, Estimate]] = {}


def estimate(provider: Provider) -> Estimate:
    """Return the estimate for an image; a warm function asks the table once a minute at most."""
    key = rate_id(provider)
    read_at, found = _kept.get(key, (-KEPT_SECONDS, None))
    if found is None or time.monotonic() - read_at >= KEPT_SECONDS:
        found = _read(key, provider)
        _kept[key] = (time.monotonic(), found)
    return found


def rate_id(provider: Provider) -> str:
    """Return the key of a method's rate; another model, price or quality has another one."""
    return f"rate#{provider.name}#{provider.model_version}#{provider.estimate().microusd}"


def add(provider: Provider, images: int, cost_microusd: int, work_ms: int) -> None:
    """Add a run's images to what is known of a method."""
    Rate(rate_id(provider)).update(
        [
            Rate.kind.set(Rate),
            Rate.images.add(images),
            Rate.cost_microusd.add(cost_microusd),
            Rate.work_ms.add(work_ms),
        ]
    )


def _read(key: str, provider: Provider) -> Estimate:
    configured = provider.estimate()
    try:
        rate = Rate.get(key, "rate")
    except DoesNotExist:
        return configured
    images = int(rate.images)
    if images < ENOUGH_IMAGES or not rate.cost_microusd:
        return configured
    microusd = round(rate.cost_microusd / images)
    margin = configured.most_microusd / max(1, configured.microusd)
    ms = round(rate.work_ms / images) or configured.ms
    return Estimate(microusd, round(microusd * margin), ms, f"measured over {images:,} images")
