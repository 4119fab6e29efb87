"""Publish, with tables, a bucket and shops that are only in memory: each picture once, in order, whatever happens."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynamodb.exceptions import DoesNotExist

from lookbook import aws, budget, library, match, publish, runs, stores
from lookbook.errors import NotFoundError
from lookbook.finish import UNRECORDED, Finisher
from lookbook.plan import PlanLine, dump, plan_key
from lookbook.publish import BATCH, MAPPED_ANEW, MAX_TRIES, READY_SECONDS, STOPPED, Publisher
from lookbook.publish import PublishTask as Task
from lookbook.settings import StoreSettings
from lookbook.shopify import ShopError, ShopInfo, ShopProductError, ShopUnavailableError, Variant
from lookbook.state import RunContext
from lookbook.tables import PRODUCT, RUN, Image, Product, Publishing, Run, Store, Usage
from lookbook.times import iso
from tests.unit.fakes import (
    Bucket,
    KilledError,
    Method,
    ShopInMemory,
    Tables,
    gid,
    method_settings,
    tables_in_memory,
)

RUN_ID = "20261121T101502-3f9a2c1b"
ANOTHER = "20261121T111502-aaaaaaaa"
TITLE = "Blue Shirt"
COST, WORK_MS = 3410, 11_000
BUSY = "The shop is still working on the product's pictures; sync again later."

Moment = Literal["before", "after"]
MOMENTS: list[Moment] = ["before", "after"]


def sha(name: str) -> str:
    """Return the id of the image that a test calls so."""
    return hashlib.sha256(name.encode()).hexdigest()


class World:
    """A library, stores, their shops, and the clock of all of them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        self.shops: dict[str, ShopInMemory] = {}
        self.names: dict[str, str] = {}
        self.now = datetime(2026, 11, 21, 10, 20, tzinfo=UTC).timestamp()
        self.seconds_left = 900.0
        self.cannot_open: Exception | None = None

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def moment(self) -> datetime:
        self.now += 1  # nothing happens at the same time as another thing
        return datetime.fromtimestamp(self.now, UTC)

    # --- what is given

    def store(self, store_id: str = "one") -> ShopInMemory:
        domain = f"{store_id}.myshopify.com"
        stores.put(store_id, name=store_id, domain=domain, credentials="admin_token", now=self.moment())
        self.shops[store_id] = ShopInMemory(lambda: self.now)
        return self.shops[store_id]

    def has(self, product_id: str, *names: str, title: str = TITLE, run_id: str = "before") -> None:
        """Have images of a product, one of each variant."""
        moment = iso(self.moment())
        about: dict[str, Any] = {"category": "", "source": "cj", "source_url": "", "title": title}
        Product(product_id, PRODUCT, **about, created_at=moment, updated_at=moment).save()
        for variant, name in enumerate(names, 1):
            self.makes(product_id, name, variant, run_id=run_id)

    def makes(self, product_id: str, name: str, variant: int, *, run_id: str = "before") -> None:
        """Have an image more, or a newer one of a variant."""
        image: Any = Image
        image_id, moment = sha(name), iso(self.moment())
        about = {"method": "catvton", "model_photo": "", "model_version": "1", "licence": "", "reuse_key": name}
        size = {"width": 1, "height": 1, "size": 1, "cost_microusd": COST, "work_ms": WORK_MS}
        key = (product_id, f"image#{image_id}")
        image(*key, image_id=image_id, variant=variant, run_id=run_id, created_at=moment, **about, **size).save()
        self.names[image_id] = name
        self.changes(product_id, Product.variants.add({variant}))

    def rates(self, product_id: str, name: str, stars: int) -> None:
        Image(product_id, f"image#{sha(name)}").update([Image.stars.set(stars)])
        self.changes(product_id)

    def withdraws(self, product_id: str, name: str) -> None:
        Image(product_id, f"image#{sha(name)}").delete()
        self.changes(product_id)

    def changes(self, product_id: str, *actions: Any) -> None:
        Product(product_id, PRODUCT).update([Product.updated_at.set(iso(self.moment())), *actions])

    def maps(self, product_id: str, shop_product: str = "", store_id: str = "one") -> None:
        try:
            usage = Usage.get(product_id, stores.sort_key(store_id))
        except DoesNotExist:
            usage = None
        stores.map_product(usage, store_id, product_id, gid(shop_product or product_id), self.moment())

    def plans(self, *product_ids: str, run_id: str = RUN_ID, rejected: Iterable[str] = ()) -> None:
        lines = [
            PlanLine(index=n, product_id=each, title=TITLE, decision="rejected" if each in rejected else "reused")
            for n, each in enumerate(product_ids)
        ]
        self.bucket.objects[plan_key(run_id)] = b"".join(dump(line) for line in lines)

    # --- what is done

    def task(self, run_id: str = RUN_ID, store_id: str = "one", **given: Any) -> Task:
        return Task(run_id=run_id, store_id=store_id, **({"plan_of": run_id, "index": 0, "action": "publish"} | given))

    def call(self, task: Task | None = None) -> Task:
        """Call Publish once."""
        task = task or self.task()

        def open_shop(_: Store) -> Any:
            if self.cannot_open:
                raise self.cannot_open
            return self.shops[task.store_id]

        made = Publisher(self.settings(), open_shop, lambda: self.now, self.sleep)
        return made.publish(task, lambda: self.seconds_left)

    @staticmethod
    def settings() -> StoreSettings:
        more = {"shopify_admin_url": "https://{shop}", "store_secrets_prefix": "lookbook/stores/"}
        return StoreSettings.model_validate(method_settings().model_dump() | more)

    def publish(self, *product_ids: str, run_id: str = RUN_ID, store_id: str = "one", **task: Any) -> Any:
        """Do as the state machine does, and return the record of it; without products, those of the run's plan."""
        if product_ids:
            self.plans(*product_ids, run_id=run_id)
        told = self.task(run_id, store_id, **task)
        for _ in range(40):
            told = self.call(told)
            if told.next == "done":
                return self.record(run_id, store_id)
            self.now += told.wait_seconds
        raise AssertionError(f"It is never done: {told}")

    # --- what is there then

    def record(self, run_id: str = RUN_ID, store_id: str = "one") -> Any:
        return Publishing.get(run_id, stores.sort_key(store_id))

    def counts(self, run_id: str = RUN_ID, store_id: str = "one") -> dict[str, int]:
        """Return what has been counted, apart from points, which depend on how often one looks."""
        record = self.record(run_id, store_id)
        return {name: found for name in stores.SUMMED if name != "points" and (found := int(getattr(record, name)))}

    def usage(self, product_id: str, store_id: str = "one") -> Any:
        return Usage.get(product_id, stores.sort_key(store_id))

    def reasons(self, run_id: str = RUN_ID) -> dict[str, str]:
        return {each["product_id"]: each["reason"] for each in self.record(run_id).problems}

    def shown(self, shop_product: str, store_id: str = "one") -> list[str]:
        """Return a product's pictures in the shop's order, by our names or the merchant's."""
        return [self.names.get(each.file[:64], each.file) for each in self.shops[store_id].media(shop_product)]

    def wanted(self, product_id: str) -> list[str]:
        images = library.best_images(library.product_page(product_id)[1])
        return [self.names[str(image.image_id)] for image in images]

    def live(self, product_id: str) -> list[tuple[str, str]]:
        """Return what the library takes for live, as (name, media id)."""
        return [(self.names[each["image_id"]], each["media_id"]) for each in self.usage(product_id).media]


def a_world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return a_world(monkeypatch)


@pytest.fixture
def shop(world: World) -> ShopInMemory:
    """A store whose shop has two products with a picture of the merchant's; the library has two images of each."""
    made = world.store()
    made.stocks(P1=["front"], P2=["back"])
    for product_id in ("P1", "P2"):
        world.has(product_id, f"{product_id}a", f"{product_id}b")
        world.maps(product_id)
    return made


