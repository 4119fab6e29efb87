"""Shopify's client: what it returns, which answers mean what, how it keeps to the shop's pace, and how it gets tokens.

Sources: https://shopify.dev/docs/api/admin-graphql and https://shopify.dev/docs/api/usage/limits.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest
import urllib3
from botocore.exceptions import ClientError, EndpointConnectionError

from lookbook.errors import InputError, LookbookError
from lookbook.shopify import (
    Added,
    AdminToken,
    ClientCredentials,
    Credentials,
    Glance,
    Media,
    Shop,
    ShopError,
    ShopProduct,
    ShopProductError,
    ShopUnavailableError,
    Variant,
    credentials_from_json,
    credentials_to_json,
    product_gid,
)
from tests.unit.fakes import CUT_OFF, NEVER_SENT, Answer, words_of

DOMAIN = "example.myshopify.com"
TOKEN = "shpat_top-secret"
SECRET = "shpss_top-secret"
APP = ClientCredentials("client-id", SECRET)
SHIRT, SKIRT = "gid://shopify/Product/1", "gid://shopify/Product/2"
PICTURE = "gid://shopify/MediaImage/{}"
NOON = "2026-11-21T12:00:00Z"
SIGNED = "https://bucket.example.com/1.jpg?X-Amz-Signature=abc"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.slept.append(seconds)
        time.sleep(0.002)  # other threads' turn


class Script(urllib3.PoolManager):
    """A transport that gives its answers one after the other, the last one for ever, and keeps what was sent."""

    def __init__(self, *answers: Answer | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.sent: list[tuple[str, dict[str, str], str]] = []

    def request(self, method: str, url: str, *_: Any, **more: Any) -> Any:
        assert method == "POST"
        self.sent.append((url, dict(more["headers"]), more["body"].decode()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def variables(self) -> list[dict[str, Any]]:
        return [json.loads(body)["variables"] for _, _, body in self.sent]

    def tokens(self) -> list[str | None]:
        return [headers.get("X-Shopify-Access-Token") for _, headers, _ in self.sent]


def cost(
    requested: float | None = 10, actual: float | None = 10, available: float = 2000, rate: float = 100
) -> dict[str, Any]:
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": available, "restoreRate": rate}
    return {"cost": {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}}


def ok(data: Any, **points: float) -> Answer:
    return Answer(200, {"data": data, "extensions": cost(**points)})


def refusal(code: str, message: str = "No.", **more: Any) -> Answer:
    return Answer(200, {"errors": [{"message": message, "extensions": {"code": code, **more}}], "extensions": cost()})


def throttled(requested: float | None = 10, available: float = 0, status: int = 200, retry_after: str = "") -> Answer:
    said = {
        "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
        "extensions": cost(requested, None, available),
    }
    return Answer(status, said, {"Retry-After": retry_after} if retry_after else {})


def nodes(*products: Any) -> Answer:
    return ok({"nodes": list(products)})


def glanced(product_id: str = SHIRT, count: int = 3) -> dict[str, Any]:
    return {"id": product_id, "updatedAt": NOON, "mediaCount": {"count": count}}


def picture(number: int, status: str = "READY", *, alt: str | None = "A shirt", **more: Any) -> dict[str, Any]:
    given = {"id": PICTURE.format(number), "alt": alt, "mediaContentType": "IMAGE", "status": status}
    image = {"url": f"https://cdn.shopify.com/{number}.jpg"} if status == "READY" else None
    return {**given, "fileStatus": status, "createdAt": NOON, "image": image, **more}


def product(*media: Any, product_id: str = SHIRT, cursor: str | None = None) -> dict[str, Any]:
    page = {"nodes": list(media), "pageInfo": {"hasNextPage": cursor is not None, "endCursor": cursor}}
    return {"id": product_id, "title": "Shirt", "updatedAt": NOON, "media": page}


def read_picture(number: int, **changes: Any) -> Media:
    given: dict[str, Any] = {
        "media_id": PICTURE.format(number),
        "status": "READY",
        "alt": "A shirt",
        "url": f"https://cdn.shopify.com/{number}.jpg",
        "created_at": NOON,
        "error": "",
        "is_image": True,
    }
    return Media(**{**given, **changes})


def a_shop(
    *answers: Answer | Exception, credentials: Callable[[], Credentials] = lambda: AdminToken(TOKEN)
) -> tuple[Shop, Script, Clock]:
    wire, clock = Script(*answers), Clock()
    return Shop(DOMAIN, "https://{shop}", credentials, wire, clock, clock.sleep), wire, clock


CHANGED = ok({"productUpdate": {"userErrors": []}})
DESCRIBED = ok({"shop": {"name": "Ours"}, "currentAppInstallation": {"accessScopes": [{"handle": "write_products"}]}})


# --- what is asked and told ----------------------------------------------------------------------------------------


def test_a_call_goes_to_the_shop_with_its_token() -> None:
    shop, wire, _ = a_shop(DESCRIBED)
    shop.describe()
    [(url, headers, _)] = wire.sent
    assert url == "https://example.myshopify.com/admin/api/2026-10/graphql.json"
    assert headers["X-Shopify-Access-Token"] == TOKEN
    assert headers["Content-Type"] == "application/json"


def test_a_shop_tells_its_name_and_which_scopes_are_missing() -> None:
    told = a_shop(DESCRIBED)[0].describe()
    assert (told.name, sorted(told.scopes), told.missing) == ("Ours", ["write_products"], ("write_files",))


def test_products_are_glanced_at_and_those_that_are_gone_left_out() -> None:
    shop, wire, _ = a_shop(nodes(glanced(), None, {}))
    assert shop.glance([SHIRT, SKIRT, SHIRT]) == {SHIRT: Glance(NOON, 3)}
    assert wire.variables() == [{"ids": [SHIRT, SKIRT]}]


def test_nothing_is_asked_about_no_products() -> None:
    shop, wire, _ = a_shop(DESCRIBED)
    assert (shop.glance([]), shop.read([]), shop.added([], 3), shop.delete_files([]), shop.set_alts({})) == ({},) * 5
    shop.reorder(SHIRT, [])
    assert wire.sent == []


@pytest.mark.parametrize(
    ("ask", "points", "most"),
    [
        (lambda shop, ids: shop.glance(ids), lambda sent: 2 * len(sent["ids"]), 500),
        (lambda shop, ids: shop.read(ids), lambda sent: (3 + 2 * sent["first"]) * len(sent["ids"]), 900),
        (lambda shop, ids: shop.added(ids, 3), lambda sent: (3 + sent["count"]) * len(sent["ids"]), 900),
        (lambda shop, ids: shop.added(ids, 250), lambda sent: (3 + sent["count"]) * len(sent["ids"]), 900),
    ],
)
def test_any_number_of_products_is_asked_about_in_calls_of_fewer_than_1000_points(
    ask: Callable[[Shop, list[str]], Any], points: Callable[[Any], int], most: int
) -> None:
    shop, wire, _ = a_shop(nodes())
    ids = [product_gid(str(number)) for number in range(1, 1001)]
    ask(shop, ids)
    assert [each for sent in wire.variables() for each in sent["ids"]] == ids
    assert max(points(sent) for sent in wire.variables()) <= most
    assert max(len(sent["ids"]) for sent in wire.variables()) <= 250


def test_a_product_is_read_with_its_media_in_the_shops_order() -> None:
    # Given a product with pictures in every state, and a film
    film = {"id": "gid://shopify/Video/9", "alt": None, "mediaContentType": "VIDEO", "status": "READY"}
    answer = nodes(product(picture(2), picture(1, "UPLOADED", alt=None), picture(3, "PROCESSING"), film))

    # When it is read
    found = a_shop(answer)[0].read([SHIRT])

    # Then all of it is told, as plain values
    media = (
        read_picture(2),
        read_picture(1, status="UPLOADED", alt="", url=""),
        read_picture(3, status="PROCESSING", url=""),
        Media("gid://shopify/Video/9", "READY", "", "", "", "", is_image=False),
    )
    assert found == {SHIRT: ShopProduct(SHIRT, "Shirt", NOON, media)}


def test_further_pages_of_media_are_fetched() -> None:
    shop, wire, _ = a_shop(
        nodes(product(picture(1), cursor="a"), product(picture(9), product_id=SKIRT)),
        nodes(product(picture(1), picture(2), cursor="b")),
        nodes(product(picture(3))),
    )
    found = shop.read([SHIRT, SKIRT])
    assert [one.media_id for one in found[SHIRT].media] == [PICTURE.format(number) for number in (1, 2, 3)]
    assert [one.media_id for one in found[SKIRT].media] == [PICTURE.format(9)]
    assert [(sent["ids"], sent["after"]) for sent in wire.variables()[1:]] == [([SHIRT], "a"), ([SHIRT], "b")]


def test_a_product_that_is_deleted_while_it_is_read_is_left_out() -> None:
    assert a_shop(nodes(product(picture(1), cursor="a")), nodes(None))[0].read([SHIRT]) == {}


def test_pages_that_lead_nowhere_end() -> None:
    with pytest.raises(ShopUnavailableError, match="unexpected"):
        a_shop(nodes(product(picture(1), cursor="a")))[0].read([SHIRT])


def test_what_was_added_is_told_with_the_reasons_of_what_failed() -> None:
    # Given a product of whose last three pictures two have failed
    last = {"nodes": [picture(1), picture(2, "FAILED"), picture(3, "READY", fileStatus="FAILED")]}
    fault = {"code": "IMAGE_DOWNLOAD_FAILURE", "message": f"Could not download {SIGNED}"}
    reasons = nodes({"id": PICTURE.format(2), "mediaErrors": [fault], "fileErrors": [fault]}, None)
    shop, wire, _ = a_shop(nodes({"id": SHIRT, "updatedAt": NOON, "media": last}), reasons)

    # When they are asked for
    found = shop.added([SHIRT], 3)

    # Then the failed ones, and only they, have been asked for their reasons, which quote no signature
    reason = "IMAGE_DOWNLOAD_FAILURE: Could not download https://bucket.example.com/1.jpg"
    assert [one.status for one in found[SHIRT].media] == ["READY", "FAILED", "FAILED"]
    assert [one.error for one in found[SHIRT].media] == ["", reason, "Shopify gave no reason."]
    assert wire.variables() == [{"ids": [SHIRT], "count": 3}, {"ids": [PICTURE.format(2), PICTURE.format(3)]}]


def test_what_was_added_is_told() -> None:
    last = {"nodes": [{**picture(1, "PROCESSING"), "image": None}]}
    found = a_shop(nodes({"id": SHIRT, "updatedAt": NOON, "media": last}))[0].added([SHIRT], 1)
    assert found == {SHIRT: Added(NOON, (read_picture(1, status="PROCESSING", url=""),))}


def test_all_variants_are_told() -> None:
    # Given two pages of variants
    def page(sku: str | None, barcode: str | None, cursor: str | None) -> Answer:
        variant = {"sku": sku, "barcode": barcode, "product": {"id": SHIRT, "handle": "shirt", "title": "Shirt"}}
        more = {"hasNextPage": cursor is not None, "endCursor": cursor}
        return ok({"productVariants": {"nodes": [variant], "pageInfo": more}})

    shop, wire, _ = a_shop(page("CJ1", None, "a"), page(None, "4006381333931", None))

    # When they are walked through, then both pages are there
    assert [each for page, _ in shop.variant_pages() for each in page] == [
        Variant(SHIRT, "shirt", "Shirt", "CJ1", ""),
        Variant(SHIRT, "shirt", "Shirt", "", "4006381333931"),
    ]
    assert wire.variables() == [{"first": 250, "after": None}, {"first": 250, "after": "a"}]


def test_pictures_are_added_with_their_alt_texts() -> None:
    shop, wire, _ = a_shop(CHANGED)
    shop.add_media(SHIRT, [(SIGNED, "A shirt")])
    media = [{"mediaContentType": "IMAGE", "originalSource": SIGNED, "alt": "A shirt"}]
    assert wire.variables() == [{"product": {"id": SHIRT}, "media": media}]


def test_media_are_moved_in_the_order_given() -> None:
    shop, wire, _ = a_shop(ok({"productReorderMedia": {"mediaUserErrors": []}}))
    shop.reorder(SHIRT, [(PICTURE.format(2), 0), (PICTURE.format(1), 1)])
    moves = [{"id": PICTURE.format(2), "newPosition": "0"}, {"id": PICTURE.format(1), "newPosition": "1"}]
    assert wire.variables() == [{"id": SHIRT, "moves": moves}]


@pytest.mark.parametrize(
    ("answer", "change", "told"),
    [
        (
            ok({"productUpdate": {"userErrors": [{"field": ["media"], "message": f"Bad image URL {SIGNED}"}]}}),
            lambda shop: shop.add_media(SHIRT, [(SIGNED, "")]),
            "Shopify refused it: Bad image URL https://bucket.example.com/1.jpg",
        ),
        (
            ok(
                {
                    "productReorderMedia": {
                        "mediaUserErrors": [{"field": None, "message": "No such media", "code": "MEDIA_DOES_NOT_EXIST"}]
                    }
                }
            ),
            lambda shop: shop.reorder(SHIRT, [(PICTURE.format(1), 0)]),
            "Shopify refused it: MEDIA_DOES_NOT_EXIST: No such media",
        ),
    ],
)
def test_a_refused_change_is_told_with_shopifys_reason(
    answer: Answer, change: Callable[[Shop], None], told: str
) -> None:
    with pytest.raises(ShopProductError) as caught:
        change(a_shop(answer)[0])
    assert str(caught.value) == told


# --- files ---------------------------------------------------------------------------------------------------------


class Files(Script):
    """A shop's files. One bad file in a call spoils it all; `name` says how an error names it."""

    def __init__(self, bad: dict[str, str], name: Callable[[str, int], dict[str, Any]]) -> None:
        super().__init__(DESCRIBED)
        self.bad, self.name = bad, name
        self.changed: set[str] = set()

    def request(self, method: str, url: str, *args: Any, **more: Any) -> Any:
        super().request(method, url, *args, **more)
        given = self.variables()[-1]
        ids = given.get("ids") or [file["id"] for file in given["files"]]
        assert len(ids) <= 250
        errors = [
            {"code": self.bad[each], "message": "No.", "field": ["files"], **self.name(each, index)}
            for index, each in enumerate(ids)
            if each in self.bad
        ]
        self.changed |= set() if errors else set(ids)
        return ok(
            {
                "fileDelete": {"deletedFileIds": None if errors else ids, "userErrors": errors},
            }
            if "ids" in given
            else {"fileUpdate": {"userErrors": errors}}
        )


