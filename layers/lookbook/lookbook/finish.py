"""Finish: counts what a pass recorded against what it was asked, and decides whether the run goes on or how it ends."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import UpdateError

from lookbook import budget, forecast, ledger, library, rates, runs, stores
from lookbook.logging import logger
from lookbook.plan import (
    LOOKED_UP_AT_ONCE,
    MAX_PROBLEMS,
    WAVES,
    Pass,
    items_key,
    outcome_key,
    read_lines,
    write_pass,
)
from lookbook.runs import plain_reason
from lookbook.state import Item, RunContext
from lookbook.tables import CONDITION_FAILED, RUN, Outcome, Publishing, Run
from lookbook.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pynamodb.expressions.update import Action

    from lookbook.providers.base import Provider
    from lookbook.settings import MethodSettings
    from lookbook.tables import Budget, LedgerEntry

# A run gives up on what is put off when no product has come to an end for this long.
STALLED_SECONDS = 3600
NEXT_PASS_WAIT_SECONDS = 10
UNRECORDED = "Its steps were stopped before they could report. Run it again: what was paid for is kept."
BLOCKED_LATER = "An image of it turned out to be the placeholder of the provider's filter. A retry tries another seed."
NOT_DONE = ("failed", "blocked", "deferred", "over_budget")
# Attempts of which something is bought and not in the library yet.
OPEN = frozenset({ledger.INTENT, ledger.SUBMITTED, ledger.STAGED})


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


@dataclass(frozen=True, slots=True)
class Finisher:
    """Finish with its collaborators."""

    settings: MethodSettings
    providers: Mapping[str, Provider]

    def finish(self, state: dict[str, Any], execution_arn: str, now: datetime) -> dict[str, Any]:
        """End a pass: either `again`, with the items of the next one, or the run's final status with a reason."""
        if "run" not in state:
            return _ingest_failed(state, execution_arn, now)
        run = runs.get(state["run"]["run_id"])
        context = RunContext.model_validate(state["run"])
        if run.finished_at is not None:
            return {"next": run.status, "reason": run.reason or run.status}
        if run.phase == runs.PUBLISHING:
            told = state.get("published")
            return self.publish(context) if told is None else _published(run, context, told, now)
        if run.reason is not None:
            return _end(run, runs.FAILED, run.reason, now)
        if state.get("pass") is None:
            return self.close(run, context, [], "", now)
        return self.count(run, context, state, now)

    def count(self, run: Run, context: RunContext, state: dict[str, Any], now: datetime) -> dict[str, Any]:
        """Count a pass, and send what was put off through the next one, with as many new products as there is room."""
        done = Pass.model_validate(state["pass"])
        caught = state.get("error")
        if caught:
            logger.error("map failed", extra={"run_id": run.run_id, "error": caught})
        bucket = self.settings.bucket
        tally = _count(run.run_id, bucket, done, plain_reason(_text(caught)) if caught else UNRECORDED)
        stop = budget.look(run.run_id)
        again = tally.again
        if not context.plan and (context.budget_microusd is not None or stop.stop_status is not None):
            entries = _entries(run.run_id, int(run.cost_microusd) + tally.cost_microusd)
            again = _with_paid_work(again, entries, stop)
            if again or not stop.stop_status:
                budget.recount(run.run_id, entries)
        progress_at = now.timestamp() if tally.statuses else float(state["progress_at"])
        stalled = now.timestamp() - progress_at > STALLED_SECONDS
        following = None
        if not stalled:
            stopping = stop.stop_status is not None
            room = WAVES * context.max_concurrency
            following = write_pass(bucket, run.run_id, done.number + 1, again, done.offset, room, stopping=stopping)
        run = _add(run, done, tally, stop)
        if following:
            wait = NEXT_PASS_WAIT_SECONDS if again else 1
            goes_on = {"next": "again", "wait_seconds": wait, "pass": following.model_dump()}
            return {**goes_on, "progress_at": progress_at, "run": state["run"]}
        return self.close(run, context, tally.again, tally.why_again, now)

    def close(self, run: Run, context: RunContext, again: list[Item], why: str, now: datetime) -> dict[str, Any]:
        """End a run: count what was put off for good, take the cost from the ledger, sum up a plan."""
        for item in again:
            library.release(item.product_id, run.run_id)
        stop = budget.look(run.run_id)
        run.stop_status, run.stop_reason = stop.stop_status, stop.stop_reason
        ended = sum(int(getattr(run, name) or 0) for name in runs.COUNTED) - int(run.planned_reused or 0)
        left = int(run.to_do or 0) - ended
        if stop.stop_status == budget.OVER_BUDGET:
            run.deferred = len(again)
            run.over_budget = int(run.over_budget or 0) + left - len(again)
        else:
            run.deferred = left
        reason = why or stop.stop_reason or "The run went on without it for too long."
        put_off = [_problem(item, "deferred", reason) for item in again]
        run.problems = sorted([*(run.problems or []), *put_off], key=lambda each: int(each["index"]))[:MAX_PROBLEMS]
        if context.plan:
            run.plan = forecast.sum_up(run, self.providers, self.settings)
            run.images_generated, run.cost_microusd = 0, 0
            return _end(run, runs.PLANNED, None, now)
        entries = _entries(run.run_id, int(run.cost_microusd or 0)) if run.to_do else []
        run.ledger = ledger.summary(entries)
        run.cost_microusd = sum(int(entry.cost_microusd) for entry in entries)
        run.work_ms = sum(int(entry.work_ms) for entry in entries)
        # What was committed by a child that died before it could record it, or that was put off, is there all the same.
        run.images_generated = max(int(run.images_generated or 0), sum(e.status == ledger.SUCCEEDED for e in entries))
        _correct_blocked(self.settings.bucket, run, context, entries)
        status, why_not = _verdict(run)
        if context.stores and stop.stop_status == budget.DEFERRED:
            why_not = (
                f"{why_not or 'It was stopped.'} Nothing was published to its stores; a retry, or a sync, does that."
            )
            status = runs.PARTIAL if status == runs.SUCCEEDED else status
        elif context.stores and stop.stop_status != budget.DEFERRED:
            _write(run, why_not, [Run.phase.set(runs.PUBLISHING)])
            self.learn(entries)
            return self.publish(context)
        told = _end(run, status, why_not, now)
        self.learn(entries)
        return told

    @staticmethod
    def publish(context: RunContext) -> dict[str, Any]:
        """Send a run, whose images are made, on to its stores."""
        return {"next": "publish", "run": context.model_dump(), "pass": None}

    def learn(self, entries: list[LedgerEntry]) -> None:
        """Add what this run's images have cost to what the next estimate is made of."""
        for name, provider in self.providers.items():
            made = [entry for entry in entries if entry.provider == name and entry.status == ledger.SUCCEEDED]
            if made:
                cost = sum(int(entry.cost_microusd) for entry in made)
                work = sum(int(entry.work_ms) for entry in made)
                rates.add(provider, len(made), cost, work)


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


