"""Covers by OpenAI's Images API, through the `openai` package (https://platform.openai.com/docs/api-reference/images).

A product with a picture gets an edit of it, any other one is drawn from words: see cover_prompt.py. The answer is the
picture itself, after up to two minutes: there is no job to ask for later, and no idempotency key. So the package's own
retries are off, and its time-out is longer than a picture takes. The package is imported where it is first needed
(0.35 s, 20 MB).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lookbook import cover_prompt
from lookbook.providers.base import (
    WRITE_SECONDS,
    Estimate,
    JobState,
    Order,
    Parameters,
    RefusedError,
    Submission,
    TroubleError,
    UncertainError,
)
from lookbook.providers.http import read_key, retry_after

if TYPE_CHECKING:
    import openai
    from openai.types import ImagesResponse

    from lookbook.settings import MethodSettings
    from lookbook.state import Item

CONNECT_SECONDS, WRITING_SECONDS, READ_SECONDS = 5.0, 10.0, 85.0
CALL_SECONDS = CONNECT_SECONDS + WRITING_SECONDS + READ_SECONDS
# What httpx2, which the package uses, names what happens before anything is sent.
NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
SIZE = "1024x1024"
SECONDS_PER_IMAGE = 30.0
# Of a picture of SIZE, by quality; and of what goes in: a prompt, and the product's picture.
OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160}
PROMPT_TOKENS, PICTURE_TOKENS = 120, 1100
MARGIN = 1.25

EDIT = (
    "A professional product photograph of exactly the product in the reference picture: the same shape, colours, "
    "material and details. Set it on a clean, softly lit studio background that suits it, centred, in sharp focus. "
    "No people. No text, letters, logos or watermarks other than those on the product itself."
)


FINAL_FOR_PICTURE = "This is final for this picture and these words; another of either, or another method, may pass."
FINAL_FOR_WORDS = "This is final for these words; say it in others."


def prompt(product: Item) -> str:
    """Return what is asked for. An edit's prompt is the same for all products, so equal pictures are equal work."""
    if product.prompt or product.image_url:
        return product.prompt or EDIT
    return cover_prompt.write(product.title, "", product.category)


