"""The OpenAI stand-in speaks the Images API, charges what it accepts, and fails as it is asked to."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from local.art import draw_garment
from tests.integration.standin_server import KEY, StandIn, clean

LATENCY = 0.1
MODEL = "gpt-image-2.6-flare"


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


GARMENT = png(draw_garment("Blue Shirt", 1, (160, 200)))


def picture_of(answer: requests.Response, number: int = 0) -> Image.Image:
    assert answer.status_code == 200, answer.text
    data = base64.b64decode(answer.json()["data"][number]["b64_json"], validate=True)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


def error_of(answer: requests.Response) -> tuple[int, str | None, str | None]:
    """Status, code and parameter of an error in the service's shape."""
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    return answer.status_code, error["code"], error["param"]


class OpenAi(StandIn):
    """The stand-in, with the Images API's calls."""

    def generate(self, timeout: float = 10, **given: Any) -> requests.Response:
        body = {"model": MODEL, "prompt": "A calm cover", "size": "1024x1024", "quality": "low", **given}
        return self.ask("POST", "/v1/images/generations", json=body, timeout=timeout)

    def edit(self, *files: tuple[str, tuple[str, bytes, str]], **given: Any) -> requests.Response:
        fields = {"model": MODEL, "prompt": "A calm cover", "size": "1024x1024", "quality": "low", **given}
        parts = files or (("image", ("shirt.png", GARMENT, "image/png")),)
        return self.ask("POST", "/v1/images/edits", data=fields, files=list(parts))


@pytest.fixture(scope="module")
def process() -> Iterator[OpenAi]:
    with OpenAi.started("openai_images", "--key", KEY, "--latency", str(LATENCY)) as server:
        yield server


@pytest.fixture
def openai(process: OpenAi) -> OpenAi:
    return clean(process)


# ---------------------------------------------------------------------------------------------------------------------
# Protocol and charges
# ---------------------------------------------------------------------------------------------------------------------


def test_a_cover_is_generated_and_charged_by_its_tokens(openai: OpenAi) -> None:
    # When a cover is asked for
    before = time.monotonic()
    answer = openai.generate(prompt="x" * 400)
    took = time.monotonic() - before

    # Then the answer takes its time, has a picture, and says what it took
    assert took >= LATENCY
    assert (picture_of(answer).format, picture_of(answer).size) == ("PNG", (1024, 1024))
    body = answer.json()
    assert (body["output_format"], body["quality"], body["size"]) == ("png", "low", "1024x1024")
    assert abs(body["created"] - time.time()) < 10
    usage = body["usage"]
    assert usage["input_tokens_details"] == {"text_tokens": 106, "image_tokens": 0}
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (106, 272, 378)

    # And it was charged at the service's prices
    [charge] = openai.charges()
    assert charge["id"] == answer.headers["x-request-id"]
    assert charge["usd"] == pytest.approx(106 * 5e-6 + 272 * 30e-6)
    assert (charge["usage"], charge["model"]) == (usage, MODEL)


@pytest.mark.parametrize(
    ("size", "quality", "output_format", "tokens"),
    [
        ("1024x1536", "medium", "jpeg", 1584),
        ("1536x1024", "high", "webp", 6208),
        ("auto", "auto", "png", 1056),
    ],
)
def test_sizes_qualities_and_formats(openai: OpenAi, size: str, quality: str, output_format: str, tokens: int) -> None:
    answer = openai.generate(size=size, quality=quality, output_format=output_format, output_compression=80)

    picture, body = picture_of(answer), answer.json()
    assert body["size"] == f"{picture.width}x{picture.height}" == ("1024x1024" if size == "auto" else size)
    assert body["quality"] == ("medium" if quality == "auto" else quality)
    assert picture.format == output_format.upper()
    assert body["usage"]["output_tokens"] == tokens


def test_several_covers_cost_as_much_as_as_many(openai: OpenAi) -> None:
    answer = openai.generate(n=2)

    assert picture_of(answer, 0).tobytes() != picture_of(answer, 1).tobytes()
    assert answer.json()["usage"]["output_tokens"] == 2 * 272
    assert len(openai.charges()) == 1


