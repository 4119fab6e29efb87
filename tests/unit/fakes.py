"""What several unit tests share: settings, a product, a transport that answers as it is told, and AWS in memory."""

from __future__ import annotations

import copy
import io
import json
import operator
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partialmethod
from typing import Any

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
from pynamodb.expressions.operand import Path, Value
from pynamodb.expressions.update import AddAction, DeleteAction, RemoveAction
from pynamodb.models import Model

from lookbook.providers.base import Estimate, JobState, Limits, Order, Parameters, Submission
from lookbook.settings import MethodSettings
from lookbook.state import Item

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

    def put_object(self, *, Key: str, Body: bytes, IfNoneMatch: str = "", **_: Any) -> None:  # noqa: N803 - boto3's
        if IfNoneMatch and Key in self.objects:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.objects[Key] = Body

    def get_object(self, *, Key: str, Range: str = "bytes=0-", **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        start, end = Range.removeprefix("bytes=").split("-")
        found = self.objects[Key][int(start) : int(end) + 1 if end else None]
        if not found:
            raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
        return {"Body": io.BytesIO(found)}

    def delete_object(self, *, Key: str, **_: Any) -> None:  # noqa: N803 - boto3's
        self.objects.pop(Key, None)


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
    if isinstance(operand, Path):
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
    queries of an index find nothing yet.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[str, str], Raw]] = {}
        self.refusals: list[list[str]] = []
        self.index_lag = 0

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
        if not write.may_be():
            raise error("refused", ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "Write"))
        return {"Attributes": write.carry_out()}

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
        found = [copy.deepcopy(self.rows[key]) for key in asked if key in self.rows]
        if attributes_to_get:
            found = [{name: item[name] for name in attributes_to_get if name in item} for item in found]
        return {"Responses": {self.model.Meta.table_name: found}, "UnprocessedKeys": {}}

    def query(
        self,
        hash_key: str,
        range_key_condition: Any = None,
        filter_condition: Any = None,
        index_name: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
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
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}


def tables_in_memory(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Put all models' tables into memory, empty."""
    made = Tables()
    monkeypatch.setattr(Model, "_get_connection", classmethod(lambda model: _Table(made, model)))
    return made
