"""FASHN's client: what it sends, which answers mean what, and what they cost. Source: https://docs.fashn.ai."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import urllib3

from lookbook.errors import ProviderError, SourceImageError
from lookbook.fetch import SourceUnavailableError
from lookbook.providers import fashn
from lookbook.providers.base import RefusedError, TroubleError, UncertainError
from lookbook.providers.fashn import Fashn
from tests.unit.fakes import CUT_OFF, KEY, NEVER_SENT, Answer, Wire, a_product, an_order, method_settings, words_of

RESULT = "https://cdn.fashn.example.com/1/output_0.png"


def service(answer: Answer | Exception, **changes: Any) -> tuple[Fashn, Wire]:
    wire = Wire(answer)
    return Fashn(method_settings(**changes), lambda: KEY, wire), wire


def status(name: str, *, output: Any = None, error: Any = None, headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, {"id": "job-1", "status": name, "output": output, "error": error}, headers)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Fetch every result without a socket; what was fetched, and whether from private addresses too."""
    found: list[tuple[str, bool]] = []

    def fetch(url: str, *, allow_private: bool) -> bytes:
        found.append((url, allow_private))
        return b"picture"

    monkeypatch.setattr(fashn, "fetch_picture", fetch)
    return found


def fetch_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fetch(*_: Any, **__: Any) -> bytes:
        raise error

    monkeypatch.setattr(fashn, "fetch_picture", fetch)


# --- submitting ----------------------------------------------------------------------------------------------------


def test_a_job_is_submitted_as_its_documentation_says() -> None:
    # Given a service that takes work
    provider, wire = service(Answer(200, {"id": "job-1", "error": None}))

    # When a job is submitted
    accepted = provider.submit(an_order(b"shirt", seed=7))

    # Then one request has gone out, with the key, the model, and both pictures as data URIs
    assert (accepted.job_id, accepted.state) == ("job-1", None)
    [(method, url, more)] = wire.sent
    assert (method, url) == ("POST", "https://fashn.example.com/v1/run")
    assert more["headers"]["Authorization"] == f"Bearer {KEY}"
    assert more["headers"]["Content-Type"] == "application/json"
    assert json.loads(more["body"]) == {
        "model_name": "tryon-v1.6",
        "inputs": {
            "model_image": "data:image/jpeg;base64," + base64.b64encode(b"person").decode(),
            "garment_image": "data:image/jpeg;base64," + base64.b64encode(b"shirt").decode(),
            "category": "tops",
            "mode": "balanced",
            "garment_photo_type": "auto",
            "output_format": "png",
            "seed": 7,
        },
    }


@pytest.mark.parametrize(
    ("garment", "category"), [("upper", "tops"), ("lower", "bottoms"), ("overall", "one-pieces"), ("", "auto")]
)
def test_garments_are_told_in_its_words(garment: str, category: str) -> None:
    provider, _ = service(Answer(200))
    assert provider.parameters(a_product(garment=garment), 1)["category"] == category


def test_no_credits_left_stop_the_run() -> None:
    answer = Answer(429, {"error": "OutOfCredits", "message": "You have run out of API credits."}, {"Retry-After": "9"})
    with pytest.raises(RefusedError) as caught:
        service(answer)[0].submit(an_order())
    assert (caught.value.final, caught.value.stops_run) == (True, True)
    assert "credits" in str(caught.value)


@pytest.mark.parametrize("name", ["RateLimitExceeded", "ConcurrencyLimitExceeded"])
@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "9"}, 9), ({"retry-after": "9"}, 9), ({}, 0)])
def test_a_limit_is_waited_for(name: str, headers: dict[str, str], seconds: float) -> None:
    with pytest.raises(RefusedError) as caught:
        service(Answer(429, {"error": name, "message": "Too many."}, headers))[0].submit(an_order())
    assert (caught.value.final, caught.value.stops_run, caught.value.retry_after) == (False, False, seconds)


