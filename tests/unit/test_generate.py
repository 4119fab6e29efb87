"""Generate, step by step, with a provider, a ledger and a bucket that are only in memory: what is bought, and when."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from PIL import Image

from lookbook import aws, budget, generate, lanes, ledger, library, rates, runs
from lookbook.errors import NotFoundError, SourceImageError
from lookbook.fetch import SourceUnavailableError
from lookbook.generate import Generator
from lookbook.ledger import Result
from lookbook.providers.base import (
    Estimate,
    JobState,
    Limits,
    Order,
    Parameters,
    Provider,
    RefusedError,
    Submission,
    TroubleError,
    UncertainError,
)
from lookbook.providers.catvton import Catvton
from lookbook.reuse import OTHER_SEED
from lookbook.state import Item, Job, ModelPhoto, ProductState, RunContext
from lookbook.tables import Budget, LedgerEntry
from tests.unit.fakes import a_product, method_settings

RUN_ID = "20261121T101502-3f9a2c1b"
ANOTHER = "20261121T101503-3f9a2c1b"
PRICE, MOST = 3410, 4262

WAITING = JobState("waiting")
DONE = JobState("completed", PRICE, 11_000, "11.00 s", b"result", "catvton@1")
FAILED = JobState("failed", 217, 700, "0.70 s", reason="The GPU worker failed.")
FINAL = JobState("failed", reason="No body was found.", final=True)
BLOCKED = JobState("blocked", PRICE, 11_000, reason="The filter blocked it.")
GONE = JobState("gone", reason="The job is not known any more.")


class FakeProvider:
    """Answers each submission, and each poll of a job, as it is told; by default it makes a picture in no time."""

    name = "catvton"
    about = "makes what it is told"
    licence = "none"
    model_version = "1"
    placeholders = False
    limits: Limits | None = None
    call_seconds = 35.0
    unavailable = ""

    def __init__(self, *, moody: bool = False, wears: bool = False) -> None:
        self.moody = moody
        self.wears = wears
        self.orders: list[Order] = []
        self.on_submit: Callable[[Order], Submission] = lambda order: Submission(f"job-{order.seed}")
        self.on_poll: Callable[[str], JobState] = lambda _: DONE

    def parameters(self, product: Item, seed: int) -> Parameters:
        return {"category": product.garment, "seed": seed}

    def estimate(self) -> Estimate:
        return Estimate(PRICE, MOST, 11_000, "as configured")

    def submit(self, order: Order) -> Submission:
        self.orders.append(order)
        return self.on_submit(order)

    def poll(self, job_id: str) -> JobState:
        return self.on_poll(job_id)

    def answers(self, *told: Submission | Exception) -> None:
        """Give one answer after the other; the last one for ever."""
        left = list(told)

        def submit(_: Order) -> Submission:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.on_submit = submit

    @property
    def seeds(self) -> list[int]:
        return [order.seed for order in self.orders]


class World:
    """All that Generate touches, in memory, and its clock."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.entries: dict[str, list[LedgerEntry]] = {}
        self.bucket: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.reserved = 0
        self.budget_answer: budget.Answer = "reserved"
        self.stop: tuple[str, str] | None = None
        self.lane_wait = 0.0
        self.lane_closed_until = 0.0
        self.released = False
        self.costs_after_end: list[tuple[Any, ...]] = []
        self.now = 1000.0
        self.seconds_left = 150.0
        self.picture: bytes | Exception = jpeg()

    # --- the ledger

    def write_intent(self, reuse_key: str, previous: LedgerEntry | None, **given: Any) -> LedgerEntry | None:
        attempts = self.entries.setdefault(reuse_key, [])
        if (attempts[-1] if attempts else None) is not previous:
            return None
        entry = self.entry(reuse_key, len(attempts) + 1, ledger.INTENT, **given)
        entry.paid_by, entry.created_at = given["run_id"], given["now"]
        attempts.append(entry)
        return entry

    @staticmethod
    def entry(reuse_key: str, number: int, status: str, **given: Any) -> LedgerEntry:
        kept = {name: value for name, value in given.items() if name not in {"run_id", "now"}}
        return LedgerEntry(ledger.work_id(reuse_key), f"attempt#{number:04d}", status=status, **kept)

    def withdraw(self, entry: LedgerEntry) -> bool:
        for attempts in self.entries.values():
            if entry in attempts:
                attempts.remove(entry)
                return True
        return False

    @staticmethod
    def submitted(entry: LedgerEntry, job_id: str) -> None:
        entry.status, entry.job_id = ledger.SUBMITTED, job_id

    @staticmethod
    def staged(entry: LedgerEntry, result: Result, job_id: str = "") -> None:
        entry.status, entry.staging_key, entry.job_id = ledger.STAGED, result.staging_key, job_id or entry.job_id
        entry.cost_microusd, entry.work_ms, entry.usage = result.cost_microusd, result.work_ms, result.usage

    @staticmethod
    def ended(entry: LedgerEntry, status: str, reason: str, **told: Any) -> None:
        entry.status, entry.reason, entry.final = status, reason, told.get("final", False)
        entry.cost_microusd, entry.work_ms = told.get("cost_microusd", 0), told.get("work_ms", 0)
        entry.job_id = told.get("job_id") or entry.job_id

    # --- money, lanes, S3

    def reserve(self, entry: LedgerEntry, _: int | None) -> budget.Answer:
        if self.stop:
            return "stopped"
        self.reserved += int(entry.reserved_microusd) if self.budget_answer == "reserved" else 0
        return self.budget_answer

    def give_money_back(self, entry: LedgerEntry) -> None:
        self.reserved -= int(entry.reserved_microusd)

    def stop_run(self, _: str, status: str, reason: str) -> bool:
        self.stop = self.stop or (status, reason)
        return True

    def look(self, run_id: str) -> Budget:
        return Budget(run_id, stop_status=self.stop and self.stop[0], stop_reason=self.stop and self.stop[1])

    def close_lane(self, _: str, until: float) -> None:
        self.lane_closed_until = until

    def put_object(self, *, Key: str, Body: bytes, Metadata: dict[str, str], **_: Any) -> None:  # noqa: N803 - boto3's
        self.bucket[Key], self.metadata[Key] = Body, Metadata

    def head_metadata(self, _: str, key: str) -> dict[str, str]:
        if key not in self.metadata:
            raise NotFoundError("It is not there.")
        return self.metadata[key]

    def fetch(self, *_: Any, **__: Any) -> bytes:
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture

    # --- what tests do

    def advance(self, state: ProductState) -> ProductState:
        """Let Generate run once, as the state machine does: what goes in and comes out is JSON."""
        providers: dict[str, Provider] = {"catvton": self.provider}
        told = Generator(providers, "bucket").advance(state, lambda: self.now, lambda: self.seconds_left)
        return ProductState.model_validate_json(told.model_dump_json())

    def until_it_ends(self, state: ProductState) -> ProductState:
        """Go on as long as Generate wants to."""
        for _ in range(20):
            state = self.advance(state)
            if state.next != "wait":
                return state
            self.now += state.wait_seconds
        raise AssertionError("It goes on for ever.")


