"""Ingest: reads a scrape, or what a run left undone, looks its products up, and writes the plan of the run."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from lookbook import aws, cover_prompt, library, model_photos, plan, runs, scrape, stores, sync
from lookbook.errors import InputError, NotFoundError
from lookbook.garments import garment_category
from lookbook.options import RunOptions
from lookbook.plan import LOOKED_UP_AT_ONCE, MAX_PROBLEMS, WAVES, PlanLine, dump, items_key, plan_key, write_pass
from lookbook.providers.registry import all_of
from lookbook.state import Item, RunContext
from lookbook.tables import Outcome, Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lookbook.providers.base import Provider
    from lookbook.settings import MethodSettings


@dataclass(frozen=True, slots=True)
class _Entry:
    """One product asked for: what to make of it, or why nothing can be made. The library may have it all the same."""

    index: int
    product_id: str
    title: str
    item: Item | None = None
    wears: bool = False
    reason: str = ""


@dataclass(slots=True)
class _Counts:
    products: int = 0
    rejected: int = 0
    reused: int = 0
    to_do: int = 0
    images_reused: int = 0
    saved_microusd: int = 0
    saved_work_ms: int = 0
    wears: bool = False
    problems: list[dict[str, Any]] = field(default_factory=list)


def ingest(
    execution_input: dict[str, Any], execution_arn: str, *, settings: MethodSettings, now: datetime
) -> dict[str, Any]:
    """Plan a run. Returns what the state machine goes on with: `next` is `products`, `finish` or `duplicate`.

    A scrape that cannot be read fails the run with one reason; a product that cannot be used is rejected and the rest
    goes on. May be repeated: it writes the same files again.
    """
    start = runs.identify(execution_input)
    run = runs.begin(start, execution_arn, now)
    if run is None:
        return {"next": "duplicate", "run": {"run_id": start.run_id}}
    if run.purpose in runs.STORE_ACTIONS:
        return _ingest_for_store(run, start, settings, now)
    bucket = settings.bucket
    context = RunContext(
        run_id=run.run_id,
        plan=run.purpose == runs.PLAN,
        variants=1,
        reuse=True,
        model_photos=[],
        max_concurrency=settings.gpu_concurrency,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            reader = _Reader(settings, run, Path(folder))
            options, entries = reader.read(start)
            stores.check_exist(options.stores)
            context = context.model_copy(update=_asked(options, run))
            counts = _Planner(context, Path(folder)).plan(entries)
            if counts.wears:
                photos = model_photos.choose(bucket, options.model_photos, options.variants)
                context = context.model_copy(update={"model_photos": photos})
                # A retry uses the same, even if others have come to be the first ones meanwhile.
                options = options.model_copy(update={"model_photos": [photo.name for photo in photos]})
            for key, file in ((plan_key(run.run_id), "plan"), (items_key(run.run_id), "items")):
                aws.put_file(bucket, key, Path(folder) / file)
    except (InputError, NotFoundError) as error:
        run.update([Run.reason.set(str(error))])
        return {"next": "finish", "run": context.model_dump()}
    zero = (
        *(Run.generated, Run.linked, Run.planned, Run.failed, Run.blocked, Run.over_budget),
        *(Run.images_generated, Run.cost_microusd, Run.work_ms, Run.passes_counted),
    )
    run.update(
        [
            Run.options.set(options.model_dump()),
            Run.products.set(counts.products),
            Run.duplicates.set(reader.duplicates),
            Run.rejected.set(counts.rejected),
            Run.reused.set(counts.reused),
            Run.planned_reused.set(counts.reused),
            *(column.set(0) for column in zero),
            Run.to_do.set(counts.to_do),
            Run.images_reused.set(counts.images_reused),
            Run.saved_microusd.set(counts.saved_microusd),
            Run.saved_work_ms.set(counts.saved_work_ms),
            Run.problems.set(counts.problems),
        ]
    )
    first = write_pass(bucket, run.run_id, 1, [], 0, WAVES * context.max_concurrency)
    return {
        "next": "products" if first else "finish",
        "run": context.model_dump(),
        "pass": first.model_dump() if first else None,
        "progress_at": now.timestamp(),
    }


def _ingest_for_store(run: Run, start: runs.Start, settings: MethodSettings, now: datetime) -> dict[str, Any]:
    """Plan a run that only publishes to a store, takes its pictures out, or looks for what to map."""
    action = runs.STORE_ACTIONS[run.purpose]
    options = sync.SyncOptions.model_validate(run.options)
    context = RunContext(
        run_id=run.run_id,
        variants=1,
        reuse=True,
        model_photos=[],
        max_concurrency=1,
        stores=[options.store] if options.publish else [],
        plan_of=run.run_id,
        action=action,
    )
    listed = sync.Listed()
    try:
        if action != "match":
            with tempfile.TemporaryDirectory() as folder:
                listed = sync.plan(options, action, settings.bucket, start.key, Path(folder), now)
                aws.put_file(settings.bucket, plan_key(run.run_id), Path(folder) / "plan")
    except (InputError, NotFoundError) as error:
        run.update([Run.reason.set(str(error))])
        return {"next": "finish", "run": context.model_dump()}
    run.update(
        [
            Run.products.set(listed.products),
            Run.rejected.set(listed.rejected),
            Run.reused.set(listed.reused),
            Run.planned_reused.set(listed.reused),
            Run.images_reused.set(listed.images_reused),
            Run.problems.set(listed.problems),
        ]
    )
    return {"next": "finish", "run": context.model_dump(), "pass": None, "progress_at": now.timestamp()}


def _asked(options: RunOptions, run: Run) -> dict[str, Any]:
    limit = options.max_cost_usd
    return {
        "requested_at": run.created_at,
        "started_by": run.started_by,
        "variants": options.variants,
        "reuse": options.reuse,
        "stores": options.stores,
        "plan_of": run.fresh_for or run.run_id,
        # The seeds of new pictures follow from the first run, so that a retry finds what that has paid for.
        "fresh_for": "" if options.reuse else (run.fresh_for or run.run_id),
        "budget_microusd": None if limit is None else round(limit * 1_000_000),
    }


class _Reader:
    """Reads what a run is about: its options, and its products one after the other."""

    def __init__(self, settings: MethodSettings, run: Run, folder: Path) -> None:
        self._settings = settings
        self._run = run
        self._folder = folder
        self._providers: Mapping[str, Provider] = all_of(settings)
        self.duplicates = 0

    def read(self, start: runs.Start) -> tuple[RunOptions, Iterator[_Entry]]:
        """Return the options, and the products; `duplicates` counts those left out. Raises InputError."""
        if self._run.purpose == runs.RETRY:
            undone = left_undone(self._settings.bucket, str(self._run.retry_of))
            return self._options({}), (self._entry(item) for item in undone)
        path = self._folder / "scrape"
        self._download(start, path)
        options = self._options({**_store_of(start.key), **scrape.read_options(path)})
        return options, self._scraped(path, options)

    def _download(self, start: runs.Start, path: Path) -> None:
        bucket = self._settings.bucket
        if start.version_id:
            answer = aws.s3().get_object(Bucket=bucket, Key=start.key, VersionId=start.version_id)
        else:
            answer = aws.s3().get_object(Bucket=bucket, Key=start.key)
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(1024 * 1024):
                file.write(chunk)

    def _options(self, in_file: dict[str, Any]) -> RunOptions:
        """Return the run's options: those given with the run win over those in the file."""
        given = {} if self._run.options is None else dict(self._run.options)
        try:
            options = RunOptions.model_validate({**in_file, **given})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"The option {where} cannot be used: {first['msg']}.") from error
        if options.method != "auto" and (why := self._providers[options.method].unavailable):
            raise InputError(f"The method {options.method} cannot be used: {why}.")
        return options

    def _scraped(self, path: Path, options: RunOptions) -> Iterator[_Entry]:
        seen: set[str] = set()
        for index, found in scrape.read_products(path):
            if isinstance(found, scrape.Rejection):
                yield _Entry(index, found.product_id, found.title, reason=found.reason)
            elif found.product_id in seen:
                self.duplicates += 1
            else:
                seen.add(found.product_id)
                yield self._entry(self._item(index, found, options))

    def _item(self, index: int, product: scrape.Product, options: RunOptions) -> Item:
        """Choose how to make a product's images."""
        garment = garment_category(product.title, product.category)
        method = options.method
        if method == "auto":
            method = self._settings.try_on_method if garment else "openai"
        return Item(
            index=index,
            product_id=product.product_id,
            title=product.title,
            category=product.category,
            source=product.source,
            image_url=product.image_url,
            garment=garment or "",
            method=method,
            prompt=_prompt(product, options) if method == "openai" else "",
        )

    def _entry(self, item: Item) -> _Entry:
        """Say whether an image of it can be made at all."""
        provider = self._providers[item.method]
        reason = ""
        if provider.unavailable:
            what = "It is a garment" if item.garment else "It is no garment to try on"
            reason = f"{what}, but {provider.unavailable}."
        elif provider.wears and not item.image_url:
            reason = NO_PICTURE
        return _Entry(item.index, item.product_id, item.title, item, provider.wears, reason)


