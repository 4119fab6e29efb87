"""Finish, with tables and a bucket that are only in memory: every product is counted once, and every run ends once."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pynamodb.exceptions import UpdateError

from lookbook import aws, budget, generate, ledger, library, plan, rates, runs
from lookbook.finish import BLOCKED_LATER, NEXT_PASS_WAIT_SECONDS, STALLED_SECONDS, UNRECORDED, Finisher
from lookbook.plan import WAVES, Pass
from lookbook.providers.base import Provider
from lookbook.state import Item, ModelPhoto, RunContext
from lookbook.tables import Budget, LedgerEntry, Outcome, Product, Rate, Run
from tests.unit.fakes import Bucket, Method, Tables, a_product, method_settings, tables_in_memory

RUN_ID = "20261121T101502-3f9a2c1b"
ARN = "arn:aws:states:eu-central-1:1:execution:Pipeline:1"
PRICE, MOST, WORK_MS = 3410, 4262, 11_000
UNKNOWN_TO_THE_LEDGER = 999_999  # micro-dollars: what a dead process has left behind in a budget
TEMPLATE = (Path(__file__).resolve().parents[2] / "template.yaml").read_text()
# RunPod keeps the result of a job for so long: its serverless reference, "result retention".
RESULTS_ARE_KEPT_SECONDS = 30 * 60


class World:
    """All that Finish touches, in memory, and its clock."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        self.now = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
        self.slept: list[float] = []
        self.providers: dict[str, Provider] = {"catvton": Method(), "openai": Method("openai", wears=False)}

    # --- what is given

    def begin(self, to_do: int, *, asked: dict[str, Any] | None = None, **run: Any) -> dict[str, Any]:
        """A run as Ingest hands it to the map: `asked` is what was asked for, `run` what its record has besides."""
        given = {"run_id": RUN_ID, "variants": 1, "reuse": True, "max_concurrency": 8, **(asked or {})}
        photos = [ModelPhoto(name="anna", key="models/anna.jpg", sha256="c" * 64)]
        context = RunContext.model_validate({"model_photos": photos, **given})
        about = {"name": "scrape", "status": runs.RUNNING, "options": {}, "started_by": "me", "created_at": "2026"}
        Run(RUN_ID, **{**about, "products": to_do, "to_do": to_do, **run}).save()
        items = [a_product(index=index, product_id=f"p{index}", title=f"Shirt {index}") for index in range(to_do)]
        self.bucket.objects[plan.items_key(RUN_ID)] = b"".join(plan.dump(item) for item in items)
        first = plan.write_pass("bucket", RUN_ID, 1, [], 0, WAVES * context.max_concurrency)
        progress_at = self.now.timestamp()
        first_pass = first.model_dump() if first else None
        return {"next": "products", "run": context.model_dump(), "pass": first_pass, "progress_at": progress_at}

    def records(self, *product_ids: str, status: str = "generated", **given: Any) -> None:
        """What the state machine writes when a child ends: as it does, only over nothing and over `deferred`."""
        made = 1 if status == "generated" else 0
        about = {"reason": "", "method": "catvton", "work": "", "images_generated": made, "images_reused": 0}
        cost = {"cost_microusd": PRICE * made, "work_ms": WORK_MS * made}
        outcome: Any = Outcome
        for product_id in product_ids:
            recorded = outcome(RUN_ID, plan.outcome_key(product_id), status=status, **(about | cost | given))
            recorded.save(Outcome.run_id.does_not_exist() | (Outcome.status == "deferred"))

    def pays(self, product_id: str, status: str = ledger.SUCCEEDED, *, number: int = 1, **given: Any) -> None:
        """An attempt that the run has in the ledger."""
        known = PRICE if status not in budget.IN_FLIGHT else 0
        cost = {"cost_microusd": known, "reserved_microusd": MOST, "work_ms": WORK_MS}
        about = {"product_id": product_id, "variant": 1, "provider": "catvton", "token": "t", "created_at": 900.0}
        key = (ledger.work_id(f"work-of-{product_id}"), f"attempt#{number:04d}")
        entry: Any = LedgerEntry
        entry(*key, status=status, paid_by=RUN_ID, **(about | cost | given)).save()

    def generates(self, *product_ids: str) -> None:
        """Children that end well."""
        self.records(*product_ids)
        for product_id in product_ids:
            self.pays(product_id)

    def claims(self, product_id: str, *variants: int) -> None:
        """A product that the run holds, and its variants that are there."""
        assert library.claim(a_product(product_id=product_id), RUN_ID, 3, self.now) is not None
        if variants:
            Product(product_id, "product").update([Product.variants.add(set(variants))])

    # --- what is done

    def finish(self, state: dict[str, Any], **error: str) -> dict[str, Any]:
        if error:
            state = {**state, "error": error}
        return Finisher(method_settings(), self.providers).finish(state, ARN, self.now)

    # --- what is there then

    def items(self, state: dict[str, Any]) -> list[Item]:
        """The products of a pass."""
        lines = plan.read_lines("bucket", Pass.model_validate(state["pass"]).items_key)
        return [Item.model_validate_json(line) for _, line in lines]

    def ids(self, state: dict[str, Any]) -> list[str]:
        return [item.product_id for item in self.items(state)]

    def run(self) -> Any:
        """The run; Any, as PynamoDB's types know of no attribute that is not there."""
        return runs.get(RUN_ID)

    def counts(self) -> dict[str, int]:
        """The run's counts that are not 0, and these add up to the products that were asked for."""
        found = runs.show(self.run())["counts"]
        told = {name: found[name] for name in (*runs.COUNTED, "rejected", "deferred")}
        assert sum(told.values()) == found["products"], "each product has ended in one way"
        return {name: count for name, count in told.items() if count}

    def spent(self) -> tuple[int, int]:
        found = budget.look(RUN_ID)
        return int(found.committed_microusd), int(found.spent_microusd)

    def claimed_by(self, product_id: str) -> Any:
        product: Any = library.get_product(product_id)
        return product.claimed_by


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(time, "sleep", made.slept.append)
    monkeypatch.setattr(rates, "_kept", {})
    return made


