"""Reading a plan a page at a time: every product once, in order, however the pages are cut."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from lookbook import aws, plan, shapes
from lookbook.errors import InputError
from lookbook.plan import PlanLine
from lookbook.state import Item
from lookbook.tables import Outcome, Run
from tests.unit.fakes import a_product


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


RUN = Run("20261121T101502-3f9a2c1b", "run")


def read_all(data: bytes, limit: int, status: str | None, run: Run = RUN) -> list[shapes.Item]:
    """Follow the cursors to the end, as a client does."""
    found: list[shapes.Item] = []
    offset: int | None = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: FakeS3(data))
        patch.setattr(plan, "PAGE_BYTES", 200)
        patch.setattr(plan, "MOST_BYTES_PER_REQUEST", 600)
        while offset is not None:
            page, offset = plan.items_page("bucket", run, offset=offset, limit=limit, status=status)
            assert len(page) <= limit
            found += page
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
    assert [item["index"] for item in read_all(data, limit, status)] == wanted


def test_a_forged_cursor_is_refused() -> None:
    data = plan.dump(PlanLine(index=0, product_id="p", title="t", decision="reused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: FakeS3(data))
        with pytest.raises(InputError):
            plan.items_page("bucket", RUN, offset=5, limit=10, status=None)


@pytest.mark.parametrize(
    ("finished", "stopped", "shown", "reason"),
    [
        (False, None, "pending", ""),
        (False, "over_budget", "pending", ""),
        (True, None, "pending", ""),
        (True, "over_budget", "over_budget", "The run's budget is used up."),
        (True, "deferred", "deferred", "The run's budget is used up."),
    ],
)
def test_what_a_stopped_run_has_not_begun_is_shown_as_it_ended(
    monkeypatch: pytest.MonkeyPatch, finished: bool, stopped: str | None, shown: str, reason: str
) -> None:
    # Given a run with one product that needs work, and has no outcome
    monkeypatch.setattr(Outcome, "batch_get", lambda _: [])
    run = Run("20261121T101502-3f9a2c1b", "run", finished_at="2026-11-21T10:20:00Z" if finished else None)
    run.stop_status, run.stop_reason = stopped, "The run's budget is used up." if stopped else None
    lines = [
        PlanLine(index=0, product_id="p0", title="Shirt", decision="reused", images=3),
        PlanLine(index=1, product_id="p1", title="Skirt", decision="work"),
        PlanLine(index=2, product_id="p2", title="Mug", decision="rejected", reason="It has no picture."),
    ]
    data = b"".join(plan.dump(line) for line in lines)

    # When its products are read, then only that one is as the run's end says
    told = [(item["status"], item["reason"]) for item in read_all(data, 10, None, run)]
    assert told == [("reused", ""), (shown, reason), ("rejected", "It has no picture.")]
    assert [item["index"] for item in read_all(data, 10, shown, run)] == [1]


def test_an_outcome_wins_over_how_the_run_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {
        "images_generated": 2,
        "images_reused": 1,
        "cost_microusd": 6820,
        "work_ms": 0,
        "reason": "",
    }
    outcome = Outcome(RUN.run_id, plan.outcome_key("p0"), status="generated", **made)
    monkeypatch.setattr(Outcome, "batch_get", lambda _: [outcome])
    run = Run("r", "run", finished_at="2026-11-21T10:20:00Z", stop_status="over_budget", stop_reason="Stopped.")
    data = plan.dump(PlanLine(index=0, product_id="p0", title="Shirt", decision="work"))

    [told] = read_all(data, 10, None, run)

    assert (told["status"], told["reason"], told["cost_usd"]) == ("generated", "", 0.00682)
    assert (told["images_generated"], told["images_reused"]) == (2, 1)


def item(index: int) -> Item:
    return a_product(index=index, product_id=f"p{index}", title="Hemd für Größe L")


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 4))
def test_passes_are_short_and_take_every_item_once_those_put_off_first(items: int, room: int, put_off: int) -> None:
    # Given more items than a pass holds, some of which are put off at the end of each of the first passes
    s3 = FakeS3(b"".join(plan.dump(item(index)) for index in range(items)))
    seen: list[int] = []
    again: list[Item] = []
    offset, number, turns = 0, 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "s3", lambda: s3)

        # When pass after pass is written
        while (following := plan.write_pass("bucket", "run", number + 1, again, offset, room)) is not None:
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


def test_a_run_that_is_being_stopped_begins_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given items that no pass has taken yet, and two whose jobs are in flight
    s3 = FakeS3(b"".join(plan.dump(item(index)) for index in range(5)))
    monkeypatch.setattr(aws, "s3", lambda: s3)
    offset = len(plan.dump(item(0)))
    in_flight = [item(7).model_copy(update={"in_flight": True}), item(8).model_copy(update={"in_flight": True})]

    # When the next pass is written
    following = plan.write_pass("bucket", "run", 2, in_flight, offset, 10, stopping=True)

    # Then it has only these two, as they are, and the rest stays where it was
    assert following is not None
    assert following.offset == offset
    lines = s3.written[following.items_key].splitlines()
    assert [Item.model_validate_json(line) for line in lines] == in_flight

    # And without any in flight there is no pass
    assert plan.write_pass("bucket", "run", 3, [], offset, 10, stopping=True) is None


@pytest.mark.parametrize("method", ["catvton", "fashn", "openai"])
def test_an_item_comes_out_of_its_file_as_it_went_in(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    s3 = FakeS3(plan.dump(one := a_product(method=method, garment="", image_url="")))
    monkeypatch.setattr(aws, "s3", lambda: s3)
    assert [Item.model_validate_json(line) for _, line in plan.read_lines("bucket", "key")] == [one]
