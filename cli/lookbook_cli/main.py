"""The `lookbook` command.

Exit status: 0 when what was asked for is done (for `run`: the run succeeded), 2 when it is done in part (a partial
run; `check` misses products), 1 for everything else, 130 after Ctrl-C.
"""

import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from lookbook_cli import render, session
from lookbook_cli.client import ApiError, Client, CliError, Http, Json, NotFoundError

FAILED, PARTIAL, INTERRUPTED = 1, 2, 130
RUN_STATUS = {"succeeded": 0, "partial": PARTIAL}  # anything else: FAILED
UNFINISHED = frozenset({"awaiting_upload", "running"})
POLL = 1.0  # seconds between two looks at a run
INLINE = 1024 * 1024  # bytes; a smaller scrape is sent along with the request, a larger one uploaded to S3
MODEL_PHOTO = 4_500_000  # bytes that a Lambda admits in a request, with its encoding
ITEMS = 100  # entries of a run in a table, unless told otherwise

Method = Literal["auto", "catvton"]
ItemStatus = Literal["reused", "generated", "rejected", "failed", "blocked", "deferred", "pending"]


class LookbookGroup(TyperGroup):
    """The command group: makes every failure one plain sentence on stderr and status 1, as 2 means `partial`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and exit with its status."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        given = list(sys.argv[1:] if args is None else args)
        verbose = "--verbose" in given
        if verbose:  # people type it last, where the subcommand would not know it
            given = ["--verbose", *(arg for arg in given if arg != "--verbose")]
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a title in Chinese must not break a terminal that cannot show it
                stream.reconfigure(errors="backslashreplace")
        try:
            status = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        except typer.Abort:  # Ctrl-C or the end of input at a prompt, which leaves the line open
            typer.echo(err=True)
            status = INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the border: whatever it is, the user gets a sentence
            if verbose and not isinstance(error, CliError | typer.TyperException):
                traceback.print_exc()
            typer.echo(f"Error: {render.clean(_sentence(error))}", err=True)
            status = FAILED
        sys.exit(status if isinstance(status, int) else 0)


def _sentence(error: Exception) -> str:
    match error:
        case CliError():
            return str(error)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            hint = f" See `{context.command_path} --help`." if context else ""
            message = error.format_message().replace("Value error, ", "")  # pydantic's, for what is not on a list
            return f"{message}{'' if message.endswith(('.', '?')) else '.'}{hint}"
        case OSError():
            return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return f"Something unexpected happened ({type(error).__name__}: {error}). Say it again with --verbose for details."


@dataclass
class Tools:
    """What the commands work with; tests pass their own as the context's `obj`."""

    http: Http = field(default_factory=Http)
    verbose: bool = False

    def client(self) -> Client:
        """Return a client of the Lookbook in use."""
        return session.connect(self.http, _note if self.verbose else lambda _: None)


app = typer.Typer(name="lookbook", cls=LookbookGroup, pretty_exceptions_enable=False)
models_app = typer.Typer()
app.add_typer(models_app, name="models")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `lookbook runs` shows it.")]


def _note(text: str) -> None:
    typer.echo(text, err=True)


def _print_json(document: object) -> None:
    # Where stdout is no UTF-8, escape: the document must stay JSON.
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=ascii_only))


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, emoji=False)