def spoil_budget() -> None:
    """Leave behind in the budget what is not in the ledger."""
    found = budget.look(RUN_ID)
    found.committed_microusd = found.spent_microusd = UNKNOWN_TO_THE_LEDGER
    found.save()


# --- from pass to pass ---------------------------------------------------------------------------------------------


def test_a_product_without_a_record_gets_one_more_pass_and_then_has_failed(world: World) -> None:
    # Given two products, and a child that ended without a record
    state = world.begin(2)
    world.generates("p0")
    world.claims("p1")

    # When the pass is counted, then that one is tried again
    again = world.finish(state)
    assert (again["next"], again["pass"]["number"], again["wait_seconds"]) == ("again", 2, NEXT_PASS_WAIT_SECONDS)
    assert [(item.product_id, item.unrecorded) for item in world.items(again)] == [("p1", 1)]
    assert again["run"] == state["run"]

    # And when it has no record again, then it has failed, and others may try
    assert world.finish(again)["next"] == runs.PARTIAL
    assert world.counts() == {"generated": 1, "failed": 1}
    about = {"index": 1, "product_id": "p1", "title": "Shirt 1", "status": "failed"}
    assert world.run().problems == [{**about, "reason": UNRECORDED}]
    assert world.claimed_by("p1") is None


def test_a_product_whose_record_comes_in_the_second_pass_is_as_good_as_any(world: World) -> None:
    again = world.finish(world.begin(1))
    world.generates("p0")
    assert world.finish(again)["next"] == runs.SUCCEEDED
    assert world.counts() == {"generated": 1}


