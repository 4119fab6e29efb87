"""The commands about runs: plan and start them, follow, stop and retry them, and see what they did and cost."""

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from lookbook_cli import render
from lookbook_cli.client import Client, CliError, Json
from lookbook_cli.common import (
    FAILED,
    INTERRUPTED,
    PARTIAL,
    AsJson,
    Tools,
    a_file,
    console,
    file_size,
    note,
    print_json,
    say,
)

RUN_STATUS = {"succeeded": 0, "planned": 0, "partial": PARTIAL}  # anything else: FAILED
PROBLEMS = ("rejected", "failed", "blocked", "deferred", "over_budget")  # how a product may end without images
STORE_PROBLEMS = ("failed", "not_mapped", "without_images")  # how a product may end in a store
RETRIED = ("failed", "deferred", "over_budget")  # those that a retry takes
POLL = 1.0  # seconds between two looks at a run
INLINE = 1024 * 1024  # bytes; a smaller scrape is sent along with the request, a larger one uploaded to S3
MOST = 100  # products or attempts of a run in a table, unless told otherwise
CENT = 0.01  # dollars
OWN_BUDGET = "The budget "  # how the API begins to say that a run's own budget does not allow more
LARGEST_BUDGET = 100_000  # dollars, of the API
MOST_VARIANTS = 10  # of the API

Method = Literal["auto", "catvton", "fashn", "openai"]
ItemStatus = Literal[
    "reused",
    "linked",
    "generated",
    "planned",
    "rejected",
    "failed",
    "blocked",
    "deferred",
    "over_budget",
    "pending",
]
AttemptStatus = Literal["intent", "submitted", "staged", "succeeded", "blocked", "failed", "unknown"]

app = typer.Typer()


def _dollars(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= LARGEST_BUDGET:  # nan is not
        raise CliError(f"Give dollars as a number of at most {LARGEST_BUDGET:,}, such as 5 or 0.50.")
    return value


def _variants(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_VARIANTS:
        raise CliError(f"Give --variants as a whole number from 1 to {MOST_VARIANTS}.")
    return int(text)


RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `lookbook runs` shows it.")]
MaxCost = Annotated[
    float | None,
    typer.Option(
        metavar="USD", parser=_dollars, help="Spend no more than this; products that do not fit are left over."
    ),
]
RetryMaxCost = Annotated[
    float | None,
    typer.Option(
        metavar="USD",
        parser=_dollars,
        help="Spend no more than this; without it, the retry has the run's own budget again, if it had one.",
    ),
]
RunAsJson = Annotated[bool, typer.Option("--json", help="Print the run as JSON, and nothing else.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Start the run and return at once, with status 0.")]
Limit = Annotated[int | None, typer.Option(min=1, show_default=f"{MOST} in a table, all as JSON", help="How many.")]


@app.command(epilog="Example: lookbook run store1.json --plan, then: lookbook run store1.json --max-cost 0.50")
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=a_file, help="A scrape: JSON or JSON Lines.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be made, with what, and at what price. Costs nothing.")
    ] = False,
    max_cost: MaxCost = None,
    variants: Annotated[
        int | None,
        typer.Option(
            metavar="1…10", parser=_variants, help="Images for each product; 3 unless the scrape says otherwise."
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="How images are made; `auto` picks by the product. Licences: `catvton` CC BY-NC-SA 4.0, "
            "non-commercial; `fashn` and `openai` allow commercial use by their terms. See `lookbook methods`."
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A model photo to use; may be given several times.")
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(metavar="STORE", help="A store to publish the images to; may be given several times."),
    ] = None,
    as_json: RunAsJson = False,
    no_wait: NoWait = False,
) -> None:
    """Make images for a scrape's products, reusing those the library has, and publish them to stores if told to.

    Exit status: 0 if the run succeeded or the plan is made, 2 if it succeeded in part, 1 if it failed.
    """
    size = file_size(file)
    tools: Tools = context.obj
    client = tools.client()
    asked = {
        "variants": variants,
        "method": method,
        "model_photos": model,
        "stores": store and list(dict.fromkeys(store)),
        "max_cost_usd": max_cost,
    }
    options: Json = {name: value for name, value in asked.items() if value is not None}
    started = _start(client, file, size, options, plan, console(stderr=as_json))
    about = "started, to plan: it makes nothing and costs nothing." if plan else "started."
    see_through(tools, client, started, about, as_json=as_json, no_wait=no_wait, command=_command(file, options))


