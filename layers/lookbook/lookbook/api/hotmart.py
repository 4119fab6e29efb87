"""The Hotmart account: look for new products now, and see how the last look went."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lookbook import aws, shapes
from lookbook.api.access import user
from lookbook.api.config import settings
from lookbook.api.http import HttpError, Request, Router
from lookbook.api.parameters import Nothing
from lookbook.errors import ConflictError
from lookbook.logging import logger
from lookbook.times import now

router = Router()

# A sync that was asked for has begun within this, even if its function has to be started first; the API has 29.
BEGUN_SECONDS = 20
POLL_SECONDS = 0.2
NOT_NOW = "Hotmart's sync cannot be started at the moment. Try it again."


@router.post("/api/hotmart/sync", summary="Sync with Hotmart", status=202, errors=[409, 503], tags=["hotmart"])
def sync(_nothing: Nothing, request: Request) -> shapes.HotmartStatus:
    """Look for new products now: 202 with how the sync stands; one that is at work already is not started twice.

    409 while the account's credentials are not set.
    """
    deadline = time.monotonic() + BEGUN_SECONDS
    told = json.loads(_call({"test": True}))
    if told.get("configured") is False:
        raise ConflictError(str(told["error"]))
    before = _status()
    if before["status"] == "running":
        return before
    _call({"started_by": user(request)}, InvocationType="Event")
    logger.info("hotmart sync asked for", extra={"by": user(request)})
    while (found := _status()) == before and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


@router.get("/api/hotmart/status", summary="Look at Hotmart's sync", tags=["hotmart"])
def status() -> shapes.HotmartStatus:
    """How the newest sync went or goes, what it found, the run it started for covers, and when the next one is."""
    return _status()


def _status() -> shapes.HotmartStatus:
    from lookbook import hotmart_sync  # noqa: PLC0415 - no other route needs it

    return hotmart_sync.status(settings().hotmart_schedule, now())


def _call(payload: dict[str, Any], **how: Any) -> bytes:
    try:
        answer = aws.functions().invoke(
            FunctionName=settings().hotmart_sync_function, Payload=json.dumps(payload).encode(), **how
        )
        said = answer["Payload"].read()
    except (BotoCoreError, ClientError) as error:
        raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, NOT_NOW) from error
    if answer.get("FunctionError"):
        logger.error("hotmart sync not started", extra={"reason": "function error"})
        raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, NOT_NOW)
    return said
