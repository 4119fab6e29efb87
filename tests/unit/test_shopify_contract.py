"""What we send to Shopify against its real schema: every document, every variable, and nothing that is deprecated."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphql
import pytest
import urllib3

from lookbook import shopify
from lookbook.shopify import AdminToken, Glance, Media, Shop, Variant
from tests.unit.fakes import Answer

SCHEMA = Path(__file__).parents[3] / "shared" / "contracts" / f"shopify-admin-{shopify.API_VERSION}.json.gz"
pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="Shopify's schema is not there; it is not ours to ship")

SHIRT = "gid://shopify/Product/1"
READY, FAILED, FILM = "gid://shopify/MediaImage/1", "gid://shopify/MediaImage/2", "gid://shopify/Video/3"
NOON = "2026-11-21T12:00:00Z"


# --- a shop's data, as resolvers of the schema ----------------------------------------------------------------------

PICTURE = {"__typename": "MediaImage", "mediaContentType": "IMAGE", "createdAt": NOON, "alt": "A shirt"}
FAULTS = [{"code": "IMAGE_DOWNLOAD_FAILURE", "message": "Not found"}]
MEDIA: list[dict[str, Any]] = [
    {**PICTURE, "id": READY, "status": "READY", "fileStatus": "READY", "image": {"url": "https://cdn/1.jpg"}},
    {**PICTURE, "id": FAILED, "status": "FAILED", "fileStatus": "FAILED", "mediaErrors": FAULTS, "fileErrors": FAULTS},
    {"__typename": "Video", "id": FILM, "alt": None, "mediaContentType": "VIDEO", "status": "READY"},
]


def media_page(_: Any, first: int = 0, after: str | None = None, last: int = 0, **__: Any) -> dict[str, Any]:
    if last:
        return {"nodes": MEDIA[-last:]}
    start = int(after or 0)
    page = MEDIA[start : start + min(first, 2)]
    return {"nodes": page, "pageInfo": {"hasNextPage": start + len(page) < len(MEDIA), "endCursor": str(start + 2)}}


PRODUCT = {
    "__typename": "Product",
    "id": SHIRT,
    "title": "Shirt",
    "handle": "shirt",
    "updatedAt": NOON,
    "mediaCount": {"count": 3},
    "media": media_page,
}
NODES = {each["id"]: each for each in (PRODUCT, *MEDIA)}
VARIANT = {"sku": "CJ1", "barcode": None, "product": PRODUCT}
MISSING = {"field": ["files", "0", "id"], "message": "No such file", "code": "FILE_DOES_NOT_EXIST"}
ROOT = {
    "shop": {"name": "Ours"},
    "currentAppInstallation": {"accessScopes": [{"handle": "write_products"}]},
    "nodes": lambda _, ids: [NODES.get(each) for each in ids],
    "productVariants": lambda _, **__: {"nodes": [VARIANT], "pageInfo": {"hasNextPage": False}},
    "productUpdate": lambda _, **__: {"userErrors": []},
    "productReorderMedia": lambda _, **__: {"mediaUserErrors": []},
    "fileDelete": lambda _, **given: {"deletedFileIds": given["fileIds"], "userErrors": []},
    "fileUpdate": lambda _, **__: {"userErrors": [MISSING]},
}


# --- the checks ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> graphql.GraphQLSchema:
    with gzip.open(SCHEMA) as file:
        return graphql.build_client_schema(json.load(file)["data"], assume_valid=True)


class NothingDeprecated(graphql.ValidationRule):
    """Finds what a document itself uses that is deprecated.

    graphql-core's own rule ends with an AttributeError at a deprecated argument of a schema that was introspected.
    """

    def judge(self, node: graphql.Node, used: Any) -> None:
        if used is not None and used.deprecation_reason is not None:
            self.report_error(graphql.GraphQLError(f"{graphql.print_ast(node)} is deprecated", node))

    def enter_field(self, node: graphql.FieldNode, *_: Any) -> None:
        self.judge(node, self.context.get_field_def())

    def enter_argument(self, node: graphql.ArgumentNode, *_: Any) -> None:
        self.judge(node, self.context.get_argument())

    def enter_object_field(self, node: graphql.ObjectFieldNode, *_: Any) -> None:
        kind: Any = graphql.get_named_type(self.context.get_parent_input_type())
        self.judge(node, kind.fields.get(node.name.value) if kind else None)

    def enter_enum_value(self, node: graphql.EnumValueNode, *_: Any) -> None:
        self.judge(node, self.context.get_enum_value())


RULES = [*graphql.specified_rules, NothingDeprecated]


def deprecated_in(value: Any, kind: Any) -> Iterator[str]:
    """Yield the deprecated input fields and enum values that a value of a variable uses."""
    kind = graphql.get_nullable_type(kind)
    if isinstance(kind, graphql.GraphQLList) and isinstance(value, list):
        for each in value:
            yield from deprecated_in(each, kind.of_type)
    elif isinstance(kind, graphql.GraphQLInputObjectType) and isinstance(value, dict):
        for name, given in value.items():
            if kind.fields[name].deprecation_reason is not None:
                yield f"{kind.name}.{name}"
            yield from deprecated_in(given, kind.fields[name].type)
    elif isinstance(kind, graphql.GraphQLEnumType) and kind.values[value].deprecation_reason is not None:
        yield f"{kind.name}.{value}"


def ask(schema: graphql.GraphQLSchema, text: str, variables: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return a shop's data, and what is wrong with the request: its document, its variables, what is deprecated."""
    document = graphql.parse(text)
    [operation] = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    declared = {each.variable.name.value: each.type for each in operation.variable_definitions or ()}
    found = [f"{name} is not declared" for name in variables.keys() - declared.keys()]
    found += [error.message for error in graphql.validate(schema, document, RULES)]
    if found:
        return None, found
    told = graphql.graphql_sync(schema, text, ROOT, variable_values=variables)
    if told.errors:
        return None, [error.message for error in told.errors]
    kinds: dict[str, Any] = {name: graphql.type_from_ast(schema, node) for name, node in declared.items()}
    return told.data, [each for name, value in variables.items() for each in deprecated_in(value, kinds[name])]


