"""The stand-in of Shopify's shops speaks a part of the real schema, keeps its limits, and fails as it is asked to."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from graphql import (
    GraphQLNamedType,
    GraphQLSchema,
    build_client_schema,
    build_schema,
    find_breaking_changes,
    print_ast,
)
from PIL import Image

from local.cloud import free_port
from tests.integration.standin_server import ROOT, StandIn, clean

CONTRACT = ROOT / "../shared/contracts/shopify-admin-2026-10.json.gz"
SHOP = "store-one.myshopify.com"
TOKEN = "an-admin-token"
VERSION = "2026-10"

PRODUCT = """
query Product($id: ID!) {
  nodes(ids: [$id]) { ... on Product { title updatedAt mediaCount { count }
    media(first: 50) { nodes { id alt status mediaErrors { code message } ... on MediaImage { image { url } } } } } }
}"""
ADD = """
mutation Add($id: ID!, $media: [CreateMediaInput!]) {
  productUpdate(product: {id: $id}, media: $media) {
    product { media(last: 250) { nodes { id } } }
    userErrors { field message }
  }
}"""
CREATE = """
mutation Create($files: [FileCreateInput!]!) {
  fileCreate(files: $files) { files { id alt fileStatus } userErrors { field message code } }
}"""
UPDATE = """
mutation Update($files: [FileUpdateInput!]!) {
  fileUpdate(files: $files) { files { id alt } userErrors { field message code } }
}"""
DELETE = (
    "mutation Delete($ids: [ID!]!) { fileDelete(fileIds: $ids) { deletedFileIds userErrors { field message code } } }"
)
REORDER = """
mutation Reorder($id: ID!, $moves: [MoveInput!]!) {
  productReorderMedia(id: $id, moves: $moves) { mediaUserErrors { field code } }
}"""
NODES = """
query Nodes($ids: [ID!]!) {
  nodes(ids: $ids) { id ... on MediaImage { alt fileStatus fileErrors { code message } image { url } } }
}"""
STAGE = """
mutation Stage($input: [StagedUploadInput!]!) {
  stagedUploadsCreate(input: $input) {
    stagedTargets { url resourceUrl parameters { name value } } userErrors { field message }
  }
}"""


def drawn(colour: str = "red", size: tuple[int, int] = (60, 80), kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def own(colour: str = "red", **more: Any) -> dict[str, Any]:
    """A picture of the merchant's own."""
    return {"base64": base64.b64encode(drawn(colour)).decode(), "filename": f"{colour}.jpg", "alt": colour, **more}


class Shops(StandIn):
    """The stand-in, with calls to one shop."""

    def make(self, shop: str = SHOP, **more: Any) -> dict[str, Any]:
        settings = {"tokens": [TOKEN], "processing_seconds": 0.1, **more}
        answer = self.ask("POST", "/_shops", json={"shop": shop, **settings})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def with_product(self, *pictures: dict[str, Any], **more: Any) -> str:
        """The id of the one product that a new shop has."""
        parts = {name: more.pop(name) for name in ("handle", "variants") if name in more}
        made = self.make(products=[{"title": "Shirt", "pictures": pictures, **parts}], **more)
        return str(made["products"][0]["id"])

    def hand(self, method: str, path: str = "", **more: Any) -> requests.Response:
        answer = self.ask(method, f"/_shops/{SHOP}{path}", **more)
        assert answer.ok, answer.text
        return answer

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.hand("GET").json()
        return found

    def media(self, name: str = "id") -> list[Any]:
        return [picture[name] for picture in self.state()["products"][0]["media"]]

    def send(self, query: str, variables: dict[str, Any] | None = None, **more: Any) -> requests.Response:
        path = f"/{more.pop('shop', SHOP)}/admin/api/{more.pop('version', VERSION)}/graphql.json"
        headers = {"X-Shopify-Access-Token": more.pop("token", TOKEN)}
        return self.ask("POST", path, json={"query": query, "variables": variables or {}}, headers=headers, **more)

    def product(self, product: str) -> dict[str, Any]:
        [found] = self.data(PRODUCT, id=product)
        return dict(found)

    def answer(self, query: str, /, **variables: Any) -> dict[str, Any]:
        response = self.send(query, variables)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def data(self, query: str, /, **variables: Any) -> Any:
        """What the first field answers."""
        body = self.answer(query, **variables)
        assert "errors" not in body, body
        return next(iter(body["data"].values()))

    def codes(self, query: str, /, **variables: Any) -> list[str]:
        """The codes of a mutation's user errors."""
        payload = self.data(query, **variables)
        errors = payload.get("userErrors") or payload.get("mediaUserErrors") or []
        return [error["code"] for error in errors]

    def refusal(self, query: str, /, **variables: Any) -> str:
        """The code of a query's error."""
        body = self.answer(query, **variables)
        return str(body["errors"][0].get("extensions", {}).get("code"))

    def add(self, product: str, *sources: str, **more: Any) -> list[str]:
        """The ids of new pictures."""
        media = [{"originalSource": source, "mediaContentType": "IMAGE", **more} for source in sources]
        payload = self.data(ADD, id=product, media=media)
        assert payload["userErrors"] == []
        return [node["id"] for node in payload["product"]["media"]["nodes"]][-len(sources) :]

    def create(self, *sources: str, **more: Any) -> list[str]:
        payload = self.data(CREATE, files=[{"originalSource": source, **more} for source in sources])
        assert payload["userErrors"] == []
        return [file["id"] for file in payload["files"]]

    def ended(self, *pictures: str) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            nodes: list[dict[str, Any]] = self.data(NODES, ids=list(pictures))
            if all(node["fileStatus"] in ("READY", "FAILED") for node in nodes):
                return nodes
            time.sleep(0.03)
        raise AssertionError(f"{pictures} did not end")

    def statuses(self, *pictures: str) -> list[str]:
        return [node["fileStatus"] for node in self.ended(*pictures)]

    def stage(self) -> dict[str, Any]:
        given = {"filename": "coat.png", "mimeType": "image/png", "resource": "IMAGE", "httpMethod": "POST"}
        payload = self.data(STAGE, input=[given])
        assert payload["userErrors"] == []
        target: dict[str, Any] = payload["stagedTargets"][0]
        return target

    def grant(self, shop: str = SHOP, **form: str) -> requests.Response:
        given = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret", **form}
        return self.ask("POST", f"/{shop}/admin/oauth/access_token", data=given)


