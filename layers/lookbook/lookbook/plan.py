"""A run's files in S3, and reading them a page at a time.

`runs/<id>/plan.jsonl` has a line for every product asked for and says what was decided; `runs/<id>/items.jsonl` has
those that need work; `runs/<id>/pass-<n>.jsonl` what one pass of the map reads. Outcomes of what went to work are
items of the Runs table. So a product that is reused or rejected costs no write.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from lookbook import aws, shapes
from lookbook.errors import InputError
from lookbook.runs import plain_reason
from lookbook.tables import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lookbook.state import Item
    from lookbook.tables import Run

MAX_PROBLEMS = 20
# A pass lasts about so many times as long as a child, 140 s at most: shorter than the half hour for which RunPod keeps
# results, which the products that were put off at its beginning have to find there in the next one.
WAVES = 10
PAGE_BYTES = 256 * 1024
# A request looks at no more than this much of a plan; the cursor goes on from there.
LOOKED_UP_AT_ONCE = 100
MOST_BYTES_PER_REQUEST = 8 * PAGE_BYTES


class PlanLine(BaseModel):
    """What was decided about one product: reuse it, reject it, or put it to work."""

    model_config = ConfigDict(defer_build=True)

    index: int
    product_id: str
    title: str
    decision: Literal["reused", "rejected", "work"]
    reason: str = ""
    images: int = 0


class Pass(BaseModel):
    """One pass of the map: its number from 1, its items' file, and where in items.jsonl the next one goes on."""

    model_config = ConfigDict(defer_build=True)

    number: int
    items_key: str
    offset: int


def plan_key(run_id: str) -> str:
    return f"runs/{run_id}/plan.jsonl"


def items_key(run_id: str) -> str:
    return f"runs/{run_id}/items.jsonl"


def write_pass(
    bucket: str, run_id: str, number: int, again: list[Item], offset: int, room: int, *, stopping: bool = False
) -> Pass | None:
    """Write the items of the next pass: those put off, then as many new ones as there is room; None if there are none.

    While a run is being stopped no new ones are begun.
    """
    lines = [dump(item) for item in again]
    for end, line in () if stopping else read_lines(bucket, items_key(run_id), offset):
        if len(lines) >= room:
            break
        lines.append(line + b"\n")
        offset = end
    if not lines:
        return None
    key = f"runs/{run_id}/pass-{number}.jsonl"
    aws.s3().put_object(Bucket=bucket, Key=key, Body=b"".join(lines))
    return Pass(number=number, items_key=key, offset=offset)


def outcome_key(product_id: str) -> str:
    return f"item#{product_id}"


def read_lines(bucket: str, key: str, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a text object from a byte offset on, each with the offset after it."""
    rest = b""
    end = offset
    while True:
        try:
            answer = aws.s3().get_object(Bucket=bucket, Key=key, Range=f"bytes={end}-{end + PAGE_BYTES - 1}")
        except ClientError as error:
            if aws.error_code(error) in {"InvalidRange", "NoSuchKey", "416"}:
                return
            raise
        page = answer["Body"].read()
        end += len(page)
        *lines, rest = (rest + page).split(b"\n")
        position = end - len(rest) - sum(len(line) + 1 for line in lines)
        for line in lines:
            position += len(line) + 1
            yield position, line
        if len(page) < PAGE_BYTES:
            return


def items_page(
    bucket: str, run: Run, *, offset: int, limit: int, status: str | None
) -> tuple[list[shapes.Item], int | None]:
    """Return up to `limit` products of a run in the order of the scrape, and the offset to go on from, if any.

    With a status, only products that have it; the page may then be short of `limit` though more follow.
    """
    found: list[shapes.Item] = []
    lines = read_lines(bucket, plan_key(run.run_id), offset)
    while batch := list(itertools.islice(lines, LOOKED_UP_AT_ONCE)):
        for end, item in _shown(run, batch, status):
            found.append(item)
            if len(found) == limit:
                return found, end
        looked_at = batch[-1][0]
        if looked_at - offset > MOST_BYTES_PER_REQUEST:
            return found, looked_at
    return found, None


def _shown(run: Run, raw: list[tuple[int, bytes]], status: str | None) -> list[tuple[int, shapes.Item]]:
    """Join plan lines with the outcomes of those that went to work."""
    try:
        lines = [(end, PlanLine.model_validate_json(line)) for end, line in raw]
    except ValidationError as error:
        raise InputError("The cursor is not one that this list gave out; start without it.") from error
    keys = [(run.run_id, outcome_key(line.product_id)) for _, line in lines if line.decision == "work"]
    outcomes = {outcome.sort_key: outcome for outcome in Outcome.batch_get(keys)} if keys else {}
    shown = [(end, _show(run, line, outcomes.get(outcome_key(line.product_id)))) for end, line in lines]
    return [(end, item) for end, item in shown if status is None or item["status"] == status]


def _show(run: Run, line: PlanLine, outcome: Outcome | None) -> shapes.Item:
    item: shapes.Item = {
        "index": line.index,
        "product_id": line.product_id,
        "title": line.title,
        "status": "pending" if line.decision == "work" else line.decision,
        "images_generated": 0,
        "images_reused": line.images,
        "cost_usd": 0.0,
        "reason": line.reason,
    }
    if line.decision == "work" and outcome is not None:
        item |= {
            "status": outcome.status,
            "images_generated": int(outcome.images_generated),
            "images_reused": int(outcome.images_reused),
            "cost_usd": outcome.cost_microusd / 1_000_000,
            "reason": plain_reason(outcome.reason),
        }
    elif line.decision == "work" and run.finished_at is not None and run.stop_status is not None:
        item |= {"status": run.stop_status, "reason": run.stop_reason or ""}  # stopped before it was begun
    return item


def dump(line: BaseModel) -> bytes:
    return json.dumps(line.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