def _start(client: Client, file: Path, size: int, options: Json, plan: bool, console: Console) -> Json:
    if size < INLINE:
        try:
            scrape = file.read_bytes().decode()
        except UnicodeDecodeError:
            pass  # JSON cannot carry it as it is; let the pipeline judge the bytes
        else:
            return client.create_run(file.name, scrape, options, plan=plan)
    created, target = client.create_upload(file.name, options, plan=plan)
    try:
        with render.bytes_progress(console, f"Uploading {file.name}", size) as advance:
            client.upload(target, file, advance)
    except KeyboardInterrupt:
        # The last of it may be on its way already, so the outcome is not ours to tell.
        note(f"The upload was stopped. If all of it had arrived, the run starts: lookbook show {created['run_id']}")
        raise typer.Exit(INTERRUPTED) from None
    return created


def _command(file: Path, options: Json) -> list[str]:
    """Return the words that start a run with these options, but for the budget."""
    words = ["lookbook", "run", str(file)]
    for option in ("variants", "method"):
        if option in options:
            words += [f"--{option}", str(options[option])]
    for photo in options.get("model_photos", ()):
        words += ["--model", photo]
    for store in options.get("stores", ()):
        words += ["--store", store]
    return words


def see_through(
    tools: Tools,
    client: Client,
    started: Json,
    about: str,
    *,
    as_json: bool,
    no_wait: bool,
    command: Sequence[str] = (),
    then: Callable[[Json], None] | None = None,
    brief: bool = False,
) -> None:
    """Follow a run to its end, show it, and exit with its status; with `no_wait`, only say that it has started.

    `command` is what makes the images of a plan. `then` shows more of a run that came to something. `brief` is a run
    of one image, with few figures.
    """
    run_id = started["run_id"]
    if not as_json:
        say(f"Run {run_id} {about}" + (f" See it with: lookbook show {run_id}" if no_wait else ""))
    if no_wait:
        if as_json:
            print_json(started)
        return
    ended = follow(tools, client, started, lines=not as_json)
    if as_json:
        print_json(ended)
    else:
        show_run(ended, command, brief=brief)
        if then and ended["status"] in RUN_STATUS:
            then(ended)
    raise typer.Exit(RUN_STATUS.get(ended["status"], FAILED))


def follow(tools: Tools, client: Client, current: Json, *, lines: bool) -> Json:
    """Return a run when it has ended; until then, show how far it is, on stderr if there are to be no `lines`."""
    run_id = current["run_id"]
    try:
        with render.RunProgress(console(stderr=not lines), lines=lines) as progress:
            while current["status"] in render.UNFINISHED:
                progress.update(current)
                tools.http.sleep(POLL)
                current = client.run(run_id)
    except KeyboardInterrupt:
        note(f"The run goes on without this command. See it with: lookbook show {run_id}")
        note(f"Stop it with: lookbook stop {run_id}")
        raise typer.Exit(INTERRUPTED) from None
    except CliError as error:
        raise CliError(f"{error} The run does not need this command; see it with: lookbook show {run_id}") from error
    return current


