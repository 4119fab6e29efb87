"""Hotmart's stand-in speaks its protocol, keeps its limit, has a believable account, and fails as it is asked to."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from lookbook import hotmart as client
from tests.integration.standin_server import StandIn, clean

CREDENTIALS = {"client_id": "an-id", "client_secret": "a-secret"}
BASIC = "YW4taWQ6YS1zZWNyZXQ="
ACCOUNT = ("--client-id", "an-id", "--client-secret", "a-secret", "--basic", BASIC)
PRODUCTS = "/products/api/v1/products"


class Hotmart(StandIn):
    """The stand-in, with Hotmart's calls."""

    token = ""

    def grant(self, basic: str = BASIC, **changes: str) -> requests.Response:
        query = {"grant_type": "client_credentials", **CREDENTIALS, **changes}
        headers = {"Authorization": f"Basic {basic}"}
        return self.ask("POST", "/security/oauth/token", params=query, headers=headers)

    def get(self, path: str = PRODUCTS, token: str | None = None, **query: Any) -> requests.Response:
        if not self.token:
            self.token = str(self.grant().json()["access_token"])
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return self.ask("GET", path, params=query, headers=headers)

    def pages(self, path: str = PRODUCTS, **query: Any) -> list[dict[str, Any]]:
        found = [self.get(path, **query).json()]
        while token := found[-1]["page_info"].get("next_page_token"):
            found.append(self.get(path, **query, page_token=token).json())
        return found

    def offers(self, product_id: int, **query: Any) -> list[dict[str, Any]]:
        [found] = self.get(id=product_id).json()["items"]
        return [each for page in self.pages(f"{PRODUCTS}/{found['ucode']}/offers", **query) for each in page["items"]]

    def refusal(self, path: str = PRODUCTS, token: str | None = None, **query: Any) -> tuple[int, str]:
        return told(self.get(path, token, **query))


def client_of(server: Hotmart, slept: list[float], **changes: str) -> client.Hotmart:
    """Our own client, with the right credentials."""
    secret = json.dumps({**CREDENTIALS, "basic": f"Basic {BASIC}", **changes})

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(min(1.1, seconds))

    return client.Hotmart(server.url, server.url, lambda: secret, sleep=sleep)


def told(answer: requests.Response) -> tuple[int, str]:
    assert set(answer.json()) == {"error", "error_description", "error_uri"}
    assert answer.json()["error_uri"].startswith("https://developers.hotmart.com/")
    return answer.status_code, answer.json()["error"]


@pytest.fixture(scope="module")
def process() -> Iterator[Hotmart]:
    with Hotmart.started("hotmart", *ACCOUNT) as server:
        yield server


@pytest.fixture
def hotmart(process: Hotmart) -> Hotmart:
    clean(process)
    for path in ("/_products", "/_calls"):
        assert process.ask("DELETE", path).status_code == 204
    return process


# ---------------------------------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------------------------------


def test_right_credentials_are_granted_a_token_for_a_day(hotmart: Hotmart) -> None:
    answer = hotmart.grant()

    granted = answer.json()
    assert answer.status_code == 200
    assert set(granted) == {"access_token", "token_type", "expires_in", "scope", "jti"}
    assert (granted["token_type"], granted["expires_in"]) == ("bearer", 86_400)
    assert len(granted["access_token"]) > 100
    assert hotmart.get(token=granted["access_token"]).status_code == 200


def test_wrong_credentials_are_not(hotmart: Hotmart) -> None:
    for answer in (hotmart.grant(client_id="x"), hotmart.grant(client_secret="x"), hotmart.grant("x")):
        assert told(answer) == (401, "unauthorized")
    assert told(hotmart.grant(grant_type="password")) == (400, "invalid_parameter")
    assert told(hotmart.ask("POST", "/security/oauth/token", params={"grant_type": "client_credentials"})) == (
        401,
        "unauthorized",
    )


def test_products_are_told_only_to_a_token_that_is_good(hotmart: Hotmart) -> None:
    assert hotmart.refusal(token="") == (401, "unauthorized")
    assert hotmart.refusal(token="made-up") == (401, "invalid_token")
    assert hotmart.get().status_code == 200


