"""The `lookbook` command.

Exit status: 0 when what was asked for is done (for what starts a run: the run succeeded, or its plan is made), 2 when
it is done in part (a partial run; `check` misses products; `rate` could not rate in all products; `stores add` adds a
store that cannot be published to), 1 for everything else, 130 after Ctrl-C.
"""

import io
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lookbook_cli import (
    cover_commands,
    hotmart_commands,
    library_commands,
    render,
    run_commands,
    sign_in_commands,
    store_commands,
)
from lookbook_cli.client import CliError
from lookbook_cli.common import FAILED, INTERRUPTED, Tools


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


# What may have been meant by an option that is none, by the command.
_DASHED = {
    "note": "If the note begins with a dash, put -- before it: lookbook note ID -- TEXT. "
    "Or give - in its place, and the note on stdin. See `lookbook note --help`.",
    "rate": "Give the image first, then the stars as a whole number from 1 to 5: lookbook rate IMAGE 5. "
    "What begins with a dash needs -- before it.",
    "tag": "If the tag begins with a dash, put -- before it: lookbook tag ID -- TAG. See `lookbook tag --help`.",
}


def _sentence(error: Exception) -> str:
    match error:
        case CliError():
            return str(error)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            hint = f" See `{context.command_path} --help`." if context else ""
            if context and hasattr(error, "possibilities"):  # of an option that is none
                hint = f" {_DASHED[context.command.name]}" if context.command.name in _DASHED else hint
            message = error.format_message().replace("Value error, ", "")  # pydantic's, for what is not on a list
            return f"{message}{'' if message.endswith(('.', '?')) else '.'}{hint}"
        case OSError():
            return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return f"Something unexpected happened ({type(error).__name__}: {error}). Say it again with --verbose for details."


app = typer.Typer(name="lookbook", cls=LookbookGroup, pretty_exceptions_enable=False)
app.add_typer(run_commands.app)
app.add_typer(store_commands.app)
app.add_typer(library_commands.app)
app.add_typer(cover_commands.app)
app.add_typer(hotmart_commands.app)
app.add_typer(sign_in_commands.app)


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
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