def test_equal_calls_are_equal_work_but_give_different_pictures(openai: OpenAi) -> None:
    # Given the same call twice, and another
    answers = [openai.generate(), openai.generate(), openai.generate(prompt="A wild cover")]

    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 3
    keys = [charge["key"] for charge in openai.charges()]
    assert keys[0] == keys[1] != keys[2]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def test_an_edit_shows_the_reference_picture(openai: OpenAi) -> None:
    red = png(Image.new("RGB", (300, 300), (200, 20, 20)))

    answers = [openai.edit(), openai.edit(("image", ("red.png", red, "image/png")), n="1"), openai.edit()]

    # Then the picture is in the middle, and its tokens are counted
    middle = picture_of(answers[1]).getpixel((512, 512))
    assert isinstance(middle, tuple)
    assert middle[0] > 150
    assert max(middle[1:]) < 60
    assert answers[1].json()["usage"]["input_tokens_details"]["image_tokens"] > 0
    assert answers[0].json()["data"] != answers[2].json()["data"]
    keys = [charge["key"] for charge in openai.charges()]
    assert keys[0] == keys[2] != keys[1]


def test_an_edit_may_have_several_references(openai: OpenAi) -> None:
    part = ("image[]", ("shirt.png", GARMENT, "image/png"))

    one, two, sixteen, seventeen = (openai.edit(*[part] * count) for count in (1, 2, 16, 17))

    tokens = [answer.json()["usage"]["input_tokens_details"]["image_tokens"] for answer in (one, two, sixteen)]
    assert tokens == [tokens[0], 2 * tokens[0], 16 * tokens[0]]
    assert error_of(seventeen) == (400, "array_above_max_length", "image")


def test_models_say_when_they_end(openai: OpenAi) -> None:
    current = openai.ask("GET", f"/v1/models/{MODEL}").json()
    ending = openai.ask("GET", "/v1/models/gpt-image-1.5").json()
    with StandIn.started("openai_images", "--key", KEY, "--shutdown-date", "2027-01-31") as server:
        announced = server.ask("GET", f"/v1/models/{MODEL}").json()

    assert set(current) == {"id", "object", "created", "owned_by", "shutdown_date"}
    assert (current["id"], current["object"], current["shutdown_date"]) == (MODEL, "model", None)
    assert current["created"] > 1_700_000_000
    assert ending["shutdown_date"] == "2026-12-01"
    assert announced["shutdown_date"] == "2027-01-31"


# ---------------------------------------------------------------------------------------------------------------------
# Errors and limits
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", KEY])
@pytest.mark.parametrize(
    "call", [("POST", "/v1/images/generations"), ("POST", "/v1/images/edits"), ("GET", f"/v1/models/{MODEL}")]
)
def test_without_the_key_nothing_is_done(openai: OpenAi, call: tuple[str, str], authorization: str) -> None:
    answer = openai.ask(*call, headers={"Authorization": authorization})

    assert error_of(answer) == (401, "invalid_api_key", None)
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1", "gpt-image-99"])
def test_models_that_are_gone_are_not_found(openai: OpenAi, model: str) -> None:
    answers = [openai.generate(model=model), openai.edit(model=model), openai.ask("GET", f"/v1/models/{model}")]

    assert {error_of(answer) for answer in answers} == {(404, "model_not_found", "model")}


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"style": "vivid"}, "unknown_parameter", "style"),
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"seed": 5}, "unknown_parameter", "seed"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"prompt": None}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, "missing_required_parameter", "prompt"),
        ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        ({"size": "1792x1024"}, "invalid_value", "size"),
        ({"quality": "hd"}, "invalid_value", "quality"),
        ({"output_format": "gif"}, "invalid_value", "output_format"),
        ({"background": "blue"}, "invalid_value", "background"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": "two"}, "invalid_value", "n"),
        ({"output_compression": 101}, "invalid_value", "output_compression"),
    ],
)
def test_bad_calls_are_refused_and_not_charged(openai: OpenAi, given: dict[str, Any], code: str, param: str) -> None:
    answers = [openai.generate(**given), openai.edit(**given)]

    assert [error_of(answer) for answer in answers] == [(400, code, param)] * 2
    assert openai.charges() == []


