"""Runs: start one, list them, look at one and at its products."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Literal

from botocore.exceptions import ClientError
from pydantic import Field

from lookbook import aws, budget, ledger, pipeline, plan, runs, shapes, stores
from lookbook.api import cursor as cursors
from lookbook.api.access import user
from lookbook.api.config import settings
from lookbook.api.http import Answer, JsonBody, Request, Router, example
from lookbook.api.parameters import Cursor, Limit, RunId
from lookbook.errors import ConflictError, InputError
from lookbook.logging import logger
from lookbook.options import RunOptions
from lookbook.tables import ALL_RUNS, Run
from lookbook.times import iso, now, seconds_between

router = Router()

UPLOAD_SECONDS = 3600
NOT_STARTED_SECONDS = 600
MOST_UPLOAD_BYTES = 2 * 1024**3

ItemStatus = Literal[
    "reused", "linked", "generated", "planned", "rejected", "failed", "blocked", "deferred", "over_budget", "pending"
]


Started = Answer[shapes.Run] | Answer[shapes.AwaitedRun]
STARTED: dict[int, Any] = {HTTPStatus.ACCEPTED: shapes.Run, HTTPStatus.CREATED: shapes.AwaitedRun}


class NewRun(JsonBody):
    """A scrape to run: its text (`scrape`, up to about 1 MB), or `upload: true` to learn where to put more."""

    model_config = example(
        name="summer.json",
        scrape=[
            {
                "product_id": "CJ12345678",
                "title": "Linen Summer Dress",
                "category": "Women's Clothing > Dresses",
                "image": "https://pictures.example.com/dress.jpg",
            }
        ],
        options={"variants": 3, "max_cost_usd": 5.0},
    )

    name: str = Field(min_length=1, max_length=200, description="What to call the run, such as the file's name.")
    scrape: str | list[Any] | dict[str, Any] | None = Field(None, description="The scrape: JSON, or a file's text.")
    upload: bool = Field(False, description="Answer with a presigned POST instead; the upload starts the run.")
    options: RunOptions = Field(default_factory=RunOptions)


class Retry(JsonBody):
    """What may differ from the run that is retried."""

    model_config = example(max_cost_usd=5.0)

    max_cost_usd: float | None = Field(None, gt=0, le=100_000, description="A budget; by default as much as before.")


def _bucket() -> str:
    told = settings()
    return told.bucket


@router.post("/api/runs", summary="Start a run", statuses=STARTED, errors=[404], tags=["runs"])
def start_run(new: NewRun, request: Request) -> Started:
    """Start a run: 202 with the run, or 201 with where to upload the scrape."""
    return _start(new, runs.SCRAPE, user(request))


@router.post("/api/runs/plan", summary="Plan a run", statuses=STARTED, errors=[404], tags=["runs"])
def plan_run(new: NewRun, request: Request) -> Started:
    """Say what a run would do and cost, without doing it: 202 with a run that ends `planned`, or 201 as for a run."""
    return _start(new, runs.PLAN, user(request))


def _start(new: NewRun, purpose: str, started_by: str) -> Started:
    if new.upload == (new.scrape is not None):
        raise InputError("Give either a scrape or upload: true.")
    told = settings()
    stores.check_exist(new.options.stores)
    moment = now()
    run_id = runs.new_id(moment)
    status = runs.AWAITING_UPLOAD if new.upload else runs.RUNNING
    given = new.options.model_dump(exclude_unset=True)
    run = runs.create(
        run_id, name=new.name, purpose=purpose, status=status, options=given, started_by=started_by, now=moment
    )
    logger.info("run created", extra={"run_id": run_id, "upload": new.upload})
    if new.upload:
        post = aws.s3().generate_presigned_post(
            told.bucket,
            f"{runs.UPLOADS}{run_id}/{_safe(new.name)}",
            Conditions=[["content-length-range", 1, MOST_UPLOAD_BYTES]],
            ExpiresIn=UPLOAD_SECONDS,
        )
        return Answer[shapes.AwaitedRun](
            HTTPStatus.CREATED, {"run": runs.show(run), "upload": {"url": post["url"], "fields": post["fields"]}}
        )
    text = new.scrape if isinstance(new.scrape, str) else json.dumps(new.scrape)
    return Answer(HTTPStatus.ACCEPTED, execute(run, text.encode()))


def execute(run: Run, scrape: bytes | None) -> shapes.Run:
    """Hand a run to the pipeline, with its scrape or mapping, if it has one, and return it as the API shows it."""
    pipeline.start(run, scrape, settings())
    return runs.show(run)


@router.post("/api/runs/{run_id}/retry", summary="Retry a run", status=202, errors=[409], tags=["runs"])
def retry_run(run_id: RunId, retry: Retry, request: Request) -> shapes.Run:
    """Start a run of what this one left undone (failed, deferred, over budget); what was paid for is fetched."""
    old = _as_it_is(run_id)
    if old.finished_at is None:
        raise ConflictError("The run has not ended yet; stop it, or wait for it.")
    if old.purpose == runs.PLAN:
        raise ConflictError("This was a plan; start the run itself.")
    if old.purpose in runs.STORE_ACTIONS:
        raise ConflictError(f"Such a run is not retried but started again: {_again(old)}")
    if not runs.left_undone(old):
        if old.status == runs.FAILED and not _was_planned(old):
            raise ConflictError("The run ended before its products were known; nothing was paid. Start it again.")
        blocked = f" {int(old.blocked):,} blocked: that is final for their pictures." if old.blocked else ""
        said = "The run left nothing to retry: no product failed, was put off, or was over budget."
        raise ConflictError(" ".join([said + blocked, *_lacking(old)]))
    options = {**(old.options or {})}
    if retry.max_cost_usd is not None:
        options["max_cost_usd"] = retry.max_cost_usd
    moment = now()
    run = runs.create(
        runs.new_id(moment),
        name=old.name,
        purpose=runs.RETRY,
        retry_of=old,
        status=runs.RUNNING,
        options=options,
        started_by=user(request),
        now=moment,
    )
    logger.info("run retried", extra={"run_id": run.run_id, "retry_of": old.run_id})
    return execute(run, None)


def _was_planned(run: Run) -> bool:
    """Return whether Ingest came to its end; it writes how many products were rejected, and why, even if none was."""
    return run.problems is not None


def _again(run: Run) -> str:
    """Return the command that does again what a run did in its store."""
    store_id = (run.options or {}).get("store", "STORE")
    commands = {
        runs.SYNC: f"lookbook sync {store_id}",
        runs.UNPUBLISH: f"lookbook unpublish {store_id} --all",
        runs.MATCH: f"lookbook stores match {store_id}",
    }
    return commands[str(run.purpose)]


def _lacking(run: Run) -> Iterator[str]:
    """Say which stores lack pictures of a run's products, and how they get them."""
    for each in stores.publishings(run.run_id) if _has_stores(run) else ():
        if each.failed or each.reason is not None or each.finished_at is None:
            yield f"The store {each.store_id} lacks some of its images: lookbook sync {each.store_id}"
        elif each.not_mapped:
            yield f"The store {each.store_id} has no mapping of some products: lookbook stores match {each.store_id}"


