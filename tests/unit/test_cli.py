"""The `lookbook` command against an API in memory: the session's transport is swapped, so nothing opens a socket."""

import ast
import hashlib
import io
import json
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import responses
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner, Result
from urllib3 import HTTPResponse

import lookbook_cli
from lookbook import duplicates
from lookbook_cli import common, library_commands, main, render, run_commands, session
from lookbook_cli.client import BLOCK, ApiError, Client, CliError, Form, Http

Json = dict[str, Any]

REMOTE = "https://api.example.com"
LOCAL = "http://127.0.0.1:4566/_aws/execute-api/abcd1234"
COGNITO = "https://cognito-idp.eu-west-1.amazonaws.com"
RUN_ID = "20261121T101502-3f9a2c1b"
PICTURES = [b"\xff\xd8\xff" + bytes([n]) * 100 for n in range(3)]


def a_run(status: str = "succeeded", **changes: Any) -> Json:
    counts = {"products": 40, "reused": 32, "generated": 8, "rejected": 0, "failed": 0}
    run: Json = {
        "run_id": RUN_ID,
        "name": "store1.json",
        "status": status,
        "seconds": 31.25,
        "counts": {**counts, "blocked": 0, "deferred": 0, "duplicates": 0},
        "images_generated": 24,
        "images_reused": 96,
        "cost_usd": 0.0123,
        "saved_usd": 0.0512,
        "reason": None,
        "progress": None,
        "problems": [],
        "kind": "scrape",
        "retry_of": None,
        "stopping": None,
        "options": {},
        "unknown_usd": 0,
        "ledger": [],
        "plan": None,
    }
    return run | changes | {"counts": run["counts"] | changes.get("counts", {})}


def a_plan(**changes: Any) -> Json:
    """Return the planned run of 20 products on catvton, and one on openai."""
    licence = "CC BY-NC-SA 4.0 (non-commercial)"
    catvton = {"method": "catvton", "products": 20, "images": 60, "usd_per_image": 0.0034, "seconds_per_image": 11.0}
    openai = {"method": "openai", "products": 1, "images": 1, "usd_per_image": 0.106, "seconds_per_image": 20.0}
    plan = {
        "images_to_generate": 61,
        "images_linked": 9,
        "cost_usd": 0.31,
        "max_cost_usd": 0.3512,
        "minutes": 3.4,
        "prices_as_of": "2026-11-21",
        "methods": [
            catvton | {"cost_usd": 0.204, "minutes": 2.8, "licence": licence, "basis": "measured over 120 images"},
            openai | {"cost_usd": 0.106, "minutes": 0.6, "licence": "commercial use allowed", "basis": "list price"},
        ],
        "notices": ["The model gpt-image-2.6-flare ends on 2026-12-20; set OpenAiModel."],
    }
    counts = {"products": 30, "reused": 4, "generated": 0, "linked": 3, "planned": 21, "rejected": 2}
    return a_run("planned", kind="plan", plan=plan | changes, counts=counts, cost_usd=0, images_reused=12)


def ledger_sum(provider: str, **changes: Any) -> Json:
    attempts = {"attempts": 26, "succeeded": 24, "failed": 2, "blocked": 0, "unknown": 0, "open": 0}
    return {"provider": provider, **attempts, "cost_usd": 0.0842, "unknown_usd": 0, "work_seconds": 264.5, **changes}


def an_attempt(status: str = "succeeded", **changes: Any) -> Json:
    return {
        "product_id": "1402938475610293847",
        "variant": 1,
        "provider": "openai",
        "status": status,
        "job_id": "resp_0f3c9a2b7d5e4f81",
        "created_at": "2026-11-21T10:15:07Z",
        "cost_usd": 0.0405,
        "at_most_usd": None,
        "work_seconds": 18.25,
        "usage": {"input_tokens": 812, "output_tokens": 1056, "input_tokens_details": {"image_tokens": 800}},
        "model_version": "gpt-image-2.6",
        "image_id": None,
        "reason": None,
        **changes,
    }


def a_product(product_id: str, images: int = 3) -> Json:
    return {
        "product_id": product_id,
        "title": "Floral dress",
        "category": "Dresses",
        "source": "cj",
        "cover_image_id": sha256(PICTURES[0]) if images else None,
        "image_count": images,
        "variants": list(range(1, images + 1)),
        "updated_at": "2026-11-21T10:00:00Z",
        "image_list": [
            {
                "image_id": sha256(PICTURES[n]),
                "variant": n + 1,
                "method": "catvton",
                "model_photo": "woman_45_caucasian",
                "width": 768,
                "height": 1024,
                "bytes": len(PICTURES[n]),
                "url": f"https://pictures.example.com/{n}.jpg?signature=secret",
                "created_at": "2026-11-21T10:00:00Z",
                "cost_usd": 0.0006,
                "licence": "CC BY-NC-SA 4.0",
            }
            for n in range(images)
        ],
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Sent:
    """A request as the other side saw it."""

    method: str
    url: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any]


@dataclass
class World(HTTPAdapter):
    """The API, Cognito and S3, in memory. `before` may answer a request first, or raise what a network raises."""

    runs: list[Json] = field(default_factory=lambda: [a_run()])  # what GET /api/runs/{id} answers, one after the other
    lists: dict[str, list[Json]] = field(default_factory=dict)
    products: dict[str, Json] = field(default_factory=dict)
    methods: Json = field(default_factory=dict)
    pictures: list[bytes] = field(default_factory=lambda: list(PICTURES))
    challenges: list[str] = field(default_factory=list)
    token: str = "token-1"
    before: Callable[[Sent], Answer | None] = lambda _: None
    sent: list[Sent] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    page_size: int = 2

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = b"".join(body)  # a stream
        parts = urlsplit(str(request.url))
        sent = Sent(
            str(request.method),
            f"{parts.scheme}://{parts.netloc}",
            parts.path,
            dict(parse_qsl(parts.query)),
            dict(request.headers),
            body,
        )
        self.sent.append(sent)
        status, document = self.before(sent) or self.answer(sent)
        kind = "application/problem+json" if isinstance(document, dict) and "title" in document else "application/json"
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        raw = HTTPResponse(
            io.BytesIO(content),
            {"Content-Type": "image/jpeg" if isinstance(document, bytes) else kind},
            status,
            reason=responses.get(status),
            preload_content=False,
        )
        return self.build_response(request, raw)

    def answer(self, sent: Sent) -> Answer:
        path = sent.path.removeprefix(urlsplit(LOCAL).path)
        if path == "/sign-in":
            return 200, {"region": "eu-west-1", "client_id": "client-1"}
        if path == "/":
            return self.cognito(sent)
        if path == "/bucket":
            return 204, b""
        if "pictures." in sent.url:
            return 200, self.pictures[int(path[1])]
        if sent.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"message": "Unauthorized"}
        return self.api(sent, path.split("/")[2:])

    def api(self, sent: Sent, route: list[str]) -> Answer:
        match sent.method, route:
            case "POST", ["runs"] | ["runs", "plan"]:
                fields = {"key": "scrapes/x.json", "policy": "p"}
                upload = {"run": self.runs[0], "upload": {"url": "https://s3.example.com/bucket", "fields": fields}}
                return (201, upload) if sent.json.get("upload") else (202, self.runs[0])
            case ("GET" | "POST") as method, ["runs", _, *action] if action in ([], ["retry"], ["stop"]):
                run = self.runs.pop(0) if len(self.runs) > 1 and method == "GET" else self.runs[0]
                return (200 if method == "GET" else 202), run
            case "GET", ["products", part]:
                product = self.products.get(unquote(part))
                return (
                    (200, product) if product else (404, {"title": "Not found", "detail": "There is no such product."})
                )
            case "PUT", ["models", name]:
                return 200, {"name": name, "width": 768, "height": 1024, "bytes": len(sent.body), "url": "u"}
            case "GET", [*_, name]:
                key = {"ledger": "entries", "duplicates": "groups"}.get(name, name)
                return 200, self.methods if name == "methods" else self.page(sent, key)
        return 404, {"message": "Not Found"}

    def page(self, sent: Sent, key: str) -> Json:
        start = int(sent.query.get("cursor", 0))
        end = start + min(self.page_size, int(sent.query.get("limit", 100)))
        entries = self.lists.get(key, [])
        more = {"compared": 40} if key == "groups" else {}
        return {key: entries[start:end], "cursor": str(end) if end < len(entries) else None, **more}

    def cognito(self, sent: Sent) -> Answer:
        action = sent.headers["X-Amz-Target"].removeprefix("AWSCognitoIdentityProviderService.")
        if action == "RevokeToken":
            return 200, {}
        if action == "InitiateAuth" and sent.json["AuthParameters"].get("PASSWORD", "right") != "right":
            return 400, {"__type": "x#NotAuthorizedException", "message": "Incorrect username or password."}
        if self.challenges and sent.json.get("AuthFlow") != "REFRESH_TOKEN_AUTH":
            return 200, {"ChallengeName": self.challenges.pop(0), "Session": "session-1"}
        result = {"IdToken": self.token, "RefreshToken": "refresh-1", "ExpiresIn": 3600}
        return 200, {"AuthenticationResult": result}

    def paths(self, method: str) -> list[str]:
        return [sent.path for sent in self.sent if sent.method == method]

    @property
    def http(self) -> Http:
        made = requests.Session()
        made.mount("http://", self)
        made.mount("https://", self)
        return Http(made, self.slept.append)


