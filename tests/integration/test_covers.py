"""Covers by hand on the deployed template: upload, generate, history, rating, hiding; notes, tags, search."""

from __future__ import annotations

import io
import struct
import time
import uuid
import zlib
from typing import Any

import pytest
import requests
from PIL import Image

from tests.integration.conftest import Stack

JPEG = "image/jpeg"


def picture(colour: str = "teal", size: tuple[int, int] = (640, 480), kind: str = "JPEG", **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind, **more)
    return out.getvalue()


class Covers:
    """A product of the stack, and what can be done to its cover."""

    def __init__(self, stack: Stack, product_id: str) -> None:
        self.stack = stack
        self.product_id = product_id
        self.path = f"/api/products/{product_id}"

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.stack.call(method, f"{self.path}{path}", **more)

    def ok(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.send(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, data: bytes, status: int = 201) -> Any:
        return self.ok("POST", "/images/upload", status, files={"image": ("cover.jpg", data, JPEG)})

    def page(self) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.get(self.path)
        return found

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.stack.get(f"{self.path}/images/history?limit=100")["entries"]
        return found

    def generate(self, **body: Any) -> str:
        return str(self.ok("POST", "/images/generate", 202, json=body)["run_id"])


@pytest.fixture(scope="module")
def made(_deployed: Stack) -> list[str]:
    """Products without pictures, whose covers have just been made, one for each test."""
    batch = uuid.uuid4().hex[:8]
    about = {"title": f"Curso de Violão {batch}", "category": "ONLINE_COURSE", "description": "Aprenda já."}
    scrape = [{"product_id": f"CJ{batch}{number:02d}", **about} for number in range(40)]
    run = _deployed.run(scrape, variants=1)
    assert run["status"] == "succeeded", run
    return [str(product["product_id"]) for product in scrape]


@pytest.fixture
def covers(stack: Stack, made: list[str]) -> Covers:
    return Covers(stack, made.pop())


def test_upload_generate_go_back_and_nothing_is_lost(covers: Covers) -> None:
    # Given a cover that was made by itself
    [first] = covers.history()
    assert (first["action"], first["method"]) == ("generated", "openai")
    assert "Curso de Violão" in first["prompt"]
    assert "an online course" in first["prompt"]

    # When a person uploads one, has one made by a prompt, and goes back to the first
    uploaded = covers.upload(picture())
    assert covers.page()["cover_image_id"] == uploaded["image_id"]
    run = covers.stack.wait(covers.generate(customPrompt="Um violão ao pôr do sol 🌅"))
    assert (run["status"], run["kind"]) == ("succeeded", "cover")
    made = covers.page()["cover_image_id"]
    covers.ok("POST", f"/images/{first['image_id']}/activate", json={})

    # Then history has all of it, newest first, and the cover is what its newest entry says
    told = [(each["action"], each["image_id"], each["prompt"]) for each in covers.history()]
    assert told == [
        ("reverted", first["image_id"], first["prompt"]),
        ("generated", made, "Um violão ao pôr do sol 🌅"),
        ("uploaded", uploaded["image_id"], None),
        ("generated", first["image_id"], first["prompt"]),
    ]
    assert covers.page()["cover_image_id"] == first["image_id"]
    assert [each["actor"] for each in covers.history()] == [covers.stack.known["user"]] * 4
    for entry in covers.history():
        assert requests.get(entry["url"], timeout=10).content.startswith(b"\xff\xd8\xff")


def test_an_upload_is_judged_by_its_bytes_and_kept_without_metadata(covers: Covers) -> None:
    # Given a PNG that says it is a JPEG, with a place and a comment in it
    exif = Image.Exif()
    exif[0x010E] = "my garden gate, key under the pot"
    data = picture("olive", (3000, 1000), "PNG", exif=exif)

    image = covers.upload(data)

    kept = requests.get(image["url"], timeout=10).content
    assert b"garden" in data
    assert b"garden" not in kept
    with Image.open(io.BytesIO(kept)) as opened:
        assert (opened.format, opened.size, dict(opened.getexif())) == ("JPEG", (2048, 683), {})
    assert (image["method"], image["width"], image["height"], image["bytes"]) == ("upload", 2048, 683, len(kept))
    # And nothing of what was sent lies anywhere
    listed = covers.stack.aws("s3").list_object_versions(Bucket=covers.stack.output("Bucket"), Prefix="uploads/")
    assert listed.get("Versions", []) == []


def png_of(width: int, height: int) -> bytes:
    """A small file that says it is a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


HOSTILE = {
    "a page": (b"<html><script>alert(1)</script></html>", "an HTML page"),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "an SVG drawing"),
    "a bomb": (png_of(60_000, 60_000), "megapixels"),
    "just too many": (png_of(6400, 6400), "megapixels"),
    "a stub": (picture()[:300], "damaged"),
    "nothing": (b"", "an empty file"),
    "too small": (picture(size=(20, 20)), "smaller than 32"),
    "an archive": (b"PK\x03\x04" + b"\0" * 100, "a ZIP file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_good_picture_is_refused_and_changes_nothing(covers: Covers, what: str) -> None:
    data, reason = HOSTILE[what]
    before = covers.page()["updated_at"]

    told = covers.upload(data, 422)

    assert reason in told["detail"]
    assert (covers.page()["updated_at"], len(covers.history())) == (before, 1)


def test_what_hides_behind_a_picture_is_not_kept(covers: Covers) -> None:
    # Given a picture that is a page and an archive too
    data = picture() + b"<script>alert(1)</script>PK\x03\x04" + b"payload"

    kept = requests.get(covers.upload(data)["url"], timeout=10)

    assert kept.headers["content-type"] == JPEG
    assert b"script" not in kept.content
    assert b"payload" not in kept.content


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {"content-type": "application/json"}),
        (b"--x\r\nbroken", {"content-type": "multipart/form-data; boundary=x"}),
        (b"", {"content-type": "multipart/form-data"}),
    ],
)
def test_a_form_that_is_none_is_told_so(covers: Covers, body: bytes, headers: dict[str, str]) -> None:
    answer = covers.send("POST", "/images/upload", data=body, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def settled(covers: Covers, upload_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told: dict[str, Any] = covers.stack.get(f"{covers.path}/images/uploads/{upload_id}")
        if told["status"] != "waiting":
            return told
        time.sleep(0.3)
    raise AssertionError("The upload was not looked at.")


@pytest.mark.parametrize(("data", "status"), [(picture("navy", (5000, 4000), "PNG"), "done"), (b"<svg/>", "refused")])
def test_a_large_picture_goes_past_the_api_and_through_the_same_checks(
    covers: Covers, data: bytes, status: str
) -> None:
    # Given where to send it
    awaited = covers.ok("POST", "/images/upload-url", 201, json={})
    before = covers.page()["cover_image_id"]
    assert covers.stack.get(f"{covers.path}/images/uploads/{awaited['upload_id']}")["status"] == "waiting"

    # When it is sent there
    sent = requests.post(awaited["url"], data=awaited["fields"], files={"file": data}, timeout=30)
    assert sent.status_code in {200, 204}, sent.text

    # Then it becomes the cover if it is good, and its upload says why if it is not; what was sent is gone
    told = settled(covers, awaited["upload_id"])
    assert told["status"] == status
    if status == "done":
        assert covers.page()["cover_image_id"] == told["image"]["image_id"] != before
        assert (told["image"]["width"], told["image"]["height"]) == (2048, 1638)
    else:
        assert "SVG" in told["reason"]
        assert covers.page()["cover_image_id"] == before
    bucket, key = covers.stack.output("Bucket"), awaited["fields"]["key"]
    assert "Contents" not in covers.stack.aws("s3").list_objects_v2(Bucket=bucket, Prefix=key)


def test_a_large_upload_goes_only_where_and_as_large_as_it_was_told(covers: Covers) -> None:
    awaited = covers.ok("POST", "/images/upload-url", 201, json={})
    forged = {**awaited["fields"], "key": "images/forged.jpg"}
    assert requests.post(awaited["url"], data=forged, files={"file": picture()}, timeout=30).status_code == 403
    large = b"\xff\xd8\xff" + b"\0" * (20 * 1024 * 1024)
    assert requests.post(awaited["url"], data=awaited["fields"], files={"file": large}, timeout=30).status_code == 400


def test_two_covers_at_once_both_land_and_the_later_request_wins(covers: Covers) -> None:
    # Given a first request whose picture takes longer than the second's
    covers.stack.fault("openai_images_url", kind="latency", seconds=6, match="the slow one", count=1)
    slow = covers.generate(customPrompt="the slow one")
    time.sleep(1.1)
    quick = covers.generate(customPrompt="the quick one")

    # When both are done
    assert covers.stack.wait(quick)["status"] == "succeeded"
    cover = covers.page()["cover_image_id"]
    assert covers.stack.wait(slow)["status"] == "succeeded"

    # Then the later one is the cover and history's newest entry, and the other one is there in its place
    assert covers.page()["cover_image_id"] == cover
    assert [each["prompt"] for each in covers.history()][:2] == ["the quick one", "the slow one"]
    assert covers.history()[0]["image_id"] == cover
    assert len(covers.page()["image_list"]) == 3


def test_an_upload_beats_what_was_asked_for_before_it(covers: Covers) -> None:
    covers.stack.fault("openai_images_url", kind="latency", seconds=4, match="too late", count=1)
    run_id = covers.generate(customPrompt="too late")
    time.sleep(0.5)
    uploaded = covers.upload(picture("maroon"))
    assert covers.stack.wait(run_id)["status"] == "succeeded"

    assert covers.page()["cover_image_id"] == uploaded["image_id"]
    assert [each["action"] for each in covers.history()] == ["uploaded", "generated", "generated"]


def test_hidden_is_out_of_sight_and_comes_back(covers: Covers) -> None:
    first = covers.page()["cover_image_id"]
    second = covers.upload(picture("purple"))["image_id"]

    hidden = covers.ok("DELETE", f"/images/{second}")

    assert hidden["hidden"] is True
    page = covers.page()
    assert (page["cover_image_id"], [each["image_id"] for each in page["image_list"]]) == (first, [first])
    assert covers.history()[0] | {"entry_id": "", "created_at": "", "url": ""} == {
        "entry_id": "",
        "action": "hidden",
        "image_id": first,
        "url": "",
        "method": "openai",
        "prompt": None,
        "actor": covers.stack.known["user"],
        "run_id": None,
        "hidden_image_id": second,
        "created_at": "",
    }
    assert requests.get(covers.history()[1]["url"], timeout=10).status_code == 200
    covers.ok("POST", f"/images/{second}/activate")
    assert covers.page()["cover_image_id"] == second


def test_stars_are_kept_and_images_found_by_the_beginning_of_their_ids(covers: Covers) -> None:
    image_id = covers.upload(picture("orchid"))["image_id"]

    assert covers.ok("PUT", f"/images/{image_id}/rating", json={"stars": 4})["stars"] == 4

    assert [each["stars"] for each in covers.page()["image_list"] if each["is_cover"]] == [4]
    found = covers.stack.get(f"/api/images/{image_id[:10]}")
    assert found == {"image_id": image_id, "products": [covers.product_id]}
    for stars in (0, 6, "5", 4.5, None):
        assert covers.send("PUT", f"/images/{image_id}/rating", json={"stars": stars}).status_code == 422
    assert covers.send("PUT", f"/images/{'0' * 64}/rating", json={"stars": 5}).status_code == 404


@pytest.mark.parametrize("prompt", ["", "x" * 4001, 5])
def test_a_prompt_that_cannot_be_costs_nothing(covers: Covers, prompt: Any) -> None:
    before = covers.stack.charges("openai_images_url")
    assert covers.send("POST", "/images/generate", json={"customPrompt": prompt}).status_code == 422
    assert covers.stack.charges("openai_images_url") == before


def test_the_longest_prompt_is_passed_on_as_written(covers: Covers) -> None:
    prompt = ("Ünïcode “quotes” {braces}\n\t" * 200)[:4000]
    assert covers.stack.wait(covers.generate(customPrompt=prompt))["status"] == "succeeded"
    assert covers.history()[0]["prompt"] == prompt


def test_notes_are_given_back_as_typed(covers: Covers) -> None:
    typed = ["  Vende mais com a capa azul\n\n", "注意库存 🙂\u200d", "x" * 5000, "<b>&amp;</b>\u0000"]
    for text in typed:
        note = covers.ok("POST", "/notes", 201, json={"note": text})
        assert (note["note"], note["author"]) == (text, covers.stack.known["user"])

    listed = covers.ok("GET", "/notes?limit=3")
    more = covers.ok("GET", f"/notes?limit=3&cursor={listed['cursor']}")
    assert [each["note"] for each in [*listed["notes"], *more["notes"]]] == typed[::-1]
    assert [each["note"] for each in covers.page()["notes"]] == typed[::-1]

    path = f"/notes/{note['note_id']}"
    assert covers.ok("PUT", path, json={"note": "better"})["note"] == "better"
    assert covers.ok("DELETE", path)["note"] == "better"
    assert len(covers.page()["notes"]) == 3
    assert covers.send("PUT", path, json={"note": "x"}).status_code == 404
    assert covers.send("DELETE", path).status_code == 404
    for none in ("", "x" * 5001, None, 7):
        assert covers.send("POST", "/notes", json={"note": none}).status_code == 422


def test_products_are_found_by_tag_title_and_id(covers: Covers) -> None:
    tag = f"zz{uuid.uuid4().hex[:8]}"
    tagged = covers.ok("PUT", "/tags", json={"tags": [f" {tag.upper()} ", "Verão", "verão"]})
    assert tagged["tags"] == [tag.upper(), "Verão"]

    for sought in (tag, f"verao {tag}", f"violao {tag[:8]}", covers.product_id, covers.product_id[:8]):
        found = covers.stack.get(f"/api/products?q={sought}")["products"]
        assert covers.product_id in [each["product_id"] for each in found], sought
    assert covers.stack.get(f"/api/products?q={tag}&source=hotmart")["products"] == []
    covers.ok("PUT", "/tags", json={"tags": []})
    assert covers.stack.get(f"/api/products?q={tag}")["products"] == []
    assert covers.stack.call("GET", "/api/products?q=x&cursor=bm9wZQ==").status_code == 422


def test_of_what_is_not_there_it_is_said_so(stack: Stack) -> None:
    nobody = Covers(stack, f"none-{uuid.uuid4().hex[:8]}")
    image = "0" * 64
    for method, path, more in (
        ("GET", "", {}),
        ("GET", "/images/history", {}),
        ("GET", "/notes", {}),
        ("PUT", "/tags", {"json": {"tags": []}}),
        ("POST", "/notes", {"json": {"note": "x"}}),
        ("POST", "/images/generate", {"json": {}}),
        ("POST", "/images/upload", {"files": {"image": picture()}}),
        ("POST", "/images/upload-url", {"json": {}}),
        ("POST", f"/images/{image}/activate", {"json": {}}),
        ("DELETE", f"/images/{image}", {}),
    ):
        answer = nobody.send(method, path, **more)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    assert stack.call("GET", f"/api/images/{image[:12]}").status_code == 404


def test_a_product_page_is_one_query_of_a_read_unit_for_8_kilobytes(covers: Covers) -> None:
    # Given a product with ten images and notes of 20 KB
    for shade in range(0, 250, 25):
        covers.upload(picture(f"rgb({shade},0,0)"))
    for _ in range(4):
        covers.ok("POST", "/notes", 201, json={"note": "x" * 5000})

    # When its page is read as library.whole_page does, then that is one Query, and what it costs follows from its size
    answer = covers.stack.aws("dynamodb").query(
        TableName=covers.stack.output("LibraryTable"),
        KeyConditionExpression="product_id = :id",
        ExpressionAttributeValues={":id": {"S": covers.product_id}},
        ReturnConsumedCapacity="TOTAL",
    )
    size = sum(len(str(value)) for item in answer["Items"] for value in item.values())
    assert "LastEvaluatedKey" not in answer
    assert answer["ConsumedCapacity"]["CapacityUnits"] <= 2 * -(-size // 4096)
