"""Stores, against shops that execute Shopify's schema: each picture once, in order, whatever breaks in between."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from local import shops
from local.shops import OpenShop
from lookbook.runs import new_id
from tests.integration.conftest import Stack
from tests.integration.crash_proxy import Deployed, Request, Trap, a_change_of_media, a_usage

PRODUCTS, VARIANTS = 6, 2
QUICK = {"processing_seconds": 0.3}

Product = dict[str, Any]


@dataclass(frozen=True)
class Seller:
    """A stack, and products that it has images of."""

    stack: Stack
    products: list[Product]

    @property
    def ids(self) -> list[str]:
        return [str(product["product_id"]) for product in self.products]

    def titles(self, products: list[Product] | None = None) -> list[tuple[str, str]]:
        return [(str(each["product_id"]), str(each["title"])) for each in products or self.products]

    def store(self, products: list[Product] | None = None, **settings: Any) -> Store:
        """Open a shop and add it as a store."""
        store_id = f"s{uuid.uuid4().hex[:8]}"
        shop = shops.open_shop(
            self.stack.known["shop_url"], f"shop-{store_id}", self.titles(products), **{**QUICK, **settings}
        )
        store = Store(self.stack, store_id, shop)
        store.add(admin_token=shop.token)
        return store

    def pictures(self, product_id: str) -> list[str]:
        return [str(image["image_id"]) for image in self.stack.get(f"/api/products/{product_id}")["image_list"]]


@dataclass(frozen=True)
class Store:
    """A store, and the shop behind it as its owner sees it."""

    stack: Stack
    store_id: str
    shop: OpenShop

    def add(self, **credentials: str) -> None:
        body = {"store_id": self.store_id, "domain": self.shop.domain, **credentials}
        answer = self.stack.call("POST", "/api/stores", json=body)
        assert answer.status_code == 201, answer.text

    def do(self, what: str, **body: Any) -> dict[str, Any]:
        """Start a sync, a mapping, an unpublish or a match, and return the run when it has ended."""
        return self.stack.wait(self.start(what, **body))

    def start(self, what: str, **body: Any) -> str:
        answer = self.stack.call("POST", f"/api/stores/{self.store_id}/{what}", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])

    def sync(self, mapping: str | None = None, **body: Any) -> dict[str, Any]:
        return self.do("sync", **body, **({"mapping": mapping} if mapping is not None else {}))

    def usages(self) -> dict[str, dict[str, Any]]:
        found = self.stack.get(f"/api/stores/{self.store_id}/usage?limit=100")["usages"]
        return {each["product_id"]: each for each in found}

    def look(self) -> dict[str, Any]:
        return shops.look(self.stack.known["shop_url"], self.shop)

    def writes(self) -> int:
        return sum(self.look()["mutations"].values())

    def media(self, product_id: str) -> list[dict[str, Any]]:
        """Return a product's media in the shop, in order."""
        number = self.shop.numbers[product_id]
        [found] = [each for each in self.look()["products"] if each["id"].endswith(f"/{number}")]
        media: list[dict[str, Any]] = found["media"]
        return media

    def shown(self, product_id: str) -> list[str]:
        """Return what a product's pictures are, in order: our image ids, or `own` for the merchant's."""
        return ["own" if each["created_by"] == "merchant" else each["filename"][:64] for each in self.media(product_id)]

    def comes_to_show(self, product_id: str, expected: list[str]) -> None:
        """Look until the pictures are these: a shop puts them in order a moment after it has said so."""
        deadline = time.monotonic() + 10
        while self.shown(product_id) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.shown(product_id) == expected

    def hand(self, method: str, path: str, **more: Any) -> Any:
        """Do what the merchant does by hand."""
        url = f"{self.stack.known['shop_url']}/_shops/{self.shop.domain}{path}"
        answer = requests.request(method, url, timeout=10, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def fault(self, **fault: Any) -> None:
        self.stack.fault("shop_url", shop=self.shop.domain, **fault)


@pytest.fixture(scope="module")
def seller(_deployed: Stack) -> Seller:
    """Products with images in the library, made once for all these tests."""
    _deployed.heal()
    made = [garment(_deployed) for _ in range(PRODUCTS)]
    run = _deployed.run(made, variants=VARIANTS)
    assert run["status"] == "succeeded", run
    return Seller(_deployed, made)


@pytest.fixture(autouse=True)
def _healed(seller: Seller) -> Iterator[None]:
    yield
    seller.stack.heal()


def garment(stack: Stack) -> Product:
    name = uuid.uuid4().hex[:8]
    return {
        "product_id": f"ST{name}",
        "title": f"Striped Cotton Shirt {name}",
        "category": "Women's Clothing > Tops",
        "image": stack.picture(f"shirt-{name}"),
    }


def as_wanted(seller: Seller, store: Store, ids: list[str] | None = None) -> None:
    """Every product shows the merchant's picture first, and then each of ours once, in order, with its title."""
    for product in seller.products:
        product_id = product["product_id"]
        if ids is None or product_id in ids:
            store.comes_to_show(product_id, ["own", *seller.pictures(product_id)])
            media = store.media(product_id)
            assert {each["status"] for each in media} == {"READY"}
            assert {each["alt"] for each in media[1:]} == {product["title"]}
    files = [each["filename"] for each in store.look()["files"] if each["created_by"] != "merchant"]
    assert len({each[:64] for each in files}) == len(files), "no picture is in the shop's files twice"


# ---------------------------------------------------------------------- the usual course


def test_a_sync_puts_each_picture_there_once_and_a_second_one_writes_nothing(seller: Seller) -> None:
    # Given a shop whose products have a picture of the merchant's own
    store = seller.store()

    # When it is synced
    run = store.sync(store.shop.mapping())

    # Then each product shows each picture, and the run and the usages say so
    assert run["status"] == "succeeded", run
    [told] = run["stores"]
    assert (told["published"], told["images_added"], told["throttled"]) == (PRODUCTS, PRODUCTS * VARIANTS, 0)
    as_wanted(seller, store)
    for product_id, usage in store.usages().items():
        live = [image["image_id"] for image in usage["images"]]
        assert (usage["status"], live) == ("live", seller.pictures(product_id))
        assert [image["media_id"] for image in usage["images"]] == [each["id"] for each in store.media(product_id)[1:]]

    # And it costs what decisions.md says: 3 and 2 a picture that is there, 10 and 1.9 a picture, 3 and 1 a picture
    each = (3 + 2) + (10 + 1.9 * VARIANTS) + (3 + VARIANTS)
    assert told["points"] == pytest.approx(PRODUCTS * each, abs=PRODUCTS * (3 + VARIANTS)), "perhaps one look more"

    # When it is synced again
    writes, points = store.writes(), store.look()["points"]["total"]
    again = store.sync()

    # Then nothing is written, and each product costs two points
    assert again["status"] == "succeeded", again
    assert (again["stores"][0]["unchanged"], store.writes()) == (PRODUCTS, writes)
    assert store.look()["points"]["total"] - points == pytest.approx(2 * PRODUCTS)
    assert store.do("sync", changed=True)["counts"]["products"] == 0


def test_a_run_publishes_to_every_store_that_it_names_and_pays_once(seller: Seller) -> None:
    # Given two stores with the same product, one of them with a token that is granted for a moment
    new = garment(seller.stack)
    both = [*seller.products, new]
    first = seller.store(both)
    second = seller.store(both, client_id="app", client_secret="hush", token_seconds=60)
    changed = seller.stack.call(
        "PUT", f"/api/stores/{second.store_id}", json={"client_id": "app", "client_secret": "hush"}
    )
    assert changed.status_code == 200, changed.text
    for store in (first, second):
        assert store.do("mapping", mapping=store.shop.mapping())["status"] == "succeeded"
    paid = seller.stack.charges()

    # When a run names both
    run = seller.stack.run(both, variants=VARIANTS, stores=[first.store_id, second.store_id])

    # Then what was missing is made once and all is in both, and only the first store pays for it
    assert run["status"] == "succeeded", run
    assert seller.stack.charges() - paid == VARIANTS
    told = {each["store_id"]: each for each in run["stores"]}
    for store in (first, second):
        as_wanted(seller, store)
        store.comes_to_show(new["product_id"], ["own", *seller.pictures(new["product_id"])])
    assert (told[first.store_id]["images_generated"], told[second.store_id]["images_generated"]) == (VARIANTS, 0)
    figures = seller.stack.get(f"/api/stores/{second.store_id}/usage")["store"]
    assert figures["images_reused"] == (PRODUCTS + 1) * VARIANTS
    assert figures["reuse_rate"] == 1
    assert figures["saved_usd"] > 0
    assert second.look()["tokens_granted"] >= 1


def test_a_scrape_under_a_stores_name_publishes_to_it(seller: Seller) -> None:
    # Given a store that is mapped
    store = seller.store()
    store.do("mapping", mapping=store.shop.mapping())

    # When a scrape is put under its name
    key = f"scrapes/{store.store_id}/monday.json"
    body = json.dumps({"products": seller.products, "options": {"variants": VARIANTS}})
    seller.stack.aws("s3").put_object(Bucket=seller.stack.output("Bucket"), Key=key, Body=body.encode())

    # Then its products are published
    run = seller.stack.run_of_upload(key)
    assert run["status"] == "succeeded", run
    as_wanted(seller, store)


def test_products_that_are_not_mapped_are_told(seller: Seller) -> None:
    store = seller.store()
    store.do("mapping", mapping=store.shop.mapping(seller.ids[1:]))
    run = seller.stack.run(seller.products, variants=VARIANTS, stores=[store.store_id])
    assert run["status"] == "partial"
    assert f"Store {store.store_id}: 1 product is not in it as wanted: 1 not mapped." in run["reason"]
    [problem] = run["stores"][0]["problems"]
    assert problem["product_id"] == seller.ids[0]
    assert f"lookbook stores match {store.store_id}" in problem["reason"]


def test_a_store_that_does_not_exist_stops_a_run_before_it_costs_anything(seller: Seller) -> None:
    # Given scrapes that name a store there is none of, one sent and one uploaded
    paid, said = seller.stack.charges(), "There is no store nowhere. Add it with: lookbook stores add nowhere"
    scrape = json.dumps({"products": [garment(seller.stack)], "options": {"stores": ["nowhere"]}})
    body = {"name": "test", "scrape": scrape, "options": {"stores": ["nowhere"]}}
    key = f"scrapes/{uuid.uuid4().hex}.json"

    # When they are run
    refused = seller.stack.call("POST", "/api/runs", json=body)
    seller.stack.aws("s3").put_object(Bucket=seller.stack.output("Bucket"), Key=key, Body=scrape.encode())
    run = seller.stack.run_of_upload(key)

    # Then both are told what to do, and nothing was paid
    assert (refused.status_code, refused.json()["detail"]) == (404, said)
    assert (run["status"], run["reason"]) == ("failed", said)
    assert seller.stack.charges() == paid


def test_five_stores_show_each_picture_once_and_a_second_sync_of_all_does_nothing(seller: Seller) -> None:
    # Given new products, and five stores that sell them
    new = [garment(seller.stack) for _ in range(3)]
    five = [seller.store(new) for _ in range(5)]
    paid = seller.stack.charges()

    # When the scrape is run for the first, and the others are synced by CSV, all at the same time
    five[0].do("mapping", mapping=five[0].shop.mapping())
    run = seller.stack.run(new, variants=VARIANTS, stores=[five[0].store_id])
    synced = [store.start("sync", mapping=store.shop.mapping()) for store in five[1:]]
    ended = [run, *(seller.stack.wait(run_id) for run_id in synced)]

    # Then every shop shows each picture once, in order, with its title, and they were paid for once
    assert [each["status"] for each in ended] == ["succeeded"] * 5, ended
    assert seller.stack.charges() - paid == len(new) * VARIANTS
    for store in five:
        as_wanted(Seller(seller.stack, new), store)

    # And a second sync of all five does nothing
    writes = [store.writes() for store in five]
    again = [seller.stack.wait(run_id) for run_id in [store.start("sync") for store in five]]
    assert [each["stores"][0]["unchanged"] for each in again] == [len(new)] * 5
    assert [store.writes() for store in five] == writes


# ---------------------------------------------------------------------- mappings


def test_bad_lines_of_a_mapping_are_told_by_number_and_the_rest_is_synced(seller: Seller) -> None:
    store = seller.store()
    good = store.shop.mapping(seller.ids[:2])
    run = store.sync("\ufeff" + good.replace(",", ";") + "CJ9;shirt-red\r\n" + "CJ-unknown;5\r\n")
    assert run["status"] == "partial"
    reasons = [problem["reason"] for problem in run["problems"]]
    assert reasons[0].startswith("Line 4: 'shirt-red' is not a product of Shopify")
    assert reasons[1] == "It is mapped, but the library has no images of it yet; run the scrape that it is in."
    as_wanted(seller, store, seller.ids[:2])


def test_a_mapping_that_is_none_is_refused_at_once(seller: Seller) -> None:
    store = seller.store()
    answer = seller.stack.call("POST", f"/api/stores/{store.store_id}/sync", json={"mapping": "a,b\n1,2\n"})
    assert answer.status_code == 422
    assert "CJ Product ID,Shopify Product ID" in answer.json()["detail"]


def test_what_is_mapped_anew_moves(seller: Seller) -> None:
    # Given a product whose pictures are on the wrong product of the shop
    store = seller.store()
    first, second = seller.ids[:2]
    swapped = shops.OpenShop(store.shop.domain, "", {first: store.shop.numbers[second]})
    assert store.sync(swapped.mapping())["status"] == "succeeded"
    store.comes_to_show(second, ["own", *seller.pictures(first)])

    # When it is mapped to the right one
    run = store.sync(store.shop.mapping([first]))

    # Then they are there, and nowhere else
    assert run["status"] == "succeeded", run
    assert store.shown(second) == ["own"]
    as_wanted(seller, store, [first])


def test_products_are_matched_by_what_the_shop_says_of_them_and_shown_before(seller: Seller) -> None:
    # Given a shop that has our ids as SKUs
    store = seller.store()

    # When it is asked what could be mapped
    run = store.do("match")
    told = seller.stack.get(f"/api/stores/{store.store_id}/matches/{run['run_id']}")

    # Then nothing is mapped yet, and the list can be synced as it is
    assert (told["matched"], told["ambiguous"], told["by"]["sku"]) == (PRODUCTS, 0, PRODUCTS)
    assert store.usages() == {}
    text = requests.get(told["url"], timeout=10).content.decode("utf-8-sig")
    assert store.sync(text)["status"] == "succeeded"
    as_wanted(seller, store)


# ---------------------------------------------------------------------- what breaks


def task_of(seller: Seller, store: Store) -> dict[str, Any]:
    """Write the plan of a run that is known to nobody else, and return what Publish is called with."""
    run_id = new_id(datetime.now(UTC))
    lines = [
        {"index": n, "product_id": each["product_id"], "title": each["title"], "decision": "reused", "images": 2}
        for n, each in enumerate(seller.products)
    ]
    seller.stack.aws("s3").put_object(
        Bucket=seller.stack.output("Bucket"),
        Key=f"runs/{run_id}/plan.jsonl",
        Body="".join(json.dumps(line) + "\n" for line in lines).encode(),
    )
    return {"run_id": run_id, "plan_of": run_id, "store_id": store.store_id, "index": 0, "action": "publish"}


@pytest.mark.parametrize(
    ("moment", "what"),
    [("before", a_change_of_media), ("after", a_change_of_media), ("before", a_usage), ("after", a_usage)],
    ids=["before a picture is added", "after it", "before it is noted", "after it"],
)
def test_a_publisher_that_is_killed_leaves_no_picture_twice(
    seller: Seller, moment: Any, what: Callable[[Request], bool]
) -> None:
    # Given a store, and a publisher that dies
    store = seller.store()
    store.do("mapping", mapping=store.shop.mapping())
    task = task_of(seller, store)
    deployed = Deployed(seller.stack)
    with deployed.worker("Publish", Trap(moment, what)) as worker:
        worker.dies_of(task)

    # When the state machine calls again
    while (told := deployed.call("Publish", task))["next"] != "done":
        time.sleep(told["wait_seconds"])

    # Then each picture is there once
    as_wanted(seller, store)
    run = store.sync()
    assert run["stores"][0]["unchanged"] == PRODUCTS


@pytest.mark.slow
def test_publishers_that_are_killed_at_random_leave_no_picture_twice(seller: Seller) -> None:
    # Given a shop that takes its time
    store = seller.store()
    store.fault(kind="latency", seconds=0.15, operation="productUpdate")
    run_id = store.start("sync", mapping=store.shop.mapping())

    # When its publisher is killed several times
    kills, deadline = 0, time.monotonic() + 30
    while kills < 2 and time.monotonic() < deadline:
        before = store.writes()
        for process in publishers(seller.stack):
            if before > kills * 2:
                os.kill(process, signal.SIGKILL)
                kills += 1
        time.sleep(0.2)
    assert kills >= 2

    # Then the run ends well all the same
    run = seller.stack.wait(run_id)
    assert run["status"] == "succeeded", run
    as_wanted(seller, store)


def publishers(stack: Stack) -> list[int]:
    """Return the processes in which this stack's engine runs Publish."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if f"AWS_ENDPOINT_URL={stack.known['endpoint_url']}".encode() in variables and any(
            each.startswith(b"AWS_LAMBDA_FUNCTION_NAME=") and b"-PublishFunction-" in each for each in variables
        ):
            found.append(int(process.name))
    return found


def test_a_time_out_after_success_adds_nothing_twice(seller: Seller) -> None:
    store = seller.store()
    store.fault(kind="timeout_after_success", operation="productUpdate", count=3, seconds=1)
    run = store.sync(store.shop.mapping())
    assert run["status"] == "succeeded", run
    as_wanted(seller, store)


@pytest.mark.slow
def test_a_storm_of_throttling_is_waited_out(seller: Seller) -> None:
    store = seller.store()
    store.fault(kind="throttled", count=4)
    store.fault(kind="throttled", status=429, seconds=1, count=2)
    run = store.sync(store.shop.mapping())
    assert run["status"] == "succeeded", run
    assert run["stores"][0]["throttled"] >= 4
    as_wanted(seller, store)


def test_one_stores_trouble_is_its_own(seller: Seller) -> None:
    # Given three stores: one's token is revoked, one fails for a while
    revoked, failing, good = stores = [seller.store() for _ in range(3)]
    for store in stores:
        store.do("mapping", mapping=store.shop.mapping())
    revoked.hand("POST", "/revoke")
    failing.fault(kind="5xx", status=503, count=4)

    # When a run publishes to all of them
    run = seller.stack.run(seller.products, variants=VARIANTS, stores=[each.store_id for each in stores])

    # Then the others have all, and it is said what to do
    assert run["status"] == "partial"
    as_wanted(seller, good)
    as_wanted(seller, failing)
    assert f"Store {revoked.store_id}: " in run["reason"]
    assert "token" in run["reason"]
    told = seller.stack.call("POST", f"/api/stores/{revoked.store_id}/test", json={}).json()
    assert (told["ok"], "token" in told["reason"]) == (False, True)

    # And with a new token it goes on
    revoked.hand("PATCH", "", json={"client_id": "app", "client_secret": "new"})
    body = {"client_id": "app", "client_secret": "new"}
    assert seller.stack.call("PUT", f"/api/stores/{revoked.store_id}", json=body).status_code == 200
    assert revoked.sync(changed=True)["status"] == "succeeded"
    as_wanted(seller, revoked)


def test_bad_products_among_others_are_told_and_mended_by_the_next_sync(seller: Seller) -> None:
    # Given a product that is gone, one whose picture fails, and one that has no room
    store = seller.store()
    gone, failing, full = seller.ids[:3]
    number = store.shop.numbers
    store.hand("DELETE", f"/products/{number[gone]}")
    store.fault(kind="processing_failed", count=1, match=f"/{number[failing]}", code="IMAGE_DOWNLOAD_FAILURE")
    store.fault(
        kind="user_error",
        operation="productUpdate",
        match=f"/{number[full]}",
        message="Exceeded the maximum number of 250 media per product.",
    )

    # When it is synced
    run = store.sync(store.shop.mapping())

    # Then these are told, with Shopify's reason, and the rest is there
    assert run["status"] == "partial"
    reasons = {problem["product_id"]: problem["reason"] for problem in run["stores"][0]["problems"]}
    assert set(reasons) == {gone, failing, full}
    assert "The shop has no product" in reasons[gone]
    assert "IMAGE_DOWNLOAD_FAILURE" in reasons[failing]
    assert "250 media" in reasons[full]
    assert len(store.media(failing)) == 1 + VARIANTS - 1, "what failed was taken out again"
    as_wanted(seller, store, seller.ids[3:])
    assert {each["status"] for each in store.usages().values()} == {"live", "failed", "removed"}

    # And the next sync mends what can be mended
    seller.stack.heal()
    again = store.sync(changed=True)
    assert (again["status"], again["counts"]["products"], again["stores"][0]["published"]) == ("succeeded", 2, 2)
    as_wanted(seller, store, [failing, full])


# ---------------------------------------------------------------------- what changes


def test_when_a_products_images_change_the_shop_follows_and_the_merchants_stay(seller: Seller) -> None:
    # Given a product that is live, with a picture of the merchant's before and one after ours
    product = garment(seller.stack)
    seller.stack.run([product], variants=VARIANTS)
    product_id = product["product_id"]
    store = seller.store([product])
    store.sync(store.shop.mapping())
    blue = shops.own_picture()
    store.hand("POST", f"/products/{store.shop.numbers[product_id]}/media", json={"base64": blue, "alt": "mine"})
    before = seller.pictures(product_id)
    store.comes_to_show(product_id, ["own", *before, "own"])

    # When new images of it are made
    seller.stack.run([product], variants=VARIANTS, reuse=False)
    run = store.sync(changed=True)

    # Then they replace the old ones, at their place
    assert run["status"] == "succeeded", run
    newest = [each["image_id"] for each in seller.stack.get(f"/api/products/{product_id}")["image_list"]]
    wanted = [image_id for image_id in newest if image_id not in before]
    store.comes_to_show(product_id, ["own", "own", *wanted])
    assert [each["alt"] for each in store.media(product_id)[:2]] == ["In the shop", "mine"]
    writes = store.writes()
    assert store.sync()["stores"][0]["unchanged"] == 1
    assert store.writes() == writes


def test_what_a_merchant_takes_out_comes_back_and_what_he_has_written_stays(seller: Seller) -> None:
    store = seller.store()
    store.sync(store.shop.mapping())
    first, second = seller.ids[:2]
    store.hand("DELETE", f"/media/{store.media(first)[1]['id'].rpartition('/')[2]}")
    store.hand("PATCH", f"/media/{store.media(second)[1]['id'].rpartition('/')[2]}", json={"alt": "My words"})
    run = store.sync()
    assert run["status"] == "succeeded", run
    assert sorted(store.shown(first)) == sorted(["own", *seller.pictures(first)])
    assert store.media(second)[1]["alt"] == "My words"


def test_a_new_title_is_the_new_alternative_text(seller: Seller) -> None:
    # Given a product that is live under its title, and one of two updates that Shopify refuses
    product = garment(seller.stack)
    seller.stack.run([product], variants=VARIANTS)
    store = seller.store([product])
    store.sync(store.shop.mapping())
    store.fault(kind="partial", operation="fileUpdate", count=1)

    # When it is scraped under another title, with a third image
    run = seller.stack.run([{**product, "title": "Blue Shirt"}], variants=VARIANTS + 1, stores=[store.store_id])
    assert run["status"] == "partial"
    assert "alternative text" in run["stores"][0]["problems"][0]["reason"]

    # Then all its pictures have that, as soon as Shopify takes it
    assert store.sync(changed=True)["status"] == "succeeded"
    assert {each["alt"] for each in store.media(product["product_id"])[1:]} == {"Blue Shirt"}


def test_unpublish_takes_ours_out_and_leaves_the_merchants(seller: Seller) -> None:
    # Given a store with our pictures
    store = seller.store()
    store.sync(store.shop.mapping())
    keep = seller.ids[0]

    # When all but one product's are taken out
    run = store.do("unpublish", products=seller.ids[1:])

    # Then the merchant's are there as they were, and ours nowhere, not in the files either
    assert run["status"] == "succeeded", run
    assert run["stores"][0]["taken_out"] == PRODUCTS - 1
    for product_id in seller.ids[1:]:
        assert store.shown(product_id) == ["own"]
    as_wanted(seller, store, [keep])
    ours = [each for each in store.look()["files"] if each["created_by"] != "merchant"]
    assert len(ours) == VARIANTS

    # And what was taken out does not come back unless it is asked for
    assert store.sync(changed=True)["counts"]["products"] == 0
    assert store.do("unpublish")["stores"][0]["taken_out"] == 1
    assert store.sync()["stores"][0]["published"] == PRODUCTS
    as_wanted(seller, store)


def test_a_store_with_live_pictures_is_not_removed_by_the_way(seller: Seller) -> None:
    store = seller.store()
    store.sync(store.shop.mapping(seller.ids[:1]))
    path = f"/api/stores/{store.store_id}"
    refused = seller.stack.call("DELETE", path)
    assert refused.status_code == 409
    assert f"lookbook unpublish {store.store_id}" in refused.json()["detail"]
    store.do("unpublish")
    assert seller.stack.call("DELETE", path).status_code == 200
    assert seller.stack.call("GET", path + "/usage").status_code == 404
    store.add(admin_token=store.shop.token)
    assert store.sync()["stores"][0]["published"] == 1, "what was mapped still is"


def test_two_runs_do_not_publish_to_a_store_at_the_same_time(seller: Seller) -> None:
    store = seller.store()
    store.do("mapping", mapping=store.shop.mapping())
    runs = [store.start("sync") for _ in range(3)]
    ended = [seller.stack.wait(run_id) for run_id in runs]
    assert {run["status"] for run in ended} == {"succeeded"}
    assert sum(run["stores"][0]["images_added"] for run in ended) == PRODUCTS * VARIANTS
    as_wanted(seller, store)


def test_a_stopped_sync_says_so(seller: Seller) -> None:
    store = seller.store()
    store.fault(kind="latency", seconds=3, count=1)
    run_id = store.start("sync", mapping=store.shop.mapping())
    answer = seller.stack.call("POST", f"/api/runs/{run_id}/stop", json={})
    assert answer.status_code == 202, answer.text
    run = seller.stack.wait(run_id)
    assert run["status"] in {"failed", "partial", "succeeded"}
    if run["status"] != "succeeded":
        assert "stopped" in run["reason"]
