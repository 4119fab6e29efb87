"""Which Lookbook to talk to, and the sign-in there (Amazon Cognito).

The local cloud is found by the `.local/stack.json` that `make up` writes, and signed in to with the user it made.
Any other is named by LOOKBOOK_API_URL and signed in to with `lookbook login`.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import typer

from lookbook_cli.client import ApiError, Client, CliError, Http, Json, is_local

PROJECT_ROOT = Path(__file__).resolve().parents[2]  # the checkout, when the package is installed from one
API_URL = "LOOKBOOK_API_URL"
HELP = f"Start the local cloud with `make up`, or set {API_URL} and run `lookbook login`."

_PROBE_TIMEOUT = (1.0, 10.0)  # seconds; a local cloud that works hard may take some to answer
_EARLY = 120.0  # seconds before its expiry at which a token is renewed


@dataclass(frozen=True)
class LocalCloud:
    """What `.local/stack.json` says."""

    file: Path
    api_url: str
    endpoint_url: str
    user: str
    password: str


@dataclass(frozen=True)
class Cognito:
    """The calls to Cognito that need no AWS credentials.

    Protocol: docs.aws.amazon.com/cognito-user-identity-pools, actions InitiateAuth, RespondToAuthChallenge and
    RevokeToken, as JSON 1.1 over POST.
    """

    http: Http
    url: str
    client_id: str

    def by_password(self, user: str, password: str) -> Json:
        """Return `{"AuthenticationResult": …}` or `{"ChallengeName", "Session", …}`. Raises ApiError."""
        return self._initiate("USER_PASSWORD_AUTH", {"USERNAME": user, "PASSWORD": password})

    def by_refresh_token(self, refresh_token: str) -> Json:
        """Return `{"AuthenticationResult": …}` with a new ID token. Raises ApiError."""
        return self._initiate("REFRESH_TOKEN_AUTH", {"REFRESH_TOKEN": refresh_token})

    def answer(self, challenge: Json, responses: dict[str, str]) -> Json:
        """Answer a challenge; returns what `by_password` returns. Raises ApiError."""
        body = {
            "ChallengeName": challenge["ChallengeName"],
            "ClientId": self.client_id,
            "ChallengeResponses": responses,
            "Session": challenge.get("Session"),
        }
        return self._call("RespondToAuthChallenge", body)

    def revoke(self, refresh_token: str) -> None:
        """End a sign-in for good. Raises ApiError."""
        self._call("RevokeToken", {"Token": refresh_token, "ClientId": self.client_id})

    def _initiate(self, flow: str, parameters: dict[str, str]) -> Json:
        return self._call("InitiateAuth", {"AuthFlow": flow, "ClientId": self.client_id, "AuthParameters": parameters})

    def _call(self, action: str, body: Json) -> Json:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityProviderService.{action}",
        }
        answer = self.http.send("POST", f"{self.url}/", data=json.dumps(body).encode(), headers=headers)
        said = _document(answer)
        if answer.ok:
            return said
        kind = str(said.get("__type", "")).rpartition("#")[2]
        message = str(said.get("message") or said.get("Message") or kind or answer.reason)
        raise ApiError(kind, f"Cognito refused: {message.rstrip('.')}.", answer.status_code)


class LocalTokens:
    """ID tokens of the local cloud's own user."""

    def __init__(self, cognito: Cognito, cloud: LocalCloud) -> None:
        self._cognito, self._cloud = cognito, cloud
        self._token, self._expires_at = "", 0.0

    def current(self) -> str:
        """Return a token, signing in when there is none yet or it is about to expire."""
        return self._token if time.time() < self._expires_at - _EARLY else self.renew()

    def renew(self) -> str:
        """Sign in. Raises CliError."""
        try:
            result = self._cognito.by_password(self._cloud.user, self._cloud.password)["AuthenticationResult"]
        except (ApiError, KeyError) as error:
            if isinstance(error, ApiError) and error.status is None:
                raise
            raise CliError(
                f"The local cloud does not know the user in {self._cloud.file}. Run `make up` again."
            ) from error
        self._token, self._expires_at = result["IdToken"], time.time() + result["ExpiresIn"]
        return self._token


