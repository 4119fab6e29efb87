"""Generate: brings every missing variant of a product one step nearer to a result, however often it is called.

Each call submits what is not submitted, polls what is, and fetches what is done; the state machine waits in between.
What has been paid for is found through the ledger, so a killed function, a repeated call, another pass or another
run goes on where the last one stopped. For a plan the same is decided, and nothing done.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lookbook import aws, budget, imaging, lanes, ledger, library, rates, runs
from lookbook.errors import ImageError, NotFoundError, SourceImageError
from lookbook.fetch import SourceUnavailableError, fetch_picture
from lookbook.ledger import Result
from lookbook.logging import logger
from lookbook.providers.base import JobState, Order, RefusedError, TroubleError, UncertainError
from lookbook.reuse import OTHER_SEED, reuse_key, seed_for
from lookbook.state import Job, ModelPhoto, Outcome, ProductState, RunContext

if TYPE_CHECKING:
    from lookbook.providers.base import Provider
    from lookbook.tables import Budget, LedgerEntry

MAX_FETCH_TRIES = 4
MAX_WAIT_SECONDS = 15
# A claim is renewed when it would not last for a call to the provider and this, and then lasts so much longer.
CLAIM_SPARE_SECONDS = 15
# The providers make about 1024 pixels a side; more than that only slows the upload down.
PROVIDER_LONGEST_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Generator:
    """Generate with its collaborators."""

    providers: Mapping[str, Provider]
    bucket: str
    allow_private_urls: bool = False

    def advance(
        self, state: ProductState, clock: Callable[[], float], seconds_left: Callable[[], float]
    ) -> ProductState:
        """Return the product's next state: `wait`, `save`, or `record` with an outcome.

        `clock` tells the time (epoch seconds), `seconds_left` how long the function may still run: no call to a
        provider is begun that might be cut off, as it may have been paid for.
        """
        turn = _Turn(self, state, self.providers[state.product.method], clock, seconds_left)
        if not state.jobs:
            try:
                sha256 = state.source_sha256 or turn.fetch_first()
            except SourceUnavailableError as error:
                if state.tries + 1 < MAX_FETCH_TRIES:
                    return state.model_copy(update={"tries": state.tries + 1}).wait(2 ** (state.tries + 1))
                return self.give_up(state, f"{error} It was tried {MAX_FETCH_TRIES} times.")
            except (SourceImageError, ImageError) as error:
                return self.give_up(state, str(error))
            state = state.model_copy(update={"tries": 0, "source_sha256": sha256})
            jobs = [turn.job(state, variant, seed(state.run, variant)) for variant in state.missing]
            state = state.model_copy(update={"jobs": jobs})
        turn.state = state
        if state.run.plan:
            return self.plan(state, turn)
        state = turn.state = self.keep_claim(state, turn)
        state = state.model_copy(update={"jobs": [turn.step(job) for job in state.jobs]})
        return self.decide(state, clock(), turn.wait_seconds)

    def fetch(self, url: str) -> bytes:
        """Fetch a product's picture. Old scrapes say http where the host has long had https."""
        if not self.allow_private_urls and url.startswith("http://"):
            url = f"https://{url.removeprefix('http://')}"
        return fetch_picture(url, allow_private=self.allow_private_urls)

    @staticmethod
    def keep_claim(state: ProductState, turn: _Turn) -> ProductState:
        """Renew the claim on the product before it could expire under our hands."""
        now, needed = turn.clock(), turn.provider.call_seconds + CLAIM_SPARE_SECONDS
        if state.claimed_until - now > needed:
            return state
        until = now + needed + library.CLAIM_SECONDS
        library.renew(state.product.product_id, state.run.run_id, until)
        return state.model_copy(update={"claimed_until": until})

    @staticmethod
    def plan(state: ProductState, turn: _Turn) -> ProductState:
        """Say what a run would do with the product, by the same ledger and in the same order."""
        jobs = [turn.foresee(job) for job in state.jobs]
        state = state.model_copy(update={"jobs": jobs})
        work = [job.reuse_key for job in jobs if job.status == "waiting"]
        estimate = rates.estimate(turn.provider)
        statuses = {job.status for job in jobs}
        told = outcome(state, "planned" if work else "linked", reasons(jobs))
        if not work and "linked" not in statuses:
            told = outcome(state, "failed" if "failed" in statuses else "blocked", reasons(jobs))
        return state.record(
            told.model_copy(
                update={
                    "work": " ".join(work),
                    "images_generated": len(work),
                    "images_reused": sum(job.status == "linked" for job in jobs),
                    "cost_microusd": estimate.microusd * len(work),
                    "work_ms": estimate.ms * len(work),
                }
            )
        )

    def decide(self, state: ProductState, now: float, wait_seconds: float = 0) -> ProductState:
        """Say what comes next for the product as a whole; `wait_seconds`: how long the provider wants to be left."""
        if any(job.status == "waiting" for job in state.jobs):
            if now >= state.defer_at:
                why = next((job.reason for job in state.jobs if job.reason), "It takes longer than one pass allows.")
                return state.record(outcome(state, "deferred", why))
            elapsed = now - state.started_at
            return state.wait(min(MAX_WAIT_SECONDS, max(1, round(0.3 * elapsed), math.ceil(wait_seconds))))
        if any(job.status in {"staged", "linked"} for job in state.jobs):
            return state.model_copy(update={"next": "save", "wait_seconds": 0})
        return self.give_up(state, reasons(state.jobs))

    @staticmethod
    def give_up(state: ProductState, reason: str) -> ProductState:
        """Record a product that got no image, and let others try."""
        if not state.run.plan:
            library.release(state.product.product_id, state.run.run_id)
        return state.record(outcome(state, shortfall(state.jobs), reason))


