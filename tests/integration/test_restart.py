"""The local cloud is stopped and started again, and a user's story goes on: library, images, sign-in, shops, runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from local import shops
from local.cloud import Cloud, CloudError
from local.seed import seed_model_photos
from tests.integration.conftest import ROOT, Stack

pytestmark = pytest.mark.slow  # each has engines of its own, and some a deployment or two


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


def sync(stack: Stack, **body: Any) -> dict[str, Any]:
    answer = stack.call("POST", "/api/stores/one/sync", json=body)
    assert answer.status_code == 202, answer.text
    return stack.wait(answer.json()["run_id"])


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
    titles = [(each["product_id"], each["title"]) for each in made]
    shop = shops.open_shop(before.known["shop_url"], "store-one", titles)
    store = {"store_id": "one", "domain": shop.domain, "admin_token": shop.token}
    assert before.call("POST", "/api/stores", json=store).ok
    assert sync(before, mapping=shop.mapping())["status"] == "succeeded"
    note = {"note": "Summer, not spring."}
    assert before.call("POST", f"/api/products/{product_id}/notes", json=note).status_code == 201
    pages = ["/api/runs", f"/api/runs/{first['run_id']}/ledger", f"/api/products/{product_id}", "/api/models"]
    paths = [*pages, f"/api/products/{product_id}/images/history", f"/api/products/{product_id}/notes"]
    paths += ["/api/stores/one/usage"]
    assert before.get(f"/api/products/{product_id}/notes")["notes"]
    seen = {path: without_links(before.get(path)) for path in paths}
    bytes_seen, shop_seen = images(before, product_id), shops.look(before.known["shop_url"], shop)["products"]
    cut_off = before.start(begun)
    charged = before.charges()
    deadline = time.monotonic() + 60
    while before.charges() == charged:  # it may be cut off only when it is planned
        assert time.monotonic() < deadline
        time.sleep(0.2)
    too_soon = before.start(garments(before, 1))
    # When it is stopped, and started again
    assert cloud.down()
    assert not cloud.alive()
    after = up(cloud, before.tokens)
    # Then it is where it was, and a token from before is good
    assert after.known == before.known
    for path in paths:
        now = without_links(after.get(path))
        if path == "/api/runs":
            now["runs"] = [run for run in now["runs"] if run["run_id"] not in {cut_off, too_soon}]
        assert now == seen[path], path
    assert images(after, product_id) == bytes_seen
    assert shops.look(after.known["shop_url"], shop)["products"] == shop_seen
    # And with the same password a new one is given
    assert after.call("GET", "/api/models", token=cloud.token(after.known)).ok
    # And the same scrape costs nothing, in the library and in the shop
    again = after.run(made)
    assert (again["status"], again["counts"]["reused"], again["cost_usd"]) == ("succeeded", 2, 0)
    assert sync(after)["status"] == "succeeded"
    assert shops.look(after.known["shop_url"], shop)["products"] == shop_seen
    # And the run that was cut off has ended, and what it left undone is made by a retry
    assert after.wait(cut_off, seconds=1)["status"] == "failed"
    assert after.retry(cut_off)["status"] == "succeeded"
    assert all(images(after, each["product_id"]) for each in begun)
    # And one that had not begun to plan has ended too, and is to be started again
    assert "Start it again" in after.wait(too_soon, seconds=1)["reason"]
    assert "Start it again" in after.call("POST", f"/api/runs/{too_soon}/retry", json={}).json()["detail"]


def secrets(cloud: Cloud, known: dict[str, Any]) -> list[str]:
    return [each["Name"] for each in cloud.aws(known, "secretsmanager").list_secrets()["SecretList"]]


def test_a_killed_cloud_goes_on_with_what_it_had_saved(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a cloud that was stopped once, and then killed
    known = cloud.start({}, {}, keep=True)
    cloud.aws(known, "secretsmanager").create_secret(Name="saved", SecretString="x")
    assert cloud.down()
    known = cloud.start(known, {}, keep=True)
    cloud.aws(known, "secretsmanager").create_secret(Name="lost", SecretString="x")
    cloud.stop(["engine"], seconds=0)
    cloud.down()
    # When it is started again, then it is as it was when it was stopped, at the same addresses, and it says so
    again = cloud.start(known, {}, keep=True)
    assert again == known
    assert secrets(cloud, again) == ["saved"]
    assert "it goes on with what it held at" in capsys.readouterr().err


def test_a_save_that_is_cut_off_is_brought_to_its_end(cloud: Cloud) -> None:
    # Given a cloud that was killed while the new took the place of the old
    known = cloud.start({}, {}, keep=True)
    cloud.aws(known, "secretsmanager").create_secret(Name="saved", SecretString="x")
    cloud.down()
    (cloud.state / "secretsmanager.json").rename(cloud.state / "secretsmanager.json.new")
    (cloud.state / "saved").rename(cloud.state / "saving")
    # Then nothing is missing
    assert secrets(cloud, cloud.start(known, {}, keep=True)) == ["saved"]


def test_what_cannot_be_read_is_not_forgotten_but_told(cloud: Cloud) -> None:
    # Given a cloud whose state is damaged
    known = cloud.start({}, {}, keep=True)
    cloud.aws(known, "secretsmanager").create_secret(Name="saved", SecretString="x")
    cloud.down()
    saved = cloud.state / "secretsmanager.json"
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-20])
    # When it is started, then it says what to do, and the state is as it was
    with pytest.raises(CloudError, match=r"(?s)secretsmanager\.json cannot be read.*make forget"):
        cloud.start(known, {}, keep=True)
    cloud.down()
    saved.write_bytes(whole)
    assert secrets(cloud, cloud.start(known, {}, keep=True)) == ["saved"]
    # And what is forgotten is gone
    cloud.forget()
    assert secrets(cloud, cloud.start(known, {}, keep=True)) == []
