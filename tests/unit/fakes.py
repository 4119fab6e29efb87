"""What several unit tests share: settings, a product, a transport that answers as told, AWS and a shop in memory."""

from __future__ import annotations

import copy
import io
import itertools
import json
import operator
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial, partialmethod
from typing import Any, BinaryIO, Literal, TypeVar

import pytest
import urllib3
from botocore.exceptions import ClientError
from pynamodb.exceptions import (
    CancellationReason,
    DeleteError,
    PutError,
    PynamoDBException,
    TransactWriteError,
    UpdateError,
    VerboseClientError,
)
from pynamodb.expressions.operand import Path as AttributePath
from pynamodb.expressions.operand import Value
from pynamodb.expressions.update import AddAction, DeleteAction, RemoveAction
from pynamodb.models import Model

from lookbook.providers.base import Estimate, JobState, Limits, Order, Parameters, Submission
from lookbook.settings import ApiSettings, MethodSettings
from lookbook.shopify import (
    REQUIRED_SCOPES,
    Added,
    Glance,
    Media,
    ShopInfo,
    ShopProduct,
    ShopProductError,
    Variant,
)
from lookbook.state import Item
from lookbook.times import iso

KEY = "top-secret-key"
POOL = urllib3.HTTPSConnectionPool("service.example.com")

# What a proxy in front of a service, or the way to it, can do to a submission: it may have been passed on.
CUT_OFF = (
    urllib3.exceptions.ReadTimeoutError(POOL, "/run", "slow"),
    urllib3.exceptions.ProtocolError("reset"),
)
# What happens before a request is sent.
NEVER_SENT = (
    urllib3.exceptions.ConnectTimeoutError(),
    urllib3.exceptions.NewConnectionError(urllib3.connection.HTTPConnection("service.example.com"), "refused"),
    urllib3.exceptions.NameResolutionError(
        "service.example.com", urllib3.connection.HTTPConnection("service.example.com"), socket.gaierror()
    ),
)


def method_settings(**changes: Any) -> MethodSettings:
    """Settings with every method configured."""
    given: dict[str, Any] = {
        "bucket": "bucket",
        "library_table": "library",
        "history_table": "history",
        "runs_table": "runs",
        "gpu_endpoint_url": "https://gpu.example.com/v2/abc/",
        "gpu_usd_per_second": "0.00031",
        "gpu_concurrency": "12",
        "fashn_base_url": "https://fashn.example.com/v1",
        "fashn_usd_per_credit": "0.075",
        "open_ai_base_url": "https://openai.example.com/v1",
        "open_ai_model": "gpt-image-2.6-flare",
        "open_ai_quality": "medium",
        "open_ai_usd_per_million_tokens": "5,8,30",
        "prices_as_of": "2026-11-21",
        "try_on_method": "catvton",
    }
    return MethodSettings.model_validate(given | changes)


def api_settings() -> ApiSettings:
    """Settings of the API, with every method configured."""
    given = {
        "store_secrets_prefix": "lookbook/stores/",
        "publish_function": "publish",
        "hotmart_sync_function": "hotmart",
        "hotmart_schedule": "rate(1 hour)",
        "pipeline_arn": "arn:pipeline",
        "user_pool_client_id": "client",
        "aws_region": "eu-west-1",
        "open_ai_usd_per_million_tokens": "5,8,30",
    }
    return ApiSettings.model_validate(method_settings().model_dump() | given)


def a_product(**changes: Any) -> Item:
    """A shirt with a picture, tried on by CatVTON."""
    given = {
        "index": 0,
        "product_id": "CJ1",
        "title": "Blue Shirt",
        "category": "Tops",
        "source": "cj",
        "image_url": "https://pictures.example.com/1.jpg",
        "garment": "upper",
        "method": "catvton",
    }
    return Item.model_validate(given | changes)


def an_order(picture: bytes = b"shirt", seed: int = 7, **changes: Any) -> Order:
    return Order(a_product(**changes), picture, b"person", seed)


