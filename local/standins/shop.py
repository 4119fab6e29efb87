"""Stands in for Shopify's shops, any number of them: the Admin API, tokens, staged uploads, and the picture CDN.

What it knows of the protocol it has from Shopify's documentation and from the schema of API version 2026-10, of which
`shop.graphql` is the part spoken here. The first part of every path is the shop's domain:

    POST /{shop}/admin/oauth/access_token            the client credentials grant
    POST /{shop}/admin/api/2026-10/graphql.json
    POST /{shop}/staged-uploads/, or PUT below it    takes the bytes for a target of `stagedUploadsCreate`
    GET  /{shop}/cdn/files/{name}

Tests arrange shops and look into them, and the merchant's hand is theirs too (products and pictures are named by their
number or their global id):

    POST /_shops (NewShop), GET /_shops, and GET, PATCH (Settings), DELETE /_shops/{shop}
    POST /_shops/{shop}/revoke
    POST /_shops/{shop}/products (NewProduct), and PATCH (title, handle, status), DELETE …/products/{id}
    POST …/products/{id}/media (NewPicture), PUT …/products/{id}/media {"order": [ids]}, DELETE …/media/{id} to detach
    PATCH /_shops/{shop}/media/{id} {"alt": "…"}, and DELETE

Faults may also name a `shop` and an `operation` (the GraphQL operation's name, or a field of it such as `fileCreate`);
their `match` is sought in the query and its variables. A fault of the connection without `on` hits the GraphQL API;
`on` may be `token`, `upload` or `cdn` instead. Besides those that every stand-in has there are

    throttled           THROTTLED; with `status` 429 as HTTP 429, and Retry-After (`seconds`)
    processing_failed   a new picture ends as FAILED, with `code` and `message`
    slow_processing     a new picture takes `seconds`
    user_error          a mutation does nothing, and answers a user error with `code` and `message`
    partial             `fileUpdate` refuses the files that `match` is in (or the last one), and updates the others
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import re
import secrets
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import urllib3
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    build_schema,
    default_field_resolver,
    execute_sync,
    get_argument_values,
    get_directive_values,
    get_named_type,
    get_operation_ast,
    get_variable_values,
    is_abstract_type,
    is_leaf_type,
    is_object_type,
    parse,
    validate,
)
from graphql.execution.values import VariableValues
from PIL import Image, UnidentifiedImageError
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.standins.control import Control, Fault, parser, refusal, serve

API_VERSION = "2026-10"
MOST_INPUTS = 250  # items in one list of an input
MOST_MEDIA = 250  # media of a product
MOST_ALT = 512  # characters
MOST_POINTS = 1000  # cost of one query
MOST_BYTES = 20 * 1024 * 1024  # of a picture, and what a staged upload's policy admits
MOST_PIXELS = 25_000_000
MOST_SIDE = 5000  # pixels
MOST_SOURCE = 2048  # characters of a source's address
STAGED_SECONDS = 24 * 3600  # life of a staged upload's target

_KINDS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
_FETCHERS = 8  # threads
_FIRST_NUMBER = 8_000_000_000_001
_PICTURE_KINDS = ("processing_failed", "slow_processing")
_KINDS_OF_FAULT = ("throttled", *_PICTURE_KINDS, "user_error", "partial")
_CONNECTION_KINDS = ("latency", "429", "5xx", "timeout_after_success", "slow_body", "garbage_json")
_LISTS_OF_FILES = ("files", "media", "fileIds")  # arguments of mutations, each item of which costs
_MUTATION_COST = 10.0
_FILE_COST = 1.9
_DOCUMENTATION = "https://shopify.dev/api/usage/"

_PROCESSING_FAILURES = {
    "DUPLICATE_FILENAME_ERROR": "Media could not be created because a file with the same name already exists.",
    "IMAGE_DOWNLOAD_FAILURE": "Media could not be processed because the image could not be downloaded.",
    "IMAGE_PROCESSING_FAILURE": "Media could not be processed because the image could not be processed.",
    "INVALID_IMAGE_FILE_SIZE": "Media could not be created because the image size is too large.",
    "INVALID_IMAGE_RESOLUTION": "Media could not be created because the image's resolution exceeds the max limit.",
    "UNSUPPORTED_IMAGE_FILE_TYPE": "Media could not be created because the image is an unsupported file type.",
}

Item = TypeVar("Item")
Info = GraphQLResolveInfo[Any]
Shown = dict[str, Any]  # an object as GraphQL's fields find it: values, or what answers them when it is called


# ---------------------------------------------------------------------------------------------------------------------
# What tests arrange
# ---------------------------------------------------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Settings(_Body):
    """How a shop behaves; it can be changed at any time.

    `restore_rate` is in points a second; the bucket holds 20 times as many unless `bucket` says otherwise. Seconds are
    how long a picture is processed, a reorder job runs, and a granted token lives. `permitted` is whether the app is
    of the shop's organisation. Dates have milliseconds, so that each change shows; `whole_seconds` gives them as
    coarse as Shopify does.
    """

    title: str = ""
    scopes: list[str] = ["write_products", "write_files"]
    client_id: str = ""
    client_secret: str = ""
    permitted: bool = True
    restore_rate: float = 100
    bucket: float | None = None
    processing_seconds: float = 1.0
    job_seconds: float = 0.2
    token_seconds: float = 86399
    whole_seconds: bool = False


class NewPicture(_Body):
    """A picture of the merchant's own, ready at once: its bytes, or where they are."""

    base64: Base64Bytes | None = None
    url: str | None = None
    filename: str | None = None
    alt: str = ""
    position: int | None = None


class NewVariant(_Body):
    sku: str | None = None
    barcode: str | None = None
    title: str = "Default Title"


class NewProduct(_Body):
    id: int | None = None
    title: str
    handle: str = ""
    status: Literal["ACTIVE", "ARCHIVED", "DRAFT", "UNLISTED"] = "ACTIVE"
    variants: list[NewVariant] = [NewVariant()]
    pictures: list[NewPicture] = []


class NewShop(Settings):
    """A shop; `tokens` are Admin tokens that live until they are revoked."""

    shop: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    tokens: list[str] = []
    products: list[NewProduct] = []


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


class BadPictureError(Exception):
    """A picture that Shopify does not take; `code` is of FileErrorCode, and of MediaErrorCode."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or _PROCESSING_FAILURES.get(code, "Media could not be processed."))
        self.code = code


class Content(NamedTuple):
    """A picture's bytes, which lie in the store under their hash."""

    sha256: str
    size: int
    kind: str
    width: int
    height: int

    @property
    def mime(self) -> str:
        return f"image/{self.kind.lower()}"


class Store:
    """Bytes in files that are named by their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        name = sha256(data).hexdigest()
        file = self._folder / name
        if not file.exists():
            temporary = file.with_suffix(f".{uuid.uuid4()}")
            temporary.write_bytes(data)
            temporary.replace(file)
        return name

    def get(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def take_in(self, data: bytes) -> Content:
        """Judge a picture by its bytes, and keep it. Raises BadPictureError."""
        kind, width, height = judge(data)
        return Content(self.put(data), len(data), kind, width, height)


def judge(data: bytes) -> tuple[str, int, int]:
    """A picture's format, width and height. Raises BadPictureError, by the limits in Shopify's documentation."""
    if len(data) > MOST_BYTES:
        raise BadPictureError("INVALID_IMAGE_FILE_SIZE")
    try:
        with Image.open(io.BytesIO(data), formats=list(_KINDS)) as picture:
            kind, (width, height) = str(picture.format), picture.size
            if width * height <= MOST_PIXELS and max(width, height) <= MOST_SIDE:
                picture.load()
                return kind, width, height
    except UnidentifiedImageError as error:
        raise BadPictureError("UNSUPPORTED_IMAGE_FILE_TYPE") from error
    except Image.DecompressionBombError as error:
        raise BadPictureError("INVALID_IMAGE_RESOLUTION") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadPictureError("IMAGE_PROCESSING_FAILURE") from error
    raise BadPictureError("INVALID_IMAGE_RESOLUTION")


def fetch(url: str) -> bytes:
    """What is at an address, up to one byte more than a picture may have. Raises BadPictureError."""
    try:
        response = urllib3.request(
            "GET",
            url,
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=15),
            retries=urllib3.Retry(total=3, connect=0, read=0, status=0, other=0),
        )
        try:
            if response.status != 200:
                raise BadPictureError("IMAGE_DOWNLOAD_FAILURE")
            return response.read(MOST_BYTES + 1)
        finally:
            response.close()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise BadPictureError("IMAGE_DOWNLOAD_FAILURE") from error


def name_of(source: str) -> str:
    """The file name that a source's address brings, as Shopify writes it."""
    name = PurePosixPath(unquote(urlsplit(source).path)).name
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) or "image"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


@dataclass(eq=False)
class Processing:
    """What a picture still has before it: it is fetched, judged, and takes at least `seconds`."""

    source: str
    started: float
    seconds: float
    verdict: Content | BadPictureError | None = None
    judged: float = 0

    def ends(self) -> float | None:
        return None if self.verdict is None else max(self.started + self.seconds, self.judged)


@dataclass(eq=False)
class Picture:
    """A MediaImage. `wish` is the file name it was given, `mode` what happens if the shop has that name already."""

    number: int
    alt: str
    created: float
    created_by: Literal["app", "merchant"]
    operation: str | None
    source: str
    wish: str
    mode: str = "APPEND_UUID"
    processing: Processing | None = None
    content: Content | None = None
    failure: BadPictureError | None = None
    filename: str | None = None
    version: int = 0
    updated: float = 0
    products: list[Product] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"gid://shopify/MediaImage/{self.number}"

    def status(self, now: float) -> str:
        """UPLOADED, then PROCESSING, then READY or FAILED; only `Shop.settle` ends the processing."""
        if self.processing:
            half = self.processing.started + self.processing.seconds / 2
            return "UPLOADED" if now < half else "PROCESSING"
        return "FAILED" if self.failure else "READY"


# ---------------------------------------------------------------------------------------------------------------------
# Shops
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Variant:
    number: int
    sku: str | None
    barcode: str | None
    title: str
    position: int
    product: Product

    @property
    def id(self) -> str:
        return f"gid://shopify/ProductVariant/{self.number}"


@dataclass(eq=False)
class Product:
    """A product, its media in order."""

    number: int
    title: str
    handle: str
    status: str
    created: float
    updated: float
    variants: list[Variant] = field(default_factory=list)
    media: list[Picture] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"gid://shopify/Product/{self.number}"

    def touch(self, at: float) -> None:
        """The product was changed; its date moves on even if the clock does not."""
        self.updated = max(at, self.updated + 0.001)


