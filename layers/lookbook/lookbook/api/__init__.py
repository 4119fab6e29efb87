"""The HTTP API: one router module per resource; `build` puts them together."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError as NoRouteError
from aws_lambda_powertools.event_handler.exceptions import ServiceError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer

from lookbook.api import duplicates, methods, models, products, runs, sign_in, stores
from lookbook.api.problem import problem
from lookbook.errors import ConflictError, InputError, LookbookError, NotFoundError
from lookbook.logging import logger

# The one table from our errors to HTTP; the first that matches counts.
STATUSES: list[tuple[type[LookbookError], HTTPStatus]] = [
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
]


def build() -> APIGatewayHttpResolver:
    """Return the resolver that answers all of /api and /sign-in."""
    app = APIGatewayHttpResolver(enable_validation=True)
    for module in (runs, stores, products, duplicates, models, methods, sign_in):
        app.include_router(module.router)
    app.enable_swagger(path="/api/docs", title="Lookbook", version="1")

    @app.exception_handler(RequestValidationError)
    def invalid(error: RequestValidationError) -> Response[Any]:
        errors = [
            {"pointer": "/" + "/".join(str(part) for part in each["loc"]), "detail": each["msg"]}
            for each in error.errors()
        ]
        if any(each["pointer"] == "/path/run_id" for each in errors):
            return problem(HTTPStatus.NOT_FOUND, "That is no run's id; they look like 20261121T101502-3f9a2c1b.")
        where = ", ".join(each["pointer"] for each in errors)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The request cannot be used; see {where}.", errors)

    @app.exception_handler(LookbookError)
    def expected(error: LookbookError) -> Response[Any]:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), HTTPStatus.BAD_GATEWAY)
        return problem(status, str(error))

    @app.exception_handler(ServiceError)
    def refused(error: ServiceError) -> Response[Any]:
        return problem(HTTPStatus(error.status_code), str(error.msg))

    @app.not_found
    def no_route(_: NoRouteError) -> Response[Any]:
        return problem(HTTPStatus.NOT_FOUND, f"There is nothing at {app.current_event.path}.")

    @app.exception_handler(Exception)
    def unexpected(_: Exception) -> Response[Any]:
        logger.exception("request failed", extra={"path": app.current_event.path})
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side; it is in the log.")

    app.get("/api/openapi.json", include_in_schema=False)(_openapi(app))
    return app


def _openapi(app: APIGatewayHttpResolver) -> Any:
    def openapi() -> Response[str]:
        schema = app.get_openapi_json_schema(
            title="Lookbook",
            version="1",
            security_schemes={"signedIn": HTTPBearer(bearerFormat="Cognito ID token")},
            security=[{"signedIn": []}],
        )
        return Response(status_code=HTTPStatus.OK, content_type="application/json", body=schema)

    return openapi
