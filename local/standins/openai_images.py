"""Stands in for the OpenAI Images API: one call, one answer, its pictures drawn by `local.art`.

Sources: https://platform.openai.com/docs/api-reference/images and the types of the `openai` package 3.54.
`POST /v1/images/generations` (JSON), `POST /v1/images/edits` (multipart) and `GET /v1/models/{id}`, all with
`Authorization: Bearer <key>`. The answer of an image call comes when the pictures are drawn. What was accepted is
charged before that, whatever becomes of the answer. As with the service there is no seed: two equal calls give
different pictures. Of several reference pictures the first is drawn; masks, streaming, and sizes, qualities and formats
beyond the three usual ones of each are not supported, and backgrounds are opaque.

Faults besides the connection's (`control.py`), each for one image call: `flagged` (400 moderation_blocked), `billing`
(400 billing_hard_limit_reached), `unverified` (403, the organization), none of which is charged; `garbage` (pictures
that are none). `match` is sought in "<path> <fields as JSON>", where a file is "sha256:<hex of its bytes>". Faults name
the calls `image` and `model` in `on`.
"""

import asyncio
import base64
import io
import json
import math
import os
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.message import Message
from email.parser import BytesHeaderParser
from hashlib import sha256
from typing import Any

from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from local.art import draw_cover
from local.standins.access import RateLimit, carries_key
from local.standins.control import Control, parser, refusal, serve

