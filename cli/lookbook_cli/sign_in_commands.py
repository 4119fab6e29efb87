"""The commands that sign in and out."""

from typing import Annotated

import typer

from lookbook_cli import session
from lookbook_cli.client import ApiError, Client, CliError
from lookbook_cli.common import say

app = typer.Typer()


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
    say(f"Signed in to {url} as {name}.")


@app.command(epilog="Example: LOOKBOOK_API_URL=https://… lookbook logout")
def logout(context: typer.Context) -> None:
    """Sign out of the Lookbook that LOOKBOOK_API_URL names."""
    url = _remote_url()
    try:
        there_was_one = session.log_out(context.obj.http, url)
    except ApiError as error:
        raise CliError(f"Signed out here, but the sign-in is still valid until it expires: {error}") from error
    say(f"Signed out of {url}." if there_was_one else f"You were not signed in to {url}.")


@app.command(epilog='Example: curl -H "Authorization: Bearer $(lookbook token)" "$(lookbook token --url)/api/products"')
def token(
    context: typer.Context,
    url: Annotated[bool, typer.Option("--url", help="Print the API's URL instead.")] = False,
) -> None:
    """Print a token for the API, good for some minutes to an hour: for curl and scripts. Keep it to yourself."""
    client: Client = context.obj.client()
    typer.echo(client.api_url if url else client.token())


def _remote_url() -> str:
    url = session.remote_url()
    if url is None:
        raise CliError(f"Set {session.API_URL} to the API's URL first. The local cloud needs no sign-in.")
    return url
