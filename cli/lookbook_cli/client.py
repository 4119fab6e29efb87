"""The client of Lookbook's HTTP API: time-outs, retries of reads, and errors in plain words."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests

Json = dict[str, Any]

TIMEOUT = (5.0, 35.0)  # seconds to connect, and to wait for the next bytes: the API itself gives up after 30
UPLOAD_TIMEOUT = (5.0, 120.0)  # S3 answers an upload only when it has stored all of it
BACKOFF = (0.5, 1.0, 2.0)  # seconds before each repeat of a read
PAGE = 100  # entries asked for at a time
BLOCK = 256 * 1024  # bytes of a file sent at a time

_TRY_AGAIN = frozenset({429, 502, 503, 504})
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class CliError(Exception):
    """Something the user should know; its text is one plain sentence or two, without secrets."""


class ApiError(CliError):
    """The other side refused, failed, or could not be reached (`status` is None then).

    `title` and `detail` are those of its problem document (RFC 9457), or the nearest there is.
    """

    def __init__(self, title: str, detail: str = "", status: int | None = None) -> None:
        super().__init__(detail or title)
        self.title = title
        self.detail = detail
        self.status = status


class NotFoundError(ApiError):
    """The API knows no such thing; a 404 that is not its own, as of a wrong URL, stays an `ApiError`."""


class Tokens(Protocol):
    """Where the client gets its ID token from."""

    def current(self) -> str:
        """Return a token that is good for some minutes. Raises CliError when there is none to be had."""
        ...

    def renew(self) -> str:
        """Return a new token, because the current one was refused."""
        ...


def is_local(url: str) -> bool:
    """Tell whether a URL points at this computer."""
    host = urlsplit(url).hostname or ""
    return host in {"127.0.0.1", "::1", "localhost"} or host.endswith(".localhost")


@dataclass
class Http:
    """Sends requests: the one place with time-outs and retries. Tests swap the session's transport and the sleep."""

    session: requests.Session = field(default_factory=requests.Session)
    sleep: Callable[[float], None] = time.sleep

    def send(
        self,
        method: str,
        url: str,
        *,
        token: str = "",
        params: Json | None = None,
        data: Any = None,
        headers: dict[str, str] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        retry: bool = True,
    ) -> requests.Response:
        """Return the answer, whatever its status, with its body read.

        A GET is repeated when the connection breaks or the answer is 429, 502, 503 or 504; nothing else ever is, as
        it might be done twice. Raises ApiError when there is no answer.
        """

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # As an `auth` of our own, so that requests does not put a ~/.netrc entry in its place.
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return request

        # A proxy of the environment would not reach this computer's own ports.
        self.session.trust_env = not is_local(url)
        for delay in (*BACKOFF, None) if method == "GET" and retry else (None,):
            try:
                answer = self.session.request(
                    method,
                    url,
                    params=params,
                    data=data,
                    headers=headers,
                    auth=sign,
                    timeout=timeout,
                    allow_redirects=False,
                )
            except _BROKEN as error:
                if delay is None:
                    raise _unreachable(url, error) from error
            except requests.RequestException as error:
                raise _unreachable(url, error) from error
            else:
                if delay is None or answer.status_code not in _TRY_AGAIN:
                    return answer
            self.sleep(delay)
        raise AssertionError  # the last round returns or raises


def _unreachable(url: str, error: requests.RequestException) -> ApiError:
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}"  # without path and query: a presigned URL is a secret
    if isinstance(error, requests.exceptions.SSLError):
        return ApiError("No secure connection", f"{where} could not prove who it is, so nothing was sent.")
    if isinstance(error, requests.ReadTimeout):
        return ApiError("No answer", f"{where} took too long to answer.")
    return ApiError("Not reachable", f"{where} cannot be reached.")


def _done(answer: requests.Response) -> bool:
    return HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES  # `ok` would let redirects pass


def failure(answer: requests.Response) -> ApiError:
    """Make an ApiError of an answer that is no success."""
    status = answer.status_code
    kind = answer.headers.get("Content-Type", "")
    try:
        body = answer.json() if "json" in kind else None
    except ValueError:
        body = None
    if isinstance(body, dict) and "problem+json" in kind:
        title = str(body.get("title") or answer.reason)
        detail = " ".join([str(body.get("detail") or title), *_parts(body.get("errors"))])
        detail += _hint(detail) if status == HTTPStatus.NOT_FOUND else ""
        return (NotFoundError if status == HTTPStatus.NOT_FOUND else ApiError)(title, detail, status)
    # API Gateway and its authorizer answer {"message": …}; S3 answers XML with <Message>.
    said = str(body.get("message") or "") if isinstance(body, dict) else ""
    if not said and "xml" in kind and (found := re.search(r"<Message>([^<]{1,300})</Message>", answer.text)):
        said = found[1]
    title = said or answer.reason or "an error"
    parts = urlsplit(answer.url or "")
    return ApiError(title, f"{parts.scheme}://{parts.netloc} answered {status}: {title.rstrip('.')}.", status)


