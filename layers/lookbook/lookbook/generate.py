"""Generate: brings every missing variant of a product one step nearer to a result, however often it is called.

Each call submits what is not submitted, polls what is, and fetches what is done; the state machine waits in between.
What has been paid for is found through the ledger, so a killed function, a repeated call, another pass or another
run goes on where the last one stopped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lookbook import aws, imaging, ledger, library
from lookbook.errors import ImageError, SourceImageError
from lookbook.fetch import SourceUnavailableError, fetch_picture
from lookbook.gpu import JobState, RefusedError, TroubleError, UncertainError
from lookbook.logging import logger
from lookbook.reuse import PARAMETERS, reuse_key, seed_for
from lookbook.state import Job, ModelPhoto, Outcome, ProductState, RunContext

if TYPE_CHECKING:
    from lookbook.tables import LedgerEntry

METHOD = "catvton"
# Part of the reuse key: raise it when the worker's model changes, and new pictures are made of what is asked for anew.
MODEL_VERSION = "1"
LICENCE = "CC BY-NC-SA 4.0 (non-commercial)"

MAX_FETCH_TRIES = 4
MAX_WAIT_SECONDS = 15
# The longest that a call to the provider and what must be written after it may take.
CALL_SECONDS = 34
# The worker makes 768 x 1024; more pixels than that only slow the upload down.
PROVIDER_LONGEST_SIDE = 1024


class Provider(Protocol):
    """What Generate needs of a provider: see gpu.GpuEndpoint."""

    def submit(self, job_input: dict[str, Any]) -> str: ...
    def state(self, job_id: str) -> JobState: ...


@dataclass(frozen=True, slots=True)
class Generator:
    """Generate with its collaborators."""

    provider: Provider
    bucket: str
    usd_per_second: float
    allow_private_urls: bool = False

    def advance(self, state: ProductState, now: float, seconds_left: Callable[[], float]) -> ProductState:
        """Return the product's next state: `wait`, `save`, or `record` with an outcome.

        No call to the provider is begun with less than CALL_SECONDS left: one that is cut off may have been paid for.
        """
        pictures = _Pictures(self, state)
        if not state.jobs:
            try:
                sha256 = state.source_sha256 or pictures.fetch_first()
            except SourceUnavailableError as error:
                if state.tries + 1 < MAX_FETCH_TRIES:
                    return state.model_copy(update={"tries": state.tries + 1}).wait(2 ** (state.tries + 1))
                return self.give_up(state, f"{error} It was tried {MAX_FETCH_TRIES} times.")
            except (SourceImageError, ImageError) as error:
                return self.give_up(state, str(error))
            state = state.model_copy(update={"tries": 0, "source_sha256": sha256})
            state = state.model_copy(update={"jobs": self.jobs(state)})
        jobs = []
        for job in state.jobs:
            busy = job.status != "waiting" or seconds_left() < CALL_SECONDS
            jobs.append(job if busy else self.step(job, state, pictures, now))
        return self.decide(state.model_copy(update={"jobs": jobs}), now)

    def fetch(self, url: str) -> bytes:
        """Fetch a product's picture. Old scrapes say http where the host has long had https."""
        if not self.allow_private_urls and url.startswith("http://"):
            url = f"https://{url.removeprefix('http://')}"
        return fetch_picture(url, allow_private=self.allow_private_urls)

    @staticmethod
    def jobs(state: ProductState) -> list[Job]:
        """Return the work to do, one job for each missing variant."""
        return [
            Job(variant=variant, reuse_key=reuse_key(
                state.source_sha256,
                state.run.model_photo(variant).sha256,
                METHOD,
                MODEL_VERSION,
                {**PARAMETERS, "category": state.product.garment, "seed": seed(state.run, variant)},
            ))
            for variant in state.missing
        ]  # fmt: skip

    def step(self, job: Job, state: ProductState, pictures: _Pictures, now: float) -> Job:
        """Bring one variant a step further. The ledger, not `job`, says what has been tried and paid.

        As long as the provider says that the job is at work, the ledger need not be asked.
        """
        told = self.ask(job.job_id)
        if told is not None and told.status == "waiting":
            return job
        attempts = ledger.attempts(job.reuse_key)
        last = attempts[-1] if attempts else None
        if last and last.status == ledger.INTENT and now - float(last.created_at) > ledger.INTENT_EXPIRES_SECONDS:
            ledger.ended(last, ledger.UNKNOWN, "The submission was cut off; it may have been paid for.")
        if last and last.status == ledger.SUBMITTED:
            job = self.note(job, last, told if job.job_id == last.job_id else self.ask(str(last.job_id)))
        if last is None or (last.status in ledger.MAY_BE_TRIED_AGAIN and may_try_again(attempts, state.run.run_id)):
            job = self.submit(job, state, pictures, last, now)
        elif last.status == ledger.SUCCEEDED:
            job = job.model_copy(update={"status": "linked", "image_id": last.image_id})
        elif last.status == ledger.STAGED:
            job = job.model_copy(update={"status": "staged", "staging_key": last.staging_key, "reason": ""})
        elif last.status == ledger.BLOCKED:
            job = job.model_copy(update={"status": "blocked", "reason": last.reason or ""})
        elif last.status in ledger.MAY_BE_TRIED_AGAIN:
            job = job.model_copy(update={"status": "failed", "reason": last.reason or ""})
        return job.model_copy(update=paid(attempts, state) | {"attempt": last.sort_key if last else ""})

    def submit(self, job: Job, state: ProductState, pictures: _Pictures, last: LedgerEntry | None, now: float) -> Job:
        """Write the intent, call the provider, keep the job's id."""
        try:
            job_input = pictures.job_input(job, state.source_sha256)
        except (SourceImageError, ImageError) as error:
            return job.model_copy(update={"status": "failed", "reason": str(error)})
        entry = ledger.write_intent(
            job.reuse_key,
            last,
            run_id=state.run.run_id,
            product_id=state.product.product_id,
            variant=job.variant,
            provider=METHOD,
            now=now,
        )
        if entry is None:
            return job
        try:
            job_id = self.provider.submit(job_input)
        except RefusedError as error:
            ledger.withdraw(entry)
            aws.secret.cache_clear()  # a key that was refused may have been replaced since we read it
            return job.model_copy(update={"status": "failed" if error.final else "waiting", "reason": str(error)})
        except UncertainError as error:
            ledger.ended(entry, ledger.UNKNOWN, f"{error} It may have been paid for.")
            return job.model_copy(update={"reason": str(error)})
        ledger.submitted(entry, job_id)
        return job.model_copy(update={"job_id": job_id, "reason": ""})

    def ask(self, job_id: str) -> JobState | None:
        """Ask the provider for a job; None when there is none, or it cannot tell now."""
        try:
            return self.provider.state(job_id) if job_id else None
        except TroubleError as error:
            logger.info("provider gave no state", extra={"job_id": job_id, "reason": str(error)})
            return None

    def note(self, job: Job, entry: LedgerEntry, told: JobState | None) -> Job:
        """Write to the ledger what became of a submitted job."""
        job = job.model_copy(update={"job_id": str(entry.job_id)})
        if told is None or told.status == "waiting":
            return job
        cost = round(told.gpu_ms * self.usd_per_second * 1000)
        if told.status == "completed":
            key = f"staging/{job.reuse_key}/{entry.sort_key.removeprefix('attempt#')}"
            aws.s3().put_object(Bucket=self.bucket, Key=key, Body=told.image)
            ledger.staged(
                entry, staging_key=key, model_version=told.model_version, cost_microusd=cost, gpu_ms=told.gpu_ms
            )
        else:
            status = ledger.UNKNOWN if told.status == "gone" else ledger.FAILED
            ledger.ended(entry, status, told.reason, cost_microusd=cost, gpu_ms=told.gpu_ms)
        return job

    def decide(self, state: ProductState, now: float) -> ProductState:
        """Say what comes next for the product as a whole."""
        if any(job.status == "waiting" for job in state.jobs):
            if now >= state.defer_at:
                why = next((job.reason for job in state.jobs if job.reason), "It takes longer than one pass allows.")
                return state.record(outcome(state, "deferred", why))
            elapsed = now - state.started_at
            return state.wait(min(MAX_WAIT_SECONDS, max(1, round(0.3 * elapsed))))
        if any(job.status in {"staged", "linked"} for job in state.jobs):
            return state.model_copy(update={"next": "save", "wait_seconds": 0})
        return self.give_up(state, reasons(state.jobs))

    @staticmethod
    def give_up(state: ProductState, reason: str) -> ProductState:
        """Record a product that got no image, and let others try."""
        library.release(state.product.product_id, state.run.run_id)
        blocked = bool(state.jobs) and all(job.status == "blocked" for job in state.jobs)
        return state.record(outcome(state, "blocked" if blocked else "failed", reason))


