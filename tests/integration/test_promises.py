"""Never pay twice, whatever dies and in whatever order: hypothesis looks for the order that breaks a promise.

The engine's DynamoDB is real, and its conditions decide; S3 and the provider are small fakes that count. No cloud is
deployed: the functions under test run here, in threads that take turns (`Process`). Each stops before every write and
every call to the outside; the test says who goes on, who is killed there, and whose answer is lost and asked again.
The clock is the test's. To search deeper than CI does:

    LOOKBOOK_EXAMPLES=2000 .venv/bin/pytest tests/integration/test_promises.py
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.cloud import Cloud, free_port
from lookbook import aws, budget, lanes, ledger, library, rates, tables
from lookbook.generate import Generator
from lookbook.providers.base import (
    Estimate,
    JobState,
    Limits,
    Order,
    RefusedError,
    Submission,
    TroubleError,
    UncertainError,
)
from lookbook.reuse import reuse_key
from lookbook.settings import Settings
from lookbook.state import Item, ProductState, RunContext
from lookbook.tables import HistoryEntry, LedgerEntry, LibraryItem, Product, RunsItem

SEARCH_DEEPER = int(os.environ.get("LOOKBOOK_EXAMPLES", "0"))
START = 1_000_000.0
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_numbers = itertools.count(1)
_here = threading.local()


def search(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Let hypothesis try a machine's rules in many orders; the same ones every time, unless it is to search deeper."""
    deeper = SEARCH_DEEPER > 0
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SEARCH_DEEPER or examples,
            stateful_step_count=steps * 2 if deeper else steps,
            derandomize=not deeper,
            database=None,
            deadline=None,
            # What explains a failure takes longer than the search for it.
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


# ---------------------------------------------------------------------- processes that take turns, and may die


class Killed(BaseException):
    """What a process is stopped by; nothing catches it, as nothing survives a SIGKILL."""


class Process:
    """A function in a thread of its own that stops before each operation, until it is told to go on."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.over = False
        self.loses_answer = False
        self.dies_at = math.inf
        self._killed = False
        self._error: BaseException | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, args=(work,), daemon=True).start()
        self.go()

    def _run(self, work: Callable[[], Any]) -> None:
        _here.process = self
        self._turn.acquire()
        try:
            self.result = work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            self._error = error
        self.over = True
        self._back.release()

    def stop_here(self) -> None:
        """Wait for the next turn; called by the process itself."""
        self._back.release()
        self._turn.acquire()
        if self._killed:
            raise Killed

    def go(self, operations: int = 1) -> None:
        """Let it do so many operations, and stop before the next."""
        for _ in range(operations):
            if self.over:
                return
            self._turn.release()
            assert self._back.acquire(timeout=30)
            if self._error is not None:
                raise self._error

    def kill(self) -> None:
        self._killed = True
        self.go()

    def finish(self) -> Any:
        while not self.over:
            self.go()
        return self.result


def process() -> Process | None:
    found: Process | None = getattr(_here, "process", None)
    return found


def operation() -> None:
    """Stop here, if this is a process: what comes next is done or not."""
    if (running := process()) is not None:
        running.stop_here()


# ---------------------------------------------------------------------- the engine, and what stands in for the rest


# As ledger.py draws it: what may become of an attempt.
NEXT: dict[str | None, set[str | None]] = {
    None: {"intent"},
    "intent": {"submitted", "staged", "failed", "blocked", "unknown", None},
    "submitted": {"staged", "failed", "blocked", "unknown"},
    "unknown": {"submitted", "staged"},
    "staged": {"succeeded", "failed", "blocked"},
    "succeeded": {"succeeded", "blocked"},
    "failed": set(),
    "blocked": set(),
}


class Wire:
    """DynamoDB's protocol without botocore, which takes more time for a call than the engine does."""

    _request_signer = None  # pynamodb asks for it

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._statuses: dict[tuple[str, str], str | None] = {}

    def _make_api_call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        running = process()
        if running is not None and name in WRITES:
            running.stop_here()
            # botocore repeats such a call, after a while. Not yet where it would be done twice: see the marks below.
            if running.loses_answer and "ConditionExpression" in arguments:
                running.loses_answer = False
                with contextlib.suppress(ClientError):
                    self.send(name, arguments)
                running.stop_here()
        return self.send(name, arguments)

    def send(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{name}",
            "Authorization": "AWS4-HMAC-SHA256 Credential=local/20250101/us-east-1/dynamodb/aws4_request",
        }
        self._connection.request("POST", "/", json.dumps(arguments), headers)
        answer = self._connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            error = {"Code": told["__type"].split("#")[-1], "Message": told.get("message", "")}
            raise ClientError({"Error": error, "ResponseMetadata": {"HTTPHeaders": {}}}, name)  # type: ignore[typeddict-item]  # pynamodb reads no more
        if name in WRITES:
            self.watch(arguments.get("Item") or told.get("Attributes") or arguments["Key"])
        return told

    def watch(self, item: dict[str, dict[str, str]]) -> None:
        """See that no attempt ever goes where the ledger knows no way to: back, or twice to the same place."""
        key = item["run_id" if "run_id" in item else "product_id"]["S"], item["sort_key"]["S"]
        if key[0].startswith("work#"):
            before, after = self._statuses.get(key), item.get("status", {"S": None})["S"]
            assert after in NEXT[before] or after is before is None, f"{before} -> {after}"
            self._statuses[key] = after

    def close(self) -> None:
        self._connection.close()