def test_why_the_map_broke_is_said_of_those_it_left_without_a_record(world: World) -> None:
    # Given a map that Step Functions has stopped, twice
    error = {"Error": "States.ExceedToleratedFailureThreshold", "Cause": '{"errorMessage": "Too much."}'}
    again = world.finish(world.begin(1), **error)
    told = world.finish(again, **error)

    # Then the product says so, in words
    assert told["next"] == runs.FAILED
    assert world.run().problems[0]["reason"] == "A step failed unexpectedly: Too much."


def test_what_was_put_off_goes_first_and_then_what_there_is_room_for(world: World) -> None:
    # Given more products than a pass has room for
    state = world.begin(25, asked={"max_concurrency": 1})
    assert world.ids(state) == [f"p{index}" for index in range(10)]

    # When some are put off, and one was lost
    world.generates(*(f"p{index}" for index in (0, 1, 2, 4, 5, 6, 9)))
    world.records("p3", "p7", status="deferred", reason="It takes longer.")
    second = world.finish(state)

    # Then these are first in the next pass, and new ones fill it up
    assert world.ids(second) == ["p3", "p7", "p8", *(f"p{index}" for index in range(10, 17))]
    assert len(world.ids(second)) == WAVES * 1
    assert world.run().note == "3 products are put off: It takes longer."

    # And when the rest ends well, then each product has had its turn, and the note is gone
    world.generates(*world.ids(second))
    third = world.finish(second)
    assert (world.ids(third), third["wait_seconds"]) == ([f"p{index}" for index in range(17, 25)], 1)
    world.generates(*world.ids(third))
    assert world.finish(third) == {"next": runs.SUCCEEDED, "reason": runs.SUCCEEDED}
    assert (world.counts(), world.run().note, world.run().passes_counted) == ({"generated": 25}, "", 3)


def test_a_pass_has_room_for_ten_waves_of_children(world: World) -> None:
    state = world.begin(100, asked={"max_concurrency": 3})
    assert len(world.ids(state)) == 3 * WAVES
    world.generates(*world.ids(state))
    assert len(world.ids(world.finish(state))) == 3 * WAVES


def test_a_pass_is_over_before_results_are_forgotten() -> None:
    """What is put off at the beginning of a pass has to be fetched at the beginning of the next one."""
    parameter = TEMPLATE.split("  DeferAfterSeconds:\n", 1)[1]
    found = re.search(r"^    MaxValue: (\d+)$", parameter.split("\n  L", 1)[0], re.MULTILINE)
    assert found is not None
    longest_child = int(found[1]) + generate.MAX_WAIT_SECONDS
    assert WAVES * longest_child + NEXT_PASS_WAIT_SECONDS < RESULTS_ARE_KEPT_SECONDS


@pytest.mark.parametrize("more", [0, 20])
def test_a_pass_is_counted_once_however_often_finish_is_called(world: World, more: int) -> None:
    # Given a pass of which every kind of outcome is recorded, and perhaps another one to follow
    state = world.begin(8 + more, asked={"max_concurrency": 1} if more else None)
    world.generates("p0", "p1")
    for number, status in enumerate(("reused", "linked", "failed", "blocked", "over_budget"), start=2):
        world.records(f"p{number}", status=status, images_reused=1)
    world.records("p7", status="deferred")

    # When Finish is called again, as its answer was lost
    told = world.finish(state)
    run = world.run()
    again = world.finish(state)

    # Then it says the same, and has counted nothing twice
    assert (told["next"], again) == ("again", told)
    assert world.ids(again)[0] == "p7"
    assert runs.show(world.run()) == runs.show(run)
    assert {name: getattr(run, name) for name in runs.COUNTED} == {
        "generated": 2,
        "linked": 1,
        "reused": 1,
        "planned": 0,
        "failed": 1,
        "blocked": 1,
        "over_budget": 1,
    }
    assert (run.images_generated, run.images_reused, run.cost_microusd) == (2, 5, 2 * PRICE)
    assert [problem["status"] for problem in run.problems] == ["failed", "blocked", "over_budget"]


