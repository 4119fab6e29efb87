"""A stand-in in a process of its own, for the tests that call one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import requests

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key"
Kind = TypeVar("Kind", bound="StandIn")


@dataclass
class StandIn:
    """A running stand-in. A service's tests may add its calls in a class of their own."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    @contextmanager
    def started(cls, name: str, *arguments: str) -> Iterator[Self]:
        command = [sys.executable, "-m", f"local.standins.{name}", "--port", "0", *arguments]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout
            said = process.stdout.readline()
            try:
                assert said.startswith("listening on http://127.0.0.1:"), said
                yield cls(process, said.removeprefix("listening on ").strip())
            finally:
                process.terminate()

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {KEY}", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=more.pop("timeout", 10), **more)

    def fail(self, kind: str, **more: Any) -> None:
        assert self.ask("POST", "/_faults", json={"kind": kind, **more}).status_code == 201

    def charges(self) -> list[dict[str, Any]]:
        answer = self.ask("GET", "/_charges").json()
        assert answer["count"] == len(answer["charges"])
        charges: list[dict[str, Any]] = answer["charges"]
        return charges


def clean(server: Kind) -> Kind:
    """The same server, without faults and charges."""
    for path in ("/_faults", "/_charges"):
        assert server.ask("DELETE", path).status_code == 204
    return server
