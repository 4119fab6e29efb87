"""The commands about Hotmart against an API in memory."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console
from typer.testing import CliRunner

from lookbook_cli import common, main, render
from tests.unit.test_cli import RUN_ID, Answer, Sent, World, a_run, local_cloud, lookbook

Json = dict[str, Any]

NONE = dict.fromkeys(("listed", "added", "changed", "unchanged", "skipped", "deleted", "without_image", "given_up"), 0)


def a_status(status: str = "succeeded", **changes: Any) -> Json:
    counts = NONE | changes.pop("counts", {"listed": 120, "added": 5, "changed": 1, "unchanged": 112, "skipped": 2})
    return {
        "configured": True,
        "status": status,
        "sync_id": "20261121T101502-aaaaaaaa",
        "started_at": "2026-11-21T10:15:02.000Z",
        "finished_at": None if status == "running" else "2026-11-21T10:15:14.000Z",
        "next_at": "2026-11-21T16:00:00.000Z",
        "error": None,
        "counts": counts,
        "run_id": None,
        "run_status": None,
        "schedule": "rate(6 hours)",
        **changes,
    }


@dataclass(eq=False)
class Hotmart(World):
    """The API with a Hotmart account."""

    statuses: list[Json] = field(default_factory=lambda: [a_status()])  # what it says, one after the other

    def api(self, sent: Sent, route: list[str]) -> Answer:
        match sent.method, route:
            case "POST", ["hotmart", "sync"]:
                return 202, self.next()
            case "GET", ["hotmart", "status"]:
                return 200, self.next()
        return super().api(sent, route)

    def next(self) -> Json:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@pytest.fixture
def world() -> Hotmart:
    return Hotmart()


@pytest.fixture(autouse=True)
def _local_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in a folder with a local cloud, with 80 columns and no terminal."""
    local_cloud(tmp_path, monkeypatch)


RUNNING = a_status("running", counts={"listed": 50})


# --- hotmart sync


def test_sync_is_followed_and_then_the_run_that_makes_covers(world: Hotmart) -> None:
    # Given a sync that takes a moment, and finds products without an image
    counts = {"listed": 120, "added": 5, "changed": 1, "unchanged": 112, "skipped": 2, "deleted": 1}
    ended = a_status(run_id=RUN_ID, run_status="running", counts=counts | {"without_image": 5, "given_up": 2})
    world.statuses = [RUNNING, RUNNING, ended]
    world.runs = [a_run("running", kind="hotmart"), a_run("partial", kind="hotmart")]
    # When it is started
    result = lookbook(world, "hotmart", "sync")
    # Then what it found is said in words, and the run is followed to its end, whose status is the command's
    assert result.exit_code == 2
    assert result.stdout.splitlines()[:8] == [
        "120 products at Hotmart: 5 new, 1 changed, 112 as before, 2 left out.",
        "Left out: products that are not of the wanted status or format, or could not be used.",
        "1 product gone from Hotmart: marked so, and kept here.",
        "5 products without an image.",
        "2 products given up on, as making a cover failed again and again.",
        "Find them with: lookbook products --source hotmart; make a cover with: lookbook cover ID --prompt TEXT",
        f"Run {RUN_ID} makes the covers that are missing.",
        f"Run {RUN_ID}: partial",
    ]
    assert world.slept == [1.0] * 3


def test_sync_that_finds_every_image_there_ends_without_a_run(world: Hotmart) -> None:
    world.statuses = [RUNNING, a_status(counts={"listed": 1, "unchanged": 1})]
    result = lookbook(world, "hotmart", "sync")
    assert (result.exit_code, result.stdout) == (0, "1 product at Hotmart: 1 as before.\n")
    assert not any("/runs/" in path for path in world.paths("GET"))