class TokenStore:
    """The sign-ins that `lookbook login` keeps: one JSON file, by API URL, that only its owner can read.

    An entry: `{"user", "region", "client_id", "id_token", "refresh_token", "expires_at" (epoch seconds)}`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(typer.get_app_dir("lookbook")) / "sign-ins.json"

    def get(self, api_url: str) -> Json | None:
        """Return the entry of an API, or None."""
        return self._read().get(api_url)

    def put(self, api_url: str, entry: Json | None) -> None:
        """Set the entry of an API, or remove it (None)."""
        entries = {**self._read(), api_url: entry}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        try:
            # Created unreadable to others, not made so afterwards; put in place whole.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump({url: kept for url, kept in entries.items() if kept}, file, indent=1)
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)

    def _read(self) -> dict[str, Json]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CliError(f"{self.path} is damaged. Delete it and run `lookbook login` again.") from error
        return entries if isinstance(entries, dict) else {}


class StoredTokens:
    """ID tokens from the sign-in that `lookbook login` kept."""

    def __init__(self, http: Http, store: TokenStore, api_url: str) -> None:
        self._http, self._store, self._api_url = http, store, api_url

    def current(self) -> str:
        """Return the kept token, renewed when it is about to expire. Raises CliError."""
        entry = self._entry()
        return str(entry["id_token"]) if time.time() < entry["expires_at"] - _EARLY else self.renew()

    def renew(self) -> str:
        """Get a new token for the refresh token, and keep it. Raises CliError."""
        entry = self._entry()
        cognito = Cognito(self._http, cognito_url(entry["region"]), entry["client_id"])
        try:
            result = cognito.by_refresh_token(entry["refresh_token"])["AuthenticationResult"]
        except ApiError as error:
            if error.status is None:
                raise
            raise CliError(f"The sign-in to {self._api_url} has ended. Run `lookbook login` again.") from error
        self._store.put(self._api_url, {**entry, **_kept(result)})
        return str(result["IdToken"])

    def _entry(self) -> Json:
        entry = self._store.get(self._api_url)
        if entry is None:
            raise CliError(f"You are not signed in to {self._api_url}. Run `lookbook login`.")
        return entry


def connect(http: Http, say: Callable[[str], None]) -> Client:
    """Return a client of the Lookbook in use: the one LOOKBOOK_API_URL names, else the local cloud that is up.

    `say` is told which one that is. Raises CliError, saying what to do, when there is none.
    """
    url = remote_url()
    clouds = local_clouds() if url is None or is_local(url) else []
    if url is not None:
        clouds = [cloud for cloud in clouds if cloud.api_url == url]
    for cloud in clouds:
        try:
            _, client_id = sign_in_facts(http, cloud.api_url, probe=True)
        except CliError:
            say(f"No answer from {cloud.api_url}, which {cloud.file} names.")
            continue
        say(f"Using the local cloud at {cloud.api_url}, which {cloud.file} names.")
        return Client(cloud.api_url, LocalTokens(Cognito(http, cloud.endpoint_url, client_id), cloud), http)
    if clouds:
        raise CliError(f"The local cloud does not answer. {HELP}")
    if url is None:
        raise CliError(f"There is no Lookbook to talk to. {HELP}")
    say(f"Using {url}, which {API_URL} names.")
    return Client(url, StoredTokens(http, TokenStore(), url), http)


def remote_url() -> str | None:
    """Return LOOKBOOK_API_URL without a slash at its end, or None if it is not set. Raises CliError if it is no URL."""
    url = os.environ.get(API_URL, "").strip().rstrip("/")
    if not url:
        return None
    if not urlsplit(url).hostname or not url.startswith(("https://", "http://")):
        raise CliError(f"{API_URL} is not a URL: {url}")
    if url.startswith("http://") and not is_local(url):
        raise CliError(f"{API_URL} must start with https://, or your sign-in could be read on its way.")
    return url


def local_clouds() -> list[LocalCloud]:
    """Return the local clouds that a `.local/stack.json` here, above, or in the project's root tells of.

    LOOKBOOK_LOCAL names the folder of another one, as it does for `make up`.
    """
    here = Path.cwd()
    named = os.environ.get("LOOKBOOK_LOCAL")
    folders = [Path(named)] if named else [folder / ".local" for folder in (here, *here.parents, PROJECT_ROOT)]
    files = [folder / "stack.json" for folder in folders]
    return [_read_local(file) for file in dict.fromkeys(files) if file.is_file()]


def _read_local(file: Path) -> LocalCloud:
    try:
        stack = json.loads(file.read_text(encoding="utf-8"))
        return LocalCloud(
            file, stack["api_url"].rstrip("/"), stack["endpoint_url"].rstrip("/"), stack["user"], stack["password"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CliError(f"{file} is damaged. Run `make up` again.") from error


def sign_in_facts(http: Http, api_url: str, *, probe: bool = False) -> tuple[str, str]:
    """Return the region and the client id that an API tells everyone. Raises CliError when it is no Lookbook."""
    url = f"{api_url}/sign-in"
    answer = http.send("GET", url, timeout=_PROBE_TIMEOUT, retry=False) if probe else http.send("GET", url)
    facts = _document(answer)
    if not answer.ok or not facts.get("region") or not facts.get("client_id"):
        raise CliError(f"{api_url} does not answer as a Lookbook does. Check the URL.")
    return str(facts["region"]), str(facts["client_id"])


def cognito_url(region: str) -> str:
    """Return Cognito's URL in a region. Raises CliError for what is no region: a password is about to be sent there."""
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
        raise CliError(f"The API named a region that does not exist: {region!r}")
    return f"https://cognito-idp.{region}.amazonaws.com"