class Bucket:
    """S3 as Generate uses it."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str]] = {}

    def put_object(self, **put: Any) -> None:
        operation()
        self.objects[put["Key"]] = put["Metadata"]

    def head_object(self, **head: Any) -> dict[str, Any]:
        operation()
        if head["Key"] not in self.objects:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        return {"Metadata": self.objects[head["Key"]]}


@pytest.fixture(scope="module", autouse=True)
def _engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start an engine of our own and bind the tables to it; afterwards all is as it was."""
    cloud, port = Cloud(tmp_path_factory.mktemp("promises")), free_port()
    wire, bucket = Wire(port), Bucket()
    try:
        cloud.start_engine(port)
        with pytest.MonkeyPatch.context() as patch:
            for model in (LibraryItem, HistoryEntry, RunsItem):
                patch.setattr(model.Meta, "table_name", "unbound")
                patch.setattr(model, "_connection", None)
            patch.setattr(rates, "_kept", {})
            patch.setattr(aws, "s3", lambda: bucket)
            patch.setattr(ledger, "write_intent", _noting_its_end(ledger.write_intent))
            tables.bind(Settings(bucket="bucket", library_table="library", history_table="history", runs_table="runs"))
            tables.connection()._client = wire  # type: ignore[assignment]  # as much of a client as pynamodb needs
            for model in (LibraryItem, HistoryEntry, RunsItem):
                model.create_table(wait=False, billing_mode="PAY_PER_REQUEST")
            yield
    finally:
        aws.session.cache_clear()
        wire.close()
        cloud.forget()


def _noting_its_end(write_intent: Callable[..., Any]) -> Callable[..., Any]:
    """Note when others will take the process for dead that writes an intent."""

    def noting(*args: Any, **named: Any) -> Any:
        if (running := process()) is not None:
            running.dies_at = named["expires_at"]
        return write_intent(*args, **named)

    return noting


# ---------------------------------------------------------------------- the budget


@dataclass
class Purchase:
    """A job that a run may have bought: its ledger entry's key, and what it can still come to."""

    key: str
    price: int
    cost: int
    at_most: int = 0
    process: Process | None = None


def intent(key: str, run_id: str, price: int, previous: LedgerEntry | None = None) -> LedgerEntry | None:
    return ledger.write_intent(
        key,
        previous,
        token=f"token-{next(_numbers)}",
        run_id=run_id,
        product_id="p",
        variant=1,
        provider="fake",
        reserved_microusd=price,
        now=START,
        expires_at=START + 30,
    )


def committed_and_spent(run_id: str) -> tuple[int, int]:
    found = budget.look(run_id)
    return int(found.committed_microusd), int(found.spent_microusd)