def test_sync_that_fails_says_why_and_is_status_1(world: Hotmart) -> None:
    reason = "Hotmart refused the credentials."
    world.statuses = [RUNNING, a_status("failed", error=reason, counts={})]
    result = lookbook(world, "hotmart", "sync")
    # Then it is no news that there is nothing at Hotmart, but what there is to do
    assert result.exit_code == 1
    to_do = "Check the reason, then: lookbook hotmart sync"
    assert result.stdout.splitlines() == [f"The sync failed: {reason}", f"The library is as it was. {to_do}"]
    lines = lookbook(world, "hotmart", "status").stdout.splitlines()
    assert lines[1].endswith(f"failed: {reason}")
    assert lines[2] == f"The library is as it was. {to_do}"
    # And what it had found before it failed is told
    world.statuses = [a_status("failed", error=reason, counts={"listed": 50, "unchanged": 50})]
    assert lookbook(world, "hotmart", "sync").stdout.splitlines() == [
        f"The sync failed: {reason}",
        "50 products at Hotmart: 50 as before.",
        to_do,
    ]


@pytest.mark.parametrize("command", ["sync", "status"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("Some products could not be used: hotmart:7: It has no name.", "Not used: hotmart:7: It has no name."),
        ("Covers are not made by themselves.", "Note: Covers are not made by themselves."),
    ],
)
def test_sync_that_succeeded_says_what_it_could_not_use(world: Hotmart, command: str, error: str, says: str) -> None:
    world.statuses = [a_status(error=error)]
    result = lookbook(world, "hotmart", command)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines.index(says) > lines.index("120 products at Hotmart: 5 new, 1 changed, 112 as before, 2 left out.")


def test_sync_and_its_run_are_one_document_for_scripts(world: Hotmart) -> None:
    ended = a_status(run_id=RUN_ID)
    world.statuses, world.runs = [RUNNING, ended], [a_run("running"), a_run("partial")]
    result = lookbook(world, "hotmart", "sync", "--json")
    assert (result.exit_code, result.stderr) == (2, "")
    assert json.loads(result.stdout) == {"sync": ended, "run": a_run("partial")}
    # And also if there is no run, or it failed
    for status, exit_code in (("succeeded", 0), ("failed", 1)):
        world.statuses = [RUNNING, a_status(status)]
        result = lookbook(world, "hotmart", "sync", "--json")
        assert (result.exit_code, json.loads(result.stdout)) == (exit_code, {"sync": a_status(status), "run": None})


def test_sync_need_not_be_waited_for(world: Hotmart) -> None:
    world.statuses = [RUNNING]
    result = lookbook(world, "hotmart", "sync", "--no-wait")
    assert result.exit_code == 0
    assert "lookbook hotmart status" in result.stdout
    assert world.slept == []
    result = lookbook(world, "hotmart", "sync", "--no-wait", "--json")
    assert json.loads(result.stdout) == {"sync": RUNNING, "run": None}


def test_sync_without_credentials_says_where_to_read_on(world: Hotmart) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "Hotmart is not configured."}
    world.before = lambda sent: (409, problem) if sent.path.endswith("/hotmart/sync") else None
    result = lookbook(world, "hotmart", "sync")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {problem['detail']} See what to do with: lookbook hotmart status\n"


def test_ctrl_c_leaves_the_sync_alone(world: Hotmart) -> None:
    world.statuses = [RUNNING]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    tools = common.Tools(world.http)
    tools.http.sleep = interrupt
    result = CliRunner().invoke(main.app, ["hotmart", "sync"], obj=tools)
    assert result.exit_code == 130
    assert "goes on without this command" in result.stderr
    assert "lookbook hotmart status" in result.stderr


def test_lost_connection_does_not_start_another_sync(world: Hotmart) -> None:
    world.statuses = [RUNNING]

    def gone(sent: Sent) -> Answer | None:
        if sent.path.endswith("/hotmart/status"):
            raise requests.ConnectionError
        return None

    world.before = gone
    result = lookbook(world, "hotmart", "sync")
    assert result.exit_code == 1
    assert "see it with: lookbook hotmart status" in result.stderr
    assert sum(path.endswith("/hotmart/sync") for path in world.paths("POST")) == 1


