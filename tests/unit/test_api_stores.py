"""The routes of stores, and what runs and products tell of stores: the API's own resolver, with AWS in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lookbook import aws, match, runs, stores
from lookbook.api import products as products_api
from lookbook.api import respond
from lookbook.api import runs as runs_api
from lookbook.api import stores as api
from lookbook.errors import InputError
from lookbook.shopify import AdminToken, ClientCredentials, credentials_from_json
from lookbook.tables import PRODUCT, RUN, Product, Publishing, Run, Store, Usage
from lookbook.times import iso, now
from tests.unit.fakes import Bucket, Tables, api_settings, tables_in_memory

Json = dict[str, Any]

TOKEN = "shpat_top-secret"
PREFIX = "lookbook/stores/"
CSV = "CJ Product ID,Shopify Product ID\nCJ1,11\n"
ONE = {"store_id": "one", "domain": "one.myshopify.com", "admin_token": TOKEN}


class Vault:
    """Secrets Manager in memory, as much of it as may be written."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.being_deleted: set[str] = set()

    def create_secret(self, *, Name: str, SecretString: str, **_: Any) -> None:  # noqa: N803 - as boto3 names them
        if Name in self.being_deleted:
            raise refusal("InvalidRequestException")
        if Name in self.secrets:
            raise refusal("ResourceExistsException")
        self.secrets[Name] = SecretString

    def put_secret_value(self, *, SecretId: str, SecretString: str) -> None:  # noqa: N803 - as boto3 names them
        assert SecretId in self.secrets
        self.secrets[SecretId] = SecretString

    def delete_secret(self, *, SecretId: str, ForceDeleteWithoutRecovery: bool) -> None:  # noqa: N803 - as boto3 names them
        if SecretId not in self.secrets:
            raise refusal("ResourceNotFoundException")
        assert ForceDeleteWithoutRecovery, "or else the id could not be used again for 30 days"
        del self.secrets[SecretId]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")


@dataclass
class World:
    """The API, and what stands behind it."""

    tables: Tables
    bucket: Bucket = field(default_factory=Bucket)
    vault: Vault = field(default_factory=Vault)
    started: list[Json] = field(default_factory=list)
    invoke: Callable[..., Json] = lambda **_: {}

    def start_execution(self, **asked: Any) -> None:
        self.started.append(json.loads(asked["input"]))

    def describe_execution(self, **_: Any) -> Json:
        return {"status": "RUNNING"}

    def list_map_runs(self, **_: Any) -> Json:
        return {"mapRuns": []}

    def call(self, method: str, path: str, body: Json | None = None, *, groups: str = "[editors]", **query: Any) -> Any:
        """Return the status and the document, if there is one."""
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": urlencode(query),
            "headers": {"content-type": "application/json"},
            "body": None if body is None else json.dumps(body),
            "isBase64Encoded": False,
            "requestContext": {
                "http": {"method": method, "path": path},
                "stage": "$default",
                "authorizer": {"jwt": {"claims": {"cognito:username": "anna@example.com", "cognito:groups": groups}}},
            },
        }
        answer = respond(event)
        return answer["statusCode"], json.loads(answer["body"]) if answer.get("body") else None

    def run(self, run_id: str) -> Run:
        return runs.get(run_id)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    told = api_settings()
    for module in (api, runs_api, products_api):
        monkeypatch.setattr(module, "settings", lambda: told)
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(aws, "secrets", lambda: made.vault)
    monkeypatch.setattr(aws, "step_functions", lambda: made)
    monkeypatch.setattr(aws, "functions", lambda: SimpleNamespace(invoke=made.invoke))
    return made


def a_usage(product_id: str, store_id: str = "one", **changes: Any) -> Usage:
    entry = {"image_id": "a" * 64, "media_id": "gid://shopify/MediaImage/1", "since": "2026-11-21T10:00:00.000Z"}
    given: Json = {
        "store_id": store_id,
        "shop_product_id": f"gid://shopify/Product/{product_id.removeprefix('CJ')}",
        "mapped_at": "2026-11-20T10:00:00.000Z",
        "status": "live",
        "media": [entry],
    }
    usage = Usage(product_id, stores.sort_key(store_id), **(given | changes))
    usage.save()
    return usage


