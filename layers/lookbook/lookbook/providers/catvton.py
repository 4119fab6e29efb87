"""CatVTON on our own GPU: RunPod's job protocol, as serverless endpoints and pods speak it, with our try-on worker.

Source of the protocol: RunPod's serverless API reference (`POST /run`, `GET /status/{id}`), and our worker's contract.
There is no idempotency key, so nothing here ever repeats a call by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from lookbook.providers.base import (
    WRITE_SECONDS,
    Estimate,
    JobState,
    Order,
    Parameters,
    Submission,
    TroubleError,
    UncertainError,
)
from lookbook.providers.http import CALL_SECONDS, JobService

if TYPE_CHECKING:
    from lookbook.settings import MethodSettings
    from lookbook.state import Item

# CatVTON's own defaults.
PARAMETERS: Parameters = {"num_inference_steps": 50, "guidance_scale": 2.5, "width": 768, "height": 1024}
# An RTX 4090 or A100 takes 10-12 s an image with these.
SECONDS_PER_IMAGE = 11.0
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
# Seconds differ from job to job; a budget reserves so much more than the mean.
MARGIN = 1.25


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    status: str = ""
    executionTime: float | None = None  # noqa: N815 - the protocol's name
    output: Any = None
    error: Any = None


class Catvton:
    """One endpoint, `https://api.runpod.ai/v2/{id}` or a pod's URL."""

    name = "catvton"
    about = "tries garments on, on your own GPU"
    licence = "CC BY-NC-SA 4.0 (non-commercial)"
    # Raise it when the worker's model changes, and new images are made of what is asked for anew.
    model_version = "1"
    wears = True
    moody = True
    placeholders = True
    limits = None  # 1,000 submissions in 10 s are more than a map's children can send
    call_seconds = CALL_SECONDS + WRITE_SECONDS

    def __init__(
        self, settings: MethodSettings, key: Callable[[], str], pool: urllib3.PoolManager | None = None
    ) -> None:
        self._service = JobService("The GPU endpoint", settings.gpu_endpoint_url, key, "GpuEndpointKey", pool)
        self._usd_per_second = settings.gpu_usd_per_second
        self.unavailable = "" if settings.gpu_endpoint_url else "no GPU endpoint is configured; set GpuEndpointUrl"

    def parameters(self, product: Item, seed: int) -> Parameters:
        # What is no garment by its words was asked for by name; then the whole body is as good a guess as any.
        return {**PARAMETERS, "category": product.garment or "overall", "seed": seed}

    def estimate(self) -> Estimate:
        microusd = round(SECONDS_PER_IMAGE * self._usd_per_second * 1_000_000)
        basis = f"{SECONDS_PER_IMAGE:.0f} s on an RTX 4090 at ${self._usd_per_second:g} a second, until measured"
        return Estimate(microusd, round(microusd * MARGIN), round(SECONDS_PER_IMAGE * 1000), basis)

    def submit(self, order: Order) -> Submission:
        answer = self._service.post(
            "/run",
            {
                "input": {
                    "person_image": base64.b64encode(order.model_photo).decode(),
                    "garment_image": base64.b64encode(order.picture).decode(),
                    **self.parameters(order.product, order.seed),
                }
            },
        )
        self._service.judge(answer, "Is GpuEndpointUrl right?")
        try:
            job_id = _Answer.model_validate_json(answer.data).id
        except ValidationError as error:
            raise UncertainError("The GPU endpoint's answer was not understood.") from error
        if not job_id:
            raise UncertainError("The GPU endpoint's answer had no job id.")
        return Submission(job_id)

    def poll(self, job_id: str) -> JobState:
        found = self._service.get(f"/status/{job_id}")
        if found is None:
            return JobState("gone", reason="The GPU endpoint no longer knows the job.")
        _, data = found
        if data is None:
            return JobState("failed", reason="The GPU endpoint's result is larger than 32 MB.")
        try:
            told = _Answer.model_validate_json(data)
        except ValidationError as error:
            raise TroubleError("The GPU endpoint's answer was not understood.") from error
        return self._state(told)

    def _state(self, told: _Answer) -> JobState:
        if told.status in {"IN_QUEUE", "IN_PROGRESS", "RUNNING"}:
            return JobState("waiting")
        if told.status not in ENDED:  # a state we do not know is no end: the job may be at work, and is paid for
            raise TroubleError(f"The GPU endpoint told no status that we know ({told.status[:40] or 'none'}).")
        work_ms = round(told.executionTime or 0)
        cost, usage = round(work_ms * self._usd_per_second * 1000), f"{work_ms / 1000:.2f} s"
        output = told.output if isinstance(told.output, dict) else {}
        if told.status == "COMPLETED" and isinstance(output.get("image"), str):
            try:
                image = base64.b64decode(output["image"].rpartition(",")[2], validate=True)
            except ValueError:  # binascii.Error, or not even ASCII
                return JobState("failed", cost, work_ms, usage, reason="The GPU endpoint's result is no base64.")
            return JobState("completed", cost, work_ms, usage, image, str(output.get("model") or "unknown"))
        reason = output.get("error") or told.error or f"the job ended {told.status or 'without a status'}"
        return JobState("failed", cost, work_ms, usage, reason=f"The GPU worker failed: {str(reason)[:200]}")