NAMED = pytest.mark.parametrize(
    "name",
    [
        lambda _, index: {"field": ["files", str(index), "id"]},
        lambda each, _: {"message": f"File id {each} cannot be changed."},
        lambda _, __: {"field": None},
    ],
    ids=["by index", "by id", "not at all"],
)


@NAMED
def test_one_bad_file_does_not_keep_the_others(name: Callable[[str, int], dict[str, Any]]) -> None:
    # Given 300 files of which one is locked and one does not exist
    ids = [PICTURE.format(number) for number in range(1, 301)]
    wire, clock = Files({ids[1]: "FILE_LOCKED", ids[10]: "FILE_DOES_NOT_EXIST"}, name), Clock()
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)

    # When they are deleted
    failed = shop.delete_files(ids)

    # Then all others are, and what does not exist counts as deleted
    assert wire.changed == {*ids} - {ids[1], ids[10]}
    assert {each: reason.split(":")[0] for each, reason in failed.items()} == {ids[1]: "FILE_LOCKED"}


@NAMED
def test_alt_texts_of_files_are_changed_but_for_bad_ones(name: Callable[[str, int], dict[str, Any]]) -> None:
    ids = [PICTURE.format(number) for number in range(1, 301)]
    wire, clock = Files({ids[1]: "NON_READY_STATE", ids[10]: "FILE_DOES_NOT_EXIST"}, name), Clock()
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)
    failed = shop.set_alts(dict.fromkeys(ids, "A shirt"))
    assert wire.changed == {*ids} - {ids[1], ids[10]}
    assert set(failed) == {ids[1], ids[10]}
    assert failed[ids[1]].startswith("NON_READY_STATE: ")


