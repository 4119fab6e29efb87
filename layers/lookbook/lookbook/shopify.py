"""Shopify's Admin API: the one module that knows its GraphQL documents, errors, tokens and pace.

Costs are in points, as Shopify's documentation counts them (https://shopify.dev/docs/api/usage/limits): an object is 1,
a connection 2 and its objects, a scalar 0, a mutation 10 and about 1.9 for each file. One call may ask for at most
1000. What it asks for has to be in the shop's bucket when it arrives (2000 points, filled by 100 a second on the
smallest plan); what it did not need is given back with its answer.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from lookbook.errors import InputError, LookbookError
from lookbook.logging import logger
from lookbook.providers.http import read_key, retry_after

API_VERSION: Final = "2026-10"
REQUIRED_SCOPES: Final = ("write_products", "write_files")  # a write scope implies its read scope

TIMEOUT: Final = urllib3.Timeout(connect=5, read=30)
# Before the second and the third try of a query that nothing answered. No other layer repeats it; no mutation is
# repeated at all, as Shopify knows no idempotency key for media.
QUERY_PAUSES: Final = (1.0, 3.0)
THROTTLED_SECONDS: Final = 60.0  # so long one call may wait while the shop has no points for it
GRANT_SPARE_SECONDS: Final = 600.0  # a granted token is replaced so long before it expires; it is good for a day
MUTATION_POINTS: Final = 10
FILE_POINTS: Final = 1.9  # for each file that a mutation is about
LONGEST_INPUT: Final = 250  # of any list; 485 points for files
GLANCE_BATCH: Final = 200  # 400 points
MEDIA_A_PAGE: Final = 30  # more than most products have
READ_BATCH: Final = 14  # 882 points asked for
MEDIA_A_FURTHER_PAGE: Final = 100  # 203 points
ADDED_POINTS: Final = 800  # asked for in one call
REASONS_BATCH: Final = 200  # 600 points
VARIANTS_A_PAGE: Final = 250  # 502 points
# So many calls may go to finding out which files of a delete or update are at fault, beyond one per batch.
SORTING_OUT_CALLS: Final = 40

NEW_CREDENTIALS: Final = "Give the store new credentials with: lookbook stores add STORE --replace"

DESCRIBE: Final = "query Describe { shop { name } currentAppInstallation { accessScopes { handle } } }"
GLANCE: Final = (
    "query Glance($ids: [ID!]!) { nodes(ids: $ids) { ... on Product { id updatedAt mediaCount { count } } } }"
)
READ: Final = """query Read($ids: [ID!]!, $first: Int!, $after: String) {
  nodes(ids: $ids) { ... on Product { id title updatedAt media(first: $first, after: $after) {
    nodes { id alt mediaContentType status ... on MediaImage { fileStatus createdAt image { url } } }
    pageInfo { hasNextPage endCursor }
  } } }
}"""
ADDED: Final = """query Added($ids: [ID!]!, $count: Int!) {
  nodes(ids: $ids) { ... on Product { id updatedAt media(last: $count) {
    nodes { id alt mediaContentType status ... on MediaImage { fileStatus createdAt } }
  } } }
}"""
REASONS: Final = """query Reasons($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on Media { id mediaErrors { code message } }
    ... on MediaImage { fileErrors { code message } }
  }
}"""
VARIANTS: Final = """query Variants($first: Int!, $after: String) {
  productVariants(first: $first, after: $after) {
    nodes { sku barcode product { id handle title } }
    pageInfo { hasNextPage endCursor }
  }
}"""
ADD_MEDIA: Final = """mutation AddMedia($product: ProductUpdateInput!, $media: [CreateMediaInput!]!) {
  productUpdate(product: $product, media: $media) { userErrors { field message } }
}"""
REORDER: Final = """mutation Reorder($id: ID!, $moves: [MoveInput!]!) {
  productReorderMedia(id: $id, moves: $moves) { mediaUserErrors { field message code } }
}"""
DELETE_FILES: Final = """mutation DeleteFiles($ids: [ID!]!) {
  fileDelete(fileIds: $ids) { deletedFileIds userErrors { field message code } }
}"""
SET_ALTS: Final = """mutation SetAlts($files: [FileUpdateInput!]!) {
  fileUpdate(files: $files) { userErrors { field message code } }
}"""
DOCUMENTS: Final = (DESCRIBE, GLANCE, READ, ADDED, REASONS, VARIANTS, ADD_MEDIA, REORDER, DELETE_FILES, SET_ALTS)


class ShopError(LookbookError):
    """The shop cannot be used as things are: the token was revoked, the shop is gone, or the scopes do not suffice."""


class ShopUnavailableError(LookbookError):
    """The shop did not answer, or has no points for long; another try may help.

    `uncertain`: a mutation was sent, and may have been carried out.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


