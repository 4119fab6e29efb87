"""The Hotmart sync, with tables, a bucket and an account that are only in memory: what it writes, counts and starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lookbook import aws, hotmart_sync, library, pipeline, runs, scrape, search
from lookbook.hotmart import (
    CallRefusedError,
    KeyRefusedError,
    Listed,
    NotConfiguredError,
    NoTimeError,
    Offer,
    Page,
    PageTokenError,
    UnavailableError,
    Unreadable,
)
from lookbook.hotmart_sync import COUNTS, HAND_OVER_SECONDS, Syncer, Task
from lookbook.plan import outcome_key
from lookbook.settings import HotmartSettings
from lookbook.tables import HotmartSync, Outcome, Product, Run
from lookbook.times import iso
from tests.unit.fakes import Bucket, KilledError, Tables, a_product, tables_in_memory

SCHEDULED = {"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}
BY_HAND = {"started_by": "ana@example.com"}
SCHEDULE = "rate(6 hours)"
SIX_HOURS = 6 * 3600
PAGE = 2


def settings(**changes: Any) -> HotmartSettings:
    given = {
        "bucket": "bucket",
        "library_table": "library",
        "history_table": "history",
        "runs_table": "runs",
        "pipeline_arn": "arn:pipeline",
        "hotmart_auth_url": "https://auth.example.com",
        "hotmart_api_url": "https://api.example.com",
        "hotmart_secret": "secret",
        "hotmart_statuses": "ACTIVE",
        "hotmart_formats": "",
        "hotmart_max_cost_usd": "5",
        "open_ai_model": "gpt-image-2.6-flare",
    }
    return HotmartSettings.model_validate(given | changes)


class AccountInMemory:
    """An account as lookbook.hotmart.Hotmart shows it, two products a page, that fails as it is told to.

    `fails` maps a call, or a call and what it is about, to what it raises, so many times.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.listed: list[Listed | Unreadable] = []
        self.sold: dict[str, list[Offer]] = {}
        self.fails: dict[str, tuple[Exception, int]] = {}
        self.calls: list[str] = []
        self.within: list[float] = []
        self.seconds = 0.0
        self.before: Callable[[str], object] = lambda _: None

    # --- what its owner does

    def has(self, number: int, name: str = "", status: str = "ACTIVE", kind: str = "EBOOK", **offer: Any) -> None:
        """Have a product, new or changed, with one offer."""
        listed = Listed(number, name or f"Curso {number}", f"u{number}", status, kind)
        self.sold[listed.ucode] = [Offer(**{"description": f"Aprenda {number} em casa", "price": "97.00 BRL", **offer})]
        for place, each in enumerate(self.listed):
            if each.number == number:
                self.listed[place] = listed
                return
        self.listed.append(listed)

    def deletes(self, number: int) -> None:
        self.listed = [each for each in self.listed if each.number != number]

    # --- what lookbook.hotmart.Hotmart can do

    def _called(self, call: str, about: str, within: float = 100) -> None:
        self.world.step()
        self.calls.append(f"{call} {about}".strip())
        self.within.append(within)
        self.world.now += timedelta(seconds=self.seconds)
        self.world.seconds -= self.seconds
        self.before(self.calls[-1])
        for key in (call, f"{call} {about}"):
            error, times = self.fails.get(key, (None, 0))
            if error is not None and times:
                self.fails[key] = (error, times - 1)
                raise error

    def check(self) -> None:
        self._called("check", "")

    def products(self, page_token: str | None, within: float) -> Page:
        self._called("products", page_token or "", within)
        start = int(page_token or 0)
        following = str(start + PAGE) if start + PAGE < len(self.listed) else None
        return Page(tuple(self.listed[start : start + PAGE]), following)

    def find(self, number: int, within: float) -> Listed | Unreadable | None:
        self._called("find", str(number), within)
        return next((each for each in self.listed if each.number == number), None)

    def offers(self, ucode: str, within: float) -> list[Offer]:
        self._called("offers", ucode, within)
        return self.sold[ucode]


class CountingBucket(Bucket):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def put_object(self, **given: Any) -> None:
        self.world.step()
        super().put_object(**given)
        self.world.step()


