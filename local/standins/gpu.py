"""Stands in for the GPU endpoint: RunPod's job protocol with our try-on worker, its pictures drawn by `local.art`.

Source: https://docs.runpod.io/serverless/endpoints/send-requests. `POST /run` and `/runsync`, `GET /status/{job}`,
`POST /cancel/{job}`, `GET /health`, all with `Authorization: Bearer <key>`. A fixed number of workers take jobs in the
order they came; each job that a worker took is charged, whatever became of it. Webhooks are not called.

Faults besides the connection's (`control.py`), each for one job: `failed`, `error_in_output`, `flagged` (a placeholder
with success), `garbage` (an output that is no picture), `stuck` (in the queue until the fault is removed, or for its
seconds), `expired` (a finished job that is no longer known). `match` is sought in "<path> <input as JSON>", where a
long string is "sha256:<hex of its base64>" and a signed URL has no query.
"""

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, cast, get_args

from PIL import Image, ImageDraw, ImageFont
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.art import PHOTO_SIZE, Category
from local.standins.access import RateLimit, carries_key
from local.standins.control import Control, Fault, parser, serve
from local.standins.work import UnreadableError, brief, encoded, preview, read_picture

MODEL = "catvton@1.0-preview"

_MEGABYTE = 1_000_000
_BODY_LIMIT = {"run": 10 * _MEGABYTE, "runsync": 20 * _MEGABYTE}
_RATE_LIMIT = {"run": 1000, "runsync": 1000, "status": 2000}  # requests in 10 s
_RATE_WINDOW = 10.0  # seconds
_KEPT = {"run": 30 * 60.0, "runsync": 60.0}  # seconds for which a result can be had
_SIDES = range(64, 2049)  # pixels
_JOB_KINDS = ("failed", "error_in_output", "flagged", "garbage", "stuck")


class BadRequestError(Exception):
    """The request is answered with 400 and this text."""


class WorkerError(Exception):
    """The worker could not do the job, which ends FAILED with this text."""


@dataclass(frozen=True)
class Order:
    """What a job's input asks for."""

    person: str
    garment: str
    category: Category
    seed: int
    size: tuple[int, int]


