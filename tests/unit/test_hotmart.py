"""Hotmart's client: what it sends and returns, its tokens, which errors mean what, and how it keeps to the pace.

Source: https://developers.hotmart.com/docs/en/start/.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from botocore.exceptions import ClientError

from lookbook import hotmart
from lookbook.errors import LookbookError
from lookbook.hotmart import (
    CallRefusedError,
    Credentials,
    Hotmart,
    KeyRefusedError,
    Listed,
    NotConfiguredError,
    NoTimeError,
    Offer,
    PageTokenError,
    UnavailableError,
    Unreadable,
    best_offer,
    credentials_from_json,
)
from tests.unit.fakes import CUT_OFF, NEVER_SENT, Answer, words_of

SECRET, BASIC, TOKEN = "top-secret", "dG9wLXNlY3JldA==", "opaque-token"
AUTH, API = "https://auth.example.com", "https://api.example.com"
OWNER = json.dumps({"client_id": "an-id", "client_secret": SECRET, "basic": f"Basic {BASIC}\n"})
PRODUCT = {
    "id": 698441, "name": "Product A", "ucode": "f2b3be1f", "status": "DRAFT", "created_at": 1586459699000,
    "format": "EBOOK", "is_subscription": False, "warranty_period": 7,
}  # fmt: skip


class Clock:
    """Time that passes only while somebody sleeps, or while a call is under way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


class Script(urllib3.PoolManager):
    """A transport that grants tokens, gives its other answers one after the other, and keeps what was sent."""

    def __init__(self, clock: Clock, *answers: Answer | Exception, seconds: float = 0) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.answers = list(answers)
        self.grants: list[Answer | Exception] = []
        self.sent: list[tuple[str, str, dict[str, str]]] = []
        self.granted = 0

    def request(self, method: str, url: str, *_: Any, **more: Any) -> Any:
        assert more["retries"] is False
        assert more["timeout"].connect_timeout <= 5
        assert more["timeout"].read_timeout <= 35
        self.clock.now += self.seconds
        self.sent.append((method, url, dict(more["headers"])))
        if method == "POST":
            self.granted += 1
            answer = self.grants.pop(0) if self.grants else granted(f"{TOKEN}-{self.granted}")
        else:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tokens(self) -> list[str]:
        return [headers["Authorization"].removeprefix("Bearer ") for method, _, headers in self.sent if method == "GET"]


def granted(token: str, seconds: float = 86_400) -> Answer:
    return Answer(200, {"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": "read"})


def page(*items: Any, following: str | None = None, **headers: str) -> Answer:
    info = {"results_per_page": len(items)} | ({"next_page_token": following} if following else {})
    return Answer(200, {"items": items, "page_info": info}, {name.replace("_", "-"): v for name, v in headers.items()})


def refusal(status: int, error: str, **headers: str) -> Answer:
    said = {"error": error, "error_description": f"It was: {TOKEN}-1 {SECRET}", "error_uri": "https://example.com"}
    return Answer(status, said, {name.replace("_", "-"): value for name, value in headers.items()})


def account(
    *answers: Answer | Exception, secret: Callable[[], str] = lambda: OWNER, seconds: float = 0
) -> tuple[Hotmart, Script]:
    clock = Clock()
    wire = Script(clock, *answers, seconds=seconds)
    return Hotmart(f"{AUTH}/", f"{API}/", secret, wire, clock, clock.sleep), wire


# ---------------------------------------------------------------------- what is sent and told


def test_a_token_is_asked_for_as_documented_and_kept() -> None:
    # When products are asked for twice
    client, wire = account(page(PRODUCT))
    client.products()
    client.products("next")

    # Then the token is asked for once, with all three of the credentials
    [(method, url, headers), *calls] = wire.sent
    assert (method, url.partition("?")[0]) == ("POST", f"{AUTH}/security/oauth/token")
    query = {"grant_type": ["client_credentials"], "client_id": ["an-id"], "client_secret": [SECRET]}
    assert parse_qs(urlsplit(url).query) == query
    assert headers["Authorization"] == f"Basic {BASIC}"

    # And each page with the token
    assert [each for _, each, _ in calls] == [
        f"{API}/products/api/v1/products?max_results=50",
        f"{API}/products/api/v1/products?max_results=50&page_token=next",
    ]
    assert wire.tokens() == [f"{TOKEN}-1"] * 2


def test_products_are_told_a_page_at_a_time() -> None:
    client, _ = account(page(PRODUCT, {**PRODUCT, "status": "SOMETHING_NEW", "format": "HOLOGRAM"}, following="p2"))
    told = client.products()
    assert told.next_token == "p2"
    assert told.products[0] == Listed(698441, "Product A", "f2b3be1f", "DRAFT", "EBOOK")
    assert told.products[1] == Listed(698441, "Product A", "f2b3be1f", "SOMETHING_NEW", "HOLOGRAM")

    # The last page has no token, or null
    infos: tuple[dict[str, Any], ...] = (
        {},
        {"page_info": None},
        {"page_info": {"next_page_token": None}},
        {"page_info": {}},
    )
    for info in infos:
        client, _ = account(Answer(200, {"items": [], **info}))
        assert client.products() == hotmart.Page((), None)