@pytest.fixture(scope="module")
def process() -> Iterator[Shops]:
    with Shops.started("shop") as server:
        yield server


@pytest.fixture(scope="module")
def host() -> Iterator[StandIn]:
    with StandIn.started("pictures") as server:
        yield server


@pytest.fixture
def shops(process: Shops) -> Shops:
    return clean(process)


def gid(kind: str, number: int = 1) -> str:
    return f"gid://shopify/{kind}/{number}"


# ---------------------------------------------------------------------- the schema


def spoken() -> GraphQLSchema:
    return build_schema((ROOT / "local/standins/shop/shop.graphql").read_text())


@pytest.fixture(scope="module")
def real() -> GraphQLSchema:
    if not CONTRACT.exists():
        pytest.skip("Shopify's schema is not part of the repository")
    with gzip.open(CONTRACT) as file:
        read = json.load(file)
    return build_client_schema(read.get("data", read))


def parts(kind: GraphQLNamedType) -> dict[str, Any]:
    """A type's fields with their arguments, or its values."""
    named: dict[str, Any] = getattr(kind, "fields", {}) | getattr(kind, "values", {})
    arguments = {
        f"{name}.{each}": one for name, part in named.items() for each, one in getattr(part, "args", {}).items()
    }
    return named | arguments


def described(part: Any) -> tuple[str, str]:
    """What a part is: its type, and its default."""
    default = getattr(part, "default", None)
    return str(getattr(part, "type", "")), print_ast(default.literal) if default and default.literal else ""


def test_every_part_of_the_schema_is_the_real_one(real: GraphQLSchema) -> None:
    ours = spoken()

    # What one could ask of ours one can ask of the real one
    breaking = [change for change in find_breaking_changes(ours, real) if "DIRECTIVE" not in change.type.name]
    assert breaking == []

    # And it is the same there, and not deprecated
    for name, kind in ours.type_map.items():
        there = parts(real.type_map[name])
        for each, part in parts(kind).items() if not name.startswith("__") else ():
            assert (name, each, described(part)) == (name, each, described(there[each]))
            assert there[each].deprecation_reason is None, f"{name}.{each}"


def test_the_roots_are_the_real_ones(real: GraphQLSchema) -> None:
    roots = [(schema.query_type, schema.mutation_type) for schema in (spoken(), real)]

    assert [[str(root) for root in pair] for pair in roots] == [["QueryRoot", "Mutation"]] * 2


def test_what_is_deprecated_or_unknown_is_no_query(shops: Shops) -> None:
    shops.make()

    bodies = [
        shops.answer("{ nodes(ids: []) { ... on Product { images(first: 1) { nodes { id } } } } }"),
        shops.answer("{ nothing }"),
        shops.answer("{"),
    ]

    assert all(set(body) == {"errors"} for body in bodies)
    assert "images" in bodies[0]["errors"][0]["message"]


def test_numbers_of_64_bits_are_strings(shops: Shops) -> None:
    product = shops.with_product(own())

    moves = [[{"id": gid("MediaImage"), "newPosition": one}] for one in (0, "x")]

    assert [shops.refusal(REORDER, id=product, moves=one) for one in moves] == ["INVALID_VARIABLE"] * 2


# ---------------------------------------------------------------------- tokens and scopes


def test_without_a_token_of_the_shop_nothing_is_said(shops: Shops) -> None:
    shops.make()
    shops.make("other.myshopify.com", tokens=["another-token"])

    refusals = [shops.send("{ shop { name } }", token=token) for token in ("", "wrong", "another-token")]

    said = "[API] Invalid API key or access token (unrecognized login or wrong password)"
    assert [(answer.status_code, answer.json()) for answer in refusals] == [(401, {"errors": said})] * 3
    assert shops.send("{ shop { name } }", token="another-token", shop="other.myshopify.com").status_code == 200
    assert shops.send("{ shop { name } }", shop="nobody.myshopify.com").status_code == 404
    assert shops.send("{ shop { name } }", version="2026-07").status_code == 404


