"""Save, with tables and a bucket that are only in memory: what becomes an image, what does not, and what that costs."""

from __future__ import annotations

import hashlib
import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import PIL.Image
import pytest
from pynamodb.exceptions import TransactWriteError

from lookbook import aws, covers, history, imaging, ledger, library
from lookbook.errors import NotFoundError
from lookbook.providers.base import Provider
from lookbook.save import BLOCKED_REASON, Saver
from lookbook.state import Job, ModelPhoto, Outcome, ProductState, RunContext
from lookbook.tables import MOST_CONFLICTS, Fingerprint, HistoryEntry, Image, LedgerEntry, Product
from lookbook.times import iso
from tests.unit.fakes import Bucket, Method, Tables, a_product, tables_in_memory

RUN_ID = "20261121T101502-3f9a2c1b"
ANOTHER = "20261121T101503-3f9a2c1b"
NOW = datetime(2026, 11, 21, 10, 20, tzinfo=UTC)
PRICE, WORK_MS = 3410, 11_000
PHOTOS = [ModelPhoto(name=name, key=f"models/{name}.jpg", sha256="c" * 64) for name in ("anna", "ben")]


class World:
    """All that Save touches, in memory."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bucket = Bucket()
        self.provider = Method()
        self.slept: list[float] = []

    # --- what is given

    def product(self, product_id: str = "CJ1", run_id: str = RUN_ID) -> Product:
        """A product that a run has claimed, as Check does."""
        claimed = library.claim(a_product(product_id=product_id), run_id, 10, NOW)
        assert claimed is not None
        return claimed

    def attempt(self, key: str, status: str, *, number: int = 1, paid_by: str = RUN_ID, **given: Any) -> LedgerEntry:
        """An attempt in the ledger."""
        about = {"product_id": "CJ1", "variant": 1, "provider": "catvton", "token": "t", "created_at": 900.0}
        cost = {"cost_microusd": PRICE, "work_ms": WORK_MS, "model_version": "catvton@1"}
        entry = LedgerEntry(
            ledger.work_id(key),
            f"attempt#{number:04d}",
            status=status,
            paid_by=paid_by,
            **(about | cost | given),  # type: ignore[arg-type]  # the stubs want each name
        )
        entry.save()
        return entry

    def staged(self, variant: int, result: bytes, *, number: int = 1, paid_by: str = RUN_ID, **job: Any) -> Job:
        """A variant whose result has been fetched, as Generate hands it on."""
        key = job.setdefault("reuse_key", f"work-of-{variant}")
        self.bucket.objects[f"staging/{key}"] = result
        self.attempt(key, ledger.STAGED, number=number, paid_by=paid_by, variant=variant)
        mine = paid_by == RUN_ID
        cost = {"cost_microusd": PRICE if mine else 0, "work_ms": WORK_MS if mine else 0}
        about = {"variant": variant, "seed": variant, "status": "staged", "staging_key": f"staging/{key}"}
        return Job.model_validate({**about, **cost, "attempt": f"attempt#{number:04d}", **job})

    def linked(self, variant: int, result: bytes, **job: Any) -> Job:
        """A variant for which the same work has made an image already, as Generate finds it."""
        about = {"variant": variant, "seed": variant, "reuse_key": f"work-of-{variant}", "status": "linked"}
        return Job.model_validate({**about, "image_id": image_id(result), "attempt": "attempt#0001", **job})

    def state(self, *jobs: Job, reuse: bool = True, **given: Any) -> ProductState:
        later = iso(NOW + timedelta(seconds=1))
        run = RunContext(
            run_id=RUN_ID, requested_at=later, variants=3, reuse=reuse, model_photos=PHOTOS, max_concurrency=8
        )
        missing = [job.variant for job in jobs]
        return ProductState.model_validate(
            {"run": run, "product": a_product(), "next": "save", "jobs": jobs, "missing": missing, **given}
        )

    # --- what is done

    def save(self, state: ProductState) -> ProductState:
        """Let Save run once, as the state machine does: what goes in and comes out is JSON."""
        providers: dict[str, Provider] = {state.product.method: self.provider}
        told = Saver(providers, "bucket").save(state, NOW)
        return ProductState.model_validate_json(told.model_dump_json())

    def saves(self, *jobs: Job) -> ProductState:
        return self.save(self.state(*jobs))

    def has(self, product_id: str, *pictures: bytes) -> None:
        """Let another run have made a product of these results, variants 1, 2, …, each by work of its own."""
        self.product(product_id, ANOTHER)
        keys = [f"work-of-{product_id}-{variant}" for variant in range(1, len(pictures) + 1)]
        jobs = [
            self.staged(variant, picture, reuse_key=key)
            for variant, (key, picture) in enumerate(zip(keys, pictures, strict=True), start=1)
        ]
        before = self.state(*jobs, product=a_product(product_id=product_id))
        before.run.run_id, before.run.requested_at = ANOTHER, iso(NOW)
        assert outcome(self.save(before)).status == "generated"

    # --- what is there then

    def images(self, product_id: str = "CJ1") -> dict[int, Image]:
        return {int(image.variant): image for image in library.product_page(product_id)[1]}

    def there(self, product_id: str = "CJ1") -> Any:
        """The product; Any, as PynamoDB's types know of no attribute that is not there."""
        found = library.get_product(product_id)
        assert found is not None
        return found

    def ledger(self) -> dict[str, str]:
        """The last attempt's status of each work."""
        rows = sorted(self.tables.rows["RunsItem"].items())
        last = {key: item["status"]["S"] for (key, _), item in rows if key.startswith("work#")}
        return {key.removeprefix("work#work-of-"): status for key, status in last.items()}

    def history(self, product_id: str = "CJ1") -> list[tuple[str, str | None]]:
        return sorted((entry.action, entry.image_id) for entry in HistoryEntry.query(product_id))

    def pictures(self) -> set[str]:
        """The images whose bytes are in S3."""
        return {key.removeprefix("images/")[:-4] for key in self.bucket.objects if key.startswith("images/")}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tables_in_memory(monkeypatch))
    monkeypatch.setattr(aws, "s3", lambda: made.bucket)
    monkeypatch.setattr(time, "sleep", made.slept.append)
    return made