def test_sorting_out_bad_files_has_an_end() -> None:
    # Given files that do not exist, of which Shopify does not say which ones they are
    ids = [PICTURE.format(number) for number in range(1, 251)]
    wire, clock = Files(dict.fromkeys(ids, "FILE_DOES_NOT_EXIST"), lambda _, __: {"field": None}), Clock()
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)

    # When they are deleted, then that takes a bounded number of calls, and none counts as deleted without proof
    failed = shop.delete_files(ids)
    assert len(wire.sent) < 50
    assert set(failed) == set(ids)


def test_a_file_of_which_nothing_is_said_counts_as_not_deleted() -> None:
    shop, _, _ = a_shop(ok({"fileDelete": {"deletedFileIds": [PICTURE.format(1)], "userErrors": []}}))
    assert set(shop.delete_files([PICTURE.format(1), PICTURE.format(11)])) == {PICTURE.format(11)}


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(402), "frozen"),
        (Answer(403), "write_products and write_files"),
        (Answer(404), "not known to Shopify"),
        (Answer(423), "locked"),
        (Answer(301), "HTTP 301"),
        (Answer(400, b"<html>"), "HTTP 400"),
        (refusal("ACCESS_DENIED", requiredAccess="`write_products` access scope."), "`write_products` access scope."),
        (refusal("ACCESS_DENIED", "Access denied. Required: `write_files`."), "`write_files`"),
        (refusal("SHOP_INACTIVE"), "not active"),
        (refusal("MAX_COST_EXCEEDED", "Query cost is 2003."), "Query cost is 2003."),
        (Answer(200, {"errors": [{"message": f"Bad {SIGNED} {'x' * 500}"}]}), "Bad https://bucket.example.com/1.jpg x"),
    ],
)
def test_a_shop_that_cannot_be_used_is_told_in_plain_words(answer: Answer, told: str) -> None:
    shop, wire, _ = a_shop(answer)
    with pytest.raises(ShopError) as caught:
        shop.glance([SHIRT])
    assert told in str(caught.value)
    assert DOMAIN in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(wire.sent) == 1


