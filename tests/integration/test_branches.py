"""The branches of the state machine that no good run takes: each leads to a record, or to red."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hurried(stack: Stack) -> Iterator[Stack]:
    """The stack, whose state machine does not wait between its tries."""
    config = f"{stack.known['endpoint_url']}/_ministack/config"
    requests.post(config, json={"stepfunctions._SFN_WAIT_SCALE": 0}, timeout=5).raise_for_status()
    yield stack
    requests.post(config, json={"stepfunctions._SFN_WAIT_SCALE": 1}, timeout=5).raise_for_status()


def new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def executed(stack: Stack, given: dict[str, Any]) -> dict[str, Any]:
    """Start the machine by hand, and return its execution when it has ended."""
    client = stack.aws("stepfunctions")
    arn = client.start_execution(stateMachineArn=stack.output("Pipeline"), input=json.dumps(given))["executionArn"]
    deadline = time.monotonic() + 90
    while (told := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        assert time.monotonic() < deadline, "the execution did not end"
        time.sleep(0.2)
    return dict(told)


def test_a_scrape_that_is_gone_fails_its_run_in_plain_words(hurried: Stack) -> None:
    # Given a run whose scrape is not in the bucket, so that Ingest breaks however often it is tried
    run_id = new_run_id()

    # When the machine gets it
    told = executed(hurried, {"run_id": run_id, "name": "gone.json", "key": f"runs/{run_id}/scrape"})

    # Then Finish writes the run's end, and the execution is red
    assert (told["status"], told["error"]) == ("FAILED", "RunFailed")
    run = hurried.get(f"/api/runs/{run_id}")
    assert run["status"] == "failed"
    assert "{" not in run["reason"]


def test_an_input_that_names_no_run_ends_red_and_leaves_nothing(hurried: Stack) -> None:
    told = executed(hurried, {"what": "is this"})
    assert (told["status"], told["error"]) == ("FAILED", "RunUnfinished")


def test_what_a_first_child_recorded_stands(stack: Stack, products: Products) -> None:
    # Given a product whose outcome is recorded already, as by a child that Step Functions started twice
    [product] = products(1)
    run_id = new_run_id()
    record = {
        "run_id": {"S": run_id}, "sort_key": {"S": f"item#{product['product_id']}"}, "kind": {"S": "outcome"},
        "status": {"S": "failed"}, "reason": {"S": "The first child's."}, "images_generated": {"N": "0"},
        "images_reused": {"N": "0"}, "cost_microusd": {"N": "0"}, "work_ms": {"N": "0"},
    }  # fmt: skip
    stack.aws("dynamodb").put_item(TableName=stack.output("RunsTable"), Item=record)
    key = f"runs/{run_id}/scrape"
    body = json.dumps({"products": [product], "options": {"variants": 1}}).encode()
    stack.aws("s3").put_object(Bucket=stack.output("Bucket"), Key=key, Body=body)

    # When its run goes through the map
    told = executed(stack, {"run_id": run_id, "name": "twice", "key": key})

    # Then that record is what counts
    assert told["status"] == "FAILED"
    run = stack.get(f"/api/runs/{run_id}")
    assert (run["counts"]["failed"], run["counts"]["generated"]) == (1, 0)
    assert run["problems"][0]["reason"] == "The first child's."


def test_an_outcome_that_cannot_be_written_makes_its_child_red(hurried: Stack) -> None:
    # Given the state that records, as deployed, and an outcome that DynamoDB refuses (its key is empty)
    make: Any = boto3.client
    client = make(
        "stepfunctions",
        endpoint_url=hurried.known["endpoint_url"],
        region_name=hurried.known["region"],
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(inject_host_prefix=False),  # TestState's own host name is AWS's only
    )
    machine = json.loads(client.describe_state_machine(stateMachineArn=hurried.output("Pipeline"))["definition"])
    record = machine["States"]["Products"]["ItemProcessor"]["States"]["Record"]
    outcome = {"status": "failed", "reason": "x", "work": "", "images_generated": 0, "images_reused": 0}
    given = {
        "run": {"run_id": ""},
        "product": {"product_id": "p", "method": "catvton"},
        "outcome": {**outcome, "cost_microusd": 0, "work_ms": 0},
    }

    # When it is tried, then the child goes on to fail, where Finish finds the product without an outcome
    role = client.describe_state_machine(stateMachineArn=hurried.output("Pipeline"))["roleArn"]
    tried = {name: value for name, value in record.items() if name != "Retry"}
    told = client.test_state(definition=json.dumps(tried), roleArn=role, input=json.dumps(given))
    assert (told["status"], told["nextState"]) == ("CAUGHT_ERROR", "NotRecorded")