def _hint(detail: str) -> str:
    """Say what a product's id may lack that is a number, as people know Hotmart's products by."""
    found = re.search(r"\b(?:no product (\d+)\.|[Pp]roduct (\d+) is not in\b)", detail)
    return f" If it is one of Hotmart's, its id is hotmart:{found[1] or found[2]}." if found else ""


def _parts(errors: Any) -> Iterator[str]:
    """Say the first few of a problem's `errors`, each a text or an object that says where and what."""
    for error in errors[:3] if isinstance(errors, list) else ():
        if not isinstance(error, dict):
            yield str(error)
            continue
        where = error.get("pointer") or error.get("field") or error.get("loc") or ""
        what = error.get("detail") or error.get("message") or error.get("msg") or ""
        if isinstance(where, list):
            where = ".".join(str(part) for part in where)
        if what:
            yield f"({where}: {what})" if where else f"({what})"


class Client:
    """The HTTP API of one Lookbook. Every method raises ApiError, or CliError when the sign-in is no longer good."""

    def __init__(self, api_url: str, tokens: Tokens, http: Http) -> None:
        self.api_url = api_url
        self._tokens = tokens
        self._http = http

    def token(self) -> str:
        """Return a token that is good for some minutes."""
        return self._tokens.current()

    def create_run(self, name: str, scrape: str, options: Json, *, plan: bool = False) -> Json:
        """Start a run, or the plan of one, on a scrape sent along, and return the run."""
        return self._call("POST", _runs(plan), body={"name": name, "scrape": scrape, "options": options})

    def create_upload(self, name: str, options: Json, *, plan: bool = False) -> tuple[Json, Json]:
        """Prepare a run on a scrape too large to send along: return the run, and `{"url", "fields"}` for `upload`."""
        answer = self._call("POST", _runs(plan), body={"name": name, "upload": True, "options": options})
        return answer["run"], answer["upload"]

    def upload(self, target: Json, path: Path, advance: Callable[[int], None]) -> None:
        """Send a file to S3 by a presigned POST; calls `advance` with the bytes sent since."""
        with path.open("rb") as source:
            form = Form(target["fields"], source, path.stat().st_size, advance)
            answer = self._http.send(
                "POST",
                target["url"],
                data=form,
                headers={"Content-Type": form.content_type},
                timeout=UPLOAD_TIMEOUT,
            )
        if not _done(answer):
            raise failure(answer)

    def run(self, run_id: str) -> Json:
        """Return one run."""
        return self._call("GET", f"/api/runs/{_part(run_id)}")

    def runs(self, limit: int | None) -> Iterator[Json]:
        """Yield the runs, newest first."""
        return self._pages("/api/runs", "runs", {}, limit)

    def items(self, run_id: str, status: str | None, limit: int | None) -> Iterator[Json]:
        """Yield what became of each product of a run."""
        return self._pages(f"/api/runs/{_part(run_id)}/items", "items", {"status": status}, limit)

    def retry(self, run_id: str, max_cost_usd: float | None) -> Json:
        """Start a run of what failed or was left over in another, and return the new run."""
        body = {} if max_cost_usd is None else {"max_cost_usd": max_cost_usd}
        return self._call("POST", f"/api/runs/{_part(run_id)}/retry", body=body)

    def stop(self, run_id: str) -> Json:
        """Let a run submit nothing more, and return it."""
        return self._call("POST", f"/api/runs/{_part(run_id)}/stop", body={})

    def ledger(self, run_id: str) -> Iterator[Json]:
        """Yield a run's paid attempts."""
        return self._pages(f"/api/runs/{_part(run_id)}/ledger", "entries", {}, None)

    def products(self, source: str | None, words: str | None, limit: int | None) -> Iterator[Json]:
        """Yield the library's products, newest first: all, or those that have such words."""
        return self._pages("/api/products", "products", {"source": source, "q": words}, limit)

    def product(self, product_id: str) -> Json:
        """Return a product with its `image_list`. Raises NotFoundError."""
        return self._call("GET", _product(product_id))

    def tag(self, product_id: str, tags: list[str]) -> Json:
        """Give a product these tags, instead of those it has, and return it."""
        return self._call("PUT", f"{_product(product_id)}/tags", body={"tags": tags})

    def change_tags(self, product_id: str, add: list[str], remove: list[str]) -> Json:
        """Add and remove some of a product's tags, whatever others it has by then, and return it."""
        return self._call("PUT", f"{_product(product_id)}/tags", body={"add": add, "remove": remove})

    def generate(self, product_id: str, prompt: str | None) -> Json:
        """Start a run that makes a product a cover, by a prompt or the usual one, and return the run."""
        body = {} if prompt is None else {"customPrompt": prompt}
        return self._call("POST", f"{_product(product_id)}/images/generate", body=body)

    def upload_image(self, product_id: str, path: Path, advance: Callable[[int], None]) -> Json:
        """Send a picture that a request can carry, and return the image made of it, which is the cover."""
        with path.open("rb") as source:
            form = Form({}, source, path.stat().st_size, advance, name="image")
            return self._call(
                "POST", f"{_product(product_id)}/images/upload", data=form, content_type=form.content_type
            )

    def upload_url(self, product_id: str) -> Json:
        """Return where to `upload` a picture that no request could carry: `{"upload_id", "url", "fields"}` and more."""
        return self._call("POST", f"{_product(product_id)}/images/upload-url", body={})

    def uploaded(self, product_id: str, upload_id: str) -> Json:
        """Return what became of a picture sent so: `{"status", "reason", "image"}`, waiting, done or refused."""
        return self._call("GET", f"{_product(product_id)}/images/uploads/{_part(upload_id)}")

    def images(self, product_id: str) -> list[Json]:
        """Return all of a product's images, the hidden ones too."""
        images: list[Json] = self._call("GET", f"{_product(product_id)}/images")["images"]
        return images

    def history(self, product_id: str, limit: int | None) -> Iterator[Json]:
        """Yield the entries of a product's history, newest first."""
        return self._pages(f"{_product(product_id)}/images/history", "entries", {}, limit)

    def activate(self, product_id: str, image_id: str) -> Json:
        """Make an image its product's cover, and return the product."""
        return self._call("POST", f"{_product(product_id)}/images/{_part(image_id)}/activate", body={})

    def rate(self, product_id: str, image_id: str, stars: int) -> Json:
        """Rate an image of a product, and return the image."""
        return self._call("PUT", f"{_product(product_id)}/images/{_part(image_id)}/rating", body={"stars": stars})

    def hide(self, product_id: str, image_id: str) -> Json:
        """Hide an image of a product, and return it."""
        return self._call("DELETE", f"{_product(product_id)}/images/{_part(image_id)}")

    def find_image(self, beginning: str) -> Json:
        """Return the image whose id begins so, as `{"image_id", "products"}`. Raises NotFoundError."""
        return self._call("GET", f"/api/images/{_part(beginning)}")

    def notes(self, product_id: str, limit: int | None) -> Iterator[Json]:
        """Yield a product's notes, newest first."""
        return self._pages(f"{_product(product_id)}/notes", "notes", {}, limit)

    def add_note(self, product_id: str, text: str) -> Json:
        """Add a note to a product, and return it."""
        return self._call("POST", f"{_product(product_id)}/notes", body={"note": text})

    def edit_note(self, product_id: str, note_id: str, text: str) -> Json:
        """Change a note's text, and return the note."""
        return self._call("PUT", f"{_product(product_id)}/notes/{_part(note_id)}", body={"note": text})

    def delete_note(self, product_id: str, note_id: str) -> Json:
        """Delete a note, and return what it was."""
        return self._call("DELETE", f"{_product(product_id)}/notes/{_part(note_id)}")

    def sync_hotmart(self) -> Json:
        """Start a sync of Hotmart's products, unless one is at work, and return how it is."""
        return self._call("POST", "/api/hotmart/sync", body={})

    def hotmart(self) -> Json:
        """Return how the sync of Hotmart's products is."""
        return self._call("GET", "/api/hotmart/status")

    def duplicates(self, limit: int | None) -> tuple[list[Json], int]:
        """Return groups of products whose source pictures look alike, and how many products were compared."""
        groups, compared = [], 0
        for page in self._documents("/api/duplicates", "groups", {}, limit):
            groups += page["groups"]
            compared = page["compared"]
        return groups, compared

    def methods(self) -> Json:
        """Return what can make images as `{"methods", "prices_as_of"}`."""
        return self._call("GET", "/api/methods")

    def models(self) -> list[Json]:
        """Return the model photos."""
        models: list[Json] = self._call("GET", "/api/models")["models"]
        return models

    def put_model(self, name: str, data: bytes, content_type: str) -> Json:
        """Store a model photo under a name, in the place of an older one of that name, and return it."""
        return self._call("PUT", f"/api/models/{_part(name)}", data=data, content_type=content_type)

    def stores(self) -> list[Json]:
        """Return the stores."""
        found: list[Json] = self._call("GET", "/api/stores")["stores"]
        return found

    def add_store(self, body: Json) -> Json:
        """Add a store with its credentials, and return it without them."""
        return self._call("POST", "/api/stores", body=body)

    def change_store(self, store_id: str, body: Json) -> Json:
        """Change a store's name, domain or credentials, and return it."""
        return self._call("PUT", f"/api/stores/{_part(store_id)}", body=body)

    def remove_store(self, store_id: str, *, keep_pictures: bool) -> None:
        """Remove a store; unless told to keep them, the API refuses while images are live in it."""
        params = {"keep_pictures": "true"} if keep_pictures else None
        self._call("DELETE", f"/api/stores/{_part(store_id)}", params=params)

    def test_store(self, store_id: str) -> Json:
        """Return whether a store can be published to: `{"ok", "shop", "scopes", "missing", "reason"}`."""
        return self._call("POST", f"/api/stores/{_part(store_id)}/test", body={})

    def start_in_store(self, store_id: str, what: str, body: Json) -> Json:
        """Start a run in a store (`mapping`, `sync`, `unpublish` or `match`), and return it."""
        return self._call("POST", f"/api/stores/{_part(store_id)}/{what}", body=body)

    def matches(self, store_id: str, run_id: str) -> Json:
        """Return what a match found: counts, and the `url` of a mapping."""
        return self._call("GET", f"/api/stores/{_part(store_id)}/matches/{_part(run_id)}")

    def usage(self, store_id: str, status: str | None, limit: int | None) -> tuple[Json, list[Json]]:
        """Return a store with its figures, and its products with the images that are live there."""
        store: Json = {}
        usages: list[Json] = []
        for page in self._documents(f"/api/stores/{_part(store_id)}/usage", "usages", {"status": status}, limit):
            store, usages = page["store"], usages + page["usages"]
        return store, usages

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind a presigned URL."""
        answer = self._http.send("GET", url)
        if not _done(answer):
            raise failure(answer)
        return answer.content

    def _pages(self, path: str, key: str, params: Json, limit: int | None) -> Iterator[Json]:
        """Yield the entries of a list, up to `limit` of them (None: all)."""
        for page in self._documents(path, key, params, limit):
            yield from page[key]

    def _documents(self, path: str, key: str, params: Json, limit: int | None) -> Iterator[Json]:
        """Yield a list's pages, with up to `limit` entries under `key` in all of them (None: all)."""
        cursor, left = None, limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = self._call("GET", path, params={**params, "limit": size, "cursor": cursor})
            entries = page[key] if left is None else page[key][:left]
            yield {**page, key: entries}
            left = None if left is None else left - len(entries)
            cursor = page.get("cursor")
            if not cursor:
                return

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Json | None = None,
        body: Json | None = None,
        data: "bytes | Form | None" = None,
        content_type: str = "",
    ) -> Json:
        headers = {"Accept": "application/json"}
        if body is not None:
            # Not escaped to ASCII: a Lambda admits 6 MB, and a Chinese scrape would double.
            data, content_type = json.dumps(body, ensure_ascii=False).encode(), "application/json"
        if content_type:
            headers["Content-Type"] = content_type

        def send(token: str) -> requests.Response:
            url = self.api_url + path
            return self._http.send(method, url, token=token, params=params, data=data, headers=headers)

        answer = send(self._tokens.current())
        if answer.status_code == HTTPStatus.UNAUTHORIZED:  # refused at the door, so nothing was done: safe to repeat
            answer = send(self._tokens.renew())
        if not _done(answer):
            raise failure(answer)
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ApiError("Not an answer", f"{self.api_url} does not answer as a Lookbook does.")
        return document


