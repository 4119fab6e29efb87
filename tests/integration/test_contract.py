"""The API keeps to its OpenAPI document: schemathesis sends what the document allows, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from lookbook.api import openapi
from tests.integration.conftest import Stack

# The least that shows something in each phase; the same requests each time, so that a failure is the code's doing.
GENERATION = {"max-examples": 2, "deterministic": True, "database": "none"}
CHECKS = {
    # A document cannot say all: one of `scrape` and `upload`, a cursor that the list gave out, a CSV's header, bytes
    # that are a picture. What is well-formed and cannot be used all the same is 422, too.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "422", "503"]},
    # Of that test_sign_in.py is the proof, with more kinds of tokens.
    "ignored_auth": {"enabled": False},
}
# One method that no path takes stands for all such; test_http.py has the others.
PHASES = {"coverage": {"generate-duplicate-query-parameters": True, "unexpected-methods": ["PATCH"]}}
OPERATIONS = [
    # API Gateway knows this path with GET alone, and says 404 itself.
    {"include-path": "/sign-in", "checks": {"unsupported_method": {"enabled": False}}},
    # It has the body of POST /api/runs, whose every corner is tried.
    {"include-path": "/api/runs/plan", "phases": {"coverage": {"enabled": False}}},
]

schema = schemathesis.openapi.from_dict(
    openapi.document(),
    config=SchemathesisConfig.from_dict(
        {"generation": GENERATION, "checks": CHECKS, "phases": PHASES, "operations": OPERATIONS}
    ),
)


@pytest.mark.usefixtures("no_store_is_left")
@schema.parametrize()
def test_the_api_keeps_to_its_document(case: schemathesis.Case[Any], request: pytest.FixtureRequest) -> None:
    # Not `stack`, which is a test's own: hypothesis would have it made anew for each of a test's requests.
    stack: Stack = request.getfixturevalue("_deployed")
    headers = {"authorization": f"Bearer {stack.token()}"}
    case.call_and_validate(stack.known["api_url"], headers=headers, timeout=40)
