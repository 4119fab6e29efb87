"""Finish: counts what was recorded against what was asked, and decides how a run ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lookbook import aws, ledger, library, runs
from lookbook.plan import dump, items_key, outcome_key, read_lines
from lookbook.runs import plain_reason
from lookbook.state import Item
from lookbook.tables import RUN, Outcome, Run, RunsItem
from lookbook.times import iso, seconds_between

if TYPE_CHECKING:
    from datetime import datetime

    from pynamodb.expressions.update import Action

MAX_PROBLEMS = 20
# How long a run goes on sending deferred products through the map.
DEADLINE_SECONDS = 6 * 3600
NEXT_PASS_WAIT_SECONDS = 10
# A child that ended without a record (Express children are stopped after five minutes) gets one more pass.
PASSES_FOR_UNRECORDED = 2
UNRECORDED = (
    "It never reported back: its steps were stopped before they could. Run it again; what was paid for is kept."
)


@dataclass(slots=True)
class _Paid:
    """What the ledger says of a run: whole micro-dollars, milliseconds, and the products with a blocked attempt."""

    cost_microusd: int = 0
    gpu_ms: int = 0
    blocked: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Tally:
    statuses: Counter[str] = field(default_factory=Counter)
    images_generated: int = 0
    images_reused: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    again: list[Item] = field(default_factory=list)


def finish(state: dict[str, Any], *, bucket: str, now: datetime) -> dict[str, Any]:
    """End a pass: either `again`, with the products of the next one, or the run's final status with a reason."""
    if "run" not in state:
        return _ingest_failed(state, now)
    run = runs.get(state["run"]["run_id"])
    if run.finished_at is not None:
        return {"next": run.status, "reason": run.reason or run.status}
    if run.reason is not None:
        return _end(run, runs.FAILED, run.reason, now, _Tally(), _Paid())

    paid = _paid(run.run_id)
    late = seconds_between(str(run.started_at), iso(now)) > DEADLINE_SECONDS
    tally = _count(run.run_id, bucket, state, paid.blocked, last_pass=late)
    if tally.again:
        number = int(state["pass"]) + 1
        key = items_key(run.run_id, number)
        aws.s3().put_object(Bucket=bucket, Key=key, Body=b"".join(dump(item) for item in tally.again))
        again = {"next": "again", "wait_seconds": NEXT_PASS_WAIT_SECONDS, "pass": number, "items_key": key}
        return {**again, "run": state["run"]}

    bad = sum(tally.statuses[status] for status in ("failed", "blocked", "deferred")) + int(run.rejected)
    good = tally.statuses["generated"] + tally.statuses["reused"] + int(run.reused)
    status = runs.SUCCEEDED if not bad else runs.PARTIAL if good else runs.FAILED
    reason = f"{bad} of {int(run.products)} products did not get all their images." if bad else None
    return _end(run, status, reason, now, tally, paid)


def _ingest_failed(state: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Ingest itself broke: what came in is all there is to know the run by."""
    caught = state.pop("error")
    start = runs.identify(state)
    run = runs.begin(start, "none", now) or runs.get(start.run_id)
    return _end(run, runs.FAILED, plain_reason(f"{caught['Error']}: {caught['Cause']}"), now, _Tally(), _Paid())


def _paid(run_id: str) -> _Paid:
    paid = _Paid()
    for entry in ledger.paid_by(run_id):
        paid.cost_microusd += int(entry.cost_microusd)
        paid.gpu_ms += int(entry.gpu_ms)
        if entry.status == ledger.BLOCKED:
            paid.blocked.add(entry.product_id)
    return paid


def _count(run_id: str, bucket: str, state: dict[str, Any], blocked: set[str], *, last_pass: bool) -> _Tally:
    """Compare each product that went to work with its recorded outcome.

    `blocked` has the products of which an attempt is blocked: one that had been counted as generated had taken the
    provider's placeholder for an image (see save.py).
    """
    outcomes = {
        item.sort_key: item
        for item in RunsItem.query(run_id, RunsItem.sort_key.startswith(outcome_key("")), consistent_read=True)
        if isinstance(item, Outcome)
    }
    tally = _Tally()
    for _, line in read_lines(bucket, items_key(run_id, 1)):
        item = Item.model_validate_json(line)
        outcome = outcomes.get(outcome_key(item.product_id))
        status, reason = (outcome.status, outcome.reason) if outcome else ("failed", UNRECORDED)
        if outcome and status == "generated" and item.product_id in blocked:
            status, reason = (
                "blocked",
                "One of its images turned out to be the provider's placeholder for blocked ones.",
            )
            outcome.update([Outcome.status.set(status), Outcome.reason.set(reason)])
        unrecorded = outcome is None and int(state["pass"]) < PASSES_FOR_UNRECORDED
        if (status == "deferred" or unrecorded) and not last_pass:
            tally.again.append(item)
            continue
        if status in {"failed", "deferred"}:
            library.release(item.product_id, run_id)
        tally.statuses[status] += 1
        if outcome:
            tally.images_generated += int(outcome.images_generated)
            tally.images_reused += int(outcome.images_reused)
        if status in {"failed", "blocked", "deferred"} and len(tally.problems) < MAX_PROBLEMS:
            tally.problems.append(
                {
                    "index": item.index,
                    "product_id": item.product_id,
                    "title": item.title,
                    "status": status,
                    "reason": plain_reason(reason),
                }
            )
    return tally


def _end(run: Run, status: str, reason: str | None, now: datetime, tally: _Tally, paid: _Paid) -> dict[str, Any]:
    """Write how the run ended; its cost is the sum over the ledger."""
    problems = sorted([*(run.problems or []), *tally.problems], key=lambda problem: int(problem["index"]))
    actions: list[Action] = [
        Run.status.set(status),
        Run.finished_at.set(iso(now)),
        Run.generated.set(tally.statuses["generated"]),
        Run.reused.set(int(run.reused or 0) + tally.statuses["reused"]),
        Run.failed.set(tally.statuses["failed"]),
        Run.blocked.set(tally.statuses["blocked"]),
        Run.deferred.set(tally.statuses["deferred"]),
        Run.images_generated.set(tally.images_generated),
        Run.images_reused.set(int(run.images_reused or 0) + tally.images_reused),
        Run.cost_microusd.set(paid.cost_microusd),
        Run.gpu_ms.set(paid.gpu_ms),
        Run.problems.set(problems[:MAX_PROBLEMS]),
    ]
    if reason is not None:
        actions.append(Run.reason.set(reason))
    Run(run.run_id, RUN).update(actions, condition=Run.finished_at.does_not_exist())
    return {"next": status, "reason": reason or status}
