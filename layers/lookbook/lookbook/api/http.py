"""A small HTTP layer: routes are collected by decorators, and a handler's signature says what it takes.

A parameter that its path names is captured from there, one that is a pydantic model is the JSON body, one that is a
`Request` is the request itself, and all others are query parameters. A signature is read at its route's first request:
nothing here costs a cold start more than its own few lines.
"""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qs, unquote

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from lookbook.api import multipart
from lookbook.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

JSON = "application/json"
MULTIPART = "multipart/form-data"

Body = TypeVar("Body")
Handler = TypeVar("Handler", bound=Callable[..., Any])


class HttpError(Exception):
    """A request ends with this status. Its text is fit for a user; `errors` point at the parts that are wrong."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors
        self.headers = headers or {}


@dataclass(frozen=True)
class Request:
    """A request as API Gateway hands it over; headers by their names in lower case, `claims` verified."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes
    claims: Mapping[str, Any]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Request:
        """Return the request of an event.

        https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html has its
        payload format 2.0; binary bodies are base64 there.
        """
        context = event["requestContext"]
        body = event.get("body") or ""
        return cls(
            method=context["http"]["method"],
            path=event["rawPath"],
            query=parse_qs(event.get("rawQueryString") or "", keep_blank_values=True),
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            body=base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(),
            claims=context.get("authorizer", {}).get("jwt", {}).get("claims", {}),
        )

    def file(self, name: str) -> bytes:
        """Return the bytes of a multipart body's field, or raise InputError; its file's name and type are ignored."""
        found = [data for field_name, data in multipart.parts(self.headers.get("content-type", ""), self.body)
                 if field_name == name]  # fmt: skip
        if len(found) != 1:
            raise InputError(f"The body has the field {name} {len(found)} times; send it once, with the file in it.")
        return found[0]


@dataclass(frozen=True)
class Answer(Generic[Body]):
    """An answer with a status of its own; a handler that needs none returns the body alone.

    A body that is not JSON is text.
    """

    status: int
    body: Body
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> dict[str, Any]:
        """Return the answer as API Gateway wants it from a function (payload format 2.0)."""
        is_json = self.content_type.endswith("json")
        return {
            "statusCode": int(self.status),
            "headers": {"content-type": self.content_type, **self.headers},
            "body": json.dumps(self.body, separators=(",", ":")) if is_json else self.body,
            "isBase64Encoded": False,
        }


class About(TypedDict, total=False):
    """What a decorator may say of a route. The OpenAPI document is made of it."""

    summary: str
    tags: Sequence[str]
    # The status of what the handler returns, by default 200. A handler that returns `Answer`s has `statuses` instead,
    # by status what its body is.
    status: int
    statuses: Mapping[int, Any]
    # The errors that this route has besides those that every route like it has: 409, 502, 503.
    errors: Sequence[int]
    # What the body is, if it is no JSON: a media type, and the name of its one field if that is multipart/form-data.
    takes: str
    field: str
    # The media type of what is returned, if it is no JSON.
    gives: str
    public: bool


class Route:
    """A method and a path, and the handler that answers them."""

    def __init__(self, method: str, path: str, handler: Callable[..., Any], about: About) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.about = about
        self.is_public = about.get("public", False)
        self.segments = tuple(path.split("/"))

    @cached_property
    def signature(self) -> Signature:
        return Signature(self)

    def call(self, request: Request, captured: Mapping[str, str]) -> Answer[Any]:
        """Return the handler's answer, or raise what it raises, HttpError or InputError."""
        found = self.handler(**self.signature.bind(request, captured))
        if isinstance(found, Answer):
            return found
        return Answer(self.about.get("status", HTTPStatus.OK), found, self.about.get("gives", JSON))


