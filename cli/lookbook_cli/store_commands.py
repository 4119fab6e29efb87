"""The commands about stores: add them, map products to them, publish to them, and see what is live in each."""

import csv
import io
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from lookbook_cli import render
from lookbook_cli.client import ApiError, Client, CliError, Json
from lookbook_cli.common import (
    FAILED,
    PARTIAL,
    AsJson,
    Tools,
    a_product_id,
    at_terminal,
    console,
    file_size,
    print_json,
    say,
)
from lookbook_cli.run_commands import RUN_STATUS, NoWait, RunAsJson, follow, see_through, show_run

MOST_MAPPING = 4_000_000  # bytes, of the API
MOST_SECRET = 10_000  # bytes; a token has fewer than a hundred
MOST_NAMED = 100  # products in a request, of the API
SHOWN = 20  # pairs of a match in a table
MOST = 100  # products of a store in a table, unless told otherwise
GRANT = (
    "Grant them where the app was made:",
    "  in the shop's admin: Settings > Apps and sales channels > Develop apps > the app > Configuration; reinstall it",
    "  in the Dev Dashboard (dev.shopify.com): the app > Versions; release one with them, and update it in the shop",
)

UsageStatus = Literal["mapped", "live", "failed", "unpublished", "removed"]
StoreId = Annotated[str, typer.Argument(metavar="STORE", help="The store's id, as `lookbook stores list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

app = typer.Typer()
stores_app = typer.Typer()
app.add_typer(stores_app, name="stores")


@stores_app.callback(invoke_without_command=True)
def stores(context: typer.Context) -> None:
    """Add, list, test, match and remove stores, the Shopify shops that images are published to."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _make_sure(question: str, *, yes: bool) -> None:
    """Go on only if that is wanted. Raises CliError when there is nobody to ask."""
    if yes:
        return
    if not at_terminal():
        raise CliError(f"{question} There is nobody to ask; say --yes.")
    if not typer.confirm(question, err=True):
        say("Nothing was done.")
        raise typer.Exit(FAILED)


# --- their records


@stores_app.command("add", epilog="Example: lookbook stores add one --domain one.myshopify.com --secret-file token.txt")
def add(
    context: typer.Context,
    store_id: Annotated[str, typer.Argument(metavar="ID", help="What to call it: a-z, 0-9 and -.")],
    domain: Annotated[
        str | None, typer.Option(metavar="SHOP", help="The shop's own address, such as my-shop.myshopify.com.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The store's name.", show_default="its id")] = None,
    client_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The client id of an app; then its client secret is asked for, not a token."),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the token or secret.", show_default="asked for, or stdin"),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change the store if there is one; what is not given stays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a store, with the credentials to publish to it, and try it out.

    Its Admin API access token, or with --client-id the app's client secret, is asked for at a terminal and else read
    from stdin: a command line can be seen by others.

    Exit status: 0 if it can be published to, 2 if it was added and cannot be published to.
    """
    client: Client = context.obj.client()
    known = any(store["store_id"] == store_id for store in client.stores())
    if known and not replace:
        raise CliError(f"There is a store {store_id} already. Say --replace to change it.")
    if not known and domain is None:
        raise CliError("Name the shop with --domain, such as --domain my-shop.myshopify.com.")
    secret = _secret(secret_file, "Admin API access token" if client_id is None else "Client secret", optional=known)
    if client_id is not None and not secret:
        raise CliError("A client id goes with its secret: give both.")
    given = {"domain": domain, "name": name, "client_id": client_id}
    given["admin_token" if client_id is None else "client_secret"] = secret or None
    body = {key: value for key, value in given.items() if value is not None}
    store = client.change_store(store_id, body) if known else client.add_store({"store_id": store_id, **body})
    try:
        told = client.test_store(store_id)
    except ApiError as error:
        told = {"ok": False, "shop": "", "scopes": [], "missing": [], "reason": str(error)}
    if as_json:
        print_json({"store": store, "test": told})
    else:
        say(f"{'Changed' if known else 'Added'} {store_id}, the shop {store['domain']}.")
        _show_test(store_id, told)
    raise typer.Exit(0 if told["ok"] else PARTIAL)


def _secret(file: Path | None, what: str, *, optional: bool) -> str:
    """Return a secret from a file, from whoever is at the terminal, or from stdin."""
    if file is not None:
        if file_size(file) > MOST_SECRET:
            raise CliError(f"{file} is too large to be a secret.")
        secret = file.read_text(encoding="utf-8-sig", errors="replace").strip()
    elif at_terminal():
        hint = " (empty: the old one stays)" if optional else ""
        default = "" if optional else None
        secret = typer.prompt(what + hint, default=default, show_default=False, hide_input=True, err=True).strip()
    else:
        secret = sys.stdin.read(MOST_SECRET).strip()
    if not secret and not optional:
        raise CliError(f"{what}: none was given. Type it, pipe it in, or name a file with --secret-file.")
    return str(secret)


def _show_test(store_id: str, told: Json) -> None:
    if told["ok"]:
        say(f"{store_id} can be published to: {told['shop'] or 'the shop'} grants what is needed.")
        return
    say(f"{store_id} cannot be published to: {told['reason']}")
    if told.get("missing"):
        say(f"Missing: {', '.join(told['missing'])}", *(Text(line) for line in GRANT))
    say(f"Then try it out with: lookbook stores test {store_id}")


@stores_app.command("list", epilog="Example: lookbook stores list")
def list_stores(context: typer.Context, as_json: AsJson = False) -> None:
    """List the stores."""
    found = context.obj.client().stores()
    if as_json:
        print_json(found)
    elif found:
        say(render.stores_table(found, console().width))
    else:
        say("There are no stores yet. Add one with: lookbook stores add ID --domain SHOP")


@stores_app.command("test", epilog="Example: lookbook stores test one")
def try_out(context: typer.Context, store_id: StoreId, as_json: AsJson = False) -> None:
    """Say whether a store can be published to, and which scopes its app lacks.

    Exit status: 0 if it can, 1 if not.
    """
    told = context.obj.client().test_store(store_id)
    if as_json:
        print_json(told)
    else:
        _show_test(store_id, told)
    raise typer.Exit(0 if told["ok"] else FAILED)


@stores_app.command("remove", epilog="Example: lookbook stores remove one")
def remove(
    context: typer.Context,
    store_id: StoreId,
    keep_pictures: Annotated[
        bool, typer.Option("--keep-pictures", help="Leave the images in the shop that are live there.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove a store and its credentials. The library keeps its images; a store with the same id finds what it had."""
    client: Client = context.obj.client()
    _make_sure(f"Remove the store {store_id} and its credentials?", yes=yes)
    client.remove_store(store_id, keep_pictures=keep_pictures)
    say(f"Removed {store_id}.")


# --- what is mapped to them


@stores_app.command("match", epilog="Example: lookbook stores match one --out one.csv, then: lookbook sync one one.csv")
def match(
    context: typer.Context,
    store_id: StoreId,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to save the mapping.", show_default="STORE-mapping.csv")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file if it is there.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Map the products so, and publish their images.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find out which of the shop's products are the library's, by SKU, barcode or handle, and save that as a mapping.

    Nothing is changed unless --apply is given.
    """
    file = out or Path(f"{store_id}-mapping.csv")
    if file.exists() and not force:
        raise CliError(f"{file} is there already. Say --force to write over it, or name another one with --out.")
    tools: Tools = context.obj
    client = tools.client()
    started = client.start_in_store(store_id, "match", {})
    if not as_json:
        say(f"Run {started['run_id']} started.")
    ended = follow(tools, client, started, lines=not as_json)
    if ended["status"] != "succeeded":
        if as_json:
            print_json(ended)
        else:
            show_run(ended)
        raise typer.Exit(RUN_STATUS.get(ended["status"], FAILED))
    found = client.matches(store_id, ended["run_id"])
    content = client.fetch(found.pop("url"))
    if found["matched"]:
        file.write_bytes(content)
    if not as_json:
        _show_matches(found, content, store_id, file, applied=apply)
    if not apply or not found["matched"]:
        if as_json:
            print_json({**found, "run_id": ended["run_id"], "file": str(file) if found["matched"] else None})
        return
    _make_sure(f"Map these {found['matched']:,} products so, and publish their images to {store_id}?", yes=yes)
    body = {"mapping": content.decode("utf-8-sig")}
    started = client.start_in_store(store_id, "sync", body)
    see_through(tools, client, started, "started.", as_json=as_json, no_wait=False)


def _show_matches(found: Json, content: bytes, store_id: str, file: Path, *, applied: bool) -> None:
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    if rows:
        say("", render.matches_table(rows[:SHOWN], console().width))
    if len(rows) > SHOWN:
        say("", f"The first {SHOWN} of {len(rows):,}; all of them are in {file}")
    say("", render.match_counts(found))
    if not rows:
        if found["not_found"] or found["ambiguous"]:
            say(f"Give the shop's products our ids as SKU, or map them by hand: lookbook sync {store_id} MAPPING.csv")
        elif found["mapped_before"]:
            say(f"All of the library's products are mapped already. Publish them with: lookbook sync {store_id}")
        else:
            say("The library has no products yet. Fill it with: lookbook run SCRAPE.json")
        return
    say(f"Saved: {file}")
    if not applied:
        command = shlex.join(["lookbook", "sync", store_id, str(file)])
        say(f"Look it over, then apply it with: {command}")


# --- publishing


@app.command(epilog="Example: lookbook sync one mapping.csv")
def sync(
    context: typer.Context,
    store_id: StoreId,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[MAPPING.csv]", help="Map these products first, and publish only them."),
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only products that are not in the shop as the library has them.")
    ] = False,
    map_only: Annotated[bool, typer.Option("--map-only", help="Only map the products; publish nothing yet.")] = False,
    as_json: RunAsJson = False,
    no_wait: NoWait = False,
) -> None:
    """Bring a store up to date with the library. It may be repeated: what is there already is not put there again.

    A mapping is CSV text with the columns `CJ Product ID` and `Shopify Product ID`; without one, all that is mapped
    is published.

    Exit status: 0 if the store has all it should, 2 if it has a part, 1 if the run failed.
    """
    if map_only and (file is None or changed):
        raise CliError("--map-only goes with a mapping, and not with --changed.")
    body: Json = {} if file is None else {"mapping": _mapping_text(file)}
    if changed:
        body["changed"] = True
    tools: Tools = context.obj
    client = tools.client()
    started = client.start_in_store(store_id, "mapping" if map_only else "sync", body)
    see_through(tools, client, started, "started.", as_json=as_json, no_wait=no_wait)


def _mapping_text(file: Path) -> str:
    if file_size(file) > MOST_MAPPING:
        raise CliError(f"{file} has more than {MOST_MAPPING // 1_000_000} MB; split it.")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{file} is not UTF-8 text. Save it as CSV (UTF-8).") from None


@app.command(epilog="Example: lookbook unpublish one CJ12345678")
def unpublish(
    context: typer.Context,
    store_id: StoreId,
    product_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", parser=a_product_id, help="Product ids.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Take out all of our images.")] = False,
    yes: Yes = False,
    as_json: RunAsJson = False,
    no_wait: NoWait = False,
) -> None:
    """Take our images out of a store; the shop's own stay there, and the library keeps ours.

    A later `lookbook sync STORE`, or a run that names the store, puts them back; `sync --changed` does not.

    Exit status: 0 if they are out, 2 if a part of them is, 1 if the run failed.
    """
    if bool(product_ids) == everything:
        raise CliError("Name products, or say --all.")
    if product_ids and len(product_ids) > MOST_NAMED:
        raise CliError(f"Name {MOST_NAMED:,} products at most at a time.")
    if everything:
        _make_sure(f"Take all of our images out of {store_id}?", yes=yes)
    tools: Tools = context.obj
    client = tools.client()
    body = {"products": list(dict.fromkeys(product_ids))} if product_ids else {}
    started = client.start_in_store(store_id, "unpublish", body)
    see_through(tools, client, started, "started.", as_json=as_json, no_wait=no_wait)


# --- what is live in them


@app.command(epilog="Example: lookbook usage one --status failed, or: lookbook usage CJ12345678")
def usage(
    context: typer.Context,
    which: Annotated[
        str, typer.Argument(metavar="ID|STORE", parser=a_product_id, help="A product's id, or a store's.")
    ],
    status: Annotated[UsageStatus | None, typer.Option(help="Of a store, only products that are so.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, show_default=f"{MOST} in a table, all as JSON", help="How many.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is live where: a product's images in all stores, or a store's figures and products."""
    client: Client = context.obj.client()
    if not any(store["store_id"] == which for store in client.stores()):
        _show_product(client.product(which), status, limit, as_json=as_json)
        return
    if as_json:
        store, usages = client.usage(which, status, limit)
        print_json({"store": store, "usages": usages})
        return
    most = limit or MOST
    store, usages = client.usage(which, status, most + 1)  # one more, to know whether there are more
    say(Text(f"{store['store_id']}: {render.clean(store['name'])}, {store['domain']}", style="bold"))
    say(*_figures(store), "")
    if not usages:
        say("It has no such products." if status else "No product is mapped to it yet.")
        return
    say(render.usages_table(usages[:most], console().width))
    if len(usages) > most:
        say("", f"There are more than {most:,}. See more with --limit, or all of them with --json.")


def _show_product(product: Json, status: str | None, limit: int | None, *, as_json: bool) -> None:
    usages = [usage for usage in product.get("usages") or () if status in {None, usage["status"]}][:limit]
    if as_json:
        print_json({"product_id": product["product_id"], "usages": usages})
        return
    say(Text(render.clean(f"{product['product_id']}: {product.get('title') or 'no title'}"), style="bold"), "")
    if usages:
        say(render.product_usages_table(usages, console().width))
    else:
        say("It is so in no store." if status else "It is in no store yet.")


def _figures(store: Json) -> list[str]:
    """Say what came of publishing to a store."""
    if not store.get("published_at"):
        return ["Nothing has been published to it yet."]
    minutes = render.duration((store.get("saved_work_seconds") or 0) / 60)
    rate = f"reuse rate {render.percent(store['reuse_rate'])}"
    return [
        f"Last published to: {render.moment(store['published_at'])}",
        f"Images put there: {store['images_generated']:,} new, {store['images_reused']:,} reused ({rate})",
        f"Saved by reuse: {render.dollars(store['saved_usd'])} dollars, {minutes} of work",
    ]
