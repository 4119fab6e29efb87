"""The OpenAPI document of the routes, and a page that shows it. Imported only when one of them is asked for.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import inspect
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from lookbook.api import ROUTES
from lookbook.api.examples import example_of
from lookbook.api.http import JSON, MULTIPART, Route, Routes, may_be_left_out
from lookbook.api.problem import PROBLEM, Problem, problem

Json = dict[str, Any]

REF = "#/components/schemas/{model}"
ABOUT = """Product images, made once, kept, and reused in every store.

Everyone who is signed in may read; who is in the group `editors` may do everything else. Errors are problem documents
(RFC 9457). Lists take `limit` and `cursor`; `cursor` is null at a list's end."""
WHY = {
    HTTPStatus.UNAUTHORIZED: "There is no valid token.",
    HTTPStatus.FORBIDDEN: "You may not do this.",
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "It is too large for this route.",
    HTTPStatus.CONFLICT: "It does not go together with how things stand.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request cannot be used.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong on our side.",
    HTTPStatus.BAD_GATEWAY: "A service that we rely on has failed.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A service that we rely on has not answered in time.",
}


class Unauthorized(TypedDict):
    """What API Gateway answers to a request without a valid token."""

    message: str


def document(routes: Routes = ROUTES) -> Json:
    """Return the OpenAPI 3.1 document of these routes."""
    schemas = _Schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lookbook", "version": "1", "description": ABOUT},
        "security": [{"signedIn": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": {_name_of(error): _error_response(error, schemas) for error in WHY},
            "securitySchemes": {
                "signedIn": {"type": "http", "scheme": "bearer", "bearerFormat": "ID token of the Cognito user pool"}
            },
        },
    }


def page(routes: Routes = ROUTES) -> str:
    """Return a page of HTML, complete in itself, that shows the document: Swagger UI, which Powertools brings along."""
    from aws_lambda_powertools.event_handler.openapi import swagger_ui  # noqa: PLC0415 - half a second of imports

    folder = Path(inspect.getfile(swagger_ui)).parent
    return swagger_ui.generate_swagger_html(
        spec=json.dumps(document(routes)).replace("</", "<\\/"),
        swagger_js=(folder / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(folder / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
    )


class _Schemas:
    """The JSON schemas of all that the routes take and return, made in one go so that they share their components."""

    def __init__(self, routes: Routes) -> None:
        types = {"problem": Problem, "unauthorized": Unauthorized}
        for route in routes:
            types |= {_key(route, name): hint for name, hint in _all_of(route).items()}
        self._by_key, found = TypeAdapter.json_schemas(
            [(key, "validation", TypeAdapter(hint)) for key, hint in types.items()], ref_template=REF
        )
        self.components: Json = found.get("$defs", {})

    def of(self, route: Route, name: str) -> Json:
        return self._by_key[_key(route, name), "validation"]

    def named(self, name: str) -> Json:
        return self._by_key[name, "validation"]

    def example(self, schema: Json) -> Any:
        return example_of(schema, self.components)


def _all_of(route: Route) -> Json:
    """Return the types of what a route takes and returns, by the names under which their schemas are kept."""
    signature = route.signature
    body = {"body": signature.body[1]} if signature.body else {}
    answers = {f"answer {status}": hint for status, hint in _answers(route).items()}
    return {**signature.path, **signature.query, **body, **answers}


def _answers(route: Route) -> dict[int, Any]:
    """Return what a route answers, by status."""
    several = route.about.get("statuses")
    return dict(several) if several else {int(route.about.get("status", HTTPStatus.OK)): route.signature.returns}


def _key(route: Route, name: str) -> str:
    return f"{route.method} {route.path} {name}"


def _operation(route: Route, schemas: _Schemas) -> Json:
    about = route.about
    found: Json = {
        "operationId": route.handler.__name__,
        "summary": about.get("summary", ""),
        "description": inspect.getdoc(route.handler) or "",
        "tags": list(about.get("tags", ())),
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    if body := _body(route, schemas):
        found["requestBody"] = body
    if route.is_public:
        found["security"] = []
    return found


def _parameters(route: Route, schemas: _Schemas) -> list[Json]:
    signature = route.signature
    return [_parameter("path", name, route, schemas) for name in signature.path] + [
        _parameter("query", name, route, schemas) for name in signature.query
    ]


def _parameter(where: str, name: str, route: Route, schemas: _Schemas) -> Json:
    schema = _without_null(schemas.of(route, name))
    defaults = route.signature.defaults
    if defaults.get(name) is not None:
        schema["default"] = defaults[name]
    found: Json = {"name": name, "in": where, "required": where == "path" or name not in defaults, "schema": schema}
    if "description" in schema:
        found["description"] = schema.pop("description")
    if "examples" in schema:
        found["example"] = schema["examples"][0]
    return found


def _without_null(schema: Json) -> Json:
    """Return the schema without null, which is how a handler sees that a parameter was left out."""
    kept = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    return {**kept[0], **rest} if len(kept) == 1 else dict(schema)


def _body(route: Route, schemas: _Schemas) -> Json | None:
    about = route.about
    if "takes" in about:
        schema: Json = {"type": "string", "format": "binary"}
        if about["takes"] == MULTIPART:
            schema = {"type": "object", "properties": {about["field"]: schema}, "required": [about["field"]]}
        return {"required": True, "content": {about["takes"]: {"schema": schema}}}
    if route.signature.body is None:
        return None
    schema = schemas.of(route, "body")
    content = {JSON: {"schema": schema, "example": schemas.example(schema)}}
    return {"required": not may_be_left_out(route.signature.body[1]), "content": content}


def _responses(route: Route, schemas: _Schemas) -> Json:
    found: Json = {}
    for status in _answers(route):
        schema = schemas.of(route, f"answer {status}")
        content: Json = {"schema": schema}
        media_type = route.about.get("gives", JSON)
        if media_type == JSON:
            content["example"] = schemas.example(schema)
        found[str(status)] = {"description": HTTPStatus(status).phrase, "content": {media_type: content}}
    for error in _errors(route):
        found[str(int(error))] = {"$ref": f"#/components/responses/{_name_of(error)}"}
    return dict(sorted(found.items()))


def _errors(route: Route) -> set[HTTPStatus]:
    """Return the errors that a route may end with: those of its kind, and those that it declares."""
    found = {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INTERNAL_SERVER_ERROR}
    if not route.is_public:
        found.add(HTTPStatus.UNAUTHORIZED)
        if route.method != "GET":
            found.add(HTTPStatus.FORBIDDEN)
    if route.signature.path:
        found.add(HTTPStatus.NOT_FOUND)
    return found | {HTTPStatus(status) for status in route.about.get("errors", ())}


def _name_of(error: HTTPStatus) -> str:
    return error.phrase.replace(" ", "")


def _error_response(error: HTTPStatus, schemas: _Schemas) -> Json:
    content: Json = {PROBLEM: {"schema": schemas.named("problem"), "example": problem(error, WHY[error]).body}}
    if error is HTTPStatus.UNAUTHORIZED:
        content = {JSON: {"schema": schemas.named("unauthorized"), "example": {"message": error.phrase}}}
    return {"description": WHY[error], "content": content}