def jpeg(colour: str = "blue") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(FakeProvider())
    monkeypatch.setattr(ledger, "attempts", lambda key: list(made.entries.get(key, [])))
    for name in ("write_intent", "withdraw", "submitted", "staged", "ended"):
        monkeypatch.setattr(ledger, name, getattr(made, name))
    monkeypatch.setattr(budget, "reserve", made.reserve)
    monkeypatch.setattr(budget, "release", made.give_money_back)
    monkeypatch.setattr(budget, "stop", made.stop_run)
    monkeypatch.setattr(budget, "look", made.look)
    monkeypatch.setattr(runs, "add_cost_after_end", lambda *told: made.costs_after_end.append(told))
    monkeypatch.setattr(lanes, "take", lambda *_: made.lane_wait)
    monkeypatch.setattr(lanes, "give_back", lambda *_: None)
    monkeypatch.setattr(lanes, "close", made.close_lane)
    monkeypatch.setattr(rates, "estimate", lambda provider: provider.estimate())
    monkeypatch.setattr(library, "renew", lambda *_: None)
    monkeypatch.setattr(library, "remember_source", lambda *_: None)
    monkeypatch.setattr(library, "release", lambda *_: setattr(made, "released", True))
    monkeypatch.setattr(aws, "s3", lambda: made)
    monkeypatch.setattr(aws, "head_metadata", made.head_metadata)
    monkeypatch.setattr(generate, "fetch_picture", made.fetch)
    return made


