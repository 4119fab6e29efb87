"""The commands about a product's cover and what people say of it: pictures by hand, history, notes, ratings, tags."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lookbook_cli import render
from lookbook_cli.client import ApiError, Client, CliError, Json
from lookbook_cli.common import (
    INTERRUPTED,
    MOST_PICTURE,
    PARTIAL,
    AsJson,
    ProductId,
    Tools,
    a_file,
    at_terminal,
    console,
    note,
    picture_type,
    print_json,
    say,
)
from lookbook_cli.run_commands import NoWait, see_through

MOST_PROMPT = 4_000  # characters, of the API
MOST_NOTE = 5_000  # characters, of the API
MOST_TAG = 50  # characters, of the API
MOST_TAGS = 50  # tags of a product, of the API
MOST_STARS = 5
IN_A_REQUEST = 4_000_000  # bytes of a picture that goes along with a request; a larger one goes to S3
POLL = 1.0  # seconds between two looks at an upload
CHECKS = 300  # looks at an upload, after which nobody waits any more
BEGINNING = 8  # digits of an image's id that name it, as the API has it
ID_DIGITS = 64  # of a whole id
SHOWN = 20  # history entries or notes, unless told otherwise

Limit = Annotated[int | None, typer.Option(min=1, show_default=f"{SHOWN}, all as JSON", help="How many.")]

app = typer.Typer()


# --- the cover


@app.command(
    epilog='Example: lookbook cover CJ12345678 --prompt "A linen shirt on a sunny terrace", '
    "or: lookbook cover CJ12345678 --upload cover.jpg"
)
def cover(
    context: typer.Context,
    product_id: ProductId,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help=f"Make a new one by this prompt, as it is: 1 to {MOST_PROMPT:,} characters."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make a new one by the usual prompt.")] = False,
    upload: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=a_file, help="Take this picture: JPEG, PNG, WebP or GIF, up to 20 MB."),
    ] = None,
    revert: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help=f"Go back to an image: its id, or its first {BEGINNING} digits or more."),
    ] = None,
    hide: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help=f"Hide an image: its id, or its first {BEGINNING} digits or more. It can be gone back to.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON only: the cover; the run that makes it; the image; or the product."),
    ] = False,
    no_wait: NoWait = False,
) -> None:
    """Show a product's cover, or change it: make another one, upload one, go back to an earlier one, or hide one.

    Making one is a run: exit status 0 if it succeeded, 1 if it failed.
    """
    wanted = [prompt is not None, again, upload is not None, revert is not None, hide is not None]
    if sum(wanted) > 1:
        raise CliError("Choose one of --prompt, --again, --upload, --revert and --hide.")
    if no_wait and not (again or prompt is not None):
        raise CliError("--no-wait goes with --prompt or --again, which start a run.")
    tools: Tools = context.obj
    if again or prompt is not None:
        _generate(tools, product_id, _text(prompt, "The prompt", MOST_PROMPT), as_json=as_json, no_wait=no_wait)
    elif upload is not None:
        _upload(tools, product_id, upload, as_json=as_json)
    elif revert is not None:
        _revert(tools, product_id, revert, as_json=as_json)
    elif hide is not None:
        _hide(tools, product_id, hide, as_json=as_json)
    else:
        client = tools.client()
        product = client.product(product_id)
        if as_json:
            image = _cover_of(product)
            entries = client.history(product_id, SHOWN)
            print_json({"product_id": product["product_id"], "image": image, "since": _since(list(entries), image)})
        else:
            _show_cover(client, product)


def _generate(tools: Tools, product_id: str, prompt: str | None, *, as_json: bool, no_wait: bool) -> None:
    client = tools.client()
    started = client.generate(product_id, prompt)

    def show(run: Json) -> None:
        say("")
        _show_cover(client, client.product(product_id), run["run_id"])

    about = f"makes {product_id} a cover."
    see_through(tools, client, started, about, as_json=as_json, no_wait=no_wait, then=show, brief=True)


def _upload(tools: Tools, product_id: str, file: Path, *, as_json: bool) -> None:
    picture_type(file, MOST_PICTURE, f"a picture may have {MOST_PICTURE // 1024**2} MB")
    size = file.stat().st_size
    client = tools.client()
    later = f"it shows up in: {_command('history', product_id)}"
    try:
        with render.bytes_progress(console(stderr=as_json), f"Uploading {file.name}", size) as advance:
            if size <= IN_A_REQUEST:
                upload_id, image = None, client.upload_image(product_id, file, advance)
            else:
                target = client.upload_url(product_id)
                upload_id, image = target["upload_id"], None
                client.upload(target, file, advance)
        if upload_id is not None:
            image = _checked(tools, client, product_id, upload_id, lines=not as_json)
    except KeyboardInterrupt:
        # The last of it may have arrived already, so the outcome is not ours to tell.
        note(f"The upload was stopped. If all of it had arrived, {later}")
        raise typer.Exit(INTERRUPTED) from None
    except ApiError as error:
        if error.status is None:
            raise CliError(f"{error} If the picture has arrived all the same, {later}") from error
        raise
    if as_json:
        print_json(image)
    else:
        say(f"Uploaded {file.name}.")
        _show_cover(client, client.product(product_id))


def _checked(tools: Tools, client: Client, product_id: str, upload_id: str, *, lines: bool) -> Json:
    """Return the image made of a picture in S3 when it has been checked. Raises CliError if it is refused."""
    with render.Waiting(console(stderr=not lines), lines=lines) as waiting:
        for _ in range(CHECKS):
            found = client.uploaded(product_id, upload_id)
            if found["status"] == "done":
                image: Json = found["image"]
                return image
            if found["status"] == "refused":
                raise CliError(f"The picture was refused: {found['reason']}")
            waiting.show("Checking the picture")
            tools.http.sleep(POLL)
    raise CliError(
        f"The picture has arrived, but is still being checked. It shows up in: {_command('history', product_id)}"
    )


def _revert(tools: Tools, product_id: str, image: str, *, as_json: bool) -> None:
    beginning = _beginning(image)
    client = tools.client()
    product = client.activate(product_id, _find(client, product_id, beginning))
    if as_json:
        print_json(product)
    else:
        _show_cover(client, client.product(product_id))


def _hide(tools: Tools, product_id: str, image: str, *, as_json: bool) -> None:
    beginning = _beginning(image)
    client = tools.client()
    hidden = client.hide(product_id, _find(client, product_id, beginning))
    if as_json:
        print_json(hidden)
        return
    digits = hidden["image_id"][: render.DIGITS]
    say(f"Hidden: {digits}. Show it again with: {_command('cover', product_id, '--revert', digits)}", "")
    _show_cover(client, client.product(product_id))


def _beginning(text: str) -> str:
    """Return the beginning of an image's id. Raises CliError when it is none."""
    digits = text.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{BEGINNING},{ID_DIGITS}}}", digits):
        raise CliError(
            f"{text or 'Nothing'} is no image: give its id, or its first {BEGINNING} digits or more, "
            "as `lookbook history ID` has them."
        )
    return digits