class World:
    """All that the sync touches, in memory, its clock, and what may kill it."""

    def __init__(self, tables: Tables) -> None:
        self.now = datetime(2026, 11, 21, 10, 15, 2, tzinfo=UTC)
        self.seconds = 900.0
        self.tables = tables
        self.bucket = CountingBucket(self)
        self.account = AccountInMemory(self)
        self.settings = settings()
        self.executions: dict[str, dict[str, Any]] = {}
        self.refuses_to_start: Exception | None = None
        self.called_again: list[dict[str, Any]] = []
        self.steps = 0
        self.dies_at: int | None = None
        tables.about_to_write = tables.written = self.step

    def step(self) -> None:
        """One more thing is about to be done, or has been; the process may die of it."""
        self.steps += 1
        if self.steps == self.dies_at:
            raise KilledError

    @staticmethod
    def new_id(moment: datetime) -> str:
        """One a moment, so that one that a killed sync has not written down comes again."""
        return f"{moment:%Y%m%dT%H%M%S}-{1:08x}"

    def start_execution(self, *, name: str, **given: Any) -> None:
        """Start the state machine, whose Ingest begins the run."""
        self.step()
        if self.refuses_to_start:
            raise self.refuses_to_start
        if name in self.executions:
            raise ClientError({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")
        self.executions[name] = json.loads(given["input"])
        self.step()

    # --- what is done

    def sync(self, event: dict[str, Any] = SCHEDULED, call: str = "", **given: Any) -> dict[str, Any]:
        """Call the function, and return what it tells."""
        self.seconds = given.pop("seconds", 900.0)
        call = call or f"call-{self.steps}"
        syncer = Syncer(self.settings, self.account, self.go_on, lambda: self.now)
        return syncer.sync(Task.model_validate(event), call, lambda: self.seconds)

    def go_on(self, payload: dict[str, Any]) -> None:
        self.step()
        self.called_again.append(payload)

    def later(self, seconds: float = SIX_HOURS) -> None:
        self.now += timedelta(seconds=seconds)

    def syncs(self, event: dict[str, Any] = SCHEDULED) -> dict[str, int]:
        """Sync six hours later, and return its counts."""
        self.later()
        self.account.calls.clear()
        told = self.sync(event)
        assert told["status"] == "succeeded", told
        return self.counts()

    def run_ends(self, **outcomes: str) -> None:
        """Let the last sync's run end, with what became of some products, each by p and its number."""
        run_id = self.record().run_id
        assert run_id is not None
        for name, status in outcomes.items():
            self.outcome(run_id, name, status)
        Run(run_id, "run").update([Run.finished_at.set(iso(self.now)), Run.status.set("partial")])

    @staticmethod
    def outcome(run_id: str, name: str, status: str) -> None:
        product_id = f"hotmart:{name.removeprefix('p')}"
        zeros: dict[str, Any] = dict.fromkeys(("images_generated", "images_reused", "cost_microusd", "work_ms"), 0)
        Outcome(run_id, outcome_key(product_id), status=status, reason="", **zeros).save()

    def gets_image(self, number: int) -> None:
        Product(f"hotmart:{number}", "product").update([Product.variants.set({1})])

    # --- what is there then

    def record(self) -> Any:
        return HotmartSync.get("all#hotmart", "sync")

    def counts(self) -> dict[str, int]:
        """The counts that are not 0."""
        return {name: count for name, count in self.status()["counts"].items() if count}

    def status(self) -> Any:
        return hotmart_sync.status(SCHEDULE, self.now)

    def product(self, number: int) -> Any:
        return library.get_product(f"hotmart:{number}")

    def library(self) -> dict[str, dict[str, Any]]:
        rows = self.tables.rows["LibraryItem"]
        return {key[0]: row for key, row in rows.items() if key[0].startswith("hotmart:")}

    def covers_asked_for(self) -> dict[str, list[str]]:
        """The products of each run that was started, by the run's id."""
        return {run_id: [entry["product_id"] for entry in self.scrape(run_id)] for run_id in self.executions}

    def scrape(self, run_id: str) -> list[dict[str, Any]]:
        text = self.bucket.objects[self.executions[run_id]["key"]].decode()
        return [json.loads(line) for line in text.splitlines()]

    def last_run(self) -> list[str]:
        return [each.removeprefix("hotmart:") for each in list(self.covers_asked_for().values())[-1]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(aws, "step_functions", lambda: made)
    monkeypatch.setattr(runs, "new_id", made.new_id)
    monkeypatch.setattr(pipeline, "now", lambda: made.now)
    return made


@pytest.fixture
def shop(world: World) -> AccountInMemory:
    """An account with five products on three pages: three to sync, a draft, and one that is paused."""
    account = world.account
    account.has(1, "Confeitaria em Casa")
    account.has(2, "Yoga", status="DRAFT")
    account.has(3, "Fotografía con el Móvil", kind="ONLINE_COURSE", description="Haz fotos para ti", price="49.00 EUR",
                currency="EUR")  # fmt: skip
    account.has(4, "The Quiet Club", kind="COMMUNITY", description="", price="")
    account.has(5, "Violão", status="PAUSED")
    return account


# ---------------------------------------------------------------------- the usual way


def test_new_products_come_into_the_library_and_get_one_run_for_their_covers(
    world: World, shop: AccountInMemory, tmp_path: Path
) -> None:
    # When an account is synced for the first time
    told = world.sync(BY_HAND)

    # Then all pages were read, and offers only of what is wanted
    assert [each for each in shop.calls if not each.startswith("offers")] == [
        "check",
        "products",
        "products 2",
        "products 4",
    ]
    assert [each for each in shop.calls if each.startswith("offers")] == ["offers u1", "offers u3", "offers u4"]

    # And the products are there, as Hotmart tells them
    assert set(world.library()) == {"hotmart:1", "hotmart:3", "hotmart:4"}
    product = world.product(3)
    assert (product.title, product.category, product.source) == ("Fotografía con el Móvil", "ONLINE_COURSE", "hotmart")
    assert (product.description, product.price) == ("Haz fotos para ti", "49.00 EUR")
    assert (product.source_status, product.source_deleted_at) == ("ACTIVE", None)
    assert (product.created_at, product.updated_at, product.source_url) == (iso(world.now), iso(world.now), "")
    assert (product.listing, product.images_cost_microusd, product.images_work_ms) == ("products", 0, 0)
    assert [world.product(each).locale for each in (1, 3, 4)] == ["pt", "es", "en"]
    assert (world.product(4).description, world.product(4).price) == (None, None)
    assert {"fotografia", "movil", "3"} <= set(product.words)

    # And one run makes their covers
    [run_id] = world.executions
    run = runs.get(run_id)
    assert world.executions == {run_id: {"run_id": run_id, "name": run.name, "key": f"runs/{run_id}/scrape"}}
    assert (run.name, run.purpose, run.status) == ("Hotmart sync 2026-11-21 10:15", "scrape", "running")
    assert run.options == {"variants": 1, "method": "openai", "max_cost_usd": 5.0}
    assert run.started_by == "ana@example.com"
    assert world.scrape(run_id)[1] == {
        "product_id": "hotmart:3", "title": "Fotografía con el Móvil", "category": "ONLINE_COURSE",
        "description": "Haz fotos para ti", "price": "49.00 EUR", "source": "hotmart", "locale": "es",
    }  # fmt: skip
    path = tmp_path / "scrape"
    path.write_bytes(world.bucket.objects[f"runs/{run_id}/scrape"])
    read = [found for _, found in scrape.read_products(path)]
    assert [found.product_id for found in read] == ["hotmart:1", "hotmart:3", "hotmart:4"]
    assert {found.source for found in read if isinstance(found, scrape.Product)} == {"hotmart"}

    # And all of it is told
    counts = dict.fromkeys(COUNTS, 0) | {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}
    assert world.status() == {
        "configured": True, "status": "succeeded", "sync_id": run_id, "started_at": iso(world.now),
        "finished_at": iso(world.now), "next_at": "2026-11-21T16:15:02.000Z", "error": None, "counts": counts,
        "run_id": run_id, "run_status": "running", "schedule": SCHEDULE,
    }  # fmt: skip
    assert told == {"status": "succeeded", "sync_id": run_id, "reason": None, **counts}


def test_a_run_of_one_product_can_be_read_too(world: World, tmp_path: Path) -> None:
    world.account.has(1, "Só Um")
    world.sync()
    [run_id] = world.executions
    path = tmp_path / "scrape"
    path.write_bytes(world.bucket.objects[f"runs/{run_id}/scrape"])
    [(_, found)] = scrape.read_products(path)
    assert isinstance(found, scrape.Product)
    assert (found.product_id, found.title, found.category) == ("hotmart:1", "Só Um", "EBOOK")


@pytest.mark.usefixtures("shop")
def test_what_has_not_changed_is_not_written(world: World) -> None:
    # Given products that have their covers
    world.sync()
    for number in (1, 3, 4):
        world.gets_image(number)
    world.run_ends()
    before, files = world.library(), dict(world.bucket.objects)
    before = json.loads(json.dumps(before))

    # When they are synced again
    counts = world.syncs()

    # Then not one of them is written, and there is no run
    assert counts == {"listed": 5, "unchanged": 3, "skipped": 2}
    assert world.library() == before
    assert len(world.executions) == 1
    assert (world.status()["run_id"], world.status()["run_status"]) == (None, None)
    assert {key.partition("/page-")[0] for key in world.bucket.objects.keys() - files} == {
        f"runs/{world.record().sync_id}/hotmart"
    }


def test_what_has_changed_is_written_and_nothing_else_of_it(world: World, shop: AccountInMemory) -> None:
    # Given a product with a cover, tags, and a run at work on it
    world.sync()
    library.claim(a_product(product_id="hotmart:1", title="Confeitaria em Casa", category="EBOOK", source="hotmart",
                            image_url=""), "run", 1, world.now)  # fmt: skip
    cover = {"cover_image_id": "abc", "cover_entry_id": "1", "images_cost_microusd": 34_000, "images_work_ms": 9000}
    Product("hotmart:1", "product").update(
        [Product.variants.set({1}), Product.tags.set(["doces"]),
         *(getattr(Product, name).set(value) for name, value in cover.items())]
    )  # fmt: skip
    before = world.product(1)

    # When its name and price change
    shop.has(1, "Confeitaria em sua Casa", price="87.00 BRL")
    counts = world.syncs()

    # Then these are written, it is found under its new name, and all else stays
    after = world.product(1)
    assert counts == {"listed": 5, "changed": 1, "unchanged": 2, "skipped": 2, "without_image": 2}
    assert (after.title, after.price) == ("Confeitaria em sua Casa", "87.00 BRL")
    assert (after.created_at, after.updated_at) == (before.created_at, iso(world.now))
    assert "sua" in after.words
    for name in ("variants", "tags", "claimed_by", "claim_expires_at", *cover):
        assert getattr(after, name) == getattr(before, name), name


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {1, 3, 4}),
        ({"hotmart_statuses": "ACTIVE,DRAFT,NEW_ONE"}, {1, 2, 3, 4, 6}),
        ({"hotmart_formats": "EBOOK"}, {1}),
        ({"hotmart_formats": "COMMUNITY,HOLOGRAM"}, {4, 7}),
        ({"hotmart_statuses": "NEW_ONE", "hotmart_formats": "EBOOK,HOLOGRAM"}, {6}),
    ],
)
def test_status_and_format_say_what_is_wanted(
    world: World, shop: AccountInMemory, changes: dict[str, str], wanted: set[int]
) -> None:
    shop.has(6, status="NEW_ONE", kind="HOLOGRAM")
    shop.has(7, status="ACTIVE" if "HOLOGRAM" in str(changes) and "statuses" not in str(changes) else "PAUSED",
             kind="HOLOGRAM")  # fmt: skip
    world.settings = settings(**changes)
    world.sync()
    assert set(world.library()) == {f"hotmart:{number}" for number in wanted}
    assert world.counts()["skipped"] == 7 - len(wanted)