class Books(RuleBasedStateMachine):
    """A run's jobs, submitted and settled in the order of hand_in, note and expire, by processes that may die."""

    def __init__(self) -> None:
        super().__init__()
        self.run_id = f"run-{next(_numbers)}"
        self.limit: int | None = None
        self.stopped = False
        self.purchases: list[Purchase] = []
        self.calm = True

    @initialize(limit=st.sampled_from([None, 100, 150, 250]))
    def begin(self, limit: int | None) -> None:
        self.limit = limit

    # what processes do

    def submit(self, one: Purchase, fate: str) -> None:
        entry = intent(one.key, self.run_id, one.price)
        assert entry is not None
        answer = budget.reserve(entry, self.limit)
        self.check_answer(one, answer)
        if answer != "reserved":
            ledger.withdraw(entry)
            if answer == "over_budget":
                budget.stop(self.run_id, budget.OVER_BUDGET, "used up")
                self.stopped = True
            return
        operation()
        if fate == "refused":
            ledger.withdraw(entry)
            budget.release(entry)
            return
        one.at_most = one.price
        operation()
        if fate == "uncertain":
            ledger.ended(entry, ledger.UNKNOWN, "no answer")
        else:
            ledger.submitted(entry, f"job-{one.key}")

    def check_answer(self, one: Purchase, answer: str) -> None:
        now = budget.look(self.run_id)
        committed, spent = int(now.committed_microusd), int(now.spent_microusd)
        if answer == "reserved":
            assert not self.stopped
            assert self.limit is None or committed <= self.limit
        elif answer == "stopped":
            assert self.stopped
        else:
            assert self.limit is not None
            assert committed + one.price > self.limit
            if answer == "wait":
                assert spent + one.price <= self.limit
                assert committed > spent
            else:
                assert spent + one.price > self.limit

    def settle(self, one: Purchase, fate: str) -> None:
        """Do for a job what whoever finds it next does."""
        attempts = ledger.attempts(one.key)
        if not attempts:
            return
        [entry] = attempts
        if entry.status == ledger.INTENT:
            ledger.ended(entry, ledger.UNKNOWN, "cut off")
        elif entry.status == ledger.SUBMITTED and fate == "gone":
            ledger.ended(entry, ledger.UNKNOWN, "gone")
        elif entry.status == ledger.SUBMITTED:
            one.at_most = one.cost
            if fate == "completed":
                ledger.staged(entry, ledger.Result("key", "1", one.cost, 1, ""))
            else:
                ledger.ended(entry, ledger.FAILED, "it broke", cost_microusd=one.cost)

    # who does it when

    def busy(self) -> list[Purchase]:
        return [one for one in self.purchases if one.process is not None and not one.process.over]

    def idle(self) -> list[Purchase]:
        return [one for one in self.purchases if one.process is None or one.process.over]

    @rule(
        price=st.integers(1, 70),
        share=st.integers(0, 4),
        fate=st.sampled_from(["accepted", "accepted", "accepted", "refused", "uncertain"]),
        operations=st.integers(0, 6),
    )
    def submits(self, price: int, share: int, fate: str, operations: int) -> None:
        one = Purchase(f"key-{next(_numbers)}", price, price * share // 4)
        self.purchases.append(one)
        one.process = Process(lambda: self.submit(one, fate))
        one.process.go(operations)

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), fate=st.sampled_from(["completed", "completed", "failed", "gone"]))
    def settles(self, data: st.DataObject, fate: str) -> None:
        one = data.draw(st.sampled_from(self.idle()), "settled")
        one.process = Process(lambda: self.settle(one, fate))

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), operations=st.integers(1, 6))
    def goes_on(self, data: st.DataObject, operations: int) -> None:
        running = data.draw(st.sampled_from(self.busy()), "goes on").process
        assert running is not None
        running.go(operations)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def loses_an_answer(self, data: st.DataObject) -> None:
        running = data.draw(st.sampled_from(self.busy()), "loses its answer").process
        assert running is not None
        running.loses_answer = True
        self.calm = False

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        running = data.draw(st.sampled_from(self.busy()), "dies").process
        assert running is not None
        running.kill()
        self.calm = False

    @rule(rarely=st.integers(0, 9))
    def stops(self, rarely: int) -> None:
        if rarely == 0:
            budget.stop(self.run_id, budget.DEFERRED, "by hand")
            self.stopped = True

    @precondition(lambda self: not self.busy())
    @rule()
    def is_counted_again(self) -> None:
        """As Finish does between two passes: jobs may be in flight, but no process is at work."""
        before = committed_and_spent(self.run_id)
        budget.recount(self.run_id, list(ledger.paid_by(self.run_id)))
        assert not self.calm or committed_and_spent(self.run_id) == before
        assert int(budget.look(self.run_id).committed_microusd) >= sum(one.at_most for one in self.purchases)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        if self.limit is not None:
            assert sum(one.at_most for one in self.purchases) <= self.limit

    def teardown(self) -> None:
        try:
            for one in self.busy():
                assert one.process is not None
                one.process.kill()
            for one in self.purchases:
                self.settle(one, "completed")
            entries = list(ledger.paid_by(self.run_id))
            budget.recount(self.run_id, entries)
            found = budget.look(self.run_id)
            unknown = sum(int(each.reserved_microusd) for each in entries if each.status == ledger.UNKNOWN)
            known = sum(int(each.cost_microusd) for each in entries)
            assert int(found.committed_microusd) == int(found.spent_microusd) == unknown + known
            assert unknown + known >= sum(one.at_most for one in self.purchases)
        finally:
            for one in self.busy():
                assert one.process is not None
                one.process.kill()


def test_a_run_stays_within_its_budget() -> None:
    search(Books, examples=35, steps=30)


# ---------------------------------------------------------------------- the ledger


FATES = ["accept", "at once", "refuse", "refuse for good", "refuse, later", "no answer", "no answer, not taken"]
# How many operations a process does before another may: mostly few, as what matters is who comes in between.
FEW = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 9])


@dataclass
class Charge:
    """A job that the provider took on."""

    job_id: str
    seed: int
    run_id: str
    cost: int = 0
    state: JobState = field(default_factory=lambda: JobState("waiting"))


@dataclass
class Shop:
    """A provider that counts what it takes on. It knows no idempotency: what is handed in twice is made twice."""

    name: str
    limits: Limits | None
    accepting: Callable[[int], None]
    about: str = "counts"
    licence: str = "free"
    model_version: str = "1"
    wears: bool = False
    moody: bool = False
    placeholders: bool = False
    call_seconds: float = 30
    unavailable: str = ""
    price: int = 60
    fates: deque[str] = field(default_factory=deque)
    charges: dict[str, Charge] = field(default_factory=dict)
    troubles: int = 0

    def parameters(self, product: Item, seed: int) -> dict[str, int | float | str]:
        return {"shop": self.name, "seed": seed, "product": product.title}

    def estimate(self) -> Estimate:
        return Estimate(50, self.price, 1000, "a guess")

    def submit(self, order: Order) -> Submission:
        operation()
        fate = self.fates.popleft() if self.fates else "accept"
        if fate.startswith("refuse"):
            raise RefusedError(fate, final=fate == "refuse for good", stops_run=fate == "refuse all")
        if fate == "refuse, later":
            raise RefusedError(fate, retry_after=20)
        if fate == "no answer, not taken":
            raise UncertainError(fate)
        self.accepting(order.seed)
        charge = Charge(f"{self.name}-job-{len(self.charges)}", order.seed, _here.process.run_id)
        self.charges[charge.job_id] = charge
        if fate == "at once":
            self.end(charge, "completed", 50)
        operation()
        if fate == "no answer":
            raise UncertainError(fate)
        return Submission(charge.job_id, charge.state if fate == "at once" else None)

    def poll(self, job_id: str) -> JobState:
        if self.troubles:
            self.troubles -= 1
            raise TroubleError("no state now")
        return self.charges[job_id].state

    def end(self, charge: Charge, how: str, cost: int) -> None:
        charge.cost = 0 if how in {"gone", "blocked"} else cost
        status: Any = how.removesuffix(" for good")
        charge.state = JobState(
            status,
            cost_microusd=charge.cost,
            work_ms=1,
            image=b"picture",
            model_version="1",
            reason=how,
            final=how.endswith("for good"),
        )

    def waiting(self) -> list[Charge]:
        return [charge for charge in self.charges.values() if charge.state.status == "waiting"]


