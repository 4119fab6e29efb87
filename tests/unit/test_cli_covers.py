"""The commands about covers, history, notes, ratings and tags against an API in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from lookbook_cli import common, cover_commands, main, render
from tests.unit.test_cli import (
    RUN_ID,
    Answer,
    Sent,
    World,
    a_product,
    a_run,
    drawn,
    ledger_sum,
    local_cloud,
    lookbook,
)

Json = dict[str, Any]

ID = "hotmart:698441"
OLD, TWIN = "0123456789" + "a" * 54, "0123456789" + "c" * 54
NEW, VARIANT = "fedcba9876" + "b" * 54, "77777777" + "d" * 56
SHY = "66666666" + "e" * 56  # a variant that is hidden
JPEG = b"\xff\xd8\xff" + bytes(100)
PICTURE_URL = "https://pictures.example.com/cover.jpg?signature=" + "s" * 200


def an_image(image_id: str = NEW, **changes: Any) -> Json:
    return {
        "image_id": image_id,
        "variant": 1,
        "method": "openai",
        "model_photo": None,
        "model_version": "gpt-image-2.6",
        "licence": "commercial use allowed",
        "prompt": "A [red] book\non a table",
        "stars": 4,
        "hidden": False,
        "is_cover": image_id == NEW,
        "width": 1024,
        "height": 1024,
        "bytes": 120_000,
        "url": PICTURE_URL,
        "created_at": "2026-11-21T10:00:00.000Z",
        "run_id": RUN_ID,
        "cost_usd": 0.04,
        "seconds": 20.0,
        **changes,
    }


def an_entry(image_id: str | None = NEW, action: str = "generated", **changes: Any) -> Json:
    return {
        "entry_id": "20261121T101502123-00",
        "action": action,
        "image_id": image_id,
        "url": PICTURE_URL,
        "method": {"generated": "openai"}.get(action, "upload"),
        "prompt": None,
        "actor": "anna",
        "run_id": None,
        "hidden_image_id": None,
        "created_at": "2026-11-21T10:15:02.000Z",
        **changes,
    }


def a_note(note_id: str = "n-1", text: str = "Sells well", **changes: Any) -> Json:
    about = {"note_id": note_id, "note": text, "author": "anna", "created_at": "2026-11-21T10:15:02.000Z"}
    return {**about, "edited_at": None, "edited_by": None, **changes}


def the_product(**changes: Any) -> Json:
    return {
        **a_product(ID),
        "title": "Curso de Python",
        "source": "hotmart",
        "cover_image_id": NEW,
        "cover_url": PICTURE_URL,
        "tags": ["course"],
        "image_list": [an_image(), an_image(VARIANT, variant=2, method="catvton")],
        "notes": [],
        "more_notes": False,
        **changes,
    }


@dataclass(eq=False)
class Covers(World):
    """The API with one product that has a history."""

    product: Json = field(default_factory=the_product)
    history: list[Json] = field(
        default_factory=lambda: [an_entry(prompt="A [red] book"), an_entry(OLD, "uploaded", actor="ben")]
    )
    checks: list[Json] = field(default_factory=list)  # what an upload's state is, one after the other
    found: Json = field(default_factory=lambda: {"image_id": OLD, "products": [ID]})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.products[ID] = self.product
        self.lists["entries"] = self.history

    def api(self, sent: Sent, route: list[str]) -> Answer:
        match route:
            case ["products", part, *what] if what:
                assert unquote(part) == ID
                return self.of_product(sent, what)
            case ["images", beginning]:
                assert 8 <= len(beginning) <= 64
                return 200, self.found
        return super().api(sent, route)

    def of_product(self, sent: Sent, what: list[str]) -> Answer:
        match sent.method, what:
            case _, ["images", *rest]:
                return self.of_images(sent, rest)
            case "PUT", ["tags"]:
                had = [tag for tag in self.product["tags"] if tag not in sent.json.get("remove", [])]
                self.product["tags"] = sent.json["tags"] if "tags" in sent.json else [*had, *sent.json["add"]]
                return 200, self.product
            case "POST", ["notes"]:
                return 201, a_note(text=sent.json["note"])
            case "PUT", ["notes", note_id]:
                edited = {"edited_at": "2026-11-22T10:00:00.000Z", "edited_by": "ben"}
                return 200, a_note(note_id, sent.json["note"], **edited)
            case "DELETE", ["notes", note_id]:
                return 200, a_note(note_id)
        return super().api(sent, what)

    def of_images(self, sent: Sent, what: list[str]) -> Answer:
        answer = self.of_uploads(what)
        match sent.method, what:
            case "POST", ["generate"]:
                answer = 202, self.runs[0]
            case "GET", []:
                answer = 200, {"images": [*self.product["image_list"], an_image(SHY, variant=3, hidden=True)]}
            case "GET", ["history"]:
                answer = 200, self.page(sent, "entries")
            case "POST", [image_id, "activate"]:
                self.product["cover_image_id"] = image_id
                self.product["image_list"].append(an_image(image_id, method="upload", prompt=None, stars=None))
                self.history.insert(0, an_entry(image_id, "reverted"))
                answer = 200, {key: value for key, value in self.product.items() if key != "image_list"}
            case "DELETE", [image_id]:
                if image_id == self.product["cover_image_id"]:
                    self.product["cover_image_id"] = None
                    self.history.insert(0, an_entry(None, "hidden", hidden_image_id=image_id))
                answer = 200, an_image(image_id, hidden=True)
            case "PUT", [image_id, "rating"]:
                answer = 200, an_image(image_id, stars=sent.json["stars"])
        return answer

    def of_uploads(self, what: list[str]) -> Answer:
        match what:
            case ["upload"]:
                return 201, an_image(method="upload")
            case ["upload-url"]:
                target = {"upload_id": "u-1", "url": "https://s3.example.com/bucket", "fields": {"key": "uploads/u-1"}}
                return 201, {**target, "expires_at": "2026-11-21T10:30:00.000Z", "most_bytes": 20 * 1024 * 1024}
            case ["uploads", "u-1"]:
                return 200, self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]
        return 404, {"message": "Not Found"}

    def asked(self, method: str, end: str) -> list[Sent]:
        """Return what was asked for by a method at a path that ends so."""
        return [sent for sent in self.sent if sent.method == method and sent.path.endswith(end)]

    @property
    def changed(self) -> list[Sent]:
        """Return what was asked of the API that is more than a look."""
        return [sent for sent in self.sent if sent.method != "GET" and "/api/" in sent.path]


@pytest.fixture
def world() -> Covers:
    return Covers()


@pytest.fixture(autouse=True)
def _local_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in a folder with a local cloud, with 80 columns and no terminal."""
    local_cloud(tmp_path, monkeypatch)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "my cover.jpg"
    path.write_bytes(JPEG)
    return path


