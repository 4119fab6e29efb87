"""Runs: what starts them, their records, and how they are shown."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook import shapes
from lookbook.errors import NotFoundError
from lookbook.tables import CONDITION_FAILED, RUN, Run
from lookbook.times import iso, seconds_between

if TYPE_CHECKING:
    from datetime import datetime

RUN_ID = re.compile(r"^\d{8}T\d{6}-[0-9a-f]{8}$")
UPLOADS = "scrapes/uploads/"

AWAITING_UPLOAD = "awaiting_upload"
RUNNING = "running"
SUCCEEDED = "succeeded"
PARTIAL = "partial"
FAILED = "failed"
PLANNED = "planned"

# A product that ended so is taken by a retry; what a filter has blocked stays blocked.
MAY_BE_RETRIED = frozenset({"failed", "deferred", "over_budget"})

SCRAPE = "scrape"
PLAN = "plan"
RETRY = "retry"
SYNC = "sync"
UNPUBLISH = "unpublish"
MATCH = "match"
COVER = "cover"
# What these do in their store, and nothing else: the pipeline's first map has nothing to do for them.
STORE_ACTIONS: dict[str, Literal["publish", "unpublish", "match"]] = {
    SYNC: "publish",
    UNPUBLISH: "unpublish",
    MATCH: "match",
}
PUBLISHING = "publishing"


# What a pass adds to a run's counts.
COUNTED = ("generated", "linked", "reused", "planned", "failed", "blocked", "over_budget")
COUNTS = (
    "products",
    "reused",
    "linked",
    "planned",
    "generated",
    "rejected",
    "failed",
    "blocked",
    "deferred",
    "over_budget",
    "duplicates",
)


@dataclass(frozen=True, slots=True)
class Start:
    """What starts a run: its id, its name, and where its scrape is (empty for a retry)."""

    run_id: str
    name: str
    key: str
    version_id: str | None = None


class _StartedByApi(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)

    run_id: str = Field(pattern=RUN_ID.pattern)
    name: str
    key: str


class _S3Object(BaseModel):
    model_config = ConfigDict(defer_build=True)

    key: str
    version_id: str | None = Field(None, alias="version-id")
    sequencer: str = ""


class _S3Detail(BaseModel):
    model_config = ConfigDict(defer_build=True)

    object: _S3Object


class _S3Event(BaseModel):
    """What we need of EventBridge's `Object Created`. Its keys are not URL-encoded."""

    model_config = ConfigDict(defer_build=True)

    time: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
    detail: _S3Detail


def identify(execution_input: dict[str, Any]) -> Start:
    """Return the run that an execution's input stands for.

    A run's id follows from the S3 event alone, so that an event delivered twice names the same run, while the same
    file uploaded twice is two runs.
    """
    if "detail" not in execution_input:
        asked = _StartedByApi.model_validate(execution_input)
        return Start(asked.run_id, asked.name, asked.key)
    event = _S3Event.model_validate(execution_input)
    uploaded = event.detail.object
    run_id, _, name = uploaded.key.removeprefix(UPLOADS).partition("/")
    if uploaded.key.startswith(UPLOADS) and RUN_ID.match(run_id):
        return Start(run_id, name, uploaded.key, uploaded.version_id)
    digest = hashlib.sha256("\n".join([uploaded.key, uploaded.version_id or "", uploaded.sequencer]).encode())
    to_the_second = event.time[: len("2026-11-21T10:15:02")]
    compact = to_the_second.replace("-", "").replace(":", "")
    return Start(f"{compact}-{digest.hexdigest()[:8]}", uploaded.key, uploaded.key, uploaded.version_id)


def new_id(now: datetime) -> str:
    """Return a new run's id; ids sort by time."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def create(
    run_id: str,
    *,
    name: str,
    purpose: str,
    retry_of: Run | None = None,
    status: str,
    options: dict[str, Any],
    started_by: str,
    now: datetime,
) -> Run:
    """Write a new run's record, with the options that were given (and no defaults)."""
    run = Run(
        run_id=run_id,
        sort_key=RUN,
        name=name,
        purpose=purpose,
        retry_of=retry_of.run_id if retry_of else None,
        fresh_for=(retry_of.fresh_for or retry_of.run_id) if retry_of else None,
        status=status,
        options=options,
        started_by=started_by,
        created_at=iso(now),
    )
    run.save(Run.run_id.does_not_exist())
    return run