def show_run(current: Json, command: Sequence[str] = (), *, brief: bool = False) -> None:
    """Show a run: how it stands or ended, its figures, what went wrong, and how to go on."""
    run_id, in_store = current["run_id"], current.get("kind") in render.IN_STORE
    plan = None if in_store else current.get("plan")
    say(Text.assemble(f"Run {run_id}: ", render.status(current["status"])))
    if current.get("retry_of"):
        say(f"A retry of {current['retry_of']}")
    stopping, reason = current.get("stopping"), current.get("reason")
    if stopping and stopping not in (reason or ""):
        say(f"{'Stopping' if current['status'] in render.UNFINISHED else 'Stopped'}: {stopping}")
    if reason:
        say(f"Reason: {reason}")
    if in_store:
        say(*_what_it_was_about(current))
    elif plan:
        _show_plan(current, plan)
    elif current["counts"].get("products") or current["status"] in RUN_STATUS:  # else there was nothing to count
        _show_figures(current, brief=brief)
    if current.get("stores") and current.get("kind") != "match":
        say("", render.publishing_table(current, console().width))
    _show_problems(current)
    _show_store_problems(current)
    if plan:
        say("", *_what_to_type(plan, current.get("options") or {}, command))
    elif current["status"] not in render.UNFINISHED:
        _show_what_is_left(current)


def _show_figures(current: Json, *, brief: bool) -> None:
    if brief:
        say("", render.made_table(current))
        _show_what_was_lost(current)
    else:
        say("", render.run_table([current], [current.get("name") or current["run_id"]]))
        _show_ledger(current)


def _show_what_is_left(current: Json) -> None:
    """Say how to go on with what a retry takes, and with what the stores lack."""
    run_id, counts = current["run_id"], current["counts"]
    in_store = current.get("kind") in render.IN_STORE
    if not in_store and any(counts.get(word) for word in RETRIED):
        if counts.get("over_budget") and _by_its_own_budget(current):
            say("", f"Give it more with: lookbook retry {run_id} --max-cost DOLLARS")
        else:
            say("", f"Try them again with: lookbook retry {run_id}")
        if counts.get("rejected"):
            say("A retry leaves rejected products out: they need a better scrape.")
    if lacking := list(_what_stores_lack(current)):
        say("", *lacking)


def _by_its_own_budget(current: Json) -> bool:
    """Tell whether a run is over its own budget, rather than at a provider's limit, which no budget of ours moves."""
    if (current.get("options") or {}).get("max_cost_usd") is None:
        return False
    own = [each.get("reason") for each in current.get("problems") or () if each.get("status") == "over_budget"]
    reasons = [reason for reason in (current.get("stopping"), *own) if reason]
    return not reasons or any(reason.startswith(OWN_BUDGET) for reason in reasons)


def _what_it_was_about(current: Json) -> list[str]:
    """Say what a run that only works in a store was about."""
    counts, options, found = current["counts"], current.get("options") or {}, current.get("plan")
    if current["kind"] == "match":
        return [render.match_counts(found)] if found else []
    if not counts.get("products") and current["status"] not in RUN_STATUS:
        return []
    doing = "looked at" if options.get("publish", True) else "in the mapping"
    rejected = f", {counts['rejected']:,} of them rejected" if counts.get("rejected") else ""
    return [f"{counts['products']:,} product{'' if counts['products'] == 1 else 's'} {doing}{rejected}."]


def _what_stores_lack(current: Json) -> Iterator[str]:
    """Say how to bring stores up to date that a run could not."""
    kind = current.get("kind")
    for store in current.get("stores") or ():
        store_id = store["store_id"]
        if store.get("failed") or store.get("reason") or not store.get("done"):
            yield go_on_in_store(str(kind), store_id)
        if store.get("not_mapped"):
            yield f"Map what is not mapped in {store_id} with: lookbook stores match {store_id}"


def go_on_in_store(kind: str, store_id: str) -> str:
    """Say how to go on with what a run of some kind has not done in a store."""
    match kind:
        case "match":
            return f"Try it again with: lookbook stores match {store_id}"
        case "unpublish":
            return f"Take the rest out with: lookbook unpublish {store_id} --all"
    return f"Bring {store_id} up to date with: lookbook sync {store_id}"


