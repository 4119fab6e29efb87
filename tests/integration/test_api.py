"""The HTTP API on the deployed template: uploads, lists, errors. Who is let in is in test_sign_in.py."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from PIL import Image

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]


def test_how_to_sign_in_is_public_and_nothing_else_is(stack: Stack) -> None:
    told = requests.get(f"{stack.known['api_url']}/sign-in", timeout=20).json()
    assert told == {"region": stack.known["region"], "client_id": stack.output("UserPoolClient")}
    assert requests.get(f"{stack.known['api_url']}/", timeout=20).status_code == 404


def test_the_bucket_is_closed_to_the_public(stack: Stack, products: Products) -> None:
    scrape = products(1)
    stack.run(scrape, variants=1)
    image = stack.get(f"/api/products/{scrape[0]['product_id']}/images")["images"][0]
    assert requests.get(image["url"], timeout=10).status_code == 200
    assert requests.get(image["url"].split("?")[0], timeout=10).status_code == 403


def test_a_large_scrape_is_uploaded_past_the_api(stack: Stack, products: Products) -> None:
    # Given a run that asks for an upload, with options of its own
    scrape = products(1)
    asked = {"name": "my big file.json", "upload": True, "options": {"variants": 1}}
    answer = stack.call("POST", "/api/runs", json=asked)
    assert answer.status_code == 201
    made = answer.json()
    assert made["run"]["status"] == "awaiting_upload"

    # When the file is sent where it was told
    sent = requests.post(
        made["upload"]["url"], data=made["upload"]["fields"], files={"file": json.dumps(scrape)}, timeout=20
    )
    assert sent.status_code in {200, 204}, sent.text

    # Then the same run starts and keeps its name and options
    run = stack.wait(made["run"]["run_id"])
    assert (run["name"], run["status"], run["images_generated"]) == ("my big file.json", "succeeded", 1)


def test_an_upload_goes_only_where_it_was_told(stack: Stack) -> None:
    made = stack.call("POST", "/api/runs", json={"name": "x", "upload": True}).json()
    fields = {**made["upload"]["fields"], "key": "images/forged.jpg"}
    assert requests.post(made["upload"]["url"], data=fields, files={"file": "x"}, timeout=20).status_code == 403


def test_lists_go_on_where_their_cursor_says(stack: Stack, products: Products) -> None:
    # Given a run of five products
    scrape = products(5)
    run = stack.run(scrape, variants=1)

    # When its items and the products are read two at a time
    def all_of(path: str, name: str) -> list[dict[str, Any]]:
        found, cursor = [], ""
        for _ in range(60):
            page = stack.get(f"{path}limit=2{cursor}")
            assert len(page[name]) <= 2
            found += page[name]
            if page["cursor"] is None:
                return found
            cursor = f"&cursor={page['cursor']}"
        return found

    items = all_of(f"/api/runs/{run['run_id']}/items?", "items")
    generated = all_of(f"/api/runs/{run['run_id']}/items?status=generated&", "items")
    listed = all_of("/api/products?source=scrape&", "products")

    # Then each is there once, in order
    ids = [each["product_id"] for each in scrape]
    assert [item["product_id"] for item in items] == ids
    assert [item["product_id"] for item in generated] == ids
    of_this_run = [product["product_id"] for product in listed if product["product_id"] in ids]
    assert sorted(of_this_run) == ids
    assert [product["updated_at"] for product in listed] == sorted((p["updated_at"] for p in listed), reverse=True)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/api/products/nothing", None, 404, "no product nothing"),
        ("GET", "/api/runs/20261121T101502-3f9a2c1b", None, 404, "no run"),
        ("GET", "/api/runs/garbage", None, 404, "no run's id"),
        ("GET", "/api/runs?limit=1000", None, 422, "/query/limit"),
        ("GET", "/api/runs?cursor=bm9uc2Vuc2U=", None, 422, "cursor"),
        ("GET", "/api/runs?cursor=eyJhIjoxfQ==", None, 422, "cursor"),
        ("POST", "/api/runs", {"name": "x"}, 422, "scrape or upload"),
        ("POST", "/api/runs", {"name": "x", "scrape": "[]", "options": {"variants": 0}}, 422, "/body/options/variants"),
        ("POST", "/api/runs", {"name": "x", "scrape": "[]", "options": {"colour": 1}}, 422, "/body/options/colour"),
        ("GET", "/api/nowhere", None, 404, "nothing at"),
        ("DELETE", "/api/runs", None, 405, "GET, POST"),
        ("GET", "/api/runs?colour=red", None, 422, "limit, cursor"),
        ("GET", "/api/runs?limit=1&limit=2", None, 422, "give it once"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    stack: Stack, method: str, path: str, body: Any, status: int, said: str
) -> None:
    answer = stack.call(method, path, json=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert said in problem["detail"]


def test_a_model_photo_is_judged_by_its_bytes(stack: Stack) -> None:
    # Given a picture with a position in its EXIF, and something that says it is one
    photo = Image.new("RGB", (600, 800), "tan")
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    drawn = io.BytesIO()
    photo.save(drawn, "JPEG", exif=exif)

    # When both are added
    good = stack.call("PUT", "/api/models/test-photo", data=drawn.getvalue(), headers={"content-type": "image/jpeg"})
    bad = stack.call("PUT", "/api/models/test-svg", data=b"<svg/>", headers={"content-type": "image/jpeg"})

    # Then one is there without its position, the other not at all
    try:
        assert good.status_code == 200, good.text
        stored = requests.get(good.json()["url"], timeout=10).content
        assert not Image.open(io.BytesIO(stored)).getexif()
        assert bad.status_code == 422
        names = [model["name"] for model in stack.get("/api/models")["models"]]
        assert "test-photo" in names
        assert "test-svg" not in names
    finally:
        stack.aws("s3").delete_object(Bucket=stack.output("Bucket"), Key="models/test-photo.jpg")


def test_ids_with_odd_characters_are_found(stack: Stack, products: Products) -> None:
    [product] = products(1)
    product["product_id"] = f"hotmart:{product['product_id']}"
    stack.run([product], variants=1)

    assert stack.get(f"/api/products/hotmart%3A{product['product_id'].removeprefix('hotmart:')}")["variants"] == [1]