NO_ANSWERS = [
    Answer(500, {}),
    Answer(502, b"<html>"),
    Answer(503, {}),
    refusal("INTERNAL_SERVER_ERROR"),
    *CUT_OFF,
]


@pytest.mark.parametrize("answer", [*NO_ANSWERS, *NEVER_SENT])
def test_a_query_is_asked_three_times(answer: Answer | Exception) -> None:
    shop, wire, clock = a_shop(answer, answer, nodes(glanced()))
    assert shop.glance([SHIRT]) == {SHIRT: Glance(NOON, 3)}
    assert len(wire.sent) == 3
    assert clock.slept == [1, 3]


@pytest.mark.parametrize("answer", [*NO_ANSWERS, *NEVER_SENT])
def test_a_query_that_is_not_answered_three_times_is_given_up(answer: Answer | Exception) -> None:
    shop, wire, _ = a_shop(answer)
    with pytest.raises(ShopUnavailableError) as caught:
        shop.glance([SHIRT])
    assert not caught.value.uncertain
    assert len(wire.sent) == 3


@pytest.mark.parametrize("answer", [*NO_ANSWERS, Answer(200, b"<html>"), ok({}), ok({"productUpdate": None})])
def test_a_mutation_is_sent_once_and_may_have_been_carried_out(answer: Answer | Exception) -> None:
    shop, wire, _ = a_shop(answer)
    with pytest.raises(ShopUnavailableError) as caught:
        shop.add_media(SHIRT, [(SIGNED, "")])
    assert caught.value.uncertain
    assert len(wire.sent) == 1