def _show_plan(current: Json, plan: Json) -> None:
    say("", render.plan_table(current, plan))
    if plan["methods"]:
        minutes = render.duration(sum(method.get("minutes") or 0 for method in plan["methods"]))
        say("", render.plan_methods_table(plan["methods"], console().width))
        say("", f"In all: {render.dollars(plan['cost_usd'])} dollars, {minutes}.")
    budget = (current.get("options") or {}).get("max_cost_usd")
    if budget is not None and budget < plan["cost_usd"]:
        say(f"That is more than the budget of {render.money(budget)} dollars: not all of it would be made.")
    say("", *(render.method_facts(method) for method in plan["methods"]))
    if plan.get("prices_as_of"):
        say(f"Prices as of {plan['prices_as_of']}.")
    say(*(f"Note: {notice}" for notice in plan.get("notices") or ()))


def _what_to_type(plan: Json, options: Json, command: Sequence[str]) -> list[str]:
    """Say how to make what was planned, within a budget that suffices: the plan's own if it does."""
    if not plan["images_to_generate"]:
        how = f" Take over what there is with: {shlex.join(command)}" if command else ""
        return [f"There is nothing to generate, so the run costs nothing.{how}"]
    own, said = options.get("max_cost_usd"), []
    if own is not None and own >= max(plan["max_cost_usd"], CENT):
        most = ["--max-cost", render.money(own).replace(",", "")]
    else:
        cents = max(math.ceil(round(plan["max_cost_usd"] * 100, 6)), 1)
        most = ["--max-cost", f"{cents / 100:.2f}"]
        said = ["(the estimate, and a reserve for dearer images)"]
        if own is not None and own >= plan["cost_usd"]:
            said.append(
                f"The budget of {render.money(own)} dollars is enough only if no image is dearer than estimated."
            )
    if command:
        return [f"Make them with: {shlex.join([*command, *most])}", *said]
    return [f"Make them with the same command without --plan, and with {' '.join(most)}", *said]


def _show_ledger(current: Json) -> None:
    sums = current.get("ledger") or []
    if not sums:
        return
    say("", render.ledger_sums_table(sums, console().width))
    _show_what_was_lost(current)


def _show_what_was_lost(current: Json) -> None:
    sums = current.get("ledger") or []
    lost = sum(entry["unknown"] for entry in sums)
    most = f": up to {render.dollars(current['unknown_usd'])} dollars." if current.get("unknown_usd") else "."
    if lost == 1:
        say("", f"1 attempt's answer or result was lost; it may have been charged{most}")
    elif lost:
        say("", f"{lost:,} attempts' answers or results were lost; they may have been charged{most}")


def _show_problems(current: Json) -> None:
    problems = current.get("problems") or []
    if not problems:
        return
    say("", render.problem_table(problems, console().width, said=current.get("stopping")))
    counts = {word: current["counts"].get(word, 0) for word in PROBLEMS}
    total = sum(counts.values())
    say("", f"{len(problems)} of {total:,} problems shown. All of them:" if total > len(problems) else "See them with:")
    say(*(Text(f"  lookbook items {current['run_id']} --status {word}") for word, count in counts.items() if count))


def _show_store_problems(current: Json) -> None:
    stores = [store for store in current.get("stores") or () if store.get("problems")]
    if not stores:
        return
    say("", render.store_problems_table(stores, console().width))
    for store in stores:
        shown, total = len(store["problems"]), sum(store.get(word, 0) for word in STORE_PROBLEMS)
        if total > shown:
            rest = f"lookbook usage {store['store_id']} --status failed" if store.get("failed") else ""
            say("", f"{shown} of {total:,} shown for {store['store_id']}.{f' See more with: {rest}' if rest else ''}")


