"""What a run costs: told before it, limited while it runs, and taken up again after it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.art import draw_garment
from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]

SERVICES = {"catvton": "gpu_url", "fashn": "fashn_url", "openai": "openai_images_url"}
# US dollars an image, as configured; the GPU's is an estimate, its stand-in far quicker.
PRICES = {"catvton": 0.00341, "fashn": 0.075, "openai": 0.04108}


def all_charges(stack: Stack) -> int:
    return sum(stack.charges(service) for service in SERVICES.values())


# ---------------------------------------------------------------------- plans


def test_a_plan_says_what_the_run_then_does_and_costs_nothing(stack: Stack, products: Products) -> None:
    # Given a product with images, two new garments with one picture, a product to cover, and one without a picture
    [held] = products(1)
    stack.run([held], variants=2)
    first, second, pot, bare = products(4)
    second["image"] = first["image"]
    pot |= {"title": "Ceramic Flower Pot", "category": "Home & Garden"}
    del bare["image"]
    scrape = [held, first, second, pot, bare]
    paid = all_charges(stack)

    # When it is planned
    plan = stack.plan(scrape, variants=2)

    # Then each product has its place, equal work is counted once, and nothing was paid or changed
    assert plan["status"] == "planned", plan
    assert plan["kind"] == "plan"
    counts = plan["counts"]
    assert (counts["products"], counts["reused"], counts["planned"], counts["rejected"]) == (5, 1, 3, 1)
    told = plan["plan"]
    assert (told["images_to_generate"], told["images_linked"]) == (4, 2)
    methods = {method["method"]: method for method in told["methods"]}
    assert {name: method["images"] for name, method in methods.items()} == {"catvton": 2, "openai": 2}
    assert told["cost_usd"] == pytest.approx(sum(method["cost_usd"] for method in methods.values()))
    assert "non-commercial" in methods["catvton"]["licence"]
    assert all(method["basis"] and method["minutes"] > 0 for method in methods.values())
    assert told["prices_as_of"] == "2026-11-21"
    assert all_charges(stack) == paid
    assert stack.collection(first["product_id"]) == []
    assert stack.ledger(plan["run_id"]) == []

    # And the run does just that
    run = stack.run(scrape, variants=2)
    assert run["counts"]["reused"] == 1
    assert run["counts"]["generated"] + run["counts"]["linked"] == 3
    assert run["images_generated"] == 4
    assert all_charges(stack) - paid == 4

    # And planned again, there is nothing left to pay
    again = stack.plan(scrape, variants=2)
    assert (again["counts"]["reused"], again["plan"]["images_to_generate"], again["plan"]["cost_usd"]) == (4, 0, 0)


def test_a_plan_finds_what_is_linked_and_what_cannot_be_fetched(stack: Stack, products: Products) -> None:
    # Given a product with an image, another one with the same picture, and one whose picture is gone
    [known] = products(1)
    stack.run([known], variants=1)
    [twin, lost] = products(2)
    twin["image"] = known["image"]
    lost["image"] = f"{stack.known['pictures_url']}/missing"

    # When they are planned
    plan = stack.plan([twin, lost], variants=1)

    # Then it is known before anything is paid
    assert (plan["counts"]["linked"], plan["counts"]["failed"], plan["counts"]["planned"]) == (1, 1, 0)
    assert plan["plan"]["images_linked"] == 1
    assert "404" in plan["problems"][0]["reason"]


def test_a_scrape_that_cannot_be_read_fails_its_plan(stack: Stack) -> None:
    answer = stack.call("POST", "/api/runs/plan", json={"name": "x", "scrape": "<html>"})
    assert stack.wait(answer.json()["run_id"])["status"] == "failed"


# ---------------------------------------------------------------------- methods


@pytest.mark.parametrize("method", SERVICES)
def test_every_method_makes_images_and_keeps_its_licence(stack: Stack, products: Products, method: str) -> None:
    # Given a product
    scrape = products(1)
    paid = stack.charges(SERVICES[method])

    # When its images are made by this method
    run = stack.run(scrape, variants=2, method=method)

    # Then they are there, with licence and price, and the ledger's sum is the run's and the provider's
    assert run["status"] == "succeeded", run
    assert stack.charges(SERVICES[method]) - paid == 2
    page = stack.get(f"/api/products/{scrape[0]['product_id']}")
    assert [image["method"] for image in page["image_list"]] == [method, method]
    assert all(image["licence"] and image["cost_usd"] > 0 for image in page["image_list"])
    assert sum(image["cost_usd"] for image in page["image_list"]) == pytest.approx(run["cost_usd"])
    [row] = run["ledger"]
    assert (row["provider"], row["attempts"], row["succeeded"]) == (method, 2, 2)
    entries = stack.get(f"/api/runs/{run['run_id']}/ledger")["entries"]
    assert sum(entry["cost_usd"] for entry in entries) == pytest.approx(run["cost_usd"])
    assert all(entry["job_id"] and entry["usage"] for entry in entries)


def test_auto_tries_garments_on_and_covers_the_rest_with_or_without_a_picture(stack: Stack, products: Products) -> None:
    # Given a garment, a product that is none, and one that is known by its title only
    garment, pot, course = products(3)
    pot |= {"title": "Ceramic Flower Pot", "category": "Home & Garden"}
    course |= {"title": "A Course in Cooking", "category": "Education"}
    del course["image"]

    # When they are run
    run = stack.run([garment, pot, course], variants=1)

    # Then each is made in its way
    assert run["status"] == "succeeded", run
    made = {
        product["product_id"]: stack.get(f"/api/products/{product['product_id']}")["image_list"][0]
        for product in (garment, pot, course)
    }
    assert [image["method"] for image in made.values()] == ["catvton", "openai", "openai"]
    assert [bool(image["model_photo"]) for image in made.values()] == [True, False, False]


def test_methods_are_listed_with_licence_and_price(stack: Stack) -> None:
    told = stack.get("/api/methods")
    methods = {method["method"]: method for method in told["methods"]}
    assert set(methods) == set(SERVICES)
    assert "non-commercial" in methods["catvton"]["licence"]
    assert methods["fashn"]["usd_per_image"] == pytest.approx(0.075)
    assert all(method["ready"] and method["seconds_per_image"] > 0 for method in methods.values())


def test_an_upload_can_be_planned(stack: Stack, products: Products) -> None:
    # Given a place for an upload that is to be planned
    answer = stack.call("POST", "/api/runs/plan", json={"name": "large.json", "upload": True}).json()
    paid = all_charges(stack)

    # When a scrape is put there
    import requests  # noqa: PLC0415 - only here

    post = answer["upload"]
    sent = requests.post(post["url"], data=post["fields"], files={"file": json.dumps(products(1))}, timeout=10)
    sent.raise_for_status()

    # Then it is planned and nothing else
    plan = stack.wait(answer["run"]["run_id"])
    assert (plan["status"], plan["counts"]["planned"]) == ("planned", 1)
    assert all_charges(stack) == paid


# ---------------------------------------------------------------------- budgets


@pytest.mark.parametrize("method", ["fashn", "openai"])
def test_a_run_stays_within_its_budget_and_a_retry_makes_the_rest(
    stack: Stack, products: Products, method: str
) -> None:
    # Given money for two of four images
    scrape = products(4)
    paid = stack.charges(SERVICES[method])
    limit = round(2.5 * PRICES[method], 4)

    # When they are run
    run = stack.run(scrape, variants=1, method=method, max_cost_usd=limit)

    # Then two are made, the others say why not, and the money was enough
    assert run["status"] == "partial", run
    assert (run["counts"]["generated"], run["counts"]["over_budget"]) == (2, 2)
    assert run["cost_usd"] <= limit
    assert stack.charges(SERVICES[method]) - paid == 2
    items = stack.items(run["run_id"]).values()
    assert all("budget" in item["reason"] for item in items if item["status"] == "over_budget")
    assert sorted(item["status"] for item in items) == ["generated", "generated", "over_budget", "over_budget"]

    # And a retry takes the rest, with a budget of its own
    retry = stack.retry(run["run_id"])
    assert (retry["status"], retry["kind"], retry["retry_of"]) == ("succeeded", "retry", run["run_id"])
    assert (retry["counts"]["products"], retry["counts"]["generated"]) == (2, 2)
    assert stack.charges(SERVICES[method]) - paid == 4


def test_a_budget_that_is_too_small_for_one_image_makes_none(stack: Stack, products: Products) -> None:
    paid = all_charges(stack)
    run = stack.run(products(2), variants=1, method="fashn", max_cost_usd=0.01)
    assert (run["status"], run["counts"]["over_budget"], run["cost_usd"]) == ("failed", 2, 0)
    assert all_charges(stack) == paid


def test_part_of_a_products_images_may_fit_the_budget(stack: Stack, products: Products) -> None:
    # Given money for two of a product's three images
    [product] = products(1)

    # When it is run
    run = stack.run([product], variants=3, method="fashn", max_cost_usd=0.16)

    # Then these two are kept, and the retry makes the third
    assert (run["status"], run["counts"]["over_budget"], run["images_generated"]) == ("partial", 1, 2)
    assert stack.get(f"/api/products/{product['product_id']}")["variants"] == [1, 2]
    retry = stack.retry(run["run_id"], max_cost_usd=0.08)
    assert (retry["status"], retry["images_generated"]) == ("succeeded", 1)
    assert stack.get(f"/api/products/{product['product_id']}")["variants"] == [1, 2, 3]


@pytest.mark.parametrize(("method", "fault"), [("fashn", "out_of_credits"), ("openai", "billing")])
def test_a_providers_own_stop_stops_the_run_and_nothing_is_lost(
    stack: Stack, products: Products, method: str, fault: str
) -> None:
    # Given a provider whose account is used up
    scrape = products(3)
    stack.fault(SERVICES[method], kind=fault)
    paid = stack.charges(SERVICES[method])

    # When products are run
    run = stack.run(scrape, variants=1, method=method)

    # Then nothing was charged, and the run says what to do
    assert (run["status"], run["counts"]["over_budget"]) == ("failed", 3), run
    assert "retry" in run["stopping"]
    assert stack.charges(SERVICES[method]) == paid

    # And when the account is filled, a retry makes them
    stack.heal()
    assert stack.retry(run["run_id"])["counts"]["generated"] == 3


# ---------------------------------------------------------------------- stopping


def test_a_stopped_run_finishes_what_is_paid_for_and_the_rest_can_be_retried(stack: Stack, products: Products) -> None:
    # Given a run of more products than are in work at once, whose first jobs hang at the GPU
    scrape = products(12)
    stack.fault("gpu_url", kind="stuck")
    paid = stack.charges()
    run_id = stack.start(scrape, variants=1)
    in_flight = 0
    for _ in range(200):
        in_flight = sum(entry["status"] == "submitted" for entry in stack.ledger(run_id))
        if in_flight >= 3:
            break

    # When it is stopped, and the GPU comes to itself
    answer = stack.call("POST", f"/api/runs/{run_id}/stop")
    assert answer.status_code == 202
    assert "stopped by" in answer.json()["stopping"]
    stack.heal()
    run = stack.wait(run_id)

    # Then what was paid for is in the library, and the rest was not begun
    made = stack.charges() - paid
    assert 3 <= made < 12
    assert run["counts"]["generated"] == made
    assert run["counts"]["deferred"] == 12 - made
    assert run["status"] == "partial"
    assert {entry["status"] for entry in stack.ledger(run_id)} == {"succeeded"}
    items = stack.items(run_id).values()
    assert sum(item["status"] == "deferred" for item in items) == 12 - made
    assert all("stopped" in item["reason"] for item in items if item["status"] == "deferred")

    # And a retry takes the rest only
    retry = stack.retry(run_id)
    assert (retry["counts"]["products"], retry["counts"]["generated"]) == (12 - made, 12 - made)
    assert stack.charges() - paid == 12


def test_what_has_ended_cannot_be_stopped_and_what_went_well_not_retried(stack: Stack, products: Products) -> None:
    run = stack.run(products(1), variants=1)
    for action, said in (("stop", "ended already"), ("retry", "nothing to retry")):
        answer = stack.call("POST", f"/api/runs/{run['run_id']}/{action}", json={})
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"]


# ---------------------------------------------------------------------- retries


def test_a_retry_takes_what_failed_and_not_what_was_blocked(stack: Stack, products: Products) -> None:
    # Given a run of which one product was blocked by FASHN's filter, and one failed
    good, flagged, failing = products(3)
    stack.fault("fashn_url", kind="flagged", count=1)
    blocked = stack.run([flagged], variants=1, method="fashn")
    stack.fault("fashn_url", kind="failed", count=2)
    failed = stack.run([failing], variants=1, method="fashn")
    assert (blocked["counts"]["blocked"], failed["counts"]["failed"]) == (1, 1)
    stack.heal()
    run = stack.run([good, flagged], variants=1, method="fashn")
    assert (run["counts"]["generated"], run["counts"]["blocked"]) == (1, 1)

    # When each is retried
    answer = stack.call("POST", f"/api/runs/{run['run_id']}/retry", json={})
    retry = stack.retry(failed["run_id"])

    # Then what was blocked is final, and what failed is made
    assert answer.status_code == 409
    assert (retry["status"], retry["counts"]["generated"]) == ("succeeded", 1)


def test_a_retry_of_new_pictures_fetches_what_is_paid_for(stack: Stack, products: Products) -> None:
    # Given a run that wanted new pictures, of which the second failed for good
    scrape = products(1)
    stack.run(scrape, variants=2)
    stack.fault("gpu_url", kind="failed")
    first = stack.run(scrape, variants=2, reuse=False)
    assert first["counts"]["failed"] == 1

    # When it is retried in vain, and that retry is retried
    second = stack.retry(first["run_id"])
    assert second["counts"]["failed"] == 1
    stack.heal()
    paid = stack.charges()
    third = stack.retry(second["run_id"])

    # Then it is the same work all along, and each new picture is made once
    assert (third["status"], third["images_generated"]) == ("succeeded", 2)
    assert stack.charges() - paid == 2
    works = [{entry["run_id"] for entry in stack.ledger(run["run_id"])} for run in (first, second, third)]
    assert works[0] == works[1] == works[2]
    page = stack.get(f"/api/products/{scrape[0]['product_id']}")
    assert len(page["image_list"]) == 4


def test_a_run_whose_execution_died_is_told_and_can_be_retried(stack: Stack, products: Products) -> None:
    # Given a run whose execution is aborted while its jobs hang at the GPU
    scrape = products(2)
    stack.fault("gpu_url", kind="stuck")
    paid = stack.charges()
    run_id = stack.start(scrape, variants=1)
    for _ in range(200):
        if sum(entry["status"] == "submitted" for entry in stack.ledger(run_id)) == 2:
            break
    record = stack.aws("dynamodb").get_item(
        TableName=stack.output("RunsTable"), Key={"run_id": {"S": run_id}, "sort_key": {"S": "run"}}
    )["Item"]
    stack.aws("stepfunctions").stop_execution(executionArn=record["execution_arn"]["S"])
    stack.heal()

    # When it is retried
    run = stack.wait(run_id)
    retry = stack.retry(run_id)

    # Then the run had said what to do, and the retry fetches what was paid for
    assert run["status"] == "failed"
    assert "Retry it" in run["reason"]
    assert (retry["status"], retry["counts"]["products"]) == ("succeeded", 2)
    assert stack.charges() - paid == 2
    # And the cost is counted once, with the run that bought it
    costs = [stack.get(f"/api/runs/{each}")["cost_usd"] for each in (run_id, retry["run_id"])]
    assert costs[0] > 0
    assert costs[1] == 0


# ---------------------------------------------------------------------- limits


@pytest.mark.slow
@pytest.mark.parametrize("method", SERVICES)
def test_a_storm_of_429_fails_no_product(stack: Stack, products: Products, method: str) -> None:
    scrape = products(2)
    stack.fault(SERVICES[method], kind="429", count=6)
    paid = stack.charges(SERVICES[method])

    run = stack.run(scrape, variants=1, method=method)

    assert run["status"] == "succeeded", run
    assert stack.charges(SERVICES[method]) - paid == 2
    assert [entry["status"] for entry in stack.ledger(run["run_id"])] == ["succeeded", "succeeded"]


def test_five_stores_at_the_same_moment_pay_for_each_product_once(stack: Stack, products: Products) -> None:
    # Given five stores' scrapes that share most of their products
    shared = products(5)
    scrapes = [[*shared, *products(1)] for _ in range(5)]
    paid = stack.charges()

    # When all are started at once
    with ThreadPoolExecutor(5) as pool:
        runs = [stack.wait(run_id) for run_id in pool.map(lambda scrape: stack.start(scrape, variants=1), scrapes)]

    # Then each unique product was paid for once, and every store has all of them
    assert stack.charges() - paid == 5 + 5
    assert [run["status"] for run in runs] == ["succeeded"] * 5
    assert sum(run["images_generated"] for run in runs) == 10


# ---------------------------------------------------------------------- near-duplicates


def test_near_duplicates_are_offered_and_never_merged(stack: Stack, products: Products) -> None:
    # Given a product, and another one with the same picture recompressed and smaller
    one, two, other = products(3)
    picture = draw_garment("Red Polka Dot Dress", 7)
    for product, quality, size in ((one, 92, (900, 900)), (two, 60, (600, 600))):
        out = io.BytesIO()
        picture.resize(size).save(out, "JPEG", quality=quality)
        product["image"] = stack.put_picture(f"{product['product_id']}.jpg", out.getvalue())

    # When they are run
    run = stack.run([one, two, other], variants=1)

    # Then each has its own image, and they are offered as near-duplicates
    assert run["counts"]["generated"] == 3
    groups = stack.get("/api/duplicates?limit=100")["groups"]
    [group] = [group for group in groups if one["product_id"] in {each["product_id"] for each in group["products"]}]
    assert {each["product_id"] for each in group["products"]} == {one["product_id"], two["product_id"]}
    assert all(each["distance"] <= 6 for each in group["products"])


# ---------------------------------------------------------------------- the model's end


def test_a_model_that_ends_soon_is_told_where_it_matters(stack: Stack, products: Products) -> None:
    # Given a model that OpenAI shuts down in twenty days
    client = stack.aws("lambda")
    [name] = [
        each["FunctionName"]
        for page in client.get_paginator("list_functions").paginate()
        for each in page["Functions"]
        if "-ModelCheckFunction-" in each["FunctionName"]
    ]

    # When the daily check is due
    answer = client.invoke(FunctionName=name, Payload=b"{}")
    told = json.loads(answer["Payload"].read())

    # Then methods and plans say it
    assert "FunctionError" not in answer, told
    assert (told["model"], told["days_left"]) == ("gpt-image-2.6-flare", 20)
    [openai] = [each for each in stack.get("/api/methods")["methods"] if each["method"] == "openai"]
    assert "ends on" in openai["notices"][0]
    plan = stack.plan(products(1), variants=1, method="openai")
    assert plan["plan"]["notices"] == openai["notices"]

    # And the days left, which are in its log line, make the alarm go off; the engine applies no metric filters, so this
    # does what CloudWatch would do
    logs, cloudwatch = stack.aws("logs"), stack.aws("cloudwatch")
    known = logs.describe_metric_filters(metricName="OpenAiModelDaysLeft", metricNamespace="lookbook")
    [found] = known["metricFilters"]
    [transformation] = found["metricTransformations"]
    assert found["filterPattern"] == f"{{ {transformation['metricValue']} = * }}"
    value = float(told[transformation["metricValue"].removeprefix("$.")])
    datum = {"MetricName": transformation["metricName"], "Value": value}
    cloudwatch.put_metric_data(Namespace=transformation["metricNamespace"], MetricData=[datum])
    deadline = time.monotonic() + 20
    while (state := cloudwatch.describe_alarms(AlarmNamePrefix="lookbook")["MetricAlarms"][0]["StateValue"]) != "ALARM":
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