@pytest.mark.parametrize(
    ("item", "number", "reason"),
    [
        ({**PRODUCT, "name": None}, 698441, "no usable name of it"),
        ({**PRODUCT, "name": " \n&nbsp; "}, 698441, "no usable name of it"),
        ({**PRODUCT, "ucode": "", "status": None}, 698441, "no usable status and no usable ucode of it"),
        ({**PRODUCT, "id": "x"}, None, "no usable id of it"),
        ("nothing", None, "no product"),
    ],
)
def test_a_broken_product_does_not_spoil_its_page(item: Any, number: int | None, reason: str) -> None:
    client, _ = account(page(item, PRODUCT))
    broken, good = client.products().products
    assert isinstance(broken, Unreadable)
    assert broken.number == number
    assert reason in broken.reason
    assert isinstance(good, Listed)


def test_a_product_is_found_by_its_number() -> None:
    client, wire = account(page(PRODUCT), page(), page({**PRODUCT, "name": 1}))
    assert client.find(698441) == Listed(698441, "Product A", "f2b3be1f", "DRAFT", "EBOOK")
    assert client.find(698441) is None
    assert isinstance(client.find(698441), Unreadable)
    assert wire.sent[1][1] == f"{API}/products/api/v1/products?id=698441"


def test_offers_tell_description_and_price() -> None:
    offers = [
        {"code": "1", "description": "Um&nbsp;curso <b>completo</b>\n para   vender", "is_main_offer": False,
         "price": {"value": 97, "currency_code": "brl"}},
        {"code": "2", "name": "", "description": None, "price": None, "is_main_offer": True},
        {"code": "3", "price": {"value": "much"}}, "nothing", {},
    ]  # fmt: skip
    client, wire = account(page(*offers))
    told = client.offers("f2b3/be1f")
    assert told == [Offer("Um curso completo para vender", "97.00 BRL", "BRL"), Offer(main=True), Offer()]
    assert best_offer(told).main
    assert best_offer(told[:1]) == told[0]
    assert best_offer([]) == Offer()
    assert wire.sent[1][1] == f"{API}/products/api/v1/products/f2b3%2Fbe1f/offers"


def test_a_description_is_cut() -> None:
    client, _ = account(page({"description": "word " * 1000}))
    [offer] = client.offers("u")
    assert len(offer.description) == 2000
    assert offer.description.endswith("…")


def test_the_main_offer_is_looked_for_on_further_pages() -> None:
    # Given a main offer on the second of three pages
    other, main = {"price": {"value": 1, "currency_code": "USD"}}, {"is_main_offer": True}
    client, wire = account(page(other, following="2"), page(main, following="3"))
    assert best_offer(client.offers("u")).main
    assert [each.partition("?")[2] for _, each, _ in wire.sent[1:]] == ["", "page_token=2"]

    # And if there is none, or its page cannot be had, the first will do
    client, wire = account(page(other, following="2"))
    assert best_offer(client.offers("u")).price == "1.00 USD"
    assert len(wire.sent) == 1 + hotmart.MOST_PAGES_OF_OFFERS
    client, _ = account(page(other, following="2"), refusal(400, "invalid_token"))
    assert len(client.offers("u")) == 1


def test_a_product_that_is_gone_has_no_offers() -> None:
    client, _ = account(refusal(404, "not_found"))
    assert client.offers("u") == []


# ---------------------------------------------------------------------- credentials and tokens


@pytest.mark.parametrize("basic", ["abc", "Basic abc", " basic  abc ", "abc\n"])
def test_credentials_are_read_with_and_without_the_word_basic(basic: str) -> None:
    text = json.dumps({"client_id": " an-id ", "client_secret": f"{SECRET}\r\n", "basic": basic})
    assert credentials_from_json(text) == Credentials("an-id", SECRET, "abc")
    assert SECRET not in repr(credentials_from_json(text))