def test_the_longest_prompt_is_accepted(openai: OpenAi) -> None:
    assert openai.generate(prompt="x" * 32_000).status_code == 200


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        (("image", ("shirt.png", GARMENT, "application/octet-stream")), "unsupported_file_mimetype", "image"),
        (("image", ("shirt.png", b"no picture", "image/png")), "invalid_image_file", "image"),
        (("image", ("shirt.png", bytes(50 * 1024 * 1024), "image/png")), "image_too_large", "image"),
        (("picture", ("shirt.png", GARMENT, "image/png")), "unknown_parameter", "picture"),
    ],
)
def test_bad_files_are_refused(openai: OpenAi, part: tuple[str, tuple[str, bytes, str]], code: str, param: str) -> None:
    assert error_of(openai.edit(part)) == (400, code, param)
    assert openai.charges() == []


def test_bad_bodies_are_refused(openai: OpenAi) -> None:
    answers = [openai.ask("POST", "/v1/images/generations", data=body) for body in (b"no json", b"[]")]
    answers += [openai.ask("POST", "/v1/images/edits", json={"prompt": "x"})]
    without_file = openai.ask("POST", "/v1/images/edits", files={"prompt": (None, "x")})

    assert {error_of(answer) for answer in answers} == {(400, None, None)}
    assert error_of(without_file) == (400, "missing_required_parameter", "image")
    assert error_of(openai.ask("POST", "/images/generations")) == (404, None, None)


def test_only_so_many_calls_are_admitted_a_minute() -> None:
    with OpenAi.started("openai_images", "--key", KEY, "--latency", "0", "--per-minute", "2") as openai:
        answers = [openai.generate(), openai.generate(prompt=""), openai.generate()]
        model = openai.ask("GET", f"/v1/models/{MODEL}")

    assert [answer.status_code for answer in answers] == [200, 400, 429]
    assert error_of(answers[2])[1] == "rate_limit_exceeded"
    assert 50 <= int(answers[2].headers["retry-after"]) <= 60
    assert model.status_code == 200


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("flagged", 400, "moderation_blocked"), ("billing", 400, "billing_hard_limit_reached"), ("unverified", 403, None)],
)
def test_a_call_may_be_refused_and_is_free(openai: OpenAi, fault: str, status: int, code: str | None) -> None:
    openai.fail(fault, count=2, match="calm")

    wild, calm, edit = openai.generate(prompt="A wild cover"), openai.generate(), openai.edit()

    assert wild.status_code == 200
    assert [error_of(answer) for answer in (calm, edit)] == [(status, code, None)] * 2
    assert calm.headers["x-request-id"].startswith("req_")
    assert len(openai.charges()) == 1


def test_a_picture_may_be_none_and_costs(openai: OpenAi) -> None:
    openai.fail("garbage", count=1)

    answer = openai.generate()

    with pytest.raises(OSError, match="cannot identify"):
        picture_of(answer)
    assert len(openai.charges()) == 1


def test_the_connections_faults_speak_as_the_service_does(openai: OpenAi) -> None:
    openai.fail("429", count=1)
    openai.fail("5xx", count=1, status=500)
    openai.fail("5xx", count=1, status=502)

    limited, broken, proxy = (openai.generate() for _ in range(3))

    assert error_of(limited) == (429, "rate_limit_exceeded", None)
    assert limited.headers["retry-after"] == "1"
    assert error_of(broken) == (500, None, None)
    assert proxy.status_code == 502
    assert openai.charges() == []


def test_an_answer_may_be_lost_after_it_was_charged(openai: OpenAi) -> None:
    # Given answers to image calls that never come
    openai.fail("timeout_after_success", count=2, seconds=0.4)

    # When one caller gives up early, and one waits until the connection is cut
    with pytest.raises(requests.ReadTimeout):
        openai.generate(timeout=0.05)
    with pytest.raises(requests.ConnectionError, match=r"Remote end closed|reset"):
        openai.generate()

    # Then both are charged, and the next call is answered
    assert len(openai.charges()) == 2
    assert openai.ask("GET", f"/v1/models/{MODEL}").status_code == 200
    assert openai.edit().status_code == 200


def test_who_gives_up_early_pays_too(openai: OpenAi) -> None:
    with pytest.raises(requests.ReadTimeout):
        openai.generate(timeout=LATENCY / 2)

    deadline = time.monotonic() + 5
    while not openai.charges() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(openai.charges()) == 1


def test_a_models_call_may_fail_alone(openai: OpenAi) -> None:
    openai.fail("5xx", count=1, on="model")

    assert openai.generate().status_code == 200
    assert [openai.ask("GET", f"/v1/models/{MODEL}").status_code for _ in range(2)] == [503, 200]