def a_store(store_id: str = "one") -> Store:
    return stores.put(store_id, name=store_id, domain=f"{store_id}.myshopify.com", credentials="admin_token", now=now())


# ---------------------------------------------------------------------- their records


def test_added_store_is_shown_without_its_credentials_which_are_one_secret(world: World) -> None:
    status, store = world.call("POST", "/api/stores", ONE | {"name": "The first"})
    assert status == 201
    assert (store["store_id"], store["name"], store["domain"]) == ("one", "The first", "one.myshopify.com")
    assert store["credentials"] == "admin_token"
    assert world.call("GET", "/api/stores") == (200, {"stores": [store]})
    assert credentials_from_json(world.vault.secrets[f"{PREFIX}one"]) == AdminToken(TOKEN)
    assert TOKEN not in repr(world.tables.copy())


def test_client_credentials_are_the_other_kind(world: World) -> None:
    given = {"store_id": "two", "domain": "two", "client_id": "id-1", "client_secret": "secret-1"}
    status, store = world.call("POST", "/api/stores", given)
    assert (status, store["credentials"], store["name"]) == (201, "client_credentials", "two")
    assert credentials_from_json(world.vault.secrets[f"{PREFIX}two"]) == ClientCredentials("id-1", "secret-1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"store_id": "One"}, "a-z, 0-9 and -"),
        ({"store_id": "-one"}, "a-z, 0-9 and -"),
        ({"store_id": "one\n"}, "a-z, 0-9 and -"),
        ({"domain": "shop.example.com"}, "my-shop.myshopify.com"),
        ({"domain": "one.myshopify.com@example.com"}, "my-shop.myshopify.com"),
        ({"admin_token": None}, "Give the shop's credentials"),
        ({"admin_token": "  "}, "Give the shop's credentials"),
        ({"client_id": "id-1"}, "one kind"),
        ({"admin_token": None, "client_id": "id-1"}, "go together"),
        ({"admin_token": f"{TOKEN}\r\nX-Other: 1"}, "Copy them again"),
    ],
)
def test_what_cannot_be_a_store_is_refused_in_plain_words(world: World, changes: Json, words: str) -> None:
    status, told = world.call("POST", "/api/stores", ONE | changes)
    assert status == 422
    assert words in told["detail"]
    assert (world.vault.secrets, world.call("GET", "/api/stores")[1]["stores"]) == ({}, [])


@pytest.mark.parametrize(
    "body",
    [
        ONE | {"admin_token": TOKEN * 100},
        ONE | {"admin_token": [TOKEN]},
        ONE | {"client_secret": {"x": TOKEN}},
        ONE | {"nonsense": TOKEN},
        {"admin_token": TOKEN},
        ONE | {"name": ""},
    ],
)
def test_no_answer_and_no_log_tells_what_was_given_as_a_secret(
    world: World, body: Json, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = world.call("POST", "/api/stores", body)
    assert status == 422
    assert TOKEN not in json.dumps(told)
    assert TOKEN not in repr(capsys.readouterr())


@pytest.mark.parametrize(
    "text", ["one", "ONE.myshopify.com", "https://one.myshopify.com/", "http://one.myshopify.com", " one/ "]
)
def test_domain_is_taken_as_people_give_it(text: str) -> None:
    assert api.domain_of(text) == "one.myshopify.com"


@pytest.mark.parametrize("text", ["", "https://", "a b", "one.myshopify.com:8080", "-one", "é.myshopify.com", "a.b"])
def test_domain_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"my-shop\.myshopify\.com"):
        api.domain_of(text)


def test_id_shop_and_reserved_name_are_refused_when_taken(world: World) -> None:
    # Given a store
    world.call("POST", "/api/stores", ONE)
    # When its id, its shop or a reserved name is used again, then that is a conflict, and its secret stays
    other = ONE | {"admin_token": "other"}
    status, told = world.call("POST", "/api/stores", other)
    assert (status, "--replace" in told["detail"]) == (409, True)
    status, told = world.call("POST", "/api/stores", other | {"store_id": "two"})
    assert (status, told["detail"]) == (409, "The shop one.myshopify.com is the store one already.")
    status, told = world.call("POST", "/api/stores", other | {"store_id": "uploads", "domain": "x"})
    assert (status, "uploads" in told["detail"]) == (409, True)
    assert list(world.vault.secrets) == [f"{PREFIX}one"]
    assert TOKEN in world.vault.secrets[f"{PREFIX}one"]