@pytest.mark.parametrize("error", NEVER_SENT)
def test_a_mutation_that_was_never_sent_was_not_carried_out(error: Exception) -> None:
    shop, wire, _ = a_shop(error)
    with pytest.raises(ShopUnavailableError) as caught:
        shop.add_media(SHIRT, [(SIGNED, "")])
    assert not caught.value.uncertain
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, []),
        Answer(200, {"errors": "Not Found"}),
        ok(None),
        ok({"nodes": None}),
        ok({"nodes": [{"id": SHIRT}]}),
        nodes({**product(), "media": {"nodes": []}}),
        nodes(product(picture(1, "LOST"))),
        Answer(200, {"data": {"nodes": []}, "extensions": cost(rate=0)}),
    ],
)
def test_an_answer_that_is_not_as_promised_is_trouble(answer: Answer) -> None:
    with pytest.raises(ShopUnavailableError, match="something unexpected"):
        a_shop(answer)[0].read([SHIRT])


# --- pace ----------------------------------------------------------------------------------------------------------


def test_points_are_added_up() -> None:
    shop, _, _ = a_shop(ok({"nodes": []}, requested=882, actual=30.5), ok({"nodes": []}, requested=882, actual=3))
    shop.read([SHIRT])
    shop.read([SKIRT])
    assert (shop.points, shop.throttled) == (33.5, 0)


def test_a_call_waits_until_the_bucket_should_hold_it() -> None:
    # Given a shop whose bucket is at 50 points and gets 100 a second
    shop, wire, clock = a_shop(ok({"nodes": []}, requested=2, available=50))
    shop.glance([SHIRT])

    # When a call of 400 points follows
    shop.glance([product_gid(str(number)) for number in range(1, 201)])

    # Then it has waited for the 350 that were missing
    assert clock.slept == [pytest.approx(3.5)]
    assert len(wire.sent) == 2