def read_order(given: Any) -> Order:
    """The order in a job's `input`. Raises BadRequestError if it does not keep our worker's contract."""
    if not isinstance(given, dict):
        raise BadRequestError("input is missing or no object")
    for name in ("person_image", "garment_image"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise BadRequestError(f"{name} is missing: give base64 or a URL")
    category = given.get("category")
    if category not in get_args(Category):
        raise BadRequestError(f"category must be one of {', '.join(get_args(Category))}")
    width, height, seed = given.get("width", PHOTO_SIZE[0]), given.get("height", PHOTO_SIZE[1]), given.get("seed", 42)
    if not isinstance(seed, int) or not isinstance(width, int) or not isinstance(height, int):
        raise BadRequestError("seed, width and height must be whole numbers")
    if width not in _SIDES or height not in _SIDES:
        raise BadRequestError(f"width and height must be {_SIDES[0]} to {_SIDES[-1]} pixels")
    if not isinstance(given.get("num_inference_steps", 50), int) or given.get("num_inference_steps", 50) < 1:
        raise BadRequestError("num_inference_steps must be a positive whole number")
    return Order(given["person_image"], given["garment_image"], cast("Category", category), seed, (width, height))


def draw(order: Order) -> bytes:
    """The preview as PNG. Equal orders give equal bytes. Raises WorkerError."""
    person, garment = _picture("person_image", order.person), _picture("garment_image", order.garment)
    return encoded(preview(person, garment, order.category, order.size, order.seed), order.seed)


def _picture(name: str, source: str) -> Image.Image:
    try:
        return read_picture(source)
    except UnreadableError as error:
        raise WorkerError(f"{name} cannot be read: {error}") from error


@lru_cache(maxsize=1)
def placeholder() -> bytes:
    """What the safety filter puts in a result's place: always the same bytes."""
    picture = Image.new("RGB", PHOTO_SIZE, (24, 24, 26))
    font = ImageFont.load_default(size=36)
    ImageDraw.Draw(picture).text(
        (PHOTO_SIZE[0] / 2, PHOTO_SIZE[1] / 2), "NSFW", font=font, anchor="mm", fill=(90, 90, 96)
    )
    return encoded(picture)


@dataclass(eq=False)
class Job:
    """A job's life. Times are of the monotonic clock, in seconds; its result lies in a file."""

    id: str
    order: Order
    text: str
    key: str
    kept: float
    limit: float | None
    lifetime: float | None
    fault: Fault | None
    created: float = field(default_factory=time.monotonic)
    started: float | None = None
    finished: float | None = None
    status: str = "IN_QUEUE"
    error: str | None = None
    result: Path | None = None
    expired: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def is_gone(self) -> bool:
        now = time.monotonic()
        late = self.lifetime is not None and now - self.created > self.lifetime
        return self.expired or late or (self.finished is not None and now - self.finished > self.kept)

    def shown(self) -> dict[str, Any]:
        """What `/status` answers, without the output."""
        answer: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.started is not None:
            answer["delayTime"] = round((self.started - self.created) * 1000)
            if self.finished is not None:
                answer["executionTime"] = round((self.finished - self.started) * 1000)
        if self.error is not None:
            answer["error"] = self.error
        return answer

    def output(self) -> dict[str, Any] | None:
        """The worker's answer, read from its file."""
        if self.status != "COMPLETED" or self.result is None or self.started is None or self.finished is None:
            return None
        if self.fault and self.fault.kind == "error_in_output":
            return {"error": "CUDA out of memory"}
        return {
            "image": base64.b64encode(self.result.read_bytes()).decode(),
            "mime_type": "image/png",
            "width": self.order.size[0],
            "height": self.order.size[1],
            "seed": self.order.seed,
            "model": MODEL,
            "seconds": round(self.finished - self.started, 3),
        }


class Endpoint:
    """The endpoint's queue and workers. `latency` is how long a picture takes at least, in seconds."""

    def __init__(self, workers: int, latency: float, control: Control, folder: Path) -> None:
        self.jobs: dict[str, Job] = {}
        self.workers = workers
        self._latency = latency
        self._control = control
        self._folder = folder
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(min(workers, os.cpu_count() or 1), thread_name_prefix="draw")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for _ in range(self.workers):
            self._start(self._work())

    def stop(self) -> None:
        for task in [*self._tasks, *(job.task for job in self.jobs.values() if job.task)]:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, body: dict[str, Any], call: str) -> Job:
        """Queue a job. Raises BadRequestError."""
        order = read_order(body.get("input"))
        text = brief(body["input"])
        policy = body.get("policy")
        limit, lifetime = (_seconds(policy, name) for name in ("executionTimeout", "ttl"))
        job_id = f"{'sync-' if call == 'runsync' else ''}{uuid.uuid4()}-u1"
        fault = self._control.take(_JOB_KINDS, f"/{call} {text}", "run")
        job = Job(job_id, order, text, sha256(text.encode()).hexdigest(), _KEPT[call], limit, lifetime, fault)
        self._forget()
        self.jobs[job.id] = job
        if fault and fault.kind == "stuck":
            self._start(self._release(job, fault))
        else:
            self._queue.put_nowait(job)
        return job

    def cancel(self, job: Job) -> None:
        if job.task:
            job.task.cancel()
        elif job.status == "IN_QUEUE":
            self._end(job, "CANCELLED")

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self) -> None:
        for job in [job for job in self.jobs.values() if job.is_gone()]:
            if job.result:
                job.result.unlink(missing_ok=True)
            del self.jobs[job.id]

    async def _release(self, job: Job, fault: Fault) -> None:
        """Hold a job back until its fault is removed, or for the fault's seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(fault.removed.wait(), fault.seconds)
        self._queue.put_nowait(job)

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            if job.status == "IN_QUEUE" and not job.is_gone():
                job.task = asyncio.create_task(self._execute(job))
                await asyncio.wait({job.task})
                job.task = None
                if job.finished is None:
                    self._end(job, "CANCELLED")  # before it had begun

    async def _execute(self, job: Job) -> None:
        job.status, job.started = "IN_PROGRESS", time.monotonic()
        charge = self._control.charge(job.id, seconds=0.0, key=job.key, status=job.status)
        try:
            async with asyncio.timeout(job.limit):
                data = await self._produce(job)
                await asyncio.sleep(max(0.0, self._latency - (time.monotonic() - job.started)))
            job.result = self._folder / job.id
            job.result.write_bytes(data)
            self._end(job, "COMPLETED")
        except WorkerError as error:
            job.error = str(error)
            self._end(job, "FAILED")
        except TimeoutError:
            self._end(job, "TIMED_OUT")
        except asyncio.CancelledError:
            self._end(job, "CANCELLED")
        except Exception as error:
            job.error = f"{type(error).__name__}: {error}"
            self._end(job, "FAILED")
            raise
        finally:
            charge.update(seconds=round(time.monotonic() - job.started, 3), status=job.status)

    async def _produce(self, job: Job) -> bytes:
        """The result's bytes, or what a fault puts in their place."""
        kind = job.fault.kind if job.fault else ""
        if kind == "failed":
            await asyncio.sleep(self._latency)
            raise WorkerError("RuntimeError: CUDA error: an illegal memory access was encountered")
        if kind in ("error_in_output", "garbage"):
            return b"this is no picture"
        work = placeholder if kind == "flagged" else lambda: draw(job.order)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _end(self, job: Job, status: str) -> None:
        job.status, job.finished = status, time.monotonic()
        job.done.set()
        waited = (job.started or job.finished) - job.created
        print(
            f"{job.id} {status} after {waited:.2f} s in the queue, {job.finished - job.created:.2f} s", file=sys.stderr
        )


