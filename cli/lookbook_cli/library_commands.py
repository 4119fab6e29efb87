"""The commands about the library: its products, their images, and what images are made with."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from lookbook_cli import render
from lookbook_cli.client import Client, CliError, Json, NotFoundError
from lookbook_cli.common import PARTIAL, AsJson, ProductId, a_product_id, console, picture_type, print_json, say

MODEL_PHOTO = 4_500_000  # bytes that a Lambda admits in a request, with its encoding
DESCRIPTION = 300  # characters shown of one
NEAR = 6  # bits in which the API's near-duplicates differ at most

ORDER = "They come the newest first; with --search, by the word that was found."

Source = Literal["cj", "shopify", "hotmart", "scrape"]  # of the API

app = typer.Typer()
models_app = typer.Typer()
app.add_typer(models_app, name="models")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """Show and add model photos, the people that garments are tried on."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: lookbook check CJ12345678 hotmart:698441")
def check(
    context: typer.Context,
    product_ids: Annotated[list[str], typer.Argument(metavar="ID...", parser=a_product_id, help="Product ids.")],
    as_json: AsJson = False,
) -> None:
    """Say which products the library has images of.

    Exit status: 0 if it has images of all of them, 2 if some are missing.
    """
    client: Client = context.obj.client()
    found = [_look_up(client, product_id) for product_id in dict.fromkeys(product_ids)]
    missing = sum(not product["image_count"] for product in found)
    if as_json:
        print_json(found)
    else:
        say(render.check_table(found, console().width))
        say("", f"{len(found) - missing} of {len(found)} in the library." if missing else "All in the library.")
        if numbers := [each["product_id"] for each in found if each["product_id"].isdigit() and not each["title"]]:
            say(f"If one of Hotmart's is meant, its id is hotmart:{numbers[0]}.")
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


@app.command(epilog='Example: lookbook products --search "red dress" --limit 20')
def products(
    context: typer.Context,
    source: Annotated[Source | None, typer.Option(help="Only products of this source.")] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="Only products with these words, or beginnings of words, in title, id or tags."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help=f"Products to show. {ORDER}")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the library's products, the newest first, or search them."""
    if search is not None and not search.strip():
        raise CliError("Give words to search for.")
    found = list(context.obj.client().products(source, search, limit + 1))  # one more, to know whether there are more
    if as_json:
        print_json(found[:limit])
    elif found:
        say(render.products_table(found[:limit], console().width))
        if len(found) > limit:
            say("", f"There are more than {limit:,}. See more with --limit.")
    else:
        say("The library has no such products." if source or search else "The library is empty.")


@app.command(epilog="Example: lookbook get CJ12345678 --download pictures")
def get(
    context: typer.Context,
    product_id: ProductId,
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
        say(Text(render.clean(f"{product['product_id']}: {product.get('title') or 'no title'}"), style="bold"))
        say(f"{product.get('category') or 'no category'}, from {product.get('source') or 'an unknown source'}")
        say(*_known(product), "")
        if images:
            say(render.images_table(product, console().width))
        else:
            history = f"lookbook history {shlex.quote(product['product_id'])}"
            say(f"It has no images to show. What was hidden or made before is in: {history}")
        if product.get("cover_image_id"):
            say("", f"* the cover; see it with: lookbook cover {shlex.quote(product['product_id'])}")
        licences = sorted({render.clean(image["licence"]) for image in images if image.get("licence")})
        if licences:
            say(f"Licence: {'; '.join(licences)}")
        if live := [usage["store_id"] for usage in product.get("usages") or () if usage["images"]]:
            say(f"Live in: {', '.join(live)}. See more with: lookbook usage {product['product_id']}")
        if product.get("notes"):
            say(_about_notes(product))
    if download is not None:
        folder = download / _safe(product["product_id"])
        saved = _download(client, images, folder, console(stderr=as_json)) if images else 0
        if images and not as_json:
            say("", f"{saved} downloaded, {len(images) - saved} already there: {folder}")
    if as_json:
        print_json(product)


def _known(product: Json) -> Iterator[str]:
    """Say what else is known of a product, as far as it is."""
    if product.get("tags"):
        yield f"Tags: {', '.join(product['tags'])}"
    if product.get("price"):
        yield f"Price: {product['price']}"
    if product.get("source_status"):
        yield f"Status at its source: {product['source_status']}"
    if product.get("source_deleted_at"):
        yield f"Gone from its source since {render.moment(product['source_deleted_at'])}; the library keeps it."
    if product.get("description"):
        yield f"Description: {render.cut(product['description'], DESCRIPTION)}"


def _about_notes(product: Json) -> str:
    newest, count = product["notes"][0], len(product["notes"])
    known = f"more than {count:,}" if product.get("more_notes") else f"{count:,}"
    last = f"the newest by {newest['author']}, {render.moment(newest['created_at'])}"
    return f"Notes: {known}, {last}. See them with: lookbook notes {shlex.quote(product['product_id'])}"


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


@app.command(epilog="Example: lookbook duplicates --limit 5")
def duplicates(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Groups to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show products that may be the same thing: their source pictures look alike."""
    groups, compared = context.obj.client().duplicates(limit + 1)  # one more, to know whether there are more
    if as_json:
        print_json({"groups": groups[:limit], "compared": compared})
        return
    if not groups:
        say(f"No source pictures look alike among the {compared:,} products compared.")
        return
    say(render.duplicates_table(groups[:limit], console().width), "")
    if len(groups) > limit:
        say(f"There are more than {limit:,} groups. See more with --limit.", "")
    say(
        f"{compared:,} products were compared. Those of a group have source pictures that look alike: the perceptual "
        f"hash of each is within {NEAR} of 64 bits of another one in its group. Bits apart are those from the group's "
        "first; 0 may be the very same picture. Nothing is merged. Products with the very same picture get each "
        "other's images by themselves, for nothing. If others are one thing too, scrape only one of them.",
        "Look at one with: lookbook get ID",
    )


@app.command(epilog="Example: lookbook methods")
def methods(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what can make images: its price, its pace, and the licence of what it makes."""
    found = context.obj.client().methods()
    if as_json:
        print_json(found)
        return
    known = found["methods"]
    say(render.methods_table(known, console().width), "")
    say(*(f"{method['method']}: {method['about']}" for method in known if method.get("about")), "")
    say(*(render.method_facts(method) for method in known))
    say(*(f"Note ({method['method']}): {notice}" for method in known for notice in method.get("notices") or ()))
    if found.get("prices_as_of"):
        say("", f"Prices as of {found['prices_as_of']}. Choose one with: lookbook run FILE --method NAME")


@models_app.command("list", epilog="Example: lookbook models list")
def models_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the model photos."""
    found = context.obj.client().models()
    if as_json:
        print_json(found)
    elif found:
        say(render.models_table(found, console().width))
    else:
        say("There are no model photos yet. Add one with: lookbook models add FILE")


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
    rule = f"a model photo may have {MODEL_PHOTO / 1e6:.1f} MB"
    photos: dict[str, Path] = {}
    types: dict[str, str] = {}
    for file in files:  # all are looked at before the first is sent
        own = name or re.sub(r"[^a-z0-9_-]+", "_", file.stem.lower())
        types[own] = picture_type(file, MODEL_PHOTO, rule)
        if own in photos:
            raise CliError(f"{photos[own]} and {file} would both be named {own}. Add them one at a time, with --name.")
        photos[own] = file
    client: Client = context.obj.client()
    added = [client.put_model(own, file.read_bytes(), types[own]) for own, file in photos.items()]
    if as_json:
        print_json(added)
    else:
        say(render.models_table(added, console().width))
