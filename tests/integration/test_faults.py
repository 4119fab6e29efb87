"""The fault matrix: whatever breaks, and wherever, each product gets its images, and each cent is in the ledger.

A cell is a provider and a fault. All cells are brought about at the same time, as much of each is waiting: a dead
run's claim lasts a minute. Then each is looked at. Processes are really killed (crash_proxy.py), and what they left is
taken up by the real pipeline, as a user would let it: by a second run of the same product, or by a retry.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from lookbook import imaging, ledger
from lookbook.generate import PROVIDER_LONGEST_SIDE
from lookbook.runs import COUNTS, MAY_BE_RETRIED, new_id
from tests.integration.conftest import Stack
from tests.integration.crash_proxy import Deployed, Trap, a_commit, a_job, a_result, a_withdrawal, an_entry_that_is
from tests.integration.test_pipeline import forget_placeholders
from tests.integration.test_steps import Steps

pytestmark = pytest.mark.slow

SERVICES = {"catvton": "gpu_url", "fashn": "fashn_url", "openai": "openai_images_url"}
SUBMISSION = {"catvton": "run", "fashn": "run", "openai": "image"}  # as faults name the call
TRY_ON = ("catvton", "fashn")
# As configured, in US dollars.
USD_PER_GPU_SECOND, USD_PER_CREDIT = 0.00031, 0.075
ENOUGH_USD = 50.0

# More would make the engine start so many functions at once that it could do nothing else for a minute.
KILLED_AT_ONCE = 2
FAULTY_AT_ONCE = 4
RUN_SECONDS = 180
# What a dead process holds (its claim on a product, its intent) is made to end after so long, where it is not said
# that the test waits for it: 60 and 35 s for try-on, up to 180 and 105 s for OpenAI.
SOON_SECONDS = 12.0
CHAOS_SECONDS, LEAST_SHOTS, MOST_RETRIES = 6.0, 3, 5
LIVING_INTENT_SECONDS = 10.0

Product = dict[str, Any]
Entry = dict[str, Any]


# ---------------------------------------------------------------------- the lab


class Lab:
    """The stack as many threads use it: its clients are made once, and its tables say what is asked for often."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.deployed = Deployed(stack)
        self.dynamodb = stack.aws("dynamodb")
        self.s3 = stack.aws("s3")
        self.machine = stack.aws("stepfunctions")
        self.killing = threading.Semaphore(KILLED_AT_ONCE)
        self.like = Steps(stack, self.product()).state
        stack.token()

    def product(self) -> Product:
        """Make a product that no other cell has."""
        name = uuid.uuid4().hex[:10]
        return {
            "product_id": f"F{name}",
            "title": "Striped Cotton Shirt",
            "category": "Women's Clothing > Tops",
            "image": self.stack.picture(f"shirt-{name}"),
        }

    def sight(self, provider: str, product: Product) -> str:
        """Return by what a provider's stand-in knows the product's picture."""
        source = requests.get(product["image"], timeout=10)
        source.raise_for_status()
        picture = imaging.normalise(source.content, PROVIDER_LONGEST_SIDE).data
        return hashlib.sha256(picture if provider == "openai" else base64.b64encode(picture)).hexdigest()

    def wait(self, run_id: str, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
        deadline = time.monotonic() + RUN_SECONDS
        while "finished_at" not in (run := self.item("RunsTable", {"run_id": run_id, "sort_key": "run"})):
            assert time.monotonic() < deadline, f"The run does not end: {run}"
            meanwhile()
            time.sleep(0.5)
        found: dict[str, Any] = self.stack.get(f"/api/runs/{run_id}")
        return found

    def runs_called(self, name: str) -> list[str]:
        """Return the ids of the runs of this name."""
        found = self.query(
            "RunsTable",
            IndexName="runs_by_time",
            KeyConditionExpression="listing = :runs",
            FilterExpression="#name = :name",
            ExpressionAttributeNames={"#name": "name"},
            ExpressionAttributeValues={":runs": {"S": "runs"}, ":name": {"S": name}},
        )
        return [run["run_id"] for run in found]

    def entries(self, run_id: str) -> list[Entry]:
        """Return a run's ledger."""
        return self.query(
            "RunsTable",
            IndexName="ledger_by_run",
            KeyConditionExpression="paid_by = :run",
            ExpressionAttributeValues={":run": {"S": run_id}},
        )

    def history(self, product_id: str) -> list[Entry]:
        return self.query(
            "HistoryTable",
            KeyConditionExpression="product_id = :id",
            ExpressionAttributeValues={":id": {"S": product_id}},
        )

    def query(self, table: str, **asked: Any) -> list[dict[str, Any]]:
        items = self.dynamodb.query(TableName=self.stack.output(table), **asked)["Items"]
        return [plain(item) for item in items]

    def item(self, table: str, key: dict[str, str]) -> dict[str, Any]:
        answer = self.dynamodb.get_item(
            TableName=self.stack.output(table),
            Key={name: {"S": value} for name, value in key.items()},
            ConsistentRead=True,
        )
        return plain(answer.get("Item", {}))

    def bring_forward(self, table: str, key: dict[str, str], what: str, seconds: float) -> None:
        """Let time pass: let a claim or an intent end in so many seconds, if it would last longer."""
        item = self.item(table, key)
        if float(item.get(what) or 0) - time.time() > seconds:
            self.dynamodb.update_item(
                TableName=self.stack.output(table),
                Key={name: {"S": value} for name, value in key.items()},
                UpdateExpression=f"SET {what} = :soon",
                ConditionExpression=f"{what} = :late",
                ExpressionAttributeValues={
                    ":soon": {"N": str(time.time() + seconds)},
                    ":late": {"N": str(item[what])},
                },
            )


def plain(item: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: next(iter(value.values())) for name, value in item.items()}


def key_of(entry: Entry) -> dict[str, str]:
    return {name: str(entry[name]) for name in ("run_id", "sort_key")}


# ---------------------------------------------------------------------- what must be true of every cell


@dataclass
class Came:
    """What a cell came to. `dead` is the run of a killed process, which has no record but its ledger."""

    products: list[Product]
    runs: list[str]
    dead: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)