def get(run_id: str) -> Run:
    """Return a run's record, read consistently, or raise NotFoundError."""
    if RUN_ID.match(run_id):
        try:
            return Run.get(run_id, RUN, consistent_read=True)
        except DoesNotExist:
            pass
    raise NotFoundError(f"There is no run {run_id[:40]}.")


def begin(start: Start, execution_arn: str, now: datetime) -> Run | None:
    """Let one execution begin a run, creating its record if an upload started it; None for any other execution."""
    run = Run(start.run_id, RUN)
    moment = iso(now)
    try:
        run.update(
            actions=[
                Run.kind.set(Run),
                Run.listing.set("runs"),
                Run.purpose.set(Run.purpose | SCRAPE),
                Run.name.set(Run.name | start.name),
                Run.started_by.set(Run.started_by | f"upload of {start.key}"),
                Run.created_at.set(Run.created_at | moment),
                Run.started_at.set(Run.started_at | moment),
                Run.status.set(RUNNING),
                Run.execution_arn.set(execution_arn),
            ],
            condition=(Run.execution_arn.does_not_exist() | (Run.execution_arn == execution_arn))
            & Run.finished_at.does_not_exist(),
        )
    except UpdateError as error:
        if error.cause_response_code == CONDITION_FAILED:
            return None
        raise
    return run


def left_undone(run: Run) -> int:
    """Return how many products of an ended run a retry would take, those that were never counted with them."""
    retried = sum(int(getattr(run, status) or 0) for status in MAY_BE_RETRIED)
    counted = sum(int(getattr(run, name) or 0) for name in COUNTED) - int(run.planned_reused or 0)
    return max(retried, int(run.to_do or 0) - counted)


def add_cost_after_end(run_id: str, cost_microusd: int, work_ms: int) -> None:
    """Add what a job came to that another run has fetched, to the ended run that bought it; else Finish counts it."""
    try:
        Run(run_id, RUN).update(
            [Run.cost_microusd.add(cost_microusd), Run.work_ms.add(work_ms)], condition=Run.finished_at.exists()
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise


def close_dead(run: Run, reason: str, now: datetime) -> Run:
    """Write the end of a run whose execution has died before Finish could count it."""
    dead = Run(run.run_id, RUN)
    try:
        dead.update(
            [Run.status.set(FAILED), Run.reason.set(reason), Run.finished_at.set(iso(now))],
            condition=Run.finished_at.does_not_exist(),
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return get(run.run_id)
    return dead


def show(run: Run, progress: shapes.Progress | None = None) -> shapes.Run:
    """Return a run as the API answers it. Seconds, US dollars; `work_seconds` are what the providers worked."""
    seconds = None
    if run.started_at and run.finished_at:
        seconds = round(seconds_between(run.started_at, run.finished_at), 1)
    return {
        "run_id": run.run_id,
        "name": run.name,
        "kind": run.purpose or SCRAPE,
        "retry_of": run.retry_of,
        "status": run.status,
        "options": run.options or {},
        "started_by": run.started_by,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "seconds": seconds,
        "counts": {name: int(getattr(run, name) or 0) for name in COUNTS},
        "images_generated": int(run.images_generated or 0),
        "images_reused": int(run.images_reused or 0),
        "cost_usd": dollars(run.cost_microusd),
        "unknown_usd": round(sum(row["unknown_usd"] for row in run.ledger or []), 6),
        "work_seconds": (run.work_ms or 0) / 1000,
        "saved_usd": dollars(run.saved_microusd),
        "saved_work_seconds": (run.saved_work_ms or 0) / 1000,
        "reason": run.reason,
        "stopping": run.stop_reason,
        "note": run.note or None,
        "progress": progress,
        "problems": run.problems or [],
        "ledger": run.ledger or [],
        "plan": run.plan,
    }


def dollars(microusd: float | None) -> float:
    return round((microusd or 0) / 1_000_000, 6)


def plain_reason(reason: str) -> str:
    """Turn what Step Functions caught (`Error: Cause`, the cause often JSON with a traceback) into a sentence."""
    if "Sandbox.Timedout" in reason or reason.startswith("States.Timeout"):
        return "A step took too long and was stopped. Run it again: what was paid for is kept."
    error, separator, cause = reason.partition(": ")
    if not separator or not cause.startswith("{"):
        return reason[:500]
    try:
        message = json.loads(cause).get("errorMessage", "")
    except ValueError:
        return f"A step failed unexpectedly ({error})."
    return f"A step failed unexpectedly: {str(message)[:300]}"
