"""The stand-ins speak their protocols, count what they charge, and fail as they are asked to."""

from __future__ import annotations

import base64
import io
import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from PIL import Image

from local.art import draw_garment, draw_model
from tests.integration.standin_server import KEY, StandIn, clean

LATENCY = 0.15


def encoded(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


PERSON = encoded(draw_model("woman_25_latina", (192, 256)))
GARMENT = encoded(draw_garment("Blue Shirt", 1, (160, 200)))
SMALL = {"width": 96, "height": 128, "person_image": PERSON, "garment_image": GARMENT, "category": "upper"}


def picture_of(answer: dict[str, Any]) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(answer["output"]["image"], validate=True))) as picture:
        picture.load()
        return picture


class Server(StandIn):
    """A stand-in; these are the GPU endpoint's calls."""

    def run(self, call: str = "run", **given: Any) -> requests.Response:
        return self.ask("POST", f"/{call}", json={"input": {**SMALL, **given}})

    def submit(self, **given: Any) -> str:
        answer = self.run(**given)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "IN_QUEUE"
        return str(answer.json()["id"])

    def status(self, job: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("GET", f"/status/{job}").json()
        return answer

    def ended(self, job: str) -> dict[str, Any]:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            answer = self.status(job)
            if answer["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                return answer
            time.sleep(0.02)
        raise AssertionError(f"{job} did not end")

    def settle(self) -> None:
        """Wait until no job is left, as one that another test has handed in would be charged to this one."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            jobs = self.ask("GET", "/health").json()["jobs"]
            if not jobs["inQueue"] + jobs["inProgress"]:
                return
            time.sleep(0.02)
        raise AssertionError(f"Jobs are left: {jobs}")


started = Server.started


@pytest.fixture(scope="module")
def gpu_process() -> Iterator[Server]:
    with started("gpu", "--workers", "2", "--latency", str(LATENCY), "--key", KEY) as server:
        yield server


@pytest.fixture(scope="module")
def host_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("host")
    (folder / "files").mkdir()
    (folder / "files" / "real.webp").write_bytes(b"as it is")
    (folder / "secret.txt").write_text("not for you")
    with started("pictures", "--folder", str(folder / "files")) as server:
        yield server


@pytest.fixture
def gpu(gpu_process: Server) -> Server:
    clean(gpu_process).settle()
    return clean(gpu_process)


@pytest.fixture
def host(host_process: Server) -> Server:
    return clean(host_process)


# ---------------------------------------------------------------------------------------------------------------------
# The GPU endpoint
# ---------------------------------------------------------------------------------------------------------------------


def test_a_job_is_queued_done_and_charged(gpu: Server) -> None:
    # When a job is submitted and asked for until it ends
    job = gpu.submit(seed=5)
    answer = gpu.ended(job)

    # Then it has our worker's output, its times in milliseconds, and one charge
    output = answer["output"]
    assert (answer["id"], answer["status"]) == (job, "COMPLETED")
    assert answer["executionTime"] >= LATENCY * 1000
    assert answer["delayTime"] >= 0
    assert picture_of(answer).format == "PNG"
    assert picture_of(answer).size == (output["width"], output["height"]) == (96, 128)
    assert (output["mime_type"], output["seed"], output["model"]) == ("image/png", 5, "catvton@1.0-preview")
    [charge] = gpu.charges()
    assert (charge["id"], charge["status"]) == (job, "COMPLETED")
    assert charge["seconds"] >= LATENCY
    assert abs(charge["at"] - time.time()) < 10


def test_equal_inputs_give_equal_bytes_and_other_seeds_others(gpu: Server) -> None:
    # Given the same work twice, once as a data URL, and with another seed
    jobs = [
        gpu.submit(seed=1),
        gpu.submit(seed=1, person_image=f"data:image/jpeg;base64,{PERSON}"),
        gpu.submit(seed=2),
    ]

    images = [gpu.ended(job)["output"]["image"] for job in jobs]

    keys = {charge["id"]: charge["key"] for charge in gpu.charges()}
    assert images[0] == images[1] != images[2]
    assert keys[jobs[0]] == keys[jobs[1]] != keys[jobs[2]]


def test_a_signed_address_is_fetched_and_its_signature_is_no_part_of_the_work(gpu: Server, host: Server) -> None:
    # Given one picture under two signatures
    addresses = [f"{host.url}/products/green-skirt.jpg?X-Amz-Signature={signature}" for signature in ("1", "2")]

    answers = [gpu.ended(gpu.submit(garment_image=address, category="lower")) for address in addresses]

    assert answers[0]["output"]["image"] == answers[1]["output"]["image"]
    assert len({charge["key"] for charge in gpu.charges()}) == 1


def test_runsync_waits_for_the_result(gpu: Server) -> None:
    answer = gpu.run("runsync").json()

    assert answer["status"] == "COMPLETED"
    assert picture_of(answer).size == (96, 128)
    assert gpu.run("runsync", seed=3).json()["id"].startswith("sync-")


def test_workers_take_jobs_in_their_order(gpu: Server) -> None:
    # Given more jobs than workers
    jobs = [gpu.submit(seed=seed) for seed in range(6)]

    health = gpu.ask("GET", "/health").json()
    answers = [gpu.ended(job) for job in jobs]

    # Then they run two at a time, first come first served
    assert health["workers"]["ready"] == 2
    assert health["jobs"]["inQueue"] > 0
    assert [charge["id"] for charge in gpu.charges()] == jobs
    assert answers[-1]["delayTime"] > answers[0]["delayTime"]


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
@pytest.mark.parametrize("call", [("POST", "/run"), ("GET", "/status/x"), ("GET", "/health"), ("POST", "/cancel/x")])
def test_without_the_key_nothing_is_done(gpu: Server, call: tuple[str, str], headers: dict[str, str]) -> None:
    assert gpu.ask(*call, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"category": "hat"}, "category"),
        ({"person_image": ""}, "person_image"),
        ({"garment_image": None}, "garment_image"),
        ({"seed": "five"}, "seed"),
        ({"width": 10}, "width"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
    ],
)
def test_bad_input_is_refused_with_a_reason_and_not_charged(gpu: Server, given: dict[str, Any], says: str) -> None:
    answer = gpu.run(**given)

    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert gpu.charges() == []


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"input": 5}'])
def test_a_body_without_input_is_refused(gpu: Server, body: bytes) -> None:
    assert gpu.ask("POST", "/run", data=body).status_code == 400


def test_a_body_over_ten_megabytes_is_refused(gpu: Server) -> None:
    assert gpu.run(person_image="A" * 10_000_000).status_code == 413
    assert gpu.run("runsync", person_image="A" * 10_000_000).json()["status"] == "FAILED"


@pytest.mark.parametrize("picture", [base64.b64encode(b"no picture").decode(), "%%%", "http://127.0.0.1:1/x.jpg"])
def test_a_picture_that_cannot_be_read_fails_on_the_worker_and_costs(gpu: Server, picture: str) -> None:
    answer = gpu.ended(gpu.submit(garment_image=picture))

    assert answer["status"] == "FAILED"
    assert "garment_image" in answer["error"]
    assert [charge["status"] for charge in gpu.charges()] == ["FAILED"]


def test_a_job_can_be_cancelled_before_and_while_it_runs(gpu: Server) -> None:
    # Given two jobs at work and one that waits
    jobs = [gpu.submit(seed=seed) for seed in range(3)]

    answers = [gpu.ask("POST", f"/cancel/{job}").json() for job in (jobs[2], jobs[0])]

    # Then only the ones that a worker took are charged
    assert [answer["status"] for answer in answers] == ["CANCELLED", "CANCELLED"]
    assert gpu.ended(jobs[1])["status"] == "COMPLETED"
    assert {charge["id"]: charge["status"] for charge in gpu.charges()} == {jobs[0]: "CANCELLED", jobs[1]: "COMPLETED"}


def test_a_policy_limits_a_jobs_time(gpu: Server) -> None:
    given = {"person_image": PERSON, "garment_image": GARMENT, "category": "upper"}

    answer = gpu.ask("POST", "/run", json={"input": given, "policy": {"executionTimeout": 50}})

    assert gpu.ended(answer.json()["id"])["status"] == "TIMED_OUT"


def test_unknown_jobs_are_not_found(gpu: Server) -> None:
    assert gpu.ask("GET", "/status/nothing").status_code == 404
    assert gpu.ask("POST", "/cancel/nothing").status_code == 404


def test_a_thousand_jobs_in_ten_seconds_are_enough() -> None:
    # Given a fresh endpoint
    with (
        started("gpu", "--key", KEY) as server,
        urllib3.PoolManager(retries=False, headers={"Authorization": f"Bearer {KEY}"}) as pool,
    ):
        # When it is asked more often than it allows
        answers = [pool.request("POST", f"{server.url}/run", body=b"{}").status for _ in range(1001)]

    # Then only the excess is refused
    assert answers == [400] * 1000 + [429]


# ---------------------------------------------------------------------------------------------------------------------
# The GPU endpoint's faults
# ---------------------------------------------------------------------------------------------------------------------


def test_faults_are_counted_listed_and_removed(gpu: Server) -> None:
    # Given a fault that hits twice, and one that stays
    gpu.fail("429", count=2)
    gpu.fail("5xx", status=524, on="status")

    # When calls are made
    refused = [gpu.run().status_code for _ in range(3)]

    # Then the first is used up, the second still there, until all are removed
    assert refused == [429, 429, 200]
    [left] = gpu.ask("GET", "/_faults").json()["faults"]
    assert (left["kind"], left["count"], left["on"]) == ("5xx", None, "status")
    assert [gpu.ask("GET", "/status/x").status_code for _ in range(2)] == [524, 524]
    clean(gpu)
    assert gpu.ask("GET", "/status/x").status_code == 404


@pytest.mark.parametrize("fault", [{"kind": "earthquake"}, {}, [], {"kind": "429", "count": "many"}])
def test_an_unknown_fault_is_refused(gpu: Server, fault: Any) -> None:
    assert gpu.ask("POST", "/_faults", json=fault).status_code == 400


def test_a_fault_hits_only_what_it_matches(gpu: Server) -> None:
    gpu.fail("5xx", status=502, match='"seed": 77')

    assert [gpu.run(seed=seed).status_code for seed in (7, 77, 78)] == [200, 502, 200]


@pytest.mark.parametrize("status", [500, 502, 503, 524])
def test_a_server_error_costs_nothing(gpu: Server, status: int) -> None:
    gpu.fail("5xx", status=status, count=1)

    assert gpu.run().status_code == status
    assert gpu.charges() == []


def test_latency_comes_before_the_answer(gpu: Server) -> None:
    gpu.fail("latency", seconds=0.4, on="run", count=1)
    before = time.monotonic()

    gpu.submit()

    assert time.monotonic() - before >= 0.4


def test_an_answer_may_be_lost_after_the_job_was_taken(gpu: Server) -> None:
    # Given answers that are never sent
    gpu.fail("timeout_after_success", count=2, seconds=0.3)

    # When one caller gives up early, and one waits until the connection is cut
    with pytest.raises(requests.ReadTimeout):
        gpu.ask("POST", "/run", json={"input": {**SMALL, "seed": 1}}, timeout=0.1)
    with pytest.raises(requests.ConnectionError, match=r"Remote end closed|reset"):
        gpu.run(seed=2)

    # Then both jobs were done, and are charged
    time.sleep(2 * LATENCY)
    assert [charge["status"] for charge in gpu.charges()] == ["COMPLETED", "COMPLETED"]
    assert gpu.run(seed=3).status_code == 200


def test_a_proxy_may_give_up_after_the_job_was_taken(gpu: Server) -> None:
    gpu.fail("timeout_after_success", count=1, seconds=0.05, status=524)

    assert gpu.run().status_code == 524
    time.sleep(0.1)
    assert len(gpu.charges()) == 1


def test_a_body_may_be_slow_or_no_json(gpu: Server) -> None:
    # Given a finished job
    job = gpu.submit()
    gpu.ended(job)

    # When its answer trickles, and then is cut
    gpu.fail("slow_body", seconds=0.4, count=1)
    before = time.monotonic()
    slow = gpu.status(job)
    took = time.monotonic() - before
    gpu.fail("garbage_json", count=1)
    garbage = gpu.ask("GET", f"/status/{job}")

    assert took >= 0.4
    assert slow["status"] == "COMPLETED"
    assert garbage.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(garbage.text)


def test_a_job_may_fail_and_costs(gpu: Server) -> None:
    gpu.fail("failed", count=1)

    answer = gpu.ended(gpu.submit())

    assert answer["status"] == "FAILED"
    assert "CUDA" in answer["error"]
    assert [charge["status"] for charge in gpu.charges()] == ["FAILED"]


def test_an_output_may_be_an_error_or_no_picture(gpu: Server) -> None:
    gpu.fail("error_in_output", count=1)
    failed = gpu.ended(gpu.submit())
    gpu.fail("garbage", count=1)
    garbage = gpu.ended(gpu.submit())

    assert failed["status"] == garbage["status"] == "COMPLETED"
    assert list(failed["output"]) == ["error"]
    with pytest.raises(OSError, match="cannot identify"):
        picture_of(garbage)


def test_flagged_jobs_all_get_the_same_placeholder(gpu: Server) -> None:
    gpu.fail("flagged", count=2)

    images = [gpu.ended(gpu.submit(seed=seed))["output"]["image"] for seed in (1, 2, 3)]

    assert images[0] == images[1] != images[2]
    assert len(gpu.charges()) == 3


def test_a_finished_job_may_expire(gpu: Server) -> None:
    job = gpu.submit()
    gpu.ended(job)

    gpu.fail("expired", count=1)

    assert [gpu.ask("GET", f"/status/{job}").status_code for _ in range(2)] == [404, 404]


def test_a_stuck_job_waits_until_the_fault_is_removed(gpu: Server) -> None:
    # Given a job that is stuck, and one that came after it
    gpu.fail("stuck", count=1)
    stuck = gpu.submit(seed=1)
    assert gpu.ended(gpu.submit(seed=2))["status"] == "COMPLETED"
    assert gpu.status(stuck)["status"] == "IN_QUEUE"

    # When the fault is removed
    gpu.ask("DELETE", "/_faults")

    # Then the job runs, and was charged once
    assert gpu.ended(stuck)["status"] == "COMPLETED"
    assert len(gpu.charges()) == 2


def test_a_stuck_job_may_be_released_by_time_or_cancelled(gpu: Server) -> None:
    gpu.fail("stuck", seconds=0.2)
    released, cancelled = gpu.submit(seed=1), gpu.submit(seed=2)

    assert gpu.ask("POST", f"/cancel/{cancelled}").json()["status"] == "CANCELLED"
    assert gpu.ended(released)["status"] == "COMPLETED"
    assert [charge["id"] for charge in gpu.charges()] == [released]


# ---------------------------------------------------------------------------------------------------------------------
# The picture host
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_products_are_drawn_in_the_format_asked_for(host: Server, suffix: str, kind: str) -> None:
    answer = host.ask("GET", f"/products/blue-shirt.{suffix}?title=Blue%20Shirt")

    assert answer.headers["content-type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == (kind, (800, 1000))


def test_products_differ_by_path_and_title_and_stay_the_same(host: Server) -> None:
    paths = ["/products/a.jpg", "/products/a.jpg", "/products/b.jpg", "/products/a.jpg?title=Red+Dress"]
    paths += ["/product-images/tops/blue-frock/1.webp"]

    pictures = [host.ask("GET", path).content for path in paths]

    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 4
    answer = host.ask("GET", "/_charges").json()
    assert answer["count"] == 5
    assert answer["paths"]["/products/a.jpg"] == 3


def test_real_files_are_served_from_their_folder_only(host: Server) -> None:
    with urllib3.PoolManager(retries=False) as pool:
        climbing = pool.request("GET", f"{host.url}/files/%2e%2e/secret.txt")

    assert host.ask("GET", "/files/real.webp").content == b"as it is"
    assert host.ask("GET", "/files/nothing.webp").status_code == 404
    assert climbing.status == 404
    assert [charge["path"] for charge in host.charges()] == ["/files/real.webp"]


def test_what_a_guard_must_withstand(host: Server) -> None:
    away = host.ask("GET", "/redirect?to=http://169.254.169.254/x", allow_redirects=False)
    assert (away.status_code, away.headers["location"]) == (302, "http://169.254.169.254/x")
    with pytest.raises(requests.TooManyRedirects):
        host.ask("GET", "/redirect-loop")
    page = host.ask("GET", "/html")
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert host.ask("GET", "/missing").status_code == 404
    assert host.charges() == []


def test_huge_and_slow_bodies(host: Server) -> None:
    # Given bodies that are larger than any picture, one of which does not say so, and one that takes for ever
    declared, chunked = host.ask("GET", "/huge"), host.ask("GET", "/huge-chunked")
    with urllib3.PoolManager(retries=False) as pool:
        slow = pool.request("GET", f"{host.url}/slow", preload_content=False)
        before = time.monotonic()
        piece = slow.read(2)
        took = time.monotonic() - before
        slow.close()

    assert int(declared.headers["content-length"]) == len(declared.content) > 20 * 1024 * 1024
    assert "content-length" not in chunked.headers
    assert len(chunked.content) == len(declared.content)
    assert len(piece) == 2
    assert took >= 0.8


def test_the_host_fails_on_request(host: Server) -> None:
    host.fail("5xx", status=503, count=1, match="/products/a")
    host.fail("garbage", count=1, match="/products/b")
    host.fail("slow_body", count=1, seconds=0.3, match="/products/c")

    answers = {name: host.ask("GET", f"/products/{name}.png") for name in "abc"}

    assert answers["a"].status_code == 503
    assert answers["b"].content == b"this is no picture"
    assert answers["b"].headers["content-type"] == "image/png"
    assert answers["c"].elapsed.total_seconds() < 2
    assert answers["c"].content == host.ask("GET", "/products/c.png").content


# ---------------------------------------------------------------------------------------------------------------------
# Both
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["gpu", "--key", KEY], ["pictures"]])
def test_it_is_ready_when_it_says_so_and_quits_when_told(command: list[str]) -> None:
    with started(*command) as server:
        assert server.ask("GET", "/_health").status_code == 200

        server.process.terminate()

        assert server.process.wait(3) in (0, -signal.SIGTERM)