def accounted(lab: Lab, provider: str, came: Came, variants: int, *, blocked: bool = False) -> tuple[Counter[str], int]:
    """Check that nothing is lost, nothing twice, and every cent told; return the ledger's statuses and the charges.

    `blocked`: the provider's filter has blocked all of it, for good.
    """
    for product in came.products:
        _has_its_images(lab, product, 0 if blocked else variants)
    entries = [entry for run_id in (*came.dead, *came.runs) for entry in lab.entries(run_id)]
    for run_id in came.runs:
        _is_counted(lab, run_id, blocked=blocked)
    open_entries = [entry for entry in entries if entry["status"] in {"intent", "submitted", "staged"}]
    assert open_entries == [], "every attempt has come to its end"
    charges = _are_told(lab, provider, entries)
    return Counter(str(entry["status"]) for entry in entries), charges


def _has_its_images(lab: Lab, product: Product, variants: int) -> None:
    product_id = product["product_id"]
    page = lab.stack.get(f"/api/products/{product_id}")
    images = page["image_list"]
    assert page["variants"] == [image["variant"] for image in images] == list(range(1, variants + 1))
    assert len({image["image_id"] for image in images}) == variants
    for image in images:
        assert lab.s3.head_object(Bucket=lab.stack.output("Bucket"), Key=f"images/{image['image_id']}.jpg")
    covers = [entry["image_id"] for entry in lab.history(product_id)]
    assert covers == ([page["cover_image_id"]] if images else []), "the cover was set once"
    item = lab.item("LibraryTable", {"product_id": product_id, "sort_key": "product"})
    assert "claimed_by" not in item