def test_with_covers_switched_off_no_run_is_started_and_it_is_said_why(world: World, shop: AccountInMemory) -> None:
    world.settings = settings(open_ai_model="")
    told = world.sync(BY_HAND)

    assert (told["status"], world.executions, len(shop.listed)) == ("succeeded", {}, 5)
    assert "set OpenAiModel" in told["reason"]


def test_the_main_offer_counts_else_the_first(world: World, shop: AccountInMemory) -> None:
    shop.sold["u1"] = [Offer("first", "1.00 BRL"), Offer("main", "2.00 BRL", main=True)]
    shop.sold["u3"] = [Offer("first", "1.00 BRL"), Offer("second", "2.00 BRL")]
    shop.sold["u4"] = []
    world.sync()
    assert [(world.product(each).description, world.product(each).price) for each in (1, 3, 4)] == [
        ("main", "2.00 BRL"), ("first", "1.00 BRL"), (None, None)
    ]  # fmt: skip


def test_an_account_without_products_is_synced(world: World) -> None:
    world.sync()
    assert (world.status()["status"], world.counts(), world.executions) == ("succeeded", {}, {})


# ---------------------------------------------------------------------- products that go, and come back


def test_a_product_that_is_no_longer_wanted_keeps_its_image_and_gets_none(world: World, shop: AccountInMemory) -> None:
    # Given two synced products, one with a cover, that are paused
    world.sync()
    world.gets_image(1)
    world.run_ends(p4="failed")
    for number in (1, 4):
        shop.has(number, status="PAUSED")
    before = world.product(1)

    # When they are synced
    counts = world.syncs()

    # Then that is noted, and nothing else
    assert counts == {"listed": 5, "unchanged": 1, "skipped": 4, "without_image": 1}
    assert (world.product(1).source_status, world.product(4).source_status) == ("PAUSED", "PAUSED")
    assert (world.product(1).title, world.product(1).variants) == (before.title, {1})
    assert world.last_run() == ["3"]

    # And noted once
    rows = json.loads(json.dumps(world.library()))
    world.run_ends(p3="deferred")
    world.gets_image(3)
    world.syncs()
    assert {name: row for name, row in world.library().items() if name != "hotmart:3"} == {
        name: row for name, row in rows.items() if name != "hotmart:3"
    }