def picture(colour: str) -> bytes:
    """A provider's result; equal colours are equal bytes."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (48, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


BLUE, RED, GREY = picture("blue"), picture("red"), picture("grey")


def image_id(result: bytes) -> str:
    return imaging.normalise(result).sha256


def outcome(state: ProductState) -> Outcome:
    assert state.next == "record"
    assert state.outcome is not None
    return state.outcome


# --- what becomes an image -----------------------------------------------------------------------------------------


def test_a_staged_result_becomes_an_image_of_its_product(world: World) -> None:
    # Given a product that was claimed, and results for two of its variants
    world.product()

    # When they are saved
    told = world.saves(world.staged(1, BLUE), world.staged(2, RED))

    # Then both are images that say how they were made, by whom, for what and from what
    assert outcome(told) == Outcome(
        status="generated", images_generated=2, images_reused=1, cost_microusd=2 * PRICE, work_ms=2 * WORK_MS
    )
    images = world.images()
    assert [images[variant].image_id for variant in (1, 2)] == [image_id(BLUE), image_id(RED)]
    image = images[2]
    assert (image.method, image.licence, image.model_photo) == ("catvton", "none", "ben")
    assert (image.model_version, image.reuse_key, image.run_id) == ("catvton@1", "work-of-2", RUN_ID)
    assert (image.cost_microusd, image.work_ms, image.width, image.height) == (PRICE, WORK_MS, 48, 64)

    # And their bytes are in S3 under the hash that names them
    data = world.bucket.objects[library.image_key(str(image.image_id))]
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (image.image_id, image.size)

    # And product, history and ledger know of them, and nobody holds the product any more
    product = world.there()
    assert (product.variants, product.cover_image_id) == ({1, 2}, image_id(BLUE))
    assert (product.images_cost_microusd, product.images_work_ms) == (2 * PRICE, 2 * WORK_MS)
    assert (product.claimed_by, product.claim_expires_at) == (None, None)
    assert world.history() == [("generated", image_id(BLUE))]
    assert world.ledger() == {"1": ledger.SUCCEEDED, "2": ledger.SUCCEEDED}
    assert LedgerEntry.get("work#work-of-2", "attempt#0001").image_id == image_id(RED)


def test_an_image_by_a_method_that_tries_nothing_on_names_no_model_photo(world: World) -> None:
    world.provider = Method("openai", wears=False)
    world.product()
    world.save(world.state(world.staged(1, BLUE), product=a_product(method="openai")))
    assert (world.images()[1].model_photo, world.images()[1].method) == ("", "openai")


def test_an_image_bears_what_another_run_has_paid_for_it(world: World) -> None:
    # Given a result that a run paid for which then died
    world.product()
    told = world.saves(world.staged(1, BLUE, paid_by=ANOTHER))

    # Then the image says what it cost, and this run does not say it again
    image, product = world.images()[1], world.there()
    assert (image.cost_microusd, image.work_ms) == (PRICE, WORK_MS)
    assert (product.images_cost_microusd, product.images_work_ms) == (PRICE, WORK_MS)
    assert (outcome(told).status, outcome(told).images_generated) == ("generated", 1)
    assert (outcome(told).cost_microusd, outcome(told).work_ms) == (0, 0)


def test_a_result_that_was_made_for_another_product_is_shared_and_not_counted_again(world: World) -> None:
    # Given two variants that another product with the same picture has in the making, and one of our own
    world.product()
    theirs = [world.staged(variant, BLUE if variant == 1 else RED, paid_by=ANOTHER, own=False) for variant in (1, 2)]
    told = world.saves(*theirs, world.staged(3, GREY))

    # Then all are images, and only our own one is counted and paid for
    assert outcome(told) == Outcome(
        status="generated", images_generated=1, images_reused=2, cost_microusd=PRICE, work_ms=WORK_MS
    )
    assert [world.images()[variant].cost_microusd for variant in (1, 2, 3)] == [0, 0, PRICE]


def test_what_the_same_work_has_made_for_another_product_is_linked(world: World) -> None:
    # Given another product with an image, and a variant of ours that is the same work
    world.has("CJ0", BLUE)
    world.product()
    told = world.saves(world.linked(1, BLUE, reuse_key="work-of-CJ0-1"))

    # Then it is ours too, for nothing
    theirs, ours = world.images("CJ0")[1], world.images()[1]
    assert (ours.image_id, ours.width, ours.height, ours.size) == (theirs.image_id, 48, 64, theirs.size)
    assert (ours.cost_microusd, ours.model_version, theirs.cost_microusd) == (0, "catvton@1", PRICE)
    assert outcome(told) == Outcome(status="linked", images_reused=3)
    assert world.there().claimed_by is None


def test_an_image_that_was_taken_out_of_the_library_is_not_linked(world: World) -> None:
    # Given work whose image is not there any more
    world.product()
    world.attempt("work-of-1", ledger.SUCCEEDED, image_id=image_id(BLUE))
    told = world.saves(world.linked(1, BLUE))

    assert outcome(told).status == "failed"
    assert "taken out of the library" in outcome(told).reason
    assert (world.images(), world.there().claimed_by) == ({}, None)


@pytest.mark.parametrize(("reuse", "cover"), [(True, BLUE), (False, RED)])
def test_only_a_run_that_wants_new_images_changes_the_cover(world: World, reuse: bool, cover: bytes) -> None:
    # Given a product that has a cover
    world.has("CJ1", BLUE)
    world.product()
    world.save(world.state(world.staged(2, RED), reuse=reuse))
    assert world.there().cover_image_id == image_id(cover)
    assert (("generated", image_id(RED)) in world.history()) == (not reuse)


def test_a_claim_that_another_run_has_taken_over_stays_its_own(world: World) -> None:
    world.product(run_id=ANOTHER)
    told = world.saves(world.staged(1, BLUE))
    assert (outcome(told).status, world.there().claimed_by) == ("generated", ANOTHER)


def test_what_is_not_in_the_library_cannot_be_saved(world: World) -> None:
    with pytest.raises(NotFoundError, match="CJ1"):
        world.saves(world.staged(1, BLUE))


# --- repeated ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("placeholders", "moody"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("results", [(BLUE, RED), (BLUE, BLUE), (BLUE, b"no picture"), (GREY, GREY), (GREY, RED)])
def test_a_repeated_save_says_the_same_and_changes_nothing(
    world: World, placeholders: bool, moody: bool, results: tuple[bytes, bytes]
) -> None:
    # Given results of every kind: good, equal, no picture, and what another product has
    world.provider = Method(placeholders=placeholders, moody=moody)
    world.has("CJ0", GREY)
    world.product()
    before = world.state(*(world.staged(variant, result) for variant, result in enumerate(results, start=1)))
    told = world.save(before)
    tables, objects = world.tables.copy(), dict(world.bucket.objects)

    # When the state machine repeats the call, as it never got the answer
    again = world.save(before)

    # Then it gets the same one, and nothing is otherwise
    assert (again.next, again.outcome) == (told.next, told.outcome)
    assert [job.status for job in again.jobs] == [job.status for job in told.jobs]
    assert (world.tables.rows, world.bucket.objects) == (tables, objects)


def test_a_save_after_the_commit_says_generated_again(world: World) -> None:
    world.product()
    before = world.state(world.staged(1, BLUE), world.staged(2, RED))
    first = outcome(world.save(before))
    assert (first.status, first.images_generated) == ("generated", 2)
    assert outcome(world.save(before)) == first
    assert world.there().images_cost_microusd == 2 * PRICE


# --- results that are no picture -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paid_before", "paid_by", "becomes"),
    [
        ([], RUN_ID, "waiting"),
        ([RUN_ID], RUN_ID, "failed"),
        ([ANOTHER], RUN_ID, "waiting"),
        ([ANOTHER, ANOTHER, ANOTHER], RUN_ID, "waiting"),
        ([RUN_ID], ANOTHER, "waiting"),
        ([ANOTHER], ANOTHER, "waiting"),
        ([RUN_ID, RUN_ID], ANOTHER, "failed"),
        ([RUN_ID, ANOTHER], RUN_ID, "failed"),
    ],
)
@pytest.mark.parametrize("result", [b"<html>", None])
def test_a_result_that_is_no_picture_is_tried_again_if_this_run_may(
    world: World, paid_before: list[str], paid_by: str, becomes: str, result: bytes | None
) -> None:
    # Given attempts of which the last one brought no picture, or lost it
    world.product()
    for number, run_id in enumerate(paid_before, start=1):
        world.attempt("work-of-1", ledger.FAILED, number=number, paid_by=run_id)
    job = world.staged(1, result or b"", number=len(paid_before) + 1, paid_by=paid_by)
    if result is None:
        del world.bucket.objects[job.staging_key]

    # When it is saved
    told = world.saves(job)

    # Then it depends on what this run has paid for whether it is made anew
    [saved] = told.jobs
    assert (saved.status, world.ledger()) == (becomes, {"1": ledger.FAILED})
    assert "The provider's result cannot be used" in saved.reason
    if becomes == "waiting":
        assert (told.next, told.outcome, world.there().claimed_by) == ("generate", None, RUN_ID)
    else:
        assert (outcome(told).status, outcome(told).images_generated) == ("failed", 0)
        assert outcome(told).cost_microusd == job.cost_microusd, "it was paid for all the same"
        assert world.there().claimed_by is None


def test_what_is_good_is_kept_while_the_rest_is_made_anew(world: World) -> None:
    # Given a picture and something else
    world.product()
    told = world.saves(world.staged(1, BLUE), world.staged(2, b"<html>"))

    # Then the picture is in the library, and the product is still ours to go on with
    assert (told.next, told.outcome) == ("generate", None)
    assert (world.there().variants, world.there().claimed_by) == ({1}, RUN_ID)

    # And when the other one has come, then both are counted
    again = told.model_copy(update={"jobs": [told.jobs[0], world.staged(2, RED, number=2)]})
    assert (outcome(world.save(again)).images_generated, world.there().claimed_by) == (2, None)


# --- equal bytes, of a provider that sends placeholders ------------------------------------------------------------


@pytest.mark.parametrize(
    ("moody", "reseeded", "becomes"),
    [(False, False, "blocked"), (True, False, "waiting"), (True, True, "blocked"), (False, True, "blocked")],
)
def test_equal_bytes_of_two_variants_are_a_placeholder(world: World, moody: bool, reseeded: bool, becomes: str) -> None:
    # Given a provider whose filter answers with a placeholder
    world.provider = Method(moody=moody, placeholders=True)
    world.product()
    jobs = [world.staged(variant, GREY, reseeded=reseeded) for variant in (1, 2)]

    # When two variants bring the same bytes, and the third another picture
    told = world.saves(*jobs, world.staged(3, BLUE))

    # Then neither is an image, both are blocked in the ledger, and a moody filter may get another seed
    assert [job.status for job in told.jobs] == [becomes, becomes, "staged"]
    assert {job.reason for job in told.jobs[:2]} == {BLOCKED_REASON}
    assert world.ledger() == {"1": ledger.BLOCKED, "2": ledger.BLOCKED, "3": ledger.SUCCEEDED}
    assert (world.there().variants, world.pictures()) == ({3}, {image_id(BLUE)})

    # And the product is recorded as blocked, or held until the others have come
    if becomes == "waiting":
        assert (told.next, told.outcome, world.there().claimed_by) == ("generate", None, RUN_ID)
    else:
        assert (outcome(told).status, outcome(told).images_generated) == ("blocked", 1)
        assert (outcome(told).cost_microusd, world.there().claimed_by) == (3 * PRICE, None)


def test_a_placeholder_that_was_taken_for_an_image_is_withdrawn(world: World) -> None:
    # Given a product whose cover nobody could know to be a placeholder
    world.provider = Method(placeholders=True)
    world.has("CJ0", GREY, BLUE)
    world.product()

    # When the same bytes come for other work
    told = world.saves(world.staged(1, GREY))

    # Then the first product has lost it, its cost and its place, and has another cover
    assert outcome(told).status == "blocked"
    product = world.there("CJ0")
    assert (product.variants, product.cover_image_id) == ({2}, image_id(BLUE))
    assert (product.images_cost_microusd, product.images_work_ms) == (PRICE, WORK_MS)
    assert world.history("CJ0") == [("generated", image_id(GREY)), ("withdrawn", image_id(BLUE))]
    assert world.ledger() == {"CJ0-1": ledger.BLOCKED, "CJ0-2": ledger.SUCCEEDED, "1": ledger.BLOCKED}

    # And so has everyone else, and our product has nothing and is free
    assert (world.images(), world.pictures()) == ({}, {image_id(BLUE)})
    assert (world.there().variants, world.there().cover_image_id, world.there().claimed_by) == (None, None, None)

    # And from then on it is known at sight
    world.product("CJ2")
    third = world.state(world.staged(1, GREY, reuse_key="work-of-CJ2"), product=a_product(product_id="CJ2"))
    assert (outcome(world.save(third)).status, world.images("CJ2")) == ("blocked", {})


def test_a_variant_that_has_another_image_is_kept_when_one_is_withdrawn(world: World) -> None:
    # Given a product whose first variant was made anew, as somebody wanted a new one, and got a placeholder
    world.provider = Method(placeholders=True)
    world.has("CJ0", BLUE)
    world.product("CJ0")
    anew = world.staged(1, GREY, reuse_key="work-of-CJ0-1-anew")
    world.save(world.state(anew, reuse=False, product=a_product(product_id="CJ0")))
    assert world.there("CJ0").cover_image_id == image_id(GREY)

    # When that turns out, then the variant still has its old image, which is the cover again
    world.product()
    world.saves(world.staged(1, GREY))
    assert (world.there("CJ0").variants, world.there("CJ0").cover_image_id) == ({1}, image_id(BLUE))


def test_a_product_that_had_nothing_but_the_placeholder_has_no_cover(world: World) -> None:
    world.provider = Method(placeholders=True)
    world.has("CJ0", GREY)
    world.product()
    world.saves(world.staged(1, GREY))
    assert (world.there("CJ0").variants, world.there("CJ0").cover_image_id) == (None, None)
    assert world.history("CJ0")[-1] == ("withdrawn", None)


def test_a_placeholder_that_is_not_yet_gone_everywhere_is_not_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Save that dies while it takes a placeholder out
    world.provider = Method(placeholders=True)
    world.has("CJ0", GREY)
    world.product()
    before = world.state(world.staged(1, GREY))
    with monkeypatch.context() as patch:
        patch.delattr(Bucket, "delete_object")
        with pytest.raises(AttributeError):
            world.save(before)

    # Then the attempt is still staged, so that whoever comes next does it again
    assert world.ledger()["1"] == ledger.STAGED
    assert outcome(world.save(before)).status == "blocked"
    assert (world.images("CJ0"), world.pictures(), set(world.ledger().values())) == ({}, set(), {ledger.BLOCKED})


def test_a_placeholder_is_told_from_images_that_are_saved_with_it(world: World) -> None:
    # Given a known placeholder among two good results: the transaction as a whole is refused
    world.provider = Method(placeholders=True)
    world.has("CJ0", GREY)
    world.product()
    told = world.saves(world.staged(1, BLUE), world.staged(2, GREY), world.staged(3, RED))

    # Then the good ones are committed all the same
    assert [job.status for job in told.jobs] == ["staged", "blocked", "staged"]
    assert (outcome(told).status, outcome(told).images_generated) == ("blocked", 2)
    assert (world.there().variants, world.there().cover_image_id) == ({1, 3}, image_id(BLUE))


def test_bytes_that_the_product_has_from_other_work_are_a_placeholder_too(world: World) -> None:
    world.provider = Method(placeholders=True)
    world.has("CJ1", GREY)
    world.product()
    told = world.saves(world.staged(2, GREY))
    assert (outcome(told).status, world.images(), world.pictures()) == ("blocked", {}, set())
    assert world.ledger() == {"CJ1-1": ledger.BLOCKED, "2": ledger.BLOCKED}


def test_an_image_is_not_linked_that_has_turned_out_to_be_a_placeholder(world: World) -> None:
    # Given a product whose image is blocked after Generate has found it for ours
    world.provider = Method(placeholders=True)
    world.has("CJ0", GREY)
    world.product()
    job = world.linked(1, GREY, reuse_key="work-of-CJ0-1")
    fingerprint = Fingerprint.get(*library.fingerprint_key(image_id(GREY)))
    fingerprint.update([Fingerprint.blocked.set(True)])

    # When it is linked, then it is not, and the other product has lost it too
    assert outcome(world.saves(job)).status == "blocked"
    assert (world.images(), world.images("CJ0")) == ({}, {})


# --- equal bytes, of a provider that sends none --------------------------------------------------------------------


def test_of_equal_bytes_the_first_is_kept_where_no_placeholders_are_sent(world: World) -> None:
    # Given a provider that makes the same picture for two seeds
    world.product()
    told = world.saves(world.staged(1, GREY), world.staged(2, GREY), world.staged(3, BLUE))

    # Then the first is an image, and the second has failed for good: the same inputs would give it again
    assert [job.status for job in told.jobs] == ["staged", "failed", "staged"]
    assert (outcome(told).status, outcome(told).images_generated) == ("failed", 2)
    assert "Variant 2: The provider made the same picture" in outcome(told).reason
    assert world.ledger() == {"1": ledger.SUCCEEDED, "2": ledger.FAILED, "3": ledger.SUCCEEDED}
    assert LedgerEntry.get("work#work-of-2", "attempt#0001").final

    # And nothing is deleted
    assert (world.there().variants, world.pictures()) == ({1, 3}, {image_id(GREY), image_id(BLUE)})


def test_bytes_that_the_product_has_already_are_not_taken_again(world: World) -> None:
    world.has("CJ1", GREY)
    world.product()
    told = world.saves(world.staged(2, GREY))
    assert (outcome(told).status, world.ledger()) == ("failed", {"CJ1-1": ledger.SUCCEEDED, "2": ledger.FAILED})
    assert (world.there().variants, world.pictures()) == ({1}, {image_id(GREY)})
    assert world.there().claimed_by is None


def test_a_link_to_bytes_that_the_product_has_leaves_the_others_ledger_alone(world: World) -> None:
    world.has("CJ0", GREY)
    world.product()
    told = world.saves(world.staged(1, GREY), world.linked(2, GREY, reuse_key="work-of-CJ0-1"))
    assert [job.status for job in told.jobs] == ["staged", "failed"]
    assert world.ledger() == {"CJ0-1": ledger.SUCCEEDED, "1": ledger.SUCCEEDED}


def test_two_products_may_have_the_same_bytes_where_no_placeholders_are_sent(world: World) -> None:
    world.has("CJ0", GREY)
    world.product()
    assert outcome(world.saves(world.staged(1, GREY))).status == "generated"
    assert world.images("CJ0")[1].image_id == world.images()[1].image_id == image_id(GREY)
    assert Fingerprint.get(*library.fingerprint_key(image_id(GREY))).used_by == {"CJ0", "CJ1"}


# --- transactions that are refused ---------------------------------------------------------------------------------


def test_a_transaction_that_meets_another_one_is_tried_again(world: World) -> None:
    world.product()
    world.tables.refusals = [["None", "TransactionConflict", "None"]] * MOST_CONFLICTS
    assert outcome(world.saves(world.staged(1, BLUE))).status == "generated"
    assert len(world.slept) == MOST_CONFLICTS
    assert all(0 < seconds < 1 for seconds in world.slept)


@pytest.mark.parametrize("placeholders", [True, False])
def test_and_only_a_few_times(world: World, placeholders: bool) -> None:
    # Given a transaction that never gets through
    world.provider = Method(placeholders=placeholders)
    world.product()
    world.tables.refusals = [["TransactionConflict"]] * (MOST_CONFLICTS + 5)

    # When it is saved, then it fails in time for the state machine to try, and nothing is written
    with pytest.raises(TransactWriteError):
        world.saves(world.staged(1, BLUE))
    assert (len(world.tables.refusals), sum(world.slept) < 20) == (4, True)
    assert (world.images(), world.there().claimed_by, world.ledger()) == ({}, RUN_ID, {"1": ledger.STAGED})


@pytest.mark.parametrize("placeholders", [True, False])
@pytest.mark.parametrize("codes", [["ConditionalCheckFailed"], ["ThrottlingError", "TransactionConflict"]])
def test_what_another_has_changed_meanwhile_is_left_to_a_repeated_save(
    world: World, placeholders: bool, codes: list[str]
) -> None:
    # Given a transaction that is refused for another reason, and no placeholder
    world.provider = Method(placeholders=placeholders)
    world.product()
    world.tables.refusals = [codes]
    before = world.state(world.staged(1, BLUE))
    with pytest.raises(TransactWriteError):
        world.save(before)
    assert (world.images(), world.slept) == ({}, [])

    # When it is repeated, then it finds things as they now are
    assert outcome(world.save(before)).status == "generated"


def test_a_refusal_makes_no_placeholder_of_what_two_products_have(world: World) -> None:
    # Given a provider that sends no placeholders, and bytes that another product has too
    world.has("CJ0", BLUE)
    world.product()
    world.tables.refusals = [["ConditionalCheckFailed"]]

    # When the transaction is refused for another reason, then nothing is withdrawn
    with pytest.raises(TransactWriteError):
        world.saves(world.staged(1, BLUE))
    assert (world.images("CJ0")[1].image_id, world.pictures()) == (image_id(BLUE), {image_id(BLUE)})


def test_of_two_that_save_one_variant_at_once_one_commits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a product with a cover, claimed by nobody that is here, of which two children save the same variant
    world.has("CJ1", BLUE)
    before = world.state(world.staged(2, RED))
    stale = library.product_page("CJ1")
    world.save(before)
    monkeypatch.setattr(library, "product_page", lambda *_, **__: stale)

    # Then the transaction of the one that read the product before the other had written is refused
    with pytest.raises(TransactWriteError):
        world.save(before)
    assert world.there().images_cost_microusd == 2 * PRICE


def test_a_cover_that_has_come_meanwhile_is_not_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a product that another run holds and gives its first image, after it was read without one
    world.product(run_id=ANOTHER)
    stale = library.product_page("CJ1")
    world.has("CJ1", BLUE)
    job = world.staged(2, RED)

    # When this run's image is saved, then it is added and the cover stays
    with monkeypatch.context() as patch:
        patch.setattr(library, "product_page", lambda *_, **__: stale)
        assert outcome(world.saves(job)).status == "generated"
    assert (world.there().variants, world.there().cover_image_id) == ({1, 2}, image_id(BLUE))


def requested(state: ProductState, seconds: float) -> ProductState:
    """The same, of a run that was asked for so many seconds after the others."""
    state.run.requested_at = iso(NOW + timedelta(seconds=seconds))
    return state


def in_order(product_id: str = "CJ1") -> list[str | None]:
    """The images of a product's history, newest first."""
    return [entry.image_id for entry in history.page(product_id, 100)]


