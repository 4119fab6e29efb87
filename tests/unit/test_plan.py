"""Reading a plan a page at a time: every product once, in order, however the pages are cut."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from lookbook import aws, plan
from lookbook.errors import InputError
from lookbook.plan import PlanLine
from lookbook.state import Item


class FakeS3:
    """Answers ranged GETs of one object, as S3 does."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.written: dict[str, bytes] = {}

    def put_object(self, *, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803 - boto3's names
        self.written[Key] = Body

    def get_object(self, *, Range: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        start, end = (int(part) for part in Range.removeprefix("bytes=").split("-"))
        if start >= len(self.data):
            raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
        return {"Body": io.BytesIO(self.data[start : end + 1])}


def read_all(data: bytes, limit: int, status: str | None) -> list[int]:
    """Follow the cursors to the end, as a client does."""
    found: list[int] = []
    offset: int | None = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: FakeS3(data))
        patch.setattr(plan, "PAGE_BYTES", 200)
        patch.setattr(plan, "MOST_BYTES_PER_REQUEST", 600)
        while offset is not None:
            page, offset = plan.items_page("bucket", "run", offset=offset, limit=limit, status=status)
            assert len(page) <= limit
            found += [item["index"] for item in page]
    return found


lines = st.lists(st.tuples(st.sampled_from(["reused", "rejected"]), st.text(max_size=60)), max_size=40)


@given(lines, st.integers(1, 12), st.sampled_from([None, "reused", "rejected"]))
def test_every_product_is_there_once_and_in_order(
    products: list[tuple[str, str]], limit: int, status: str | None
) -> None:
    # Given a plan with texts in any script
    plan_lines = [
        PlanLine.model_validate({"index": index, "product_id": f"p{index}", "title": title, "decision": decision})
        for index, (decision, title) in enumerate(products)
    ]
    data = b"".join(plan.dump(line) for line in plan_lines)

    # When it is read page by page, then nothing is missing and nothing comes twice
    wanted = [line.index for line in plan_lines if status in {None, line.decision}]
    assert read_all(data, limit, status) == wanted


def test_a_forged_cursor_is_refused() -> None:
    data = plan.dump(PlanLine(index=0, product_id="p", title="t", decision="reused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: FakeS3(data))
        with pytest.raises(InputError):
            plan.items_page("bucket", "run", offset=5, limit=10, status=None)


def item(index: int) -> Item:
    return Item.model_validate(
        {
            "index": index,
            "product_id": f"p{index}",
            "title": "Hemd für Größe L",
            "category": "",
            "source": "cj",
            "image_url": "https://pictures.example.com/1.jpg",
            "garment": "upper",
        }
    )


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 4))
def test_passes_are_short_and_take_every_item_once_those_put_off_first(items: int, room: int, put_off: int) -> None:
    # Given more items than a pass holds, some of which are put off at the end of each of the first passes
    s3 = FakeS3(b"".join(plan.dump(item(index)) for index in range(items)))
    seen: list[int] = []
    again: list[Item] = []
    offset, number, turns = 0, 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: s3)
        patch.setattr(plan, "PASS_ITEMS", room)

        # When pass after pass is written
        while (following := plan.write_pass("bucket", "run", number + 1, again, offset)) is not None:
            number, offset = following.number, following.offset
            lines = s3.written[following.items_key].splitlines()
            indexes = [Item.model_validate_json(line).index for line in lines]
            assert indexes[: len(again)] == [one.index for one in again]
            assert len(indexes) <= max(room, len(again))
            turns += 1
            again = [item(index) for index in indexes[-put_off:]] if put_off and turns <= 3 else []
            done = {one.index for one in again}
            seen += [index for index in indexes if index not in done]

    # Then each item has come to an end once, and there was no pass for nothing
    assert sorted(seen) == list(range(items))
    assert (number == 0) == (items == 0)
