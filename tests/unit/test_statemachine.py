"""The state machine's file itself: what the local engine lets pass and AWS would refuse (it never says no)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "statemachine/pipeline.asl.json").read_text()
MACHINE: dict[str, Any] = json.loads(TEXT)
CHILD: dict[str, Any] = MACHINE["States"]["Products"]["ItemProcessor"]
TEMPLATE = (ROOT / "template.yaml").read_text()
MACHINES = {"run": MACHINE, "product": CHILD}
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
    assert failed["ResultPath"] == "$.outcome"
    assert failed["Next"] == "Record"


def test_a_product_ends_only_recorded_or_red() -> None:
    ends = {name for name, state in CHILD["States"].items() if state.get("End") or state["Type"] in {"Succeed", "Fail"}}
    assert ends == {"Record", "AlreadyRecorded", "NotRecorded"}
    assert CHILD["States"]["NotRecorded"]["Type"] == "Fail"


def test_the_run_is_green_only_by_way_of_finish() -> None:
    greens = {name for name, state in MACHINE["States"].items() if state["Type"] == "Succeed" or state.get("End")}
    assert greens == {"Succeeded", "Duplicate"}
    into_succeeded = {name for name, state in MACHINE["States"].items() if "Succeeded" in following(state)}
    assert into_succeeded == {"Finished"}
    for name in ("Ingest", "Products"):
        assert MACHINE["States"][name]["Catch"][0]["Next"] == "Finish"


def test_one_childs_crash_does_not_stop_the_map_because_finish_counts() -> None:
    products = MACHINE["States"]["Products"]
    assert products["ToleratedFailurePercentage"] == 100
    assert products["Next"] == "Finish"
    assert products["ResultPath"] is None, "the map's output is never read: it grows with the run"
    assert "ResultWriter" in products


def test_a_child_defers_early_enough_for_an_express_workflow() -> None:
    states = CHILD["States"]
    highest = int(re.search(r"DeferAfterSeconds:.*?MaxValue: (\d+)", TEMPLATE, re.DOTALL)[1])  # type: ignore[index]  # it is there
    longest_wait = 15
    assert highest + longest_wait + states["Generate"]["TimeoutSeconds"] <= EXPRESS_SECONDS


@pytest.mark.parametrize(("which", "name"), TASKS)
def test_a_task_waits_longer_than_its_function_may_run(which: str, name: str) -> None:
    task = MACHINES[which]["States"][name]
    function = re.search(r"\$\{(\w+)FunctionArn\}", json.dumps(task["Parameters"]))
    if function is None:
        assert name == "Record"
        return
    block = re.search(rf"\n  {function[1]}Function:\n(.*?)\n\n", TEMPLATE, re.DOTALL)
    assert block is not None
    own = re.search(r"\n      Timeout: (\d+)", block[1])
    assert task["TimeoutSeconds"] > int(own[1] if own else 30)


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
