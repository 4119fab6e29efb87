"""The Hotmart sync: brings the library up to the account's products, and starts one run for those without an image.

It reads page after page, and after each it writes what it has seen to `runs/<sync id>/hotmart/page-<n>.jsonl` and then
where it is to its record (tables.HotmartSync), so that a sync that is cut off goes on there. All of it may be repeated
after a kill: a product is written when it is not as Hotmart tells it, and says which sync wrote it; the run's id is the
sync's. One invocation works on it at a time, the one that holds the lease.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field
from pynamodb.exceptions import DoesNotExist, PutError, UpdateError

from lookbook import aws, cover_prompt, pipeline, plan, runs, search
from lookbook.errors import NotFoundError
from lookbook.hotmart import (
    CALL_SECONDS,
    CallRefusedError,
    HotmartError,
    KeyRefusedError,
    Listed,
    NotConfiguredError,
    NoTimeError,
    Offer,
    Page,
    PageTokenError,
    UnavailableError,
    Unreadable,
    best_offer,
)
from lookbook.logging import logger
from lookbook.runs import FAILED, RUNNING, SUCCEEDED
from lookbook.tables import ALL_PRODUCTS, CONDITION_FAILED, HOTMART, PRODUCT, RUN, HotmartSync, Outcome, Product, Run
from lookbook.times import iso, now

if TYPE_CHECKING:
    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

    from lookbook import shapes
    from lookbook.settings import HotmartSettings

SOURCE = "hotmart"
NEVER = "never"
DELETED = "DELETED"  # Hotmart's own word
ADDED, CHANGED, UNCHANGED, SKIPPED = "added", "changed", "unchanged", "skipped"
# Each listed product is one of the second to the fifth; `deleted` are those that this sync found to be so. Of those
# `without_image`, the `given_up` get no cover by themselves any more, some wait for a run that has them, the rest are
# taken on.
COUNTS = ("listed", ADDED, CHANGED, UNCHANGED, SKIPPED, "deleted", "without_image", "given_up")

LEASE_SECONDS = 180.0
RENEWED_BEFORE = CALL_SECONDS + 20.0  # seconds that a lease still has before a call is made
HAND_OVER_SECONDS = 60.0  # left of an invocation, in which another one is called and no product is begun
SPARE_SECONDS = 20.0  # of those, for what is not a call
CUT_OFF_SECONDS = 300.0  # after its lease has expired, a sync that nobody goes on with is said to be cut off
MOST_TRIES = 3  # runs that failed to make a cover, after which no more are started by themselves
MOST_IN_A_RUN = 5000  # products; the others are in the next sync's
MOST_SILENT = 3  # products in a row of which Hotmart does not tell the offers, before it is taken to be down
DEAD_AFTER = timedelta(hours=24)  # a run that has not ended since is not waited for
MOST_PROBLEMS = 20
COVERS_OFF = "Covers are switched off: set OpenAiModel and deploy again."


class Task(BaseModel):
    """What the function is called with: EventBridge's scheduled event, or what somebody has asked for.

    `goes_on` is the sync that an invocation hands on to the next one. `test` only looks whether there are credentials.
    """

    model_config = ConfigDict(extra="ignore")

    detail_type: str = Field("", alias="detail-type")
    started_by: str = Field("Hotmart schedule", max_length=200)
    goes_on: str = ""
    test: bool = False


class Account(Protocol):
    """As much of hotmart.Hotmart as is used here."""

    def check(self) -> None: ...

    def products(self, page_token: str | None, within: float) -> Page: ...

    def find(self, number: int, within: float) -> Listed | Unreadable | None: ...

    def offers(self, ucode: str, within: float) -> list[Offer]: ...


class _TakenOverError(Exception):
    """Another invocation has the lease by now: it goes on from here."""


class _OutOfTimeError(Exception):
    """The invocation is about to end; another one goes on from here."""


class _NotStartedError(Exception):
    """The run for the covers could not be started."""


def product_id(number: int) -> str:
    return f"hotmart:{number}"


def page_key(sync_id: str, number: int) -> str:
    return f"runs/{sync_id}/hotmart/page-{number}.jsonl"


def invoke(function: str, payload: dict[str, Any]) -> None:
    """Call a function without waiting for it."""
    aws.functions().invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(payload).encode())


# ---------------------------------------------------------------------- the record


def _record() -> HotmartSync | None:
    try:
        return HotmartSync.get(HOTMART, "sync", consistent_read=True)
    except DoesNotExist:
        return None


def _begin(task: Task, call: str, moment: datetime) -> HotmartSync | None:
    """Take the lease of a new sync, or of the one that was cut off; None if there is nothing to do.

    That is so while another invocation has it, and when Lambda repeats one whose sync has ended.
    """
    known = _record()
    status = known.status if known is not None else None
    if known is not None and status != RUNNING and known.call == call:
        return None
    if task.goes_on and (known is None or known.sync_id != task.goes_on or status != RUNNING):
        return None
    actions: list[Action] = [
        HotmartSync.kind.set(HotmartSync),
        HotmartSync.status.set(RUNNING),
        HotmartSync.call.set(call),
        HotmartSync.leased_until.set(moment.timestamp() + LEASE_SECONDS),
        HotmartSync.finished_at.remove(),
        HotmartSync.error.remove(),
    ]
    if task.detail_type:
        actions.append(HotmartSync.scheduled_at.set(iso(moment)))
    if known is None or not (status == RUNNING or (status == FAILED and known.page_token)):
        actions += [
            HotmartSync.sync_id.set(runs.new_id(moment)),
            HotmartSync.started_at.set(iso(moment)),
            HotmartSync.started_by.set(task.started_by),
            HotmartSync.run_id.remove(),
            *_from_the_beginning(),
        ]
    free = (
        HotmartSync.leased_until.does_not_exist()
        | (HotmartSync.call == call)
        | (HotmartSync.leased_until < moment.timestamp())
    )
    if known is None or known.sync_id is None:
        same = HotmartSync.sync_id.does_not_exist()
    else:
        same = (HotmartSync.sync_id == known.sync_id) & (HotmartSync.status == status)
    record = HotmartSync(HOTMART, "sync")
    if _update(record, actions, free & same):
        return record
    found = _record()  # botocore may have repeated the write, its answer lost
    return found if found is not None and found.call == call and found.status == RUNNING else None


def _from_the_beginning() -> list[Action]:
    return [
        HotmartSync.page_token.remove(),
        HotmartSync.pages.set(0),
        HotmartSync.listed.set(False),
        HotmartSync.counts.set({}),
        HotmartSync.problems.set([]),
    ]


def _update(item: HotmartSync | Product, actions: list[Action], condition: Condition | None) -> bool:
    """Write under a condition, and read back; False if it did not hold."""
    try:
        item.update(actions, condition=condition)
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False
    return True


# ---------------------------------------------------------------------- what a product comes to


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A product that passes the filters, and what it is sold for."""

    listed: Listed
    offer: Offer

    @property
    def locale(self) -> str:
        return cover_prompt.locale_of(f"{self.listed.name} {self.offer.description}", self.offer.currency)

    def texts(self) -> dict[str, str | None]:
        """Return what a cover is made from."""
        return {"title": self.listed.name, "description": self.offer.description or None}

    def fields(self) -> dict[str, str | None]:
        """Return the product's attributes as they should be."""
        return {
            **self.texts(),
            "category": self.listed.format,
            "source": SOURCE,
            "price": self.offer.price or None,
            "locale": self.locale,
            "source_status": self.listed.status,
        }

    def scrape_entry(self) -> dict[str, str]:
        return {
            "product_id": product_id(self.listed.number),
            "title": self.listed.name,
            "category": self.listed.format,
            "description": self.offer.description,
            "price": self.offer.price,
            "source": SOURCE,
            "locale": self.locale,
        }


