"""Reads a scrape: one product at a time, whatever of the accepted shapes the file has.

Accepted are a JSON array, `{"products": […], "options": {…}}`, CJ's answers (`data.list`, `data`,
`data.content[].productList`), Shopify's `products.json`, one product on its own, and JSON Lines. A broken product
is a `Rejection` with its reason; a broken file is an `InputError`. Memory stays constant: a product, or a line,
is held at a time, and one of more than `MAX_PRODUCT_BYTES` is passed over.
"""

import codecs
import html
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NoReturn, cast
from urllib.parse import unquote, urlsplit

import ijson.backends.yajl2_c as yajl  # type: ignore[import-untyped]  # ijson ships no types
from ijson.common import JSONError  # type: ignore[import-untyped]  # ijson ships no types
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, from_json

from lookbook.errors import InputError
from lookbook.options import PRODUCT_ID_CHARACTER

Source = Literal["cj", "shopify", "hotmart", "scrape"]

MAX_PRODUCT_BYTES = 1_000_000
MAX_DEPTH = 200  # of lists and objects within one product; pydantic_core's own limit for a line is the same
MAX_TEXT_BYTES = 32_000_000  # of one text in a document: the parser holds it whole before we see it
MAX_DIGITS = 4000  # of a number: Python makes no int of more than 4,300, and there ijson 3.6.0 crashes the process
MAX_KEYS_TOLD = 10
MAX_ID_CHARS = 128
MAX_TITLE_CHARS = 500
MAX_CATEGORY_CHARS = 500
MAX_URL_CHARS = 2048
MAX_DESCRIPTION_CHARS = 2000
MAX_PRICE = Decimal(1_000_000_000)

_CHUNK_BYTES = 256 * 1024
_SAMPLE_LINES = 20

_ID_KEYS = ("product_id", "cj_product_id", "pid", "productId", "id", "sku")
_TITLE_KEYS = ("title", "name", "productNameEn", "nameEn", "productName")
_IMAGE_KEYS = (
    "image",
    "imageUrl",
    "image_url",
    "productImage",
    "thumbnail",
    "bigImage",
    "images",
    "productImageSet",
    "productImages",
    "imageUrls",
    "image_urls",
    "picture",
    "img",
)
_CJ_KEYS = frozenset({"pid", "cj_product_id", "productNameEn", "nameEn", "productSku"})
_SHOPIFY_KEYS = frozenset({"body_html", "product_type", "admin_graphql_api_id"})


@dataclass(frozen=True, slots=True)
class Product:
    """One usable product of a scrape, its fields in one form whatever the file called them."""

    product_id: str
    title: str
    category: str  # the path as the source gives it, "" if none
    image_url: str  # "" if none
    source: Source
    price: str  # "3.49" or "3.49-4.78" in the source's currency, "" if none
    description: str  # plain text, at most MAX_DESCRIPTION_CHARS
    locale: str = ""  # of its texts: "pt", "es", "en"; "" if unknown


@dataclass(frozen=True, slots=True)
class Rejection:
    """One entry of a scrape that cannot be used, and why, in one plain sentence."""

    index: int
    product_id: str  # "" if unknown
    reason: str
    title: str  # "" if unknown


