"""FASHN's stand-in speaks its protocol, keeps its limits, charges what completes, and fails as it is asked to."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from local.art import draw_garment, draw_model
from tests.integration.standin_server import KEY, StandIn, clean

LATENCY = 0.1


def data_uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


PERSON = data_uri(draw_model("woman_25_latina", (192, 256)))
GARMENT = data_uri(draw_garment("Blue Shirt", 1, (160, 200)))


def read(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


class Fashn(StandIn):
    """The stand-in, with FASHN's calls."""

    def run(self, **inputs: Any) -> requests.Response:
        given = {"model_image": PERSON, "garment_image": GARMENT, "category": "tops", **inputs}
        return self.ask("POST", "/v1/run", json={"model_name": "tryon-v1.6", "inputs": given})

    def submit(self, **inputs: Any) -> str:
        answer = self.run(**inputs)
        assert answer.status_code == 200, answer.text
        assert answer.json()["error"] is None
        return str(answer.json()["id"])

    def status(self, job: str) -> requests.Response:
        return self.ask("GET", f"/v1/status/{job}")

    def ended(self, job: str) -> requests.Response:
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            answer = self.status(job)
            if answer.json()["status"] not in ("starting", "in_queue", "processing"):
                return answer
            time.sleep(0.02)
        raise AssertionError(f"{job} did not end")

    def refusal(self, **inputs: Any) -> tuple[int, str]:
        answer = self.run(**inputs)
        assert set(answer.json()) == {"error", "message"}
        return answer.status_code, answer.json()["error"]


@pytest.fixture(scope="module")
def process() -> Iterator[Fashn]:
    with Fashn.started("fashn", "--key", KEY, "--latency", str(LATENCY), "--per-minute", "500") as server:
        yield server


@pytest.fixture
def fashn(process: Fashn) -> Fashn:
    return clean(process)


# ---------------------------------------------------------------------------------------------------------------------
# Protocol and charges
# ---------------------------------------------------------------------------------------------------------------------


def test_a_job_runs_completes_and_is_charged(fashn: Fashn) -> None:
    # When a job is submitted
    job = fashn.submit(seed=5)
    first, charged_before = fashn.status(job), fashn.charges()
    answer = fashn.ended(job)

    # Then it is not done at once, and costs nothing until it is
    assert first.json() == {"id": job, "status": first.json()["status"], "output": None, "error": None}
    assert first.json()["status"] in ("starting", "in_queue", "processing")
    assert "x-fashn-credits-used" not in first.headers
    assert charged_before == []

    # And then has a picture at an address that needs no key, and one charge
    [address] = answer.json()["output"]
    assert answer.json() == {"id": job, "status": "completed", "output": [address], "error": None}
    assert answer.headers["x-fashn-credits-used"] == "1"
    assert address == f"{fashn.url}/output/{job}/0.png"
    picture = requests.get(address, timeout=5)
    assert picture.headers["content-type"] == "image/png"
    assert (read(picture.content).format, read(picture.content).size) == ("PNG", (864, 1296))
    [charge] = fashn.charges()
    assert (charge["id"], charge["credits"], charge["model"]) == (job, 1, "tryon-v1.6")
    assert abs(charge["at"] - time.time()) < 10


def test_samples_are_several_pictures_for_as_many_credits(fashn: Fashn) -> None:
    answer = fashn.ended(fashn.submit(num_samples=2, output_format="jpeg"))

    pictures = [requests.get(address, timeout=5) for address in answer.json()["output"]]
    assert [read(picture.content).format for picture in pictures] == ["JPEG", "JPEG"]
    assert {picture.headers["content-type"] for picture in pictures} == {"image/jpeg"}
    assert pictures[0].content != pictures[1].content
    assert answer.headers["x-fashn-credits-used"] == "2"
    assert [charge["credits"] for charge in fashn.charges()] == [2]


def test_base64_is_given_instead_of_addresses(fashn: Fashn) -> None:
    job = fashn.submit(return_base64=True)

    [output] = fashn.ended(job).json()["output"]

    start, _, data = output.partition(",")
    assert start == "data:image/png;base64"
    assert read(base64.b64decode(data, validate=True)).size == (864, 1296)
    assert fashn.ask("GET", f"/output/{job}/0.png").status_code == 404


def test_equal_inputs_are_equal_work_and_give_equal_pictures(fashn: Fashn) -> None:
    # Given the same work twice, and with another seed
    jobs = [fashn.submit(seed=1), fashn.submit(seed=1), fashn.submit(seed=2)]

    pictures = [fashn.ask("GET", f"/output/{fashn.ended(job).json()['id']}/0.png").content for job in jobs]

    keys = {charge["id"]: charge["key"] for charge in fashn.charges()}
    assert pictures[0] == pictures[1] != pictures[2]
    assert keys[jobs[0]] == keys[jobs[1]] != keys[jobs[2]]