def begun(variants: int = 1, *, plan: bool = False, missing: list[int] | None = None, **run: Any) -> ProductState:
    """A product as Check hands it on."""
    photos = [ModelPhoto(name="p", key="models/p.jpg", sha256="c" * 64)]
    given: dict[str, Any] = {"run_id": RUN_ID, "plan": plan, "variants": variants, "reuse": True, "max_concurrency": 8}
    return ProductState(
        run=RunContext(model_photos=photos, **(given | run)),
        product=a_product(),
        next="generate",
        started_at=1000.0,
        defer_at=1125.0,
        claimed_until=1060.0,
        missing=missing or list(range(1, variants + 1)),
    )


def key_of(world: World, seed: int) -> str:
    """The reuse key of the product's variant with this seed."""
    turn = generate._Turn(Generator({}, "bucket"), begun(), world.provider, lambda: 0, lambda: 0)
    source = world.picture if isinstance(world.picture, bytes) else b""
    with_source = begun().model_copy(update={"source_sha256": hashlib.sha256(source).hexdigest()})
    return turn.job(with_source, 1, seed).reuse_key


def attempt(world: World, seed: int, status: str, **given: Any) -> LedgerEntry:
    """Put an attempt of another run into the ledger."""
    attempts = world.entries.setdefault(key_of(world, seed), [])
    about = {"paid_by": ANOTHER, "product_id": "other", "variant": 1, "provider": "catvton", "token": "t"}
    times = {"created_at": 900.0, "expires_at": 935.0}
    entry = world.entry(key_of(world, seed), len(attempts) + 1, status, **(about | times | given))
    attempts.append(entry)
    return entry


def only(state: ProductState) -> Job:
    [job] = state.jobs
    return job


# --- the usual way -------------------------------------------------------------------------------------------------


def test_a_job_is_submitted_once_waited_for_and_fetched(world: World) -> None:
    # Given a product without images, of which three are wanted
    world.provider.on_poll = lambda _: WAITING
    first = world.advance(begun(3))

    # Then all three are submitted, each with its own seed, and waited for
    assert first.next == "wait"
    assert world.provider.seeds == [1, 2, 3]
    assert world.reserved == 3 * MOST

    # When they are done, then nothing is bought again, and their results are in S3
    world.provider.on_poll = lambda _: DONE
    told = world.advance(first)
    assert told.next == "save"
    assert world.provider.seeds == [1, 2, 3]
    assert [(job.status, job.cost_microusd, job.work_ms) for job in told.jobs] == [("staged", PRICE, 11_000)] * 3
    assert {world.bucket[job.staging_key] for job in told.jobs} == {b"result"}


def test_an_answer_that_is_the_picture_needs_no_waiting(world: World) -> None:
    # Given a provider that answers with the result itself, and keeps no jobs
    def poll(_: str) -> JobState:
        raise TroubleError("There are no jobs.")

    world.provider.answers(Submission("req_1", DONE))
    world.provider.on_poll = poll

    told = world.advance(begun())

    assert (told.next, only(told).status, only(told).cost_microusd) == ("save", "staged", PRICE)
    assert world.metadata[only(told).staging_key]["job-id"] == "req_1"


def test_a_call_that_could_be_cut_off_is_not_begun(world: World) -> None:
    world.seconds_left = 34.9
    told = world.advance(begun(3))
    assert (told.next, world.provider.orders) == ("wait", [])


def test_nor_is_a_result_fetched_that_might_be_cut_off(world: World) -> None:
    # Given a job that is done, and too little time to fetch and keep its picture
    world.provider.on_poll = lambda _: WAITING
    state = world.advance(begun())
    world.provider.on_poll = lambda _: DONE
    world.seconds_left = 34.9
    assert (world.advance(state).next, world.bucket) == ("wait", {})