def test_a_token_is_granted_for_credentials_and_lives_until_it_expires_or_is_revoked(shops: Shops) -> None:
    shops.make(client_id="app", client_secret="secret")

    def works(token: str) -> bool:
        return shops.send("{ shop { name } }", token=token).status_code == 200

    # A token is granted for a day, and all are revoked at once
    granted = shops.grant().json()
    token = granted["access_token"]
    assert granted == {"access_token": token, "scope": "write_products,write_files", "expires_in": 86399}
    assert (works(token), works(TOKEN), shops.state()["tokens_granted"]) == (True, True, 1)
    shops.hand("POST", "/revoke")
    assert (works(token), works(TOKEN)) == (False, False)

    # A new one ends by itself
    shops.hand("PATCH", json={"token_seconds": 0.5})
    token = shops.grant().json()["access_token"]
    assert works(token)
    time.sleep(0.6)
    assert not works(token)


def test_credentials_may_be_refused(shops: Shops) -> None:
    # Given one app in a shop, and another in a shop elsewhere
    shops.make(client_id="app", client_secret="secret")
    shops.make("elsewhere.myshopify.com", client_id="stranger", client_secret="secret")

    refusals = [
        shops.grant(client_secret="wrong"),
        shops.grant(client_id="unknown"),
        shops.grant(client_id="stranger"),
        shops.grant(grant_type="password"),
    ]

    assert {answer.status_code for answer in refusals} == {400}
    errors = ["invalid_client", "invalid_client", "shop_not_permitted", "unsupported_grant_type"]
    assert [answer.json()["error"] for answer in refusals] == errors


@pytest.mark.parametrize(
    ("scopes", "query", "allowed"),
    [
        (["read_products"], "{ productVariants(first: 1) { nodes { sku } } }", True),
        (["write_products"], "{ productVariants(first: 1) { nodes { sku } } }", True),
        (["write_files"], "{ productVariants(first: 1) { nodes { sku } } }", False),
        ([], '{ nodes(ids: ["gid://shopify/Product/7"]) { id } }', False),
        (["read_products"], 'mutation { productUpdate(product: {id: "x"}) { userErrors { message } } }', False),
        (["read_files"], 'mutation { fileDelete(fileIds: ["x"]) { userErrors { message } } }', False),
        (["write_files"], 'mutation { fileUpdate(files: [{id: "x"}]) { userErrors { message } } }', True),
        (
            ["write_files"],
            'mutation { fileUpdate(files: [{id: "x", referencesToAdd: ["y"]}]) { userErrors { message } } }',
            False,
        ),
    ],
)
def test_scopes_are_enforced(shops: Shops, scopes: list[str], query: str, allowed: bool) -> None:
    shops.make(scopes=scopes, products=[{"id": 7, "title": "Shirt"}])

    body = shops.answer(query)

    denied = [error["extensions"]["code"] for error in body.get("errors", [])]
    assert denied == ([] if allowed else ["ACCESS_DENIED"])
    assert "cost" in body["extensions"]


def test_the_app_can_ask_for_its_scopes(shops: Shops) -> None:
    shops.make(title="One", scopes=["write_products", "read_files"])

    body = shops.answer("{ shop { name } currentAppInstallation { accessScopes { handle } } }")

    handles = [scope["handle"] for scope in body["data"]["currentAppInstallation"]["accessScopes"]]
    assert handles == ["read_files", "read_products", "write_products"]
    assert body["data"]["shop"] == {"name": "One"}


# ---------------------------------------------------------------------- products


def test_products_have_variants_and_the_merchants_pictures(shops: Shops) -> None:
    product = shops.with_product(own("red"), own("green"), handle="shirt", variants=[{"sku": "S-1", "barcode": "111"}])

    found = shops.product(product)
    query = "{ productVariants(first: 9) { nodes { sku barcode product { id handle title } } } }"

    assert (found["title"], found["mediaCount"]) == ("Shirt", {"count": 2})
    media = found["media"]["nodes"]
    assert [(one["alt"], one["status"]) for one in media] == [("red", "READY"), ("green", "READY")]
    assert requests.get(media[0]["image"]["url"], timeout=5).content == drawn("red")
    assert shops.media("created_by") == ["merchant", "merchant"]
    of = {"id": product, "handle": "shirt", "title": "Shirt"}
    assert shops.data(query)["nodes"] == [{"sku": "S-1", "barcode": "111", "product": of}]


def test_nodes_are_null_where_there_is_nothing(shops: Shops) -> None:
    product = shops.with_product(own())
    [picture] = shops.media()

    body = shops.answer(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }",
        ids=[gid("Product", 1), product, product.replace("Product", "MediaImage"), picture, "nonsense"],
    )

    there = [{"__typename": "Product", "id": product}, {"__typename": "MediaImage", "id": picture}]
    assert body["data"]["nodes"] == [None, there[0], None, there[1], None]


MEDIA = """
query Media($id: ID!, $first: Int, $last: Int, $after: String) {
  nodes(ids: [$id]) { ... on Product { media(first: $first, last: $last, after: $after) {
    nodes { alt } pageInfo { hasNextPage endCursor }
  } } }
}"""


def test_pages_lead_through_a_list(shops: Shops) -> None:
    product = shops.with_product(own("red"), own("green"), own("blue"))

    def page(**asked: Any) -> tuple[list[str], bool, str]:
        [found] = shops.data(MEDIA, id=product, **asked)
        info = found["media"]["pageInfo"]
        return [node["alt"] for node in found["media"]["nodes"]], info["hasNextPage"], info["endCursor"]

    alts, more, cursor = page(first=2)
    assert (alts, more) == (["red", "green"], True)
    assert page(first=2, after=cursor)[:2] == (["blue"], False)
    assert page(last=2)[:2] == (["green", "blue"], False)


