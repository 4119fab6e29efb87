"""The steps of one product, called by hand as Step Functions may call them: twice, at once, or again much later."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]
State = dict[str, Any]


class Steps:
    """Calls the deployed functions for one product."""

    def __init__(self, stack: Stack, product: dict[str, Any], variants: int = 1, method: str = "catvton") -> None:
        self._client = stack.aws("lambda")
        pages = self._client.get_paginator("list_functions").paginate()
        self._names = [each["FunctionName"] for page in pages for each in page["Functions"]]
        photos = [
            {"name": name, "key": f"models/{name}.jpg", "sha256": self._sha256(stack, name)}
            for name in ("man_30_black", "woman_25_latina", "woman_45_caucasian")
        ]
        self.state: State = {
            "run": {
                "run_id": f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
                "variants": variants,
                "reuse": True,
                "model_photos": photos,
                "max_concurrency": 1,
            },
            "product": {
                "index": 0,
                "product_id": product["product_id"],
                "title": product["title"],
                "category": product["category"],
                "source": "scrape",
                "image_url": product["image"],
                "garment": "upper",
                "method": method,
            },
        }

    @staticmethod
    def _sha256(stack: Stack, name: str) -> str:
        head = stack.aws("s3").head_object(Bucket=stack.output("Bucket"), Key=f"models/{name}.jpg")
        return str(head["Metadata"]["sha256"])

    def call(self, function: str, state: State) -> State:
        [name] = [name for name in self._names if f"-{function}Function-" in name]
        answer = self._client.invoke(FunctionName=name, Payload=json.dumps(state).encode())
        told: State = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    def generated(self) -> State:
        """Go on until there is something to save."""
        state = self.call("Check", self.state)
        assert state["next"] == "generate"
        for _ in range(60):
            state = self.call("Generate", state)
            if state["next"] == "save":
                return state
            time.sleep(0.2)
        raise AssertionError(state)


def test_saves_that_overlap_keep_the_image(stack: Stack, products: Products) -> None:
    # Given three products whose results wait to be saved
    scrape = products(3)
    steps = [Steps(stack, product) for product in scrape]
    waiting = [each.generated() for each in steps]

    # When each is saved by three callers at once, of which some may fail and are repeated
    def save(number: int) -> str:
        for _ in range(5):
            try:
                return str(steps[number].call("Save", waiting[number])["outcome"]["status"])
            except AssertionError as failed:
                if "TransactionCanceled" not in str(failed) and "Failed to write" not in str(failed):
                    raise
        raise AssertionError("Save did not get through")

    with ThreadPoolExecutor(9) as pool:
        outcomes = list(pool.map(save, [0, 1, 2] * 3))

    # Then all of them say that it is there, and it is
    assert set(outcomes) <= {"generated", "reused"}
    for product in scrape:
        page = stack.get(f"/api/products/{product['product_id']}")
        assert page["variants"] == [1]
        assert len(page["image_list"]) == 1
        assert len(stack.history(product["product_id"])) == 1
        assert stack.aws("s3").head_object(Bucket=stack.output("Bucket"), Key=f"images/{page['cover_image_id']}.jpg")[
            "ContentLength"
        ]


def test_two_children_of_the_same_product_submit_once(stack: Stack, products: Products) -> None:
    # Given a product whose child Step Functions has started twice
    [product] = products(1)
    steps = Steps(stack, product, variants=2)
    stack.fault("gpu_url", kind="latency", seconds=0.5, on="run")
    paid = stack.charges()

    # When both go through all steps at the same time
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(lambda _: steps.generated(), range(2)))

    # Then each variant was paid for once
    assert stack.charges() - paid == 2
    assert [job["status"] for state in states for job in state["jobs"]] == ["staged"] * 4


def test_a_late_answer_does_not_undo_a_success(stack: Stack, products: Products) -> None:
    # Given an image that is saved, and the state in which its child was before
    [product] = products(1)
    steps = Steps(stack, product)
    before = steps.call("Generate", steps.call("Check", steps.state))
    saved = steps.call("Save", steps.generated())
    assert saved["outcome"]["status"] == "generated"

    # When that old state comes back
    late = steps.call("Generate", before)

    # Then it finds the image, and the ledger still says succeeded
    assert late["next"] == "save"
    assert [job["status"] for job in late["jobs"]] == ["linked"]
    assert [entry["status"] for entry in stack.ledger(steps.state["run"]["run_id"])] == ["succeeded"]


def test_paid_work_is_fetched_when_the_suppliers_picture_is_gone(stack: Stack, products: Products) -> None:
    # Given a job that is paid for, whose child is gone, and a picture host that no longer has the picture
    [product] = products(1)
    steps = Steps(stack, product)
    steps.call("Generate", steps.call("Check", steps.state))
    stack.fault("pictures_url", kind="5xx", status=500)
    paid = stack.charges()

    # When the next pass takes the product up
    state = steps.generated()

    # Then it finds the job and its result
    assert [job["status"] for job in state["jobs"]] == ["staged"]
    assert stack.charges() == paid


@pytest.mark.parametrize("changed", ["name", "bytes"])
def test_a_model_photo_that_was_replaced_is_not_used(stack: Stack, products: Products, changed: str) -> None:
    # Given a run that planned with a model photo which is then another one
    [product] = products(1)
    steps = Steps(stack, product)
    photo = steps.state["run"]["model_photos"][0]
    if changed == "bytes":
        photo["sha256"] = secrets.token_hex(32)
    else:
        photo["key"] = "models/gone.jpg"
        photo["sha256"] = secrets.token_hex(32)
    paid = stack.charges()

    # When its product comes to be generated, then nothing is paid for
    state = steps.call("Generate", steps.call("Check", steps.state))
    assert ("replaced" if changed == "bytes" else "models/gone.jpg") in state["outcome"]["reason"]
    assert stack.charges() == paid
