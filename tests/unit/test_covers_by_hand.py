"""Covers by hand, and history's rule: whoever asked later has the cover, and nothing is lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import TransactWriteError

from lookbook import aws, covers, history, library
from lookbook.covers import Act
from lookbook.errors import ConflictError, NotFoundError
from lookbook.imaging import Picture
from lookbook.tables import HistoryEntry, Image, Product
from lookbook.times import iso
from tests.unit.fakes import Bucket, Tables, a_product, tables_in_memory

NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
A, B, C = (letter * 64 for letter in "abc")


def at(seconds: float, actor: str = "ana@example.com") -> Act:
    return Act(actor, NOW + timedelta(seconds=seconds))


def picture(image_id: str) -> Picture:
    return Picture(b"jpeg of " + image_id.encode(), 640, 480, image_id, "0" * 16)


class World:
    """A product, its images, and its history, in memory."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        self.slept: list[float] = []
        library.claim(a_product(product_id="P"), "20261121T101502-3f9a2c1b", 1, NOW)

    def upload(self, image_id: str, seconds: float, **more: Any) -> Image:
        return covers.upload("P", picture(image_id), "bucket", at(seconds), **more)

    def product(self) -> Any:
        return library.must_have("P")

    def cover(self) -> str | None:
        return self.product().cover_image_id  # type: ignore[no-any-return]  # Any, as PynamoDB knows of no null

    def history(self) -> list[HistoryEntry]:
        return list(history.page("P", 100))

    def told(self) -> list[tuple[str, str | None]]:
        return [(entry.action, entry.image_id) for entry in self.history()]

    def agrees(self) -> bool:
        """Whether the cover is what history's newest entry says."""
        return (self.cover(), self.product().cover_entry_id) == (self.history()[0].image_id, self.history()[0].entry_id)

    def images(self) -> dict[str, Any]:
        return {str(image.image_id): image for image in library.product_page("P")[1]}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(time, "sleep", made.slept.append)
    return made


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_is_an_image_and_the_cover(world: World) -> None:
    image = world.upload(A, 1)

    assert (image.method, image.variant, image.width, image.size) == ("upload", 1, 640, len(picture(A).data))
    assert world.bucket.objects == {library.image_key(A): picture(A).data}
    assert (world.cover(), world.product().variants) == (A, {1})
    [entry] = world.history()
    assert (entry.action, entry.image_id, entry.actor, entry.method) == ("uploaded", A, "ana@example.com", "upload")
    assert world.agrees()
    assert covers.which(A[:8]) == (A, ["P"])


def test_the_same_picture_again_is_no_second_image(world: World) -> None:
    for seconds, image_id in enumerate((A, B, A)):
        world.upload(image_id, seconds)

    assert set(world.images()) == {A, B}
    assert (world.cover(), world.told()) == (A, [("uploaded", A), ("uploaded", B), ("uploaded", A)])


def test_an_upload_that_is_repeated_with_its_tail_changes_nothing(world: World) -> None:
    for _ in range(3):
        world.upload(A, 1, tail="upload-1")

    assert world.told() == [("uploaded", A)]


def test_a_picture_for_a_product_that_is_none_is_refused_and_kept_nowhere(world: World) -> None:
    with pytest.raises(NotFoundError, match="no product Q"):
        covers.upload("Q", picture(A), "bucket", at(1))
    assert world.bucket.objects == {}


# --- going back, hiding, rating --------------------------------------------------------------------------------------


def test_going_back_adds_to_history_and_takes_nothing_away(world: World) -> None:
    world.upload(A, 1)
    world.upload(B, 2)

    product = covers.activate("P", A, at(3, "ben"))

    assert product.cover_image_id == A
    assert world.told() == [("reverted", A), ("uploaded", B), ("uploaded", A)]
    assert world.history()[0].actor == "ben"
    assert world.agrees()


def test_going_back_to_what_is_the_cover_changes_nothing(world: World) -> None:
    world.upload(A, 1)
    covers.activate("P", A, at(2))
    assert world.told() == [("uploaded", A)]