def _is_counted(lab: Lab, run_id: str, *, blocked: bool) -> None:
    """Every product of a run is in one of its counts, and its cost and its budget are what its ledger says."""
    run = lab.stack.get(f"/api/runs/{run_id}")
    counts = run["counts"]
    assert run["finished_at"], run
    assert counts["products"] == sum(counts[name] for name in COUNTS if name not in {"products", "duplicates"}), run
    if blocked:
        assert counts["blocked"] == counts["products"]
        assert all("filter" in problem["reason"] for problem in run["problems"]), run["problems"]
    entries = lab.entries(run_id)
    cost = sum(int(entry["cost_microusd"]) for entry in entries)
    assert run["cost_usd"] == pytest.approx(cost / 1e6), run
    if run["options"].get("max_cost_usd") is not None:
        budget = lab.item("RunsTable", {"run_id": run_id, "sort_key": "budget"})
        unknown = sum(int(entry["reserved_microusd"]) for entry in entries if entry["status"] == "unknown")
        committed, spent = (int(budget.get(f"{name}_microusd", 0)) for name in ("committed", "spent"))
        assert committed == spent == cost + unknown, run


def _are_told(lab: Lab, provider: str, entries: list[Entry]) -> int:
    """What the provider has charged is what the ledger says it cost, but for what is marked unknown. Return how often.

    A charge is known by its job's id; one whose id we never read by its key, which equal work has in common.
    """
    for work in {entry["run_id"] for entry in entries}:
        attempts = [entry for entry in entries if entry["run_id"] == work]
        assert sum(entry["status"] == "succeeded" for entry in attempts) <= 1
        assert max(Counter(entry["paid_by"] for entry in attempts).values()) <= ledger.MAX_ATTEMPTS

    by_job = {entry["job_id"]: entry for entry in entries if entry.get("job_id")}
    every = lab.stack.charged(SERVICES[provider])
    works: dict[str, set[str]] = {}
    for charge in every:
        if charge["id"] in by_job:
            works.setdefault(charge["key"], set()).add(by_job[charge["id"]]["run_id"])
    charges = [charge for charge in every if charge["key"] in works]
    unknown = [entry for entry in entries if entry["status"] == "unknown"]
    paid = {job_id: int(entry["cost_microusd"]) for job_id, entry in by_job.items() if entry not in unknown}

    told = [charge for charge in charges if charge["id"] in paid]
    assert Counter(charge["id"] for charge in told) == Counter(job_id for job_id, cost in paid.items() if cost)
    # A GPU's seconds are rounded to milliseconds, once by its endpoint and once by its bill.
    rounding = 0.005 * USD_PER_GPU_SECOND * len(told)
    assert sum(dollars(provider, charge) for charge in told) == pytest.approx(sum(paid.values()) / 1e6, abs=rounding)

    assert all(int(entry["cost_microusd"]) == 0 for entry in unknown)
    for key, its_works in works.items():
        lost = [charge for charge in charges if charge["key"] == key and charge["id"] not in paid]
        assert len(lost) <= sum(entry["run_id"] in its_works for entry in unknown)
    return len(charges)


def dollars(provider: str, charge: dict[str, Any]) -> float:
    if provider == "catvton":
        return float(charge["seconds"]) * USD_PER_GPU_SECOND
    return float(charge["credits"]) * USD_PER_CREDIT if provider == "fashn" else float(charge["usd"])


# ---------------------------------------------------------------------- how a cell is brought about


@dataclass(frozen=True, eq=False)
class Cell:
    """A provider and what goes wrong with it; and what the ledger and the provider's bill say when all is well again.

    `left`: the ledger as a killed process leaves it. `patience`: how long, in seconds, what it holds is waited for.
    """

    provider: str
    name: str
    do: Callable[[Lab, Cell], Came]
    ledger: Counter[str]
    charges: int
    variants: int = 2
    left: Counter[str] = field(default_factory=Counter)
    patience: float = SOON_SECONDS
    blocked: bool = False

    def __str__(self) -> str:
        return f"{self.provider}: {self.name}"

    def options(self) -> dict[str, Any]:
        return {"variants": self.variants, "method": self.provider, "max_cost_usd": ENOUGH_USD}


def one_run(fault: Mapping[str, Any], lab: Lab, cell: Cell) -> Came:
    """A run of a product whose jobs have this fault."""
    product = lab.product()
    match = lab.sight(cell.provider, product)
    on = SUBMISSION[cell.provider] if fault.get("on") == "submission" else fault.get("on")
    lab.stack.fault(SERVICES[cell.provider], **{**fault, "on": on}, match=match)
    run_id = lab.stack.start([product], **cell.options())
    lab.wait(run_id)
    faults = requests.get(f"{lab.stack.known[SERVICES[cell.provider]]}/_faults", timeout=10).json()["faults"]
    assert not [each for each in faults if each["match"] == match and each["count"]], "it has come about"
    return Came([product], [run_id])