def test_a_token_ends_by_itself() -> None:
    with Hotmart.started("hotmart", *ACCOUNT, "--token-seconds", "0.2") as server:
        assert server.get().status_code == 200
        time.sleep(0.25)
        assert server.refusal() == (401, "token_expired")


def test_a_token_can_be_made_to_expire(hotmart: Hotmart) -> None:
    # Given a good token that is said to have expired
    assert hotmart.get().status_code == 200
    hotmart.fail("expired", count=1)

    # Then it stays so, and another one is good
    assert [hotmart.refusal(), hotmart.refusal()] == [(401, "token_expired")] * 2
    hotmart.token = ""
    assert hotmart.get().status_code == 200


# ---------------------------------------------------------------------------------------------------------------------
# Products and offers
# ---------------------------------------------------------------------------------------------------------------------


def test_the_account_has_believable_products(hotmart: Hotmart) -> None:
    [page] = hotmart.pages()
    products = page["items"]

    # As Hotmart tells them: without picture, description or price
    assert len(products) == page["page_info"]["results_per_page"] == 12
    assert set(page["page_info"]) == {"results_per_page"}
    fields = {"id", "name", "ucode", "status", "created_at", "format", "is_subscription", "warranty_period"}
    assert all(set(each) == fields for each in products)
    assert Counter(each["status"] for each in products) == {
        "ACTIVE": 8, "DRAFT": 1, "PAUSED": 1, "IN_REVIEW": 1, "DELETED": 1
    }  # fmt: skip
    assert {each["format"] for each in products} == {"ONLINE_COURSE", "EBOOK", "COMMUNITY", "AGENT"}
    assert len({each["ucode"] for each in products}) == 12

    # And what is known of their offers
    offers = {each["id"]: hotmart.offers(each["id"]) for each in products}
    assert [number for number, found in offers.items() if not found] == [815002]
    several = offers[712093]
    assert [each["is_main_offer"] for each in several] == [False, True, False]
    assert {each["price"]["currency_code"] for found in offers.values() for each in found} == {"BRL", "EUR", "USD"}
    assert all(each["description"] and each["price"]["value"] > 0 for found in offers.values() for each in found)
    assert {"code", "name", "description", "price", "payment_mode", "is_main_offer"} <= set(several[0])
    assert len({each["code"] for each in several}) == 3


def test_products_are_filtered(hotmart: Hotmart) -> None:
    def ids(**query: Any) -> list[int]:
        return [each["id"] for page in hotmart.pages(**query) for each in page["items"]]

    assert ids(id=745510) == [745510]
    assert ids(id=1) == []
    assert ids(status="DRAFT") == [827719]
    assert len(ids(status=["DRAFT", "PAUSED"])) == 2
    assert ids(format="AGENT") == [803356]
    assert ids(format="SOMETHING_NEW") == []


def test_lists_are_paged_forwards_and_back(hotmart: Hotmart) -> None:
    # When products are listed five at a time
    pages = hotmart.pages(max_results=5)

    # Then each is there once, in order
    assert [page["page_info"]["results_per_page"] for page in pages] == [5, 5, 2]
    ids = [each["id"] for page in pages for each in page["items"]]
    assert ids == [each["id"] for each in hotmart.get().json()["items"]]

    # And the way back is told where there is one
    info = [page["page_info"] for page in pages]
    assert ["prev_page_token" in each for each in info] == [False, True, True]
    back = hotmart.get(page_token=info[1]["prev_page_token"]).json()
    assert back["items"] == pages[0]["items"]

    # And offers are paged alike
    assert len(hotmart.offers(712093, max_results=2)) == 3


def test_pages_are_no_larger_than_a_hundred() -> None:
    with Hotmart.started("hotmart", *ACCOUNT, "--count", "139") as server:
        assert [page["page_info"]["results_per_page"] for page in server.pages()] == [50, 50, 50, 1]
        pages = server.pages(max_results=1000)
        assert [page["page_info"]["results_per_page"] for page in pages] == [100, 51]
        assert len({each["id"] for page in pages for each in page["items"]}) == 151
        assert server.offers(900_001)[0]["price"]["currency_code"] == "BRL"