def read_options(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the `options` object of a `{"products": […], "options": {…}}` file as it stands, {} if there is none.

    Raises `InputError` for a file that breaks before the options are found.
    """
    with Path(path).open("rb") as file:
        if _is_lines(file):
            return {}
        document = _Document(file)
        try:
            return document.options()
        except _PARSE_ERRORS as error:
            raise _syntax_error(file, document.reader, error) from error


def read_products(path: str | PathLike[str]) -> Iterator[tuple[int, Product | Rejection]]:
    """Yield every entry of the scrape in its order, with its index from 0.

    Raises `InputError` (while iterating) with the one reason why the file cannot be read, or can no further.
    """
    index = -1
    with Path(path).open("rb") as file:
        for index, entry in enumerate(_lines_entries(file) if _is_lines(file) else _document_entries(file)):
            yield index, _read_entry(index, entry)
    if index < 0:
        raise InputError("The file holds no products.")


# --- one entry -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """An entry that could not be read whole; `part` is what there is of it."""

    reason: str
    part: Any = None


def _refuse(reason: str) -> NoReturn:
    raise PydanticCustomError("refused", "{reason}", {"reason": reason})


def _texts(value: Any, keys: tuple[str, ...] = (), depth: int = 3) -> list[str]:
    """Collect a value's texts: itself, a list's, those under `keys` of an object; also where JSON sits in a text."""
    if depth == 0:
        return []
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("[", "{")):
            try:
                inner = _texts(from_json(text), keys, depth - 1)
            except ValueError:
                inner = []  # a text that only begins like JSON: "[New] Summer Dress"
            if inner:
                return inner
        return [text] if text else []
    if isinstance(value, list):
        return [text for element in value for text in _texts(element, keys, depth - 1)]
    if isinstance(value, dict):
        return next((texts for key in keys if (texts := _texts(value.get(key), keys, depth - 1))), [])
    return []


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\ufeff]+")


def _one_line(text: str, limit: int) -> str:
    text = " ".join(_CONTROL.sub(" ", html.unescape(text)).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_FLOAT_ID = re.compile(r"\d+(?:\.\d+)?[eE]\+\d+|\d+\.\d+[eE]\d+|\d+\.0+")  # what spreadsheets make of a long number
_ID_ALLOWED = re.compile(f"{PRODUCT_ID_CHARACTER}+")


def _product_id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        _refuse("The product id must be text or a whole number.")
    if not isinstance(value, str | int) or (isinstance(value, str) and _FLOAT_ID.fullmatch(value.strip())):
        _refuse("The product id is a decimal number, so some of its digits may be lost; send it as text, in quotes.")
    product_id = str(value).strip()
    if not product_id or len(product_id) > MAX_ID_CHARS:
        _refuse(f"The product id must have 1 to {MAX_ID_CHARS} characters.")
    if not _ID_ALLOWED.fullmatch(product_id):
        _refuse("The product id must not contain spaces, quotes, control characters, emoji or any of / \\ ? # % |.")
    return product_id


def _title(value: Any) -> str:
    title = _one_line(next(iter(_texts(value, ("name", "title"))), ""), MAX_TITLE_CHARS)
    return title or _refuse("The title must be text.")


_HOST = re.compile(r"[\w.:-]*[^\W_][\w.:-]*")


def _web_address(text: str) -> str:
    text = text.strip().replace(" ", "%20")
    if text.startswith("//"):
        text = "https:" + text
    if not text.lower().startswith(("https://", "http://")):
        _refuse("The image must be a web address that starts with https:// or http://.")
    if len(text) > MAX_URL_CHARS:
        _refuse(f"The image's address must have at most {MAX_URL_CHARS} characters.")
    try:
        parts = urlsplit(text)
        usable = parts.port != 0 and bool(_HOST.fullmatch(parts.hostname or ""))
    except ValueError:
        usable = False
    if not usable or "\\" in text or not text.isprintable():
        _refuse("The image's address is not a usable web address; it needs a host name and no special characters.")
    if "@" in parts.netloc:
        _refuse("The image's address must not carry a user name or password.")
    if "x-oss-process" not in text.lower():
        return text
    # Alibaba's image host resizes or crops on request; we want the picture as it was uploaded.
    kept = [pair for pair in parts.query.split("&") if unquote(pair.partition("=")[0]).lower() != "x-oss-process"]
    return parts._replace(query="&".join(kept)).geturl()


def _image_url(value: Any) -> str:
    refusal = None
    for text in _texts(value, ("src", "url")):
        try:
            return _web_address(text)
        except PydanticCustomError as error:
            refusal = refusal or error
    raise refusal or PydanticCustomError(
        "refused", "The image must be a web address, a list of them, or an object with src or url."
    )


_CJ_TYPE_CODE = re.compile(r"(?:[A-Z]+_)+PRODUCT")  # CJ's productType is ORDINARY_PRODUCT and the like: no category


def _category(value: Any) -> str:
    text = _one_line(" > ".join(_texts(value, ("full_name", "name", "title"))), MAX_CATEGORY_CHARS)
    return "" if _CJ_TYPE_CODE.fullmatch(text) else text


_NUMBER = r"\d[\d.,]*"
_PRICE = re.compile(rf"[^\d-]*({_NUMBER})(?:[^\d-]*?(?:-+|[–—~]|\b(?:to|a|até|hasta)\b)[^\d-]*({_NUMBER}))?\D*")  # noqa: RUF001 - shops write ranges with the en dash too


def _amount(text: str) -> Decimal:
    """Read a number as shops write it: 1,299.00 or 1.299,00 or 19,90."""
    text = text.rstrip(".,")
    decimal = max(text.rfind("."), text.rfind(","))
    mark = text[decimal] if decimal >= 0 else ""
    other = {".": ",", ",": "."}.get(mark, "")
    if mark and (text.count(mark) > 1 or (mark == "," and other not in text and len(text) - decimal == len(",000"))):
        other += mark  # it separates thousands
        mark = ""
    for separator in other:
        text = text.replace(separator, "")
    return Decimal(text.replace(",", "."))


def _price(value: Any) -> str:
    """Normalise a price. It is only shown, so one that cannot be read is no price, not a rejection."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("amount", "value", "price") if key in value), "")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return ""
    if isinstance(value, str):
        match = _PRICE.fullmatch(value.strip()[:100])
        amounts = [_amount(number) for number in match.groups() if number] if match else []
    else:
        amounts = [Decimal(str(value))]
    if not amounts or not all(amount.is_finite() and 0 <= amount < MAX_PRICE for amount in amounts):
        return ""
    cents = (str(amount.quantize(Decimal("0.01"), ROUND_HALF_UP)) for amount in sorted(amounts))
    return "-".join(dict.fromkeys(cents))


# Each alternative either fails at the next "<" or runs to the end, so that no text takes quadratic time.
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1[^<>]*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z!?][^<>]*>")