class Answer:
    """As much of urllib3's response as the providers use."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = urllib3.HTTPHeaderDict(headers or {})

    def read(self, amount: int) -> bytes:
        return self.data[:amount]

    def release_conn(self) -> None:
        pass


class Wire(urllib3.PoolManager):
    """A transport that gives one answer and keeps what was sent."""

    def __init__(self, answer: Answer | Exception) -> None:
        super().__init__()
        self.answer = answer
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def request(self, method: str, url: str, *_: Any, **more: Any) -> Any:
        self.sent.append((method, url, more))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def words_of(error: BaseException) -> str:
    """All that a log or a user could see of an error and of what it came from."""
    told = ""
    seen: BaseException | None = error
    while seen is not None:
        told += f"{seen} {seen!r} "
        seen = seen.__cause__ or seen.__context__
    return told


class Method:
    """A provider that is only asked what it is."""

    about = "makes what it is told"
    licence = "none"
    limits: Limits | None = None
    call_seconds = 35.0
    unavailable = ""

    def __init__(
        self, name: str = "catvton", *, wears: bool = True, moody: bool = False, placeholders: bool = False
    ) -> None:
        self.name, self.model_version = name, "1"
        self.wears, self.moody, self.placeholders = wears, moody, placeholders

    def parameters(self, product: Item, seed: int) -> Parameters:
        return {"category": product.garment, "seed": seed}

    def estimate(self) -> Estimate:
        return Estimate(3410, 4262, 11_000, "as configured")

    def submit(self, order: Order) -> Submission:
        raise AssertionError(f"Nothing is bought here: {order}")

    def poll(self, job_id: str) -> JobState:
        raise AssertionError(f"Nobody is asked here: {job_id}")


class Bucket:
    """S3 in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Key: str, Body: bytes | BinaryIO, IfNoneMatch: str = "", **_: Any) -> None:  # noqa: N803 - as boto3 names them
        if IfNoneMatch and Key in self.objects:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.objects[Key] = Body if isinstance(Body, bytes) else Body.read()

    def get_object(self, *, Key: str, Range: str = "bytes=0-", **_: Any) -> dict[str, Any]:  # noqa: N803 - as boto3 names them
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        start, end = Range.removeprefix("bytes=").split("-")
        found = self.objects[Key][int(start) : int(end) + 1 if end else None]
        if not found:
            raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
        return {"Body": io.BytesIO(found)}

    def delete_object(self, *, Key: str, **_: Any) -> None:  # noqa: N803 - as boto3 names them
        self.objects.pop(Key, None)

    def generate_presigned_url(self, _: str, *, Params: dict[str, str], **__: Any) -> str:  # noqa: N803 - as boto3 names them
        return f"https://s3.example.com/{Params['Key']}"


# --- DynamoDB in memory: as much of it as the models of tables.py use -----------------------------------------------