@dataclass(eq=False)
class Job:
    """A reorder that happens at `due`."""

    id: str
    due: float
    product: Product
    moves: list[tuple[int, int]]
    done: bool = False


@dataclass(eq=False)
class Target:
    """A place for one staged upload; `stored` is the hash of its bytes once they have come."""

    key: str
    url: str
    resource_url: str
    mime: str
    method: str
    parameters: dict[str, str]
    created: float
    stored: str | None = None


class Bucket:
    """Points that leak back: each app has one in each shop."""

    def __init__(self, rate: float, most: float) -> None:
        self.rate = rate
        self.most = most
        self._level = most
        self._at = time.monotonic()

    def available(self) -> float:
        now = time.monotonic()
        self._level = min(self.most, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def take(self, points: float) -> bool:
        """Whether so many points were there, and are taken."""
        if self.available() < points:
            return False
        self._level -= points
        return True

    def give_back(self, points: float) -> None:
        self._level = min(self.most, self.available() + points)


@dataclass
class Tally:
    """What a shop was asked, for tests to see."""

    requests: int = 0
    tokens_granted: int = 0
    points: float = 0
    points_by_operation: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    throttled: list[float] = field(default_factory=list)


class Shop:
    """One shop's state. Used from one event loop only."""

    def __init__(self, name: str, settings: Settings, numbers: Iterator[int]) -> None:
        self.name = name
        self.settings = settings
        self.number = next(numbers)
        self.products: dict[int, Product] = {}
        self.pictures: dict[int, Picture] = {}
        self.by_filename: dict[str, Picture] = {}
        self.targets: dict[str, Target] = {}  # by resource URL
        self.jobs: dict[str, Job] = {}
        self.tokens: dict[str, float | None] = {}  # when they expire
        self.tally = Tally()
        self.bucket = Bucket(0, 0)
        self.fill_bucket()
        self._numbers = numbers
        self._pending: list[Picture] = []
        self._running: list[Job] = []

    def fill_bucket(self) -> None:
        rate = self.settings.restore_rate
        self.bucket = Bucket(rate, 20 * rate if self.settings.bucket is None else self.settings.bucket)

    @property
    def scopes(self) -> set[str]:
        """What the app may do; who may write may read."""
        given = set(self.settings.scopes)
        return given | {scope.replace("write_", "read_", 1) for scope in given if scope.startswith("write_")}

    def knows(self, token: str) -> bool:
        expires = self.tokens.get(token, 0.0)
        return expires is None or expires > time.time()

    # ------------------------------------------------------------------ products

    def add_product(self, new: NewProduct) -> Product:
        now = time.time()
        number = new.id or next(self._numbers)
        product = Product(number, new.title, self._free_handle(new.handle or new.title), new.status, now, now)
        for position, variant in enumerate(new.variants, 1):
            number = next(self._numbers)
            product.variants.append(Variant(number, variant.sku, variant.barcode, variant.title, position, product))
        self.products[product.number] = product
        return product

    def has_handle(self, handle: str) -> bool:
        return any(product.handle == handle for product in self.products.values())

    def _free_handle(self, text: str) -> str:
        handle = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "product"
        numbered = (f"{handle}-{number}" for number in itertools.count(1))
        return next(free for free in itertools.chain([handle], numbered) if not self.has_handle(free))

    def delete_product(self, product: Product) -> None:
        """Delete a product; its pictures stay as files."""
        for picture in list(product.media):
            self.detach(product, picture)
        del self.products[product.number]

    # ------------------------------------------------------------------ pictures

    def add_picture(self, picture: Picture) -> None:
        self.pictures[picture.number] = picture
        if picture.processing:
            self._pending.append(picture)
        else:
            self._name(picture)

    def process_again(self, picture: Picture, processing: Processing) -> None:
        """Put other content in place of a picture's, at the same address."""
        if picture.processing is None:
            self._pending.append(picture)
        picture.processing = processing
        self.changed(picture, processing.started)

    def changed(self, picture: Picture, at: float) -> None:
        picture.updated = at
        for product in picture.products:
            product.touch(at)

    def attach(self, product: Product, picture: Picture, position: int | None = None) -> None:
        if picture not in product.media:
            product.media.insert(len(product.media) if position is None else position, picture)
            picture.products.append(product)
            product.touch(time.time())

    def detach(self, product: Product, picture: Picture) -> None:
        if picture in product.media:
            product.media.remove(picture)
            picture.products.remove(product)
            product.touch(time.time())

    def delete_picture(self, picture: Picture) -> None:
        """Delete a picture for ever; it leaves every product."""
        for product in list(picture.products):
            self.detach(product, picture)
        del self.pictures[picture.number]
        if picture.filename:
            del self.by_filename[picture.filename]
        if picture.processing:
            self._pending.remove(picture)

    def reorder(self, product: Product, moves: list[tuple[int, int]], seconds: float) -> Job:
        job = Job(f"gid://shopify/Job/{uuid.uuid4()}", time.time() + seconds, product, moves)
        self.jobs[job.id] = job
        self._running.append(job)
        return job

    def settle(self, now: float) -> None:
        """Let happen what is due by now: pictures are processed, jobs are done."""
        for picture in list(self._pending):
            ends = picture.processing.ends() if picture.processing else None
            if ends is not None and ends <= now:
                self._pending.remove(picture)
                self._finish(picture)
                self.changed(picture, ends)
        for job in [job for job in self._running if job.due <= now]:
            self._running.remove(job)
            self._run(job)

    def _finish(self, picture: Picture) -> None:
        verdict = picture.processing.verdict if picture.processing else None
        picture.processing, picture.failure = None, None
        taken = self.by_filename.get(picture.wish) not in (None, picture)
        if isinstance(verdict, Content) and picture.mode == "RAISE_ERROR" and taken:
            verdict = BadPictureError("DUPLICATE_FILENAME_ERROR")
        if isinstance(verdict, BadPictureError):
            picture.failure = verdict
        else:
            picture.content = verdict
            self._name(picture)

    def _name(self, picture: Picture) -> None:
        """Give a picture with content its place on the CDN: its own name, or one with a UUID if that is taken."""
        picture.version = int(time.time())
        if picture.filename or picture.content is None:
            return
        path = PurePosixPath(picture.wish)
        suffix = path.suffix or f".{_KINDS[picture.content.kind]}"
        name = path.stem + suffix
        picture.filename = f"{path.stem}_{uuid.uuid4()}{suffix}" if name in self.by_filename else name
        self.by_filename[picture.filename] = picture

    def _run(self, job: Job) -> None:
        """Apply moves one after the other, each to the order that the one before it left."""
        for number, position in job.moves:
            picture = self.pictures.get(number)
            if picture in job.product.media:
                job.product.media.remove(picture)
                job.product.media.insert(position, picture)
        job.done = True
        job.product.touch(job.due)


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class ShopFault(Fault):
    """A fault that may hit one shop or one operation only, and say what went wrong."""

    shop: str | None = None
    operation: str | None = None
    code: str | None = None
    message: str | None = None

    def hits(self, text: str, call: str | None) -> bool:
        """Whether it hits a call that `called` describes."""
        first, _, said = text.partition("\n")
        shop, *operations = first.split(" ")
        return (
            self.shop in (None, shop)
            and (self.operation is None or self.operation in operations)
            and self.match in said
            and self.on in (None, call)
        )

    def shown(self) -> dict[str, Any]:
        return {
            **super().shown(),
            **{name: getattr(self, name) for name in ("shop", "operation", "code", "message")},
        }


def called(shop: str, operations: Iterable[str] = (), said: str = "") -> str:
    """A call as faults see it: the shop and the operations' names in the first line, below it what is said."""
    return f"{' '.join([shop, *operations])}\n{said}"


class ShopControl(Control):
    """Faults that tell shops and operations apart."""

    def __init__(self) -> None:
        super().__init__(_KINDS_OF_FAULT, dict.fromkeys(_CONNECTION_KINDS, "graphql"), _refuse)

    def take(self, kinds: Sequence[str], text: str, call: str | None = None) -> ShopFault | None:
        for fault in self._faults:
            due = isinstance(fault, ShopFault) and fault.kind in kinds and fault.count != 0 and fault.hits(text, call)
            if due and isinstance(fault, ShopFault):
                if fault.count is not None:
                    fault.count -= 1
                return fault
        return None

    def _read_fault(self, body: dict[str, Any]) -> ShopFault:
        fault = ShopFault(**vars(super()._read_fault(body)))
        for name in ("shop", "operation", "code", "message"):
            setattr(fault, name, body.get(name))
        codes = {"processing_failed": ("FileErrorCode",), "user_error": ("FilesErrorCode", "MediaUserErrorCode")}
        known = set().union(*(_enum(name) for name in codes.get(fault.kind, ("FilesErrorCode",))))
        if fault.code is not None and fault.code not in known:
            raise ValueError(f"code must be one of {', '.join(sorted(known))}")
        return fault


def _enum(name: str) -> set[str]:
    kind = SCHEMA.type_map[name]
    return set(kind.values) if isinstance(kind, GraphQLEnumType) else set()


def _refuse(status: int) -> Response:
    if status == 429:
        return JSONResponse({"errors": "Exceeded the limit of requests."}, 429, headers={"Retry-After": "2.0"})
    return refusal(status)


# ---------------------------------------------------------------------------------------------------------------------
# GraphQL: the schema, and what a query costs
# ---------------------------------------------------------------------------------------------------------------------


def _unsigned(value: Any) -> int:
    """Shopify writes numbers of 64 bits as strings."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    raise GraphQLError(f"{value!r} is no UnsignedInt64: digits in a string")


SCHEMA = build_schema(Path(__file__).with_suffix(".graphql").read_text())
_unsigned_type = SCHEMA.type_map["UnsignedInt64"]
if isinstance(_unsigned_type, GraphQLScalarType):
    _unsigned_type.coerce_input_value = _unsigned  # the SDL cannot say how a scalar is read


@lru_cache(256)
def read_query(query: str) -> DocumentNode | list[GraphQLError]:
    """A query parsed, or what is wrong with it."""
    try:
        document = parse(query)
    except GraphQLError as error:
        return [error]
    return validate(SCHEMA, document) or document


class Price:
    """What a query costs, by the rules in Shopify's documentation.

    Scalars are free and an object costs 1; where a type may be several, the dearest counts. A connection costs 2, and
    its nodes as often as `first` or `last` says. Lists count their items where the arguments tell how many, else one.
    A mutation costs 10 and a little for each file; what it answers is free but for connections.
    """

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode, variables: VariableValues) -> None:
        self._variables = variables
        self._operation = operation
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def requested(self) -> float:
        mutation = self._operation.operation is OperationType.MUTATION
        if not mutation:
            return sum(self._field(SCHEMA.query_type, nodes, free=False) for _, nodes in self.root_fields())
        return sum(
            mutation_cost(arguments)
            + self._within(_type_of(SCHEMA.mutation_type, nodes), _selection_sets(nodes), free=True)
            for (_, nodes), (_, arguments) in zip(self.root_fields(), self.root_arguments(), strict=True)
        )

    def root_fields(self) -> list[tuple[str, list[FieldNode]]]:
        root = SCHEMA.get_root_type(self._operation.operation)
        fields = self._collected(root, [self._operation.selection_set]) if root else {}
        return [(nodes[0].name.value, nodes) for nodes in fields.values() if not nodes[0].name.value.startswith("__")]

    def root_arguments(self) -> list[tuple[str, dict[str, Any]]]:
        """The operation's fields with their arguments."""
        root = SCHEMA.get_root_type(self._operation.operation)
        return [(name, self._arguments(root, nodes)) for name, nodes in self.root_fields()]

    def _arguments(self, parent: GraphQLObjectType | None, nodes: list[FieldNode]) -> dict[str, Any]:
        if parent is None:
            return {}
        return get_argument_values(parent.fields[nodes[0].name.value], nodes[0], self._variables)

    def _field(self, parent: GraphQLObjectType | None, nodes: list[FieldNode], *, free: bool) -> float:
        kind = _type_of(parent, nodes)
        if kind is None or is_leaf_type(kind):
            return 0.0
        arguments, sets = self._arguments(parent, nodes), _selection_sets(nodes)
        if kind.name.endswith("Connection"):
            size = arguments.get("first") or arguments.get("last") or 0
            return 2 + size * self._within(kind, sets, free=False)
        times = len(arguments["ids"]) if "ids" in arguments else 1
        return times * (own_cost(kind.name, free=free) + self._within(kind, sets, free=free))

    def _within(self, kind: GraphQLNamedType | None, sets: list[SelectionSetNode], *, free: bool) -> float:
        """The cost of what is selected in an object of this type."""
        if kind is None:
            return 0.0
        if is_abstract_type(kind):
            return max(self._within(possible, sets, free=free) for possible in SCHEMA.get_possible_types(kind))
        if not is_object_type(kind):
            return 0.0
        return sum(self._field(kind, nodes, free=free) for nodes in self._collected(kind, sets).values())

    def _collected(self, kind: GraphQLObjectType, sets: list[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """The fields that are selected in an object of this type, by the names they are answered under."""
        fields: dict[str, list[FieldNode]] = {}
        for node in itertools.chain.from_iterable(one.selections for one in sets):
            if not self._wanted(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                fields.setdefault(key, []).append(node)
                continue
            fragment = self._fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
            condition = getattr(fragment, "type_condition", None)
            inner = getattr(fragment, "selection_set", None)
            if inner and (condition is None or _is_a(kind, condition.name.value)):
                for key, nodes in self._collected(kind, [inner]).items():
                    fields.setdefault(key, []).extend(nodes)
        return fields

    def _wanted(self, node: Any) -> bool:
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and (include is None or bool(include["if"]))


def _is_a(kind: GraphQLObjectType, name: str) -> bool:
    return kind.name == name or any(interface.name == name for interface in kind.interfaces)


def _type_of(parent: GraphQLObjectType | None, nodes: list[FieldNode]) -> GraphQLNamedType | None:
    name = nodes[0].name.value
    return None if parent is None or name not in parent.fields else get_named_type(parent.fields[name].type)


def _selection_sets(nodes: list[FieldNode]) -> list[SelectionSetNode]:
    return [node.selection_set for node in nodes if node.selection_set]


def mutation_cost(arguments: Mapping[str, Any]) -> float:
    return _MUTATION_COST + _FILE_COST * sum(len(arguments.get(name) or []) for name in _LISTS_OF_FILES)


def own_cost(kind: str, *, free: bool) -> float:
    """What one object of this type costs by itself."""
    return 0.0 if free or kind == "PageInfo" or kind.endswith("Edge") else 1.0


def actual_cost(value: Any, info: Info) -> float:
    """What one field's answer costs: the objects that are there."""
    if not isinstance(value, dict | list):
        return 0.0
    mutation = info.operation.operation is OperationType.MUTATION
    if mutation and info.path.prev is None:
        return 0.0
    kind = get_named_type(info.return_type).name
    if kind.endswith("Connection"):
        return 2.0
    count = sum(isinstance(item, dict) for item in value) if isinstance(value, list) else 1
    return count * own_cost(kind, free=mutation and not _below_connection(info))


def _below_connection(info: Info) -> bool:
    path = info.path
    while path:
        if (path.typename or "").endswith("Connection"):
            return True
        if path.prev is None:
            return False
        path = path.prev
    return False


def oversized(value: Any, path: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """The lists in an input that have more items than Shopify takes."""
    if isinstance(value, list):
        if len(value) > MOST_INPUTS:
            yield len(value), path
        for index, item in enumerate(value):
            yield from oversized(item, [*path, index])
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from oversized(item, [*path, name])


# ---------------------------------------------------------------------------------------------------------------------
# GraphQL: search, and pages
# ---------------------------------------------------------------------------------------------------------------------

Facts = Mapping[str, Sequence[str | float | None]]  # what a thing can be found by; numbers are ids, sizes and times
Test = Callable[[Facts], bool]

_TOKEN = re.compile(
    r"""\s*(?: (?P<paren>[()]) | (?P<minus>-)(?=\S) | (?P<word>AND|OR|NOT)(?=[\s(]|$)
    | (?: (?P<field>[A-Za-z_.]+) : (?P<comparator><=|>=|<|>)? )?
      (?: "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)' | (?P<bare>[^\s()]+) ) )""",
    re.VERBOSE,
)
_LISTS = ("handle", "ids", "product_ids")  # fields whose value may be several, with commas


class Search:
    """A search in Shopify's syntax: terms, comparators, a trailing `*`, AND (also by a blank), OR, NOT and brackets.

    A field that cannot be searched by is no error: Shopify leaves it out, so that all is found, and only warns.
    """

    def __init__(self, query: str, known: Iterable[str]) -> None:
        self.unknown: list[str] = []
        self._known = set(known)
        self._tokens = [match for match in _TOKEN.finditer(query) if match.group().strip()]
        self._next = 0
        self._test = self._either() if self._tokens else _anything

    def finds(self, facts: Facts) -> bool:
        return self._test(facts)

    def _peek(self, group: str) -> str | None:
        return self._tokens[self._next].group(group) if self._next < len(self._tokens) else None

    def _either(self) -> Test:
        tests = [self._all()]
        while self._peek("word") == "OR":
            self._next += 1
            tests.append(self._all())
        return lambda facts: any(test(facts) for test in tests)

    def _all(self) -> Test:
        tests = []
        while self._next < len(self._tokens) and self._peek("word") != "OR" and self._peek("paren") != ")":
            if self._peek("word") == "AND":
                self._next += 1
            else:
                tests.append(self._one())
        return lambda facts: all(test(facts) for test in tests)

    def _one(self) -> Test:
        if self._peek("word") == "NOT" or self._peek("minus"):
            self._next += 1
            inner = self._one() if self._next < len(self._tokens) else _anything
            return lambda facts: not inner(facts)
        token = self._tokens[self._next]
        self._next += 1
        if token["paren"]:
            test = self._either()
            self._next += 1
            return test
        quoted = token["double"] or token["single"]
        return self._term(token["field"], token["comparator"], quoted or token["bare"] or "", quoted is not None)

    def _term(self, name: str | None, comparator: str | None, value: str, quoted: bool) -> Test:
        value = re.sub(r"\\(.)", r"\1", value)
        if name is None:
            return lambda facts: _has_words(value, facts["default"])
        if name not in self._known:
            self.unknown.append(name)
            return _anything
        if comparator:
            return lambda facts: any(_compares(fact, comparator, value) for fact in facts[name])
        if name == "title":
            return lambda facts: _has_words(value, facts[name])
        wanted = value.split(",") if name in _LISTS else [value]
        return lambda facts: any(_equals(fact, one, wild=not quoted) for fact in facts[name] for one in wanted)


def _anything(_: Facts) -> bool:
    return True


def _has_words(value: str, facts: Sequence[str | float | None]) -> bool:
    """Whether all the words are there; one with a `*` begins a word."""
    there = [word for fact in facts if fact for word in re.findall(r"[\w-]+", str(fact).casefold())]
    return all(
        any(word == wanted.rstrip("*") or (wanted.endswith("*") and word.startswith(wanted[:-1])) for word in there)
        for wanted in value.casefold().split()
    )


def _equals(fact: str | float | None, value: str, *, wild: bool) -> bool:
    if fact is None:
        return False
    if isinstance(fact, str):
        if wild and value.endswith("*"):
            return fact.casefold().startswith(value[:-1].casefold())
        return fact.casefold() == value.casefold()
    return fact == _number(value)


def _compares(fact: str | float | None, comparator: str, value: str) -> bool:
    number = _number(value)
    if number is None or not isinstance(fact, int | float):
        return False
    order = {"<": fact < number, "<=": fact <= number, ">": fact > number, ">=": fact >= number}
    return order[comparator]


def _number(value: str) -> float | None:
    """An id or a size, or a time as seconds since 1970."""
    try:
        return float(value) if re.fullmatch(r"\d+", value) else _aware(datetime.fromisoformat(value)).timestamp()
    except ValueError:
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Position(NamedTuple):
    """Where a thing is in a sorted list; the number tells apart what sorts alike."""

    value: Any
    number: int

    def cursor(self) -> str:
        return base64.b64encode(json.dumps({"last_id": self.number, "last_value": self.value}).encode()).decode()

    @classmethod
    def read(cls, cursor: str) -> Position:
        """Raises GraphQLError."""
        try:
            said = json.loads(base64.b64decode(cursor, validate=True))
            return cls(said["last_value"], int(said["last_id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise GraphQLError("Invalid cursor for current pagination sort.") from error


def page(places: Iterable[tuple[Position, Item]], arguments: Mapping[str, Any], show: Callable[[Item], Shown]) -> Shown:
    """A connection: the part of the things that the arguments ask for, in order. Raises GraphQLError."""
    first, last = arguments.get("first"), arguments.get("last")
    size = last if first is None else first
    if size is None:
        raise GraphQLError("you must provide one of first or last")
    if first is not None and last is not None:
        raise GraphQLError("providing both first and last is not supported")
    if not 0 < size <= MOST_INPUTS:
        raise GraphQLError(f"first and last must be from 1 to {MOST_INPUTS}")
    listed = sorted(places, key=lambda place: place[0], reverse=bool(arguments.get("reverse")))
    start, end = _bounds([place for place, _ in listed], arguments)
    chosen = listed[start:end][:size] if first is not None else listed[start:end][-size:]
    start = listed.index(chosen[0]) if chosen else start
    edges = [{"cursor": place.cursor(), "node": show(item)} for place, item in chosen]
    return {
        "nodes": [edge["node"] for edge in edges],
        "edges": edges,
        "pageInfo": {
            "hasPreviousPage": start > 0,
            "hasNextPage": start + len(chosen) < len(listed),
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        },
    }


def _bounds(places: list[Position], arguments: Mapping[str, Any]) -> tuple[int, int]:
    """From where to where `after` and `before` leave the list."""
    backwards = bool(arguments.get("reverse"))
    start, end = 0, len(places)
    try:
        if arguments.get("after"):
            after = Position.read(arguments["after"])
            start = sum(place >= after if backwards else place <= after for place in places)
        if arguments.get("before"):
            before = Position.read(arguments["before"])
            end = sum(place > before if backwards else place < before for place in places)
    except TypeError as error:
        raise GraphQLError("Invalid cursor for current pagination sort.") from error
    return start, max(start, end)


# ---------------------------------------------------------------------------------------------------------------------
# GraphQL: what the fields answer
# ---------------------------------------------------------------------------------------------------------------------


def user_error(path: Sequence[str | int] | None, message: str, code: str | None = None) -> Shown:
    return {"field": path and [str(part) for part in path], "message": message, "code": code}


def _number_of(identifier: Any, kind: str) -> int:
    """The number in a global id of this kind; 0 if it is of another."""
    found = re.fullmatch(rf"gid://shopify/{kind}/(\d+)", str(identifier))
    return int(found[1]) if found else 0


def _plain_number(identifier: str) -> int:
    """The number that a test gives, with or without the global id around it."""
    last = identifier.rsplit("/", 1)[-1]
    return int(last) if last.isdigit() else 0


class Call:
    """One GraphQL request to a shop. Its fields are answered at one moment, without a pause."""

    MUTATIONS: ClassVar[dict[str, tuple[str, str]]] = {  # the scope each needs, and where it tells its errors
        "fileCreate": ("write_files", "userErrors"),
        "fileDelete": ("write_files", "userErrors"),
        "fileUpdate": ("write_files", "userErrors"),
        "productReorderMedia": ("write_products", "mediaUserErrors"),
        "productUpdate": ("write_products", "userErrors"),
        "stagedUploadsCreate": ("write_files", "userErrors"),
    }

    def __init__(self, shop: Shop, platform: Platform, base: str, operations: list[str]) -> None:
        self.shop = shop
        self.spent = 0.0
        self.warnings: list[dict[str, Any]] = []
        self.now = time.time()
        self._platform = platform
        self._base = base
        self._operations = operations
        self._mutation = ""  # the one that is being done
        shop.settle(self.now)

    def root(self) -> Shown:
        queries = {
            "currentAppInstallation": self._installation,
            "files": self._files,
            "job": self._job,
            "node": lambda info, **given: self._node(given["id"], info.field_name),
            "nodes": lambda info, **given: [self._node(one, info.field_name) for one in given["ids"]],
            "product": self._product_by_id,
            "productVariants": self._variants,
            "products": self._products,
            "shop": self._shop,
        }
        return {**queries, **{name: partial(self._mutate, name) for name in self.MUTATIONS}}

    def resolve(self, source: Any, info: Info, **arguments: Any) -> Any:
        """Answer a field, and count what its answer costs."""
        value = default_field_resolver(source, info, **arguments)
        self.spent += actual_cost(value, info)
        return value

    def _need(self, scope: str, name: str) -> None:
        if scope not in self.shop.scopes:
            required = f"`{scope}` access scope."
            raise GraphQLError(
                f"Access denied for {name} field. Required access: {required}",
                extensions={
                    "code": "ACCESS_DENIED",
                    "documentation": f"{_DOCUMENTATION}access-scopes",
                    "requiredAccess": required,
                },
            )

    # ------------------------------------------------------------------ objects

    def _date(self, at: float) -> str:
        spec = "seconds" if self.shop.settings.whole_seconds else "milliseconds"
        return datetime.fromtimestamp(at, UTC).isoformat(timespec=spec).replace("+00:00", "Z")

    def _show_product(self, product: Product) -> Shown:
        return {
            "__typename": "Product",
            "id": product.id,
            "title": product.title,
            "handle": product.handle,
            "status": product.status,
            "createdAt": self._date(product.created),
            "updatedAt": self._date(product.updated),
            "media": partial(self._media, product),
            "mediaCount": {"count": len(product.media), "precision": "EXACT"},
            "featuredMedia": lambda _: self._show_picture(product.media[0]) if product.media else None,
            "variants": partial(self._variants_of, product),
        }

    def _show_variant(self, variant: Variant) -> Shown:
        return {
            "__typename": "ProductVariant",
            "id": variant.id,
            "sku": variant.sku,
            "barcode": variant.barcode,
            "title": variant.title,
            "position": variant.position,
            "product": lambda _: self._show_product(variant.product),
        }

    def _show_picture(self, picture: Picture) -> Shown:
        status, image, content = picture.status(self.now), self._show_image(picture), picture.content
        failure = picture.failure
        errors = [{"code": failure.code, "details": None, "message": str(failure)}] if failure else []
        source = {"url": image and image["url"], "fileSize": content.size} if content else None
        return {
            "__typename": "MediaImage",
            "id": picture.id,
            "alt": picture.alt,
            "createdAt": self._date(picture.created),
            "updatedAt": self._date(picture.updated),
            "fileErrors": errors,
            "fileStatus": status,
            "image": image,
            "mediaContentType": "IMAGE",
            "mediaErrors": errors,
            "mediaWarnings": [],
            "mimeType": content and content.mime,
            "originalSource": source,
            "preview": {"image": image, "status": status},
            "status": status,
        }

    def _show_image(self, picture: Picture) -> Shown | None:
        if picture.content is None:
            return None
        return {
            "id": f"gid://shopify/ImageSource/{picture.number}",
            "altText": picture.alt or None,
            "url": address(self._base, self.shop, picture),
            "width": picture.content.width,
            "height": picture.content.height,
        }

    # ------------------------------------------------------------------ queries

    def _shop(self, _: Info) -> Shown:
        return {
            "id": f"gid://shopify/Shop/{self.shop.number}",
            "name": self.shop.settings.title or self.shop.name,
            "myshopifyDomain": self.shop.name,
            "url": f"https://{self.shop.name}",
        }

    def _installation(self, _: Info) -> Shown:
        return {
            "__typename": "AppInstallation",
            "id": f"gid://shopify/AppInstallation/{self.shop.number}",
            "accessScopes": [{"handle": scope, "description": scope} for scope in sorted(self.shop.scopes)],
        }

    def _job(self, _: Info, **given: Any) -> Shown | None:
        job = self.shop.jobs.get(given["id"])
        return {"id": job.id, "done": job.done} if job else None

    def _node(self, identifier: str, name: str) -> Shown | None:
        if picture := self.shop.pictures.get(_number_of(identifier, "MediaImage")):
            if "read_products" not in self.shop.scopes:
                self._need("read_files", name)
            return self._show_picture(picture)
        self._need("read_products", name)
        if product := self.shop.products.get(_number_of(identifier, "Product")):
            return self._show_product(product)
        variants = (variant for product in self.shop.products.values() for variant in product.variants)
        number = _number_of(identifier, "ProductVariant")
        found = next((variant for variant in variants if variant.number == number), None) if number else None
        return self._show_variant(found) if found else None

    def _product_by_id(self, info: Info, **given: Any) -> Shown | None:
        self._need("read_products", info.field_name)
        product = self.shop.products.get(_number_of(given["id"], "Product"))
        return self._show_product(product) if product else None

    def _products(self, info: Info, **given: Any) -> Shown:
        self._need("read_products", info.field_name)
        keys: dict[str, Callable[[Product], Any]] = {
            "TITLE": lambda product: product.title.casefold(),
            "CREATED_AT": lambda product: product.created,
            "UPDATED_AT": lambda product: product.updated,
        }
        found = self._found(self.shop.products.values(), product_facts, info, given)
        return page(_places(found, keys, given), given, self._show_product)

    def _variants(self, info: Info, **given: Any) -> Shown:
        self._need("read_products", info.field_name)
        variants = [variant for product in self.shop.products.values() for variant in product.variants]
        found = self._found(variants, variant_facts, info, given)
        return page(_places(found, _VARIANT_KEYS, given), given, self._show_variant)

    def _variants_of(self, product: Product, _: Info, **given: Any) -> Shown:
        return page(_places(product.variants, _VARIANT_KEYS, given), given, self._show_variant)

    def _files(self, info: Info, **given: Any) -> Shown:
        self._need("read_files", info.field_name)
        keys: dict[str, Callable[[Picture], Any]] = {
            "CREATED_AT": lambda picture: picture.created,
            "UPDATED_AT": lambda picture: picture.updated,
            "FILENAME": lambda picture: picture.filename or picture.wish,
            "ORIGINAL_UPLOAD_SIZE": lambda picture: picture.content.size if picture.content else 0,
        }
        found = self._found(self.shop.pictures.values(), self._picture_facts, info, given)
        return page(_places(found, keys, given), given, self._show_picture)

    def _media(self, product: Product, info: Info, **given: Any) -> Shown:
        order = {picture: index for index, picture in enumerate(product.media)}
        keys: dict[str, Callable[[Picture], Any]] = {"POSITION": order.__getitem__}
        found = self._found(product.media, self._picture_facts, info, given)
        return page(_places(found, keys, given), given, self._show_picture)

    def _found(
        self,
        things: Iterable[Item],
        facts: Callable[[Item], Facts],
        info: Info,
        given: Mapping[str, Any],
    ) -> list[Item]:
        """The things that the `query` argument finds; without one, all."""
        listed = list(things)
        if not given.get("query") or not listed:
            return listed
        search = Search(given["query"], facts(listed[0]))
        if search.unknown:
            warnings = [
                {"field": name, "message": "Invalid search field for this query.", "code": "invalid_field"}
                for name in search.unknown
            ]
            self.warnings.append({"path": info.path.as_list(), "query": given["query"], "warnings": warnings})
        return [thing for thing in listed if search.finds(facts(thing))]

    def _picture_facts(self, picture: Picture) -> Facts:
        return {
            "default": [picture.filename or picture.wish, picture.alt],
            "id": [picture.number],
            "ids": [str(picture.number)],
            "filename": [picture.filename or picture.wish],
            "media_type": ["IMAGE"],
            "status": [picture.status(self.now)],
            "original_upload_size": [picture.content.size if picture.content else None],
            "product_id": [product.number for product in picture.products],
            "used_in": ["product" if picture.products else "none"],
            "created_at": [picture.created],
            "updated_at": [picture.updated],
        }

    # ------------------------------------------------------------------ mutations

    def _mutate(self, name: str, _: Info, **arguments: Any) -> Shown:
        scope, errors = self.MUTATIONS[name]
        self._need(scope, name)
        if name == "fileUpdate" and any(
            one.get("referencesToAdd") or one.get("referencesToRemove") for one in arguments["files"]
        ):
            self._need("write_products", name)
        self.spent += mutation_cost(arguments)
        self._mutation = name
        if fault := self._fault("user_error", arguments):
            return {errors: [user_error(None, fault.message or "The input value is invalid.", fault.code or "INVALID")]}
        self.shop.tally.mutations[name] += 1
        mutations: dict[str, Callable[[dict[str, Any]], Shown]] = {
            "fileCreate": self._create_files,
            "fileDelete": self._delete_files,
            "fileUpdate": self._update_files,
            "productReorderMedia": self._reorder_media,
            "productUpdate": self._update_product,
            "stagedUploadsCreate": self._stage_uploads,
        }
        return mutations[name](arguments)

    def _fault(self, kind: str, said: Any) -> ShopFault | None:
        text = called(self.shop.name, self._operations, json.dumps(said, ensure_ascii=False))
        return self._platform.control.take([kind], text, "graphql")

    # --- products

    def _update_product(self, arguments: dict[str, Any]) -> Shown:
        wanted = {**(arguments.get("product") or {}), **(arguments.get("identifier") or {})}
        media = arguments.get("media") or []
        product = self._identified(wanted)
        if product is None:
            return {"product": None, "userErrors": [user_error(["id"], "Product does not exist")]}
        changes = {name: value for name, value in (arguments.get("product") or {}).items() if name != "id"}
        fields = {name: value for name, value in changes.items() if value is not None}
        errors = [*self._field_errors(product, fields), *self._media_errors(product, media)]
        if not errors:
            for name, value in fields.items():
                setattr(product, name, value)
            if fields:
                product.touch(self.now)
            for one in media:
                picture = self._new_picture(one, {"product": product.id, **one})
                self.shop.attach(product, picture)
        return {"product": self._show_product(product), "userErrors": errors}

    def _identified(self, wanted: Mapping[str, Any]) -> Product | None:
        if wanted.get("id"):
            return self.shop.products.get(_number_of(wanted["id"], "Product"))
        handle = wanted.get("handle")
        return next((product for product in self.shop.products.values() if product.handle == handle), None)

    def _field_errors(self, product: Product, fields: Mapping[str, Any]) -> Iterator[Shown]:
        if not fields.get("title", "x"):
            yield user_error(["title"], "Title can't be blank")
        handle = fields.get("handle", product.handle)
        if handle != product.handle and self.shop.has_handle(handle):
            yield user_error(["handle"], f"Handle '{handle}' already in use. Please provide a new handle.")

    def _media_errors(self, product: Product, media: list[dict[str, Any]]) -> Iterator[Shown]:
        if len(product.media) + len(media) > MOST_MEDIA:
            yield user_error(["media"], f"Exceeded the limit of {MOST_MEDIA} media per product")
        for index, one in enumerate(media):
            check_source(one["originalSource"])
            if one["mediaContentType"] != "IMAGE":
                yield user_error(["media", index, "mediaContentType"], "The media type is not supported")
            elif not is_web_address(one["originalSource"]):
                yield user_error(["media", index, "originalSource"], "Image URL is invalid")
            elif len(one.get("alt") or "") > MOST_ALT:
                yield user_error(["media", index, "alt"], f"Alt value exceeds the limit of {MOST_ALT} characters")

    def _reorder_media(self, arguments: dict[str, Any]) -> Shown:
        product = self.shop.products.get(_number_of(arguments["id"], "Product"))
        if product is None:
            return {"mediaUserErrors": [user_error(["id"], "Product does not exist", "PRODUCT_DOES_NOT_EXIST")]}
        moves = [(_number_of(move["id"], "MediaImage"), move["newPosition"]) for move in arguments["moves"]]
        errors = []
        for index, (number, _) in enumerate(moves):
            path = ["moves", str(index), "id"]
            if number not in self.shop.pictures:
                identifier = arguments["moves"][index]["id"]
                errors.append(user_error(path, f"Media id {identifier} does not exist", "MEDIA_DOES_NOT_EXIST"))
            elif self.shop.pictures[number] not in product.media:
                message = "Media does not exist on the given product"
                errors.append(user_error(path, message, "MEDIA_DOES_NOT_EXIST_ON_PRODUCT"))
        if errors:
            return {"mediaUserErrors": errors}
        job = self.shop.reorder(product, moves, self.shop.settings.job_seconds)
        return {"job": {"id": job.id, "done": job.done}, "mediaUserErrors": []}

    # --- files

    def _create_files(self, arguments: dict[str, Any]) -> Shown:
        """All or none: one input that is wrong leaves the others undone."""
        inputs = arguments["files"]
        for one in inputs:
            check_source(one["originalSource"])
        errors = [error for index, one in enumerate(inputs) if (error := file_error(index, one))]
        if errors:
            return {"files": [], "userErrors": errors}
        return {"files": [self._show_picture(self._created(one)) for one in inputs], "userErrors": []}

    def _created(self, given: dict[str, Any]) -> Picture:
        """The new picture; to replace is to keep the old one, its address and alt text, with other content."""
        old = self.shop.by_filename.get(given.get("filename") or "")
        if old is None or given["duplicateResolutionMode"] != "REPLACE":
            return self._new_picture(given, given)
        self._begin(old, given["originalSource"], given)
        return old

    def _new_picture(self, given: dict[str, Any], said: Any) -> Picture:
        source = given["originalSource"]
        picture = Picture(
            next(self._platform.numbers),
            given.get("alt") or "",
            self.now,
            "app",
            self._mutation,
            bare(source),
            given.get("filename") or name_of(source),
            given.get("duplicateResolutionMode") or "APPEND_UUID",
            updated=self.now,
        )
        self._begin(picture, source, said)
        return picture

    def _begin(self, picture: Picture, source: str, said: Any) -> None:
        """Have a picture's source fetched and processed."""
        slow = self._fault("slow_processing", said)
        seconds = self.shop.settings.processing_seconds
        if slow:
            seconds = 30 if slow.seconds is None else slow.seconds
        processing = Processing(source, self.now, seconds)
        if picture.number in self.shop.pictures:
            self.shop.process_again(picture, processing)
        else:
            picture.processing = processing
            self.shop.add_picture(picture)
        failed = self._fault("processing_failed", said)
        if failed:
            code = failed.code or "IMAGE_DOWNLOAD_FAILURE"
            processing.verdict, processing.judged = BadPictureError(code, failed.message or ""), self.now
        else:
            self._platform.process(self.shop, processing)

    def _update_files(self, arguments: dict[str, Any]) -> Shown:
        """Files that are unknown, not ready or wrongly described leave all undone; later trouble is a file's own."""
        inputs = arguments["files"]
        if errors := self._update_errors(inputs):
            return {"files": [], "userErrors": errors}
        refused = self._partly_refused(inputs)
        files = []
        for index, one in enumerate(inputs):
            picture = self.shop.pictures[_number_of(one["id"], "MediaImage")]
            error = refused.get(index) or self._update_file(index, picture, one)
            if error:
                refused[index] = error
            else:
                files.append(self._show_picture(picture))
        return {"files": files, "userErrors": list(refused.values())}

    def _update_errors(self, inputs: list[dict[str, Any]]) -> list[Shown]:
        identifiers = list(dict.fromkeys(one["id"] for one in inputs))
        numbers = {identifier: _number_of(identifier, "MediaImage") for identifier in identifiers}
        missing = [identifier for identifier, number in numbers.items() if number not in self.shop.pictures]
        if missing:
            message = f"File {_ids(len(missing))} {json.dumps(missing)} {_not_there(len(missing))}."
            return [user_error(["files"], message, "FILE_DOES_NOT_EXIST")]
        if any(self.shop.pictures[number].status(self.now) != "READY" for number in numbers.values()):
            return [user_error(["files"], "Non-ready files cannot be updated.", "NON_READY_STATE")]
        errors = [
            user_error(["files", index, "alt"], _LONG_ALT, "ALT_VALUE_LIMIT_EXCEEDED")
            for index, one in enumerate(inputs)
            if len(one.get("alt") or "") > MOST_ALT
        ]
        referred = [
            identifier
            for one in inputs
            for identifier in [*(one.get("referencesToAdd") or []), *(one.get("referencesToRemove") or [])]
        ]
        if any(_number_of(identifier, "Product") not in self.shop.products for identifier in referred):
            message = "The reference target does not exist"
            errors.append(user_error(["files"], message, "REFERENCE_TARGET_DOES_NOT_EXIST"))
        return errors

    def _partly_refused(self, inputs: list[dict[str, Any]]) -> dict[int, Shown]:
        """The errors of files that a fault picks."""
        fault = self._fault("partial", inputs)
        if fault is None:
            return {}
        code, message = fault.code or "FILE_LOCKED", fault.message or "File has a pending operation."
        picked = [index for index, one in enumerate(inputs) if fault.match in json.dumps(one, ensure_ascii=False)]
        chosen = picked if fault.match else picked[-1:]
        return {index: user_error(["files", index], message, code) for index in chosen}

    def _update_file(self, index: int, picture: Picture, given: dict[str, Any]) -> Shown | None:
        """Change one file; what stands in the way, if anything."""
        added = [self._product_of(identifier) for identifier in given.get("referencesToAdd") or []]
        if any(len(product.media) >= MOST_MEDIA and picture not in product.media for product in added):
            message = f"Exceeded the limit of {MOST_MEDIA} media per product"
            return user_error(["files", index, "referencesToAdd"], message, "PRODUCT_MEDIA_LIMIT_EXCEEDED")
        if given.get("alt") is not None and given["alt"] != picture.alt:
            picture.alt = given["alt"]
            self.shop.changed(picture, self.now)
        for product in added:
            self.shop.attach(product, picture)
        for identifier in given.get("referencesToRemove") or []:
            self.shop.detach(self._product_of(identifier), picture)
        return None

    def _product_of(self, identifier: str) -> Product:
        return self.shop.products[_number_of(identifier, "Product")]

    def _delete_files(self, arguments: dict[str, Any]) -> Shown:
        identifiers = list(dict.fromkeys(arguments["fileIds"]))
        pictures = [self.shop.pictures.get(_number_of(identifier, "MediaImage")) for identifier in identifiers]
        missing = [identifier for identifier, picture in zip(identifiers, pictures, strict=True) if picture is None]
        if missing:
            message = f"File {_ids(len(missing))} {','.join(missing)} {_not_there(len(missing))}."
            error = user_error(["fileIds"], message, "FILE_DOES_NOT_EXIST")
            return {"deletedFileIds": None, "userErrors": [error]}
        for picture in pictures:
            if picture:
                self.shop.delete_picture(picture)
        return {"deletedFileIds": identifiers, "userErrors": []}

    # --- staged uploads

    def _stage_uploads(self, arguments: dict[str, Any]) -> Shown:
        targets, errors = [], []
        for index, one in enumerate(arguments["input"]):
            if one["resource"] != "IMAGE":
                errors.append(user_error(["input", index, "resource"], f"{one['resource']} is not supported"))
            elif one["mimeType"].removeprefix("image/").upper() not in _KINDS:
                message = f"{one['mimeType']} is not a recognized format"
                errors.append(user_error(["input", index, "mimeType"], message))
            else:
                targets.append(self._new_target(one))
                continue
            targets.append({"url": None, "resourceUrl": None, "parameters": []})
        return {"stagedTargets": targets, "userErrors": errors}

    def _new_target(self, given: dict[str, Any]) -> Shown:
        """A place to upload to. The parameters are named as the real ones, and come back as they were given out."""
        key = f"tmp/{self.shop.number}/files/{uuid.uuid4()}/{name_of(given['filename'])}"
        bucket = f"{self._base}{self.shop.name}/staged-uploads/"
        method, mime, moment = given["httpMethod"], given["mimeType"], datetime.fromtimestamp(self.now, UTC)
        parameters = {"content_type": mime, "acl": "private"}
        if method == "POST":
            policy = {"conditions": [["content-length-range", 1, MOST_BYTES]], "key": key}
            parameters = {
                "Content-Type": mime,
                "success_action_status": "201",
                "acl": "private",
                "key": key,
                "x-goog-date": moment.strftime("%Y%m%dT%H%M%SZ"),
                "x-goog-credential": f"stand-in/{moment:%Y%m%d}/auto/storage/goog4_request",
                "x-goog-algorithm": "GOOG4-RSA-SHA256",
                "x-goog-signature": secrets.token_hex(32),
                "policy": base64.b64encode(json.dumps(policy).encode()).decode(),
            }
        signed = f"?X-Goog-Signature={secrets.token_hex(32)}"
        url = bucket if method == "POST" else f"{bucket}{key}{signed}"
        target = Target(key, url, bucket + key, mime, method, parameters, self.now)
        self.shop.targets[target.resource_url] = target
        shown = [{"name": name, "value": value} for name, value in parameters.items()]
        return {"url": target.url, "resourceUrl": target.resource_url, "parameters": shown}


_LONG_ALT = f"The alt value exceeds the maximum limit of {MOST_ALT} characters."
_VARIANT_KEYS: dict[str, Callable[[Variant], Any]] = {
    "POSITION": lambda variant: variant.position,
    "SKU": lambda variant: variant.sku or "",
    "TITLE": lambda variant: variant.title.casefold(),
}


def _ids(count: int) -> str:
    return "id" if count == 1 else "ids"


def _not_there(count: int) -> str:
    return "does not exist" if count == 1 else "do not exist"


def _places(
    things: Iterable[Any], keys: Mapping[str, Callable[[Any], Any]], given: Mapping[str, Any]
) -> list[tuple[Position, Any]]:
    """Things with their place in the order that `sortKey` names; without a key they are sorted by number."""
    key = keys.get(given.get("sortKey") or "", lambda thing: thing.number)
    return [(Position(key(thing), thing.number), thing) for thing in things]


def product_facts(product: Product) -> Facts:
    skus = [variant.sku for variant in product.variants]
    barcodes = [variant.barcode for variant in product.variants]
    return {
        "default": [product.title, product.handle, *skus, *barcodes],
        "id": [product.number],
        "title": [product.title],
        "handle": [product.handle],
        "status": [product.status],
        "sku": skus,
        "barcode": barcodes,
        "created_at": [product.created],
        "updated_at": [product.updated],
    }


def variant_facts(variant: Variant) -> Facts:
    return {
        "default": [variant.product.title, variant.title, variant.sku, variant.barcode],
        "id": [variant.number],
        "title": [variant.title],
        "sku": [variant.sku],
        "barcode": [variant.barcode],
        "product_id": [variant.product.number],
        "product_ids": [str(variant.product.number)],
        "product_status": [variant.product.status],
    }


def file_error(index: int, given: Mapping[str, Any]) -> Shown | None:
    """The first thing that is wrong with an input of `fileCreate`."""
    source, filename, kind = given["originalSource"], given.get("filename"), given.get("contentType")
    replaces = given["duplicateResolutionMode"] == "REPLACE"
    bad_url = "INVALID_IMAGE_SOURCE_URL" if "://" in source else "INVALID"
    mismatch = "Provided filename extension must match original source."
    no_name = "Missing filename argument when attempting to use REPLACE duplicate mode."
    no_kind = "Duplicate resolution mode is not supported for this file type."
    checks = [
        (is_web_address(source), "originalSource", "File URL is invalid", bad_url),
        (kind in (None, "IMAGE"), "contentType", "The file type is not supported.", "UNACCEPTABLE_ASSET"),
        (len(given.get("alt") or "") <= MOST_ALT, "alt", _LONG_ALT, "ALT_VALUE_LIMIT_EXCEEDED"),
        (
            not filename or _suffix(filename) == _suffix(name_of(source)),
            "filename",
            mismatch,
            "MISMATCHED_FILENAME_AND_ORIGINAL_SOURCE",
        ),
        (filename or not replaces, "filename", no_name, "MISSING_FILENAME_FOR_DUPLICATE_MODE_REPLACE"),
        (kind or not replaces, "duplicateResolutionMode", no_kind, "INVALID_DUPLICATE_MODE_FOR_TYPE"),
    ]
    errors = (user_error(["files", index, name], message, code) for fine, name, message, code in checks if not fine)
    return next(errors, None)


def check_source(source: str) -> None:
    """Raises GraphQLError."""
    if 0 < len(source) <= MOST_SOURCE:
        return
    limit = f"long (maximum is {MOST_SOURCE})" if source else "short (minimum is 1)"
    raise GraphQLError(f"originalSource is too {limit}", extensions={"code": "INVALID_FIELD_ARGUMENTS"})


def is_web_address(source: str) -> bool:
    try:
        parts = urlsplit(source)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def bare(source: str) -> str:
    """An address without its query, where signatures are."""
    return urlsplit(source)._replace(query="", fragment="").geturl()


def address(base: str, shop: Shop, picture: Picture) -> str:
    """Where the CDN has a picture."""
    return f"{base}{shop.name}/cdn/files/{quote(picture.filename or '')}?v={picture.version}"


# ---------------------------------------------------------------------------------------------------------------------
# All shops
# ---------------------------------------------------------------------------------------------------------------------


class Platform:
    """All shops and what they share. Pictures are fetched in threads; everything else happens in the event loop."""

    def __init__(self, control: ShopControl, folder: Path) -> None:
        self.control = control
        self.store = Store(folder)
        self.shops: dict[str, Shop] = {}
        self.numbers = itertools.count(_FIRST_NUMBER)
        self._threads = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch")
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def process(self, shop: Shop, processing: Processing) -> None:
        """Fetch and judge in the background, once the bytes of a staged upload are looked for here."""
        task = asyncio.create_task(self._process(shop, processing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, shop: Shop, processing: Processing) -> None:
        target = shop.targets.get(bare(processing.source))
        try:
            processing.verdict = await self._in_thread(
                self._take_staged if target and target.stored else self._take_fetched,
                (target.stored if target else None) or processing.source,
            )
        except BadPictureError as error:
            processing.verdict = error
        processing.judged = time.time()

    async def _in_thread(self, work: Callable[[Any], Content], given: Any) -> Content:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, given)

    def _take_staged(self, stored: str) -> Content:
        return self.store.take_in(self.store.get(stored))

    def _take_fetched(self, url: str) -> Content:
        return self.store.take_in(fetch(url))

    async def add_own_picture(self, shop: Shop, product: Product, new: NewPicture) -> Picture:
        """A picture that the merchant has added, ready at once. Raises BadPictureError."""
        if (new.base64 is None) == (new.url is None):
            raise BadPictureError("IMAGE_DOWNLOAD_FAILURE", "a picture needs either base64 or url")
        if new.base64 is not None:
            content = await self._in_thread(self.store.take_in, new.base64)
        else:
            content = await self._in_thread(self._take_fetched, new.url)
        now = time.time()
        wish = new.filename or (name_of(new.url) if new.url else "picture")
        source = bare(new.url) if new.url else ""
        picture = Picture(
            next(self.numbers), new.alt, now, "merchant", None, source, wish, content=content, updated=now
        )
        shop.add_picture(picture)
        shop.attach(product, picture, new.position)
        return picture

    async def add_product(self, shop: Shop, new: NewProduct) -> Product:
        """Raises BadPictureError."""
        product = shop.add_product(new)
        for picture in new.pictures:
            await self.add_own_picture(shop, product, picture)
        return product

    async def add_shop(self, new: NewShop) -> Shop:
        """Make a shop, or replace the one of this name. Raises BadPictureError."""
        settings = Settings.model_validate(new.model_dump(include=set(Settings.model_fields)))
        shop = Shop(new.shop, settings, self.numbers)
        shop.tokens = dict.fromkeys(new.tokens)
        for product in new.products:
            await self.add_product(shop, product)
        self.shops[shop.name] = shop
        return shop

    def owns(self, client_id: str, client_secret: str) -> list[Shop]:
        """The shops whose app has these credentials."""
        return [
            shop
            for shop in self.shops.values()
            if client_id
            and shop.settings.client_id == client_id
            and secrets.compare_digest(shop.settings.client_secret.encode(), client_secret.encode())
        ]


# ---------------------------------------------------------------------------------------------------------------------
# HTTP: the Admin API
# ---------------------------------------------------------------------------------------------------------------------


class RefusedError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


class Query(NamedTuple):
    """A request to the GraphQL API as it was sent; `read` is what `read_query` makes of its text."""

    text: str
    read: DocumentNode | list[GraphQLError]
    operation: OperationDefinitionNode | None
    variables: dict[str, Any]

    def operations(self) -> list[str]:
        """The operation's name, if it has one, and the fields it asks for."""
        if self.operation is None:
            return []
        name = [self.operation.name.value] if self.operation.name else []
        fields = [node.name.value for node in self.operation.selection_set.selections if isinstance(node, FieldNode)]
        return [*name, *fields]


class AdminApi:
    """What an app calls."""

    def __init__(self, platform: Platform, control: ShopControl, latency: float) -> None:
        """`latency` is how long a GraphQL request takes at least, in seconds."""
        self._platform = platform
        self._control = control
        self._latency = latency

    def routes(self) -> list[Route]:
        return [
            Route("/{shop}/admin/oauth/access_token", self._token, methods=["POST"]),
            Route("/{shop}/admin/api/{version}/graphql.json", self._graphql, methods=["POST"]),
        ]

    async def _token(self, request: Request) -> Response:
        shop = find_shop(self._platform, request)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode(errors="replace")).items()}

        async def handle() -> Response:
            return self._granted(shop, form)

        return await self._control.answer("token", called(shop.name, (), form.get("client_id", "")), handle)

    def _granted(self, shop: Shop, form: Mapping[str, str]) -> Response:
        """The client credentials grant: only for an app of the shop's own organisation."""
        if form.get("grant_type") != "client_credentials":
            raise _oauth_error("unsupported_grant_type", "The grant type is not supported.")
        owners = self._platform.owns(form.get("client_id", ""), form.get("client_secret", ""))
        if not owners:
            raise _oauth_error("invalid_client", "Client authentication failed.")
        if shop not in owners or not shop.settings.permitted:
            raise _oauth_error("shop_not_permitted", "Client credentials cannot be performed on this shop.")
        token = f"shpat_{secrets.token_hex(16)}"
        seconds = shop.settings.token_seconds
        shop.tokens[token] = time.time() + seconds
        shop.tally.tokens_granted += 1
        scope = ",".join(shop.settings.scopes)
        return JSONResponse({"access_token": token, "scope": scope, "expires_in": int(seconds)})

    async def _graphql(self, request: Request) -> Response:
        shop = find_shop(self._platform, request)
        if request.path_params["version"] != API_VERSION:
            raise RefusedError(404, {"errors": "Not Found"})
        shop.tally.requests += 1
        if not shop.knows(request.headers.get("X-Shopify-Access-Token", "")):
            message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            raise RefusedError(401, {"errors": message})
        query = read_body(await request.body())
        operations = query.operations()
        text = called(shop.name, operations, f"{query.text}\n{json.dumps(query.variables, ensure_ascii=False)}")

        async def handle() -> Response:
            await asyncio.sleep(self._latency)
            if fault := self._control.take(["throttled"], text, "graphql"):
                return _as_throttled(self._throttled(shop, self._price(query), empty=True), fault)
            return JSONResponse(self._answer(shop, query, str(request.base_url)))

        response = await self._control.answer("graphql", text, handle)
        response.headers.update({"X-Request-Id": str(uuid.uuid4()), "X-Shopify-API-Version": API_VERSION})
        return response

    def _price(self, query: Query) -> float | None:
        """What is requested, if it can be told."""
        try:
            return priced(query)[1].requested()
        except GraphQLError:
            return None

    def _answer(self, shop: Shop, query: Query, base: str) -> dict[str, Any]:
        try:
            document, price = priced(query)
            requested = price.requested()
            _check_size(price)
        except QueryError as error:
            return {"errors": [one.formatted for one in error.errors]}
        except GraphQLError as error:
            return {"errors": [error.formatted]}
        if requested > MOST_POINTS:
            return _too_dear(requested)
        if not shop.bucket.take(requested):
            return self._throttled(shop, requested)
        call = Call(shop, self._platform, base, query.operations())
        result = execute_sync(
            SCHEMA,
            document,
            call.root(),
            call,
            query.variables,
            query.operation.name.value if query.operation and query.operation.name else None,
            call.resolve,
        )
        shop.bucket.give_back(requested - call.spent)
        self._note(shop, query, call.spent)
        extensions: dict[str, Any] = {"cost": cost(shop, requested, call.spent)}
        if call.warnings:
            extensions["search"] = call.warnings
        errors = {"errors": [_formatted(error) for error in result.errors]} if result.errors else {}
        return {**errors, "data": result.data, "extensions": extensions}

    def _note(self, shop: Shop, query: Query, spent: float) -> None:
        name = (query.operations() or ["?"])[0]
        shop.tally.points += spent
        shop.tally.points_by_operation[name] += spent  # type: ignore[assignment]  # a Counter counts fractions as well
        number = str(len(self._control.charges) + 1)
        self._control.charge(number, shop=shop.name, operation=name, points=round(spent, 1))

    def _throttled(self, shop: Shop, requested: float | None, *, empty: bool = False) -> dict[str, Any]:
        """The refusal of a query that costs more than is there; `empty` tells that nothing is."""
        shop.tally.throttled.append(time.time())
        told = cost(shop, requested, None)
        if empty:
            told["throttleStatus"]["currentlyAvailable"] = 0
        details = {"code": "THROTTLED", "documentation": f"{_DOCUMENTATION}rate-limits"}
        return {"errors": [{"message": "Throttled", "extensions": details}], "extensions": {"cost": told}}


class QueryError(Exception):
    """A query that is not executed."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def read_body(body: bytes) -> Query:
    """Raises RefusedError (400) if this is no request in JSON with a query."""
    try:
        given = json.loads(body)
        text, variables, name = given["query"], given.get("variables") or {}, given.get("operationName")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(400, {"errors": {"query": "Required parameter missing or invalid"}}) from error
    if not isinstance(text, str) or not isinstance(variables, dict):
        raise RefusedError(400, {"errors": {"query": "Required parameter missing or invalid"}})
    read = read_query(text)
    return Query(text, read, get_operation_ast(read, name) if isinstance(read, DocumentNode) else None, variables)


def priced(query: Query) -> tuple[DocumentNode, Price]:
    """A query that can be executed, and what tells its price. Raises QueryError."""
    if not isinstance(query.read, DocumentNode):
        raise QueryError(query.read)
    if query.operation is None:
        raise QueryError([GraphQLError("An operation name is required")])
    variables = get_variable_values(SCHEMA, query.operation.variable_definitions or (), query.variables)
    if isinstance(variables, list):
        for error in variables:
            error.extensions = {"code": "INVALID_VARIABLE"}
        raise QueryError(variables)
    return query.read, Price(query.read, query.operation, variables)


def _check_size(price: Price) -> None:
    """Raises QueryError."""
    errors = [
        GraphQLError(
            f"The input array size of {size} is greater than the maximum allowed of {MOST_INPUTS}.",
            path=path,
            extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"},
        )
        for name, arguments in price.root_arguments()
        for size, path in oversized(arguments, [name])
    ]
    if errors:
        raise QueryError(errors)


def cost(shop: Shop, requested: float | None, actual: float | None) -> dict[str, Any]:
    return {
        "requestedQueryCost": None if requested is None else round(requested, 1),
        "actualQueryCost": None if actual is None else round(actual, 1),
        "throttleStatus": {
            "maximumAvailable": shop.bucket.most,
            "currentlyAvailable": round(shop.bucket.available(), 1),
            "restoreRate": shop.bucket.rate,
        },
    }


def _too_dear(requested: float) -> dict[str, Any]:
    points = round(requested, 1)
    message = f"Query cost is {points}, which exceeds the single query max cost limit ({MOST_POINTS})."
    details = {
        "code": "MAX_COST_EXCEEDED",
        "cost": points,
        "maxCost": MOST_POINTS,
        "documentation": f"{_DOCUMENTATION}rate-limits",
    }
    return {"errors": [{"message": message, "extensions": details}]}


def _as_throttled(body: dict[str, Any], fault: ShopFault) -> Response:
    if fault.status != 429:
        return JSONResponse(body)
    seconds = 1.0 if fault.seconds is None else fault.seconds
    return JSONResponse(body, 429, headers={"Retry-After": str(seconds)})


def _formatted(error: GraphQLError) -> Mapping[str, Any]:
    """An error as it is answered; one of the stand-in's own is also told on stderr."""
    if error.original_error and not isinstance(error.original_error, GraphQLError):
        traceback.print_exception(error.original_error, file=sys.stderr)
        return {"message": "Internal error", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
    return error.formatted


def _oauth_error(error: str, description: str) -> RefusedError:
    return RefusedError(400, {"error": error, "error_description": description})


def find_shop(platform: Platform, request: Request) -> Shop:
    """The shop that a path names. Raises RefusedError (404)."""
    shop = platform.shops.get(request.path_params["shop"].lower())
    if shop is None:
        raise RefusedError(404, {"errors": "Not Found"})
    shop.settle(time.time())
    return shop


# ---------------------------------------------------------------------------------------------------------------------
# HTTP: uploads and the CDN
# ---------------------------------------------------------------------------------------------------------------------


class Files:
    """Staged uploads, and the CDN."""

    def __init__(self, platform: Platform, control: ShopControl) -> None:
        self._platform = platform
        self._control = control

    def routes(self) -> list[Route]:
        return [
            Route("/{shop}/staged-uploads/", self._post, methods=["POST"]),
            Route("/{shop}/staged-uploads/{key:path}", self._put, methods=["PUT"]),
            Route("/{shop}/staged-uploads/{key:path}", self._hidden, methods=["GET"]),
            Route("/{shop}/cdn/files/{name}", self._picture, methods=["GET"]),
        ]

    async def _post(self, request: Request) -> Response:
        """A form with the target's parameters, and the file as its last field."""
        shop = find_shop(self._platform, request)
        fields, data = read_form(await _read(request), request.headers.get("Content-Type", ""))
        target = next((one for one in shop.targets.values() if one.key == fields.get("key")), None)

        async def handle() -> Response:
            if target is None or target.method != "POST" or {**fields, **target.parameters} != fields:
                raise _storage_error(403, "AccessDenied", "The form does not fit the policy.")
            await self._keep(target, data)
            body = f"<PostResponse><Location>{target.resource_url}</Location><Key>{target.key}</Key></PostResponse>"
            return Response(body, 201, media_type="application/xml")

        return await self._control.answer("upload", called(shop.name, (), fields.get("key", "")), handle)

    async def _put(self, request: Request) -> Response:
        shop = find_shop(self._platform, request)
        target = shop.targets.get(str(request.url.replace(query="")))
        data = await _read(request)

        async def handle() -> Response:
            fits = target and target.method == "PUT" and str(request.url) == target.url
            if target is None or not fits or request.headers.get("Content-Type") != target.mime:
                raise _storage_error(403, "SignatureDoesNotMatch", "The request does not fit the signature.")
            await self._keep(target, data)
            return Response(status_code=200)

        return await self._control.answer("upload", called(shop.name, (), request.path_params["key"]), handle)

    async def _keep(self, target: Target, data: bytes) -> None:
        if time.time() - target.created > STAGED_SECONDS:
            raise _storage_error(403, "AccessDenied", "The policy has expired.")
        if not data:
            raise _storage_error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed.")
        if len(data) > MOST_BYTES:
            raise _storage_error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        target.stored = await asyncio.to_thread(self._platform.store.put, data)

    async def _hidden(self, request: Request) -> Response:
        find_shop(self._platform, request)
        raise _storage_error(403, "AccessDenied", "Staged uploads are private.")

    async def _picture(self, request: Request) -> Response:
        shop = find_shop(self._platform, request)
        name = request.path_params["name"]

        async def handle() -> Response:
            picture = shop.by_filename.get(name)
            if picture is None or picture.content is None:
                raise RefusedError(404, {"errors": "Not Found"})
            data = await asyncio.to_thread(self._platform.store.get, picture.content.sha256)
            return Response(data, media_type=picture.content.mime)

        return await self._control.answer("cdn", called(shop.name, (), name), handle)


async def _read(request: Request) -> bytes:
    """A body, of which no more is kept than what tells that it is too large."""
    kept = bytearray()
    async for piece in request.stream():
        kept += piece[: max(0, MOST_BYTES + 100_000 - len(kept))]
    return bytes(kept)


def read_form(body: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    """A form's fields and its file. What follows the file does not count, as with Google's storage."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    fields: dict[str, str] = {}
    if not boundary:
        return fields, b""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name and name[1] == b"file":
            return fields, value
        if name:
            fields[name[1].decode(errors="replace")] = value.decode(errors="replace")
    return fields, b""


def _storage_error(status: int, code: str, message: str) -> RefusedError:
    return RefusedError(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>")


# ---------------------------------------------------------------------------------------------------------------------
# HTTP: for tests
# ---------------------------------------------------------------------------------------------------------------------


class Hands:
    """Shops are made, looked into, and changed by hand."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[Route]:
        shop, product = "/_shops/{shop}", "/_shops/{shop}/products/{product:path}"
        media = "media/{picture:path}"
        calls = [
            ("GET", "/_shops", self._list),
            ("POST", "/_shops", self._make),
            ("GET", shop, self._look),
            ("PATCH", shop, self._set),
            ("DELETE", shop, self._close),
            ("POST", f"{shop}/revoke", self._revoke),
            ("POST", f"{shop}/products", self._add_product),
            ("POST", f"{product}/media", self._add_picture),
            ("PUT", f"{product}/media", self._order),
            ("DELETE", f"{product}/{media}", self._detach),
            ("PATCH", product, self._edit_product),
            ("DELETE", product, self._delete_product),
            ("PATCH", f"{shop}/{media}", self._edit_picture),
            ("DELETE", f"{shop}/{media}", self._delete_picture),
        ]
        return [Route(path, _checked(handle), methods=[method]) for method, path, handle in calls]

    def _named(self, request: Request) -> Shop:
        return find_shop(self._platform, request)

    def _product(self, request: Request) -> tuple[Shop, Product]:
        shop = self._named(request)
        product = shop.products.get(_plain_number(request.path_params["product"]))
        if product is None:
            raise RefusedError(404, {"errors": "no such product"})
        return shop, product

    def _picture(self, shop: Shop, identifier: str) -> Picture:
        picture = shop.pictures.get(_plain_number(identifier))
        if picture is None:
            raise RefusedError(404, {"errors": "no such picture"})
        return picture

    # ------------------------------------------------------------------ shops

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"shops": sorted(self._platform.shops)})

    async def _make(self, request: Request) -> Response:
        shop = await self._platform.add_shop(NewShop.model_validate(await request.json()))
        return JSONResponse(look(shop, str(request.base_url)), 201)

    async def _look(self, request: Request) -> Response:
        return JSONResponse(look(self._named(request), str(request.base_url)))

    async def _set(self, request: Request) -> Response:
        shop = self._named(request)
        given = await request.json()
        shop.settings = Settings.model_validate({**shop.settings.model_dump(), **given})
        if {"restore_rate", "bucket"} & set(given):
            shop.fill_bucket()
        return JSONResponse(look(shop, str(request.base_url)))

    async def _close(self, request: Request) -> Response:
        del self._platform.shops[self._named(request).name]
        return Response(status_code=204)

    async def _revoke(self, request: Request) -> Response:
        self._named(request).tokens.clear()
        return Response(status_code=204)

    # ------------------------------------------------------------------ products

    async def _add_product(self, request: Request) -> Response:
        shop = self._named(request)
        product = await self._platform.add_product(shop, NewProduct.model_validate(await request.json()))
        return JSONResponse(_look_at_product(product, shop, str(request.base_url)), 201)

    async def _edit_product(self, request: Request) -> Response:
        shop, product = self._product(request)
        current = {"title": product.title, "handle": product.handle, "status": product.status}
        new = NewProduct.model_validate({**current, **await request.json()})
        product.title, product.handle, product.status = new.title, new.handle, new.status
        product.touch(time.time())
        return JSONResponse(_look_at_product(product, shop, str(request.base_url)))

    async def _delete_product(self, request: Request) -> Response:
        shop, product = self._product(request)
        shop.delete_product(product)
        return Response(status_code=204)

    # ------------------------------------------------------------------ pictures

    async def _add_picture(self, request: Request) -> Response:
        shop, product = self._product(request)
        new = NewPicture.model_validate(await request.json())
        picture = await self._platform.add_own_picture(shop, product, new)
        return JSONResponse(_look_at_picture(picture, shop, str(request.base_url)), 201)

    async def _order(self, request: Request) -> Response:
        shop, product = self._product(request)
        given = [self._picture(shop, str(one)) for one in (await request.json())["order"]]
        rest = [picture for picture in product.media if picture not in given]
        product.media = [*(picture for picture in given if picture in product.media), *rest]
        product.touch(time.time())
        return JSONResponse(_look_at_product(product, shop, str(request.base_url)))

    async def _detach(self, request: Request) -> Response:
        shop, product = self._product(request)
        shop.detach(product, self._picture(shop, request.path_params["picture"]))
        return Response(status_code=204)

    async def _edit_picture(self, request: Request) -> Response:
        shop = self._named(request)
        picture = self._picture(shop, request.path_params["picture"])
        picture.alt = str((await request.json())["alt"])
        shop.changed(picture, time.time())
        return JSONResponse(_look_at_picture(picture, shop, str(request.base_url)))

    async def _delete_picture(self, request: Request) -> Response:
        shop = self._named(request)
        shop.delete_picture(self._picture(shop, request.path_params["picture"]))
        return Response(status_code=204)


Handler = Callable[[Request], Awaitable[Response]]


def _checked(handle: Handler) -> Handler:
    """The same, where input that makes no sense is answered with 400."""

    async def answer(request: Request) -> Response:
        try:
            return await handle(request)
        except (ValueError, KeyError, TypeError, BadPictureError) as error:
            raise RefusedError(400, {"errors": f"{type(error).__name__}: {error}"}) from error

    return answer


def look(shop: Shop, base: str) -> dict[str, Any]:
    """A shop's whole state."""
    tally = shop.tally
    return {
        "shop": shop.name,
        **shop.settings.model_dump(exclude={"client_secret"}),
        "products": [_look_at_product(product, shop, base) for product in shop.products.values()],
        "files": [_look_at_picture(picture, shop, base) for picture in shop.pictures.values()],
        "requests": tally.requests,
        "tokens_granted": tally.tokens_granted,
        "points": {
            "total": round(tally.points, 1),
            "by_operation": {name: round(points, 1) for name, points in tally.points_by_operation.items()},
            "available": round(shop.bucket.available(), 1),
        },
        "throttled": {"count": len(tally.throttled), "times": tally.throttled},
        "mutations": dict(tally.mutations),
    }


def _look_at_product(product: Product, shop: Shop, base: str) -> dict[str, Any]:
    return {
        "id": product.id,
        "title": product.title,
        "handle": product.handle,
        "status": product.status,
        "created_at": product.created,
        "updated_at": product.updated,
        "variants": [
            {"id": variant.id, "sku": variant.sku, "barcode": variant.barcode, "title": variant.title}
            for variant in product.variants
        ],
        "media": [_look_at_picture(picture, shop, base) for picture in product.media],
    }


def _look_at_picture(picture: Picture, shop: Shop, base: str) -> dict[str, Any]:
    content, failure = picture.content, picture.failure
    return {
        "id": picture.id,
        "alt": picture.alt,
        "status": picture.status(time.time()),
        "url": address(base, shop, picture) if content else None,
        "filename": picture.filename,
        "created_by": picture.created_by,
        "operation": picture.operation,
        "source": picture.source,
        "created_at": picture.created,
        "updated_at": picture.updated,
        "products": [product.id for product in picture.products],
        "error": {"code": failure.code, "message": str(failure)} if failure else None,
        **dict.fromkeys(Content._fields),
        **(content._asdict() if content else {}),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RefusedError):
        if isinstance(error.body, str):
            return Response(error.body, error.status, media_type="application/xml")
        return JSONResponse(error.body, error.status)
    return JSONResponse({"errors": "Not Found"}, 404)


def application(latency: float) -> Starlette:
    """The stand-in as an ASGI application, without a shop."""
    control = ShopControl()
    folder = tempfile.TemporaryDirectory(prefix="shops-")
    platform = Platform(control, Path(folder.name))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with folder:
            yield
            platform.stop()

    admin, files = AdminApi(platform, control, latency), Files(platform, control)
    return Starlette(
        routes=[*control.routes(), *Hands(platform).routes(), *admin.routes(), *files.routes()],
        exception_handlers={RefusedError: _refused, 404: _refused},
        lifespan=lifespan,
    )


def main() -> None:
    arguments = parser("The stand-in of Shopify's shops.")
    arguments.add_argument("--latency", type=float, default=0, help="seconds a GraphQL request takes at least")
    given = arguments.parse_args()
    serve(application(given.latency), given.port)


if __name__ == "__main__":
    main()