@pytest.mark.parametrize(("seconds", "newest"), [(-60, "uploaded"), (60, "generated")])
def test_of_two_new_covers_that_of_the_later_request_counts(world: World, seconds: float, newest: str) -> None:
    # Given an upload, and a run for new images that was asked for before it, or after, and is done only now
    world.product()
    covers.upload("CJ1", imaging.normalise(BLUE), "bucket", covers.Act("ana", NOW))
    state = requested(world.state(world.staged(1, RED), reuse=False), seconds)

    assert outcome(world.save(state)).status == "generated"

    # Then both are there and in history, in the order in which they were asked for, and the newer one is the cover
    expected = [image_id(BLUE), image_id(RED)] if newest == "uploaded" else [image_id(RED), image_id(BLUE)]
    assert in_order() == expected
    assert world.there().cover_image_id == expected[0]
    assert {each.image_id for each in library.product_page("CJ1")[1]} == set(expected)


def test_a_first_cover_that_an_upload_has_overtaken_is_in_history(world: World) -> None:
    # Given a run for a product without images, and an upload while it was at work
    world.product()
    covers.upload("CJ1", imaging.normalise(BLUE), "bucket", covers.Act("ana", NOW))
    world.save(requested(world.state(world.staged(2, RED)), -60))

    assert (in_order(), world.there().cover_image_id) == ([image_id(BLUE), image_id(RED)], image_id(BLUE))