@pytest.fixture
def world() -> World:
    return World()


def local_cloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in a folder with a local cloud, with 80 columns and no terminal."""
    nowhere(folder, monkeypatch)
    stack = {"api_url": LOCAL, "endpoint_url": "http://127.0.0.1:4566", "user": "editor", "password": "right"}
    (folder / ".local").mkdir()
    (folder / ".local" / "stack.json").write_text(json.dumps(stack))


def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder and an empty home, with 80 columns and no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "PROJECT_ROOT", tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("LOOKBOOK_API_URL", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere(tmp_path, monkeypatch)


@pytest.fixture
def _local(tmp_path: Path) -> None:
    stack = {
        "api_url": LOCAL,
        "endpoint_url": "http://127.0.0.1:4566",
        "region": "eu-west-1",
        "user": "editor",
        "password": "right",
    }
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.json").write_text(json.dumps(stack))


@pytest.fixture
def scrape(tmp_path: Path) -> Path:
    path = tmp_path / "store1.json"
    path.write_text('[{"id": "CJ1", "title": "连衣裙"}]', encoding="utf-8")
    return path


@pytest.fixture
def store() -> session.TokenStore:
    return session.TokenStore()


def signed_in(store: session.TokenStore, expires_in: float = 3600) -> None:
    entry = {"user": "anna", "region": "eu-west-1", "client_id": "client-1", "id_token": "token-1"}
    store.put(REMOTE, {**entry, "refresh_token": "refresh-0", "expires_at": time.time() + expires_in})


def lookbook(world: World, *args: object, typed: str | None = None) -> Result:
    words = [str(arg) for arg in args]
    return CliRunner().invoke(main.app, words, input=typed, obj=common.Tools(world.http), prog_name="lookbook")


# --- run


@pytest.mark.usefixtures("_local")
def test_small_scrape_is_sent_along_and_its_run_followed_to_the_end(world: World, scrape: Path) -> None:
    # Given a run that takes a while
    progress = {"done": 3, "total": 8}
    world.runs = [a_run("running"), a_run("running", progress=progress), a_run("running"), a_run("succeeded")]
    # When it is started with options
    result = lookbook(world, "run", scrape, "--variants", 2, "--model", "woman_45", "--model", "man_30")
    # Then the API got the file's text and the options, and the closing table shows the figures
    (created,) = [sent for sent in world.sent if sent.path.endswith("/api/runs")]
    assert created.json == {
        "name": "store1.json",
        "scrape": scrape.read_text(encoding="utf-8"),
        "options": {"variants": 2, "model_photos": ["woman_45", "man_30"]},
    }
    assert result.exit_code == 0
    rows = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1)
    assert {"products": "40", "reused": "32", "generated": "8", "rejected": "0", "failed": "0"}.items() <= rows.items()
    assert {"seconds": "31.2", "dollars": "0.0123"}.items() <= rows.items()
    assert "blocked" not in rows
    assert world.slept == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(("status", "exit_code"), [("succeeded", 0), ("partial", 2), ("failed", 1), ("stopped", 1)])
def test_exit_status_says_how_the_run_ended(world: World, scrape: Path, status: str, exit_code: int) -> None:
    world.runs = [a_run(status, reason="The file is not JSON.")]
    result = lookbook(world, "run", scrape)
    assert result.exit_code == exit_code
    assert "The file is not JSON." in result.stdout


@pytest.mark.usefixtures("_local")
def test_json_is_one_document_on_stdout_and_nothing_else_anywhere(world: World, scrape: Path) -> None:
    world.runs = [a_run("running"), a_run("partial", name="连衣裙")]
    result = lookbook(world, "run", scrape, "--json")
    assert json.loads(result.stdout) == a_run("partial", name="连衣裙")
    assert result.stderr == ""
    assert result.exit_code == 2


@pytest.mark.usefixtures("_local")
def test_problems_are_listed_with_the_way_to_the_rest_of_them(world: World, scrape: Path) -> None:
    # Given a run with more problems than it lists, one of them with a title that is no good for a terminal
    problems = [
        {"index": 3, "product_id": "CJ3", "status": "rejected", "reason": "no [bold]picture[/x]\x1b[31m\nhere"},
        {"index": 9, "product_id": "1402938475610293847", "status": "failed", "reason": "the GPU failed"},
    ]
    world.runs = [a_run("partial", problems=problems, counts={"rejected": 1, "failed": 5, "blocked": 2})]
    # When it ends
    result = lookbook(world, "run", scrape)
    # Then each is there with index, id and reason, as text and no more than text
    assert "    3  CJ3                  rejected  no [bold]picture[/x] [31m here" in result.stdout
    assert "    9  1402938475610293847  failed    the GPU failed" in result.stdout
    assert "2 of 8 problems shown" in result.stdout
    assert f"lookbook items {RUN_ID} --status failed" in result.stdout
    assert "blocked" in result.stdout
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize("content", [b"x" * run_commands.INLINE, b'[{"title": "\xff"}]'], ids=["large", "not UTF-8"])
def test_what_cannot_be_sent_along_is_uploaded(world: World, tmp_path: Path, content: bytes) -> None:
    # Given a scrape that a request cannot carry
    path = tmp_path / "big.json"
    path.write_bytes(content)
    world.runs = [a_run("awaiting_upload"), a_run("succeeded")]
    # When it is run
    result = lookbook(world, "run", path)
    # Then S3 gets a form with a length, the file in its last part, and nobody's token
    assert result.exit_code == 0
    (upload,) = [sent for sent in world.sent if sent.path == "/bucket"]
    assert upload.headers["Content-Length"] == str(len(upload.body))
    assert "Authorization" not in upload.headers
    boundary = upload.headers["Content-Type"].partition("boundary=")[2].encode()
    *fields, last, end = upload.body.split(b"--" + boundary)
    assert b'name="key"\r\n\r\nscrapes/x.json\r\n' in b"".join(fields)
    assert b'name="file"' in last.partition(b"\r\n\r\n")[0]
    assert last.partition(b"\r\n\r\n")[2] == content + b"\r\n"
    assert end == b"--\r\n"


def test_form_reads_its_file_in_blocks_and_tells_how_far_it_is() -> None:
    size = 2 * BLOCK + 10
    moved: list[int] = []
    form = Form({"key": "k"}, io.BytesIO(b"x" * size), size, moved.append)
    blocks = list(form)
    assert max(map(len, blocks)) <= BLOCK
    assert sum(map(len, blocks)) == len(form)
    assert sum(moved) == size


def test_form_of_a_file_that_became_shorter_is_an_error() -> None:
    with pytest.raises(CliError, match="shorter"):
        list(Form({}, io.BytesIO(b"x"), 2, lambda _: None))


@pytest.mark.usefixtures("_local")
def test_refused_upload_is_an_error_in_plain_words(world: World, tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b"\xff")
    world.before = lambda sent: (403, {"message": "Policy expired"}) if sent.path == "/bucket" else None
    result = lookbook(world, "run", path)
    assert result.exit_code == 1
    assert result.stderr == "Error: https://s3.example.com answered 403: Policy expired.\n"


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(("name", "says"), [("none.json", "no file"), ("empty.json", "empty"), (".", "not a file")])
def test_file_that_cannot_be_a_scrape_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "empty.json").touch()
    result = lookbook(world, "run", name)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


@pytest.mark.usefixtures("_local")
def test_no_wait_returns_at_once(world: World, scrape: Path) -> None:
    world.runs = [a_run("running")]
    result = lookbook(world, "run", scrape, "--no-wait")
    assert result.exit_code == 0
    assert f"lookbook show {RUN_ID}" in result.stdout
    assert not any(path.endswith(RUN_ID) for path in world.paths("GET"))


@pytest.mark.usefixtures("_local", "scrape")
@pytest.mark.parametrize("command", [["run", "store1.json"], ["retry", RUN_ID]], ids=["run", "retry"])
def test_ctrl_c_leaves_the_run_alone_and_says_how_to_see_and_stop_it(world: World, command: list[str]) -> None:
    # Given a run that goes on, and a user who does not want to wait
    world.runs = [a_run("running")]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    tools = common.Tools(world.http)
    tools.http.sleep = interrupt
    # When she stops the command
    result = CliRunner().invoke(main.app, command, obj=tools)
    # Then it says what becomes of the run, and leaves it alone
    assert result.exit_code == 130
    assert f"lookbook show {RUN_ID}" in result.stderr
    assert f"lookbook stop {RUN_ID}" in result.stderr
    assert not any(path.endswith("/stop") for path in world.paths("POST"))


@pytest.mark.usefixtures("_local")
def test_lost_connection_while_waiting_names_the_run(world: World, scrape: Path) -> None:
    world.runs = [a_run("running")]

    def gone(sent: Sent) -> Answer | None:
        if sent.path.endswith(RUN_ID):
            raise requests.ConnectionError
        return None

    world.before = gone
    result = lookbook(world, "run", scrape)
    assert result.exit_code == 1
    assert f"lookbook show {RUN_ID}" in result.stderr


# --- plan, budget, retry, stop


@pytest.mark.usefixtures("_local")
def test_plan_shows_what_a_run_would_make_and_cost_and_what_to_type_next(world: World, tmp_path: Path) -> None:
    # Given a scrape, in a file whose name has a space, that the API can plan
    path = tmp_path / "store 1.json"
    path.write_text("[]")
    problems = [{"index": 3, "product_id": "CJ3", "status": "rejected", "reason": "It has no picture."}]
    world.runs = [a_run("running", kind="plan"), a_plan() | {"problems": problems}]
    # When its plan is asked for
    result = lookbook(world, "run", "store 1.json", "--plan", "--variants", 3, "--model", "man_30")
    # Then a plan was started and no run
    assert result.exit_code == 0
    assert [path.rpartition("/api/")[2] for path in world.paths("POST") if "api/runs" in path] == ["runs/plan"]
    # And products and images are told, and methods with their dollars
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["reused", "4", "12"] in lines
    assert ["linked", "3", "9"] in lines
    assert ["to", "generate", "21", "61"] in lines
    assert ["rejected", "2"] in lines
    assert ["catvton", "20", "60", "0.2040", "0.0034", "11.0", "2.8", "minutes"] in lines
    assert ["openai", "1", "1", "0.1060", "0.1060", "20.0", "36", "seconds"] in lines
    # And how that is known, and the licence, in lines of their own
    assert "catvton: measured over 120 images; licence: CC BY-NC-SA 4.0 (non-commercial)" in result.stdout.splitlines()
    assert "0.3100 dollars, 3.4 minutes" in result.stdout
    assert "2026-11-21" in result.stdout
    assert "The model gpt-image-2.6-flare ends on 2026-12-20" in result.stdout
    # And problems are listed as a run's are, and last comes a command to copy, with a budget that suffices
    assert "It has no picture." in result.stdout
    assert result.stdout.splitlines()[-2:] == [
        "Make them with: lookbook run 'store 1.json' --variants 3 --model man_30 --max-cost 0.36",
        "(the estimate, and a reserve for dearer images)",
    ]
    # And there is nothing of a run that has not been
    assert "lookbook retry" not in result.stdout
    assert "generated" not in result.stdout


TAKE_OVER = "Take over what there is with: lookbook run store1.json"
RESERVE = "(the estimate, and a reserve for dearer images)"


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    ("budget", "changes", "ends"),
    [
        (0.375, {}, ["Make them with: lookbook run store1.json --max-cost 0.375"]),
        (2, {}, ["Make them with: lookbook run store1.json --max-cost 2.00"]),
        (50_000, {}, ["Make them with: lookbook run store1.json --max-cost 50000.00"]),
        (0.01, {}, ["Make them with: lookbook run store1.json --max-cost 0.36", RESERVE]),
        (
            0.32,
            {},
            [
                "Make them with: lookbook run store1.json --max-cost 0.36",
                RESERVE,
                "The budget of 0.32 dollars is enough only if no image is dearer than estimated.",
            ],
        ),
        (None, {"max_cost_usd": 0.4}, ["Make them with: lookbook run store1.json --max-cost 0.40", RESERVE]),
        (
            None,
            {"cost_usd": 0.0, "max_cost_usd": 1e-7},
            ["Make them with: lookbook run store1.json --max-cost 0.01", RESERVE],
        ),
        (
            None,
            {"images_to_generate": 0, "cost_usd": 0.0, "max_cost_usd": 0.0},
            [f"There is nothing to generate, so the run costs nothing. {TAKE_OVER}"],
        ),
    ],
    ids=["enough", "a round one", "a large one", "too small", "no reserve", "none", "for nothing", "nothing to make"],
)
def test_plan_suggests_a_budget_that_suffices(
    world: World,
    scrape: Path,
    budget: float | None,
    changes: Json,
    ends: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(scrape.parent)
    world.runs = [a_plan(**changes) | {"options": {"max_cost_usd": budget}}]
    result = lookbook(world, "run", scrape.name, "--plan")
    lines = result.stdout.splitlines()
    assert lines[-len(ends) :] == ends
    assert ("That is more than the budget of 0.01 dollars: not all of it would be made." in lines) is (budget == 0.01)


@pytest.mark.usefixtures("_local")
def test_plan_that_is_looked_at_later_says_what_to_type_too(world: World) -> None:
    world.runs = [a_plan()]
    result = lookbook(world, "show", RUN_ID)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-2:] == [
        "Make them with the same command without --plan, and with --max-cost 0.36",
        RESERVE,
    ]


@pytest.mark.usefixtures("_local")
def test_plan_that_fails_is_status_1(world: World, scrape: Path) -> None:
    world.runs = [a_run("failed", kind="plan", reason="The file is not JSON.", counts={"products": 0})]
    result = lookbook(world, "run", scrape, "--plan")
    assert result.exit_code == 1
    assert "The file is not JSON." in result.stdout
    assert "Make them with" not in result.stdout


@pytest.mark.usefixtures("_local")
def test_large_scrape_is_uploaded_to_be_planned(world: World, tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_bytes(b"x" * run_commands.INLINE)
    world.runs = [a_run("awaiting_upload", kind="plan"), a_plan()]
    result = lookbook(world, "run", path, "--plan", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == a_plan()
    assert [path.removeprefix(urlsplit(LOCAL).path) for path in world.paths("POST")][1:] == [
        "/api/runs/plan",
        "/bucket",
    ]


@pytest.mark.usefixtures("_local")
def test_budget_and_method_go_along_as_options(world: World, scrape: Path) -> None:
    result = lookbook(world, "run", scrape, "--max-cost", "0.5", "--method", "openai")
    assert result.exit_code == 0
    (created,) = [sent for sent in world.sent if sent.path.endswith("/api/runs")]
    assert created.json["options"] == {"method": "openai", "max_cost_usd": 0.5}


@pytest.mark.usefixtures("_local", "scrape")
@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf", "much", "1e9", ""])
@pytest.mark.parametrize("command", [["run", "store1.json"], ["retry", RUN_ID]], ids=["run", "retry"])
def test_budget_that_is_none_is_refused_before_anything_is_sent(world: World, command: list[str], budget: str) -> None:
    result = lookbook(world, *command, "--max-cost", budget)
    assert result.exit_code == 1
    assert result.stderr == "Error: Give dollars as a number of at most 100,000, such as 5 or 0.50.\n"
    assert world.sent == []


@pytest.mark.usefixtures("_local", "scrape")
@pytest.mark.parametrize("variants", ["0", "11", "-1", "2.5", "some"])
def test_variants_that_cannot_be_are_refused_in_plain_words(world: World, variants: str) -> None:
    result = lookbook(world, "run", "store1.json", "--variants", variants)
    assert result.exit_code == 1
    assert result.stderr == "Error: Give --variants as a whole number from 1 to 10.\n"
    assert world.sent == []


@pytest.mark.usefixtures("_local")
def test_run_with_products_left_over_says_how_to_try_them_again(world: World, scrape: Path) -> None:
    # Given a run whose budget was not enough, and which found pictures that it knew
    problems = [{"index": 3, "product_id": "CJ3", "status": "over_budget", "reason": "The budget was spent."}]
    counts = {"generated": 5, "over_budget": 3, "linked": 2}
    stopping, budget = "The budget of 0.50 dollars is spent.", {"max_cost_usd": 0.5}
    world.runs = [a_run("partial", stopping=stopping, options=budget, counts=counts, problems=problems)]
    # When it ends
    result = lookbook(world, "run", scrape)
    # Then what became of the products is told, and why, and the way on comes last
    assert result.exit_code == 2
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert {"linked 2", "over budget 3", "budget 0.50", f"Stopped: {stopping}"} <= set(lines)
    assert f"lookbook items {RUN_ID} --status over_budget" in lines
    assert lines[-1] == f"Give it more with: lookbook retry {RUN_ID} --max-cost DOLLARS"


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    ("budget", "changes", "more"),
    [
        (0.5, {}, True),
        (0.5, {"stopping": "The budget of $0.5 does not allow another image by openai."}, True),
        (0.5, {"stopping": "anna stopped it.", "problems": ["The budget of $0.5 does not allow another."]}, True),
        (0.5, {"stopping": "OpenAI's spending limit is reached; raise it and retry the run."}, False),
        (0.5, {"problems": ["OpenAI's spending limit is reached; raise it and retry the run."]}, False),
        (None, {"stopping": "OpenAI's spending limit is reached; raise it and retry the run."}, False),
    ],
)
def test_more_money_is_asked_for_only_if_it_helps(
    world: World, budget: float | None, changes: Json, more: bool
) -> None:
    # Given a run with products over a budget: its own, or a provider's
    problem = {"index": 1, "product_id": "CJ1", "status": "over_budget"}
    problems = [problem | {"reason": reason} for reason in changes.get("problems", ())]
    options = {"max_cost_usd": budget}
    world.runs = [a_run("partial", **changes | {"problems": problems}, options=options, counts={"over_budget": 1})]
    # When it is shown, then the way on is to raise what was too low
    last = lookbook(world, "show", RUN_ID).stdout.splitlines()[-1]
    give, again = (f"{how} with: lookbook retry {RUN_ID}" for how in ("Give it more", "Try them again"))
    assert last == (f"{give} --max-cost DOLLARS" if more else again)


@pytest.mark.usefixtures("_local")
def test_reason_of_a_stop_is_said_once(world: World) -> None:
    # Given a run that its provider stopped, whose verdict and whose products all name the reason
    stop = "OpenAI's quota is used up."
    problems = [{"index": n, "product_id": f"CJ{n}", "status": "deferred", "reason": stop} for n in range(3)]
    counts, reason = {"deferred": 3, "rejected": 1}, f"3 of 40 products did not get all their images. {stop}"
    world.runs = [a_run("partial", stopping=stop, reason=reason, counts=counts, problems=problems)]
    # When it is shown
    result = lookbook(world, "show", RUN_ID)
    # Then the reason is there once, and what a retry is good for
    assert result.stdout.count(stop) == 1
    assert result.stdout.splitlines()[-2:] == [
        f"Try them again with: lookbook retry {RUN_ID}",
        "A retry leaves rejected products out: they need a better scrape.",
    ]


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    ("status", "counts", "hint"),
    [
        ("partial", {"over_budget": 1, "failed": 1}, True),
        ("partial", {"failed": 1}, True),
        ("failed", {"deferred": 1}, True),
        ("partial", {"rejected": 1, "blocked": 1}, False),
        ("running", {"failed": 1}, False),
        ("failed", {}, False),
    ],
)
def test_only_a_run_that_has_ended_with_such_products_can_be_retried(
    world: World, status: str, counts: Json, hint: bool
) -> None:
    world.runs = [a_run(status, counts=counts)]
    assert (f"lookbook retry {RUN_ID}" in lookbook(world, "show", RUN_ID).stdout) is hint


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    ("unknown", "says"),
    [
        (0, []),
        (1, ["1 attempt's answer or result was lost; it may have been charged: up to 0.0750 dollars."]),
        (3, ["3 attempts' answers or results were lost; they may have been charged: up to 0.2250 dollars."]),
    ],
)
def test_ledger_of_a_run_is_told_and_what_may_have_been_charged(
    world: World, scrape: Path, unknown: int, says: list[str]
) -> None:
    # Given a run that two providers worked for, one of which was cut off before it answered
    usd = round(unknown * 0.075, 6)
    sums = [ledger_sum("catvton"), ledger_sum("openai", attempts=26 + unknown, unknown=unknown, unknown_usd=usd)]
    world.runs = [a_run(ledger=sums, unknown_usd=usd)]
    # When it ends
    result = lookbook(world, "run", scrape)
    # Then each provider has a row, and what may have cost more is said in words
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["catvton", "26", "24", "2", "0", "0", "0.0842", "264.5"] in lines
    lost = [f"(≤ {usd:.4f})"] if unknown else []
    (row,) = [" ".join(line) for line in lines if line[:1] == ["openai"]]
    assert row == " ".join(["openai", str(26 + unknown), "24 2 0", str(unknown), *lost, "0.0842 264.5"])
    assert [line for line in result.stdout.splitlines() if "lost" in line] == says
    # And so is, below the dollars that are known, what else they may be
    attempts = "attempt" if unknown == 1 else "attempts"
    bound = f"and up to {usd:.4f} for {unknown} unknown {attempts}"
    assert [" ".join(line) for line in lines if line[:1] == ["and"]] == ([bound] if unknown else [])


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(("status", "exit_code"), [("succeeded", 0), ("partial", 2), ("failed", 1)])
def test_retry_follows_the_new_run_to_its_end(world: World, status: str, exit_code: int) -> None:
    # Given a run that can be retried
    new = "20261121T111502-aaaaaaaa"
    world.runs = [a_run("running", run_id=new), a_run(status, run_id=new, kind="retry", retry_of=RUN_ID)]
    # When it is, with a budget
    result = lookbook(world, "retry", RUN_ID, "--max-cost", 2)
    # Then the budget went along, and the new run is shown as any is
    (sent,) = [sent for sent in world.sent if sent.path.endswith("/retry")]
    assert RUN_ID in sent.path
    assert sent.json == {"max_cost_usd": 2.0}
    assert result.exit_code == exit_code
    assert f"Run {new}: {status}" in result.stdout
    assert f"A retry of {RUN_ID}" in result.stdout


@pytest.mark.usefixtures("_local")
def test_retry_need_not_wait(world: World) -> None:
    world.runs = [a_run("running")]
    result = lookbook(world, "retry", RUN_ID, "--no-wait", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == a_run("running")
    (sent,) = [sent for sent in world.sent if sent.path.endswith("/retry")]
    assert sent.json == {}


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize("command", ["retry", "stop"])
def test_run_that_cannot_be_retried_or_stopped_is_said_in_the_api_s_words(world: World, command: str) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "The run has ended."}
    world.before = lambda sent: (409, problem) if sent.path.endswith(command) else None
    result = lookbook(world, command, RUN_ID)
    assert result.exit_code == 1
    assert result.stderr == "Error: The run has ended.\n"


@pytest.mark.usefixtures("_local")
def test_stop_says_what_happens_next(world: World) -> None:
    world.runs = [a_run("running")]
    result = lookbook(world, "stop", RUN_ID)
    assert result.exit_code == 0
    assert [path for path in world.paths("POST") if path.endswith(f"/api/runs/{RUN_ID}/stop")]
    for words in ("submits nothing more", "finishes what is being made", f"lookbook retry {RUN_ID}"):
        assert words in result.stdout
    # And once it is being stopped, that is said, and nothing is asked again
    world.runs = [a_run("running", stopping="anna stopped it.")]
    world.sent.clear()
    assert "It is being stopped already." in lookbook(world, "stop", RUN_ID).stdout
    assert json.loads(lookbook(world, "stop", RUN_ID, "--json").stdout)["stopping"] == "anna stopped it."
    assert not [path for path in world.paths("POST") if path.endswith("/stop")]
    # And while it stops, the run and the list of runs tell
    world.lists["runs"] = world.runs
    assert "Stopping: anna stopped it." in lookbook(world, "show", RUN_ID).stdout
    listed = lookbook(world, "runs").stdout
    assert "stopping" in listed
    assert "name" in listed.splitlines()[0].split()  # not of a file: runs of covers have none


# --- the other commands


@pytest.mark.usefixtures("_local")
def test_ledger_lists_attempts_and_sums_them_up_by_provider(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given attempts at two providers, one of which was cut off, in no order
    lost = {"cost_usd": 0, "at_most_usd": 0.075, "work_seconds": 0, "usage": None, "job_id": None}
    cut = an_attempt("unknown", **lost, reason="No answer came.", created_at="2026-11-21T10:15:09Z")
    other = an_attempt(provider="catvton", cost_usd=0.0034, work_seconds=11, usage={"gpu": "L4"}, job_id="job-1")
    world.lists["entries"] = [cut, an_attempt(), other, an_attempt(variant=2, created_at="2026-11-21T10:15:08Z")]
    # When they are listed
    result = lookbook(world, "ledger", RUN_ID)
    monkeypatch.setenv("COLUMNS", "140")
    wide = lookbook(world, "ledger", RUN_ID)
    # Then each has a line within the page, with reasons and sums below
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines[: lines.index("In all:")])) <= 80
    rows = [line.split() for line in lines if "1402938475610293847" in line]
    assert [row[0].rpartition(":")[2] for row in rows] == ["07", "07", "08", "09"]
    assert rows[-1][4:] == ["unknown", "≤", "0.0750", "-"]
    assert ["1", "unknown", "No", "answer", "came."] in [line.split() for line in lines]
    assert lines[-2:] == [
        "openai: 3 attempts, 0.0810 dollars, 36.5 seconds, and up to 0.0750 for 1 unknown attempt",
        "catvton: 1 attempt, 0.0034 dollars, 11.0 seconds",
    ]
    # And where there is room, also what was used, and the provider's own id
    assert "resp_0f3c9a2b7d5e4f81" in wide.stdout
    assert "input tokens 812, output tokens 1056" in wide.stdout
    assert "gpu L4" in wide.stdout


@pytest.mark.usefixtures("_local")
def test_ledger_can_be_narrowed_down_and_cut(world: World) -> None:
    world.lists["entries"] = [an_attempt("succeeded" if n % 2 else "unknown", variant=n) for n in range(6)]
    narrowed = lookbook(world, "ledger", RUN_ID, "--status", "unknown", "--limit", 2, "--json")
    cut = lookbook(world, "ledger", RUN_ID, "--limit", 2)
    assert [entry["variant"] for entry in json.loads(narrowed.stdout)] == [0, 2]
    assert "2 of 6 shown" in cut.stdout
    assert "openai: 6 attempts" in cut.stdout
    assert "no such attempts" in lookbook(world, "ledger", RUN_ID, "--status", "failed").stdout
    world.lists["entries"] = []
    assert lookbook(world, "ledger", RUN_ID).stdout == "No attempt was taken by a provider.\n"


@pytest.mark.usefixtures("_local")
def test_duplicates_are_shown_in_groups_with_what_they_mean(world: World) -> None:
    # Given three groups
    twin = {"image_count": 3, "cover_url": "https://pictures.example.com/0.jpg?signature=secret"}
    world.lists["groups"] = [
        {"products": [{"product_id": f"CJ{n}{bits}", "title": "Dress", "distance": bits, **twin} for bits in (0, 5)]}
        for n in range(3)
    ]
    # When two are asked for
    result = lookbook(world, "duplicates", "--limit", 2)
    as_json = lookbook(world, "duplicates", "--limit", 2, "--json")
    # Then these are shown, with what to make of them
    rows = [line.split() for line in result.stdout.splitlines() if "Dress" in line]
    assert rows == [
        ["1", "CJ00", "3", "0", "Dress"],
        ["CJ05", "3", "5", "Dress"],
        ["2", "CJ10", "3", "0", "Dress"],
        ["CJ15", "3", "5", "Dress"],
    ]
    for words in ("more than 2 groups", "40 products were compared", "Nothing is merged", "for nothing"):
        assert words in result.stdout
    assert f"within {duplicates.DISTANCE} of 64 bits of another one in its group" in result.stdout
    assert json.loads(as_json.stdout) == {"groups": world.lists["groups"][:2], "compared": 40}


@pytest.mark.usefixtures("_local")
def test_no_duplicates_is_said(world: World) -> None:
    result = lookbook(world, "duplicates")
    assert result.exit_code == 0
    assert "No source pictures look alike among the 40 products compared." in result.stdout


@pytest.mark.usefixtures("_local")
def test_methods_tell_price_pace_and_licence(world: World) -> None:
    # Given one method that is ready, and one that has neither a price nor a key
    ready = {"method": "catvton", "usd_per_image": 0.0034, "seconds_per_image": 11.0, "ready": True, "notices": []}
    bare = {"method": "fashn", "usd_per_image": None, "seconds_per_image": None, "ready": False, "licence": "terms"}
    world.methods = {
        "methods": [
            ready
            | {"licence": "CC BY-NC-SA 4.0 (non-commercial)", "basis": "measured over 120 images", "about": "GPU."},
            bare | {"basis": None, "about": "Try-on by FASHN.", "notices": ["FashnKey is not set."]},
        ],
        "prices_as_of": "2026-11-21",
    }
    # When they are listed
    result = lookbook(world, "methods")
    # Then that is told, with notices and the date of the prices
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["catvton", "yes", "0.0034", "11.0"] in [line[:4] for line in lines]
    assert ["fashn", "no", "-", "-"] in [line[:4] for line in lines]
    assert "catvton: measured over 120 images; licence: CC BY-NC-SA 4.0 (non-commercial)" in result.stdout.splitlines()
    for words in ("fashn: licence: terms", "fashn: Try-on by FASHN.", "FashnKey is not set.", "2026-11-21"):
        assert words in result.stdout
    assert json.loads(lookbook(world, "methods", "--json").stdout) == world.methods


@pytest.mark.usefixtures("_local")
def test_lists_follow_the_cursor_up_to_the_limit(world: World) -> None:
    # Given five runs, and an API that hands out two at a time
    world.lists["runs"] = [a_run(run_id=f"20261121T10150{n}-3f9a2c1b") for n in range(5)]
    # When three are asked for, or as many as there are
    three = lookbook(world, "runs", "--limit", 3, "--json")
    everything = lookbook(world, "runs", "--json")
    # Then that many come, each once
    assert json.loads(three.stdout) == world.lists["runs"][:3]
    assert json.loads(everything.stdout) == world.lists["runs"]


@pytest.mark.usefixtures("_local")
def test_items_says_when_there_are_more(world: World) -> None:
    item = {"product_id": "CJ1", "title": "Dress", "status": "failed", "reason": "the GPU failed"}
    world.lists["items"] = [item | {"index": n, "images_generated": 0, "images_reused": 0} for n in range(3)]
    cut = lookbook(world, "items", RUN_ID, "--status", "failed", "--limit", 2)
    whole = lookbook(world, "items", RUN_ID, "--json")
    assert cut.stdout.count("the GPU failed") == 2
    assert "more than 2" in cut.stdout
    assert [sent.query["status"] for sent in world.sent if "status" in sent.query] == ["failed", "failed"]
    assert json.loads(whole.stdout) == world.lists["items"]


@pytest.mark.usefixtures("_local")
def test_show_tells_how_far_a_run_is(world: World) -> None:
    # Given a run that has begun, and knows only what it reuses
    none_yet = {"images_generated": 0, "seconds": None, "cost_usd": 0.00002, "counts": {"generated": 0}}
    note = "2 products are put off: The GPU is busy."
    world.runs = [a_run("running", **none_yet, progress={"done": 3, "total": 8}, note=note)]
    # When it is shown
    result = lookbook(world, "show", RUN_ID)
    # Then it has no zeros for what is not known yet, and says how far it is
    assert result.exit_code == 0
    assert f"Run {RUN_ID}: running" in result.stdout
    rows = {line.rpartition("  ")[0].strip() for line in result.stdout.splitlines()}
    assert {"products", "reused", "images reused", "dollars"} <= rows
    assert rows.isdisjoint({"generated", "rejected", "failed", "images new", "seconds"})
    last = result.stdout.splitlines()[-1]
    assert last == "Still at work: 3 of 8 products done, 2 put off (The GPU is busy), 0.00002 dollars."


@pytest.mark.usefixtures("_local")
def test_run_that_never_had_products_is_its_reason_and_no_zeros(world: World) -> None:
    none = {"products": 0, "reused": 0, "generated": 0}
    world.runs = [a_run("failed", counts=none, images_generated=0, cost_usd=0, reason="The file is not JSON.")]
    result = lookbook(world, "show", RUN_ID)
    assert result.stdout.splitlines() == [f"Run {RUN_ID}: failed", "Reason: The file is not JSON."]


@pytest.mark.usefixtures("_local")
def test_check_tells_apart_what_the_library_has_and_has_not(world: World) -> None:
    # Given a product with images, one without, and one that is not known
    world.products = {"hotmart:698441": a_product("hotmart:698441"), "bare": a_product("bare", images=0)}
    # When they are checked
    all_there = lookbook(world, "check", "hotmart:698441")
    some = lookbook(world, "check", "hotmart:698441", "bare", "a/b", "bare", "--json")
    # Then only images count, and each is answered for once
    assert all_there.exit_code == 0
    assert some.exit_code == 2
    found = {product["product_id"]: product["image_count"] for product in json.loads(some.stdout)}
    assert found == {"hotmart:698441": 3, "bare": 0, "a/b": 0}


@pytest.mark.usefixtures("_local")
def test_not_found_that_is_not_the_api_s_own_is_no_missing_product(world: World) -> None:
    world.before = lambda sent: (404, {"message": "Not Found"}) if "products" in sent.path else None
    result = lookbook(world, "check", "CJ1")
    assert result.exit_code == 1
    assert "404" in result.stderr


@pytest.mark.usefixtures("_local")
def test_download_keeps_what_is_right_and_fetches_the_rest(world: World, tmp_path: Path) -> None:
    # Given a product whose first image is there already, and whose second is there but broken
    world.products = {"../a:b": a_product("../a:b")}
    folder = tmp_path / "out" / "_a_b"
    folder.mkdir(parents=True)
    names = [f"{n + 1}-{sha256(picture)[:12]}.jpg" for n, picture in enumerate(PICTURES)]
    (folder / names[0]).write_bytes(PICTURES[0])
    (folder / names[1]).write_bytes(b"half")
    # When its images are downloaded
    result = lookbook(world, "get", "../a:b", "--download", tmp_path / "out")
    # Then the other two are fetched, without the token, and nothing else lies about
    assert result.exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict(zip(names, PICTURES, strict=True))
    fetched = [sent for sent in world.sent if "pictures." in sent.url]
    assert [sent.path for sent in fetched] == ["/1.jpg", "/2.jpg"]
    assert not any("Authorization" in sent.headers for sent in fetched)
    assert "2 downloaded, 1 already there" in result.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_a_b"]


@pytest.mark.usefixtures("_local")
def test_image_that_arrives_changed_is_not_kept(world: World, tmp_path: Path) -> None:
    world.products = {"CJ1": a_product("CJ1", images=1)}
    world.pictures = [b"something else"]
    result = lookbook(world, "get", "CJ1", "--download", tmp_path)
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert not (tmp_path / "CJ1").exists()


@pytest.mark.usefixtures("_local")
def test_image_id_that_is_no_hash_is_no_file_name(world: World, tmp_path: Path) -> None:
    product = a_product("CJ1", images=1)
    product["image_list"][0]["image_id"] = "../../etc/x"
    world.products = {"CJ1": product}
    result = lookbook(world, "get", "CJ1", "--download", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("product_id", ["..", ".", "/", "...", "../../x", "", "a\x00b", "\N{SNOWMAN}" * 300])
def test_folder_of_any_id_stays_within_the_download(product_id: str, tmp_path: Path) -> None:
    folder = tmp_path / library_commands._safe(product_id)
    assert folder.resolve().parent == tmp_path.resolve()
    folder.mkdir()


@pytest.mark.usefixtures("_local")
def test_model_photos_are_named_after_their_files(world: World, tmp_path: Path) -> None:
    photos = {"Woman 45 (caucasian).JPG": b"\xff\xd8\xff...", "man_30.png": b"\x89PNG\r\n\x1a\n..."}
    for name, content in photos.items():
        (tmp_path / name).write_bytes(content)
    result = lookbook(world, "models", "add", *photos)
    assert result.exit_code == 0
    sent = [sent for sent in world.sent if sent.method == "PUT"]
    assert [request.path.rpartition("/")[2] for request in sent] == ["woman_45_caucasian_", "man_30"]
    assert [request.headers["Content-Type"] for request in sent] == ["image/jpeg", "image/png"]
    assert [request.body for request in sent] == list(photos.values())


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["a.jpg", "A.jpg"], "both be named a"),
        (["a.jpg", "text.jpg"], "not a JPEG"),
        (["a.jpg", "huge.jpg"], "may have 4.5 MB"),
        (["a.jpg", "A.jpg", "--name", "x"], "one file"),
        (["a.jpg", "--name", "No Good"], "a-z"),
    ],
)
def test_bad_model_photos_are_refused_before_any_is_sent(
    world: World, tmp_path: Path, args: list[str], says: str
) -> None:
    jpeg = b"\xff\xd8\xff"
    for name, content in {
        "a": jpeg,
        "A": jpeg,
        "text": b"hello",
        "huge": jpeg + bytes(library_commands.MODEL_PHOTO),
    }.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    result = lookbook(world, "models", "add", *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


# --- errors


@pytest.mark.usefixtures("_local")
def test_problem_document_becomes_one_sentence(world: World, scrape: Path) -> None:
    errors = [{"pointer": "/options/variants", "detail": "at most 10"}]
    problem = {"title": "Not valid", "status": 422, "detail": "The options are not valid.", "errors": errors}
    world.before = lambda sent: (422, problem) if sent.method == "POST" and "api/runs" in sent.path else None
    result = lookbook(world, "run", scrape)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: The options are not valid. (/options/variants: at most 10)\n"


@pytest.mark.parametrize(
    "args", [["runn"], ["run"], ["run", "x", "--variants", "0"], ["items", "r", "--status", "bad"]]
)
def test_wrong_usage_is_status_1_as_2_means_partial(world: World, args: list[str]) -> None:
    result = lookbook(world, *args)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("_local")
def test_unexpected_error_is_a_sentence_too(world: World) -> None:
    world.lists["runs"] = [{"no": "run"}]
    result = lookbook(world, "runs")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Something unexpected happened (KeyError")
    assert "Traceback" not in result.output
    assert "Traceback" in lookbook(world, "runs", "--verbose").stderr


class OneToken:
    def current(self) -> str:
        return "token-1"

    def renew(self) -> str:
        return "token-2"


def failing(times: int, failure: int | Exception) -> Callable[[Sent], Answer | None]:
    left = iter(range(times))

    def before(_: Sent) -> Answer | None:
        if next(left, None) is None:
            return None
        if isinstance(failure, Exception):
            raise failure
        return failure, {"message": "Service Unavailable"}

    return before


@pytest.mark.parametrize("failure", [502, 503, 504, requests.ConnectionError(), requests.ReadTimeout()])
def test_reads_are_repeated_with_growing_pauses(world: World, failure: int | Exception) -> None:
    world.before = failing(3, failure)
    assert Client(REMOTE, OneToken(), world.http).run(RUN_ID) == a_run()
    assert world.slept == [0.5, 1.0, 2.0]


def test_reads_are_given_up_in_the_end(world: World) -> None:
    world.before = failing(9, 503)
    with pytest.raises(ApiError) as caught:
        Client(REMOTE, OneToken(), world.http).run(RUN_ID)
    assert caught.value.status == 503
    assert len(world.sent) == 4


@pytest.mark.parametrize("failure", [503, requests.ConnectionError(), requests.ReadTimeout()])
def test_writes_are_never_repeated(world: World, failure: int | Exception) -> None:
    world.before = failing(1, failure)
    with pytest.raises(ApiError):
        Client(REMOTE, OneToken(), world.http).create_run("x.json", "[]", {})
    assert len(world.sent) == 1


def test_refused_token_is_renewed_once(world: World) -> None:
    world.token = "token-2"
    client = Client(REMOTE, OneToken(), world.http)
    assert client.run(RUN_ID) == a_run()
    world.token = "token-3"
    with pytest.raises(ApiError, match="401"):
        client.run(RUN_ID)
    assert len(world.sent) == 4


def test_unreachable_host_is_named_without_the_path_which_may_be_a_secret(world: World) -> None:
    world.before = failing(9, requests.ConnectionError("https://s3.example.com/x?signature=secret"))
    with pytest.raises(ApiError) as caught:
        Client(REMOTE, OneToken(), world.http).fetch("https://s3.example.com/x?signature=secret")
    assert str(caught.value) == "https://s3.example.com cannot be reached."


@pytest.mark.parametrize("answer", [(200, b"<html>"), (302, {}), (200, [])])
def test_answer_that_is_no_lookbook_s_is_an_error(world: World, answer: Answer) -> None:
    world.before = lambda _: answer
    with pytest.raises(ApiError):
        Client(REMOTE, OneToken(), world.http).run(RUN_ID)


# --- which Lookbook, and signing in


@pytest.mark.usefixtures("_local")
def test_local_cloud_is_found_from_below_and_signed_in_to(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    result = lookbook(world, "runs", "--verbose")
    assert result.exit_code == 0
    assert f"Using the local cloud at {LOCAL}" in result.stderr
    (sign_in,) = [sent for sent in world.sent if "X-Amz-Target" in sent.headers]
    assert sign_in.url == "http://127.0.0.1:4566"
    assert sign_in.json["AuthParameters"] == {"USERNAME": "editor", "PASSWORD": "right"}


@pytest.mark.usefixtures("_local")
def test_token_and_url_are_printed_alone_for_scripts(world: World) -> None:
    assert lookbook(world, "token", "--url").stdout == f"{LOCAL}\n"
    printed = lookbook(world, "token").stdout.strip()
    lookbook(world, "runs")
    assert printed
    assert world.sent[-1].headers["Authorization"] == f"Bearer {printed}"


@pytest.mark.usefixtures("_local")
def test_url_that_is_set_wins_over_the_local_cloud(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE + "/")
    signed_in(store)
    result = lookbook(world, "--verbose", "runs")
    assert result.exit_code == 0
    assert f"Using {REMOTE}, which LOOKBOOK_API_URL names." in result.stderr
    assert {sent.url for sent in world.sent} == {REMOTE}


@pytest.mark.usefixtures("_local")
def test_local_cloud_s_own_url_needs_no_sign_in_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", LOCAL)
    assert lookbook(world, "runs").exit_code == 0


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize("failure", [requests.ConnectionError(), requests.ReadTimeout(), 404])
def test_local_cloud_that_is_down_is_said_with_what_to_do(world: World, failure: int | Exception) -> None:
    world.before = failing(9, failure)
    result = lookbook(world, "runs")
    assert result.exit_code == 1
    assert "make up" in result.stderr
    assert "lookbook login" in result.stderr
    assert len(world.sent) == 1


def test_no_lookbook_at_all_is_said_with_what_to_do(world: World) -> None:
    result = lookbook(world, "runs")
    assert result.exit_code == 1
    assert "make up" in result.stderr
    assert "LOOKBOOK_API_URL" in result.stderr


@pytest.mark.parametrize("url", ["http://api.example.com", "api.example.com", "file:///etc/passwd"])
def test_url_that_a_token_must_not_go_to_is_refused(world: World, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", url)
    result = lookbook(world, "runs")
    assert result.exit_code == 1
    assert "LOOKBOOK_API_URL" in result.stderr
    assert world.sent == []


def test_login_answers_challenges_and_keeps_the_sign_in_to_itself(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a new user with an authenticator app
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    world.challenges = ["NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA"]
    # When she signs in
    result = lookbook(world, "login", "--user", "anna", typed="right\nNew-1!\nNew-1!\n123456\n")
    # Then both were answered, and the tokens are in a file that only she can read
    assert result.exit_code == 0
    answers = [sent.json["ChallengeResponses"] for sent in world.sent if b"ChallengeResponses" in sent.body]
    assert answers == [
        {"USERNAME": "anna", "NEW_PASSWORD": "New-1!"},
        {"USERNAME": "anna", "SOFTWARE_TOKEN_MFA_CODE": "123456"},
    ]
    assert {sent.url for sent in world.sent} == {REMOTE, COGNITO}
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert "right" not in store.path.read_text() + result.output
    assert (store.get(REMOTE) or {})["refresh_token"] == "refresh-1"
    # And what follows needs no password
    assert lookbook(world, "runs").exit_code == 0


def test_wrong_password_is_said_and_nothing_kept(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    result = lookbook(world, "login", typed="anna\nwrong\n")
    assert result.exit_code == 1
    assert "Incorrect username or password." in result.stderr
    assert not store.path.exists()


def test_password_is_not_asked_for_when_the_api_names_a_strange_region(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    world.before = lambda _: (200, {"region": "evil.example.com/", "client_id": "c"})
    result = lookbook(world, "login", typed="anna\nright\n")
    assert result.exit_code == 1
    assert {sent.url for sent in world.sent} == {REMOTE}


def test_token_about_to_expire_is_renewed_and_kept(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    signed_in(store, expires_in=30)
    world.token = "token-2"
    assert lookbook(world, "runs").exit_code == 0
    (refresh,) = [sent.json for sent in world.sent if sent.url == COGNITO]
    assert refresh["AuthFlow"] == "REFRESH_TOKEN_AUTH"
    assert refresh["AuthParameters"] == {"REFRESH_TOKEN": "refresh-0"}
    assert (store.get(REMOTE) or {})["id_token"] == "token-2"


def test_sign_in_that_has_ended_says_to_sign_in_again(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    signed_in(store, expires_in=-1)
    world.before = lambda _: (400, {"__type": "NotAuthorizedException", "message": "Refresh Token has expired"})
    result = lookbook(world, "runs")
    assert result.exit_code == 1
    assert result.stderr == f"Error: The sign-in to {REMOTE} has ended. Run `lookbook login` again.\n"


def test_logout_forgets_this_sign_in_and_ends_it(
    world: World, store: session.TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_API_URL", REMOTE)
    signed_in(store)
    store.put("https://other.example.com", {"user": "anna"})
    first, second = lookbook(world, "logout"), lookbook(world, "logout")
    assert first.exit_code == second.exit_code == 0
    assert [sent.json["Token"] for sent in world.sent] == ["refresh-0"]
    assert store.get(REMOTE) is None
    assert store.get("https://other.example.com") == {"user": "anna"}
    assert "lookbook login" in lookbook(world, "runs").stderr


def test_netrc_and_proxies_do_not_get_in_the_way(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a ~/.netrc entry for the API's host, which requests would put in place of our header
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.example.com login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    # When the API is asked, then it gets our token
    Client(REMOTE, OneToken(), world.http).run(RUN_ID)
    assert world.sent[0].headers["Authorization"] == "Bearer token-1"


# --- what it looks like


def drawn(thing: Any, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(thing)
    return out.getvalue()


def test_runs_stand_side_by_side() -> None:
    second = a_run(cost_usd=0.0025, counts={"blocked": 1, "duplicates": 2})
    lines = drawn(render.run_table([a_run(), second], ["first store", "second store"])).splitlines()
    assert "first store" in lines[0]
    assert "second store" in lines[0]
    rows = [line.split("  ")[0] for line in lines[2:]]
    assert rows == [
        *("products", "reused", "generated", "rejected", "failed", "blocked", "named twice"),
        *("images new", "images reused", "seconds", "dollars", "dollars saved"),
    ]
    assert lines[-2].split() == ["dollars", "0.0123", "0.0025"]


@pytest.mark.usefixtures("_local")
@pytest.mark.parametrize(
    "args",
    [
        ["runs"],
        ["items", RUN_ID],
        ["ledger", RUN_ID],
        ["products"],
        ["duplicates"],
        ["get", "1402938475610293847"],
        ["check", "1402938475610293847"],
    ],
    ids=lambda args: str(args[0]),
)
def test_tables_fit_80_columns_with_ids_whole_and_no_control_codes(world: World, args: list[str]) -> None:
    # Given long ids, names and titles
    product_id, title = "1402938475610293847", "Women's floral maxi dress 连衣裙 with pockets " * 3
    product = a_product(product_id) | {"title": title, "category": title}
    item = {"index": 99_999, "product_id": product_id, "title": title, "status": "generated", "images_generated": 3}
    world.products[product_id] = product
    world.lists = {
        "runs": [a_run(name=title)],
        "items": [item | {"reason": title}],
        "entries": [an_attempt("submitted", reason=title)],
        "products": [product],
        "groups": [{"products": [product | {"distance": 0}]}],
    }
    # When they are shown
    result = lookbook(world, *args)
    # Then nothing is wider than the page, and what people copy is whole
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    heading = 2 if args[0] == "get" else 0  # the product's title and category, whole
    lines = result.stdout.partition("\n\n40 products")[0].splitlines()[heading:]  # without what is no table
    assert max(map(cell_len, lines)) <= 80
    assert (RUN_ID if args[0] == "runs" else product_id) in result.stdout


@pytest.mark.parametrize("width", [60, 80, 100, 110, 120, 150, 200])
def test_list_of_runs_has_what_its_width_admits_and_nothing_cut(width: int) -> None:
    # Given a plan, and a run that links and is over its budget
    counts = {"products": 12_345, "linked": 3, "over_budget": 2}
    runs = [a_plan(), a_run(run_id="20261121T111502-aaaaaaaa", counts=counts, created_at="2026-11-21T10:15:02Z")]
    # When they are listed, then no id, heading or number is cut, and the file's name is whole
    lines = drawn(render.runs_table(runs, width), width)
    assert "…" not in lines
    assert max(map(cell_len, lines.splitlines())) <= width
    assert {"store1.json", RUN_ID, "20261121T111502-aaaaaaaa", "0.0123", "dollars"} <= set(lines.split())
    # And what is not in every list comes before what is
    heading = lines.splitlines()[0]
    assert ("products" in heading) is (width >= 80)
    assert ("planned" in heading) is (width >= 100)
    assert ("over budget" in heading) is (width >= 110)
    assert ("rejected" in heading) is (width >= 200)


@pytest.mark.parametrize("width", [20, 40, 60])
def test_narrow_terminal_leaves_ids_times_and_money_whole(width: int) -> None:
    # Given a list of runs, attempts, and their sums
    unknown = an_attempt("unknown", at_most_usd=0.075)
    tables = [
        render.runs_table([a_run()], width),
        render.ledger_table([an_attempt(), unknown], width),
        render.ledger_sums_table([ledger_sum("openai", unknown=1, unknown_usd=0.075)], width),
    ]
    # When they are shown where there is little room, or too little
    out = io.StringIO()
    for table in tables:
        Console(file=out, width=width, highlight=False).print(table, crop=False)
    # Then what people copy and count is whole
    time_here = render.moment(unknown["created_at"], "%H:%M:%S").plain
    for whole in (RUN_ID, time_here, "1402938475610293847", "0.0123", "0.0405", "≤ 0.0750", "1 (≤ 0.0750)", "0.0842"):
        assert whole in out.getvalue()
    assert width < 60 or max(map(cell_len, out.getvalue().splitlines())) <= width


def test_ledger_of_thousands_fits_80_columns() -> None:
    many = {"attempts": 30_000, "succeeded": 29_000, "failed": 900, "blocked": 99, "unknown": 1, "open": 12}
    sums = [ledger_sum("catvton", **many, unknown_usd=0.075, cost_usd=1234.5678, work_seconds=330_000.0)]
    lines = drawn(render.ledger_sums_table(sums, 80)).splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert "1,234.5678" in lines[-1]


@pytest.mark.parametrize(
    ("usd", "says"), [(0, "0.0000"), (0.00002, "0.00002"), (1e-7, "0.0000001"), (0.00005, "0.0001"), (12.5, "12.5000")]
)
def test_dollars_that_are_some_are_never_shown_as_none(usd: float, says: str) -> None:
    assert render.dollars(usd).plain == says


@pytest.mark.parametrize(
    ("minutes", "says"),
    [(None, "-"), (0.03, "2 seconds"), (0.016, "1 second"), (0.6, "36 seconds"), (3.44, "3.4 minutes")],
)
def test_minutes_below_one_are_seconds(minutes: float | None, says: str) -> None:
    assert render.duration(minutes).plain == says


def test_progress_without_a_terminal_says_a_line_now_and_then() -> None:
    # Given a clock, and no terminal
    clock = iter([0.0, 1.0, 31.0, 31.0, 32.0])
    out = io.StringIO()
    running = a_run("running", progress={"done": 3, "total": 8})
    # When a run is looked at after 1, 31 and 32 seconds
    with render.RunProgress(Console(file=out), clock=lambda: next(clock)) as progress:
        for _ in range(3):
            progress.update(running)
    # Then one line was said
    assert out.getvalue() == "3 of 8 products done, 0.0123 dollars\n"


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (a_run("running", kind="plan", cost_usd=0), "Planning"),
        (a_run("running", cost_usd=0), "Reading the file"),
        (a_run("running", note="Waiting for the GPU.", cost_usd=0), "Waiting for the GPU."),
        (a_run("running", note="Waiting.", stopping="anna stopped it.", cost_usd=0), "Stopping (anna stopped it.)"),
        (a_run("awaiting_upload", kind="plan", cost_usd=0), "Waiting for the run to start"),
        (
            a_run(
                "running", progress={"done": 1, "total": 2}, note="1 product is put off: It is busy.", cost_usd=0.0347
            ),
            "1 of 2 products done, 1 put off (It is busy), 0.0347 dollars",
        ),
        (
            a_run("running", progress={"done": 1, "total": 2}, stopping="anna stopped it.", cost_usd=0.0347),
            "Stopping (anna stopped it.): 1 of 2 products done, 0.0347 dollars",
        ),
    ],
)
def test_progress_says_what_the_run_is_doing(run: Json, says: str) -> None:
    clock = iter([0.0, 31.0, 31.0])
    out = io.StringIO()
    with render.RunProgress(Console(file=out), clock=lambda: next(clock)) as progress:
        progress.update(run)
    assert out.getvalue() == f"{says}\n"


def test_every_command_has_help_with_an_example(world: World) -> None:
    commands = ["run", "retry", "stop", "runs", "show", "items", "ledger", "check", "products", "get", "duplicates"]
    for command in (*commands, "methods", "models list", "models add", "login", "logout"):
        result = lookbook(world, *command.split(), "--help")
        assert result.exit_code == 0
        assert f"lookbook {command}" in result.stdout.partition("Example:")[2]
    assert "0.1.0" in lookbook(world, "--version").stdout
    assert "Usage" in lookbook(world).stdout


def imports() -> Iterator[str]:
    for file in Path(str(lookbook_cli.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module)


def test_command_stands_apart_from_the_domain_and_aws() -> None:
    assert {name.partition(".")[0] for name in imports()}.isdisjoint(
        {"boto3", "botocore", "pydantic", "PIL", "lookbook"}
    )
