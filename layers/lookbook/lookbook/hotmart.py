"""Hotmart's API: the one module that knows its tokens, pages, errors and pace.

Sources: https://developers.hotmart.com/docs/en/start/ (app-auth, pagination, rate-limit, http-response-codes) and its
pages on products and their offers. Everything here reads, so everything may be tried again, and is: here, and in no
other layer. Nothing that Hotmart says of a refused token is passed on, as it quotes the token.
"""

from __future__ import annotations

import html
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lookbook.errors import LookbookError
from lookbook.logging import logger
from lookbook.providers.http import retry_after

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 35.0  # Hotmart itself gives up after 30 s, and says 502
CALL_SECONDS: Final = 100.0  # a call lasts no longer, with its tries and its waiting, unless its caller says otherwise
# Before the second and the third try of a call that nothing answered.
PAUSES: Final = (1.0, 4.0)
MOST_THROTTLED: Final = 5  # times in a row that one call is told to wait
TOKEN_SPARE_SECONDS: Final = 600.0  # a token is replaced so long before it expires; it is good for a day
MINUTE: Final = 60.0  # of Hotmart's quota
PAGE: Final = 50  # products asked for at a time: Hotmart's own default
MOST_PAGES_OF_OFFERS: Final = 4  # in which the main one is looked for
MOST_TITLE, MOST_DESCRIPTION = 500, 2000  # characters

HOW_TO_SET: Final = (
    'Set the secret HotmartCredentials to {"client_id": "…", "client_secret": "…", "basic": "…"}, which Hotmart shows '
    "under Tools > Developer Credentials."
)


class HotmartError(LookbookError):
    """Hotmart's products cannot be read, for the reason in the text."""


class NotConfiguredError(HotmartError):
    """There are no credentials."""


class KeyRefusedError(HotmartError):
    """Hotmart does not accept the credentials."""


class CallRefusedError(HotmartError):
    """Hotmart does not want this call; trying again will not help."""


class PageTokenError(CallRefusedError):
    """Hotmart no longer takes the token of a page: the list has to be read from its beginning."""


class UnavailableError(HotmartError):
    """Hotmart did not answer, or has had enough of us for now; later it may."""


class NoTimeError(UnavailableError):
    """What a call may last was too short for another try."""


# ---------------------------------------------------------------------- what Hotmart tells