def test_what_a_killed_function_has_submitted_is_found_again(world: World) -> None:
    # Given a state machine that never got the answer of the call that submitted
    before = begun()
    world.provider.on_poll = lambda _: WAITING
    world.advance(before)

    # When it repeats the call with the same input, then the job is found, and nothing submitted
    world.provider.on_poll = lambda _: DONE
    told = world.advance(before)
    assert (told.next, world.provider.seeds) == ("save", [1])


def test_the_model_photo_is_handed_in_with_the_products_picture(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = b"person"
    world.provider.wears = True
    monkeypatch.setattr(aws, "get_object", lambda *_: photo)
    monkeypatch.setattr(generate, "_model_photos", {})
    start = begun()
    start.run.model_photos[0].sha256 = hashlib.sha256(photo).hexdigest()

    world.advance(start)

    [order] = world.provider.orders
    assert order.model_photo == photo
    assert Image.open(io.BytesIO(order.picture)).size == (400, 400)


def test_a_model_photo_that_was_replaced_during_the_run_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a photo whose bytes are not those that the reuse key is made of
    world.provider.wears = True
    monkeypatch.setattr(aws, "get_object", lambda *_: b"another person")
    monkeypatch.setattr(generate, "_model_photos", {})
    told = world.advance(begun())
    assert world.provider.orders == []
    assert told.outcome is not None
    assert told.outcome.status == "failed"
    assert "was replaced during the run" in told.outcome.reason


# --- the product's picture -----------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_fetched_now_is_tried_again_a_few_times(world: World) -> None:
    world.picture = SourceUnavailableError("The host is busy.")
    waits = []
    state = begun()
    while (state := world.advance(state)).next == "wait":
        waits.append(state.wait_seconds)
    assert waits == [2, 4, 8]
    assert state.outcome is not None
    assert (state.outcome.status, world.provider.orders, world.released) == ("failed", [], True)
    assert "It was tried 4 times." in state.outcome.reason


@pytest.mark.parametrize("picture", [SourceImageError("There is no host x."), b"no picture"])
def test_a_picture_that_cannot_be_used_fails_the_product(world: World, picture: bytes | Exception) -> None:
    world.picture = picture
    told = world.advance(begun())
    assert told.outcome is not None
    assert (told.outcome.status, world.provider.orders, world.released) == ("failed", [], True)


def test_a_picture_that_changes_while_images_are_made_of_it_is_not_mixed(world: World) -> None:
    # Given two variants, of which the second one could not be submitted in the first call
    world.provider.answers(Submission("job-1"), RefusedError("Too many."))
    world.provider.on_poll = lambda _: WAITING
    state = world.advance(begun(2))
    assert [job.status for job in state.jobs] == ["waiting", "waiting"]

    # When the host gives out another picture
    world.picture = jpeg("red")
    world.provider.on_poll = lambda _: DONE
    told = world.advance(state)

    # Then the second variant is not made of it
    assert [job.status for job in told.jobs] == ["staged", "failed"]
    assert "has changed" in told.jobs[1].reason


def test_a_product_without_a_picture_is_made_of_its_words(world: World) -> None:
    world.picture = SourceImageError("Nobody asked for a picture.")
    told = world.advance(begun().model_copy(update={"product": a_product(image_url="")}))
    assert [order.picture for order in world.provider.orders] == [b""]
    assert told.source_sha256 == ""


# --- moody filters -------------------------------------------------------------------------------------------------


def test_what_a_moody_filter_blocks_is_tried_with_one_other_seed(world: World) -> None:
    # Given a filter that blocks the first seed
    world.provider.moody = True
    world.provider.on_poll = lambda job_id: BLOCKED if job_id == "job-1" else DONE

    # When the product is worked on
    told = world.until_it_ends(begun())

    # Then the other seed's result is its image, and both are paid for
    assert world.provider.seeds == [1, 1 + OTHER_SEED]
    job = only(told)
    assert (told.next, job.status, job.seed, job.variant, job.reseeded) == ("save", "staged", 1001, 1, True)
    assert job.reuse_key == key_of(world, 1 + OTHER_SEED)
    assert (job.cost_microusd, job.work_ms) == (2 * PRICE, 22_000)


def test_and_only_with_one(world: World) -> None:
    world.provider.moody = True
    world.provider.on_poll = lambda _: BLOCKED
    told = world.until_it_ends(begun())
    assert world.provider.seeds == [1, 1 + OTHER_SEED]
    assert told.outcome is not None
    assert (told.outcome.status, told.outcome.cost_microusd) == ("blocked", 2 * PRICE)


def test_what_another_filter_blocks_stays_blocked(world: World) -> None:
    world.provider.on_poll = lambda _: BLOCKED
    told = world.until_it_ends(begun())
    assert world.provider.seeds == [1]
    assert told.outcome is not None
    assert told.outcome.status == "blocked"


def test_a_later_run_goes_on_with_the_other_seed_at_no_cost(world: World) -> None:
    # Given that an earlier run has found the first seed blocked, and made an image with the other one
    attempt(world, 1, ledger.BLOCKED, cost_microusd=PRICE)
    attempt(world, 1 + OTHER_SEED, ledger.SUCCEEDED, image_id="e" * 64, cost_microusd=PRICE)
    world.provider.moody = True

    told = world.advance(begun())

    assert world.provider.orders == []
    assert (only(told).status, only(told).image_id, only(told).cost_microusd) == ("linked", "e" * 64, 0)


def test_a_placeholder_that_save_found_is_tried_with_the_other_seed(world: World) -> None:
    # Given a result that was staged, and that Save has shown to be a placeholder
    world.provider.moody = True
    state = world.until_it_ends(begun())
    [entry] = world.entries[only(state).reuse_key]
    entry.status = ledger.BLOCKED
    only(state).status = "waiting"

    # When Generate goes on, then it is with the other seed
    told = world.until_it_ends(state)
    assert world.provider.seeds == [1, 1 + OTHER_SEED]
    assert (only(told).status, only(told).cost_microusd) == ("staged", 2 * PRICE)


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "ends", "bought", "cost"),
    [(FAILED, "failed", 2, 2 * 217), (FINAL, "blocked", 1, 0), (GONE, "failed", 2, 0)],
)
def test_a_job_that_fails_is_bought_once_more_unless_that_cannot_help(
    world: World, fails: JobState, ends: str, bought: int, cost: int
) -> None:
    world.provider.on_poll = lambda _: fails
    told = world.until_it_ends(begun())
    assert world.provider.seeds == [1] * bought
    assert told.outcome is not None
    assert (told.outcome.status, told.outcome.cost_microusd) == (ends, cost)
    assert told.outcome.reason == f"Variant 1: {fails.reason}"
    assert world.released