def _with_paid_work(again: list[Item], entries: list[LedgerEntry], stop: Budget) -> list[Item]:
    """Mark what is paid for and not fetched yet; while a run is being stopped, nothing else goes on."""
    paid = {entry.product_id for entry in entries if entry.status in OPEN}
    marked = [item.model_copy(update={"in_flight": item.product_id in paid}) for item in again]
    return [item for item in marked if item.in_flight] if stop.stop_status is not None else marked


def _add(run: Run, done: Pass, tally: _Tally, stop: Budget) -> Run:
    """Add a pass to the run's counts, once: a repeated Finish finds it counted."""
    products = f"{len(tally.again):,} product{'s are' if len(tally.again) != 1 else ' is'}"
    note = f"{products} put off: {plain_reason(tally.why_again)}" if tally.why_again else ""
    fresh = Run(run.run_id, RUN)
    try:
        fresh.update(
            [
                Run.passes_counted.set(done.number),
                *(getattr(Run, name).add(tally.statuses[name]) for name in runs.COUNTED),
                Run.images_generated.add(tally.images_generated),
                Run.images_reused.add(tally.images_reused),
                Run.cost_microusd.add(tally.cost_microusd),
                Run.problems.set([*(run.problems or []), *tally.problems][:MAX_PROBLEMS]),
                Run.note.set(stop.stop_reason or note),
            ],
            condition=Run.passes_counted < done.number,
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return runs.get(run.run_id)
    return fresh


def _entries(run_id: str, at_least_microusd: int) -> list[LedgerEntry]:
    """Return a run's ledger. The index may lag behind the table by a moment; what was recorded says how far."""
    entries: list[LedgerEntry] = []
    for _ in range(6):
        entries = list(ledger.paid_by(run_id))
        if sum(int(entry.cost_microusd) for entry in entries) >= at_least_microusd:
            break
        time.sleep(0.5)
    return entries


def _correct_blocked(bucket: str, run: Run, context: RunContext, entries: list[LedgerEntry]) -> None:
    """Count as failed what had taken the provider's placeholder for an image, before it was known (see save.py).

    May be repeated: a corrected outcome keeps in `work` what it was before.
    """
    if all(entry.status != ledger.BLOCKED for entry in entries):
        return
    wrong: list[str] = []
    outcomes = Outcome.query(run.run_id, Outcome.sort_key.startswith(outcome_key("")), consistent_read=True)
    while batch := list(itertools.islice(outcomes, LOOKED_UP_AT_ONCE)):
        held = library.look_up([_product_id(outcome) for outcome in batch], consistent=True)
        for outcome in batch:
            holding = held.get(_product_id(outcome))
            complete = holding is not None and holding.covers(context.variants)
            if outcome.status in {"generated", "linked"} and not complete:
                missing = context.variants - (len(holding.variants) if holding is not None else 0)
                _correct(outcome, lost=min(int(outcome.images_generated), missing))
            if outcome.reason == BLOCKED_LATER:
                was, lost = str(outcome.work).split()
                setattr(run, was, int(getattr(run, was)) - 1)
                run.failed += 1
                run.images_generated -= int(lost)
                wrong.append(_product_id(outcome))
    items = (Item.model_validate_json(line) for _, line in read_lines(bucket, items_key(run.run_id))) if wrong else ()
    problems = [_problem(item, "failed", BLOCKED_LATER) for item in items if item.product_id in wrong]
    run.problems = sorted([*(run.problems or []), *problems], key=lambda each: int(each["index"]))[:MAX_PROBLEMS]


def _product_id(outcome: Outcome) -> str:
    return str(outcome.sort_key.removeprefix(outcome_key("")))


def _correct(outcome: Outcome, lost: int) -> None:
    outcome.update(
        [
            Outcome.work.set(f"{outcome.status} {lost}"),
            Outcome.status.set("failed"),
            Outcome.reason.set(BLOCKED_LATER),
            Outcome.images_generated.set(int(outcome.images_generated) - lost),
        ]
    )


def _verdict(run: Run) -> tuple[str, str | None]:
    """Return how a run ends, and why if not well."""
    bad = {name: int(getattr(run, name) or 0) for name in ("rejected", *NOT_DONE)}
    total = sum(bad.values())
    if not total:
        return runs.SUCCEEDED, None
    parts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in bad.items() if count)
    status = runs.PARTIAL if _made_anything(run) else runs.FAILED
    without = "could not be used" if run.purpose in runs.STORE_ACTIONS else "did not get all their images"
    why = f"{total:,} of {int(run.products):,} products {without}: {parts}."
    return status, f"{why} {run.stop_reason}" if run.stop_reason else why


