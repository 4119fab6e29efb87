"""The HTTP layer: what is routed where, who is let in, what a handler is given, and how errors are told."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from lookbook.api import multipart, respond
from lookbook.api.access import user
from lookbook.api.http import Answer, HttpError, JsonBody, Request, Router, Routes
from lookbook.errors import ConflictError, InputError, NotFoundError, ProviderError

Json = dict[str, Any]

router = Router()
ThingId = Annotated[str, Field(pattern=r"^[a-z:.0-9é /]{1,20}$", examples=["thing:1"])]


class Thing(JsonBody):
    name: str = Field(min_length=1)
    count: int = 1


class Change(JsonBody):
    name: str | None = None


@router.get("/api/things")
def list_things(
    limit: Annotated[int, Field(ge=1, le=100)] = 20, kind: Literal["a", "b"] | None = None, exact: bool = False
) -> Json:
    return {"limit": limit, "kind": kind, "exact": exact}


@router.post("/api/things", status=201)
def add_thing(thing: Thing, request: Request) -> Json:
    return {"name": thing.name, "count": thing.count, "by": user(request)}


@router.get("/api/things/{thing_id}")
def get_thing(thing_id: ThingId) -> Json:
    return {"thing_id": thing_id}


@router.get("/api/things/newest")
def newest() -> Json:
    return {"newest": True}


@router.put("/api/things/{thing_id}")
def change_thing(thing_id: ThingId, change: Change) -> Json:
    return {"thing_id": thing_id, "name": change.name}


@router.post("/api/things/{thing_id}/picture")
def picture(thing_id: ThingId, request: Request) -> Json:
    return {"thing_id": thing_id, "bytes": len(request.file("image"))}


@router.put("/api/things/{thing_id}/raw", takes="image/*")
def raw(thing_id: ThingId, request: Request) -> Json:
    return {"thing_id": thing_id, "body": list(request.body)}


@router.get("/api/fails/{how}")
def fail(how: str) -> Json:
    raise {
        "input": InputError("It cannot be used."),
        "missing": NotFoundError("It is not there."),
        "conflict": ConflictError("Not now."),
        "provider": ProviderError("It answered nonsense."),
        "busy": HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "Ask again."),
        "bug": KeyError("secret"),
    }[how]


@router.get("/sign-in", public=True, gives="text/plain")
def sign_in() -> str:
    return "here"


@router.get("/api/made")
def made() -> Answer[Json]:
    return Answer(HTTPStatus.ACCEPTED, {"made": "é"}, headers={"x-more": "1"})


ROUTES = Routes(router.routes)
EDITOR = {"email": "anna@example.com", "email_verified": True, "cognito:groups": "[editors]"}
READER = {"sub": "1234"}


def ask(
    method: str,
    path: str,
    body: bytes | Json | None = None,
    *,
    query: str = "",
    claims: Json | None = None,
    content_type: str = "application/json",
) -> tuple[int, Any, Json]:
    """Return the answer's status, document and headers."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body or b""
    context: Json = {"http": {"method": method, "path": path}}
    if claims is None or claims:
        context["authorizer"] = {"jwt": {"claims": EDITOR if claims is None else claims}}
    answer = respond(
        {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {"Content-Type": content_type},
            "body": base64.b64encode(data).decode() or None,
            "isBase64Encoded": True,
            "requestContext": context,
        },
        ROUTES,
    )
    is_json = answer["headers"]["content-type"].endswith("json")
    return answer["statusCode"], json.loads(answer["body"]) if is_json else answer["body"], answer["headers"]


# ---------------------------------------------------------------------- routes


@pytest.mark.parametrize("name", ["thing:1", "a/b", "é", "1 2"])
def test_what_a_path_captures_is_unquoted(name: str) -> None:
    assert ask("GET", f"/api/things/{quote(name, safe='')}")[:2] == (200, {"thing_id": name})


def test_an_id_may_come_unquoted_too() -> None:
    assert ask("GET", "/api/things/thing:1")[:2] == (200, {"thing_id": "thing:1"})


def test_a_word_goes_before_what_is_captured() -> None:
    assert ask("GET", "/api/things/newest")[:2] == (200, {"newest": True})
    assert ask("PUT", "/api/things/newest", {})[0] == 405


@pytest.mark.parametrize("path", ["/api/nowhere", "/", "", "/api/things/", "/api/things/x/y/z", "/api/things//picture"])
def test_a_path_that_there_is_none_is_not_found(path: str) -> None:
    status, told, headers = ask("GET", path)
    assert (status, told["detail"]) == (404, f"There is nothing at {path}.")
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_a_method_that_a_path_does_not_take_is_told_which_it_takes(method: str) -> None:
    status, told, headers = ask(method, "/api/things", claims=READER)
    assert (status, told["title"], headers["allow"]) == (405, "Method Not Allowed", "GET, POST")
    assert "GET, POST" in told["detail"]