class _Pictures:
    """The pictures a job is made of, fetched only if one must be submitted."""

    def __init__(self, generator: Generator, state: ProductState) -> None:
        self._generator = generator
        self._state = state
        self._garment = b""

    def fetch_first(self) -> str:
        """Fetch the product's picture and return its SHA-256. Raises SourceImageError or ImageError."""
        product = self._state.product
        source = self._generator.fetch(product.image_url)
        self._garment = imaging.normalise(source, PROVIDER_LONGEST_SIDE).data
        sha256 = hashlib.sha256(source).hexdigest()
        library.remember_source(product.product_id, sha256, product.image_url)
        return sha256

    def job_input(self, job: Job, source_sha256: str) -> dict[str, Any]:
        """Return the worker's input for a job. Raises SourceImageError or ImageError if a picture is not as it was."""
        if not self._garment and self.fetch_first() != source_sha256:
            raise SourceImageError("The product's picture has changed while images were made of it. Run it again.")
        photo = self._state.run.model_photo(job.variant)
        return {
            "person_image": base64.b64encode(_model_photo(self._generator.bucket, photo)).decode(),
            "garment_image": base64.b64encode(self._garment).decode(),
            "category": self._state.product.garment,
            "seed": seed(self._state.run, job.variant),
            **PARAMETERS,
        }