@pytest.mark.parametrize("how", ["vanishes", "is listed as deleted"])
def test_a_product_that_is_deleted_is_marked_and_unmarked_when_it_is_back(
    world: World, shop: AccountInMemory, how: str
) -> None:
    # Given a synced product with a cover, and one that no sync has brought
    world.sync()
    world.gets_image(1)
    library.claim(a_product(product_id="hotmart:99", source="hotmart"), "run", 1, world.now)
    listed = 4 if how == "vanishes" else 5
    if how == "vanishes":
        shop.deletes(1)
    else:
        shop.has(1, "Confeitaria em Casa", status="DELETED")

    # When it is synced, then it is marked, once, and keeps its image
    counts = world.syncs()
    since = iso(world.now)
    assert (counts["listed"], counts["deleted"]) == (listed, 1)
    assert "deleted" not in world.syncs()
    assert not any(call.startswith("find") for call in shop.calls)
    product = world.product(1)
    assert (product.source_status, product.source_deleted_at, product.variants) == ("DELETED", since, {1})
    assert world.product(99).source_deleted_at is None

    # And when it is back, then it is not
    shop.has(1, "Confeitaria em Casa")
    counts = world.syncs()
    assert (counts["changed"], counts.get("deleted")) == (1, None)
    assert (world.product(1).source_status, world.product(1).source_deleted_at) == ("ACTIVE", None)


def test_a_deleted_product_may_come_back_as_a_draft(world: World, shop: AccountInMemory) -> None:
    world.sync()
    shop.deletes(1)
    world.syncs()
    shop.has(1, "Confeitaria em Casa", status="DRAFT")
    world.syncs()
    assert (world.product(1).source_status, world.product(1).source_deleted_at) == ("DRAFT", None)


def test_a_product_that_slips_between_pages_is_not_taken_for_deleted(world: World, shop: AccountInMemory) -> None:
    # Given a product of the first page that is deleted when that has been read, so that the others move up
    world.sync()
    shop.before = lambda call: shop.deletes(1) if call == "products 2" else None

    # Then the one that was on no page is asked for by its number
    counts = world.syncs()
    assert world.product(3).source_deleted_at is None
    assert "find 3" in shop.calls
    assert counts["listed"] == 4
    shop.before = lambda _: None
    assert world.syncs()["deleted"] == 1
    assert world.product(1).source_deleted_at is not None


# ---------------------------------------------------------------------- what cannot be used


def test_a_broken_product_is_passed_over_with_its_reason(world: World, shop: AccountInMemory) -> None:
    # Given products that cannot be read, one of which was synced before
    world.sync()
    before = world.product(1)
    shop.listed[0] = Unreadable(1, "Hotmart tells no usable name of it.")
    shop.listed.append(Unreadable(None, "It is no product."))

    # When they are synced, then the others are, and it says why
    counts = world.syncs()
    assert counts == {"listed": 6, "unchanged": 2, "skipped": 4, "without_image": 2}
    assert world.status()["error"] == (
        "Some products could not be used: hotmart:1: Hotmart tells no usable name of it. a product: It is no product."
    )
    assert world.product(1).updated_at == before.updated_at
    assert world.product(1).source_deleted_at is None


@pytest.mark.parametrize("error", [UnavailableError("Hotmart failed."), CallRefusedError("No."), NoTimeError("Slow.")])
def test_a_product_whose_offers_are_not_told_does_not_hold_up_the_others(
    world: World, shop: AccountInMemory, error: Exception
) -> None:
    shop.fails["offers u3"] = (error, 1)
    world.sync()
    assert world.counts() == {"listed": 5, "added": 2, "skipped": 3, "without_image": 2}
    assert "hotmart:3: Hotmart does not tell its offers just now." in world.status()["error"]
    assert world.syncs() == {"listed": 5, "added": 1, "unchanged": 2, "skipped": 2, "without_image": 3}
    assert world.status()["error"] is None


def test_but_when_no_offers_are_told_hotmart_is_down(world: World, shop: AccountInMemory) -> None:
    shop.fails["offers"] = (UnavailableError("Hotmart failed (HTTP 502)."), 99)
    world.sync()
    assert (world.status()["status"], world.counts()) == ("failed", {"listed": 2, "skipped": 2})
    assert world.status()["error"] == ("Hotmart failed (HTTP 502). The next sync goes on where this one stopped.")


def test_a_product_that_is_listed_twice_counts_once(world: World, shop: AccountInMemory) -> None:
    shop.listed.insert(1, shop.listed[0])
    shop.listed.insert(4, shop.listed[0])
    world.sync()
    assert world.counts() == {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}
    assert sorted(world.last_run()) == ["1", "3", "4"]


# ---------------------------------------------------------------------- covers


@pytest.mark.usefixtures("shop")
def test_a_product_waits_for_the_run_that_has_it(world: World) -> None:
    # Given a run that is still at work
    world.sync()
    first = world.record().run_id
    assert world.syncs() == {"listed": 5, "unchanged": 3, "skipped": 2, "without_image": 3}
    assert len(world.executions) == 1

    # And a product of it that was put off
    world.outcome(first, "p3", "deferred")
    world.syncs()
    assert len(world.executions) == 1

    # When it has ended without them, then they are in another one, and what it was is said
    Run(first, "run").update([Run.finished_at.set(iso(world.now))])
    world.syncs()
    assert world.last_run() == ["1", "3", "4"]