def test_a_run_that_makes_no_progress_for_an_hour_is_given_up(world: World) -> None:
    # Given a run of which all that was begun is put off, again and again
    state = world.begin(12, asked={"max_concurrency": 1})
    for product_id in world.ids(state):
        world.claims(product_id)
    world.records(*world.ids(state), status="deferred", reason="The GPU is busy.")
    world.now += timedelta(seconds=STALLED_SECONDS)
    state = world.finish(state)
    assert state["next"] == "again", "an hour to the second is not too long"

    # When it has not come to an end for longer, then all that is left is put off for good, and free
    world.now += timedelta(seconds=1)
    assert world.finish(state)["next"] == runs.FAILED
    assert world.counts() == {"deferred": 12}
    assert ({problem["reason"] for problem in world.run().problems}, world.run().note) == ({"The GPU is busy."}, "")
    assert [problem["index"] for problem in world.run().problems] == list(range(10))
    assert world.claimed_by("p0") is None


def test_an_hour_is_counted_from_the_last_product_that_came_to_an_end(world: World) -> None:
    # Given a long pass in which one product fails, and the others are put off
    state = world.begin(3)
    world.records("p0", status="failed")
    world.records("p1", "p2", status="deferred")
    world.now += timedelta(seconds=STALLED_SECONDS + 1)
    state = world.finish(state)
    assert state["next"] == "again"

    # Then the next one may again take so long
    world.now += timedelta(seconds=STALLED_SECONDS)
    state = world.finish(state)
    assert state["next"] == "again"
    world.now += timedelta(seconds=1)
    assert world.finish(state)["next"] == runs.FAILED
    assert world.counts() == {"failed": 1, "deferred": 2}


# --- stopped -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bought", [ledger.INTENT, ledger.SUBMITTED, ledger.STAGED])
@pytest.mark.parametrize(("kind", "ends"), [(budget.DEFERRED, "deferred"), (budget.OVER_BUDGET, "over_budget")])
def test_of_a_stopped_run_only_what_is_in_flight_goes_on(world: World, kind: str, ends: str, bought: str) -> None:
    # Given a run that is stopped when of its first ten products one is there, and one is paid for and not fetched yet
    state = world.begin(14, asked={"max_concurrency": 1})
    world.generates("p0")
    world.records("p1", status="deferred")
    world.pays("p1", bought)
    world.records(*(f"p{index}" for index in range(2, 10)), status=kind, reason="Enough.")
    budget.stop(RUN_ID, kind, "Enough.")

    # When the pass is counted, then only that one goes on, marked, and no new ones are begun
    again = world.finish(state)
    assert [(item.product_id, item.in_flight) for item in world.items(again)] == [("p1", True)]
    assert world.run().note == "Enough."

    # And when it is there, then all that was not begun ends as the stop says, and it adds up
    world.records("p1")
    world.pays("p1", ledger.SUCCEEDED)
    told = world.finish(again)
    assert (told["next"], world.counts()) == (runs.PARTIAL, {"generated": 2, ends: 12})
    run = world.run()
    assert (run.stop_status, run.stop_reason) == (kind, "Enough.")
    assert run.reason == f"12 of 14 products did not get all their images: 12 {ends.replace('_', ' ')}. Enough."


@pytest.mark.parametrize(
    ("kind", "counts"), [("deferred", {"deferred": 4}), ("over_budget", {"deferred": 1, "over_budget": 3})]
)
def test_a_stopped_run_with_nothing_in_flight_ends_at_once(world: World, kind: str, counts: dict[str, int]) -> None:
    # Given a run that is stopped when one product is put off, and its only attempt has come to nothing
    state = world.begin(4)
    world.records("p0", status="deferred", reason="Busy.")
    world.pays("p0", ledger.FAILED)
    world.records("p1", "p2", "p3", status=kind, reason="Enough.")
    budget.stop(RUN_ID, kind, "Enough.")

    # Then there is no other pass: as what its record says it ends, and the others as the stop says
    assert world.finish(state)["next"] == runs.FAILED
    assert world.counts() == counts
    assert {problem["product_id"]: problem["status"] for problem in world.run().problems}["p0"] == "deferred"


