"""Errors as the API tells them: RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NotRequired

from typing_extensions import TypedDict

from lookbook.api.http import Answer

PROBLEM = "application/problem+json"


class ProblemPart(TypedDict):
    """A part of the request that is wrong, and what is wrong with it."""

    pointer: str
    detail: str


class Problem(TypedDict):
    """Why a request was not answered as it was meant to be: `detail` says it in plain words."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[ProblemPart]]


def problem(
    status: HTTPStatus,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Answer[Problem]:
    """Return the answer for an error; `errors` point at the parts of the request that are wrong."""
    body: Problem = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    if errors:
        body["errors"] = [{"pointer": each["pointer"], "detail": each["detail"]} for each in errors]
    return Answer(status, body, PROBLEM, headers or {})