@pytest.mark.usefixtures("shop")
def test_a_run_that_has_died_is_not_waited_for(world: World) -> None:
    world.sync()
    world.later(20 * 3600)
    assert world.syncs()["without_image"] == 3
    assert len(world.executions) == 2


@pytest.mark.parametrize("status", ["deferred", "over_budget"])
@pytest.mark.usefixtures("shop")
def test_what_was_put_off_is_in_the_next_run(world: World, status: str) -> None:
    world.sync()
    for _ in range(4):
        world.run_ends(p1=status, p3=status, p4=status)
        assert world.syncs() == {"listed": 5, "unchanged": 3, "skipped": 2, "without_image": 3}
        assert world.last_run() == ["1", "3", "4"]


def test_after_three_failures_a_product_is_given_up_until_its_texts_change(world: World, shop: AccountInMemory) -> None:
    # Given a product that three runs have failed at
    world.sync()
    for number in (1, 4):
        world.gets_image(number)
    for tries in (1, 2):
        world.run_ends(p3="failed")
        assert world.syncs()["without_image"] == 1
        assert (world.last_run(), world.product(3).cover_tries) == (["3"], tries)
    world.run_ends(p3="failed")

    # Then no more are started by themselves, and nothing is written of it any more
    for _ in range(2):
        assert world.syncs() == {"listed": 5, "unchanged": 3, "skipped": 2, "without_image": 1, "given_up": 1}
    assert len(world.executions) == 3
    assert world.product(3).cover_tries == 3

    # When its price changes, then it stays given up; when its description does, it is tried again
    shop.has(3, "Fotografía con el Móvil", kind="ONLINE_COURSE", description="Haz fotos para ti", price="9.00 EUR")
    assert world.syncs()["given_up"] == 1
    shop.has(3, "Fotografía con el Móvil", kind="ONLINE_COURSE", description="Haz fotos mejores para ti")
    assert "given_up" not in world.syncs()
    assert (len(world.executions), world.last_run(), world.product(3).cover_tries) == (4, ["3"], 0)


def test_what_a_filter_has_blocked_is_given_up_at_once(world: World, shop: AccountInMemory) -> None:
    world.sync()
    world.run_ends(p1="blocked", p3="failed", p4="generated")
    world.gets_image(4)
    assert world.syncs() == {"listed": 5, "unchanged": 3, "skipped": 2, "without_image": 2, "given_up": 1}
    assert world.last_run() == ["3"]

    # And its new name is another try
    shop.has(1, "Bolos em Casa")
    world.run_ends(p3="generated")
    world.gets_image(3)
    assert world.syncs() == {"listed": 5, "changed": 1, "unchanged": 2, "skipped": 2, "without_image": 1}
    assert world.last_run() == ["1"]


@pytest.mark.usefixtures("shop")
def test_what_is_given_up_stays_so_while_its_run_is_at_work_on_others(world: World) -> None:
    # Given a run that has come to its end with one product, and not with another one of its page
    world.account.deletes(2)
    world.sync()
    world.outcome(world.record().run_id, "p1", "blocked")

    # Then that one is given up, once and for all, and the others are waited for
    for _ in range(2):
        assert world.syncs() == {"listed": 4, "unchanged": 3, "skipped": 1, "without_image": 3, "given_up": 1}
    assert len(world.executions) == 1


@pytest.mark.usefixtures("shop")
def test_a_product_with_an_uploaded_image_needs_no_run(world: World) -> None:
    for number in (1, 3):
        library.claim(a_product(product_id=f"hotmart:{number}"), "run", 1, world.now)
    Product("hotmart:1", "product").update([Product.cover_image_id.set("abc")])
    Product("hotmart:3", "product").update([Product.variants.set({7})])
    world.sync()
    assert world.last_run() == ["4"]
    assert world.counts() == {"listed": 5, "added": 1, "changed": 2, "skipped": 2, "without_image": 1}


@pytest.mark.usefixtures("shop")
def test_a_run_takes_no_more_than_it_may(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotmart_sync, "MOST_IN_A_RUN", 2)
    world.sync()
    world.run_ends()
    for number in (1, 3):
        world.gets_image(number)
    world.syncs()
    assert list(world.covers_asked_for().values()) == [["hotmart:1", "hotmart:3"], ["hotmart:4"]]


@pytest.mark.usefixtures("shop")
def test_a_run_that_cannot_be_started_is_told_and_another_one_is(world: World) -> None:
    # Given a state machine that does not start
    world.refuses_to_start = ClientError({"Error": {"Code": "ServiceUnavailable"}}, "StartExecution")
    world.sync()
    assert (world.status()["status"], world.executions) == ("failed", {})
    assert world.status()["error"] == "The run for the covers could not be started. The next sync starts one."

    # When it does, then the next sync starts another run
    world.refuses_to_start = None
    world.syncs()
    assert world.last_run() == ["1", "3", "4"]


# ---------------------------------------------------------------------- trouble with Hotmart