@pytest.mark.parametrize(
    "given", [{}, {"first": 1, "last": 1}, {"first": 0}, {"last": 251}, {"first": 1, "after": "x"}]
)
def test_pages_need_a_size_and_a_good_cursor(shops: Shops, given: dict[str, Any]) -> None:
    product = shops.with_product()

    body = shops.answer(MEDIA, id=product, **given)

    assert body["errors"][0]["path"] == ["nodes", 0, "media"]


# ---------------------------------------------------------------------- the life of a picture


def test_a_picture_is_uploaded_processed_and_ready(shops: Shops, host: StandIn) -> None:
    # Given a product with a picture of the merchant's
    product = shops.with_product(own(), processing_seconds=1.6)
    source = f"{host.url}/products/blue-shirt.jpg"
    before = shops.product(product)["updatedAt"]

    # When one is added
    shops.add(product, f"{source}?signature=1", alt="new")
    seen: list[tuple[str, bool]] = []
    dates = [before]
    for _ in range(100):
        found = shops.product(product)
        new = found["media"]["nodes"][-1]
        if not seen or seen[-1] != (new["status"], new["image"] is None):
            seen.append((new["status"], new["image"] is None))
        if found["updatedAt"] != dates[-1]:
            dates.append(found["updatedAt"])
        if new["status"] == "READY":
            break
        time.sleep(0.03)

    # Then it comes last, and has an address only when it is ready; the product changes twice
    assert [node["alt"] for node in found["media"]["nodes"]] == ["red", "new"]
    assert seen == [("UPLOADED", True), ("PROCESSING", True), ("READY", False)]
    assert dates == sorted(dates)
    assert len(dates) == 3
    assert "/cdn/files/blue-shirt.jpg?v=" in new["image"]["url"]
    content = requests.get(source, timeout=5).content
    assert requests.get(new["image"]["url"], timeout=5).content == content
    [_, kept] = shops.state()["products"][0]["media"]
    assert (kept["created_by"], kept["source"]) == ("productUpdate", source)
    assert kept["sha256"] == sha256(content).hexdigest()


def test_a_name_that_is_taken_gets_a_uuid(shops: Shops, host: StandIn) -> None:
    product = shops.with_product()
    sources = [f"{host.url}/products/{folder}/coat.jpg" for folder in ("a", "b")]

    pictures = shops.add(product, *sources)

    assert shops.statuses(*pictures) == ["READY", "READY"]
    first, second = sorted(shops.media("filename"))
    assert first == "coat.jpg"
    assert re.fullmatch(r"coat_[0-9a-f-]{36}\.jpg", second)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/html", "UNSUPPORTED_IMAGE_FILE_TYPE"),
        ("/missing", "IMAGE_DOWNLOAD_FAILURE"),
        ("/redirect-loop", "IMAGE_DOWNLOAD_FAILURE"),
        ("/huge-chunked", "INVALID_IMAGE_FILE_SIZE"),
    ],
)
def test_a_bad_source_is_seen_as_a_later_failure(shops: Shops, host: StandIn, path: str, code: str) -> None:
    product = shops.with_product()

    [picture] = shops.add(product, host.url + path)

    [node] = shops.ended(picture)
    assert (node["fileStatus"], node["image"]) == ("FAILED", None)
    assert [error["code"] for error in node["fileErrors"]] == [code]
    assert node["fileErrors"][0]["message"]
    [shown] = shops.product(product)["media"]["nodes"]
    assert (shown["status"], shown["mediaErrors"]) == ("FAILED", node["fileErrors"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (drawn(size=(5001, 4), kind="PNG"), "INVALID_IMAGE_RESOLUTION"),
        (drawn(size=(5000, 5001), kind="PNG"), "INVALID_IMAGE_RESOLUTION"),
        (drawn(size=(500, 500))[:900], "IMAGE_PROCESSING_FAILURE"),
        (drawn(kind="BMP"), "UNSUPPORTED_IMAGE_FILE_TYPE"),
        (drawn(kind="PNG"), None),
        (drawn(kind="WEBP"), None),
        (drawn(size=(5000, 5000)), None),
    ],
)
def test_pictures_are_judged_by_their_bytes(shops: Shops, data: bytes, code: str | None) -> None:
    shops.make()
    target = shops.stage()
    upload(target, data)

    [node] = shops.ended(*shops.create(target["resourceUrl"]))

    assert [error["code"] for error in node["fileErrors"]] == ([code] if code else [])
    assert node["fileStatus"] == ("FAILED" if code else "READY")


# ---------------------------------------------------------------------- files