Cover = Literal["", "taken", "waiting", "given_up"]


@dataclass(slots=True)
class _Line:
    """What was seen of a product: a line of a page's file. `scrape` is its entry in the run for covers, if it has one.

    `cover` is "" for a product that has an image or should not get one.
    """

    product_id: str
    did: str
    cover: Cover = ""
    deleted: bool = False
    reason: str = ""
    scrape: dict[str, str] | None = None

    def dump(self) -> bytes:
        told = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False).encode() + b"\n"


def _count(lines: Iterable[_Line]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(["listed", line.did])
        counts["deleted"] += line.deleted
        counts["without_image"] += bool(line.cover)
        counts["given_up"] += line.cover == "given_up"
    return counts


def _read_lines(bucket: str, sync_id: str, pages: int) -> Iterable[_Line]:
    """Yield what was seen of each product, the first time that it was listed."""
    seen: set[str] = set()
    for number in range(1, pages + 1):
        for _, raw in plan.read_lines(bucket, page_key(sync_id, number)):
            line = _Line(**{"product_id": "", **json.loads(raw)})
            if not line.product_id or line.product_id not in seen:
                seen.add(line.product_id)
                yield line


@dataclass(frozen=True, slots=True)
class _Runs:
    """What became of products in the runs that were to make their covers."""

    outcomes: dict[tuple[str, str], str]
    unfinished: frozenset[str]

    @classmethod
    def of(cls, products: Iterable[Product], sync_id: str, moment: datetime) -> _Runs:
        """Read the outcomes of those that lack an image and that another sync's run has taken on."""
        asked = sorted(
            (str(each.cover_run_id), str(each.product_id))
            for each in products
            if not _has_image(each)
            and int(each.cover_tries or 0) < MOST_TRIES
            and each.cover_run_id not in {None, sync_id}
        )
        if not asked:
            return cls({}, frozenset())
        outcomes = Outcome.batch_get([(run_id, plan.outcome_key(name)) for run_id, name in asked])
        found = Run.batch_get([(run_id, RUN) for run_id in sorted({run_id for run_id, _ in asked})])
        since = iso(moment - DEAD_AFTER)
        at_work = frozenset(run.run_id for run in found if run.finished_at is None and run.created_at > since)
        return cls({(each.run_id, each.sort_key): each.status for each in outcomes}, at_work)

    def of_product(self, product: Product) -> str:
        """Return how a product's last run ended for it, `unfinished`, or "" if it never came to it."""
        run_id = str(product.cover_run_id)
        told = self.outcomes.get((run_id, plan.outcome_key(product.product_id)), "")
        return "unfinished" if run_id in self.unfinished and told not in {"failed", "blocked"} else told


def _has_image(product: Product) -> bool:
    return bool(product.variants or product.cover_image_id)


def _differs(known: Product | None, fields: dict[str, str | None]) -> bool:
    return known is None or any(getattr(known, name) != value for name, value in fields.items())


def _did(known: Product | None, sync_id: str) -> str:
    """Return what a sync has done to a product before, if it was this one."""
    writer, _, did = ((known.source_change if known is not None else None) or "").partition(" ")
    return did if writer == sync_id else UNCHANGED


def _set(name: str, value: str | None) -> Action:
    attribute = getattr(Product, name)
    action: Action = attribute.remove() if value is None else attribute.set(value)
    return action


# ---------------------------------------------------------------------- the sync


@dataclass(frozen=True, slots=True)
class Syncer:
    """The sync with its collaborators; `go_on` calls the function once more, with a payload, and does not wait."""

    settings: HotmartSettings
    hotmart: Account
    go_on: Callable[[dict[str, Any]], None]
    clock: Callable[[], datetime] = now

    def sync(self, task: Task, call: str, seconds_left: Callable[[], float]) -> dict[str, Any]:
        """Sync, or go on with it, as far as the time suffices; return what to log.

        `call` is the invocation's id, the same when Lambda repeats it. What Hotmart does not do ends the sync as
        failed, in plain words, and the next one goes on; what AWS does not do is raised, so that Lambda repeats it.
        """
        record = _begin(task, call, self.clock())
        if record is None:
            return {"status": "nothing to do"}
        turn = _Turn(self, record, call, seconds_left)
        try:
            try:
                turn.work()
            except _OutOfTimeError:
                return self._hand_over(turn)
        except _TakenOverError:
            return {"status": "taken over", "sync_id": record.sync_id}
        except _NotStartedError:
            turn.fail("The run for the covers could not be started. The next sync starts one.")
        except (NotConfiguredError, KeyRefusedError) as error:
            turn.fail(str(error))
        except HotmartError as error:
            then = "goes on where this one stopped" if record.page_token else "tries it again"
            turn.fail(f"{error} The next sync {then}.")
        return turn.told()

    def _hand_over(self, turn: _Turn) -> dict[str, Any]:
        if not turn.progressed:  # else it would go on like that for ever
            turn.fail("Hotmart is so slow that not one page could be read in time. The next sync tries it again.")
            return turn.told()
        turn.write([HotmartSync.leased_until.set(self.clock().timestamp() - 1)])
        try:
            self.go_on({"goes_on": turn.record.sync_id})
        except (ClientError, BotoCoreError) as error:  # then the schedule's next call goes on
            logger.warning("hotmart sync not handed over", extra={"reason": type(error).__name__})
        return {**turn.told(), "status": "handed over"}

    def try_out(self) -> dict[str, Any]:
        """Return whether there are credentials, and what to do if there are none; keep it for `status`."""
        reason = None
        try:
            self.hotmart.check()
        except NotConfiguredError as error:
            reason = str(error)
        except UnavailableError as error:
            return {"configured": None, "error": str(error)}
        configured = reason is None
        HotmartSync(HOTMART, "sync").update([HotmartSync.kind.set(HotmartSync), HotmartSync.configured.set(configured)])
        return {"configured": configured, "error": reason}


@dataclass(slots=True)
class _Turn:
    """One invocation's work on a sync. `progressed`: it has come further than the one before.

    `configured`: whether there are credentials, once that is known.
    """

    syncer: Syncer
    record: HotmartSync
    call: str
    seconds_left: Callable[[], float]
    progressed: bool = False
    configured: bool | None = None
    _silent: int = 0
    _started_over: bool = False
    _short: bool = False

    # ------------------------------------------------------------------ the record, the lease and the time

    def write(self, actions: list[Action]) -> None:
        """Write to the record as the one who works on it. Raises _TakenOverError if that is another by now."""
        mine = (HotmartSync.call == self.call) & (HotmartSync.sync_id == self.record.sync_id)
        if not _update(self.record, actions, mine & (HotmartSync.status == RUNNING)):
            raise _TakenOverError

    def fail(self, reason: str) -> None:
        """End the sync. If it has a page to go on at, the next one does."""
        ended: list[Action] = [
            HotmartSync.status.set(FAILED),
            HotmartSync.error.set(reason),
            HotmartSync.finished_at.set(iso(self.syncer.clock())),
            HotmartSync.leased_until.set(0),
        ]
        if self.configured is not None:
            ended.append(HotmartSync.configured.set(self.configured))
        try:
            self.write(ended)
        except _TakenOverError:
            logger.info("hotmart sync taken over", extra={"sync_id": self.record.sync_id})

    def told(self) -> dict[str, Any]:
        record = self.record
        counts = {name: (record.counts or {}).get(name, 0) for name in COUNTS}
        return {"status": record.status, "sync_id": record.sync_id, "reason": record.error, **counts}

    def _within(self) -> float:
        """Return the seconds that a call may last, with the lease renewed for it. Raises _OutOfTimeError."""
        left = self.seconds_left()
        if left < HAND_OVER_SECONDS:
            raise _OutOfTimeError
        moment = self.syncer.clock().timestamp()
        if float(self.record.leased_until or 0) - moment < RENEWED_BEFORE:
            self.write([HotmartSync.leased_until.set(moment + LEASE_SECONDS)])
        self._short = left - SPARE_SECONDS < CALL_SECONDS
        return min(CALL_SECONDS, left - SPARE_SECONDS)

    def work(self) -> None:
        """Do all that is left of the sync."""
        try:
            self._check()
            while not self.record.listed:
                self._page()
            self._end()
        except NoTimeError as error:
            if self._short:
                raise _OutOfTimeError from error
            raise

    def _check(self) -> None:
        try:
            self.syncer.hotmart.check()
        except NotConfiguredError:
            self.configured = False
            raise
        self.configured = True

    # ------------------------------------------------------------------ a page

    def _page(self) -> None:
        """Bring a page's products into the library, and note that the page is done."""
        record = self.record
        try:
            page = self.syncer.hotmart.products(record.page_token, self._within())
        except PageTokenError:
            if not record.page_token or self._started_over:
                raise
            logger.info("hotmart sync starts over", extra={"sync_id": record.sync_id, "pages": int(record.pages)})
            self._started_over = True
            self.write(_from_the_beginning())
            return
        number = int(record.pages) + 1
        lines = self._seen(page)
        aws.s3().put_object(
            Bucket=self.syncer.settings.bucket,
            Key=page_key(record.sync_id, number),
            Body=b"".join(line.dump() for line in lines),
        )
        problems = [f"{line.product_id or 'a product'}: {line.reason}" for line in lines if line.reason]
        next_page: Action = HotmartSync.page_token.remove()
        if page.next_token:
            next_page = HotmartSync.page_token.set(page.next_token)
        self.write(
            [
                next_page,
                HotmartSync.pages.set(number),
                HotmartSync.listed.set(not page.next_token),
                HotmartSync.counts.set(dict(Counter(record.counts or {}) + _count(lines))),
                HotmartSync.problems.set([*(record.problems or []), *problems][:MOST_PROBLEMS]),
                HotmartSync.configured.set(True),
                HotmartSync.leased_until.set(self.syncer.clock().timestamp() + LEASE_SECONDS),
            ]
        )
        self.progressed = True
        logger.info("hotmart page done", extra={"sync_id": record.sync_id, "page": number, "products": len(lines)})

    def _seen(self, page: Page) -> list[_Line]:
        """Write what is new of a page's products; return a line for each of them."""
        lines: list[_Line] = []
        wanted: dict[str, _Wanted] = {}
        others: dict[str, Listed] = {}
        for each in page.products:
            name = product_id(each.number) if each.number is not None else ""
            if name and name in {*wanted, *others}:
                continue
            if isinstance(each, Unreadable):
                lines.append(_Line(name, SKIPPED, reason=each.reason))
            elif not self._is_wanted(each):
                others[name] = each
            elif (offers := self._offers(each)) is None:
                lines.append(_Line(name, SKIPPED, reason="Hotmart does not tell its offers just now."))
            else:
                wanted[name] = _Wanted(each, best_offer(offers))
        keys = [(name, PRODUCT) for name in (*wanted, *others)]
        known = {each.product_id: each for each in Product.batch_get(keys, consistent_read=True)} if keys else {}
        taken = (each for name, each in known.items() if name in wanted)
        past = _Runs.of(taken, self.record.sync_id, self.syncer.clock())
        lines += [self._keep(name, each, known.get(name), past) for name, each in wanted.items()]
        lines += [self._note(name, each, known.get(name)) for name, each in others.items()]
        for line in lines:
            if line.reason:
                about = {"product_id": line.product_id, "reason": line.reason, "sync_id": self.record.sync_id}
                logger.warning("hotmart product not usable", extra=about)
        return lines

    def _is_wanted(self, listed: Listed) -> bool:
        settings = self.syncer.settings
        return listed.status in settings.hotmart_statuses and (
            not settings.hotmart_formats or listed.format in settings.hotmart_formats
        )

    def _offers(self, listed: Listed) -> list[Offer] | None:
        """Return a product's offers; None if they cannot be had, so that one product does not hold up the others."""
        try:
            found = self.syncer.hotmart.offers(listed.ucode, self._within())
        except CallRefusedError:
            return None
        except UnavailableError as error:
            self._silent += 1
            if self._silent >= MOST_SILENT or (self._short and isinstance(error, NoTimeError)):
                raise
            return None
        self._silent = 0
        return found

    def _keep(self, name: str, wanted: _Wanted, known: Product | None, past: _Runs) -> _Line:
        """Bring a product that is wanted up to date, and say whether it gets a cover."""
        deleted_at = self._deleted_at(wanted.listed, known)
        fields = {**wanted.fields(), "source_deleted_at": deleted_at}
        rewritten, changed = _differs(known, wanted.texts()), _differs(known, fields)
        did = _did(known, self.record.sync_id)
        actions: list[Action] = []
        if changed:
            did = ADDED if known is None or did == ADDED else CHANGED
            actions = self._content(fields, did)
        product = known or Product(name, PRODUCT)
        cover, tries = self._cover(product, past, rewritten=rewritten)
        condition: Condition | None = None
        run_id = self.record.sync_id if cover == "taken" else None if rewritten else product.cover_run_id
        if (tries, run_id) != (int(product.cover_tries or 0), product.cover_run_id):
            actions += [Product.cover_tries.set(tries), _set("cover_run_id", run_id)]
            # Nothing that a newer sync has written is undone. (botocore may repeat the write, its answer lost.)
            read = Product.cover_run_id
            condition = (read == (product.cover_run_id or "")) | (read == self.record.sync_id) | read.does_not_exist()
        if actions:
            product = Product(name, PRODUCT)
            if not _update(product, actions, condition):
                raise _TakenOverError
        if did != UNCHANGED:  # so too if this sync was killed before it came to it
            search.keep(product)
        scrape = wanted.scrape_entry() if cover == "taken" else None
        return _Line(name, did, cover, deleted=deleted_at == self.record.started_at, scrape=scrape)

    def _cover(self, product: Product, past: _Runs, *, rewritten: bool) -> tuple[Cover, int]:
        """Say what is to become of a product's cover, and how many runs have failed at it, with these texts, by now."""
        tries = 0 if rewritten else int(product.cover_tries or 0)
        if _has_image(product):
            return "", tries
        if tries >= MOST_TRIES:
            return "given_up", tries
        told = "" if rewritten else past.of_product(product)
        if told == "unfinished":
            return "waiting", tries
        if told == "blocked":
            return "given_up", MOST_TRIES
        tries += told == "failed"
        return ("given_up" if tries >= MOST_TRIES else "taken"), tries

    def _content(self, fields: dict[str, str | None], did: str) -> list[Action]:
        """Return what writes a product's attributes, and those that a new one needs."""
        moment = iso(self.syncer.clock())
        return [
            Product.kind.set(Product),
            Product.listing.set(ALL_PRODUCTS),
            Product.source_url.set(Product.source_url | ""),
            Product.created_at.set(Product.created_at | moment),
            Product.updated_at.set(moment),
            Product.images_cost_microusd.set(Product.images_cost_microusd | 0),
            Product.images_work_ms.set(Product.images_work_ms | 0),
            Product.source_change.set(f"{self.record.sync_id} {did}"),
            *(_set(key, value) for key, value in fields.items()),
        ]

    def _note(self, name: str, listed: Listed, known: Product | None) -> _Line:
        """Keep the status of a product that is not wanted, if the library has it."""
        deleted_at = self._deleted_at(listed, known)
        if known is not None and (known.source_status, known.source_deleted_at) != (listed.status, deleted_at):
            actions: list[Action] = [
                Product.source_status.set(listed.status),
                Product.updated_at.set(iso(self.syncer.clock())),
                _set("source_deleted_at", deleted_at),
            ]
            _update(Product(name, PRODUCT), actions, Product.product_id.exists())
        return _Line(name, SKIPPED, deleted=known is not None and deleted_at == self.record.started_at)

    def _deleted_at(self, listed: Listed, known: Product | None) -> str | None:
        """Return since when a product is deleted at Hotmart; None if it is not."""
        if listed.status != DELETED:
            return None
        return (known.source_deleted_at if known is not None else None) or self.record.started_at

    # ------------------------------------------------------------------ the end

    def _end(self) -> None:
        """Start the run for the covers, mark what was not listed, and close the sync."""
        record = self.record
        self._within()
        seen: set[str] = set()
        entries: list[dict[str, str]] = []
        counts: Counter[str] = Counter()
        for line in _read_lines(self.syncer.settings.bucket, record.sync_id, int(record.pages)):
            seen.add(line.product_id)
            counts += _count([line])
            if line.scrape and len(entries) < MOST_IN_A_RUN:
                entries.append(line.scrape)
        problems = [str(each) for each in record.problems or []]
        if entries and not self.syncer.settings.open_ai_model:
            problems.insert(0, COVERS_OFF)
        elif entries:
            self._start(entries)
            self.write([HotmartSync.run_id.set(record.sync_id)])
        counts["deleted"] += self._mark_deleted(seen)
        self.write(
            [
                HotmartSync.status.set(SUCCEEDED),
                HotmartSync.finished_at.set(iso(self.syncer.clock())),
                HotmartSync.leased_until.set(0),
                HotmartSync.counts.set(dict(counts)),
                _said(problems),
            ]
        )

    def _start(self, entries: list[dict[str, str]]) -> None:
        """Start the run for the covers, once: its id is the sync's."""
        record, settings = self.record, self.syncer.settings
        options = {"variants": 1, "method": "openai", "max_cost_usd": settings.hotmart_max_cost_usd}
        try:
            run = runs.create(
                record.sync_id,
                name=f"Hotmart sync {record.started_at[:16].replace('T', ' ')}",
                purpose=runs.SCRAPE,
                status=RUNNING,
                options=options,
                started_by=record.started_by,
                now=self.syncer.clock(),
            )
        except PutError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
            run = runs.get(record.sync_id)
        if run.execution_arn is not None:
            return
        if run.finished_at is not None:
            raise _NotStartedError
        scrape = b"".join(json.dumps(entry, ensure_ascii=False).encode() + b"\n" for entry in entries)
        try:
            pipeline.start(run, scrape, settings)
        except (ClientError, BotoCoreError) as error:
            raise _NotStartedError from error
        logger.info("hotmart covers started", extra={"run_id": run.run_id, "products": len(entries)})

    def _mark_deleted(self, seen: set[str]) -> int:
        """Mark the products that Hotmart has no more; return how many of them this sync has marked.

        Each is asked for by its number first: a page that is read while products go may leave one out. Products that
        no sync has seen yet are not the account's, and stay as they are.
        """
        names = ["product_id", "sort_key", "kind", "source_status", "source_deleted_at"]
        marked = 0
        gone: list[str] = []
        for product in Product.by_source.query(SOURCE, attributes_to_get=names):
            if product.product_id in seen or not isinstance(product, Product) or not product.source_status:
                continue
            if product.source_deleted_at is None:
                gone.append(str(product.product_id))
            marked += product.source_deleted_at == self.record.started_at
        for name in gone:
            found = self.syncer.hotmart.find(int(name.removeprefix("hotmart:")), self._within())
            if found is None or (isinstance(found, Listed) and found.status == DELETED):
                actions: list[Action] = [
                    Product.source_status.set(DELETED),
                    Product.source_deleted_at.set(self.record.started_at),
                    Product.updated_at.set(iso(self.syncer.clock())),
                ]
                marked += _update(Product(name, PRODUCT), actions, Product.source_deleted_at.does_not_exist())
                self.progressed = True
        return marked


def _said(problems: list[str]) -> Action:
    if not problems:
        return HotmartSync.error.remove()
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004 - as many as are shown
    about = "" if problems[0] == COVERS_OFF else "Some products could not be used: "
    return HotmartSync.error.set(f"{about}{' '.join(problems[:3])}{more}")


# ---------------------------------------------------------------------- what the API shows


def status(schedule: str, moment: datetime) -> shapes.HotmartStatus:
    """Return how the sync stands, as the API answers it. `schedule` is EventBridge's expression."""
    record = _record()
    if record is None or record.sync_id is None:
        return {
            "configured": _configured(record),
            "status": NEVER,
            "sync_id": None,
            "started_at": None,
            "finished_at": None,
            "next_at": None,
            "error": None,
            "counts": _counts({}),
            "run_id": None,
            "run_status": None,
            "schedule": schedule,
        }
    told, error = record.status, record.error
    if told == RUNNING and float(record.leased_until or 0) + CUT_OFF_SECONDS < moment.timestamp():
        told, error = FAILED, "It was cut off. The next sync goes on where it stopped."
    return {
        "configured": _configured(record),
        "status": told,
        "sync_id": record.sync_id,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "next_at": next_at(schedule, record.scheduled_at or record.started_at, moment),
        "error": error,
        "counts": _counts(record.counts or {}),
        "run_id": record.run_id,
        "run_status": _run_status(record.run_id),
        "schedule": schedule,
    }


def _configured(record: HotmartSync | None) -> bool | None:
    """Return whether there were credentials when somebody last looked; None if nobody has."""
    return None if record is None or record.configured is None else bool(record.configured)


def _counts(counted: dict[str, Any]) -> shapes.HotmartCounts:
    return cast("shapes.HotmartCounts", {name: int(counted.get(name, 0)) for name in COUNTS})


def _run_status(run_id: str | None) -> str | None:
    try:
        return str(runs.get(run_id).status) if run_id else None
    except NotFoundError:
        return None


_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")


def next_at(schedule: str, last: str, moment: datetime) -> str | None:
    """Return when a rate's next start is, given one of its starts; None for a schedule that is no rate."""
    rate = _RATE.fullmatch(schedule.strip())
    if rate is None or int(rate[1]) == 0:
        return None
    period, start = timedelta(**{f"{rate[2]}s": int(rate[1])}), datetime.fromisoformat(last)
    periods = max(1, math.floor((moment - start) / period) + 1)
    return iso(start + periods * period)