_model_photos: dict[str, bytes] = {}


def _model_photo(bucket: str, photo: ModelPhoto) -> bytes:
    """Return a model photo's bytes; kept while the function is warm, as every product needs the same few."""
    if photo.sha256 not in _model_photos:
        data = aws.get_object(bucket, photo.key)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise SourceImageError(f"The model photo {photo.name} was replaced during the run. Run it again.")
        _model_photos[photo.sha256] = data
    return _model_photos[photo.sha256]


def seed(run: RunContext, variant: int) -> int:
    return seed_for(variant, None if run.reuse else run.run_id)


def outcome(state: ProductState, status: str, reason: str) -> Outcome:
    """Sum up a product that ends here without saving."""
    present = state.run.variants - len(state.missing) if state.missing else 0
    return Outcome.model_validate(
        {
            "status": status,
            "reason": reason,
            "images_reused": present,
            "cost_microusd": sum(job.cost_microusd for job in state.jobs),
            "gpu_ms": sum(job.gpu_ms for job in state.jobs),
        }
    )


def reasons(jobs: list[Job]) -> str:
    """Say why variants failed, each reason once."""
    why: dict[str, list[str]] = {}
    for job in jobs:
        if job.status in {"failed", "blocked"}:
            why.setdefault(job.reason or "No reason was given.", []).append(str(job.variant))
    return " ".join(f"Variant {', '.join(variants)}: {reason}" for reason, variants in why.items())


def may_try_again(attempts: list[LedgerEntry], run_id: str) -> bool:
    """Whether this run may pay for one more attempt; what earlier runs paid for in vain does not count against it."""
    return sum(entry.paid_by == run_id for entry in attempts) < ledger.MAX_ATTEMPTS


def paid(attempts: list[LedgerEntry], state: ProductState) -> dict[str, int]:
    """Return what this run has paid for one variant of this product."""
    whose = (state.run.run_id, state.product.product_id)
    mine = [entry for entry in attempts if (entry.paid_by, entry.product_id) == whose]
    return {
        "cost_microusd": sum(int(entry.cost_microusd) for entry in mine),
        "gpu_ms": sum(int(entry.gpu_ms) for entry in mine),
    }