class OpenAi:
    """OpenAI's API at a base URL, `https://api.openai.com/v1`."""

    name = "openai"
    about = "makes a cover of any product, hosted by OpenAI"
    licence = "OpenAI's terms of use (commercial use allowed)"
    wears = False
    moody = False
    placeholders = False
    limits = None  # they differ from account to account; its 429 says when to come back
    call_seconds = CALL_SECONDS + WRITE_SECONDS

    def __init__(self, settings: MethodSettings, key: Callable[[], str]) -> None:
        self.model_version = settings.open_ai_model
        self.unavailable = "" if settings.open_ai_model else "covers are switched off; set OpenAiModel"
        self._url = settings.open_ai_base_url
        self._quality = settings.open_ai_quality
        self._text_in, self._image_in, self._image_out = settings.open_ai_usd_per_million_tokens
        self._key = key

    def parameters(self, product: Item, seed: int) -> Parameters:
        # The API has no seed: each call gives another picture. Here it only tells the variants apart.
        return {"prompt": prompt(product), "size": SIZE, "quality": self._quality, "seed": seed}

    def estimate(self) -> Estimate:
        microusd = self._cost(PROMPT_TOKENS, PICTURE_TOKENS, OUTPUT_TOKENS[self._quality])
        basis = f"{self._quality} quality, {SIZE}, by OpenAI's prices per token"
        return Estimate(microusd, round(microusd * MARGIN), round(SECONDS_PER_IMAGE * 1000), basis)

    def _cost(self, text_in: int, image_in: int, image_out: int) -> int:
        return round(text_in * self._text_in + image_in * self._image_in + image_out * self._image_out)

    def submit(self, order: Order) -> Submission:
        import openai  # noqa: PLC0415 - see above

        started = time.monotonic()
        try:
            answer = self._ask(order)
        except openai.APIConnectionError as error:
            if type(error.__cause__).__name__ in NEVER_SENT:
                raise RefusedError("OpenAI cannot be reached.") from error
            late = isinstance(error, openai.APITimeoutError)
            raise UncertainError(f"OpenAI {'did not answer in time' if late else 'broke the connection'}.") from error
        except openai.APIStatusError as error:
            return _refusal(error, order)
        except (openai.OpenAIError, ValueError) as error:  # an answer that is no JSON: it was worked on all the same
            raise UncertainError("OpenAI's answer was not understood.") from error
        if not isinstance(answer, openai.types.ImagesResponse):  # a page of some proxy's
            raise UncertainError("OpenAI's answer was not understood.")
        return Submission(getattr(answer, "_request_id", None) or "unknown", self._state(answer, started))

    def _ask(self, order: Order) -> ImagesResponse:
        images = self._client().images
        asked: dict[str, Any] = {
            "model": self.model_version,
            "prompt": prompt(order.product),
            "n": 1,
            "size": SIZE,
            "quality": self._quality,
            "output_format": "png",
        }
        answer: ImagesResponse = (
            images.edit(image=("product.jpg", order.picture, "image/jpeg"), **asked)
            if order.picture
            else images.generate(**asked)
        )
        return answer

    def _client(self) -> openai.OpenAI:
        import openai  # noqa: PLC0415 - see above

        # Each with its own pool: a warm function calls once in a while, and a connection would have been closed.
        timeout = openai.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, write=WRITING_SECONDS)
        return openai.OpenAI(api_key=read_key(self._key), base_url=self._url, max_retries=0, timeout=timeout)

    def _state(self, answer: Any, started: float) -> JobState:
        """Read the picture, and what it cost by the tokens that OpenAI counted."""
        work_ms = round((time.monotonic() - started) * 1000)
        usage = getattr(answer, "usage", None)
        details = getattr(usage, "input_tokens_details", None)
        tokens_in, image_out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        image_in = min(tokens_in, _count(details, "image_tokens"))
        cost = self._cost(tokens_in - image_in, image_in, image_out)
        if not image_out:  # then it is not known; what it is likely to be, rather than nothing
            cost = self.estimate().microusd
        told = f"{tokens_in:,} tokens in, {image_out:,} out" if image_out else "not told"
        data = getattr(answer, "data", None)
        encoded = getattr(data[0], "b64_json", None) if data and isinstance(data, list) else None
        if not isinstance(encoded, str) or not encoded:
            return JobState("failed", cost, work_ms, told, reason="OpenAI's answer has no picture.")
        try:
            image = base64.b64decode(encoded, validate=True)
        except ValueError:  # binascii.Error, or not even ASCII
            return JobState("failed", cost, work_ms, told, reason="OpenAI's picture is no base64.")
        return JobState("completed", cost, work_ms, told, image, self.model_version)

    def poll(self, job_id: str) -> JobState:
        raise TroubleError(f"OpenAI keeps no jobs; {job_id} was answered at once or not at all.")


def _count(of: Any, name: str) -> int:
    """Return a number of tokens; the package does not check what it is given."""
    value = getattr(of, name, None)
    return value if isinstance(value, int) and value > 0 else 0


def _refusal(error: openai.APIStatusError, order: Order) -> Submission:
    """Say what an error answer means: blocked, or refused, or (a proxy's 502, 504, 524) not known."""
    code = str(getattr(error, "code", None) or "")
    body = error.body if isinstance(error.body, dict) else {}
    said = str(body.get("message") or "no reason given")[:200]
    status = error.status_code
    if code == "moderation_blocked":
        job_id = error.response.headers.get("x-request-id", "unknown")
        final = FINAL_FOR_PICTURE if order.picture else FINAL_FOR_WORDS
        reason = f"OpenAI's content filter blocked it: {said} {final}"
        return Submission(job_id, JobState("blocked", reason=reason, final=True))
    if code in {"billing_hard_limit_reached", "insufficient_quota"}:
        raise RefusedError(
            "OpenAI's spending limit is reached; raise it and retry the run.", final=True, stops_run=True
        ) from error
    if status == 401:  # noqa: PLR2004 - as HTTP numbers it
        raise RefusedError("OpenAI refused our key; set the secret OpenAiKey.", final=True, bad_key=True) from error
    if status in {429, 503}:
        wait = retry_after(error.response.headers.get("retry-after"))
        raise RefusedError(f"OpenAI is not taking work (HTTP {status}).", retry_after=wait) from error
    if status >= 500:  # noqa: PLR2004 - as HTTP numbers it
        raise UncertainError(f"OpenAI failed (HTTP {status}).") from error
    hint = " Set OpenAiModel to one that is live." if status == 404 else ""  # noqa: PLR2004 - as HTTP numbers it
    raise RefusedError(f"OpenAI refused the job (HTTP {status}: {said}).{hint}", final=True) from error
