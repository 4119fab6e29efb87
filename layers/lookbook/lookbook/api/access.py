"""Who may do what: everyone signed in reads, the group `editors` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.exceptions import ServiceError

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
    from aws_lambda_powertools.event_handler.middlewares import NextMiddleware


def claims(app: Any) -> dict[str, Any]:
    """Return the verified claims of the caller's token; API Gateway has checked it before we are called."""
    authorizer = app.current_event.request_context.authorizer
    return dict(authorizer.jwt_claim) if authorizer is not None else {}


def groups(app: Any) -> set[str]:
    """Return the caller's groups. API Gateway passes a list as text: `[editors admins]`."""
    told = claims(app).get("cognito:groups") or []
    return set(told.strip("[]").replace(",", " ").split()) if isinstance(told, str) else {str(name) for name in told}


def user(app: Any) -> str:
    told = claims(app)
    return str(
        told.get("email") or told.get("cognito:username") or told.get("username") or told.get("sub") or "unknown"
    )


def editors_only(app: APIGatewayHttpResolver, next_middleware: NextMiddleware) -> Response[Any]:
    """Middleware of every route that writes."""
    if "editors" not in groups(app):
        raise ServiceError(403, "Only members of the group editors may do this; ask whoever runs this Lookbook.")
    return next_middleware(app)