def test_a_run_that_goes_on_has_its_products_in_flight_marked(world: World) -> None:
    # Given a run with a budget of which two products are put off, one of them paid for
    state = world.begin(2, asked={"budget_microusd": 10_000})
    world.records("p0", "p1", status="deferred")
    world.pays("p1", ledger.SUBMITTED)
    again = world.finish(state)
    assert [(item.product_id, item.in_flight) for item in world.items(again)] == [("p0", False), ("p1", True)]


# --- the budget ----------------------------------------------------------------------------------------------------


def test_the_budget_is_recounted_from_the_ledger_before_another_pass(world: World) -> None:
    # Given a budget in which a dead process has left what it reserved, and a ledger with attempts of all kinds
    state = world.begin(4, asked={"budget_microusd": 100_000})
    spoil_budget()
    world.generates("p0")
    world.records("p1", "p2", "p3", status="deferred")
    world.pays("p1", ledger.SUBMITTED)
    world.pays("p2", ledger.FAILED, cost_microusd=217)
    world.pays("p3", ledger.UNKNOWN, cost_microusd=0)

    # When another pass follows, then the budget is what the ledger says
    assert world.finish(state)["next"] == "again"
    assert world.spent() == (PRICE + MOST + 217 + MOST, PRICE + 217 + MOST)


def test_also_of_a_run_without_a_budget_that_is_stopped_with_jobs_in_flight(world: World) -> None:
    state = world.begin(1)
    world.records("p0", status="deferred")
    world.pays("p0", ledger.SUBMITTED)
    budget.stop(RUN_ID, budget.DEFERRED, "Enough.")
    spoil_budget()
    assert world.finish(state)["next"] == "again"
    assert world.spent() == (MOST, 0)
    assert budget.look(RUN_ID).stop_reason == "Enough."


def test_an_index_that_lags_behind_is_waited_for(world: World) -> None:
    # Given an index that does not have yet what children have recorded as spent
    state = world.begin(2, asked={"budget_microusd": 100_000})
    world.generates("p0")
    world.records("p1", status="deferred")
    world.tables.index_lag = 2

    assert world.finish(state)["next"] == "again"
    assert (world.spent(), len(world.slept)) == ((PRICE, PRICE), 2)


def test_nor_is_it_waited_for_for_ever(world: World) -> None:
    state = world.begin(1)
    world.generates("p0")
    world.tables.index_lag = 1000
    assert world.finish(state)["next"] == runs.SUCCEEDED
    assert sum(world.slept) < 10


def test_a_plan_has_no_budget_to_recount(world: World) -> None:
    state = world.begin(2, asked={"plan": True, "budget_microusd": 100_000}, purpose=runs.PLAN)
    spoil_budget()
    world.records("p0", status="planned", work="a", cost_microusd=PRICE)
    assert world.finish(state)["next"] == "again"
    assert (world.spent(), world.slept) == ((UNKNOWN_TO_THE_LEDGER, UNKNOWN_TO_THE_LEDGER), [])