def test_two_routes_for_one_path_and_method_are_a_mistake() -> None:
    twice = Router()
    for _ in range(2):
        twice.get("/api/twice")(dict)
    with pytest.raises(ValueError, match="GET /api/twice"):
        Routes(twice.routes)


def test_a_path_parameter_that_does_not_fit_is_not_found_and_told_what_fits() -> None:
    status, told, _ = ask("GET", "/api/things/THING")
    assert (status, told["detail"]) == (404, "That is no thing's id; they look like thing:1.")


# ---------------------------------------------------------------------- who is let in


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/things", 200),
        ("GET", "/api/things/thing:1", 200),
        ("POST", "/api/things", 403),
        ("PUT", "/api/things/thing:1", 403),
        ("PUT", "/api/things/NONSENSE", 403),
        ("POST", "/api/nowhere", 404),
    ],
)
def test_a_reader_reads_and_is_told_so_before_anything_else(method: str, path: str, status: int) -> None:
    answered, told, _ = ask(method, path, b"nonsense", claims=READER)
    assert answered == status
    assert answered != 403 or "editors" in told["detail"]


@pytest.mark.parametrize("groups", ["[others]", "[neweditors]", "editorsx", "", [], None])
def test_who_is_not_in_the_group_writes_nothing(groups: Any) -> None:
    assert ask("POST", "/api/things", {"name": "x"}, claims={"sub": "1", "cognito:groups": groups})[0] == 403


@pytest.mark.parametrize("groups", ["[editors]", "[owners editors]", "[owners, editors]", ["editors"]])
def test_groups_are_read_as_api_gateway_passes_them(groups: Any) -> None:
    assert ask("POST", "/api/things", {"name": "x"}, claims={"sub": "1", "cognito:groups": groups})[0] == 201


def test_without_claims_only_what_is_public_is_there() -> None:
    assert ask("GET", "/api/things", claims={})[0] == 401
    assert ask("GET", "/sign-in", claims={})[:2] == (200, "here")


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "a@b.c", "email_verified": "true", "sub": "1"}, "a@b.c"),
        ({"email": "boss@b.c", "email_verified": "false", "cognito:username": "anna"}, "anna"),
        ({"email": "boss@b.c", "sub": "1"}, "1"),
        ({"cognito:username": "anna", "sub": "1"}, "anna"),
        ({"sub": "1"}, "1"),
    ],
)
def test_a_user_s_name_is_the_best_the_token_has(claims: Json, name: str) -> None:
    assert user(Request("GET", "/", {}, {}, b"", claims)) == name


# ---------------------------------------------------------------------- queries


def test_query_parameters_have_their_types_and_defaults() -> None:
    assert ask("GET", "/api/things")[1] == {"limit": 20, "kind": None, "exact": False}
    told = ask("GET", "/api/things", query="limit=5&kind=b&exact=true")[1]
    assert told == {"limit": 5, "kind": "b", "exact": True}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=many", "/query/limit"),
        ("limit=", "/query/limit"),
        ("limit=1.5", "/query/limit"),
        ("kind=c", "/query/kind"),
        ("kind=", "/query/kind"),
        ("exact=perhaps", "/query/exact"),
        ("limit=1&limit=2", "/query/limit"),
        ("colour=red", "/query/colour"),
        ("thing=1", "/query/thing"),
    ],
)
def test_a_query_that_cannot_be_used_is_told_where(query: str, pointer: str) -> None:
    status, told, _ = ask("GET", "/api/things", query=query)
    assert (status, [each["pointer"] for each in told["errors"]]) == (422, [pointer])


def test_an_unknown_query_parameter_is_told_which_there_are() -> None:
    assert ask("GET", "/api/things", query="colour=red")[1]["detail"] == (
        "There is no query parameter colour; there are: limit, kind, exact."
    )
    assert ask("GET", "/api/things/newest", query="x")[1]["detail"] == (
        "There is no query parameter x; there are none."
    )


# ---------------------------------------------------------------------- bodies


def test_a_body_is_json_of_its_model() -> None:
    assert ask("POST", "/api/things", {"name": "x"})[:2] == (
        201,
        {"name": "x", "count": 1, "by": "anna@example.com"},
    )