@dataclass(slots=True)
class _Turn:
    """One call of Generate for one product: its pictures, fetched only if one must be submitted, and its clock."""

    generator: Generator
    state: ProductState
    provider: Provider
    clock: Callable[[], float]
    seconds_left: Callable[[], float]
    wait_seconds: float = 0
    closed: bool = False
    stop: Budget | None = None
    _picture: bytes = field(default=b"", init=False)

    # ------------------------------------------------------------------ what is to be made

    def fetch_first(self) -> str:
        """Fetch the product's picture, if it has one, and return its SHA-256. Raises SourceImageError, ImageError."""
        product = self.state.product
        if not product.image_url:
            return ""
        source = self.generator.fetch(product.image_url)
        picture = imaging.normalise(source, PROVIDER_LONGEST_SIDE)
        self._picture = picture.data
        sha256 = hashlib.sha256(source).hexdigest()
        if not self.state.run.plan:
            library.remember_source(product.product_id, sha256, picture.dhash, product.image_url)
        return sha256

    def job(self, state: ProductState, variant: int, its_seed: int) -> Job:
        """Return the job of a variant: equal reuse keys are equal work."""
        photo = state.run.model_photo(variant).sha256 if self.provider.wears else ""
        parameters = self.provider.parameters(state.product, its_seed)
        key = reuse_key(state.source_sha256, photo, self.provider.name, self.provider.model_version, parameters)
        return Job(variant=variant, seed=its_seed, reuse_key=key)

    def reseeded(self, job: Job) -> Job:
        """Return the same variant with another seed: a moody filter may let it pass."""
        other = self.job(self.state, job.variant, job.seed + OTHER_SEED)
        before = {"before_microusd": job.cost_microusd, "before_ms": job.work_ms}
        return other.model_copy(update={"reseeded": True, **before})

    def order(self, job: Job) -> Order:
        """Return what to hand in. Raises SourceImageError or ImageError if a picture is not as it was."""
        if self.state.product.image_url and not self._picture and self.fetch_first() != self.state.source_sha256:
            raise SourceImageError("The product's picture has changed while images were made of it. Run it again.")
        photo = b""
        if self.provider.wears:
            photo = _model_photo(self.generator.bucket, self.state.run.model_photo(job.variant))
        return Order(self.state.product, self._picture, photo, job.seed)

    # ------------------------------------------------------------------ one variant, one step

    def step(self, job: Job) -> Job:
        """Bring one variant a step further. The ledger, not `job`, says what has been tried and paid.

        As long as the provider says that the job is at work, the ledger need not be asked.
        """
        if job.status != "waiting" or self.seconds_left() < self.provider.call_seconds:
            return job
        told = self.ask(job.job_id)
        if told is not None and told.status == "waiting":
            return job
        attempts = ledger.attempts(job.reuse_key)
        last = attempts[-1] if attempts else None
        if last and last.status == ledger.INTENT and self.clock() > float(last.expires_at or 0):
            self.expire(last)
        for attempt in attempts:
            if attempt.status == ledger.SUBMITTED:
                self.note(attempt, told if job.job_id == attempt.job_id else self.ask(str(attempt.job_id)))
        good = [attempt for attempt in attempts if attempt.status in ledger.GOOD]
        last = good[0] if good else last
        for late in good[1:]:
            if late.status == ledger.STAGED:
                ledger.ended(late, ledger.FAILED, "Another attempt at the same image came first.")
        if last is None or (
            last.status in ledger.MAY_BE_TRIED_AGAIN and may_try_again(attempts, self.state.run.run_id)
        ):
            job, entry = self.submit(job, last)
            attempts = [*attempts, entry] if entry else attempts
            last = entry or last
        job = self.read(job, last, attempts)
        if job.status == "blocked" and self.provider.moody and not job.reseeded:
            return self.step(self.reseeded(job))
        return job

    def foresee(self, job: Job) -> Job:
        """Say what a run would find in the ledger for a variant: `waiting` stays what it would pay for."""
        attempts = ledger.attempts(job.reuse_key)
        last = attempts[-1] if attempts else None
        if last is None or (last.status in ledger.MAY_BE_TRIED_AGAIN and not last.final):
            return job
        if last.status == ledger.INTENT and self.clock() > float(last.expires_at or 0):
            return job  # its writer has died
        if last.status == ledger.BLOCKED and self.provider.moody and not job.reseeded:
            return self.foresee(self.reseeded(job))
        status = "blocked" if last.status in {ledger.BLOCKED, ledger.FAILED} else "linked"
        return job.model_copy(update={"status": status, "reason": last.reason or ""})

    def read(self, job: Job, last: LedgerEntry | None, attempts: list[LedgerEntry]) -> Job:
        """Bring a job up to what the ledger says of its last attempt."""
        if last is None or job.status != "waiting":
            return job
        update: dict[str, Any] = {"attempt": last.sort_key, "job_id": last.job_id or ""}
        update |= paid(attempts, self.state, job)
        if last.status == ledger.SUCCEEDED:
            update |= {"status": "linked", "image_id": last.image_id}
        elif last.status == ledger.STAGED:
            own = last.product_id == self.state.product.product_id
            update |= {"status": "staged", "staging_key": last.staging_key, "reason": "", "own": own}
        elif last.status == ledger.BLOCKED or last.final:
            update |= {"status": "blocked", "reason": last.reason or ""}
        elif last.status in ledger.MAY_BE_TRIED_AGAIN and not may_try_again(attempts, self.state.run.run_id):
            update |= {"status": "failed", "reason": last.reason or ""}
        return job.model_copy(update=update)

    # ------------------------------------------------------------------ submitting

    def submit(self, job: Job, last: LedgerEntry | None) -> tuple[Job, LedgerEntry | None]:
        """Take a place at the provider and hand the job in.

        Returns the job and, if something may have been bought, its ledger entry.
        """
        provider, token = self.provider, uuid.uuid4().hex
        if self.stop is not None:
            return self.stopped(job, self.stop), None
        if self.closed or self.clock() >= self.state.defer_at:
            return job, None  # what is left of the child's five minutes is for what is paid for
        if wait := lanes.take(provider.name, provider.limits, token, self.clock()):
            self.close(wait)
            return job.model_copy(update={"reason": f"{provider.name} takes no more at the moment."}), None
        entry = None
        try:
            order = self.order(job)
            if self.seconds_left() >= provider.call_seconds:  # else another call has more time
                job, entry = self.hand_in(job, order, last, token)
        except SourceUnavailableError as error:
            tries = job.tries + 1
            status = "waiting" if tries < MAX_FETCH_TRIES else "failed"
            job = job.model_copy(update={"status": status, "tries": tries, "reason": str(error)})
        except (SourceImageError, ImageError, NotFoundError) as error:
            job = job.model_copy(update={"status": "failed", "reason": str(error)})
        finally:
            if entry is None or entry.status != ledger.SUBMITTED:
                lanes.give_back(provider.name, provider.limits, token)
        return job, entry

    def hand_in(self, job: Job, order: Order, last: LedgerEntry | None, token: str) -> tuple[Job, LedgerEntry | None]:
        """Write the intent, reserve its price, call the provider, and keep what it answers."""
        run, provider = self.state.run, self.provider
        price, now = rates.estimate(provider).most_microusd, self.clock()
        entry = ledger.write_intent(
            job.reuse_key,
            last,
            token=token,
            run_id=run.run_id,
            product_id=self.state.product.product_id,
            variant=job.variant,
            provider=provider.name,
            reserved_microusd=price,
            now=now,
            expires_at=now + provider.call_seconds,
        )
        if entry is None:
            return job, None
        if refused := self.over_budget(job, entry):
            ledger.withdraw(entry)
            return refused, None
        try:
            accepted = provider.submit(order)
        except RefusedError as error:
            if ledger.withdraw(entry):
                budget.release(entry)
            return self.refused(job, error), None
        except UncertainError as error:
            ledger.ended(entry, ledger.UNKNOWN, f"{error} It may have been paid for.")
            return job.model_copy(update={"reason": str(error)}), entry
        # Should the ledger not be reached now, the log is where the job can be found.
        logger.info("job accepted", extra={"job_id": accepted.job_id, "work": entry.run_id, "attempt": entry.sort_key})
        if accepted.state is None:
            ledger.submitted(entry, accepted.job_id)
        else:
            self.note(entry, accepted.state, accepted.job_id)
        return job.model_copy(update={"reason": ""}), entry

    def over_budget(self, job: Job, entry: LedgerEntry) -> Job | None:
        """Reserve the price of an image; return what becomes of the job if that cannot be done."""
        run, price = self.state.run, int(entry.reserved_microusd)
        answer = budget.reserve(entry, run.budget_microusd)
        if answer == "reserved":
            return None
        if answer == "wait":
            self.close(0)
            return job.model_copy(update={"reason": "The rest of the budget is reserved for images in the making."})
        found = budget.look(run.run_id)
        if found.stop_status is None and run.budget_microusd is not None:
            reason = _beyond(run.budget_microusd, int(found.spent_microusd), self.provider.name, price)
            able = [each for each in self.generator.providers.values() if not each.unavailable]
            cheapest = min(rates.estimate(each).most_microusd for each in able)
            if found.spent_microusd + cheapest <= run.budget_microusd:
                return job.model_copy(update={"status": "over_budget", "reason": reason})
            budget.stop(run.run_id, budget.OVER_BUDGET, reason)
            found = budget.look(run.run_id)
        self.stop = found
        return self.stopped(job, found)

    def refused(self, job: Job, error: RefusedError) -> Job:
        """Heed why the provider did not take a job."""
        if error.bad_key:
            aws.secret.cache_clear()  # it may have been replaced since we read it
        if error.stops_run:
            budget.stop(self.state.run.run_id, budget.OVER_BUDGET, str(error))
            self.stop = budget.look(self.state.run.run_id)
            return self.stopped(job, self.stop)
        if error.retry_after:
            lanes.close(self.provider.name, self.clock() + error.retry_after)
        self.close(error.retry_after)
        return job.model_copy(update={"status": "failed" if error.final else "waiting", "reason": str(error)})

    def close(self, wait_seconds: float) -> None:
        """Submit nothing more in this call."""
        self.closed, self.wait_seconds = True, max(self.wait_seconds, wait_seconds)

    @staticmethod
    def stopped(job: Job, stop: Budget) -> Job:
        """End a job that the run's stop has come before."""
        status = "over_budget" if stop.stop_status == budget.OVER_BUDGET else "stopped"
        return job.model_copy(update={"status": status, "reason": stop.stop_reason or ""})

    # ------------------------------------------------------------------ what came of it

    def ask(self, job_id: str) -> JobState | None:
        """Ask the provider for a job; None when there is none, or it cannot tell now."""
        try:
            return self.provider.poll(job_id) if job_id else None
        except TroubleError as error:
            if error.bad_key:
                aws.secret.cache_clear()  # it may have been replaced since we read it
            logger.info("provider gave no state", extra={"job_id": job_id, "reason": str(error)})
            return None

    def note(self, entry: LedgerEntry, told: JobState | None, job_id: str = "") -> None:
        """Write to the ledger what became of a job; with its id, if the provider's answer to it was the result."""
        if told is None or told.status == "waiting":
            return
        if told.status == "completed":
            key = staging_key(entry)
            result = Result(key, told.model_version, told.cost_microusd, told.work_ms, told.usage)
            metadata = {
                "model-version": result.model_version,
                "cost-microusd": str(result.cost_microusd),
                "work-ms": str(result.work_ms),
                "usage": result.usage,
                "job-id": job_id or str(entry.job_id),
            }
            # S3 takes 2 KB of ASCII.
            metadata = {name: value.encode("ascii", "replace").decode()[:200] for name, value in metadata.items()}
            aws.s3().put_object(Bucket=self.generator.bucket, Key=key, Body=told.image, Metadata=metadata)
            ledger.staged(entry, result, job_id)
        else:
            statuses = {"gone": ledger.UNKNOWN, "blocked": ledger.BLOCKED}
            ledger.ended(
                entry,
                statuses.get(told.status, ledger.FAILED),
                told.reason,
                cost_microusd=told.cost_microusd,
                work_ms=told.work_ms,
                usage=told.usage,
                final=told.final,
                job_id=job_id,
            )
        if entry.paid_by != self.state.run.run_id and entry.status != ledger.SUBMITTED:
            runs.add_cost_after_end(entry.paid_by, int(entry.cost_microusd), int(entry.work_ms))
        lanes.give_back(self.provider.name, self.provider.limits, str(entry.token))

    def expire(self, entry: LedgerEntry) -> None:
        """Settle an intent whose writer has died: its result may lie in S3, else nobody knows what was bought."""
        try:
            found = aws.head_metadata(self.generator.bucket, staging_key(entry))
        except NotFoundError:
            ledger.ended(entry, ledger.UNKNOWN, "The submission was cut off; it may have been paid for.")
        else:
            cost, work = int(found["cost-microusd"]), int(found["work-ms"])
            result = Result(staging_key(entry), found["model-version"], cost, work, found["usage"])
            ledger.staged(entry, result, found["job-id"])
        lanes.give_back(self.provider.name, self.provider.limits, str(entry.token))


