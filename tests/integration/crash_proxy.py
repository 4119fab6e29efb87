"""Kills a function's own process at a chosen moment: all that it says goes through a proxy, which waits for it.

The function's code and layers are those that were built, its environment and its role those that were deployed; only
the addresses of AWS and of the providers are the proxy's. So nothing in the product knows of this.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from local.cloud import CREDENTIALS, ROOT
from tests.integration.conftest import Stack
from tests.integration.test_layers import layers_of

WORK_SECONDS = 150
# A function's variable with a provider's address, the provider, and what its address has behind the host.
PROVIDERS = {
    "GPU_ENDPOINT_URL": ("catvton", "gpu_url", ""),
    "FASHN_BASE_URL": ("fashn", "fashn_url", "/v1"),
    "OPEN_AI_BASE_URL": ("openai", "openai_images_url", "/v1"),
    "SHOPIFY_ADMIN_URL": ("shop", "shop_url", "/{shop}"),
}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}

# As Lambda's runtime does it: import first, then take one event after the other.
_WORKER = """
import json, os, sys, time
answers, sys.stdout = sys.stdout, sys.stderr
import app
class Context:
    function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:" + function_name
    aws_request_id = "crash"
    def __init__(self):
        self.deadline = time.time() + float(os.environ["_LAMBDA_TIMEOUT"])
    def get_remaining_time_in_millis(self):
        return max(0, int((self.deadline - time.time()) * 1000))