# An item as DynamoDB has it, `{"status": {"S": "staged"}}`; how PynamoDB writes what is to become of one.
Raw = dict[str, dict[str, Any]]
COMPARED: dict[str, Callable[..., bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    "IN": lambda value, *others: value in others,
    "contains": operator.contains,
    "begins_with": str.startswith,
}


def _plain(value: dict[str, Any]) -> Any:
    [(kind, found)] = value.items()
    if kind in {"NS", "SS"}:
        return {json.loads(each) if kind == "NS" else each for each in found}
    return json.loads(found) if kind == "N" else found


def _operand(operand: Any, item: Raw) -> dict[str, Any] | None:
    """What a path, a value, or `path or else value` stands for."""
    if isinstance(operand, AttributePath):
        [name] = operand.path
        return item.get(name)
    if isinstance(operand, Value):
        [(kind, found)] = operand.value.items()
        return {kind: found}
    path, other = operand.values
    return _operand(path, item) or _operand(other, item)


def _holds(condition: Any, item: Raw) -> bool:
    if condition is None:
        return True
    if condition.operator in {"AND", "OR", "NOT"}:
        parts = [_holds(part, item) for part in condition.values]
        return not parts[0] if condition.operator == "NOT" else (any if condition.operator == "OR" else all)(parts)
    first, *others = (_operand(value, item) for value in condition.values)
    if condition.operator in {"attribute_exists", "attribute_not_exists"}:
        return bool(condition.operator == "attribute_exists") == (first is not None)
    if first is None or None in others:
        return bool(condition.operator == "<>")
    compared: bool = COMPARED[condition.operator](_plain(first), *(_plain(other) for other in others if other))
    return compared


def _carry_out(actions: Sequence[Any], before: Raw) -> Raw:
    """An item after an update; all its actions see it as it was."""
    after = dict(before)
    for action in actions:
        [name] = action.values[0].path
        assert sum(other.values[0].path == [name] for other in actions) == 1, "AWS refuses two actions on one path"
        if isinstance(action, RemoveAction):
            after.pop(name, None)
            continue
        value = _operand(action.values[1], before)
        assert value is not None
        [(kind, new)] = value.items()
        old = before.get(name, {}).get(kind)
        if isinstance(action, AddAction) and old is not None:
            new = json.dumps(json.loads(old) + json.loads(new)) if kind == "N" else sorted({*old, *new})
        elif isinstance(action, DeleteAction):
            new = sorted({*(old or ())} - {*new})
        after[name] = {kind: new}
        if kind in {"NS", "SS"} and not new:
            del after[name]  # there are no empty sets
    return after


@dataclass(frozen=True)
class _Write:
    """A put (attributes), an update (actions) or a delete (neither), under a condition."""

    rows: dict[tuple[str, str], Raw]
    key: tuple[str, str]
    names: tuple[str, str]
    condition: Any
    attributes: Raw | None
    actions: Sequence[Any] | None

    def may_be(self) -> bool:
        return _holds(self.condition, self.rows.get(self.key, {}))

    def carry_out(self) -> Raw:
        keys: Raw = {name: {"S": value} for name, value in zip(self.names, self.key, strict=True)}
        if self.attributes is not None:
            self.rows[self.key] = {**keys, **self.attributes}
        elif self.actions is not None:
            self.rows[self.key] = _carry_out(self.actions, {**keys, **self.rows.get(self.key, {})})
        else:
            return self.rows.pop(self.key, {})
        return copy.deepcopy(self.rows[self.key])


class Tables:
    """DynamoDB in memory: it judges conditions and carries updates out, so that models and modules are the real ones.

    `refusals` are the reasons for which the next transactions are cancelled, one list each; `index_lag`: so many
    queries of an index find nothing yet; `in_transaction`: so many updates meet a transaction; `queries` and
    `items_read` count; `about_to_write` and `written` are told of each write but transactions.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[str, str], Raw]] = {}
        self.refusals: list[list[str]] = []
        self.index_lag = 0
        self.in_transaction = 0
        self.queries = 0
        self.items_read = 0
        self.about_to_write: Callable[[], object] = lambda: None
        self.written: Callable[[], object] = lambda: None

    def copy(self) -> dict[str, dict[tuple[str, str], Raw]]:
        return copy.deepcopy(self.rows)

    def transact_write_items(
        self, put_items: list[_Write], update_items: list[_Write], delete_items: list[_Write], **_: Any
    ) -> None:
        writes = [*put_items, *update_items, *delete_items]
        touched = {(id(write.rows), write.key) for write in writes}
        assert len(touched) == len(writes), "AWS refuses two writes of one item in a transaction"
        assert len(writes) <= 100, "AWS refuses so many"
        codes = self.refusals.pop(0) if self.refusals else []
        codes = codes or ["None" if write.may_be() else "ConditionalCheckFailed" for write in writes]
        if set(codes) != {"None"}:
            reasons = [CancellationReason(code) for code in codes]
            told = {"Error": {"Code": "TransactionCanceledException"}}
            cause = VerboseClientError(told, "TransactWriteItems", cancellation_reasons=reasons)
            raise TransactWriteError("The transaction was cancelled.", cause)
        for write in writes:
            write.carry_out()


def _key_of(item: dict[str, Any], name: str) -> str:
    value = item[name]  # as it is stored, or, of what is to be deleted, plain
    return str(value["S"] if isinstance(value, dict) else value)


class _Table:
    """What a model has for a connection to its table."""

    def __init__(self, tables: Tables, model: Any) -> None:
        base = next(each for each in model.__mro__ if Model in each.__bases__)
        self.connection = tables
        self.model = model
        self.rows = tables.rows.setdefault(base.__name__, {})
        self.names: tuple[str, str] = (model._hash_key_attribute().attr_name, model._range_key_attribute().attr_name)

    def get_operation_kwargs(
        self,
        hash_key: str,
        range_key: str,
        attributes: Raw | None = None,
        actions: Sequence[Any] | None = None,
        condition: Any = None,
        **_: Any,
    ) -> _Write:
        return _Write(self.rows, (hash_key, range_key), self.names, condition, attributes, actions)

    def _write(self, error: type[PynamoDBException], *args: Any, **kwargs: Any) -> dict[str, Raw]:
        write = self.get_operation_kwargs(*args, **kwargs)
        self.connection.about_to_write()
        if self.connection.in_transaction and error is UpdateError:
            self.connection.in_transaction -= 1
            raise error("refused", ClientError({"Error": {"Code": "TransactionConflictException"}}, "Write"))
        if not write.may_be():
            raise error("refused", ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "Write"))
        after = write.carry_out()
        self.connection.written()
        return {"Attributes": after}

    put_item = partialmethod(_write, PutError)
    update_item = partialmethod(_write, UpdateError)
    delete_item = partialmethod(_write, DeleteError)

    def get_item(self, hash_key: str, range_key: str, **_: Any) -> dict[str, Raw]:
        found = self.rows.get((hash_key, range_key))
        return {"Item": copy.deepcopy(found)} if found else {}

    def batch_get_item(
        self, keys: list[dict[str, str]], attributes_to_get: Sequence[str] | None = None, **_: Any
    ) -> dict[str, dict[str, list[Raw]]]:
        asked = [(key[self.names[0]], key[self.names[1]]) for key in keys]
        assert len(set(asked)) == len(asked), "AWS refuses a key that is given twice"
        found = [copy.deepcopy(self.rows[key]) for key in asked if key in self.rows]
        if attributes_to_get:
            found = [{name: item[name] for name in attributes_to_get if name in item} for item in found]
        return {"Responses": {self.model.Meta.table_name: found}, "UnprocessedKeys": {}}

    def batch_write_item(
        self, put_items: list[Raw] | None = None, delete_items: list[Raw] | None = None
    ) -> dict[str, Any]:
        self.connection.about_to_write()
        new: list[Raw | None] = [*(put_items or ()), *(None for _ in delete_items or ())]
        keys = [
            tuple(_key_of(item, name) for name in self.names) for item in [*(put_items or ()), *(delete_items or ())]
        ]
        assert len(set(keys)) == len(keys) <= 25, "AWS refuses a key that is given twice, and more than 25"
        for (hash_key, range_key), item in zip(keys, new, strict=True):
            self.rows.pop((hash_key, range_key), None)
            if item is not None:
                self.rows[hash_key, range_key] = item
        self.connection.written()
        return {}

    def query(
        self,
        hash_key: str,
        range_key_condition: Any = None,
        filter_condition: Any = None,
        index_name: str | None = None,
        exclusive_start_key: dict[str, Any] | None = None,
        scan_index_forward: bool | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        self.connection.queries += 1
        name = self.names[0]
        if index_name:
            name = self.model._indexes[index_name]._hash_key_attribute().attr_name
        found = [
            copy.deepcopy(item)
            for _, item in sorted(self.rows.items())
            if item.get(name) == {"S": hash_key}
            and _holds(range_key_condition, item)
            and _holds(filter_condition, item)
        ]
        if index_name and self.connection.index_lag:
            self.connection.index_lag -= 1
            found = []
        if scan_index_forward is False:
            found.reverse()
        if exclusive_start_key:
            keys = [{name: item[name] for name in exclusive_start_key} for item in found]
            found = found[keys.index(exclusive_start_key) + 1 :]
        self.connection.items_read += len(found)
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}


def tables_in_memory(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Put all models' tables into memory, empty."""
    made = Tables()
    monkeypatch.setattr(Model, "_get_connection", classmethod(lambda model: _Table(made, model)))
    return made


# --- a shop in memory: as much of Shopify as lookbook.shopify.Shop shows --------------------------------------------

T = TypeVar("T")


class KilledError(BaseException):
    """The process is dead; nothing in it may catch this."""


@dataclass
class Trouble:
    """What happens at a call to the shop, before or after it is carried out: an error, or what somebody else does.

    `call` and `about` (a product's id) say which call it is, if not any; `skip` so many of them go well before.
    """

    happens: BaseException | Callable[[], object]
    call: str = ""
    moment: Literal["before", "after"] = "before"
    about: str = ""
    skip: int = 0
    times: int = 1

    def is_due(self, call: str, about: Collection[str]) -> bool:
        if self.call not in {"", call} or (self.about and self.about not in about):
            return False
        self.skip -= 1
        self.times -= self.skip < 0
        return self.skip < 0 <= self.times

    def strike(self) -> None:
        if isinstance(self.happens, BaseException):
            raise self.happens
        self.happens()


@dataclass(eq=False)
class Picture:
    """A picture of a shop's product; `by` is who has put it there."""

    media_id: str
    by: Literal["us", "merchant"]
    file: str
    alt: str
    added_at: float
    ready_at: float
    failure: str = ""

    def told(self, now: float, *, with_url: bool) -> Media:
        half = (self.added_at + self.ready_at) / 2
        ended = "FAILED" if self.failure else "READY"
        status = "UPLOADED" if now < half else "PROCESSING" if now < self.ready_at else ended
        url = f"https://cdn.shopify.com/s/files/1/2/3/files/{self.file}?v=179" if status == "READY" and with_url else ""
        error = self.failure if status == "FAILED" else ""
        created_at = iso(datetime.fromtimestamp(self.added_at, UTC))
        return Media(self.media_id, status, self.alt, url, created_at, error, is_image=True)


@dataclass(eq=False)
class ShopShelf:
    """A shop's product."""

    title: str
    media: list[Picture] = field(default_factory=list)
    changes: int = 0

    def updated_at(self, now: float) -> str:
        """Say when it was changed: by anybody, or as a picture was ready."""
        return f"{self.changes}+{sum(each.ready_at <= now for each in self.media)}"


class ShopInMemory:
    """A shop that does what it is asked, at the clock of a test, and can be told to do it badly.

    `seconds` is what a picture takes, `spoilt` says why the pictures of some files fail, and `locked` why some media
    can be neither deleted nor changed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.products: dict[str, ShopShelf] = {}
        self.variants_told: list[Variant] = []
        self.info = ShopInfo("The Shop", frozenset(REQUIRED_SCOPES))
        self.seconds = 3.0
        self.spoilt: dict[str, str] = {}
        self.locked: dict[str, str] = {}
        self.troubles: list[Trouble] = []
        self.calls: list[str] = []
        self.points = 0.0
        self.throttled = 0
        self._clock = clock
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._dead = False

    # --- what the merchant does

    def stocks(self, *names: str, **pictures: Sequence[str]) -> None:
        """Have products, by number, each with the merchant's own pictures."""
        for name in (*names, *pictures):
            self.products[gid(name)] = ShopShelf(f"Shop's {name}")
            for file in pictures.get(name, ()):
                self.merchant_adds(name, file)

    def merchant_adds(
        self, name: str, file: str, position: int | None = None, *, alt: str = "", seconds: float = 0
    ) -> None:
        shelf, now = self.products[gid(name)], self._clock()
        picture = Picture(self._number(), "merchant", file, alt, now, now + seconds)
        shelf.media.insert(len(shelf.media) if position is None else position, picture)
        shelf.changes += 1

    def merchant_removes(self, name: str, position: int) -> None:
        shelf = self.products[gid(name)]
        del shelf.media[position]
        shelf.changes += 1

    def merchant_moves(self, name: str, position: int, to: int) -> None:
        shelf = self.products[gid(name)]
        shelf.media.insert(to, shelf.media.pop(position))
        shelf.changes += 1

    def media(self, name: str) -> list[Picture]:
        return self.products[gid(name)].media

    # --- what befalls it

    def fails(self, happens: BaseException | Callable[[], object], call: str = "", **how: Any) -> None:
        self.troubles.append(Trouble(happens, call, **how))

    def dies(self, at: int, moment: Literal["before", "after"]) -> None:
        """Kill the process that makes the call of this number, counted from the next one, from 0."""

        def die() -> None:
            self._dead = True
            raise KilledError

        self.fails(die, skip=at, moment=moment)

    def heals(self) -> None:
        self.troubles, self._dead = [], False

    def _number(self) -> str:
        return f"gid://shopify/MediaImage/{next(self._numbers)}"

    def _do(self, call: str, about: Collection[str], points: float, carry_out: Callable[[], T]) -> T:
        with self._lock:
            if self._dead:
                raise KilledError
            self.calls.append(call)
            due = next((each for each in self.troubles if each.is_due(call, about)), None)
        if due and due.moment == "before":
            due.strike()
        with self._lock:
            told = carry_out()
            self.points += points
        if due and due.moment == "after":
            due.strike()
        return told

    # --- what lookbook.shopify.Shop can do

    def describe(self) -> ShopInfo:
        return self._do("describe", (), 3, lambda: self.info)

    def variant_pages(self, after: str | None = None) -> Iterator[tuple[list[Variant], str | None]]:
        """One variant a page."""
        for number in range(int(after or 0), max(1, len(self.variants_told))):
            page = partial(operator.getitem, self.variants_told, slice(number, number + 1))
            yield (
                list(self._do("variants", (), 2, page)),
                str(number + 1) if number + 1 < len(self.variants_told) else None,
            )

    def _there(self, ids: Sequence[str]) -> dict[str, ShopShelf]:
        return {each: self.products[each] for each in ids if each in self.products}

    def glance(self, ids: Sequence[str]) -> dict[str, Glance]:
        def look() -> dict[str, Glance]:
            now = self._clock()
            return {name: Glance(each.updated_at(now), len(each.media)) for name, each in self._there(ids).items()}

        return self._do("glance", ids, 2 * len(ids), look) if ids else {}

    def read(self, ids: Sequence[str]) -> dict[str, ShopProduct]:
        def look() -> dict[str, ShopProduct]:
            now = self._clock()
            found = {}
            for name, each in self._there(ids).items():
                media = tuple(picture.told(now, with_url=True) for picture in each.media)
                found[name] = ShopProduct(name, each.title, each.updated_at(now), media)
            return found

        return self._do("read", ids, sum(3 + 2 * len(each.media) for each in self._there(ids).values()), look)

    def added(self, ids: Sequence[str], count: int) -> dict[str, Added]:
        def look() -> dict[str, Added]:
            now = self._clock()
            found = {}
            for name, each in self._there(ids).items():
                media = tuple(picture.told(now, with_url=False) for picture in each.media[-count:])
                found[name] = Added(each.updated_at(now), media)
            return found

        return self._do("added", ids, (3 + count) * len(ids), look)

    def add_media(self, product_id: str, pictures: Sequence[tuple[str, str]]) -> None:
        def add() -> None:
            if product_id not in self.products:
                raise ShopProductError("Shopify refused it: Product does not exist.")
            shelf, now = self.products[product_id], self._clock()
            files = {picture.file for each in self.products.values() for picture in each.media}
            for url, alt in pictures:
                file = url.rpartition("/")[2]
                number = self._number()
                if file in files:
                    file = file.replace(".jpg", f"_{uuid.UUID(int=len(self.calls))}.jpg")
                failure = self.spoilt.get(file[:64], "")
                shelf.media.append(Picture(number, "us", file, alt, now, now + self.seconds, failure))
            shelf.changes += 1

        self._do("add_media", [product_id], 10 + 1.9 * len(pictures), add)

    def reorder(self, product_id: str, moves: Sequence[tuple[str, int]]) -> None:
        def move() -> None:
            media = self.products[product_id].media
            for name, position in moves:
                picture = next(each for each in media if each.media_id == name)
                media.remove(picture)
                media.insert(position, picture)
            self.products[product_id].changes += 1

        self._do("reorder", [product_id], 10, move)

    def delete_files(self, media_ids: Sequence[str]) -> dict[str, str]:
        def delete() -> dict[str, str]:
            for shelf in self.products.values():
                staying = [each for each in shelf.media if each.media_id not in set(media_ids) - set(self.locked)]
                shelf.changes += len(staying) < len(shelf.media)
                shelf.media = staying
            return {each: self.locked[each] for each in media_ids if each in self.locked}

        return self._do("delete_files", media_ids, 10 + 1.9 * len(media_ids), delete)

    def set_alts(self, alts: Mapping[str, str]) -> dict[str, str]:
        def change() -> dict[str, str]:
            for shelf in self.products.values():
                for picture in shelf.media:
                    if picture.media_id in alts and picture.media_id not in self.locked:
                        picture.alt = alts[picture.media_id]
                        shelf.changes += 1
            return {each: self.locked[each] for each in alts if each in self.locked}

        return self._do("set_alts", list(alts), 10 + 1.9 * len(alts), change)


def gid(name: str) -> str:
    """Return a shop's product's id, given its number, with or without a letter before it."""
    return f"gid://shopify/Product/{name.lstrip('P')}"
