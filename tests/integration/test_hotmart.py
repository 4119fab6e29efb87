"""The Hotmart sync on the deployed template: covers by themselves, once; what the account changes; what fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.integration.conftest import Stack

NUMBERS = (698441, 712093, 745510, 751204, 768833, 780417, 803356, 815002)  # the active ones of the stand-in's twelve
BUILT_IN = {f"hotmart:{number}" for number in NUMBERS}
ACTIVE = len(NUMBERS)


class Hotmart:
    """The account at the stand-in, and its sync."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.known["hotmart_url"]

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, self.url + path, timeout=10, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.get("/api/hotmart/status")
        return found

    def sync(self) -> dict[str, Any]:
        """Sync, and wait for its end and that of the run it may have started."""
        answer = self.stack.call("POST", "/api/hotmart/sync", json={})
        assert answer.status_code == 202, answer.text
        return self.ended(answer.json())

    def ended(self, told: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while told["status"] == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
            told = self.status()
        assert told["status"] != "running", told
        if told["run_id"]:
            self.stack.wait(told["run_id"])
        return self.status()

    def page(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.get(f"/api/products/hotmart:{number}")
        return found


@pytest.fixture
def hotmart(stack: Stack) -> Iterator[Hotmart]:
    made = Hotmart(stack)
    yield made
    requests.delete(f"{made.url}/_products", timeout=10).raise_for_status()


@pytest.fixture
def synced(hotmart: Hotmart) -> Hotmart:
    """The account with all that it has in the library, covers and all."""
    told = hotmart.sync()
    assert told["status"] == "succeeded", told
    return hotmart


def test_every_active_product_gets_a_cover_by_itself_and_once(hotmart: Hotmart) -> None:
    # When the account is looked at
    before = hotmart.stack.charges("openai_images_url")
    told = hotmart.sync()

    # Then what is active is in the library with what its main offer says, and one run has made its covers
    assert (told["status"], told["error"], told["configured"]) == ("succeeded", None, True)
    assert told["counts"]["listed"] == 12
    listed = hotmart.stack.get("/api/products?source=hotmart&limit=100")["products"]
    listed = [each for each in listed if each["product_id"] in BUILT_IN]  # other tests have made some, too
    assert len(listed) == ACTIVE
    assert all(each["image_count"] == 1 and each["cover_url"] for each in listed)
    paid = hotmart.stack.charges("openai_images_url") - before
    if told["run_id"]:  # the first test that looks at the account
        run = hotmart.stack.get(f"/api/runs/{told['run_id']}")
        assert (run["status"], run["counts"]["generated"], run["images_generated"]) == ("succeeded", paid, paid)
        assert run["started_by"] == hotmart.stack.known["user"]
    page = hotmart.page(712093)
    assert (page["title"], page["category"], page["source"]) == ("Yoga para Iniciantes", "ONLINE_COURSE", "hotmart")
    assert page["source_status"] == "ACTIVE"
    assert "197" in page["price"]
    assert "BRL" in page["price"]
    assert page["description"].startswith("Vinte minutos por dia")

    # And its cover was asked for in words that say what it is, for whom, and that there is to be no text
    [entry] = hotmart.stack.get("/api/products/hotmart:712093/images/history")["entries"]
    for part in ("“Yoga para Iniciantes”", "an online course", "Portuguese", "Vinte minutos", "no text in the picture"):
        assert part in entry["prompt"], part

    # When it is looked at again, then nothing is made and no run is started
    again = hotmart.sync()
    assert (again["run_id"], again["counts"]["unchanged"], again["counts"]["without_image"]) == (None, ACTIVE, 0)
    assert hotmart.stack.charges("openai_images_url") == before + paid


def test_a_new_product_alone_gets_a_new_cover(synced: Hotmart) -> None:
    before = synced.stack.charges("openai_images_url")
    new = synced.ask("POST", "/_products", json={"name": "Cerâmica para Começar", "format": "SOMETHING_NEW"})

    told = synced.sync()

    assert (told["counts"]["added"], told["counts"]["without_image"]) == (1, 1)
    assert synced.stack.charges("openai_images_url") == before + 1
    assert synced.page(new["id"])["category"] == "SOMETHING_NEW"
    assert synced.page(new["id"])["cover_url"]


def test_what_a_person_has_uploaded_is_not_replaced(synced: Hotmart) -> None:
    from tests.integration.test_covers import picture  # noqa: PLC0415 - only here

    path = "/api/products/hotmart:745510"
    answer = synced.stack.call("POST", f"{path}/images/upload", files={"image": picture("gold")})
    assert answer.status_code == 201
    synced.ask("PUT", "/_products/745510", json={"name": "Fotografía con el Móvil"})

    told = synced.sync()

    assert (told["counts"]["changed"], told["run_id"]) == (1, None)
    page = synced.page(745510)
    assert (page["title"], page["cover_image_id"]) == ("Fotografía con el Móvil", answer.json()["image_id"])
    found = synced.stack.get("/api/products?q=movil fotografia")["products"]
    assert "hotmart:745510" in [each["product_id"] for each in found]


def test_what_is_gone_at_hotmart_is_marked_and_kept(synced: Hotmart) -> None:
    new = synced.ask("POST", "/_products", json={"name": "Um Curso Breve"})
    synced.sync()
    cover = synced.page(new["id"])["cover_image_id"]

    synced.ask("DELETE", f"/_products/{new['id']}")
    told = synced.sync()

    page = synced.page(new["id"])
    assert (page["source_status"], page["cover_image_id"], told["counts"]["deleted"]) == ("DELETED", cover, 1)
    assert page["source_deleted_at"]


@pytest.mark.parametrize(("kind", "status"), [("429", None), ("5xx", 502), ("garbage_json", None)])
def test_a_moment_s_trouble_is_overcome(synced: Hotmart, kind: str, status: int | None) -> None:
    synced.stack.fault("hotmart_url", kind=kind, status=status, count=2)
    assert synced.sync()["status"] == "succeeded"


def test_a_lasting_one_is_told_in_plain_words_and_gone_on_from(synced: Hotmart) -> None:
    synced.stack.fault("hotmart_url", kind="5xx", status=502)
    told = synced.sync()
    assert told["status"] == "failed"
    assert "Hotmart" in told["error"]
    assert "The next sync" in told["error"]

    synced.stack.heal()
    assert synced.sync()["status"] == "succeeded"


def test_a_refused_key_says_what_to_do_and_is_never_shown(synced: Hotmart) -> None:
    secrets, name = synced.stack.aws("secretsmanager"), synced.stack.output("HotmartCredentials")
    good = secrets.get_secret_value(SecretId=name)["SecretString"]
    try:
        bad = {**json.loads(good), "client_secret": "no-such-secret-4711"}
        secrets.put_secret_value(SecretId=name, SecretString=json.dumps(bad))
        synced.stack.fault("hotmart_url", kind="expired", count=1)
        told = synced.sync()
        assert told["status"] == "failed"
        assert "HotmartCredentials" in told["error"]

        secrets.put_secret_value(SecretId=name, SecretString="not set yet")
        answer = synced.stack.call("POST", "/api/hotmart/sync", json={})
        assert answer.status_code == 409
        assert "HotmartCredentials" in answer.json()["detail"]
        assert synced.status()["configured"] is False
    finally:
        secrets.put_secret_value(SecretId=name, SecretString=good)
    assert synced.sync()["status"] == "succeeded"
    logs = json.dumps(_logs(synced.stack))
    for secret in (*json.loads(good).values(), "no-such-secret-4711"):
        assert secret not in logs


def _logs(stack: Stack) -> list[dict[str, Any]]:
    client = stack.aws("logs")
    groups = [each["logGroupName"] for each in client.describe_log_groups()["logGroups"]]
    return [event for name in groups for event in client.filter_log_events(logGroupName=name, limit=10_000)["events"]]


def test_two_syncs_at_once_are_one(synced: Hotmart) -> None:
    synced.stack.fault("hotmart_url", kind="latency", seconds=2, count=1)
    first = synced.stack.call("POST", "/api/hotmart/sync", json={}).json()
    second = synced.stack.call("POST", "/api/hotmart/sync", json={}).json()

    assert (first["status"], first["sync_id"]) == ("running", second["sync_id"])
    assert synced.ended(second)["sync_id"] == first["sync_id"]


def test_it_happens_by_itself_on_schedule(synced: Hotmart) -> None:
    # Given the schedule as deployed
    events = synced.stack.aws("events")
    [rule] = [each for each in events.list_rules()["Rules"] if "Hotmart" in each["Name"]]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(6 hours)", "ENABLED")
    [target] = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]

    # When it calls its target
    event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    answer = synced.stack.aws("lambda").invoke(FunctionName=target["Arn"], Payload=json.dumps(event).encode())
    assert "FunctionError" not in answer

    # Then that was a sync, and the next one is told
    told = synced.status()
    assert (told["status"], told["schedule"]) == ("succeeded", "rate(6 hours)")
    assert told["next_at"] > told["started_at"]


def test_few_calls_are_made(synced: Hotmart) -> None:
    """A token is kept; a sync lists all pages and asks for the offers of the products that are wanted."""
    before = synced.ask("GET", "/_calls")["calls"]
    synced.sync()
    calls = synced.ask("GET", "/_calls")["calls"]
    made = {name: calls[name] - before.get(name, 0) for name in calls}
    assert made["products"] == 1
    assert made["offers"] == ACTIVE
    assert made.get("token", 0) <= 1
