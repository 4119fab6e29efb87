"""What the command shows: tables and progress, at a terminal and in a file alike."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from lookbook_cli.client import Json

NOTHING = "-"
_SELDOM = ("blocked", "deferred", "over_budget", "duplicates")  # counts of products, of a run to which it happens
WIDE = 110  # columns from which a table shows all it knows
ROOM_FOR_RUN = 80  # columns for a run's id, file, status, products, images and dollars
QUIET = 30.0  # seconds between lines about a run when there is no terminal to draw on

_STYLES = {
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "rejected": "red",
    "blocked": "red",
    "over budget": "yellow",
    "unknown": "yellow",
    "running": "cyan",
    "stopping": "yellow",
}


def clean(value: object) -> str:
    """Return a text on one line without control characters: titles come from scrapes, and a terminal obeys them."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())


def cell(value: object) -> Text:
    """Make a table's cell of a value; a str would be read as Rich's markup."""
    return Text(NOTHING if value is None or value == "" else clean(value))


def number(value: float | None, digits: int = 0) -> Text:
    """Make a cell of a number, with thousands apart and that many decimals."""
    return Text(NOTHING if value is None else f"{value:,.{digits}f}")


def dollars(value: float | None) -> Text:
    """Make a cell of US dollars: an image costs a fraction of a cent, so four decimals."""
    return number(value, 4)


def status(value: object) -> Text:
    """Make a cell of a run's or an item's status."""
    word = clean(value).replace("_", " ")
    return Text(word, style=_STYLES.get(word, ""))


def moment(value: object, pattern: str = "%Y-%m-%d %H:%M") -> Text:
    """Make a cell of an ISO 8601 time, as the clock here shows it."""
    try:
        return Text(datetime.fromisoformat(str(value)).astimezone().strftime(pattern))
    except ValueError:
        return cell(value)


