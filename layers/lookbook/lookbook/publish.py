"""Publish: brings a store to the wanted state for the products of a run, a batch at a time, however often it is called.

It reads before it writes: whatever was cut off, a picture that is already in the shop is not put there again. One run
at a time publishes to a store (see `stores.lease`), so calls to a shop are paced in one place.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict
from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook import aws, budget, library, match, stores
from lookbook.errors import NotFoundError
from lookbook.logging import logger
from lookbook.placement import UNFINISHED, Placement, moves, place
from lookbook.plan import MAX_PROBLEMS, PlanLine, plan_key, read_lines
from lookbook.shopify import ShopError, ShopProductError, ShopUnavailableError
from lookbook.tables import CONDITION_FAILED, PRODUCT, Image, LibraryItem, Product, Publishing, Store, Usage
from lookbook.times import iso

if TYPE_CHECKING:
    from pynamodb.expressions.update import Action

    from lookbook.settings import StoreSettings
    from lookbook.shopify import Added, Shop, ShopProduct

# 50 products of three new pictures are some 1,400 points: 14 s of what a shop on Shopify's smallest plan restores.
BATCH = 50
AT_ONCE = 4  # calls to one shop; one takes about a second, so that this many use up 100 points a second
READY_SECONDS = 60.0  # a batch waits no longer for the shop; the next sync finds what has become of it
BATCH_SECONDS = 150.0  # a batch is not begun with less
SPARE_SECONDS = 60.0  # for a call that is not answered, and for noting what was
MAX_TRIES = 12  # in all, a quarter of an hour
MOST_WAIT_SECONDS = 120
UNANSWERED_WAIT_SECONDS = 15  # a change that was not answered may be made a little later; only then is it looked for
MOST_MEDIA = 250  # of a product
LINK_SECONDS = 3600  # Shopify fetches a picture within seconds
MOST_ALT = 512
STOPPED = "The run was stopped before it came to the rest of the store's products."
MAPPED_ANEW = "It was mapped to another product of the shop meanwhile; sync it again."
# In a product's counts: this run has changed it in the shop, if it be only the order.
CHANGED = "changed"


class PublishTask(BaseModel):
    """What the state machine hands over, and gets back with what comes next."""

    model_config = ConfigDict(extra="forbid")

    run_id: str
    plan_of: str
    store_id: str
    index: int
    action: Literal["publish", "unpublish", "match"]
    next: Literal["publish", "wait", "done"] = "publish"
    wait_seconds: int = 0
    waits: int = 0

    def then(self, following: Literal["publish", "wait", "done"], wait_seconds: int = 0) -> PublishTask:
        return self.model_copy(update={"next": following, "wait_seconds": wait_seconds, "waits": 0})

    def wait_for_lease(self) -> PublishTask:
        """Wait longer each time: an execution's history has room for 25,000 events, and each wait takes nine."""
        wait = min(MOST_WAIT_SECONDS, 2 ** (self.waits + 1))
        return self.then("wait", wait).model_copy(update={"waits": self.waits + 1})


@dataclass(slots=True)
class _Work:
    """One product of a batch: what we want in the shop, what is there, and what becomes of it."""

    product_id: str
    title: str
    usage: Usage
    images: list[Image]
    ours: frozenset[str]
    library_seen: str
    elsewhere: set[str] = field(default_factory=set)
    shop: ShopProduct | None = None
    placement: Placement | None = None
    outcome: str = ""
    reason: str = ""
    media: dict[str, str] = field(default_factory=dict)
    added: int = 0
    removed: int = 0
    kept: list[str] = field(default_factory=list)
    moved: bool = False
    order: list[str] = field(default_factory=list)
    alt_taken: bool = True
    sent: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def wanted(self) -> list[str]:
        return [str(image.image_id) for image in self.images]

    @property
    def known(self) -> dict[str, str]:
        return {entry["media_id"]: entry["image_id"] for entry in self.usage.media or []}

    @property
    def alt(self) -> str:
        return " ".join(self.title.split())[:MOST_ALT].strip()

    def end(self, outcome: str, reason: str = "") -> None:
        self.outcome, self.reason = outcome, reason