# --- how runs end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "rejected", "ends", "because"),
    [
        (["generated", "generated"], 0, runs.SUCCEEDED, None),
        (["linked", "reused"], 0, runs.SUCCEEDED, None),
        (["generated", "failed"], 0, runs.PARTIAL, "1 of 2 products did not get all their images: 1 failed."),
        (["linked", "blocked"], 0, runs.PARTIAL, "1 of 2 products did not get all their images: 1 blocked."),
        (["reused"], 1, runs.PARTIAL, "1 of 2 products did not get all their images: 1 rejected."),
        (["failed", "blocked"], 1, runs.FAILED, "3 of 3 products did not get all their images: 1 rejected, 1 failed, "),
        (["over_budget"], 0, runs.FAILED, "1 of 1 products did not get all their images: 1 over budget."),
    ],
)
def test_a_run_is_as_good_as_its_products(
    world: World, outcomes: list[str], rejected: int, ends: str, because: str | None
) -> None:
    state = world.begin(len(outcomes), products=len(outcomes) + rejected, rejected=rejected)
    for number, status in enumerate(outcomes):
        if status == "generated":
            world.generates(f"p{number}")
        else:
            world.records(f"p{number}", status=status)

    told = world.finish(state)

    run = world.run()
    assert (told["next"], run.status, run.finished_at) == (ends, ends, "2026-11-21T10:20:00.000Z")
    assert (run.reason or "").startswith(because or "")
    assert told["reason"] == (run.reason or runs.SUCCEEDED)
    assert (run.reason is None) == (because is None)
    assert sum(world.counts().values()) == len(outcomes) + rejected


def test_some_images_of_one_product_are_better_than_none(world: World) -> None:
    # Given a product that got one of two images
    state = world.begin(1)
    world.records("p0", status="failed", images_generated=1, cost_microusd=2 * PRICE)
    world.pays("p0")
    world.pays("p0", ledger.FAILED, number=2)
    assert world.finish(state)["next"] == runs.PARTIAL


def test_a_run_that_has_nothing_to_do_ends_at_once(world: World) -> None:
    # Given a scrape of which all is reused, or rejected
    state = world.begin(0, products=3, reused=3, planned_reused=3)
    assert state["pass"] is None
    assert world.finish(state)["next"] == runs.SUCCEEDED
    assert world.counts() == {"reused": 3}


def test_what_was_reused_by_plan_and_what_was_on_the_way_are_both_counted(world: World) -> None:
    # Given products that Ingest found complete, and one that another run completed meanwhile
    state = world.begin(3, products=5, reused=2, planned_reused=2)
    world.records("p0", status="reused")
    world.records("p1", "p2", status="deferred")
    budget.stop(RUN_ID, budget.DEFERRED, "Enough.")
    world.finish(state)
    assert world.counts() == {"reused": 3, "deferred": 2}


def test_the_cost_of_a_run_is_what_its_ledger_says(world: World) -> None:
    # Given a product that was paid for twice, and one whose child died before it could tell what it cost
    state = world.begin(2)
    world.generates("p0")
    world.pays("p0", ledger.FAILED, number=2, cost_microusd=217, work_ms=700, provider="openai")
    state = world.finish(state)
    world.pays("p1", ledger.UNKNOWN, cost_microusd=0, work_ms=0)
    world.finish(state)

    # Then the run's cost is the sum of its attempts, and the ledger is summed up with it
    run = world.run()
    assert (run.cost_microusd, run.work_ms) == (PRICE + 217, WORK_MS + 700)
    sums = [(row["provider"], row["attempts"], row["succeeded"], row["failed"], row["unknown"]) for row in run.ledger]
    assert sums == [("catvton", 2, 1, 0, 1), ("openai", 1, 0, 1, 0)]


def test_an_image_that_was_committed_by_a_child_that_died_is_counted(world: World) -> None:
    # Given a child that saved two images, and ended without a record in both passes
    state = world.finish(world.begin(1))
    world.pays("p0")
    world.pays("p0", number=2, variant=2)

    assert world.finish(state)["next"] == runs.PARTIAL
    assert (world.run().images_generated, world.counts()) == (2, {"failed": 1})


def test_images_of_results_that_others_paid_for_are_counted_too(world: World) -> None:
    # Given images that were made of what a dead run had paid for
    state = world.begin(1)
    world.records("p0", images_generated=3, cost_microusd=0)
    world.finish(state)
    assert (world.run().images_generated, world.run().cost_microusd) == (3, 0)