def test_a_file_is_created_then_attached_detached_and_deleted(shops: Shops, host: StandIn) -> None:
    # Given a file of no product
    product = shops.with_product(own())
    [picture] = shops.create(f"{host.url}/products/coat.jpg", filename="front.jpg", alt="front")
    assert shops.statuses(picture) == ["READY"]
    address = shops.state()["files"][-1]["url"]

    # When it is attached, twice over, and described anew
    attach = {"id": picture, "referencesToAdd": [product], "alt": "better"}
    first = shops.data(UPDATE, files=[attach])
    shops.data(UPDATE, files=[attach])

    # Then it comes last and once; taken off it stays a file, deleted it is gone from everywhere
    assert first == {"files": [{"id": picture, "alt": "better"}], "userErrors": []}
    assert (shops.media("alt"), shops.media("filename")) == (["red", "better"], ["red.jpg", "front.jpg"])
    shops.data(UPDATE, files=[{"id": picture, "referencesToRemove": [product]}])
    assert (shops.media("alt"), len(shops.state()["files"])) == (["red"], 2)
    shops.data(UPDATE, files=[attach])
    assert shops.data(DELETE, ids=[picture]) == {"deletedFileIds": [picture], "userErrors": []}
    assert (shops.media("alt"), shops.data(NODES, ids=[picture])) == (["red"], [None])
    assert requests.get(address, timeout=5).status_code == 404


@pytest.mark.parametrize(
    ("file", "field", "code"),
    [
        ({"originalSource": "ftp://example.com/a.jpg"}, "originalSource", "INVALID_IMAGE_SOURCE_URL"),
        ({"originalSource": "a.jpg"}, "originalSource", "INVALID"),
        ({"filename": "a.png"}, "filename", "MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE"),
        ({"alt": "x" * 513}, "alt", "ALT_VALUE_LIMIT_EXCEEDED"),
    ],
)
def test_pictures_that_cannot_be_are_refused_with_the_rest(
    shops: Shops, file: dict[str, str], field: str, code: str
) -> None:
    product = shops.with_product()
    good = {"originalSource": "http://127.0.0.1:1/a.jpg"}

    created = shops.data(CREATE, files=[good, {**good, **file}])

    assert [(error["field"], error["code"]) for error in created["userErrors"]] == [(["files", "1", field], code)]
    if field != "filename":
        media = [{**one, "mediaContentType": "IMAGE"} for one in (good, {**good, **file})]
        added = shops.data(ADD, id=product, media=media)
        assert [error["field"] for error in added["userErrors"]] == [["media", "1", field]]
    assert shops.state()["files"] == []


@pytest.mark.parametrize("source", ["", "http://127.0.0.1:1/" + "x" * 2048])
def test_a_source_of_no_possible_length_is_an_error_of_the_whole(shops: Shops, source: str) -> None:
    shops.make()

    body = shops.answer(CREATE, files=[{"originalSource": source}])

    assert body["data"] == {"fileCreate": None}
    assert body["errors"][0]["extensions"]["code"] == "INVALID_FIELD_ARGUMENTS"


def test_files_that_are_unknown_or_not_ready_are_not_updated_nor_the_others(shops: Shops, host: StandIn) -> None:
    # Given a ready file, one that is processed, and one that failed
    product = shops.with_product(own(), processing_seconds=30)
    [ready] = shops.media()
    [pending] = shops.create(f"{host.url}/products/coat.jpg")
    shops.hand("PATCH", json={"processing_seconds": 0})
    [failed] = shops.create("http://127.0.0.1:1/a.jpg")
    assert shops.statuses(failed) == ["FAILED"]

    # When they are updated together with the ready one
    def codes(**other: Any) -> list[str]:
        return shops.codes(UPDATE, files=[{"id": ready, "alt": "changed"}, other])

    # Then there is one error for all, and nothing is changed
    assert codes(id=gid("MediaImage")) == ["FILE_DOES_NOT_EXIST"]
    assert codes(id=product) == ["FILE_DOES_NOT_EXIST"]
    assert codes(id=pending, alt="x") == ["NON_READY_STATE"]
    assert codes(id=failed, alt="x") == ["NON_READY_STATE"]
    assert codes(id=ready, alt="x" * 513) == ["ALT_VALUE_LIMIT_EXCEEDED"]
    assert codes(id=ready, referencesToAdd=[gid("Product")]) == ["REFERENCE_TARGET_DOES_NOT_EXIST"]
    assert shops.media("alt") == ["red"]


def test_a_product_takes_no_more_than_250_media_and_an_update_succeeds_in_part(shops: Shops) -> None:
    # Given a product with 249 media, and two pictures on another
    nowhere = "http://127.0.0.1:1/a.jpg"
    made = shops.make(
        restore_rate=1000, products=[{"title": "Full"}, {"title": "Shirt", "pictures": [own("red"), own("green")]}]
    )
    full, other = made["products"]
    red, green = (picture["id"] for picture in other["media"])
    shops.add(full["id"], *[nowhere] * 249)

    # When two more are added, then one, and then one of the pictures
    two = [{"originalSource": nowhere, "mediaContentType": "IMAGE"}] * 2
    refused = shops.data(ADD, id=full["id"], media=two)["userErrors"]
    shops.add(full["id"], nowhere)
    files = [{"id": red, "alt": "x", "referencesToAdd": [full["id"]]}, {"id": green, "alt": "y"}]
    payload = shops.data(UPDATE, files=files)

    # Then there is room for one only, and what is not about this product is updated
    assert [error["field"] for error in refused] == [["media"]]
    assert len(shops.media()) == 250
    assert [error["code"] for error in payload["userErrors"]] == ["PRODUCT_MEDIA_LIMIT_EXCEEDED"]
    assert payload["files"] == [{"id": green, "alt": "y"}]
    assert [file["alt"] for file in shops.state()["files"]][:2] == ["red", "y"]