def _has_stores(run: Run) -> bool:
    return run.purpose in runs.STORE_ACTIONS or bool((run.options or {}).get("stores"))


@router.post("/api/runs/{run_id}/stop", summary="Stop a run", status=202, errors=[409], tags=["runs"])
def stop_run(run_id: RunId, request: Request) -> shapes.Run:
    """Let a run submit nothing more. What is paid for is fetched and kept; the rest can be retried."""
    run = _as_it_is(run_id)
    if run.finished_at is not None:
        raise ConflictError(f"The run has ended already: {run.status}.")
    budget.stop(run.run_id, budget.DEFERRED, f"The run was stopped by {user(request)}.")
    run.stop_reason = budget.look(run.run_id).stop_reason
    logger.info("run stopped", extra={"run_id": run.run_id})
    return runs.show(run)


@router.get("/api/runs/{run_id}/ledger", summary="List a run's paid attempts", tags=["runs"])
def list_ledger(run_id: RunId, limit: Limit = 50, cursor: Cursor = None) -> shapes.Ledger:
    """What the run has bought: an entry for each paid attempt, failed ones too. US dollars, seconds."""
    run = runs.get(run_id)
    start = cursors.decode_key(cursor, {"paid_by": run.run_id}, {"run_id", "sort_key"})
    page = ledger.paid_by(run.run_id, limit=limit, start=start)
    found = [ledger.show(entry) for entry in page]
    return {"entries": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-100:] or "scrape"