def _published(run: Run, context: RunContext, told: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """End a run that has been to its stores: what became of the products, and of each store."""
    records = {each.store_id: each for each in stores.publishings(run.run_id)}
    errors = {each["store_id"]: plain_reason(_text(each["error"])) for each in told if each.get("error")}
    if run.purpose in runs.STORE_ACTIONS:
        for name in ("images_reused", "saved_microusd", "saved_work_ms"):
            setattr(run, name, sum(int(getattr(each, name)) for each in records.values()))
    reasons, good = [run.reason] if run.reason else [], 0
    for store_id in context.stores:
        stores.release(store_id, run.run_id)
        record = records.get(store_id)
        if record is None:
            reasons.append(f"Store {store_id}: {errors.get(store_id, UNRECORDED)}")
            continue
        if record.finished_at is None:
            record.update(
                [Publishing.finished_at.set(iso(now)), Publishing.reason.set(errors.get(store_id, UNRECORDED))]
            )
        stores.settle(record, now)
        good += sum(int(getattr(record, name)) for name in ("published", "unchanged", "taken_out"))
        if why := _store_reason(record):
            reasons.append(why)
    if not reasons:
        return _end(run, runs.SUCCEEDED, None, now)
    made = run.purpose in {runs.SCRAPE, runs.RETRY} and _made_anything(run)
    return _end(run, runs.PARTIAL if good or made else runs.FAILED, " ".join(reasons), now)


def _store_reason(record: Publishing) -> str:
    """Say what did not come about in a store; empty if all did."""
    bad = {name: int(getattr(record, name)) for name in ("failed", "not_mapped", "without_images", "not_reached")}
    total = sum(bad.values())
    parts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in bad.items() if count)
    told = f"{total:,} product{'s are' if total != 1 else ' is'} not in it as wanted: {parts}." if total else ""
    if not told and record.reason is None:
        return ""
    return f"Store {record.store_id}: {' '.join(part for part in (told, record.reason or '') if part)}"


def _made_anything(run: Run) -> bool:
    return bool(run.generated or run.linked or run.reused or run.images_generated)


def _end(run: Run, status: str, reason: str | None, now: datetime) -> dict[str, Any]:
    """Write how the run ended."""
    _write(run, reason, [Run.status.set(status), Run.finished_at.set(iso(now)), Run.note.set("")])
    return {"next": status, "reason": reason or status}


def _write(run: Run, reason: str | None, actions: list[Action]) -> None:
    """Write what the run has come to, unless it has ended already."""
    counts = (
        "generated",
        "linked",
        "failed",
        "deferred",
        "over_budget",
        "images_generated",
        "images_reused",
        "cost_microusd",
        "work_ms",
        "saved_microusd",
        "saved_work_ms",
    )
    actions += [getattr(Run, name).set(int(getattr(run, name) or 0)) for name in counts]
    actions += [Run.problems.set(run.problems or []), Run.ledger.set(run.ledger or [])]
    kept = {"reason": reason, "plan": run.plan, "stop_status": run.stop_status, "stop_reason": run.stop_reason}
    actions += [getattr(Run, name).set(value) for name, value in kept.items() if value is not None]
    Run(run.run_id, RUN).update(actions, condition=Run.finished_at.does_not_exist())