def test_images_that_only_join_a_cover_are_no_change_of_it(world: World) -> None:
    world.product()
    covers.upload("CJ1", imaging.normalise(BLUE), "bucket", covers.Act("ana", NOW))
    world.save(requested(world.state(world.staged(2, RED)), 60))

    assert (in_order(), world.there().cover_image_id) == ([image_id(BLUE)], image_id(BLUE))


def test_of_one_run_the_first_variant_stays_the_cover(world: World) -> None:
    # Given a run for new images whose second variant is saved first, in another pass than the first one
    world.product()
    for variant, picture_of_it in ((2, RED), (1, BLUE), (3, GREY)):
        world.save(requested(world.state(world.staged(variant, picture_of_it), reuse=False), 5))

    assert (in_order()[0], world.there().cover_image_id) == (image_id(BLUE), image_id(BLUE))
    assert set(in_order()) == {image_id(BLUE), image_id(RED), image_id(GREY)}


def test_a_product_that_has_no_cover_any_more_gets_the_next_one(world: World) -> None:
    # Given a cover that was hidden after the run was asked for
    world.product()
    covers.upload("CJ1", imaging.normalise(BLUE), "bucket", covers.Act("ana", NOW))
    covers.hide("CJ1", image_id(BLUE), covers.Act("ana", NOW + timedelta(seconds=90)))
    world.save(requested(world.state(world.staged(2, RED)), 30))

    assert (in_order()[0], world.there().cover_image_id) == (image_id(RED), image_id(RED))