@pytest.mark.parametrize(("final", "ends", "bought"), [(False, "failed", 2), (True, "blocked", 1)])
def test_an_answer_at_once_that_is_a_failure_is_treated_alike(
    world: World, final: bool, ends: str, bought: int
) -> None:
    world.provider.answers(Submission("req_1", JobState("failed", 100, reason="No picture.", final=final)))
    told = world.until_it_ends(begun())
    assert len(world.provider.orders) == bought
    assert told.outcome is not None
    assert (told.outcome.status, told.outcome.cost_microusd) == (ends, 100 * bought)


def test_a_second_try_may_succeed(world: World) -> None:
    world.provider.answers(Submission("one"), Submission("two"))
    world.provider.on_poll = lambda job_id: FAILED if job_id == "one" else DONE
    told = world.until_it_ends(begun())
    assert (told.next, only(told).status, only(told).cost_microusd) == ("save", "staged", 217 + PRICE)


def test_what_may_have_been_bought_is_not_bought_for_ever(world: World) -> None:
    world.provider.answers(UncertainError("It did not answer in time."))
    told = world.until_it_ends(begun())
    assert world.provider.seeds == [1, 1]
    assert told.outcome is not None
    assert told.outcome.status == "failed"
    assert "may have been paid for" in told.outcome.reason
    assert world.reserved == 2 * MOST, "nobody knows that it was not"