def test_secret_without_a_store_is_written_over(world: World) -> None:
    world.vault.secrets[f"{PREFIX}one"] = "left by a crash"
    assert world.call("POST", "/api/stores", ONE)[0] == 201
    assert TOKEN in world.vault.secrets[f"{PREFIX}one"]


def test_id_whose_secret_is_still_being_deleted_can_be_used_in_a_minute(world: World) -> None:
    world.vault.being_deleted.add(f"{PREFIX}one")
    status, told = world.call("POST", "/api/stores", ONE)
    assert (status, "in a minute" in told["detail"]) == (409, True)
    assert world.call("GET", "/api/stores")[1]["stores"] == []


def test_change_of_one_thing_leaves_the_others(world: World) -> None:
    # Given a store that has published
    world.call("POST", "/api/stores", ONE)
    stores.get("one").update([Store.images_reused.set(3)])
    before = stores.get("one")
    # When its name, and then its credentials, are changed
    status, named = world.call("PUT", "/api/stores/one", {"name": "New"})
    assert (status, named["name"], named["domain"]) == (200, "New", "one.myshopify.com")
    assert TOKEN in world.vault.secrets[f"{PREFIX}one"]
    status, renewed = world.call("PUT", "/api/stores/one", {"client_id": "id-1", "client_secret": "secret-1"})
    # Then the rest is as it was
    assert (status, renewed["name"], renewed["credentials"]) == (200, "New", "client_credentials")
    assert (renewed["images_reused"], renewed["created_at"]) == (3, before.created_at)
    assert "secret-1" in world.vault.secrets[f"{PREFIX}one"]
    # And what changes nothing is an error
    assert world.call("PUT", "/api/stores/one", {})[0] == 422
    assert world.call("PUT", "/api/stores/none", {"name": "New"})[0] == 404


def test_store_with_live_images_is_removed_only_if_they_are_to_stay(world: World) -> None:
    # Given a store with a live image
    world.call("POST", "/api/stores", ONE)
    a_usage("CJ1")
    # When it is removed, then the way on is told, and nothing is done
    status, told = world.call("DELETE", "/api/stores/one")
    assert (status, "lookbook unpublish one" in told["detail"]) == (409, True)
    assert f"{PREFIX}one" in world.vault.secrets
    # And with the word that they stay, store and credentials go, and the usage is kept
    assert world.call("DELETE", "/api/stores/one", keep_pictures="true")[0] == 200
    assert world.vault.secrets == {}
    assert world.call("GET", "/api/stores")[1]["stores"] == []
    assert world.call("DELETE", "/api/stores/one")[0] == 404
    world.call("POST", "/api/stores", ONE)
    assert [each["product_id"] for each in world.call("GET", "/api/stores/one/usage")[1]["usages"]] == ["CJ1"]


def test_store_without_images_is_removed_even_if_its_secret_is_gone(world: World) -> None:
    a_store()
    a_usage("CJ1", status="unpublished", media=[])
    assert world.call("DELETE", "/api/stores/one")[0] == 200


def test_store_at_work_is_not_removed(world: World) -> None:
    a_store()
    stores.lease("one", "20261121T101502-3f9a2c1b", now().timestamp())
    status, told = world.call("DELETE", "/api/stores/one", keep_pictures="true")
    assert (status, "lookbook stop 20261121T101502-3f9a2c1b" in told["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/stores"),
        ("PUT", "/api/stores/one"),
        ("DELETE", "/api/stores/one"),
        *(("POST", f"/api/stores/one/{what}") for what in ("test", "mapping", "sync", "unpublish", "match")),
    ],
)
def test_who_is_no_editor_writes_nothing(world: World, method: str, path: str) -> None:
    a_store()
    before = world.tables.copy()
    body = {"mapping": CSV} if path.endswith("mapping") else ONE if path == "/api/stores" else {}
    assert world.call(method, path, body, groups="[others]")[0] == 403
    assert (world.tables.copy(), world.started, world.vault.secrets) == (before, [], {})
    assert world.call("GET", "/api/stores", groups="[others]")[0] == 200