def _find(client: Client, product_id: str, beginning: str) -> str:
    """Return the id that begins so among a product's images, old and new. Raises CliError unless there is just one."""
    if len(beginning) == ID_DIGITS:
        return beginning
    found: dict[str, str] = {}
    for image_id, about in _images(client, product_id):
        if image_id.startswith(beginning):
            found.setdefault(image_id, about)
    if not found:
        raise CliError(
            f"{product_id} has no image that begins with {beginning}; see its images with: "
            f"{_command('history', product_id)}, or: {_command('get', product_id)}"
        )
    if len(found) > 1:
        several = "; ".join(f"{image_id[: _telling(found)]} ({about})" for image_id, about in found.items())
        raise CliError(f"{len(found)} images begin with {beginning}: {several}. Give more digits.")
    return next(iter(found))


def _images(client: Client, product_id: str) -> Iterator[tuple[str, str]]:
    """Yield the ids of a product's images, each with what to tell it by: those in its history, then all it has."""
    for entry in client.history(product_id, None):
        about = f"{render.what_happened(entry)}, {render.moment(entry.get('created_at'))}"
        for key in ("image_id", "hidden_image_id"):
            if entry.get(key):
                yield entry[key], about
    for image in client.images(product_id):  # such as variants, which never were the cover
        yield image["image_id"], f"variant {image['variant']}, by {image['method']}"