def unavailable(*, uncertain: bool = False) -> ShopUnavailableError:
    return ShopUnavailableError("The shop did not answer.", uncertain=uncertain)


# ---------------------------------------------------------------------- the usual course


def test_first_publish_adds_what_is_wanted_and_notes_it(world: World, shop: ShopInMemory) -> None:
    # When two products are published for the first time
    record = world.publish("P1", "P2")

    # Then each shows the merchant's picture and then ours, with its title
    for product_id, own in (("P1", "front"), ("P2", "back")):
        assert world.shown(product_id) == [own, f"{product_id}a", f"{product_id}b"]
        assert [each.alt for each in shop.media(product_id)] == ["", TITLE, TITLE]

    # And the library knows them
    usage = world.usage("P1")
    assert (usage.status, usage.reason, usage.run_id, usage.alt) == ("live", None, RUN_ID, TITLE)
    assert world.live("P1") == [
        ("P1a", shop.media("P1")[1].media_id),
        ("P1b", shop.media("P1")[2].media_id),
    ]

    # And the run has them counted, at what was said to be their price, and the next run may have the store
    assert world.counts() == {
        "published": 2,
        "images_added": 4,
        "images_generated": 4,
    }
    assert (record.finished_at, record.reason, record.problems) == (record.finished_at, None, [])
    assert record.points == pytest.approx(2 * ((3 + 2) + (10 + 1.9 * 2) + 2 * (3 + 2)))
    assert shop.calls == ["read", "add_media", "add_media", "added", "added"]
    assert stores.get("one").leased_by is None


def test_when_there_is_nothing_to_do_a_product_costs_two_points_and_no_write(world: World, shop: ShopInMemory) -> None:
    # Given a store that is as it should be
    world.publish("P1", "P2")
    shop.calls.clear()
    before = world.tables.copy()

    # When it is published to again
    record = world.publish("P1", "P2", run_id=ANOTHER)

    # Then all it takes is a glance, and nothing but the run's record is written
    assert (shop.calls, float(record.points)) == (["glance"], 4.0)
    assert world.counts(ANOTHER) == {"unchanged": 2}
    assert world.tables.rows["LibraryItem"] == before["LibraryItem"]


def test_what_is_no_business_of_ours_costs_one_more_look_and_only_once(world: World, shop: ShopInMemory) -> None:
    # Given that the merchant has turned his own pictures and ours round
    world.publish("P1", "P2")
    shop.merchant_moves("P1", 2, 0)
    order = world.shown("P1")
    shop.calls.clear()

    # When it is published twice more
    for run_id in (ANOTHER, RUN_ID.replace("3f", "4f")):
        world.publish("P1", "P2", run_id=run_id)

    # Then it is read once and left as it is
    assert shop.calls == ["glance", "read", "glance"]
    assert world.shown("P1") == order == ["P1b", "front", "P1a"]
    assert world.counts(ANOTHER) == {"unchanged": 2}


def test_a_run_without_products_is_done_at_once(world: World, shop: ShopInMemory) -> None:
    assert world.publish().finished_at is not None
    assert shop.calls == []


def test_a_store_that_is_done_is_not_visited_again(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    shop.calls.clear()
    counts = world.counts()
    assert world.call().next == "done"
    assert (shop.calls, world.counts()) == ([], counts)


# ---------------------------------------------------------------------- pictures that take their time, or fail


def test_while_pictures_are_processed_that_may_be_ours_nothing_is_added(world: World, shop: ShopInMemory) -> None:
    # Given a product to which the merchant adds a picture just now
    shop.merchant_adds("P1", "new", seconds=10)
    started = world.now

    # When it is published
    record = world.publish("P1", "P2")

    # Then that is waited for, and ours come after it
    assert world.shown("P1") == ["front", "new", "P1a", "P1b"]
    assert record.published == 2
    assert 10 < world.now - started < READY_SECONDS
    assert shop.calls.count("add_media") == 2, "the other one had not to wait"


def test_pictures_that_are_not_ready_in_time_are_found_by_the_next_run(world: World, shop: ShopInMemory) -> None:
    # Given a shop that needs longer than a batch waits
    shop.seconds = READY_SECONDS + 20
    started = world.now
    world.publish("P1")
    assert world.counts() == {"failed": 1}
    assert world.reasons() == {"P1": BUSY}
    assert (world.usage("P1").status, world.usage("P1").reason) == ("failed", BUSY)
    assert world.now - started < READY_SECONDS + 10

    # When the next run comes, before they are ready
    world.publish("P1", run_id=ANOTHER)

    # Then it waits for them, adds none, and counts them
    assert world.shown("P1") == ["front", "P1a", "P1b"]
    assert shop.calls.count("add_media") == 1
    assert (world.usage("P1").status, world.usage("P1").reason) == ("live", None)
    assert world.counts(ANOTHER)["images_added"] == 2
    assert [name for name, _ in world.live("P1")] == ["P1a", "P1b"]


def test_a_picture_that_failed_is_taken_out_and_told_and_put_there_anew_by_the_next_run(
    world: World, shop: ShopInMemory
) -> None:
    # Given that Shopify cannot use one of four pictures
    shop.spoilt = {sha("P1a"): "IMAGE_DOWNLOAD_FAILURE: No answer."}
    world.publish("P1", "P2")

    # Then the others are live, and why this one is not is said
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1b"], ["back", "P2a", "P2b"])
    reason = "Shopify could not use the picture: IMAGE_DOWNLOAD_FAILURE: No answer."
    assert world.reasons() == {"P1": reason}
    assert (world.usage("P1").status, world.usage("P1").reason) == ("failed", reason)
    counts = world.counts()
    assert (counts["published"], counts["failed"], counts["images_added"], counts["images_removed"]) == (1, 1, 3, 1)

    # And when it can use it, then it is put there, at its place
    shop.spoilt = {}
    world.publish("P1", "P2", run_id=ANOTHER)
    assert world.shown("P1") == ["front", "P1a", "P1b"]
    assert (world.usage("P1").status, world.usage("P1").reason) == ("live", None)


def test_a_failed_picture_that_nobody_had_noted_is_taken_out_too(world: World, shop: ShopInMemory) -> None:
    # Given a publisher that died when it had put pictures there, of which one fails
    shop.spoilt = {sha("P1a"): "IMAGE_DOWNLOAD_FAILURE: No answer."}
    world.plans("P1")
    shop.dies(1, "after")
    with pytest.raises(KilledError):
        world.call()
    shop.heals()
    shop.spoilt = {}

    # When it is called again
    world.publish()

    # Then both are there, in order
    assert world.shown("P1") == ["front", "P1a", "P1b"]
    assert {each.failure for each in shop.media("P1")} == {""}


# ---------------------------------------------------------------------- others at work in the shop meanwhile


@pytest.mark.parametrize(
    ("call", "moment", "after"),
    [
        ("add_media", "before", ["front", "new", "P1a", "P1b"]),
        ("add_media", "after", ["front", "P1a", "P1b", "new"]),
        ("added", "after", ["front", "P1a", "P1b", "new"]),
    ],
)
@pytest.mark.parametrize("seconds", [0, 10])
def test_a_picture_that_a_merchant_adds_meanwhile_stays_his(
    world: World, shop: ShopInMemory, call: str, moment: Moment, after: list[str], seconds: float
) -> None:
    # Given a merchant who adds a picture while ours are put there
    shop.fails(lambda: shop.merchant_adds("P1", "new", seconds=seconds), call, moment=moment)

    # When the product is published
    record = world.publish("P1")

    # Then each is there once, and his is not taken for ours
    assert record.published == 1
    assert world.shown("P1") == after
    assert [name for name, _ in world.live("P1")] == ["P1a", "P1b"]
    assert {each.media_id for each in shop.media("P1") if each.by == "us"} == {each for _, each in world.live("P1")}

    # And the next run finds nothing to do
    calls = len(shop.calls)
    assert world.publish("P1", run_id=ANOTHER).unchanged == 1
    assert set(shop.calls[calls:]) <= {"glance", "read"}


def test_what_a_merchant_takes_out_comes_back(world: World, shop: ShopInMemory) -> None:
    world.publish("P1", "P2")
    shop.merchant_removes("P1", 1)
    record = world.publish("P1", "P2", run_id=ANOTHER)
    assert world.shown("P1") == ["front", "P1a", "P1b"]
    assert (record.published, record.unchanged, record.images_added) == (1, 1, 1)


def test_a_product_that_goes_while_its_pictures_are_waited_for_is_told_at_once(
    world: World, shop: ShopInMemory
) -> None:
    # Given a merchant who deletes a product while we wait for its pictures
    shop.fails(lambda: shop.products.pop(gid("P1")), "added")
    started = world.now
    world.publish("P1", "P2")

    # Then that is said, without waiting until the time is over
    assert "The shop has no product" in world.reasons()["P1"]
    assert world.usage("P1").status == "removed"
    assert world.shown("P2") == ["back", "P2a", "P2b"]
    assert world.now - started < READY_SECONDS / 2


# ---------------------------------------------------------------------- what the shop refuses, and when it is silent


def test_a_product_that_shopify_refuses_holds_up_no_other(world: World, shop: ShopInMemory) -> None:
    # Given a product that Shopify refuses to change
    shop.fails(ShopProductError("Shopify refused it: 250 media."), "add_media", about=gid("P1"))
    record = world.publish("P1", "P2")
    assert (record.published, record.failed, record.reason) == (1, 1, None)
    assert world.reasons() == {"P1": "Shopify refused it: 250 media."}
    assert world.usage("P1").reason == "Shopify refused it: 250 media."

    # When it refuses it for another reason, then that is what is known
    shop.fails(ShopProductError("Shopify refused it: archived."), "add_media", about=gid("P1"))
    world.publish("P1", "P2", run_id=ANOTHER)
    assert (world.usage("P1").status, world.usage("P1").reason) == ("failed", "Shopify refused it: archived.")

    # And when it does not any more, then all is well
    world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "4f"))
    assert (world.usage("P1").status, world.usage("P1").reason) == ("live", None)


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_upload_that_is_not_answered_is_looked_for_and_not_repeated(
    world: World, shop: ShopInMemory, moment: Moment
) -> None:
    # Given an upload of which nobody knows whether it came about
    shop.fails(unavailable(uncertain=True), "add_media", moment=moment, about=gid("P1"))

    # When the products are published
    record = world.publish("P1", "P2")

    # Then each picture is there once, and counted once
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1a", "P1b"], ["back", "P2a", "P2b"])
    assert (record.published, record.images_added, record.tries) == (2, 4, 0)
    assert shop.calls.count("add_media") == (2 if moment == "after" else 3)


