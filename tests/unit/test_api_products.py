"""The routes of products, images and notes: what they read, and what they pass on."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from lookbook import aws, covers, imaging, library, notes, tables
from lookbook.api import config, images, products, respond, runs
from lookbook.tables import Run
from tests.unit.fakes import Bucket, Tables, a_product, api_settings, tables_in_memory

NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
A = "a" * 64


class World:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        self.started: list[dict[str, Any]] = []
        library.claim(a_product(product_id="P", title="Yoga", image_url=""), "20261121T101502-3f9a2c1b", 1, NOW)

    def start_execution(self, *, name: str, **given: Any) -> None:
        self.started.append({"name": name, **json.loads(given["input"])})

    def call(self, method: str, path: str, body: Any = None, query: str = "") -> tuple[int, Any]:
        claims = {"cognito:username": "ana", "cognito:groups": "[editors]"}
        event = {
            "rawPath": f"/api/products/{path}",
            "rawQueryString": query,
            "body": None if body is None else json.dumps(body),
            "requestContext": {"http": {"method": method}, "authorizer": {"jwt": {"claims": claims}}},
        }
        answer = respond(event)
        return answer["statusCode"], json.loads(answer["body"])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    told = api_settings()
    for module in (config, images, products, runs):
        monkeypatch.setattr(module, "settings", lambda: told)
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(aws, "step_functions", lambda: made)
    return made


def test_a_product_s_page_is_one_query(world: World) -> None:
    # Given a product with images and notes
    for number in range(5):
        picture = imaging.Picture(b"jpeg", 9, 9, f"{number:064x}", "0" * 16)
        covers.upload("P", picture, "bucket", covers.Act("ana", NOW))
        notes.add("P", f"note {number}", "ana", NOW)
    covers.hide("P", f"{0:064x}", covers.Act("ana", NOW))
    before = world.tables.queries

    # When it is looked at, then all of it is read at once, and nothing else
    status, page = world.call("GET", "P")
    assert (status, world.tables.queries - before) == (200, 1)
    assert (len(page["image_list"]), len(page["notes"]), page["more_notes"]) == (4, 5, False)
    assert [image["is_cover"] for image in page["image_list"]].count(True) == 1


def test_a_page_of_more_than_a_megabyte_of_images_is_read_to_its_product(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a table that hands out two items a page, as DynamoDB does a megabyte
    for number in range(5):
        picture = imaging.Picture(b"jpeg", 9, 9, f"{number:064x}", "0" * 16)
        covers.upload("P", picture, "bucket", covers.Act("ana", NOW))
    for number in range(5):
        notes.add("P", f"note {number}", "ana", NOW)
    table = type(tables.LibraryItem._get_connection())
    query = table.query

    def two(self: Any, *args: Any, **given: Any) -> dict[str, Any]:
        answer: dict[str, Any] = query(self, *args, **given)
        if len(answer["Items"]) > 2:
            answer["Items"] = answer["Items"][:2]
            answer["LastEvaluatedKey"] = {name: answer["Items"][-1][name] for name in ("product_id", "sort_key")}
        return answer

    monkeypatch.setattr(table, "query", two)
    status, page = world.call("GET", "P")
    assert (status, page["title"], len(page["image_list"])) == (200, "Yoga", 5)
    assert (page["notes"], page["more_notes"]) == ([], True)


def test_a_prompt_goes_into_a_run_of_the_product_alone(world: World) -> None:
    product = library.must_have("P")
    product.update([tables.Product.locale.set("pt"), tables.Product.description.set("Calma.")])

    status, run = world.call("POST", "P/images/generate", {"customPrompt": "  Um pôr do sol\n"})

    assert (status, run["kind"], run["started_by"]) == (202, "cover", "ana")
    assert run["options"] == {"variants": 1, "method": "openai", "reuse": False, "prompt": "  Um pôr do sol\n"}
    [started] = world.started
    [entry] = json.loads(world.bucket.objects[started["key"]])
    assert (entry["product_id"], entry["locale"], entry["description"]) == ("P", "pt", "Calma.")
    assert Run.get(run["run_id"], "run").status == "running"


def test_what_is_hidden_does_not_count_and_keeps_its_place(world: World) -> None:
    # Given two images of the first variant
    ids = [f"{number:064x}" for number in range(2)]
    for image_id in ids:
        covers.upload("P", imaging.Picture(b"jpeg", 9, 9, image_id, "0" * 16), "bucket", covers.Act("ana", NOW))

    # When one after the other is hidden, then the product has none to show when both are
    told = []
    for image_id in ids:
        assert world.call("DELETE", f"P/images/{image_id}")[0] == 200
        page = world.call("GET", "P")[1]
        told.append((page["image_count"], page["variants"], len(page["image_list"])))
    assert told == [(1, [1], 1), (0, [], 0)]
    assert library.must_have("P").variants == {1}

    # And has one again when one comes back
    assert world.call("POST", f"P/images/{ids[0]}/activate")[1]["image_count"] == 1


def test_tags_are_changed_from_what_they_are(world: World) -> None:
    assert world.call("PUT", "P/tags", {"tags": [" Summer ", "sale", "SALE"]})[1]["tags"] == ["Summer", "sale"]
    assert world.call("PUT", "P/tags", {"add": ["new", "summer"], "remove": ["Sale"]})[1]["tags"] == ["Summer", "new"]
    assert world.call("PUT", "P/tags", {})[1]["tags"] == ["Summer", "new"]
    assert world.call("PUT", "P/tags", {"tags": ["x"], "add": ["y"]})[0] == 422
    assert world.call("PUT", "P/tags", {"add": [f"t{number}" for number in range(49)]})[0] == 422
    assert world.call("PUT", "P/tags", {"tags": []})[1]["tags"] == []
    assert world.call("PUT", "Q/tags", {"tags": []})[0] == 404


def test_of_two_who_tag_at_once_neither_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given somebody whose tag comes between another one's reading and writing
    monkeypatch.setattr(time, "sleep", lambda _: None)
    read, others = library.must_have, [lambda: library.set_tags("P", ["theirs"])]

    def reading(product_id: str, **given: Any) -> Any:
        found = read(product_id, **given)
        if others:
            others.pop()()
        return found

    monkeypatch.setattr(library, "must_have", reading)
    assert world.call("PUT", "P/tags", {"add": ["mine"]})[1]["tags"] == ["theirs", "mine"]


def test_a_picture_that_is_too_large_for_the_api_is_told_where_to_go(world: World) -> None:
    claims = {"cognito:username": "ana", "cognito:groups": "[editors]"}
    event = {
        "rawPath": "/api/products/P/images/upload",
        "body": "x" * 4_500_000,
        "requestContext": {"http": {"method": "POST"}, "authorizer": {"jwt": {"claims": claims}}},
    }
    answer = respond(event)
    assert (answer["statusCode"], "upload-url" in answer["body"], world.bucket.objects) == (413, True, {})


def test_a_cursor_of_another_list_is_none(world: World) -> None:
    notes.add("P", "note", "ana", NOW)
    from lookbook.api.cursor import encode  # noqa: PLC0415 - only here

    for key in (
        {"product_id": {"S": "P"}, "sort_key": {"S": "product"}},
        {"product_id": {"S": "P"}, "sort_key": {"S": ""}},
    ):
        assert world.call("GET", "P/notes", query=f"cursor={encode(key)}")[0] == 422
    deep = "W1tb" * 30_000  # a list in a list in a list …
    assert world.call("GET", "P/notes", query=f"cursor={deep[:1900]}")[0] == 422