# ---------------------------------------------------------------------- a test of the store


def test_store_is_tried_out_by_publish(world: World) -> None:
    a_store()
    told = {"ok": False, "shop": "One", "scopes": [], "missing": ["write_files"], "reason": "It lacks a scope."}
    asked: list[Json] = []

    def invoke(*, FunctionName: str, Payload: bytes) -> Json:  # noqa: N803 - as boto3 names them
        asked.append({FunctionName: json.loads(Payload)})
        return {"Payload": io.BytesIO(json.dumps(told).encode())}

    world.invoke = invoke
    assert world.call("POST", "/api/stores/one/test") == (200, told)
    assert asked == [{"publish": {"test": "one"}}]
    assert world.call("POST", "/api/stores/none/test")[0] == 404


@pytest.mark.parametrize(
    ("happens", "status"),
    [
        ({"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "KeyError"}')}, 502),
        (ReadTimeoutError(endpoint_url="https://lambda"), 503),
        (refusal("TooManyRequestsException"), 503),
    ],
)
def test_publish_that_cannot_tell_is_a_problem_in_plain_words(
    world: World, happens: Json | Exception, status: int
) -> None:
    a_store()

    def invoke(**_: Any) -> Json:
        if isinstance(happens, Exception):
            raise happens
        return happens

    world.invoke = invoke
    answered, told = world.call("POST", "/api/stores/one/test")
    assert answered == status
    assert "The shop could not be asked" in told["detail"]
    assert "KeyError" not in told["detail"]


# ---------------------------------------------------------------------- their runs


@pytest.mark.parametrize(
    ("path", "body", "purpose", "options"),
    [
        ("mapping", {"mapping": CSV}, "sync", {"store": "one", "mapping": True, "publish": False}),
        ("sync", {}, "sync", {"store": "one"}),
        ("sync", {"changed": True}, "sync", {"store": "one", "changed": True}),
        ("sync", {"changed": True, "mapping": CSV}, "sync", {"store": "one", "changed": True, "mapping": True}),
        ("unpublish", {}, "unpublish", {"store": "one"}),
        ("unpublish", {"products": ["CJ1"]}, "unpublish", {"store": "one", "products": ["CJ1"]}),
        ("match", None, "match", {"store": "one"}),
    ],
)
def test_each_is_a_run_handed_to_the_pipeline(
    world: World, path: str, body: Json | None, purpose: str, options: Json
) -> None:
    a_store()
    status, run = world.call("POST", f"/api/stores/one/{path}", body)
    assert (status, run["kind"], run["options"], run["status"]) == (202, purpose, options, "running")
    (started,) = world.started
    assert started["run_id"] == run["run_id"]
    has_text = "mapping" in (body or {})
    assert started["key"] == (f"runs/{run['run_id']}/scrape" if has_text else "")
    assert world.bucket.objects == ({started["key"]: CSV.encode()} if has_text else {})
    assert world.call("POST", f"/api/stores/none/{path}", body)[0] == 404


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SKU,Shopify Product ID\nCJ1,11\n", "CJ Product ID,Shopify Product ID"),
        ("", "CJ Product ID,Shopify Product ID"),
        (CSV.splitlines()[0], "no lines"),
        (CSV + "CJ2,22\n" * 800_000, "4 MB"),
    ],
    ids=["header", "empty", "no lines", "large"],
)
@pytest.mark.parametrize("path", ["mapping", "sync"])
def test_mapping_that_is_none_starts_nothing(world: World, path: str, text: str, words: str) -> None:
    a_store()
    status, told = world.call("POST", f"/api/stores/one/{path}", {"mapping": text})
    assert (status, words in told["detail"]) == (422, True)
    assert world.started == []


@pytest.mark.parametrize("products", [[], ["CJ1"] * 1001, [""]])
def test_products_to_take_out_are_some_and_not_too_many(world: World, products: list[str]) -> None:
    a_store()
    assert world.call("POST", "/api/stores/one/unpublish", {"products": products})[0] == 422