def test_an_upload_that_was_not_sent_is_tried_again_later(world: World, shop: ShopInMemory) -> None:
    shop.fails(unavailable(), "add_media", about=gid("P1"))
    world.plans("P1", "P2")
    assert world.call() == world.task().then("wait", 2)
    assert stores.get("one").leased_by is None
    record = world.publish()
    assert (record.published, record.images_added) == (2, 4)
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1a", "P1b"], ["back", "P2a", "P2b"])


@pytest.mark.parametrize("call", ["read", "glance"])
def test_an_unavailable_shop_is_waited_for_longer_and_longer_and_then_given_up(
    world: World, shop: ShopInMemory, call: str
) -> None:
    # Given a shop that does not answer
    if call == "glance":
        world.publish("P1", run_id=ANOTHER)
    shop.fails(unavailable(), call, times=99)
    world.plans("P1")

    # When Publish is called again and again
    told = [world.call() for _ in range(MAX_TRIES)]

    # Then the state machine waits longer each time, until it is given up
    assert [each.wait_seconds for each in told[:-1]] == [2, 4, 8, 16, 32, 64, *[120] * (MAX_TRIES - 7)]
    assert {each.next for each in told[:-1]} == {"wait"}
    assert told[-1].next == "done"
    assert world.record().reason == f"The shop did not answer. It was tried {MAX_TRIES} times."
    assert stores.get("one").leased_by is None


def test_tries_are_counted_anew_with_each_batch_that_is_done(world: World, shop: ShopInMemory) -> None:
    # Given two batches, before each of which the shop fails five times
    ids = many(world, shop, BATCH + 1)
    for batch in range(2):
        shop.fails(unavailable(), "read", skip=batch, times=MAX_TRIES - 1)

    # When they are published, then it is not given up
    record = world.publish(*ids)
    assert (record.published, record.reason, record.tries) == (BATCH + 1, None, 0)


@pytest.mark.parametrize("call", ["open", "read", "add_media"])
def test_what_cannot_pass_ends_the_store_with_a_reason(world: World, shop: ShopInMemory, call: str) -> None:
    # Given a shop that has revoked the token
    error = ShopError("The token was revoked.")
    if call == "open":
        world.cannot_open = error
    else:
        shop.fails(error, call, times=99)

    # When it is published to
    world.plans("P1", "P2")
    told = world.call()

    # Then that is the end of it, and the store is free
    assert told.next == "done"
    assert (world.record().reason, world.record().finished_at is not None) == ("The token was revoked.", True)
    assert stores.get("one").leased_by is None

    # And another run, with another token, puts each picture there once
    world.cannot_open = None
    shop.heals()
    world.publish("P1", "P2", run_id=ANOTHER)
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1a", "P1b"], ["back", "P2a", "P2b"])


def test_a_store_that_is_gone_ends_with_a_reason(world: World) -> None:
    world.plans("P1")
    assert world.call(world.task(store_id="none")).next == "done"
    assert world.record(store_id="none").reason.startswith("There is no store none.")


def test_how_often_a_shop_had_no_points_is_counted(world: World, shop: ShopInMemory) -> None:
    shop.throttled = 5  # before this run

    def throttle() -> None:
        shop.throttled += 2

    shop.fails(throttle, "read")
    assert world.publish("P1").throttled == 2


# ---------------------------------------------------------------------- one run at a time, and for as long as it has


def test_a_store_at_which_another_run_is_at_work_is_waited_for(world: World, shop: ShopInMemory) -> None:
    # Given another run's lease
    assert stores.lease("one", ANOTHER, world.now)
    world.plans("P1")

    # When Publish is called, then it waits, and does nothing
    task = world.task()
    for seconds in (2, 4, 8, 16, 32, 64, 120, 120):
        task = world.call(task)
        assert (task.next, task.wait_seconds) == ("wait", seconds)
    assert shop.calls == []
    assert stores.get("one").leased_by == ANOTHER

    # And when that run has died, then it goes on as soon as the lease is over
    world.now += stores.LEASE_SECONDS + 1
    assert world.publish().published == 1


def test_a_run_that_is_stopped_while_it_waits_for_another_one_ends(world: World, shop: ShopInMemory) -> None:
    stores.lease("one", ANOTHER, world.now)
    budget.stop(RUN_ID, budget.DEFERRED, "Anna stopped it.")
    world.plans("P1")
    assert world.call().next == "done"
    assert (world.record().reason, shop.calls) == (STOPPED, [])
    assert stores.get("one").leased_by == ANOTHER, "it is not this run's to give back"


