"""The HTTP API on the deployed template: uploads, lists, errors, and who is let in."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]
STORE_ACTIONS = ("test", "mapping", "sync", "unpublish", "match")
ROUTES = [
    ("GET", "/api/runs"),
    ("POST", "/api/runs"),
    ("GET", "/api/runs/20261121T101502-3f9a2c1b"),
    ("GET", "/api/runs/20261121T101502-3f9a2c1b/items"),
    ("POST", "/api/runs/plan"),
    ("POST", "/api/runs/20261121T101502-3f9a2c1b/retry"),
    ("POST", "/api/runs/20261121T101502-3f9a2c1b/stop"),
    ("GET", "/api/runs/20261121T101502-3f9a2c1b/ledger"),
    ("GET", "/api/methods"),
    ("GET", "/api/duplicates"),
    ("GET", "/api/products"),
    ("GET", "/api/products/x"),
    ("GET", "/api/products/x/images"),
    ("GET", "/api/models"),
    ("PUT", "/api/models/x"),
    ("GET", "/api/stores"),
    ("POST", "/api/stores"),
    ("PUT", "/api/stores/x"),
    ("DELETE", "/api/stores/x"),
    ("GET", "/api/stores/x/usage"),
    ("GET", "/api/stores/x/matches/20261121T101502-3f9a2c1b"),
    *(("POST", f"/api/stores/x/{what}") for what in STORE_ACTIONS),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/docs"),
]


@pytest.fixture(scope="module")
def reader(_deployed: Stack) -> Iterator[str]:
    """The token of someone who is signed in and in no group."""
    cognito = _deployed.aws("cognito-idp")
    pool, name, password = _deployed.output("UserPool"), "reader@example.com", "Reader0123456789"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    return _deployed.token(name, password)  # type: ignore[return-value]  # a fixture may return or yield


def tampered(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["cognito:groups"] = ["editors", "owners"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{header}.{forged}.{signature}"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nobody_gets_in_without_a_valid_token(stack: Stack, method: str, path: str) -> None:
    assert requests.request(method, stack.known["api_url"] + path, timeout=20).status_code == 401
    assert stack.call(method, path, token=tampered(stack.token())).status_code == 401


def test_a_signed_in_reader_reads_and_does_not_write(stack: Stack, reader: str) -> None:
    assert stack.call("GET", "/api/runs", token=reader).status_code == 200
    for method, path in (
        ("POST", "/api/runs"),
        ("POST", "/api/runs/plan"),
        ("POST", "/api/runs/20261121T101502-3f9a2c1b/retry"),
        ("POST", "/api/runs/20261121T101502-3f9a2c1b/stop"),
        ("PUT", "/api/models/x"),
        ("POST", "/api/stores"),
        ("PUT", "/api/stores/x"),
        ("DELETE", "/api/stores/x"),
        *(("POST", f"/api/stores/x/{what}") for what in STORE_ACTIONS),
    ):
        body = _good_body(path)
        answer = stack.call(method, path, token=reader, json=body)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert "editors" in answer.json()["detail"]


def _good_body(path: str) -> dict[str, Any]:
    if path == "/api/stores":
        return {"store_id": "x", "domain": "x.myshopify.com", "admin_token": "shpat_x"}
    if path.startswith("/api/stores"):
        mapping = "CJ Product ID,Shopify Product ID\nx,1\n"
        return {"mapping": mapping} if path.endswith("mapping") else {}
    return {} if path.endswith(("retry", "stop")) else {"name": "x", "scrape": "[]"}


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
        ("DELETE", "/api/runs", None, 404, "nothing at"),
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


def test_the_openapi_document_names_every_route(stack: Stack) -> None:
    document = stack.get("/api/openapi.json")
    assert document["openapi"].startswith("3.")
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told >= {
        ("GET", "/api/runs"),
        ("POST", "/api/runs"),
        ("GET", "/api/runs/{run_id}"),
        ("GET", "/api/runs/{run_id}/items"),
        ("GET", "/api/products"),
        ("GET", "/api/products/{product_id}"),
        ("GET", "/api/products/{product_id}/images"),
        ("GET", "/api/models"),
        ("PUT", "/api/models/{name}"),
    }


def test_ids_with_odd_characters_are_found(stack: Stack, products: Products) -> None:
    [product] = products(1)
    product["product_id"] = f"hotmart:{product['product_id']}"
    stack.run([product], variants=1)

    assert stack.get(f"/api/products/hotmart%3A{product['product_id'].removeprefix('hotmart:')}")["variants"] == [1]
