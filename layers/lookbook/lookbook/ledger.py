"""The ledger: one entry per paid attempt, kept under the work it pays for, and so also the lock on that work.

An attempt goes

    intent -> submitted -> staged -> succeeded
       |          |           |----> blocked   (the provider's filter; final for this reuse key)
       |          |----------------> failed    (paid or not, as its dollars say)
       |---------------------------> unknown   (we never learnt whether it was accepted)

The intent is written before the provider is called, under a condition, so of all who want the same work at the same
moment one submits and the others find its job. Whoever comes later (a retry, another pass, another run after a crash)
finds the job's id and fetches what was paid for. An attempt that the provider refused is taken out again: nothing
was bought.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pynamodb.exceptions import PutError, UpdateError

from lookbook.tables import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.update import Action

INTENT = "intent"
SUBMITTED = "submitted"
STAGED = "staged"
SUCCEEDED = "succeeded"
BLOCKED = "blocked"
FAILED = "failed"
UNKNOWN = "unknown"

MAY_BE_TRIED_AGAIN = frozenset({FAILED, UNKNOWN})
# A job that fails on the worker is paid for. Once is bad luck; a third time would be throwing money after it.
MAX_ATTEMPTS = 2

# A submitter that has not written its job's id by then is dead: it is longer than Generate's time-out.
INTENT_EXPIRES_SECONDS = 75


def work_id(reuse_key: str) -> str:
    return f"work#{reuse_key}"


def attempts(reuse_key: str) -> list[LedgerEntry]:
    """Return all attempts at this work, oldest first, read consistently (one read unit for up to about ten)."""
    return list(LedgerEntry.query(work_id(reuse_key), consistent_read=True))


def paid_by(run_id: str) -> Iterator[LedgerEntry]:
    """Yield a run's attempts, from the index (which may be a moment behind the table)."""
    return (item for item in LedgerEntry.by_run.query(run_id) if isinstance(item, LedgerEntry))


def write_intent(
    reuse_key: str,
    previous: LedgerEntry | None,
    *,
    run_id: str,
    product_id: str,
    variant: int,
    provider: str,
    now: float,
) -> LedgerEntry | None:
    """Write the intent of the next attempt; None if someone else was faster."""
    number = int(previous.sort_key.removeprefix("attempt#")) + 1 if previous else 1
    entry = LedgerEntry(
        run_id=work_id(reuse_key),
        sort_key=f"attempt#{number:04d}",
        paid_by=run_id,
        product_id=product_id,
        variant=variant,
        provider=provider,
        status=INTENT,
        token=uuid.uuid4().hex,
        created_at=now,
    )
    try:
        entry.save(LedgerEntry.run_id.does_not_exist())
    except PutError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        # botocore repeats a put whose answer was lost; what is there may then be ours.
        there = LedgerEntry.get(entry.run_id, entry.sort_key, consistent_read=True)
        return entry if there.token == entry.token else None
    return entry


def withdraw(entry: LedgerEntry) -> None:
    """Take out an intent that the provider refused."""
    entry.delete(LedgerEntry.status == INTENT)


def submitted(entry: LedgerEntry, job_id: str) -> None:
    """Keep the provider's job id: from here on the work can always be found again."""
    _move(entry, {INTENT, UNKNOWN}, [LedgerEntry.status.set(SUBMITTED), LedgerEntry.job_id.set(job_id)])


def staged(entry: LedgerEntry, *, staging_key: str, model_version: str, cost_microusd: int, gpu_ms: int) -> None:
    """The result is in S3 and its price known."""
    _move(
        entry,
        {SUBMITTED},
        [
            LedgerEntry.status.set(STAGED),
            LedgerEntry.staging_key.set(staging_key),
            LedgerEntry.model_version.set(model_version),
            LedgerEntry.cost_microusd.set(cost_microusd),
            LedgerEntry.gpu_ms.set(gpu_ms),
        ],
    )


def ended(entry: LedgerEntry, status: str, reason: str, *, cost_microusd: int = 0, gpu_ms: int = 0) -> None:
    """The attempt brought no image: `failed`, `blocked` or `unknown`, with why; its cost is never lowered."""
    _move(
        entry,
        {INTENT, SUBMITTED, STAGED},
        [
            LedgerEntry.status.set(status),
            LedgerEntry.reason.set(reason[:500]),
            LedgerEntry.cost_microusd.set(max(cost_microusd, int(entry.cost_microusd))),
            LedgerEntry.gpu_ms.set(max(gpu_ms, int(entry.gpu_ms))),
        ],
    )


def _move(entry: LedgerEntry, from_statuses: set[str], actions: list[Action]) -> None:
    """Change an attempt's status only from one of these; else `entry` becomes what someone else has made of it.

    A slow caller must not write over what has happened since: a success would be forgotten and paid for again.
    """
    try:
        entry.update(actions, condition=LedgerEntry.status.is_in(*sorted(from_statuses)))
    except UpdateError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        entry.refresh(consistent_read=True)