def test_a_stopped_run_goes_no_further(world: World, shop: ShopInMemory) -> None:
    # Given two batches, and somebody who stops the run in the first
    ids = many(world, shop, BATCH + 1)
    shop.fails(lambda: budget.stop(RUN_ID, budget.DEFERRED, "Anna stopped it."), "read")

    # When it is published, then the first is done, and the second not begun
    record = world.publish(*ids)
    assert (record.published, record.reason) == (BATCH, STOPPED)
    assert world.shown(ids[-1]) == []
    assert stores.get("one").leased_by is None


@pytest.mark.usefixtures("shop")
def test_a_run_that_is_over_its_budget_publishes_what_it_has(world: World) -> None:
    budget.stop(RUN_ID, budget.OVER_BUDGET, "The budget is spent.")
    assert world.publish("P1").published == 1
    assert world.shown("P1") == ["front", "P1a", "P1b"]


def test_a_lease_that_is_lost_between_two_batches_is_waited_for(world: World, shop: ShopInMemory) -> None:
    # Given a call that has lost the store to another run in its first batch
    ids = many(world, shop, BATCH + 1)
    world.plans(*ids)

    def lose() -> None:
        stores.release("one", RUN_ID)
        assert stores.lease("one", ANOTHER, world.now)

    shop.fails(lose, "read")
    told = world.call()

    # Then it goes no further than that
    assert (told.next, told.wait_seconds) == ("wait", 2)
    assert world.record().published == BATCH
    stores.release("one", ANOTHER)
    assert world.publish().published == BATCH + 1


def test_a_call_that_has_no_time_left_for_a_batch_hands_on_from_where_it_is(world: World, shop: ShopInMemory) -> None:
    # Given three batches, and a call that has time for one
    ids = many(world, shop, 2 * BATCH + 1)
    world.plans(*ids)
    plan = world.bucket.objects[plan_key(RUN_ID)]
    first_batch = sum(len(line) for line in plan.splitlines(keepends=True)[:BATCH])

    def late() -> None:
        world.seconds_left = publish.BATCH_SECONDS - 1

    shop.fails(late, "read", times=3)
    told = world.call()
    assert (told.next, world.record().offset, world.record().published) == ("publish", first_batch, BATCH)

    # When a call has not even that, then it changes nothing
    calls = len(shop.calls)
    assert world.call() == told
    assert (len(shop.calls), world.record().offset) == (calls, first_batch)

    # And when others go on, then each product has had its turn
    for _ in range(3):
        world.seconds_left = 900
        told = world.call()
    assert (told.next, world.record().published, shop.calls.count("add_media")) == ("done", len(ids), len(ids))
    assert world.record().offset == len(plan)


def many(world: World, shop: ShopInMemory, count: int) -> list[str]:
    ids = [f"P{number}" for number in range(100, 100 + count)]
    shop.stocks(*ids)
    for product_id in ids:
        world.has(product_id, f"{product_id}a")
        world.maps(product_id)
    return ids


# ---------------------------------------------------------------------- a batch that is cut off, or done twice

CALLS_OF_A_FIRST_PUBLISH = 5


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("at", range(CALLS_OF_A_FIRST_PUBLISH))
def test_a_batch_that_is_cut_off_anywhere_counts_as_one_that_is_not(
    world: World, shop: ShopInMemory, monkeypatch: pytest.MonkeyPatch, at: int, moment: Moment
) -> None:
    # Given a publisher that dies at one of its calls to the shop
    monkeypatch.setattr(publish, "AT_ONCE", 1)
    world.plans("P1", "P2")
    shop.dies(at, moment)
    with pytest.raises(KilledError):
        world.call()
    assert world.counts() == {}

    # When it is called again
    shop.heals()
    world.publish()

    # Then all is as if it had not
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1a", "P1b"], ["back", "P2a", "P2b"])
    assert world.counts() == {
        "published": 2,
        "images_added": 4,
        "images_generated": 4,
    }


def first_time(_: World) -> str:
    return "publish"


def in_another_order(world: World) -> str:
    world.publish("P1", "P2", run_id=ANOTHER)
    world.rates("P1", "P1b", 5)
    return "publish"


def with_less(world: World) -> str:
    world.publish("P1", "P2", run_id=ANOTHER)
    world.withdraws("P1", "P1a")
    world.withdraws("P1", "P1b")
    world.withdraws("P2", "P2b")
    return "publish"


def with_another_image(world: World) -> str:
    world.publish("P1", "P2", run_id=ANOTHER)
    world.makes("P1", "P1c", 1)
    return "publish"


def with_one_that_fails(world: World) -> str:
    world.shops["one"].products.pop(gid("P2"))
    return "publish"


def out_of_it(world: World) -> str:
    world.publish("P1", "P2", run_id=ANOTHER)
    return "unpublish"


@pytest.mark.parametrize(
    "prepared", [first_time, in_another_order, with_less, with_another_image, with_one_that_fails, out_of_it]
)
@pytest.mark.parametrize("merchant", [False, True])
def test_a_batch_that_is_done_but_not_kept_counts_the_same_when_it_is_done_again(
    world: World,
    shop: ShopInMemory,
    monkeypatch: pytest.MonkeyPatch,
    prepared: Callable[[World], str],
    merchant: bool,
) -> None:
    # Given what a batch comes to that is not cut off
    action = prepared(world)
    counted: list[dict[str, int]] = []
    keep = publish._Visit._keep

    def keep_and_tell(visit: publish._Visit, tally: publish._Tally, offset: int, points: float) -> None:
        counted.append({name: count for name, count in tally.counts.items() if count})
        if len(counted) == 1:
            raise KilledError
        keep(visit, tally, offset, points)

    monkeypatch.setattr(publish._Visit, "_keep", keep_and_tell)
    world.plans("P1", "P2")
    with pytest.raises(KilledError):
        world.call(world.task(action=action))
    shown = world.shown("P1")

    # When it is done again, perhaps after the merchant has changed the product
    if merchant:
        shop.merchant_adds("P1", "new", 0)
    world.publish(action=action)

    # Then it counts the same, once, and has changed nothing more
    assert counted[0] == counted[1] == world.counts()
    assert world.shown("P1") == (["new"] if merchant else []) + shown


def test_of_two_calls_of_a_run_only_one_counts(world: World, shop: ShopInMemory) -> None:
    # Given a call that is taken for dead, and is only slow; the next one does all in the meantime
    ids = many(world, shop, 2 * BATCH)
    world.plans(*ids)
    shop.fails(world.call, "read")

    # When it goes on, then it sees that it is not needed
    assert world.call().next == "publish"
    assert world.call().next == "done"
    assert world.record().published == 2 * BATCH
    assert shop.calls.count("add_media") == 2 * BATCH


# ---------------------------------------------------------------------- products that there is nothing to show of


@pytest.mark.usefixtures("shop")
def test_products_that_cannot_be_published_are_told(world: World) -> None:
    # Given one that is not mapped, one without images, one that Ingest has rejected, and one that is gone
    world.has("P3", "P3a")
    world.has("P4")
    world.maps("P4")
    world.has("P5", "P5a")
    world.maps("P5")
    world.plans("P1", "P2", "P3", "P4", "P5", rejected=["P2"])

    # When all are published
    world.publish()

    # Then each is counted, and what to do is said
    counts = world.counts()
    assert {name: counts[name] for name in ("published", "not_mapped", "without_images", "failed")} == {
        "published": 1,
        "not_mapped": 1,
        "without_images": 1,
        "failed": 1,
    }
    reasons = world.reasons()
    assert set(reasons) == {"P3", "P4", "P5"}
    assert "lookbook stores match one" in reasons["P3"]
    assert "no images" in reasons["P4"]
    assert "The shop has no product" in reasons["P5"]
    assert world.usage("P5").status == "removed"
    assert world.shown("P2") == ["back"]
    assert [each["status"] for each in world.record().problems] == ["not_mapped", "without_images", "failed"]


