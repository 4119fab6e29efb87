"""Finish: counts what a pass recorded against what it was asked, and decides whether the run goes on or how it ends."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import UpdateError

from lookbook import ledger, library, runs
from lookbook.logging import logger
from lookbook.plan import LOOKED_UP_AT_ONCE, MAX_PROBLEMS, Pass, outcome_key, read_lines, write_pass
from lookbook.runs import plain_reason
from lookbook.state import Item
from lookbook.tables import RUN, Outcome, Run
from lookbook.times import iso

if TYPE_CHECKING:
    from datetime import datetime

    from pynamodb.expressions.update import Action

# A run gives up on what is put off when no product has come to an end for this long.
STALLED_SECONDS = 3600
NEXT_PASS_WAIT_SECONDS = 10
UNRECORDED = "Its steps were stopped before they could report. Run it again: what was paid for is kept."
BLOCKED_LATER = "One of its images turned out to be the provider's placeholder for blocked ones."
NOT_DONE = ("failed", "blocked", "deferred")


@dataclass(slots=True)
class _Paid:
    """What the ledger says of a run: whole micro-dollars, milliseconds, and blocked attempts by product."""

    cost_microusd: int = 0
    gpu_ms: int = 0
    blocked: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Tally:
    """What one pass came to."""

    statuses: Counter[str] = field(default_factory=Counter)
    images_generated: int = 0
    images_reused: int = 0
    cost_microusd: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    again: list[Item] = field(default_factory=list)
    why_again: str = ""


def finish(state: dict[str, Any], execution_arn: str, *, bucket: str, now: datetime) -> dict[str, Any]:
    """End a pass: either `again`, with the items of the next one, or the run's final status with a reason."""
    if "run" not in state:
        return _ingest_failed(state, execution_arn, now)
    run = runs.get(state["run"]["run_id"])
    if run.finished_at is not None:
        return {"next": run.status, "reason": run.reason or run.status}
    if run.reason is not None:
        return _end(run, runs.FAILED, run.reason, now)
    if state.get("pass") is None:
        return _end(run, *_verdict(run), now)

    done = Pass.model_validate(state["pass"])
    caught = state.get("error")
    if caught:
        logger.error("map failed", extra={"run_id": run.run_id, "error": caught})
    tally = _count(run.run_id, bucket, done, plain_reason(_text(caught)) if caught else UNRECORDED)
    progress_at = now.timestamp() if tally.statuses else float(state["progress_at"])
    stalled = now.timestamp() - progress_at > STALLED_SECONDS
    following = None if stalled else write_pass(bucket, run.run_id, done.number + 1, tally.again, done.offset)
    run = _add(run, done, tally)
    if following:
        wait = NEXT_PASS_WAIT_SECONDS if tally.again else 1
        again = {"next": "again", "wait_seconds": wait, "pass": following.model_dump(), "progress_at": progress_at}
        return {**again, "run": state["run"]}
    return _close(run, tally, now)


def _text(caught: dict[str, Any]) -> str:
    return f"{caught['Error']}: {caught['Cause']}"


def _ingest_failed(state: dict[str, Any], execution_arn: str, now: datetime) -> dict[str, Any]:
    """Ingest itself broke: what came in is all there is to know the run by, and it may be another execution's."""
    start = runs.identify({name: value for name, value in state.items() if name != "error"})
    run = runs.begin(start, execution_arn, now)
    if run is None:
        return {"next": "failed", "reason": f"Run {start.run_id} belongs to another execution."}
    return _end(run, runs.FAILED, plain_reason(_text(state["error"])), now)


def _count(run_id: str, bucket: str, done: Pass, unrecorded: str) -> _Tally:
    """Compare each product of a pass with its recorded outcome."""
    tally = _Tally()
    items = [Item.model_validate_json(line) for _, line in read_lines(bucket, done.items_key)]
    for start in range(0, len(items), LOOKED_UP_AT_ONCE):
        batch = items[start : start + LOOKED_UP_AT_ONCE]
        keys = [(run_id, outcome_key(item.product_id)) for item in batch]
        outcomes = {outcome.sort_key: outcome for outcome in Outcome.batch_get(keys, consistent_read=True)}
        for item in batch:
            _count_one(tally, run_id, item, outcomes.get(outcome_key(item.product_id)), unrecorded)
    return tally


def _count_one(tally: _Tally, run_id: str, item: Item, outcome: Outcome | None, unrecorded: str) -> None:
    if outcome is None and item.unrecorded == 0:
        tally.again.append(item.model_copy(update={"unrecorded": 1}))
        return
    if outcome is not None and outcome.status == "deferred":
        tally.again.append(item)
        tally.why_again = outcome.reason
        return
    status, reason = (outcome.status, outcome.reason) if outcome else ("failed", unrecorded)
    tally.statuses[status] += 1
    if outcome:
        tally.images_generated += int(outcome.images_generated)
        tally.images_reused += int(outcome.images_reused)
        tally.cost_microusd += int(outcome.cost_microusd)
    if status == "failed":
        library.release(item.product_id, run_id)
    if status in NOT_DONE:
        tally.problems.append(_problem(item, status, reason))