def interrupted(world: Covers, *args: str) -> Result:
    """Run a command whose user presses Ctrl-C at the first pause."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    tools = common.Tools(world.http)
    tools.http.sleep = interrupt
    return CliRunner().invoke(main.app, list(args), obj=tools)


def lost(method: str, end: str) -> Callable[[Sent], Answer | None]:
    """Return what breaks the connection for some requests."""

    def before(sent: Sent) -> Answer | None:
        if sent.method == method and sent.path.endswith(end):
            raise requests.ConnectionError
        return None

    return before


# --- cover: a look


def test_cover_is_shown_with_its_link_and_where_it_comes_from(world: Covers) -> None:
    result = lookbook(world, "cover", ID)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{ID}: Curso de Python"
    assert lines[1].startswith("Cover: fedcba9876bb, openai (gpt-image-2.6), 1024x1024, 2026-11-21")
    assert lines[2].startswith("Cover since: 2026-11-21")
    assert lines[2].endswith("made by openai, asked for by anna")
    assert "Prompt: A [red] book on a table" in lines
    assert "Stars: 4 of 5" in lines
    # And the link is in one piece, to be opened
    assert lines[-2:] == ["Picture:", PICTURE_URL]
    assert world.changed == []
    # And the id is quoted in every path
    assert all("hotmart%3A698441" in path for path in world.paths("GET") if "/products/" in path)


@pytest.mark.parametrize(
    ("newest", "says"),
    [
        (an_entry(NEW, "reverted"), "reverted to by anna"),
        (an_entry(NEW, "uploaded"), "uploaded by anna"),
        (an_entry(NEW, "hidden", hidden_image_id=OLD), "as another one was hidden by anna"),
    ],
)
def test_cover_says_how_it_became_one(world: Covers, newest: Json, says: str) -> None:
    world.history[:] = [newest, an_entry(OLD, actor="ben")]
    assert any(line.endswith(says) for line in lookbook(world, "cover", ID).stdout.splitlines())


def test_hiding_another_image_does_not_make_the_cover_younger(world: Covers) -> None:
    world.history.insert(0, an_entry(NEW, "hidden", hidden_image_id=OLD, actor="ben"))
    assert "made by openai, asked for by anna" in lookbook(world, "cover", ID).stdout


def test_cover_is_json_for_scripts(world: Covers) -> None:
    expected = {"product_id": ID, "image": an_image(), "since": world.history[0]}
    assert json.loads(lookbook(world, "cover", ID, "--json").stdout) == expected


def test_product_without_a_cover_says_how_to_get_one(world: Covers) -> None:
    world.product |= {"cover_image_id": None, "image_list": []}
    world.history.clear()
    result = lookbook(world, "cover", ID)
    assert result.exit_code == 0
    assert "history" not in result.stdout
    for option in ("--again", "--prompt TEXT", "--upload FILE"):
        assert f"lookbook cover {ID} {option}" in result.stdout
    assert json.loads(lookbook(world, "cover", ID, "--json").stdout)["image"] is None


def test_product_that_lost_its_cover_says_first_how_to_go_back(world: Covers) -> None:
    world.product |= {"cover_image_id": None, "image_list": []}
    world.history.insert(0, an_entry(None, "hidden", hidden_image_id=NEW))
    lines = lookbook(world, "cover", ID).stdout.splitlines()
    assert lines[1:3] == [
        "It has no cover.",
        f"Go back to one: lookbook history {ID}, then: lookbook cover {ID} --revert IMAGE",
    ]
    assert lines[3].endswith("--again")
    # And a look at the product leads there too
    says = f"It has no images to show. What was hidden or made before is in: lookbook history {ID}"
    assert says in lookbook(world, "get", ID).stdout.splitlines()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--prompt", "x", "--again"], "Choose one"),
        (["--upload", "x.jpg", "--revert", NEW], "Choose one"),
        (["--revert", NEW, "--no-wait"], "--no-wait goes with"),
        (["--no-wait"], "--no-wait goes with"),
        (["--prompt", ""], "The prompt is empty. Give 1 to 4,000 characters."),
        (["--prompt", "é" * 4001], "The prompt has 4,001 characters; it may have 4,000."),
        (["--prompt", "\udcff"], "not UTF-8"),
        (["--revert", "0123456"], "its first 8 digits or more"),
        (["--revert", "latest!"], "latest! is no image"),
        (["--hide", "0" * 65], "is no image"),
        (["--hide", "0123456"], "its first 8 digits or more"),
        (["--upload", ""], "There is no file"),
        (["--upload", " "], "There is no file"),
    ],
)
def test_cover_that_cannot_be_is_refused_before_anything_is_sent(world: Covers, args: list[str], says: str) -> None:
    result = lookbook(world, "cover", ID, *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


# --- cover --prompt and --again


def test_prompt_is_passed_as_written_and_the_run_followed_to_its_cover(world: Covers) -> None:
    # Given a run that takes a moment
    ended = a_run(kind="cover", images_generated=1, images_reused=0, cost_usd=0.0405, ledger=[ledger_sum("openai")])
    world.runs = [a_run("running", kind="cover"), a_run("running", kind="cover"), ended]
    world.history[0]["run_id"] = RUN_ID
    prompt = "  Um livro [azul],\n\tem cima da mesa — 'à vista'  "
    # When a cover is asked for
    result = lookbook(world, "cover", ID, "--prompt", prompt)
    # Then the prompt goes along as it is, the run is followed, and the new cover shown with its link
    assert result.exit_code == 0
    assert [sent.json for sent in world.asked("POST", "/generate")] == [{"customPrompt": prompt}]
    assert world.slept == [1.0, 1.0, 1.0]
    lines = result.stdout.splitlines()
    assert lines[0] == f"Run {RUN_ID} makes {ID} a cover."
    assert f"Run {RUN_ID}: succeeded" in lines
    # And of its figures there are only those that say something of one image
    figures = [" ".join(line.split()) for line in lines[lines.index(f"Run {RUN_ID}: succeeded") + 1 :]]
    assert figures[:6] == ["", "images new 1", "seconds 31.2", "dollars 0.0405", "", f"{ID}: Curso de Python"]
    assert lines[-2:] == ["Picture:", PICTURE_URL]


@pytest.mark.parametrize("prompt", ["x", "é" * 4000])
def test_shortest_and_longest_prompts_are_taken(world: Covers, prompt: str) -> None:
    assert lookbook(world, "cover", ID, "--prompt", prompt, "--no-wait").exit_code == 0
    assert [sent.json["customPrompt"] for sent in world.asked("POST", "/generate")] == [prompt]


def test_again_is_the_usual_prompt(world: Covers) -> None:
    assert lookbook(world, "cover", ID, "--again").exit_code == 0
    assert [sent.json for sent in world.asked("POST", "/generate")] == [{}]


def test_later_request_s_cover_is_not_passed_off_as_this_one_s(world: Covers) -> None:
    # Given that someone asked for another cover after this one was asked for
    world.history[:] = [an_entry(NEW, run_id="another"), an_entry(OLD, run_id=RUN_ID)]
    # When the run ends, then it is said, with how to take what it made
    result = lookbook(world, "cover", ID, "--again")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-4:-1] == [
        "That is not what this run has made: the cover was changed after the run was asked for.",
        f"Take the run's with: lookbook cover {ID} --revert {OLD[:12]}",
        "Picture:",
    ]
    # And hiding something else meanwhile changes nothing of that
    world.history[:] = [an_entry(NEW, "hidden", hidden_image_id=OLD), an_entry(NEW, run_id=RUN_ID)]
    assert "That is not" not in lookbook(world, "cover", ID, "--again").stdout


def test_run_for_a_cover_that_fails_is_status_1_with_the_reason(world: Covers) -> None:
    world.runs = [a_run("failed", reason="The provider refused the prompt.")]
    result = lookbook(world, "cover", ID, "--prompt", "x")
    assert result.exit_code == 1
    assert "The provider refused the prompt." in result.stdout
    assert "Picture:" not in result.stdout


def test_run_for_a_cover_is_json_for_scripts(world: Covers) -> None:
    world.runs = [a_run("running"), a_run("succeeded")]
    result = lookbook(world, "cover", ID, "--again", "--json")
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (0, a_run("succeeded"), "")
    world.runs = [a_run("running")]
    result = lookbook(world, "cover", ID, "--again", "--no-wait", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, a_run("running"))


def test_cover_that_is_not_waited_for_says_how_to_see_its_run(world: Covers) -> None:
    world.runs = [a_run("running")]
    result = lookbook(world, "cover", ID, "--again", "--no-wait")
    assert result.exit_code == 0
    assert f"lookbook show {RUN_ID}" in result.stdout
    assert world.slept == []


def test_ctrl_c_leaves_the_cover_s_run_alone(world: Covers) -> None:
    world.runs = [a_run("running")]
    result = interrupted(world, "cover", ID, "--again")
    assert result.exit_code == 130
    assert f"lookbook show {RUN_ID}" in result.stderr


# --- cover --upload


def parts_of(upload: Sent) -> list[tuple[bytes, bytes]]:
    """Return the parts of a form, each as its head and its content."""
    boundary = upload.headers["Content-Type"].partition("boundary=")[2].encode()
    first, *parts, end = upload.body.split(b"--" + boundary)
    assert (first, end) == (b"", b"--\r\n")
    heads = [part.partition(b"\r\n\r\n") for part in parts]
    return [(head, content.removesuffix(b"\r\n")) for head, _, content in heads]


def test_small_picture_goes_along_with_the_request(world: Covers, picture: Path) -> None:
    result = lookbook(world, "cover", ID, "--upload", picture)
    assert result.exit_code == 0
    # Then it is the part `image` of a form with a length, and its file's name is nobody's business
    (upload,) = world.asked("POST", "/images/upload")
    assert upload.headers["Content-Length"] == str(len(upload.body))
    ((head, content),) = parts_of(upload)
    assert content == JPEG
    assert b'name="image"' in head
    assert b"my cover" not in head
    # And the cover is shown
    assert result.stdout.splitlines()[0] == "Uploaded my cover.jpg."
    assert result.stdout.splitlines()[-2:] == ["Picture:", PICTURE_URL]
    # And for scripts it is the image
    again = lookbook(world, "cover", ID, "--upload", picture, "--json")
    assert json.loads(again.stdout) == an_image(method="upload")


def test_picture_is_sent_whole_again_when_the_token_was_refused(world: Covers, picture: Path) -> None:
    tokens = iter([(401, {"message": "Unauthorized"}), None])
    world.before = lambda sent: next(tokens) if sent.path.endswith("/images/upload") else None
    assert lookbook(world, "cover", ID, "--upload", picture).exit_code == 0
    assert [parts_of(upload)[0][1] for upload in world.asked("POST", "/images/upload")] == [JPEG, JPEG]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(cover_commands.IN_A_REQUEST))
    return path


def test_large_picture_goes_through_s3_and_is_waited_for(world: Covers, large: Path) -> None:
    # Given checks that take a moment
    waiting: Json = {"upload_id": "u-1", "status": "waiting", "reason": None, "image": None}
    world.checks = [waiting, waiting, {**waiting, "status": "done", "image": an_image(method="upload")}]
    # When it is uploaded
    result = lookbook(world, "cover", ID, "--upload", large)
    # Then S3 gets a form whose last part is the file, and nobody's token
    assert result.exit_code == 0
    (upload,) = world.asked("POST", "/bucket")
    *fields, (head, content) = parts_of(upload)
    assert b'name="file"' in head
    assert content == large.read_bytes()
    assert [(b'name="key"' in field, value) for field, value in fields] == [(True, b"uploads/u-1")]
    assert "Authorization" not in upload.headers
    # And the outcome is waited for
    assert world.slept == [1.0, 1.0]
    assert result.stdout.splitlines()[-2:] == ["Picture:", PICTURE_URL]
    assert json.loads(lookbook(world, "cover", ID, "--upload", large, "--json").stdout) == an_image(method="upload")


def test_refused_picture_says_why(world: Covers, large: Path, picture: Path) -> None:
    reason = "The picture has 50 megapixels; 40 are the most."
    world.checks = [{"upload_id": "u-1", "status": "refused", "reason": reason, "image": None}]
    result = lookbook(world, "cover", ID, "--upload", large)
    assert (result.exit_code, result.stderr) == (1, f"Error: The picture was refused: {reason}\n")
    # And a small one by the API's own answer
    problem = {"title": "Not valid", "status": 422, "detail": reason}
    world.before = lambda sent: (422, problem) if sent.path.endswith("/images/upload") else None
    result = lookbook(world, "cover", ID, "--upload", picture)
    assert (result.exit_code, result.stderr) == (1, f"Error: {reason}\n")


def test_checks_that_never_end_are_not_waited_for_forever(world: Covers, large: Path) -> None:
    world.checks = [{"upload_id": "u-1", "status": "waiting", "reason": None, "image": None}]
    result = lookbook(world, "cover", ID, "--upload", large)
    assert result.exit_code == 1
    assert f"lookbook history {ID}" in result.stderr
    assert len(world.slept) == cover_commands.CHECKS


def test_upload_that_is_cut_off_says_where_its_picture_would_be(world: Covers, large: Path, picture: Path) -> None:
    world.checks = [{"upload_id": "u-1", "status": "waiting", "reason": None, "image": None}]
    result = interrupted(world, "cover", ID, "--upload", str(large))
    assert result.exit_code == 130
    assert f"lookbook history {ID}" in result.stderr
    # And when the connection is lost, it is not sent again
    world.before = lost("POST", "/images/upload")
    result = lookbook(world, "cover", ID, "--upload", picture)
    assert result.exit_code == 1
    assert f"lookbook history {ID}" in result.stderr
    assert len(world.asked("POST", "/images/upload")) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG, WebP or GIF"),
        (JPEG + bytes(20 * 1024 * 1024), "a picture may have 20 MB"),
    ],
    ids=["none", "empty", "svg", "too large"],
)
def test_file_that_cannot_be_a_cover_is_refused_before_anything_is_sent(
    world: Covers, tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "x.jpg").write_bytes(content)
    result = lookbook(world, "cover", ID, "--upload", "x.jpg")
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


# --- cover --revert and --hide


@pytest.mark.parametrize("beginning", [OLD[:8], OLD[:12], OLD[:12].upper(), OLD])
def test_revert_takes_an_image_by_the_beginning_of_its_id(world: Covers, beginning: str) -> None:
    result = lookbook(world, "cover", ID, "--revert", beginning)
    assert result.exit_code == 0
    (sent,) = world.changed
    assert sent.path.endswith(f"/products/hotmart%3A698441/images/{OLD}/activate")
    # And the cover is shown as it is now
    assert "Cover: 0123456789aa, upload" in result.stdout
    assert "reverted to by anna" in result.stdout


def test_revert_finds_an_image_on_a_later_page_of_the_history(world: Covers) -> None:
    world.history[1:1] = [an_entry(f"{n:08x}" * 8) for n in range(7)]
    assert lookbook(world, "cover", ID, "--revert", OLD[:8]).exit_code == 0
    assert world.product["cover_image_id"] == OLD


@pytest.mark.parametrize("image_id", [VARIANT, SHY], ids=["shown", "hidden"])
def test_revert_finds_a_variant_that_never_was_the_cover(world: Covers, image_id: str) -> None:
    assert lookbook(world, "cover", ID, "--revert", image_id[:8]).exit_code == 0
    assert world.product["cover_image_id"] == image_id


def test_revert_finds_an_image_that_was_hidden(world: Covers) -> None:
    world.history[:] = [an_entry(NEW, "hidden", hidden_image_id=TWIN)]
    assert lookbook(world, "cover", ID, "--revert", TWIN[:8]).exit_code == 0
    assert world.product["cover_image_id"] == TWIN


def test_beginning_of_several_ids_says_which(world: Covers) -> None:
    world.history.append(an_entry(TWIN))
    result = lookbook(world, "cover", ID, "--revert", "01234567")
    assert result.exit_code == 1
    assert "2 images begin with 01234567: 0123456789aa (uploaded, 2026-11-21" in result.stderr
    assert "0123456789cc (made by openai, 2026-11-21" in result.stderr
    assert world.changed == []


def test_image_that_the_product_never_had_says_where_to_look(world: Covers) -> None:
    for option in ("--revert", "--hide"):
        result = lookbook(world, "cover", ID, option, "abcdefab")
        assert result.exit_code == 1
        # And what was typed is not shown as if it were cut
        assert f"{ID} has no image that begins with abcdefab; see" in result.stderr
        assert f"lookbook history {ID}" in result.stderr
    assert world.changed == []


def test_revert_is_json_for_scripts(world: Covers) -> None:
    shown = json.loads(lookbook(world, "cover", ID, "--revert", OLD[:8], "--json").stdout)
    assert (shown["product_id"], shown["cover_image_id"]) == (ID, OLD)


def test_hidden_image_can_be_shown_again(world: Covers) -> None:
    result = lookbook(world, "cover", ID, "--hide", NEW[:8])
    assert result.exit_code == 0
    assert [sent.path.rpartition("/")[2] for sent in world.changed] == [NEW]
    lines = result.stdout.splitlines()
    assert lines[0] == f"Hidden: {NEW[:12]}. Show it again with: lookbook cover {ID} --revert {NEW[:12]}"
    # And it is said that there is no cover now
    assert any(line.startswith("It has no cover.") for line in lines)
    assert json.loads(lookbook(world, "cover", ID, "--hide", OLD[:8], "--json").stdout)["hidden"] is True


# --- history


def test_history_is_told_in_words_with_the_cover_marked(world: Covers) -> None:
    # Given a history of everything, with a prompt that is longer than the page, and no good for a terminal
    prompt = "Uma [bold]capa\x1b[31m azul " * 20
    world.history[:] = [
        an_entry(NEW, "hidden", hidden_image_id=TWIN),
        an_entry(NEW, "reverted"),
        an_entry(TWIN, prompt=prompt, actor="ben"),
        an_entry(OLD, "imported"),
        an_entry(NEW, "uploaded"),
    ]
    # When it is shown
    result = lookbook(world, "history", ID)
    # Then each entry has its image, that of the cover a star, and the prompt is cut
    assert result.exit_code == 0
    table = result.stdout.partition("\n\n")[0].splitlines()
    rows = [" ".join(line.split()[2:]) for line in table[2:]]
    assert rows[0] == "hidden 0123456789cc anna -"
    assert rows[1] == "reverted to fedcba9876bb * anna -"
    assert rows[2].startswith("made by openai 0123456789cc ben Uma [bold]capa [31m")
    assert rows[2].endswith("…")
    assert rows[3:] == ["imported 0123456789aa anna -", "uploaded fedcba9876bb * anna -"]
    assert max(map(cell_len, table)) <= 80
    assert "\x1b" not in result.stdout
    # And there is a way on
    assert f"lookbook cover {ID} --revert IMAGE" in result.stdout


def test_history_can_be_cut_and_is_json_for_scripts(world: Covers) -> None:
    world.history[:] = [an_entry(f"{n:08x}" * 8) for n in range(5)]
    cut = lookbook(world, "history", ID, "--limit", 3)
    assert "There are more than 3." in cut.stdout
    assert "00000003" not in cut.stdout
    assert json.loads(lookbook(world, "history", ID, "--json").stdout) == world.history
    assert json.loads(lookbook(world, "history", ID, "--json", "--limit", 2).stdout) == world.history[:2]


def test_history_has_the_pictures_links_if_asked_for(world: Covers) -> None:
    world.history.insert(0, an_entry(NEW, "hidden", hidden_image_id=TWIN))
    lines = lookbook(world, "history", ID, "--links").stdout.splitlines()
    assert [line for line in lines if PICTURE_URL in line] == [f"{each[:12]}: {PICTURE_URL}" for each in (NEW, OLD)]
    assert PICTURE_URL not in lookbook(world, "history", ID).stdout


def test_history_knows_when_there_is_no_cover_and_when_there_is_nothing(world: Covers) -> None:
    world.history.insert(0, an_entry(None, "hidden", hidden_image_id=NEW))
    result = lookbook(world, "history", ID)
    assert "It has no cover now." in result.stdout
    assert "*" not in result.stdout
    world.history.clear()
    assert f"lookbook cover {ID} --again" in lookbook(world, "history", ID).stdout


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_history_keeps_ids_whole_at_any_width(width: int) -> None:
    table = drawn(render.history_table([an_entry(prompt="words " * 99, actor="anna@example.com")], NEW, width), width)
    assert "fedcba9876bb *" in table
    assert ("words" in table) is (width >= 80)
    assert max(map(cell_len, table.splitlines())) <= width


def test_history_tells_seconds_and_keeps_who_it_was_whole() -> None:
    entries = [an_entry(prompt="words " * 99, actor="anna.de.oliveira@a-long-name.example.com"), an_entry(OLD)]
    table = drawn(render.history_table(entries, NEW, 90), 90)
    assert " anna.de.oliveira@" in table
    assert "example.com" not in table
    assert render.moment(entries[0]["created_at"], "%Y-%m-%d %H:%M:%S").plain.endswith(":15:02")
    assert ":15:02  " in table


def test_image_id_is_a_link_where_a_terminal_can_open_it() -> None:
    assert render.image_id(NEW, PICTURE_URL).spans[0].style.link == PICTURE_URL  # type: ignore[union-attr]  # a Style
    assert render.image_id(NEW, "javascript:alert(1)").spans == []
    assert render.image_id(None, None).plain == "-"


# --- notes


@pytest.mark.parametrize("text", ["Sells well", "Два слова\nи строка", "लाभ — 利益 👩‍👩‍👧", " -5 % \t", "é" * 5000])
def test_note_is_added_as_typed(world: Covers, text: str) -> None:
    result = lookbook(world, "note", ID, "--", text)
    assert result.exit_code == 0
    assert [sent.json for sent in world.changed] == [{"note": text}]
    assert json.loads(lookbook(world, "note", ID, "--json", "--", text).stdout) == a_note(text=text)


def test_note_comes_from_stdin_but_for_the_end_of_its_last_line(world: Covers) -> None:
    assert lookbook(world, "note", ID, "-", typed="uma\n\nduas: ã\n\n").exit_code == 0
    assert lookbook(world, "note", ID, "--edit", "n-1", "-", typed="три\r\n").exit_code == 0
    assert [sent.json["note"] for sent in world.changed] == ["uma\n\nduas: ã\n", "три"]


def test_someone_at_a_terminal_is_told_how_to_end_a_note(world: Covers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cover_commands, "at_terminal", lambda: True)
    assert "Ctrl-D" in lookbook(world, "note", ID, "-", typed="x\n").stderr


@pytest.mark.parametrize(
    ("args", "typed", "says"),
    [
        ([], None, "lookbook notes"),
        (["x" * 5001], None, "The note has 5,001 characters; it may have 5,000."),
        ([""], None, "The note is empty"),
        (["-"], "", "The note is empty"),
        (["-"], "x" * 20_006, "too long"),
        (["--edit", "n-1"], None, "Give the note's text"),
        (["--edit", "n-1", "--delete", "n-1", "x"], None, "Choose one"),
        (["--delete", "n-1", "x"], None, "takes no text"),
        (["-5 % in a week"], None, "put -- before it: lookbook note ID -- TEXT. Or give - in its place"),
        (["--edti", "n-1", "x"], None, "Possible options: --edit"),
        (["--no good"], None, "put -- before it: lookbook note ID -- TEXT. Or give - in its place"),
    ],
)
def test_note_that_cannot_be_is_refused_before_anything_is_sent(
    world: Covers, args: list[str], typed: str | None, says: str
) -> None:
    result = lookbook(world, "note", ID, *args, typed=typed)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


def test_stdin_that_is_no_text_is_said(world: Covers) -> None:
    result = CliRunner().invoke(main.app, ["note", ID, "-"], input=b"\xff\xfe", obj=common.Tools(world.http))
    assert result.exit_code == 1
    assert "not UTF-8" in result.stderr


def test_note_is_changed_and_deleted_by_its_id(world: Covers) -> None:
    changed = lookbook(world, "note", ID, "--edit", "n/1", "New text")
    assert changed.stdout.splitlines()[0] == "Changed:"
    assert "changed 2026-11-22" in changed.stdout
    # And what was deleted is shown once more
    deleted = lookbook(world, "note", ID, "--delete", "n/1")
    assert deleted.stdout.splitlines()[0] == "Deleted:"
    assert deleted.stdout.splitlines()[-1] == "  Sells well"
    assert [(sent.method, sent.path.rpartition("/notes/")[2]) for sent in world.changed] == [
        ("PUT", "n%2F1"),
        ("DELETE", "n%2F1"),
    ]


def test_notes_are_shown_as_typed_without_what_a_terminal_obeys(world: Covers) -> None:
    # Given notes in several lines and scripts, and one that would write over the screen, or turn its text around
    family = "👩‍👩‍👧 می‌خواهم"
    world.lists["notes"] = [
        a_note("n-3", f"Primeira:\n\n   • {family}\n\t利益　50 %"),
        a_note("n-2", "a\x1b[2Jb\rc\u202ed\x9be", author="e\x1bvil", edited_at="2026-11-22T10:00:00.000Z"),
        a_note("n-1", "[bold]no markup[/bold]"),
    ]
    # When they are listed
    result = lookbook(world, "notes", ID)
    # Then each is there with its id and its own lines
    assert result.exit_code == 0
    lines = result.stdout.split("\n")
    assert lines[0].endswith("  anna  n-3")
    assert lines[1:5] == ["  Primeira:", "  ", f"     • {family}", "      利益　50 %"]
    assert lines[6].partition("  ")[2].startswith("e vil  n-2  changed 2026-11-22")
    assert lines[7:9] == ["  a [2Jb", "  c d e"]
    assert "  [bold]no markup[/bold]" in lines
    assert not {"\x1b", "\r", "\u202e", "\x9b"} & set(result.stdout)
    # And for scripts they are just what they are
    assert json.loads(lookbook(world, "notes", ID, "--json").stdout) == world.lists["notes"]


def test_list_of_notes_says_when_there_are_more_or_none(world: Covers) -> None:
    world.lists["notes"] = [a_note(f"n-{n}") for n in range(5)]
    result = lookbook(world, "notes", ID, "--limit", 3)
    assert "There are more than 3." in result.stdout
    assert "n-3" not in result.stdout
    world.lists["notes"] = []
    assert f"lookbook note {ID} TEXT" in lookbook(world, "notes", ID).stdout


# --- rate


def test_image_is_rated_in_every_product_that_has_it(world: Covers) -> None:
    result = lookbook(world, "rate", OLD[:8].upper(), 5)
    assert (result.exit_code, result.stdout) == (0, f"Rated 5 of 5: {OLD[:12]} in {ID}.\n")
    assert [sent.path.rpartition("/api")[2] for sent in world.sent if "/images/" in sent.path] == [
        f"/images/{OLD[:8]}",
        f"/products/hotmart%3A698441/images/{OLD}/rating",
    ]
    assert [sent.json for sent in world.changed] == [{"stars": 5}]
    rated = json.loads(lookbook(world, "rate", OLD, 5, "--json").stdout)
    assert rated == [{"product_id": ID, "image": an_image(OLD, stars=5)}]


def test_rating_in_some_products_only_is_status_2(world: Covers) -> None:
    # Given an image that one of its products has lost meanwhile
    world.found = {"image_id": OLD, "products": ["CJ1", ID]}
    problem = {"title": "Not found", "status": 404, "detail": "There is no such image."}
    world.before = lambda sent: (404, problem) if "CJ1" in sent.path else None
    # When it is rated, then the other one is rated all the same
    result = lookbook(world, "rate", OLD[:8], 4)
    assert result.exit_code == 2
    assert result.stdout == f"Rated 4 of 5: {OLD[:12]} in {ID}.\n"
    assert result.stderr == "Not rated in CJ1: There is no such image.\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([OLD[:7], "5"], "its first 8 digits or more"),
        (["cover.jpg", "5"], "is no image"),
        ([OLD, "-5"], "whole number from 1 to 5"),
        *(([OLD, stars], "from 1 to 5") for stars in ("0", "6", "five", "4.5")),
    ],
)
def test_rating_that_cannot_be_is_refused_before_anything_is_sent(world: Covers, args: list[str], says: str) -> None:
    result = lookbook(world, "rate", *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


def test_image_that_is_not_clear_is_said_in_the_api_s_words(world: Covers) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "2 images begin with 01234567: give more digits."}
    world.before = lambda sent: (409, problem) if "/api/images/" in sent.path else None
    result = lookbook(world, "rate", OLD[:8], 5)
    assert (result.exit_code, result.stderr) == (1, f"Error: {problem['detail']}\n")


# --- tags, search, get


@pytest.mark.parametrize(
    ("args", "asked", "tags"),
    [
        (["summer", "für Sie"], {"add": ["summer", "für Sie"], "remove": []}, ["course", "summer", "für Sie"]),
        (["--remove", "course"], {"add": [], "remove": ["course"]}, []),
        (["--remove", "winter"], {"add": [], "remove": ["winter"]}, ["course"]),
        ([" Summer", "SUMMER "], {"add": ["Summer"], "remove": []}, ["course", "Summer"]),
        (["new", "--remove", "course"], {"add": ["new"], "remove": ["course"]}, ["new"]),
        (["--set", "a", "b", "a"], {"tags": ["a", "b"]}, ["a", "b"]),
        (["--set"], {"tags": []}, []),
    ],
)
def test_tags_are_added_removed_and_set(world: Covers, args: list[str], asked: Json, tags: list[str]) -> None:
    result = lookbook(world, "tag", ID, *args)
    assert result.exit_code == 0
    # Then the API is told what to change, without a look at what there was: others may be changing it too
    assert [sent.json for sent in world.sent if "/products/" in sent.path] == [asked]
    assert (f"Tags of {ID}: {', '.join(tags)}" if tags else "has no tags") in result.stdout


def test_tags_are_shown_and_nothing_is_changed_when_none_are_named(world: Covers) -> None:
    assert lookbook(world, "tag", ID).stdout == f"Tags of {ID}: course\n"
    assert json.loads(lookbook(world, "tag", ID, "--json").stdout) == {"product_id": ID, "tags": ["course"]}
    assert world.changed == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--set", "a", "--remove", "course"], "do not go together"),
        (["Winter", "--remove", "winter"], "not both: Winter."),
        (["x" * 51], "1 to 50 characters"),
        ([" "], "1 to 50 characters"),
        (["--remove", ""], "1 to 50 characters"),
        ([f"t{n}" for n in range(51)], "these are 51"),
    ],
)
def test_tags_that_cannot_be_are_refused(world: Covers, args: list[str], says: str) -> None:
    result = lookbook(world, "tag", ID, *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


def test_products_are_searched_for_and_show_their_tags(world: Covers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    world.lists["products"] = [world.product]
    result = lookbook(world, "products", "--search", "curso pyth", "--source", "hotmart")
    assert result.exit_code == 0
    (sent,) = world.asked("GET", "/api/products")
    assert (sent.query["q"], sent.query["source"]) == ("curso pyth", "hotmart")
    assert result.stdout.splitlines()[2].split()[-1] == "course"
    world.lists["products"] = []
    assert "no such products" in lookbook(world, "products", "--search", "x").stdout
    assert "q" not in world.sent[0].query


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--search", ""], "Give words to search for."),
        (["--search", " \t"], "Give words to search for."),
        (["--source", "amazon"], "'cj', 'shopify', 'hotmart', 'scrape'"),
    ],
)
def test_products_that_cannot_be_listed_are_refused_before_anything_is_sent(
    world: Covers, args: list[str], says: str
) -> None:
    result = lookbook(world, "products", *args)
    assert result.exit_code == 1
    assert says in result.stderr
    assert world.sent == []


def test_get_shows_what_is_known_of_a_product(world: Covers) -> None:
    world.product |= {
        "tags": ["course", "python"],
        "price": "97.00 BRL",
        "description": "Aprenda\nPython " * 100,
        "source_status": "ACTIVE",
        "source_deleted_at": "2026-11-21T10:00:00.000Z",
        "notes": [a_note(), a_note("n-2")],
        "more_notes": True,
    }
    result = lookbook(world, "get", ID)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert {"Tags: course, python", "Price: 97.00 BRL", "Status at its source: ACTIVE"} <= set(lines)
    (description,) = [line for line in lines if line.startswith("Description: Aprenda Python ")]
    assert len(description) < 320
    assert description.endswith("…")
    assert any(line.startswith("Gone from its source since 2026-11-21") for line in lines)
    assert any(line.startswith("Notes: more than 2, the newest by anna, 2026-11-21") for line in lines)
    assert f"* the cover; see it with: lookbook cover {ID}" in lines
    # And of one that has none of that, nothing is said
    world.products["CJ1"] = a_product("CJ1")
    bare = lookbook(world, "get", "CJ1").stdout
    assert not any(word in bare for word in ("Tags", "Price", "Description", "Notes", "source since"))


# --- all of them


@pytest.mark.parametrize("name", ["cover", "history", "note", "notes", "rate", "tag", "products", "get"])
def test_every_command_about_covers_has_help_with_an_example(world: Covers, name: str) -> None:
    result = lookbook(world, name, "--help")
    assert result.exit_code == 0
    assert f"lookbook {name}" in result.stdout.partition("Example:")[2]
    assert "--json" in result.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["cover", ID, "--again"],
        ["cover", ID, "--revert", OLD],
        ["cover", ID, "--hide", OLD],
        ["note", ID, "x"],
        ["rate", OLD, "5"],
        ["tag", ID, "x"],
    ],
    ids=lambda args: " ".join(args[::2]),
)
def test_nothing_is_asked_for_twice_when_the_connection_breaks(world: Covers, args: list[str]) -> None:
    def gone(sent: Sent) -> Answer | None:
        if sent.method != "GET" and "/api/" in sent.path:
            raise requests.ConnectionError
        return None

    world.before = gone
    result = lookbook(world, *args)
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert len(world.changed) == 1


@pytest.mark.parametrize(
    "args",
    [["cover"], ["history"], ["notes"], ["cover", "--again"], ["note", "x"], ["tag", "x"]],
    ids=" ".join,
)
def test_product_that_is_not_there_is_said_in_one_sentence(world: Covers, args: list[str]) -> None:
    problem = {"title": "Not found", "status": 404, "detail": "There is no product CJ9."}
    world.before = lambda sent: (404, problem) if "/products/" in sent.path else None
    result = lookbook(world, args[0], "CJ9", *args[1:])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: There is no product CJ9.\n")


@pytest.mark.parametrize(
    "args",
    [["cover"], ["history"], ["notes"], ["note", "x"], ["tag", "x"], ["get"], ["check"], ["usage"]],
    ids=lambda args: args[0],
)
def test_product_s_id_has_no_blanks_around_it_and_is_something(world: Covers, args: list[str]) -> None:
    for empty in ("", " "):
        result = lookbook(world, args[0], empty, *args[1:])
        assert result.exit_code == 1
        assert "The product's id is empty." in result.stderr
    assert world.sent == []
    assert lookbook(world, args[0], f" {ID}\t", *args[1:]).exit_code == 0


@pytest.mark.parametrize(
    ("detail", "hint"),
    [
        ("The library has no product 698441.", True),
        ("Product 698441 is not in the library.", True),
        ("The library has no product 698441x.", False),
        ("The product 698441 has no note n-1.", False),
    ],
)
def test_number_that_is_no_product_s_id_may_be_one_of_hotmart(world: Covers, detail: str, hint: bool) -> None:
    world.before = lambda sent: (404, {"title": "Not found", "detail": detail}) if "/products/" in sent.path else None
    rest = " If it is one of Hotmart's, its id is hotmart:698441." if hint else ""
    assert lookbook(world, "history", "698441").stderr == f"Error: {detail}{rest}\n"
    assert "its id is hotmart:698441." in lookbook(world, "check", "698441").stdout