def test_an_upload_that_looks_like_a_placeholder_stays(world: World) -> None:
    # Given a picture that a person has uploaded, and that a provider then sends for another product
    world.provider = Method("catvton", placeholders=True)
    world.product("CJ0")
    covers.upload("CJ0", imaging.normalise(GREY), "bucket", covers.Act("ana", NOW))
    world.product()
    assert outcome(world.saves(world.staged(1, GREY))).status == "blocked"

    # Then it is no image of that one, and stays where a person has put it, bytes and all
    assert world.images("CJ1") == {}
    assert [each.image_id for each in world.images("CJ0").values()] == [image_id(GREY)]
    assert image_id(GREY) in world.pictures()


def test_a_claim_that_is_lost_meanwhile_is_not_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a claim that another run takes over after the product was read
    world.product()
    stale = library.product_page("CJ1")
    Product("CJ1", "product").update([Product.claimed_by.set(ANOTHER)])
    job = world.staged(1, BLUE)

    # When its image is saved, then it is there, and the claim is the other run's
    with monkeypatch.context() as patch:
        patch.setattr(library, "product_page", lambda *_, **__: stale)
        assert outcome(world.saves(job)).status == "generated"
    assert world.there().claimed_by == ANOTHER


def test_an_attempt_that_has_ended_meanwhile_does_not_succeed(world: World) -> None:
    world.product()
    job = world.staged(1, BLUE)
    world.attempt("work-of-1", ledger.FAILED, reason="Another attempt came first.")
    with pytest.raises(TransactWriteError):
        world.saves(job)
    assert (world.ledger(), world.images()) == ({"1": ledger.FAILED}, {})


