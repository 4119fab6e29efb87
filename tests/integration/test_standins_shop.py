"""The stand-in of Shopify's shops speaks a part of the real schema, keeps its limits, and fails as it is asked to."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
import requests
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_client_schema,
    build_schema,
    is_required_argument,
    is_required_input_field,
    is_specified_scalar_type,
    print_ast,
)
from PIL import Image

from tests.integration.standin_server import ROOT, StandIn, clean

CONTRACT = ROOT / "../shared/contracts/shopify-admin-2026-10.json.gz"
SHOP = "store-one.myshopify.com"
TOKEN = "an-admin-token"
VERSION = "2026-10"

PRODUCT = """
query Product($id: ID!) {
  product(id: $id) {
    title updatedAt mediaCount { count precision } featuredMedia { id }
    media(first: 50) { nodes { id alt status mediaErrors { code message }
      ... on MediaImage { fileStatus mimeType image { url width height altText } originalSource { fileSize } } } }
  }
}"""
ADD = """
mutation Add($id: ID!, $media: [CreateMediaInput!]) {
  productUpdate(product: {id: $id}, media: $media) {
    product { media(first: 250) { nodes { id } } }
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
  productReorderMedia(id: $id, moves: $moves) { job { id done } mediaUserErrors { field code } }
}"""
NODES = """
query Nodes($ids: [ID!]!) {
  nodes(ids: $ids) { id ... on MediaImage { alt fileStatus fileErrors { code message } image { url } updatedAt } }
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
        settings = {"tokens": [TOKEN], "processing_seconds": 0.1, "job_seconds": 0.1, **more}
        answer = self.ask("POST", "/_shops", json={"shop": shop, **settings})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def with_product(self, *pictures: dict[str, Any], **more: Any) -> str:
        """The id of the one product that a new shop has."""
        return str(self.make(products=[{"title": "Shirt", "pictures": pictures}], **more)["products"][0]["id"])

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

    def stage(self, method: str = "POST", **more: Any) -> dict[str, Any]:
        given = {"filename": "coat.png", "mimeType": "image/png", "resource": "IMAGE", "httpMethod": method, **more}
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
    for shop in process.ask("GET", "/_shops").json()["shops"]:
        process.ask("DELETE", f"/_shops/{shop}")
    return clean(process)


def gid(kind: str, number: int = 1) -> str:
    return f"gid://shopify/{kind}/{number}"


# ---------------------------------------------------------------------------------------------------------------------
# The schema
# ---------------------------------------------------------------------------------------------------------------------


def spoken() -> GraphQLSchema:
    return build_schema((ROOT / "local/standins/shop.graphql").read_text())


@pytest.fixture(scope="module")
def real() -> GraphQLSchema:
    if not CONTRACT.exists():
        pytest.skip("Shopify's schema is not part of the repository")
    with gzip.open(CONTRACT) as file:
        read = json.load(file)
    return build_client_schema(read.get("data", read))


Typed = GraphQLArgument | GraphQLInputField


def default_of(part: Typed) -> str:
    return print_ast(part.default.literal) if part.default and part.default.literal else ""


def typed_differences(where: str, given: dict[str, Any], there: dict[str, Any]) -> Iterator[str]:
    """How arguments or input fields differ from the real ones; a required one must not be left out."""
    for name, part in given.items():
        if name not in there or str(part.type) != str(there[name].type) or there[name].deprecation_reason:
            yield f"{where}.{name}"
        elif default_of(part) != default_of(there[name]):
            yield f"{where}.{name}'s default"
    for name, part in there.items():
        needed = is_required_argument(part) if isinstance(part, GraphQLArgument) else is_required_input_field(part)
        if needed and name not in given:
            yield f"{where}.{name} is left out"


def field_differences(kind: Any, there: Any) -> Iterator[str]:
    interfaces = {interface.name for interface in there.interfaces}
    yield from (f"{kind.name} is no {one.name}" for one in kind.interfaces if one.name not in interfaces)
    for name, part in kind.fields.items():
        found = there.fields.get(name)
        if found is None or str(part.type) != str(found.type) or found.deprecation_reason:
            yield f"{kind.name}.{name}"
        else:
            yield from typed_differences(f"{kind.name}.{name}", part.args, found.args)


def test_every_part_of_the_schema_is_the_real_one(real: GraphQLSchema) -> None:
    differences: list[str] = []

    for name, kind in spoken().type_map.items():
        there = real.type_map.get(name)
        if type(there) is not type(kind):
            differences.append(name)
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            differences += [] if name.startswith("__") else field_differences(kind, there)
        elif isinstance(kind, GraphQLInputObjectType) and isinstance(there, GraphQLInputObjectType):
            differences += typed_differences(name, kind.fields, there.fields)
        elif isinstance(kind, GraphQLEnumType) and isinstance(there, GraphQLEnumType) and not name.startswith("__"):
            differences += [
                f"{name}.{value}"
                for value in kind.values
                if value not in there.values or there.values[value].deprecation_reason
            ]
        else:
            assert is_specified_scalar_type(kind) or name.startswith("__") or str(kind) == str(there)

    assert differences == []


def test_the_roots_are_the_real_ones(real: GraphQLSchema) -> None:
    roots = [(schema.query_type, schema.mutation_type) for schema in (spoken(), real)]

    assert [[str(root) for root in pair] for pair in roots] == [["QueryRoot", "Mutation"]] * 2


def test_what_is_deprecated_or_unknown_is_no_query(shops: Shops) -> None:
    shops.make()

    bodies = [shops.answer("{ product(id: 1) { images(first: 1) { nodes { id } } } }"), shops.answer("{ nothing }")]

    assert all(set(body) == {"errors"} for body in bodies)
    assert "images" in bodies[0]["errors"][0]["message"]


def test_numbers_of_64_bits_are_strings(shops: Shops) -> None:
    product = shops.with_product(own())

    moved = [
        shops.answer(REORDER, id=product, moves=[{"id": gid("MediaImage"), "newPosition": one}]) for one in (0, "x")
    ]

    assert [body["errors"][0]["extensions"]["code"] for body in moved] == ["INVALID_VARIABLE"] * 2


# ---------------------------------------------------------------------------------------------------------------------
# Tokens and scopes
# ---------------------------------------------------------------------------------------------------------------------


def test_without_a_token_of_the_shop_nothing_is_said(shops: Shops) -> None:
    shops.make()
    shops.make("other.myshopify.com", tokens=["another-token"])

    refusals = [shops.send("{ shop { name } }", token=token) for token in ("", "wrong", "another-token")]

    said = "[API] Invalid API key or access token (unrecognized login or wrong password)"
    assert [(answer.status_code, answer.json()) for answer in refusals] == [(401, {"errors": said})] * 3
    assert shops.send("{ shop { name } }", token="another-token", shop="other.myshopify.com").status_code == 200


def test_unknown_shops_and_other_versions_are_not_found(shops: Shops) -> None:
    shops.make()

    assert shops.send("{ shop { name } }", shop="nobody.myshopify.com").status_code == 404
    assert shops.send("{ shop { name } }", version="2026-07").status_code == 404
    assert shops.grant("nobody.myshopify.com").status_code == 404


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"query": 1}', b'{"query": "{a}", "variables": []}  '])
def test_bad_bodies_are_refused(shops: Shops, body: bytes) -> None:
    shops.make()
    path = f"/{SHOP}/admin/api/{VERSION}/graphql.json"

    answer = shops.ask("POST", path, data=body, headers={"X-Shopify-Access-Token": TOKEN})

    assert (answer.status_code == 400) == (body != b'{"query": "{a}", "variables": []}  ')
    assert answer.json()["errors"]


def test_a_token_is_granted_for_credentials_and_expires(shops: Shops) -> None:
    # Given an app's shop, where tokens are short-lived
    shops.make(client_id="app", client_secret="secret", token_seconds=1.5)

    granted = shops.grant()
    token = granted.json()["access_token"]
    fresh = shops.send("{ shop { name } }", token=token).status_code
    time.sleep(1.6)

    assert granted.json() == {"access_token": token, "scope": "write_products,write_files", "expires_in": 1}
    assert (fresh, shops.send("{ shop { name } }", token=token).status_code) == (200, 401)
    assert shops.state()["tokens_granted"] == 1


def test_a_token_lives_for_a_day_unless_it_is_revoked(shops: Shops) -> None:
    shops.make(client_id="app", client_secret="secret")
    granted = shops.grant().json()

    shops.hand("POST", "/revoke")

    assert granted["expires_in"] == 86399
    tokens = [granted["access_token"], TOKEN]
    assert [shops.send("{ shop { name } }", token=token).status_code for token in tokens] == [401, 401]
    assert shops.send("{ shop { name } }", token=shops.grant().json()["access_token"]).status_code == 200


def test_credentials_may_be_refused(shops: Shops) -> None:
    # Given one app in a shop, another in a shop elsewhere, and an app that is not of its shop's organisation
    shops.make(client_id="app", client_secret="secret")
    shops.make("elsewhere.myshopify.com", client_id="stranger", client_secret="secret")
    shops.make("foreign.myshopify.com", client_id="own", client_secret="secret", permitted=False)

    refusals = [
        shops.grant(client_secret="wrong"),
        shops.grant(client_id="unknown"),
        shops.grant(client_id="stranger"),
        shops.grant("foreign.myshopify.com", client_id="own"),
        shops.grant(grant_type="password"),
    ]

    assert {answer.status_code for answer in refusals} == {400}
    assert [answer.json()["error"] for answer in refusals] == [
        "invalid_client",
        "invalid_client",
        "shop_not_permitted",
        "shop_not_permitted",
        "unsupported_grant_type",
    ]


@pytest.mark.parametrize(
    ("scopes", "query", "allowed"),
    [
        (["read_products"], "{ products(first: 1) { nodes { id } } }", True),
        (["write_products"], "{ products(first: 1) { nodes { id } } }", True),
        (["write_files"], "{ products(first: 1) { nodes { id } } }", False),
        (["write_products"], "{ files(first: 1) { nodes { id } } }", False),
        (["read_files"], "{ files(first: 1) { nodes { id } } }", True),
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
    shops.make(scopes=["write_products", "read_files"])

    installation = shops.data("{ currentAppInstallation { accessScopes { handle } } }")

    handles = [scope["handle"] for scope in installation["accessScopes"]]
    assert handles == ["read_files", "read_products", "write_products"]


# ---------------------------------------------------------------------------------------------------------------------
# Products and searches
# ---------------------------------------------------------------------------------------------------------------------


def test_products_have_variants_and_the_merchants_pictures(shops: Shops) -> None:
    # Given a shop with a product, its pictures given as bytes and as an address
    other = shops.with_product(own("green"))
    address = shops.state()["products"][0]["media"][0]["url"]
    product = shops.with_product(own("red"), {"url": address, "alt": "from afar"})

    found = shops.data(PRODUCT, id=product)

    assert other != product
    assert (found["title"], found["mediaCount"]) == ("Shirt", {"count": 2, "precision": "EXACT"})
    red, green = found["media"]["nodes"]
    assert found["featuredMedia"] == {"id": red["id"]}
    assert [(one["alt"], one["status"], one["mimeType"]) for one in (red, green)] == [
        ("red", "READY", "image/jpeg"),
        ("from afar", "READY", "image/jpeg"),
    ]
    assert requests.get(red["image"]["url"], timeout=5).content == drawn("red")
    assert red["image"] == {"url": red["image"]["url"], "width": 60, "height": 80, "altText": "red"}
    assert red["originalSource"] == {"fileSize": len(drawn("red"))}
    assert [one["created_by"] for one in shops.state()["products"][0]["media"]] == ["merchant", "merchant"]


def test_nodes_are_null_where_there_is_nothing(shops: Shops) -> None:
    product = shops.with_product(own())
    [picture] = shops.media()
    ids = [gid("Product", 1), product, gid("MediaImage", int(product.rsplit("/", 1)[1])), picture, "nonsense"]

    body = shops.answer("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=ids)

    assert body["data"]["nodes"] == [
        None,
        {"__typename": "Product", "id": product},
        None,
        {"__typename": "MediaImage", "id": picture},
        None,
    ]


CATALOGUE = [
    {"title": "Green Hoodie", "handle": "hoodie", "variants": [{"sku": "H-1", "barcode": "111"}, {"sku": "H-2"}]},
    {"title": "Green Shirt", "handle": "shirt", "variants": [{"sku": "S-1", "barcode": "222"}]},
    {"title": "Blue Shirt", "handle": "shirt-blue", "status": "DRAFT", "variants": [{"sku": 'S "2"'}]},
]


@pytest.mark.parametrize(
    ("query", "handles"),
    [
        ("", ["hoodie", "shirt", "shirt-blue"]),
        ("sku:H-1", ["hoodie"]),
        ("sku:h-*", ["hoodie"]),
        ('sku:"S \\"2\\""', ["shirt-blue"]),
        ("barcode:222 OR sku:H-2", ["hoodie", "shirt"]),
        ("title:green", ["hoodie", "shirt"]),
        ("title:'green shirt'", ["shirt"]),
        ("title:gre* AND -sku:H-1", ["shirt"]),
        ("NOT (title:green OR handle:nothing)", ["shirt-blue"]),
        ("handle:shirt,hoodie status:active", ["hoodie", "shirt"]),
        ("status:DRAFT", ["shirt-blue"]),
        ("blue", ["shirt-blue"]),
        ("updated_at:>'2020-01-01T00:00:00Z'", ["hoodie", "shirt", "shirt-blue"]),
        ("created_at:<2020-01-01", []),
        ("sku:nothing", []),
    ],
)
def test_products_are_searched_as_shopify_does(shops: Shops, query: str, handles: list[str]) -> None:
    shops.make(products=CATALOGUE)

    found = shops.data("query ($query: String) { products(first: 9, query: $query) { nodes { handle } } }", query=query)

    assert [node["handle"] for node in found["nodes"]] == handles


def test_a_field_that_cannot_be_searched_by_finds_all_and_warns(shops: Shops) -> None:
    shops.make(products=CATALOGUE)

    body = shops.answer('{ products(first: 9, query: "colour:green") { nodes { id } } }')

    assert len(body["data"]["products"]["nodes"]) == 3
    assert body["extensions"]["search"][0]["warnings"][0]["field"] == "colour"


def test_variants_are_searched_and_lead_to_their_product(shops: Shops) -> None:
    shops.make(products=CATALOGUE)

    query = '{ productVariants(first: 9, query: "sku:S-1 OR barcode:111") { nodes { sku product { handle } } } }'
    found = shops.data(query)["nodes"]

    assert found == [{"sku": "H-1", "product": {"handle": "hoodie"}}, {"sku": "S-1", "product": {"handle": "shirt"}}]


PAGE = """
query Page($first: Int, $last: Int, $after: String, $before: String, $reverse: Boolean) {
  products(first: $first, last: $last, after: $after, before: $before, reverse: $reverse, sortKey: TITLE) {
    edges { cursor node { title } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""


@pytest.mark.parametrize("reverse", [False, True])
def test_pages_lead_through_a_list(shops: Shops, reverse: bool) -> None:
    # Given seven products
    titles = [f"Shirt {number}" for number in range(7)]
    shops.make(products=[{"title": title} for title in titles])

    # When they are read in threes
    pages: list[dict[str, Any]] = []
    after = None
    while not pages or pages[-1]["pageInfo"]["hasNextPage"]:
        pages.append(shops.data(PAGE, first=3, after=after, reverse=reverse))
        after = pages[-1]["pageInfo"]["endCursor"]

    # Then each comes once and in order, and the way back is the same
    read = [edge["node"]["title"] for page in pages for edge in page["edges"]]
    assert read == (titles[::-1] if reverse else titles)
    assert [page["pageInfo"]["hasPreviousPage"] for page in pages] == [False, True, True]
    assert shops.data(PAGE, last=3, before=pages[2]["pageInfo"]["startCursor"], reverse=reverse) == pages[1]


@pytest.mark.parametrize(
    "given", [{}, {"first": 1, "last": 1}, {"first": 0}, {"first": 251}, {"first": 1, "after": "x"}]
)
def test_pages_need_a_size_and_a_good_cursor(shops: Shops, given: dict[str, Any]) -> None:
    shops.make(products=CATALOGUE)

    body = shops.answer(PAGE, **given)

    assert body["data"] is None
    assert body["errors"][0]["path"] == ["products"]


def test_fields_of_a_product_can_be_changed(shops: Shops) -> None:
    made = shops.make(products=CATALOGUE)
    product = made["products"][0]["id"]
    change = (
        "mutation ($p: ProductUpdateInput) { productUpdate(product: $p) { product { title } userErrors { field } } }"
    )

    changed = shops.data(change, p={"id": product, "title": "Red Hoodie"})
    refused = [
        shops.data(change, p={"id": product, "title": ""}),
        shops.data(change, p={"id": product, "handle": "shirt"}),
        shops.data(change, p={"id": gid("Product", 1), "title": "x"}),
    ]

    assert changed == {"product": {"title": "Red Hoodie"}, "userErrors": []}
    assert [payload["userErrors"][0]["field"] for payload in refused] == [["title"], ["handle"], ["id"]]
    assert refused[2]["product"] is None
    assert shops.state()["products"][0]["updated_at"] > made["products"][0]["updated_at"]


# ---------------------------------------------------------------------------------------------------------------------
# The life of a picture
# ---------------------------------------------------------------------------------------------------------------------


def test_a_picture_is_uploaded_processed_and_ready(shops: Shops, host: StandIn) -> None:
    # Given a product with a picture of the merchant's
    product = shops.with_product(own(), processing_seconds=1.6)
    source = f"{host.url}/products/blue-shirt.jpg"
    before = shops.data(PRODUCT, id=product)["updatedAt"]

    # When one is added
    shops.add(product, f"{source}?signature=1", alt="new")
    seen: list[tuple[str, bool]] = []
    dates = [before]
    for _ in range(100):
        found = shops.data(PRODUCT, id=product)
        new = found["media"]["nodes"][-1]
        if not seen or seen[-1] != (new["fileStatus"], new["image"] is None):
            seen.append((new["fileStatus"], new["image"] is None))
        if found["updatedAt"] != dates[-1]:
            dates.append(found["updatedAt"])
        if new["fileStatus"] == "READY":
            break
        time.sleep(0.03)

    # Then it comes last, and has an address only when it is ready; the product changes twice
    assert [node["alt"] for node in found["media"]["nodes"]] == ["red", "new"]
    assert seen == [("UPLOADED", True), ("PROCESSING", True), ("READY", False)]
    assert dates == sorted(dates)
    assert len(dates) == 3
    assert "/cdn/files/blue-shirt.jpg?v=" in new["image"]["url"]
    assert requests.get(new["image"]["url"], timeout=5).content == requests.get(source, timeout=5).content
    [_, kept] = shops.state()["products"][0]["media"]
    assert (kept["created_by"], kept["operation"], kept["source"]) == ("app", "productUpdate", source)
    assert kept["sha256"] == sha256(requests.get(source, timeout=5).content).hexdigest()


def test_whole_seconds_are_as_coarse_as_shopifys(shops: Shops) -> None:
    product = shops.with_product(whole_seconds=True)

    assert len(shops.data(PRODUCT, id=product)["updatedAt"]) == len("2026-10-01T00:00:00Z")


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
        ("/huge", "INVALID_IMAGE_FILE_SIZE"),
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
    [shown] = shops.data(PRODUCT, id=product)["media"]["nodes"]
    assert (shown["status"], shown["mediaErrors"]) == ("FAILED", node["fileErrors"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (drawn(size=(5001, 4), kind="PNG"), "INVALID_IMAGE_RESOLUTION"),
        (drawn(size=(5000, 5001), kind="PNG"), "INVALID_IMAGE_RESOLUTION"),
        (drawn(size=(500, 500))[:900], "IMAGE_PROCESSING_FAILURE"),
        (drawn(kind="BMP"), "UNSUPPORTED_IMAGE_FILE_TYPE"),
        (drawn(kind="PNG"), None),
        (drawn(kind="GIF"), None),
        (drawn(kind="WEBP"), None),
        (drawn(size=(5000, 5000)), None),
    ],
)
def test_pictures_are_judged_by_their_bytes(shops: Shops, data: bytes, code: str | None) -> None:
    shops.make()
    target = shops.stage()
    form = {one["name"]: one["value"] for one in target["parameters"]}
    requests.post(target["url"], data=form, files={"file": data}, timeout=5)

    [node] = shops.ended(*shops.create(target["resourceUrl"]))

    assert [error["code"] for error in node["fileErrors"]] == ([code] if code else [])
    assert node["fileStatus"] == ("FAILED" if code else "READY")


def test_a_product_takes_no_more_than_250_media(shops: Shops, host: StandIn) -> None:
    # Given a product with 249 media
    product = shops.with_product(restore_rate=1000)
    source = f"{host.url}/missing"
    shops.add(product, *[source] * 249)
    one = {"originalSource": source, "mediaContentType": "IMAGE"}

    # When two more are added, then one
    refused = shops.data(ADD, id=product, media=[one, one])["userErrors"]
    taken = shops.data(ADD, id=product, media=[one])["userErrors"]

    assert ([error["field"] for error in refused], taken) == ([["media"]], [])
    assert len(shops.media()) == 250


@pytest.mark.parametrize(
    ("media", "field"),
    [
        ({"originalSource": "no address"}, "originalSource"),
        ({"originalSource": "ftp://example.com/a.jpg"}, "originalSource"),
        ({"alt": "x" * 513}, "alt"),
        ({"mediaContentType": "VIDEO"}, "mediaContentType"),
    ],
)
def test_media_that_cannot_be_are_refused_with_the_rest(shops: Shops, media: dict[str, str], field: str) -> None:
    product = shops.with_product()
    good = {"originalSource": "http://127.0.0.1:1/a.jpg", "mediaContentType": "IMAGE"}

    payload = shops.data(ADD, id=product, media=[good, {**good, **media}])

    assert [error["field"] for error in payload["userErrors"]] == [["media", "1", field]]
    assert shops.state()["files"] == []


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_a_file_is_created_then_attached_detached_and_deleted(shops: Shops, host: StandIn) -> None:
    # Given a file of no product
    product = shops.with_product(own())
    [picture] = shops.create(f"{host.url}/products/coat.jpg", filename="front.jpg", alt="front", contentType="IMAGE")
    assert shops.statuses(picture) == ["READY"]
    assert shops.media("alt") == ["red"]

    # When it is attached, twice over, and described anew
    attach = {"id": picture, "referencesToAdd": [product], "alt": "better"}
    first = shops.data(UPDATE, files=[attach])
    shops.data(UPDATE, files=[attach])

    # Then it comes last and once; taken off it stays a file, deleted it is gone from everywhere
    assert first == {"files": [{"id": picture, "alt": "better"}], "userErrors": []}
    assert (shops.media("alt"), shops.media("filename")) == (["red", "better"], ["red.jpg", "front.jpg"])
    address = shops.state()["files"][-1]["url"]
    shops.data(UPDATE, files=[{"id": picture, "referencesToRemove": [product]}])
    assert (shops.media("alt"), len(shops.state()["files"])) == (["red"], 2)
    shops.data(UPDATE, files=[attach])
    deleted = shops.data(DELETE, ids=[picture])
    assert deleted == {"deletedFileIds": [picture], "userErrors": []}
    assert shops.media("alt") == ["red"]
    assert shops.data(NODES, ids=[picture]) == [None]
    assert requests.get(address, timeout=5).status_code == 404


def test_files_are_listed_and_searched(shops: Shops, host: StandIn) -> None:
    product = shops.with_product(own())
    [picture] = shops.create(f"{host.url}/products/coat.jpg")
    shops.ended(picture)
    query = "query ($query: String) { files(first: 9, query: $query, sortKey: CREATED_AT) { nodes { id } } }"
    number = product.rsplit("/", 1)[1]

    searches = ["", "filename:coat.jpg", "used_in:none", f"product_id:{number}", "status:FAILED"]
    found = [[node["id"] for node in shops.data(query, query=one)["nodes"]] for one in searches]

    [mine] = shops.media()
    assert found == [[mine, picture], [picture], [picture], [mine], []]


def test_to_replace_keeps_the_file_and_its_alt(shops: Shops, host: StandIn) -> None:
    # Given a ready file
    shops.make()
    sources = [f"{host.url}/products/{folder}/coat.jpg" for folder in ("a", "b")]
    [old] = shops.create(sources[0], filename="coat.jpg", contentType="IMAGE", alt="old")
    shops.ended(old)

    # When a file of this name replaces it
    replacing = {"filename": "coat.jpg", "contentType": "IMAGE", "duplicateResolutionMode": "REPLACE", "alt": "new"}
    [new] = shops.create(sources[1], **replacing)

    # Then it is the same file with other bytes, and the alt text is not touched
    assert (new, shops.statuses(new)) == (old, ["READY"])
    [file] = shops.state()["files"]
    assert (file["alt"], file["filename"]) == ("old", "coat.jpg")
    assert file["sha256"] == sha256(requests.get(sources[1], timeout=5).content).hexdigest()


def test_a_name_that_must_be_new_fails_later(shops: Shops, host: StandIn) -> None:
    shops.with_product(own(filename="coat.jpg"))

    [picture] = shops.create(f"{host.url}/products/coat.jpg", duplicateResolutionMode="RAISE_ERROR")

    assert shops.ended(picture)[0]["fileErrors"][0]["code"] == "DUPLICATE_FILENAME_ERROR"


@pytest.mark.parametrize(
    ("file", "field", "code"),
    [
        ({"originalSource": "ftp://example.com/a.jpg"}, "originalSource", "INVALID_IMAGE_SOURCE_URL"),
        ({"originalSource": "a.jpg"}, "originalSource", "INVALID"),
        ({"filename": "a.png"}, "filename", "MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE"),
        ({"duplicateResolutionMode": "REPLACE"}, "filename", "MISSING_FILENAME_FOR_DUPLICATE_MODE_REPLACE"),
        (
            {"duplicateResolutionMode": "REPLACE", "filename": "b.jpg"},
            "duplicateResolutionMode",
            "INVALID_DUPLICATE_MODE_FOR_TYPE",
        ),
        ({"alt": "x" * 513}, "alt", "ALT_VALUE_LIMIT_EXCEEDED"),
        ({"contentType": "VIDEO"}, "contentType", "UNACCEPTABLE_ASSET"),
    ],
)
def test_files_that_cannot_be_are_refused_with_the_rest(
    shops: Shops, file: dict[str, str], field: str, code: str
) -> None:
    shops.make()
    good = {"originalSource": "http://127.0.0.1:1/a.jpg"}

    payload = shops.data(CREATE, files=[good, {**good, **file}])

    assert [(error["field"], error["code"]) for error in payload["userErrors"]] == [(["files", "1", field], code)]
    assert (payload["files"], shops.state()["files"]) == ([], [])


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
    shops.fail("processing_failed", count=1)
    shops.hand("PATCH", json={"processing_seconds": 0})
    [failed] = shops.create(f"{host.url}/products/coat.jpg")
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


def test_an_update_succeeds_in_part_where_a_product_is_full(shops: Shops, host: StandIn) -> None:
    # Given a full product, and two files
    full = shops.with_product(restore_rate=1000)
    shops.add(full, *[f"{host.url}/missing"] * 250)
    files = shops.create(f"{host.url}/products/a.jpg", f"{host.url}/products/b.jpg")
    shops.ended(*files)

    # When one is to be put there
    updates: list[dict[str, Any]] = [
        {"id": files[0], "alt": "a", "referencesToAdd": [full]},
        {"id": files[1], "alt": "b"},
    ]
    payload = shops.data(UPDATE, files=updates)

    # Then the other is updated
    assert [error["code"] for error in payload["userErrors"]] == ["PRODUCT_MEDIA_LIMIT_EXCEEDED"]
    assert payload["files"] == [{"id": files[1], "alt": "b"}]
    assert [file["alt"] for file in shops.state()["files"]][-2:] == ["", "b"]


def test_to_delete_an_unknown_file_deletes_none(shops: Shops) -> None:
    shops.with_product(own())
    [picture] = shops.media()

    payload = shops.data(DELETE, ids=[picture, gid("MediaImage")])

    assert (payload["deletedFileIds"], payload["userErrors"][0]["code"]) == (None, "FILE_DOES_NOT_EXIST")
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
    deadline = time.monotonic() + 5
    job = payload["job"]
    while not job["done"] and time.monotonic() < deadline:
        time.sleep(0.03)
        job = shops.data("query ($id: ID!) { job(id: $id) { id done } }", id=job["id"])

    # Then a job does it, a little later
    assert (payload["job"]["done"], payload["mediaUserErrors"]) == (False, [])
    assert at_once == ["red", "green", "blue", "black"]
    assert shops.media("alt") == ["black", "red", "blue", "green"]
    assert shops.state()["products"][0]["updated_at"] > before


def test_only_media_of_the_product_are_moved(shops: Shops, host: StandIn) -> None:
    product = shops.with_product(own())
    [file] = shops.create(f"{host.url}/products/a.jpg")

    def codes(product: str, picture: str) -> list[str]:
        return shops.codes(REORDER, id=product, moves=[{"id": picture, "newPosition": "0"}])

    assert codes(gid("Product"), file) == ["PRODUCT_DOES_NOT_EXIST"]
    assert codes(product, gid("MediaImage")) == ["MEDIA_DOES_NOT_EXIST"]
    assert codes(product, file) == ["MEDIA_DOES_NOT_EXIST_ON_PRODUCT"]


# ---------------------------------------------------------------------------------------------------------------------
# Staged uploads
# ---------------------------------------------------------------------------------------------------------------------


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
    assert requests.get(target["resourceUrl"], timeout=5).status_code == 403


def test_staged_bytes_may_be_put_as_well(shops: Shops) -> None:
    shops.make()
    target = shops.stage("PUT")
    wrong = requests.put(target["url"], data=drawn(kind="PNG"), headers={"Content-Type": "image/jpeg"}, timeout=5)

    right = requests.put(target["url"], data=drawn(kind="PNG"), headers={"Content-Type": "image/png"}, timeout=5)

    assert (wrong.status_code, right.status_code) == (403, 200)
    assert shops.statuses(*shops.create(target["resourceUrl"])) == ["READY"]


def test_the_policy_of_a_staged_upload_is_kept(shops: Shops) -> None:
    shops.make()
    target = shops.stage()
    limit = 20 * 1024 * 1024

    refusals = [
        upload(target, b""),
        upload(target, bytes(limit + 1)),
        upload(target, b"x", **{"Content-Type": "image/jpeg"}),
        upload(target, b"x", policy="another"),
        upload(target, b"x", key="another"),
    ]
    missing = shops.create(target["resourceUrl"])

    assert [answer.status_code for answer in refusals] == [400, 400, 403, 403, 403]
    assert "EntityTooLarge" in refusals[1].text
    assert upload(target, bytes(limit)).status_code == 201
    assert shops.ended(*missing)[0]["fileErrors"][0]["code"] == "IMAGE_DOWNLOAD_FAILURE"


def test_only_pictures_are_staged(shops: Shops) -> None:
    shops.make()
    good = {"filename": "a.png", "mimeType": "image/png", "resource": "IMAGE"}

    payload = shops.data(STAGE, input=[good, {**good, "mimeType": "image/tiff"}, {**good, "resource": "VIDEO"}])

    assert [error["field"] for error in payload["userErrors"]] == [
        ["input", "1", "mimeType"],
        ["input", "2", "resource"],
    ]
    assert [target["url"] is None for target in payload["stagedTargets"]] == [False, True, True]
    assert [one["name"] for one in payload["stagedTargets"][0]["parameters"]] == ["content_type", "acl"]


# ---------------------------------------------------------------------------------------------------------------------
# Cost
# ---------------------------------------------------------------------------------------------------------------------


def costs(shops: Shops, query: str, **variables: Any) -> tuple[float, float]:
    told = shops.answer(query, **variables)["extensions"]["cost"]
    return told["requestedQueryCost"], told["actualQueryCost"]


def test_queries_cost_what_shopifys_rules_say(shops: Shops) -> None:
    product = shops.with_product(own("red"), own("green"))
    media = shops.media()
    page = "query ($id: ID!) { product(id: $id) { id media(first: 10) { %s } } }"

    assert costs(shops, "{ shop { name myshopifyDomain } }") == (1, 1)
    assert costs(shops, "{ shop { name } again: shop { name } ... @skip(if: true) { third: shop { name } } }") == (2, 2)
    assert costs(shops, page % "nodes { id }", id=product) == (1 + 2 + 10, 1 + 2 + 2)
    assert costs(shops, page % "edges { cursor node { id } } pageInfo { hasNextPage }", id=product) == (13, 5)
    # An interface costs as the dearest of what it may be
    assert costs(shops, page % "nodes { id ... on MediaImage { image { url } } }", id=product) == (23, 7)
    assert costs(shops, NODES, ids=[*media, gid("Product")]) == (3 * 3, 2 * 2)
    assert costs(shops, "{ products(last: 2) { nodes { media(first: 5) { nodes { id } } } } }") == (
        2 + 2 * (1 + 7),
        2 + 5,
    )


def test_mutations_cost_ten_and_something_for_each_file(shops: Shops) -> None:
    product = shops.with_product(own("red"))
    [picture] = shops.media()
    one = {"originalSource": "http://127.0.0.1:1/a.jpg", "mediaContentType": "IMAGE"}
    plain = "mutation ($id: ID!, $media: [CreateMediaInput!]) { productUpdate(product: {id: $id}, media: $media) %s }"

    assert costs(shops, plain % "{ product { id } userErrors { field } }", id=product, media=[one] * 3) == (15.7, 15.7)
    listed = "{ product { media(first: 50) { nodes { id preview { status } } } } }"
    assert costs(shops, plain % listed, id=product) == (10 + 2 + 50 * 2, 10 + 2 + 4 * 2)
    assert costs(shops, UPDATE, files=[{"id": picture}]) == (11.9, 11.9)
    assert costs(shops, DELETE, ids=[picture]) == (11.9, 11.9)
    assert costs(shops, "mutation { fileDelete(fileIds: []) { deletedFileIds } }") == (10, 10)
    state = shops.state()
    assert state["points"]["by_operation"]["Update"] == 11.9
    assert state["points"]["total"] == sum(state["points"]["by_operation"].values())
    assert state["mutations"] == {"productUpdate": 2, "fileUpdate": 1, "fileDelete": 2}
    assert [charge["points"] for charge in shops.charges()][-2:] == [11.9, 10]


def test_who_asks_for_more_than_is_there_is_throttled_until_it_is_restored(shops: Shops) -> None:
    # Given a bucket of 100 points that gets 20 a second
    shops.make(restore_rate=20, bucket=100)
    query = "{ products(first: 89) { nodes { id } } }"

    # When a query of 91 is asked that returns nothing, then mutations until the bucket is empty
    told = shops.answer(query)["extensions"]["cost"]
    while "errors" not in (body := shops.answer('mutation { fileDelete(fileIds: ["x"]) { deletedFileIds } }')):
        pass
    throttled = body["extensions"]["cost"]
    waited = (throttled["requestedQueryCost"] - throttled["throttleStatus"]["currentlyAvailable"]) / 20
    time.sleep(max(0, waited) + 0.02)

    # Then the first got back what it did not need; the last got nothing, and all it needs after the wait
    assert (told["requestedQueryCost"], told["actualQueryCost"]) == (91, 2)
    assert told["throttleStatus"]["currentlyAvailable"] >= 98
    assert told["throttleStatus"] | {"currentlyAvailable": 0} == {
        "maximumAvailable": 100,
        "currentlyAvailable": 0,
        "restoreRate": 20,
    }
    assert "data" not in body
    assert [error["extensions"]["code"] for error in body["errors"]] == ["THROTTLED"]
    assert throttled["actualQueryCost"] is None
    assert 0 < waited < 0.6
    assert "errors" not in shops.answer('mutation { fileDelete(fileIds: ["x"]) { deletedFileIds } }')
    seen = shops.state()["throttled"]
    assert (seen["count"], abs(seen["times"][0] - time.time()) < 5) == (1, True)


def test_shops_have_buckets_of_their_own(shops: Shops) -> None:
    shops.make(restore_rate=0.001, bucket=1)
    shops.make("other.myshopify.com")

    first = [shops.refusal("{ shop { name } again: shop { name } }"), shops.state()["bucket"]]

    assert first == ["THROTTLED", 1]
    assert "data" in shops.send("{ shop { name } }", shop="other.myshopify.com").json()


def test_a_query_may_not_cost_more_than_1000(shops: Shops) -> None:
    shops.make()

    dear = shops.refusal("{ products(first: 250) { nodes { media(first: 5) { nodes { id } } } } }")

    assert dear == "MAX_COST_EXCEEDED"
    assert "errors" not in shops.answer("{ products(first: 250) { nodes { featuredMedia { id } } } }")
    assert shops.state()["points"]["total"] == 2


def test_an_input_may_not_have_more_than_250_items(shops: Shops) -> None:
    product = shops.with_product(own())
    [picture] = shops.media()
    file = {"originalSource": "http://127.0.0.1:1/a.jpg"}

    bodies = [
        shops.answer(CREATE, files=[file] * 251),
        shops.answer(NODES, ids=[product] * 251),
        shops.answer(UPDATE, files=[{"id": picture, "referencesToAdd": [product] * 251}]),
    ]

    assert [body["errors"][0]["extensions"]["code"] for body in bodies] == ["MAX_INPUT_SIZE_EXCEEDED"] * 3
    paths = [["fileCreate", "files"], ["nodes", "ids"], ["fileUpdate", "files", 0, "referencesToAdd"]]
    assert [body["errors"][0]["path"] for body in bodies] == paths
    assert all("data" not in body for body in bodies)
    assert len(shops.state()["files"]) == 1


def test_many_callers_are_served_at_once(shops: Shops) -> None:
    # Given a product
    product = shops.with_product(restore_rate=1000)

    # When twenty pictures are added by eight threads
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: shops.add(product, f"http://127.0.0.1:1/{number}.jpg"), range(20)))

    # Then none is lost
    state = shops.state()
    assert len({picture["source"] for picture in state["products"][0]["media"]}) == 20
    assert (state["requests"], state["mutations"]) == (20, {"productUpdate": 20})


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


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
    assert shops.state()["throttled"]["count"] == 2


def test_faults_are_for_one_shop_one_operation_or_one_product(shops: Shops) -> None:
    # Given two shops and two products
    made = shops.make(products=[{"title": "A"}, {"title": "B"}])
    shops.make("other.myshopify.com")
    first, second = (product["id"] for product in made["products"])

    # When faults are for the other shop, for a field, for an operation, for a product
    shops.fail("5xx", shop="other.myshopify.com", status=502)
    shops.fail("5xx", operation="fileDelete", status=500)
    shops.fail("5xx", operation="Nodes", status=503)
    shops.fail("429", operation="Product", match=second)

    # Then they hit nothing else
    assert shops.send("{ shop { name } }").status_code == 200
    assert shops.send("{ shop { name } }", shop="other.myshopify.com").status_code == 502
    assert shops.send(DELETE, {"ids": []}).status_code == 500
    assert shops.send(NODES, {"ids": [first]}).status_code == 503
    assert [shops.send(PRODUCT, {"id": one}).status_code for one in (first, second)] == [200, 429]
    assert shops.grant().status_code == 400


def test_other_calls_than_the_api_fail_if_they_are_named(shops: Shops) -> None:
    shops.with_product(own(), client_id="app", client_secret="secret")
    address = shops.state()["files"][0]["url"]
    for call in ("token", "cdn", "upload"):
        shops.fail("5xx", on=call, count=1, status=503)
    target = shops.stage()

    statuses = [
        shops.grant().status_code,
        requests.get(address, timeout=5).status_code,
        upload(target, b"x").status_code,
    ]

    assert statuses == [503, 503, 503]
    assert [shops.grant().status_code, requests.get(address, timeout=5).status_code] == [200, 200]


def test_an_answer_may_be_lost_after_the_mutation_was_done(shops: Shops, host: StandIn) -> None:
    product = shops.with_product()
    shops.fail("timeout_after_success", count=1, seconds=0.2, operation="productUpdate")

    with pytest.raises(requests.ConnectionError):
        shops.add(product, f"{host.url}/products/coat.jpg")

    assert shops.media("source") == [f"{host.url}/products/coat.jpg"]
    assert shops.state()["mutations"] == {"productUpdate": 1}


def test_answers_may_be_late_or_garbage(shops: Shops) -> None:
    shops.make()
    shops.fail("latency", count=1, seconds=0.3)
    before = time.monotonic()
    shops.answer("{ shop { name } }")
    passed = time.monotonic() - before
    shops.fail("garbage_json", count=1)

    answer = shops.send("{ shop { name } }")

    assert passed >= 0.3
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_processing_may_fail_or_take_long(shops: Shops, host: StandIn) -> None:
    # Given faults for single pictures
    product = shops.with_product()
    shops.fail("processing_failed", count=1, match="/a.jpg", code="IMAGE_PROCESSING_FAILURE", message="as asked")
    shops.fail("processing_failed", count=1, match=product, operation="productUpdate")
    shops.fail("slow_processing", count=1, match="/b.jpg", seconds=60)

    # When files are made
    failed, slow = shops.create(f"{host.url}/products/a.jpg", f"{host.url}/products/b.jpg")
    added = shops.add(product, f"{host.url}/products/c.jpg", f"{host.url}/products/d.jpg")

    # Then those end as was asked
    assert shops.ended(failed)[0]["fileErrors"] == [{"code": "IMAGE_PROCESSING_FAILURE", "message": "as asked"}]
    nodes = shops.ended(*added)
    assert [node["fileStatus"] for node in nodes] == ["FAILED", "READY"]
    assert nodes[0]["fileErrors"][0]["code"] == "IMAGE_DOWNLOAD_FAILURE"
    assert shops.data(NODES, ids=[slow])[0]["fileStatus"] in ("UPLOADED", "PROCESSING")


def test_a_mutation_may_answer_any_user_error_and_do_nothing(shops: Shops) -> None:
    product = shops.with_product(own())
    [picture] = shops.media()
    shops.fail("user_error", count=1, operation="fileUpdate", code="FILE_LOCKED", message="busy")
    shops.fail("user_error", count=1, operation="productReorderMedia", code="MEDIA_CANNOT_BE_MODIFIED")
    shops.fail("user_error", count=1, operation="productUpdate", message="no")

    updated = shops.data(UPDATE, files=[{"id": picture, "alt": "changed"}])
    moved = shops.codes(REORDER, id=product, moves=[])
    added = shops.data(ADD, id=product, media=[])

    assert updated["userErrors"] == [{"field": None, "message": "busy", "code": "FILE_LOCKED"}]
    assert moved == ["MEDIA_CANNOT_BE_MODIFIED"]
    assert (added["product"], added["userErrors"][0]["message"]) == (None, "no")
    assert (shops.media("alt"), shops.state()["mutations"]) == (["red"], {})


@pytest.mark.parametrize(("match", "changed"), [("", ["1", "2", "blue"]), ("second", ["1", "green", "3"])])
def test_an_update_may_fail_in_part(shops: Shops, match: str, changed: list[str]) -> None:
    # Given three pictures, and a fault for the last or for a certain one
    shops.with_product(own("red"), own("green"), own("blue"))
    pictures = shops.media()
    shops.fail("partial", count=1, match=pictures[1] if match else "")

    payload = shops.data(UPDATE, files=[{"id": one, "alt": str(place)} for place, one in enumerate(pictures, 1)])

    index = "1" if match else "2"
    assert [(error["field"], error["code"]) for error in payload["userErrors"]] == [(["files", index], "FILE_LOCKED")]
    assert [file["id"] for file in payload["files"]] == [one for one in pictures if one != pictures[int(index)]]
    assert shops.media("alt") == changed


def test_faults_that_make_no_sense_are_refused(shops: Shops) -> None:
    bodies = [{"kind": "flood"}, {"kind": "processing_failed", "code": "NO_SUCH_CODE"}]

    assert [shops.ask("POST", "/_faults", json=body).status_code for body in bodies] == [400, 400]
    shops.fail("throttled", shop="a", operation="b", count=2)
    [listed] = shops.ask("GET", "/_faults").json()["faults"]
    assert (listed["shop"], listed["operation"], listed["count"]) == ("a", "b", 2)


# ---------------------------------------------------------------------------------------------------------------------
# By hand
# ---------------------------------------------------------------------------------------------------------------------


def test_the_merchant_changes_things_by_hand(shops: Shops) -> None:
    # Given a product with two pictures
    product = shops.with_product(own("red"), own("green"))
    path = f"/products/{product}"
    number = path.replace("gid://shopify/Product/", "")
    red, green = shops.media()
    dates = [shops.state()["products"][0]["updated_at"]]

    def alts() -> list[str]:
        """The order, after a change that the product's date shows."""
        dates.append(shops.state()["products"][0]["updated_at"])
        assert dates[-1] > dates[-2]
        return shops.media("alt")

    # When the merchant adds, orders, describes, takes off and deletes, by either form of the id, then each is seen
    shops.hand("POST", f"{path}/media", json=own("blue", position=0))
    assert alts() == ["blue", "red", "green"]
    shops.hand("PUT", f"{number}/media", json={"order": [green, red.rsplit("/", 1)[1]]})
    assert alts() == ["green", "red", "blue"]
    shops.hand("PATCH", f"/media/{red}", json={"alt": "crimson"})
    assert alts() == ["green", "crimson", "blue"]
    shops.hand("DELETE", f"{path}/media/{green}")
    assert alts() == ["crimson", "blue"]
    assert len(shops.state()["files"]) == 3
    shops.hand("DELETE", f"/media/{red}")
    assert alts() == ["blue"]
    shops.hand("PATCH", path, json={"title": "Renamed"})
    assert alts() == ["blue"]
    assert shops.data(PRODUCT, id=product)["title"] == "Renamed"
    shops.hand("DELETE", number)
    assert shops.state()["products"] == []
    assert shops.hand("POST", "/products", json={"title": "Another"}).json()["handle"] == "another"


def test_a_shop_is_replaced_changed_and_closed(shops: Shops) -> None:
    shops.make(title="One", client_secret="a-client-secret", products=CATALOGUE)
    shops.make(title="Two")

    shops.hand("PATCH", json={"restore_rate": 10, "scopes": ["read_products"]})

    assert "a-client-secret" not in json.dumps(shops.state())
    assert (shops.state()["title"], shops.state()["products"]) == ("Two", [])
    body = shops.answer("{ shop { name myshopifyDomain url id } }")
    assert (body["data"]["shop"]["name"], body["data"]["shop"]["myshopifyDomain"]) == ("Two", SHOP)
    assert body["extensions"]["cost"]["throttleStatus"]["maximumAvailable"] == 200
    assert shops.ask("GET", "/_shops").json() == {"shops": [SHOP]}
    shops.hand("DELETE")
    assert shops.ask("GET", f"/_shops/{SHOP}").status_code == 404


@pytest.mark.parametrize(
    "given",
    [
        {"shop": "Not A Domain"},
        {"shop": SHOP, "unknown": 1},
        {"shop": SHOP, "products": [{"title": "x", "pictures": [{"alt": "nothing"}]}]},
        {"shop": SHOP, "products": [{"title": "x", "pictures": [{"base64": "AAAA"}]}]},
    ],
)
def test_shops_that_cannot_be_are_refused(shops: Shops, given: dict[str, Any]) -> None:
    answer = shops.ask("POST", "/_shops", json=given)

    assert answer.status_code == 400
    assert answer.json()["errors"]
    assert shops.ask("GET", "/_shops").json() == {"shops": []}


def test_every_request_may_take_a_while() -> None:
    with Shops.started("shop", "--latency", "0.3") as slow:
        slow.make()
        before = time.monotonic()

        slow.answer("{ shop { name } }")

        assert time.monotonic() - before >= 0.3