def _seconds(policy: Any, name: str) -> float | None:
    """A time limit of a job's policy, which gives milliseconds."""
    value = policy.get(name) if isinstance(policy, dict) else None
    if value is not None and (not isinstance(value, int) or value <= 0):
        raise BadRequestError(f"policy.{name} must be milliseconds")
    return value / 1000 if value is not None else None


class Api:
    """The endpoint over HTTP."""

    def __init__(self, endpoint: Endpoint, control: Control, key: str) -> None:
        self._endpoint = endpoint
        self._control = control
        self._key = key
        self._limits = {call: RateLimit(most, _RATE_WINDOW) for call, most in _RATE_LIMIT.items()}

    def routes(self) -> list[Route]:
        return [
            Route("/run", self._guarded("run", self._run), methods=["POST"]),
            Route("/runsync", self._guarded("runsync", self._run), methods=["POST"]),
            Route("/status/{job}", self._guarded("status", self._status), methods=["GET"]),
            Route("/cancel/{job}", self._guarded("cancel", self._cancel), methods=["POST"]),
            Route("/health", self._guarded("health", self._health), methods=["GET"]),
        ]

    def _guarded(
        self, call: str, handle: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Check key and rate before a call."""

        async def guarded(request: Request) -> Response:
            if not carries_key(request, self._key):
                return _error(401, "unauthorized")
            if call in self._limits and not self._limits[call].admits():
                return _error(429, "too many requests")
            return await handle(request, call)

        return guarded

    async def _run(self, request: Request, call: str) -> Response:
        data = await _body(request, _BODY_LIMIT[call])
        if data is None:
            return _error(413, f"the body is larger than {_BODY_LIMIT[call] // _MEGABYTE} MB")
        try:
            body = json.loads(data)
        except ValueError:
            return _error(400, "the body is no JSON")
        if not isinstance(body, dict):
            return _error(400, "the body must be an object with input")
        text = brief(body["input"]) if isinstance(body.get("input"), dict) else ""

        async def handle() -> Response:
            try:
                job = self._endpoint.submit(body, call)
            except BadRequestError as error:
                return _error(400, str(error))
            if call == "run":
                return JSONResponse(job.shown())
            return await _wait(job, request.query_params.get("wait", "90000"))

        return await self._control.answer("run", f"{request.url.path} {text}", handle)

    async def _status(self, request: Request, call: str) -> Response:
        job = self._endpoint.jobs.get(request.path_params["job"])
        text = f"{request.url.path} {job.text if job else ''}"
        if job and job.finished is not None and self._control.take(["expired"], text, call):
            job.expired = True

        async def handle() -> Response:
            if job is None or job.is_gone():
                return _error(404, "job not found")
            return await _answer(job)

        return await self._control.answer(call, text, handle)

    async def _cancel(self, request: Request, call: str) -> Response:
        job = self._endpoint.jobs.get(request.path_params["job"])

        async def handle() -> Response:
            if job is None or job.is_gone():
                return _error(404, "job not found")
            if job.finished is None:
                self._endpoint.cancel(job)
                await job.done.wait()
            return JSONResponse({"id": job.id, "status": job.status})

        return await self._control.answer(call, f"{request.url.path} {job.text if job else ''}", handle)

    async def _health(self, _request: Request, _call: str) -> Response:
        states = [job.status for job in self._endpoint.jobs.values()]
        running = states.count("IN_PROGRESS")
        failed = states.count("FAILED") + states.count("TIMED_OUT")
        jobs = {"completed": states.count("COMPLETED"), "failed": failed, "inProgress": running}
        jobs |= {"inQueue": states.count("IN_QUEUE"), "retried": 0}
        idle = self._endpoint.workers - running
        workers = {"idle": idle, "initializing": 0, "ready": self._endpoint.workers, "running": running}
        return JSONResponse({"jobs": jobs, "workers": {**workers, "throttled": 0, "unhealthy": 0}})


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


async def _body(request: Request, most: int) -> bytes | None:
    """The whole body; nothing if it is larger than `most` bytes. It is read to its end, else the sender fails first."""
    data = bytearray()
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= most:
            data += piece
    return bytes(data) if size <= most else None


async def _wait(job: Job, wait: str) -> Response:
    """Hold the answer until the job is done, or for `wait` milliseconds."""
    if not wait.isdecimal() or not 1000 <= int(wait) <= 300_000:
        return _error(400, "wait must be 1000 to 300000 milliseconds")
    with suppress(TimeoutError):
        await asyncio.wait_for(job.done.wait(), int(wait) / 1000)
    return await _answer(job)


async def _answer(job: Job) -> Response:
    answer = job.shown()
    output = await asyncio.to_thread(job.output)
    return JSONResponse(answer if output is None else {**answer, "output": output})


def application(workers: int, latency: float, key: str) -> Starlette:
    """The stand-in as an ASGI application."""
    control = Control((*_JOB_KINDS, "expired"), default_on={"timeout_after_success": "run"})
    folder = tempfile.TemporaryDirectory(prefix="gpu-")  # in memory, a thousand results would fill more than a gigabyte
    endpoint = Endpoint(workers, latency, control, Path(folder.name))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with folder:
            endpoint.start()
            yield
            endpoint.stop()

    return Starlette(routes=[*control.routes(), *Api(endpoint, control, key).routes()], lifespan=lifespan)


def main() -> None:
    arguments = parser("The GPU endpoint's stand-in.")
    arguments.add_argument("--workers", type=int, default=8, help="jobs done at the same time")
    arguments.add_argument("--latency", type=float, default=0.5, help="seconds an image takes")
    arguments.add_argument("--key", required=True, help="the bearer key that calls must carry")
    given = arguments.parse_args()
    if given.workers < 1:
        arguments.error("--workers must be at least 1")
    serve(application(given.workers, given.latency, given.key), given.port)


if __name__ == "__main__":
    main()