def two_runs(fault: Mapping[str, Any], lab: Lab, cell: Cell) -> Came:
    """The same, and once more when it has ended."""
    came = one_run(fault, lab, cell)
    again = lab.stack.start(came.products, **cell.options())
    lab.wait(again)
    return Came(came.products, [*came.runs, again])


def a_run_and_its_retry(fault: Mapping[str, Any], lab: Lab, cell: Cell) -> Came:
    """A run that fails, and its retry."""
    came = one_run(fault, lab, cell)
    failed = lab.wait(came.runs[0])
    assert (failed["status"], failed["counts"]["failed"]) == ("failed", 1), failed
    answer = lab.stack.call("POST", f"/api/runs/{came.runs[0]}/retry", json={})
    assert answer.status_code == 202, answer.text
    retry = lab.wait(answer.json()["run_id"])
    return Came(came.products, [*came.runs, str(retry["run_id"])])


def two_at_once(lab: Lab, cell: Cell) -> Came:
    """Two runs of the same product."""
    product = lab.product()
    runs = [lab.stack.start([product], **cell.options()) for _ in range(2)]
    for run_id in runs:
        lab.wait(run_id)
    return Came([product], runs)


def announced_thrice(lab: Lab, cell: Cell) -> Came:
    """An upload whose S3 event is delivered twice more while its run is at work."""
    product = lab.product()
    key = f"scrapes/{product['product_id']}.json"
    scrape = json.dumps({"products": [product], "options": cell.options()})
    lab.s3.put_object(Bucket=lab.stack.output("Bucket"), Key=key, Body=scrape.encode())
    deadline = time.monotonic() + 60
    while not (runs := lab.runs_called(key)):
        assert time.monotonic() < deadline, "no run was started"
        time.sleep(0.3)
    arn = lab.item("RunsTable", {"run_id": runs[0], "sort_key": "run"})["execution_arn"]
    event = lab.machine.describe_execution(executionArn=arn)["input"]
    pipeline = lab.stack.output("Pipeline")
    again = [lab.machine.start_execution(stateMachineArn=pipeline, input=event)["executionArn"] for _ in range(2)]
    for each in again:
        ended = _ended(lab, each)
        assert (ended["status"], json.loads(ended["output"])["next"]) == ("SUCCEEDED", "duplicate")
    lab.wait(runs[0])
    return Came([product], lab.runs_called(key))