# --- how a product ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "ends"),
    [
        ([], "generated"),
        (["failed"], "failed"),
        (["blocked"], "blocked"),
        (["over_budget"], "over_budget"),
        (["stopped"], "deferred"),
        (["blocked", "failed"], "failed"),
        (["failed", "over_budget"], "over_budget"),
        (["over_budget", "stopped"], "deferred"),
    ],
)
@pytest.mark.parametrize("kind", ["staged", "linked"])
def test_a_product_that_lacks_images_ends_as_what_a_retry_may_still_cure(
    world: World, others: list[str], ends: str, kind: str
) -> None:
    # Given a variant that is there, by our own work or another's, and some that did not come to anything
    world.has("CJ0", BLUE)
    world.product()
    got = world.staged(1, RED) if kind == "staged" else world.linked(1, BLUE, reuse_key="work-of-CJ0-1")
    about = {"seed": 1, "reason": "So it is."}
    rest = [
        Job.model_validate({**about, "variant": variant, "reuse_key": f"work-of-{variant}", "status": status})
        for variant, status in enumerate(others, start=2)
    ]

    # When what is there is saved
    told = outcome(world.saves(got, *rest))

    # Then the image is kept, the product ends as its others do, and is free
    assert told.status == ("linked" if kind == "linked" and not others else ends)
    assert (told.images_generated, told.images_reused) == (
        (1, 2 - len(others)) if kind == "staged" else (0, 3 - len(others))
    )
    assert told.reason.count("So it is.") == min(1, len(others))
    assert (world.there().variants, world.there().claimed_by) == ({1}, None)
