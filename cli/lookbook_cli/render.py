"""What the command shows: tables and progress, at a terminal and in a file alike."""

import math
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from rich import box
from rich.cells import cell_len
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
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lookbook_cli.client import Json

NOTHING = "-"
_SELDOM = ("blocked", "deferred", "over_budget", "duplicates")  # counts of products, of a run to which it happens
UNFINISHED = frozenset({"awaiting_upload", "running"})  # a run that goes on, or is about to
HALF_OF_THE_LAST = 0.00005  # dollars, which four decimals would round to none
GAP = 2  # columns between two of a table's
LONGEST_ID = 40  # columns of a product's id in a table
MAKING = "Making images"
# What runs do in a store, and nothing else.
IN_STORE = {"sync": "Publishing to", "unpublish": "Taking images out of", "match": "Looking through"}
_BEGINNING = {"plan": "Planning", **dict.fromkeys(IN_STORE, "Looking the products up")}
_OF_A_FILE = {"scrape", "retry"}  # kinds of runs that begin with one
QUIET = 15.0  # seconds between lines about what goes on when there is no terminal to draw on
TAB = 4  # columns between two stops of a tabulator
LEFT_OUT = "Left out: products that are not of the wanted status or format, or could not be used."  # by a sync
DIGITS = 12  # of an image's id: enough to tell a library's images apart

_PUT_OFF = re.compile(r"([\d,]+) products? (?:is|are) put off: (.+?)\.?")  # a run's note on what must wait

_STYLES = {
    "succeeded": "green",
    "live": "green",
    "partial": "yellow",
    "failed": "red",
    "rejected": "red",
    "blocked": "red",
    "removed": "red",
    "not mapped": "yellow",
    "without images": "yellow",
    "over budget": "yellow",
    "unknown": "yellow",
    "running": "cyan",
    "stopping": "yellow",
}


def clean(value: object) -> str:
    """Return a text on one line without control characters: titles come from scrapes, and a terminal obeys them."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())


def as_typed(text: str) -> list[str]:
    """Return a text's lines as someone typed them, in whatever script, but without what a terminal obeys.

    Unlike `clean` it keeps spaces, and the joiners and marks that scripts and emoji are written with.
    """
    return ["".join(map(_harmless, line.expandtabs(TAB))) for line in text.splitlines()]


def _harmless(char: str) -> str:
    # Controls and broken characters, and those that turn the direction of what follows, even of our own words.
    turns = char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return " " if turns or unicodedata.category(char) in {"Cc", "Cs"} else char


def cut(value: object, most: int) -> str:
    """Return a text on one line, cut to so many characters."""
    text = clean(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def image_id(value: object, url: object = None) -> Text:
    """Make a cell of an image's id: its first digits, which some terminals make a link to the picture."""
    text = cell(value and str(value)[:DIGITS])
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        text.stylize(Style(link=clean(url)))  # only where there is a terminal: a file gets the digits alone
    return text


def cell(value: object) -> Text:
    """Make a table's cell of a value; a str would be read as Rich's markup."""
    return Text(NOTHING if value is None or value == "" else clean(value))


def number(value: float | None, digits: int = 0) -> Text:
    """Make a cell of a number, with thousands apart and that many decimals."""
    return Text(NOTHING if value is None else f"{value:,.{digits}f}")


def dollars(value: float | None) -> Text:
    """Make a cell of US dollars: an image costs a fraction of a cent, so four decimals; more where these are all 0."""
    return number(value, -math.floor(math.log10(value)) if value and 0 < value < HALF_OF_THE_LAST else 4)


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


def money(value: float) -> str:
    """Say US dollars that someone chose, such as a budget: to the cent, or as finely as they were chosen."""
    return f"{value:,.2f}" if round(value, 2) == value else f"{Decimal(str(value)):,f}"


def at_most(value: float) -> str:
    """Say US dollars that are not known but for their bound."""
    return f"≤ {dollars(value)}"


def work(seconds: float | None) -> Text:
    """Make a cell of a provider's seconds; 0 is what one has that told none."""
    return number(seconds or None, 1)


def duration(minutes: float | None) -> Text:
    """Make a cell of minutes, of fewer than one in seconds."""
    if minutes is None:
        return Text(NOTHING)
    if minutes >= 1:
        return Text(f"{minutes:,.1f} minutes")
    seconds = math.ceil(round(minutes * 60, 3))
    return Text("1 second" if seconds == 1 else f"{seconds} seconds")


