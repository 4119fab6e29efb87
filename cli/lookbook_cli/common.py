"""What the commands have in common: what they work with, how they speak, and their exit statuses."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lookbook_cli import render, session
from lookbook_cli.client import Client, CliError, Http

FAILED, PARTIAL, INTERRUPTED = 1, 2, 130  # exit statuses

MOST_PICTURE = 20 * 1024 * 1024  # bytes, of the API

EXAMPLES = "CJ12345678 or hotmart:698441"  # of products' ids


def a_product_id(text: str) -> str:
    """Return a product's id without the blanks around it, as copying leaves them. Raises CliError if it is empty."""
    if not text.strip():
        raise CliError(f"The product's id is empty. Give one as `lookbook products` lists them, such as {EXAMPLES}.")
    return text.strip()


def a_file(text: str) -> Path:
    """Return a file's path. Raises CliError if it is empty, which a Path would take for the folder we are in."""
    if not text.strip():
        raise CliError("There is no file of an empty name. Give a file's path.")
    return Path(text)


ProductId = Annotated[str, typer.Argument(metavar="ID", parser=a_product_id, help="The product's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass
class Tools:
    """What the commands work with; tests pass their own as the context's `obj`."""

    http: Http = field(default_factory=Http)
    verbose: bool = False

    def client(self) -> Client:
        """Return a client of the Lookbook in use."""
        return session.connect(self.http, note if self.verbose else lambda _: None)


def note(text: str) -> None:
    """Say something on stderr, beside what the command prints."""
    typer.echo(text, err=True)


def print_json(document: object) -> None:
    """Print a document on stdout."""
    # Where stdout is no UTF-8, escape: the document must stay JSON.
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=ascii_only))


def at_terminal() -> bool:
    """Tell whether someone is there to be asked."""
    return sys.stdin.isatty()


def console(*, stderr: bool = False) -> Console:
    """Return where tables and progress go."""
    return Console(stderr=stderr, highlight=False, emoji=False)


def say(*things: Table | Text | str) -> None:
    """Print tables and sentences on stdout; a sentence stays on one line, to be copied and searched for."""
    out = console()
    for thing in things:
        if isinstance(thing, Table):
            out.print(thing, crop=False)  # what is too long for the terminal wraps there, and can still be copied
        else:
            out.print(thing if isinstance(thing, Text) else Text(render.clean(thing)), soft_wrap=True)


def file_size(file: Path) -> int:
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


def picture_type(file: Path, most: int, rule: str) -> str:
    """Return a picture's media type, by its first bytes.

    Raises CliError when it is none, or has more than `most` bytes, which `rule` puts in words.
    """
    size = file_size(file)
    if size > most:
        raise CliError(f"{file} has {size:,} bytes; {rule}.")
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
