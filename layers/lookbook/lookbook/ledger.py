"""The ledger: one entry per paid attempt, kept under the work it pays for, and so also the lock on that work.

An attempt goes

    intent -> submitted -> staged -> succeeded
       |          |           |----> blocked   (the provider's filter; final for this reuse key)
       |          |----------------> failed    (paid or not, as its dollars say; final if the inputs are at fault)
       |---------------------------> unknown   (we never learnt whether it was accepted)

The intent is written before the provider is called, under a condition, so of all who want the same work at the same
moment one submits and the others find its job. Whoever comes later (a retry, another pass, another run after a crash)
finds the job's id and fetches what was paid for. An attempt that the provider refused is taken out again: nothing
was bought. A provider that answers with the result itself takes an attempt from intent to staged at once.

The intent's estimate is reserved in the run's budget, and settled by whoever moves the attempt on: exactly one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pynamodb.exceptions import DeleteError, PutError, UpdateError

from lookbook import budget, shapes
from lookbook.tables import CONDITION_FAILED, LedgerEntry
from lookbook.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pynamodb.expressions.update import Action
    from pynamodb.pagination import ResultIterator

INTENT = "intent"
SUBMITTED = "submitted"
STAGED = "staged"
SUCCEEDED = "succeeded"
BLOCKED = "blocked"
FAILED = "failed"
UNKNOWN = "unknown"

ENDS = (SUCCEEDED, FAILED, BLOCKED, UNKNOWN, "open")
GOOD = frozenset({SUBMITTED, STAGED, SUCCEEDED})
MAY_BE_TRIED_AGAIN = frozenset({FAILED, UNKNOWN})
# A job that fails on the worker is paid for. Once is bad luck; a third time would be throwing money after it.
MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a provider's answer came to: where the picture is, by which model, and what it cost."""

    staging_key: str
    model_version: str
    cost_microusd: int
    work_ms: int
    usage: str


def work_id(reuse_key: str) -> str:
    return f"work#{reuse_key}"


def attempts(reuse_key: str) -> list[LedgerEntry]:
    """Return all attempts at this work, oldest first, read consistently (one read unit for up to about ten)."""
    return list(LedgerEntry.query(work_id(reuse_key), consistent_read=True))


def paid_by(
    run_id: str, *, limit: int | None = None, start: dict[str, dict[str, Any]] | None = None
) -> ResultIterator[LedgerEntry]:
    """Return a run's attempts, from the index (which may be a moment behind the table): it holds nothing else."""
    found: Any = LedgerEntry.by_run.query(run_id, limit=limit, last_evaluated_key=start)
    return cast("ResultIterator[LedgerEntry]", found)


def show(entry: LedgerEntry) -> shapes.PaidAttempt:
    """Return an attempt as the API answers it. US dollars, seconds."""
    return {
        "product_id": entry.product_id,
        "variant": int(entry.variant),
        "provider": entry.provider,
        "status": entry.status,
        "job_id": entry.job_id,
        "created_at": iso(datetime.fromtimestamp(float(entry.created_at), UTC)),
        "cost_usd": int(entry.cost_microusd) / 1_000_000,
        "at_most_usd": int(entry.reserved_microusd) / 1_000_000 if entry.status == UNKNOWN else None,
        "work_seconds": int(entry.work_ms) / 1000,
        "usage": entry.usage,
        "model_version": entry.model_version,
        "image_id": entry.image_id,
        "reason": entry.reason,
    }


def summary(entries: Iterable[LedgerEntry]) -> list[dict[str, Any]]:
    """Return a run's ledger summed up by provider: attempts by how they ended, US dollars, seconds of work."""
    sums: dict[str, dict[str, Any]] = {}
    for entry in sorted(entries, key=lambda each: str(each.provider)):
        row = sums.setdefault(str(entry.provider), dict.fromkeys(("attempts", *ENDS, "microusd", "ms", "lost"), 0))
        row["attempts"] += 1
        row[entry.status if entry.status in ENDS else "open"] += 1
        row["microusd"] += int(entry.cost_microusd)
        row["ms"] += int(entry.work_ms)
        row["lost"] += int(entry.reserved_microusd) if entry.status == UNKNOWN else 0
    return [
        {
            "provider": name,
            "cost_usd": row.pop("microusd") / 1_000_000,
            "unknown_usd": row.pop("lost") / 1_000_000,
            "work_seconds": row.pop("ms") / 1000,
            **row,
        }
        for name, row in sums.items()
    ]