@pytest.mark.parametrize(
    ("error", "configured"),
    [
        (NotConfiguredError("Hotmart is not set up. Set the secret HotmartCredentials."), False),
        (KeyRefusedError("Hotmart refused our credentials."), True),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_credentials_that_are_not_good_are_told(
    world: World, shop: AccountInMemory, error: Exception, configured: bool, first: bool
) -> None:
    # Given an account, perhaps one that was synced
    if not first:
        world.sync()
    call = "products" if configured else "check"
    shop.fails[call] = (error, 1)

    # When its credentials are no longer good, then that is told
    world.later()
    told = world.sync()
    status = world.status()
    assert (told["status"], told["reason"]) == ("failed", str(error))
    assert (status["status"], status["error"], status["configured"]) == ("failed", str(error), configured)

    # And when they are, then it is as if nothing had been
    did = "added" if first else "unchanged"
    assert world.syncs() == {"listed": 5, did: 3, "skipped": 2, "without_image": 3}
    assert (world.status()["configured"], world.status()["error"]) == (True, None)


@pytest.mark.parametrize("error", [UnavailableError("Hotmart failed (HTTP 502)."), KeyRefusedError("Refused.")])
def test_a_sync_that_fails_half_way_goes_on_where_it_was(world: World, shop: AccountInMemory, error: Exception) -> None:
    # Given a Hotmart that fails at the second page
    shop.fails["products 2"] = (error, 1)
    world.sync(BY_HAND)
    first = world.status()
    assert (first["status"], first["run_id"]) == ("failed", None)
    assert first["counts"]["listed"] == 2

    # When it is synced again, then it is the same sync, and the first page is not read again
    world.syncs()
    assert shop.calls[:2] == ["check", "products 2"]
    assert world.status()["sync_id"] == first["sync_id"]
    assert world.counts() == {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}
    assert list(world.covers_asked_for().values()) == [["hotmart:1", "hotmart:3", "hotmart:4"]]
    assert world.status()["next_at"] == iso(world.now + timedelta(hours=6))


def test_it_starts_over_if_hotmart_no_longer_knows_the_page(world: World, shop: AccountInMemory) -> None:
    # Given a sync that stopped at the third page, whose token Hotmart has forgotten since
    shop.fails["products 4"] = (UnavailableError("Hotmart failed."), 1)
    world.sync()
    sync_id = world.status()["sync_id"]
    shop.deletes(2)
    shop.fails["products 4"] = (PageTokenError("Gone."), 1)

    # Then it begins at the first page, once more, and counts each product once
    counts = world.syncs()
    assert [each for each in shop.calls if each.startswith("products")] == ["products 4", "products", "products 2"]
    assert world.status()["sync_id"] == sync_id
    assert counts == {"listed": 4, "added": 3, "skipped": 1, "without_image": 3}


def test_but_not_for_ever(world: World, shop: AccountInMemory) -> None:
    shop.fails["products 2"] = (PageTokenError("Hotmart no longer knows the page."), 99)
    world.sync()
    assert (world.status()["status"], shop.calls.count("products")) == ("failed", 2)


def test_trouble_at_the_end_is_told_and_the_next_sync_is_another(world: World, shop: AccountInMemory) -> None:
    world.sync()
    shop.deletes(1)
    shop.fails["find"] = (UnavailableError("Hotmart failed."), 1)
    world.later()
    first = world.sync()
    assert (first["status"], first["reason"]) == ("failed", "Hotmart failed. The next sync tries it again.")
    assert world.syncs()["deleted"] == 1
    assert world.status()["sync_id"] != first["sync_id"]


# ---------------------------------------------------------------------- time, lease, and going on


def test_when_time_is_short_another_invocation_goes_on(world: World, shop: AccountInMemory) -> None:
    # Given pages that take long
    shop.seconds = 30.0
    told = world.sync(BY_HAND, seconds=200)

    # Then the sync is handed over in time, with its place kept
    assert told["status"] == "handed over"
    assert world.seconds >= 0
    assert world.status()["status"] == "running"
    sync_id = world.status()["sync_id"]
    assert world.called_again == [{"goes_on": sync_id}]

    # And is ended, in as many calls as it takes, each of which goes on where the one before was
    while len(world.called_again) < 9 and world.status()["status"] == "running":
        world.sync(world.called_again[-1], seconds=200)
    assert (world.status()["status"], world.status()["sync_id"]) == ("succeeded", sync_id)
    assert world.counts() == {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}
    assert [each for each in shop.calls if each == "products"] == ["products"]
    assert len(world.executions) == 1
    assert runs.get(sync_id).started_by == "ana@example.com"

    # And a call that comes late does nothing
    steps = world.steps
    assert world.sync(world.called_again[-1]) == {"status": "nothing to do"}
    assert world.steps == steps


def test_a_call_to_hotmart_gets_no_more_time_than_there_is(world: World, shop: AccountInMemory) -> None:
    world.sync(seconds=HAND_OVER_SECONDS + 5)
    assert set(shop.within[1:]) == {HAND_OVER_SECONDS + 5 - hotmart_sync.SPARE_SECONDS}

    # And one that would need more is left to the next invocation, if this one got anywhere
    world.later()
    shop.calls.clear()
    shop.fails["products 2"] = (NoTimeError("Hotmart takes no more calls this minute."), 1)
    assert world.sync(seconds=70)["status"] == "handed over"
    assert world.sync(world.called_again[-1])["status"] == "succeeded"


def test_a_sync_that_gets_nowhere_is_not_handed_on_for_ever(world: World, shop: AccountInMemory) -> None:
    shop.seconds = 50.0
    told = world.sync(seconds=100)
    assert (told["status"], world.called_again) == ("failed", [])
    assert "so slow that not one page" in told["reason"]


def test_marking_what_was_deleted_is_handed_over_too(world: World) -> None:
    # Given many products that were deleted at once
    for number in range(1, 9):
        world.account.has(number)
    world.sync()
    world.run_ends()
    world.account.listed = world.account.listed[:2]
    world.account.seconds = 20.0
    world.later()

    # Then several invocations share the work, and count each once
    world.sync(seconds=200)
    calls = 1
    while world.status()["status"] == "running":
        world.sync(world.called_again[-1], seconds=200)
        calls += 1
    assert calls > 1
    assert (world.status()["status"], world.counts()["deleted"]) == ("succeeded", 6)
    assert all(world.product(number).source_deleted_at for number in range(3, 9))
    assert len(world.executions) == 2


def test_two_syncs_are_not_at_work_at_once(world: World, shop: AccountInMemory) -> None:
    # Given somebody who starts a sync while one is at work
    told: list[dict[str, Any]] = []
    shop.before = lambda call: told.append(world.sync(BY_HAND, "another")) if call == "products 2" else None
    assert world.sync()["status"] == "succeeded"
    assert told == [{"status": "nothing to do"}]
    assert len(world.executions) == 1


def test_a_lease_is_renewed_while_at_work(world: World) -> None:
    # Given pages that take longer than a lease
    for number in range(1, 6):
        world.account.has(number)
    world.account.seconds = 50.0
    told: list[dict[str, Any]] = []

    def tries(call: str) -> None:
        if call.startswith("offers"):
            left, seconds = world.seconds, world.account.seconds
            world.account.seconds = 0
            told.append(world.sync(BY_HAND, "another"))
            world.seconds, world.account.seconds = left, seconds

    world.account.before = tries
    assert world.sync()["status"] == "succeeded"
    assert told == [{"status": "nothing to do"}] * 5


def test_who_has_lost_the_lease_writes_no_more(world: World, shop: AccountInMemory) -> None:
    # Given an invocation that is held up for longer than its lease, while another one does all
    def held_up(call: str) -> None:
        if call == "products 2" and not others:
            others.append("")
            world.later(1000)
            others.append(world.sync(BY_HAND, "another")["status"])

    others: list[str] = []
    shop.before = held_up
    told = world.sync()
    assert (told["status"], others) == ("taken over", ["", "succeeded"])
    assert world.counts() == {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}
    assert world.status()["status"] == "succeeded"
    assert len(world.executions) == 1


@pytest.mark.usefixtures("shop")
def test_nor_does_it_while_the_other_is_at_work(world: World) -> None:
    # Given another invocation that is at work on the second page
    def held_up(call: str) -> None:
        if call == "products 2" and not others:
            others.append("another")
            world.later(1000)
            world.dies_at = world.steps + 8  # or else it would come to its end
            with pytest.raises(KilledError):
                world.sync(BY_HAND, "another")
            world.dies_at = None

    others: list[str] = []
    world.account.before = held_up
    assert world.sync()["status"] == "taken over"
    assert (world.record().call, world.record().status) == ("another", "running")


def test_what_comes_late_does_not_undo_what_a_newer_sync_has_written(world: World) -> None:
    # Given an invocation that is held up between reading and writing, while the next sync takes the product on again
    def held_up() -> None:
        world.tables.about_to_write = world.step
        world.later(1000)
        world.sync(call="two")
        world.run_ends(p1="failed")
        world.syncs()

    def about_to_be_held_up(call: str) -> None:
        if call == "offers u1":
            world.account.before = lambda _: None
            world.tables.about_to_write = held_up

    world.account.has(1)
    world.account.before = about_to_be_held_up
    assert world.sync(call="one")["status"] == "taken over"

    # Then what that has written stays
    assert (world.product(1).cover_run_id, world.product(1).cover_tries) == (world.record().sync_id, 1)


@pytest.mark.usefixtures("shop")
def test_an_invocation_that_lambda_repeats_does_nothing_twice(world: World) -> None:
    world.sync(call="one")
    steps = world.steps
    assert world.sync(call="one") == {"status": "nothing to do"}
    assert world.steps == steps


# ---------------------------------------------------------------------- killed


def comparable(world: World) -> dict[str, Any]:
    """All that there is: products, runs, files, and what is told of the sync."""
    return {
        "products": {
            name: {key: _sorted(value) for key, value in row.items()} for name, row in world.library().items()
        },
        "runs": world.tables.rows["RunsItem"],
        "files": world.bucket.objects,
        "executions": world.executions,
        "status": world.status(),
    }


def _sorted(value: dict[str, Any]) -> dict[str, Any]:
    return {kind: sorted(found) if kind in {"SS", "NS"} else found for kind, found in value.items()}


def a_world(monkeypatch: pytest.MonkeyPatch) -> World:
    """An account that was synced, and has since got, lost and changed products, and a run that failed at one."""
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(aws, "step_functions", lambda: made)
    monkeypatch.setattr(runs, "new_id", made.new_id)
    monkeypatch.setattr(pipeline, "now", lambda: made.now)
    for number in range(1, 7):
        made.account.has(number)
    made.sync(call="before")
    made.run_ends(p1="failed", p2="blocked", p3="deferred")
    made.gets_image(4)
    made.later()
    made.account.has(4, "Novo Nome")
    made.account.deletes(5)
    made.account.has(6, status="PAUSED")
    made.account.has(7)
    made.account.has(8)
    made.steps = 0
    return made


ENDS_AS = {
    "listed": 7, "added": 2, "changed": 1, "unchanged": 3, "skipped": 1, "deleted": 1, "without_image": 5, "given_up": 1
}  # fmt: skip


def test_wherever_it_is_killed_lambdas_retry_ends_as_if_nothing_had_been(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what a sync does that nobody disturbs
    undisturbed = a_world(monkeypatch)
    undisturbed.sync(call="one")
    steps = undisturbed.steps
    expected = comparable(undisturbed)
    assert undisturbed.counts() == ENDS_AS
    assert undisturbed.last_run() == ["1", "3", "7", "8"]
    assert steps > 50

    # When it is killed before or after any of its steps, and Lambda calls it again
    for step in range(1, steps + 1):
        world = a_world(monkeypatch)
        world.dies_at = step
        with pytest.raises(KilledError):
            world.sync(call="one")
        world.dies_at = None
        told = world.sync(call="one")

        # Then all is as if it had not been
        assert told["status"] in {"succeeded", "nothing to do"}, step
        assert comparable(world) == expected, step


def test_and_so_does_the_next_one_when_lambda_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = a_world(monkeypatch)
    undisturbed.sync(call="one")
    for step in range(1, undisturbed.steps + 1):
        # Given a sync that died, its lease still held
        world = a_world(monkeypatch)
        world.dies_at = step
        with pytest.raises(KilledError):
            world.sync(call="one")
        world.dies_at = None

        # When the next one comes
        died = world.record()
        world.later(hotmart_sync.LEASE_SECONDS + 1)
        if died.call != "one" or died.status == "running":
            assert world.sync(call="two")["status"] == "succeeded", step

        # Then it goes on with the one that was begun, and one run was started
        if died.call == "one":
            assert world.record().sync_id == died.sync_id
        assert world.counts() == ENDS_AS, step
        assert len(world.executions) == 2, step
        assert world.last_run() == ["1", "3", "7", "8"], step
        assert [world.product(each).cover_tries for each in (1, 2, 3)] == [1, 3, 0], step


def test_nobody_waits_for_a_lease_that_is_not_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(monkeypatch)
    world.dies_at = 20
    with pytest.raises(KilledError):
        world.sync(call="one")
    world.dies_at = None
    assert world.sync(call="two") == {"status": "nothing to do"}
    world.later(hotmart_sync.LEASE_SECONDS + 1)
    assert world.sync(call="two")["status"] == "succeeded"


@pytest.mark.usefixtures("shop")
def test_a_product_that_was_written_and_not_yet_found_is_found_after_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sync that is killed between a product and its words
    def die(_: Product) -> None:
        raise KilledError

    kept = search.keep
    monkeypatch.setattr(search, "keep", die)
    with pytest.raises(KilledError):
        world.sync(call="one")
    assert not world.product(1).words

    # When it goes on, then the product is found
    monkeypatch.setattr(search, "keep", kept)
    world.sync(call="one")
    assert "confeitaria" in world.product(1).words
    assert world.counts()["added"] == 3


@pytest.mark.usefixtures("shop")
def test_a_run_that_has_ended_before_the_sync_could_say_so_was_started(world: World) -> None:
    # Given a sync that was killed when it had started its run, which then came to its end
    world.sync(call="one")
    record = world.record()
    record.status, record.finished_at, record.run_id = "running", None, None
    record.save()
    arn = Run.execution_arn.set("arn:execution")
    Run(record.sync_id, "run").update([arn, Run.finished_at.set(iso(world.now)), Run.status.set("failed")])

    # When Lambda calls it again, then it is done
    assert world.sync(call="one")["status"] == "succeeded"
    assert world.status()["run_id"] == record.sync_id
    assert len(world.executions) == 1


def test_a_product_that_changes_while_it_is_added_was_added(world: World, shop: AccountInMemory) -> None:
    # Given a sync that is killed after its first product, and a new name for that
    world.dies_at = 12
    with pytest.raises(KilledError):
        world.sync(call="one")
    world.dies_at = None
    assert world.product(1) is not None
    assert world.record().pages == 0
    shop.has(1, "Bolos em Casa")

    # When it goes on
    world.sync(call="one")
    assert world.product(1).title == "Bolos em Casa"
    assert world.counts() == {"listed": 5, "added": 3, "skipped": 2, "without_image": 3}


# ---------------------------------------------------------------------- how it stands


def test_before_the_first_sync_nothing_is_known(world: World) -> None:
    assert world.status() == {
        "configured": None, "status": "never", "sync_id": None, "started_at": None, "finished_at": None,
        "next_at": None, "error": None, "counts": dict.fromkeys(COUNTS, 0), "run_id": None, "run_status": None,
        "schedule": SCHEDULE,
    }  # fmt: skip


def test_whether_it_is_configured_can_be_asked_without_a_sync(world: World, shop: AccountInMemory) -> None:
    syncer = Syncer(world.settings, shop, world.go_on, lambda: world.now)
    assert Task.model_validate({"test": True}).test

    # Given no credentials, some trouble, and then credentials
    shop.fails["check"] = (NotConfiguredError("Set the secret HotmartCredentials."), 1)
    assert syncer.try_out() == {"configured": False, "error": "Set the secret HotmartCredentials."}
    shop.fails["check"] = (UnavailableError("It cannot be read."), 1)
    assert syncer.try_out() == {"configured": None, "error": "It cannot be read."}
    assert (world.status()["status"], world.status()["configured"]) == ("never", False)
    assert syncer.try_out() == {"configured": True, "error": None}
    assert (world.status()["status"], world.status()["configured"]) == ("never", True)

    # Then that changes nothing about the sync
    assert world.sync()["status"] == "succeeded"
    before = world.status()
    syncer.try_out()
    assert world.status() == before


def test_a_sync_that_nobody_goes_on_with_is_said_to_be_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(monkeypatch)
    world.dies_at = 20
    with pytest.raises(KilledError):
        world.sync(call="one")
    assert world.status()["status"] == "running"
    world.later(hotmart_sync.LEASE_SECONDS + hotmart_sync.CUT_OFF_SECONDS + 1)
    status = world.status()
    assert (status["status"], status["error"]) == ("failed", "It was cut off. The next sync goes on where it stopped.")


@pytest.mark.parametrize(
    ("schedule", "hours", "expected"),
    [
        ("rate(6 hours)", 0, "2026-11-21T16:15:02.000Z"),
        ("rate(6 hours)", 5.9, "2026-11-21T16:15:02.000Z"),
        ("rate(6 hours)", 6, "2026-11-21T22:15:02.000Z"),
        ("rate(6 hours)", 49, "2026-11-23T16:15:02.000Z"),
        ("rate(1 day)", 1, "2026-11-22T10:15:02.000Z"),
        (" rate(30 minutes)", 0.6, "2026-11-21T11:15:02.000Z"),
        ("cron(0 */6 * * ? *)", 1, None),
        ("rate(0 hours)", 1, None),
        ("", 1, None),
    ],
)
def test_the_next_start_follows_from_the_schedule_and_the_last(
    schedule: str, hours: float, expected: str | None
) -> None:
    last = datetime(2026, 11, 21, 10, 15, 2, tzinfo=UTC)
    assert hotmart_sync.next_at(schedule, iso(last), last + timedelta(hours=hours)) == expected


@pytest.mark.usefixtures("shop")
def test_a_sync_by_hand_does_not_move_the_schedule(world: World) -> None:
    world.sync()
    due = world.status()["next_at"]
    world.later(3600)
    world.sync(BY_HAND)
    assert world.status()["next_at"] == due


def test_all_that_is_told_is_free_of_what_only_we_understand(world: World, shop: AccountInMemory) -> None:
    shop.fails["products"] = (UnavailableError("Hotmart did not answer in time."), 1)
    told = world.sync()
    assert re.fullmatch(r"[A-Z].*\.", told["reason"])