def _table(title: str | None = None) -> Table:
    return Table(
        title=None if title is None else Text(clean(title), style="bold"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


# Rich narrows a table by the columns that may wrap, and cuts into the others only when that is not enough.


def _fixed(table: Table, *headers: str) -> None:
    """Add columns that keep their width: ids, which people copy, and words of ours."""
    for header in headers:
        table.add_column(header, no_wrap=True, overflow="ellipsis", max_width=40)


def _numbers(table: Table, *headers: str) -> None:
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)


def _flexible(table: Table, *headers: str) -> None:
    """Add columns that take what room is left."""
    for header in headers:
        table.add_column(header, overflow="fold")


def name(value: object) -> Text:
    """Make a cell of a name or a title: one line, cut where there is no room."""
    text = cell(value)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def run_table(runs: list[Json], labels: list[str]) -> Table:
    """Show runs side by side, one column a run, headed by its label.

    What is not the rule (such as blocked products) has a row only if there is any. Seconds are wall-clock, dollars
    are US.
    """
    table = _table()
    table.add_column("")
    for label in labels:
        table.add_column(cell(label), justify="right", overflow="fold")

    def row(label: str, value: Callable[[Json], Text]) -> None:
        table.add_row(label, *(value(run) for run in runs))

    def count(word: str) -> Callable[[Json], Text]:
        return lambda run: number(run["counts"].get(word, 0))

    always = {"products", "reused", "generated", "rejected", "failed"}
    for word in ("products", "reused", "linked", "generated", "planned", "rejected", "failed", *_SELDOM):
        if word in always or any(run["counts"].get(word) for run in runs):
            row(word.replace("_", " "), count(word))
    row("images new", lambda run: number(run.get("images_generated")))
    row("seconds", lambda run: number(run.get("seconds"), 1))
    row("dollars", lambda run: dollars(run.get("cost_usd")))
    row("dollars saved", lambda run: dollars(run.get("saved_usd")))
    return table


def plan_table(run: Json, plan: Json) -> Table:
    """Show what a run would do: products, and the images they would get."""
    table = _table()
    table.add_column("")
    _numbers(table, "products", "images")
    images = {
        "reused": run.get("images_reused") or None,
        "linked": plan.get("images_linked"),
        "planned": plan.get("images_to_generate"),
    }
    always = ("products", "reused", "linked", "planned", "rejected", "blocked", "failed")
    for word in (*always, "deferred", "over_budget", "duplicates"):
        count = run["counts"].get(word, 0)
        if count or word in always:
            label = "to generate" if word == "planned" else word.replace("_", " ")
            table.add_row(label, number(count), number(images[word]) if word in images else "")
    return table


def plan_methods_table(methods: Iterable[Json], width: int) -> Table:
    """Show what a plan's images would be made with; in WIDE columns or more with products and seconds an image."""
    wide = width >= WIDE
    table = _table()
    _fixed(table, "method")
    _numbers(table, *(["products"] if wide else []), "images", "dollars", "per image")
    _numbers(table, *(["seconds/image"] if wide else []), "minutes")
    _flexible(table, "basis", "licence")
    for method in methods:
        table.add_row(
            cell(method["method"]),
            *([number(method.get("products"))] if wide else []),
            number(method.get("images")),
            dollars(method.get("cost_usd")),
            dollars(method.get("usd_per_image")),
            *([number(method.get("seconds_per_image"), 1)] if wide else []),
            number(method.get("minutes"), 1),
            cell(method.get("basis")),
            cell(method.get("licence")),
        )
    return table


def methods_table(methods: Iterable[Json]) -> Table:
    """Show what can make images."""
    table = _table()
    _fixed(table, "method", "ready")
    _numbers(table, "dollars/image", "seconds/image")
    _flexible(table, "basis", "licence")
    for method in methods:
        table.add_row(
            cell(method["method"]),
            Text("yes", style="green") if method.get("ready") else Text("no", style="yellow"),
            dollars(method.get("usd_per_image")),
            number(method.get("seconds_per_image"), 1),
            cell(method.get("basis")),
            cell(method.get("licence")),
        )
    return table


def ledger_sums_table(sums: list[Json]) -> Table:
    """Show what became of a run's paid attempts, a row a provider. Seconds are the provider's work, dollars are US."""
    words = ["attempts", "succeeded", "failed", "blocked", "unknown"]
    if any(entry.get("open") for entry in sums):
        words.append("open")
    table = _table("Ledger")
    _fixed(table, "provider")
    _numbers(table, *words, "dollars", "seconds")
    for entry in sums:
        table.add_row(
            cell(entry["provider"]),
            *(number(entry.get(word, 0)) for word in words),
            dollars(entry.get("cost_usd")),
            number(entry.get("work_seconds"), 1),
        )
    return table


def ledger_table(entries: Iterable[Json], width: int) -> Table:
    """Show a run's paid attempts; in WIDE columns or more with what was used and the provider's id of the job."""
    wide = width >= WIDE
    table = _table()
    _fixed(table, "time", "product")
    _numbers(table, "variant")
    _fixed(table, "provider", "status")
    _numbers(table, "dollars", "seconds")
    _flexible(table, *(["usage", "job"] if wide else []))
    for entry in entries:
        table.add_row(
            moment(entry.get("created_at"), "%H:%M:%S"),  # the day is in the run's id
            cell(entry.get("product_id")),
            cell(entry.get("variant")),
            cell(entry.get("provider")),
            status(entry["status"]),
            dollars(entry.get("cost_usd")),
            number(entry.get("work_seconds"), 1),
            *([cell(_usage(entry.get("usage"))), cell(entry.get("job_id"))] if wide else []),
        )
    return table


def _usage(usage: object) -> object:
    """Say what an attempt used, such as tokens, as `input tokens 12, output tokens 34`."""
    if not isinstance(usage, dict):
        return usage
    flat = {key: value for key, value in usage.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in flat.items())


def ledger_sums(entries: Iterable[Json]) -> Iterator[str]:
    """Say what each provider was paid for a run's attempts."""
    by_provider: dict[object, list[Json]] = {}
    for entry in entries:
        by_provider.setdefault(entry.get("provider"), []).append(entry)
    for provider, own in by_provider.items():
        cost, work = (sum(entry.get(key) or 0 for entry in own) for key in ("cost_usd", "work_seconds"))
        attempts = "1 attempt" if len(own) == 1 else f"{len(own):,} attempts"
        unpriced = sum(entry.get("cost_usd") is None for entry in own)
        rest = f", and {unpriced:,} whose cost is not known" if unpriced else ""
        yield f"{provider}: {attempts}, {dollars(cost)} dollars, {number(work, 1)} seconds{rest}"


def reasons_table(entries: Iterable[Json]) -> Table:
    """Show why attempts came to nothing; those with the same reason share a row."""
    alike = Counter((entry["status"], entry["reason"]) for entry in entries if entry.get("reason"))
    table = _table("Reasons")
    _numbers(table, "attempts")
    _fixed(table, "status")
    _flexible(table, "reason")
    for (word, reason), count in alike.items():
        table.add_row(number(count), status(word), cell(reason))
    return table


def problem_table(problems: Iterable[Json]) -> Table:
    """Show the products of a run that came to nothing, and why; what has the same reason shares a row."""
    table = _table("Problems")
    _numbers(table, "index")
    _fixed(table, "product", "status")
    _flexible(table, "reason")
    alike: dict[tuple[object, object], list[Json]] = {}
    for problem in problems:
        alike.setdefault((problem.get("status"), problem.get("reason")), []).append(problem)
    for (word, reason), group in alike.items():
        first, last = group[0], group[-1]
        several = len(group) > 1
        table.add_row(
            cell(f"{first.get('index')}…{last.get('index')}" if several else first.get("index")),
            cell(f"{len(group)} products" if several else first.get("product_id")),
            status(word),
            cell(reason),
        )
    return table


def runs_table(runs: list[Json], width: int) -> Table:
    """Show a list of runs, with as much of each as goes into `width` columns beside its file's name."""
    extra = [word for word in ("planned", "linked", "over_budget") if any(run["counts"].get(word) for run in runs)]
    room = width - ROOM_FOR_RUN
    optional = []
    for header in (*extra, "started", "reused", "failed", "rejected", "seconds"):  # what matters more first
        room -= max(len(header), 16 if header == "started" else 8) + 2
        if room < 0:
            break
        optional.append(header)
    order = ("products", "reused", "linked", "generated", "planned", "rejected", "failed", "over_budget")
    counts = [word for word in order if word in {"products", "generated", *optional}]
    started, seconds = "started" in optional, "seconds" in optional
    table = _table()
    _fixed(table, "run", *(["started"] if started else []))
    _flexible(table, "file")
    _fixed(table, "status")
    _numbers(table, *(word.replace("_", " ") for word in counts), *(["seconds"] if seconds else []), "dollars")
    for run in runs:
        stopping = run.get("stopping") and run["status"] == "running"
        table.add_row(
            cell(run["run_id"]),
            *([moment(run.get("created_at"))] if started else []),
            name(run.get("name")),
            status("stopping" if stopping else run["status"]),
            *(number(run["counts"].get(word, 0)) for word in counts),
            *([number(run.get("seconds"), 1)] if seconds else []),
            dollars(run.get("cost_usd")),
        )
    return table


def items_table(items: list[Json], width: int) -> Table:
    """Show what became of each product of a run; in fewer than WIDE columns without titles where there are reasons."""
    reasons = any(item.get("reason") for item in items)
    titles = width >= WIDE or not reasons
    table = _table()
    _numbers(table, "index")
    _fixed(table, "product", "status")
    _numbers(table, "images")
    _flexible(table, *(["title"] if titles else []), *(["reason"] if reasons else []))
    for item in items:
        table.add_row(
            cell(item.get("index")),
            cell(item.get("product_id")),
            status(item["status"]),
            number((item.get("images_generated") or 0) + (item.get("images_reused") or 0)),
            *([name(item.get("title"))] if titles else []),
            *([cell(item.get("reason"))] if reasons else []),
        )
    return table


def check_table(found: Iterable[Json]) -> Table:
    """Show which products the library has images of."""
    table = _table()
    _fixed(table, "product", "library")
    _numbers(table, "images")
    _fixed(table, "variants")
    _flexible(table, "title")
    for product in found:
        has = product["image_count"] > 0
        table.add_row(
            cell(product["product_id"]),
            Text("has it", style="green") if has else Text("missing", style="yellow"),
            number(product["image_count"]),
            cell(", ".join(str(variant) for variant in product["variants"])),
            name(product["title"]),
        )
    return table


def products_table(products: Iterable[Json], width: int) -> Table:
    """Show a list of products; in fewer than WIDE columns without their categories."""
    wide = width >= WIDE
    table = _table()
    _fixed(table, "product")
    _flexible(table, "title", *(["category"] if wide else []))
    _fixed(table, "source")
    _numbers(table, "images")
    _fixed(table, "updated")
    for product in products:
        table.add_row(
            cell(product["product_id"]),
            name(product.get("title")),
            *([name(product.get("category"))] if wide else []),
            cell(product.get("source")),
            number(product.get("image_count")),
            moment(product.get("updated_at")),
        )
    return table


def duplicates_table(groups: Iterable[Json]) -> Table:
    """Show products whose source pictures look alike, group by group."""
    table = _table()
    _numbers(table, "group")
    _fixed(table, "product")
    _numbers(table, "images", "bits apart")
    _flexible(table, "title")
    for place, group in enumerate(groups, start=1):
        for first, product in enumerate(group["products"]):
            table.add_row(
                number(place) if not first else "",
                cell(product["product_id"]),
                number(product.get("image_count")),
                cell(product.get("distance")),
                name(product.get("title")),
            )
    return table


def images_table(product: Json, width: int) -> Table:
    """Show a product's images, the cover marked with a star; in WIDE columns or more with size, cost and time."""
    wide = width >= WIDE
    table = _table()
    _numbers(table, "variant")
    _fixed(table, "image", "method")
    _flexible(table, "model photo")
    _numbers(table, "pixels", *(["bytes", "dollars"] if wide else []))
    _fixed(table, *(["made"] if wide else []))
    for image in product.get("image_list", ()):
        star = " *" if image["image_id"] == product.get("cover_image_id") else ""
        table.add_row(
            cell(image.get("variant")),
            cell(str(image["image_id"])[:12] + star),
            cell(image.get("method")),
            cell(image.get("model_photo")),
            cell(f"{image.get('width')}x{image.get('height')}"),
            *([number(image.get("bytes")), dollars(image.get("cost_usd"))] if wide else []),
            *([moment(image.get("created_at"))] if wide else []),
        )
    return table


def models_table(models: Iterable[Json]) -> Table:
    """Show the model photos."""
    table = _table()
    _flexible(table, "name")
    _numbers(table, "pixels", "bytes")
    for model in models:
        table.add_row(
            cell(model["name"]), cell(f"{model.get('width')}x{model.get('height')}"), number(model.get("bytes"))
        )
    return table


def can_draw(console: Console) -> bool:
    """Tell whether a progress bar may be drawn: at a terminal only, whatever FORCE_COLOR says."""
    return console.is_interactive and console.file.isatty()


def _bar(console: Console, *columns: str | ProgressColumn) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        disable=not can_draw(console),
        transient=True,
    )


