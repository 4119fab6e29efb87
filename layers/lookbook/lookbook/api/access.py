"""Who may do what: everyone signed in reads, the group `editors` does everything else."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from lookbook.api.http import HttpError

if TYPE_CHECKING:
    from lookbook.api.http import Request, Route

EDITORS = "editors"


def check(route: Route, request: Request) -> None:
    """Raise HttpError 401 or 403 unless the request's sender may use the route."""
    if route.is_public:
        return
    if not request.claims:  # API Gateway lets no such request through to us
        raise HttpError(HTTPStatus.UNAUTHORIZED, "Sign in first.")
    if route.method != "GET" and EDITORS not in groups(request):
        raise HttpError(
            HTTPStatus.FORBIDDEN, "Only members of the group editors may do this; ask whoever runs this Lookbook."
        )


def groups(request: Request) -> set[str]:
    """Return the sender's groups. API Gateway passes a list as text: `[editors admins]`."""
    told = request.claims.get("cognito:groups") or []
    return set(told.strip("[]").replace(",", " ").split()) if isinstance(told, str) else {str(name) for name in told}


def user(request: Request) -> str:
    """Return the name by which what the sender does is written down: the e-mail address, if it has been verified."""
    told = request.claims
    email = told.get("email") if str(told.get("email_verified")).lower() == "true" else None
    return str(email or told.get("cognito:username") or told.get("username") or told.get("sub") or "unknown")