@pytest.mark.parametrize(
    ("code", "final", "bad_key", "told"),
    [
        (400, True, False, "BadRequest: category must be one of"),
        (401, True, True, "FashnKey"),
        (404, True, False, "Is FashnBaseUrl right?"),
        (503, False, False, "HTTP 503"),
    ],
)
def test_a_refusal_buys_nothing(code: int, final: bool, bad_key: bool, told: str) -> None:
    with pytest.raises(RefusedError) as caught:
        service(Answer(code, {"error": "BadRequest", "message": "category must be one of"}))[0].submit(an_order())
    assert (caught.value.final, caught.value.bad_key, caught.value.stops_run) == (final, bad_key, False)
    assert told in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"OutOfCredits"'])
def test_a_refusal_in_no_words_of_its_own_is_a_refusal_all_the_same(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        service(Answer(400, body))[0].submit(an_order())
    assert caught.value.final
    assert "no reason given" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, {"error": "InternalServerError", "message": "Oops."}),
        Answer(502, b"bad gateway"),
        Answer(504, b"time-out"),
        Answer(524, b"time-out"),
        Answer(302, b""),
        Answer(200, b"<html>"),
        Answer(200, []),
        Answer(200, {"id": None, "error": "InternalServerError"}),
        pytest.param(Answer(200, {"id": ""})),
        *CUT_OFF,
    ],
)
def test_an_answer_that_does_not_say_may_have_bought_something(answer: Answer | Exception) -> None:
    with pytest.raises(UncertainError):
        service(answer)[0].submit(an_order())


@pytest.mark.parametrize("error", NEVER_SENT)
def test_a_connection_that_was_never_made_buys_nothing(error: Exception) -> None:
    with pytest.raises(RefusedError) as caught:
        service(error)[0].submit(an_order())
    assert not caught.value.final


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"error": "UnauthorizedAccess", "message": f"Invalid token {KEY}"}),
        Answer(403, {"error": "UnauthorizedAccess", "message": f"Invalid token {KEY}"}),
        Answer(400, {"error": "BadRequest"}),
        Answer(429, {"error": "OutOfCredits"}),
        Answer(429, {"error": "RateLimitExceeded"}),
        Answer(502, {}),
        Answer(200, b"garbage"),
        *CUT_OFF,
        *NEVER_SENT,
    ],
)
def test_the_key_is_in_no_error(answer: Answer | Exception) -> None:
    with pytest.raises(ProviderError) as caught:
        service(answer)[0].submit(an_order())
    assert KEY not in words_of(caught.value)


def test_a_key_with_a_line_break_after_it_is_not_told_to_anyone() -> None:
    # Given a secret that ends with a line break, and a real pool, which refuses the header before it opens a socket
    settings = method_settings(fashn_base_url="http://fashn.invalid")
    provider = Fashn(settings, lambda: f"{KEY}\n", urllib3.PoolManager(retries=False))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, the key is not in it
        provider.submit(an_order())
    assert KEY not in words_of(caught.value)


# --- polling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starting", "in_queue", "processing"])
def test_a_job_at_work_is_waited_for(name: str) -> None:
    provider, wire = service(status(name))
    assert provider.poll("job-1").status == "waiting"
    assert [(method, url) for method, url, _ in wire.sent] == [("GET", "https://fashn.example.com/v1/status/job-1")]


@pytest.mark.parametrize(
    ("headers", "cost", "usage"),
    [
        ({"x-fashn-credits-used": "1"}, 75_000, "1 credit"),
        ({"X-Fashn-Credits-Used": "2"}, 150_000, "2 credits"),
        ({"x-fashn-credits-used": "0.5"}, 37_500, "0.5 credits"),
        ({"x-fashn-credits-used": "many"}, 75_000, "1 credit"),
        ({}, 75_000, "1 credit"),
    ],
)
def test_a_completed_job_brings_its_picture_and_its_price(
    fetched: list[tuple[str, bool]], headers: dict[str, str], cost: int, usage: str
) -> None:
    # When a completed job is asked for, at $0.075 a credit
    told = service(status("completed", output=[RESULT], headers=headers))[0].poll("job-1")

    # Then its picture has been fetched at once, from the public internet, and its credits are its price
    assert (told.status, told.image, told.model_version) == ("completed", b"picture", "tryon-v1.6")
    assert (told.cost_microusd, told.usage) == (cost, usage)
    assert fetched == [(RESULT, False)]