@contextmanager
def bytes_progress(console: Console, description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a transfer of `total` bytes is; yields what to call with the bytes moved since."""
    with _bar(console, DownloadColumn()) as progress:
        task = progress.add_task(clean(description), total=total)
        yield lambda moved: progress.advance(task, moved)


class RunProgress(AbstractContextManager["RunProgress"]):
    """Shows how far a run is: a live bar at a terminal; elsewhere a line now and then, or with `lines` off nothing."""

    def __init__(self, console: Console, *, lines: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._bar = _bar(console, TextColumn("{task.fields[count]}"))
        self._lines = lines and not can_draw(console)
        self._task: TaskID | None = None
        self._progress: Json | None = None  # the last known: it goes away when the run begins to finish
        self._said_at = clock()

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=None, count="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, run: Json) -> None:
        """Show the run as it is now."""
        progress = run.get("progress")
        self._progress = progress or self._progress
        doing = self._doing(run)
        done, total = (self._progress["done"], self._progress["total"]) if self._progress else (0, None)
        so_far = [f"{done:,} of {total:,} products"] if total else []
        if run.get("cost_usd"):
            so_far.append(f"{dollars(run['cost_usd'])} dollars")
        if self._task is not None:
            self._bar.update(self._task, description=doing, total=total, completed=done, count=", ".join(so_far))
        if self._lines and self._clock() - self._said_at >= QUIET:
            self._said_at = self._clock()
            self._console.print(Text(": ".join(filter(None, [doing, ", ".join(so_far)]))), soft_wrap=True)

    def _doing(self, run: Json) -> str:
        if run.get("stopping"):
            return f"Stopping ({clean(run['stopping'])})"
        if run.get("note"):
            return clean(run["note"])
        if run["status"] == "awaiting_upload":
            return "Waiting for the run to start"
        if run.get("kind") == "plan":
            return "Planning"
        if run.get("progress"):
            return "Making images"
        return "Finishing" if self._progress else "Reading the file"
