"""Ingest: reads a scrape, looks its products up, and writes the plan of the run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from lookbook import aws, library, model_photos, runs, scrape
from lookbook.errors import InputError
from lookbook.garments import garment_category
from lookbook.options import RunOptions
from lookbook.plan import MAX_PROBLEMS, PlanLine, dump, items_key, plan_key, write_pass
from lookbook.state import Item, RunContext
from lookbook.tables import Run

if TYPE_CHECKING:
    from datetime import datetime

BATCH = 100


@dataclass(slots=True)
class _Counts:
    products: int = 0
    duplicates: int = 0
    rejected: int = 0
    reused: int = 0
    to_do: int = 0
    images_reused: int = 0
    saved_microusd: int = 0
    saved_gpu_ms: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)


def ingest(
    execution_input: dict[str, Any], execution_arn: str, *, bucket: str, max_concurrency: int, now: datetime
) -> dict[str, Any]:
    """Plan a run. Returns what the state machine goes on with: `next` is `products`, `finish` or `duplicate`.

    A scrape that cannot be read fails the run with one reason; a product that cannot be used is rejected and the rest
    goes on. May be repeated: it writes the same files again.
    """
    start = runs.identify(execution_input)
    run = runs.begin(start, execution_arn, now)
    if run is None:
        return {"next": "duplicate", "run": {"run_id": start.run_id}}
    context = RunContext(
        run_id=run.run_id, variants=1, method="auto", reuse=True, model_photos=[], max_concurrency=max_concurrency
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scrape"
            _download(bucket, start, path)
            options = _options(run, path)
            asked = {"variants": options.variants, "method": options.method, "reuse": options.reuse}
            context = context.model_copy(update=asked)
            counts = _Planner(context, Path(folder)).plan(path)
            if counts.to_do:
                photos = model_photos.choose(bucket, options.model_photos, options.variants)
                context = context.model_copy(update={"model_photos": photos})
            for key, file in ((plan_key(run.run_id), "plan"), (items_key(run.run_id), "items")):
                aws.s3().upload_file(str(Path(folder) / file), bucket, key)
    except InputError as error:
        run.update([Run.reason.set(str(error))])
        return {"next": "finish", "run": context.model_dump()}
    run.update(
        [
            Run.options.set(options.model_dump()),
            Run.products.set(counts.products),
            Run.duplicates.set(counts.duplicates),
            Run.rejected.set(counts.rejected),
            Run.reused.set(counts.reused),
            Run.planned_reused.set(counts.reused),
            *(column.set(0) for column in (Run.generated, Run.failed, Run.blocked, Run.images_generated)),
            *(column.set(0) for column in (Run.cost_microusd, Run.gpu_ms, Run.passes_counted)),
            Run.to_do.set(counts.to_do),
            Run.images_reused.set(counts.images_reused),
            Run.saved_microusd.set(counts.saved_microusd),
            Run.saved_gpu_ms.set(counts.saved_gpu_ms),
            Run.problems.set(counts.problems),
        ]
    )
    first = write_pass(bucket, run.run_id, 1, [], 0)
    return {
        "next": "products" if first else "finish",
        "run": context.model_dump(),
        "pass": first.model_dump() if first else None,
        "progress_at": now.timestamp(),
    }


def _download(bucket: str, start: runs.Start, path: Path) -> None:
    if start.version_id:
        answer = aws.s3().get_object(Bucket=bucket, Key=start.key, VersionId=start.version_id)
    else:
        answer = aws.s3().get_object(Bucket=bucket, Key=start.key)
    with path.open("wb") as file:
        for chunk in answer["Body"].iter_chunks(1024 * 1024):
            file.write(chunk)


def _options(run: Run, path: Path) -> RunOptions:
    """Return the run's options: those given with the run win over those in the file."""
    given = {} if run.options is None else dict(run.options)
    try:
        return RunOptions.model_validate({**scrape.read_options(path), **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"The option {where} cannot be used: {first['msg']}.") from error


class _Planner:
    """Decides about one product after the other, looking them up 100 at a time, and writes as it goes."""

    def __init__(self, run: RunContext, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._counts = _Counts()
        self._seen: set[str] = set()

    def plan(self, path: Path) -> _Counts:
        with (self._folder / "plan").open("wb") as plan, (self._folder / "items").open("wb") as items:
            batch: list[tuple[int, scrape.Product | scrape.Rejection]] = []
            for index, entry in scrape.read_products(path):
                if isinstance(entry, scrape.Product):
                    if entry.product_id in self._seen:
                        self._counts.duplicates += 1
                        continue
                    self._seen.add(entry.product_id)
                batch.append((index, entry))
                if len(batch) == BATCH:
                    self._decide(batch, plan, items)
                    batch = []
            self._decide(batch, plan, items)
        return self._counts

    def _decide(
        self, batch: list[tuple[int, scrape.Product | scrape.Rejection]], plan: BinaryIO, items: BinaryIO
    ) -> None:
        wanted = [entry.product_id for _, entry in batch if isinstance(entry, scrape.Product)]
        held = library.look_up(wanted) if wanted and self._run.reuse else {}
        for index, entry in batch:
            self._counts.products += 1
            if isinstance(entry, scrape.Rejection):
                plan.write(dump(self._reject(index, entry.product_id, entry.title, entry.reason)))
                continue
            holding = held.get(entry.product_id)
            if holding is not None and holding.covers(self._run.variants):
                self._counts.reused += 1
                self._counts.images_reused += self._run.variants
                self._counts.saved_microusd += holding.cost_microusd
                self._counts.saved_gpu_ms += holding.gpu_ms
                plan.write(dump(self._line(index, entry, "reused", images=self._run.variants)))
                continue
            garment = garment_category(entry.title, entry.category)
            if garment is None and self._run.method == "auto":
                plan.write(dump(self._reject(index, entry.product_id, entry.title, NOT_A_GARMENT)))
                continue
            self._counts.to_do += 1
            plan.write(dump(self._line(index, entry, "work")))
            items.write(
                dump(
                    Item(
                        index=index,
                        product_id=entry.product_id,
                        title=entry.title,
                        category=entry.category,
                        source=entry.source,
                        image_url=entry.image_url,
                        garment=garment or "overall",
                    )
                )
            )

    @staticmethod
    def _line(index: int, product: scrape.Product, decision: str, images: int = 0) -> PlanLine:
        return PlanLine.model_validate(
            {
                "index": index,
                "product_id": product.product_id,
                "title": product.title,
                "decision": decision,
                "images": images,
            }
        )

    def _reject(self, index: int, product_id: str, title: str, reason: str) -> PlanLine:
        self._counts.rejected += 1
        if len(self._counts.problems) < MAX_PROBLEMS:
            self._counts.problems.append(
                {"index": index, "product_id": product_id, "title": title, "status": "rejected", "reason": reason}
            )
        return PlanLine(index=index, product_id=product_id, title=title, decision="rejected", reason=reason)


NOT_A_GARMENT = (
    "Neither its category nor its title names a garment to try on. If it is one, run it with --method catvton."
)