def _runs(plan: bool) -> str:
    return "/api/runs/plan" if plan else "/api/runs"


def _product(product_id: str) -> str:
    return f"/api/products/{_part(product_id)}"


def _part(text: str) -> str:
    """Make an id one part of a path, whatever is in it."""
    return quote(text, safe="")


class Form:
    """A multipart/form-data body that reads its file while it is sent, and from its start when it is sent again.

    requests would hold the whole file in memory; S3 takes no body of unknown length. So this has a length and can be
    iterated over, which is what requests asks of a stream. `advance` is called with the bytes of the file sent since.
    The file is the part called `name`, under no name of its own: that is nobody's business.
    """

    def __init__(
        self, fields: dict[str, str], source: Any, size: int, advance: Callable[[int], None], *, name: str = "file"
    ) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        head = "".join(f'{part}{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
        # The file comes last: S3 ignores what follows it.
        head += f'{part}{name}"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        self._head, self._tail = head.encode(), f"\r\n--{boundary}--\r\n".encode()
        self._source, self._size, self._advance = source, size, advance
        self._sent = 0

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        if self._sent:
            self._advance(-self._sent)
        self._source.seek(0)
        self._sent = 0
        yield self._head
        while left := self._size - self._sent:
            block = self._source.read(min(BLOCK, left))
            if not block:
                raise CliError("The file became shorter while it was being sent, so it was not taken. Send it again.")
            self._sent += len(block)
            yield block
            self._advance(len(block))
        yield self._tail
