"""What is to be added to a product of a shop, taken out and moved; the merchant's own pictures never are."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookbook.placement import moves, place
from lookbook.shopify import Media

ONE, TWO, THREE = (f"{digit}" * 64 for digit in "abc")
ALT = "Striped Shirt"
AS_EVER = {"alt": ALT, "since": "2026-11-20T10:00:00.000Z"}


def media(media_id: str, file: str = "", status: str = "READY", alt: str = "") -> Media:
    url = f"https://cdn.shopify.com/s/files/1/2/3/files/{file}?v=1790000000" if file else ""
    return Media(media_id, status, alt, url, "2026-11-21T10:00:00Z", "", is_image=True)


MERCHANTS = media("m1", "front.jpg")


def test_a_product_that_has_none_of_ours_gets_all_in_order() -> None:
    found = place([TWO, ONE], {ONE, TWO}, {}, [MERCHANTS], **AS_EVER)
    assert (found.keep, found.add, found.remove, found.busy) == ({}, (TWO, ONE), (), False)


def test_what_we_put_there_stays() -> None:
    found = place([ONE, TWO], {ONE, TWO}, {"o1": ONE, "o2": TWO}, [MERCHANTS, media("o1"), media("o2")], **AS_EVER)
    assert (found.keep, found.add, found.remove) == ({ONE: "o1", TWO: "o2"}, (), ())


@pytest.mark.parametrize("suffix", ["", "_0b8a54f0-9a0e-4c3f-9a56-1f0f5e4f5a11"])
def test_an_upload_that_was_never_answered_is_known_by_its_files_name(suffix: str) -> None:
    found = place([ONE, TWO], {ONE, TWO}, {}, [MERCHANTS, media("x", f"{ONE}{suffix}.jpg")], **AS_EVER)
    assert (found.keep, found.add) == ({ONE: "x"}, (TWO,))


def test_a_picture_that_is_there_twice_goes_once() -> None:
    found = place([ONE], {ONE}, {"o1": ONE}, [media("o1"), media("x", f"{ONE}.jpg")], **AS_EVER)
    assert (found.keep, found.remove) == ({ONE: "o1"}, ("x",))


def test_what_is_outdated_goes() -> None:
    found = place([TWO], {ONE, TWO}, {"o1": ONE}, [media("o1"), MERCHANTS], **AS_EVER)
    assert (found.add, found.remove) == ((TWO,), ("o1",))


def test_a_picture_of_another_product_with_such_a_name_is_not_ours() -> None:
    found = place([ONE], {ONE}, {}, [media("x", f"{THREE}.jpg")], **AS_EVER)
    assert (found.keep, found.remove) == ({}, ())


@pytest.mark.parametrize("status", ["UPLOADED", "PROCESSING"])
def test_while_an_unknown_picture_is_being_processed_nothing_is_added(status: str) -> None:
    assert place([ONE], {ONE}, {}, [media("x", status=status)], **AS_EVER).busy
    assert not place([ONE], {ONE}, {"o1": ONE}, [media("o1"), media("x", status=status)], **AS_EVER).busy, (
        "nothing lacks"
    )
    assert not place([ONE, TWO], {ONE, TWO}, {"o1": ONE}, [media("o1", status=status)], **AS_EVER).busy, "it is known"


def test_a_failed_picture_of_ours_is_taken_out_and_put_there_anew() -> None:
    known = place([ONE], {ONE}, {"o1": ONE}, [media("o1", status="FAILED")], **AS_EVER)
    assert (known.add, known.remove) == ((ONE,), ("o1",))
    never_answered = place([ONE], {ONE}, {}, [media("x", status="FAILED", alt=ALT)], **AS_EVER)
    assert (never_answered.add, never_answered.remove) == ((ONE,), ("x",))
    for merchants in (
        media("x", status="FAILED", alt="mine"),
        replace(media("x", status="FAILED", alt=ALT), created_at="2020-01-01T00:00:00Z"),
        replace(media("x", status="FAILED", alt=ALT), is_image=False),
    ):
        assert place([ONE], {ONE}, {}, [merchants], **AS_EVER).remove == ()


def test_taking_all_out_leaves_the_merchants() -> None:
    found = place([], {ONE}, {"o1": ONE}, [MERCHANTS, media("o1"), media("x", f"{ONE}.jpg")], **AS_EVER)
    assert (found.keep, found.add, found.remove) == ({}, (), ("o1", "x"))


@given(st.permutations(["m1", "m2", "m3", "o1", "o2", "o3", "o4"]), st.permutations(["o1", "o2", "o3", "o4"]))
def test_ours_are_put_in_order_and_the_merchants_stay_where_they_are(order: list[str], wanted: list[str]) -> None:
    # When the moves are made one by one, as Shopify does
    steps = moves(order, wanted)
    after = list(order)
    for media_id, position in steps:
        after.remove(media_id)
        after.insert(position, media_id)

    # Then ours are in order, and each of the merchant's has its place
    assert [each for each in after if each in wanted] == wanted
    assert [place_ for place_, each in enumerate(after) if each.startswith("m")] == [
        place_ for place_, each in enumerate(order) if each.startswith("m")
    ]
    assert len(steps) < len(order)


def test_nothing_is_moved_that_is_in_order() -> None:
    for wanted in itertools.combinations(["a", "b", "c", "d"], 3):
        assert moves(["a", "b", "c", "d"], list(wanted)) == []