@dataclass(slots=True)
class _Tally:
    """What a batch came to."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)

    def add(self, outcome: str, product_id: str, title: str, reason: str = "") -> None:
        self.counts[outcome] += 1
        if reason:
            self.problems.append({"product_id": product_id, "title": title, "status": outcome, "reason": reason})


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publish with its collaborators. `open_shop` returns a client of the store's shop."""

    settings: StoreSettings
    open_shop: Callable[[Store], Shop]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def publish(self, task: PublishTask, seconds_left: Callable[[], float]) -> PublishTask:
        """Go on with a run's store as far as time allows. Returns the task: `publish` again, `wait`, or `done`.

        What the shop refuses for good ends the store with a reason; what may pass is waited for by the state machine.
        """
        record = _begin(task, self.now())
        if record.finished_at is not None:
            return task.then("done")
        try:
            return self._go_on(task, record, seconds_left)
        except _SupersededError:
            return task  # nobody reads it
        except (NotFoundError, ShopError) as error:
            return self.end(task, record, str(error))
        except ShopUnavailableError as error:
            return self._try_later(task, record, error)

    def _go_on(self, task: PublishTask, record: Publishing, seconds_left: Callable[[], float]) -> PublishTask:
        store = stores.get(task.store_id)
        if not stores.lease(task.store_id, task.run_id, self.clock()):
            stopped = budget.look(task.run_id).stop_status == budget.DEFERRED
            return self.end(task, record, STOPPED) if stopped else task.wait_for_lease()
        shop = self.open_shop(store)
        if task.action == "match":
            return self._match(task, record, shop, seconds_left)
        return _Visit(self, task, record, shop, store.domain, seconds_left).go_on()

    def _match(
        self, task: PublishTask, record: Publishing, shop: Shop, seconds_left: Callable[[], float]
    ) -> PublishTask:
        asked = (shop, self.settings.bucket, task.run_id, task.store_id)
        cursor = match.match(*asked, record.cursor, seconds_left)
        if cursor is None:
            return self.end(task, record)
        record.update([Publishing.cursor.set(cursor), Publishing.tries.set(0)])
        return task.then("publish")

    def _try_later(self, task: PublishTask, record: Publishing, error: ShopUnavailableError) -> PublishTask:
        tries = int(record.tries) + 1
        if tries >= MAX_TRIES:
            return self.end(task, record, f"{error} It was tried {MAX_TRIES} times.")
        record.update([Publishing.tries.set(tries)])
        stores.release(task.store_id, task.run_id)
        logger.info("shop unavailable", extra={**_ids(task), "reason": str(error), "tries": tries})
        wait = min(MOST_WAIT_SECONDS, 2**tries)
        return task.then("wait", max(wait, UNANSWERED_WAIT_SECONDS) if error.uncertain else wait)

    def end(self, task: PublishTask, record: Publishing, reason: str = "") -> PublishTask:
        actions: list[Action] = [Publishing.finished_at.set(iso(self.now()))]
        if reason:
            rest = read_lines(self.settings.bucket, plan_key(task.plan_of), int(record.offset))
            left = sum(PlanLine.model_validate_json(line).decision != "rejected" for _, line in rest)
            actions += [Publishing.reason.set(reason), Publishing.not_reached.set(left)]
        record.update(actions)
        stores.release(task.store_id, task.run_id)
        return task.then("done")

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


def try_out(store_id: str, open_shop: Callable[[Store], Shop]) -> dict[str, Any]:
    """Say whether a store can be published to: which shop it is, and which scopes its credentials lack."""
    told: dict[str, Any] = {"ok": False, "shop": "", "scopes": [], "missing": [], "reason": ""}
    try:
        found = open_shop(stores.get(store_id)).describe()
    except (NotFoundError, ShopError, ShopUnavailableError) as error:
        return {**told, "reason": str(error)}
    missing = sorted(found.missing)
    reason = f"The app lacks the scope{'s' if len(missing) > 1 else ''} {', '.join(missing)}." if missing else ""
    return {"ok": not missing, "shop": found.name, "scopes": sorted(found.scopes), "missing": missing, "reason": reason}