def test_what_the_last_answer_asked_for_is_what_the_next_call_waits_for() -> None:
    # Given a call that asked for ten times as many points as expected
    shop, _, clock = a_shop(ok({"nodes": []}, requested=20, available=0))
    shop.glance([SHIRT])

    # When the same call is made about ten products, then it has waited for 200 points
    shop.glance([product_gid(str(number)) for number in range(1, 11)])
    assert clock.slept == [pytest.approx(2)]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (throttled(requested=400, available=100), 3),
        (throttled(requested=10, available=9), 1),
        (throttled(requested=None, available=0), 1),
        (throttled(requested=10, available=9, status=429), 1),
        (throttled(requested=10, available=9, status=429, retry_after="4"), 4),
        (Answer(429, {"errors": "Too many requests"}, {"Retry-After": "2.0"}), 2),
        (Answer(429, b"<html>"), 1),
    ],
)
def test_what_was_throttled_is_sent_again_when_there_are_points(answer: Answer, seconds: float) -> None:
    # Even a mutation: what was throttled was not carried out
    shop, wire, clock = a_shop(answer, CHANGED)
    shop.add_media(SHIRT, [(SIGNED, "")])
    assert len(wire.sent) == 2
    assert sum(clock.slept) == pytest.approx(seconds)
    assert shop.throttled == 1


def test_a_call_that_is_throttled_for_a_minute_is_given_up() -> None:
    shop, wire, clock = a_shop(throttled(requested=500))
    with pytest.raises(ShopUnavailableError, match="points") as caught:
        shop.add_media(SHIRT, [(SIGNED, "")])
    assert not caught.value.uncertain
    assert 50 <= sum(clock.slept) <= 60
    assert shop.throttled == len(wire.sent) <= 15


class Bucket(Script):
    """A shop that takes 100 points a second from several threads, as Shopify does: what a call asks for has to be there
    when it arrives, and what it did not need is given back when it is answered. Answers overtake each other.
    """

    def __init__(self, clock: Clock, level: float) -> None:
        super().__init__(DESCRIBED)
        self.clock, self.level, self.since = clock, level, clock.now
        self.guard = threading.Lock()

    def change(self, points: float) -> float:
        now = self.clock.now
        self.level = min(2000.0, self.level + 100 * (now - self.since)) + points
        self.since = now
        return self.level

    def request(self, method: str, url: str, *args: Any, **more: Any) -> Any:
        ids = json.loads(more["body"])["variables"]["ids"]
        asked, needed = 63.0 * len(ids), 23.0 * len(ids)
        with self.guard:
            super().request(method, url, *args, **more)
            number = len(self.sent)
            if asked > self.change(0) + 0.01:
                return throttled(requested=asked, available=self.level)
            self.change(-asked)
        time.sleep(0.001 * (number % 3))
        with self.guard:
            left = self.change(asked - needed)
        time.sleep(0.001 * (number % 4))
        found = {"nodes": [product(*(picture(one) for one in range(10)), product_id=each) for each in ids]}
        return ok(found, requested=asked, actual=needed, available=left)


@pytest.mark.parametrize("level", [2000.0, 0.0])
def test_several_threads_keep_to_one_shops_pace(level: float) -> None:
    # Given a shop that counts its points, and four threads
    clock = Clock()
    wire = Bucket(clock, level)
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)
    ids = [product_gid(str(number)) for number in range(1, 1009)]
    parts = [ids[start : start + 14] for start in range(0, len(ids), 14)]

    # When they read a thousand products of ten pictures each
    with ThreadPoolExecutor(4) as threads:
        found = [name for part in threads.map(shop.read, parts) for name in part]

    # Then all are read, with hardly a call in vain, in about the time that their points take to come
    assert sorted(found) == sorted(ids)
    assert shop.throttled <= (0 if level else 1)
    assert shop.points == 23 * 1008
    assert clock.now - 1000 <= (23 * 1008 - level + 63 * 14) / 100 + 15