def test_a_product_that_was_live_and_is_gone_is_seen_at_a_glance(world: World, shop: ShopInMemory) -> None:
    world.publish("P1", "P2")
    removed = shop.products.pop(gid("P1"))
    shop.calls.clear()
    record = world.publish("P1", "P2", run_id=ANOTHER)
    assert (record.failed, record.unchanged, shop.calls) == (1, 1, ["glance"])
    assert (world.usage("P1").status, world.usage("P1").media) == ("removed", [])

    # And when it is there again, then it gets its pictures as soon as it is mapped anew
    removed.media.clear()
    shop.products[gid("P1")] = removed
    assert world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "5f")).removed == 1
    world.maps("P1")
    assert world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "4f")).published == 1
    assert (world.usage("P1").status, world.shown("P1")) == ("live", ["P1a", "P1b"])


def test_images_that_the_library_has_withdrawn_are_taken_out(world: World, shop: ShopInMemory) -> None:
    world.publish("P1", "P2")
    world.withdraws("P1", "P1a")
    world.withdraws("P2", "P2a")
    world.withdraws("P2", "P2b")
    record = world.publish("P1", "P2", run_id=ANOTHER)
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1b"], ["back"])
    assert (record.published, record.images_removed) == (2, 3)
    assert [world.usage(each).status for each in ("P1", "P2")] == ["live", "mapped"]
    assert shop.calls.count("add_media") == 2, "of the first run"


# ---------------------------------------------------------------------- what changes


def test_a_new_title_is_the_alternative_text_of_ours_unless_the_merchant_has_written_his_own(
    world: World, shop: ShopInMemory
) -> None:
    # Given a live product, with a picture whose text the merchant has rewritten
    world.publish("P1", "P2")
    shop.media("P1")[2].alt = "My words"

    # When it gets another title, with white space to spare, and a new image
    world.has("P1", "P1a", "P1b", "P1c", title="  Red\n Shirt ")
    record = world.publish("P1", "P2", run_id=ANOTHER)

    # Then those of ours that had the old one have it
    assert [each.alt for each in shop.media("P1")] == ["", "Red Shirt", "My words", "Red Shirt"]
    assert (world.usage("P1").alt, record.published, record.unchanged) == ("Red Shirt", 1, 1)
    assert shop.calls.count("set_alts") == 1

    # And the next run finds nothing to do
    shop.calls.clear()
    world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "4f"))
    assert shop.calls == ["glance"]


def test_an_alternative_text_that_was_refused_is_tried_again(world: World, shop: ShopInMemory) -> None:
    # Given that Shopify refuses one of two
    world.publish("P1")
    shop.locked = {shop.media("P1")[1].media_id: "FILE_LOCKED: Later."}
    world.has("P1", "P1a", "P1b", title="Red Shirt")
    record = world.publish("P1", run_id=ANOTHER)
    assert (record.failed, world.usage("P1").status) == (1, "failed")
    assert world.reasons(ANOTHER) == {"P1": "Shopify did not take the alternative text: FILE_LOCKED: Later."}
    assert [each.alt for each in shop.media("P1")[1:]] == [TITLE, "Red Shirt"]

    # When it takes it, then all is well
    shop.locked = {}
    world.publish("P1", run_id=RUN_ID.replace("3f", "4f"))
    assert [each.alt for each in shop.media("P1")[1:]] == ["Red Shirt", "Red Shirt"]
    assert (world.usage("P1").status, world.usage("P1").alt) == ("live", "Red Shirt")


def test_another_order_moves_ours_and_none_of_the_merchants(world: World, shop: ShopInMemory) -> None:
    # Given a product with pictures of the merchant's before, between and after ours
    world.has("P1", "P1a", "P1b", "P1c")
    world.publish("P1")
    shop.merchant_adds("P1", "between", 2)
    shop.merchant_adds("P1", "after")
    assert world.shown("P1") == ["front", "P1a", "between", "P1b", "P1c", "after"]
    world.publish("P1", run_id=ANOTHER)

    # When the last one is rated best
    world.rates("P1", "P1c", 5)
    shop.calls.clear()
    record = world.publish("P1", run_id=RUN_ID.replace("3f", "4f"))

    # Then ours change places among themselves, in one call, and the next run sees that there is nothing to do
    assert world.shown("P1") == ["front", "P1c", "between", "P1a", "P1b", "after"]
    assert (shop.calls, record.published, record.images_added) == (["read", "reorder", "glance"], 1, 0)
    assert [name for name, _ in world.live("P1")] == ["P1c", "P1a", "P1b"]
    shop.calls.clear()
    world.publish("P1", run_id=RUN_ID.replace("3f", "5f"))
    assert shop.calls == ["glance"]