def _description(value: Any) -> str:
    text = _TAG.sub(" ", _HIDDEN.sub(" ", " ".join(_texts(value))))
    return _one_line(_TAG.sub(" ", html.unescape(text)), MAX_DESCRIPTION_CHARS)  # some shops escape their HTML


class _Entry(BaseModel):
    """Base of what is read from an entry: a field that holds nothing counts as absent, so the next alias is tried."""

    model_config = ConfigDict(loc_by_alias=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        return {
            key: value
            for key, value in entry.items()
            if (value or value == 0) and not (isinstance(value, str) and value.strip() in _NOTHING)
        }


_NOTHING = frozenset({"", "[]", "{}", "null"})


class _Identified(_Entry):
    product_id: Annotated[str, BeforeValidator(_product_id)] = Field(validation_alias=AliasChoices(*_ID_KEYS))


class _Titled(_Entry):
    title: Annotated[str, BeforeValidator(_title)] = Field(validation_alias=AliasChoices(*_TITLE_KEYS))


class _Item(_Titled, _Identified):
    """A product as scrapers, CJ and Shopify write it. Fields are checked in this order: id, title, image."""

    image_url: Annotated[str, BeforeValidator(_image_url)] = Field(
        default="",
        validation_alias=AliasChoices(
            *_IMAGE_KEYS, AliasPath("variants", 0, "variantImage"), AliasPath("variants", 0, "image")
        ),
    )
    category: Annotated[str, BeforeValidator(_category)] = Field(
        default="",
        validation_alias=AliasChoices(
            "category",
            "categoryName",
            "product_type",
            "productType",
            "category_name",
            "threeCategoryName",
            "twoCategoryName",
            "oneCategoryName",
        ),
    )
    price: Annotated[str, BeforeValidator(_price)] = Field(
        default="",
        validation_alias=AliasChoices(
            "price",
            "sellPrice",
            AliasPath("variants", 0, "price"),
            AliasPath("variants", 0, "variantSellPrice"),
        ),
    )
    description: Annotated[str, BeforeValidator(_description)] = Field(
        default="",
        validation_alias=AliasChoices("description", "body_html", "remark", "productDescription", "desc"),
    )


_MISSING = {
    "product_id": "No product id was found; give one as product_id, pid, id or sku.",
    "title": "No title was found; give one as title, name or productNameEn.",
}
_CHECKED = ("product_id", "title", "image_url")


def _source(entry: Mapping[str, Any], product_id: str) -> Source:
    named = entry.get("source")
    if named in ("cj", "shopify", "hotmart", "scrape"):
        return cast("Source", named)
    if product_id.startswith("hotmart:"):
        return "hotmart"
    if not _CJ_KEYS.isdisjoint(entry):
        return "cj"
    return "scrape" if _SHOPIFY_KEYS.isdisjoint(entry) else "shopify"


def _read_entry(index: int, entry: Any) -> Product | Rejection:
    if isinstance(entry, _Unreadable):
        return _rejection(index, entry.reason, entry.part)
    if not isinstance(entry, dict):
        return _rejection(index, f"A product must be an object with an id and a title; this is {_kind(entry)}.")
    try:
        item = _Item.model_validate(entry)
    except ValidationError as error:
        problems = {str(problem["loc"][0]): problem for problem in error.errors(include_url=False)}
        field = next(name for name in _CHECKED if name in problems)
        problem = problems[field]
        return _rejection(index, _MISSING[field] if problem["type"] == "missing" else problem["msg"], entry)
    return Product(
        product_id=item.product_id,
        title=item.title,
        category=item.category,
        image_url=item.image_url,
        source=_source(entry, item.product_id),
        price=item.price,
        description=item.description,
        locale=_locale(entry.get("locale")),
    )


def _locale(value: Any) -> str:
    """Return the language of `pt-BR` and the like; it decides nothing but a prompt, so what is none is no error."""
    return value[:2].lower() if isinstance(value, str) and re.fullmatch(r"[A-Za-z]{2}([-_]\w{2,8})*", value) else ""


def _rejection(index: int, reason: str, entry: Any = None) -> Rejection:
    product_id = title = ""  # unless they can be told
    with suppress(ValidationError):
        product_id = _Identified.model_validate(entry).product_id
    if not product_id and isinstance(entry, dict):  # an id that cannot be used still tells which product it is
        raw = next((entry[key] for key in _ID_KEYS if isinstance(entry.get(key), str)), "")
        product_id = _one_line(str(raw), MAX_ID_CHARS)
    with suppress(ValidationError):
        title = _Titled.model_validate(entry).title
    return Rejection(index=index, product_id=product_id, reason=reason, title=title)


def _is_product(fields: Mapping[str, Any]) -> bool:
    return any(key in fields for key in _ID_KEYS) and any(key in fields for key in (*_TITLE_KEYS, *_IMAGE_KEYS))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds: tuple[tuple[type, str], ...] = ((dict, "an object"), (list, "a list"), (str, "text"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


# --- one JSON document -----------------------------------------------------------------------------------------

_PARSE_ERRORS = (JSONError, ArithmeticError)  # the latter from Decimal, for an exponent of 19 digits or more

_TOO_MANY_DIGITS = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))


def _has_too_many_digits(text: bytes) -> bool:
    # So many digits in a row fill a block of half as many, wherever they begin; that is quicker to look for.
    block = MAX_DIGITS // 2
    suspicious = any(text[start : start + block].isdigit() for start in range(0, len(text), block))
    return suspicious and bool(_TOO_MANY_DIGITS.search(text))


_ACCEPTED = (
    'a JSON array, {"products": […]}, an answer of CJ\'s API (data.list, data or data.content[].productList), '
    "Shopify's products.json, or JSON Lines"
)

_Found = Generator[Any, None, bool]


class _Reader:
    """A file as yajl reads it; it knows how far that went, and refuses a text that would fill the memory.

    From byte `slow_from` on it gives `piece` bytes at a time.
    """

    def __init__(self, file: BinaryIO, slow_from: int = 0, piece: int = _CHUNK_BYTES) -> None:
        self._file = file
        self._slow_from = slow_from
        self._piece = piece
        self.start = file.tell()
        self.position = self.start  # of the next byte
        self.chunk = self.start  # where the last chunk began
        self.silence = 0  # bytes read since a value came of it; the document sets it back
        self.ended = False
        self._tail = b""

    def read(self, size: int) -> bytes:
        ahead = self._slow_from - self.position
        size = min(size, ahead if ahead > 0 else self._piece)
        data = self._file.read(size)
        if size:
            self.ended = not data
        self.chunk = self.position
        self.position += len(data)
        self.silence += len(data)
        if self.silence > MAX_TEXT_BYTES:
            raise InputError(f"The file holds a single text of more than {MAX_TEXT_BYTES // 1_000_000} MB.")
        window = self._tail + data
        if _has_too_many_digits(window):
            raise InputError(
                f"The file holds a number of more than {MAX_DIGITS:,} digits before byte {self.position:,}."
            )
        self._tail = window[-MAX_DIGITS:]
        return data


class _Document:
    """One JSON document, read event by event."""

    def __init__(self, file: BinaryIO) -> None:
        self.reader = _Reader(file)
        self._events: Iterator[tuple[str, Any]] = yajl.basic_parse(self.reader, buf_size=_CHUNK_BYTES)
        self._keys: list[str] = []

    def entries(self) -> Iterator[Any]:
        """Yield the raw entries of whatever product list there is."""
        event, value = next(self._events)
        if event == "start_array":
            yield from self._list()
        elif event == "start_map":
            fields: dict[str, Any] = {}
            found = yield from self._object({"products": self._list, "data": self._list}, {"data": self._data}, fields)
            self._judge(fields, found=found)
        else:
            raise InputError(f"The file holds {_kind(value)}, not products; accepted are {_ACCEPTED}.")
        for _ in self._events:
            pass  # whatever follows is an error, which the parser raises

    def options(self) -> dict[str, Any]:
        event, _ = next(self._events)
        options: Any = None
        has_products = False
        if event != "start_map":
            return {}
        for event, key in self._events:
            if event == "end_map" or (has_products and options is not None):
                break
            start, value = next(self._events)
            if key == "options":
                options, room = self._value(start, value, MAX_PRODUCT_BYTES)
                if room < 0:
                    raise InputError('"options" is too large.')
            else:
                has_products = has_products or key == "products"
                self._skip(1 if start in _STARTS else 0)
        if not has_products or options is None:
            return {}
        if not isinstance(options, dict):
            raise InputError(f'"options" must be an object, but it is {_kind(options)}.')
        return cast("dict[str, Any]", json.loads(json.dumps(options, default=float)))  # Decimals become floats

    def _judge(self, fields: dict[str, Any], *, found: bool) -> None:
        failed = fields.get("success") is False or fields.get("result") is False
        message = " ".join(_texts(fields.get("message")))
        if not _is_product(fields) and (failed or (not found and message and "code" in fields)):
            said = f' with "{_one_line(message, 200)}"' if message else ""
            code = f" (code {fields['code']})" if isinstance(fields.get("code"), int) else ""
            raise InputError(f"The file is an answer of CJ's API that failed{said}{code}; fetch it again.")
        if not found:
            keys = ", ".join(self._keys) or "none"
            raise InputError(f"No product list was found. The keys in the file: {keys}. Accepted are {_ACCEPTED}.")

    def _list(self) -> _Found:
        for event, value in self._events:
            if event == "end_array":
                break
            entry, room = self._value(event, value, MAX_PRODUCT_BYTES)
            yield _too_large(entry) if room < 0 else entry
        return True

    def _data(self) -> _Found:
        return self._object({"list": self._list, "content": self._pages}, {}, {}, "data.")

    def _pages(self) -> _Found:
        found = None
        for event, value in self._events:
            if event == "end_array":
                break
            if event == "start_map":
                in_page = yield from self._object({"productList": self._list}, {}, {}, "data.content[].")
                found = found or in_page
            else:
                self._value(event, value, MAX_PRODUCT_BYTES)
                found = found or False
        return found is None or found  # an empty list of pages is an empty list of products

    def _object(
        self,
        lists: Mapping[str, Callable[[], _Found]],
        objects: Mapping[str, Callable[[], _Found]],
        fields: dict[str, Any],
        prefix: str = "",
    ) -> _Found:
        """Yield the entries of the lists within one object, and collect its other fields in `fields`.

        Where there is no list and it looks like a product, it is the product. Returns whether there was either.
        """
        found = False
        room = MAX_PRODUCT_BYTES
        for event, key in self._events:
            if event == "end_map":
                break
            start, value = next(self._events)
            read = (lists if start == "start_array" else objects if start == "start_map" else {}).get(key)
            if read:
                found = (yield from read()) or found
                continue
            value, left = self._value(start, value, max(room, 0))
            room = min(room, left) - len(key) - 1
            if room >= 0:
                fields[key] = value
                if len(self._keys) < MAX_KEYS_TOLD:
                    self._keys.append(f'"{prefix}{_one_line(key, 40)}" ({_kind(value)})')
        if not found and _is_product(fields):
            yield _too_large(fields) if room < 0 else fields
            return True
        return found

    def _value(self, event: str, value: Any, room: int) -> tuple[Any, int]:
        """Return the value that begins with this event, and what it leaves of the room, in bytes.

        Where that is less than nothing, the value is too large or too deep, and not whole.
        """
        self.reader.silence = 0
        if event not in _STARTS:
            return value, room - (2 + len(value) if event == "string" else 1)
        root: Any = {} if event == "start_map" else []
        stack = [root]
        top = root
        key = ""
        for kind, scalar in self._events:
            if kind in _ENDS:
                stack.pop()
                if not stack:
                    return root, room
                top = stack[-1]
                continue
            room -= 2 + len(scalar) if isinstance(scalar, str) else 2 if kind in _STARTS else 1
            if kind == "map_key":
                key = scalar
                continue
            child = {} if kind == "start_map" else [] if kind == "start_array" else scalar
            if isinstance(top, dict):
                top[key] = child
            else:
                top.append(child)
            if kind in _STARTS:
                stack.append(child)
                top = child
            if room < 0 or len(stack) > MAX_DEPTH:
                self._skip(len(stack))
                break
        return root, -1

    def _skip(self, depth: int) -> None:
        """Pass over what is left of a value, so many lists and objects deep."""
        self.reader.silence = 0
        while depth:
            kind, _ = next(self._events)
            self.reader.silence = 0
            depth += (kind in _STARTS) - (kind in _ENDS)


_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})


