"""Save: turns staged results into images and commits image, product, history and ledger in one transaction.

Repeating a save changes nothing. The provider's safety filter answers a flagged job with a placeholder picture and
success, so equal bytes for different inputs mean blocked: every image has a fingerprint that says for which work its
bytes were first made, and the transaction that would give the same bytes to other work fails. The first product to
get a placeholder cannot know; it loses the picture when the second one shows what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, TransactWriteError
from pynamodb.transactions import TransactWrite

from lookbook import aws, generate, history, imaging, ledger, library
from lookbook.errors import ImageError, NotFoundError
from lookbook.state import Job, ProductState
from lookbook.tables import (
    MOST_CONFLICTS,
    PRODUCT,
    UPLOAD,
    Fingerprint,
    HistoryEntry,
    Image,
    LedgerEntry,
    Product,
    connection,
    pause,
)
from lookbook.times import iso

if TYPE_CHECKING:
    from datetime import datetime

    from pynamodb.expressions.condition import Condition

    from lookbook.providers.base import Provider

BLOCKED_REASON = (
    "The provider's safety filter blocked it: it answered with a placeholder picture. "
    "Another product picture or model photo may pass."
)


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished picture that waits for its commit."""

    job: Job
    image_id: str
    width: int
    height: int
    size: int
    model_version: str