print("ready", file=answers, flush=True)
for event in sys.stdin:
    print(json.dumps(app.handler(json.loads(event), Context())), file=answers, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What the function was about to say. `to` is the provider that it goes to, or `aws`."""

    to: str
    method: str
    path: str
    target: str
    body: bytes


Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Trap:
    """When to kill: before such a request is passed on, or once it has been answered and before the answer is read."""

    moment: Moment
    hit: Callable[[Request], bool]


def a_job(request: Request) -> bool:
    """A submission to a provider."""
    return request.to != "aws" and request.method == "POST"


def an_entry_that_is(status: str) -> Callable[[Request], bool]:
    """A ledger entry's move to this status."""

    def hit(request: Request) -> bool:
        moves = request.target.endswith(".UpdateItem") and b'"attempt#' in request.body
        return moves and f'"{status}"'.encode() in request.body

    return hit


def a_result(request: Request) -> bool:
    """A provider's raw result, put into S3."""
    return request.method == "PUT" and "/staging/" in request.path


def a_commit(request: Request) -> bool:
    """Save's transaction."""
    return request.target.endswith(".TransactWriteItems")


def a_change_of_media(request: Request) -> bool:
    """A mutation that puts pictures into a product of a shop."""
    return request.to == "shop" and b"productUpdate" in request.body


def a_usage(request: Request) -> bool:
    """The write of what is live in a shop."""
    return request.target.endswith(".UpdateItem") and b'"live"' in request.body


def a_withdrawal(request: Request) -> bool:
    """The transaction that takes a placeholder out of a product."""
    return request.target.endswith(".TransactWriteItems") and b'"withdrawn"' in request.body


@dataclass
class Proxy:
    """Passes on what one process says, until the trap is sprung; then kills it."""

    upstreams: dict[str, str]
    trap: Trap
    victim: subprocess.Popen[str] | None = None
    sprung: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        assert self.victim is not None
        self.sprung.set()
        os.kill(self.victim.pid, signal.SIGKILL)
        self.victim.wait(timeout=10)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Listen, and yield the address."""
        proxy = self

        class Handler(_Handler):
            def answer_it(self) -> None:
                proxy.pass_on(self)

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()
            thread.join()

    def pass_on(self, handler: _Handler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        assert "chunked" not in handler.headers.get("Transfer-Encoding", ""), "a body of unknown length"
        body = handler.rfile.read(length)
        to, path = self._route(handler.path)
        request = Request(to, handler.command, path, handler.headers.get("X-Amz-Target", ""), body)
        hit = not self.sprung.is_set() and self.trap.hit(request)
        if hit and self.trap.moment == "before":
            self.kill()
        if self.sprung.is_set():
            handler.close_connection = True
            return
        status, headers, answer = self._ask(request, handler)
        if hit:
            self.kill()
            handler.close_connection = True
            return
        handler.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                handler.send_header(name, value)
        size = next((value for name, value in headers if name.lower() == "content-length"), str(len(answer)))
        handler.send_header("Content-Length", size if request.method == "HEAD" else str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _route(self, path: str) -> tuple[str, str]:
        for to in self.upstreams:
            if path.startswith(f"/to/{to}/"):
                return to, path.removeprefix(f"/to/{to}")
        return "aws", path

    def _ask(self, request: Request, handler: _Handler) -> tuple[int, list[tuple[str, str]], bytes]:
        host = urlsplit(self.upstreams[request.to]).netloc
        upstream = http.client.HTTPConnection(host, timeout=WORK_SECONDS)
        try:
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in {*_HOP_BY_HOP, "expect", "host"}:
                    upstream.putheader(name, value)
            # AWS's requests are signed for the host that they were sent to.
            upstream.putheader("Host", handler.headers["Host"] if request.to == "aws" else host)
            upstream.endheaders(request.body)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer_it(self) -> None:
        raise NotImplementedError

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return  # who asked is dead

    def do_GET(self) -> None:
        self.answer_it()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 - as http.server wants it

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server names it
        pass


@dataclass(frozen=True, slots=True)
class Worker:
    """A deployed function (`Generate`), as a process of ours that has been started and waits for its events."""

    proxy: Proxy
    process: subprocess.Popen[str]

    def dies_of(self, state: dict[str, Any]) -> None:
        """Call it, as long as it says that it must wait; it has to be killed where the trap is."""
        deadline = time.monotonic() + WORK_SECONDS
        while (told := self.call(state)) and json.loads(told)["next"] == "wait":
            assert time.monotonic() < deadline, told
            state = json.loads(told)
            time.sleep(min(1, state["wait_seconds"]))
        assert self.proxy.sprung.is_set(), f"It was not killed, and said: {told[:2000]}"
        assert self.process.wait(timeout=10) == -signal.SIGKILL

    def call(self, state: dict[str, Any]) -> str:
        """Hand over an event and return the answer's line; none if the process is dead."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(state) + "\n")
        self.process.stdin.flush()
        return self.said()

    def said(self) -> str:
        """Return the next line that the process says."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(WORK_SECONDS), "The function's process says nothing."
        return self.process.stdout.readline()


class Deployed:
    """The deployed functions: to be called, and to be run by a process of ours, in their environment and role."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._sts = stack.aws("sts")
        pages = stack.aws("lambda").get_paginator("list_functions").paginate()
        self._functions = [each for page in pages for each in page["Functions"]]
        make: Any = boto3.client
        # A call must not be repeated, however long the engine takes to start a function.
        self._lambda = make(
            "lambda",
            endpoint_url=stack.known["endpoint_url"],
            region_name=stack.known["region"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=WORK_SECONDS, retries={"total_max_attempts": 1}, max_pool_connections=20),
        )

    def call(self, function: str, state: dict[str, Any]) -> dict[str, Any]:
        """Call a function once, where the engine runs it."""
        name = self._config(function)["FunctionName"]
        answer = self._lambda.invoke(FunctionName=name, Payload=json.dumps(state).encode())
        told: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    def _config(self, function: str) -> dict[str, Any]:
        config: dict[str, Any]
        [config] = [each for each in self._functions if f"-{function}Function-" in each["FunctionName"]]
        return config

    @contextmanager
    def worker(self, function: str, trap: Trap) -> Iterator[Worker]:
        """Start a function's process behind a proxy of its own, and wait until it has imported what it needs."""
        config, known = self._config(function), self._stack.known
        addresses = {to: known[service] for to, service, _ in PROVIDERS.values()}
        proxy = Proxy({**addresses, "aws": known["endpoint_url"]}, trap)
        with proxy.serving() as url:
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                **config["Environment"]["Variables"],
                **{name: f"{url}/to/{to}{path}" for name, (to, _, path) in PROVIDERS.items()},
                **self._credentials(config["Role"]),
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": known["region"],
                "AWS_DEFAULT_REGION": known["region"],
                "AWS_LAMBDA_FUNCTION_NAME": config["FunctionName"],
                "_LAMBDA_TIMEOUT": str(config["Timeout"]),
                "PYTHONPATH": os.pathsep.join(self._path(function.lower())),
            }
            with subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process:
                proxy.victim = process
                worker = Worker(proxy, process)
                try:
                    assert worker.said() == "ready\n"
                    yield worker
                finally:
                    process.kill()

    def _credentials(self, role: str) -> dict[str, str]:
        got = self._sts.assume_role(RoleArn=role, RoleSessionName="crash")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
        }

    def _path(self, function: str) -> list[str]:
        build = self._stack.cloud.folder / "build"
        return [str(ROOT / "functions" / function), *(str(build / layer / "python") for layer in layers_of(function))]
