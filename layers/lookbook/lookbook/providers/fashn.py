"""FASHN, hosted try-on: `POST /run`, `GET /status/{id}` (https://docs.fashn.ai, model tryon-v1.6).

A completed job costs a credit an image and a failed one nothing; results are kept for 72 hours. There is no idempotency
key, so nothing here ever repeats a call by itself. Errors are told apart by their names, not by their HTTP status.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import urllib3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lookbook.errors import SourceImageError
from lookbook.fetch import SourceUnavailableError, fetch_picture
from lookbook.providers.base import (
    FINAL,
    WRITE_SECONDS,
    Estimate,
    JobState,
    Limits,
    Order,
    Parameters,
    RefusedError,
    Submission,
    TroubleError,
    UncertainError,
)
from lookbook.providers.http import CALL_SECONDS, JobService, data_uri, words

if TYPE_CHECKING:
    from lookbook.settings import MethodSettings
    from lookbook.state import Item

MODEL = "tryon-v1.6"
PARAMETERS: Parameters = {"mode": "balanced", "garment_photo_type": "auto", "output_format": "png"}
CATEGORIES = {"upper": "tops", "lower": "bottoms", "overall": "one-pieces", "": "auto"}
CREDITS_PER_IMAGE = 1
SECONDS_PER_IMAGE = 10.0  # 5-17 s

ENDED = frozenset({"failed", "canceled", "time_out"})
BECAUSE_OF_THE_INPUTS = frozenset({"PoseError", "InputValidationError"})


class _Accepted(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1)


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = ""
    message: str = ""


class _Status(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    output: list[str] | None = None
    error: _Error | None = None


class Fashn:
    """FASHN's API at a base URL, `https://api.fashn.ai/v1`."""

    name = "fashn"
    about = "tries garments on, hosted by FASHN"
    licence = "FASHN's terms of service (commercial use allowed)"
    model_version = MODEL
    wears = True
    moody = False
    placeholders = False
    limits = Limits(at_once=6, per_minute=50, job_seconds=90)
    call_seconds = CALL_SECONDS + WRITE_SECONDS
    unavailable = ""

    def __init__(
        self, settings: MethodSettings, key: Callable[[], str], pool: urllib3.PoolManager | None = None
    ) -> None:
        self._service = JobService("FASHN", settings.fashn_base_url, key, "FashnKey", pool)
        self._usd_per_credit = settings.fashn_usd_per_credit
        self._allow_private_urls = settings.allow_private_urls

    def parameters(self, product: Item, seed: int) -> Parameters:
        return {**PARAMETERS, "category": CATEGORIES[product.garment], "seed": seed}

    def estimate(self) -> Estimate:
        microusd = self._cost(CREDITS_PER_IMAGE)
        basis = f"{CREDITS_PER_IMAGE} credit at ${self._usd_per_credit:g}"
        return Estimate(microusd, microusd, round(SECONDS_PER_IMAGE * 1000), basis)

    def _cost(self, credits_used: float) -> int:
        return round(credits_used * self._usd_per_credit * 1_000_000)

    def submit(self, order: Order) -> Submission:
        inputs = {
            "model_image": data_uri(order.model_photo),
            "garment_image": data_uri(order.picture),
            **self.parameters(order.product, order.seed),
        }
        answer = self._service.post("/run", {"model_name": MODEL, "inputs": inputs})
        if words(answer).startswith("OutOfCredits"):
            raise RefusedError("FASHN has no credits left; buy some and retry the run.", final=True, stops_run=True)
        self._service.judge(answer, "Is FashnBaseUrl right?")
        try:
            return Submission(_Accepted.model_validate_json(answer.data).id)
        except ValidationError as error:
            raise UncertainError("FASHN's answer was not understood.") from error

    def poll(self, job_id: str) -> JobState:
        found = self._service.get(f"/status/{job_id}")
        if found is None:
            return JobState("gone", reason="FASHN no longer knows the job.")
        answer, data = found
        try:
            told = _Status.model_validate_json(data or b"")
        except ValidationError as error:
            raise TroubleError("FASHN's answer was not understood.") from error
        if told.status in {"starting", "in_queue", "processing"}:
            return JobState("waiting")
        if told.status == "completed":
            return self._completed(told, answer.headers)
        if told.status not in ENDED:  # a state we do not know is no end: the job may be at work, and is paid for
            raise TroubleError(f"FASHN told no status that we know ({told.status[:40]}).")
        why = told.error or _Error(name=told.status, message="no reason given")
        if why.name == "ContentModerationError":
            reason = f"FASHN's content filter blocked it: {why.message[:200]} {FINAL}"
            return JobState("blocked", reason=reason, final=True)
        reason = f"FASHN failed: {why.name}: {why.message[:200]}"
        if why.name in BECAUSE_OF_THE_INPUTS:
            return JobState("failed", reason=f"{reason} {FINAL}", final=True)
        return JobState("failed", reason=reason)

    def _completed(self, told: _Status, headers: Any) -> JobState:
        try:
            credits_used = float(headers.get("x-fashn-credits-used", CREDITS_PER_IMAGE))
        except ValueError:
            credits_used = math.nan
        if not 0 <= credits_used < math.inf:
            credits_used = CREDITS_PER_IMAGE
        cost, usage = self._cost(credits_used), f"{credits_used:g} credit{'s' if credits_used != 1 else ''}"
        if not told.output:
            return JobState("failed", cost, usage=usage, reason="FASHN's result has no picture.")
        try:
            image = fetch_picture(told.output[0], allow_private=self._allow_private_urls)
        except SourceUnavailableError as error:
            raise TroubleError("FASHN's result cannot be fetched now.") from error
        except SourceImageError as error:
            return JobState("failed", cost, usage=usage, reason=f"FASHN's result cannot be used: {error}")
        return JobState("completed", cost, usage=usage, image=image, model_version=MODEL)
