"""Errors as the API tells them: RFC 9457 problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response


def problem(status: HTTPStatus, detail: str, errors: list[dict[str, str]] | None = None) -> Response[str]:
    """Return the answer for an error; `errors` point at the parts of the request that are wrong."""
    body: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    if errors:
        body["errors"] = errors
    return Response(status_code=int(status), content_type="application/problem+json", body=json.dumps(body))
