"""The state machine's file itself: what the local engine lets pass and AWS would refuse (it never says no)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lookbook import fetch, generate, publish, runs, stores, tables
from lookbook.providers.catvton import Catvton
from lookbook.providers.fashn import Fashn
from lookbook.providers.openai import OpenAi
from lookbook.publish import PublishTask
from lookbook.state import Outcome

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "statemachine/pipeline.asl.json").read_text()
MACHINE: dict[str, Any] = json.loads(TEXT)
CHILD: dict[str, Any] = MACHINE["States"]["Products"]["ItemProcessor"]
STORE: dict[str, Any] = MACHINE["States"]["Stores"]["ItemProcessor"]
TEMPLATE = (ROOT / "template.yaml").read_text()
MACHINES = {"run": MACHINE, "product": CHILD, "store": STORE}
TASKS = [
    (machine, name)
    for machine, found in MACHINES.items()
    for name, state in found["States"].items()
    if state["Type"] == "Task"
]

EXPRESS_SECONDS = 300


def following(state: dict[str, Any]) -> set[str]:
    """Every state that may come directly after this one."""
    return {
        *([state["Next"]] if "Next" in state else []),
        *([state["Default"]] if "Default" in state else []),
        *(choice["Next"] for choice in state.get("Choices", [])),
        *(catch["Next"] for catch in state.get("Catch", [])),
    }


def reachable(machine: dict[str, Any], start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left.extend(following(machine["States"][name]))
    return seen


@pytest.mark.parametrize("which", MACHINES)
def test_every_state_is_reachable_and_exists(which: str) -> None:
    machine = MACHINES[which]
    assert reachable(machine, machine["StartAt"]) == set(machine["States"])


def test_every_substitution_is_defined_by_the_template_and_used() -> None:
    used = set(re.findall(r"\$\{(\w+)\}", TEXT))
    block = TEMPLATE.split("DefinitionSubstitutions:\n", 1)[1].split("      Role:", 1)[0]
    assert used == set(re.findall(r"^\s+(\w+): !", block, re.MULTILINE))


def test_every_function_it_names_is_in_the_template() -> None:
    for name in set(re.findall(r"\$\{(\w+)FunctionArn\}", TEXT)):
        assert f"\n  {name}Function:\n    Type: AWS::Serverless::Function\n" in TEMPLATE
        assert (ROOT / "functions" / name.lower() / "app.py").exists()


@pytest.mark.parametrize(("which", "name"), TASKS)
def test_every_task_has_a_time_out_a_retry_and_a_catch(which: str, name: str) -> None:
    task = MACHINES[which]["States"][name]
    assert task["TimeoutSeconds"] > 0
    assert any("States.TaskFailed" in retry["ErrorEquals"] for retry in task["Retry"])
    assert all(
        {"MaxDelaySeconds", "JitterStrategy"} <= set(retry) for retry in task["Retry"] if retry.get("MaxAttempts")
    )
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize(("which", "name"), TASKS)
def test_errors_are_matched_by_names_that_every_engine_knows(which: str, name: str) -> None:
    portable = {
        "States.TaskFailed",
        "States.Timeout",
        "States.ALL",
        "Lambda.TooManyRequestsException",
        "DynamoDB.ConditionalCheckFailedException",
    }
    task = MACHINES[which]["States"][name]
    for rule in [*task["Retry"], *task["Catch"]]:
        assert set(rule["ErrorEquals"]) <= portable


@pytest.mark.parametrize("name", [name for which, name in TASKS if which == "product" and name != "Record"])
def test_a_failed_step_of_a_product_is_recorded(name: str) -> None:
    failed = CHILD["States"][CHILD["States"][name]["Catch"][0]["Next"]]
    assert failed["Parameters"]["status"] == "failed"
    plain = {key.removesuffix(".$") for key in failed["Parameters"]}
    assert plain == set(Outcome.model_fields), "Record reads all of them"
    assert failed["ResultPath"] == "$.outcome"
    assert failed["Next"] == "Record"


def test_what_is_recorded_is_what_finish_and_the_forecast_read() -> None:
    item = CHILD["States"]["Record"]["Parameters"]["Item"]
    assert set(item) == set(tables.Outcome.get_attributes()) - {"listing", "paid_by"}
    assert item["method"] == {"S.$": "$.product.method"}
    assert item["work"] == {"S.$": "$.outcome.work"}
    numbers = {name for name in item if "N.$" in item[name]}
    assert numbers == {"images_generated", "images_reused", "cost_microusd", "work_ms"}


@pytest.mark.parametrize(
    ("choice", "wait", "goes_on"), [("Checked", "WaitForClaim", "Check"), ("Generated", "WaitForProvider", "Generate")]
)
def test_a_wait_is_as_long_as_was_asked_for_and_comes_back(choice: str, wait: str, goes_on: str) -> None:
    by_next = {rule["StringEquals"]: rule["Next"] for rule in CHILD["States"][choice]["Choices"]}
    assert by_next["wait"] == wait
    waiting = CHILD["States"][wait]
    assert waiting["Type"] == "Wait"
    assert waiting["SecondsPath"] == "$.wait_seconds"
    assert waiting["Next"] == goes_on


def test_a_store_is_visited_until_it_is_done_and_the_others_go_on_without_it() -> None:
    by_next = {rule["StringEquals"]: rule["Next"] for rule in STORE["States"]["Published"]["Choices"]}
    assert by_next == {"publish": "Publish", "wait": "WaitForShop"}
    assert STORE["States"]["Published"]["Default"] == "StoreDone"
    assert STORE["States"]["WaitForShop"] == {"Type": "Wait", "SecondsPath": "$.wait_seconds", "Next": "Publish"}
    assert STORE["States"]["Publish"]["Catch"][0]["Next"] == "StoreFailed"
    assert STORE["States"]["StoreFailed"]["Type"] == "Pass", "not Fail: that would end the map, and the other stores"
    selected = {name.removesuffix(".$") for name in MACHINE["States"]["Stores"]["ItemSelector"]}
    assert selected == {name for name, field in PublishTask.model_fields.items() if field.is_required()}
    assert MACHINE["States"]["Stores"]["ResultPath"] == "$.published"
    assert MACHINE["States"]["Stores"]["Next"] == "Finish"


def test_no_publisher_outlives_its_lease() -> None:
    assert own_timeout("Publish") <= stores.LEASE_SECONDS
    assert own_timeout("Publish") > publish.BATCH_SECONDS + publish.READY_SECONDS


def test_a_product_ends_only_recorded_or_red() -> None:
    ends = {name for name, state in CHILD["States"].items() if state.get("End") or state["Type"] in {"Succeed", "Fail"}}
    assert ends == {"Record", "AlreadyRecorded", "NotRecorded"}
    assert CHILD["States"]["NotRecorded"]["Type"] == "Fail"


def test_the_run_is_green_only_by_way_of_finish() -> None:
    greens = {name for name, state in MACHINE["States"].items() if state["Type"] == "Succeed" or state.get("End")}
    assert greens == {"Succeeded", "Duplicate"}
    into_succeeded = {name for name, state in MACHINE["States"].items() if "Succeeded" in following(state)}
    assert into_succeeded == {"Finished"}
    by_end = {rule["StringEquals"]: rule["Next"] for rule in MACHINE["States"]["Finished"]["Choices"]}
    assert {end for end, name in by_end.items() if name == "Succeeded"} == {runs.SUCCEEDED, runs.PLANNED}
    assert by_end[runs.PARTIAL] == "Partial"
    assert runs.FAILED not in by_end
    assert MACHINE["States"]["Finished"]["Default"] == "Failed"
    assert by_end["publish"] == "Stores"
    for name in ("Ingest", "Products"):
        assert MACHINE["States"][name]["Catch"][0]["Next"] == "Finish"


def test_one_childs_crash_does_not_stop_the_map_because_finish_counts() -> None:
    products = MACHINE["States"]["Products"]
    assert products["ToleratedFailurePercentage"] == 100
    assert products["Next"] == "Finish"
    assert products["ResultPath"] is None, "the map's output is never read: it grows with the run"
    assert "ResultWriter" in products


def test_a_child_defers_early_enough_for_an_express_workflow() -> None:
    block = re.search(r"\n  DeferAfterSeconds:\n(.*?)\n  \w", TEMPLATE, re.DOTALL)
    assert block is not None
    default, highest = (int(re.findall(rf"{name}: (\d+)", block[1])[0]) for name in ("Default", "MaxValue"))
    assert default <= highest
    assert highest + generate.MAX_WAIT_SECONDS + CHILD["States"]["Generate"]["TimeoutSeconds"] <= EXPRESS_SECONDS


@pytest.mark.parametrize("provider", [Catvton, Fashn, OpenAi])
def test_generate_may_run_long_enough_for_a_call_after_fetching_its_picture(
    provider: type[Catvton | Fashn | OpenAi],
) -> None:
    """Else no call would ever be begun, and each product put off for ever."""
    cold_start, reads_and_writes = 5, 5
    function = own_timeout("Generate")
    assert function > provider.call_seconds + fetch.MAX_SECONDS + cold_start + reads_and_writes
    assert CHILD["States"]["Generate"]["TimeoutSeconds"] > function


def own_timeout(function: str) -> int:
    """Seconds that a function may run."""
    block = re.search(rf"\n  {function}Function:\n(.*?)\n\n", TEMPLATE, re.DOTALL)
    assert block is not None
    own = re.search(r"\n      Timeout: (\d+)", block[1])
    return int(own[1] if own else 30)


@pytest.mark.parametrize(("which", "name"), TASKS)
def test_a_task_waits_longer_than_its_function_may_run(which: str, name: str) -> None:
    task = MACHINES[which]["States"][name]
    function = re.search(r"\$\{(\w+)FunctionArn\}", json.dumps(task["Parameters"]))
    if function is None:
        assert name == "Record"
        return
    assert task["TimeoutSeconds"] > own_timeout(function[1])


def test_the_machines_role_may_do_what_the_machine_does() -> None:
    """The local engine does not enforce this role, so it is compared with what AWS documents for these states."""
    role = TEMPLATE.split("\n  PipelineRole:\n", 1)[1].split("\n  # ------", 1)[0]
    granted = set(re.findall(r"\b((?:lambda|dynamodb|s3|states|logs|xray):\w+)", role))
    integrations = set(re.findall(r'"Resource": "arn:aws:states:::(\w+:\w+)"', TEXT))
    assert integrations == {"lambda:invoke", "dynamodb:putItem", "s3:getObject", "s3:putObject"}
    assert {action for action in granted if not action.startswith(("logs:", "xray:"))} == {
        "lambda:InvokeFunction",
        "dynamodb:PutItem",
        # Reading items, writing results in parts
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListMultipartUploadParts",
        "s3:AbortMultipartUpload",
        # A Distributed Map and its children
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
    }
    for name in set(re.findall(r"\$\{(\w+)FunctionArn\}", TEXT)):
        assert f"!GetAtt {name}Function.Arn" in role