@dataclass(frozen=True, slots=True)
class Saver:
    """Save with its collaborators."""

    providers: Mapping[str, Provider]
    bucket: str

    def save(self, state: ProductState, now: datetime) -> ProductState:
        """Return the product's next state: `record` with its outcome, or `generate` if a result was no picture."""
        product, images = library.product_page(state.product.product_id, consistent=True)
        if product is None:
            raise NotFoundError(f"Product {state.product.product_id} is not in the library.")
        present = {image.reuse_key for image in images}
        done = [job for job in state.jobs if job.reuse_key in present]
        jobs = {job.variant: job for job in state.jobs}
        made: list[_Made] = []
        for job in state.jobs:
            if job not in done and job.status in {"staged", "linked"}:
                result = self.finish(job, state.run.run_id)
                if isinstance(result, Job):
                    jobs[job.variant] = result
                else:
                    made.append(result)
        held = {image.image_id for image in images}
        for one in (everything := list(made)):
            if self.providers[state.product.method].placeholders:
                if _is_twin(one, everything):
                    made.remove(one)
                    jobs[one.job.variant] = self.block(one, state, now)
            elif one.image_id in held:
                made.remove(one)
                jobs[one.job.variant] = _same_again(one)
            held.add(one.image_id)
        committed = self.commit(state, product, made, jobs, now)
        return self.next_state(state.model_copy(update={"jobs": list(jobs.values())}), [*done, *committed])

    def finish(self, job: Job, run_id: str) -> _Made | Job:
        """Make an image of a result, or say why it is none."""
        entry = LedgerEntry.get(ledger.work_id(job.reuse_key), job.attempt, consistent_read=True)
        if job.status == "linked":
            return self.link(job, entry)
        try:
            picture = imaging.normalise(aws.get_object(self.bucket, job.staging_key))
        except (ImageError, NotFoundError) as error:
            reason = f"The provider's result cannot be used: {error}"
            ledger.ended(entry, ledger.FAILED, reason)
            again = generate.may_try_again(ledger.attempts(job.reuse_key), run_id)
            return job.model_copy(update={"status": "waiting" if again else "failed", "reason": reason})
        aws.put_once(self.bucket, library.image_key(picture.sha256), picture.data, "image/jpeg")
        if not job.cost_microusd and job.own:  # another run has paid for it
            job = job.model_copy(update={"cost_microusd": entry.cost_microusd, "work_ms": entry.work_ms})
        version = entry.model_version or "unknown"
        return _Made(job, picture.sha256, picture.width, picture.height, len(picture.data), version)

    @staticmethod
    def link(job: Job, entry: LedgerEntry) -> _Made | Job:
        """Take the image that the same work has already made for another product."""
        try:
            fingerprint = Fingerprint.get(*library.fingerprint_key(job.image_id), consistent_read=True)
            first = Image.get(min(fingerprint.used_by), f"image#{job.image_id}", consistent_read=True)
        except DoesNotExist:
            return job.model_copy(update={"status": "failed", "reason": "The image was taken out of the library."})
        size = (int(first.width), int(first.height), int(first.size))
        return _Made(job, job.image_id, *size, entry.model_version or "unknown")

    def commit(
        self, state: ProductState, product: Product, made: list[_Made], jobs: dict[int, Job], now: datetime
    ) -> list[Job]:
        """Write all that was made at once; what turns out to be a placeholder is left out and blocked."""
        conflicts = 0
        while made:
            finished = all(job.status != "waiting" for job in jobs.values())
            try:
                self.write(state, product, made, now, finished=finished)
            except TransactWriteError as error:
                as_it_is = library.must_have(product.product_id, consistent=True)
                changed = as_it_is.cover_entry_id != product.cover_entry_id or as_it_is.claimed_by != product.claimed_by
                if conflicts < MOST_CONFLICTS and (changed or history.is_conflict(error)):
                    conflicts, product = conflicts + 1, as_it_is
                    pause()
                    continue
                placeholders = [one for one in made if _belongs_to_other_work(one)]
                if not self.providers[state.product.method].placeholders or not placeholders:
                    raise  # someone else has saved or changed the product; a repeated Save finds it as it now is
                for one in placeholders:
                    made.remove(one)
                    jobs[one.job.variant] = self.block(one, state, now)
            else:
                return [one.job for one in made]
        if all(job.status != "waiting" for job in jobs.values()):
            library.release(product.product_id, state.run.run_id)
        return []

    def write(self, state: ProductState, product: Product, made: list[_Made], now: datetime, *, finished: bool) -> None:
        """Commit all of it or nothing."""
        moment = iso(now)
        first = min(made, key=lambda one: one.job.variant)
        entry = self.entry(state, product, first, moment)
        condition: Condition = Product.product_id.exists()
        actions: list[Any] = [
            Product.variants.add({one.job.variant for one in made}),
            Product.hidden_variants.delete({one.job.variant for one in made}),
            Product.images_cost_microusd.add(sum(one.job.cost_microusd for one in made)),
            Product.images_work_ms.add(sum(one.job.work_ms for one in made)),
            Product.updated_at.set(moment),
        ]
        if entry is not None and history.wins(product, entry):
            actions += history.set_cover(entry)
            condition &= history.unchanged(product)
        if product.claimed_by == state.run.run_id:
            condition &= Product.claimed_by == state.run.run_id
            if finished:
                actions += [Product.claimed_by.remove(), Product.claim_expires_at.remove()]
        placeholders = self.providers[state.product.method].placeholders
        with TransactWrite(connection=connection()) as transaction:
            for one in made:
                transaction.update(
                    Fingerprint(*library.fingerprint_key(one.image_id)),
                    actions=[
                        Fingerprint.kind.set(Fingerprint),
                        Fingerprint.reuse_key.set(one.job.reuse_key),
                        Fingerprint.used_by.add({product.product_id}),
                        Fingerprint.blocked.set(False),
                    ],
                    condition=_first_made_by(one) if placeholders else None,
                )
            for one in made:
                transaction.save(self.image(one, state, moment), condition=Image.product_id.does_not_exist())
                if one.job.status == "staged":
                    transaction.update(
                        LedgerEntry(ledger.work_id(one.job.reuse_key), one.job.attempt),
                        actions=[
                            LedgerEntry.status.set(ledger.SUCCEEDED),
                            LedgerEntry.image_id.set(one.image_id),
                        ],
                        condition=LedgerEntry.status.is_in(ledger.STAGED, ledger.SUCCEEDED),
                    )
            transaction.update(Product(product.product_id, PRODUCT), actions=actions, condition=condition)
            if entry is not None:
                transaction.save(entry, condition=HistoryEntry.entry_id.does_not_exist())

    def entry(self, state: ProductState, product: Product, first: _Made, moment: str) -> HistoryEntry | None:
        """Return what history has to say of new images: nothing, if they only join a cover that was there before."""
        requested_at = state.run.requested_at or moment
        if product.cover_image_id is None:
            requested_at = history.no_sooner(product, requested_at)
        # Of one run's images the first variant is the newest: a later Save of another one leaves the cover alone.
        tail = f"{state.run.run_id[-8:]}{99 - first.job.variant:02d}"
        entry = HistoryEntry(
            product_id=product.product_id,
            entry_id=history.entry_id(requested_at, tail),
            action="generated",
            image_id=first.image_id,
            method=state.product.method,
            prompt=self.prompt(state, first.job),
            actor=state.run.started_by or f"run {state.run.run_id}",
            run_id=state.run.run_id,
            created_at=moment,
        )
        came_between = history.time_of(product) > requested_at  # the cover of a later request, which stays
        return entry if not state.run.reuse or product.cover_image_id is None or came_between else None

    def prompt(self, state: ProductState, job: Job) -> str | None:
        """Return what the provider was asked for, if it is asked in words."""
        told = self.providers[state.product.method].parameters(state.product, job.seed).get("prompt")
        return str(told) if told else None

    def block(self, one: _Made, state: ProductState, now: datetime) -> Job:
        """Note that these bytes are a placeholder, and take them out wherever they were taken for an image.

        Where the filter is moody the job waits, and Generate tries another seed once.
        """
        fingerprint = Fingerprint(*library.fingerprint_key(one.image_id))
        fingerprint.update(
            actions=[
                Fingerprint.kind.set(Fingerprint),
                Fingerprint.blocked.set(True),
                Fingerprint.reuse_key.set(Fingerprint.reuse_key | one.job.reuse_key),
                Fingerprint.used_by.add({state.product.product_id}),
            ]
        )
        kept = [_withdraw(user, one.image_id, now) for user in sorted(fingerprint.used_by)]
        if not any(kept):
            aws.s3().delete_object(Bucket=self.bucket, Key=library.image_key(one.image_id))
        if one.job.status == "staged":  # last: as long as it is staged, a Save that was cut off is done again
            ledger.ended(
                LedgerEntry.get(ledger.work_id(one.job.reuse_key), one.job.attempt, consistent_read=True),
                ledger.BLOCKED,
                BLOCKED_REASON,
            )
        if self.providers[state.product.method].moody and not one.job.reseeded:
            return one.job.model_copy(update={"status": "waiting", "reason": BLOCKED_REASON})
        return one.job.model_copy(update={"status": "blocked", "reason": BLOCKED_REASON})

    @staticmethod
    def next_state(state: ProductState, saved: list[Job]) -> ProductState:
        if any(job.status == "waiting" for job in state.jobs):
            return state.model_copy(update={"next": "generate"})
        new = sum(job.status == "staged" and job.own for job in saved)
        if len(saved) < len(state.jobs):
            status = generate.shortfall(state.jobs)
        elif new:
            status = "generated"
        else:
            status = "linked"
        told = generate.outcome(state, status, generate.reasons(state.jobs))
        images = {"images_generated": new, "images_reused": told.images_reused + len(saved) - new}
        return state.record(told.model_copy(update=images))

    def image(self, one: _Made, state: ProductState, moment: str) -> Image:
        """Return the item of a new image."""
        provider = self.providers[state.product.method]
        return Image(
            product_id=state.product.product_id,
            sort_key=f"image#{one.image_id}",
            image_id=one.image_id,
            variant=one.job.variant,
            method=provider.name,
            model_photo=state.run.model_photo(one.job.variant).name if provider.wears else "",
            model_version=one.model_version,
            licence=provider.licence,
            reuse_key=one.job.reuse_key,
            width=one.width,
            height=one.height,
            size=one.size,
            run_id=state.run.run_id,
            prompt=self.prompt(state, one.job),
            cost_microusd=one.job.cost_microusd,
            work_ms=one.job.work_ms,
            created_at=moment,
        )


