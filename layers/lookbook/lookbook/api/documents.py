"""The API's own documentation: an OpenAPI document and a page that shows it."""

from __future__ import annotations

from typing import Any

from lookbook.api.http import Router

router = Router()


@router.get("/api/openapi.json", summary="Read this document", tags=["documentation"])
def get_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of all routes."""
    from lookbook.api.openapi import document  # noqa: PLC0415 - it costs more than most requests

    return document()


@router.get("/api/docs", summary="Browse this document", gives="text/html", tags=["documentation"])
def browse() -> str:
    """A page (Swagger UI) to read the document on and to try requests out."""
    from lookbook.api.openapi import page  # noqa: PLC0415 - as above

    return page()