def _print(*things: Table | Text | str) -> None:
    console = _console()
    for thing in things:
        if isinstance(thing, Table):
            console.print(thing)
        else:
            console.print(thing if isinstance(thing, Text) else Text(render.clean(thing)), soft_wrap=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lookbook {version('lookbook')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog="Example: lookbook run store1.json")
def root(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say which Lookbook is used, and show details of errors.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Generate a product's images once, keep them, reuse them in every store.

    Uses the Lookbook that LOOKBOOK_API_URL names; when that is not set, the local cloud (`make up`).
    """
    context.obj = context.obj or Tools()
    context.obj.verbose = verbose
    _help_unless_told(context)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Show and add model photos, the people that garments are tried on."""
    _help_unless_told(context)


def _help_unless_told(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: lookbook run store1.json --variants 3 --model woman_45_caucasian")
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A scrape: JSON or JSON Lines.")],
    variants: Annotated[
        int | None, typer.Option(min=1, max=10, help="Images for each product; 3 unless the scrape says otherwise.")
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="How images are made: `auto` picks by the product; `catvton` is try-on, "
            "whose licence does not allow commercial use (CC BY-NC-SA 4.0)."
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A model photo to use; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON, and nothing else.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Start the run and return at once, with status 0.")
    ] = False,
) -> None:
    """Make images for a scrape's products, reusing those the library has.

    Exit status: 0 if the run succeeded, 2 if it did in part, 1 if it failed.
    """
    size = _size(file)
    tools: Tools = context.obj
    client = tools.client()
    progress_on = _console(stderr=as_json)
    asked = {"variants": variants, "method": method, "model_photos": model}
    options: Json = {name: value for name, value in asked.items() if value is not None}
    current = _start(client, file, size, options, progress_on)
    run_id = current["run_id"]
    if not as_json:
        _print(f"Run {run_id} started." + (f" See it with: lookbook show {run_id}" if no_wait else ""))
    if not no_wait:
        try:
            with render.RunProgress(progress_on, lines=not as_json) as progress:
                while current["status"] in UNFINISHED:
                    progress.update(current)
                    tools.http.sleep(POLL)
                    current = client.run(run_id)
        except KeyboardInterrupt:
            _note(f"The run goes on without this command. See it with: lookbook show {run_id}")
            raise typer.Exit(INTERRUPTED) from None
        except CliError as error:
            raise CliError(
                f"{error} The run does not need this command; see it with: lookbook show {run_id}"
            ) from error
    if as_json:
        _print_json(current)
    elif not no_wait:
        _show_run(current)
    if not no_wait:
        raise typer.Exit(RUN_STATUS.get(current["status"], FAILED))


def _size(file: Path) -> int:
    """Return a file's bytes. Raises CliError when there is no file to read, or nothing in it."""
    if not file.exists():
        raise CliError(f"There is no file {file}.")
    if not file.is_file():
        raise CliError(f"{file} is not a file.")
    if not os.access(file, os.R_OK):
        raise CliError(f"You may not read {file}.")
    size = file.stat().st_size
    if not size:
        raise CliError(f"{file} is empty.")
    return size


def _start(client: Client, file: Path, size: int, options: Json, console: Console) -> Json:
    if size < INLINE:
        try:
            scrape = file.read_bytes().decode()
        except UnicodeDecodeError:
            pass  # JSON cannot carry it as it is; let the pipeline judge the bytes
        else:
            return client.create_run(file.name, scrape, options)
    created, target = client.create_upload(file.name, options)
    try:
        with render.bytes_progress(console, f"Uploading {file.name}", size) as advance:
            client.upload(target, file, advance)
    except KeyboardInterrupt:
        # The last of it may be on its way already, so the outcome is not ours to tell.
        _note(f"The upload was stopped. If all of it had arrived, the run starts: lookbook show {created['run_id']}")
        raise typer.Exit(INTERRUPTED) from None
    return created


def _show_run(current: Json) -> None:
    run_id = current["run_id"]
    _print(Text.assemble(f"Run {run_id}: ", render.status(current["status"])))
    if current.get("reason"):
        _print(f"Reason: {current['reason']}")
    _print("", render.run_table([current], [current.get("name") or run_id]))
    problems = current.get("problems") or []
    if not problems:
        return
    _print("", render.problem_table(problems))
    counts = {word: current["counts"].get(word, 0) for word in ("rejected", "failed", "blocked", "deferred")}
    total = sum(counts.values())
    _print(
        "", f"{len(problems)} of {total:,} problems shown. All of them:" if total > len(problems) else "See them with:"
    )
    _print(*(Text(f"  lookbook items {run_id} --status {word}") for word, count in counts.items() if count))


@app.command(epilog="Example: lookbook runs --limit 5")
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Runs to show, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    found = list(context.obj.client().runs(limit))
    if as_json:
        _print_json(found)
    elif found:
        _print(render.runs_table(found, _console().width))
    else:
        _print("There are no runs yet. Start one with: lookbook run FILE")


@app.command(epilog="Example: lookbook show 20261121T101502-3f9a2c1b")
def show(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show one run: its figures, and what went wrong."""
    found = context.obj.client().run(run_id)
    if as_json:
        _print_json(found)
        return
    _show_run(found)
    if progress := found.get("progress"):
        _print("", f"Still at work: {progress['done']:,} of {progress['total']:,} products done.")
        if found.get("note"):
            _print(render.clean(found["note"]))


@app.command(epilog="Example: lookbook items 20261121T101502-3f9a2c1b --status failed")
def items(
    context: typer.Context,
    run_id: RunId,
    status: Annotated[ItemStatus | None, typer.Option(help="Only products that ended so.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, show_default=f"{ITEMS} in a table, all as JSON", help="Products to show.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what became of each product of a run."""
    client: Client = context.obj.client()
    if as_json:
        _print_json(list(client.items(run_id, status, limit)))
        return
    most = limit or ITEMS
    found = list(client.items(run_id, status, most + 1))  # one more, to know whether there are more
    if not found:
        _print("The run has no such products." if status else "The run has no products yet.")
        return
    _print(render.items_table(found[:most], _console().width))
    if len(found) > most:
        _print("", f"There are more than {most:,}. See more with --limit, or all of them with --json.")


@app.command(epilog="Example: lookbook check CJ12345678 hotmart:698441")
def check(
    context: typer.Context,
    product_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Product ids.")],
    as_json: AsJson = False,
) -> None:
    """Say which products the library has images of.

    Exit status: 0 if it has images of all of them, 2 if some are missing.
    """
    client: Client = context.obj.client()
    found = [_look_up(client, product_id) for product_id in dict.fromkeys(product_ids)]
    missing = sum(not product["image_count"] for product in found)
    if as_json:
        _print_json(found)
    else:
        _print(render.check_table(found))
        _print("", f"{len(found) - missing} of {len(found)} in the library." if missing else "All in the library.")
    raise typer.Exit(PARTIAL if missing else 0)


def _look_up(client: Client, product_id: str) -> Json:
    try:
        product = client.product(product_id)
    except NotFoundError:
        product = {}
    return {
        "product_id": product_id,
        "image_count": product.get("image_count", 0),
        "variants": product.get("variants", []),
        "title": product.get("title"),
    }


@app.command(epilog="Example: lookbook products --source cj --limit 20")
def products(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(help="Only products of this source.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Products to show, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the library's products, the newest first."""
    found = list(context.obj.client().products(source, limit + 1))  # one more, to know whether there are more
    if as_json:
        _print_json(found[:limit])
    elif found:
        _print(render.products_table(found[:limit], _console().width))
        if len(found) > limit:
            _print("", f"There are more than {limit:,}. See more with --limit.")
    else:
        _print("The library has no such products." if source else "The library is empty.")


@app.command(epilog="Example: lookbook get CJ12345678 --download pictures")
def get(
    context: typer.Context,
    product_id: Annotated[str, typer.Argument(metavar="ID", help="The product's id.")],
    download: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save the images there, in a folder for the product.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a product and its images, and download them if asked to.

    A file that is already there and right is not downloaded again.
    """
    client: Client = context.obj.client()
    product = client.product(product_id)
    images = product.get("image_list") or []
    if not as_json:
        _print(Text(render.clean(f"{product['product_id']}: {product.get('title') or 'no title'}"), style="bold"))
        _print(f"{product.get('category') or 'no category'}, from {product.get('source') or 'an unknown source'}", "")
        _print(render.images_table(product, _console().width) if images else "It has no images yet.")
        if product.get("cover_image_id"):
            _print("", "* the cover")
        licences = sorted({render.clean(image["licence"]) for image in images if image.get("licence")})
        if licences:
            _print(f"Licence: {'; '.join(licences)}")
    if download is not None:
        folder = download / _safe(product["product_id"])
        saved = _download(client, images, folder, _console(stderr=as_json)) if images else 0
        if images and not as_json:
            _print("", f"{saved} downloaded, {len(images) - saved} already there: {folder}")
    if as_json:
        _print_json(product)


def _safe(product_id: str) -> str:
    """Make an id the name of a folder: nothing that leads elsewhere, nothing a file system refuses."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", product_id).lstrip(".")[:100] or "_"


def _download(client: Client, images: list[Json], folder: Path, console: Console) -> int:
    """Save images, each under its variant and the start of its id; returns how many were not there. Raises CliError."""
    saved = 0
    with render.bytes_progress(console, "Downloading", sum(image["bytes"] for image in images)) as advance:
        for image in images:
            # An image's id is the SHA-256 of its bytes.
            if not re.fullmatch(r"[0-9a-f]{64}", image["image_id"]):
                raise CliError(f"The API named an image that cannot be: {image['image_id']}")
            path = folder / f"{int(image['variant'])}-{image['image_id'][:12]}.jpg"
            if not (path.is_file() and _sha256(path.read_bytes()) == image["image_id"]):
                content = client.fetch(image["url"])
                if _sha256(content) != image["image_id"]:
                    raise CliError(f"Image {image['image_id'][:12]} arrived damaged and was not kept. Try again.")
                _write(path, content)
                saved += 1
            advance(image["bytes"])
    return saved


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@models_app.command("list", epilog="Example: lookbook models list")
def models_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the model photos."""
    found = context.obj.client().models()
    if as_json:
        _print_json(found)
    elif found:
        _print(render.models_table(found))
    else:
        _print("There are no model photos yet. Add one with: lookbook models add FILE")


@models_app.command("add", epilog="Example: lookbook models add woman_45_caucasian.jpg")
def models_add(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures: JPEG, PNG, WebP or GIF.")],
    name: Annotated[
        str | None, typer.Option(help="The model photo's name, for a single file.", show_default="the file's name")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add model photos, each in the place of an older one of the same name."""
    if name is not None and len(files) > 1:
        raise CliError("--name goes with one file at a time.")
    if name is not None and not re.fullmatch(r"[a-z0-9_-]+", name):
        raise CliError("A model photo's name is made of a-z, 0-9, _ and - only.")
    photos: dict[str, Path] = {}
    for file in files:  # all are looked at before the first is sent
        _picture_type(file)
        own = name or re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower())
        if own in photos:
            raise CliError(f"{photos[own]} and {file} would both be named {own}. Add them one at a time, with --name.")
        photos[own] = file
    client: Client = context.obj.client()
    added = [client.put_model(own, file.read_bytes(), _picture_type(file)) for own, file in photos.items()]
    if as_json:
        _print_json(added)
    else:
        _print(render.models_table(added))


def _picture_type(file: Path) -> str:
    """Return a picture's media type, by its first bytes. Raises CliError when it cannot be a model photo."""
    size = _size(file)
    if size > MODEL_PHOTO:
        raise CliError(f"{file} has {size / 1e6:.1f} MB; a model photo may have {MODEL_PHOTO / 1e6:.1f} MB.")
    with file.open("rb") as opened:
        start = opened.read(12)
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return "image/webp"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    raise CliError(f"{file} is not a JPEG, PNG, WebP or GIF picture.")


@app.command(epilog="Example: LOOKBOOK_API_URL=https://… lookbook login --user anna@example.com")
def login(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="Your user name.", show_default="asked for")] = None,
) -> None:
    """Sign in to the Lookbook that LOOKBOOK_API_URL names; the local cloud needs no sign-in."""
    url = _remote_url()

    def ask_user() -> tuple[str, str]:
        name = user or typer.prompt("User", err=True)
        return name, typer.prompt("Password", hide_input=True, err=True)

    name = session.log_in(
        context.obj.http,
        url,
        ask_user,
        lambda: typer.prompt(
            "A new password is asked for. New password", hide_input=True, confirmation_prompt=True, err=True
        ),
        lambda: typer.prompt("Code of your authenticator app", err=True).strip(),
    )
    _print(f"Signed in to {url} as {name}.")


@app.command(epilog="Example: LOOKBOOK_API_URL=https://… lookbook logout")
def logout(context: typer.Context) -> None:
    """Sign out of the Lookbook that LOOKBOOK_API_URL names."""
    url = _remote_url()
    try:
        there_was_one = session.log_out(context.obj.http, url)
    except ApiError as error:
        raise CliError(f"Signed out here, but the sign-in is still valid until it expires: {error}") from error
    _print(f"Signed out of {url}." if there_was_one else f"You were not signed in to {url}.")


def _remote_url() -> str:
    url = session.remote_url()
    if url is None:
        raise CliError(f"Set {session.API_URL} to the API's URL first. The local cloud needs no sign-in.")
    return url
