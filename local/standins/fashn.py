"""Stands in for FASHN's try-on API: jobs, errors, limits and credits, its pictures drawn by `local.art`.

Sources: https://docs.fashn.ai/api-reference/tryon-v1-6, https://docs.fashn.ai/api-overview/api-fundamentals and
https://docs.fashn.ai/api-overview/error-handling. `POST /v1/run` and `GET /v1/status/{id}` with
`Authorization: Bearer <key>`, and `GET /output/{id}/{n}.png|jpeg` without. A job is charged a credit an image when it
completes; one that fails is free. The credits of unfinished jobs are reserved. The category `auto` is taken for `tops`.
Webhooks are not called, and the rate of `/v1/status` has no limit here.

Faults besides the connection's (`control.py`), each for one job: `failed` (PipelineError), `flagged`
(ContentModerationError), `pose` (PoseError), `image_load` (ImageLoadError), `garbage` (an output that is no picture),
`stuck` (in the queue until the fault is removed, or for its seconds), `expired` (a finished job that is no longer known
to `status`, or to `output`, whichever is called first or named by `on`). And for one call of run: `out_of_credits`.
`match` is sought in "<path> <inputs as JSON>", where a long string is "sha256:<hex of its base64>" and a signed URL
has no query.
"""

import asyncio
import base64
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.art import Category
from local.standins.access import RateLimit, carries_key
from local.standins.control import Control, Fault, parser, refusal, serve
from local.standins.work import UnreadableError, brief, encoded, preview, read_picture

MODEL = "tryon-v1.6"
SIZE = (864, 1296)  # pixels

_KEPT = {False: 72 * 3600.0, True: 3600.0}  # seconds for which outputs can be had, by return_base64
_RATE_WINDOW = 60.0  # seconds
_CHOICES = {  # the first one is the default
    "category": ("auto", "tops", "bottoms", "one-pieces"),
    "mode": ("balanced", "performance", "quality"),
    "garment_photo_type": ("auto", "flat-lay", "model"),
    "output_format": ("png", "jpeg"),
}
_CATEGORIES: dict[str, Category] = {"auto": "upper", "tops": "upper", "bottoms": "lower", "one-pieces": "overall"}
_FAILURES = {
    "failed": ("PipelineError", "An unexpected error occurred in the pipeline. Please try again."),
    "flagged": ("ContentModerationError", "Prohibited content was detected in the input images."),
    "pose": ("PoseError", "No body pose could be detected in the model image."),
    "image_load": ("ImageLoadError", "Error loading garment image: the image could not be downloaded."),
}
_JOB_KINDS = (*_FAILURES, "garbage", "stuck")


class RefusedError(Exception):
    """An API error: the call is answered with this HTTP status, error and message."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name


class RuntimeFailureError(Exception):
    """A runtime error, with which a job ends failed."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Order:
    """What a run's inputs ask for."""

    model_image: str
    garment_image: str
    category: Category
    samples: int
    seed: int
    output_format: str
    return_base64: bool


def read_order(body: dict[str, Any]) -> Order:
    """The order in a run's body. Raises RefusedError (400)."""
    if body.get("model_name") != MODEL:
        raise _bad_request(f"model_name must be {MODEL}")
    inputs = body.get("inputs")
    if not isinstance(inputs, dict):
        raise _bad_request("inputs is missing or no object")
    for name in ("model_image", "garment_image"):
        if not isinstance(inputs.get(name), str) or not inputs[name]:
            raise _bad_request(f"{name} is missing: give a URL or a data URI")
    for name, choices in _CHOICES.items():
        if inputs.get(name, choices[0]) not in choices:
            raise _bad_request(f"{name} must be one of {', '.join(choices)}")
    if not isinstance(inputs.get("return_base64", False), bool):
        raise _bad_request("return_base64 must be true or false")
    return Order(
        inputs["model_image"],
        inputs["garment_image"],
        _CATEGORIES[inputs.get("category", "auto")],
        _whole(inputs, "num_samples", 1, range(1, 5)),
        _whole(inputs, "seed", 42, range(2**32)),
        inputs.get("output_format", "png"),
        inputs.get("return_base64", False),
    )


def _whole(inputs: dict[str, Any], name: str, default: int, allowed: range) -> int:
    value = inputs.get(name, default)
    if type(value) is not int or value not in allowed:
        raise _bad_request(f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}")
    return value


def _bad_request(message: str) -> RefusedError:
    return RefusedError(400, "BadRequest", message)


def draw(order: Order) -> list[bytes]:
    """The order's pictures, as files. Raises RuntimeFailureError."""
    person, garment = _picture("model", order.model_image), _picture("garment", order.garment_image)
    seeds = range(order.seed, order.seed + order.samples)
    return [encoded(preview(person, garment, order.category, SIZE, seed), seed, order.output_format) for seed in seeds]