def _telling(found: dict[str, str]) -> int:
    """Return how many digits tell ids apart, and no fewer than are shown elsewhere."""
    digits = render.DIGITS
    while digits < ID_DIGITS and len({image_id[:digits] for image_id in found}) < len(found):
        digits += 1
    return digits


def _cover_of(product: Json) -> Json | None:
    cover_id = product.get("cover_image_id")
    images = product.get("image_list") or ()
    return next((image for image in images if cover_id and image["image_id"] == cover_id), None)


def _since(entries: list[Json], image: Json | None) -> Json | None:
    """Return the history entry since which an image is the cover, of the newest entries, if it is among them."""
    run = list(itertools.takewhile(lambda entry: image and entry.get("image_id") == image["image_id"], entries))
    return run[-1] if run else None


def _show_cover(client: Client, product: Json, run_id: str | None = None) -> None:
    """Show a product's cover and where it comes from, which may be another one than what a run has just made."""
    product_id = product["product_id"]
    entries = list(client.history(product_id, SHOWN))
    image = _cover_of(product)
    say(Text(render.clean(f"{product_id}: {product.get('title') or 'no title'}"), style="bold"))
    if image is None:
        say("It has no cover.")
        if entries:
            back = f"{_command('cover', product_id)} --revert IMAGE"
            say(f"Go back to one: {_command('history', product_id)}, then: {back}")
        say(
            f"Make one by the usual prompt: {_command('cover', product_id, '--again')}",
            f"Or by a prompt of yours: {_command('cover', product_id)} --prompt TEXT",
            f"Or take a picture of yours: {_command('cover', product_id)} --upload FILE",
        )
        _show_another(entries, product_id, run_id)
        return
    model = f" ({image['model_version']})" if image.get("model_version") else ""
    pixels = f"{image.get('width')}x{image.get('height')}"
    made = render.moment(image.get("created_at"))
    say(f"Cover: {image['image_id'][: render.DIGITS]}, {image.get('method')}{model}, {pixels}, {made}")
    if since := _since(entries, image):
        say(f"Cover since: {render.moment(since.get('created_at'))}, {_how(since)}")
    if image.get("prompt"):
        say(f"Prompt: {image['prompt']}")
    if image.get("licence"):
        say(f"Licence: {image['licence']}")
    if image.get("stars"):
        say(f"Stars: {image['stars']} of {MOST_STARS}")
    _show_another(entries, product_id, run_id)
    if url := image.get("url") or product.get("cover_url"):
        say("Picture:", url)  # the last, and on a line of its own: it is long, and there to be copied


def _show_another(entries: list[Json], product_id: str, run_id: str | None) -> None:
    """Say so if what a run has made is not the cover."""
    made = next((entry for entry in entries if run_id and entry.get("run_id") == run_id), None)
    if made and made.get("image_id") not in {None, entries[0].get("image_id")}:
        say(
            "That is not what this run has made: the cover was changed after the run was asked for.",
            f"Take the run's with: {_command('cover', product_id, '--revert', made['image_id'][: render.DIGITS])}",
        )


def _how(entry: Json) -> str:
    actor = f" by {entry['actor']}" if entry.get("actor") else ""
    match entry.get("action"):
        case "generated":
            return f"{render.what_happened(entry)}, asked for{actor}" if actor else render.what_happened(entry)
        case "hidden":
            return f"as another one was hidden{actor}"
    return render.what_happened(entry) + actor