def test_what_is_deleted_while_somebody_reads_moves_the_rest_up(hotmart: Hotmart) -> None:
    first = hotmart.get(max_results=6).json()
    hotmart.ask("DELETE", f"/_products/{first['items'][0]['id']}")
    second = hotmart.get(page_token=first["page_info"]["next_page_token"]).json()
    assert len({each["id"] for each in first["items"] + second["items"]}) == 11


def test_what_is_not_understood_is_refused(hotmart: Hotmart) -> None:
    broken = base64.b64encode(b'{"page":0,"size":50}').decode()
    assert hotmart.refusal(colour="red") == (400, "invalid_parameter")
    assert hotmart.refusal(status="GONE") == (400, "invalid_value_parameter")
    assert hotmart.refusal(max_results="0") == (400, "invalid_value_parameter")
    assert hotmart.refusal(id="x") == (400, "invalid_value_parameter")
    assert [hotmart.refusal(page_token=each) for each in ("x", "bnVsbA==", broken)] == [(400, "invalid_token")] * 3
    assert hotmart.refusal(f"{PRODUCTS}/no-such/offers") == (404, "not_found")
    assert hotmart.refusal("/products/api/v1/nothing") == (404, "not_found")


def test_a_page_token_can_be_made_to_expire(hotmart: Hotmart) -> None:
    token = hotmart.get(max_results=5).json()["page_info"]["next_page_token"]
    hotmart.fail("page_expired", count=1)
    assert hotmart.refusal(page_token=token) == (400, "invalid_token")
    assert hotmart.get(page_token=token).status_code == 200


def test_products_come_change_and_go_as_a_test_wants(hotmart: Hotmart) -> None:
    # When one is added, with no more than its name
    added = hotmart.ask("POST", "/_products", json={"name": "Novo"})
    number = added.json()["id"]

    # Then it is listed, with an offer
    assert added.status_code == 201
    [shown] = hotmart.get(id=number).json()["items"]
    assert (shown["name"], shown["status"], shown["format"]) == ("Novo", "ACTIVE", "EBOOK")
    assert len(hotmart.offers(number)) == 1

    # And a broken one is listed as it is
    hotmart.ask("POST", "/_products", json={"id": 5, "name": None})
    assert hotmart.get(id=5).json()["items"][0]["name"] is None

    # When it is changed, then so it is
    price = {"value": 5, "currency_code": "MXN"}
    hotmart.ask("PUT", f"/_products/{number}", json={"status": "PAUSED", "offers": [{"price": price}]})
    assert hotmart.get(id=number).json()["items"] == [{**shown, "status": "PAUSED"}]
    assert hotmart.offers(number)[0]["price"] == price

    # When it is deleted, then it is gone, until the account is as it was
    assert hotmart.ask("DELETE", f"/_products/{number}").status_code == 204
    assert hotmart.get(id=number).json()["items"] == []
    assert hotmart.ask("DELETE", f"/_products/{number}").status_code == 404
    assert len(hotmart.ask("GET", "/_products").json()["products"]) == 13
    hotmart.ask("DELETE", "/_products")
    assert len(hotmart.ask("GET", "/_products").json()["products"]) == 12


# ---------------------------------------------------------------------------------------------------------------------
# Limits, calls and faults
# ---------------------------------------------------------------------------------------------------------------------


def test_calls_are_limited_by_the_minute_and_say_what_is_left() -> None:
    # Given a minute of a second, with three calls
    with Hotmart.started("hotmart", *ACCOUNT, "--per-minute", "3", "--minute", "1") as server:
        answers = [server.get() for _ in range(4)]

        # Then the fourth is refused
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert {(each.headers["RateLimit-Limit"], each.headers["RateLimit-Reset"]) for each in answers} == {("3", "1")}
        assert told(answers[-1]) == (429, "too_many_requests")

        # And when the minute is over, it is not
        time.sleep(1.05)
        assert server.get().status_code == 200

        # And tokens are not limited
        assert {server.grant().status_code for _ in range(5)} == {200}


