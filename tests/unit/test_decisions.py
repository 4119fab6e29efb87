"""Small decisions that much depends on: reuse keys, seeds, run ids, state sizes, reasons."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lookbook import generate, runs
from lookbook.reuse import PARAMETERS, reuse_key, seed_for
from lookbook.state import Item, Job, ModelPhoto, ProductState, RunContext

WORK: dict[str, Any] = {
    "source_sha256": "a" * 64,
    "model_photo_sha256": "b" * 64,
    "method": "catvton",
    "model_version": "1",
    "parameters": {**PARAMETERS, "seed": 1, "category": "upper"},
}
EVENT = {
    "time": "2026-11-21T10:15:02Z",
    "detail": {"object": {"key": "scrapes/my store.json", "version-id": "v1", "sequencer": "00A"}},
}


def context(variants: int = 3, photos: int = 2) -> RunContext:
    names = [ModelPhoto(name=f"p{number}", key=f"models/p{number}.jpg", sha256="c" * 64) for number in range(photos)]
    return RunContext(
        run_id="20261121T101502-3f9a2c1b",
        variants=variants,
        method="auto",
        reuse=True,
        model_photos=names,
        max_concurrency=8,
    )


def state(variants: int = 3, jobs: list[Job] | None = None, **item: Any) -> ProductState:
    product = {
        "index": 0, "product_id": "CJ1", "title": "Shirt", "category": "Tops", "source": "cj",
        "image_url": "https://pictures.example.com/1.jpg", "garment": "upper",
    }  # fmt: skip
    return ProductState(
        run=context(variants),
        product=Item.model_validate(product | item),
        missing=[1, 2, 3][:variants],
        jobs=jobs or [],
    )


def test_equal_work_has_an_equal_key_whatever_the_order_of_its_parameters() -> None:
    turned = WORK | {"parameters": dict(reversed(WORK["parameters"].items()))}
    assert reuse_key(**WORK) == reuse_key(**turned)


@pytest.mark.parametrize("part", ["source_sha256", "model_photo_sha256", "method", "model_version"])
def test_every_part_of_the_work_is_part_of_its_key(part: str) -> None:
    assert reuse_key(**WORK) != reuse_key(**(WORK | {part: "different"}))


@pytest.mark.parametrize("parameter", [*PARAMETERS, "seed", "category"])
def test_every_parameter_is_part_of_the_key(parameter: str) -> None:
    changed = WORK | {"parameters": {**WORK["parameters"], parameter: 0}}
    assert reuse_key(**WORK) != reuse_key(**changed)


def test_variants_differ_and_are_the_same_in_every_run() -> None:
    assert len({seed_for(variant) for variant in range(1, 11)}) == 10
    assert seed_for(1) == seed_for(1)


def test_a_run_that_wants_new_images_has_seeds_of_its_own() -> None:
    assert seed_for(1, "20261121T101502-3f9a2c1b") == seed_for(1, "20261121T101502-3f9a2c1b")
    assert seed_for(1, "20261121T101502-3f9a2c1b") != seed_for(1, "20261121T101503-3f9a2c1b")


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


def test_a_products_state_stays_far_below_the_limit_of_step_functions() -> None:
    # Given the largest product there can be: long texts in four-byte letters, ten variants, a reason for each
    letter = "\U0001f9f5"
    job = {
        "reuse_key": "f" * 64,
        "status": "failed",
        "attempt": "attempt#0001",
        "reason": letter * 500,
        "image_id": "e" * 64,
    }
    jobs = [Job(variant=number, staging_key=f"staging/{'f' * 64}/0001", **job) for number in range(1, 11)]
    large = state(
        3, jobs, product_id=letter * 128, title=letter * 500, category=letter * 500, image_url="https://x/" + "a" * 2048
    )
    large = large.record(generate.outcome(large, "failed", generate.reasons(jobs)))

    # Then its JSON is below 64 KiB
    assert len(json.dumps(large.model_dump(mode="json"), ensure_ascii=False).encode()) < 64 * 1024


def test_model_photos_are_used_in_turn() -> None:
    run = context(variants=5, photos=2)
    assert [run.model_photo(variant).name for variant in range(1, 6)] == ["p0", "p1", "p0", "p1", "p0"]


@given(elapsed=st.floats(0, 300))
def test_waits_grow_with_the_time_a_job_takes_and_never_too_long(elapsed: float) -> None:
    generator = generate.Generator(provider=None, bucket="b", usd_per_second=0.0003)  # type: ignore[arg-type]  # not called
    waiting = state(1, [Job(variant=1, reuse_key="k")]).model_copy(update={"started_at": 1000.0, "defer_at": 2000.0})
    told = generator.decide(waiting, 1000.0 + elapsed)
    assert told.next == "wait"
    assert 1 <= told.wait_seconds <= generate.MAX_WAIT_SECONDS
    assert told.wait_seconds <= max(1, 0.5 * elapsed)


def test_a_product_is_put_off_when_its_time_is_up() -> None:
    generator = generate.Generator(provider=None, bucket="b", usd_per_second=0.0003)  # type: ignore[arg-type]  # not called
    waiting = state(1, [Job(variant=1, reuse_key="k")]).model_copy(update={"started_at": 1000.0, "defer_at": 1200.0})
    told = generator.decide(waiting, 1200.0)
    assert told.outcome is not None
    assert (told.next, told.outcome.status) == ("record", "deferred")


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


def test_a_reason_is_said_once_for_all_its_variants() -> None:
    jobs = [Job(variant=number, reuse_key="k", status="failed", reason="It broke.") for number in (1, 3)]
    assert generate.reasons(jobs) == "Variant 1, 3: It broke."