def test_nothing_is_sent_while_a_throttled_call_waits() -> None:
    # Given a shop that says to wait for 10 seconds, and knows how many points it has
    sent_at: list[float] = []
    clock = Clock()

    class Watched(Script):
        def request(self, *args: Any, **more: Any) -> Any:
            sent_at.append(clock.now)
            return super().request(*args, **more)

    wire = Watched(nodes(glanced()), throttled(available=2000, retry_after="10"), nodes(glanced()))
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)
    shop.glance([SHIRT])

    # When several threads call
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: shop.glance([SHIRT]), range(8)))

    # Then nothing has been sent within those 10 seconds but what was under way
    assert shop.throttled == 1
    assert sum(1000 < moment < 1010 for moment in sent_at) == 0
    assert sum(moment >= 1010 for moment in sent_at) >= 1


def test_the_first_call_goes_alone() -> None:
    # Given a shop of which nothing is known yet, and which answers its first call when a second one is waiting
    clock = Clock()
    under_way: list[int] = []

    class Slow(Script):
        def request(self, *args: Any, **more: Any) -> Any:
            under_way.append(1)
            together = len(under_way)
            if not self.sent:
                second.start()
                for _ in range(1000):
                    time.sleep(0 if clock.slept else 0.005)
            answer = super().request(*args, **more)
            assert len(under_way) == together
            under_way.pop()
            return answer

    wire = Slow(nodes(glanced()))
    shop = Shop(DOMAIN, "https://{shop}", lambda: AdminToken(TOKEN), wire, clock, clock.sleep)
    second = threading.Thread(target=shop.glance, args=([SHIRT],))

    # When two threads call, then the second call is sent after the first one has been answered
    shop.glance([SHIRT])
    second.join()
    assert clock.slept
    assert len(wire.sent) == 2


# --- tokens --------------------------------------------------------------------------------------------------------


def grant(name: str = "granted") -> Answer:
    return Answer(200, {"access_token": name, "scope": "write_products,write_files", "expires_in": 86399})


def test_a_token_is_granted_for_client_credentials_and_kept() -> None:
    # Given an app with a client id and a secret
    shop, wire, clock = a_shop(grant(), nodes(glanced()), credentials=lambda: APP)

    # When two calls are made within a day, less ten minutes
    shop.glance([SHIRT])
    clock.now += 86399 - 601
    shop.glance([SHIRT])

    # Then one token has been granted for both
    url, _, body = wire.sent[0]
    assert url == "https://example.myshopify.com/admin/oauth/access_token"
    asked = {"grant_type": ["client_credentials"], "client_id": ["client-id"], "client_secret": [SECRET]}
    assert parse_qs(body) == asked
    assert wire.tokens() == [None, "granted", "granted"]


def test_a_granted_token_is_replaced_ten_minutes_before_it_expires() -> None:
    shop, wire, clock = a_shop(grant(), nodes(), grant("newer"), nodes(), credentials=lambda: APP)
    shop.glance([SHIRT])
    clock.now += 86399 - 599
    shop.glance([SHIRT])
    assert wire.tokens() == [None, "granted", None, "newer"]


def test_a_granted_token_that_is_refused_is_replaced_once() -> None:
    shop, wire, _ = a_shop(grant(), Answer(401), grant("newer"), CHANGED, credentials=lambda: APP)
    shop.add_media(SHIRT, [(SIGNED, "")])
    assert wire.tokens() == [None, "granted", None, "newer"]


def test_a_shop_that_refuses_a_new_grant_too_cannot_be_used() -> None:
    shop, wire, _ = a_shop(grant(), Answer(401), grant("newer"), Answer(401), credentials=lambda: APP)
    with pytest.raises(ShopError, match="lookbook stores add"):
        shop.glance([SHIRT])
    assert len(wire.sent) == 4


def test_a_revoked_token_is_not_tried_again() -> None:
    shop, wire, _ = a_shop(Answer(401, {"errors": "[API] Invalid API key or access token"}))
    with pytest.raises(ShopError, match=r"revoked.*lookbook stores add"):
        shop.glance([SHIRT])
    assert wire.tokens() == [TOKEN]


def test_a_token_that_has_been_replaced_in_secrets_manager_is_read_again() -> None:
    tokens = iter(["old", "new"])
    shop, wire, _ = a_shop(Answer(401), nodes(glanced()), credentials=lambda: AdminToken(next(tokens)))
    assert shop.glance([SHIRT])
    assert wire.tokens() == ["old", "new"]