def _beyond(limit: int, spent: int, method: str, price: int) -> str:
    """Say why an image is not made; all in micro-dollars."""
    return (
        f"The budget of ${limit / 1e6:g} does not allow another image by {method}: ${spent / 1e6:g} are spent, "
        f"and it may cost ${price / 1e6:g}."
    )


_model_photos: dict[str, bytes] = {}


def _model_photo(bucket: str, photo: ModelPhoto) -> bytes:
    """Return a model photo's bytes; kept while the function is warm, as every product needs the same few."""
    if photo.sha256 not in _model_photos:
        data = aws.get_object(bucket, photo.key)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise SourceImageError(f"The model photo {photo.name} was replaced during the run. Run it again.")
        _model_photos[photo.sha256] = data
    return _model_photos[photo.sha256]


def staging_key(entry: LedgerEntry) -> str:
    """Return where an attempt's raw result lies in S3; known before the result is."""
    return f"staging/{entry.run_id.removeprefix('work#')}/{entry.sort_key.removeprefix('attempt#')}"


def seed(run: RunContext, variant: int) -> int:
    return seed_for(variant, "" if run.reuse else run.fresh_for or run.run_id)


def outcome(state: ProductState, status: str, reason: str) -> Outcome:
    """Sum up a product that ends here without saving."""
    present = state.run.variants - len(state.missing) if state.missing else 0
    return Outcome.model_validate(
        {
            "status": status,
            "reason": reason,
            "images_reused": present,
            "cost_microusd": sum(job.cost_microusd for job in state.jobs),
            "work_ms": sum(job.work_ms for job in state.jobs),
        }
    )


