"""Runs: start one, list them, look at one and at its products."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from lookbook import aws, plan, runs
from lookbook.api import cursor as cursors
from lookbook.api.access import editors_only, user
from lookbook.api.config import settings
from lookbook.errors import InputError
from lookbook.logging import logger
from lookbook.options import RunOptions
from lookbook.tables import ALL_RUNS, Run
from lookbook.times import iso, now, seconds_between

router = Router()

UPLOAD_SECONDS = 3600
NOT_STARTED_SECONDS = 600
MOST_UPLOAD_BYTES = 2 * 1024**3

RunId = Annotated[str, Path(pattern=runs.RUN_ID.pattern)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=2000)]
ItemStatus = Literal["reused", "generated", "rejected", "failed", "blocked", "deferred", "pending"]


STARTED: dict[int, OpenAPIResponse] = {
    202: {"description": "The run, which has been started."},
    201: {"description": "The run, and the presigned POST that will start it."},
}


class NewRun(BaseModel):
    """A scrape to run: its text (`scrape`, up to about 1 MB), or `upload: true` to learn where to put more."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, description="What to call the run, such as the file's name.")
    scrape: str | list[Any] | dict[str, Any] | None = Field(None, description="The scrape: JSON, or a file's text.")
    upload: bool = Field(False, description="Answer with a presigned POST instead; the upload starts the run.")
    options: RunOptions = RunOptions()


def _bucket() -> str:
    told = settings()
    return told.bucket


@router.post("/api/runs", summary="Start a run", responses=STARTED, middlewares=[editors_only], tags=["runs"])
def start_run(new: NewRun) -> Response[dict[str, Any]]:
    """Start a run: 202 with the run, or 201 with where to upload the scrape."""
    if new.upload == (new.scrape is not None):
        raise InputError("Give either a scrape or upload: true.")
    told = settings()
    moment = now()
    run_id = runs.new_id(moment)
    status = runs.AWAITING_UPLOAD if new.upload else runs.RUNNING
    given = new.options.model_dump(exclude_unset=True)
    run = runs.create(run_id, name=new.name, status=status, options=given, started_by=user(router), now=moment)
    logger.info("run created", extra={"run_id": run_id, "upload": new.upload})
    if new.upload:
        post = aws.s3().generate_presigned_post(
            told.bucket,
            f"{runs.UPLOADS}{run_id}/{_safe(new.name)}",
            Conditions=[["content-length-range", 1, MOST_UPLOAD_BYTES]],
            ExpiresIn=UPLOAD_SECONDS,
        )
        return Response(HTTPStatus.CREATED, "application/json", {"run": runs.show(run), "upload": post})
    text = new.scrape if isinstance(new.scrape, str) else json.dumps(new.scrape)
    key = f"runs/{run_id}/scrape"
    try:
        aws.s3().put_object(Bucket=told.bucket, Key=key, Body=text.encode())
        aws.step_functions().start_execution(
            stateMachineArn=told.pipeline_arn,
            name=run_id,
            input=json.dumps({"run_id": run_id, "name": new.name, "key": key}),
        )
    except (ClientError, BotoCoreError):
        run.status, run.reason, run.finished_at = runs.FAILED, "It could not be started. Start it again.", iso(now())
        run.save(Run.execution_arn.does_not_exist())
        raise
    return Response(HTTPStatus.ACCEPTED, "application/json", runs.show(run))


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-100:] or "scrape"


@router.get("/api/runs", summary="List runs", tags=["runs"])
def list_runs(limit: Limit = 20, cursor: Cursor = None) -> dict[str, Any]:
    """All runs, newest first."""
    start = cursors.decode_key(cursor, {"listing": ALL_RUNS}, {"run_id", "sort_key"})
    page = Run.by_time.query(ALL_RUNS, scan_index_forward=False, limit=limit, last_evaluated_key=start)
    found = [runs.show(run) for run in page if isinstance(run, Run)]
    return {"runs": found, "cursor": cursors.encode(page.last_evaluated_key if len(found) == limit else None)}


@router.get("/api/runs/<run_id>", summary="Look at a run", tags=["runs"])
def get_run(run_id: RunId) -> dict[str, Any]:
    """A run with its counts; while it is running, with its progress."""
    run = runs.get(run_id)
    if run.status != runs.RUNNING or not run.execution_arn:
        if run.status == runs.RUNNING and seconds_between(run.created_at, iso(now())) > NOT_STARTED_SECONDS:
            run.status, run.reason = runs.FAILED, "It was never started. Start it again."
        return runs.show(run)
    ended, progress = _execution(run)
    if ended:
        run = runs.get(run_id)  # it may have ended in between
        if run.status == runs.RUNNING:
            run.status = runs.FAILED
            run.reason = f"The run was stopped before it could be counted ({ended})."
            progress = None
    return runs.show(run, progress if run.status == runs.RUNNING else None)


def _execution(run: Run) -> tuple[str | None, dict[str, int] | None]:
    """Return how the run's execution ended (None while it has not), and how many products have come to an end."""
    client = aws.step_functions()
    arn = str(run.execution_arn)
    try:
        status = client.describe_execution(executionArn=arn)["status"]
        if status != "RUNNING":
            return status.lower(), None
        map_runs = client.list_map_runs(executionArn=arn)["mapRuns"]
        ended = int(run.generated + run.failed + run.blocked + run.reused - run.planned_reused)
        if map_runs:
            newest = client.describe_map_run(mapRunArn=max(map_runs, key=lambda each: each["startDate"])["mapRunArn"])
            if newest["status"] == "RUNNING":
                counts = newest["itemCounts"]
                ended += counts["total"] - counts["pending"] - counts["running"]
    except ClientError as error:
        if aws.error_code(error) in {"ExecutionDoesNotExist", "ResourceNotFound"}:
            return "its execution is gone", None
        raise
    return None, {"done": ended, "total": int(run.to_do)} if run.to_do else None


@router.get("/api/runs/<run_id>/items", summary="List a run's products", tags=["runs"])
def list_items(
    run_id: RunId, limit: Limit = 50, cursor: Cursor = None, status: Annotated[ItemStatus | None, Query()] = None
) -> dict[str, Any]:
    """What became of each product, in the order of the scrape. With `status`, a page may be short before the last."""
    run = runs.get(run_id)
    offset = cursors.decode(cursor) or 0
    if not isinstance(offset, int) or offset < 0:
        raise InputError("The cursor is not one that this list gave out; start without it.")
    found, more = plan.items_page(_bucket(), run.run_id, offset=offset, limit=limit, status=status)
    return {"items": found, "cursor": cursors.encode(more)}
