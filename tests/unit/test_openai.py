"""OpenAI's client, through the real `openai` package: what goes out, how often, and which answers mean what."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx2
import pytest

from lookbook.errors import ProviderError
from lookbook.providers.base import WRITE_SECONDS, JobState, RefusedError, Submission, TroubleError, UncertainError
from lookbook.providers.openai import EDIT, OpenAi, prompt
from lookbook.reuse import reuse_key
from tests.unit.fakes import KEY, a_product, an_order, method_settings

PICTURE = base64.b64encode(b"cover").decode()
USAGE = {
    "input_tokens": 1220,
    "input_tokens_details": {"text_tokens": 120, "image_tokens": 1100},
    "output_tokens": 1056,
    "total_tokens": 2276,
}
# 120 x $5 + 1100 x $8 + 1056 x $30 a million
COST = 600 + 8800 + 31_680


class OpenAiService:
    """Answers as it is told, and keeps what came in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: httpx2.Response | Exception = ok()
        self.requests: list[httpx2.Request] = []
        real = OpenAi._client

        def client(provider: OpenAi) -> Any:
            # All that the provider has set stays as it is; only the wire is ours.
            return real(provider).with_options(
                http_client=httpx2.Client(transport=httpx2.MockTransport(self.handle), follow_redirects=True)
            )

        monkeypatch.setattr(OpenAi, "_client", client)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def refused(self, answer: httpx2.Response | Exception) -> RefusedError:
        """Submit, and return the refusal that this answer means."""
        self.answer = answer
        with pytest.raises(RefusedError) as caught:
            cover()
        return caught.value


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> OpenAiService:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    return OpenAiService(monkeypatch)


def ok(**changes: Any) -> httpx2.Response:
    body = {"created": 1, "data": [{"b64_json": PICTURE}], "usage": USAGE} | changes
    return httpx2.Response(200, json=body, headers={"x-request-id": "req_1"})


def refusal(status: int, code: str | None = None, message: str = "No.", **headers: str) -> httpx2.Response:
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    return httpx2.Response(status, json=body, headers={"x-request-id": "req_2", **headers})


def garbage(content: bytes, content_type: str = "application/json") -> httpx2.Response:
    return httpx2.Response(200, content=content, headers={"content-type": content_type})


def provider(**changes: Any) -> OpenAi:
    return OpenAi(method_settings(**changes), lambda: KEY)


def cover(picture: bytes = b"shirt", **product: Any) -> Submission:
    return provider().submit(an_order(picture, **product))


def state_of(accepted: Submission) -> JobState:
    assert accepted.state is not None, "OpenAI keeps no jobs"
    return accepted.state


