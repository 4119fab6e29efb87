"""The local cloud is stopped and started again, and a user's story goes on: library, history, images, sign-in, shops."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from local import shops
from local.cloud import Cloud
from local.seed import seed_model_photos
from tests.integration.conftest import ROOT, Stack

# Two deployments, one after the other.
pytestmark = pytest.mark.slow


@pytest.fixture
def cloud(worker_id: str) -> Iterator[Cloud]:
    cloud = Cloud(ROOT / f".local/restart-{worker_id}")
    cloud.forget()
    yield cloud
    cloud.forget()


def up(cloud: Cloud, tokens: dict[str, str] | None = None) -> Stack:
    gpu = ["--workers", "4", "--latency", "0.2"]
    return Stack(
        cloud.up({"GpuConcurrency": "4", "DeferAfterSeconds": "10"}, {"gpu": gpu}, keep=True), cloud, tokens or {}
    )


def garments(stack: Stack, count: int) -> list[dict[str, Any]]:
    batch = uuid.uuid4().hex[:8]
    return [
        {
            "product_id": f"CJ{batch}{number:02d}",
            "title": f"Striped Cotton Shirt {number}",
            "category": "Women's Clothing > Tops",
            "image": stack.picture(f"shirt-{batch}-{number}"),
        }
        for number in range(count)
    ]


def without_links(value: Any) -> Any:
    """What the API answers, without presigned links, which are new each time."""
    if isinstance(value, dict):
        return {name: without_links(each) for name, each in value.items() if not name.endswith("url")}
    return [without_links(each) for each in value] if isinstance(value, list) else value


def images(stack: Stack, product_id: str) -> list[bytes]:
    page = stack.get(f"/api/products/{product_id}")
    return [requests.get(image["url"], timeout=10).content for image in page["image_list"]]


def test_a_users_story_goes_on_after_a_restart(cloud: Cloud) -> None:
    # Given a cloud with a run's images in the library and in a shop, another user, and a run that is under way
    before = up(cloud)
    seed_model_photos(before.known["api_url"], before.token())
    made, begun = garments(before, 2), garments(before, 12)
    product_id = made[0]["product_id"]
    first = before.run(made)
    assert first["status"] == "succeeded", first
    shop = shops.open_shop(
        before.known["shop_url"], "store-one", [(each["product_id"], each["title"]) for each in made]
    )
    store = {"domain": shop.domain, "credentials": {"token": shop.token}}
    assert before.call("PUT", "/api/stores/one", json=store).ok
    assert before.call("PUT", "/api/stores/one/mapping", data=shop.mapping(), headers={"content-type": "text/csv"}).ok
    synced = before.wait(before.call("POST", "/api/stores/one/sync").json()["run_id"])
    assert synced["status"] == "succeeded", synced
    pages = ["/api/runs", f"/api/runs/{first['run_id']}/ledger", f"/api/products/{product_id}", "/api/models"]
    paths = [*pages, f"/api/products/{product_id}/history", "/api/stores/one/usage"]
    seen = {path: without_links(before.get(path)) for path in paths}
    bytes_seen, shop_seen = images(before, product_id), shops.look(before.known["shop_url"], shop)["products"]
    cut_off = before.start(begun)
    # When it is stopped, and started again
    assert cloud.down()
    assert not cloud.alive()
    after = up(cloud, before.tokens)
    # Then it is where it was, and a token from before is good
    assert after.known == before.known
    for path in paths:
        now = without_links(after.get(path))
        if path == "/api/runs":
            now["runs"] = [run for run in now["runs"] if run["run_id"] != cut_off]
        assert now == seen[path], path
    assert images(after, product_id) == bytes_seen
    assert shops.look(after.known["shop_url"], shop)["products"] == shop_seen
    # And with the same password a new one is given
    assert after.call("GET", "/api/models", token=cloud.token(after.known)).ok
    # And the same scrape costs nothing, in the library and in the shop
    again = after.run(made)
    assert (again["status"], again["counts"]["reused"], again["cost_usd"]) == ("succeeded", 2, 0)
    assert after.wait(after.call("POST", "/api/stores/one/sync").json()["run_id"])["status"] == "succeeded"
    assert shops.look(after.known["shop_url"], shop)["products"] == shop_seen
    # And the run that was cut off has ended, and what it left undone is made by a retry
    ended = after.get(f"/api/runs/{cut_off}")
    assert ended["finished_at"]
    assert ended["status"] == "failed"
    assert after.retry(cut_off)["status"] == "succeeded"
    assert all(images(after, each["product_id"]) for each in begun)


def test_what_a_killed_cloud_had_not_saved_is_told(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a cloud that was stopped once, and then killed
    before = up(cloud)
    seed_model_photos(before.known["api_url"], before.token())
    assert cloud.down()
    killed = up(cloud)
    made = garments(killed, 1)
    assert killed.run(made)["status"] == "succeeded"
    cloud.stop(["engine"], seconds=0)
    # When it is started again
    after = up(cloud)
    # Then it goes on with what it held when it was stopped, and says so
    assert "it goes on with what it held at" in capsys.readouterr().err
    assert after.get("/api/runs")["runs"] == []
    assert after.run(made)["status"] == "succeeded"
