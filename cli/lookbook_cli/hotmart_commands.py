"""The commands about Hotmart: bring its products in, and see how the last time went."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import typer

from lookbook_cli import render
from lookbook_cli.client import ApiError, Client, CliError, Json
from lookbook_cli.common import FAILED, INTERRUPTED, AsJson, Tools, console, note, print_json, say
from lookbook_cli.run_commands import RUN_STATUS, follow, see_through

POLL = 1.0  # seconds between two looks at a sync
SEE = "lookbook hotmart status"
UNUSED = "Some products could not be used: "  # how the API begins to name those that a sync had to leave out

app = typer.Typer()
hotmart_app = typer.Typer()
app.add_typer(hotmart_app, name="hotmart")


@hotmart_app.callback(invoke_without_command=True)
def hotmart(context: typer.Context) -> None:
    """Bring in the products of the Hotmart account, and give those a cover that have none."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@hotmart_app.command(epilog="Example: lookbook hotmart sync")
def sync(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print {"sync", "run"} as JSON, and nothing else; run may be null.')
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start it and return at once, with status 0.")] = False,
) -> None:
    """Bring in Hotmart's products now, and follow the run that makes covers for those without an image.

    It also happens by itself, by a schedule. What is there already is not made again.

    Exit status: 0 if all went well, 2 if only some covers could be made, 1 if the sync or the run failed.
    """
    tools: Tools = context.obj
    client = tools.client()
    try:
        status = client.sync_hotmart()
    except ApiError as error:
        if error.status == HTTPStatus.CONFLICT:
            raise CliError(f"{error} See what to do with: {SEE}") from error
        raise
    if no_wait:
        if as_json:
            print_json({"sync": status, "run": None})
        else:
            say(f"The sync has started. See it with: {SEE}")
        return
    status = _follow(tools, client, status, lines=not as_json)
    failed, run_id = status["status"] == "failed", status.get("run_id")
    if not as_json:
        if failed:
            say(f"The sync failed: {status.get('error') or 'no reason is known'}")
        say(*_counts(status), *_advice(status))
    if failed or not run_id:
        if as_json:
            print_json({"sync": status, "run": None})
        raise typer.Exit(FAILED if failed else 0)
    run = client.run(run_id)
    if as_json:
        run = follow(tools, client, run, lines=False)
        print_json({"sync": status, "run": run})
        raise typer.Exit(RUN_STATUS.get(run["status"], FAILED))
    see_through(tools, client, run, "makes the covers that are missing.", as_json=False, no_wait=False)


def _follow(tools: Tools, client: Client, status: Json, *, lines: bool) -> Json:
    """Return how a sync is when it has ended; until then, show what it has found."""
    try:
        with render.Waiting(console(stderr=not lines), lines=lines) as waiting:
            while status["status"] == "running":
                waiting.show("Asking Hotmart", render.hotmart_counts(status)[0].rstrip("."))
                tools.http.sleep(POLL)
                status = client.hotmart()
    except KeyboardInterrupt:
        note(f"The sync goes on without this command. See it with: {SEE}")
        raise typer.Exit(INTERRUPTED) from None
    except CliError as error:
        raise CliError(f"{error} The sync does not need this command; see it with: {SEE}") from error
    return status


@hotmart_app.command("status", epilog="Example: lookbook hotmart status")
def show_status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the last sync went, what it found, and when the next one is."""
    status = context.obj.client().hotmart()
    if as_json:
        print_json(status)
        return
    never = status["status"] == "never"
    if status["configured"] is None:  # nobody has looked yet
        pass
    elif not status["configured"]:
        say(
            "Hotmart is not configured: Lookbook has no credentials of an account.",
            "Make some at Hotmart (Tools > Developer Tools > Credentials), and put client_id, client_secret and basic "
            "into the secret that the output HotmartCredentials of the stack names, as JSON.",
            "Then bring the products in with: lookbook hotmart sync",
        )
        if never:
            return
        say("")
    else:
        say("Hotmart is configured.")
    say(*_last(status), *([] if never else [*_counts(status), *_advice(status)]))
    if status.get("run_id"):
        ended = f": {render.status(status['run_status'])}" if status.get("run_status") else ""
        say(f"Run for covers: {status['run_id']}{ended}. See it with: lookbook show {status['run_id']}")
    often = render.schedule(status["schedule"]) if status.get("schedule") else ""
    if status.get("next_at"):
        say(f"Next sync: {render.moment(status['next_at'])}{f', {often}' if often else ''}")
    elif often:
        say(f"Syncs by itself: {often}")


def _last(status: Json) -> list[str]:
    started = render.moment(status.get("started_at"))
    match status["status"]:
        case "never":
            return ["There was no sync yet. Start one with: lookbook hotmart sync"]
        case "running":
            return [f"A sync is at work since {started}. So far:"]
        case "failed":
            return [f"Last sync: {started}, failed: {status.get('error') or 'no reason is known'}"]
    return [f"Last sync: {started}, {status['status']}{_took(status)}"]


def _took(status: Json) -> str:
    try:
        begun, ended = (datetime.fromisoformat(str(status[key])) for key in ("started_at", "finished_at"))
    except (KeyError, ValueError):
        return ""
    return f" in {render.duration((ended - begun).total_seconds() / 60)}"


def _counts(status: Json) -> list[str]:
    """Say what a sync has found, and what it could not use; nothing if it failed before it found anything."""
    failed, error = status["status"] == "failed", str(status.get("error") or "")
    if failed and not (status.get("counts") or {}).get("listed"):
        return []
    said = render.hotmart_counts(status)
    if error and not failed:
        unused = error.removeprefix(UNUSED)
        said.append(f"{'Note' if unused == error else 'Not used'}: {unused}")
    return said


def _advice(status: Json) -> list[str]:
    """Say what to do about a sync that failed, or about products that no cover could be made of."""
    counts = status.get("counts") or {}
    if status["status"] == "failed":
        as_before = "" if counts.get("listed") else "The library is as it was. "
        return [f"{as_before}Check the reason, then: lookbook hotmart sync"]
    if not counts.get("given_up"):
        return []
    return ["Find them with: lookbook products --source hotmart; make a cover with: lookbook cover ID --prompt TEXT"]
