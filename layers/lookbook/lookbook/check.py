"""Check: decides, under a condition and reading consistently, whether a product is reused, generated or waited for.

Ingest has looked before, a hundred products at a time, only to keep what is surely reused out of the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookbook import budget, library, search
from lookbook.state import Outcome, ProductState

if TYPE_CHECKING:
    from datetime import datetime

    from lookbook.tables import Product

CLAIM_WAIT_SECONDS = 3


def check(state: ProductState, now: datetime, defer_after_seconds: int) -> ProductState:
    """Claim what is missing, or say that nothing is, or wait for whoever holds the claim until it is time to defer."""
    moment = now.timestamp()
    if not state.started_at:
        state = state.model_copy(update={"started_at": moment, "defer_at": moment + defer_after_seconds})
    run, item = state.run, state.product
    if run.plan:
        return _plan(state)
    if not item.in_flight:
        stopped = budget.look(run.run_id)
        if stopped.stop_status is not None:
            return state.record(Outcome.model_validate({"status": stopped.stop_status, "reason": stopped.stop_reason}))

    claimed = library.claim(item, run.run_id, run.variants, now, reuse=run.reuse)
    if claimed is not None:
        search.keep(claimed)
        state = state.model_copy(update={"claimed_until": moment + library.CLAIM_SECONDS})
        return _generate(state, claimed)

    product = library.get_product(item.product_id, consistent=True)
    if run.reuse and product is not None and library.holding(product).covers(run.variants):
        return state.record(Outcome(status="reused", images_reused=run.variants))
    if moment >= state.defer_at:
        return state.record(Outcome(status="deferred", reason="Another run is generating this product."))
    return state.wait(CLAIM_WAIT_SECONDS)


def _plan(state: ProductState) -> ProductState:
    """Decide as for a run, but claim and change nothing."""
    product = library.get_product(state.product.product_id, consistent=True)
    if product is not None and state.run.reuse and library.holding(product).covers(state.run.variants):
        return state.record(Outcome(status="reused", images_reused=state.run.variants))
    return _generate(state, product)


def _generate(state: ProductState, product: Product | None) -> ProductState:
    """Go on to Generate, with the variants that are missing and the picture that was seen before."""
    run = state.run
    present = library.holding(product).variants if product is not None and run.reuse else frozenset()
    missing = [variant for variant in range(1, run.variants + 1) if variant not in present]
    sha256, _, url = ((product.source_seen if product is not None else None) or "").partition(" ")
    seen = sha256 if url == state.product.image_url else ""
    return state.model_copy(update={"next": "generate", "missing": missing, "source_sha256": seen})
