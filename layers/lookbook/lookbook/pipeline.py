"""Hands a run to the state machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lookbook import aws, runs
from lookbook.tables import Run
from lookbook.times import iso, now

if TYPE_CHECKING:
    from lookbook.settings import StartSettings


def start(run: Run, scrape: bytes | None, settings: StartSettings) -> None:
    """Start a run, whose record is written, on its scrape or mapping, if it has one. May be repeated.

    A run that cannot be started is written down as failed, and what botocore raised goes on.
    """
    key = f"runs/{run.run_id}/scrape" if scrape is not None else ""
    try:
        if scrape is not None:
            aws.s3().put_object(Bucket=settings.bucket, Key=key, Body=scrape)
        aws.step_functions().start_execution(
            stateMachineArn=settings.pipeline_arn,
            name=run.run_id,
            input=json.dumps({"run_id": run.run_id, "name": run.name, "key": key}),
        )
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and aws.error_code(error) == "ExecutionAlreadyExists":
            return
        run.status, run.reason, run.finished_at = runs.FAILED, "It could not be started. Start it again.", iso(now())
        run.save(Run.execution_arn.does_not_exist())
        raise