def test_calls_are_counted(hotmart: Hotmart) -> None:
    hotmart.grant()
    hotmart.get()
    hotmart.refusal(colour="red")
    hotmart.offers(698441)

    counted = hotmart.ask("GET", "/_calls").json()
    assert counted["calls"]["token"] >= 1
    assert (counted["calls"]["products"], counted["calls"]["offers"]) == (3, 1)
    assert counted["statuses"]["400"] == 1
    assert counted["count"] == sum(counted["calls"].values()) == sum(counted["statuses"].values())


def test_the_connections_faults_speak_as_hotmart_does(hotmart: Hotmart) -> None:
    hotmart.get()
    hotmart.fail("429", count=1, on="products")
    hotmart.fail("5xx", count=1, status=502, match="/offers")
    hotmart.fail("5xx", count=1, status=503, on="token")

    answer = hotmart.get()
    assert (told(answer), answer.headers["RateLimit-Reset"]) == ((429, "too_many_requests"), "1")
    [shown] = hotmart.get(id=698441).json()["items"]
    assert hotmart.refusal(f"{PRODUCTS}/{shown['ucode']}/offers") == (502, "internal_server_error")
    assert told(hotmart.grant()) == (503, "internal_server_error")
    assert hotmart.grant().status_code == 200


def test_an_answer_may_be_lost_or_garbled(hotmart: Hotmart) -> None:
    hotmart.get()
    hotmart.fail("timeout_after_success", count=1, seconds=0.1)
    with pytest.raises(requests.ConnectionError):
        hotmart.get()
    hotmart.fail("garbage_json", count=1)
    with pytest.raises(requests.JSONDecodeError):
        hotmart.get().json()
    assert hotmart.get().status_code == 200


def test_the_first_call_may_be_refused() -> None:
    with Hotmart.started("hotmart", *ACCOUNT) as server:
        server.fail("429", count=1, on="products")
        assert server.refusal() == (429, "too_many_requests")


# ---------------------------------------------------------------------------------------------------------------------
# Our client
# ---------------------------------------------------------------------------------------------------------------------


def test_our_client_reads_the_account(hotmart: Hotmart) -> None:
    account = client_of(hotmart, [])

    page = account.products()
    assert (len(page.products), page.next_token) == (12, None)
    yoga = account.find(712093)
    assert isinstance(yoga, client.Listed)
    assert yoga in page.products
    assert client.best_offer(account.offers(yoga.ucode)).price == "197.00 BRL"
    assert account.find(1) is None
    assert account.offers("no-such") == []
    assert hotmart.ask("GET", "/_calls").json()["calls"]["token"] == 1


def test_our_client_gets_over_what_passes(hotmart: Hotmart) -> None:
    # Given a token that expires, throttling, a broken answer, and a proxy's error
    slept: list[float] = []
    account = client_of(hotmart, slept)
    account.products()
    for kind, more in (("expired", {}), ("429", {}), ("garbage_json", {}), ("5xx", {"status": 502})):
        hotmart.fail(kind, count=1, on="products", **more)

    assert len(account.products().products) == 12
    assert hotmart.ask("GET", "/_calls").json()["calls"]["token"] == 2
    assert slept == [1.0, 1.0, 1.0]

    # And says what does not
    hotmart.fail("5xx", status=503)
    with pytest.raises(client.UnavailableError, match="HTTP 503"):
        account.products()
    hotmart.ask("DELETE", "/_faults")
    for token in ("made-up", base64.b64encode(b"{}").decode()):
        with pytest.raises(client.PageTokenError):
            account.products(token)
    for wrong in ("client_id", "client_secret", "basic"):
        with pytest.raises(client.KeyRefusedError, match="HotmartCredentials"):
            client_of(hotmart, [], **{wrong: "wrong"}).products()


def test_our_client_is_never_throttled_when_it_is_alone() -> None:
    # Given three calls a second
    slept: list[float] = []
    with Hotmart.started("hotmart", *ACCOUNT, "--per-minute", "3", "--minute", "1") as server:
        account = client_of(server, slept)
        for _ in range(8):
            account.products()
        assert server.ask("GET", "/_calls").json()["statuses"] == {"200": 9}
    assert slept