def write_intent(
    reuse_key: str,
    previous: LedgerEntry | None,
    *,
    token: str,
    run_id: str,
    product_id: str,
    variant: int,
    provider: str,
    reserved_microusd: int,
    now: float,
    expires_at: float,
) -> LedgerEntry | None:
    """Write the intent of the next attempt; None if someone else was faster.

    A submitter that has not written what came of it by `expires_at` (epoch seconds) is dead.
    """
    number = int(previous.sort_key.removeprefix("attempt#")) + 1 if previous else 1
    entry = LedgerEntry(
        run_id=work_id(reuse_key),
        sort_key=f"attempt#{number:04d}",
        paid_by=run_id,
        product_id=product_id,
        variant=variant,
        provider=provider,
        status=INTENT,
        token=token,
        reserved_microusd=reserved_microusd,
        created_at=now,
        expires_at=expires_at,
    )
    try:
        entry.save(LedgerEntry.run_id.does_not_exist())
    except PutError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        # botocore repeats a put whose answer was lost; what is there may then be ours.
        there = LedgerEntry.get(entry.run_id, entry.sort_key, consistent_read=True)
        return entry if there.token == entry.token else None
    return entry


def withdraw(entry: LedgerEntry) -> bool:
    """Take out an intent of which nothing was bought; return whether it was ours to take out.

    The reservation in the budget is then the caller's to give back.
    """
    try:
        entry.delete((LedgerEntry.status == INTENT) & (LedgerEntry.token == entry.token))
    except DeleteError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False  # someone has taken us for dead, and settled it
    return True


def submitted(entry: LedgerEntry, job_id: str) -> None:
    """Keep the provider's job id: from here on the work can always be found again."""
    actions: list[Action] = [LedgerEntry.status.set(SUBMITTED), LedgerEntry.job_id.set(job_id)]
    if not _move(entry, {INTENT}, actions) and _move(entry, {UNKNOWN}, actions):
        budget.revive(entry)  # we were taken for dead; better late than unknown


def staged(entry: LedgerEntry, result: Result, job_id: str = "") -> None:
    """The result is in S3 and its price known. `job_id`: of a provider whose answer to the job was the result."""
    actions: list[Action] = [
        LedgerEntry.status.set(STAGED),
        LedgerEntry.staging_key.set(result.staging_key),
        LedgerEntry.model_version.set(result.model_version),
        LedgerEntry.cost_microusd.set(result.cost_microusd),
        LedgerEntry.work_ms.set(result.work_ms),
        LedgerEntry.usage.set(result.usage),
    ]
    if not job_id:
        _settle(entry, {SUBMITTED}, actions, result.cost_microusd)
        return
    # Not by way of `submitted`: such a provider keeps no jobs, so a death in between would leave one unfindable.
    actions.append(LedgerEntry.job_id.set(job_id))
    _settle(entry, {INTENT, SUBMITTED}, actions, result.cost_microusd)
    if entry.status == UNKNOWN and _move(entry, {UNKNOWN}, actions):  # we were taken for dead
        budget.revive(entry)
        budget.settle(entry, result.cost_microusd)


def ended(
    entry: LedgerEntry,
    status: str,
    reason: str,
    *,
    cost_microusd: int = 0,
    work_ms: int = 0,
    usage: str = "",
    final: bool = False,
    job_id: str = "",
) -> None:
    """The attempt brought no image: `failed`, `blocked` or `unknown`, with why; its cost is never lowered."""
    actions: list[Action] = [
        LedgerEntry.status.set(status),
        LedgerEntry.reason.set(reason[:500]),
        LedgerEntry.final.set(final),
        LedgerEntry.cost_microusd.set(max(cost_microusd, int(entry.cost_microusd))),
        LedgerEntry.work_ms.set(max(work_ms, int(entry.work_ms))),
    ]
    if usage:
        actions.append(LedgerEntry.usage.set(usage))
    if job_id:
        actions.append(LedgerEntry.job_id.set(job_id))
    if entry.status == STAGED:  # settled when it was staged
        _move(entry, {STAGED}, actions)
    elif entry.status in budget.IN_FLIGHT:
        _settle(entry, {str(entry.status)}, actions, None if status == UNKNOWN else cost_microusd)


def _settle(entry: LedgerEntry, from_statuses: set[str], actions: list[Action], cost_microusd: int | None) -> None:
    """Move an attempt to its end, and put its cost (None: not known) in the place of its reservation; once."""
    if not _move(entry, from_statuses, actions):
        return
    if cost_microusd is None:
        budget.settle_unknown(entry)
    else:
        budget.settle(entry, cost_microusd)


def _move(entry: LedgerEntry, from_statuses: set[str], actions: list[Action]) -> bool:
    """Change an attempt's status only from one of these; else `entry` becomes what someone else has made of it.

    A slow caller must not write over what has happened since: a success would be forgotten and paid for again.
    """
    try:
        entry.update(actions, condition=LedgerEntry.status.is_in(*sorted(from_statuses)))
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        entry.refresh(consistent_read=True)
        return False
    return True