def _prompt(product: scrape.Product, options: RunOptions) -> str:
    """Return what a cover is asked for: what the user wrote; of a product without a picture, what is known of it."""
    if options.prompt is not None or product.image_url:
        return options.prompt or ""
    return cover_prompt.write(product.title, product.description, product.category, product.locale)


def _store_of(key: str) -> dict[str, Any]:
    """Return the option that an upload's folder stands for: scrapes/<store>/ publishes to the store of that id."""
    folder, _, name = key.removeprefix("scrapes/").partition("/")
    known = name and key.startswith("scrapes/") and folder in {stores.id_of(each) for each in stores.every()}
    return {"stores": [folder]} if known else {}


def left_undone(bucket: str, run_id: str) -> Iterator[Item]:
    """Yield the products of a run that a retry takes: failed, deferred, over budget, or never begun."""
    items = (Item.model_validate_json(line) for _, line in plan.read_lines(bucket, items_key(run_id)))
    while batch := list(itertools.islice(items, LOOKED_UP_AT_ONCE)):
        yield from _undone(run_id, batch)


def _undone(run_id: str, batch: list[Item]) -> Iterator[Item]:
    keys = [(run_id, plan.outcome_key(item.product_id)) for item in batch]
    outcomes = Outcome.batch_get(keys, consistent_read=True)
    done = {each.sort_key for each in outcomes if each.status not in runs.MAY_BE_RETRIED}
    yield from (item for item in batch if plan.outcome_key(item.product_id) not in done)