def _picture(role: str, source: str) -> Image.Image:
    if not source.startswith(("http://", "https://", "data:image/")):
        raise RuntimeFailureError("ImageLoadError", f"Error loading {role} image: Invalid URL format")
    try:
        return read_picture(source)
    except UnreadableError as error:
        raise RuntimeFailureError("ImageLoadError", f"Error loading {role} image: {error}") from error


@dataclass(eq=False)
class Job:
    """A job's life; its outputs lie in files."""

    id: str
    order: Order
    text: str
    key: str
    fault: Fault | None
    status: str = "starting"
    failure: RuntimeFailureError | None = None
    files: list[Path] = field(default_factory=list)
    finished: float | None = None  # seconds of the monotonic clock
    expired: bool = False

    def is_gone(self) -> bool:
        kept = _KEPT[self.order.return_base64]
        return self.expired or (self.finished is not None and time.monotonic() - self.finished > kept)


class Account:
    """The jobs of one account, its credits and its limits.

    `latency` is how long a job takes at least, in seconds; `concurrency` how many may be unfinished; `per_minute` how
    many are accepted within 60 s; `credits` how many images it can pay (None: any number).
    """

    def __init__(
        self, latency: float, concurrency: int, per_minute: int, balance: int | None, control: Control, folder: Path
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self._latency = latency
        self._concurrency = concurrency
        self._rate = RateLimit(per_minute, _RATE_WINDOW)
        self._balance = balance
        self._control = control
        self._folder = folder
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="draw")
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, order: Order, inputs: str, text: str) -> Job:
        """Accept a job and start it. Raises RefusedError (429)."""
        self._admit(order)
        self._forget()
        fault = self._control.take(_JOB_KINDS, text, "run")
        job = Job(f"{uuid.uuid4()}-u1", order, inputs, sha256(inputs.encode()).hexdigest(), fault)
        self.jobs[job.id] = job
        task = asyncio.create_task(self._execute(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def _admit(self, order: Order) -> None:
        unfinished = [job for job in self.jobs.values() if job.finished is None]
        reserved = sum(job.order.samples for job in unfinished)
        if self._balance is not None and reserved + order.samples > self._balance:
            raise out_of_credits()
        if len(unfinished) >= self._concurrency:
            message = f"No more than {self._concurrency} predictions may run at the same time."
            raise RefusedError(429, "ConcurrencyLimitExceeded", message)
        if not self._rate.admits():
            raise RefusedError(429, "RateLimitExceeded", "Too many requests. Please try again later.")

    def _forget(self) -> None:
        for job in [job for job in self.jobs.values() if job.is_gone()]:
            for file in job.files:
                file.unlink(missing_ok=True)
            del self.jobs[job.id]

    async def _execute(self, job: Job) -> None:
        try:
            for number, data in enumerate(await self._produce(job)):
                job.files.append(self._folder / f"{job.id}-{number}")
                job.files[-1].write_bytes(data)
        except RuntimeFailureError as failure:
            self._end(job, failure)
        except Exception as error:
            self._end(job, RuntimeFailureError("InternalServerError", f"{type(error).__name__}: {error}"))
            raise
        else:
            self._end(job)

    def _end(self, job: Job, failure: RuntimeFailureError | None = None) -> None:
        """The job has failed; or it is completed, and paid."""
        if failure is None:
            if self._balance is not None:
                self._balance -= job.order.samples
            self._control.charge(job.id, credits=job.order.samples, key=job.key, model=MODEL)
        job.failure, job.finished = failure, time.monotonic()
        job.status = "failed" if failure else "completed"
        print(f"{job.id} {job.status}", file=sys.stderr)

    async def _produce(self, job: Job) -> list[bytes]:
        """The outputs' bytes, or what a fault puts in their place; a fifth of the time is spent before the work."""
        kind = job.fault.kind if job.fault else ""
        await asyncio.sleep(self._latency / 10)
        job.status = "in_queue"
        if job.fault and kind == "stuck":
            with suppress(TimeoutError):
                await asyncio.wait_for(job.fault.removed.wait(), job.fault.seconds)
        await asyncio.sleep(self._latency / 10)
        job.status = "processing"
        work = asyncio.sleep(self._latency * 0.8)
        if kind in _FAILURES:
            await work
            raise RuntimeFailureError(*_FAILURES[kind])
        if kind == "garbage":
            await work
            return [b"this is no picture"] * job.order.samples
        drawing = asyncio.get_running_loop().run_in_executor(self._threads, draw, job.order)
        return (await asyncio.gather(drawing, work))[0]


def out_of_credits() -> RefusedError:
    return RefusedError(429, "OutOfCredits", "You have run out of API credits. Please purchase more.")


class Api:
    """FASHN over HTTP."""

    def __init__(self, account: Account, control: Control, key: str) -> None:
        self._account = account
        self._control = control
        self._key = key

    def routes(self) -> list[Route]:
        return [
            Route("/v1/run", self._run, methods=["POST"]),
            Route("/v1/status/{job}", self._status, methods=["GET"]),
            Route("/output/{job}/{file}", self._output, methods=["GET"]),
        ]

    def _check_key(self, request: Request) -> None:
        if not carries_key(request, self._key):
            raise RefusedError(401, "UnauthorizedAccess", "Unauthorized: Invalid token")

    async def _run(self, request: Request) -> Response:
        self._check_key(request)
        try:
            body = await request.json()
        except ValueError as error:
            raise _bad_request("the body is no JSON") from error
        if not isinstance(body, dict):
            raise _bad_request("the body must be an object")
        inputs = brief(body["inputs"]) if isinstance(body.get("inputs"), dict) else ""
        text = f"{request.url.path} {inputs}"

        async def handle() -> Response:
            if self._control.take(["out_of_credits"], text, "run"):
                raise out_of_credits()
            job = self._account.submit(read_order(body), inputs, text)
            return JSONResponse({"id": job.id, "error": None})

        return await self._control.answer("run", text, handle)

    async def _status(self, request: Request) -> Response:
        self._check_key(request)
        job, text = self._called(request, "status")

        async def handle() -> Response:
            known = _known(job)
            answer: dict[str, Any] = {"id": known.id, "status": known.status, "output": None, "error": None}
            if known.failure:
                answer["error"] = {"name": known.failure.name, "message": str(known.failure)}
            if known.status != "completed":
                return JSONResponse(answer)
            answer["output"] = await asyncio.to_thread(_shown, known, str(request.base_url))
            return JSONResponse(answer, headers={"x-fashn-credits-used": str(known.order.samples)})

        return await self._control.answer("status", text, handle)

    async def _output(self, request: Request) -> Response:
        job, text = self._called(request, "output")

        async def handle() -> Response:
            known = _known(job)
            names = [] if known.order.return_base64 else _names(known)
            if request.path_params["file"] not in names:
                raise RefusedError(404, "NotFound", "Output not found")
            file = known.files[names.index(request.path_params["file"])]
            data = await asyncio.to_thread(file.read_bytes)
            return Response(data, media_type=f"image/{known.order.output_format}")

        return await self._control.answer("output", text, handle)

    def _called(self, request: Request, call: str) -> tuple[Job | None, str]:
        """The job that a path names, expired by now if a fault says so, and the text that faults match."""
        job = self._account.jobs.get(request.path_params["job"])
        text = f"{request.url.path} {job.text if job else ''}"
        if job and job.finished is not None and self._control.take(["expired"], text, call):
            job.expired = True
        return job, text


def _known(job: Job | None) -> Job:
    if job is None or job.is_gone():
        raise RefusedError(404, "NotFound", "Prediction not found")
    return job


def _names(job: Job) -> list[str]:
    return [f"{number}.{job.order.output_format}" for number in range(len(job.files))]


def _shown(job: Job, base: str) -> list[str]:
    """A job's outputs, as addresses on this server or as data URIs."""
    if not job.order.return_base64:
        return [f"{base}output/{job.id}/{name}" for name in _names(job)]
    start = f"data:image/{job.order.output_format};base64,"
    return [start + base64.b64encode(file.read_bytes()).decode() for file in job.files]


def refuse(status: int) -> Response:
    """FASHN's own answer of this HTTP status, where it has one; else a proxy's."""
    names = {429: "RateLimitExceeded", 500: "InternalServerError"}
    return _error(status, names[status], "Please try again later.") if status in names else refusal(status)


def _error(status: int, name: str, message: str) -> Response:
    return JSONResponse({"error": name, "message": message}, status)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RefusedError):
        return _error(error.status, error.name, str(error))
    return _error(404, "NotFound", "Resource not found")


def application(latency: float, concurrency: int, per_minute: int, balance: int | None, key: str) -> Starlette:
    """The stand-in as an ASGI application."""
    control = Control((*_JOB_KINDS, "expired", "out_of_credits"), {"timeout_after_success": "run"}, refuse)
    folder = tempfile.TemporaryDirectory(prefix="fashn-")
    account = Account(latency, concurrency, per_minute, balance, control, Path(folder.name))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with folder:
            yield
            account.stop()

    return Starlette(
        routes=[*control.routes(), *Api(account, control, key).routes()],
        exception_handlers={RefusedError: _refused, 404: _refused},
        lifespan=lifespan,
    )


def main() -> None:
    arguments = parser("FASHN's stand-in.")
    arguments.add_argument("--key", required=True, help="the bearer key that calls must carry")
    arguments.add_argument("--latency", type=float, default=0.5, help="seconds a job takes")
    arguments.add_argument("--concurrency", type=int, default=6, help="jobs that may be unfinished")
    arguments.add_argument("--per-minute", type=int, default=50, help="jobs that are accepted within 60 s")
    arguments.add_argument("--credits", type=int, help="credits of the account; without it they do not end")
    given = arguments.parse_args()
    serve(application(given.latency, given.concurrency, given.per_minute, given.credits, given.key), given.port)


if __name__ == "__main__":
    main()