def a_match(world: World, status: str, **changes: Any) -> str:
    run_id = str(world.call("POST", "/api/stores/one/match")[1]["run_id"])
    found = {"matched": 2, "ambiguous": 1, "not_found": 3, "mapped_before": 4, "by": {"sku": 2}}
    kept = {"status": status, "plan": found, "finished_at": iso(now())} | changes
    world.run(run_id).update([getattr(Run, name).set(value) for name, value in kept.items() if value is not None])
    return run_id


def test_matches_are_counts_and_a_link(world: World) -> None:
    a_store()
    run_id = a_match(world, "succeeded")
    status, told = world.call("GET", f"/api/stores/one/matches/{run_id}")
    assert (status, told["matched"], told["by"]) == (200, 2, {"sku": 2})
    assert told["url"].endswith(match.matches_key(run_id))


def test_matches_of_what_found_none_are_a_problem(world: World) -> None:
    a_store()
    going_on = a_match(world, "running", finished_at=None)
    failed = a_match(world, "failed", plan=None, reason="Store one: the token was revoked.")
    no_match = world.call("POST", "/api/stores/one/sync", {})[1]["run_id"]
    assert world.call("GET", f"/api/stores/one/matches/{going_on}")[0] == 409
    status, told = world.call("GET", f"/api/stores/one/matches/{failed}")
    assert (status, "the token was revoked" in told["detail"]) == (409, True)
    assert world.call("GET", f"/api/stores/one/matches/{no_match}")[0] == 404
    assert world.call("GET", f"/api/stores/two/matches/{failed}")[0] == 404
    assert world.call("GET", "/api/stores/one/matches/nonsense")[0] == 404


# ---------------------------------------------------------------------- what is live in them


def test_usage_is_a_store_s_figures_and_a_page_of_its_products(world: World) -> None:
    # Given a store with three products, and another one
    a_store()
    for product_id in ("CJ1", "CJ2", "CJ3"):
        a_usage(product_id)
    a_usage("CJ1", "two")
    # When a page of it is read
    status, told = world.call("GET", "/api/stores/one/usage", limit=2)
    # Then it has the store, as many usages, and a cursor that is good for this list alone
    assert (status, told["store"]["store_id"]) == (200, "one")
    assert [each["product_id"] for each in told["usages"]] == ["CJ1", "CJ2"]
    assert told["usages"][0]["images"][0]["since"] == "2026-11-21T10:00:00.000Z"
    assert told["cursor"] is not None
    a_store("two")
    rest = world.call("GET", "/api/stores/one/usage", cursor=told["cursor"])[1]
    assert ([each["product_id"] for each in rest["usages"]], rest["cursor"]) == (["CJ3"], None)
    assert world.call("GET", "/api/stores/two/usage", cursor=told["cursor"])[0] == 422
    assert world.call("GET", "/api/stores/one/usage")[1]["cursor"] is None
    assert world.call("GET", "/api/stores/none/usage")[0] == 404


def test_usage_can_be_narrowed_down(world: World) -> None:
    a_store()
    a_usage("CJ1")
    a_usage("CJ2", status="failed", reason="Shopify could not use the picture.", media=None)
    a_usage("CJ3", status="failed")
    _, told = world.call("GET", "/api/stores/one/usage", status="failed")
    assert [(each["product_id"], each["images"] != []) for each in told["usages"]] == [("CJ2", False), ("CJ3", True)]
    assert told["cursor"] is None
    _, first = world.call("GET", "/api/stores/one/usage", status="failed", limit=1)
    assert [each["product_id"] for each in first["usages"]] == ["CJ2"]
    _, rest = world.call("GET", "/api/stores/one/usage", status="failed", limit=1, cursor=first["cursor"])
    assert [each["product_id"] for each in rest["usages"]] == ["CJ3"]
    assert world.call("GET", "/api/stores/one/usage", status="strange")[0] == 422


def test_product_tells_in_which_stores_it_is(world: World) -> None:
    moment = iso(now())
    about: Json = {"title": "Dress", "category": "", "source": "cj", "source_url": ""}
    Product("CJ1", PRODUCT, **about, created_at=moment, updated_at=moment).save()
    a_usage("CJ1")
    a_usage("CJ1", "two")
    status, product = world.call("GET", "/api/products/CJ1")
    assert (status, [each["store_id"] for each in product["usages"]]) == (200, ["one", "two"])
    assert product["image_list"] == []