# --- plans ---------------------------------------------------------------------------------------------------------


def test_a_plan_ends_planned_and_with_a_forecast(world: World) -> None:
    # Given a plan whose products have been looked at: two want the same work
    state = world.begin(3, asked={"plan": True}, purpose=runs.PLAN)
    world.records("p0", status="planned", work="a b", images_generated=2, cost_microusd=2 * PRICE)
    world.records("p1", status="planned", work="b c", images_generated=2, cost_microusd=2 * PRICE)
    world.records("p2", status="reused")

    # When it is finished
    told = world.finish(state)

    # Then it says what would be made, and has made and spent nothing
    run = world.run()
    assert told == {"next": runs.PLANNED, "reason": runs.PLANNED}
    assert (run.status, world.counts()) == (runs.PLANNED, {"planned": 2, "reused": 1})
    assert (run.images_generated, run.cost_microusd, run.work_ms, run.ledger) == (0, 0, 0, [])
    assert (run.plan["images_to_generate"], run.plan["cost_usd"]) == (3, pytest.approx(3 * PRICE / 1e6))
    assert [(each["method"], each["products"], each["images"]) for each in run.plan["methods"]] == [("catvton", 2, 3)]
    assert world.slept == []


# --- what is learnt ------------------------------------------------------------------------------------------------


def test_the_next_estimate_is_made_of_what_images_have_cost(world: World) -> None:
    # Given a run with images by two methods, and attempts that brought none
    state = world.begin(3)
    world.generates("p0", "p1")
    world.records("p2")
    world.pays("p2", provider="openai", cost_microusd=40_000, work_ms=30_000)
    world.pays("p2", ledger.FAILED, number=2)
    world.pays("p2", ledger.BLOCKED, number=3, provider="openai")
    world.finish(state)

    # Then each method's rate has its own images, and only these
    learnt = [Rate.get(rates.rate_id(provider), "rate") for provider in world.providers.values()]
    assert [(rate.images, rate.cost_microusd, rate.work_ms) for rate in learnt] == [
        (2, 2 * PRICE, 2 * WORK_MS),
        (1, 40_000, 30_000),
    ]

    # And not twice
    world.finish(state)
    assert Rate.get(rates.rate_id(world.providers["catvton"]), "rate").images == 2


# --- placeholders that were found too late -------------------------------------------------------------------------


def test_what_had_taken_a_placeholder_for_an_image_is_not_generated(world: World) -> None:
    # Given three products that were recorded as generated, before an image of two was known to be a placeholder
    state = world.begin(3, asked={"variants": 2})
    for product_id in ("p0", "p1", "p2"):
        world.records(product_id, images_generated=2, cost_microusd=2 * PRICE)
    world.claims("p0", 2)
    world.pays("p0", ledger.BLOCKED)
    world.pays("p0", number=2)

    # And of which one has got another one for it, by another seed
    world.claims("p1", 1, 2)
    world.pays("p1", ledger.BLOCKED)
    world.pays("p1", number=2)
    world.pays("p1", number=3)
    world.claims("p2", 1, 2)
    world.pays("p2")
    world.pays("p2", number=2)

    # When the run ends
    told = world.finish(state)

    # Then the one that lacks an image is not counted as generated, and says why; the others are
    assert told["next"] == runs.PARTIAL
    assert (world.counts(), world.run().images_generated) == ({"generated": 2, "failed": 1}, 5)
    recorded = {each.sort_key: each for each in Outcome.query(RUN_ID, Outcome.sort_key.startswith("item#"))}
    assert {key: each.status for key, each in recorded.items()} == {
        "item#p0": "failed",
        "item#p1": "generated",
        "item#p2": "generated",
    }
    assert recorded["item#p0"].reason == BLOCKED_LATER
    assert [(each["product_id"], each["reason"]) for each in world.run().problems] == [("p0", BLOCKED_LATER)]