@app.command(epilog="Example: lookbook retry 20261121T101502-3f9a2c1b --max-cost 0.50")
def retry(
    context: typer.Context,
    run_id: RunId,
    max_cost: RetryMaxCost = None,
    as_json: RunAsJson = False,
    no_wait: NoWait = False,
) -> None:
    """Try a run's failed and left-over products again, as a new run; what was paid for is fetched, not bought again.

    Without --max-cost, it has the run's own budget again. Rejected products need a better scrape, so they stay out.

    Exit status: 0 if the new run succeeded, 2 if it did in part, 1 if it failed.
    """
    tools: Tools = context.obj
    client = tools.client()
    started = client.retry(run_id, max_cost)
    see_through(tools, client, started, f"started, a retry of {run_id}.", as_json=as_json, no_wait=no_wait)


@app.command(epilog="Example: lookbook stop 20261121T101502-3f9a2c1b")
def stop(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Stop a run: it submits nothing more, and keeps what is already being made."""
    client: Client = context.obj.client()
    found = client.run(run_id)
    already = found["status"] in render.UNFINISHED and found.get("stopping")
    if not already:
        found = client.stop(run_id)
    if as_json:
        print_json(found)
        return
    kind, store_id = str(found.get("kind")), (found.get("options") or {}).get("store")
    rest = "submits nothing more, finishes what is being made, and defers the rest"
    if store_id or render.is_publishing(found):
        rest = "finishes the products that it is at, and leaves the rest of the store as it is"
    say(
        "It is being stopped already." if already else f"Run {run_id} is stopping: it {rest}.",
        f"See it with: lookbook show {run_id}",
        go_on_in_store(kind, store_id) if store_id else f"When it has ended, go on with: lookbook retry {run_id}",
    )


@app.command(epilog="Example: lookbook runs --limit 5")
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Runs to show, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    found = list(context.obj.client().runs(limit))
    if as_json:
        print_json(found)
    elif found:
        say(render.runs_table(found, console().width))
    else:
        say("There are no runs yet. Start one with: lookbook run FILE")


@app.command(epilog="Example: lookbook show 20261121T101502-3f9a2c1b")
def show(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show one run: its figures, what it was charged, and what went wrong."""
    found = context.obj.client().run(run_id)
    if as_json:
        print_json(found)
        return
    show_run(found)
    if render.is_publishing(found):
        say("", f"{render.publishing(found)}.")
    elif found.get("progress"):
        say("", f"Still at work: {', '.join(render.so_far(found))}.")


@app.command(epilog="Example: lookbook items 20261121T101502-3f9a2c1b --status failed")
def items(
    context: typer.Context,
    run_id: RunId,
    status: Annotated[ItemStatus | None, typer.Option(help="Only products that ended so.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List what became of each product of a run."""
    client: Client = context.obj.client()
    if as_json:
        print_json(list(client.items(run_id, status, limit)))
        return
    most = limit or MOST
    found = list(client.items(run_id, status, most + 1))  # one more, to know whether there are more
    if not found:
        say("The run has no such products." if status else "The run has no products yet.")
        return
    say(render.items_table(found[:most], console().width))
    if len(found) > most:
        say("", f"There are more than {most:,}. See more with --limit, or all of them with --json.")


@app.command(epilog="Example: lookbook ledger 20261121T101502-3f9a2c1b --status unknown")
def ledger(
    context: typer.Context,
    run_id: RunId,
    status: Annotated[AttemptStatus | None, typer.Option(help="Only attempts that are, or ended, so.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """List what a run asked of the providers: every attempt, what it cost, and what came of it."""
    client: Client = context.obj.client()
    wanted = sorted(
        (entry for entry in client.ledger(run_id) if status in {None, entry["status"]}),
        key=lambda entry: str(entry.get("created_at")),
    )
    if as_json:
        print_json(wanted[:limit])
        return
    if not wanted:
        say("The run has no such attempts." if status else "No attempt was taken by a provider.")
        return
    shown = wanted[: limit or MOST]
    say(render.ledger_table(shown, console().width))
    if any(entry.get("reason") for entry in wanted):
        say("", render.reasons_table(wanted, console().width))
    if len(wanted) > len(shown):
        say("", f"{len(shown):,} of {len(wanted):,} shown. See more with --limit, or all of them with --json.")
    say("", "In all:", *render.ledger_sums(wanted))