def _too_large(part: Any) -> _Unreadable:
    return _Unreadable(
        f"The product is larger than {MAX_PRODUCT_BYTES // 1_000_000} MB or has more than {MAX_DEPTH} nested levels.",
        part,
    )


def _document_entries(file: BinaryIO) -> Iterator[Any]:
    document = _Document(file)
    try:
        yield from document.entries()
    except _PARSE_ERRORS as error:
        raise _syntax_error(file, document.reader, error) from error


def _syntax_error(file: BinaryIO, reader: _Reader, error: Exception) -> InputError:
    """Say what is wrong with a file that the parser gave up on, and where."""
    if reader.ended:
        return InputError(
            f"The file is cut off: it ends after {reader.position:,} bytes in the middle of its JSON; fetch it again."
        )
    # The parser does not say where: feed it the chunk in which it failed in ever smaller pieces. (Not byte by byte
    # at once: it looks at a long text from its beginning again with every piece.)
    slow = reader
    for piece in (4096, 64, 1):
        file.seek(reader.start)
        slow = _Reader(file, slow.chunk, piece)
        with suppress(*_PARSE_ERRORS):
            for _ in yajl.basic_parse(slow, buf_size=_CHUNK_BYTES):
                slow.silence = 0
    lines = 1
    tail = b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(reader.start)
    left = slow.position - reader.start
    while data := file.read(min(left, _CHUNK_BYTES)):
        left -= len(data)
        try:
            decoder.decode(data)
        except UnicodeDecodeError as wrong:
            lines += data.count(b"\n", 0, wrong.start)
            return InputError(f"The file is not UTF-8 text: line {lines} holds other bytes; save it as UTF-8.")
        lines += data.count(b"\n")
        tail = (tail + data)[-40:]
    place = f"line {lines} (byte {slow.position - 1:,})"
    if not isinstance(error, JSONError):
        return InputError(f"The file holds a number that is too large before {place}.")
    near = " ".join(tail.decode("utf-8", "ignore").split())
    return InputError(f"The file is not valid JSON: it breaks at {place}, where it reads {near!r}.")