def test_to_delete_an_unknown_file_deletes_none(shops: Shops) -> None:
    shops.with_product(own())
    [picture] = shops.media()

    payload = shops.data(DELETE, ids=[picture, gid("MediaImage")])

    [error] = payload["userErrors"]
    assert (payload["deletedFileIds"], error["code"]) == (None, "FILE_DOES_NOT_EXIST")
    assert error["message"] == f"File id {gid('MediaImage')} does not exist."
    assert shops.media() == [picture]


def test_media_are_reordered_by_moves_one_after_the_other(shops: Shops) -> None:
    # Given four pictures
    product = shops.with_product(own("red"), own("green"), own("blue"), own("black"))
    before = shops.state()["products"][0]["updated_at"]
    identifiers = dict(zip(shops.media("alt"), shops.media(), strict=True))

    # When they are moved
    moves = [("black", "0"), ("red", "2"), ("green", "99")]
    payload = shops.data(
        REORDER, id=product, moves=[{"id": identifiers[alt], "newPosition": place} for alt, place in moves]
    )
    at_once = shops.media("alt")
    time.sleep(0.4)

    # Then that happens, a little later
    assert payload["mediaUserErrors"] == []
    assert at_once == ["red", "green", "blue", "black"]
    assert shops.media("alt") == ["black", "red", "blue", "green"]
    assert shops.state()["products"][0]["updated_at"] > before


def test_only_media_of_the_product_are_moved(shops: Shops) -> None:
    product = shops.with_product(own())
    [file] = shops.create("http://127.0.0.1:1/a.jpg")

    def codes(product: str, picture: str) -> list[str]:
        return shops.codes(REORDER, id=product, moves=[{"id": picture, "newPosition": "0"}])

    assert codes(gid("Product"), file) == ["PRODUCT_DOES_NOT_EXIST"]
    assert codes(product, gid("MediaImage")) == ["MEDIA_DOES_NOT_EXIST"]
    assert codes(product, file) == ["MEDIA_DOES_NOT_EXIST_ON_PRODUCT"]


# ---------------------------------------------------------------------- staged uploads


def upload(target: dict[str, Any], data: bytes, **changed: str) -> requests.Response:
    form = {one["name"]: one["value"] for one in target["parameters"]} | changed
    return requests.post(target["url"], data=form, files={"file": ("any.png", data)}, timeout=10)


def test_staged_bytes_become_a_picture(shops: Shops) -> None:
    product = shops.with_product()
    target = shops.stage()

    uploaded = upload(target, drawn(kind="PNG"))
    [picture] = shops.add(product, target["resourceUrl"])

    assert uploaded.status_code == 201
    assert shops.statuses(picture) == ["READY"]
    assert (shops.media("filename"), shops.media("sha256")) == (["coat.png"], [sha256(drawn(kind="PNG")).hexdigest()])


def test_the_policy_of_a_staged_upload_is_kept(shops: Shops) -> None:
    shops.make()
    target = shops.stage()
    limit = 20 * 1024 * 1024

    refusals = [
        upload(target, b""),
        upload(target, bytes(limit + 1)),
        upload(target, b"x", **{"Content-Type": "image/jpeg"}),
        upload(target, b"x", key="another"),
    ]
    missing = shops.create(target["resourceUrl"])

    assert [answer.status_code for answer in refusals] == [400, 400, 403, 403]
    assert "EntityTooLarge" in refusals[1].text
    assert upload(target, bytes(limit)).status_code == 201
    assert shops.ended(*missing)[0]["fileErrors"][0]["code"] == "IMAGE_DOWNLOAD_FAILURE"


def test_only_pictures_are_staged_and_only_for_forms(shops: Shops) -> None:
    shops.make()
    good = {"filename": "a.png", "mimeType": "image/png", "resource": "IMAGE", "httpMethod": "POST"}

    payload = shops.data(STAGE, input=[good, {**good, "mimeType": "image/tiff"}, {**good, "httpMethod": "PUT"}])

    fields = [["input", "1", "mimeType"], ["input", "2", "httpMethod"]]
    assert [error["field"] for error in payload["userErrors"]] == fields
    assert [target["url"] is None for target in payload["stagedTargets"]] == [False, True, True]


# ---------------------------------------------------------------------- cost


def costs(shops: Shops, query: str, **variables: Any) -> tuple[float, float]:
    told = shops.answer(query, **variables)["extensions"]["cost"]
    return told["requestedQueryCost"], told["actualQueryCost"]


def test_queries_cost_what_shopifys_rules_say(shops: Shops) -> None:
    product = shops.with_product(own("red"), own("green"))
    media = shops.media()
    page = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Product { media(first: 10) { %s } } } }"

    assert costs(shops, "{ shop { name } again: shop { name } }") == (2, 2)
    assert costs(shops, page % "nodes { id } pageInfo { hasNextPage }", ids=[product]) == (1 + 2 + 10, 1 + 2 + 2)
    # An interface costs as the dearest of what it may be
    assert costs(shops, page % "nodes { ... on MediaImage { image { url } } }", ids=[product]) == (23, 7)
    assert costs(shops, NODES, ids=[*media, gid("Product")]) == (3 * 3, 2 * 2)
    assert costs(shops, "{ productVariants(first: 5) { nodes { sku product { id } } } }") == (2 + 5 * 2, 2 + 2)


