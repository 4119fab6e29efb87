"""The OpenAPI document: it says of every route what it takes and what it answers, with examples that hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from lookbook.api import ROUTES, openapi
from lookbook.api.http import Route, Router, Routes

Json = dict[str, Any]

DOCUMENT = openapi.document()
ALL = list(ROUTES)
WITH_BODIES = [route for route in ALL if route.signature.body]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def operation(route: Route) -> Json:
    found: Json = DOCUMENT["paths"][route.path][route.method.lower()]
    return found


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for each in node.values():
            yield from refs(each)
    elif isinstance(node, list):
        for each in node:
            yield from refs(each)


def test_the_document_has_every_route_and_nothing_else() -> None:
    told = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert told == {(route.method, route.path) for route in ALL}
    assert ("GET", "/api/products/{product_id}") in told
    assert DOCUMENT["openapi"] == "3.1.0"


def test_all_that_is_referred_to_is_there() -> None:
    for ref in set(refs(DOCUMENT)):
        node: Any = DOCUMENT
        for step in ref.removeprefix("#/").split("/"):
            node = node[step]


def test_operations_have_names_of_their_own() -> None:
    names = Counter(operation(route)["operationId"] for route in ALL)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("route", ALL, ids=name_of)
def test_a_route_says_what_it_is(route: Route) -> None:
    told = operation(route)
    assert told["summary"]
    assert told["tags"]
    assert told["description"], "its docstring is what users read"
    assert "(" not in "".join(DOCUMENT["components"]["schemas"]), "a shape's name is taken twice"


@pytest.mark.parametrize("route", ALL, ids=name_of)
def test_a_route_s_parameters_are_those_of_its_handler(route: Route) -> None:
    told = {(each["in"], each["name"]): each for each in operation(route)["parameters"]}
    assert {name for where, name in told if where == "path"} == set(route.signature.path)
    assert {name for where, name in told if where == "query"} == set(route.signature.query)
    for (where, _), parameter in told.items():
        assert parameter["required"] or where == "query"
        assert where == "query" or "example" in parameter
        assert {"type": "null"} not in parameter["schema"].get("anyOf", [])


@pytest.mark.parametrize("route", ALL, ids=name_of)
def test_examples_of_answers_are_what_they_are_examples_of(route: Route) -> None:
    answers = route.about.get("statuses") or {route.about.get("status", 200): route.signature.returns}
    for status, shape in answers.items():
        (media_type, content), *others = operation(route)["responses"][str(int(status))]["content"].items()
        assert not others
        if media_type == "application/json":
            TypeAdapter(shape).validate_json(json.dumps(content["example"]), strict=True)


@pytest.mark.parametrize("route", WITH_BODIES, ids=name_of)
def test_examples_of_bodies_can_be_sent(route: Route) -> None:
    assert route.signature.body is not None
    _, model = route.signature.body
    body = operation(route)["requestBody"]
    model.model_validate_json(json.dumps(body["content"]["application/json"]["example"]), strict=True)
    assert body["required"] == any(each.is_required() for each in model.model_fields.values())


@pytest.mark.parametrize("route", ALL, ids=name_of)
def test_a_route_says_how_it_may_fail(route: Route) -> None:
    told = set(operation(route)["responses"])
    assert {"422", "500"} <= told
    assert ("401" in told) != route.is_public
    assert ("403" in told) == (route.method != "GET")
    assert "404" in told or not route.signature.path
    assert (operation(route).get("security") == []) == route.is_public


def test_a_raw_body_and_a_form_are_told_as_such() -> None:
    # Given a route that takes a picture, and one that takes a form with a picture in it
    router = Router()

    def raw() -> Json:
        return {}

    def form() -> Json:
        return {}

    router.put("/api/raw", takes="image/*")(raw)
    router.post("/api/form", takes="multipart/form-data", field="image")(form)
    # When the document is made, then it says so
    paths = openapi.document(Routes(router.routes))["paths"]
    binary = {"type": "string", "format": "binary"}
    assert paths["/api/raw"]["put"]["requestBody"]["content"] == {"image/*": {"schema": binary}}
    assert paths["/api/form"]["post"]["requestBody"]["content"] == {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"image": binary}, "required": ["image"]},
        }
    }


def test_the_page_shows_the_document_and_is_complete_in_itself() -> None:
    page = openapi.page()
    assert '"operationId": "list_products"' in page
    assert "<script src=" not in page
    assert "</script>" not in json.dumps(DOCUMENT).replace("</", "<\\/")