# --- JSON Lines ------------------------------------------------------------------------------------------------


def _numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines that hold something, with their number from 1; None for one that is too long to be a product."""
    number = 0
    while line := file.readline(MAX_PRODUCT_BYTES + 2):  # and its CR LF
        number += 1
        if len(line) <= MAX_PRODUCT_BYTES or line.endswith(b"\n"):
            if line := line.strip():
                yield number, line
            continue
        while (more := file.readline(_CHUNK_BYTES)) and not more.endswith(b"\n"):
            pass
        yield number, None


def _lines_entries(file: BinaryIO) -> Iterator[Any]:
    for number, line in _numbered_lines(file):
        if line is None:
            yield _Unreadable(f"Line {number} is longer than {MAX_PRODUCT_BYTES // 1_000_000} MB.")
            continue
        try:
            yield from_json(line, allow_inf_nan=False)
        except ValueError:
            yield _Unreadable(_line_reason(number, line))


def _line_reason(number: int, line: bytes) -> str:
    try:
        json.loads(line.decode())
    except UnicodeDecodeError:
        return f"Line {number} is not UTF-8 text."
    except json.JSONDecodeError as error:
        return f"Line {number} is not valid JSON; it breaks at column {error.colno}."
    except (ValueError, RecursionError):
        pass
    return (
        f"Line {number} is not valid JSON: a number, a character or the nesting in it is beyond what JSON readers take."
    )


_NOT_JSON = object()


def _json(line: bytes | None) -> Any:
    if line is None:
        return _NOT_JSON
    try:
        return from_json(line)
    except ValueError:
        return _NOT_JSON


def _may_begin_json(text: bytes) -> bool:
    reader = _Reader(BytesIO(text))
    try:
        for _ in yajl.basic_parse(reader):
            pass
    except _PARSE_ERRORS:
        return reader.ended
    except InputError:
        return False
    return True


def _is_lines(file: BinaryIO) -> bool:
    """Tell whether the file is JSON Lines, judged by its first lines; leaves the file at its first byte of JSON.

    Raises `InputError` where it is neither that nor a JSON document, and says what it looks like.
    """
    start = _start(file)
    file.seek(start)
    sample = [line for _, line in zip(range(_SAMPLE_LINES), (line for _, line in _numbered_lines(file)), strict=False)]
    file.seek(start)
    if not sample:
        raise InputError("The file is empty.")
    first, rest = sample[0], sample[1:]
    objects = sum(isinstance(_json(line), dict) for line in rest)
    mostly_objects = 2 * objects >= len(rest) > 0
    value = _json(first)
    if isinstance(value, dict):
        return bool(rest) and (_is_product(value) or not {"products", "data"} & value.keys())
    if value is not _NOT_JSON or first is None:
        return mostly_objects
    if first.startswith(b"["):
        return False
    if mostly_objects and not _may_begin_json(first + b"\n" + (rest[0] or b"")):
        return True  # the first line is a broken product
    if first.startswith(b"{"):
        return False
    if first.startswith(b"<"):
        raise InputError("The file is a web page or XML, not JSON; perhaps the scraper saved an error page.")
    if any(mark in first for mark in (b",", b";", b"\t")):
        raise InputError("The file looks like CSV, not JSON; export the products as JSON.")
    raise InputError(f"The file is not JSON; accepted are {_ACCEPTED}.")


_SIGNATURES = (
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "an Excel workbook (XLSX) or another ZIP archive; export the products as JSON"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (XLS); export the products as JSON"),
    (b"%PDF", "a PDF; export the products as JSON"),
    (codecs.BOM_UTF32_BE, "UTF-32 text; save it as UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32 text; save it as UTF-8"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "UTF-16 text; save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "UTF-16 text; save it as UTF-8"),
)


def _start(file: BinaryIO) -> int:
    """Return where the text begins, after a byte order mark.

    Raises `InputError` for files that are known by their first bytes.
    """
    head = file.read(64)
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            raise InputError(f"The file is {name}.")
    if b"\0" in head:
        utf16 = head[0] == 0 or head[1] == 0
        raise InputError("The file is UTF-16 text; save it as UTF-8." if utf16 else "The file is not text.")
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
