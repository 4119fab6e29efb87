"""Ingest's choice of a method for each product, and what it makes of products that none can be used for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lookbook import aws, ingest, library, plan, runs
from lookbook.errors import InputError
from lookbook.library import Holding
from lookbook.options import RunOptions
from lookbook.plan import LOOKED_UP_AT_ONCE, PlanLine
from lookbook.state import Item, RunContext
from lookbook.tables import Outcome, Run
from tests.unit.fakes import a_product, method_settings

RUN_ID = "20261121T101502-3f9a2c1b"
START = runs.Start(RUN_ID, "store.json", "scrapes/store.json")

SHIRT = {"id": "shirt", "title": "Blue Shirt", "category": "Tops", "image": "https://pictures.example.com/1.jpg"}
MUG = {"id": "mug", "title": "Blue Mug", "category": "Kitchen", "image": "https://pictures.example.com/2.jpg"}
COURSE = {"id": "course", "title": "Learn Rust", "category": "Courses"}
NAKED = {"id": "naked", "title": "Red Shirt", "category": "Tops"}

NO_GPU: dict[str, Any] = {"gpu_endpoint_url": ""}
NO_COVERS: dict[str, Any] = {"open_ai_model": ""}


class Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


class Bucket:
    """A bucket with one scrape in it, whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_object(self, **_: Any) -> dict[str, Body]:
        return {"Body": Body(self._data)}


@dataclass
class Planned:
    """What Ingest has written, by product id."""

    lines: dict[str, PlanLine]
    items: dict[str, Item]
    counts: ingest._Counts
    options: RunOptions
    duplicates: int

    def told(self, product_id: str) -> str:
        """Say in a word what becomes of a product: its method, or `reused`, or why it is rejected."""
        line = self.lines[product_id]
        return self.items[product_id].method if line.decision == "work" else line.reason or line.decision


class Planner:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.held: dict[str, Holding] = {}

    def __call__(
        self, *products: dict[str, Any], run: Run | None = None, asked: Any = None, **settings: Any
    ) -> Planned:
        """Plan a run of these products; `asked` are the options in the file."""
        scrape = json.dumps({"products": products, "options": asked or {}}).encode()
        self.monkeypatch.setattr(aws, "s3", lambda: Bucket(scrape))
        self.monkeypatch.setattr(library, "look_up", self.look_up)
        reader = ingest._Reader(method_settings(**settings), run or Run(RUN_ID, "run", purpose="scrape"), self.folder)
        options, entries = reader.read(START)
        context = RunContext(
            run_id=RUN_ID, variants=options.variants, reuse=options.reuse, model_photos=[], max_concurrency=8
        )
        counts = ingest._Planner(context, self.folder).plan(entries)
        lines = [PlanLine.model_validate_json(line) for line in (self.folder / "plan").read_text().splitlines()]
        items = [Item.model_validate_json(line) for line in (self.folder / "items").read_text().splitlines()]
        return Planned(
            {line.product_id: line for line in lines},
            {item.product_id: item for item in items},
            counts,
            options,
            reader.duplicates,
        )

    def look_up(self, product_ids: list[str]) -> dict[str, Holding]:
        return {product_id: self.held[product_id] for product_id in product_ids if product_id in self.held}


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planner:
    return Planner(tmp_path, monkeypatch)


NO_ENDPOINT = "It is a garment, but no GPU endpoint is configured; set GpuEndpointUrl."
COVERS_OFF = "It is no garment to try on, but covers are switched off; set OpenAiModel."


@pytest.mark.parametrize(
    ("settings", "method", "shirt", "mug", "course", "naked"),
    [
        ({}, "auto", "catvton", "openai", "openai", ingest.NO_PICTURE),
        ({"try_on_method": "fashn"}, "auto", "fashn", "openai", "openai", ingest.NO_PICTURE),
        (NO_GPU, "auto", NO_ENDPOINT, "openai", "openai", NO_ENDPOINT),
        ({**NO_GPU, "try_on_method": "fashn"}, "auto", "fashn", "openai", "openai", ingest.NO_PICTURE),
        (NO_COVERS, "auto", "catvton", COVERS_OFF, COVERS_OFF, ingest.NO_PICTURE),
        ({}, "catvton", "catvton", "catvton", ingest.NO_PICTURE, ingest.NO_PICTURE),
        (NO_GPU, "fashn", "fashn", "fashn", ingest.NO_PICTURE, ingest.NO_PICTURE),
        ({}, "openai", "openai", "openai", "openai", "openai"),
    ],
)
def test_how_a_products_images_are_made(
    planner: Planner, settings: dict[str, Any], method: str, shirt: str, mug: str, course: str, naked: str
) -> None:
    # When a garment, a thing, something without a picture and a garment without one are asked for
    told = planner(SHIRT, MUG, COURSE, NAKED, asked={"method": method}, **settings)

    # Then each is made the way that fits it, or rejected with what to do
    assert [told.told(name) for name in ("shirt", "mug", "course", "naked")] == [shirt, mug, course, naked]
    rejected = [line for line in told.lines.values() if line.decision == "rejected"]
    assert told.counts.rejected == len(rejected) == len(told.counts.problems)
    assert told.counts.to_do == len(told.items) == 4 - len(rejected)
    assert told.counts.wears is any(item.method != "openai" for item in told.items.values())