def log_in(
    http: Http,
    api_url: str,
    ask_user: Callable[[], tuple[str, str]],
    ask_new_password: Callable[[], str],
    ask_code: Callable[[], str],
) -> str:
    """Sign in to an API and keep the sign-in; returns the user's name.

    `ask_user` gives name and password; the other two are asked only if Cognito wants a new password or a code of an
    authenticator app. Raises CliError.
    """
    region, client_id = sign_in_facts(http, api_url)  # first, so that nobody types a password for a wrong URL
    cognito = Cognito(http, cognito_url(region), client_id)
    user, password = ask_user()
    answer = cognito.by_password(user, password)
    while "AuthenticationResult" not in answer:
        match answer.get("ChallengeName"):
            case "NEW_PASSWORD_REQUIRED":
                answer = cognito.answer(answer, {"USERNAME": user, "NEW_PASSWORD": ask_new_password()})
            case "SOFTWARE_TOKEN_MFA":
                answer = cognito.answer(answer, {"USERNAME": user, "SOFTWARE_TOKEN_MFA_CODE": ask_code()})
            case other:
                raise CliError(f"Cognito asks for {other}, which this command cannot do.")
    result = answer["AuthenticationResult"]
    TokenStore().put(api_url, {"user": user, "region": region, "client_id": client_id, **_kept(result)})
    return user


def log_out(http: Http, api_url: str) -> bool:
    """Forget the sign-in to an API and end it at Cognito; returns whether there was one.

    Raises ApiError when Cognito could not be told: the sign-in is forgotten here all the same.
    """
    store = TokenStore()
    entry = store.get(api_url)
    if entry is None:
        return False
    store.put(api_url, None)
    Cognito(http, cognito_url(entry["region"]), entry["client_id"]).revoke(entry["refresh_token"])
    return True


def _kept(result: Json) -> Json:
    """Pick what is kept of an AuthenticationResult (a refresh mostly brings no new refresh token)."""
    kept = {"id_token": result["IdToken"], "expires_at": time.time() + result["ExpiresIn"]}
    return {**kept, "refresh_token": result["RefreshToken"]} if "RefreshToken" in result else kept


def _document(answer: requests.Response) -> Json:
    """Return the JSON object of an answer, or an empty one."""
    try:
        document: Any = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