def test_a_hidden_cover_makes_way_for_the_one_before_it(world: World) -> None:
    for seconds, image_id in enumerate((A, B, C)):
        world.upload(image_id, seconds)
    covers.activate("P", A, at(5))

    hidden = covers.hide("P", A, at(6))

    # Then the last cover that is still shown is back, and bytes, slot and history are as they were
    assert hidden.hidden_at == iso(NOW + timedelta(seconds=6))
    assert (world.cover(), world.told()[0]) == (C, ("hidden", C))
    assert world.history()[0].hidden_image_id == A
    assert (set(world.images()), world.product().variants, len(world.bucket.objects)) == ({A, B, C}, {1}, 3)
    assert [image.image_id for image in library.best_images(world.images().values(), world.cover())] == [C]
    assert world.agrees()


def test_what_was_hidden_before_does_not_come_back_by_itself(world: World) -> None:
    for seconds, image_id in enumerate((C, A, B)):
        world.upload(image_id, seconds)
    covers.hide("P", A, at(5))
    covers.hide("P", B, at(6))
    assert (world.cover(), world.agrees()) == (C, True)


def test_a_product_whose_images_are_all_hidden_has_no_cover_until_one_comes_back(world: World) -> None:
    world.upload(A, 1)
    covers.hide("P", A, at(2))
    assert (world.cover(), world.told()[0], world.agrees()) == (None, ("hidden", None), True)
    assert library.best_images(world.images().values()) == []

    covers.activate("P", A, at(3))
    assert (world.cover(), world.images()[A].hidden_at, world.agrees()) == (A, None, True)


def test_hiding_another_image_leaves_cover_and_history_alone(world: World) -> None:
    world.upload(A, 1)
    world.upload(B, 2)
    before = world.product().updated_at

    for seconds in (3, 4):
        covers.hide("P", A, at(seconds))

    assert (world.cover(), len(world.history())) == (B, 2)
    assert (world.images()[A].hidden_at, world.product().updated_at > before) == (iso(NOW + timedelta(seconds=3)), True)


def test_stars_put_an_image_first(world: World) -> None:
    world.upload(A, 1)
    world.upload(B, 2)
    before = world.product().updated_at

    assert covers.rate("P", A, 5, at(3)).stars == 5

    assert world.images()[A].stars == 5
    assert (world.product().updated_at > before, world.cover()) == (True, B)


@pytest.mark.parametrize("what", [covers.activate, covers.hide])
def test_of_an_image_that_the_product_has_not_nothing_is_done(world: World, what: Any) -> None:
    world.upload(A, 1)
    before = world.tables.copy()
    with pytest.raises(NotFoundError, match="has no image"):
        what("P", B, at(2))
    with pytest.raises(NotFoundError, match="no product"):
        what("Q", B, at(2))
    assert world.tables.copy() == before


# --- two at once -----------------------------------------------------------------------------------------------------


def test_what_is_done_now_comes_after_what_a_clock_ahead_of_ours_has_done(world: World) -> None:
    world.upload(A, 60)
    world.upload(B, 1)
    assert (world.cover(), world.agrees()) == (B, True)


def test_of_two_at_once_the_slower_one_reads_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a change that read the product before another one was written
    world.upload(A, 1)
    stale = library.product_page("P")
    world.upload(B, 2)
    read, readings = library.product_page, [stale]
    monkeypatch.setattr(library, "product_page", lambda *_, **__: readings.pop() if readings else read("P"))

    # When it is made, then it comes after the other, and history has both
    covers.upload("P", picture(C), "bucket", at(2.5))
    assert world.told() == [("uploaded", C), ("uploaded", B), ("uploaded", A)]
    assert (world.agrees(), len(world.slept)) == (True, 1)


def test_one_that_is_always_too_slow_says_so(world: World) -> None:
    world.tables.refusals = [["TransactionConflict"]] * 50
    with pytest.raises(ConflictError, match="Try it again"):
        world.upload(A, 1)
    assert (world.told(), world.images()) == ([], {})


