"""CatVTON's client: which answers of the GPU endpoint mean what, above all whether something was bought."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import urllib3

from lookbook.errors import ProviderError
from lookbook.providers.base import RefusedError, TroubleError, UncertainError
from lookbook.providers.catvton import PARAMETERS, Catvton
from lookbook.reuse import reuse_key
from tests.unit.fakes import CUT_OFF, KEY, NEVER_SENT, Answer, Wire, a_product, an_order, method_settings, words_of


def endpoint(answer: Answer | Exception) -> tuple[Catvton, Wire]:
    wire = Wire(answer)
    return Catvton(method_settings(), lambda: KEY, wire), wire


def test_a_job_is_submitted_as_the_protocol_says() -> None:
    # Given an endpoint that takes work
    gpu, wire = endpoint(Answer(200, {"id": "job-1", "status": "IN_QUEUE"}))

    # When a job is submitted
    accepted = gpu.submit(an_order(b"shirt", seed=7))

    # Then one request has gone out, with the key and our worker's input, and the job is to be polled
    assert (accepted.job_id, accepted.state) == ("job-1", None)
    [(method, url, more)] = wire.sent
    assert (method, url) == ("POST", "https://gpu.example.com/v2/abc/run")
    assert more["headers"]["Authorization"] == f"Bearer {KEY}"
    assert json.loads(more["body"]) == {
        "input": {
            "person_image": base64.b64encode(b"person").decode(),
            "garment_image": base64.b64encode(b"shirt").decode(),
            "category": "upper",
            "num_inference_steps": 50,
            "guidance_scale": 2.5,
            "width": 768,
            "height": 1024,
            "seed": 7,
        }
    }


@pytest.mark.parametrize(
    ("garment", "category"), [("upper", "upper"), ("lower", "lower"), ("overall", "overall"), ("", "overall")]
)
def test_what_is_no_garment_by_its_words_covers_the_whole_body(garment: str, category: str) -> None:
    gpu, _ = endpoint(Answer(200))
    assert gpu.parameters(a_product(garment=garment), 1)["category"] == category


@pytest.mark.parametrize("parameter", [*PARAMETERS, "seed", "category"])
def test_every_parameter_is_part_of_the_reuse_key(parameter: str) -> None:
    gpu, _ = endpoint(Answer(200))
    parameters = gpu.parameters(a_product(), 1)
    changed = {**parameters, parameter: 0}
    assert reuse_key("a", "b", gpu.name, gpu.model_version, parameters) != reuse_key(
        "a", "b", gpu.name, gpu.model_version, changed
    )


@pytest.mark.parametrize(
    ("status", "final"), [(429, False), (503, False), (400, True), (401, True), (403, True), (404, True)]
)
def test_a_refusal_buys_nothing(status: int, final: bool) -> None:
    gpu, _ = endpoint(Answer(status, {"error": "no"}))
    with pytest.raises(RefusedError) as caught:
        gpu.submit(an_order())
    assert caught.value.final is final
    assert caught.value.bad_key is (status in {401, 403})
    assert not caught.value.stops_run


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("3600", 120), ("-1", 0), ("nan", 0), ("Sat, 21 Nov 2026 10:15:02 GMT", 0), (None, 0)],
)
def test_it_is_left_alone_as_long_as_it_asks(header: str | None, seconds: float) -> None:
    gpu, _ = endpoint(Answer(429, {}, {} if header is None else {"Retry-After": header}))
    with pytest.raises(RefusedError) as caught:
        gpu.submit(an_order())
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, {"error": "internal"}),
        Answer(502, b"bad gateway"),
        Answer(504, b"time-out"),
        Answer(524, b"time-out"),
        Answer(302, b""),
        Answer(200, b"not json"),
        Answer(200, []),
        Answer(200, {"status": "IN_QUEUE"}),
        Answer(200, {"id": "", "status": "IN_QUEUE"}),
        *CUT_OFF,
    ],
)
def test_an_answer_that_does_not_say_may_have_bought_something(answer: Answer | Exception) -> None:
    gpu, _ = endpoint(answer)
    with pytest.raises(UncertainError):
        gpu.submit(an_order())


@pytest.mark.parametrize("error", NEVER_SENT)
def test_a_connection_that_was_never_made_buys_nothing(error: Exception) -> None:
    gpu, _ = endpoint(error)
    with pytest.raises(RefusedError) as caught:
        gpu.submit(an_order())
    assert not caught.value.final


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"error": f"no such key: {KEY}"}),
        Answer(403, {"error": f"no such key: {KEY}"}),
        Answer(404, {"error": "no such endpoint"}),
        Answer(429, {}),
        Answer(502, {}),
        Answer(200, b"garbage"),
        *CUT_OFF,
        *NEVER_SENT,
    ],
)
def test_the_key_is_in_no_error(answer: Answer | Exception) -> None:
    gpu, _ = endpoint(answer)
    with pytest.raises(ProviderError) as caught:
        gpu.submit(an_order())
    assert KEY not in words_of(caught.value)


def test_a_key_with_a_line_break_after_it_is_not_told_to_anyone() -> None:
    # Given a secret that was set from a file, as its last character is a line break, and a real pool. No socket is
    # opened: the header is refused before.
    gpu = Catvton(
        method_settings(gpu_endpoint_url="http://gpu.invalid"), lambda: f"{KEY}\n", urllib3.PoolManager(retries=False)
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, the key is not in it
        gpu.poll("job-1")
    assert KEY not in words_of(caught.value)


@pytest.mark.parametrize("status", ["IN_QUEUE", "IN_PROGRESS", "RUNNING"])
def test_a_job_in_the_queue_is_waited_for(status: str) -> None:
    gpu, wire = endpoint(Answer(200, {"id": "1", "status": status}))
    assert gpu.poll("1").status == "waiting"
    assert [(method, url) for method, url, _ in wire.sent] == [("GET", "https://gpu.example.com/v2/abc/status/1")]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_completed_job_brings_its_picture_and_its_price(prefix: str) -> None:
    # Given 11 s of work at $0.00031 a second
    picture = base64.b64encode(b"picture").decode()
    body = {"status": "COMPLETED", "executionTime": 11_000, "output": {"image": prefix + picture, "model": "catvton@1"}}

    told = endpoint(Answer(200, body))[0].poll("1")

    assert (told.status, told.image, told.model_version) == ("completed", b"picture", "catvton@1")
    assert (told.cost_microusd, told.work_ms, told.usage) == (3410, 11_000, "11.00 s")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "FAILED", "error": "out of memory", "executionTime": 700},
        {"status": "TIMED_OUT", "executionTime": 700},
        {"status": "CANCELLED", "executionTime": 700},
        {"status": "COMPLETED", "output": {"error": "out of memory"}, "executionTime": 700},
        {"status": "COMPLETED", "output": {"image": "no base64!"}, "executionTime": 700},
        pytest.param({"status": "COMPLETED", "output": {"image": "é"}, "executionTime": 700}),
        {"status": "COMPLETED", "output": {"image": None}, "executionTime": 700},
        {"status": "COMPLETED", "output": "text", "executionTime": 700},
    ],
)
def test_a_failed_job_is_told_with_what_it_cost(body: dict[str, Any]) -> None:
    told = endpoint(Answer(200, body))[0].poll("1")
    assert (told.status, told.work_ms, told.cost_microusd, told.usage) == ("failed", 700, 217, "0.70 s")
    assert told.reason
    assert not told.final, "another GPU may manage"


def test_a_result_beyond_all_size_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookbook.providers.http.MAX_ANSWER_BYTES", 10)
    told = endpoint(Answer(200, b"x" * 11))[0].poll("1")
    assert (told.status, told.image) == ("failed", b"")


def test_an_expired_job_is_gone() -> None:
    assert endpoint(Answer(404, {}))[0].poll("1").status == "gone"


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(401), Answer(429), Answer(500), Answer(200, b"{"), Answer(200, {})),
        Answer(200, {"id": "job-1", "status": "SOMETHING_NEW", "executionTime": 700}),
        *CUT_OFF,
        *NEVER_SENT,
    ],
)
def test_a_state_that_cannot_be_read_now_can_be_asked_for_again(answer: Answer | Exception) -> None:
    with pytest.raises(TroubleError) as caught:
        endpoint(answer)[0].poll("1")
    assert KEY not in words_of(caught.value)


def test_it_says_what_an_image_costs_until_it_is_measured() -> None:
    # Given 11 s at $0.00031 a second, then a budget reserves a quarter more than that
    estimate = endpoint(Answer(200))[0].estimate()
    assert (estimate.microusd, estimate.most_microusd, estimate.ms) == (3410, 4262, 11_000)
    assert "$0.00031 a second" in estimate.basis


def test_without_an_address_it_says_what_to_set() -> None:
    assert "GpuEndpointUrl" in Catvton(method_settings(gpu_endpoint_url=""), lambda: KEY).unavailable
    assert Catvton(method_settings(), lambda: KEY).unavailable == ""