def attempts(count: int, word: str = "") -> str:
    """Say how many attempts."""
    return " ".join(filter(None, [f"{count:,}", word, "attempt" if count == 1 else "attempts"]))


@dataclass(frozen=True)
class _Column:
    """A column: of `room` its cells may be wrapped or cut down to that width, else they are whole.

    `goes` says how soon it is left out where there is no room: the highest first, 0 never.
    """

    header: str
    cell: Callable[[Any], Text]
    goes: int = 0
    right: bool = False
    room: int | None = None


def _fixed(header: str, show: Callable[[Any], Text], goes: int = 0) -> _Column:
    """Return a column of ids, which people copy, or of words of ours."""
    return _Column(header, show, goes)


def _number(header: str, show: Callable[[Any], Text], goes: int = 0) -> _Column:
    return _Column(header, show, goes, right=True)


def _flexible(header: str, show: Callable[[Any], Text], room: int, goes: int = 0) -> _Column:
    """Return a column of texts, which takes what room is left, and `room` at least."""
    return _Column(header, show, goes, room=room)


def _key(key: str, show: Callable[[Any], Text] = cell) -> Callable[[Any], Text]:
    """Return what makes a cell of an entry's value."""
    return lambda entry: show(entry.get(key))


def _empty_table(title: str | None = None) -> Table:
    return Table(
        title=None if title is None else Text(clean(title), style="bold"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _table(columns: Iterable[_Column], entries: Iterable[Any], width: int, title: str | None = None) -> Table:
    """Make a table with a row an entry, of those columns that go into `width`."""
    entries = list(entries)
    kept = [(column, [column.cell(entry) for entry in entries]) for column in columns]

    def least(column: _Column, cells: list[Text]) -> int:
        longest = max(cell_len(text.plain) for text in (Text(column.header), *cells))
        return longest if column.room is None else min(longest, max(column.room, cell_len(column.header)))

    def needed() -> int:
        return sum(least(*each) + GAP for each in kept) - GAP

    while needed() > width and any(column.goes for column, _ in kept):
        kept.remove(max(kept, key=lambda each: each[0].goes))
    table = _empty_table(title)
    table.width = needed() if needed() > width else None  # wider than there is room, rather than cut
    for column, cells in kept:
        table.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=column.room is None,
            overflow="fold",
            min_width=least(column, cells),
        )
    for row in zip(*(cells for _, cells in kept), strict=True):
        table.add_row(*row)
    return table


def name(value: object) -> Text:
    """Make a cell of a name or a title: one line, cut where there is no room."""
    text = cell(value)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _product_id(value: object) -> Text:
    text = cell(value)
    text.truncate(LONGEST_ID, overflow="ellipsis")
    return text


def label(word: str) -> str:
    """Say what a count of a run's products is of."""
    return {"duplicates": "named twice"}.get(word, word.replace("_", " "))


def run_table(runs: list[Json], labels: list[str]) -> Table:
    """Show runs side by side, one column a run, headed by its label.

    What is not the rule (such as blocked products) has a row only if there is any; of a run that goes on, what is 0 is
    not known yet. Seconds are wall-clock, dollars are US.
    """
    table = _empty_table()
    table.add_column("")
    for heading in labels:
        table.add_column(cell(heading), justify="right", overflow="fold")

    def row(
        heading: str, figure: Callable[[Json], float | None], show: Callable[[float | None], Text] = number
    ) -> None:
        figures = [(figure(run) or None) if run["status"] in UNFINISHED else figure(run) for run in runs]
        if any(value is not None for value in figures):
            table.add_row(heading, *(show(value) for value in figures))

    def count(word: str) -> Callable[[Json], float | None]:
        return lambda run: run["counts"].get(word, 0)

    always = {"products", "reused", "generated", "rejected", "failed"}
    for word in ("products", "reused", "linked", "generated", "planned", "rejected", "failed", *_SELDOM):
        if word in always or any(run["counts"].get(word) for run in runs):
            row(label(word), count(word))
    row("images new", lambda run: run.get("images_generated"))
    row("images reused", lambda run: run.get("images_reused"))
    row("seconds", lambda run: run.get("seconds"), lambda value: number(value, 1))
    row(
        "budget",
        lambda run: (run.get("options") or {}).get("max_cost_usd"),
        lambda value: Text(NOTHING if value is None else money(value)),
    )
    table.add_row("dollars", *(dollars(run.get("cost_usd")) for run in runs))
    if any(run.get("unknown_usd") for run in runs):
        table.add_row("", *(Text(_and_up_to(run)) for run in runs))
    row("dollars saved", lambda run: run.get("saved_usd"), dollars)
    return table


def made_table(run: Json) -> Table:
    """Show the little there is to say of a run that makes one image: what it made, in which time, for how much."""
    table = _empty_table()
    table.add_column("")
    table.add_column("", justify="right")
    for heading, key in (("images new", "images_generated"), ("images reused", "images_reused")):
        if run.get(key):
            table.add_row(heading, number(run[key]))
    table.add_row("seconds", number(run.get("seconds"), 1))
    table.add_row("dollars", dollars(run.get("cost_usd")))
    if more := _and_up_to(run):
        table.add_row("", Text(more))
    table.show_header = False
    return table


def _and_up_to(run: Json) -> str:
    if not run.get("unknown_usd"):
        return ""
    return f"and {up_to(run['unknown_usd'], sum(row['unknown'] for row in run['ledger']))}"


def up_to(usd: float, unknown: int) -> str:
    """Say what attempts whose end is unknown may have cost."""
    return f"up to {dollars(usd)} for {attempts(unknown, 'unknown')}"


def plan_table(run: Json, plan: Json) -> Table:
    """Show what a run would do: products, and the images they would get."""
    table = _empty_table()
    table.add_column("")
    for heading in ("products", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    images = {
        "reused": run.get("images_reused") or None,
        "linked": plan.get("images_linked"),
        "planned": plan.get("images_to_generate"),
    }
    always = ("products", "reused", "linked", "planned", "rejected", "blocked", "failed")
    for word in (*always, "deferred", "over_budget", "duplicates"):
        count = run["counts"].get(word, 0)
        if count or word in always:
            heading = "to generate" if word == "planned" else label(word)
            table.add_row(heading, number(count), number(images[word]) if word in images else "")
    return table


def plan_methods_table(methods: Iterable[Json], width: int) -> Table:
    """Show what a plan's images would be made with; what each method is, `method_facts` says."""
    columns = [
        _fixed("method", _key("method")),
        _number("products", _key("products", number), goes=2),
        _number("images", _key("images", number)),
        _number("dollars", _key("cost_usd", dollars)),
        _number("per image", _key("usd_per_image", dollars), goes=1),
        _number("seconds/image", lambda method: number(method.get("seconds_per_image"), 1), goes=3),
        _number("time", _key("minutes", duration)),
    ]
    return _table(columns, methods, width)


def methods_table(methods: Iterable[Json], width: int) -> Table:
    """Show what can make images; what each method is, `method_facts` says."""

    def ready(method: Json) -> Text:
        return Text("yes", style="green") if method.get("ready") else Text("no", style="yellow")

    columns = [
        _fixed("method", _key("method")),
        _fixed("ready", ready),
        _number("dollars/image", _key("usd_per_image", dollars)),
        _number("seconds/image", lambda method: number(method.get("seconds_per_image"), 1), goes=1),
    ]
    return _table(columns, methods, width)


def method_facts(method: Json) -> str:
    """Say how a method's figures are known, and the licence of what it makes: too long for a table."""
    licence = f"licence: {method['licence']}" if method.get("licence") else None
    return f"{method['method']}: {'; '.join(filter(None, [method.get('basis'), licence])) or NOTHING}"


def ledger_sums_table(sums: list[Json], width: int) -> Table:
    """Show what became of a run's paid attempts, a row a provider. Seconds are the provider's work, dollars are US."""

    def unknown(entry: Json) -> Text:
        bound = f" ({at_most(entry['unknown_usd'])})" if entry.get("unknown_usd") else ""
        return Text(f"{number(entry.get('unknown', 0))}{bound}")

    columns = [
        _fixed("provider", _key("provider")),
        _number("tries", _key("attempts", number), goes=2),
        _number("ok", _key("succeeded", number)),
        _number("failed", _key("failed", number)),
        _number("blocked", _key("blocked", number)),
        _number("unknown", unknown),
        *([_number("open", _key("open", number), goes=1)] if any(entry.get("open") for entry in sums) else []),
        _number("dollars", _key("cost_usd", dollars)),
        _number("s", _key("work_seconds", work), goes=3),
    ]
    return _table(columns, sums, width, "Ledger")


def ledger_table(entries: Iterable[Json], width: int) -> Table:
    """Show a run's paid attempts; where there is room with what was used and the provider's id of the job."""

    def cost(entry: Json) -> Text:
        bound = entry.get("at_most_usd")
        return dollars(entry.get("cost_usd")) if bound is None else Text(at_most(bound))

    columns = [
        _fixed("time", lambda entry: moment(entry.get("created_at"), "%H:%M:%S")),  # the day is in the run's id
        _fixed("product", _key("product_id", _product_id)),
        _number("variant", _key("variant"), goes=2),
        _fixed("provider", _key("provider"), goes=1),
        _fixed("status", _key("status", status)),
        _number("dollars", cost),
        _number("seconds", _key("work_seconds", work), goes=3),
        _flexible("usage", lambda entry: cell(_usage(entry.get("usage"))), room=24, goes=5),
        _fixed("job", _key("job_id"), goes=4),
    ]
    return _table(columns, entries, width)


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
        cost, seconds = (sum(entry.get(key) or 0 for entry in own) for key in ("cost_usd", "work_seconds"))
        bounds = [entry["at_most_usd"] for entry in own if entry.get("at_most_usd") is not None]
        rest = f", and {up_to(sum(bounds), len(bounds))}" if bounds else ""
        yield f"{provider}: {attempts(len(own))}, {dollars(cost)} dollars, {number(seconds, 1)} seconds{rest}"


def reasons_table(entries: Iterable[Json], width: int) -> Table:
    """Show why attempts came to nothing; those with the same reason share a row."""
    alike = Counter((entry["status"], entry["reason"]) for entry in entries if entry.get("reason"))
    columns = [
        _number("attempts", lambda row: number(row[1])),
        _fixed("status", lambda row: status(row[0][0])),
        _flexible("reason", lambda row: cell(row[0][1]), room=24),
    ]
    return _table(columns, alike.items(), width, "Reasons")


def problem_table(problems: Iterable[Json], width: int, said: str | None = None) -> Table:
    """Show the products of a run that came to nothing, and why; what has the same reason shares a row.

    A reason that was `said` above is not said again.
    """
    alike: dict[tuple[object, object], list[Json]] = {}
    for problem in problems:
        alike.setdefault((problem.get("status"), problem.get("reason")), []).append(problem)

    def index(group: list[Json]) -> Text:
        first, last = group[0].get("index"), group[-1].get("index")
        return cell(f"{first}…{last}" if len(group) > 1 else first)

    def product(group: list[Json]) -> Text:
        return cell(f"{len(group)} products") if len(group) > 1 else _product_id(group[0].get("product_id"))

    def reason(group: list[Json]) -> Text:
        why = group[0].get("reason")
        return cell("as said above" if said and why == said else why)

    columns = [
        _number("index", index, goes=1),
        _fixed("product", product),
        _fixed("status", lambda group: status(group[0].get("status"))),
        _flexible("reason", reason, room=24),
    ]
    return _table(columns, alike.values(), width, "Problems")


def runs_table(runs: list[Json], width: int) -> Table:
    """Show a list of runs, with as much of each as goes into `width` columns beside its name."""

    def state(run: Json) -> Text:
        return status("stopping" if run.get("stopping") and run["status"] == "running" else run["status"])

    def count(word: str, goes: int) -> _Column:
        return _number(label(word), lambda run: number(run["counts"].get(word, 0)), goes)

    extra = {word for word in ("planned", "linked", "over_budget") if any(run["counts"].get(word) for run in runs)}
    columns = [
        _fixed("run", _key("run_id")),
        _fixed("started", _key("created_at", moment), goes=6),
        _flexible("name", _key("name", name), room=12),
        _fixed("status", state),
        count("products", 1),
        count("reused", 7),
        *([count("linked", 4)] if "linked" in extra else []),
        count("generated", 2),
        *([count("planned", 3)] if "planned" in extra else []),
        count("rejected", 9),
        count("failed", 8),
        *([count("over_budget", 5)] if "over_budget" in extra else []),
        _number("seconds", lambda run: number(run.get("seconds"), 1), goes=10),
        _number("dollars", _key("cost_usd", dollars)),
    ]
    return _table(columns, runs, width)


def items_table(items: list[Json], width: int) -> Table:
    """Show what became of each product of a run; with few columns without titles where there are reasons."""
    reasons = any(item.get("reason") for item in items)

    def images(item: Json) -> Text:
        return number((item.get("images_generated") or 0) + (item.get("images_reused") or 0))

    columns = [
        _number("index", _key("index"), goes=1),
        _fixed("product", _key("product_id", _product_id)),
        _fixed("status", _key("status", status)),
        _number("images", images, goes=2),
        _flexible("title", _key("title", name), room=20, goes=3),
        *([_flexible("reason", _key("reason"), room=24)] if reasons else []),
    ]
    return _table(columns, items, width)


def check_table(found: Iterable[Json], width: int) -> Table:
    """Show which products the library has images of."""

    def library(product: Json) -> Text:
        return Text("has it", style="green") if product["image_count"] else Text("missing", style="yellow")

    columns = [
        _fixed("product", _key("product_id", _product_id)),
        _fixed("library", library),
        _number("images", _key("image_count", number)),
        _fixed("variants", lambda product: cell(", ".join(str(variant) for variant in product["variants"])), goes=1),
        _flexible("title", _key("title", name), room=12, goes=2),
    ]
    return _table(columns, found, width)


def products_table(products: Iterable[Json], width: int) -> Table:
    """Show a list of products; where there is room with their categories and tags."""
    products = list(products)
    tagged = any(product.get("tags") for product in products)
    columns = [
        _fixed("product", _key("product_id", _product_id)),
        _flexible("title", _key("title", name), room=20, goes=1),
        _flexible("category", _key("category", name), room=20, goes=4),
        _fixed("source", _key("source"), goes=3),
        _number("images", _key("image_count", number)),
        _fixed("updated", _key("updated_at", moment), goes=2),
        *(
            [_flexible("tags", lambda product: name(", ".join(product.get("tags") or ())), 12, goes=5)]
            if tagged
            else []
        ),
    ]
    return _table(columns, products, width)


def duplicates_table(groups: Iterable[Json], width: int) -> Table:
    """Show products whose source pictures look alike, group by group."""
    rows = [
        product | {"group": None if nth else place}
        for place, group in enumerate(groups, start=1)
        for nth, product in enumerate(group["products"])
    ]
    columns = [
        _number("group", lambda row: Text("") if row["group"] is None else number(row["group"])),
        _fixed("product", _key("product_id", _product_id)),
        _number("images", _key("image_count", number), goes=1),
        _number("bits apart", _key("distance")),
        _flexible("title", _key("title", name), room=12, goes=2),
    ]
    return _table(columns, rows, width)


def images_table(product: Json, width: int) -> Table:
    """Show a product's images, the cover marked with a star; where there is room with size, cost and time."""
    cover = product.get("cover_image_id")
    columns = [
        _number("variant", _key("variant")),
        _fixed("image", lambda image: _starred(image["image_id"], image.get("url"), image["image_id"] == cover)),
        _fixed("method", _key("method"), goes=1),
        _flexible("model photo", _key("model_photo"), room=12, goes=2),
        _number("pixels", lambda image: cell(f"{image.get('width')}x{image.get('height')}"), goes=3),
        _number("bytes", _key("bytes", number), goes=6),
        _number("dollars", _key("cost_usd", dollars), goes=4),
        _fixed("made", _key("created_at", moment), goes=5),
    ]
    return _table(columns, product.get("image_list", ()), width)


def _starred(value: object, url: object, is_cover: bool) -> Text:
    return Text.assemble(image_id(value, url), " *" if is_cover else "")


def what_happened(entry: Json) -> str:
    """Say what an entry of a product's history is about, to go before the image that it is about."""
    action = str(entry.get("action"))
    if action == "generated" and entry.get("method"):
        return f"made by {clean(entry['method'])}"
    return {"reverted": "reverted to", "generated": "made"}.get(action, clean(action))


def history_table(entries: Iterable[Json], cover: str | None, width: int) -> Table:
    """Show a product's history, the cover marked with a star; prompts are cut to the room there is."""

    def image(entry: Json) -> Text:
        if hidden := entry.get("hidden_image_id"):
            return image_id(hidden)
        own = entry.get("image_id")
        return _starred(own, entry.get("url"), own is not None and own == cover)

    entries = list(entries)
    # So much of who it was is kept when it must be cut: all before the @ of an address.
    who = max((cell_len(clean(entry.get("actor") or "").partition("@")[0]) for entry in entries), default=0)
    columns = [
        _fixed("when", _key("created_at", lambda value: moment(value, "%Y-%m-%d %H:%M:%S"))),
        _fixed("what", lambda entry: cell(what_happened(entry))),
        _fixed("image", image),
        _flexible("who", _key("actor", name), room=max(8, who + len("@…")), goes=1),
        _flexible("prompt", _key("prompt", name), room=12, goes=2),
    ]
    return _table(columns, entries, width)


def note_lines(note: Json) -> list[Text]:
    """Show a note: when, who and its id, then its text as it was typed."""
    head = [moment(note.get("created_at")).plain, clean(note.get("author") or "someone"), clean(note["note_id"])]
    if note.get("edited_at"):
        head.append(f"changed {moment(note['edited_at'])} by {clean(note.get('edited_by') or 'someone')}")
    return [Text("  ".join(head), style="bold"), *(Text(f"  {line}") for line in as_typed(str(note["note"])))]


def hotmart_counts(status: Json) -> list[str]:
    """Say what a sync of Hotmart's products has found, or has found so far."""
    counts = status.get("counts") or {}

    def products(key: str) -> str:
        count = counts.get(key) or 0
        return f"{count:,} {'product' if count == 1 else 'products'}"

    words = {"added": "new", "changed": "changed", "unchanged": "as before", "skipped": "left out"}
    parts = ", ".join(f"{counts[key]:,} {word}" for key, word in words.items() if counts.get(key))
    rest = {
        "deleted": "gone from Hotmart: marked so, and kept here",
        "without_image": "without an image",
        "given_up": "given up on, as making a cover failed again and again",
    }
    return [
        f"{products('listed')} at Hotmart{f': {parts}' if parts else ''}.",
        *([LEFT_OUT] if counts.get("skipped") else []),
        *(f"{products(key)} {what}." for key, what in rest.items() if counts.get(key)),
    ]


def schedule(expression: object) -> str:
    """Say an EventBridge schedule in words, as far as it is a rate, such as `every 6 hours`."""
    found = re.fullmatch(r"rate\((\d+) (\w+)\)", str(expression))
    if not found:
        return clean(expression)
    return f"every {found[2]}" if found[1] == "1" else f"every {found[1]} {found[2]}"


def stores_table(stores: Iterable[Json], width: int) -> Table:
    """Show the stores, with what came of publishing to them."""
    columns = [
        _fixed("store", _key("store_id")),
        _flexible("name", _key("name", name), room=12, goes=4),
        _fixed("shop", _key("domain")),
        _fixed("published", _key("published_at", moment), goes=3),
        _number("new", _key("images_generated", number), goes=6),
        _number("reused", _key("images_reused", number), goes=5),
        _number("reuse", _key("reuse_rate", percent), goes=1),
        _number("dollars saved", _key("saved_usd", dollars), goes=2),
    ]
    return _table(columns, stores, width)


def percent(share: float | None) -> Text:
    """Make a cell of a share, such as a reuse rate."""
    return Text(NOTHING if share is None else f"{share * 100:.1f}%")


def publishing_table(run: Json, width: int) -> Table:
    """Show what a run did in its stores, a row a store: products, then images, then what it cost in Shopify's points.

    What has not happened to any product, and is not the rule, has no column.
    """
    stores = run["stores"]

    def seldom(key: str) -> list[_Column]:
        return [_number(label(key), _key(key, number))] if any(store.get(key) for store in stores) else []

    publishes = run.get("kind") != "unpublish"
    columns = [
        _fixed("store", _key("store_id")),
        *([_number("published", _key("published", number))] if publishes else []),
        *(seldom("taken_out") if publishes else [_number("taken out", _key("taken_out", number))]),
        _number("unchanged", _key("unchanged", number), goes=3),
        _number("failed", _key("failed", number)),
        *seldom("not_mapped"),
        *seldom("without_images"),
        *([_number("images added", _key("images_added", number), goes=1)] if publishes else []),
        _number("removed" if publishes else "images removed", _key("images_removed", number), goes=2),
        _number("points", lambda store: number(store.get("points"), 0), goes=4),
    ]
    return _table(columns, stores, width, "Stores")


def store_problems_table(stores: list[Json], width: int) -> Table:
    """Show which products are not in a store as wanted, and why; those with the same reason share a row."""
    alike: dict[tuple[object, object, object], list[Json]] = {}
    for store in stores:
        for problem in store.get("problems") or ():
            key = (store["store_id"], problem.get("status"), problem.get("reason"))
            alike.setdefault(key, []).append(problem)

    def product(row: tuple[tuple[object, object, object], list[Json]]) -> Text:
        group = row[1]
        return cell(f"{len(group)} products") if len(group) > 1 else _product_id(group[0].get("product_id"))

    columns = [
        _fixed("store", lambda row: cell(row[0][0]), goes=0 if len(stores) > 1 else 1),
        _fixed("product", product),
        _fixed("status", lambda row: status(row[0][1])),
        _flexible("reason", lambda row: cell(row[0][2]), room=24),
    ]
    return _table(columns, alike.items(), width, "Not in the stores as wanted")


def usages_table(usages: list[Json], width: int) -> Table:
    """Show which products have images live in a store, and why others have not."""
    reasons = any(usage.get("reason") for usage in usages)
    columns = [
        _fixed("product", _key("product_id", _product_id)),
        _fixed("status", _key("status", status)),
        _number("images", lambda usage: number(len(usage["images"]))),
        _fixed("live since", lambda usage: moment(_since(usage)), goes=1),
        _number("in the shop", lambda usage: cell(_shop_number(usage)), goes=2),
        *([_flexible("reason", _key("reason"), room=24)] if reasons else []),
    ]
    return _table(columns, usages, width)


def product_usages_table(usages: Iterable[Json], width: int) -> Table:
    """Show in which stores which images of a product are live, a row an image."""
    rows = [
        {**usage, "image": image, "first": not nth}
        for usage in usages
        for nth, image in enumerate(usage["images"] or [None])
    ]
    reasons = any(row.get("reason") for row in rows)

    def once(key: str, show: Callable[[Any], Text]) -> Callable[[Any], Text]:
        return lambda row: show(row.get(key)) if row["first"] else Text("")

    def image(key: str, show: Callable[[Any], Text]) -> Callable[[Any], Text]:
        return lambda row: show(None if row["image"] is None else row["image"].get(key))

    columns = [
        _fixed("store", once("store_id", cell)),
        _fixed("status", once("status", status)),
        _fixed("image", image("image_id", lambda value: cell(value and str(value)[:12]))),
        _fixed("live since", image("since", moment), goes=1),
        _number("in the shop", lambda row: cell(_shop_number(row)) if row["first"] else Text(""), goes=2),
        *([_flexible("reason", once("reason", cell), room=24)] if reasons else []),
    ]
    return _table(columns, rows, width)


def _since(usage: Json) -> str | None:
    return min((image["since"] for image in usage["images"]), default=None)


def _shop_number(usage: Json) -> str:
    """Return a Shopify product's number, as the shop's admin shows it."""
    return str(usage.get("shop_product_id") or "").rpartition("/")[2]


def matches_table(rows: Iterable[Json], width: int) -> Table:
    """Show which product of a shop each of some products is, by the columns of the mapping."""
    columns = [
        _fixed("product", _key("CJ Product ID", _product_id)),
        _fixed("in the shop", _key("Shopify Product ID"), goes=2),
        _flexible("title", _key("Title", name), room=12),
        _flexible("title in the shop", _key("Shopify Title", name), room=12, goes=1),
        _fixed("by", _key("Matched By")),
    ]
    return _table(columns, rows, width)


def match_counts(found: Json) -> str:
    """Say what a match found."""
    by = ", ".join(f"{count:,} by {way}" for way, count in (found.get("by") or {}).items() if count)
    parts = [
        f"{found['matched']:,} matched" + (f" ({by})" if by else ""),
        f"{found['ambiguous']:,} ambiguous" if found.get("ambiguous") else "",
        f"{found['not_found']:,} not found",
        f"{found['mapped_before']:,} mapped before",
    ]
    return f"{', '.join(part for part in parts if part)}."


def models_table(models: Iterable[Json], width: int) -> Table:
    """Show the model photos."""
    columns = [
        _flexible("name", _key("name"), room=12),
        _number("pixels", lambda model: cell(f"{model.get('width')}x{model.get('height')}"), goes=1),
        _number("bytes", _key("bytes", number), goes=2),
    ]
    return _table(columns, models, width)


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


class Waiting(AbstractContextManager["Waiting"]):
    """Shows what is waited for: a live bar at a terminal; elsewhere a line now and then, or nothing without `lines`."""

    def __init__(self, console: Console, *, lines: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._bar = _bar(console, TextColumn("{task.fields[count]}"))
        self._lines = lines and not can_draw(console)
        self._task: TaskID | None = None
        self._said_at = clock()

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=None, count="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, doing: str, count: str = "", *, done: int = 0, total: int | None = None, line: str = "") -> None:
        """Show what goes on, and how far it is; as a line the same, or `line`."""
        if self._task is not None:
            self._bar.update(self._task, description=doing, total=total, completed=done, count=count)
        if self._lines and self._clock() - self._said_at >= QUIET:
            self._said_at = self._clock()
            self._console.print(Text(line or ": ".join(filter(None, [doing, count]))), soft_wrap=True)


class RunProgress(Waiting):
    """Shows how far a run is."""

    def __init__(self, console: Console, *, lines: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, lines=lines, clock=clock)
        self._progress: Json | None = None  # the last known: it goes away when the run begins to finish
        self._going = False

    def update(self, run: Json) -> None:
        """Show the run as it is now."""
        self._going = bool(run.get("progress"))
        self._progress = _in_stores(run) or run.get("progress") or self._progress
        doing = self._doing(run | {"progress": self._progress})
        run = run | {"progress": None if is_publishing(run) else self._progress}  # which stands before the bar
        done, total = (self._progress["done"], self._progress["total"]) if self._progress else (0, None)
        said = "" if doing == MAKING else doing
        self.show(
            clean(run["note"]) if doing == MAKING and run.get("note") else doing,
            ", ".join(so_far(run | {"note": None})),  # the note stands before the bar
            done=done,
            total=total,
            line=": ".join(filter(None, [said, ", ".join(so_far(run))])),
        )

    def _doing(self, run: Json) -> str:
        if run.get("stopping"):
            return f"Stopping ({clean(run['stopping'])})"
        if is_publishing(run):
            return publishing(run)
        if run.get("note") and not _put_off(run):
            return clean(run["note"])
        if run["status"] == "awaiting_upload":
            return "Waiting for the run to start"
        if run.get("kind") in _BEGINNING:
            return _BEGINNING[run["kind"]]
        beginning = "Reading the file" if run.get("kind") in _OF_A_FILE else "Looking the products up"
        doing = "Finishing" if run["progress"] else beginning
        return MAKING if self._going else doing


def _put_off(run: Json) -> str:
    """Say how many products of a run must wait, and why, if any must."""
    found = _PUT_OFF.fullmatch(clean(run.get("note") or ""))
    return f"{found[1]} put off ({found[2]})" if found else ""


def is_publishing(run: Json) -> bool:
    """Tell whether all that is left of a run is what it does in its stores."""
    return run.get("phase") == "publishing" and run["status"] in UNFINISHED


def publishing(run: Json) -> str:
    """Say how far a run is with each of its stores, such as `Publishing to one: 120 of 300`."""
    doing, total = IN_STORE.get(str(run.get("kind")), IN_STORE["sync"]), _to_publish(run)
    options = run.get("options") or {}
    begun = {
        store["store_id"]: f"{store['store_id']}: {_came_to(store):,} of {total:,}" if total else store["store_id"]
        for store in run.get("stores") or ()
    }
    names = options.get("stores") or list(filter(None, [options.get("store")])) or list(begun)
    return clean(f"{doing} {', '.join(begun.get(name, name) for name in names)}")


def _in_stores(run: Json) -> Json | None:
    """Return how many products of all its stores a run is done with, when that is all that is left."""
    if not is_publishing(run):
        return None
    stores = run.get("stores") or []
    count = max(len(stores), len((run.get("options") or {}).get("stores") or [None]))
    total = _to_publish(run) * count
    return {"done": sum(_came_to(store) for store in stores), "total": total} if total else None


def _to_publish(run: Json) -> int:
    return int(run["counts"].get("products", 0) - run["counts"].get("rejected", 0))


def _came_to(store: Json) -> int:
    """Return how many products a run is done with in a store."""
    ends = ("published", "unchanged", "taken_out", "failed", "not_mapped", "without_images")
    return sum(int(store.get(name) or 0) for name in ends)


def so_far(run: Json) -> list[str]:
    """Say how far a run is, part by part: products, those that must wait, and dollars."""
    progress = run.get("progress")
    done = f"{progress['done']:,} of {progress['total']:,} products done" if progress else ""
    cost = f"{dollars(run['cost_usd'])} dollars" if run.get("cost_usd") else ""
    return [part for part in (done, _put_off(run), cost) if part]