def test_a_state_that_cannot_be_read_now_buys_nothing(world: World) -> None:
    def poll(_: str) -> JobState:
        raise TroubleError("It did not answer.")

    world.provider.on_poll = poll
    told = world.until_it_ends(begun())
    assert world.provider.seeds == [1]
    assert told.outcome is not None
    assert told.outcome.status == "deferred"


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "waits", "closed_until"), [(9, 9, 1009), (60, 15, 1060), (0, 1, 0)])
def test_a_provider_that_wants_to_be_left_alone_is(world: World, asked: float, waits: int, closed_until: float) -> None:
    # Given a provider that takes one job and refuses the next
    world.provider.answers(Submission("job-1"), RefusedError("Too many.", retry_after=asked))
    world.provider.on_poll = lambda _: WAITING

    told = world.advance(begun(3))

    # Then the third is not tried, the product waits as long as was asked and it may, and all others stay away
    assert len(world.provider.orders) == 2
    assert (told.next, told.wait_seconds) == ("wait", waits)
    assert world.lane_closed_until == closed_until
    assert world.reserved == MOST, "what was refused is not reserved"
    assert sum(len(attempts) for attempts in world.entries.values()) == 1


def test_a_refusal_counts_as_no_attempt(world: World) -> None:
    world.provider.answers(*[RefusedError("Too many.")] * 5, Submission("job-1"))
    told = world.until_it_ends(begun())
    assert (told.next, len(world.provider.orders)) == ("save", 6)


def test_a_final_refusal_fails_and_the_other_variants_are_tried_later(world: World) -> None:
    world.provider.answers(RefusedError("The picture is too small.", final=True), Submission("job-2"))
    told = world.until_it_ends(begun(2))
    assert [(job.status, job.reason) for job in told.jobs] == [
        ("failed", "The picture is too small."),
        ("staged", ""),
    ]


def test_used_up_credits_stop_the_run(world: World) -> None:
    world.provider.answers(RefusedError("There are no credits left.", final=True, stops_run=True))
    told = world.until_it_ends(begun(3))
    assert len(world.provider.orders) == 1
    assert (world.stop, world.reserved) == (("over_budget", "There are no credits left."), 0)
    assert told.outcome is not None
    assert told.outcome.status == "over_budget"
    assert told.outcome.reason == "Variant 1, 2, 3: There are no credits left."


def test_a_replaced_key_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a warm function that has read a key which is not taken any more
    kept = ["old"]
    monkeypatch.setattr(aws.secret, "cache_clear", kept.clear)
    world.provider.answers(RefusedError("The key was refused.", final=True, bad_key=True))
    world.advance(begun())
    assert kept == []


def test_what_breaks_before_anything_is_sent_is_no_attempt(world: World) -> None:
    # Given a provider whose key cannot be read, as Secrets Manager does not answer; it is read when a job is handed in
    def key() -> str:
        raise ConnectTimeoutError(endpoint_url="https://secretsmanager.example.com")

    real = Catvton(method_settings(), key)
    world.provider.on_submit = real.submit

    # When the product is worked on
    with suppress(ConnectTimeoutError):
        world.advance(begun())

    # Then nothing is reserved and nothing tried
    assert (world.reserved, [attempts for attempts in world.entries.values() if attempts]) == (0, [])


def test_a_full_lane_is_waited_for(world: World) -> None:
    world.lane_wait = 4.2
    told = world.advance(begun(3))
    assert (told.next, told.wait_seconds, world.provider.orders) == ("wait", 5, [])


# --- the budget ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "stopped"), [(MOST - 1, True), (MOST, False)])
def test_what_the_budget_does_not_allow_is_not_bought(world: World, limit: int, stopped: bool) -> None:
    # Given a budget that an image does not fit; the run is stopped if no image by any method would
    world.budget_answer = "over_budget"

    # When the product is worked on
    told = world.until_it_ends(begun(2, budget_microusd=limit))

    # Then nothing is bought, and it is told why, with figures
    assert (world.provider.orders, world.stop is not None) == ([], stopped)
    assert told.outcome is not None
    assert told.outcome.status == "over_budget"
    assert f"may cost ${MOST / 1e6:g}" in told.outcome.reason