def test_an_order_that_was_refused_is_tried_again(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    world.rates("P1", "P1b", 5)
    shop.fails(ShopProductError("Shopify refused it: busy."), "reorder")
    record = world.publish("P1", run_id=ANOTHER)
    assert (record.failed, world.reasons(ANOTHER)) == (1, {"P1": "Shopify refused it: busy."})
    assert [name for name, _ in world.live("P1")] == ["P1a", "P1b"], "as it is in the shop"
    world.publish("P1", run_id=RUN_ID.replace("3f", "4f"))
    assert world.shown("P1") == ["front", "P1b", "P1a"]
    assert world.usage("P1").status == "live"


def test_what_was_put_there_and_never_noted_is_put_in_order_too(world: World, shop: ShopInMemory) -> None:
    # Given a publisher that died when it had added the pictures
    world.plans("P1")
    shop.dies(1, "after")
    with pytest.raises(KilledError):
        world.call()
    shop.heals()

    # When another one is rated best before it is called again, then the order is that
    world.rates("P1", "P1b", 5)
    world.publish()
    assert world.shown("P1") == ["front", "P1b", "P1a"]


def test_a_newer_image_of_a_variant_takes_the_place_of_the_old_one(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    world.makes("P1", "P1c", 1)
    record = world.publish("P1", run_id=ANOTHER)
    assert world.shown("P1") == ["front", "P1c", "P1b"]
    assert (record.published, record.images_added, record.images_removed) == (1, 1, 1)
    assert len(shop.media("P1")) == 3


# ---------------------------------------------------------------------- products that are mapped anew


def test_what_was_live_at_another_product_goes_from_there(world: World, shop: ShopInMemory) -> None:
    # Given a product whose pictures are at the wrong one
    world.publish("P1")
    shop.stocks("P9")

    # When it is mapped to the right one
    world.maps("P1", "P9")
    record = world.publish("P1", run_id=ANOTHER)

    # Then they are there, and nowhere else
    assert (world.shown("P1"), world.shown("P9")) == (["front"], ["P1a", "P1b"])
    assert (record.published, record.images_added, record.images_removed) == (1, 2, 2)
    assert (world.usage("P1").status, world.usage("P1").old_media) == ("live", None)


def test_two_products_that_were_mixed_up_change_places(world: World, shop: ShopInMemory) -> None:
    # Given two products that share an image, and were mapped the wrong way round
    world.makes("P2", "P1a", 3)
    world.maps("P1", "P2")
    world.maps("P2", "P1")
    world.publish("P1", "P2")
    assert world.shown("P2") == ["back", "P1a", "P1b"]

    # When they are mapped the right way round
    world.maps("P1", "P1")
    world.maps("P2", "P2")
    record = world.publish("P1", "P2", run_id=ANOTHER)

    # Then each has its own, and what the library takes for live is there
    assert (world.shown("P1"), world.shown("P2")) == (["front", "P1a", "P1b"], ["back", "P2a", "P2b", "P1a"])
    assert record.published == 2
    for product_id in ("P1", "P2"):
        assert [each for _, each in world.live(product_id)] == [each.media_id for each in shop.media(product_id)[1:]]


def test_what_was_mapped_away_and_back_before_it_was_published_stays(world: World, shop: ShopInMemory) -> None:
    # Given a product that was mapped to another one by mistake, and back
    world.publish("P1")
    media = [each.media_id for each in shop.media("P1")]
    world.maps("P1", "P9")
    world.maps("P1", "P1")

    # When it is published, then its pictures are still there
    record = world.publish("P1", run_id=ANOTHER)
    assert (world.shown("P1"), record.images_removed) == (["front", "P1a", "P1b"], 0)
    assert [each.media_id for each in shop.media("P1")] == media
    assert [each for _, each in world.live("P1")] == media[1:]


def test_what_was_mapped_to_a_product_that_is_none_goes_from_where_it_was(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    world.maps("P1", "P9")
    record = world.publish("P1", run_id=ANOTHER)
    assert (record.failed, record.images_removed) == (1, 2)
    assert world.shown("P1") == ["front"]
    assert (world.usage("P1").status, world.usage("P1").old_media) == ("removed", None)
    assert shop.calls[-1] == "delete_files"


@pytest.mark.parametrize("exists", [True, False])
def test_an_old_picture_that_cannot_be_taken_out_is_tried_again(world: World, shop: ShopInMemory, exists: bool) -> None:
    # Given a picture that Shopify does not delete at the product that ours was before
    world.publish("P1")
    stays = shop.media("P1")[1].media_id
    shop.locked = {stays: "FILE_LOCKED: Later."}
    if exists:
        shop.stocks("P9")
    world.maps("P1", "P9")
    record = world.publish("P1", run_id=ANOTHER)
    assert (record.failed, record.images_removed, world.usage("P1").old_media) == (1, 1, [stays])
    assert world.shown("P1") == ["front", "P1a"]

    # When it does, then it is gone
    shop.locked = {}
    world.publish("P1", run_id=RUN_ID.replace("3f", "4f"))
    assert (world.shown("P1"), world.usage("P1").old_media) == (["front"], None)
    assert world.usage("P1").status == ("live" if exists else "removed")


@pytest.mark.parametrize("call", ["read", "added"])
def test_a_product_that_is_mapped_anew_while_it_is_published_leaves_nothing_behind(
    world: World, shop: ShopInMemory, call: str
) -> None:
    # Given somebody who corrects a mapping just then
    shop.stocks("P9")
    shop.fails(lambda: world.maps("P1", "P9"), call, moment="after")

    # When the product is published
    record = world.publish("P1")

    # Then what was put at the wrong one is known to have to go, and goes with the next sync
    assert (record.failed, world.reasons()) == (1, {"P1": MAPPED_ANEW})
    assert world.usage("P1").shop_product_id == gid("P9")
    world.publish("P1", run_id=ANOTHER)
    assert (world.shown("P1"), world.shown("P9")) == (["front"], ["P1a", "P1b"])
    assert world.usage("P1").status == "live"


# ---------------------------------------------------------------------- unpublish


def test_unpublish_takes_ours_out_and_leaves_the_merchants(world: World, shop: ShopInMemory) -> None:
    # Given a live store, with the merchant's pictures among ours
    world.publish("P1", "P2")
    shop.merchant_adds("P1", "between", 2)

    # When it is unpublished
    record = world.publish("P1", "P2", run_id=ANOTHER, action="unpublish")

    # Then the merchant's are there as they were
    assert (world.shown("P1"), world.shown("P2")) == (["front", "between"], ["back"])
    assert world.counts(ANOTHER) == {"taken_out": 2, "images_removed": 4}
    assert (world.usage("P1").status, world.usage("P1").media) == ("unpublished", [])
    assert record.problems == []

    # And a second time there is nothing to do, and the shop is not asked
    shop.calls.clear()
    assert world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "4f"), action="unpublish").unchanged == 2
    assert shop.calls == []

    # And they come back when that is asked for
    world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "5f"))
    assert world.shown("P1") == ["front", "between", "P1a", "P1b"]