def test_a_local_cloud_may_have_its_results_on_private_addresses(fetched: list[tuple[str, bool]]) -> None:
    answer = status("completed", output=["http://10.0.0.1/output/1.png"])
    assert service(answer, allow_private_urls="true")[0].poll("job-1").status == "completed"
    assert fetched == [("http://10.0.0.1/output/1.png", True)]


@pytest.mark.parametrize("output", [None, []])
def test_a_result_without_a_picture_has_failed_and_is_charged(output: Any) -> None:
    told = service(status("completed", output=output))[0].poll("job-1")
    assert (told.status, told.cost_microusd) == ("failed", 75_000)


def test_a_picture_that_is_not_there_has_failed_and_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_fails(monkeypatch, SourceImageError("cdn.fashn.example.com has no picture at this address (HTTP 404)."))
    told = service(status("completed", output=[RESULT], headers={"x-fashn-credits-used": "2"}))[0].poll("job-1")
    assert (told.status, told.cost_microusd, told.usage) == ("failed", 150_000, "2 credits")
    assert "HTTP 404" in told.reason


def test_a_picture_that_cannot_be_fetched_now_is_fetched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_fails(monkeypatch, SourceUnavailableError("cdn.fashn.example.com is busy."))
    with pytest.raises(TroubleError):
        service(status("completed", output=[RESULT]))[0].poll("job-1")


@pytest.mark.parametrize(
    ("name", "ends", "final"),
    [
        ("ContentModerationError", "blocked", True),
        ("ImageLoadError", "failed", False),
        ("PoseError", "failed", True),
        ("InputValidationError", "failed", True),
        ("PipelineError", "failed", False),
        ("ThirdPartyError", "failed", False),
        ("InternalServerError", "failed", False),
        ("SomethingNew", "failed", False),
    ],
)
def test_a_failed_job_is_free_and_final_if_its_pictures_are_at_fault(name: str, ends: str, final: bool) -> None:
    told = service(status("failed", error={"name": name, "message": "That did not work."}))[0].poll("job-1")
    assert (told.status, told.final, told.cost_microusd) == (ends, final, 0)
    assert "That did not work." in told.reason


@pytest.mark.parametrize("name", ["canceled", "time_out", "failed"])
@pytest.mark.parametrize("error", [None, {"name": "", "message": ""}, {}])
def test_a_job_that_ended_without_a_reason_may_be_tried_again(name: str, error: Any) -> None:
    told = service(status(name, error=error))[0].poll("job-1")
    assert (told.status, told.final, told.cost_microusd) == ("failed", False, 0)
    assert told.reason


def test_an_unknown_job_is_gone() -> None:
    assert service(Answer(404, {"error": "NotFound", "message": "Prediction not found"}))[0].poll("1").status == "gone"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401),
        Answer(429),
        Answer(500),
        Answer(502),
        Answer(200, b"{"),
        Answer(200, {}),
        Answer(200, {"status": "new"}),
        *CUT_OFF,
        *NEVER_SENT,
    ],
)
def test_a_state_that_cannot_be_read_now_can_be_asked_for_again(answer: Answer | Exception) -> None:
    with pytest.raises(TroubleError) as caught:
        service(answer)[0].poll("1")
    assert KEY not in words_of(caught.value)


def test_an_image_costs_a_credit() -> None:
    estimate = service(Answer(200), fashn_usd_per_credit="0.04")[0].estimate()
    assert (estimate.microusd, estimate.most_microusd) == (40_000, 40_000)
    assert estimate.basis == "1 credit at $0.04"