def test_another_refusal_is_not_tried_again(world: World) -> None:
    world.tables.refusals = [["ProvisionedThroughputExceeded"]]
    with pytest.raises(TransactWriteError):
        world.upload(A, 1)
    assert world.slept == []


def test_a_placeholder_that_is_withdrawn_at_that_moment_does_not_become_the_cover(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image that is taken out after it was read
    world.upload(A, 1)
    world.upload(B, 2)
    stale = library.product_page("P")
    world.images()[A].delete()
    read, readings = library.product_page, [stale]
    monkeypatch.setattr(library, "product_page", lambda *_, **__: readings.pop() if readings else read("P"))

    with pytest.raises(NotFoundError):
        covers.activate("P", A, at(3))
    assert (world.cover(), set(world.images())) == (B, {B})


def test_a_plain_write_waits_for_a_transaction_to_be_over(world: World) -> None:
    """AWS refuses it then, and botocore does not repeat that."""
    world.upload(A, 1)
    world.tables.in_transaction = 2
    assert library.set_tags("P", ["sale"]).tags == ["sale"]
    assert len(world.slept) == 2


def test_who_puts_the_same_bytes_at_the_same_moment_waits_for_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")]
    put = world.bucket.put_object

    def conflict(**given: Any) -> None:
        if answers:
            raise answers.pop()
        put(**given)

    monkeypatch.setattr(world.bucket, "put_object", conflict)
    world.upload(A, 1)
    assert (world.cover(), list(world.bucket.objects)) == (A, [library.image_key(A)])


def test_bytes_are_put_once(world: World) -> None:
    world.upload(A, 1)
    world.bucket.objects[library.image_key(A)] = b"as it was first"
    world.upload(A, 2)
    assert world.bucket.objects[library.image_key(A)] == b"as it was first"


# --- runs for new images ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("world")
def test_whoever_wants_new_images_waits_for_nobody_and_others_wait_for_it() -> None:
    item = a_product(product_id="P", title="Another Title")
    release = Product("P", "product")
    release.update([Product.claimed_by.set("somebody"), Product.claim_expires_at.set(NOW.timestamp() + 60)])

    # When somebody else holds the product, then it is done without the claim
    claimed = library.claim(item, "fresh", 1, NOW, reuse=False)
    assert claimed is not None
    assert (claimed.claimed_by, claimed.title) == ("somebody", a_product().title)

    # And when nobody does, then with it, and others wait
    library.release("P", "somebody")
    fresh = library.claim(item, "fresh", 1, NOW, reuse=False)
    assert fresh is not None
    assert fresh.claimed_by == "fresh"
    assert library.claim(item, "other", 1, NOW) is None


# --- which image -----------------------------------------------------------------------------------------------------


def test_an_image_is_known_by_the_beginning_of_its_id(world: World) -> None:
    world.upload(A, 1)
    world.upload("a" * 20 + "b" * 44, 2)

    assert covers.which("a" * 20 + "b") == ("a" * 20 + "b" * 44, ["P"])
    with pytest.raises(ConflictError, match="Several"):
        covers.which("a" * 12)
    with pytest.raises(NotFoundError):
        covers.which("c" * 12)


def test_the_cover_comes_first_of_what_is_rated_alike() -> None:
    given = [("x", 1, None), ("y", 2, None), ("z", 3, 4)]
    images = [
        Image("P", f"image#{name}", image_id=name, variant=variant, stars=stars, created_at="2026")
        for name, variant, stars in given
    ]

    assert [image.image_id for image in library.best_images(images, "y")] == ["z", "y", "x"]
    assert [image.image_id for image in library.best_images(images)] == ["z", "x", "y"]


def test_history_s_ids_sort_by_time() -> None:
    product = Product("P", "product", cover_entry_id="2026-11-21T10:20:00.999Z#x")
    assert history.no_sooner(product, "2026-11-21T10:20:00.999Z") == "2026-11-21T10:20:01.000Z"
    assert history.no_sooner(product, "2026-11-21T10:20:02.000Z") == "2026-11-21T10:20:02.000Z"