@dataclass
class Child:
    """A child of the state machine: one product of one run, and the call that is at work on it."""

    state: ProductState
    began: float = 0
    running: Process | None = None

    @property
    def busy(self) -> bool:
        return self.running is not None and not self.running.over

    @property
    def over(self) -> bool:
        return self.state.next in {"save", "record"}


class Work(RuleBasedStateMachine):
    """Three children that want the same two images: one run's, started twice, and another run's."""

    prompt = True
    forgets = False
    variants = 2
    item = Item(
        index=0, product_id="p", title="Shirt", category="", source="scrape", image_url="", garment="", method="catvton"
    )
    lives_seconds = 65.0

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        number = next(_numbers)
        self.runs = [f"run-{number}-a", f"run-{number}-b", f"run-{number}-later"]
        self.limits: dict[str, int | None] = dict.fromkeys(self.runs)
        self.shop = Shop(f"shop-{number}", None, self.accepting)
        self.generator = Generator({"catvton": self.shop}, "bucket")
        rates._kept[rates.rate_id(self.shop)] = (math.inf, self.shop.estimate())
        self.children: list[Child] = []
        self.calm = True

    @initialize(
        limited=st.booleans(),
        one_at_a_time=st.sampled_from([False, False, True]),
        fates=st.lists(st.sampled_from(FATES), max_size=4),
    )
    def begin(self, limited: bool, one_at_a_time: bool, fates: list[str]) -> None:
        if one_at_a_time:
            self.shop.limits = Limits(at_once=1, per_minute=60, job_seconds=90)
        if limited:
            self.limits[self.runs[0]] = 2 * self.shop.price
        self.shop.fates.extend(fates)
        self.children = [Child(self.fresh(run)) for run in (self.runs[0], self.runs[0], self.runs[1])]

    def fresh(self, run_id: str) -> ProductState:
        run = RunContext(
            run_id=run_id,
            variants=self.variants,
            reuse=True,
            model_photos=[],
            max_concurrency=1,
            budget_microusd=self.limits[run_id],
        )
        return ProductState(
            run=run,
            product=self.item,
            next="generate",
            started_at=self.now,
            defer_at=self.now + 200,
            claimed_until=1e12,
            missing=list(range(1, self.variants + 1)),
        )

    # what a call does

    def call(self, child: Child) -> ProductState:
        """Generate, and then of Save what it does to the ledger."""
        _here.process.run_id = child.state.run.run_id
        ends = self.now + self.lives_seconds
        state = self.generator.advance(child.state, lambda: self.now, lambda: ends - self.now)
        if state.next == "save":
            for job in state.jobs:
                if job.status == "staged":
                    LedgerEntry(ledger.work_id(job.reuse_key), job.attempt).update(
                        [LedgerEntry.status.set(ledger.SUCCEEDED), LedgerEntry.image_id.set("image")],
                        condition=LedgerEntry.status.is_in(ledger.STAGED, ledger.SUCCEEDED),
                    )
        operation()
        return state

    def accepting(self, seed: int) -> None:
        """Check the promise in the moment of the next charge: all before were in vain, as far as one can know."""
        if self.prompt:
            *before, last = self.attempts(seed)
            assert last.status == ledger.INTENT
            assert all(each.status in ledger.MAY_BE_TRIED_AGAIN for each in before)

    def attempts(self, seed: int) -> list[LedgerEntry]:
        parameters = self.shop.parameters(self.item, seed)
        return ledger.attempts(reuse_key("", "", self.shop.name, self.shop.model_version, parameters))

    # who does it when

    def some(self, test: Callable[[Child], bool]) -> st.SearchStrategy[Child]:
        return st.sampled_from([child for child in self.children if test(child)])

    def end_call(self, child: Child) -> None:
        if child.running is not None and child.running.over:
            child.state = child.running.result or child.state
            child.running = None

    @precondition(lambda self: any(not child.busy and not child.over for child in self.children))
    @rule(data=st.data(), operations=st.sampled_from([0, 0, 0, 1, 1, 2, 3, 9]))
    def is_called(self, data: st.DataObject, operations: int) -> None:
        child = data.draw(self.some(lambda each: not each.busy and not each.over), "called")
        child.began = self.now
        child.running = Process(lambda: self.call(child))
        child.running.go(operations)
        self.end_call(child)

    @precondition(lambda self: any(child.busy for child in self.children))
    @rule(data=st.data(), operations=FEW)
    def goes_on(self, data: st.DataObject, operations: int) -> None:
        child = data.draw(self.some(lambda each: each.busy), "goes on")
        assert child.running is not None
        child.running.go(operations)
        self.end_call(child)

    @precondition(lambda self: any(child.busy for child in self.children))
    @rule(data=st.data(), operations=FEW)
    def goes_on_too(self, data: st.DataObject, operations: int) -> None:
        """The same, so that hypothesis takes it twice as often."""
        self.goes_on(data, operations)

    @precondition(lambda self: any(child.busy for child in self.children))
    @rule(data=st.data(), what=st.sampled_from(["loses its answer", "dies", "dies, and its state is forgotten"]))
    def breaks(self, data: st.DataObject, what: str) -> None:
        """A dead child's call is repeated, or it is another pass's child that comes next, which knows nothing."""
        child = data.draw(self.some(lambda each: each.busy), what)
        assert child.running is not None
        self.calm = False
        if what == "loses its answer":
            child.running.loses_answer = True
            return
        child.running.kill()
        child.running = None
        if what != "dies":
            child.state = self.fresh(child.state.run.run_id)

    @rule(seconds=st.sampled_from([1, 20, 20, 29, 31, 91]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for child in self.children:
            if child.running is not None:
                late = self.now > child.running.dies_at if self.prompt else False
                if late or self.now >= child.began + self.lives_seconds:
                    child.running.kill()
                    child.running = None
                    self.calm = False
                elif self.now > child.running.dies_at:
                    self.calm = False

    @precondition(lambda self: self.shop.waiting())
    @rule(
        data=st.data(),
        how=st.sampled_from(["completed", "completed", "failed", "failed for good", "blocked", "gone"]),
        cost=st.sampled_from([0, 50, 60]),
        troubles=st.sampled_from([0, 0, 0, 1]),
    )
    def job_ends(self, data: st.DataObject, how: str, cost: int, troubles: int) -> None:
        self.shop.troubles = troubles
        charge = data.draw(st.sampled_from(self.shop.waiting()), "ends")
        self.shop.end(charge, how, cost)

    @precondition(lambda self: not any(child.busy for child in self.children))
    @rule()
    def is_counted_again(self) -> None:
        """As Finish does between two passes; it corrects nothing unless something broke."""
        for run_id in self.runs:
            before = committed_and_spent(run_id)
            budget.recount(run_id, list(ledger.paid_by(run_id)))
            assert not self.calm or committed_and_spent(run_id) == before

    @invariant()
    def never_more_than_the_limit(self) -> None:
        for run_id, limit in self.limits.items():
            if limit is not None:
                assert self.exposure(run_id) <= limit

    def exposure(self, run_id: str) -> int:
        mine = [charge for charge in self.shop.charges.values() if charge.run_id == run_id]
        return sum(self.shop.price if one.state.status in {"waiting", "gone"} else one.cost for one in mine)

    # how it ends

    def teardown(self) -> None:
        try:
            if self.children:
                if self.calm:
                    for child in self.children:
                        if child.running is not None:
                            child.running.finish()
                            self.end_call(child)
                    self.is_counted_again()
                for child in self.children:
                    self.recover(child)
                later = Child(self.fresh(self.runs[2]))
                self.recover(later)
                for seed in range(1, self.variants + 1):
                    self.audit(seed)
                self.audit_budgets()
        finally:
            for child in self.children:
                if child.running is not None:
                    child.running.kill()

    def recover(self, child: Child) -> None:
        """Call a child until it ends, pass after pass: nothing dies any more, and it must not take long."""
        for each in self.children:
            if each.running is not None:
                each.running.kill()
                each.running = None
        self.shop.fates.clear()
        self.shop.troubles = 0
        for _ in range(100):
            if child.state.next == "record" and child.state.outcome and child.state.outcome.status == "deferred":
                budget.recount(child.state.run.run_id, list(ledger.paid_by(child.state.run.run_id)))
                child.state = self.fresh(child.state.run.run_id)
            elif child.over:
                return
            for charge in self.shop.waiting():
                self.shop.end(charge, "completed", 50)
            child.state = Process(lambda: self.call(child)).finish()
            self.now += max(child.state.wait_seconds, 1)
        raise AssertionError(f"It waits forever: {child.state}")

    def audit(self, seed: int) -> None:
        """Hold the provider's book against ours."""
        entries = self.attempts(seed)
        charges = {charge.job_id: charge for charge in self.shop.charges.values() if charge.seed == seed}
        named = {str(each.job_id): each for each in entries if each.job_id}
        assert len(named) == sum(bool(each.job_id) for each in entries)
        assert set(named) <= set(charges)
        for job_id, entry in named.items():
            if not self.forgotten(entry, entries):
                assert entry.status not in {ledger.INTENT, ledger.SUBMITTED}
                assert int(entry.cost_microusd) == charges[job_id].cost
        nameless = [each for each in entries if not each.job_id]
        assert all(each.status == ledger.UNKNOWN for each in nameless)
        assert len(set(charges) - set(named)) <= len(nameless)
        succeeded = [each for each in entries if each.status == ledger.SUCCEEDED]
        assert not [each for each in entries if each.status == ledger.STAGED]
        if not entries[-1].final and entries[-1].status != ledger.BLOCKED:
            assert succeeded
        if self.prompt:
            assert len(succeeded) <= 1
            assert all(each.status in ledger.MAY_BE_TRIED_AGAIN for each in entries[:-1])

    def forgotten(self, entry: LedgerEntry, entries: list[LedgerEntry]) -> bool:
        """Whether it was handed in late, and nobody asks for it: see the marks below."""
        return self.forgets and entry.status == ledger.SUBMITTED and entry.sort_key != entries[-1].sort_key

    def audit_budgets(self) -> None:
        for run_id in self.runs:
            entries = list(ledger.paid_by(run_id))
            budget.recount(run_id, entries)
            found = budget.look(run_id)
            unknown = sum(int(each.reserved_microusd) for each in entries if each.status == ledger.UNKNOWN)
            known = sum(int(each.cost_microusd) for each in entries)
            assert int(found.committed_microusd) == int(found.spent_microusd) == known + unknown
            if not self.forgets:
                bought = sum(one.cost for one in self.shop.charges.values() if one.run_id == run_id)
                assert known + unknown >= bought


class SlowWork(Work):
    """The same, but a process may go on after others have taken it for dead."""

    prompt = False
    forgets = True

    @invariant()
    def never_more_than_the_limit(self) -> None:
        """Not promised here: see the marks below."""


def test_work_is_paid_for_once_whoever_dies() -> None:
    search(Work, examples=40, steps=30)


def test_work_is_accounted_for_even_when_the_dead_go_on() -> None:
    search(SlowWork, examples=20, steps=30)


def test_a_submitter_is_not_taken_for_dead_before_its_time() -> None:
    # Given a child that has written its intent, and takes nearly all the time that a call may take
    work = Work()
    work.begin(False, False, [])
    slow = Process(lambda: work.call(work.children[0]))
    slow.go(2)
    work.now += 29
    # When another run comes for the same images, and then it goes on
    Process(lambda: work.call(work.children[2])).finish()
    slow.finish()
    # Then each was bought once
    assert sorted(charge.seed for charge in work.shop.charges.values()) == [1, 2]
    work.teardown()


# ---------------------------------------------------------------------- the lanes


class Lane(RuleBasedStateMachine):
    """Takers that come, go, die and lose answers; time stands still while one of them is at it."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"lane-{next(_numbers)}"
        self.now = START
        self.limits: Limits | None = None
        self.closed_until = 0.0
        self.last_taken = -math.inf
        self.held: dict[str, float] = {}
        self.given_back: list[str] = []
        self.takers: list[Process] = []

    @initialize(
        limits=st.sampled_from([None, Limits(1, 60, 30), Limits(2, 10, 30), Limits(2, 120, 5), Limits(3, 60, 90)])
    )
    def begin(self, limits: Limits | None) -> None:
        self.limits = limits

    def take(self, token: str) -> None:
        closed_until = self.closed_until
        wait = lanes.take(self.name, self.limits, token, self.now)
        assert wait >= 0
        if wait == 0:
            assert self.now >= closed_until
            if self.limits is not None:
                assert self.now >= self.last_taken + 60 / self.limits.per_minute
                self.last_taken = self.now
                self.held[token] = self.now + self.limits.job_seconds
                assert len(self.unexpired()) <= self.limits.at_once

    def unexpired(self) -> list[str]:
        return [token for token, ends in self.held.items() if ends > self.now]

    def busy(self) -> list[Process]:
        return [each for each in self.takers if not each.over]

    @rule(operations=st.sampled_from([0, 1, 2, 9, 9, 9, 9, 9]))
    def takes(self, operations: int) -> None:
        token = f"token{next(_numbers)}"
        self.takers.append(Process(lambda: self.take(token)))
        self.takers[-1].go(operations)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), operations=st.integers(1, 3), what=st.sampled_from(["goes on", "loses its answer", "dies"]))
    def taker(self, data: st.DataObject, operations: int, what: str) -> None:
        one = data.draw(st.sampled_from(self.busy()), "taker")
        if what == "dies":
            one.kill()
        else:
            one.loses_answer = what == "loses its answer"
            one.go(operations)

    @precondition(lambda self: self.held or self.given_back)
    @rule(data=st.data(), answer_is_lost=st.booleans())
    def gives_back(self, data: st.DataObject, answer_is_lost: bool) -> None:
        """A place that is held, or once more one that was given back or has expired."""
        token = data.draw(st.sampled_from([*self.held, *self.given_back]), "given back")
        giving = Process(lambda: lanes.give_back(self.name, self.limits, token))
        giving.loses_answer = answer_is_lost
        giving.finish()
        self.held.pop(token, None)
        self.given_back.append(token)

    @rule(seconds=st.sampled_from([0, 1, 3, 40]))
    def is_closed(self, seconds: float) -> None:
        lanes.close(self.name, self.now + seconds)
        self.closed_until = max(self.closed_until, self.now + seconds)

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 6, 6, 31]))
    def time_passes(self, seconds: float) -> None:
        for one in self.busy():
            one.finish()
        self.now += seconds

    @invariant()
    def every_lease_is_kept(self) -> None:
        leases: dict[str, float] = lanes._lane(self.name).leases.attribute_values
        unexpired = [token for token, ends in leases.items() if ends > self.now]
        assert set(self.unexpired()) <= set(unexpired)
        assert self.limits is None or len(unexpired) <= self.limits.at_once

    def teardown(self) -> None:
        for taker in self.busy():
            taker.kill()
        # What nobody holds any more ends with what it was taken for, also for those of whom nobody knows.
        if self.limits is not None:
            self.now += self.limits.job_seconds
        self.now = max(self.now + 6, self.closed_until)
        assert lanes.take(self.name, self.limits, "newcomer", self.now) == 0


def test_a_provider_gets_no_more_than_it_allows() -> None:
    search(Lane, examples=30, steps=30)


# ---------------------------------------------------------------------- the claims


class Claims(RuleBasedStateMachine):
    """Runs that claim the same product, by a model of what each call may change."""

    runs = st.sampled_from(["run a", "run b", "run c"])

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.item = Work.item.model_copy(update={"product_id": f"product-{next(_numbers)}"})
        self.holder: str | None = None
        self.until = 0.0
        self.filled: set[int] = set()
        self.sure: dict[str, float] = {}
        self.seen: dict[str, Any] = {}
        self.waiting: list[tuple[Process, Callable[[Any], None]]] = []

    def found(self) -> dict[str, Any]:
        product = library.get_product(self.item.product_id, consistent=True)
        return {} if product is None else dict(product.attribute_values)

    def does(self, work: Callable[[], Any], effect: Callable[[Any], None], answer_is_lost: bool) -> None:
        """Call the library; if its answer gets lost, the call is repeated later, when others may have called."""
        calling = Process(work)
        if answer_is_lost:
            calling.loses_answer = True
            self.once(calling, effect)
            self.waiting.append((calling, effect))
        else:
            self.once(calling, effect)

    def once(self, calling: Process, effect: Callable[[Any], None]) -> None:
        before, model = self.seen, (self.holder, self.until)
        calling.go()
        effect(calling.result if calling.over else ...)
        after = self.seen = self.found()
        if model == (self.holder, self.until) and before:
            assert after == before
        assert after.get("claimed_by") == self.holder
        assert self.holder is None or after["claim_expires_at"] == self.until

    @precondition(lambda self: self.waiting)
    @rule()
    def answer_comes_late(self) -> None:
        self.once(*self.waiting.pop(0))

    @rule(run_id=runs, reuse=st.sampled_from([True, True, False]), answer_is_lost=st.booleans())
    def claims(self, run_id: str, reuse: bool, answer_is_lost: bool) -> None:
        now = self.now

        def effect(answer: Any) -> None:
            free = self.holder is None or self.holder == run_id or self.until < now
            gets_it = free and not (reuse and self.filled >= {1, 2})
            if answer is not ...:  # without reuse nobody waits, though others wait for it
                assert (answer is not None) == (gets_it or not reuse)
            if gets_it:
                self.holder, self.until = run_id, now + library.CLAIM_SECONDS
                if answer is not ...:
                    self.sure[run_id] = self.until

        moment = datetime.fromtimestamp(now, UTC)
        self.does(lambda: library.claim(self.item, run_id, 2, moment, reuse=reuse), effect, answer_is_lost)

    @rule(run_id=runs, seconds=st.sampled_from([61, 90]), answer_is_lost=st.booleans())
    def renews(self, run_id: str, seconds: float, answer_is_lost: bool) -> None:
        until = self.now + seconds

        def effect(_: Any) -> None:
            if self.holder == run_id:
                self.until = until
                if self.sure.get(run_id, 0) >= self.now:  # else it may have been taken over, and it cannot tell
                    self.sure[run_id] = until

        self.does(lambda: library.renew(self.item.product_id, run_id, until), effect, answer_is_lost)

    @rule(run_id=runs, answer_is_lost=st.booleans())
    def releases(self, run_id: str, answer_is_lost: bool) -> None:
        self.sure.pop(run_id, None)

        def effect(_: Any) -> None:
            self.sure.pop(run_id, None)
            if self.holder == run_id:
                self.holder, self.until = None, 0.0

        self.does(lambda: library.release(self.item.product_id, run_id), effect, answer_is_lost)

    @precondition(lambda self: self.seen)
    @rule(variant=st.sampled_from([1, 2]))
    def gets_an_image(self, variant: int) -> None:
        Product(self.item.product_id, tables.PRODUCT).update([Product.variants.add({variant})])
        self.filled.add(variant)
        self.seen = self.found()

    @rule(seconds=st.sampled_from([1, 30, 60, 61]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_holds_it(self) -> None:
        assert sum(until >= self.now for until in self.sure.values()) <= 1

    def teardown(self) -> None:
        for calling, _ in self.waiting:
            calling.kill()
        # Whoever held it, after it has expired another gets it.
        moment = datetime.fromtimestamp(max(self.now, self.until) + 1, UTC)
        assert library.claim(self.item, "newcomer", 3, moment) is not None
        assert self.found()["claimed_by"] == "newcomer"


def test_one_run_at_a_time_holds_a_product() -> None:
    search(Claims, examples=25, steps=30)


# ---------------------------------------------------------------------- orders that broke it, or still do


@pytest.fixture
def run_id() -> str:
    return f"run-{next(_numbers)}"


@pytest.fixture
def key() -> str:
    return f"key-{next(_numbers)}"


def handed_in(key: str, run_id: str, price: int = 60, limit: int = 100) -> LedgerEntry:
    """Return the entry of a job that is about to be handed in."""
    entry = intent(key, run_id, price)
    assert entry is not None
    assert budget.reserve(entry, limit) == "reserved"
    return entry


def done(cost: int) -> ledger.Result:
    return ledger.Result("staging", "1", cost, 1, "")


def answer_lost(running: Process) -> None:
    """Do the operation that a process stands before, and then once more, as botocore does."""
    wire: Any = tables.connection()._client
    send, sent = wire.send, []

    def sending(name: str, arguments: dict[str, Any]) -> Any:
        sent.append((name, arguments))
        return send(name, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "send", sending)
        running.go()
    with contextlib.suppress(ClientError):
        wire.send(*next(call for call in sent if call[0] in WRITES))


def test_a_release_whose_answer_is_lost_gives_back_once(key: str, run_id: str) -> None:
    # Given a job in the making, and a refused one
    handed_in(key, run_id, 60)
    refused = handed_in(f"{key}-2", run_id, 40)
    # When the answer to its release is lost
    answer_lost(Process(lambda: budget.release(refused)))
    # Then the first one's reservation is still there
    assert committed_and_spent(run_id) == (60, 0)


def test_a_settlement_whose_answer_is_lost_counts_once(key: str, run_id: str) -> None:
    # Given a job that is done, and moved on in the ledger
    entry = handed_in(key, run_id)
    ledger.submitted(entry, "job")
    settling = Process(lambda: ledger.staged(entry, done(10)))
    settling.go()
    # When the answer to its settlement is lost
    answer_lost(settling)
    # Then it is counted once
    assert committed_and_spent(run_id) == (10, 10)


def test_a_withdrawal_whose_answer_is_lost_takes_out_its_own_intent_only(key: str, run_id: str) -> None:
    # Given an intent that is withdrawn, but the answer is lost
    entry = handed_in(key, run_id)
    withdrawing = Process(lambda: ledger.withdraw(entry))
    withdrawing.loses_answer = True
    withdrawing.go()
    # When someone else writes an intent for the same work before the withdrawal is repeated
    other = intent(key, run_id, 60)
    assert other is not None
    withdrawing.finish()
    # Then the other's is still there: it is being submitted, and nobody else may submit
    assert [each.token for each in ledger.attempts(key)] == [other.token]


def test_a_late_submission_is_counted(key: str, run_id: str) -> None:
    # Given a submitter that was taken for dead, and settled
    entry = handed_in(key, run_id)
    ledger.ended(ledger.attempts(key)[0], ledger.UNKNOWN, "cut off")
    # When its job's id comes after all, and Finish recounts while the job is in the making
    ledger.submitted(entry, "job")
    budget.recount(run_id, ledger.attempts(key))
    # Then the next job does not fit beside it
    beside = intent(f"{key}-2", run_id, 60)
    assert beside is not None
    assert budget.reserve(beside, 100) != "reserved"


def test_a_late_result_is_counted_once(key: str, run_id: str) -> None:
    # Given a submitter that was taken for dead, and settled
    entry = handed_in(key, run_id)
    ledger.ended(ledger.attempts(key)[0], ledger.UNKNOWN, "cut off")
    # When the provider's answer to it, which is the result, comes after all
    ledger.staged(entry, done(50), "job")
    # Then that is what was spent
    assert committed_and_spent(run_id) == (50, 50)


def test_a_recount_while_another_run_settles_counts_once(key: str, run_id: str) -> None:
    # Given another run that has found the job done, and moved it on in the ledger
    entry = handed_in(key, run_id)
    ledger.submitted(entry, "job")
    settling = Process(lambda: ledger.staged(entry, done(10)))
    settling.go()
    # When Finish recounts before the other run settles
    budget.recount(run_id, ledger.attempts(key))
    settling.finish()
    # Then the job is counted once
    assert committed_and_spent(run_id) == (10, 10)


class Remembering(SlowWork):
    """Slow work as it should be."""

    forgets = False


def test_a_late_submission_is_fetched_though_another_came_after_it() -> None:
    # Given a child whose job was accepted, and which is slow to write so
    work = Remembering()
    work.begin(False, False, [])
    slow = Process(lambda: work.call(work.children[0]))
    while not work.shop.charges:
        slow.go()
    # When another run takes it for dead and submits anew, and then it goes on
    work.now += 31
    Process(lambda: work.call(work.children[2])).finish()
    slow.finish()
    # Then nothing that was paid for is left lying
    work.teardown()