def _first_made_by(one: _Made) -> Condition:
    """The condition that no other work has made these bytes."""
    same = (Fingerprint.reuse_key == one.job.reuse_key) & (Fingerprint.blocked == False)  # noqa: E712 - a condition for DynamoDB, which `not` cannot make
    condition: Condition = Fingerprint.product_id.does_not_exist() | same
    return condition


def _is_twin(one: _Made, made: list[_Made]) -> bool:
    """Tell whether other inputs gave the same bytes."""
    return any(one.image_id == other.image_id and one.job.reuse_key != other.job.reuse_key for other in made)


def _same_again(one: _Made) -> Job:
    """Say that a provider made a picture for this variant that the product has already."""
    reason = "The provider made the same picture as for another variant."
    if one.job.status == "staged":
        entry = LedgerEntry.get(ledger.work_id(one.job.reuse_key), one.job.attempt, consistent_read=True)
        ledger.ended(entry, ledger.FAILED, reason, final=True)
    return one.job.model_copy(update={"status": "failed", "reason": reason})


def _belongs_to_other_work(one: _Made) -> bool:
    """Tell whether other work has made these very bytes: then they are a placeholder, not an image."""
    try:
        found = Fingerprint.get(*library.fingerprint_key(one.image_id), consistent_read=True)
    except DoesNotExist:
        return False
    return bool(found.blocked) or found.reuse_key != one.job.reuse_key