class _Planner:
    """Decides about one product after the other, looking them up 100 at a time, and writes as it goes."""

    def __init__(self, run: RunContext, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._counts = _Counts()

    def plan(self, entries: Iterator[_Entry]) -> _Counts:
        with (self._folder / "plan").open("wb") as lines, (self._folder / "items").open("wb") as items:
            while batch := list(itertools.islice(entries, LOOKED_UP_AT_ONCE)):
                self._decide(batch, lines, items)
        return self._counts

    def _decide(self, batch: list[_Entry], lines: BinaryIO, items: BinaryIO) -> None:
        wanted = [entry.product_id for entry in batch if entry.item is not None]
        held = library.look_up(wanted) if wanted and self._run.reuse else {}
        for entry in batch:
            self._counts.products += 1
            holding = held.get(entry.product_id)
            if entry.item is not None and holding is not None and holding.covers(self._run.variants):
                self._counts.reused += 1
                self._counts.images_reused += self._run.variants
                share = self._run.variants / len(holding.variants)  # of images that cost about the same
                self._counts.saved_microusd += round(holding.cost_microusd * share)
                self._counts.saved_work_ms += round(holding.work_ms * share)
                lines.write(dump(_line(entry, "reused", images=self._run.variants)))
            elif entry.item is not None and not entry.reason:
                self._counts.to_do += 1
                self._counts.wears |= entry.wears
                lines.write(dump(_line(entry, "work")))
                items.write(dump(entry.item))
            else:
                self._reject(entry)
                lines.write(dump(_line(entry, "rejected", reason=entry.reason)))

    def _reject(self, entry: _Entry) -> None:
        self._counts.rejected += 1
        if len(self._counts.problems) < MAX_PROBLEMS:
            about = {"index": entry.index, "product_id": entry.product_id, "title": entry.title}
            self._counts.problems.append({**about, "status": "rejected", "reason": entry.reason})


def _line(entry: _Entry, decision: str, *, reason: str = "", images: int = 0) -> PlanLine:
    return PlanLine.model_validate(
        {
            "index": entry.index,
            "product_id": entry.product_id,
            "title": entry.title,
            "decision": decision,
            "reason": reason,
            "images": images,
        }
    )


NO_PICTURE = "It has no picture to try on; give its web address as image, imageUrl, productImage or images."