def form(request: httpx2.Request) -> dict[str, tuple[str | None, str, bytes]]:
    """Read a multipart form: of each field its file name, type and content."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.content)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        assert isinstance(name, str)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[name] = (part.get_filename(), part.get_content_type(), content)
    return found


# --- what goes out -------------------------------------------------------------------------------------------------

FIXED = {"model": "gpt-image-2.6-flare", "n": 1, "size": "1024x1024", "quality": "medium", "output_format": "png"}


def test_a_product_without_a_picture_gets_one_of_its_title(service: OpenAiService) -> None:
    # When a cover is asked for of which there is only a title and a category
    cover(b"", image_url="", title="Rust in {braces}", category="Courses")

    # Then the one request is a generation, with the quality and without what is no longer taken
    [request] = service.requests
    assert (request.method, str(request.url)) == ("POST", "https://openai.example.com/v1/images/generations")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    sent = json.loads(request.content)
    text = sent.pop("prompt")
    assert sent == FIXED
    assert "a product (courses)" in text
    assert "“Rust in {braces}”" in text


def test_a_product_with_a_picture_gets_an_edit_of_it(service: OpenAiService) -> None:
    # When a cover is asked for of a product with a picture
    cover(b"\xff\xd8\xffjpeg\r\n--x")

    # Then the one request is an edit, with the picture's very bytes
    [request] = service.requests
    assert (request.method, request.url.path) == ("POST", "/v1/images/edits")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    sent = form(request)
    assert sent.pop("image") == ("product.jpg", "image/jpeg", b"\xff\xd8\xffjpeg\r\n--x")
    assert {name: content.decode() for name, (_, _, content) in sent.items()} == {
        **{name: str(value) for name, value in FIXED.items()},
        "prompt": EDIT,
    }


@pytest.mark.parametrize("quality", ["low", "medium", "high"])
@pytest.mark.parametrize("picture", [b"", b"shirt"])
def test_the_quality_is_always_said(service: OpenAiService, quality: str, picture: bytes) -> None:
    # OpenAI's own choice may be the dearest one.
    provider(open_ai_quality=quality).submit(an_order(picture, image_url="x" if picture else ""))
    [request] = service.requests
    told = form(request)["quality"][2].decode() if picture else json.loads(request.content)["quality"]
    assert told == quality


def test_an_edits_prompt_is_the_same_for_all_products() -> None:
    # Given one picture under two titles, then it is the same work
    one, other = a_product(title="Shirt", category="Tops"), a_product(title="Camisa", category="")
    assert prompt(one) == prompt(other)
    assert provider().parameters(one, 1) == provider().parameters(other, 1)


def test_a_generations_prompt_follows_from_title_and_category() -> None:
    about = [("Shirt", "Tops"), ("Shirt", ""), ("Camisa", "Tops")]
    prompts = {prompt(a_product(image_url="", title=title, category=category)) for title, category in about}
    assert len(prompts) == 3
    assert EDIT not in prompts


@pytest.mark.parametrize(
    ("product", "changes", "seed"),
    [
        ({"title": "Another"}, {}, 1),
        ({}, {"open_ai_quality": "high"}, 1),
        ({}, {"open_ai_model": "gpt-image-2.6-sunburst"}, 1),
        ({}, {}, 2),
    ],
)
def test_whatever_decides_the_result_is_part_of_its_key(
    product: dict[str, Any], changes: dict[str, Any], seed: int
) -> None:
    def key(made_by: OpenAi, its_seed: int, **about: Any) -> str:
        parameters = made_by.parameters(a_product(image_url="", **about), its_seed)
        return reuse_key("", "", made_by.name, made_by.model_version, parameters)

    assert key(provider(), 1) != key(provider(**changes), seed, **product)


# --- once, and not for ever ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        ok(),
        refusal(408),
        refusal(409),
        refusal(429),
        refusal(429, **{"retry-after": "1", "x-should-retry": "true"}),
        refusal(500),
        refusal(503, **{"x-should-retry": "true"}),
        refusal(504),
        httpx2.ReadTimeout("slow"),
        httpx2.ConnectTimeout("slow"),
        httpx2.ConnectError("refused"),
        httpx2.RemoteProtocolError("gone"),
        garbage(b"{oops"),
    ],
)
@pytest.mark.parametrize("picture", [b"", b"shirt"])
def test_exactly_one_request_goes_out(
    service: OpenAiService, answer: httpx2.Response | Exception, picture: bytes
) -> None:
    # Given any answer whatever; there is no idempotency key, and each further request might be paid
    service.answer = answer
    with suppress(ProviderError):
        cover(picture)
    assert len(service.requests) == 1


def test_it_waits_longer_than_a_picture_takes(service: OpenAiService) -> None:
    cover()
    [request] = service.requests
    assert 80 <= request.extensions["timeout"]["read"] < provider().call_seconds


def test_no_call_takes_longer_than_it_says(service: OpenAiService) -> None:
    # After `call_seconds` another process takes this one for dead, and pays again.
    cover()
    [request] = service.requests
    longest = sum(request.extensions["timeout"][part] for part in ("connect", "write", "read"))
    assert longest + WRITE_SECONDS <= provider().call_seconds


# --- what comes back -----------------------------------------------------------------------------------------------


def test_the_answer_is_the_picture_and_its_tokens_are_its_price(service: OpenAiService) -> None:
    service.answer = ok()
    accepted = cover()
    state = state_of(accepted)
    assert accepted.job_id == "req_1"
    assert (state.status, state.image, state.model_version) == ("completed", b"cover", "gpt-image-2.6-flare")
    assert (state.cost_microusd, state.usage) == (COST, "1,220 tokens in, 1,056 out")


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"input_tokens": 120, "output_tokens": 272}, 600 + 8160),
        ({"input_tokens": 120, "output_tokens": 272, "input_tokens_details": None}, 600 + 8160),
        ({"input_tokens": 120, "output_tokens": 272, "input_tokens_details": {"image_tokens": 120}}, 960 + 8160),
        ({"output_tokens": 272}, 8160),
    ],
)
def test_what_is_not_told_of_the_tokens_is_text(service: OpenAiService, usage: dict[str, Any], cost: int) -> None:
    service.answer = ok(usage=usage)
    assert state_of(cover()).cost_microusd == cost


@pytest.mark.parametrize(
    "usage",
    [
        None,
        pytest.param({}),
        pytest.param("much"),
        pytest.param({"input_tokens": 1, "output_tokens": "many"}),
    ],
)
def test_without_its_tokens_a_picture_costs_what_was_estimated(service: OpenAiService, usage: Any) -> None:
    service.answer = ok(usage=usage)
    state = state_of(cover())
    assert (state.status, state.image) == ("completed", b"cover")
    assert state.cost_microusd == provider().estimate().microusd > 0


def test_an_answer_without_an_id_has_one_all_the_same(service: OpenAiService) -> None:
    service.answer = httpx2.Response(200, json={"data": [{"b64_json": PICTURE}], "usage": USAGE})
    accepted = cover()
    assert accepted.job_id
    assert state_of(accepted).status == "completed"


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [None],
        [{}],
        [{"url": "https://openai.example.com/1.png"}],
        [{"b64_json": ""}],
        [{"b64_json": None}],
        [{"b64_json": "no base64!"}],
        pytest.param({"0": {"b64_json": PICTURE}}),
        pytest.param([{"b64_json": "é"}]),
        pytest.param([{"b64_json": 7}]),
    ],
)
def test_an_answer_without_a_picture_has_failed_and_is_charged(service: OpenAiService, data: Any) -> None:
    service.answer = ok(data=data)
    state = state_of(cover())
    assert (state.status, state.image, state.cost_microusd) == ("failed", b"", COST)
    assert state.reason.startswith("OpenAI's")
    assert not state.final


def test_what_the_filter_blocks_is_blocked_for_good(service: OpenAiService) -> None:
    service.answer = refusal(400, "moderation_blocked", "Your request was rejected by the safety system.")
    accepted = cover()
    state = state_of(accepted)
    assert (accepted.job_id, state.status, state.final, state.cost_microusd) == ("req_2", "blocked", True, 0)
    assert "safety system" in state.reason


@pytest.mark.parametrize(("status", "code"), [(400, "billing_hard_limit_reached"), (429, "insufficient_quota")])
def test_a_spending_limit_stops_the_run(service: OpenAiService, status: int, code: str) -> None:
    error = service.refused(refusal(status, code, **{"retry-after": "9"}))
    assert (error.final, error.stops_run) == (True, True)
    assert "limit" in str(error)


@pytest.mark.parametrize(
    ("answer", "final", "bad_key", "wait", "told"),
    [
        (refusal(400, "invalid_value", "Invalid size."), True, False, 0, "Invalid size."),
        (refusal(401, "invalid_api_key"), True, True, 0, "OpenAiKey"),
        (refusal(403, None, "Your organization must be verified."), True, False, 0, "must be verified"),
        (refusal(404, "model_not_found"), True, False, 0, "OpenAiModel"),
        (refusal(429, "rate_limit_exceeded", **{"retry-after": "9"}), False, False, 9, "HTTP 429"),
        (refusal(429, **{"retry-after": "3600"}), False, False, 120, "HTTP 429"),
        (refusal(429), False, False, 0, "HTTP 429"),
        (refusal(503, **{"retry-after": "2.5"}), False, False, 2.5, "HTTP 503"),
    ],
)
def test_a_refusal_buys_nothing(
    service: OpenAiService, answer: httpx2.Response, final: bool, bad_key: bool, wait: float, told: str
) -> None:
    error = service.refused(answer)
    assert (error.final, error.bad_key, error.stops_run, error.retry_after) == (final, bad_key, False, wait)
    assert told in str(error)


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        pytest.param(httpx2.ConnectTimeout("slow")),
        pytest.param(httpx2.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol.")),
    ],
)
def test_a_connection_that_was_never_made_buys_nothing(service: OpenAiService, error: Exception) -> None:
    assert not service.refused(error).final


@pytest.mark.parametrize(
    "answer",
    [
        refusal(500),
        httpx2.Response(500, text="oops"),
        httpx2.Response(502, text="bad gateway"),
        httpx2.Response(504, text="time-out"),
        httpx2.Response(524, text="time-out"),
        httpx2.ReadTimeout("slow"),
        httpx2.WriteTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("gone"),
        garbage(b"{oops"),
        pytest.param(garbage(b"<html>", "text/html")),
        pytest.param(garbage(b"[]")),
    ],
)
def test_an_answer_that_does_not_say_may_have_bought_something(
    service: OpenAiService, answer: httpx2.Response | Exception
) -> None:
    service.answer = answer
    with pytest.raises(UncertainError):
        cover()


# --- the key -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "invalid_api_key", f"Incorrect API key provided: {KEY}."),
        refusal(404, "model_not_found"),
        refusal(429),
        refusal(500, message=f"Key {KEY}"),
        httpx2.ReadTimeout("slow"),
        httpx2.ConnectError("refused"),
        # As h11 says it of a key that ends with a line break, which a secret set from a file does.
        httpx2.LocalProtocolError(f"Illegal header value b'Bearer {KEY}\\n'"),
        garbage(b"{oops"),
    ],
)
def test_the_key_is_in_no_error(service: OpenAiService, answer: httpx2.Response | Exception) -> None:
    service.answer = answer
    with pytest.raises(ProviderError) as caught:
        cover()
    assert KEY not in str(caught.value)


# --- the rest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quality", "output"), [("low", 272), ("medium", 1056), ("high", 4160)])
def test_an_image_costs_what_its_quality_needs(quality: str, output: int) -> None:
    estimate = provider(open_ai_quality=quality).estimate()
    assert estimate.microusd == 600 + 8800 + 30 * output
    assert estimate.most_microusd >= estimate.microusd
    assert quality in estimate.basis


def test_there_is_no_job_to_ask_for() -> None:
    with pytest.raises(TroubleError):
        provider().poll("req_1")


def test_without_a_model_it_says_what_to_set() -> None:
    assert "OpenAiModel" in provider(open_ai_model="").unavailable
    assert provider().unavailable == ""


def test_the_package_is_not_loaded_until_it_is_needed() -> None:
    """It takes 0.35 s and 20 MB, and most functions never call OpenAI."""
    script = "import sys; import lookbook.providers.openai; print('openai' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