@pytest.mark.parametrize(
    "text",
    ["", "x2j8-generated-by-secrets-manager", "[]", "{}", json.dumps({"client_id": "a", "client_secret": SECRET}),
     json.dumps({"client_id": "a", "client_secret": SECRET, "basic": "Basic "}),
     json.dumps({"client_id": 1, "client_secret": SECRET, "basic": "b"})],
)  # fmt: skip
def test_without_credentials_it_is_said_what_to_set(text: str) -> None:
    client, wire = account(page(), secret=lambda: text)
    for ask in (client.check, client.products):
        with pytest.raises(NotConfiguredError, match="Set the secret HotmartCredentials") as caught:
            ask()
        assert SECRET not in words_of(caught.value)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("code", "error"), [("ResourceNotFoundException", NotConfiguredError), ("InternalServiceError", UnavailableError)]
)
def test_a_secret_that_cannot_be_read_is_told(code: str, error: type[LookbookError]) -> None:
    def secret() -> str:
        raise ClientError({"Error": {"Code": code}}, "GetSecretValue")

    client, _ = account(page(), secret=secret)
    with pytest.raises(error, match="HotmartCredentials"):
        client.check()


@pytest.mark.parametrize("error", ["token_expired", "invalid_token", "unauthorized"])
def test_a_token_that_is_refused_is_asked_for_once_more(error: str) -> None:
    client, wire = account(page(), refusal(401, error), page(PRODUCT))
    client.products()
    assert len(client.products().products) == 1
    assert wire.tokens() == [f"{TOKEN}-1", f"{TOKEN}-1", f"{TOKEN}-2"]


def test_and_not_twice() -> None:
    client, wire = account(refusal(401, "invalid_token"))
    with pytest.raises(KeyRefusedError) as caught:
        client.products()
    assert wire.granted == 2
    assert TOKEN not in words_of(caught.value)


def test_a_token_is_replaced_before_it_expires() -> None:
    client, wire = account(page())
    client.products()
    wire.clock.now += 86_400 - 601
    client.products()
    wire.clock.now += 2
    client.products()
    assert wire.tokens() == [f"{TOKEN}-1", f"{TOKEN}-1", f"{TOKEN}-2"]


def test_a_token_of_few_seconds_is_used_for_most_of_them() -> None:
    client, wire = account(page())
    wire.grants = [granted("short", 10)]
    client.products()
    wire.clock.now += 8
    client.products()
    wire.clock.now += 2
    client.products()
    assert wire.tokens() == ["short", "short", f"{TOKEN}-2"]


def test_changed_credentials_count_at_once() -> None:
    # Given a warm function that has a token
    secrets = [OWNER]
    client, wire = account(page(), secret=lambda: secrets[-1])
    client.check()
    client.products()
    client.check()
    client.products()
    assert wire.granted == 1

    # When the secret is changed, then the next sync asks for another token
    secrets.append(json.dumps({"client_id": "another", "client_secret": "x", "basic": "y"}))
    client.check()
    client.products()
    assert wire.granted == 2
    assert "client_id=another" in wire.sent[-2][1]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_credentials_are_told_without_them(status: int) -> None:
    client, wire = account(page())
    wire.grants = [refusal(status, "unauthorized")]
    with pytest.raises(KeyRefusedError, match="Set the secret HotmartCredentials") as caught:
        client.products()
    assert SECRET not in words_of(caught.value)
    assert BASIC not in words_of(caught.value)
    assert client.products().products == ()  # they are read anew


@pytest.mark.parametrize("answer", [Answer(404, {}), Answer(200, {}), Answer(200, {"access_token": ""})])
def test_something_else_than_hotmart_grants_no_token(answer: Answer) -> None:
    client, wire = account(page())
    wire.grants = [answer]
    with pytest.raises((CallRefusedError, UnavailableError)):
        client.products()


# ---------------------------------------------------------------------- errors and tries


@pytest.mark.parametrize(
    "trouble",
    [Answer(500, {}), refusal(502, "internal_server_error"), Answer(503, b"<html>"), Answer(504, b""), *CUT_OFF,
     *NEVER_SENT, Answer(200, b'{"items": [{"id": 69')],
)  # fmt: skip
def test_what_may_pass_is_tried_three_times(trouble: Answer | Exception) -> None:
    # Given trouble that passes
    client, wire = account(trouble, trouble, page(PRODUCT))
    assert len(client.products().products) == 1
    assert wire.clock.slept == [1.0, 4.0]

    # And trouble that does not
    client, wire = account(trouble)
    with pytest.raises(UnavailableError, match=r"^Hotmart [a-z]") as caught:
        client.products()
    assert len(wire.tokens()) == 3
    assert not isinstance(caught.value, NoTimeError)
    assert TOKEN not in words_of(caught.value)


def test_so_are_tokens() -> None:
    client, wire = account(page())
    wire.grants = [*CUT_OFF]
    assert client.products().products == ()
    wire.clock.slept.clear()

    client, wire = account(page())
    wire.grants = [NEVER_SENT[0], CUT_OFF[0], Answer(502, b"")]
    with pytest.raises(UnavailableError) as caught:
        client.products()
    assert SECRET not in words_of(caught.value)