def test_mutations_cost_ten_and_something_for_each_file(shops: Shops) -> None:
    product = shops.with_product(own("red"))
    [picture] = shops.media()
    one = {"originalSource": "http://127.0.0.1:1/a.jpg", "mediaContentType": "IMAGE"}

    assert costs(shops, ADD, id=product, media=[one] * 3) == (15.7, 15.7)
    assert costs(shops, UPDATE, files=[{"id": picture}]) == (11.9, 11.9)
    assert costs(shops, DELETE, ids=[picture]) == (11.9, 11.9)
    assert costs(shops, "mutation { fileDelete(fileIds: []) { deletedFileIds } }") == (10, 10)
    state = shops.state()
    assert state["points"]["total"] == 49.5
    assert state["mutations"] == {"productUpdate": 1, "fileUpdate": 1, "fileDelete": 2}


def test_who_asks_for_more_than_is_there_is_throttled_until_it_is_restored(shops: Shops) -> None:
    # Given a bucket of 100 points that gets 5 a second, and another shop
    shops.make(restore_rate=5)
    shops.make("other.myshopify.com")
    mutation = "mutation { fileDelete(fileIds: []) { deletedFileIds } }"

    # When a query of 91 is asked that returns nothing, then mutations until the bucket is empty
    told = shops.answer("{ productVariants(first: 89) { nodes { sku } } }")["extensions"]["cost"]
    while "errors" not in (body := shops.answer(mutation)):
        pass
    throttled = body["extensions"]["cost"]
    waited = (throttled["requestedQueryCost"] - throttled["throttleStatus"]["currentlyAvailable"]) / 5
    elsewhere = shops.send(mutation, shop="other.myshopify.com").json()
    time.sleep(max(0, waited) + 0.02)

    # Then the first got back what it did not need; the last got nothing, and all it needs after the wait
    assert (told["requestedQueryCost"], told["actualQueryCost"]) == (91, 2)
    assert [told["throttleStatus"][name] for name in ("maximumAvailable", "restoreRate")] == [100, 5]
    assert told["throttleStatus"]["currentlyAvailable"] >= 98
    assert ("data" in body, body["errors"][0]["extensions"]["code"]) == (False, "THROTTLED")
    assert (throttled["actualQueryCost"], 0 < waited < 2.1) == (None, True)
    assert "errors" not in elsewhere
    assert "errors" not in shops.answer(mutation)


def test_a_query_may_not_cost_more_than_1000_nor_bring_more_than_250_items(shops: Shops) -> None:
    product = shops.with_product()
    page = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Product { media(first: 100) { nodes { id } } } } }"
    files = [{"id": gid("MediaImage"), "referencesToAdd": [product] * 251}]

    assert "errors" not in shops.answer(page, ids=[product] * 9)
    assert shops.refusal(page, ids=[product] * 10) == "MAX_COST_EXCEEDED"
    assert shops.refusal(NODES, ids=[product] * 251) == "MAX_INPUT_SIZE_EXCEEDED"
    assert shops.refusal(UPDATE, files=files) == "MAX_INPUT_SIZE_EXCEEDED"


# ---------------------------------------------------------------------- faults