@dataclass(frozen=True, slots=True)
class Credentials:
    """What Hotmart gives an account's owner, all three of them needed."""

    client_id: str
    client_secret: str = field(repr=False)
    basic: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """One of the account's products. `status` and `format` are as Hotmart writes them, also ones we do not know."""

    number: int
    name: str
    ucode: str
    status: str
    format: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A product that cannot be used, and why. `number` is None if not even that can be told."""

    number: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of products, and the token of the next one, if there is one."""

    products: tuple[Listed | Unreadable, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a product is sold for. `description` is plain text, and so is `price`, such as 97.00 BRL; "" for none."""

    description: str = ""
    price: str = ""
    currency: str = ""
    main: bool = False


def one_line(text: str, limit: int) -> str:
    """Return a text without line breaks, entities and control characters, cut to so many characters.

    It is what Ingest makes of a title, and what that leaves as it is.
    """
    while (plain := html.unescape(text)) != text:
        text = plain
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u200b\ufeff]+", " ", text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _title(value: str) -> str:
    title = one_line(value, MOST_TITLE)
    if not title:
        raise ValueError("is empty")
    return title


def _text(value: Any) -> str:
    return one_line(str(value or ""), 100)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Secret(_Answer):
    client_id: str = ""
    client_secret: str = ""
    basic: str = ""


class _Grant(_Answer):
    access_token: str = Field(min_length=1)
    expires_in: float = Field(86_400.0, gt=0)


class _List(_Answer):
    items: list[Any]
    next_token: str | None = Field(None, validation_alias=AliasPath("page_info", "next_page_token"))


class _Identified(_Answer):
    id: int = Field(gt=0, lt=10**18)


class _Product(_Identified):
    name: Annotated[str, BeforeValidator(lambda value: _title(value) if isinstance(value, str) else value)]
    ucode: str = Field(min_length=1)
    status: Annotated[str, BeforeValidator(_text)] = Field(min_length=1)
    format: Annotated[str, BeforeValidator(_text)] = ""


class _Offer(_Answer):
    description: str | None = None
    value: Decimal | None = Field(None, validation_alias=AliasPath("price", "value"), ge=0, allow_inf_nan=False)
    currency: str | None = Field(None, validation_alias=AliasPath("price", "currency_code"))
    main: bool | None = Field(None, validation_alias="is_main_offer")


class _Refusal(_Answer):
    error: str = ""


def _listed(item: Any) -> Listed | Unreadable:
    try:
        found = _Product.model_validate(item)
    except ValidationError as error:
        wrong = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
        reason = f"Hotmart tells no usable {' and no usable '.join(wrong)} of it." if wrong else "It is no product."
        try:
            return Unreadable(_Identified.model_validate(item).id, reason)
        except ValidationError:
            return Unreadable(None, reason)
    return Listed(found.id, found.name, found.ucode, found.status, found.format)


# Each alternative either fails at the next "<" or runs to the end, so that no text takes quadratic time.
_TAG = re.compile(r"</?[a-zA-Z!?][^<>]*>")


def _offer(item: Any) -> Offer | None:
    """Return an offer, with what of it can be used; None if that is nothing."""
    try:
        found = _Offer.model_validate(item)
    except ValidationError:
        return None
    currency = (found.currency or "").strip().upper()[:3]
    price = f"{found.value:.2f} {currency}".strip() if found.value is not None else ""
    return Offer(one_line(_TAG.sub(" ", found.description or ""), MOST_DESCRIPTION), price, currency, bool(found.main))


def best_offer(offers: list[Offer]) -> Offer:
    """Return the main offer, else the first; an empty one if there is none."""
    return next((each for each in offers if each.main), offers[0] if offers else Offer())


# ---------------------------------------------------------------------- credentials


def credentials_from_json(text: str) -> Credentials:
    """Return credentials as they lie in Secrets Manager. Raises NotConfiguredError if there are not all three."""
    try:
        found = _Secret.model_validate_json(text)
    except ValidationError:
        found = _Secret()
    basic = re.sub(r"^\s*basic\s+", "", found.basic, flags=re.IGNORECASE)
    parts = [_as_sent(each) for each in (found.client_id, found.client_secret, basic)]
    if not all(parts):
        raise NotConfiguredError(f"Hotmart is not set up. {HOW_TO_SET}")
    return Credentials(*parts)


def _as_sent(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable()).strip()


# ---------------------------------------------------------------------- pace


class _Pace:
    """How many calls Hotmart still takes this minute, as its last answer said."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = math.inf
        self._until = -math.inf

    def wait(self) -> float:
        """Return the seconds until the next call may be made."""
        return max(0.0, self._until - self._clock()) if self._left < 1 else 0.0

    def note(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's RateLimit headers; the reset is in seconds."""
        try:
            left, reset = float(headers["RateLimit-Remaining"]), float(headers["RateLimit-Reset"])
        except (KeyError, ValueError):
            self._left -= 1
            return
        if left >= 0 and reset >= 0:
            self._left, self._until = left, self._clock() + min(reset, MINUTE)

    def stop(self, seconds: float) -> None:
        self._left, self._until = 0, self._clock() + seconds


# ---------------------------------------------------------------------- the client

_Shape = TypeVar("_Shape", bound=BaseModel)


class Hotmart:
    """An account's products. Keep it between calls, as it keeps its token and its pace; it is for one thread.

    `credentials` gives the secret's text. Every method may raise NotConfiguredError, KeyRefusedError,
    UnavailableError and CallRefusedError. `within` is what a call may last at most, in seconds, with its waiting and
    its tries: NoTimeError is raised instead of waiting longer.
    """

    def __init__(
        self,
        auth_url: str,
        api_url: str,
        credentials: Callable[[], str],
        pool: urllib3.PoolManager | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._auth_url, self._api_url = auth_url.rstrip("/"), api_url.rstrip("/")
        self._read_secret = credentials
        self._pool = pool or urllib3.PoolManager(retries=False, maxsize=2)
        self._clock, self._sleep = clock, sleep
        self._pace = _Pace(clock)
        self._credentials: Credentials | None = None
        self._token = ""
        self._good_until = -math.inf

    def check(self) -> None:
        """Read the credentials anew, so that changed ones count at once. Raises NotConfiguredError."""
        found = self._read()
        if found != self._credentials:
            self._credentials, self._token = found, ""

    def products(self, page_token: str | None = None, within: float = CALL_SECONDS) -> Page:
        """Return a page of all products, whatever their status. Raises PageTokenError for a token that has expired."""
        query = {"max_results": str(PAGE)}
        if page_token:
            query["page_token"] = page_token
        found = self._list("/products/api/v1/products", query, within)
        if found.next_token == page_token and page_token:
            raise UnavailableError("Hotmart answered with something unexpected: a page that follows itself.")
        return Page(tuple(_listed(item) for item in found.items), found.next_token or None)

    def find(self, number: int, within: float = CALL_SECONDS) -> Listed | Unreadable | None:
        """Return the product of this number, whatever its status; None if the account has it no more."""
        found = self._list("/products/api/v1/products", {"id": str(number)}, within)
        return next((each for each in map(_listed, found.items) if each.number in {number, None}), None)

    def offers(self, ucode: str, within: float = CALL_SECONDS) -> list[Offer]:
        """Return a product's offers, at least up to its main one; none if Hotmart does not know the product."""
        path = f"/products/api/v1/products/{quote(ucode, safe='')}/offers"
        deadline = self._clock() + within
        found: list[Offer] = []
        query: dict[str, str] = {}
        for _ in range(MOST_PAGES_OF_OFFERS):
            try:
                page = self._list(path, query, deadline - self._clock())
            except (_NotFoundError, PageTokenError):
                break
            found += [offer for offer in map(_offer, page.items) if offer is not None]
            if not page.next_token or any(offer.main for offer in found):
                break
            query = {"page_token": page.next_token}
        return found

    # ------------------------------------------------------------------ one call

    def _list(self, path: str, query: dict[str, str], within: float) -> _List:
        deadline = self._clock() + within
        url = f"{self._api_url}{path}?{urlencode(query)}" if query else f"{self._api_url}{path}"
        for again in (True, False):
            token = self._granted(deadline)
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            answer = self._ask("GET", url, headers, deadline, paced=True)
            if answer.status != HTTPStatus.UNAUTHORIZED:
                break
            self._token = ""
            if not again:
                raise KeyRefusedError(f"Hotmart accepts none of the tokens that it grants us. {HOW_TO_SET}")
        self._judge(answer, query)
        return _shaped(_List, answer)

    @staticmethod
    def _judge(answer: urllib3.BaseHTTPResponse, query: Mapping[str, str]) -> None:
        """Let only a good answer pass."""
        if answer.status == HTTPStatus.OK:
            return
        told = _told(answer)
        if answer.status == HTTPStatus.BAD_REQUEST and "page_token" in query:
            raise PageTokenError("Hotmart no longer knows the page at which the sync stopped.")
        if answer.status == HTTPStatus.FORBIDDEN:
            raise KeyRefusedError(
                f"Hotmart does not let these credentials read products (HTTP 403). Make new ones, of the kind that "
                f"HotmartApiUrl is for: those of the sandbox are good there alone. {HOW_TO_SET}"
            )
        if answer.status == HTTPStatus.NOT_FOUND:
            raise _NotFoundError("Hotmart does not know the address that was called. Is HotmartApiUrl right?")
        raise CallRefusedError(f"Hotmart refused the call (HTTP {answer.status}: {told}).")

    def _granted(self, deadline: float) -> str:
        """Return a token that should be good."""
        if self._token and self._clock() < self._good_until:
            return self._token
        if self._credentials is None:
            self._credentials = self._read()
        owner = self._credentials
        query = urlencode(
            {"grant_type": "client_credentials", "client_id": owner.client_id, "client_secret": owner.client_secret}
        )
        headers = {
            "Authorization": f"Basic {owner.basic}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        asked_at = self._clock()
        answer = self._ask("POST", f"{self._auth_url}/security/oauth/token?{query}", headers, deadline, paced=False)
        if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._credentials = None
            raise KeyRefusedError(f"Hotmart refused our credentials (HTTP {answer.status}). {HOW_TO_SET}")
        if answer.status != HTTPStatus.OK:
            raise CallRefusedError(f"Hotmart granted no token (HTTP {answer.status}). Is HotmartAuthUrl right?")
        grant = _shaped(_Grant, answer)
        self._token = _as_sent(grant.access_token)
        spare = min(TOKEN_SPARE_SECONDS, grant.expires_in / 10)
        self._good_until = asked_at + grant.expires_in - spare
        return self._token

    def _read(self) -> Credentials:
        try:
            text = self._read_secret()
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"].get("Code") == "ResourceNotFoundException":
                raise NotConfiguredError(f"Hotmart is not set up. {HOW_TO_SET}") from error
            raise UnavailableError("The secret HotmartCredentials cannot be read from Secrets Manager.") from error
        return credentials_from_json(text)

    def _ask(
        self, method: str, url: str, headers: dict[str, str], deadline: float, *, paced: bool
    ) -> urllib3.BaseHTTPResponse:
        """Return what is neither a failure that may pass nor a request to wait; try again until it is that."""
        failed = throttled = 0
        while True:
            if paced:
                self._rest(self._pace.wait(), deadline, "takes no more calls this minute")
            answer, why = self._send(method, url, headers, deadline)
            if answer is not None and paced:
                self._pace.note(answer.headers)
            if answer is not None and answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                throttled += 1
                if throttled > MOST_THROTTLED:
                    raise UnavailableError(f"Hotmart takes no more calls for now (HTTP {answer.status}).")
                seconds = _reset(answer.headers)
                logger.info("hotmart throttled", extra={"seconds": seconds})
                self._pace.stop(seconds)
                self._rest(seconds, deadline, "takes no more calls for now (HTTP 429)")
                continue
            if answer is not None and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                return answer
            if failed == len(PAUSES):
                raise UnavailableError(f"Hotmart {why}.")
            logger.info("hotmart did not answer", extra={"reason": why})
            self._rest(PAUSES[failed], deadline, why)
            failed += 1

    def _send(
        self, method: str, url: str, headers: dict[str, str], deadline: float
    ) -> tuple[urllib3.BaseHTTPResponse | None, str]:
        """Send once; return the answer, or None, and what Hotmart did."""
        left = max(1.0, deadline - self._clock())
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=min(READ_SECONDS, left))
        try:
            answer = self._pool.request(method, url, headers=headers, timeout=timeout, retries=False, redirect=False)
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            return None, "cannot be reached"
        except urllib3.exceptions.HTTPError:  # it is not kept as a cause: it may quote the URL, and the secret in it
            return None, "did not answer in time"
        if answer.status == HTTPStatus.OK and not answer.data.rstrip().endswith(b"}"):
            return None, "broke off its answer"
        return answer, f"failed (HTTP {answer.status})"

    def _rest(self, seconds: float, deadline: float, why: str) -> None:
        """Wait so long, or raise NoTimeError if there would be no time left to ask."""
        if seconds and self._clock() + seconds >= deadline:
            raise NoTimeError(f"Hotmart {why}.")
        if seconds:
            self._sleep(seconds)


class _NotFoundError(CallRefusedError):
    """Hotmart knows nothing of that address."""


def _shaped(shape: type[_Shape], answer: urllib3.BaseHTTPResponse) -> _Shape:
    try:
        return shape.model_validate_json(answer.data)
    except ValidationError:
        _unexpected()


def _unexpected() -> NoReturn:
    raise UnavailableError("Hotmart answered with something unexpected.")


def _told(answer: urllib3.BaseHTTPResponse) -> str:
    """Return the name of an error, and no more of what was said."""
    try:
        error = _Refusal.model_validate_json(answer.data).error
    except ValidationError:
        error = ""
    return error if re.fullmatch(r"[a-z_]{1,40}", error) else "no reason given"


def _reset(headers: Mapping[str, str]) -> float:
    """Return the seconds for which an answer of 429 tells us to wait: a minute if it does not say."""
    told = [retry_after(headers[name]) for name in ("RateLimit-Reset", "Retry-After") if name in headers]
    return min(MINUTE, max(1.0, *told)) if told else MINUTE