def _ids(task: PublishTask) -> dict[str, str]:
    return {"run_id": task.run_id, "store_id": task.store_id}


def _begin(task: PublishTask, now: datetime) -> Publishing:
    """Return the record of a run's progress with a store, which the first call makes."""
    key = (task.run_id, stores.sort_key(task.store_id))
    try:
        return Publishing.get(*key, consistent_read=True)
    except DoesNotExist:
        record = Publishing(*key)
        record.update(
            [
                Publishing.kind.set(Publishing),
                Publishing.store_id.set(task.store_id),
                Publishing.started_at.set(iso(now)),
                *(getattr(Publishing, name).set(0) for name in ("offset", "tries", *stores.SUMMED)),
            ]
        )
        return record


class _SupersededError(Exception):
    """The state machine has called again, as it lost this call; the newer one goes on alone."""


class _Visit:
    """One call's work on one store."""

    def __init__(
        self,
        publisher: Publisher,
        task: PublishTask,
        record: Publishing,
        shop: Shop,
        domain: str,
        seconds_left: Callable[[], float],
    ) -> None:
        self._domain = domain
        self._seconds_left = seconds_left
        self._publisher = publisher
        self._task = task
        self._record = record
        self._shop = shop
        self._store_key = stores.sort_key(task.store_id)
        self._deadline = 0.0
        self._unanswered: ShopUnavailableError | None = None
        self._call = uuid.uuid4().hex
        self._done = "published" if task.action == "publish" else "taken_out"

    def go_on(self) -> PublishTask:
        """Work on one batch after the other, from where the last call came to."""
        publisher, task, record = self._publisher, self._task, self._record
        record.update([Publishing.call.set(self._call)])
        lines = read_lines(publisher.settings.bucket, plan_key(task.plan_of), int(record.offset))
        while raw := list(itertools.islice(lines, BATCH)):
            if self._seconds_left() < BATCH_SECONDS:
                return task.then("publish")
            if budget.look(task.run_id).stop_status == budget.DEFERRED:
                return publisher.end(task, record, STOPPED)
            if not stores.lease(task.store_id, task.run_id, publisher.clock()):
                return task.wait_for_lease()
            before = (self._shop.points, self._shop.throttled)
            self._deadline = publisher.clock() + READY_SECONDS
            tally = self._batch([PlanLine.model_validate_json(line) for _, line in raw])
            tally.counts["throttled"] = self._shop.throttled - before[1]
            self._keep(tally, raw[-1][0], self._shop.points - before[0])
            if int(record.offset) != raw[-1][0]:  # another call of this run is further
                return task.then("publish")
        return publisher.end(task, record)

    def _keep(self, tally: _Tally, offset: int, points: float) -> None:
        """Write how far the store has come; a repeated batch finds that another call has done it."""
        record = self._record
        try:
            record.update(
                [
                    Publishing.offset.set(offset),
                    Publishing.tries.set(0),
                    Publishing.points.add(round(points, 1)),
                    Publishing.problems.set([*(record.problems or []), *tally.problems][:MAX_PROBLEMS]),
                    *(getattr(Publishing, name).add(count) for name, count in tally.counts.items() if count),
                ],
                condition=Publishing.offset == int(record.offset),
            )
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
            record.refresh(consistent_read=True)

    # ------------------------------------------------------------------ a batch

    def _batch(self, lines: list[PlanLine]) -> _Tally:
        """Bring the products of some lines of the plan to what is wanted."""
        tally = _Tally()
        asked = [line for line in lines if line.decision != "rejected"]
        found = self._load(asked)
        work, settled = [], []
        for line in asked:
            product, usage = found.get((line.product_id, PRODUCT)), found.get((line.product_id, self._store_key))
            if not isinstance(usage, Usage):
                tally.add("not_mapped", line.product_id, line.title, _not_mapped(self._task.store_id))
            elif usage.status == "removed" and usage.run_id != self._task.run_id and not usage.old_media:
                tally.add("removed", line.product_id, line.title)  # a run has said so; a mapping tries it again
            elif self._is_settled(product, usage):
                one = _Work(line.product_id, line.title, usage, [], frozenset(), str(usage.library_seen))
                one.counts = self._counted(usage)
                settled.append(one)
            else:
                work.append(self._prepare(line.product_id, line.title, usage))
        work += self._glance(settled)
        todo = [one for one in work if not one.outcome]
        for one in todo:
            self._end_if_nothing_to_show(one)
        pause = 0.0
        while (todo := [one for one in todo if not one.outcome]) and self._publisher.clock() < self._deadline:
            self._publisher.sleep(pause)
            pause = min(8, pause + 2)
            self._round(todo)
        for one in work:
            if not one.outcome:
                one.end("failed", "The shop is still working on the product's pictures; sync again later.")
            self._count(tally, one)
        return tally

    def _end_if_nothing_to_show(self, one: _Work) -> None:
        if one.images or one.known or one.usage.old_media:
            return
        if one.counts[CHANGED]:
            one.end(self._done)
        elif self._task.action == "publish":
            one.end("without_images")
        elif one.usage.status != "failed":  # else pictures may be there that were never noted
            one.end("unchanged")

    def _load(self, lines: list[PlanLine]) -> dict[tuple[str, str], LibraryItem]:
        keys = [(line.product_id, key) for line in lines for key in (PRODUCT, self._store_key)]
        found = LibraryItem.batch_get(keys, consistent_read=True) if keys else ()
        return {(each.product_id, each.sort_key): each for each in found}

    def _is_settled(self, product: LibraryItem | None, usage: Usage) -> bool:
        """Whether the library has nothing new for the shop since it was last brought up to date."""
        return (
            self._task.action == "publish"
            and isinstance(product, Product)
            and usage.status == "live"
            and not usage.old_media
            and usage.library_seen == product.updated_at
            and usage.domain == self._domain
        )

    def _prepare(self, product_id: str, title: str, usage: Usage) -> _Work:
        product, images, usages = library.product_page_with_usages(product_id, consistent=True)
        cover = product.cover_image_id if product is not None else None
        wanted = library.best_images(images, cover) if self._task.action == "publish" else []
        ours = frozenset(str(image.image_id) for image in images) | {entry["image_id"] for entry in usage.media or []}
        title = product.title if product is not None else title
        seen = product.updated_at if product is not None else ""
        others = (each for each in usages if each.store_id != self._task.store_id)
        elsewhere = {image_id for each in others for image_id in each.shown or ()}
        return _Work(product_id, title, usage, wanted, ours, seen, elsewhere, counts=self._counted(usage))

    def _counted(self, usage: Usage) -> Counter[str]:
        """Return what this run has done with a product already, if its batch was cut off after it."""
        return Counter(usage.run_counts or {}) if usage.run_id == self._task.run_id else Counter()

    def _glance(self, settled: list[_Work]) -> list[_Work]:
        """Look for 2 points whether a product in the shop is as we left it; what is not has to be looked at whole."""
        found = []
        seen = self._shop.glance([one.usage.shop_product_id for one in settled])
        for one in settled:
            glance, usage = seen.get(one.usage.shop_product_id), one.usage
            left = (usage.shop_updated_at, int(usage.shop_media_count or 0))
            if glance is None:
                self._gone(one)
            elif (glance.updated_at, glance.media_count) == left:
                one.end(self._done if one.counts[CHANGED] else "unchanged")
            else:
                one = self._prepare(one.product_id, one.title, usage)  # noqa: PLW2901 - it takes its place
            found.append(one)
        return found

    def _gone(self, one: _Work) -> None:
        """Note that the shop has no such product; what was live at another one before still has to go from there."""
        number = one.usage.shop_product_id.rpartition("/")[2]
        reason = (
            f"The shop has no product {number} any more. Sync a mapping that says what it is now; else it is left out."
        )
        old = one.usage.old_media or []
        kept = self._shop.delete_files(old) if old else {}
        one.media, one.removed, one.kept = {}, len(old) - len(kept), list(kept)
        one.counts += self._counts(one)
        actions = [Usage.status.set("removed"), Usage.reason.set(reason), Usage.media.set([])]
        if not self._note(one, actions):
            return
        if self._task.action == "publish" or kept:
            one.end("failed", reason)
        else:
            one.end(self._done if one.counts[CHANGED] else "unchanged", reason)

    def _note(self, one: _Work, actions: Sequence[Action]) -> bool:
        """Write what has become of a product. Returns False if it was mapped anew meanwhile; then what is live goes."""
        usage = one.usage
        more = [
            Usage.old_media.set(one.kept) if one.kept else Usage.old_media.remove(),
            Usage.run_id.set(self._task.run_id),
            Usage.run_counts.set(dict(one.counts)),
            Usage.shown.set(sorted({*(usage.shown or ()), *one.media})),
        ]
        try:
            usage.update([*actions, *more], condition=Usage.shop_product_id == usage.shop_product_id)
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
        else:
            return True
        usage.refresh(consistent_read=True)
        usage.update([Usage.old_media.set(list(dict.fromkeys([*(usage.old_media or []), *one.media.values()])))])
        one.end("failed", MAPPED_ANEW)
        return False

    # ------------------------------------------------------------------ a round: read, add, wait, tidy up, record

    def _round(self, todo: list[_Work]) -> None:
        """Read the products, and write what they lack. What is busy or was not answered is left for another."""
        pages = self._shop.read([one.usage.shop_product_id for one in todo])
        ready = []
        for one in todo:
            one.shop = pages.get(one.usage.shop_product_id)
            if one.shop is None:
                self._gone(one)
                continue
            one.placement = place(
                one.wanted, one.ours, one.known, one.shop.media, alt=one.alt, since=one.usage.mapped_at
            )
            one.media = dict(one.placement.keep)
            if not one.placement.busy and not (one.sent and one.placement.add):  # what was sent is on its way
                ready.append(one)
                self._make_room(one)
        added = self._add([one for one in ready if one.placement and one.placement.add])
        lacking = {one.product_id for one in ready if one.placement and one.placement.add}
        complete = [one for one in ready if one.product_id not in lacking or one.product_id in added]
        self._tidy(complete, added)
        if self._unanswered is not None:
            raise self._unanswered

    def _make_room(self, one: _Work) -> None:
        """Take out what has to go before the rest is added, if there is no room for both."""
        assert one.shop is not None
        assert one.placement is not None
        if one.placement.remove and len(one.shop.media) + len(one.placement.add) > MOST_MEDIA:
            self._shop.delete_files(one.placement.remove)

    def _add(self, lacking: list[_Work]) -> dict[str, Added]:
        """Put pictures into the shop and wait until it has them; return, by product, its last pictures then."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            calls = [(one, pool.submit(self._add_one, one)) for one in lacking]
        put = [one for one, call in calls if self._was_put(one, call)]
        arrived: dict[str, Added] = {}
        pause = 2.0
        if put:
            self._deadline = self._publisher.clock() + READY_SECONDS
        while put and self._publisher.clock() < self._deadline:
            self._publisher.sleep(pause)
            pause = min(5.0, pause * 1.5)
            for one, found in list(self._look_for(put)):
                if found is not None and any(each.status in UNFINISHED for each in found.media):
                    continue
                put.remove(one)
                # else it is gone, or somebody has added others; the next round reads it whole
                if found is not None and self._are_ours(one, found):
                    arrived[one.product_id] = found
        return arrived

    def _add_one(self, one: _Work) -> None:
        assert one.placement is not None
        if self._seconds_left() < READY_SECONDS + SPARE_SECONDS:
            self._unanswered = self._unanswered or ShopUnavailableError(f"{self._shop.domain} is slow.")
        if self._unanswered is not None:
            return  # a shop that does not answer is not asked 50 times; _was_put sees to it
        pictures = [(self._link(image_id), one.alt) for image_id in one.placement.add]
        newest = Publishing.get(self._task.run_id, self._store_key, consistent_read=True)
        if newest.call != self._call:
            raise _SupersededError
        one.sent = True
        try:
            self._shop.add_media(one.usage.shop_product_id, pictures)
        except ShopUnavailableError as error:
            self._unanswered = error
            raise

    def _link(self, image_id: str) -> str:
        where = {"Bucket": self._publisher.settings.bucket, "Key": library.image_key(image_id)}
        return aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=LINK_SECONDS)

    @staticmethod
    def _was_put(one: _Work, call: Future[None]) -> bool:
        """Return whether the shop took a product's pictures; nobody knows if it did not answer."""
        try:
            call.result()
        except ShopProductError as error:
            one.end("failed", str(error))
            return False
        except ShopUnavailableError:
            return False  # raised when what was answered has been noted
        return one.sent

    def _look_for(self, put: list[_Work]) -> Iterator[tuple[_Work, Added | None]]:
        """Yield each product with as many of its last pictures as were put there; None if it is gone."""
        by_count: dict[int, list[_Work]] = {}
        for one in put:
            assert one.placement is not None
            by_count.setdefault(len(one.placement.add), []).append(one)
        for count, group in by_count.items():
            found = self._shop.added([one.usage.shop_product_id for one in group], count)
            for one in group:
                yield one, found.get(one.usage.shop_product_id)

    @staticmethod
    def _are_ours(one: _Work, last: Added) -> bool:
        assert one.shop is not None
        assert one.placement is not None
        before = {each.media_id for each in one.shop.media}
        fresh = [each for each in last.media if each.media_id not in before and each.alt == one.alt]
        return len(fresh) == len(one.placement.add)

    def _tidy(self, complete: list[_Work], added: Mapping[str, Added]) -> None:
        """Take out what has to go, put the rest in order, and note what is live."""
        removing: dict[str, _Work] = {}
        # A product that was mapped back may have among its old media what is wanted again.
        staying = {media_id for one in complete if one.placement for media_id in one.placement.keep.values()}
        for one in complete:
            assert one.placement is not None
            old = [media_id for media_id in one.usage.old_media or [] if media_id not in staying]
            removing |= dict.fromkeys([*one.placement.remove, *old], one)
            if found := added.get(one.product_id):
                for image_id, each in zip(one.placement.add, found.media, strict=True):
                    if each.status == "READY":
                        one.media[image_id] = each.media_id
                        one.added += 1
                    else:
                        removing[each.media_id] = one
                        why = each.error.rstrip(".") or "it gave no reason"
                        one.reason = f"Shopify could not use the picture: {why}."
        kept = self._shop.delete_files(list(removing)) if removing else {}
        for media_id, one in removing.items():
            if media_id in kept:
                one.reason = one.reason or f"Shopify did not take a picture out: {kept[media_id].rstrip('.')}."
                one.kept.append(media_id)
            else:
                one.removed += 1
        self._set_alts(complete)
        gone = set(removing) - set(kept)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: self._order(one, added.get(one.product_id), gone), complete))
        changed = {one.usage.shop_product_id for one in complete if self._changed_after(one)}
        seen = self._shop.glance(sorted(changed)) if changed else {}
        for one in complete:
            self._record_live(one, added.get(one.product_id), seen)

    def _set_alts(self, complete: list[_Work]) -> None:
        """Let the pictures that stay have the product's title, if it has changed; not what a merchant has written."""
        renamed = [one for one in complete if one.placement and one.usage.alt and one.usage.alt != one.alt]
        alts = {
            each.media_id: one.alt
            for one in renamed
            for each in (one.shop.media if one.shop else ())
            if each.media_id in one.media.values() and each.alt == one.usage.alt
        }
        refused = self._shop.set_alts(alts) if alts else {}
        for one in renamed:
            if why := next((refused[each] for each in one.media.values() if each in refused), ""):
                one.reason = one.reason or f"Shopify did not take the alternative text: {why.rstrip('.')}."
                one.alt_taken = False

    def _order(self, one: _Work, found: Added | None, removed: set[str]) -> None:
        """Put our pictures into the wanted order among themselves, when they are not those that we noted last."""
        assert one.shop is not None
        ours = [one.media[image_id] for image_id in one.wanted if image_id in one.media]
        if ours == list(one.known):
            return
        order = [each.media_id for each in one.shop.media if each.media_id not in removed]
        order += [each.media_id for each in (found.media if found else ()) if each.media_id not in removed]
        if steps := moves(order, ours):
            try:
                self._shop.reorder(one.usage.shop_product_id, steps)
            except ShopProductError as error:
                one.reason = one.reason or str(error)
                one.order = [media_id for media_id in order if media_id in ours]  # so that the next sync tries it again
            one.moved = True

    @staticmethod
    def _changed_after(one: _Work) -> bool:
        """Whether the product was changed in the shop after we last read when it was changed."""
        renamed = bool(one.usage.alt and one.usage.alt != one.alt and one.placement and one.placement.keep)
        return bool(one.removed) or one.moved or renamed

    def _record_live(self, one: _Work, found: Added | None, seen: Mapping[str, Any]) -> None:
        """Note which images are live, and what the shop's product was then."""
        assert one.shop is not None
        now = iso(self._publisher.now())
        since = {entry["media_id"]: entry["since"] for entry in one.usage.media or []}
        images = {media_id: image_id for image_id, media_id in one.media.items()}
        order = one.order or [one.media[image_id] for image_id in one.wanted if image_id in one.media]
        live = [{"image_id": images[each], "media_id": each, "since": since.get(each, now)} for each in order]
        glance = seen.get(one.usage.shop_product_id)
        if glance is not None:
            updated_at, count = glance.updated_at, glance.media_count
        else:
            updated_at = found.updated_at if found is not None else one.shop.updated_at
            count = len(one.shop.media) + one.added
        one.counts += self._counts(one)
        missing = len(live) < len(one.wanted)
        emptied = "unpublished" if self._task.action == "unpublish" else "mapped"
        status = "failed" if missing or one.reason else ("live" if live else emptied)
        actions = [
            Usage.status.set(status),
            Usage.media.set(live),
            *([Usage.alt.set(one.alt)] if one.alt_taken else []),
            Usage.domain.set(self._domain),
            Usage.library_seen.set(one.library_seen),
            Usage.shop_updated_at.set(updated_at),
            Usage.shop_media_count.set(count),
            Usage.synced_at.set(now),
            Usage.reason.set(one.reason) if one.reason else Usage.reason.remove(),
        ]
        if not self._note(one, actions):
            return
        if status == "failed":
            one.end("failed", one.reason)
        else:
            one.end(self._done if one.counts[CHANGED] else "unchanged")

    # ------------------------------------------------------------------ what it came to

    def _count(self, tally: _Tally, one: _Work) -> None:
        noted = one.usage.status in {"failed", "removed"} and one.usage.reason == one.reason
        if one.outcome == "failed" and not noted:
            one.usage.update([Usage.status.set("failed"), Usage.reason.set(one.reason)])
        reason = one.reason
        if one.outcome == "without_images":
            reason = "The library has no images of it."
        tally.add(one.outcome, one.product_id, one.title, reason if one.outcome != "unchanged" else "")
        tally.counts += one.counts
        del tally.counts[CHANGED]

    def _counts(self, one: _Work) -> Counter[str]:
        """Return what was done with a product, and what it would have cost to make for this store what was not.

        An image counts once for a store: as reused if another one has shown it before, else as generated for it. What a
        call has put there that was cut off before it could note it counts when it is noted.
        """
        new = {image_id for image_id, media_id in one.media.items() if media_id not in one.known}
        taken_out = self._task.action == "unpublish" and bool(one.shop and one.known)
        counts = Counter({"images_added": len(new), "images_removed": one.removed})
        counts[CHANGED] = int(bool(new or one.removed or one.moved or taken_out))
        for image in one.images:
            if image.image_id not in new or image.image_id in (one.usage.shown or ()):
                continue
            # Of the stores of one run, which are published to at the same time, the first one has paid.
            another_pays = self._task.index > 0 and image.run_id == self._task.run_id
            if image.image_id not in one.elsewhere and not another_pays:
                counts["images_generated"] += 1
            else:
                counts["images_reused"] += 1
                counts["saved_microusd"] += int(image.cost_microusd)
                counts["saved_work_ms"] += int(image.work_ms)
        return +counts


def _not_mapped(store_id: str) -> str:
    return f"It is not mapped to a product of the shop. See: lookbook stores match {store_id}"
