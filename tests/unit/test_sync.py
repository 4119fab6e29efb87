"""What a sync, an unpublish or a mapping is about: Ingest's part of it, with tables and a bucket in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pynamodb.exceptions import DoesNotExist

from lookbook import aws, ingest, runs, stores, sync
from lookbook.errors import InputError, NotFoundError
from lookbook.plan import LOOKED_UP_AT_ONCE, MAX_PROBLEMS, PlanLine, plan_key
from lookbook.sync import NO_IMAGES, Listed, SyncOptions
from lookbook.tables import PRODUCT, Product, Usage
from tests.unit.fakes import Bucket, Tables, gid, method_settings, tables_in_memory

RUN_ID = "20261121T101502-3f9a2c1b"
NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
SEEN = "2026-11-20T10:00:00.000Z"
HEADER = "CJ Product ID,Shopify Product ID\n"
LIVE = [{"image_id": "a" * 64, "media_id": "gid://shopify/MediaImage/1", "since": SEEN}]
OLD = ["gid://shopify/MediaImage/7"]


class World:
    """A library with products, a store, and a bucket."""

    def __init__(self, tables: Tables, folder: Path) -> None:
        self.tables = tables
        self.folder = folder
        self.bucket = Bucket()
        stores.put("one", name="one", domain="one.myshopify.com", credentials="admin_token", now=NOW)

    def has(self, *product_ids: str, variants: set[int] | None = None) -> None:
        for product_id in product_ids:
            about: dict[str, Any] = {"title": f"Shirt {product_id}", "category": "", "source": "cj", "source_url": ""}
            held = {1, 2} if variants is None else variants
            Product(product_id, PRODUCT, **about, created_at=SEEN, updated_at=SEEN, variants=held or None).save()

    def uses(self, product_id: str, shop_product: str = "", **given: Any) -> None:
        """Have a product in the store, live and as the library has it unless said otherwise."""
        about = {
            "mapped_at": SEEN,
            "status": "live",
            "media": LIVE,
            "library_seen": SEEN,
            "domain": "one.myshopify.com",
        }
        shop_product_id = gid(shop_product or product_id)
        usage: Any = Usage
        key = (product_id, stores.sort_key("one"))
        usage(*key, store_id="one", shop_product_id=shop_product_id, **(about | given)).save()

    def usage(self, product_id: str) -> Any:
        return Usage.get(product_id, stores.sort_key("one"))

    def plan(self, text: str | None = None, action: str = "publish", **options: Any) -> Listed:
        """Plan a sync, with a mapping if there is a text."""
        if text is not None:
            options["mapping"] = True
            self.bucket.objects["mapping"] = text.encode()
        asked = SyncOptions.model_validate({"store": "one", **options})
        return sync.plan(asked, action, "bucket", "mapping", self.folder, NOW)

    def lines(self) -> list[PlanLine]:
        return [PlanLine.model_validate_json(line) for line in (self.folder / "plan").read_text().splitlines()]

    def told(self) -> dict[str, str]:
        """Return what is planned for each product: `reused`, or why nothing."""
        return {line.product_id: line.reason or line.decision for line in self.lines()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch), tmp_path)
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    return made


def taken_by(line: int, other: str) -> str:
    return f"Line {line}: The Shopify product is mapped to {other} already; two products cannot be one in the shop."


# ---------------------------------------------------------------------- a whole store


def test_a_sync_is_about_all_that_is_mapped(world: World) -> None:
    # Given a product that is live, one that is mapped, one without images, and one that is in another store
    world.has("P1", "P2")
    world.has("P3", variants=set())
    world.uses("P1")
    world.uses("P2", status="mapped", media=None)
    world.uses("P3", status="mapped", media=None)
    Usage("P4", stores.sort_key("two"), store_id="two", shop_product_id=gid("4"), mapped_at=SEEN).save()

    # When a sync is planned
    listed = world.plan()

    # Then all of the store's are listed, with their titles, and what there is nothing to show of is told
    assert world.told() == {"P1": "reused", "P2": "reused", "P3": NO_IMAGES}
    assert [(line.index, line.title, line.images) for line in world.lines()] == [
        (0, "Shirt P1", 2),
        (1, "Shirt P2", 2),
        (2, "Shirt P3", 0),
    ]
    assert (listed.products, listed.rejected, listed.reused, listed.images_reused) == (3, 1, 2, 4)
    about = {"index": 2, "product_id": "P3", "title": "Shirt P3"}
    assert listed.problems == [{**about, "status": "rejected", "reason": NO_IMAGES}]


@pytest.mark.parametrize("kept", [{"media": LIVE}, {"media": [], "old_media": OLD}])
def test_what_is_live_is_listed_though_the_library_has_no_images_any_more(world: World, kept: dict[str, Any]) -> None:
    world.uses("P1", **kept)
    world.plan()
    assert world.told() == {"P1": "reused"}


def test_a_store_with_nothing_mapped_is_told_how_to_map(world: World) -> None:
    world.has("P1")
    with pytest.raises(InputError, match="lookbook stores match one"):
        world.plan()
    assert world.plan(action="unpublish") == Listed()


def test_a_store_that_there_is_not_cannot_be_synced(world: World) -> None:
    with pytest.raises(NotFoundError, match="There is no store none"):
        world.plan(store="none")


def test_products_are_looked_up_in_batches_and_problems_are_the_first_ones(world: World) -> None:
    ids = [f"P{number}" for number in range(1000, 1000 + 2 * LOOKED_UP_AT_ONCE + 1)]
    world.has(*ids[:-30])
    for product_id in ids:
        world.uses(product_id, status="mapped", media=None)
    listed = world.plan()
    assert [line.product_id for line in world.lines()] == ids
    assert (listed.products, listed.rejected, len(listed.problems)) == (len(ids), 30, MAX_PROBLEMS)
    assert listed.problems[0]["product_id"] == ids[-30]


# ---------------------------------------------------------------------- only what has changed


@pytest.mark.parametrize(
    ("usage", "variants", "taken"),
    [
        ({}, {1, 2}, False),
        ({"library_seen": "2026-11-19T10:00:00.000Z"}, {1, 2}, True),
        ({"old_media": OLD}, {1, 2}, True),
        ({"status": "mapped", "media": None, "library_seen": None}, {1}, True),
        ({"status": "mapped", "media": None, "library_seen": None}, set(), False),
        ({"status": "failed"}, {1, 2}, True),
        ({"status": "removed", "media": []}, {1, 2}, False),
        ({"status": "unpublished", "media": []}, {1, 2}, False),
        ({"library_seen": "2026-11-19T10:00:00.000Z"}, set(), True),
        ({"domain": "another.myshopify.com"}, {1, 2}, True),
    ],
    ids=[
        "as it is",
        "the library has more",
        "pictures left at another product",
        "never published",
        "nothing to publish",
        "failed",
        "gone from the shop",
        "unpublished",
        "images withdrawn",
        "live in another shop",
    ],
)
def test_changed_is_what_the_shop_does_not_have_as_the_library_has_it(
    world: World, usage: dict[str, Any], variants: set[int], taken: bool
) -> None:
    world.has("P1", variants=variants)
    world.uses("P1", **usage)
    listed = world.plan(changed=True)
    assert (listed.products, list(world.told())) == (int(taken), ["P1"] if taken else [])


def test_a_product_that_the_library_does_not_know_has_not_changed(world: World) -> None:
    world.uses("P1")
    assert world.plan(changed=True).products == 0


# ---------------------------------------------------------------------- some products, and what is to be taken out


def test_named_products_are_listed_once_and_the_unmapped_told(world: World) -> None:
    # Given two mapped products, of which one is named, twice, and one that is not mapped
    world.has("P1", "P2", "P3")
    world.uses("P1")
    world.uses("P2")
    listed = world.plan(products=["P1", "P3", "P1"])
    why = "It is not mapped to a product of the store one."
    assert world.told() == {"P1": "reused", "P3": why}
    assert (listed.products, listed.rejected, [line.index for line in world.lines()]) == (2, 1, [0, 1])


def test_unpublish_is_about_what_may_have_pictures_in_the_shop(world: World) -> None:
    # Given products in every state
    world.has("P1", "P2", "P3", "P4", "P5", "P6")
    world.uses("P1")
    world.uses("P2", status="mapped", media=None)
    world.uses("P3", status="mapped", media=[], old_media=OLD)
    world.uses("P4", status="unpublished", media=[])
    world.uses("P5", status="failed", media=None)
    world.uses("P6", status="removed", media=[])

    # When all is to be taken out, then those are listed that have pictures there, or may have
    world.plan(action="unpublish")
    assert world.told() == dict.fromkeys(["P1", "P3", "P5"], "reused")

    # And of those that are named only the one that there is not is told
    world.plan(action="unpublish", products=["P1", "P2", "P9"])
    assert world.told() == {"P1": "reused", "P9": "It is not mapped to a product of the store one."}


def test_unpublish_needs_no_product_in_the_library(world: World) -> None:
    world.uses("P1")
    assert world.plan(action="unpublish").reused == 1


# ---------------------------------------------------------------------- mappings


def test_a_mapping_is_written_and_only_its_products_are_listed(world: World) -> None:
    # Given a store with a product
    world.has("P1", "P2", "P3")
    world.uses("P3")

    # When a mapping of others comes, with lines that cannot be used
    listed = world.plan(HEADER + "P1,1\nP2,two\nP4,4\n")

    # Then the good ones are mapped, and each line that is not says why
    assert (world.usage("P1").shop_product_id, world.usage("P1").status) == (gid("1"), "mapped")
    told = world.told()
    assert (told["P1"], told["P4"]) == ("reused", NO_IMAGES)
    assert told["P2"].startswith("Line 3: 'two' is not a product of Shopify")
    assert (listed.products, listed.rejected, [line.index for line in world.lines()]) == (3, 2, [2, 3, 4])
    assert world.usage("P4").shop_product_id == gid("4"), "it is mapped for when it has images"
    with pytest.raises(DoesNotExist):
        world.usage("P2")


def test_a_mapping_that_is_not_to_be_published_needs_no_images(world: World) -> None:
    listed = world.plan(HEADER + "P1,1\n", publish=False)
    assert (world.told(), listed.rejected) == ({"P1": "reused"}, 0)
    assert world.usage("P1").status == "mapped"


def test_a_mapping_that_is_none_maps_nothing(world: World) -> None:
    with pytest.raises(InputError, match="first line"):
        world.plan("a,b\nP1,1\n")
    with pytest.raises(InputError, match="split it"):
        world.plan(HEADER + "P1,1\n" + "P2,2\n" * 100_000)
    assert list(stores.usages("one")) == []


def test_what_is_mapped_so_already_costs_no_write(world: World) -> None:
    world.has("P1", "P2")
    world.uses("P1")
    before = world.tables.copy()["LibraryItem"]
    world.plan(HEADER + "P1,1\nP2,2\n")
    after = world.tables.copy()["LibraryItem"]
    assert {key for key in after if after[key] != before.get(key)} == {("P2", "store#one")}
    assert world.told() == {"P1": "reused", "P2": "reused"}


def test_what_is_mapped_anew_takes_its_pictures_along_as_old_ones(world: World) -> None:
    # Given a product that has pictures at one product of the shop, and one left at another, and has failed
    world.has("P1")
    world.uses("P1", "5", old_media=OLD, status="failed", reason="Shopify refused it.")

    # When it is mapped to a third one
    world.plan(HEADER + "P1,1\n")

    # Then all of them have to go
    usage = world.usage("P1")
    assert (usage.shop_product_id, usage.status, usage.media) == (gid("1"), "mapped", [])
    assert usage.old_media == [*OLD, LIVE[0]["media_id"]]
    assert (usage.library_seen, usage.reason) == (None, None)


def test_what_is_mapped_anew_is_listed_for_its_old_pictures_if_there_are_no_others(world: World) -> None:
    world.has("P1", variants=set())
    world.uses("P1", "5")
    world.plan(HEADER + "P1,1\n", changed=True)
    assert world.told() == {"P1": "reused"}


def test_changed_narrows_a_mapping_down_and_still_tells_its_bad_lines(world: World) -> None:
    world.has("P1", "P2")
    world.uses("P1")
    world.plan(HEADER + "P1,1\nP2,2\nP3,x\n", changed=True)
    assert set(world.told()) == {"P2", "P3"}


def test_a_product_of_the_shop_is_one_of_ours(world: World) -> None:
    # Given a product of the shop that is mapped
    world.has("P1", "P2")
    world.uses("P1")

    # When another one is mapped to it, then that is told, and nothing has changed
    world.plan(HEADER + "P2,1\n")
    assert world.told() == {"P2": taken_by(2, "P1")}
    assert world.usage("P1").status == "live"
    with pytest.raises(DoesNotExist):
        world.usage("P2")


def test_products_that_were_mixed_up_can_change_places(world: World) -> None:
    # Given three that are mapped to each other's product
    world.has("P1", "P2", "P3")
    world.uses("P1", "2")
    world.uses("P2", "3")
    world.uses("P3", "1")

    # When a mapping has them the right way round, then each is where it belongs
    world.plan(HEADER + "P1,1\nP2,2\nP3,3\n")
    assert world.told() == dict.fromkeys(["P1", "P2", "P3"], "reused")
    assert [world.usage(f"P{n}").shop_product_id for n in (1, 2, 3)] == [gid("1"), gid("2"), gid("3")]


def test_who_cannot_move_keeps_its_place_from_the_next_one(world: World) -> None:
    # Given that P9 stays where P1 wants to go, so that P1 stays where P2 wants to go, and so on
    world.has("P1", "P2", "P3", "P9")
    world.uses("P9", "100")
    world.uses("P1", "10")
    world.uses("P2", "20")

    # When all of them want to move up
    world.plan(HEADER + "P3,20\nP2,10\nP1,100\n")

    # Then none does, and each says who is in its place
    assert world.told() == {"P3": taken_by(2, "P2"), "P2": taken_by(3, "P1"), "P1": taken_by(4, "P9")}
    assert [world.usage(each).shop_product_id for each in ("P1", "P2")] == [gid("10"), gid("20")]
    assert len(list(stores.usages("one"))) == 3


def test_a_bad_line_moves_nobody_out_of_the_way(world: World) -> None:
    world.has("P1", "P2")
    world.uses("P1")
    world.plan(HEADER + "P1,x\nP2,1\n")
    assert world.told()["P2"] == taken_by(3, "P1")


# ---------------------------------------------------------------------- as Ingest does it


def ingested(world: World, purpose: str, text: str = "", **options: Any) -> dict[str, Any]:
    """Start a run as the API does, and return what Ingest hands on."""
    key = f"runs/{RUN_ID}/scrape" if text else ""
    world.bucket.objects[key] = text.encode()
    asked = {"store": "one", **options} | ({"mapping": True} if text else {})
    runs.create(RUN_ID, name="x", purpose=purpose, status=runs.RUNNING, options=asked, started_by="anna", now=NOW)
    execution = {"run_id": RUN_ID, "name": "x", "key": key}
    return ingest.ingest(execution, "arn:x", settings=method_settings(), now=NOW)


def test_a_sync_goes_on_to_its_store_with_its_plan(world: World) -> None:
    world.has("P1", "P2")
    told = ingested(world, runs.SYNC, HEADER + "P1,1\nP2,x\n")
    assert (told["next"], told["pass"], told["run"]["stores"], told["run"]["action"]) == (
        "finish",
        None,
        ["one"],
        "publish",
    )
    assert world.bucket.objects[plan_key(RUN_ID)].count(b"\n") == 2
    run = runs.get(RUN_ID)
    assert (run.products, run.rejected, run.reused, run.images_reused) == (2, 1, 1, 2)
    assert [problem["product_id"] for problem in run.problems or []] == ["P2"]


def test_an_ingest_that_is_repeated_plans_the_same(world: World) -> None:
    # Given two products that change places, and an Ingest that dies when it has moved one
    world.has("P1", "P2")
    world.uses("P1", "2")
    world.uses("P2", "1")
    stores.map_product(world.usage("P1"), "one", "P1", gid("1"), NOW)

    # When it is repeated, then the other one is moved too
    ingested(world, runs.SYNC, HEADER + "P1,1\nP2,2\n")
    assert [world.usage(each).shop_product_id for each in ("P1", "P2")] == [gid("1"), gid("2")]
    assert runs.get(RUN_ID).rejected == 0


def test_a_mapping_alone_goes_to_no_store(world: World) -> None:
    told = ingested(world, runs.SYNC, HEADER + "P1,1\n", publish=False)
    assert (told["next"], told["run"]["stores"]) == ("finish", [])
    assert world.usage("P1").status == "mapped"


def test_a_match_plans_nothing(world: World) -> None:
    told = ingested(world, runs.MATCH)
    assert (told["run"]["action"], told["run"]["stores"]) == ("match", ["one"])
    assert plan_key(RUN_ID) not in world.bucket.objects


@pytest.mark.parametrize(
    ("store_id", "text", "reason"),
    [
        ("one", "a,b\nP1,1\n", "The mapping's first line has to be: CJ Product ID,Shopify Product ID"),
        ("none", "", "There is no store none. Add it with: lookbook stores add none"),
    ],
)
def test_a_sync_that_cannot_be_planned_fails_with_its_reason(
    world: World, store_id: str, text: str, reason: str
) -> None:
    assert ingested(world, runs.SYNC, text, store=store_id)["next"] == "finish"
    assert runs.get(RUN_ID).reason == reason
