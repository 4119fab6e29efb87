"""What several unit tests share: settings, a product, and a transport that answers as it is told."""

from __future__ import annotations

import json
import socket
from typing import Any

import urllib3

from lookbook.providers.base import Order
from lookbook.settings import MethodSettings
from lookbook.state import Item

KEY = "top-secret-key"
POOL = urllib3.HTTPSConnectionPool("service.example.com")

# What a proxy in front of a service, or the way to it, can do to a submission: it may have been passed on.
CUT_OFF = (
    urllib3.exceptions.ReadTimeoutError(POOL, "/run", "slow"),
    urllib3.exceptions.ProtocolError("reset"),
)
# What happens before a request is sent.
NEVER_SENT = (
    urllib3.exceptions.ConnectTimeoutError(),
    urllib3.exceptions.NewConnectionError(urllib3.connection.HTTPConnection("service.example.com"), "refused"),
    urllib3.exceptions.NameResolutionError(
        "service.example.com", urllib3.connection.HTTPConnection("service.example.com"), socket.gaierror()
    ),
)


def method_settings(**changes: Any) -> MethodSettings:
    """Settings with every method configured."""
    given: dict[str, Any] = {
        "bucket": "bucket",
        "library_table": "library",
        "history_table": "history",
        "runs_table": "runs",
        "gpu_endpoint_url": "https://gpu.example.com/v2/abc/",
        "gpu_usd_per_second": "0.00031",
        "gpu_concurrency": "12",
        "fashn_base_url": "https://fashn.example.com/v1",
        "fashn_usd_per_credit": "0.075",
        "open_ai_base_url": "https://openai.example.com/v1",
        "open_ai_model": "gpt-image-2.6-flare",
        "open_ai_quality": "medium",
        "open_ai_usd_per_million_tokens": "5,8,30",
        "prices_as_of": "2026-11-21",
        "try_on_method": "catvton",
    }
    return MethodSettings.model_validate(given | changes)


def a_product(**changes: Any) -> Item:
    """A shirt with a picture, tried on by CatVTON."""
    given = {
        "index": 0,
        "product_id": "CJ1",
        "title": "Blue Shirt",
        "category": "Tops",
        "source": "cj",
        "image_url": "https://pictures.example.com/1.jpg",
        "garment": "upper",
        "method": "catvton",
    }
    return Item.model_validate(given | changes)


def an_order(picture: bytes = b"shirt", seed: int = 7, **changes: Any) -> Order:
    return Order(a_product(**changes), picture, b"person", seed)


class Answer:
    """As much of urllib3's response as the providers use."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = urllib3.HTTPHeaderDict(headers or {})

    def read(self, amount: int) -> bytes:
        return self.data[:amount]

    def release_conn(self) -> None:
        pass


class Wire(urllib3.PoolManager):
    """A transport that gives one answer and keeps what was sent."""

    def __init__(self, answer: Answer | Exception) -> None:
        super().__init__()
        self.answer = answer
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def request(self, method: str, url: str, *_: Any, **more: Any) -> Any:
        self.sent.append((method, url, more))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def words_of(error: BaseException) -> str:
    """All that a log or a user could see of an error and of what it came from."""
    told = ""
    seen: BaseException | None = error
    while seen is not None:
        told += f"{seen} {seen!r} "
        seen = seen.__cause__ or seen.__context__
    return told