def _problem(item: Item, status: str, reason: str) -> dict[str, Any]:
    about = {"index": item.index, "product_id": item.product_id, "title": item.title}
    return {**about, "status": status, "reason": plain_reason(reason)}


def _add(run: Run, done: Pass, tally: _Tally) -> Run:
    """Add a pass to the run's counts, once: a repeated Finish finds it counted."""
    note = f"{len(tally.again)} products are put off: {plain_reason(tally.why_again)}" if tally.why_again else ""
    fresh = Run(run.run_id, RUN)
    try:
        fresh.update(
            [
                Run.passes_counted.set(done.number),
                Run.generated.add(tally.statuses["generated"]),
                Run.reused.add(tally.statuses["reused"]),
                Run.failed.add(tally.statuses["failed"]),
                Run.blocked.add(tally.statuses["blocked"]),
                Run.images_generated.add(tally.images_generated),
                Run.images_reused.add(tally.images_reused),
                Run.cost_microusd.add(tally.cost_microusd),
                Run.problems.set([*(run.problems or []), *tally.problems][:MAX_PROBLEMS]),
                Run.note.set(note),
            ],
            condition=Run.passes_counted < done.number,
        )
    except UpdateError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return runs.get(run.run_id)
    return fresh


def _close(run: Run, tally: _Tally, now: datetime) -> dict[str, Any]:
    """End a run that has been through the map: count what was put off for good, and take the cost from the ledger."""
    for item in tally.again:
        library.release(item.product_id, run.run_id)
    ended = run.generated + run.failed + run.blocked + (run.reused - run.planned_reused)
    run.deferred = int(run.to_do - ended)
    reason = tally.why_again or "The run went on without it for too long."
    put_off = [_problem(item, "deferred", reason) for item in tally.again]
    run.problems = sorted([*(run.problems or []), *put_off], key=lambda problem: int(problem["index"]))[:MAX_PROBLEMS]
    paid = _paid(run.run_id, int(run.cost_microusd))
    run.cost_microusd, run.gpu_ms = paid.cost_microusd, paid.gpu_ms
    _correct_blocked(run, paid)
    return _end(run, *_verdict(run), now)


def _paid(run_id: str, at_least_microusd: int) -> _Paid:
    """Sum up a run's ledger. The index may lag behind the table by a moment; what was recorded says how far."""
    for _ in range(6):
        paid = _Paid()
        for entry in ledger.paid_by(run_id):
            paid.cost_microusd += int(entry.cost_microusd)
            paid.gpu_ms += int(entry.gpu_ms)
            if entry.status == ledger.BLOCKED:
                paid.blocked[entry.product_id] += 1
        if paid.cost_microusd >= at_least_microusd:
            break
        time.sleep(0.5)
    return paid


def _correct_blocked(run: Run, paid: _Paid) -> None:
    """Count as blocked what had taken the provider's placeholder for an image, before it was known (see save.py)."""
    keys = [(run.run_id, outcome_key(product_id)) for product_id in paid.blocked]
    for outcome in Outcome.batch_get(keys, consistent_read=True) if keys else ():
        if outcome.status != "generated":
            continue
        lost = min(int(outcome.images_generated), paid.blocked[outcome.sort_key.removeprefix(outcome_key(""))])
        outcome.update([Outcome.status.set("blocked"), Outcome.reason.set(BLOCKED_LATER)])
        run.generated -= 1
        run.blocked += 1
        run.images_generated -= lost


def _verdict(run: Run) -> tuple[str, str | None]:
    """Return how a run ends, and why if not well."""
    bad = {name: int(getattr(run, name) or 0) for name in ("rejected", *NOT_DONE)}
    total = sum(bad.values())
    if not total:
        return runs.SUCCEEDED, None
    parts = ", ".join(f"{count:,} {name}" for name, count in bad.items() if count)
    status = runs.PARTIAL if run.generated or run.reused else runs.FAILED
    return status, f"{total:,} of {int(run.products):,} products did not get all their images: {parts}."


def _end(run: Run, status: str, reason: str | None, now: datetime) -> dict[str, Any]:
    """Write how the run ended."""
    counts = ("generated", "blocked", "deferred", "images_generated", "cost_microusd", "gpu_ms")
    actions: list[Action] = [getattr(Run, name).set(int(getattr(run, name) or 0)) for name in counts]
    actions += [
        Run.status.set(status),
        Run.finished_at.set(iso(now)),
        Run.note.set(""),
        Run.problems.set(run.problems or []),
    ]
    if reason is not None:
        actions.append(Run.reason.set(reason))
    Run(run.run_id, RUN).update(actions, condition=Run.finished_at.does_not_exist())
    return {"next": status, "reason": reason or status}