def test_a_call_may_be_throttled_either_way(shops: Shops) -> None:
    shops.make()
    shops.fail("throttled", count=1)
    shops.fail("throttled", count=1, status=429, seconds=2)

    answers = [shops.send("{ shop { name } }") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert [answer.json()["errors"][0]["extensions"]["code"] for answer in answers[:2]] == ["THROTTLED"] * 2
    assert answers[0].json()["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"] == 0
    assert answers[1].headers["Retry-After"] == "2.0"
    assert "errors" not in answers[2].json()


def test_faults_are_for_one_shop_one_operation_or_one_product(shops: Shops) -> None:
    # Given two shops
    product = shops.with_product()
    shops.make("other.myshopify.com")

    # When faults are for the other shop, for a field, for an operation, for a product
    shops.fail("5xx", shop="other.myshopify.com", status=502)
    shops.fail("5xx", operation="fileDelete", status=500)
    shops.fail("5xx", operation="Nodes", status=503)
    shops.fail("429", operation="Product", match=product)

    # Then they hit nothing else
    assert shops.send("{ shop { name } }").status_code == 200
    assert shops.send("{ shop { name } }", shop="other.myshopify.com").status_code == 502
    assert shops.send(DELETE, {"ids": []}).status_code == 500
    assert shops.send(NODES, {"ids": [product]}).status_code == 503
    assert [shops.send(PRODUCT, {"id": one}).status_code for one in (gid("Product"), product)] == [200, 429]
    assert shops.grant().status_code == 400
    assert shops.ask("POST", "/_faults", json={"kind": "flood"}).status_code == 400


def test_other_calls_than_the_api_fail_if_they_are_named(shops: Shops) -> None:
    shops.with_product(own(), client_id="app", client_secret="secret")
    address, target = shops.state()["files"][0]["url"], shops.stage()
    for call in ("token", "cdn", "upload"):
        shops.fail("5xx", on=call, count=1, status=503)

    answers = [shops.grant(), requests.get(address, timeout=5), upload(target, b"x")]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert [shops.grant().status_code, requests.get(address, timeout=5).status_code] == [200, 200]


def test_processing_may_fail(shops: Shops, host: StandIn) -> None:
    # Given faults for single pictures
    product = shops.with_product()
    shops.fail("processing_failed", count=1, match="/a.jpg", code="IMAGE_PROCESSING_FAILURE", message="as asked")
    shops.fail("processing_failed", count=1, match=product)

    # When pictures are added
    sources = [f"{host.url}/products/a.jpg", f"{host.url}/b.jpg", f"{host.url}/redirect?to=/products/c.jpg"]
    added = shops.add(product, *sources)

    # Then those end as was asked
    nodes = shops.ended(*added)
    assert [node["fileStatus"] for node in nodes] == ["FAILED", "FAILED", "READY"]
    assert nodes[0]["fileErrors"] == [{"code": "IMAGE_PROCESSING_FAILURE", "message": "as asked"}]
    assert nodes[1]["fileErrors"][0]["code"] == "IMAGE_DOWNLOAD_FAILURE"


def test_a_mutation_may_answer_any_user_error_and_do_nothing(shops: Shops) -> None:
    product = shops.with_product(own())
    [picture] = shops.media()
    shops.fail("user_error", count=1, operation="fileUpdate", code="FILE_LOCKED", message="busy")
    shops.fail("user_error", count=1, operation="productReorderMedia")
    shops.fail("user_error", count=1, operation="productUpdate", message="no")

    updated = shops.data(UPDATE, files=[{"id": picture, "alt": "changed"}])
    moved = shops.codes(REORDER, id=product, moves=[])
    added = shops.data(ADD, id=product, media=[])

    assert updated["userErrors"] == [{"field": None, "message": "busy", "code": "FILE_LOCKED"}]
    assert moved == ["INVALID"]
    assert (added["product"], added["userErrors"][0]["message"]) == (None, "no")
    assert (shops.media("alt"), shops.state()["mutations"]) == (["red"], {})


def test_an_update_may_fail_in_part(shops: Shops) -> None:
    shops.with_product(own("red"), own("green"), own("blue"))
    pictures = shops.media()
    shops.fail("partial", count=1)

    payload = shops.data(UPDATE, files=[{"id": one, "alt": str(place)} for place, one in enumerate(pictures, 1)])

    assert [(error["field"], error["code"]) for error in payload["userErrors"]] == [(["files", "2"], "FILE_LOCKED")]
    assert [file["id"] for file in payload["files"]] == pictures[:2]
    assert shops.media("alt") == ["1", "2", "blue"]


# ---------------------------------------------------------------------- by hand


def test_the_merchant_changes_things_by_hand(shops: Shops) -> None:
    # Given a product with two pictures
    product = shops.with_product(own("red"), own("green"))
    path = f"/products/{product.rpartition('/')[2]}"
    red, green = (f"/media/{picture.rpartition('/')[2]}" for picture in shops.media())
    dates = [shops.state()["products"][0]["updated_at"]]

    def alts() -> list[str]:
        """The order, after a change that the product's date shows."""
        dates.append(shops.state()["products"][0]["updated_at"])
        assert dates[-1] > dates[-2]
        return shops.media("alt")

    # When the merchant adds, describes and deletes, then each is seen
    shops.hand("POST", f"{path}/media", json=own("blue"))
    assert alts() == ["red", "green", "blue"]
    shops.hand("PATCH", red, json={"alt": "crimson"})
    assert alts() == ["crimson", "green", "blue"]
    shops.hand("DELETE", green)
    assert alts() == ["crimson", "blue"]
    shops.hand("DELETE", path)
    assert (shops.state()["products"], len(shops.state()["files"])) == ([], 2)


@pytest.mark.parametrize("given", [{"unknown": 1}, {"products": [{"title": "x", "pictures": [own(base64="AAAA")]}]}])
def test_shops_that_cannot_be_are_refused(shops: Shops, given: dict[str, Any]) -> None:
    answer = shops.ask("POST", "/_shops", json={"shop": "new.myshopify.com", **given})

    assert answer.status_code == 400
    assert answer.json()["errors"]
    assert shops.ask("GET", "/_shops/new.myshopify.com").status_code == 404


def test_shops_are_there_again_after_a_restart(tmp_path: Path, host: StandIn) -> None:
    # Given a shop that keeps its state, with a good, a bad, and an unfinished picture
    arguments = ("--folder", str(tmp_path), "--port", str(free_port()))
    with Shops.started("shop", *arguments) as shops:
        product = shops.with_product(own("red"), variants=[{"sku": "S1"}], client_id="app", client_secret="secret")
        good, bad = shops.add(product, f"{host.url}/products/a-shirt.jpg", f"{host.url}/missing")
        ended = shops.ended(good, bad)
        token = shops.grant().json()["access_token"]
        [late] = shops.add(product, f"{host.url}/products/late.jpg")
    # When it is started again
    with Shops.started("shop", *arguments) as shops:
        # Then all is as it was, and what was unfinished is ready
        assert shops.media("alt")[0] == "red"
        assert [node["fileStatus"] for node in shops.ended(good, bad, late)] == ["READY", "FAILED", "READY"]
        assert shops.ended(good, bad) == ended
        assert requests.get(ended[0]["image"]["url"], timeout=5).status_code == 200
        assert shops.send(PRODUCT, {"id": product}, token=token).status_code == 200
        # And new pictures have ids of their own
        [new] = shops.add(product, f"{host.url}/products/new.jpg")
        assert new not in {good, bad, late}
        assert len(shops.media()) == 5