@router.get("/api/runs", summary="List runs", tags=["runs"])
def list_runs(limit: Limit = 20, cursor: Cursor = None) -> shapes.Runs:
    """All runs, newest first."""
    start = cursors.decode_key(cursor, {"listing": ALL_RUNS}, {"run_id", "sort_key"})
    page = Run.by_time.query(ALL_RUNS, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    found = [runs.show(run) for run in page if isinstance(run, Run)]
    return {"runs": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


@router.get("/api/runs/{run_id}", summary="Look at a run", tags=["runs"])
def get_run(run_id: RunId) -> shapes.RunPage:
    """A run with its counts; while it is running, with its progress.

    `stores` has what it has done in each store so far; `phase` is `publishing` when that is all that is left.
    """
    run, progress = _looked_at(run_id)
    publishings = stores.publishings(run_id) if _has_stores(run) else []
    shown = [stores.show_publishing(each) for each in publishings]
    return {**runs.show(run, progress), "phase": run.phase, "stores": shown}


def _looked_at(run_id: str) -> tuple[Run, shapes.Progress | None]:
    """Return a run as it stands, and how far it is while it is running."""
    run = runs.get(run_id)
    if run.status == runs.RUNNING:
        so_far = budget.look(run.run_id)
        run.cost_microusd, run.stop_reason = so_far.spent_microusd - so_far.unknown_microusd, so_far.stop_reason
    if run.finished_at is not None and run.ledger is None:  # it died uncounted
        entries = list(ledger.paid_by(run.run_id))
        run.ledger = ledger.summary(entries)
        run.cost_microusd = sum(int(entry.cost_microusd) for entry in entries)
    if run.status != runs.RUNNING:
        return run, None
    ended, progress = _execution(run)
    if ended:
        run = _end_of(run, ended)
    return run, progress if run.status == runs.RUNNING else None


def _end_of(run: Run, ended: str) -> Run:
    """Return a run whose execution is over as it ended; if Finish could not write that, it is written now."""
    run = runs.get(run.run_id)
    if run.finished_at is not None:
        return run
    do = "Start it again" if run.purpose in runs.STORE_ACTIONS or not _was_planned(run) else "Retry it"
    return runs.close_dead(run, f"Its execution ended before it could be counted ({ended}). {do}.", now())


def _as_it_is(run_id: str) -> Run:
    """Return a run; one that says it is running while its execution is over is ended."""
    run = runs.get(run_id)
    if run.status == runs.RUNNING and (ended := _execution(run)[0]):
        return _end_of(run, ended)
    return run


def _execution(run: Run) -> tuple[str | None, shapes.Progress | None]:
    """Return how the run's execution ended (None while it has not), and how many products have come to an end."""
    client = aws.step_functions()
    # Ingest notes the execution; one that ended before that has the run's name, as `pipeline.start` gave it.
    arn = str(run.execution_arn or f"{settings().pipeline_arn.replace(':stateMachine:', ':execution:')}:{run.run_id}")
    try:
        status = client.describe_execution(executionArn=arn)["status"]
        if status != "RUNNING":
            return status.lower(), None
        if not run.execution_arn:
            return None, None
        map_runs = client.list_map_runs(executionArn=arn)["mapRuns"]
        ended = sum(int(getattr(run, name) or 0) for name in runs.COUNTED) - int(run.planned_reused)
        if map_runs:
            newest = client.describe_map_run(mapRunArn=max(map_runs, key=lambda each: each["startDate"])["mapRunArn"])
            if newest["status"] == "RUNNING":
                counts = newest["itemCounts"]
                ended += counts["total"] - counts["pending"] - counts["running"]
    except ClientError as error:
        if aws.error_code(error) in {"ExecutionDoesNotExist", "ResourceNotFound"}:
            if run.execution_arn:
                return "its execution is gone", None
            is_late = seconds_between(run.created_at, iso(now())) > NOT_STARTED_SECONDS
            return "it was never started" if is_late else None, None
        raise
    return None, {"done": ended, "total": int(run.to_do)} if run.to_do else None


@router.get("/api/runs/{run_id}/items", summary="List a run's products", tags=["runs"])
def list_items(
    run_id: RunId, limit: Limit = 50, cursor: Cursor = None, status: ItemStatus | None = None
) -> shapes.Items:
    """What became of each product, in the order of the scrape. With `status`, a page may be short before the last."""
    run = runs.get(run_id)
    offset = cursors.decode(cursor) or 0
    if not isinstance(offset, int) or offset < 0:
        raise InputError("The cursor is not one that this list gave out; start without it.")
    found, more = plan.items_page(_bucket(), run, offset=offset, limit=limit, status=status)
    return {"items": found, "cursor": cursors.encode(more)}