@pytest.mark.parametrize(
    ("body", "said", "pointer"),
    [
        (b"", "no body; send JSON with: name", "/body"),
        (b" \n", "no body", "/body"),
        (b'{"name": ', "not JSON", "/body"),
        (b"name=x", "not JSON", "/body"),
        (b"\xff\xfe", "not JSON", "/body"),
        (b"[]", "/body", "/body"),
        (b"null", "/body", "/body"),
        (b"{}", "/body/name", "/body/name"),
        (b'{"name": ""}', "/body/name", "/body/name"),
        (b'{"name": 1}', "/body/name", "/body/name"),
        (b'{"name": "x", "count": "1"}', "/body/count", "/body/count"),
        (b'{"name": "x", "count": true}', "/body/count", "/body/count"),
        (b'{"name": "x", "colour": 1}', "/body/colour", "/body/colour"),
    ],
)
def test_a_body_that_cannot_be_used_is_told_where(body: bytes, said: str, pointer: str) -> None:
    status, told, _ = ask("POST", "/api/things", body)
    assert (status, told["errors"][0]["pointer"]) == (422, pointer)
    assert said in told["detail"]


def test_a_body_of_options_alone_may_be_left_out() -> None:
    assert ask("PUT", "/api/things/x")[:2] == (200, {"thing_id": "x", "name": None})
    assert ask("PUT", "/api/things/x", b"{}")[0] == 200
    assert ask("PUT", "/api/things/x", b"{")[0] == 422


def test_a_raw_body_comes_byte_by_byte() -> None:
    assert ask("PUT", "/api/things/x/raw", bytes(range(256)))[1]["body"] == list(range(256))


# ---------------------------------------------------------------------- forms


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


PART = b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
OTHER = b'Content-Disposition: form-data; name="other"\r\n\r\nx'
FORM = "multipart/form-data; boundary=b"


@given(st.binary(max_size=200).filter(lambda data: b"\r\n--b" not in b"\r\n" + data))
def test_a_file_comes_out_of_a_form_as_it_went_in(data: bytes) -> None:
    parts = list(multipart.parts(FORM, form(OTHER, PART + data)))
    assert parts == [("other", b"x"), ("image", data)]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Disposition: form-data; name=image",
        b'content-disposition: form-data; filename="; name=x"; name="image"',
        b'Content-Disposition: form-data; name="image"; filename="\xc3\xa9.svg"\r\nContent-Type: message/rfc822',
        b'Content-Type: multipart/mixed; boundary=b2\r\nContent-Disposition: form-data; name="image"; filename=""',
    ],
)
def test_a_file_s_name_and_type_say_nothing(head: bytes) -> None:
    body = form(head + b"\r\n\r\n12345")
    assert ask("POST", "/api/things/x/picture", body, content_type=FORM)[:2] == (200, {"thing_id": "x", "bytes": 5})


def test_a_boundary_may_be_quoted_and_come_after_a_preamble() -> None:
    body = b"this is ignored\r\n" + form(PART + b"12345")
    assert ask("POST", "/api/things/x/picture", body, content_type='Multipart/Form-Data; boundary="b"')[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (form(PART + b"1"), "application/json", "multipart/form-data"),
        (form(PART + b"1"), "multipart/form-data", "multipart/form-data"),
        (form(PART + b"1"), "multipart/form-data; boundary=", "multipart/form-data"),
        (form(PART + b"1"), "multipart/form-data; boundary=other", "cannot be read"),
        (form(PART + b"1"), "multipart/form-data; boundary=é", "cannot be read"),
        (form(PART + b"1", end=b""), FORM, "cannot be read"),
        (b"", FORM, "cannot be read"),
        (form(b"no blank line"), FORM, "cannot be read"),
        (form(), FORM, "0 times"),
        (form(OTHER), FORM, "0 times"),
        (form(b"\r\nno name"), FORM, "0 times"),
        (form(PART + b"1", PART + b"2"), FORM, "2 times"),
    ],
)
def test_a_form_that_has_not_the_file_once_is_refused(body: bytes, content_type: str, said: str) -> None:
    status, told, _ = ask("POST", "/api/things/x/picture", body, content_type=content_type)
    assert status == 422
    assert said in told["detail"]


# ---------------------------------------------------------------------- answers and errors


def test_an_answer_may_have_a_status_and_headers_of_its_own() -> None:
    status, told, headers = ask("GET", "/api/made")
    assert (status, told) == (202, {"made": "é"})
    assert headers == {"content-type": "application/json", "x-more": "1"}


@pytest.mark.parametrize(
    ("how", "status", "title"),
    [
        ("input", 422, "Unprocessable Entity"),
        ("missing", 404, "Not Found"),
        ("conflict", 409, "Conflict"),
        ("provider", 502, "Bad Gateway"),
        ("busy", 503, "Service Unavailable"),
        ("bug", 500, "Internal Server Error"),
    ],
)
def test_an_error_is_a_problem_document(how: str, status: int, title: str, caplog: pytest.LogCaptureFixture) -> None:
    answered, told, headers = ask("GET", f"/api/fails/{how}")
    assert (answered, told["status"], told["title"], told["type"]) == (status, status, title, "about:blank")
    assert headers["content-type"] == "application/problem+json"
    assert "secret" not in told["detail"]
    assert ("request failed" in caplog.messages) == (how == "bug")