def test_an_item_says_what_generate_needs_to_know(planner: Planner) -> None:
    told = planner(SHIRT, COURSE)
    shirt, course = told.items["shirt"], told.items["course"]
    assert (shirt.index, shirt.garment, shirt.image_url) == (0, "upper", SHIRT["image"])
    assert (course.index, course.garment, course.image_url) == (1, "", "")
    assert (course.title, course.category) == ("Learn Rust", "Courses")


@pytest.mark.parametrize(("method", "settings"), [("catvton", NO_GPU), ("openai", NO_COVERS)])
def test_a_method_that_was_asked_for_by_name_and_cannot_be_used_fails_the_run(
    planner: Planner, method: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"The method {method} cannot be used: .*; set "):
        planner(SHIRT, asked={"method": method}, **settings)


@pytest.mark.parametrize("method", ["", "dall-e-3", None, 7])
def test_a_method_that_there_is_not_is_named(planner: Planner, method: Any) -> None:
    with pytest.raises(InputError, match="The option method cannot be used"):
        planner(SHIRT, asked={"method": method})


def test_what_was_given_with_the_run_wins_over_the_file(planner: Planner) -> None:
    run = Run(RUN_ID, "run", purpose="scrape", options={"method": "openai"})
    told = planner(SHIRT, run=run, asked={"method": "fashn", "variants": 2})
    assert (told.told("shirt"), told.options.variants) == ("openai", 2)


def test_the_library_may_have_what_cannot_be_made_now(planner: Planner) -> None:
    # Given that the library has all variants of products that no method could make images of, and one of two of another
    planner.held = {
        "shirt": Holding(frozenset({1, 2}), 6820, 22_000),
        "naked": Holding(frozenset({1, 2}), 6820, 22_000),
        "mug": Holding(frozenset({1}), 41_080, 30_000),
    }

    told = planner(SHIRT, NAKED, MUG, asked={"variants": 2}, **NO_GPU, **NO_COVERS)

    # Then those are reused, and only the third is rejected
    assert [told.lines[name].decision for name in ("shirt", "naked", "mug")] == ["reused", "reused", "rejected"]
    assert (told.counts.reused, told.counts.images_reused, told.counts.rejected) == (2, 4, 1)
    assert (told.counts.saved_microusd, told.counts.saved_work_ms) == (13_640, 44_000)
    assert not told.counts.wears, "a run of what is there needs no model photos"


def test_new_images_are_not_looked_for_in_the_library(planner: Planner) -> None:
    planner.held = {"shirt": Holding(frozenset({1, 2, 3}), 0, 0), "naked": Holding(frozenset({1, 2, 3}), 0, 0)}
    told = planner(SHIRT, NAKED, asked={"reuse": False})
    assert [told.told("shirt"), told.told("naked")] == ["catvton", ingest.NO_PICTURE]


def test_what_is_there_twice_is_made_once(planner: Planner) -> None:
    told = planner(SHIRT, {**SHIRT, "title": "Green Shirt"}, MUG, {"title": "Without an id"})
    assert (list(told.items), told.duplicates, told.counts.rejected) == (["shirt", "mug"], 1, 1)


def test_products_are_looked_up_in_batches_and_stay_in_order(planner: Planner) -> None:
    products = [{**SHIRT, "id": f"p{number}"} for number in range(2 * LOOKED_UP_AT_ONCE + 1)]
    planner.held = {"p150": Holding(frozenset({1, 2, 3}), 0, 0)}
    told = planner(*products)
    assert list(told.lines) == [product["id"] for product in products]
    assert list(told.items) == [product["id"] for product in products if product["id"] != "p150"]


# --- retries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "taken"),
    [
        (None, True),
        ("failed", True),
        ("deferred", True),
        ("over_budget", True),
        ("blocked", False),
        ("generated", False),
        ("linked", False),
        ("reused", False),
    ],
)
def test_a_retry_takes_what_may_still_be_had(monkeypatch: pytest.MonkeyPatch, status: str | None, taken: bool) -> None:
    # Given a run of one product that was done, and one that ended so, or was never begun
    recorded = [Outcome(RUN_ID, plan.outcome_key("done"), status="generated")]
    if status:
        recorded.append(Outcome(RUN_ID, plan.outcome_key("p"), status=status))
    items = [a_product(product_id="done"), a_product(product_id="p", method="openai")]
    monkeypatch.setattr(plan, "read_lines", lambda *_: enumerate(item.model_dump_json().encode() for item in items))
    monkeypatch.setattr(Outcome, "batch_get", lambda *_, **__: recorded)

    # Then the retry takes it with the method it had
    assert list(ingest.left_undone("bucket", RUN_ID)) == (items[1:] if taken else [])


def test_a_retry_needs_its_method_as_well(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run of a shirt and a course that is retried when there is no GPU endpoint any more
    items = [a_product(), a_product(product_id="course", method="openai", garment="", image_url="")]
    monkeypatch.setattr(ingest, "left_undone", lambda *_: iter(items))
    retry = Run(RUN_ID, "run", purpose="retry", retry_of="20261120T101502-3f9a2c1b", options={"variants": 1})

    told = planner(run=retry, **NO_GPU)

    assert [told.told("CJ1"), told.told("course")] == [NO_ENDPOINT, "openai"]