class _NoAnswerError(ShopUnavailableError):
    """No answer, or one that says that Shopify itself failed: a query may be sent again."""


class ShopProductError(LookbookError):
    """Shopify refused to change a product, for the reason in the text."""


# ---------------------------------------------------------------------- credentials


@dataclass(frozen=True, slots=True)
class AdminToken:
    """The token of an app that was made in the shop's own admin."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An app of the shop's organisation, for which Shopify grants tokens that are good for a day."""

    client_id: str
    client_secret: str = field(repr=False)


Credentials: TypeAlias = AdminToken | ClientCredentials


class _Secret(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    token: str = ""
    client_id: str = ""
    client_secret: str = ""


def credentials_from_json(text: str) -> Credentials:
    """Return credentials as they lie in Secrets Manager. Raises ShopError if they are neither kind."""
    try:
        found = _Secret.model_validate_json(text)
    except ValidationError as error:
        raise ShopError(f"The shop's credentials cannot be read. {NEW_CREDENTIALS}") from error
    if found.token:
        return AdminToken(found.token)
    if found.client_id and found.client_secret:
        return ClientCredentials(found.client_id, found.client_secret)
    raise ShopError(f"The shop's credentials are not complete. {NEW_CREDENTIALS}")


def credentials_to_json(credentials: Credentials) -> str:
    return json.dumps(asdict(credentials))


# ---------------------------------------------------------------------- what a shop tells


@dataclass(frozen=True, slots=True)
class Media:
    """One of a product's pictures, films or models. `status` is UPLOADED, PROCESSING, READY or FAILED."""

    media_id: str
    status: str
    alt: str
    url: str  # "" while there is none
    created_at: str  # "" for what is no picture
    error: str  # why it failed: Shopify's code and message
    is_image: bool


@dataclass(frozen=True, slots=True)
class ShopProduct:
    """A product with all its media, in the shop's order."""

    shop_product_id: str
    title: str
    updated_at: str
    media: tuple[Media, ...]


@dataclass(frozen=True, slots=True)
class Glance:
    updated_at: str
    media_count: int


@dataclass(frozen=True, slots=True)
class Added:
    """A product's last media; their URLs are not asked for."""

    updated_at: str
    media: tuple[Media, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    shop_product_id: str
    handle: str
    title: str
    sku: str
    barcode: str


@dataclass(frozen=True, slots=True)
class ShopInfo:
    name: str
    scopes: frozenset[str]

    @property
    def missing(self) -> tuple[str, ...]:
        """The required scopes that are not granted."""
        return tuple(scope for scope in REQUIRED_SCOPES if scope not in self.scopes)


def product_gid(text: str) -> str:
    """Return a product's global id, given that or its number. Raises InputError."""
    found = re.fullmatch(r"(?:gid://shopify/Product/)?([1-9][0-9]{0,17})", text.strip())
    if not found:
        raise InputError(
            f"{text[:80]!r} is not a product of Shopify; give its number, such as 632910392, "
            "or gid://shopify/Product/632910392."
        )
    return f"gid://shopify/Product/{found[1]}"


# ---------------------------------------------------------------------- Shopify's answers, as its schema promises them

_Status: TypeAlias = Literal["UPLOADED", "PROCESSING", "READY", "FAILED"]


class _Answer(BaseModel):
    # Validation errors are kept as causes, and would quote tokens and URLs.
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class _Grant(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str = Field(min_length=1)
    expires_in: float = 86_399.0


class _Cost(_Answer):
    requested: float | None = Field(None, validation_alias="requestedQueryCost")
    actual: float | None = Field(None, validation_alias="actualQueryCost")
    maximum: float = Field(gt=0, validation_alias=AliasPath("throttleStatus", "maximumAvailable"))
    available: float = Field(validation_alias=AliasPath("throttleStatus", "currentlyAvailable"))
    rate: float = Field(gt=0, validation_alias=AliasPath("throttleStatus", "restoreRate"))


class _TopLevelError(_Answer):
    message: str = ""
    code: str = Field("", validation_alias=AliasPath("extensions", "code"))
    needed: str = Field("", validation_alias=AliasPath("extensions", "requiredAccess"))


class _Envelope(_Answer):
    data: dict[str, Any] | None = None
    errors: list[_TopLevelError] | None = None
    cost: _Cost | None = Field(None, validation_alias=AliasPath("extensions", "cost"))


class _Scope(_Answer):
    handle: str


class _Description(_Answer):
    name: str = Field(validation_alias=AliasPath("shop", "name"))
    scopes: list[_Scope] = Field(validation_alias=AliasPath("currentAppInstallation", "accessScopes"))


class _Nodes(_Answer):
    nodes: list[dict[str, Any] | None]


class _GlancedProduct(_Answer):
    id: str
    updated_at: str
    count: int = Field(0, validation_alias=AliasPath("mediaCount", "count"))


class _Media(_Answer):
    id: str
    alt: str | None
    media_content_type: str
    status: _Status
    file_status: _Status | None = None
    created_at: str = ""
    url: str = Field("", validation_alias=AliasPath("image", "url"))

    def failed(self) -> bool:
        return "FAILED" in {self.status, self.file_status}

    def told(self, reasons: Mapping[str, str]) -> Media:
        status = "FAILED" if self.failed() else self.file_status or self.status
        error = reasons.get(self.id, "Shopify gave no reason.") if self.failed() else ""
        is_image = self.media_content_type == "IMAGE"
        return Media(self.id, status, self.alt or "", self.url, self.created_at, error, is_image)


class _AddedProduct(_Answer):
    id: str
    updated_at: str
    media: list[_Media] = Field(validation_alias=AliasPath("media", "nodes"))


class _ReadProduct(_AddedProduct):
    title: str
    more: bool = Field(validation_alias=AliasPath("media", "pageInfo", "hasNextPage"))
    cursor: str | None = Field(validation_alias=AliasPath("media", "pageInfo", "endCursor"))


class _Fault(_Answer):
    code: str
    message: str


class _FailedMedia(_Answer):
    id: str
    media_errors: list[_Fault] = []
    file_errors: list[_Fault] = []


class _Variant(_Answer):
    sku: str | None
    barcode: str | None
    product_id: str = Field(validation_alias=AliasPath("product", "id"))
    handle: str = Field(validation_alias=AliasPath("product", "handle"))
    title: str = Field(validation_alias=AliasPath("product", "title"))


class _Variants(_Answer):
    nodes: list[_Variant] = Field(validation_alias=AliasPath("productVariants", "nodes"))
    more: bool = Field(validation_alias=AliasPath("productVariants", "pageInfo", "hasNextPage"))
    cursor: str | None = Field(validation_alias=AliasPath("productVariants", "pageInfo", "endCursor"))


class _UserError(_Answer):
    message: str
    field: list[str] | None = None
    code: str | None = None

    def told(self) -> str:
        return _quoted(f"{self.code}: {self.message}" if self.code else self.message)

    def is_about(self, ids: Sequence[str]) -> list[str]:
        """Return which of the ids that were sent it names, by their index in `field` or in its message."""
        indexes = [int(part) for part in (self.field or []) if part.isdecimal()]
        if indexes:
            return [ids[indexes[0]]] if indexes[0] < len(ids) else []
        return [each for each in ids if re.search(rf"{re.escape(each)}(?![0-9])", self.message)]


class _Change(_Answer):
    errors: list[_UserError] = Field(validation_alias=AliasChoices("userErrors", "mediaUserErrors"))
    deleted_file_ids: list[str] | None = None


def _quoted(text: str) -> str:
    """Return the start of Shopify's own words, without what may be a signature in a URL."""
    return re.sub(r"(https?://[^\s?\"']*)\?[^\s\"']*", r"\1", " ".join(text.split()))[:200]


def _batches(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the ids in batches, each id once."""
    each = list(dict.fromkeys(ids))
    for start in range(0, len(each), size):
        yield each[start : start + size]


# ---------------------------------------------------------------------- pace

_TINY: Final = 0.001  # points or seconds that do not matter


class _Pace:
    """How many points the shop's bucket should hold, for all threads, less what calls under way have reserved."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.points = 0.0  # spent
        self.throttled = 0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held while waiting, so that small calls do not starve a large one
        self._reserved = 0.0
        self._available = self._maximum = self._rate = 0.0  # the rate is 0 until an answer has told it
        self._since = 0.0
        self._paused_until = -math.inf
        self._times_dearer: dict[str, float] = {}  # than we expect a document to be, by its last answer

    def reserve(self, document: str, points: float) -> float:
        """Wait until the bucket holds what a call will ask for; return it, to be given to `settle`."""
        with self._turn:
            while True:
                with self._lock:
                    now = self._clock()
                    wait = self._paused_until - now
                    expected = points * self._times_dearer.get(document, 1.0)
                    if self._rate:
                        expected = min(expected, self._maximum)
                        self._available = min(self._maximum, self._available + (now - self._since) * self._rate)
                        self._since = now
                        wait = max(wait, (expected - self._available) / self._rate)
                    elif self._reserved > _TINY:  # nothing is known yet: the first call goes alone
                        wait = max(wait, 0.1)
                    if wait <= _TINY:
                        self._available -= expected
                        self._reserved += expected
                        return expected
                    if self._reserved > _TINY:  # an answer under way may tell of more
                        wait = min(wait, 0.25)
                self._sleep(wait)

    def settle(self, document: str, points: float, reserved: float, cost: _Cost | None, pause: float | None) -> None:
        """Take note of a call's end. With a pause, in seconds, it was throttled: until then nobody calls."""
        with self._lock:
            self._reserved -= reserved
            if pause is not None:
                self.throttled += 1
                self._paused_until = max(self._paused_until, self._clock() + pause)
            if cost is None:  # it may have been carried out: what it reserved does not come back
                return
            self.points += cost.actual or 0.0
            if cost.requested:
                self._times_dearer[document] = cost.requested / points
            self._maximum, self._rate = cost.maximum, cost.rate
            self._available, self._since = cost.available - self._reserved, self._clock()


# ---------------------------------------------------------------------- requests and tokens


def _request(
    pool: urllib3.PoolManager, domain: str, url: str, body: str, headers: dict[str, str], *, uncertain: bool
) -> urllib3.BaseHTTPResponse:
    """Send once. Raises ShopUnavailableError, `uncertain` as given if the request may have arrived."""
    more: dict[str, Any] = {"timeout": TIMEOUT, "retries": False, "redirect": False}
    try:
        answer = pool.request("POST", url, body=body.encode(), headers=headers, **more)
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
        raise _NoAnswerError(f"{domain} cannot be reached.") from error
    except urllib3.exceptions.HTTPError as error:
        raise _NoAnswerError(f"{domain} did not answer in time.", uncertain=uncertain) from error
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT:
        raise _NoAnswerError(f"{domain} failed (HTTP {answer.status}).", uncertain=uncertain)
    return answer


class _Tokens:
    """The token that calls are made with: the shop's own, or a granted one. `url` is the shop's."""

    def __init__(
        self,
        domain: str,
        url: str,
        credentials: Callable[[], Credentials],
        pool: urllib3.PoolManager,
        clock: Callable[[], float],
    ) -> None:
        self._domain, self._url, self._credentials, self._pool, self._clock = domain, url, credentials, pool, clock
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = -math.inf

    def get(self) -> str:
        with self._lock:
            if self._clock() >= self._good_until:
                self._fetch()
            return self._token

    def renew(self, refused: str) -> str:
        """Return a token to try instead of a refused one. Raises ShopError if there is none."""
        with self._lock:
            if self._token == refused:  # no other thread has renewed it yet
                self._good_until = -math.inf
                granted = self._fetch()
                if self._token == refused and not granted:
                    raise self.revoked()
            return self._token

    def revoked(self) -> ShopError:
        return ShopError(
            f"{self._domain} does not accept the app's token: it was revoked, or the app was uninstalled. Install the "
            f"app again or make a new token. {NEW_CREDENTIALS}"
        )

    def _fetch(self) -> bool:
        """Read the credentials and keep their token; return whether it was granted."""
        try:
            found = self._credentials()
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"].get("Code") == "ResourceNotFoundException":
                raise ShopError(f"{self._domain} has no credentials. {NEW_CREDENTIALS}") from error
            said = f"The credentials of {self._domain} cannot be read from Secrets Manager."
            raise ShopUnavailableError(said) from error
        if isinstance(found, AdminToken):
            self._token, self._good_until = read_key(lambda: found.token), math.inf
            return False
        grant = self._grant(found)
        self._token = read_key(lambda: grant.access_token)
        self._good_until = self._clock() + grant.expires_in - GRANT_SPARE_SECONDS
        return True

    def _grant(self, app: ClientCredentials) -> _Grant:
        form = {"grant_type": "client_credentials", "client_id": app.client_id, "client_secret": app.client_secret}
        body = urlencode({name: value.strip() for name, value in form.items()})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url = f"{self._url}/admin/oauth/access_token"
        answer = _request(self._pool, self._domain, url, body, headers, uncertain=False)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _NoAnswerError(f"Shopify grants no token for {self._domain} just now (HTTP 429).")
        if b"shop_not_permitted" in answer.data:
            raise ShopError(
                f"Shopify grants the app no token for {self._domain}, because app and shop do not belong to the same "
                f"organisation. Make an app in the shop's own organisation and install it. {NEW_CREDENTIALS}"
            )
        if answer.status != HTTPStatus.OK:
            raise ShopError(
                f"Shopify grants the app no token for {self._domain} (HTTP {answer.status}). Check its client id and "
                f"secret, and that it is installed there. {NEW_CREDENTIALS}"
            )
        try:
            return _Grant.model_validate_json(answer.data)
        except ValidationError as error:
            raise _unexpected(self._domain, uncertain=False) from error


# ---------------------------------------------------------------------- the shop

_Shape = TypeVar("_Shape", bound=BaseModel)
_CLOSED: Final[Mapping[int, str]] = {
    402: "is frozen until its owner pays Shopify's bill.",
    403: "lets the app do nothing. Check that it is installed there with the scopes "
    f"{' and '.join(REQUIRED_SCOPES)}. {NEW_CREDENTIALS}",
    404: f"is not known to Shopify. Check its domain. {NEW_CREDENTIALS}",
    423: "is locked by Shopify; its owner has to ask Shopify's support.",
}


class Shop:
    """A shop of Shopify's, to be used by several threads at a time.

    `domain` is its myshopify.com domain and `admin_url` a pattern such as `https://{shop}`. `credentials` reads them;
    it is called before the first call, and when a token is refused or expires. Every method may raise ShopError and
    ShopUnavailableError. Products that do not exist are left out of what is returned.
    """

    def __init__(
        self,
        domain: str,
        admin_url: str,
        credentials: Callable[[], Credentials],
        pool: urllib3.PoolManager | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.domain = domain
        self._url = admin_url.replace("{shop}", domain).rstrip("/")
        self._pool = pool or urllib3.PoolManager(timeout=TIMEOUT, retries=False, maxsize=8)
        self._clock, self._sleep = clock, sleep
        self._tokens = _Tokens(domain, self._url, credentials, self._pool, clock)
        self._pace = _Pace(clock, sleep)

    @property
    def points(self) -> float:
        """What all calls so far really cost, in points."""
        return self._pace.points

    @property
    def throttled(self) -> int:
        """How often the shop had no points for a call."""
        return self._pace.throttled

    # ------------------------------------------------------------------ queries

    def describe(self) -> ShopInfo:
        """Return the shop's name and what the app may do there: about 3 points."""
        told = self._shaped(_Description, self._ask(DESCRIBE, {}, 3))
        return ShopInfo(told.name, frozenset(scope.handle for scope in told.scopes))

    def glance(self, ids: Sequence[str]) -> dict[str, Glance]:
        """Return when products were last changed, and how many media they have: 2 points each."""
        found = self._nodes(GLANCE, ids, GLANCE_BATCH, 2, _GlancedProduct)
        return {each.id: Glance(each.updated_at, each.count) for each in found}

    def read(self, ids: Sequence[str]) -> dict[str, ShopProduct]:
        """Return products with all their media: 3 points each, 2 for each of the media, 3 more for what failed.

        `updated_at` is from before any further page of media was fetched.
        """
        found: list[tuple[_ReadProduct, list[_Media]]] = []
        for product in self._nodes(READ, ids, READ_BATCH, 3 + 2 * MEDIA_A_PAGE, _ReadProduct, first=MEDIA_A_PAGE):
            media = self._all_media(product)
            if media is not None:
                found.append((product, media))
        reasons = self._reasons(one for _, media in found for one in media)
        return {
            each.id: ShopProduct(each.id, each.title, each.updated_at, tuple(one.told(reasons) for one in media))
            for each, media in found
        }

    def _all_media(self, product: _ReadProduct) -> list[_Media] | None:
        """Return the media of a product of which the first page is known; None if it has been deleted meanwhile."""
        found = {each.id: each for each in product.media}
        first, page = MEDIA_A_FURTHER_PAGE, product
        while page.more:
            more = {"first": first, "after": page.cursor}
            answer = self._nodes(READ, [product.id], 1, 3 + 2 * first, _ReadProduct, **more)
            if not answer:
                return None
            page, known = answer[0], len(found)
            found |= {each.id: each for each in page.media}
            if page.more and len(found) == known:
                raise _unexpected(self.domain, uncertain=False)
        return list(found.values())

    def added(self, ids: Sequence[str], count: int) -> dict[str, Added]:
        """Return products' last `count` media, without their URLs: 3 points each, 1 for each of the media.

        What was added last comes last. What failed is 3 points more.
        """
        size = max(1, min(GLANCE_BATCH, ADDED_POINTS // (3 + count)))
        found = self._nodes(ADDED, ids, size, 3 + count, _AddedProduct, count=count)
        reasons = self._reasons(one for each in found for one in each.media)
        return {each.id: Added(each.updated_at, tuple(one.told(reasons) for one in each.media)) for each in found}

    def _reasons(self, media: Iterable[_Media]) -> dict[str, str]:
        """Return why media failed, by their ids: 3 points for each that did."""
        failed = [each.id for each in media if each.failed()]
        found = self._nodes(REASONS, failed, REASONS_BATCH, 3, _FailedMedia)
        faults = {each.id: [*each.media_errors, *each.file_errors] for each in found}
        return {name: _quoted(f"{why[0].code}: {why[0].message}") for name, why in faults.items() if why}

    def variant_pages(self, after: str | None = None) -> Iterator[tuple[list[Variant], str | None]]:
        """Yield the variants of the shop's products, 250 at a time, each time with the cursor to go on from, if any.

        2 points a page, and 2 a variant.
        """
        while True:
            variables = {"first": VARIANTS_A_PAGE, "after": after}
            page = self._shaped(_Variants, self._ask(VARIANTS, variables, 2 + 2 * VARIANTS_A_PAGE))
            if page.more and page.cursor in {None, after}:
                raise _unexpected(self.domain, uncertain=False)
            after = page.cursor if page.more else None
            variants = [
                Variant(each.product_id, each.handle, each.title, each.sku or "", each.barcode or "")
                for each in page.nodes
            ]
            yield variants, after
            if after is None:
                return

    # ------------------------------------------------------------------ mutations

    def add_media(self, product_id: str, pictures: Sequence[tuple[str, str]]) -> None:
        """Add pictures (URL, alt text) after a product's last one: 10 points and 1.9 each. Raises ShopProductError.

        Shopify fetches them later; what it cannot use becomes FAILED.
        """
        media = [{"mediaContentType": "IMAGE", "originalSource": url, "alt": alt} for url, alt in pictures]
        _check(self._change(ADD_MEDIA, {"product": {"id": product_id}, "media": media}, len(media)))

    def reorder(self, product_id: str, moves: Sequence[tuple[str, int]]) -> None:
        """Move media (id, place from 0), one after the other: 10 points. Raises ShopProductError.

        Shopify does so a moment later, in a job of its own.
        """
        if moves:
            told = [{"id": name, "newPosition": str(place)} for name, place in moves]
            _check(self._change(REORDER, {"id": product_id, "moves": told}, 0))

    def delete_files(self, media_ids: Sequence[str]) -> dict[str, str]:
        """Delete media for ever: 10 points per 250, and 1.9 each. Return why some were not deleted, by their ids.

        What does not exist counts as deleted, so this may be repeated.
        """

        def delete(ids: list[str]) -> list[_UserError]:
            told = self._change(DELETE_FILES, {"ids": ids}, len(ids))
            silent = [] if told.errors else sorted({*ids} - {*(told.deleted_file_ids or [])})
            return told.errors + [
                _UserError(message=f"Shopify does not say that {each} is deleted.") for each in silent
            ]

        failed = self._sort_out(media_ids, delete)
        return {name: error.told() for name, error in failed.items() if error.code != "FILE_DOES_NOT_EXIST"}

    def set_alts(self, alts: Mapping[str, str]) -> dict[str, str]:
        """Change alt texts, by media id: 10 points per 250, and 1.9 each. Return why some were not changed."""

        def update(ids: list[str]) -> list[_UserError]:
            files = [{"id": each, "alt": alts[each]} for each in ids]
            return self._change(SET_ALTS, {"files": files}, len(files)).errors

        return {name: error.told() for name, error in self._sort_out(alts, update).items()}

    def _sort_out(self, ids: Iterable[str], change: Callable[[list[str]], list[_UserError]]) -> dict[str, _UserError]:
        """Change files in batches; return the errors of those that cannot be changed.

        Because of one file Shopify may change none of a batch, so the others are sent again without it; where it does
        not say which one it is, the batch is halved.
        """
        work = list(_batches(ids, LONGEST_INPUT))
        calls_left = len(work) + SORTING_OUT_CALLS
        failed: dict[str, _UserError] = {}
        while work:
            batch = work.pop(0)
            errors, calls_left = change(batch), calls_left - 1
            if not errors:
                continue
            named = {name: error for error in reversed(errors) for name in error.is_about(batch)}
            failed |= named
            rest = [each for each in batch if each not in named]
            if len(batch) == 1:
                failed |= dict.fromkeys(rest, errors[0])
            elif calls_left <= len(work):
                why = _UserError(message=f"Shopify refused it among others: {errors[0].told()}")
                failed |= dict.fromkeys(rest, why)
            elif named:
                work += [rest] if rest else []
            else:
                work += [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
        return failed

    # ------------------------------------------------------------------ one call

    def _nodes(
        self, document: str, ids: Iterable[str], size: int, points: float, shape: type[_Shape], **more: Any
    ) -> list[_Shape]:
        """Return the nodes of these ids that exist, asked for in batches; `points` is for each id."""
        found: list[_Shape] = []
        for batch in _batches(ids, size):
            answer = self._shaped(_Nodes, self._ask(document, {"ids": batch, **more}, points * len(batch)))
            found += [self._shaped(shape, node) for node in answer.nodes if node]
        return found

    def _change(self, document: str, variables: dict[str, Any], files: int) -> _Change:
        """Return what the one mutation in a document, about so many files, says."""
        data = self._ask(document, variables, MUTATION_POINTS + FILE_POINTS * files) or {}
        return self._shaped(_Change, next(iter(data.values()), None), uncertain=True)

    def _shaped(self, shape: type[_Shape], data: Any, *, uncertain: bool = False) -> _Shape:
        try:
            return shape.model_validate(data)
        except ValidationError as error:
            raise _unexpected(self.domain, uncertain=uncertain) from error

    def _ask(self, document: str, variables: dict[str, Any], points: float) -> dict[str, Any] | None:
        """Send a document, which should ask for so many points; return its data. Only queries are tried again."""
        mutation = document.startswith("mutation")
        body = json.dumps({"query": document, "variables": variables})
        for pause in () if mutation else QUERY_PAUSES:
            try:
                return self._send(document, body, points, mutation=False)
            except _NoAnswerError as error:
                logger.info("shop did not answer", extra={"shop": self.domain, "reason": str(error)})
                self._sleep(pause)
        return self._send(document, body, points, mutation=mutation)

    def _send(self, document: str, body: str, points: float, *, mutation: bool) -> dict[str, Any] | None:
        """Send until the shop has points for it: what was throttled was not carried out."""
        give_up_at: float | None = None
        while True:
            reserved, cost, pause = self._pace.reserve(document, points), None, None
            try:
                answer = self._post(body, mutation=mutation)
                envelope = self._open(answer, mutation=mutation)
                cost, errors = envelope.cost, envelope.errors or []
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS or any(each.code == "THROTTLED" for each in errors):
                    missing = ((cost.requested or 0.0) - cost.available) / cost.rate if cost else 0.0
                    pause = max(1.0, missing, retry_after(answer.headers.get("Retry-After")))
            finally:
                self._pace.settle(document, points, reserved, cost, pause)
            if pause is None:
                self._judge(errors, mutation=mutation)
                return envelope.data
            logger.info("shop throttled", extra={"shop": self.domain, "seconds": round(pause, 1)})
            now = self._clock()
            give_up_at = give_up_at or now + THROTTLED_SECONDS
            if now + pause > give_up_at:
                raise ShopUnavailableError(f"{self.domain} has no points left for us, and will not have for a while.")

    def _post(self, body: str, *, mutation: bool) -> urllib3.BaseHTTPResponse:
        url = f"{self._url}/admin/api/{API_VERSION}/graphql.json"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        token = self._tokens.get()
        for last in (False, True):
            headers["X-Shopify-Access-Token"] = token
            answer = _request(self._pool, self.domain, url, body, headers, uncertain=mutation)
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return answer
            if not last:
                token = self._tokens.renew(token)
        raise self._tokens.revoked()

    def _open(self, answer: urllib3.BaseHTTPResponse, *, mutation: bool) -> _Envelope:
        if answer.status not in {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}:
            told = _CLOSED.get(answer.status, f"refused the call (HTTP {answer.status}).")
            raise ShopError(f"{self.domain} {told}")
        try:
            return _Envelope.model_validate_json(answer.data)
        except ValidationError as error:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                return _Envelope()
            raise _unexpected(self.domain, uncertain=mutation) from error

    def _judge(self, errors: Sequence[_TopLevelError], *, mutation: bool) -> None:
        """Raise what the first top-level error means; Shopify sends them with HTTP 200."""
        for error in errors:
            message = _quoted(error.message) or "no reason given"
            if error.code == "ACCESS_DENIED":
                needed = _quoted(error.needed) or message
                raise ShopError(
                    f"{self.domain} does not let the app do this; it needs: {needed} Grant it. {NEW_CREDENTIALS}"
                )
            if error.code == "SHOP_INACTIVE":
                raise ShopError(f"{self.domain} is not active; its owner has to ask Shopify's support.")
            if error.code in {"INTERNAL_SERVER_ERROR", "TIMEOUT"}:
                raise _NoAnswerError(f"{self.domain} failed: {message}", uncertain=mutation)
            raise ShopError(f"{self.domain} refused the call: {message}")


def _unexpected(domain: str, *, uncertain: bool) -> ShopUnavailableError:
    return ShopUnavailableError(f"{domain} answered with something unexpected.", uncertain=uncertain)


def _check(change: _Change) -> None:
    if change.errors:
        raise ShopProductError(f"Shopify refused it: {'; '.join(error.told() for error in change.errors[:3])}")
