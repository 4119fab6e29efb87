"""Client of the GPU endpoint: RunPod's job protocol, as serverless endpoints and pods speak it.

Source of the protocol: RunPod's serverless API reference (`POST /run`, `GET /status/{id}`), and our worker's contract.
There is no idempotency key, so nothing here ever repeats a call by itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from lookbook.errors import ProviderError

TIMEOUT = urllib3.Timeout(connect=5, read=25)
# With these the endpoint itself says that it took nothing on.
NOT_TAKING_WORK = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE}
)
MAX_ANSWER_BYTES = 32 * 1024 * 1024


class RefusedError(ProviderError):
    """The provider said no before it took the work: nothing was bought. `final` if asking again cannot help."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class UncertainError(ProviderError):
    """No answer that says whether the work was taken. It may have been bought."""


class TroubleError(ProviderError):
    """A job's state could not be read this time; it can be asked for again at no cost."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    status: str = ""
    executionTime: float | None = None  # noqa: N815 - the protocol's name
    output: Any = None
    error: Any = None


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the endpoint tells it. `gpu_ms` is the billed execution time; `image` the raw result when completed."""

    status: Literal["waiting", "completed", "failed", "gone"]
    gpu_ms: int = 0
    image: bytes = b""
    model_version: str = ""
    reason: str = ""


class GpuEndpoint:
    """One endpoint, `https://api.runpod.ai/v2/{id}` or a pod's URL."""

    def __init__(self, url: str, key: Callable[[], str], pool: urllib3.PoolManager | None = None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._pool = pool or urllib3.PoolManager(retries=False, timeout=TIMEOUT)

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key()}", "content-type": "application/json"}

    def submit(self, job_input: dict[str, Any]) -> str:
        """Start a job and return its id. Raises RefusedError or UncertainError."""
        body = json.dumps({"input": job_input}).encode()
        try:
            answer = self._pool.request("POST", f"{self._url}/run", body=body, headers=self._headers())
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise RefusedError("The GPU endpoint cannot be reached. Is GpuEndpointUrl right?", final=False) from error
        except urllib3.exceptions.HTTPError as error:
            raise UncertainError("The GPU endpoint did not answer in time.") from error
        if answer.status in NOT_TAKING_WORK:
            raise RefusedError(f"The GPU endpoint is not taking work (HTTP {answer.status}).", final=False)
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise RefusedError("The GPU endpoint refused our key; set the secret GpuEndpointKey.", final=True)
        if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RefusedError(
                f"The GPU endpoint refused the job (HTTP {answer.status}: {_said(answer)}). Is GpuEndpointUrl right?",
                final=True,
            )
        if answer.status != HTTPStatus.OK:  # 502, 504, 524: a proxy's, which may have passed the job on
            raise UncertainError(f"The GPU endpoint's proxy failed (HTTP {answer.status}).")
        try:
            job_id = _Answer.model_validate_json(answer.data).id
        except ValidationError as error:
            raise UncertainError("The GPU endpoint's answer was not understood.") from error
        if not job_id:
            raise UncertainError("The GPU endpoint's answer had no job id.")
        return job_id

    def state(self, job_id: str) -> JobState:
        """Ask what became of a job. Raises TroubleError when that cannot be told now."""
        try:
            answer = self._pool.request(
                "GET", f"{self._url}/status/{job_id}", headers=self._headers(), preload_content=False
            )
            data = answer.read(MAX_ANSWER_BYTES + 1)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TroubleError("The GPU endpoint did not answer.") from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return JobState("gone", reason="The GPU endpoint no longer knows the job.")
        if answer.status != HTTPStatus.OK:
            raise TroubleError(f"The GPU endpoint answered with HTTP {answer.status}.")
        if len(data) > MAX_ANSWER_BYTES:
            return JobState("failed", reason="The GPU endpoint's result is larger than 32 MB.")
        try:
            told = _Answer.model_validate_json(data)
        except ValidationError as error:
            raise TroubleError("The GPU endpoint's answer was not understood.") from error
        return _job_state(told)


def _job_state(told: _Answer) -> JobState:
    gpu_ms = round(told.executionTime or 0)
    output = told.output if isinstance(told.output, dict) else {}
    if told.status in {"IN_QUEUE", "IN_PROGRESS", "RUNNING"}:
        return JobState("waiting")
    if told.status == "COMPLETED" and isinstance(output.get("image"), str):
        try:
            image = base64.b64decode(output["image"].rpartition(",")[2], validate=True)
        except binascii.Error:
            return JobState("failed", gpu_ms, reason="The GPU endpoint's result is no base64.")
        return JobState("completed", gpu_ms, image, str(output.get("model") or "unknown"))
    reason = output.get("error") or told.error or f"the job ended {told.status or 'without a status'}"
    return JobState("failed", gpu_ms, reason=f"The GPU worker failed: {str(reason)[:200]}")


def _said(answer: urllib3.BaseHTTPResponse) -> str:
    """Return the start of an error answer's own words."""
    try:
        body = json.loads(answer.data)
    except ValueError:
        return "no reason given"
    return str(body.get("error") or body.get("message") or "no reason given")[:200] if isinstance(body, dict) else ""
