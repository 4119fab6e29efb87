"""The guide to covers works word for word: its commands are run as they stand, on a local cloud of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from local.cloud import ROOT, Cloud

GUIDE = ROOT / "docs/covers.md"
SECONDS = 420


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud(ROOT / ".local/guide")
    made.forget()
    shutil.rmtree(ROOT / ".local/pictures/hotmart_712093", ignore_errors=True)
    yield made
    made.forget()


@pytest.mark.slow
def test_the_guide_works_word_for_word(cloud: Cloud, tmp_path: Path) -> None:
    # Given all commands of the guide, in their order
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    script = tmp_path / "guide.sh"
    script.write_text("set -euo pipefail\nset +u\n" + "".join(blocks))

    # When they are run as somebody would who has just cloned the project
    environment = {**os.environ, "LOOKBOOK_LOCAL": str(cloud.folder)}
    done = subprocess.run(
        ["bash", "-v", str(script)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    # Then each did what it says, before and after the restart
    assert done.returncode == 0, done.stdout[-4000:]
    known = cloud.stack()
    assert known is not None
    headers = {"authorization": f"Bearer {cloud.token(known)}"}

    def get(path: str) -> Any:
        answer = requests.get(known["api_url"] + path, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json()

    told = {
        number: [entry["action"] for entry in get(f"/api/products/hotmart:{number}/images/history")["entries"]]
        for number in (698441, 780417)
    }
    assert told[698441] == ["generated", "reverted", "generated", "uploaded", "generated"]
    assert told[780417] == ["reverted", "generated", "uploaded", "generated"]
    pages = [get(f"/api/products/hotmart:{number}") for number in (698441, 780417)]
    assert [[note["note"] for note in page["notes"]] for page in pages] == [
        ["A primeira capa vende mais. Testar de novo em março."],
        ["Members like the desk."],
    ]
    assert pages[0]["tags"] == ["bolos"]
    assert requests.get(pages[0]["cover_url"], timeout=20).content.startswith(b"\xff\xd8\xff")