def test_what_ended_otherwise_stays_as_it_was_recorded(world: World) -> None:
    # Given a product that was blocked at once, and has nothing
    state = world.begin(1)
    world.records("p0", status="blocked", reason="The filter blocked it.")
    world.pays("p0", ledger.BLOCKED)
    world.finish(state)
    assert world.counts() == {"blocked": 1}
    assert [problem["reason"] for problem in world.run().problems] == ["The filter blocked it."]


# --- a run ends once -----------------------------------------------------------------------------------------------


def test_a_run_that_has_ended_is_not_ended_again(world: World) -> None:
    # Given a run that has ended
    state = world.begin(2)
    world.generates("p0")
    world.records("p1", status="failed", reason="No.")
    told = world.finish(state)
    before = world.tables.copy()

    # When Finish is called again, later, then it says the same and changes nothing
    world.now += timedelta(hours=1)
    assert world.finish(state) == told
    assert world.tables.rows == before


def test_of_two_that_end_a_run_at_once_the_first_is_heard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run that is closed as dead while it is being finished
    state = world.begin(1)
    world.generates("p0")
    look = budget.look

    def closes(run_id: str) -> Budget:
        runs.close_dead(world.run(), "It died.", world.now)
        return look(run_id)

    monkeypatch.setattr(budget, "look", closes)

    # Then its end stays as it was written, and the state machine's next try finds it
    with pytest.raises(UpdateError):
        world.finish(state)
    assert world.finish(state) == {"next": runs.FAILED, "reason": "It died."}


def test_a_scrape_that_cannot_be_used_fails_its_run_with_the_reason(world: World) -> None:
    state = world.begin(0, reason="The file is cut off.")
    assert world.finish(state) == {"next": runs.FAILED, "reason": "The file is cut off."}
    assert (world.run().status, world.run().reason) == (runs.FAILED, "The file is cut off.")


# --- Ingest broke --------------------------------------------------------------------------------------------------

BROKEN = {"Error": "RuntimeError", "Cause": '{"errorMessage": "Out of memory", "stackTrace": ["…"]}'}
STARTED_BY_API = {"run_id": RUN_ID, "name": "scrape", "key": "scrapes/x.json"}
UPLOADED = {
    "time": "2026-11-21T10:15:02Z",
    "detail-type": "Object Created",
    "detail": {"object": {"key": f"scrapes/uploads/{RUN_ID}/mine.json", "version-id": "v1", "sequencer": "00"}},
}


@pytest.mark.parametrize("given", [STARTED_BY_API, UPLOADED])
@pytest.mark.parametrize("begun", [True, False])
def test_a_run_whose_ingest_broke_fails_with_a_reason_in_words(
    world: World, given: dict[str, Any], begun: bool
) -> None:
    # Given an Ingest that broke, after it had begun the run or before
    if begun:
        assert runs.begin(runs.identify(given), ARN, world.now) is not None

    told = world.finish({**given, "error": BROKEN})

    run = world.run()
    reason = "A step failed unexpectedly: Out of memory"
    assert told == {"next": runs.FAILED, "reason": reason}
    assert (run.status, run.reason, run.execution_arn) == (runs.FAILED, reason, ARN)
    assert run.finished_at is not None
    assert runs.show(run)["counts"]["products"] == 0


def test_an_execution_whose_ingest_broke_leaves_another_ones_run_alone(world: World) -> None:
    # Given an upload that was announced twice, and is at work in another execution
    runs.begin(runs.identify(STARTED_BY_API), f"{ARN}2", world.now)
    before = world.tables.copy()

    told = world.finish({**STARTED_BY_API, "error": BROKEN})

    assert (told["next"], world.tables.rows) == (runs.FAILED, before)
    assert "belongs to another execution" in told["reason"]