def test_what_only_jobs_in_flight_leave_no_room_for_waits(world: World) -> None:
    world.budget_answer = "wait"
    state = world.advance(begun(2))
    assert (state.next, world.provider.orders) == ("wait", [])
    world.budget_answer = "reserved"
    assert world.until_it_ends(state).next == "save"


def test_a_stopped_run_fetches_what_is_in_flight_and_buys_no_more(world: World) -> None:
    # Given one variant in flight when the run is stopped
    world.provider.answers(Submission("job-1"), RefusedError("Too many."))
    world.provider.on_poll = lambda _: WAITING
    state = world.advance(begun(2))
    world.stop = ("deferred", "The run was stopped.")

    # When it goes on, then that one is fetched, and the other one not begun
    world.provider.on_poll = lambda _: DONE
    told = world.until_it_ends(state)
    assert (told.next, [job.status for job in told.jobs]) == ("save", ["staged", "stopped"])
    assert len(world.provider.orders) == 2


# --- what others have done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "more", "becomes"),
    [
        (ledger.SUCCEEDED, {"image_id": "e" * 64}, "linked"),
        (ledger.STAGED, {"staging_key": "staging/k/0001"}, "staged"),
        (ledger.SUBMITTED, {"job_id": "theirs"}, "staged"),
        (ledger.BLOCKED, {"reason": "Blocked."}, "blocked"),
        (ledger.FAILED, {"reason": "No body.", "final": True}, "blocked"),
        (ledger.INTENT, {"expires_at": 1001.0}, "waiting"),
    ],
)
def test_what_others_have_paid_for_is_not_paid_again(
    world: World, status: str, more: dict[str, Any], becomes: str
) -> None:
    attempt(world, 1, status, cost_microusd=PRICE, **more)
    told = world.advance(begun())
    assert world.provider.orders == []
    assert (only(told).status, only(told).cost_microusd) == (becomes, 0)
    # And what was fetched for another run is added to that run's cost
    assert len(world.costs_after_end) == (status == ledger.SUBMITTED)


@pytest.mark.parametrize("status", [ledger.FAILED, ledger.UNKNOWN])
def test_what_others_have_tried_in_vain_is_tried_anew(world: World, status: str) -> None:
    attempt(world, 1, status, cost_microusd=217)
    attempt(world, 1, status, cost_microusd=217)
    told = world.until_it_ends(begun())
    assert (world.provider.seeds, only(told).status, only(told).cost_microusd) == ([1], "staged", PRICE)


def test_of_two_that_want_the_same_at_once_one_buys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "write_intent", lambda *_, **__: None)
    told = world.advance(begun())
    assert (told.next, only(told).status, world.provider.orders) == ("wait", "waiting", [])


def test_the_intent_of_a_dead_process_is_settled(world: World) -> None:
    # Given an intent whose writer has not told what came of it in time
    dead = attempt(world, 1, ledger.INTENT, expires_at=999.0)
    told = world.until_it_ends(begun())

    # Then it is as good as lost, and the work is bought anew
    assert (dead.status, world.provider.seeds, only(told).status) == (ledger.UNKNOWN, [1], "staged")
    assert "may have been paid for" in str(dead.reason)


def test_a_result_that_a_dead_process_has_left_in_s3_is_not_paid_again(world: World) -> None:
    # Given a provider that answers with the result, and a function that died between S3 and the ledger
    dead = attempt(world, 1, ledger.INTENT, expires_at=999.0)
    world.metadata[generate.staging_key(dead)] = {
        "model-version": "catvton@1",
        "cost-microusd": str(PRICE),
        "work-ms": "11000",
        "usage": "11.00 s",
        "job-id": "req_1",
    }

    told = world.advance(begun())

    assert (only(told).status, dead.status, dead.cost_microusd) == ("staged", ledger.STAGED, PRICE)
    assert (only(told).staging_key, world.provider.orders) == (generate.staging_key(dead), [])