def test_the_two_pictures_are_the_ones_that_are_drawn(fashn: Fashn) -> None:
    red = data_uri(draw_garment("Red Shirt", 1, (160, 200)))
    jobs = [fashn.submit(garment_image=garment, seed=1) for garment in (GARMENT, red)]

    colours = []
    for job in jobs:
        picture = read(requests.get(fashn.ended(job).json()["output"][0], timeout=5).content)
        colours.append(picture.getpixel((432, 560)))

    blue_shirt, red_shirt = (colour for colour in colours if isinstance(colour, tuple))
    assert blue_shirt[2] > blue_shirt[0]
    assert red_shirt[0] > red_shirt[2]


def test_pictures_are_fetched_from_addresses(fashn: Fashn) -> None:
    with StandIn.started("pictures") as host:
        signed = [f"{host.url}/products/green-skirt.jpg?X-Amz-Signature={number}" for number in (1, 2)]

        jobs = [fashn.submit(garment_image=address, category="bottoms") for address in signed]
        ends = [fashn.ended(job).json()["status"] for job in jobs]

    assert ends == ["completed", "completed"]
    assert len({charge["key"] for charge in fashn.charges()}) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", KEY])
@pytest.mark.parametrize("call", [("POST", "/v1/run"), ("GET", "/v1/status/x")])
def test_without_the_key_nothing_is_done(fashn: Fashn, call: tuple[str, str], authorization: str) -> None:
    answer = fashn.ask(*call, headers={"Authorization": authorization})

    assert (answer.status_code, answer.json()["error"]) == (401, "UnauthorizedAccess")


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"model_image": None}, "model_image"),
        ({"garment_image": ""}, "garment_image"),
        ({"category": "hats"}, "category"),
        ({"mode": "fast"}, "mode"),
        ({"garment_photo_type": "drawing"}, "garment_photo_type"),
        ({"output_format": "webp"}, "output_format"),
        ({"num_samples": 5}, "num_samples"),
        ({"num_samples": True}, "num_samples"),
        ({"seed": "five"}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"return_base64": "yes"}, "return_base64"),
    ],
)
def test_bad_inputs_are_refused_with_a_reason(fashn: Fashn, inputs: dict[str, Any], says: str) -> None:
    answer = fashn.run(**inputs)

    assert (answer.status_code, answer.json()["error"]) == (400, "BadRequest")
    assert says in answer.json()["message"]


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"model_name": "tryon-v1.5", "inputs": {}}', b'{"model_name": "tryon-v1.6"}']
)
def test_bad_bodies_are_refused(fashn: Fashn, body: bytes) -> None:
    answer = fashn.ask("POST", "/v1/run", data=body)

    assert (answer.status_code, answer.json()["error"]) == (400, "BadRequest")


@pytest.mark.parametrize("path", ["/v1/status/nothing", "/output/nothing/0.png", "/v2/run"])
def test_what_is_unknown_is_not_found(fashn: Fashn, path: str) -> None:
    answer = fashn.ask("GET", path)

    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "picture", ["AAAA", "data:image/png;base64,AAAA", "data:image/png;base64,%%%", "http://127.0.0.1:1/x.jpg"]
)
def test_a_picture_that_cannot_be_read_fails_the_job_for_free(fashn: Fashn, picture: str) -> None:
    answer = fashn.ended(fashn.submit(garment_image=picture)).json()

    assert (answer["status"], answer["output"]) == ("failed", None)
    assert answer["error"]["name"] == "ImageLoadError"
    assert "garment" in answer["error"]["message"]
    assert fashn.charges() == []


# ---------------------------------------------------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------------------------------------------------


def test_only_so_many_jobs_may_be_unfinished(fashn: Fashn) -> None:
    # Given as many unfinished jobs as are allowed
    fashn.fail("stuck", count=6)
    jobs = [fashn.submit(seed=seed) for seed in range(6)]

    # When there is one more
    refused = fashn.refusal()

    # Then it is refused, until there is room
    assert refused == (429, "ConcurrencyLimitExceeded")
    clean(fashn)
    assert {fashn.ended(job).json()["status"] for job in jobs} == {"completed"}
    assert fashn.refusal(seed="bad") == (400, "BadRequest")
    assert fashn.ended(fashn.submit()).json()["status"] == "completed"


def test_only_so_many_jobs_are_accepted_a_minute() -> None:
    with Fashn.started("fashn", "--key", KEY, "--latency", "0", "--per-minute", "2") as fashn:
        fashn.fail("failed", count=2)

        answers = [fashn.refusal(seed="bad"), fashn.submit(), fashn.submit(), fashn.refusal()]

    assert (answers[0], answers[3]) == ((400, "BadRequest"), (429, "RateLimitExceeded"))


