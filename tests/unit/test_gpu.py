"""The GPU endpoint's client: which answers mean what, above all whether something was bought."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import urllib3

from lookbook.gpu import GpuEndpoint, RefusedError, TroubleError, UncertainError


class Answer:
    """As much of urllib3's response as the client uses."""

    def __init__(self, status: int, body: Any = None) -> None:
        self.status = status
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def read(self, amount: int) -> bytes:
        return self.data[:amount]

    def release_conn(self) -> None:
        pass


class Wire:
    """A transport that answers as it is told and keeps what was sent."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def request(self, method: str, url: str, **more: Any) -> Answer:
        self.sent.append((method, url, more))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def endpoint(answer: Answer | Exception) -> tuple[GpuEndpoint, Wire]:
    wire = Wire(answer)
    return GpuEndpoint("https://gpu.example.com/v2/abc/", lambda: "key", wire), wire  # type: ignore[arg-type]  # a stand-in


POOL = urllib3.HTTPSConnectionPool("gpu.example.com")


def test_a_job_is_submitted_as_the_protocol_says() -> None:
    # Given an endpoint that takes work
    gpu, wire = endpoint(Answer(200, {"id": "job-1", "status": "IN_QUEUE"}))

    # When a job is submitted
    job_id = gpu.submit({"seed": 1})

    # Then one request has gone out, with the key and the input
    assert job_id == "job-1"
    [(method, url, more)] = wire.sent
    assert (method, url) == ("POST", "https://gpu.example.com/v2/abc/run")
    assert more["headers"]["authorization"] == "Bearer key"
    assert json.loads(more["body"]) == {"input": {"seed": 1}}


@pytest.mark.parametrize(
    ("status", "final"), [(429, False), (500, False), (503, False), (400, True), (401, True), (404, True)]
)
def test_a_refusal_buys_nothing(status: int, final: bool) -> None:
    gpu, _ = endpoint(Answer(status, {"error": "no"}))
    with pytest.raises(RefusedError) as caught:
        gpu.submit({})
    assert caught.value.final is final


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, b"bad gateway"),
        Answer(504, b"time-out"),
        Answer(524, b"time-out"),
        Answer(200, b"not json"),
        Answer(200, {"status": "IN_QUEUE"}),
        urllib3.exceptions.ReadTimeoutError(POOL, "/run", "slow"),
        urllib3.exceptions.ProtocolError("reset"),
    ],
)
def test_an_answer_that_does_not_say_may_have_bought_something(answer: Answer | Exception) -> None:
    gpu, _ = endpoint(answer)
    with pytest.raises(UncertainError):
        gpu.submit({})


def test_a_connection_that_was_never_made_buys_nothing() -> None:
    gpu, _ = endpoint(urllib3.exceptions.ConnectTimeoutError())
    with pytest.raises(RefusedError) as caught:
        gpu.submit({})
    assert not caught.value.final


def test_the_key_is_in_no_error() -> None:
    gpu, _ = endpoint(Answer(401, {"error": "unauthorized"}))
    with pytest.raises(RefusedError) as caught:
        gpu.submit({})
    assert "key " not in f"{caught.value!r}".replace("our key", "")


@pytest.mark.parametrize("status", ["IN_QUEUE", "IN_PROGRESS", "RUNNING"])
def test_a_job_in_the_queue_is_waited_for(status: str) -> None:
    assert endpoint(Answer(200, {"id": "1", "status": status}))[0].state("1").status == "waiting"


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_completed_job_brings_its_picture_and_its_price(prefix: str) -> None:
    picture = base64.b64encode(b"picture").decode()
    body = {"status": "COMPLETED", "executionTime": 11_000, "output": {"image": prefix + picture, "model": "catvton@1"}}

    told = endpoint(Answer(200, body))[0].state("1")

    assert (told.status, told.image, told.gpu_ms, told.model_version) == ("completed", b"picture", 11_000, "catvton@1")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "FAILED", "error": "out of memory", "executionTime": 700},
        {"status": "TIMED_OUT", "executionTime": 700},
        {"status": "CANCELLED", "executionTime": 700},
        {"status": "COMPLETED", "output": {"error": "out of memory"}, "executionTime": 700},
        {"status": "COMPLETED", "output": {"image": "no base64!"}, "executionTime": 700},
        {"status": "COMPLETED", "output": "text", "executionTime": 700},
        {"status": "SOMETHING_NEW", "executionTime": 700},
    ],
)
def test_a_failed_job_is_told_with_what_it_cost(body: dict[str, Any]) -> None:
    told = endpoint(Answer(200, body))[0].state("1")
    assert (told.status, told.gpu_ms) == ("failed", 700)
    assert told.reason


def test_an_expired_job_is_gone() -> None:
    assert endpoint(Answer(404, {}))[0].state("1").status == "gone"


@pytest.mark.parametrize(
    "answer", [Answer(429), Answer(500), Answer(200, b"{"), urllib3.exceptions.ProtocolError("reset")]
)
def test_a_state_that_cannot_be_read_now_can_be_asked_for_again(answer: Answer | Exception) -> None:
    with pytest.raises(TroubleError):
        endpoint(answer)[0].state("1")