class Router:
    """Collects the routes of a module."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def get(self, path: str, **about: Unpack[About]) -> Callable[[Handler], Handler]:
        return self._collect("GET", path, about)

    def post(self, path: str, **about: Unpack[About]) -> Callable[[Handler], Handler]:
        return self._collect("POST", path, about)

    def put(self, path: str, **about: Unpack[About]) -> Callable[[Handler], Handler]:
        return self._collect("PUT", path, about)

    def delete(self, path: str, **about: Unpack[About]) -> Callable[[Handler], Handler]:
        return self._collect("DELETE", path, about)

    def _collect(self, method: str, path: str, about: About) -> Callable[[Handler], Handler]:
        def collect(handler: Handler) -> Handler:
            self.routes.append(Route(method, path, handler, about))
            return handler

        return collect


class Routes:
    """All routes, to be found by method and path. Where several paths fit, a word goes before what is captured."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in sorted(routes, key=lambda route: [_is_captured(segment) for segment in route.segments]):
            if self._by_path.setdefault(route.segments, {}).setdefault(route.method, route) is not route:
                raise ValueError(f"There are two routes {route.method} {route.path}.")

    def __iter__(self) -> Iterator[Route]:
        return (route for methods in self._by_path.values() for route in methods.values())

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route, and what its path captures, unquoted; raise HttpError 404 or 405."""
        asked = path.split("/")
        for segments, methods in self._by_path.items():
            if len(segments) != len(asked) or not all(map(_fits, segments, asked)):
                continue
            if method not in methods:
                allowed = ", ".join(sorted(methods))
                detail = f"{method} is not for this path; it takes {allowed}."
                raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": allowed})
            pairs = zip(segments, asked, strict=True)
            return methods[method], {each[1:-1]: unquote(text) for each, text in pairs if _is_captured(each)}
        raise HttpError(HTTPStatus.NOT_FOUND, f"There is nothing at {path}.")


def _is_captured(segment: str) -> bool:
    return segment.startswith("{")


def _fits(segment: str, asked: str) -> bool:
    return asked != "" if _is_captured(segment) else segment == asked


class Signature:
    """What a route's handler takes and returns, from its annotations."""

    def __init__(self, route: Route) -> None:
        hints = get_type_hints(route.handler, include_extras=True)
        self.returns = hints.pop("return")
        self.defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(route.handler).parameters.items()
            if parameter.default is not parameter.empty
        }
        self.path = {each[1:-1]: hints.pop(each[1:-1]) for each in route.segments if each[1:-1] in hints}
        self.body = next(((name, hint) for name, hint in hints.items() if _is_model(hint)), None)
        self.request = next((name for name, hint in hints.items() if hint is Request), None)
        taken = {self.request, self.body[0] if self.body else None}
        self.query = {name: hint for name, hint in hints.items() if name not in taken}

    def bind(self, request: Request, captured: Mapping[str, str]) -> dict[str, Any]:
        """Return the handler's arguments, or raise HttpError 404 or 422."""
        arguments = {**self._bind_path(captured), **self._bind_query(request.query)}
        if self.body is not None:
            name, model = self.body
            arguments[name] = _bind_body(model, request.body)
        if self.request is not None:
            arguments[self.request] = request
        return arguments

    def _bind_path(self, captured: Mapping[str, str]) -> dict[str, Any]:
        try:
            return self._path_adapter.validate_strings({name: captured[name] for name in self.path})
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise HttpError(HTTPStatus.NOT_FOUND, _what_it_looks_like(name, self.path[name])) from error

    def _bind_query(self, query: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        for name, values in query.items():
            if name not in self.query:
                there_are = f"there are: {', '.join(self.query)}" if self.query else "there are none"
                raise _unusable(f"There is no query parameter {name[:40]}; {there_are}.", "query", name)
            if len(values) > 1:
                raise _unusable(
                    f"The query parameter {name} is there {len(values)} times; give it once.", "query", name
                )
        try:
            return self._query_adapter.validate_strings({name: value for name, (value,) in query.items()})
        except ValidationError as error:
            raise _invalid(error, "query") from error

    @cached_property
    def _path_adapter(self) -> TypeAdapter[dict[str, Any]]:
        return _adapter(self.path)

    @cached_property
    def _query_adapter(self) -> TypeAdapter[dict[str, Any]]:
        return _adapter(
            {name: NotRequired[hint] if name in self.defaults else hint for name, hint in self.query.items()}
        )


class JsonBody(BaseModel):
    """The base of the bodies that routes take. Their schemas are built when the first of them comes in."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)


def example(**fields: Any) -> ConfigDict:
    """Return a body's `model_config` with an example of it, for the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _adapter(parameters: Mapping[str, Any]) -> TypeAdapter[dict[str, Any]]:
    named: Any = TypedDict  # which mypy takes only with fields that it can read
    made = named("Parameters", dict(parameters))
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(made)


def may_be_left_out(model: type[BaseModel]) -> bool:
    """Return whether a request may come without this body, since all of its fields are optional."""
    return not any(each.is_required() for each in model.model_fields.values())


def _bind_body(model: type[BaseModel], body: bytes) -> BaseModel:
    if not body.strip():
        if may_be_left_out(model):
            return model()
        required = ", ".join(name for name, each in model.model_fields.items() if each.is_required())
        raise _unusable(f"The request has no body; send JSON with: {required}.", "body")
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise _unusable(f"The body is not JSON: {first['ctx']['error']}.", "body") from error
        raise _invalid(error, "body") from error


def _unusable(detail: str, *where: str) -> HttpError:
    return HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, [{"pointer": "/" + "/".join(where), "detail": detail}])


def _invalid(error: ValidationError, part: str) -> HttpError:
    errors = [
        {"pointer": "/" + "/".join(str(step) for step in (part, *each["loc"])), "detail": each["msg"]}
        for each in error.errors(include_url=False, include_input=False)
    ]
    where = ", ".join(each["pointer"] for each in errors)
    return HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The request cannot be used; see {where}.", errors)


def _what_it_looks_like(name: str, hint: Any) -> str:
    examples = next((each.examples for each in get_args(hint) if isinstance(each, FieldInfo) and each.examples), None)
    what = f"{name.removesuffix('_id')}'s id" if name.endswith("_id") else name
    return f"That is no {what}" + (f"; they look like {examples[0]}." if examples else ".")