class Admin(urllib3.PoolManager):
    """Shopify's Admin API, as its schema has it; it answers only what is valid."""

    def __init__(self, schema: graphql.GraphQLSchema) -> None:
        super().__init__()
        self.schema = schema
        self.asked: list[str] = []

    def request(self, method: str, url: str, *_: Any, **more: Any) -> Any:
        assert (method, url) == ("POST", "https://example.myshopify.com/admin/api/2026-10/graphql.json")
        sent = json.loads(more["body"])
        self.asked.append(sent["query"])
        data, problems = ask(self.schema, sent["query"], sent["variables"])
        assert problems == []
        return Answer(200, {"data": data})


GOOD = Media(READY, "READY", "A shirt", "https://cdn/1.jpg", NOON, "", is_image=True)
BAD = Media(FAILED, "FAILED", "A shirt", "", NOON, "IMAGE_DOWNLOAD_FAILURE: Not found", is_image=True)
MOVIE = Media(FILM, "READY", "", "", "", "", is_image=False)
CALLS: list[tuple[Callable[[Shop], Any], Any, set[str]]] = [
    (lambda shop: shop.describe().missing, ("write_files",), {shopify.DESCRIBE}),
    (lambda shop: shop.glance([SHIRT, "gid://shopify/Product/2"]), {SHIRT: Glance(NOON, 3)}, {shopify.GLANCE}),
    (lambda shop: shop.read([SHIRT])[SHIRT].media, (GOOD, BAD, MOVIE), {shopify.READ, shopify.REASONS}),
    (lambda shop: shop.added([SHIRT], 2)[SHIRT].media, (BAD, MOVIE), {shopify.ADDED, shopify.REASONS}),
    (lambda shop: next(shop.variant_pages())[0], [Variant(SHIRT, "shirt", "Shirt", "CJ1", "")], {shopify.VARIANTS}),
    (lambda shop: shop.add_media(SHIRT, [("https://example.com/1.jpg", "A shirt")]), None, {shopify.ADD_MEDIA}),
    (lambda shop: shop.reorder(SHIRT, [(READY, 1), (FAILED, 0)]), None, {shopify.REORDER}),
    (lambda shop: shop.delete_files([READY, FAILED]), {}, {shopify.DELETE_FILES}),
    (lambda shop: shop.set_alts({READY: "A"}), {READY: "FILE_DOES_NOT_EXIST: No such file"}, {shopify.SET_ALTS}),
]


NAMES = ["describe", "glance", "read", "added", "variants", "add_media", "reorder", "delete_files", "set_alts"]


@pytest.mark.parametrize(("call", "told", "documents"), CALLS, ids=NAMES)
def test_what_we_send_is_valid_and_what_comes_back_is_understood(
    schema: graphql.GraphQLSchema, call: Callable[[Shop], Any], told: Any, documents: set[str]
) -> None:
    # Given a shop that answers as Shopify's schema says, and refuses what is not in it or deprecated
    admin = Admin(schema)
    shop = Shop("example.myshopify.com", "https://{shop}", lambda: AdminToken("token"), admin)

    # When it is called, then it is answered, and the answer is understood
    assert call(shop) == told
    assert set(admin.asked) == documents


def test_every_document_is_tried_here() -> None:
    assert {each for *_, documents in CALLS for each in documents} == set(shopify.DOCUMENTS)


@pytest.mark.parametrize(
    ("document", "variables", "told"),
    [
        ("query { products(first: 1) { nodes { nothing } } }", {}, "nothing"),
        ("query { product(id: 1) { featuredImage { id } } }", {}, "deprecated"),
        ("mutation($p: ProductInput!) { productUpdate(input: $p) { userErrors { field } } }", {"p": {}}, "deprecated"),
        (shopify.ADD_MEDIA, {"product": {"id": SHIRT}, "media": [{"originalSource": "https://x"}]}, "mediaContentType"),
        (shopify.ADD_MEDIA, {"product": {"id": SHIRT, "name": "x"}, "media": []}, "name"),
        ("mutation { productUpdate(input: {}) { userErrors { field } } }", {}, "deprecated"),
        ('mutation { customerSet(input: {id: "1"}) { userErrors { field } } }', {}, "deprecated"),
        ("query { products(first: 1, sortKey: NOTHING) { nodes { id } } }", {}, "NOTHING"),
        (shopify.GLANCE, {"ids": [SHIRT], "first": 1}, "first"),
        (shopify.GLANCE, {}, "ids"),
    ],
)
def test_what_is_not_valid_or_deprecated_would_be_found(
    schema: graphql.GraphQLSchema, document: str, variables: dict[str, Any], told: str
) -> None:
    _, problems = ask(schema, document, variables)
    assert any(told in problem for problem in problems)


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [("CustomerSetInput", {"id": "1"}, "CustomerSetInput.id"), ("CurrencyCode", "BYR", "CurrencyCode.BYR")],
)
def test_what_is_deprecated_in_a_variable_would_be_found(
    schema: graphql.GraphQLSchema, kind: str, value: Any, told: str
) -> None:
    assert list(deprecated_in([value], graphql.GraphQLList(schema.type_map[kind]))) == [told]