def test_what_is_put_there_can_be_found_by_whoever_comes_after_us(world: World) -> None:
    """S3's metadata are what `expire` reads: all of it, in ASCII, none of it empty."""
    world.provider.answers(Submission("req_1", JobState("completed", PRICE, 0, "1 credit", b"r", "modèle@1")))
    told = world.advance(begun())
    metadata = world.metadata[only(told).staging_key]
    assert set(metadata) == {"model-version", "cost-microusd", "work-ms", "usage", "job-id"}
    assert all(value and value.isascii() for value in metadata.values())


# --- plans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ledgers", "moody", "status", "generates", "links"),
    [
        ([], False, "planned", 3, 0),
        ([(1, ledger.SUCCEEDED, {})], False, "planned", 2, 1),
        ([(1, ledger.SUCCEEDED, {}), (2, ledger.STAGED, {}), (3, ledger.SUBMITTED, {})], False, "linked", 0, 3),
        ([(1, ledger.INTENT, {"expires_at": 2000.0})], False, "planned", 2, 1),
        ([(1, ledger.FAILED, {}), (2, ledger.UNKNOWN, {})], False, "planned", 3, 0),
        ([(1, ledger.FAILED, {"final": True})], False, "planned", 2, 0),
        ([(n, ledger.FAILED, {"final": True}) for n in (1, 2, 3)], False, "blocked", 0, 0),
        ([(n, ledger.BLOCKED, {}) for n in (1, 2, 3)], False, "blocked", 0, 0),
        (
            [(1, ledger.BLOCKED, {}), (2, ledger.FAILED, {"final": True}), (3, ledger.BLOCKED, {})],
            False,
            "blocked",
            0,
            0,
        ),
        ([(1, ledger.BLOCKED, {}), (2, ledger.SUCCEEDED, {}), (3, ledger.BLOCKED, {})], False, "linked", 0, 1),
        ([(n, ledger.BLOCKED, {}) for n in (1, 2, 3)], True, "planned", 3, 0),
        ([(1, ledger.BLOCKED, {}), (1001, ledger.SUCCEEDED, {})], True, "planned", 2, 1),
        ([(n, ledger.BLOCKED, {}) for n in (1, 2, 3, 1001, 1002, 1003)], True, "blocked", 0, 0),
        pytest.param([(1, ledger.INTENT, {"expires_at": 999.0})], False, "planned", 3, 0),
    ],
)
def test_a_plan_foresees_what_a_run_would_do_and_does_nothing(
    world: World, ledgers: list[tuple[int, str, dict[str, Any]]], moody: bool, status: str, generates: int, links: int
) -> None:
    # Given what earlier runs have left in the ledger
    world.provider.moody = moody
    for seed, left, more in ledgers:
        attempt(world, seed, left, **({"job_id": "theirs", "reason": "As it was."} | more))
    before = {key: [entry.status for entry in attempts] for key, attempts in world.entries.items()}

    # When the product is planned
    told = world.advance(begun(3, plan=True))

    # Then it is said what would be bought and what linked
    assert told.next == "record"
    assert told.outcome is not None
    assert (told.outcome.status, told.outcome.images_generated, told.outcome.images_reused) == (
        status,
        generates,
        links,
    )
    assert (told.outcome.cost_microusd, told.outcome.work_ms) == (generates * PRICE, generates * 11_000)
    assert len(told.outcome.work.split()) == generates

    # And nothing is changed
    assert (world.provider.orders, world.reserved, world.bucket, world.released) == ([], 0, {}, False)
    assert {key: [entry.status for entry in attempts] for key, attempts in world.entries.items()} == before


def test_a_plan_and_its_run_are_about_the_same_work(world: World) -> None:
    planned = world.advance(begun(3, plan=True))
    run = world.until_it_ends(begun(3))
    assert planned.outcome is not None
    assert planned.outcome.work.split() == [job.reuse_key for job in run.jobs]


def test_a_plan_leaves_out_the_variants_that_are_there(world: World) -> None:
    told = world.advance(begun(3, plan=True, missing=[3]))
    assert told.outcome is not None
    assert (told.outcome.images_generated, told.outcome.images_reused) == (1, 0)
