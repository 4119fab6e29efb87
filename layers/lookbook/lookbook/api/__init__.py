"""The HTTP API: one module of routes per resource; `respond` answers a request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from lookbook.api import (
    access,
    documents,
    duplicates,
    hotmart,
    images,
    methods,
    models,
    notes,
    products,
    runs,
    sign_in,
    stores,
)
from lookbook.api.http import Answer, HttpError, Request, Routes
from lookbook.api.problem import problem
from lookbook.errors import ConflictError, InputError, LookbookError, NotFoundError
from lookbook.logging import logger

MODULES = (runs, stores, products, images, notes, hotmart, duplicates, models, methods, sign_in, documents)
ROUTES = Routes(route for module in MODULES for route in module.router.routes)

# The one table from our errors to HTTP; the first that matches counts.
STATUSES: list[tuple[type[LookbookError], HTTPStatus]] = [
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
]


def respond(event: dict[str, Any], routes: Routes = ROUTES) -> dict[str, Any]:
    """Return API Gateway's answer to its event. Whoever may not use a route learns no more of it than that."""
    request = Request.of(event)
    try:
        answer = _answer(request, routes).encoded()
    except HttpError as error:
        answer = problem(error.status, str(error), error.errors, error.headers).encoded()
    except LookbookError as error:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), HTTPStatus.BAD_GATEWAY)
        answer = problem(status, str(error)).encoded()
    except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the caller is told
        logger.exception("request failed", extra={"path": request.path})
        status, said = HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side; it is in the log."
        answer = problem(status, said).encoded()
    return answer


def _answer(request: Request, routes: Routes) -> Answer[Any]:
    route, captured = routes.find(request.method, request.path)
    access.check(route, request)
    return route.call(request, captured)
