"""Check: decides, under a condition and reading consistently, whether a product is reused, generated or waited for.

Ingest has looked before, a hundred products at a time, only to keep what is surely reused out of the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookbook import library
from lookbook.state import Outcome, ProductState

if TYPE_CHECKING:
    from datetime import datetime

CLAIM_WAIT_SECONDS = 3


def check(state: ProductState, now: datetime, defer_after_seconds: int) -> ProductState:
    """Claim what is missing, or say that nothing is, or wait for whoever holds the claim until it is time to defer."""
    moment = now.timestamp()
    if not state.started_at:
        state = state.model_copy(update={"started_at": moment, "defer_at": moment + defer_after_seconds})
    run, item = state.run, state.product

    claimed = library.claim(item, run.run_id, run.variants, now, reuse=run.reuse)
    if claimed is not None:
        present = library.holding(claimed).variants if run.reuse else frozenset()
        missing = [variant for variant in range(1, run.variants + 1) if variant not in present]
        sha256, _, url = (claimed.source_seen or "").partition(" ")
        seen = sha256 if url == item.image_url else ""
        return state.model_copy(update={"next": "generate", "missing": missing, "source_sha256": seen})

    product = library.get_product(item.product_id, consistent=True)
    if run.reuse and product is not None and library.holding(product).covers(run.variants):
        return state.record(Outcome(status="reused", images_reused=run.variants))
    if moment >= state.defer_at:
        return state.record(Outcome(status="deferred", reason="Another run is generating this product."))
    return state.wait(CLAIM_WAIT_SECONDS)
