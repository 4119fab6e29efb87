"""The forecast: what a plan's images would cost and how long they would take, and how we know."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from lookbook import notices, rates, shapes
from lookbook.plan import outcome_key
from lookbook.tables import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lookbook.providers.base import Provider
    from lookbook.settings import MethodSettings
    from lookbook.tables import Run

# GpuConcurrency is about so many times the GPU's workers (see template.yaml).
CONCURRENCY_PER_WORKER = 1.5


def sum_up(run: Run, providers: Mapping[str, Provider], settings: MethodSettings) -> dict[str, Any]:
    """Return the forecast of a plan whose products have all been looked at. US dollars, minutes.

    One query over the run's outcomes. Equal work is counted once, under the product that has it first.
    """
    work: dict[str, set[str]] = {}
    products: Counter[str] = Counter()
    linked = asked = 0
    seen: set[str] = set()
    for outcome in Outcome.query(run.run_id, Outcome.sort_key.startswith(outcome_key(""))):
        keys = set((outcome.work or "").split())
        asked += len(keys)
        if keys:
            products[str(outcome.method)] += 1
            work.setdefault(str(outcome.method), set()).update(keys)
            seen |= keys
        linked += int(outcome.images_reused) if outcome.status in {"linked", "planned"} else 0
    methods = [
        {**describe(providers[name], settings), **_sum(providers[name], settings, products[name], len(keys))}
        for name, keys in sorted(work.items())
    ]
    return {
        "images_to_generate": len(seen),
        "images_linked": linked + asked - len(seen),
        "cost_usd": round(sum(method["cost_usd"] for method in methods), 6),
        "max_cost_usd": sum(len(keys) * rates.estimate(providers[name]).most_microusd for name, keys in work.items())
        / 1_000_000,
        "minutes": round(sum(method["minutes"] for method in methods), 1),
        "prices_as_of": settings.prices_as_of,
        "methods": methods,
        "notices": [notice for name in sorted(work) for notice in notices.of(providers[name])],
    }


def describe(provider: Provider, settings: MethodSettings) -> shapes.Method:
    """Return what a method is, what an image by it costs in US dollars, and how many seconds it takes."""
    estimate = rates.estimate(provider)
    return {
        "method": provider.name,
        "about": provider.about,
        "licence": provider.licence,
        "usd_per_image": estimate.microusd / 1_000_000,
        "seconds_per_image": estimate.ms / 1000,
        "basis": f"{estimate.basis}; {_pace(provider, settings)[1]}",
    }


def _sum(provider: Provider, settings: MethodSettings, products: int, images: int) -> dict[str, Any]:
    estimate = rates.estimate(provider)
    seconds = images * estimate.ms / 1000 / _pace(provider, settings)[0]
    if provider.limits is not None:
        seconds = max(seconds, (images - 1) * 60 / provider.limits.per_minute)
    return {
        "products": products,
        "images": images,
        "cost_usd": round(images * estimate.microusd / 1_000_000, 6),
        "minutes": math.ceil(seconds / 60 * 100) / 100,
    }


def _pace(provider: Provider, settings: MethodSettings) -> tuple[float, str]:
    """Return how many images of a method are made at once, and how we know."""
    if provider.limits is not None:
        return provider.limits.at_once, f"{provider.limits.at_once} at once, {provider.limits.per_minute} a minute"
    if provider.wears:
        workers = max(1, round(settings.gpu_concurrency / CONCURRENCY_PER_WORKER))
        return workers, f"{workers} GPU workers taken for granted (GpuConcurrency {settings.gpu_concurrency} / 1.5)"
    return settings.gpu_concurrency, f"{settings.gpu_concurrency} at once"
