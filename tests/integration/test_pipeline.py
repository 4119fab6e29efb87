"""The main job on the deployed template: scrapes become images, once."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from threading import Timer
from typing import Any

import pytest
import requests
from PIL import Image

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]


def test_a_fresh_run_fills_the_library(stack: Stack, products: Products) -> None:
    # Given three products nobody has seen
    scrape = products(3)
    paid = stack.charges()

    # When they are run
    run = stack.run(scrape)

    # Then each has its three images, paid for once each, and the run and its execution are green
    assert run["status"] == "succeeded", run
    assert run["counts"] | {"duplicates": 0} == run["counts"]
    assert (run["counts"]["products"], run["counts"]["generated"], run["images_generated"]) == (3, 3, 9)
    assert stack.charges() - paid == 9
    assert stack.execution(run["run_id"])["status"] == "SUCCEEDED"
    assert {item["status"] for item in stack.items(run["run_id"]).values()} == {"generated"}

    # And a product's page shows real pictures named by their hash, without metadata
    page = stack.get(f"/api/products/{scrape[0]['product_id']}")
    assert page["variants"] == [1, 2, 3]
    assert len({image["model_photo"] for image in page["image_list"]}) == 3
    for image in page["image_list"]:
        data = requests.get(image["url"], timeout=10).content
        assert hashlib.sha256(data).hexdigest() == image["image_id"]
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (image["width"], image["height"]))
        assert not picture.getexif()
        assert "icc_profile" not in picture.info
    assert page["cover_image_id"] == page["image_list"][0]["image_id"]

    # And history has the cover, and the ledger's sum is the run's cost
    assert [entry["image_id"] for entry in stack.history(scrape[0]["product_id"])] == [page["cover_image_id"]]
    ledger = stack.ledger(run["run_id"])
    assert [entry["status"] for entry in ledger] == ["succeeded"] * 9
    assert run["cost_usd"] == pytest.approx(sum(int(entry["cost_microusd"]) for entry in ledger) / 1e6)
    assert run["cost_usd"] > 0

    # And nothing is claimed any more
    [product] = [item for item in stack.collection(scrape[0]["product_id"]) if item["sort_key"] == "product"]
    assert "claimed_by" not in product


def test_a_second_scrape_reuses_what_the_first_one_paid_for(stack: Stack, products: Products) -> None:
    # Given a run that has made images
    scrape = products(2)
    first = stack.run(scrape)
    paid = stack.charges()

    # When another store's scrape has the same products in another shape
    other = "\n".join(
        json.dumps({"sku": each["product_id"], "name": each["title"], "imageUrl": each["image"]}) for each in scrape
    )
    second = stack.run(other)

    # Then nothing is generated, no map is started, and the run says what it saved
    assert second["status"] == "succeeded"
    assert (second["counts"]["reused"], second["counts"]["generated"]) == (2, 0)
    assert stack.charges() == paid
    assert stack.map_runs(second["run_id"]) == []
    assert second["saved_usd"] == pytest.approx(first["cost_usd"])
    assert {item["status"] for item in stack.items(second["run_id"]).values()} == {"reused"}


def test_more_variants_make_only_what_is_missing(stack: Stack, products: Products) -> None:
    # Given a product with one image
    scrape = products(1)
    stack.run(scrape, variants=1)
    paid = stack.charges()

    # When three are wanted
    run = stack.run(scrape, variants=3)

    # Then two are made
    assert run["images_generated"] == 2
    assert stack.charges() - paid == 2
    assert stack.get(f"/api/products/{scrape[0]['product_id']}")["variants"] == [1, 2, 3]


def test_new_images_are_made_when_asked_for_and_the_old_ones_stay(stack: Stack, products: Products) -> None:
    # Given a product with an image
    scrape = products(1)
    stack.run(scrape, variants=1)
    before = stack.get(f"/api/products/{scrape[0]['product_id']}")
    paid = stack.charges()

    # When a run does not want to reuse it
    run = stack.run(scrape, variants=1, reuse=False)

    # Then there is a new cover, paid for, and the old image and its history are still there
    assert (run["status"], run["images_generated"], stack.charges() - paid) == ("succeeded", 1, 1)
    after = stack.get(f"/api/products/{scrape[0]['product_id']}")
    assert after["cover_image_id"] != before["cover_image_id"]
    assert before["cover_image_id"] in {image["image_id"] for image in after["image_list"]}
    covers = [entry["image_id"] for entry in stack.history(scrape[0]["product_id"])]
    assert covers == [before["cover_image_id"], after["cover_image_id"]]


def test_a_mixed_scrape_accounts_for_every_product(stack: Stack, products: Products) -> None:
    # Given good products, one twice, one that is no garment, and four kinds of bad ones
    good = products(2)
    missing, page, huge = products(3)
    missing["image"] = f"{stack.known['pictures_url']}/missing"
    page["image"] = f"{stack.known['pictures_url']}/html"
    huge["image"] = f"{stack.known['pictures_url']}/huge"
    mascara = {
        "product_id": f"{good[0]['product_id']}-m",
        "title": "Volume Mascara",
        "category": "beauty",
        "image": good[0]["image"],
    }
    [bare] = products(1)
    del bare["image"]
    scrape = [good[0], {"title": "No id"}, good[1], good[0], mascara, missing, 7, page, huge, bare]
    paid, covers = stack.charges(), stack.charges("openai_images_url")

    # When they are run
    run = stack.run(scrape, variants=1)

    # Then the good ones have images, and each bad one its reason
    assert run["status"] == "partial"
    assert stack.execution(run["run_id"])["status"] == "FAILED", "green only if the run is"
    counts = run["counts"]
    assert (counts["products"], counts["generated"], counts["rejected"], counts["failed"], counts["duplicates"]) == (
        9,
        3,
        3,
        3,
        1,
    )
    assert (stack.charges() - paid, stack.charges("openai_images_url") - covers) == (2, 1)
    reasons = {problem["index"]: problem["reason"] for problem in run["problems"]}
    assert sorted(reasons) == [1, 5, 6, 7, 8, 9]
    assert "id" in reasons[1]
    assert "no picture to try on" in reasons[9]
    assert "404" in reasons[5]
    assert "HTML" in reasons[7]
    assert "20 MB" in reasons[8]
    failed = stack.get(f"/api/runs/{run['run_id']}/items?status=failed")["items"]
    assert {item["index"] for item in failed} == {5, 7, 8}


@pytest.mark.parametrize(
    ("scrape", "said"),
    [
        ('[{"id": 1,', "cut off"),
        ("<html>", "web page"),
        ("[]", "no products"),
        ('{"products": [], "options": {"variants": 99}}', "variants"),
    ],
)
def test_a_broken_file_fails_the_run_with_one_reason(stack: Stack, scrape: str, said: str) -> None:
    run = stack.run(scrape)

    assert run["status"] == "failed"
    assert said in run["reason"]
    assert run["counts"]["products"] == 0
    assert stack.execution(run["run_id"])["status"] == "FAILED"


def test_a_file_put_in_the_bucket_by_hand_starts_a_run(stack: Stack, products: Products) -> None:
    # Given a CJ answer with a byte order mark
    scrape = products(2)
    envelope = {"code": 200, "data": {"list": [
        {"pid": each["product_id"], "productName": json.dumps([each["title"]]), "productImage": each["image"],
         "categoryName": each["category"], "sellPrice": each["price"]} for each in scrape]}}  # fmt: skip
    key = f"scrapes/{scrape[0]['product_id']}.json"

    # When it is put under scrapes/
    body = json.dumps(envelope).encode("utf-8-sig")
    stack.aws("s3").put_object(Bucket=stack.output("Bucket"), Key=key, Body=body)

    # Then a run by its name ends with every product accounted for
    run = stack.run_of_upload(key)
    assert run["status"] == "succeeded"
    assert run["counts"]["generated"] == 2
    assert stack.get(f"/api/products/{scrape[0]['product_id']}")["source"] == "cj"


def test_an_upload_announced_twice_is_one_run(stack: Stack, products: Products) -> None:
    # Given a run that an S3 event started
    scrape = products(1)
    key = f"scrapes/{scrape[0]['product_id']}.json"
    stack.aws("s3").put_object(Bucket=stack.output("Bucket"), Key=key, Body=json.dumps(scrape).encode())
    run = stack.run_of_upload(key)
    paid = stack.charges()
    event = stack.execution(run["run_id"])["input"]

    # When EventBridge delivers the same event again
    client = stack.aws("stepfunctions")
    again = client.start_execution(stateMachineArn=stack.output("Pipeline"), input=event)["executionArn"]
    ended = _ended(client, again)

    # Then it ends at once, as a duplicate, and there is still one run
    assert (ended["status"], json.loads(ended["output"])["next"]) == ("SUCCEEDED", "duplicate")
    assert stack.charges() == paid
    assert [each["run_id"] for each in stack.get("/api/runs?limit=50")["runs"] if each["name"] == key] == [
        run["run_id"]
    ]

    # And the same file uploaded again is a run of its own, that reuses
    stack.aws("s3").put_object(Bucket=stack.output("Bucket"), Key=key, Body=json.dumps(scrape).encode())
    for _ in range(100):
        runs = [each for each in stack.get("/api/runs?limit=50")["runs"] if each["name"] == key]
        if len(runs) == 2:
            break
    assert stack.wait(runs[0]["run_id"])["counts"]["reused"] == 1


def _ended(client: Any, arn: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told: dict[str, Any] = client.describe_execution(executionArn=arn)
        if told["status"] != "RUNNING":
            return told
        time.sleep(0.1)
    raise AssertionError("the execution did not end")


def test_two_runs_at_once_pay_for_the_same_products_once(stack: Stack, products: Products) -> None:
    # Given a GPU slow enough that both runs are at work together
    scrape = products(4)
    stack.fault("gpu_url", kind="latency", seconds=0.5, on="run")
    paid = stack.charges()

    # When two runs want the same products at the same moment
    first, second = stack.start(scrape), stack.start(scrape)
    ended = [stack.wait(first), stack.wait(second)]

    # Then every image is paid for once, and both runs have all products
    assert stack.charges() - paid == 12
    assert [run["status"] for run in ended] == ["succeeded", "succeeded"]
    assert sum(run["images_generated"] for run in ended) == 12
    assert sum(run["counts"]["generated"] for run in ended) == 4
    assert sum(run["counts"]["reused"] for run in ended) == 4


def test_the_same_picture_under_another_id_is_linked_not_generated(stack: Stack, products: Products) -> None:
    # Given a product with images, and another product with the very same source picture
    [first, second] = products(2)
    second["image"] = first["image"]
    stack.run([first])
    paid = stack.charges()

    # When the other one is run
    run = stack.run([second])

    # Then it gets the same images for nothing
    assert run["status"] == "succeeded"
    assert stack.charges() == paid
    ids = [
        {image["image_id"] for image in stack.get(f"/api/products/{each['product_id']}")["image_list"]}
        for each in (first, second)
    ]
    assert ids[0] == ids[1]


def test_two_products_with_one_new_picture_are_paid_for_once(stack: Stack, products: Products) -> None:
    # Given two products with the same source picture that nobody has seen, and a provider slow to take jobs
    [first, second] = products(2)
    second["image"] = first["image"]
    stack.fault("gpu_url", kind="latency", seconds=1, on="run")
    paid = stack.charges()

    # When both are at work at the same moment
    run = stack.run([first, second], variants=1)

    # Then one of them paid
    assert stack.charges() - paid == 1
    assert run["status"] == "succeeded"
    pages = [stack.get(f"/api/products/{each['product_id']}") for each in (first, second)]
    assert pages[0]["cover_image_id"] == pages[1]["cover_image_id"] is not None
    assert [entry["status"] for entry in stack.ledger(run["run_id"])] == ["succeeded"]


def test_a_gpu_that_fails_for_a_while_costs_time_and_nothing_else(stack: Stack, products: Products) -> None:
    # Given an endpoint that refuses the next ten jobs, and then cannot be asked for a while
    scrape = products(2)
    stack.fault("gpu_url", kind="5xx", status=503, count=10, on="run")
    stack.fault("gpu_url", kind="5xx", status=500, count=4, on="status")
    paid = stack.charges()

    # When products are run
    run = stack.run(scrape)

    # Then the run succeeds, and each image was paid for once
    assert run["status"] == "succeeded", run
    assert stack.charges() - paid == 6
    assert {entry["status"] for entry in stack.ledger(run["run_id"])} == {"succeeded"}


def forget_placeholders(stack: Stack) -> None:
    """Take away what earlier tests have taught the library."""
    table = stack.aws("dynamodb")
    found = table.scan(
        TableName=stack.output("LibraryTable"),
        FilterExpression="kind = :kind AND blocked = :yes",
        ExpressionAttributeValues={":kind": {"S": "fingerprint"}, ":yes": {"BOOL": True}},
    )
    for item in found["Items"]:
        key = {name: item[name] for name in ("product_id", "sort_key")}
        table.delete_item(TableName=stack.output("LibraryTable"), Key=key)


def test_a_placeholder_for_a_flagged_job_is_never_an_image(stack: Stack, products: Products) -> None:
    # Given a GPU whose filter flags everything for a while
    forget_placeholders(stack)
    [one, two] = products(2)
    stack.fault("gpu_url", kind="flagged")
    paid = stack.charges()

    # When a product is run that gets one image, which nobody can know to be a placeholder, and then another that does
    stack.run([one], variants=1)
    run = stack.run([two], variants=3)

    # Then another seed was tried once for each, both are blocked, the ledger says so, and no image is left of it
    assert stack.charges() - paid == 1 + 2 * 3
    assert run["counts"]["blocked"] == 1, run
    assert "safety filter" in run["problems"][0]["reason"]
    for product in (one, two):
        page = stack.get(f"/api/products/{product['product_id']}")
        assert (page["variants"], page["image_list"], page["cover_image_id"]) == ([], [], None)
    assert {entry["status"] for entry in stack.ledger(run["run_id"])} == {"blocked"}
    assert [entry["action"] for entry in stack.history(one["product_id"])] == ["generated", "withdrawn"]

    # And it is final for these inputs: nothing is paid for again
    stack.heal()
    paid = stack.charges()
    again = stack.run([two], variants=3)
    assert again["counts"]["blocked"] == 1
    assert stack.charges() == paid


def test_what_a_moody_filter_blocked_may_pass_with_another_seed(stack: Stack, products: Products) -> None:
    # Given a filter that flags one job of each of two products
    forget_placeholders(stack)
    [one, two] = products(2)
    stack.fault("gpu_url", kind="flagged", count=2)

    # When both are run, one image each
    first = stack.run([one], variants=1)
    second = stack.run([two], variants=1)

    # Then the first could not know; the second does, and gets its image by another seed
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert sorted(entry["status"] for entry in stack.ledger(second["run_id"])) == ["blocked", "succeeded"]
    assert stack.get(f"/api/products/{one['product_id']}")["image_list"] == []
    assert stack.get(f"/api/products/{two['product_id']}")["variants"] == [1]

    # And what it cost is all on the image
    [image] = stack.get(f"/api/products/{two['product_id']}")["image_list"]
    assert image["cost_usd"] == pytest.approx(second["cost_usd"])

    # And from then on it is known at sight
    [three] = products(1)
    stack.fault("gpu_url", kind="flagged", count=1)
    third = stack.run([three], variants=1)
    assert sorted(entry["status"] for entry in stack.ledger(third["run_id"])) == ["blocked", "succeeded"]


def test_a_result_that_is_no_picture_is_tried_once_more(stack: Stack, products: Products) -> None:
    scrape = products(1)
    stack.fault("gpu_url", kind="garbage", count=1)
    paid = stack.charges()

    run = stack.run(scrape, variants=2)

    assert run["status"] == "succeeded", run
    assert stack.charges() - paid == 3
    assert sorted(entry["status"] for entry in stack.ledger(run["run_id"])) == ["failed", "succeeded", "succeeded"]


def test_a_worker_that_always_fails_is_paid_twice_at_most(stack: Stack, products: Products) -> None:
    scrape = products(1)
    stack.fault("gpu_url", kind="failed")
    paid = stack.charges()

    run = stack.run(scrape, variants=1)

    assert run["status"] == "failed"
    assert run["counts"]["failed"] == 1
    assert stack.charges() - paid == 2
    assert run["cost_usd"] > 0, "what failed was paid for all the same"


def test_an_answer_that_never_came_is_marked_unknown(stack: Stack, products: Products) -> None:
    # Given a provider that takes one job and never answers
    scrape = products(1)
    stack.fault("gpu_url", kind="timeout_after_success", count=1, seconds=1)
    paid = stack.charges()

    # When the product is run
    run = stack.run(scrape, variants=1)

    # Then it gets its image by a second attempt, and the ledger owns up to the first
    assert run["status"] == "succeeded", run
    assert stack.charges() - paid == 2
    assert sorted(entry["status"] for entry in stack.ledger(run["run_id"])) == ["succeeded", "unknown"]


def test_a_slow_product_is_put_off_and_not_dropped(stack: Stack, products: Products) -> None:
    # Given a job that hangs in the queue for longer than a pass
    scrape = products(1)
    stack.fault("gpu_url", kind="stuck")
    Timer(14, stack.heal).start()
    paid = stack.charges()

    # When it is run
    run = stack.run(scrape, variants=1)

    # Then a later pass fetches it, and it was paid for once
    assert run["status"] == "succeeded", run
    assert len(stack.map_runs(run["run_id"])) >= 2
    assert stack.charges() - paid == 1


def test_a_step_that_breaks_is_recorded_in_plain_words(stack: Stack, products: Products) -> None:
    # Given a product whose record is lost while its image is made
    scrape = products(1)
    stack.fault("gpu_url", kind="stuck")
    run_id = stack.start(scrape, variants=1)
    product = {"product_id": {"S": scrape[0]["product_id"]}, "sort_key": {"S": "product"}}
    for _ in range(200):
        if [entry for entry in stack.ledger(run_id) if entry["status"] == "submitted"]:
            break
    stack.aws("dynamodb").delete_item(TableName=stack.output("LibraryTable"), Key=product)
    stack.heal()

    # When Save cannot do its work, however often it is tried
    run = stack.wait(run_id)

    # Then the product is a recorded failure, and says why without a traceback
    assert run["status"] == "failed"
    reason = run["problems"][0]["reason"]
    assert scrape[0]["product_id"] in reason
    assert "Traceback" not in reason
    assert "{" not in reason
