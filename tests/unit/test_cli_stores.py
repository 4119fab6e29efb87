"""The commands about stores against an API in memory, and what runs that publish show."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from rich.cells import cell_len
from rich.console import Console

from lookbook_cli import render, store_commands
from tests.unit.test_cli import RUN_ID, Answer, Sent, World, a_product, a_run, local_cloud, lookbook

Json = dict[str, Any]

TOKEN = "shpat_top-secret"
CSV = (
    "\N{BOM}CJ Product ID,Shopify Product ID,Title,Shopify Title,Matched By\r\n"
    "1402938475610293847,11,连衣裙,Floral Dress,sku\r\n"
    'CJ2,12,"Hat, red",Red Hat,handle\r\n'
)


def a_store(store_id: str = "one", **changes: Any) -> Json:
    return {
        "store_id": store_id,
        "name": f"The {store_id}",
        "domain": f"{store_id}.myshopify.com",
        "credentials": "admin_token",
        "created_at": "2026-11-20T10:00:00.000Z",
        "updated_at": "2026-11-20T10:00:00.000Z",
        "published_at": "2026-11-21T10:00:00.000Z",
        "images_generated": 100,
        "images_reused": 900,
        "reuse_rate": 0.9,
        "saved_usd": 0.54,
        "saved_work_seconds": 9900.0,
        **changes,
    }


def a_usage(product_id: str = "1402938475610293847", **changes: Any) -> Json:
    images = [
        {"image_id": f"{n}" * 64, "media_id": f"gid://shopify/MediaImage/{n}", "since": f"2026-11-2{n}T10:00:00.000Z"}
        for n in (0, 1)
    ]
    return {
        "product_id": product_id,
        "store_id": "one",
        "shop_product_id": "gid://shopify/Product/8123456789012",
        "status": "live",
        "reason": None,
        "mapped_at": "2026-11-20T10:00:00.000Z",
        "synced_at": "2026-11-21T10:00:00.000Z",
        "images": images,
        **changes,
    }


def in_store(store_id: str = "one", **changes: Any) -> Json:
    """What a run says of what it has done in a store."""
    names = ("published", "unchanged", "taken_out", "failed", "not_mapped", "without_images")
    counts = dict.fromkeys((*names, "images_added", "images_removed"), 0)
    about = {"store_id": store_id, "done": True, "reason": None, "points": 0.0, "saved_usd": 0.0, "problems": []}
    return {**about, **counts, **changes}


def a_sync(status: str = "succeeded", kind: str = "sync", **changes: Any) -> Json:
    counts = {"products": 300, "reused": 298, "generated": 0, "rejected": 2}
    given: Json = {"kind": kind, "options": {"store": "one"}, "phase": "publishing", "stores": [], "cost_usd": 0}
    return a_run(status, name=f"{kind} one", counts=counts | changes.pop("counts", {}), **(given | changes))


@dataclass(eq=False)
class Shops(World):
    """The API with stores."""

    stores: dict[str, Json] = field(default_factory=lambda: {"one": a_store()})
    test: Json = field(
        default_factory=lambda: {"ok": True, "shop": "My Shop", "scopes": ["write_files"], "missing": [], "reason": ""}
    )
    found: Json = field(
        default_factory=lambda: {
            "matched": 2,
            "ambiguous": 1,
            "not_found": 3,
            "mapped_before": 4,
            "by": {"sku": 1, "barcode": 0, "handle": 1},
        }
    )

    def answer(self, sent: Sent) -> Answer:
        if sent.url == "https://matches.example.com":
            return 200, CSV.encode()
        return super().answer(sent)

    def api(self, sent: Sent, route: list[str]) -> Answer:
        match sent.method, route:
            case "GET", ["stores"]:
                return 200, {"stores": list(self.stores.values())}
            case "POST", ["stores"]:
                return 201, self.stores.setdefault(sent.json["store_id"], a_store(sent.json["store_id"]))
            case (("PUT" | "DELETE"), ["stores", store_id]):
                return 200, self.stores[store_id]
            case _, ["stores", store_id, *what]:
                return self.store(sent, store_id, what)
        return super().api(sent, route)

    def store(self, sent: Sent, store_id: str, what: list[str]) -> Answer:
        match what:
            case ["test"]:
                return 200, self.test
            case ["matches", _]:
                return 200, {**self.found, "url": "https://matches.example.com/x.csv?signature=secret"}
            case ["usage"]:
                return 200, {**self.page(sent, "usages"), "store": self.stores[store_id]}
        return 202, self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]

    def bodies(self, end: str) -> list[Any]:
        """What was sent to a path that ends so."""
        return [sent.json for sent in self.sent if sent.method in {"POST", "PUT"} and sent.path.endswith(end)]


@pytest.fixture
def world() -> Shops:
    return Shops()


@pytest.fixture(autouse=True)
def _local_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in a folder with a local cloud, with 80 columns and no terminal."""
    local_cloud(tmp_path, monkeypatch)


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be someone to ask."""
    monkeypatch.setattr(store_commands, "at_terminal", lambda: True)


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


# --- stores add, list, test, remove


def test_added_store_has_the_token_from_stdin_and_is_tried_out(world: Shops) -> None:
    result = lookbook(world, "stores", "add", "two", "--domain", "two", "--name", "Second", typed=f"{TOKEN}\n")
    assert result.exit_code == 0
    assert world.bodies("/api/stores") == [
        {"store_id": "two", "domain": "two", "name": "Second", "admin_token": TOKEN},
    ]
    assert result.stdout.splitlines() == [
        "Added two, the shop two.myshopify.com.",
        "two can be published to: My Shop grants what is needed.",
    ]
    assert TOKEN not in result.output


@pytest.mark.usefixtures("_terminal")
def test_secret_is_asked_for_at_a_terminal_and_not_shown(world: Shops) -> None:
    result = lookbook(world, "stores", "add", "two", "--domain", "two", "--client-id", "id-1", typed="secret-1\n")
    assert result.exit_code == 0
    assert world.bodies("/api/stores") == [
        {"store_id": "two", "domain": "two", "client_id": "id-1", "client_secret": "secret-1"}
    ]
    assert "Client secret" in result.stderr
    assert "secret-1" not in result.output


def test_secret_may_be_in_a_file(world: Shops, tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    result = lookbook(world, "stores", "add", "two", "--domain", "two", "--secret-file", "token.txt", "--json")
    assert result.exit_code == 0
    assert world.bodies("/api/stores")[0]["admin_token"] == TOKEN
    assert json.loads(result.stdout) == {"store": a_store("two"), "test": world.test}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["one", "--domain", "one"], "There is a store one already. Say --replace to change it."),
        (["two"], "--domain"),
        (["two", "--domain", "two"], "none was given"),
        (["one", "--replace", "--client-id", "id-1"], "give both"),
    ],
)
def test_store_that_cannot_be_added_is_said_before_anything_is_sent(world: Shops, args: list[str], says: str) -> None:
    result = lookbook(world, "stores", "add", *args, typed="")
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.bodies("/api/stores") == []


def test_store_is_changed_and_keeps_what_is_not_given(world: Shops) -> None:
    result = lookbook(world, "stores", "add", "one", "--replace", "--name", "New", typed="")
    assert result.exit_code == 0
    assert world.bodies("/stores/one") == [{"name": "New"}]
    assert result.stdout.startswith("Changed one")


@pytest.mark.usefixtures("_terminal")
def test_empty_answer_at_a_terminal_keeps_the_old_secret(world: Shops) -> None:
    result = lookbook(world, "stores", "add", "one", "--replace", "--domain", "x", typed="\n")
    assert result.exit_code == 0
    assert world.bodies("/stores/one") == [{"domain": "x"}]


def test_added_store_that_cannot_be_published_to_is_status_2(world: Shops) -> None:
    world.test = {"ok": False, "shop": "", "scopes": [], "missing": [], "reason": "The token was refused."}
    result = lookbook(world, "stores", "add", "two", "--domain", "two", typed=TOKEN)
    assert result.exit_code == 2
    assert "two cannot be published to: The token was refused." in result.stdout
    # And so is one that could not be tried out
    problem = {"title": "Service Unavailable", "status": 503, "detail": "The shop could not be asked in time."}
    world.before = lambda sent: (503, problem) if sent.path.endswith("/test") else None
    result = lookbook(world, "stores", "add", "three", "--domain", "three", typed=TOKEN)
    assert result.exit_code == 2
    assert "Added three" in result.stdout
    assert "could not be asked in time" in result.stdout


def test_scopes_that_lack_are_named_with_where_to_grant_them(world: Shops) -> None:
    assert lookbook(world, "stores", "test", "one").exit_code == 0
    missing = {"ok": False, "missing": ["write_files", "write_products"], "reason": "The app lacks the scopes."}
    world.test |= missing
    result = lookbook(world, "stores", "test", "one")
    assert result.exit_code == 1
    assert "Missing: write_files, write_products" in result.stdout
    assert "Develop apps" in result.stdout
    assert "Dev Dashboard" in result.stdout


def test_list_shows_stores_with_their_figures(world: Shops) -> None:
    world.stores["two"] = a_store("two", published_at=None, reuse_rate=None, images_reused=0, images_generated=0)
    result = lookbook(world, "stores", "list")
    assert result.exit_code == 0
    assert "90.0%" in result.stdout
    assert "two.myshopify.com" in result.stdout
    assert json.loads(lookbook(world, "stores", "list", "--json").stdout) == list(world.stores.values())
    world.stores.clear()
    assert "lookbook stores add" in lookbook(world, "stores", "list").stdout


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize(("typed", "status", "removed"), [("y\n", 0, True), ("n\n", 1, False)])
def test_store_is_removed_after_asking(world: Shops, typed: str, status: int, removed: bool) -> None:
    result = lookbook(world, "stores", "remove", "one", typed=typed)
    assert result.exit_code == status
    assert bool(world.paths("DELETE")) is removed
    assert ("Removed one." if removed else "Nothing was done.") in result.stdout


def test_store_is_removed_unasked_only_if_told_so(world: Shops) -> None:
    refused = lookbook(world, "stores", "remove", "one")
    assert (refused.exit_code, world.paths("DELETE")) == (1, [])
    assert "--yes" in refused.stderr
    assert lookbook(world, "stores", "remove", "one", "--yes", "--keep-pictures").exit_code == 0
    (sent,) = [sent for sent in world.sent if sent.method == "DELETE"]
    assert sent.query == {"keep_pictures": "true"}


def test_store_with_live_images_says_how_to_take_them_out(world: Shops) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "Take them out first: lookbook unpublish one --all."}
    world.before = lambda sent: (409, problem) if sent.method == "DELETE" else None
    result = lookbook(world, "stores", "remove", "one", "--yes")
    assert (result.exit_code, result.stderr) == (1, f"Error: {problem['detail']}\n")


# --- stores match


def a_match(status: str = "succeeded", **changes: Any) -> Json:
    return a_sync(status, kind="match", counts={"products": 0, "rejected": 0}, **changes)


def test_matches_are_saved_and_shown_with_how_to_apply_them(world: Shops, tmp_path: Path) -> None:
    # Given a match that takes a moment
    world.runs = [a_match("running"), a_match("running"), a_match()]
    # When it is asked for
    result = lookbook(world, "stores", "match", "one")
    # Then the mapping is in a file, as it came, and the pairs with what they were found by are shown
    assert result.exit_code == 0
    assert (tmp_path / "one-mapping.csv").read_bytes() == CSV.encode()
    lines = lines_of(result.stdout)
    assert "1402938475610293847 11 连衣裙 Floral Dress sku" in lines
    assert "CJ2 12 Hat, red Red Hat handle" in lines
    assert "2 matched (1 by sku, 1 by handle), 1 ambiguous, 3 not found, 4 mapped before." in lines
    assert lines[-1] == "Look it over, then apply it with: lookbook sync one one-mapping.csv"
    assert "signature" not in result.output
    assert world.bodies("/sync") == []


def test_file_that_is_there_is_not_written_over(world: Shops, tmp_path: Path) -> None:
    world.runs = [a_match()]
    (tmp_path / "mine.csv").write_text("mine")
    result = lookbook(world, "stores", "match", "one", "--out", "mine.csv")
    assert (result.exit_code, world.sent) == (1, [])
    assert (tmp_path / "mine.csv").read_text() == "mine"
    assert lookbook(world, "stores", "match", "one", "--out", "mine.csv", "--force").exit_code == 0
    assert (tmp_path / "mine.csv").read_bytes() == CSV.encode()


def test_matches_are_applied_at_once_if_told_so(world: Shops) -> None:
    world.runs = [a_match(), a_sync(stores=[in_store(published=2, images_added=6)])]
    result = lookbook(world, "stores", "match", "one", "--apply", "--yes")
    assert result.exit_code == 0
    assert world.bodies("/sync") == [{"mapping": CSV.removeprefix("\N{BOM}")}]
    assert "Stores" in result.stdout


def test_matches_are_not_applied_by_nobody(world: Shops, tmp_path: Path) -> None:
    world.runs = [a_match()]
    result = lookbook(world, "stores", "match", "one", "--apply")
    assert result.exit_code == 1
    assert "Map these 2 products so" in result.stderr
    assert world.bodies("/sync") == []
    assert (tmp_path / "one-mapping.csv").exists()


def test_match_that_finds_none_saves_none(world: Shops, tmp_path: Path) -> None:
    world.runs = [a_match()]
    world.found |= {"matched": 0, "by": {}}
    result = lookbook(world, "stores", "match", "one", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {**world.found, "run_id": RUN_ID, "file": None}
    assert not (tmp_path / "one-mapping.csv").exists()


def test_match_that_fails_says_why(world: Shops) -> None:
    world.runs = [a_match("failed", reason="Store one: The token was refused.", stores=[in_store(reason="x")])]
    result = lookbook(world, "stores", "match", "one")
    assert result.exit_code == 1
    assert "Reason: Store one: The token was refused." in result.stdout
    assert "Try it again with: lookbook stores match one" in result.stdout


# --- sync and unpublish


@pytest.mark.parametrize(
    ("args", "path", "body"),
    [
        ([], "/sync", {}),
        (["--changed"], "/sync", {"changed": True}),
        (["map.csv"], "/sync", {"mapping": "CJ Product ID,Shopify Product ID\r\nCJ1,11\r\n"}),
        (["map.csv", "--map-only"], "/mapping", {"mapping": "CJ Product ID,Shopify Product ID\r\nCJ1,11\r\n"}),
    ],
)
def test_sync_sends_what_was_asked_for(world: Shops, tmp_path: Path, args: list[str], path: str, body: Json) -> None:
    (tmp_path / "map.csv").write_bytes("\N{BOM}CJ Product ID,Shopify Product ID\r\nCJ1,11\r\n".encode())
    world.runs = [a_sync()]
    result = lookbook(world, "sync", "one", *args, "--no-wait")
    assert result.exit_code == 0
    assert world.bodies(f"/api/stores/one{path}") == [body]
    assert f"lookbook show {RUN_ID}" in result.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["none.csv"], "no file"),
        (["utf16.csv"], "not UTF-8"),
        (["large.csv"], "4 MB"),
        (["--map-only"], "goes with a mapping"),
        (["map.csv", "--map-only", "--changed"], "goes with a mapping"),
    ],
)
def test_sync_that_cannot_be_is_refused_before_anything_is_sent(
    world: Shops, tmp_path: Path, args: list[str], says: str
) -> None:
    (tmp_path / "utf16.csv").write_bytes("CJ Product ID,é".encode("utf-16"))
    (tmp_path / "large.csv").write_bytes(b"x" * 4_000_001)
    (tmp_path / "map.csv").write_text("x")
    result = lookbook(world, "sync", "one", *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


def test_sync_ends_with_a_table_and_the_problems_in_plain_words(world: Shops) -> None:
    # Given a sync that does most of what was asked for
    reason = "Shopify cannot use it: [too] large."
    problems = [{"product_id": f"CJ{n}", "title": "Dress", "status": "failed", "reason": reason} for n in range(2)] + [
        {"product_id": "1402938475610293847", "title": "Hat", "status": "not_mapped", "reason": "It is not mapped."}
    ]
    done = in_store(
        published=100,
        unchanged=190,
        failed=5,
        not_mapped=3,
        without_images=0,
        images_added=299,
        images_removed=12,
        points=2804.3,
        problems=problems,
    )
    rejected = {"index": 7, "product_id": "CJ7", "status": "rejected", "reason": "Line 7: the id is missing."}
    world.runs = [a_sync("running"), a_sync("partial", stores=[done], problems=[rejected], reason="Store one: …")]
    # When it is followed
    result = lookbook(world, "sync", "one")
    # Then its end is told: figures, problems, and how to go on
    assert result.exit_code == 2
    lines = lines_of(result.stdout)
    assert "300 products looked at, 2 of them rejected." in lines
    assert "store published unchanged failed not mapped images added removed points" in lines
    assert "one 100 190 5 3 299 12 2,804" in lines
    assert f"one 2 products failed {reason}" in lines
    assert "one 1402938475610293847 not mapped It is not mapped." in lines
    assert "7 CJ7 rejected Line 7: the id is missing." in lines
    assert "3 of 8 shown for one. See more with: lookbook usage one --status failed" in lines
    assert lines[-2:] == [
        "Bring one up to date with: lookbook sync one",
        "Map what is not mapped in one with: lookbook stores match one",
    ]
    # And there is nothing of images made, and no retry, which there is none of
    assert "generated" not in result.stdout
    assert "lookbook retry" not in result.stdout


@pytest.mark.parametrize(("status", "exit_code"), [("succeeded", 0), ("partial", 2), ("failed", 1)])
def test_exit_status_of_a_sync_is_that_of_a_run(world: Shops, status: str, exit_code: int) -> None:
    world.runs = [a_sync(status, stores=[in_store(unchanged=300)])]
    result = lookbook(world, "sync", "one", "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout) == world.runs[0]


def test_unpublish_takes_out_some_or_all(world: Shops) -> None:
    world.runs = [a_sync(kind="unpublish", stores=[in_store(taken_out=2, unchanged=1, images_removed=6)])]
    result = lookbook(world, "unpublish", "one", "CJ1", "CJ2", "CJ1")
    assert result.exit_code == 0
    assert "one 2 1 0 6 0" in lines_of(result.stdout)
    assert lookbook(world, "unpublish", "one", "--all", "--yes").exit_code == 0
    assert world.bodies("/unpublish") == [{"products": ["CJ1", "CJ2"]}, {}]


@pytest.mark.parametrize(
    "args", [[], ["CJ1", "--all"], ["--all"], [f"CJ{n}" for n in range(1001)]], ids=["none", "both", "unasked", "many"]
)
def test_unpublish_that_nobody_has_asked_for_so_is_refused(world: Shops, args: list[str]) -> None:
    result = lookbook(world, "unpublish", "one", *args)
    assert result.exit_code == 1
    assert world.sent == []


# --- usage


def test_usage_of_a_store_is_its_figures_and_products(world: Shops) -> None:
    world.lists["usages"] = [a_usage(), a_usage("CJ2", status="failed", reason="Too large.", images=[])]
    result = lookbook(world, "usage", "one")
    assert result.exit_code == 0
    lines = lines_of(result.stdout)
    assert lines[0] == "one: The one, one.myshopify.com"
    assert "Images put there: 100 new, 900 reused (reuse rate 90.0%)" in lines
    assert "Saved by reuse: 0.5400 dollars, 165.0 minutes of work" in lines
    assert any(line.startswith("1402938475610293847 live 2 2026-11-20") for line in lines)
    assert any(line.startswith("CJ2 failed 0") and line.endswith("Too large.") for line in lines)
    assert max(map(cell_len, result.stdout.splitlines())) <= 80


def test_usage_of_a_store_can_be_narrowed_down_and_cut(world: Shops) -> None:
    world.lists["usages"] = [a_usage(f"CJ{n}") for n in range(5)]
    cut = lookbook(world, "usage", "one", "--status", "live", "--limit", 3)
    assert "more than 3" in cut.stdout
    assert {sent.query.get("status") for sent in world.sent if sent.path.endswith("/usage")} == {"live"}
    whole = json.loads(lookbook(world, "usage", "one", "--json").stdout)
    assert whole == {"store": a_store(), "usages": world.lists["usages"]}
    world.lists["usages"] = []
    assert "No product is mapped" in lookbook(world, "usage", "one").stdout


def test_usage_of_a_product_is_where_its_images_are_live(world: Shops) -> None:
    other = a_usage(store_id="two", status="failed", reason="Too large.", images=[])
    world.products["1402938475610293847"] = a_product("1402938475610293847") | {"usages": [a_usage(), other]}
    result = lookbook(world, "usage", "1402938475610293847")
    assert result.exit_code == 0
    lines = lines_of(result.stdout)
    assert any(line.startswith("one live 000000000000 2026-11-20") for line in lines)
    assert any(line.startswith("111111111111 2026-11-21") for line in lines)
    assert any(line.startswith("two failed - -") and line.endswith("Too large.") for line in lines)
    failed = json.loads(lookbook(world, "usage", "1402938475610293847", "--status", "failed", "--json").stdout)
    assert failed == {"product_id": "1402938475610293847", "usages": [other]}
    assert "Live in: one." in lookbook(world, "get", "1402938475610293847").stdout
    assert lookbook(world, "usage", "CJ9").exit_code == 1


# --- runs that publish


def test_run_publishes_to_stores_if_told_so(world: Shops, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[]")
    stores = [in_store(published=38, images_added=114, points=1100), in_store("two", reason="The token was refused.")]
    world.runs = [a_run("partial", options={"stores": ["one", "two"]}, phase="publishing", stores=stores)]
    result = lookbook(world, "run", "s.json", "--store", "one", "--store", "two", "--store", "one")
    assert result.exit_code == 2
    assert world.bodies("/api/runs")[0]["options"] == {"stores": ["one", "two"]}
    lines = lines_of(result.stdout)
    assert {"generated 8", "images new 24", "one 38 0 0 114 0 1,100"} <= set(lines)
    assert lines[-1] == "Bring two up to date with: lookbook sync two"


def test_command_of_a_plan_names_its_stores(world: Shops, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[]")
    plan = {"images_to_generate": 0, "cost_usd": 0, "max_cost_usd": 0, "methods": [], "images_linked": 0}
    world.runs = [a_run("planned", kind="plan", plan=plan)]
    result = lookbook(world, "run", "s.json", "--plan", "--store", "one")
    assert "lookbook run s.json --store one" in result.stdout


PUBLISHING = in_store(published=100, unchanged=20, done=False)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (a_run("running", kind="plan", progress={"done": 1, "total": 2}, cost_usd=0), "Planning: 1 of 2 products done"),
        (a_sync("running", phase=None), "Looking the products up"),
        (a_sync("running"), "Publishing to one"),
        (a_sync("running", stores=[PUBLISHING]), "Publishing to one: 120 of 298"),
        (a_sync("running", kind="unpublish", stores=[PUBLISHING]), "Taking images out of one: 120 of 298"),
        (a_match("running", stores=[in_store(done=False)]), "Looking through one"),
        (a_sync("running", stores=[PUBLISHING], stopping="anna stopped it."), "Stopping (anna stopped it.)"),
        (
            a_run(
                "running",
                options={"stores": ["one", "two"]},
                phase="publishing",
                stores=[in_store(published=40)],
                progress={"done": 8, "total": 8},
                cost_usd=0.0347,
            ),
            "Publishing to one: 40 of 40, two: 0.0347 dollars",
        ),
    ],
)
def test_progress_says_how_far_each_store_is(run: Json, says: str) -> None:
    clock = iter([0.0, 31.0, 31.0])
    out = io.StringIO()
    with render.RunProgress(Console(file=out), clock=lambda: next(clock)) as progress:
        progress.update(run)
    assert out.getvalue() == f"{says}\n"


def test_show_and_stop_know_a_run_that_publishes(world: Shops) -> None:
    world.runs = [a_sync("running", stores=[PUBLISHING])]
    shown = lookbook(world, "show", RUN_ID)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "Publishing to one: 120 of 298."
    assert "lookbook sync" not in shown.stdout
    stopped = lookbook(world, "stop", RUN_ID)
    assert "finishes the products that it is at" in stopped.stdout
    assert stopped.stdout.splitlines()[-1] == "Bring one up to date with: lookbook sync one"


def test_match_that_is_looked_at_later_has_its_counts(world: Shops) -> None:
    world.runs = [a_match(plan=world.found, stores=[in_store()])]
    result = lookbook(world, "show", RUN_ID)
    assert result.stdout.splitlines() == [
        f"Run {RUN_ID}: succeeded",
        "2 matched (1 by sku, 1 by handle), 1 ambiguous, 3 not found, 4 mapped before.",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_table_of_stores_keeps_what_counts(width: int) -> None:
    everything = {name: 12_345 for name in in_store() if name not in {"store_id", "done", "reason", "problems"}}
    table = render.publishing_table({"kind": "sync", "stores": [in_store("a" * 32, **everything)]}, width)
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table, crop=False)
    heading = lines_of(out.getvalue())[1]
    assert {"published", "failed", "mapped"} <= set(heading.split())
    assert width < 120 or "images added" in heading


def test_every_command_about_stores_has_help_with_an_example(world: Shops) -> None:
    names = ["stores add", "stores list", "stores test", "stores remove", "stores match", "sync", "unpublish", "usage"]
    for name in names:
        result = lookbook(world, *name.split(), "--help")
        assert result.exit_code == 0
        assert f"lookbook {name}" in result.stdout.partition("Example:")[2]
    assert "stores match" in lookbook(world, "stores", "match", "--help").stdout


def test_nothing_of_a_store_is_sent_twice(world: Shops) -> None:
    world.runs = [a_sync()]

    def gone(sent: Sent) -> Answer | None:
        if sent.method == "POST" and urlsplit(sent.path).path.endswith("/sync"):
            raise requests.ConnectionError
        return None

    world.before = gone
    result = lookbook(world, "sync", "one")
    assert result.exit_code == 1
    assert len(world.bodies("/sync")) == 1
