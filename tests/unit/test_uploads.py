"""What is uploaded past the API: checked as everything is, told what became of it, and kept nowhere as it was sent."""

from __future__ import annotations

import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import PIL.Image
import pytest

from lookbook import aws, covers, history, imaging, library, uploads
from lookbook.errors import NotFoundError
from lookbook.tables import Upload
from tests.unit.fakes import Bucket, KilledError, Tables, a_product, tables_in_memory

NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)


def picture() -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (48, 64), "teal").save(out, "PNG")
    return out.getvalue()


IMAGE_ID = imaging.normalise(picture()).sha256


class World:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        library.claim(a_product(product_id="P"), "20261121T101502-3f9a2c1b", 1, NOW)

    def arrives(self, data: bytes) -> Upload:
        """A picture that was announced and has been sent."""
        announced = uploads.announce("P", "ana", NOW)
        self.bucket.objects[self.key(announced)] = data
        return announced

    def key(self, upload: Upload) -> str:
        return f"uploads/{uploads.id_of(upload)}"

    def accept(self, upload: Upload, seconds: float = 5) -> Upload | None:
        return uploads.accept(self.key(upload), None, "bucket", NOW + timedelta(seconds=seconds))

    def look(self, upload: Upload, seconds: float = 60) -> Any:
        """What has become of it; Any, as PynamoDB's types know of no attribute that is not there."""
        return uploads.get("P", uploads.id_of(upload), NOW + timedelta(seconds=seconds))

    def told(self) -> list[tuple[str, str | None]]:
        return [(entry.action, entry.image_id) for entry in history.page("P", 100)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return made


def test_a_good_picture_becomes_the_cover_and_what_was_sent_is_gone(world: World) -> None:
    upload = world.arrives(picture())
    assert world.look(upload).status == "waiting"

    world.accept(upload)

    found = world.look(upload)
    assert (found.status, found.image_id, found.reason) == ("done", IMAGE_ID, None)
    assert world.told() == [("uploaded", IMAGE_ID)]
    assert list(world.bucket.objects) == [library.image_key(IMAGE_ID)]


@pytest.mark.parametrize(("data", "reason"), [(b"<svg/>", "SVG"), (picture()[:60], "damaged")])
def test_what_is_none_is_refused_with_the_reason(world: World, data: bytes, reason: str) -> None:
    upload = world.arrives(data)

    world.accept(upload)

    found = world.look(upload)
    assert (found.status, found.image_id, world.told(), world.bucket.objects) == ("refused", None, [], {})
    assert reason in (found.reason or "")


def test_it_may_be_told_of_twice_and_die_at_any_write(world: World) -> None:
    """EventBridge delivers at least once, and Lambda repeats what was cut off."""
    for last in range(12):
        upload = world.arrives(picture())
        left = [last]

        def die(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError

        world.tables.about_to_write = world.tables.written = die
        try:
            world.accept(upload)
        except KilledError:
            world.tables.about_to_write = world.tables.written = lambda: None
            world.accept(upload, seconds=90)
        world.tables.about_to_write = world.tables.written = lambda: None
        before = world.told()
        world.accept(upload, seconds=120)

        # Then it is one entry, however often it was looked at
        assert (world.look(upload).status, world.told()) == ("done", before)
        assert len(before) == last + 1
        assert world.key(upload) not in world.bucket.objects


def test_a_second_picture_under_the_same_link_is_thrown_away(world: World) -> None:
    upload = world.arrives(picture())
    world.accept(upload)
    world.bucket.objects[world.key(upload)] = b"another"

    assert world.accept(upload) is None

    assert (len(world.told()), world.key(upload) in world.bucket.objects) == (1, False)


def test_what_nobody_announced_is_thrown_away(world: World) -> None:
    world.bucket.objects["uploads/forged"] = picture()
    assert uploads.accept("uploads/forged", None, "bucket", NOW) is None
    assert world.bucket.objects == {}


def test_an_upload_is_its_product_s_alone(world: World) -> None:
    upload = world.arrives(picture())
    with pytest.raises(NotFoundError):
        uploads.get("Q", uploads.id_of(upload), NOW)
    with pytest.raises(NotFoundError):
        uploads.get("P", "20261121T102000-0123456789abcdef", NOW)
    with pytest.raises(NotFoundError):
        uploads.announce("Q", "ana", NOW)


def test_one_that_never_comes_is_not_waited_for_for_ever(world: World) -> None:
    upload = uploads.announce("P", "ana", NOW)
    assert world.look(upload, seconds=3600).status == "waiting"
    assert (world.look(upload, seconds=4300).status, world.look(upload, seconds=4300).reason) == (
        "refused",
        uploads.NEVER_CAME,
    )


def test_of_two_uploads_the_one_that_came_later_is_the_cover(world: World) -> None:
    # Given one that was announced first and comes last
    early, late = world.arrives(picture()), world.arrives(picture())
    world.accept(late, seconds=5)
    covers.upload("P", imaging.Picture(b"x", 9, 9, "b" * 64, "0" * 16), "bucket", covers.Act("ben", NOW))
    world.accept(early, seconds=50)

    assert library.must_have("P").cover_image_id == IMAGE_ID
    assert [action for action, _ in world.told()] == ["uploaded"] * 3


def test_an_event_that_is_told_twice_at_once_does_not_take_back_what_was_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a second call that has read the upload as waiting before the first one is done
    upload = world.arrives(picture())
    read, stale = uploads._get, uploads._get(uploads.id_of(upload))
    world.accept(upload)
    monkeypatch.setattr(uploads, "_get", lambda _: stale)

    # When it finds nothing to look at any more
    world.accept(upload, seconds=9)

    monkeypatch.setattr(uploads, "_get", read)
    assert (world.look(upload).status, world.told()) == ("done", [("uploaded", IMAGE_ID)])


def test_what_was_sent_is_deleted_for_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[dict[str, Any]] = []
    monkeypatch.setattr(world.bucket, "delete_object", lambda **given: deleted.append(given))
    upload = world.arrives(picture())
    uploads.accept(world.key(upload), "version-1", "bucket", NOW)
    assert deleted == [{"Bucket": "bucket", "Key": world.key(upload), "VersionId": "version-1"}]