# ---------------------------------------------------------------------- what runs tell of stores


def a_run(status: str = "partial", purpose: str = "scrape", **changes: Any) -> str:
    run_id = runs.new_id(now())
    runs.create(
        run_id,
        name="store1.json",
        purpose=purpose,
        status=status,
        options=changes.pop("options", {"stores": ["one"]}),
        started_by="anna",
        now=now(),
    )
    kept = {"finished_at": iso(now() + timedelta(seconds=5))} | changes
    Run(run_id, RUN).update([getattr(Run, name).set(value) for name, value in kept.items() if value is not None])
    return run_id


def a_publishing(run_id: str, store_id: str = "one", **changes: Any) -> None:
    moment = iso(now())
    given = {"store_id": store_id, "started_at": moment, "finished_at": moment} | changes
    Publishing(run_id, stores.sort_key(store_id), **given).save()


def test_run_tells_what_it_has_done_in_its_stores(world: World) -> None:
    run_id = a_run("running", finished_at=None, execution_arn="arn:x", phase="publishing", products=300)
    a_publishing(run_id, published=100, unchanged=20, finished_at=None)
    status, run = world.call("GET", f"/api/runs/{run_id}")
    assert (status, run["phase"]) == (200, "publishing")
    (store,) = run["stores"]
    assert (store["store_id"], store["published"], store["unchanged"], store["done"]) == ("one", 100, 20, False)


def test_run_without_stores_has_none(world: World) -> None:
    run = world.call("GET", f"/api/runs/{a_run(options={})}")[1]
    assert (run["stores"], run["phase"]) == ([], None)


@pytest.mark.parametrize(
    ("publishing", "command"),
    [
        ({"failed": 1}, "lookbook sync one"),
        ({"reason": "The token was revoked."}, "lookbook sync one"),
        ({"not_mapped": 2}, "lookbook stores match one"),
    ],
)
def test_run_that_only_lacks_images_in_a_store_says_how_to_get_them(
    world: World, publishing: Json, command: str
) -> None:
    run_id = a_run()
    a_publishing(run_id, **publishing)
    status, told = world.call("POST", f"/api/runs/{run_id}/retry", {})
    assert (status, command in told["detail"]) == (409, True)
    assert world.started == []


def test_run_with_products_left_is_retried_with_its_stores(world: World) -> None:
    run_id = a_run(failed=1)
    a_publishing(run_id, failed=1)
    status, run = world.call("POST", f"/api/runs/{run_id}/retry", {})
    assert (status, run["options"]) == (202, {"stores": ["one"]})


@pytest.mark.parametrize(
    ("purpose", "command"),
    [
        ("sync", "lookbook sync one"),
        ("unpublish", "lookbook unpublish one --all"),
        ("match", "lookbook stores match one"),
    ],
)
def test_run_of_a_store_is_not_retried_but_started_again(world: World, purpose: str, command: str) -> None:
    run_id = a_run("failed", purpose, options={"store": "one"}, failed=3)
    status, told = world.call("POST", f"/api/runs/{run_id}/retry", {})
    assert (status, command in told["detail"]) == (409, True)
    assert world.started == []


def test_run_for_a_store_that_is_none_does_not_start(world: World) -> None:
    body = {"name": "x", "scrape": "[]", "options": {"stores": ["none"]}}
    status, told = world.call("POST", "/api/runs", body)
    assert (status, "There is no store none" in told["detail"]) == (404, True)
    a_store()
    body["options"] = {"stores": ["one"]}
    assert world.call("POST", "/api/runs", body)[0] == 202


def test_openapi_shows_the_stores_routes_and_keeps_credentials_to_be_written_only(world: World) -> None:
    status, schema = world.call("GET", "/api/openapi.json")
    assert status == 200
    assert {path for path in schema["paths"] if path.startswith("/api/stores")} == {
        "/api/stores",
        *(f"/api/stores/{{store_id}}{rest}" for rest in ("", "/test", "/mapping", "/sync", "/unpublish", "/match")),
        "/api/stores/{store_id}/matches/{run_id}",
        "/api/stores/{store_id}/usage",
    }
    token = schema["components"]["schemas"]["NewStore"]["properties"]["admin_token"]
    assert token["anyOf"][0]["writeOnly"] is True