def _ended(lab: Lab, arn: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        told: dict[str, Any] = lab.machine.describe_execution(executionArn=arn)
        if told["status"] != "RUNNING":
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def killed(function: str, trap: Trap, lab: Lab, cell: Cell, *, submitted: bool = False) -> Came:
    """A product whose Generate or Save is killed in a run that then is no more; and another run of it.

    `submitted`: it is killed in a later call, when its job is done.
    """
    product = lab.product()
    with lab.killing, lab.deployed.worker(function, trap) as worker:
        state = lab.deployed.call("Check", begun(lab, product, cell))
        if function == "Save":
            state = generated(lab, state, until=lambda state: state["next"] == "save")
        if submitted:
            state = generated(lab, state, until=lambda state: any(job["job_id"] for job in state["jobs"]))
            _wait_for_job(lab, cell.provider, state["jobs"][0]["job_id"])
        worker.dies_of(state)
    dead = str(state["run"]["run_id"])
    left = lab.entries(dead)
    claim = {"product_id": product["product_id"], "sort_key": "product"}
    lab.bring_forward("LibraryTable", claim, "claim_expires_at", cell.patience)
    for entry in left:
        lab.bring_forward("RunsTable", key_of(entry), "expires_at", cell.patience)
    run_id = lab.stack.start([product], **cell.options())
    lab.wait(run_id)
    return Came([product], [run_id], [dead], Counter(str(entry["status"]) for entry in left))


def begun(lab: Lab, product: Product, cell: Cell) -> dict[str, Any]:
    """Return a product's state in a run that is known to nobody else, and that puts nothing off."""
    like, now = lab.like, datetime.now(UTC)
    return {
        "started_at": now.timestamp(),
        "defer_at": now.timestamp() + RUN_SECONDS,
        "run": {**like["run"], "run_id": new_id(now), "variants": cell.variants},
        "product": {
            **like["product"],
            "product_id": product["product_id"],
            "image_url": product["image"],
            "method": cell.provider,
        },
    }


def generated(lab: Lab, state: dict[str, Any], until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + RUN_SECONDS
    while not until(state):
        assert time.monotonic() < deadline, state
        time.sleep(min(1, state["wait_seconds"]))
        state = lab.deployed.call("Generate", state)
    return state


def _wait_for_job(lab: Lab, provider: str, job_id: str) -> None:
    """Wait until the provider has done a job: then it is charged, and by a GPU its charge is completed."""
    deadline = time.monotonic() + 60
    while True:
        [charge] = [charge for charge in lab.stack.charged(SERVICES[provider]) if charge["id"] == job_id] or [{}]
        if charge and charge.get("status", "COMPLETED") == "COMPLETED":
            return
        assert time.monotonic() < deadline, (job_id, charge)
        time.sleep(0.2)


# ---------------------------------------------------------------------- the matrix


def row(
    name: str,
    do: Callable[[Lab, Cell], Came],
    *,
    only: tuple[str, ...] = tuple(SERVICES),
    ends: Mapping[str, int],
    charges: int,
    left: Mapping[str, int] | None = None,
    **more: Any,
) -> list[Cell]:
    """Make a row of the matrix, or the part of it in which the providers in `only` agree."""
    return [Cell(each, name, do, Counter(ends), charges, left=Counter(left or {}), **more) for each in only]


def fault(kind: str, count: int | None = 1, do: Callable[..., Came] = one_run, **more: Any) -> Callable[..., Came]:
    return partial(do, {"kind": kind, "count": count, **more})


def kill(function: str, trap: Trap, **more: Any) -> Callable[..., Came]:
    return partial(killed, function, trap, **more)


WELL = {"succeeded": 2}
ONCE_MORE = {"unknown": 1, "succeeded": 2}

KILLS = [
    *row("killed before submit", kill("Generate", Trap("before", a_job)), only=TRY_ON,
         left={"intent": 1}, ends=ONCE_MORE, charges=2, patience=math.inf),
    *row("killed before submit", kill("Generate", Trap("before", a_job)), only=("openai",),
         left={"intent": 1}, ends=ONCE_MORE, charges=2, patience=30),
    *row("killed after submit", kill("Generate", Trap("after", a_job)),
         left={"intent": 1}, ends=ONCE_MORE, charges=3),
    *row("killed after the answer", kill("Generate", Trap("before", an_entry_that_is("submitted"))), only=TRY_ON,
         left={"intent": 1}, ends=ONCE_MORE, charges=3),
    *row("killed after the answer", kill("Generate", Trap("before", a_result)), only=("openai",),
         left={"intent": 1}, ends=ONCE_MORE, charges=3),
    *row("killed after the job id", kill("Generate", Trap("after", an_entry_that_is("submitted"))), only=TRY_ON,
         left={"submitted": 1}, ends=WELL, charges=2),
    *row("killed after the result", kill("Generate", Trap("before", an_entry_that_is("staged")), submitted=True),
         only=TRY_ON, variants=1, left={"submitted": 1}, ends={"succeeded": 1}, charges=1),
    *row("killed after the result", kill("Generate", Trap("before", an_entry_that_is("staged"))), only=("openai",),
         left={"intent": 1}, ends=WELL, charges=2),
    *row("killed after the job id", kill("Generate", Trap("after", an_entry_that_is("staged"))), only=("openai",),
         left={"staged": 1}, ends=WELL, charges=2),
    *row("killed before commit", kill("Save", Trap("before", a_commit)),
         left={"staged": 2}, ends=WELL, charges=2),
    *row("killed after commit", kill("Save", Trap("after", a_commit)),
         left=WELL, ends=WELL, charges=2),
]  # fmt: skip

FAULTS = [
    *row("duplicate S3 event", announced_thrice, ends=WELL, charges=2),
    *row("two runs at once", two_at_once, ends=WELL, charges=2),
    *row("time-out after success", fault("timeout_after_success", seconds=1), ends=ONCE_MORE, charges=3),
    *row("cut-off answer", fault("garbage_json", on="submission"), ends=ONCE_MORE, charges=3),
    *row("429 storm", fault("429", 5, on="submission"), ends=WELL, charges=2),
    *row("failed job", fault("failed"), only=("catvton",), ends={"failed": 1, "succeeded": 2}, charges=3),
    *row("failed job", fault("failed"), only=("fashn",), ends={"failed": 1, "succeeded": 2}, charges=2),
    *row("500", fault("5xx", status=500, on="submission"), only=("openai",), ends=ONCE_MORE, charges=2),
    *row("failed twice, then retried", fault("failed", ledger.MAX_ATTEMPTS, a_run_and_its_retry), only=("catvton",),
         variants=1, ends={"failed": 2, "succeeded": 1}, charges=3),
    *row("failed twice, then retried", fault("failed", ledger.MAX_ATTEMPTS, a_run_and_its_retry), only=("fashn",),
         variants=1, ends={"failed": 2, "succeeded": 1}, charges=1),
    *row("unreadable twice, then retried", fault("garbage", ledger.MAX_ATTEMPTS, a_run_and_its_retry),
         only=("openai",), variants=1, ends={"failed": 2, "succeeded": 1}, charges=3),
    *row("flagged", fault("flagged", None, two_runs), only=("catvton",), blocked=True, ends={"blocked": 4}, charges=4),
    *row("flagged", fault("flagged", None, two_runs), only=("fashn", "openai"), blocked=True,
         ends={"blocked": 2}, charges=0),
    *row("expired result", fault("expired", on="status"), only=TRY_ON, ends=ONCE_MORE, charges=3),
    *row("expired picture", fault("expired", on="output"), only=("fashn",),
         ends={"failed": 1, "succeeded": 2}, charges=3),
    *row("garbage bytes", fault("garbage"), ends={"failed": 1, "succeeded": 2}, charges=3),
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(_deployed: Stack) -> Lab:
    return Lab(_deployed)


@pytest.fixture(scope="module")
def came(lab: Lab, request: pytest.FixtureRequest) -> dict[Cell, Future[Came]]:
    """Bring about the cells that are to be looked at, all at the same time."""
    wanted = [item.callspec.params.get("cell") for item in request.session.items if hasattr(item, "callspec")]
    lab.stack.heal()
    with ThreadPoolExecutor(len(KILLS)) as dying, ThreadPoolExecutor(FAULTY_AT_ONCE) as failing:
        done = {cell: dying.submit(cell.do, lab, cell) for cell in KILLS if cell in wanted}
        done |= {cell: failing.submit(cell.do, lab, cell) for cell in FAULTS if cell in wanted}
    lab.stack.heal()
    return done


@pytest.mark.parametrize("cell", [*KILLS, *FAULTS], ids=str)
def test_each_product_gets_its_images_and_each_cent_is_told(
    lab: Lab, came: dict[Cell, Future[Came]], cell: Cell
) -> None:
    # Given what a fault has done, and what became of it
    told = came[cell].result()

    # Then a killed process had come just as far as it should
    assert told.left == cell.left

    # And another run put the product off, as long as the dead one had a claim on it
    assert cell.patience == SOON_SECONDS or len(lab.stack.map_runs(told.runs[0])) >= 2

    # And in the end all is well, and the attempts and charges are those that the fault makes necessary
    statuses, charges = accounted(lab, cell.provider, told, cell.variants, blocked=cell.blocked)
    assert (statuses, charges) == (cell.ledger, cell.charges)


# ---------------------------------------------------------------------- a placeholder


def test_a_placeholder_is_taken_out_though_save_is_killed_in_the_middle(lab: Lab) -> None:
    # Given a product with one image, of which nobody could know that it is the filter's placeholder
    forget_placeholders(lab.stack)
    cell = Cell("catvton", "flagged", kill("Save", Trap("before", a_withdrawal)), Counter(), 0, variants=1)
    first, second = lab.product(), lab.product()
    for product in (first, second):
        lab.stack.fault("gpu_url", kind="flagged", count=1, match=lab.sight("catvton", product))
    lab.wait(lab.stack.start([first], **cell.options()))
    assert len(lab.stack.get(f"/api/products/{first['product_id']}")["image_list"]) == 1

    # When another product shows what it is, and Save is killed before it can take it out
    with lab.deployed.worker("Save", Trap("before", a_withdrawal)) as worker:
        state = lab.deployed.call("Check", begun(lab, second, cell))
        state = generated(lab, state, until=lambda state: state["next"] == "save")
        worker.dies_of(state)
    dead = str(state["run"]["run_id"])
    claim = {"product_id": second["product_id"], "sort_key": "product"}
    lab.bring_forward("LibraryTable", claim, "claim_expires_at", 1)

    # Then the next run of the other product takes it out, and makes an image with another seed
    run_id = lab.stack.start([second], **cell.options())
    lab.wait(run_id)
    assert lab.stack.get(f"/api/products/{first['product_id']}")["image_list"] == []
    told = accounted(lab, "catvton", Came([second], [run_id], [dead]), 1)
    assert told == (Counter(blocked=1, succeeded=1), 2)


# ---------------------------------------------------------------------- at random


def workers(lab: Lab) -> dict[int, int]:
    """Return the processes in which the engine of this stack, and no other, runs Generate and Save; and their work.

    That is the processor's time that they have had, in Linux' ticks; one that waits for a call has no more of it.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            variables = (process / "environ").read_bytes().split(b"\0")
            ours = f"AWS_ENDPOINT_URL={lab.stack.known['endpoint_url']}".encode() in variables
            names = [each for each in variables if each.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")]
            if ours and names and any(function in names[0] for function in (b"-GenerateFunction-", b"-SaveFunction-")):
                user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                found[int(process.name)] = int(user) + int(system)
    return found


def shoot_one(lab: Lab, before: dict[int, int], chance: random.Random) -> int:
    """Kill one of the processes that have been at work since `before`; return how many that were."""
    busy = sorted(process for process, work in workers(lab).items() if work > before.get(process, 0))
    with suppress(ProcessLookupError):
        for victim in chance.sample(busy, min(1, len(busy))):
            os.kill(victim, signal.SIGKILL)
            return 1
    return 0


def forget_the_dead(lab: Lab, run_id: str) -> None:
    """Let time pass for intents that are older than any living process would let them become."""
    for entry in lab.entries(run_id):
        if entry["status"] == "intent" and float(entry["created_at"]) < time.time() - LIVING_INTENT_SECONDS:
            lab.bring_forward("RunsTable", key_of(entry), "expires_at", 0)


def test_kills_at_random_moments_cost_time_and_nothing_else(lab: Lab) -> None:
    # Given a run of eight products, and an endpoint that takes its time to answer
    products = [lab.product() for _ in range(8)]
    lab.stack.fault("gpu_url", kind="latency", seconds=0.4, on="run")
    runs = [lab.stack.start(products, variants=1, method="catvton", max_cost_usd=ENOUGH_USD)]

    # When processes of Generate and Save are killed at random
    shots, chance, deadline = 0, random.Random(1), time.monotonic() + CHAOS_SECONDS  # noqa: S311 - no secret
    while time.monotonic() < deadline:
        before = workers(lab)
        time.sleep(0.4)
        shots += shoot_one(lab, before, chance)
    lab.stack.heal()
    assert shots >= LEAST_SHOTS

    # And the run is retried until nothing is left undone
    while undone(run := lab.wait(runs[-1], partial(forget_the_dead, lab, runs[-1]))):
        assert len(runs) <= MOST_RETRIES, run
        answer = lab.stack.call("POST", f"/api/runs/{runs[-1]}/retry", json={})
        assert answer.status_code == 202, answer.text
        runs.append(str(answer.json()["run_id"]))

    # Then each product has its image, and what may have been paid for in vain is marked as such
    statuses, _ = accounted(lab, "catvton", Came(products, runs), 1)
    assert statuses["succeeded"] == len(products)
    assert set(statuses) <= {"succeeded", "unknown"}


def undone(run: dict[str, Any]) -> int:
    return sum(int(run["counts"][status]) for status in MAY_BE_RETRIED)
