"""The `lookbook` command as a user calls it, against the deployed stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Stack

Products = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lookbook(stack: Stack, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lookbook_cli", *arguments],
            env={**os.environ, "LOOKBOOK_LOCAL": str(stack.cloud.folder), "COLUMNS": "80", "NO_COLOR": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


Lookbook = Callable[..., subprocess.CompletedProcess[str]]


def test_a_scrape_on_disk_becomes_pictures_on_disk(lookbook: Lookbook, products: Products, tmp_path: Path) -> None:
    # Given a scrape
    scrape = products(2)
    (tmp_path / "store.json").write_text(json.dumps({"products": scrape, "options": {"variants": 1}}))

    # When it is run
    done = lookbook("run", "store.json")

    # Then the closing table says what came of it, and the status is that of success
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout
    assert [
        line.split() for line in done.stdout.splitlines() if line.startswith(("products", "generated", "images new"))
    ] == [
        ["products", "2"],
        ["generated", "2"],
        ["images", "new", "2"],
    ]

    # And its images can be checked and fetched
    ids = [each["product_id"] for each in scrape]
    assert lookbook("check", *ids).returncode == 0
    assert lookbook("check", *ids, "unknown").returncode == 2
    fetched = lookbook("get", ids[0], "--download", "out")
    assert fetched.returncode == 0, fetched.stderr
    [picture] = (tmp_path / "out").rglob("*.jpg")
    assert picture.read_bytes().startswith(b"\xff\xd8\xff")


def test_json_is_the_run_and_nothing_else(lookbook: Lookbook, products: Products, tmp_path: Path) -> None:
    scrape = products(1)
    (tmp_path / "store.jsonl").write_text("\n".join(json.dumps(each) for each in [*scrape, {"title": "no id"}]))

    done = lookbook("run", "store.jsonl", "--variants", "1", "--json")

    run = json.loads(done.stdout)
    assert (done.returncode, run["status"]) == (2, "partial")
    assert (run["counts"]["generated"], run["counts"]["rejected"]) == (1, 1)
    assert json.loads(lookbook("items", run["run_id"], "--status", "rejected", "--json").stdout)[0]["index"] == 1
    assert run["run_id"] in [each["run_id"] for each in json.loads(lookbook("runs", "--json").stdout)]


def test_a_scrape_that_is_no_utf_8_is_told_so(lookbook: Lookbook, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_bytes('[{"id": 1}]'.encode("utf-16"))

    done = lookbook("run", "store.json")

    assert done.returncode == 1
    assert "UTF-16" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_model_photos_are_listed(lookbook: Lookbook) -> None:
    done = lookbook("models", "list", "--json")
    assert {"man_30_black", "woman_25_latina", "woman_45_caucasian"} <= {
        each["name"] for each in json.loads(done.stdout)
    }