def test_unpublish_of_a_product_that_is_gone_is_no_failure(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    del shop.products[gid("P1")]
    record = world.publish("P1", run_id=ANOTHER, action="unpublish")
    assert (record.unchanged, record.failed, record.problems) == (1, 0, [])
    assert (world.usage("P1").status, world.usage("P1").media) == ("removed", [])


def test_unpublish_finds_what_was_never_noted(world: World, shop: ShopInMemory) -> None:
    # Given pictures that were not ready in time, and are being processed yet
    shop.seconds = READY_SECONDS + 20
    world.publish("P1")
    assert world.usage("P1").media is None

    # When the product is unpublished, then they are waited for and taken out
    record = world.publish("P1", run_id=ANOTHER, action="unpublish")
    assert (world.shown("P1"), record.taken_out, record.images_removed) == (["front"], 1, 2)
    assert world.usage("P1").status == "unpublished"


def test_a_picture_that_shopify_does_not_delete_is_told_and_tried_again(world: World, shop: ShopInMemory) -> None:
    world.publish("P1", "P2")
    shop.locked = {shop.media("P1")[1].media_id: "FILE_LOCKED: Later."}
    record = world.publish("P1", "P2", run_id=ANOTHER, action="unpublish")
    assert (record.taken_out, record.failed, world.shown("P1")) == (1, 1, ["front", "P1a"])
    assert world.reasons(ANOTHER) == {"P1": "Shopify did not take a picture out: FILE_LOCKED: Later."}
    shop.locked = {}
    again = world.publish("P1", "P2", run_id=RUN_ID.replace("3f", "4f"), action="unpublish")
    assert (again.taken_out, again.unchanged, world.shown("P1")) == (1, 1, ["front"])


# ---------------------------------------------------------------------- what stores have cost and saved


@pytest.mark.usefixtures("shop")
def test_the_first_store_pays_for_what_a_run_has_made_and_the_second_saves_it(world: World) -> None:
    # Given a product of which a run has made one image and found the other
    world.makes("P1", "new", 3, run_id=RUN_ID)
    world.maps("P1", "P1", "two")
    other = world.store("two")
    other.stocks("P1")

    # When it is published to two stores
    first = world.publish("P1", store_id="one", index=0)
    second = world.publish("P1", store_id="two", index=1)

    # Then they were made for the first that shows them, and the second saves all three
    for record, made, reused in ((first, 3, 0), (second, 0, 3)):
        assert (record.images_generated, record.images_reused) == (made, reused)
        assert (record.saved_microusd, record.saved_work_ms) == (reused * COST, reused * WORK_MS)

    # And that is the stores', once, however often it is settled
    for _ in range(2):
        for each in stores.publishings(RUN_ID):
            stores.settle(each, world.moment())
    for store_id, rate in (("one", 0.0), ("two", 1.0)):
        told = stores.show(stores.get(store_id))
        assert (told["images_generated"] + told["images_reused"], told["reuse_rate"]) == (3, rate)
        assert told["saved_usd"] == pytest.approx(told["images_reused"] * COST / 1_000_000)
        assert told["published_at"] is not None


def test_a_run_that_has_published_nothing_leaves_the_date_of_the_last_publish(world: World, shop: ShopInMemory) -> None:
    world.publish("P1")
    stores.settle(world.record(), world.moment())
    published_at = stores.get("one").published_at
    world.publish("P1", run_id=ANOTHER)
    stores.settle(world.record(ANOTHER), world.moment())
    assert stores.get("one").published_at == published_at
    assert (stores.get("one").images_generated, shop.calls[-1]) == (2, "glance")


@pytest.mark.usefixtures("shop")
def test_a_store_that_was_removed_meanwhile_is_not_settled_into_being(world: World) -> None:
    world.publish("P1")
    stores.get("one").delete()
    stores.settle(world.record(), world.moment())
    with pytest.raises(NotFoundError):
        stores.get("one")
    assert world.record().settled_at is None


# ---------------------------------------------------------------------- leases


def test_a_lease_is_one_runs_until_it_gives_it_back_or_dies(world: World) -> None:
    world.store()
    now = world.now
    assert stores.lease("one", RUN_ID, now)
    assert stores.lease("one", RUN_ID, now + 100), "its holder may renew it"
    assert not stores.lease("one", ANOTHER, now + 100 + stores.LEASE_SECONDS)
    stores.release("one", ANOTHER)
    assert not stores.lease("one", ANOTHER, now + 100), "another one cannot give it back"
    stores.release("one", RUN_ID)
    assert stores.lease("one", ANOTHER, now + 100)
    assert stores.lease("one", RUN_ID, now + 101 + stores.LEASE_SECONDS), "the dead lose it"


def test_there_is_no_lease_of_a_store_that_there_is_not(world: World) -> None:
    assert not stores.lease("none", RUN_ID, world.now)
    stores.release("none", RUN_ID)
    assert stores.every() == []


def test_a_call_that_the_state_machine_has_lost_adds_nothing_beside_the_newer_one(
    world: World, shop: ShopInMemory
) -> None:
    # Given a call that has read what is there, when the state machine, which lost it, calls again
    world.plans("P1")
    shop.fails(world.publish, "read", moment="after")

    # When it goes on, then the newer call has put the pictures there, and it puts no more
    world.call()
    assert world.shown("P1") == ["front", "P1a", "P1b"]
    assert shop.calls.count("add_media") == 1


# ---------------------------------------------------------------------- matching, and trying a store out


def test_a_match_is_written_and_changes_nothing(world: World, shop: ShopInMemory) -> None:
    # Given a product that is not mapped, and whose id is a variant's SKU
    world.has("P3", "P3a", title="=Shirt")
    shop.variants_told = [Variant(gid("P3"), "shirt", "Shop's shirt", "p3", ""), Variant(gid("P1"), "x", "", "P1", "")]
    a_run(world, runs.MATCH, [])

    # When it is looked for
    world.publish(action="match")

    # Then it is a line of a mapping, and the run counts it
    text = world.bucket.objects[match.matches_key(RUN_ID)].decode("utf-8-sig")
    assert text.splitlines()[1:] == ["P3,3,'=Shirt,Shop's shirt,sku"]
    plan = runs.get(RUN_ID).plan
    assert (plan["matched"], plan["mapped_before"], plan["not_found"]) == (1, 2, 0)
    assert stores.get("one").leased_by is None
    with pytest.raises(DoesNotExist):
        world.usage("P3")


def test_a_match_in_a_shop_that_is_silent_is_tried_again(world: World, shop: ShopInMemory) -> None:
    a_run(world, runs.MATCH, [])
    shop.fails(unavailable(), "variants")
    task = world.task(action="match")
    assert world.call(task).wait_seconds == 2
    assert world.call(task).next == "done"
    assert match.matches_key(RUN_ID) in world.bucket.objects


def test_trying_a_store_out_says_what_is_wrong_with_it(world: World) -> None:
    shop: Any = world.store()
    assert publish.try_out("one", lambda _: shop) == {
        "ok": True,
        "shop": "The Shop",
        "scopes": ["write_files", "write_products"],
        "missing": [],
        "reason": "",
    }
    shop.info = ShopInfo("The Shop", frozenset({"write_files"}))
    told = publish.try_out("one", lambda _: shop)
    assert (told["ok"], told["missing"]) == (False, ["write_products"])
    assert told["reason"] == "The app lacks the scope write_products."
    shop.info = ShopInfo("The Shop", frozenset())
    assert publish.try_out("one", lambda _: shop)["reason"].startswith(
        "The app lacks the scopes write_files, write_pro"
    )
    for error in (ShopError("Revoked."), unavailable()):
        shop.fails(error, "describe")
        told = publish.try_out("one", lambda _: shop)
        assert (told["ok"], told["reason"]) == (False, str(error))
    assert "There is no store none" in publish.try_out("none", lambda _: shop)["reason"]


# ---------------------------------------------------------------------- how runs with stores end


def a_run(world: World, purpose: str, store_ids: list[str], **given: Any) -> dict[str, Any]:
    """Have a run that is at its stores, and return what Finish is called with when they are done."""
    about = {"name": "scrape", "status": runs.RUNNING, "options": {}, "started_by": "me", "created_at": "2026"}
    Run(RUN_ID, RUN, **{**about, "purpose": purpose, "phase": runs.PUBLISHING, "products": 2, **given}).save()
    context = RunContext(
        run_id=RUN_ID,
        variants=1,
        reuse=True,
        model_photos=[],
        max_concurrency=1,
        stores=store_ids,
        action=runs.STORE_ACTIONS.get(purpose, "publish"),
    )
    told = [world.task(store_id=each, index=n).then("done").model_dump() for n, each in enumerate(store_ids)]
    return {"run": context.model_dump(), "published": told}


def finish(world: World, state: dict[str, Any]) -> dict[str, Any]:
    return Finisher(method_settings(), {"catvton": Method()}).finish(state, "arn:x", world.moment())


@pytest.mark.usefixtures("shop")
def test_a_run_whose_stores_have_all_succeeds_and_is_settled_once(world: World) -> None:
    # Given a sync that has been to its store
    state = a_run(world, runs.SYNC, ["one"], reused=2)
    world.publish("P1", "P2")

    # When it is finished twice, as the answer was lost
    told = finish(world, state)
    ended = world.tables.copy()

    # Then it says the same, and has counted once
    assert told == {"next": "succeeded", "reason": "succeeded"}
    assert finish(world, state)["next"] == "succeeded"
    assert world.tables.copy() == ended
    run: Any = runs.get(RUN_ID)
    assert (run.images_reused, run.saved_microusd, run.saved_work_ms) == (0, 0, 0)
    assert (run.status, run.reason, stores.get("one").images_generated) == ("succeeded", None, 4)


@pytest.mark.usefixtures("shop")
def test_a_finish_that_died_before_it_could_end_the_run_settles_nothing_twice(world: World) -> None:
    state = a_run(world, runs.SCRAPE, ["one"], reused=2)
    world.publish("P1", "P2")
    stores.settle(world.record(), world.moment())
    assert finish(world, state)["next"] == "succeeded"
    assert stores.get("one").images_generated == 4
    assert runs.get(RUN_ID).images_reused == 0, "of a scrape Ingest has counted them"


def test_a_run_is_first_sent_on_to_its_stores(world: World, shop: ShopInMemory) -> None:
    state = a_run(world, runs.SYNC, ["one"], phase=None, reused=2)
    del state["published"]
    told = finish(world, {**state, "pass": None, "progress_at": world.now})
    assert (told["next"], told["run"]["stores"]) == ("publish", ["one"])
    assert runs.get(RUN_ID).phase == runs.PUBLISHING
    assert finish(world, state) == told, "it is sent there again if the answer was lost"
    assert shop.calls == []


def test_some_in_a_store_as_wanted_and_some_not_is_a_partial_run(world: World, shop: ShopInMemory) -> None:
    # Given a store in which one product is not mapped and one fails, and another one that has all
    shop.fails(ShopProductError("Shopify refused it."), "add_media", about=gid("P2"))
    world.has("P3", "P3a")
    world.store("two").stocks("P1", "P2", "P3")
    for each in ("P1", "P2", "P3"):
        world.maps(each, each, "two")
    state = a_run(world, runs.SCRAPE, ["one", "two"], products=3, generated=3)
    world.publish("P1", "P2", "P3", store_id="one")
    world.publish(store_id="two", index=1)

    # When the run ends, then it says so of the one
    told = finish(world, state)
    assert told["next"] == "partial"
    assert told["reason"] == "Store one: 2 products are not in it as wanted: 1 failed, 1 not mapped."


def test_a_run_that_has_nothing_in_its_store_has_failed_unless_it_has_made_images(
    world: World, shop: ShopInMemory
) -> None:
    lost = "2 products are not in it as wanted: 2 not reached. The token was revoked."
    world.cannot_open = ShopError("The token was revoked.")
    state = a_run(world, runs.SYNC, ["one"], reused=2)
    world.publish("P1", "P2")
    assert finish(world, state) == {"next": "failed", "reason": f"Store one: {lost}"}
    state = a_run(world, runs.SCRAPE, ["one"], generated=2, reason="1 of 2 products did not get all their images.")
    told = finish(world, state)
    assert told["next"] == "partial"
    assert told["reason"] == f"1 of 2 products did not get all their images. Store one: {lost}"
    assert shop.calls == []


def test_a_run_that_was_given_up_in_the_middle_says_both(world: World, shop: ShopInMemory) -> None:
    # Given a run that is stopped after a batch in which one product was without images
    ids = many(world, shop, BATCH + 1)
    world.has(ids[0])
    world.withdraws(ids[0], f"{ids[0]}a")
    shop.fails(lambda: budget.stop(RUN_ID, budget.DEFERRED, "Anna stopped it."), "read")
    state = a_run(world, runs.SYNC, ["one"])
    world.publish(*ids)

    # Then both are said
    told = finish(world, state)
    assert told["next"] == "partial"
    assert told["reason"] == (
        f"Store one: 2 products are not in it as wanted: 1 without images, 1 not reached. {STOPPED}"
    )


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_a_store_whose_publisher_broke_says_why_and_is_free_again(
    world: World, shop: ShopInMemory, caught: bool, begun: bool
) -> None:
    # Given a publisher that died, perhaps before it had a record, and perhaps with an error that was caught
    state = a_run(world, runs.SYNC, ["one"], reused=2)
    world.plans("P1", "P2")
    if begun:
        shop.dies(0, "after")
        with pytest.raises(KilledError):
            world.call()
        shop.heals()
    stores.lease("one", RUN_ID, world.now)
    state["published"] = []
    why = UNRECORDED
    if caught:
        error = {"Error": "Runtime.ExitError", "Cause": '{"errorMessage": "exit status 1"}'}
        state["published"] = [{**world.task().model_dump(), "error": error}]
        why = "A step failed unexpectedly: exit status 1"

    # When the run ends
    told = finish(world, state)

    # Then it says so, and others may publish
    assert told == {"next": "failed", "reason": f"Store one: {why}"}
    assert stores.get("one").leased_by is None
    if begun:
        assert (world.record().finished_at is not None, world.record().reason) == (True, why)
    assert world.publish("P1", "P2", run_id=ANOTHER).published == 2


@pytest.mark.usefixtures("shop")
def test_a_lease_of_another_run_is_not_given_back_by_finish(world: World) -> None:
    state = a_run(world, runs.SYNC, ["one"])
    world.publish("P1")
    stores.lease("one", ANOTHER, world.now)
    finish(world, state)
    assert stores.get("one").leased_by == ANOTHER


# ---------------------------------------------------------------------- whatever happens

OWN = ("m1", "m2", "m3")
STEPS = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 9), st.sampled_from(MOMENTS)),
    st.tuples(st.just("note"), st.integers(0, 5), st.sampled_from(MOMENTS)),
    st.tuples(st.just("unanswered"), st.integers(0, 3), st.sampled_from(MOMENTS)),
    st.tuples(st.just("add"), st.integers(0, 9), st.sampled_from([0, 4, 20])),
    st.tuples(st.just("remove"), st.integers(0, 9), st.none()),
    st.tuples(st.just("move"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("image"), st.integers(1, 4), st.none()),
    st.tuples(st.just("stars"), st.integers(0, 9), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([1, 4, 40, 400]), st.none()),
)


