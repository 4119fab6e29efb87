"""Who is let in: all routes of the OpenAPI document, with no token, a forged, an expired, a reader's, an editor's."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
import requests

from lookbook.api import openapi
from tests.integration.conftest import Stack

DOCUMENT = openapi.document()
NO_PICTURE = b"no picture"


@dataclass(frozen=True)
class Call:
    """An operation of the document, and a request to it that is made of the document's examples."""

    method: str
    path: str
    operation: dict[str, Any]
    request: dict[str, Any] = field(default_factory=dict)

    @property
    def is_public(self) -> bool:
        return self.operation.get("security") == []

    @property
    def writes(self) -> bool:
        return self.method != "GET"


def _calls() -> Iterator[Call]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            examples = {each["name"]: each["example"] for each in operation["parameters"] if each["in"] == "path"}
            filled = path.format(**{name: quote(example, safe="") for name, example in examples.items()})
            yield Call(method.upper(), filled, operation, _request(operation))


def _request(operation: dict[str, Any]) -> dict[str, Any]:
    """Return what `requests` wants to hear to send the example of the operation's body; a picture is none."""
    match operation.get("requestBody", {"content": {}})["content"]:
        case {"application/json": content}:
            return {"json": content["example"]}
        case {"multipart/form-data": content}:
            return {"files": dict.fromkeys(content["schema"]["properties"], ("x.jpg", NO_PICTURE))}
        case {**others} if others:
            return {"data": NO_PICTURE}
    return {}


CALLS = list(_calls())
every_call = pytest.mark.parametrize("call", CALLS, ids=[f"{call.method} {call.path}" for call in CALLS])


# ---------------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def reader(_deployed: Stack) -> str:
    """The token of someone who is signed in and in no group."""
    cognito = _deployed.aws("cognito-idp")
    pool, name, password = _deployed.output("UserPool"), "reader@example.com", "Reader0123456789"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    return _deployed.token(name, password)


@pytest.fixture(scope="module")
def expired(_deployed: Stack) -> str:
    """An editor's token, given out by the pool for a second, after that second."""
    cognito = _deployed.aws("cognito-idp")
    which = {"UserPoolId": _deployed.output("UserPool"), "ClientId": _deployed.output("UserPoolClient")}
    told = cognito.describe_user_pool_client(**which)["UserPoolClient"]
    # An update takes back what it does not say.
    kept = {name: told[name] for name in ("ExplicitAuthFlows", "IdTokenValidity", "TokenValidityUnits") if name in told}
    briefly = {"IdTokenValidity": 1, "TokenValidityUnits": {**told["TokenValidityUnits"], "IdToken": "seconds"}}
    cognito.update_user_pool_client(**which, **kept | briefly)
    try:
        token = _deployed.cloud.token(_deployed.known)
    finally:
        cognito.update_user_pool_client(**which, **kept)
    while claims(token)["exp"] >= time.time():
        time.sleep(0.2)
    assert "editors" in claims(token)["cognito:groups"]
    return token


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def tampered(token: str) -> str:
    """Return a token whose owner has made himself an owner."""
    header, _, signature = token.split(".")
    more = claims(token) | {"cognito:groups": ["editors", "owners"]}
    forged = base64.urlsafe_b64encode(json.dumps(more).encode()).decode().rstrip("=")
    return f"{header}.{forged}.{signature}"


def send(stack: Stack, call: Call, token: str | None) -> requests.Response:
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    url = stack.known["api_url"] + call.path
    return requests.request(call.method, url, headers=headers, timeout=40, **call.request)


# ---------------------------------------------------------------------- the matrix


def test_the_deployed_document_is_the_one_that_these_tests_are_made_of(stack: Stack) -> None:
    assert stack.get("/api/openapi.json") == DOCUMENT


@every_call
@pytest.mark.parametrize("kind", ["none", "tampered", "expired"])
def test_nobody_gets_in_without_a_valid_token(stack: Stack, reader: str, expired: str, kind: str, call: Call) -> None:
    token = {"none": None, "tampered": tampered(reader), "expired": expired}[kind]
    answer = send(stack, call, token)
    if call.is_public:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


@every_call
def test_a_reader_reads_and_does_not_write(stack: Stack, reader: str, call: Call) -> None:
    answer = send(stack, call, reader)
    if call.writes:
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert "editors" in answer.json()["detail"]
    else:
        assert answer.status_code not in {401, 403}


@every_call
@pytest.mark.usefixtures("no_store_is_left")
def test_an_editor_does_everything(stack: Stack, call: Call) -> None:
    answer = send(stack, call, stack.token())
    assert answer.status_code not in {401, 403, 500}
    assert str(answer.status_code) in call.operation["responses"]