def test_progress_of_a_sync_is_said_now_and_then_without_a_terminal() -> None:
    clock = iter([0.0, 1.0, 31.0, 31.0, 32.0])
    out = io.StringIO()
    with render.Waiting(Console(file=out), clock=lambda: next(clock)) as waiting:
        for _ in range(3):
            waiting.show("Asking Hotmart", "50 products at Hotmart")
    assert out.getvalue() == "Asking Hotmart: 50 products at Hotmart\n"


# --- hotmart status


def test_status_tells_the_last_sync_its_run_and_the_next(world: Hotmart) -> None:
    world.statuses = [a_status(run_id=RUN_ID, run_status="succeeded")]
    result = lookbook(world, "hotmart", "status")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    here = {key: render.moment(world.statuses[0][key]).plain for key in ("started_at", "next_at")}
    assert lines == [
        "Hotmart is configured.",
        f"Last sync: {here['started_at']}, succeeded in 12 seconds",
        "120 products at Hotmart: 5 new, 1 changed, 112 as before, 2 left out.",
        "Left out: products that are not of the wanted status or format, or could not be used.",
        f"Run for covers: {RUN_ID}: succeeded. See it with: lookbook show {RUN_ID}",
        f"Next sync: {here['next_at']}, every 6 hours",
    ]
    assert json.loads(lookbook(world, "hotmart", "status", "--json").stdout) == world.statuses[0]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (a_status("never", counts={}, started_at=None, finished_at=None), "lookbook hotmart sync"),
        (a_status("running", counts={"listed": 50}), "So far:"),
        (a_status("failed", error="Hotmart was not reachable."), "failed: Hotmart was not reachable."),
        (a_status(next_at=None, schedule="cron(0 3 * * ? *)"), "Syncs by itself: cron(0 3 * * ? *)"),
        (a_status(counts={"given_up": 1}), "lookbook cover ID --prompt TEXT"),
    ],
    ids=["never", "running", "failed", "cron", "given up"],
)
def test_status_says_how_things_are(world: Hotmart, status: Json, says: str) -> None:
    world.statuses = [status]
    result = lookbook(world, "hotmart", "status")
    assert result.exit_code == 0
    assert says in result.stdout


def test_status_without_credentials_says_what_to_do(world: Hotmart) -> None:
    world.statuses = [a_status("never", configured=False, counts={})]
    result = lookbook(world, "hotmart", "status")
    assert result.exit_code == 0
    for words in ("not configured", "client_id, client_secret and basic", "lookbook hotmart sync"):
        assert words in result.stdout
    # And what was brought in before is told all the same
    world.statuses = [a_status(configured=False)]
    assert "120 products at Hotmart" in lookbook(world, "hotmart", "status").stdout


def test_status_says_nothing_of_credentials_when_nobody_has_looked(world: Hotmart) -> None:
    world.statuses = [a_status("never", configured=None, counts={}, next_at=None)]
    result = lookbook(world, "hotmart", "status")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["There was no sync yet. Start one with: lookbook hotmart sync", "Syncs by itself: every 6 hours"],
    )


@pytest.mark.parametrize(
    ("expression", "says"),
    [("rate(6 hours)", "every 6 hours"), ("rate(1 day)", "every day"), ("cron(0 3 * * ? *)", "cron(0 3 * * ? *)")],
)
def test_schedule_is_said_in_words(expression: str, says: str) -> None:
    assert render.schedule(expression) == says


@pytest.mark.parametrize("name", ["sync", "status"])
def test_every_command_about_hotmart_has_help_with_an_example(world: Hotmart, name: str) -> None:
    result = lookbook(world, "hotmart", name, "--help")
    assert result.exit_code == 0
    assert f"lookbook hotmart {name}" in result.stdout.partition("Example:")[2]
    assert "--json" in result.stdout
    assert "Usage" in lookbook(world, "hotmart").stdout