def test_credits_are_used_up_by_what_completes() -> None:
    # Given three credits, and a job that fails
    with Fashn.started("fashn", "--key", KEY, "--latency", "0.02", "--credits", "3") as fashn:
        fashn.fail("failed", count=1)
        fashn.ended(fashn.submit())

        # When they are spent
        spent = fashn.submit(num_samples=2)
        while_it_runs = fashn.refusal(num_samples=2)
        fashn.ended(spent)
        fashn.ended(fashn.submit())

        # Then there is nothing left
        assert while_it_runs == fashn.refusal() == (429, "OutOfCredits")
        assert [charge["credits"] for charge in fashn.charges()] == [2, 1]


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("failed", "PipelineError"),
        ("flagged", "ContentModerationError"),
        ("pose", "PoseError"),
        ("image_load", "ImageLoadError"),
    ],
)
def test_a_job_may_fail_and_is_free(fashn: Fashn, fault: str, name: str) -> None:
    fashn.fail(fault, count=1, match='"seed": 77')

    failed = fashn.ended(fashn.submit(seed=77))
    fine = fashn.ended(fashn.submit(seed=77))

    assert (failed.json()["status"], failed.json()["output"]) == ("failed", None)
    assert failed.json()["error"]["name"] == name
    assert failed.json()["error"]["message"]
    assert "x-fashn-credits-used" not in failed.headers
    assert [charge["id"] for charge in fashn.charges()] == [fine.json()["id"]]


def test_an_output_may_be_no_picture_and_costs(fashn: Fashn) -> None:
    fashn.fail("garbage", count=1)

    answer = fashn.ended(fashn.submit()).json()

    assert answer["status"] == "completed"
    with pytest.raises(OSError, match="cannot identify"):
        read(requests.get(answer["output"][0], timeout=5).content)
    assert len(fashn.charges()) == 1


def test_a_finished_job_may_expire(fashn: Fashn) -> None:
    # Given a finished job, and one whose output alone is asked for in vain
    first, second = fashn.submit(seed=1), fashn.submit(seed=2)
    [first_output], [second_output] = (fashn.ended(job).json()["output"] for job in (first, second))

    # When they expire
    fashn.fail("expired", count=1, on="status", match=first)
    fashn.fail("expired", count=1, on="output", match=second)
    statuses = [fashn.status(job).status_code for job in (first, second)]
    outputs = [requests.get(address, timeout=5).status_code for address in (first_output, second_output)]

    # Then they are not found, and stay so
    assert statuses == [404, 200]
    assert outputs == [404, 404]
    assert fashn.status(second).json()["error"] == "NotFound"


def test_a_stuck_job_waits_in_the_queue(fashn: Fashn) -> None:
    # Given a job that is stuck for good, and one for a while
    fashn.fail("stuck", count=1)
    fashn.fail("stuck", count=1, seconds=0.2)
    stuck, released = fashn.submit(seed=1), fashn.submit(seed=2)
    assert fashn.ended(released).json()["status"] == "completed"
    assert fashn.status(stuck).json()["status"] == "in_queue"

    # When the faults are removed
    fashn.ask("DELETE", "/_faults")

    # Then it runs
    assert fashn.ended(stuck).json()["status"] == "completed"
    assert len(fashn.charges()) == 2


def test_credits_may_be_said_to_be_used_up(fashn: Fashn) -> None:
    fashn.fail("out_of_credits", count=1)
    once = [fashn.refusal(), fashn.refusal(seed="bad")]
    fashn.fail("out_of_credits")
    always = {fashn.refusal() for _ in range(3)}

    assert once == [(429, "OutOfCredits"), (400, "BadRequest")]
    assert always == {(429, "OutOfCredits")}
    assert fashn.status("x").status_code == 404


def test_the_connections_faults_speak_as_fashn_does(fashn: Fashn) -> None:
    fashn.fail("429", count=1)
    fashn.fail("5xx", count=1, status=500)
    fashn.fail("5xx", count=1, status=502)

    assert [fashn.refusal(), fashn.refusal()] == [(429, "RateLimitExceeded"), (500, "InternalServerError")]
    assert (fashn.run().status_code, fashn.charges()) == (502, [])


def test_an_answer_may_be_lost_after_the_job_was_taken(fashn: Fashn) -> None:
    # Given an answer that never comes
    fashn.fail("timeout_after_success", count=1, seconds=0.3)

    with pytest.raises(requests.ConnectionError):
        fashn.run()

    # Then the job is done and charged all the same, and `status` was not the call that the fault was for
    deadline = time.monotonic() + 5
    while not fashn.charges() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(fashn.charges()) == 1
    assert fashn.ended(fashn.submit()).json()["status"] == "completed"


def test_an_output_may_come_slowly(fashn: Fashn) -> None:
    [address] = fashn.ended(fashn.submit()).json()["output"]
    fashn.fail("slow_body", count=1, seconds=0.4, on="output")
    before = time.monotonic()

    picture = read(requests.get(address, timeout=5).content)

    assert time.monotonic() - before >= 0.4
    assert picture.size == (864, 1296)