@app.command(epilog="Example: lookbook history CJ12345678 --limit 5")
def history(
    context: typer.Context,
    product_id: ProductId,
    limit: Limit = None,
    links: Annotated[bool, typer.Option("--links", help="Also print the pictures' links.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what became of a product's cover, the newest first: nothing that was one is ever lost."""
    client: Client = context.obj.client()
    if as_json:
        print_json(list(client.history(product_id, limit)))
        return
    most = limit or SHOWN
    found = list(client.history(product_id, most + 1))  # one more, to know whether there are more
    if not found:
        say(f"It has no history yet. Make a cover with: {_command('cover', product_id, '--again')}")
        return
    cover_id = found[0].get("image_id")  # the rule of covers: it is what the newest entry says
    say(render.history_table(found[:most], cover_id, console().width))
    if len(found) > most:
        say("", f"There are more than {most:,}. See more with --limit, or all of them with --json.")
    if links:
        urls = {entry["image_id"]: entry["url"] for entry in found[:most] if entry.get("url")}
        say("", *(f"{image_id[: render.DIGITS]}: {url}" for image_id, url in urls.items()))
    say("", f"* the cover; see it with: {_command('cover', product_id)}" if cover_id else "It has no cover now.")
    say(f"Go back to one with: {_command('cover', product_id)} --revert IMAGE")


# --- what people say


@app.command("note", epilog='Example: lookbook note hotmart:698441 "Converts well in Brazil"')
def take_note(
    context: typer.Context,
    product_id: ProductId,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help=f"The note, up to {MOST_NOTE:,} characters; - reads it from stdin."),
    ] = None,
    edit: Annotated[str | None, typer.Option(metavar="NOTE", help="Change this note's text instead.")] = None,
    delete: Annotated[str | None, typer.Option(metavar="NOTE", help="Delete this note instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a note to a product, or change or delete one; `lookbook notes ID` lists them with their ids."""
    if edit is not None and delete is not None:
        raise CliError("Choose one of --edit and --delete.")
    if delete is not None and text is not None:
        raise CliError("--delete takes no text.")
    if delete is None and text is None:
        raise CliError(f"Give the note's text, or - to read it from stdin. See the notes: lookbook notes {product_id}")
    text = _text(_from_stdin() if text == "-" else text, "The note", MOST_NOTE)
    client: Client = context.obj.client()
    if delete is not None:
        found, done = client.delete_note(product_id, delete), "Deleted:"
    elif edit is not None:
        found, done = client.edit_note(product_id, edit, text or ""), "Changed:"
    else:
        found, done = client.add_note(product_id, text or ""), "Added:"
    if as_json:
        print_json(found)
    else:
        say(done, *render.note_lines(found))


def _from_stdin() -> str:
    """Return what comes in on stdin as UTF-8, but for the end of its last line. Raises CliError."""
    if at_terminal():
        note("Type the note; end it with Ctrl-D on a line of its own.")
    data = typer.get_binary_stream("stdin").read(4 * MOST_NOTE + 10)  # a character has 4 bytes at most
    if len(data) > 4 * MOST_NOTE + 5:
        raise CliError(f"The note is too long: it may have {MOST_NOTE:,} characters.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError("What came in on stdin is not UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")


def _text(text: str | None, what: str, most: int) -> str | None:
    """Return a text as it was written, if there is one. Raises CliError when the API would not take it."""
    if text is None:
        return None
    if not text.strip():
        raise CliError(f"{what} is empty. Give 1 to {most:,} characters.")
    if len(text) > most:
        raise CliError(f"{what} has {len(text):,} characters; it may have {most:,}.")
    try:
        text.encode()
    except UnicodeEncodeError:  # what the shell gave us was no UTF-8
        raise CliError(f"{what} is not UTF-8 text.") from None
    return text


@app.command(epilog="Example: lookbook notes CJ12345678")
def notes(context: typer.Context, product_id: ProductId, limit: Limit = None, as_json: AsJson = False) -> None:
    """List a product's notes as they were typed, the newest first, each with its id."""
    client: Client = context.obj.client()
    if as_json:
        print_json(list(client.notes(product_id, limit)))
        return
    most = limit or SHOWN
    found = list(client.notes(product_id, most + 1))  # one more, to know whether there are more
    if not found:
        say(f"There are no notes yet. Add one with: {_command('note', product_id)} TEXT")
        return
    for nth, each in enumerate(found[:most]):
        say(*([""] if nth else []), *render.note_lines(each))
    if len(found) > most:
        say("", f"There are more than {most:,}. See more with --limit, or all of them with --json.")


def _stars(text: str) -> int:
    if text not in map(str, range(1, MOST_STARS + 1)):
        raise CliError(f"Give stars as a whole number from 1 to {MOST_STARS}.")
    return int(text)


@app.command(epilog="Example: lookbook rate 3f9a2c1b 5")
def rate(
    context: typer.Context,
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help=f"The image's id, or its first {BEGINNING} digits or more."),
    ],
    stars: Annotated[int, typer.Argument(metavar="1…5", parser=_stars, help="5 is the best.")],
    as_json: AsJson = False,
) -> None:
    """Rate an image, in every product that has it.

    Exit status: 0 if it is rated in all of them, 2 if only in some.
    """
    beginning = _beginning(image)
    client: Client = context.obj.client()
    found = client.find_image(beginning)
    image_id, product_ids = found["image_id"], found["products"]
    if not product_ids:
        raise CliError(f"No product has the image {beginning} any more.")
    rated: list[Json] = []
    refused: dict[str, ApiError] = {}
    with render.Waiting(console(stderr=as_json), lines=not as_json) as waiting:
        for done, product_id in enumerate(product_ids):
            waiting.show("Rating", f"{done:,} of {len(product_ids):,} products", done=done, total=len(product_ids))
            try:
                rated.append({"product_id": product_id, "image": client.rate(product_id, image_id, stars)})
            except ApiError as error:
                if len(product_ids) == 1 or error.status is None:
                    raise
                refused[product_id] = error
    if not rated:
        raise next(iter(refused.values()))
    if as_json:
        print_json(rated)
    else:
        names = ", ".join(entry["product_id"] for entry in rated)
        say(f"Rated {stars} of {MOST_STARS}: {image_id[: render.DIGITS]} in {names}.")
    for product_id, problem in refused.items():
        note(render.clean(f"Not rated in {product_id}: {problem}"))
    raise typer.Exit(PARTIAL if refused else 0)


@app.command(epilog="Example: lookbook tag CJ12345678 summer bestseller")
def tag(
    context: typer.Context,
    product_id: ProductId,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="Tags to add.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="A tag to remove; may be given several times.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--set", help="Let it have these tags and no others; none, if none are named.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tag a product, to find it by `lookbook products --search`; without tags, show those that it has."""
    if replace and remove:
        raise CliError("--set and --remove do not go together: name the tags it shall have.")
    added, removed = _tags(tags), _tags(remove)
    if both := [each for each in added if each.casefold() in {other.casefold() for other in removed}]:
        raise CliError(f"Name a tag to add it or to remove it, not both: {', '.join(both)}.")
    client: Client = context.obj.client()
    if replace:
        product = client.tag(product_id, added)
    elif added or removed:  # the API merges: who reads first and writes then loses what others wrote meanwhile
        product = client.change_tags(product_id, added, removed)
    else:
        product = client.product(product_id)
    if as_json:
        print_json({"product_id": product["product_id"], "tags": product.get("tags") or []})
    elif product.get("tags"):
        say(f"Tags of {product_id}: {', '.join(product['tags'])}")
    else:
        say(f"{product_id} has no tags. Add some with: {_command('tag', product_id)} TAG…")


def _tags(named: list[str] | None) -> list[str]:
    """Return tags, each once. Raises CliError when the API would not take them."""
    tags: dict[str, str] = {}  # upper and lower case are one tag, which stays as it was written first
    for each in named or ():
        tags.setdefault(each.strip().casefold(), each.strip())
    if any(not 1 <= len(each) <= MOST_TAG for each in tags.values()):
        raise CliError(f"A tag has 1 to {MOST_TAG} characters.")
    if len(tags) > MOST_TAGS:
        raise CliError(f"A product may have {MOST_TAGS} tags; these are {len(tags)}.")
    return list(tags.values())


def _command(name: str, *words: str) -> str:
    """Return a command as people can type it."""
    return shlex.join(["lookbook", name, *words])