class Story:
    """A product to which things happen, by the library, the merchant, and publishers that die."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shop = world.store()
        self.shop.stocks(P1=OWN)
        world.has("P1", "a", "b")
        world.maps("P1")
        self.images = ["a", "b"]
        self.files = len(OWN)
        self.run = 0

    def happens(self, what: str, first: int, second: Any) -> None:
        getattr(self, what)(first, second)

    def publish(self, at: int, moment: Moment) -> None:
        """Have a publisher that dies at a call, if it makes so many; the same run goes on later, if it did."""
        self.shop.dies(at, moment)
        with contextlib.suppress(KilledError):
            self.call()
        self.shop.heals()

    def note(self, at: int, moment: Moment) -> None:
        """Have a publisher that dies at a write of its own records."""
        left = itertools.count(at, -1)

        def die() -> None:
            if next(left) == 0:
                raise KilledError

        tables = self.world.tables
        if moment == "before":
            tables.about_to_write = die
        else:
            tables.written = die
        with contextlib.suppress(KilledError):
            self.call()
        tables.about_to_write = tables.written = lambda: None

    def unanswered(self, at: int, moment: Moment) -> None:
        """Have a publisher one of whose calls is not answered."""
        self.shop.fails(unavailable(uncertain=True), skip=at, moment=moment)
        self.call()
        self.shop.heals()

    def call(self) -> None:
        """Call Publish once; when the run is done, the next call is another run's."""
        self.world.plans("P1", run_id=self.run_id)
        if self.world.call(self.world.task(self.run_id)).next == "done":
            stores.release("one", self.run_id)  # as Finish does
            self.run += 1

    @property
    def run_id(self) -> str:
        return f"20261121T101502-{self.run:08x}"

    def own(self) -> list[int]:
        """Return where the merchant's pictures are."""
        return [n for n, each in enumerate(self.shop.media("P1")) if each.by == "merchant"]

    def add(self, position: int, seconds: int) -> None:
        self.files += 1
        self.shop.merchant_adds("P1", f"m{self.files}", position, seconds=seconds)

    def remove(self, number: int, _: None) -> None:
        if found := self.own():
            self.shop.merchant_removes("P1", found[number % len(found)])

    def move(self, number: int, to: int) -> None:
        if found := self.own():
            self.shop.merchant_moves("P1", found[number % len(found)], to)

    def image(self, variant: int, _: None) -> None:
        self.images.append(f"i{len(self.images)}")
        self.world.makes("P1", self.images[-1], variant)

    def stars(self, number: int, stars: int) -> None:
        self.world.rates("P1", self.images[number % len(self.images)], stars)

    def wait(self, seconds: int, _: None) -> None:
        self.world.now += seconds


@settings(max_examples=60, derandomize=True, deadline=None)
@given(steps=st.lists(STEPS, max_size=12))
def test_whatever_happens_the_next_publish_leaves_each_picture_once_in_order_and_the_merchants_alone(
    steps: list[tuple[str, int, Any]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Given a product to which all sorts of things happen
        patch.setattr(publish, "AT_ONCE", 1)
        world = a_world(patch)
        story = Story(world)
        for what, first, second in steps:
            story.happens(what, first, second)
        stores.release("one", story.run_id)
        own = [each.media_id for each in story.shop.media("P1") if each.by == "merchant"]

        # When nobody disturbs a publish
        record = world.publish("P1", run_id=ANOTHER)

        # Then each picture that is wanted is there once, in order, and the merchant's are as he left them
        assert (record.failed, record.reason) == (0, None)
        ours = [each for each in story.shop.media("P1") if each.by == "us"]
        assert [world.names[each.file[:64]] for each in ours] == world.wanted("P1")
        assert [each.media_id for each in ours] == [media_id for _, media_id in world.live("P1")]
        assert [each.media_id for each in story.shop.media("P1") if each.by == "merchant"] == own

        # And another one finds nothing to do
        calls = len(story.shop.calls)
        assert world.publish("P1", run_id=RUN_ID).unchanged == 1
        assert set(story.shop.calls[calls:]) <= {"glance", "read"}