def test_credentials_are_read_when_they_are_needed_and_kept() -> None:
    read = []

    def credentials() -> Credentials:
        read.append(1)
        return AdminToken(TOKEN)

    shop, _, _ = a_shop(nodes(glanced()), credentials=credentials)
    assert read == []
    shop.glance([SHIRT])
    shop.glance([SHIRT])
    assert read == [1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(400, b"<html>Oauth error shop_not_permitted: Client credentials cannot be</html>"), "organisation"),
        (Answer(400, {"error": "shop_not_permitted"}), "organisation"),
        (Answer(400, {"error": "invalid_client", "error_description": SECRET}), "client id and secret"),
        (Answer(404, b""), "client id and secret"),
    ],
)
def test_a_token_that_is_not_granted_is_told_in_plain_words(answer: Answer, told: str) -> None:
    shop, wire, _ = a_shop(answer, credentials=lambda: APP)
    with pytest.raises(ShopError) as caught:
        shop.glance([SHIRT])
    assert told in str(caught.value)
    assert "lookbook stores add" in str(caught.value)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("answer", [Answer(429), Answer(500), Answer(200, b"<html>"), *CUT_OFF, *NEVER_SENT])
def test_without_a_grant_nothing_was_changed(answer: Answer | Exception) -> None:
    shop, wire, _ = a_shop(answer, credentials=lambda: APP)
    with pytest.raises(ShopUnavailableError) as caught:
        shop.add_media(SHIRT, [(SIGNED, "")])
    assert not caught.value.uncertain
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue"),
            ShopError,
            "has no credentials",
        ),
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue"), ShopUnavailableError, "read"),
        (EndpointConnectionError(endpoint_url="https://aws"), ShopUnavailableError, "cannot be read"),
    ],
)
def test_credentials_that_cannot_be_read_are_told(error: Exception, kind: type[LookbookError], told: str) -> None:
    def credentials() -> Credentials:
        raise error

    with pytest.raises(kind, match=told):
        a_shop(DESCRIBED, credentials=credentials)[0].describe()


@pytest.mark.parametrize("credentials", [AdminToken(TOKEN), APP])
def test_credentials_go_to_secrets_manager_and_back(credentials: Credentials) -> None:
    assert credentials_from_json(credentials_to_json(credentials)) == credentials


@pytest.mark.parametrize("text", ["", SECRET, "[]", "{}", json.dumps({"client_secret": SECRET, "token": 7})])
def test_credentials_of_neither_kind_are_not_quoted(text: str) -> None:
    with pytest.raises(ShopError, match="lookbook stores add") as caught:
        credentials_from_json(text)
    assert SECRET not in words_of(caught.value)


def test_credentials_do_not_show_their_secrets() -> None:
    assert TOKEN not in repr(AdminToken(TOKEN))
    assert SECRET not in repr(APP)
    assert "client-id" in repr(APP)


@pytest.mark.parametrize("kind", [AdminToken(TOKEN), APP])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, {"errors": TOKEN}),
        Answer(403, {"errors": TOKEN}),
        Answer(400, SECRET),
        Answer(200, {"access_token": [SECRET], "data": TOKEN}),
        Answer(200, f"{TOKEN} {SECRET}".encode()),
        *CUT_OFF,
        *NEVER_SENT,
    ],
)
def test_no_secret_is_in_any_error_or_log(
    kind: Credentials, answer: Answer | Exception, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LookbookError) as caught:
        a_shop(answer, credentials=lambda: kind)[0].glance([SHIRT])
    told = words_of(caught.value) + caplog.text + "".join(capsys.readouterr())
    assert TOKEN not in told
    assert SECRET not in told


def test_a_token_with_a_line_break_after_it_can_be_sent() -> None:
    shop, wire, _ = a_shop(DESCRIBED, credentials=lambda: AdminToken(f"{TOKEN}\r\n"))
    shop.describe()
    assert wire.tokens() == [TOKEN]


# --- product ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["632910392", " 632910392 ", "gid://shopify/Product/632910392"])
def test_a_product_is_named_by_its_number_or_global_id(text: str) -> None:
    assert product_gid(text) == "gid://shopify/Product/632910392"


@pytest.mark.parametrize(
    "text", ["", "shirt", "0", "-1", "12x", "gid://shopify/ProductVariant/1", "1\n2", "٣", "9" * 99]
)
def test_anything_else_is_no_product(text: str) -> None:
    with pytest.raises(InputError, match="632910392"):
        product_gid(text)