_MODELS: dict[str, tuple[date, date | None]] = {  # those that are left, with their first day and, if known, their last
    "gpt-image-1-mini": (date(2025, 10, 6), date(2026, 12, 1)),
    "gpt-image-1.5": (date(2025, 12, 16), date(2026, 12, 1)),
    "gpt-image-2": (date(2026, 4, 21), None),
    "gpt-image-2.5-flare": (date(2026, 9, 8), None),
    "gpt-image-2.5-sunburst": (date(2026, 9, 8), None),
    "gpt-image-2.6-flare": (date(2026, 11, 4), None),
    "gpt-image-2.6-sunburst": (date(2026, 11, 4), None),
}
_CHOICES = {  # the first one is the default
    "size": ("auto", "1024x1024", "1536x1024", "1024x1536"),
    "quality": ("auto", "low", "medium", "high"),
    "output_format": ("png", "webp", "jpeg"),
    "background": ("auto", "opaque", "transparent"),
    "moderation": ("auto", "low"),
}
_RANGES = {"n": range(1, 11), "output_compression": range(101)}
_FIELDS = {"model", "prompt", "user", "safety_identifier", *_CHOICES, *_RANGES}
_AUTO = {"size": "1024x1024", "quality": "medium"}  # what the model is taken to choose
_LONGEST_PROMPT = 32_000  # characters
_MOST_IMAGES = 16
_LARGEST_IMAGE = 50 * 1024 * 1024  # bytes
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
_OUTPUT_TOKENS = {  # an image
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
_PRICES = {"text": 5, "image": 8, "output": 30}  # US dollars for a million tokens
_RATE_WINDOW = 60.0  # seconds
_REQUEST_ID = "standin.request_id"  # key of a request's scope


class RefusedError(Exception):
    """The call is answered with this HTTP status and an error."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "type": kind, "param": param, "code": code}
        self.retry_after = retry_after  # seconds

    def answer(self) -> Response:
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return JSONResponse({"error": self.body}, self.status, headers)


_FAILURES = {
    "unverified": RefusedError(
        403, None, "Your organization must be verified to use this model. Please go to the organization's settings."
    ),
    "billing": RefusedError(
        400, "billing_hard_limit_reached", "Billing hard limit has been reached.", kind="billing_limit_user_error"
    ),
    "flagged": RefusedError(
        400,
        "moderation_blocked",
        "Your request was rejected by the safety system. safety_violations=[sexual].",
        kind="image_generation_user_error",
    ),
}


@dataclass(frozen=True)
class Order:
    """What an image call asks for; sizes in pixels."""

    prompt: str
    n: int
    size: str
    quality: str
    output_format: str
    output_compression: int
    references: tuple[Image.Image, ...]

    def pixels(self) -> tuple[int, int]:
        width, _, height = self.size.partition("x")
        return int(width), int(height)


@dataclass(frozen=True)
class File:
    """A file of a multipart form."""

    field: str
    media_type: str
    data: bytes


def read_form(content_type: str, body: bytes) -> tuple[dict[str, Any], list[File]]:
    """The fields and files of a multipart form; fields that are numbers as such. Raises RefusedError (400)."""
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise RefusedError(400, None, "Invalid content type. Expected multipart/form-data.")
    fields: dict[str, Any] = {}
    files = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        lines, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        about = BytesHeaderParser().parsebytes(lines)
        name = str(about.get_param("name", "", "Content-Disposition"))
        if about.get_filename() is not None:
            files.append(File(name, about.get_content_type() if about["Content-Type"] else "", data))
        else:
            text = data.decode("utf-8", "replace")
            fields[name] = int(text) if name in _RANGES and text.isdecimal() else text
    return fields, files


def read_order(given: dict[str, Any], files: list[File]) -> Order:
    """The order in a call's fields and files. Raises RefusedError."""
    for name in given:
        if name not in _FIELDS:
            raise RefusedError(400, "unknown_parameter", f"Unknown parameter: '{name}'.", name)
    for name in ("model", "prompt"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise RefusedError(400, "missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    find_model(given["model"])
    if len(given["prompt"]) > _LONGEST_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected a string with maximum length {_LONGEST_PROMPT}."
        raise RefusedError(400, "string_above_max_length", message, "prompt")
    chosen = {name: given.get(name, choices[0]) for name, choices in _CHOICES.items()}
    for name, choices in _CHOICES.items():
        if chosen[name] not in choices:
            allowed = ", ".join(f"'{choice}'" for choice in choices)
            message = f"Invalid value: '{chosen[name]}'. Supported values are: {allowed}."
            raise RefusedError(400, "invalid_value", message, name)
    for name, allowed_range in _RANGES.items():
        if name in given and (type(given[name]) is not int or given[name] not in allowed_range):
            message = f"Invalid '{name}': expected an integer from {allowed_range[0]} to {allowed_range[-1]}."
            raise RefusedError(400, "invalid_value", message, name)
    return Order(
        given["prompt"],
        given.get("n", 1),
        _AUTO["size"] if chosen["size"] == "auto" else chosen["size"],
        _AUTO["quality"] if chosen["quality"] == "auto" else chosen["quality"],
        chosen["output_format"],
        given.get("output_compression", 100),
        tuple(_reference(number, file) for number, file in enumerate(files, 1)),
    )


def find_model(name: str) -> tuple[date, date | None]:
    """The model's first day and its last. Raises RefusedError (404)."""
    if name not in _MODELS:
        raise RefusedError(404, "model_not_found", f"The model '{name}' does not exist.", "model")
    return _MODELS[name]


def check_files(files: list[File]) -> None:
    """Whether there are as many files as an edit may have, of the right kinds. Raises RefusedError (400)."""
    if not files:
        raise RefusedError(400, "missing_required_parameter", "Missing required parameter: 'image'.", "image")
    if len(files) > _MOST_IMAGES:
        message = f"Invalid 'image': array too long. Expected an array with maximum length {_MOST_IMAGES}."
        raise RefusedError(400, "array_above_max_length", message, "image")
    for file in files:
        if file.field not in ("image", "image[]"):
            raise RefusedError(400, "unknown_parameter", f"Unknown parameter: '{file.field}'.", file.field)
        if file.media_type not in _IMAGE_TYPES:
            supported = "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
            message = f"Invalid file 'image': unsupported mimetype ('{file.media_type}'). {supported}"
            raise RefusedError(400, "unsupported_file_mimetype", message, "image")
        if len(file.data) >= _LARGEST_IMAGE:
            raise RefusedError(400, "image_too_large", "Invalid 'image': the file must be smaller than 50 MB.", "image")


def _reference(number: int, file: File) -> Image.Image:
    try:
        with Image.open(io.BytesIO(file.data)) as picture:
            return ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        message = f"Invalid image file or mode for image {number}, please check your image file."
        raise RefusedError(400, "invalid_image_file", message, "image", kind="image_generation_user_error") from error


@dataclass(frozen=True)
class Usage:
    """The tokens of a call."""

    text: int
    image: int
    output: int

    def shown(self) -> dict[str, Any]:
        given = self.text + self.image
        details = {"text_tokens": self.text, "image_tokens": self.image}
        answer: dict[str, Any] = {"input_tokens": given, "output_tokens": self.output}
        return {**answer, "total_tokens": given + self.output, "input_tokens_details": details}

    def usd(self) -> float:
        millionths = self.text * _PRICES["text"] + self.image * _PRICES["image"] + self.output * _PRICES["output"]
        return millionths / 1_000_000


def usage_of(order: Order) -> Usage:
    """What an order takes, about: a token for four characters, 129 for a tile of a picture made 512 pixels wide."""
    tiles = (math.ceil(max(picture.size) / min(picture.size)) for picture in order.references)
    output = _OUTPUT_TOKENS[order.quality][order.size] * order.n
    return Usage(math.ceil(len(order.prompt) / 4) + 6, sum(65 + 129 * count for count in tiles), output)


def draw(order: Order) -> list[bytes]:
    """The order's covers, as files; never the same ones again."""
    reference = order.references[0] if order.references else None
    files = []
    for _ in range(order.n):
        cover = draw_cover(order.prompt, order.pixels(), reference, secrets.token_hex(8))
        out = io.BytesIO()
        if order.output_format == "png":
            cover.save(out, "PNG", compress_level=1)
        else:
            cover.save(out, order.output_format, quality=min(95, order.output_compression))
        files.append(out.getvalue())
    return files


class Api:
    """The Images API over HTTP. `latency` is how long an image call takes at least, in seconds."""

    def __init__(self, control: Control, key: str, latency: float, per_minute: int, last_day: date | None) -> None:
        self._control = control
        self._key = key
        self._latency = latency
        self._rate = RateLimit(per_minute, _RATE_WINDOW)
        self._last_day = last_day
        self.threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="draw")

    def routes(self) -> list[Route]:
        return [
            Route("/v1/images/generations", self._generate, methods=["POST"]),
            Route("/v1/images/edits", self._edit, methods=["POST"]),
            Route("/v1/models/{model}", self._model, methods=["GET"]),
        ]

    def _check_key(self, request: Request) -> None:
        if not carries_key(request, self._key):
            raise RefusedError(401, "invalid_api_key", "Incorrect API key provided.")

    def _admit(self, request: Request) -> None:
        self._check_key(request)
        if not self._rate.admits():
            raise _too_many(math.ceil(self._rate.wait()))

    async def _generate(self, request: Request) -> Response:
        self._admit(request)
        try:
            given = await request.json()
        except ValueError as error:
            raise RefusedError(400, None, "We could not parse the JSON body of your request.") from error
        if not isinstance(given, dict):
            raise RefusedError(400, None, "The JSON body of your request must be an object.")
        return await self._image(request, {name: value for name, value in given.items() if value is not None}, [])

    async def _edit(self, request: Request) -> Response:
        self._admit(request)
        fields, files = read_form(request.headers.get("Content-Type", ""), await request.body())
        check_files(files)
        return await self._image(request, fields, files)

    async def _image(self, request: Request, given: dict[str, Any], files: list[File]) -> Response:
        hashes = {"files": ["sha256:" + sha256(file.data).hexdigest() for file in files]} if files else {}
        text = f"{request.url.path} {json.dumps({**given, **hashes}, sort_keys=True, ensure_ascii=False)}"

        async def handle() -> Response:
            order = await asyncio.to_thread(read_order, given, files)
            if fault := self._control.take(tuple(_FAILURES), text, "image"):
                return _FAILURES[fault.kind].answer()
            usage = usage_of(order)
            self._control.charge(
                request.scope[_REQUEST_ID],
                usd=usage.usd(),
                key=sha256(text.encode()).hexdigest(),
                usage=usage.shown(),
                model=given["model"],
            )
            return JSONResponse(_answer(order, usage, await self._draw(order, text)))

        return await self._control.answer("image", text, handle)

    async def _draw(self, order: Order, text: str) -> list[bytes]:
        work = asyncio.sleep(self._latency)
        if self._control.take(["garbage"], text, "image"):
            await work
            return [b"this is no picture"] * order.n
        drawing = asyncio.get_running_loop().run_in_executor(self.threads, draw, order)
        return (await asyncio.gather(drawing, work))[0]

    async def _model(self, request: Request) -> Response:
        self._check_key(request)

        async def handle() -> Response:
            name = request.path_params["model"]
            first, last = find_model(name)
            last = self._last_day or last
            created = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
            answer = {"id": name, "object": "model", "created": created, "owned_by": "system"}
            return JSONResponse({**answer, "shutdown_date": last.isoformat() if last else None})

        return await self._control.answer("model", request.url.path, handle)


def _answer(order: Order, usage: Usage, files: list[bytes]) -> dict[str, Any]:
    return {
        "created": int(time.time()),
        "background": "opaque",
        "data": [{"b64_json": base64.b64encode(file).decode()} for file in files],
        "output_format": order.output_format,
        "quality": order.quality,
        "size": order.size,
        "usage": usage.shown(),
    }


def _too_many(seconds: int) -> RefusedError:
    message = f"Rate limit reached for images per minute. Please try again in {seconds}s."
    return RefusedError(429, "rate_limit_exceeded", message, kind="requests", retry_after=seconds)


def refuse(status: int) -> Response:
    """The service's own answer of this HTTP status, where it has one; else a proxy's."""
    if status == 429:
        return _too_many(1).answer()
    if status == 500:
        message = "The server had an error while processing your request. Sorry about that!"
        return RefusedError(500, None, message, kind="server_error").answer()
    return refusal(status)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        error = RefusedError(404, None, f"Invalid URL ({request.method} {request.url.path})")
    return error.answer()


class _RequestIds:
    """Gives every answer its `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = f"req_{secrets.token_hex(16)}"
        scope[_REQUEST_ID] = request_id

        async def named(event: Event) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(event)

        await self._app(scope, receive, named)


def application(key: str, latency: float, per_minute: int, last_day: date | None) -> Starlette:
    """The stand-in as an ASGI application; `last_day`, if given, is the shutdown date of every model."""
    control = Control((*_FAILURES, "garbage"), {"timeout_after_success": "image"}, refuse)
    api = Api(control, key, latency, per_minute, last_day)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        api.threads.shutdown(wait=False, cancel_futures=True)

    return Starlette(
        routes=[*control.routes(), *api.routes()],
        middleware=[Middleware(_RequestIds)],
        exception_handlers={RefusedError: _refused, 404: _refused},
        lifespan=lifespan,
    )


def main() -> None:
    arguments = parser("The OpenAI Images API's stand-in.")
    arguments.add_argument("--key", required=True, help="the bearer key that calls must carry")
    arguments.add_argument("--latency", type=float, default=0.5, help="seconds an image call takes")
    arguments.add_argument("--per-minute", type=int, default=10_000, help="image calls that are admitted within 60 s")
    arguments.add_argument("--shutdown-date", type=date.fromisoformat, help="YYYY-MM-DD, the last day of every model")
    given = arguments.parse_args()
    serve(application(given.key, given.latency, given.per_minute, given.shutdown_date), given.port)


if __name__ == "__main__":
    main()
