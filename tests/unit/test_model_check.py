"""The model check: when a model ends, and the log line from which a metric filter takes it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lookbook import aws, model_check, notices
from lookbook.logging import logger
from lookbook.settings import MethodSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTINGS = MethodSettings(
    bucket="b", library_table="l", history_table="h", runs_table="r", gpu_usd_per_second=0.0003, gpu_concurrency=1,
    fashn_base_url="https://fashn.example.com", fashn_usd_per_credit=0.075, open_ai_model="gpt-image-2.6-flare",
    open_ai_base_url="https://openai.example.com", open_ai_quality="medium", prices_as_of="2026-11-21",
    open_ai_usd_per_million_tokens=(5, 8, 30), try_on_method="catvton",
)  # fmt: skip


class NotFoundError(Exception):
    pass


class AuthenticationError(Exception):
    pass


def openai(answer: str | Exception | None) -> ModuleType:
    """The openai package, as much of it as the check uses."""

    def retrieve(_: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(shutdown_date=answer)

    module = ModuleType("openai")
    client = SimpleNamespace(models=SimpleNamespace(retrieve=retrieve))
    for name, value in {
        "OpenAI": lambda **_: client, "NotFoundError": NotFoundError, "AuthenticationError": AuthenticationError,
    }.items():  # fmt: skip
        setattr(module, name, value)
    return module


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    noted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(notices, "keep", lambda *told: noted.append(told))
    monkeypatch.setattr(aws, "secret", lambda _: "key")
    monkeypatch.setattr(aws.secret, "cache_clear", lambda: None, raising=False)
    return noted


@pytest.mark.parametrize(
    ("answer", "days"),
    [("2026-12-01", 10), ("2026-11-21", 0), ("2027-11-21", 365), (None, None), (NotFoundError(), -1)],
)
def test_the_days_left_are_told_and_noted(
    monkeypatch: pytest.MonkeyPatch, kept: list[tuple[Any, ...]], answer: Any, days: int | None
) -> None:
    monkeypatch.setitem(sys.modules, "openai", openai(answer))

    told = model_check.ModelCheck(SETTINGS).run(NOW)

    assert told.get("days_left") == days
    assert [model for model, *_ in kept] == ["gpt-image-2.6-flare"]


def test_without_a_key_nothing_is_said_of_the_model(
    monkeypatch: pytest.MonkeyPatch, kept: list[tuple[Any, ...]]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", openai(AuthenticationError()))

    told = model_check.ModelCheck(SETTINGS).run(NOW)

    assert "days_left" not in told
    assert "OpenAiKey" in told["reason"]
    assert kept == []


def test_the_log_line_has_the_days_where_the_metric_filter_looks(capsys: pytest.CaptureFixture[str]) -> None:
    [handler] = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(sys.stdout)
    logger.info("model checked", extra={"model": "m", "days_left": 20})
    handler.setStream(before or sys.stderr)
    assert json.loads(capsys.readouterr().out)["days_left"] == 20