def _withdraw(product_id: str, image_id: str, now: datetime) -> bool:
    """Take a placeholder out of a product that had taken it for an image; its slot is free again.

    Returns True if it stays, as a person has put it there.
    """
    product, images = library.product_page(product_id, consistent=True)
    image = next((image for image in images if image.image_id == image_id), None)
    if product is None or image is None:
        return False
    if image.method == UPLOAD:
        return True
    others = [other for other in images if other.image_id != image_id]
    actions: list[Any] = [
        Product.images_cost_microusd.add(-int(image.cost_microusd)),
        Product.images_work_ms.add(-int(image.work_ms)),
        Product.updated_at.set(iso(now)),
    ]
    if all(other.variant != image.variant for other in others):
        actions.append(Product.variants.delete({int(image.variant)}))
    entry: HistoryEntry | None = None
    if product.cover_image_id == image_id:
        shown = [other for other in others if not other.hidden_at]
        entry = HistoryEntry(
            product_id=product_id,
            entry_id=history.entry_id(history.no_sooner(product, iso(now))),
            action="withdrawn",
            image_id=shown[0].image_id if shown else None,
            method=image.method,
            actor="Lookbook",
            run_id=image.run_id,
            hidden_image_id=image_id,
            created_at=iso(now),
        )
        actions += history.set_cover(entry)
    succeeded = [attempt for attempt in ledger.attempts(image.reuse_key) if attempt.status == ledger.SUCCEEDED]
    with TransactWrite(connection=connection()) as transaction:
        transaction.delete(image, condition=Image.product_id.exists())
        transaction.update(product, actions=actions, condition=history.unchanged(product))
        for attempt in succeeded:
            transaction.update(
                attempt,
                actions=[LedgerEntry.status.set(ledger.BLOCKED), LedgerEntry.reason.set(BLOCKED_REASON)],
            )
        if entry is not None:
            transaction.save(entry, condition=HistoryEntry.entry_id.does_not_exist())
    return False
