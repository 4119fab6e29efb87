"""Small decisions that much depends on: reuse keys, seeds, run ids, state sizes, waits, reasons, sums."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lookbook import forecast, generate, ingest, ledger, library, notices, rates, runs
from lookbook.options import RunOptions
from lookbook.providers.base import Estimate
from lookbook.providers.registry import all_of
from lookbook.reuse import OTHER_SEED, reuse_key, seed_for
from lookbook.state import Job, ModelPhoto, Outcome, ProductState, RunContext
from lookbook.tables import LedgerEntry, Run
from lookbook.tables import Outcome as Recorded
from tests.unit.fakes import a_product, method_settings

RUN_ID = "20261121T101502-3f9a2c1b"
ANOTHER = "20261121T101503-3f9a2c1b"
WORK: dict[str, Any] = {
    "source_sha256": "a" * 64,
    "model_photo_sha256": "b" * 64,
    "method": "catvton",
    "model_version": "1",
    "parameters": {"num_inference_steps": 50, "guidance_scale": 2.5, "seed": 1, "category": "upper"},
}
EVENT = {
    "time": "2026-11-21T10:15:02Z",
    "detail": {"object": {"key": "scrapes/my store.json", "version-id": "v1", "sequencer": "00A"}},
}
GENERATOR = generate.Generator({}, "bucket")


def context(variants: int = 3, photos: int = 2, **changes: Any) -> RunContext:
    names = [ModelPhoto(name=f"p{number}", key=f"models/p{number}.jpg", sha256="c" * 64) for number in range(photos)]
    given: dict[str, Any] = {"run_id": RUN_ID, "variants": variants, "reuse": True, "max_concurrency": 8}
    return RunContext(model_photos=names, **(given | changes))


def state(variants: int = 3, jobs: list[Job] | None = None, photos: int = 2, **item: Any) -> ProductState:
    return ProductState(
        run=context(variants, photos),
        product=a_product(**item),
        missing=list(range(1, variants + 1)),
        jobs=jobs or [],
        started_at=1000.0,
        defer_at=1200.0,
    )


def jobs_that_are(*statuses: str, reason: str = "") -> list[Job]:
    return [
        Job.model_validate({"variant": number, "seed": number, "reuse_key": "k", "status": status, "reason": reason})
        for number, status in enumerate(statuses, 1)
    ]


def entry(status: str, **changes: Any) -> LedgerEntry:
    """An attempt as the table has it."""
    given: dict[str, Any] = {
        "paid_by": RUN_ID,
        "product_id": "CJ1",
        "variant": 1,
        "provider": "catvton",
        "token": "t",
        "created_at": 1000.0,
        "expires_at": 1035.0,
    }
    return LedgerEntry("work#k", "attempt#0001", status=status, **(given | changes))


# --- reuse keys and seeds ------------------------------------------------------------------------------------------


def test_equal_work_has_an_equal_key_whatever_the_order_of_its_parameters() -> None:
    turned = WORK | {"parameters": dict(reversed(WORK["parameters"].items()))}
    assert reuse_key(**WORK) == reuse_key(**turned)


@pytest.mark.parametrize("part", ["source_sha256", "model_photo_sha256", "method", "model_version"])
def test_every_part_of_the_work_is_part_of_its_key(part: str) -> None:
    assert reuse_key(**WORK) != reuse_key(**(WORK | {part: "different"}))


@pytest.mark.parametrize("parameter", [*WORK["parameters"]])
def test_every_parameter_is_part_of_the_key(parameter: str) -> None:
    changed = WORK | {"parameters": {**WORK["parameters"], parameter: 0}}
    assert reuse_key(**WORK) != reuse_key(**changed)


def test_variants_differ_and_are_the_same_in_every_run() -> None:
    assert len({seed_for(variant) for variant in range(1, 11)}) == 10
    assert generate.seed(context(), 1) == generate.seed(context(run_id=ANOTHER), 1) == seed_for(1)


def test_a_run_that_wants_new_images_has_seeds_of_its_own() -> None:
    fresh = [generate.seed(context(run_id=run_id, reuse=False), 1) for run_id in (RUN_ID, RUN_ID, ANOTHER)]
    assert fresh[0] == fresh[1] != fresh[2]
    assert fresh[0] != seed_for(1)


def test_a_retry_of_it_has_the_seeds_of_the_first_run() -> None:
    first = context(reuse=False)
    retry = context(run_id=ANOTHER, reuse=False, fresh_for=RUN_ID)
    assert [generate.seed(retry, n) for n in (1, 2, 3)] == [generate.seed(first, n) for n in (1, 2, 3)]


@given(st.integers(1, 10), st.sampled_from(["", RUN_ID, ANOTHER]))
def test_no_variant_has_the_other_seed_of_another_variant(variant: int, fresh_for: str) -> None:
    other = seed_for(variant, fresh_for) + OTHER_SEED
    assert other not in {seed_for(number, fresh_for) for number in range(1, 11)}
    assert 0 <= seed_for(variant, fresh_for) < 2**32, "what FASHN takes"


@pytest.mark.parametrize(
    ("options", "fresh_for", "asked"),
    [
        ({}, None, {"variants": 3, "reuse": True, "fresh_for": "", "budget_microusd": None}),
        ({"reuse": False}, None, {"variants": 3, "reuse": False, "fresh_for": RUN_ID, "budget_microusd": None}),
        ({"reuse": False}, ANOTHER, {"variants": 3, "reuse": False, "fresh_for": ANOTHER, "budget_microusd": None}),
        ({"max_cost_usd": 0.1}, None, {"variants": 3, "reuse": True, "fresh_for": "", "budget_microusd": 100_000}),
    ],
)
def test_what_a_run_asks_for_is_what_its_steps_are_told(
    options: dict[str, Any], fresh_for: str | None, asked: dict[str, Any]
) -> None:
    run = Run(RUN_ID, "run", fresh_for=fresh_for, created_at="2026-11-21T10:15:02.000Z", started_by="ana")
    told = ingest._asked(RunOptions.model_validate(options), run)
    asked |= {"requested_at": run.created_at, "started_by": "ana"}
    assert told == {**asked, "stores": [], "plan_of": fresh_for or RUN_ID}


# --- what starts a run ---------------------------------------------------------------------------------------------


def test_one_event_is_one_run_and_a_second_upload_another() -> None:
    first = runs.identify(EVENT)
    assert first == runs.identify(json.loads(json.dumps(EVENT)))
    assert runs.RUN_ID.match(first.run_id)
    assert (first.key, first.name, first.version_id) == ("scrapes/my store.json", "scrapes/my store.json", "v1")
    again = json.loads(json.dumps(EVENT))
    again["detail"]["object"]["version-id"] = "v2"
    assert runs.identify(again).run_id != first.run_id


def test_an_upload_that_the_api_prepared_keeps_its_run() -> None:
    event = json.loads(json.dumps(EVENT))
    event["detail"]["object"]["key"] = "scrapes/uploads/20261121T101502-3f9a2c1b/store.json"
    assert runs.identify(event).run_id == "20261121T101502-3f9a2c1b"


@pytest.mark.parametrize(
    "broken", [{}, {"detail": {}}, {"run_id": "x", "name": "x", "key": "x"}, {"time": "now", "detail": EVENT["detail"]}]
)
def test_what_starts_no_run_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        runs.identify(broken)


# --- the state of a product ----------------------------------------------------------------------------------------


def test_a_products_state_stays_far_below_the_limit_of_step_functions() -> None:
    # Given the largest product there can be: long texts in four-byte letters, ten variants, for each a photo of its
    # own and a reason of its own
    letter = "\U0001f9f5"
    jobs = [
        Job(
            variant=number,
            seed=2**32 - 1,
            reuse_key="f" * 64,
            status="failed",
            attempt="attempt#0001",
            job_id="a" * 64,
            staging_key=f"staging/{'f' * 64}/0001",
            image_id="e" * 64,
            reason=f"{number}" + letter * 499,
            cost_microusd=10**9,
            work_ms=10**9,
            reseeded=True,
            before_microusd=10**9,
            before_ms=10**9,
        )
        for number in range(1, 11)
    ]
    texts = {"product_id": letter * 128, "title": letter * 500, "category": letter * 500}
    large = state(10, jobs, photos=10, image_url="https://x/" + "a" * 2048, **texts)
    large = large.record(generate.outcome(large, "failed", generate.reasons(jobs)))
    assert large.outcome is not None
    large.outcome.work = " ".join(job.reuse_key for job in jobs)

    # Then its JSON is below 64 KiB
    assert len(json.dumps(large.model_dump(mode="json"), ensure_ascii=False).encode()) < 64 * 1024


def test_a_state_goes_through_the_state_machine_unchanged() -> None:
    there = state(2, jobs_that_are("waiting", "staged")).wait(3)
    assert ProductState.model_validate(json.loads(json.dumps(there.model_dump(mode="json")))) == there


def test_model_photos_are_used_in_turn() -> None:
    run = context(variants=5, photos=2)
    assert [run.model_photo(variant).name for variant in range(1, 6)] == ["p0", "p1", "p0", "p1", "p0"]


# --- waiting and giving up -----------------------------------------------------------------------------------------


@given(elapsed=st.floats(0, 190))
def test_waits_grow_with_the_time_a_job_takes_and_never_too_long(elapsed: float) -> None:
    told = GENERATOR.decide(state(1, jobs_that_are("waiting")), 1000.0 + elapsed)
    assert told.next == "wait"
    assert 1 <= told.wait_seconds <= generate.MAX_WAIT_SECONDS
    assert told.wait_seconds <= max(1, 0.5 * elapsed)


@pytest.mark.parametrize(("asked", "waits"), [(0, 1), (0.2, 1), (1.2, 2), (9, 9), (15, 15), (120, 15)])
def test_a_provider_is_left_alone_as_long_as_it_wants_but_looked_at_again(asked: float, waits: int) -> None:
    # The lane stays closed for as long as was asked, however often the product comes back.
    assert GENERATOR.decide(state(1, jobs_that_are("waiting")), 1000.0, asked).wait_seconds == waits


@pytest.mark.parametrize("others", [(), ("staged",), ("linked", "failed")])
def test_a_product_is_put_off_when_its_time_is_up(others: tuple[str, ...]) -> None:
    jobs = [*jobs_that_are("waiting", reason="The provider is busy."), *jobs_that_are(*others)]
    told = GENERATOR.decide(state(len(jobs), jobs), 1200.0)
    assert told.next == "record"
    assert told.outcome == Outcome(status="deferred", reason="The provider is busy.")


@pytest.mark.parametrize(
    ("statuses", "goes_on"),
    [
        (("waiting", "staged"), "wait"),
        (("staged", "staged"), "save"),
        (("linked", "failed"), "save"),
        (("staged", "over_budget"), "save"),
        (("failed", "blocked"), "record"),
        (("stopped", "stopped"), "record"),
    ],
)
def test_what_is_made_is_saved_when_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[str, ...], goes_on: str
) -> None:
    monkeypatch.setattr(library, "release", lambda *_: None)
    assert GENERATOR.decide(state(2, jobs_that_are(*statuses)), 1001.0).next == goes_on


@pytest.mark.parametrize(
    ("statuses", "ends"),
    [
        (("blocked",), "blocked"),
        (("blocked", "failed"), "failed"),
        (("failed", "blocked", "over_budget"), "over_budget"),
        (("over_budget", "stopped", "failed", "blocked"), "deferred"),
        (("staged", "blocked"), "blocked"),
        (("linked", "failed"), "failed"),
        ((), "failed"),
    ],
)
def test_a_product_that_lacks_images_ends_as_what_a_retry_may_still_cure(statuses: tuple[str, ...], ends: str) -> None:
    assert generate.shortfall(jobs_that_are(*statuses)) == ends
    if any(status in {"failed", "over_budget", "stopped"} for status in statuses):
        assert ends in runs.MAY_BE_RETRIED


def test_a_product_that_ends_without_saving_still_has_what_it_had() -> None:
    # Given a product of three variants of which two are there, and 5,000 micro-dollars are spent on the third
    poor = state(3, jobs_that_are("failed")).model_copy(update={"missing": [3]})
    poor.jobs[0].cost_microusd, poor.jobs[0].work_ms = 5000, 700
    assert generate.outcome(poor, "failed", "It broke.") == Outcome(
        status="failed", reason="It broke.", images_reused=2, cost_microusd=5000, work_ms=700
    )


@pytest.mark.parametrize(
    ("attempts", "may"),
    [
        ([], True),
        ([entry("failed")], True),
        ([entry("unknown")], True),
        ([entry("failed", final=True)], False),
        ([entry("failed"), entry("failed")], False),
        ([entry("failed"), entry("unknown")], False),
        ([entry("failed", paid_by=ANOTHER), entry("unknown", paid_by=ANOTHER)], True),
        ([entry("failed", paid_by=ANOTHER), entry("failed")], True),
        ([entry("failed", paid_by=ANOTHER, final=True)], False),
        ([entry("failed", final=True), entry("failed", paid_by=ANOTHER)], True),
    ],
)
def test_a_run_pays_twice_at_most_and_never_where_it_cannot_help(attempts: list[LedgerEntry], may: bool) -> None:
    assert generate.may_try_again(attempts, RUN_ID) is may


# --- reasons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caught", "told"),
    [
        (
            "Runtime.HandlerError: " + json.dumps({"errorMessage": "no room", "trace": ["x"]}),
            "A step failed unexpectedly: no room",
        ),
        ("States.Timeout: Task timed out after 65 seconds", "took too long"),
        ("Another run is generating this product.", "Another run is generating this product."),
        ("Variant 1: The picture host answered with HTTP 404.", "HTTP 404"),
    ],
)
def test_reasons_are_plain_words(caught: str, told: str) -> None:
    assert told in runs.plain_reason(caught)


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        (jobs_that_are("failed", "staged", "failed", reason="It broke."), "Variant 1, 3: It broke."),
        (jobs_that_are("failed"), "Variant 1: No reason was given."),
        (jobs_that_are("waiting", "staged", "linked", reason="Not told."), ""),
        (jobs_that_are("blocked", "over_budget", "stopped", reason="No."), "Variant 1, 2, 3: No."),
        (
            [*jobs_that_are("failed", reason="It broke."), *jobs_that_are("linked", "blocked", reason="Blocked.")],
            "Variant 1: It broke. Variant 2: Blocked.",
        ),
    ],
)
def test_a_reason_is_said_once_for_all_its_variants(jobs: list[Job], told: str) -> None:
    assert generate.reasons(jobs) == told


# --- sums ----------------------------------------------------------------------------------------------------------


def test_a_ledger_is_summed_up_by_provider_and_how_it_ended() -> None:
    # Given attempts at two providers, some of them not settled
    entries = [
        entry("succeeded", provider="openai", cost_microusd=41_080, work_ms=30_000),
        entry("succeeded", cost_microusd=3410, work_ms=11_000),
        entry("failed", cost_microusd=217, work_ms=700),
        entry("blocked", cost_microusd=3410, work_ms=11_000),
        entry("unknown", reserved_microusd=4000),
        entry("intent"),
        entry("submitted"),
        entry("staged", cost_microusd=3410, work_ms=11_000),
    ]

    # Then each is counted once, and no money is lost
    assert ledger.summary(entries) == [
        {
            "provider": "catvton",
            "cost_usd": 0.010447,
            "unknown_usd": 0.004,
            "work_seconds": 33.7,
            "attempts": 7,
            "succeeded": 1,
            "failed": 1,
            "blocked": 1,
            "unknown": 1,
            "open": 3,
        },
        {
            "provider": "openai",
            "cost_usd": 0.04108,
            "unknown_usd": 0.0,
            "work_seconds": 30.0,
            "attempts": 1,
            "succeeded": 1,
            "failed": 0,
            "blocked": 0,
            "unknown": 0,
            "open": 0,
        },
    ]
    assert ledger.summary([]) == []


def recorded(product_id: str, status: str, method: str, work: list[str], reused: int = 0) -> Recorded:
    return Recorded(
        RUN_ID, f"item#{product_id}", status=status, method=method, work=" ".join(work), images_reused=reused
    )


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> dict[str, Estimate]:
    """What an image of each method costs; as configured, unless a test says that it was measured."""
    measured: dict[str, Estimate] = {}
    monkeypatch.setattr(rates, "estimate", lambda provider: measured.get(provider.name) or provider.estimate())
    monkeypatch.setattr(notices, "of", lambda provider: [f"{provider.model_version} ends soon."])
    return measured


def foreseen(monkeypatch: pytest.MonkeyPatch, outcomes: list[Recorded]) -> dict[str, Any]:
    monkeypatch.setattr(Recorded, "query", lambda *_: iter(outcomes))
    settings = method_settings()
    return forecast.sum_up(Run(RUN_ID, "run"), all_of(settings), settings)


@pytest.mark.usefixtures("estimates")
def test_a_forecast_counts_equal_work_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a plan in which the second product wants what the first one already gets, and one that is not to be had
    told = foreseen(
        monkeypatch,
        [
            recorded("p1", "planned", "catvton", ["a1", "a2", "a3"]),
            recorded("p2", "planned", "catvton", ["a1", "a2", "b3"]),
            recorded("p3", "planned", "openai", ["c1"], reused=2),
            recorded("p4", "linked", "catvton", [], reused=3),
            recorded("p5", "blocked", "catvton", []),
            recorded("p6", "planned", "catvton", ["a1"]),
        ],
    )

    # Then it is made once, and linked from there on
    assert told["images_to_generate"] == 5
    assert told["images_linked"] == 2 + 3 + 3
    rows = {row["method"]: row for row in told["methods"]}
    assert [(name, rows[name]["products"], rows[name]["images"]) for name in rows] == [
        ("catvton", 3, 4),
        ("openai", 1, 1),
    ]
    assert rows["catvton"]["cost_usd"] == 4 * 0.00341
    assert rows["openai"]["cost_usd"] == 0.04108
    assert told["cost_usd"] == pytest.approx(4 * 0.00341 + 0.04108)
    assert told["prices_as_of"] == "2026-11-21"
    assert told["notices"] == ["1 ends soon.", "gpt-image-2.6-flare ends soon."]


@pytest.mark.usefixtures("estimates")
def test_nothing_to_do_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = foreseen(monkeypatch, [recorded("p1", "linked", "catvton", [], reused=3)])
    assert (told["images_to_generate"], told["images_linked"], told["cost_usd"], told["minutes"]) == (0, 3, 0, 0)
    assert told["methods"] == told["notices"] == []


@pytest.mark.parametrize(
    ("method", "image_ms", "images", "minutes"),
    [
        # 12 products at once are 8 workers' fill
        ("catvton", 11_000, 240, 240 * 11 / 8 / 60),
        ("openai", 30_000, 240, 240 * 30 / 12 / 60),
        # 6 at once
        ("fashn", 10_000, 240, 240 * 10 / 6 / 60),
        # 6 at once would be faster than the 50 a minute that it takes
        ("fashn", 5000, 101, 100 / 50),
        ("fashn", 5000, 1, 5 / 6 / 60),
    ],
)
def test_a_forecast_knows_how_fast_a_method_is(
    monkeypatch: pytest.MonkeyPatch,
    estimates: dict[str, Estimate],
    method: str,
    image_ms: int,
    images: int,
    minutes: float,
) -> None:
    estimates[method] = Estimate(1000, 1000, image_ms, "measured over 20 images")
    told = foreseen(monkeypatch, [recorded(f"p{n}", "planned", method, [f"k{n}"]) for n in range(images)])
    [row] = told["methods"]
    assert row["minutes"] == pytest.approx(minutes, abs=0.01)
    assert told["minutes"] == pytest.approx(minutes, abs=0.06)
    assert row["basis"].startswith("measured over 20 images; ")
