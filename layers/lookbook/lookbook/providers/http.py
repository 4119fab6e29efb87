"""What the providers that are called with urllib3 share: one try per call, time-outs, and reading their answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from lookbook.providers.base import RefusedError, TroubleError, UncertainError

TIMEOUT = urllib3.Timeout(connect=5, read=25)
CALL_SECONDS = 30.0  # by TIMEOUT
# With these a service itself says that it took nothing on. 500 may come after it did; 502, 504 and 524 are a proxy's,
# which may have passed it on.
NOT_TAKING_WORK = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
BAD_KEY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
MAX_ANSWER_BYTES = 32 * 1024 * 1024


class JobService:
    """A service that takes jobs by POST and tells of them by GET. `called` is its name in messages."""

    def __init__(
        self, called: str, url: str, key: Callable[[], str], secret: str, pool: urllib3.PoolManager | None = None
    ) -> None:
        self.called = called
        self._url = url.rstrip("/")
        self._key = key
        self._secret = secret
        self._pool = pool or urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=4)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {read_key(self._key)}", "Content-Type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        """Send once and return the answer of a service that is taking work. Raises RefusedError, UncertainError."""
        headers, data = self._headers(), json.dumps(body)
        try:
            answer = self._pool.request("POST", self._url + path, body=data, headers=headers)
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise RefusedError(f"{self.called} cannot be reached.") from error
        except urllib3.exceptions.HTTPError as error:
            raise UncertainError(f"{self.called} did not answer in time.") from error
        if answer.status in BAD_KEY:
            raise RefusedError(
                f"{self.called} refused our key; set the secret {self._secret}.", final=True, bad_key=True
            )
        return answer

    def judge(self, answer: urllib3.BaseHTTPResponse, hint: str) -> None:
        """Let only a good answer to a submission pass; `hint` is what to look at when our request was at fault."""
        if answer.status in NOT_TAKING_WORK:
            said = f"{self.called} is not taking work (HTTP {answer.status})."
            raise RefusedError(said, retry_after=retry_after(answer.headers.get("Retry-After")))
        if answer.status == HTTPStatus.PAYMENT_REQUIRED:
            said = f"{self.called} wants to be paid first (HTTP 402); fill the account and retry the run."
            raise RefusedError(said, final=True, stops_run=True)
        if answer.status == HTTPStatus.REQUEST_TIMEOUT:
            raise RefusedError(f"{self.called} did not wait for the whole request (HTTP {answer.status}).")
        if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            said = f"{self.called} refused the job (HTTP {answer.status}: {words(answer)}). {hint}"
            raise RefusedError(said, final=True)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise UncertainError(f"{self.called} failed (HTTP {answer.status}).")

    def get(self, path: str) -> tuple[urllib3.BaseHTTPResponse, bytes | None] | None:
        """Return an answer and its body (None if it is too large); None for 404. Raises TroubleError."""
        try:
            answer = self._pool.request("GET", self._url + path, headers=self._headers(), preload_content=False)
            data = answer.read(MAX_ANSWER_BYTES + 1)
            answer.release_conn()
        except (RefusedError, urllib3.exceptions.HTTPError) as error:
            raise TroubleError(f"{self.called} did not answer.") from error
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            said = f"{self.called} answered with HTTP {answer.status}."
            raise TroubleError(said, bad_key=answer.status in BAD_KEY)
        return answer, data if len(data) <= MAX_ANSWER_BYTES else None


def read_key(key: Callable[[], str]) -> str:
    """Return a key as a header can carry it. Raises RefusedError if it cannot be read: nothing has been sent yet.

    A secret that was set from a file ends with a line break, and libraries tell in their errors what they could not
    send, the key with it.
    """
    try:
        found = key()
    except (BotoCoreError, ClientError) as error:
        raise RefusedError("The provider's key cannot be read from Secrets Manager.") from error
    return "".join(letter for letter in found if letter.isascii() and letter.isprintable()).strip()


def words(answer: urllib3.BaseHTTPResponse) -> str:
    """Return the start of an error answer's own words."""
    try:
        body = json.loads(answer.data)
    except ValueError:
        return "no reason given"
    if not isinstance(body, dict):
        return "no reason given"
    return ": ".join(str(body[name])[:200] for name in ("error", "message") if body.get(name)) or "no reason given"


def retry_after(header: str | None) -> float:
    """Return a Retry-After header's seconds; 0 if there is none, or a date, which these services do not send."""
    try:
        return min(120.0, max(0.0, float(header or 0)))
    except ValueError:
        return 0.0


def data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