def shortfall(jobs: list[Job]) -> str:
    """Return how a product ends that lacks images: as what a retry may still cure, if anything can be."""
    statuses = {job.status for job in jobs}
    for status, ends in (("stopped", "deferred"), ("over_budget", "over_budget"), ("failed", "failed")):
        if status in statuses:
            return ends
    return "blocked" if "blocked" in statuses else "failed"


def reasons(jobs: list[Job]) -> str:
    """Say why variants got no image, each reason once."""
    why: dict[str, list[str]] = {}
    for job in jobs:
        if job.status in {"failed", "blocked", "over_budget", "stopped"}:
            why.setdefault(job.reason or "No reason was given.", []).append(str(job.variant))
    return " ".join(f"Variant {', '.join(variants)}: {reason}" for reason, variants in why.items())


def may_try_again(attempts: list[LedgerEntry], run_id: str) -> bool:
    """Whether this run may pay for one more attempt; what earlier runs paid for in vain does not count against it."""
    if attempts and attempts[-1].final:
        return False
    return sum(entry.paid_by == run_id for entry in attempts) < ledger.MAX_ATTEMPTS


def paid(attempts: list[LedgerEntry], state: ProductState, job: Job) -> dict[str, int]:
    """Return what this run has paid for one variant of this product."""
    whose = (state.run.run_id, state.product.product_id)
    mine = [entry for entry in attempts if (entry.paid_by, entry.product_id) == whose]
    return {
        "cost_microusd": job.before_microusd + sum(int(entry.cost_microusd) for entry in mine),
        "work_ms": job.before_ms + sum(int(entry.work_ms) for entry in mine),
    }