@pytest.mark.parametrize("error", ["invalid_token", "invalid_parameter", "invalid_value_parameter"])
def test_a_page_token_that_is_refused_is_told_as_such(error: str) -> None:
    client, wire = account(refusal(400, error))
    with pytest.raises(PageTokenError):
        client.products("old")
    with pytest.raises(CallRefusedError, match=rf"HTTP 400: {error}") as caught:
        client.products()
    assert not isinstance(caught.value, PageTokenError)
    assert SECRET not in words_of(caught.value)
    assert len(wire.tokens()) == 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (refusal(403, "unauthorized_client"), KeyRefusedError, "of the kind that HotmartApiUrl is for"),
        (refusal(404, "not_found"), CallRefusedError, "Is HotmartApiUrl right?"),
        (refusal(405, f"{TOKEN}!"), CallRefusedError, "no reason given"),
        (Answer(301, b""), CallRefusedError, "HTTP 301"),
        (Answer(200, b"<html></html>}"), UnavailableError, "something unexpected"),
        (Answer(200, {"items": {}}), UnavailableError, "something unexpected"),
        (Answer(200, {}), UnavailableError, "something unexpected"),
    ],
)
def test_other_answers_are_told_in_plain_words(answer: Answer, error: type[LookbookError], words: str) -> None:
    client, _ = account(answer)
    with pytest.raises(error, match=words.replace("?", r"\?")) as caught:
        client.products()
    assert SECRET not in words_of(caught.value)
    assert TOKEN not in words_of(caught.value)


def test_a_page_that_follows_itself_ends_the_list() -> None:
    client, _ = account(page(PRODUCT, following="same"))
    with pytest.raises(UnavailableError, match="follows itself"):
        client.products("same")


# ---------------------------------------------------------------------- pace


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"RateLimit_Reset": "7"}, 7.0),
        ({"Retry_After": "3"}, 3.0),
        ({"RateLimit_Reset": "2", "Retry_After": "9"}, 9.0),
        ({"RateLimit_Reset": "0"}, 1.0),
        ({"RateLimit_Reset": "1795000000"}, 60.0),
        ({"Retry_After": "Sat, 21 Nov 2026 10:15:02 GMT"}, 1.0),
        ({}, 60.0),
    ],
)
def test_what_is_throttled_waits_as_it_is_told(headers: dict[str, str], seconds: float) -> None:
    client, wire = account(refusal(429, "too_many_requests", **headers), page(PRODUCT))
    assert len(client.products().products) == 1
    assert wire.clock.slept == [seconds]


def test_but_not_for_ever() -> None:
    client, wire = account(refusal(429, "too_many_requests", RateLimit_Reset="1"))
    with pytest.raises(UnavailableError, match="HTTP 429"):
        client.products()
    assert len(wire.tokens()) == 1 + hotmart.MOST_THROTTLED


def test_no_call_is_made_when_none_is_left() -> None:
    # Given an answer that says that one more call is left for the next 20 s
    client, wire = account(
        page(RateLimit_Remaining="1", RateLimit_Reset="20"),
        page(RateLimit_Remaining="0", RateLimit_Reset="19"),
        page(RateLimit_Remaining="499", RateLimit_Reset="60"),
    )

    # Then the third call waits, and the fourth does not
    for _ in range(4):
        client.products()
    assert wire.clock.slept == [19.0]


def test_answers_that_do_not_say_count_what_was_left() -> None:
    client, wire = account(page(RateLimit_Remaining="2", RateLimit_Reset="20"), page(), page(), page())
    for _ in range(4):
        client.products()
    assert wire.clock.slept == [20.0]


def test_when_the_minute_is_over_nobody_waits() -> None:
    client, wire = account(page(RateLimit_Remaining="0", RateLimit_Reset="20"), page())
    client.products()
    wire.clock.now += 20
    client.products()
    assert wire.clock.slept == []


def test_a_call_lasts_no_longer_than_it_may() -> None:
    # Given a Hotmart that wants us to wait for longer than there is time
    client, wire = account(refusal(429, "too_many_requests", RateLimit_Reset="30"))
    with pytest.raises(NoTimeError):
        client.products(within=20)
    assert wire.clock.slept == []

    # Then the next call knows that too
    with pytest.raises(NoTimeError):
        client.products(within=29)
    assert len(wire.tokens()) == 1

    # And tries that take long are not repeated beyond it
    client, wire = account(refusal(502, "internal_server_error"), seconds=30)
    with pytest.raises(NoTimeError):
        client.products(within=60)
    assert len(wire.sent) == 2


def test_nothing_that_is_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client, wire = account(CUT_OFF[0], refusal(429, "too_many_requests"), refusal(401, "token_expired"), page())
    wire.grants = [NEVER_SENT[0]]
    client.products()
    told = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "hotmart did not answer" in told
    for secret in (SECRET, BASIC, TOKEN):
        assert secret not in told
