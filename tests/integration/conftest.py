"""One local cloud for each process that tests, deployed as `make up` does; every test uses products of its own."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from local.cloud import Cloud
from local.seed import seed_model_photos

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 120


@dataclass
class Stack:
    """The deployed stack as a test uses it: over HTTP as a user, and behind it as its owner."""

    known: dict[str, Any]
    cloud: Cloud
    tokens: dict[str, str] = field(default_factory=dict)

    def aws(self, service: str) -> Any:
        return self.cloud.aws(self.known, service)

    def output(self, name: str) -> str:
        return str(self.known["outputs"][name])

    def token(self, user: str | None = None, password: str | None = None) -> str:
        user = user or self.known["user"]
        if user not in self.tokens:
            self.tokens[user] = self.cloud.token(self.known, user, password or "")
        return self.tokens[user]

    def call(self, method: str, path: str, *, token: str | None = None, **more: Any) -> requests.Response:
        headers = {"authorization": f"Bearer {token or self.token()}", **more.pop("headers", {})}
        return requests.request(method, self.known["api_url"] + path, headers=headers, timeout=40, **more)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # ------------------------------------------------------------------ runs

    def start(self, scrape: Any, **options: Any) -> str:
        text = scrape if isinstance(scrape, str) else json.dumps(scrape)
        answer = self.call("POST", "/api/runs", json={"name": "test", "scrape": text, "options": options})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])

    def wait(self, run_id: str, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run: dict[str, Any] = self.get(f"/api/runs/{run_id}")
            if run["finished_at"]:
                return run
            time.sleep(0.3)
        raise AssertionError(f"The run did not end in {seconds} s: {run}")

    def run(self, scrape: Any, **options: Any) -> dict[str, Any]:
        return self.wait(self.start(scrape, **options))

    def items(self, run_id: str) -> dict[str, dict[str, Any]]:
        return {item["product_id"]: item for item in self.get(f"/api/runs/{run_id}/items?limit=100")["items"]}

    def run_of_upload(self, key: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for the run that an upload starts, and for its end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for run in self.get("/api/runs?limit=20")["runs"]:
                if run["name"] == key:
                    return self.wait(run["run_id"])
            time.sleep(0.3)
        raise AssertionError(f"No run was started by {key}")

    def execution(self, run_id: str) -> dict[str, Any]:
        table = self.aws("dynamodb")
        record = table.get_item(
            TableName=self.output("RunsTable"), Key={"run_id": {"S": run_id}, "sort_key": {"S": "run"}}
        )["Item"]
        arn = record["execution_arn"]["S"]
        deadline = time.monotonic() + 20
        while True:
            found: dict[str, Any] = self.aws("stepfunctions").describe_execution(executionArn=arn)
            if found["status"] != "RUNNING" or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def map_runs(self, run_id: str) -> list[dict[str, Any]]:
        arn = self.execution(run_id)["executionArn"]
        found: list[dict[str, Any]] = self.aws("stepfunctions").list_map_runs(executionArn=arn)["mapRuns"]
        return found

    def plan(self, scrape: Any, **options: Any) -> dict[str, Any]:
        body = {"name": "test", "scrape": json.dumps(scrape), "options": options}
        answer = self.call("POST", "/api/runs/plan", json=body)
        assert answer.status_code == 202, answer.text
        return self.wait(str(answer.json()["run_id"]))

    def retry(self, run_id: str, **body: Any) -> dict[str, Any]:
        answer = self.call("POST", f"/api/runs/{run_id}/retry", json=body)
        assert answer.status_code == 202, answer.text
        return self.wait(str(answer.json()["run_id"]))

    # ------------------------------------------------------------------ what stands behind

    def ledger(self, run_id: str) -> list[dict[str, Any]]:
        answer = self.aws("dynamodb").query(
            TableName=self.output("RunsTable"),
            IndexName="ledger_by_run",
            KeyConditionExpression="paid_by = :run",
            ExpressionAttributeValues={":run": {"S": run_id}},
        )
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in answer["Items"]]

    def collection(self, product_id: str) -> list[dict[str, Any]]:
        answer = self.aws("dynamodb").query(
            TableName=self.output("LibraryTable"),
            KeyConditionExpression="product_id = :id",
            ExpressionAttributeValues={":id": {"S": product_id}},
            ConsistentRead=True,
        )
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in answer["Items"]]

    def history(self, product_id: str) -> list[dict[str, Any]]:
        answer = self.aws("dynamodb").query(
            TableName=self.output("HistoryTable"),
            KeyConditionExpression="product_id = :id",
            ExpressionAttributeValues={":id": {"S": product_id}},
        )
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in answer["Items"]]

    def charges(self, service: str = "gpu_url") -> int:
        return int(requests.get(f"{self.known[service]}/_charges", timeout=5).json()["count"])

    def charged(self, service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.known[service]}/_charges", timeout=5).json()["charges"]
        return found

    def fault(self, service: str, **fault: Any) -> None:
        requests.post(f"{self.known[service]}/_faults", json=fault, timeout=5).raise_for_status()

    def put_picture(self, name: str, data: bytes) -> str:
        """Let the picture host serve these bytes, and return where."""
        (self.cloud.folder / "pictures" / name).write_bytes(data)
        return f"{self.known['pictures_url']}/files/{name}"

    def heal(self) -> None:
        for service in ("gpu_url", "fashn_url", "openai_images_url", "pictures_url", "shop_url", "hotmart_url"):
            requests.delete(f"{self.known[service]}/_faults", timeout=5).raise_for_status()

    def picture(self, name: str) -> str:
        return f"{self.known['pictures_url']}/products/{name}.jpg"


@pytest.fixture(scope="session")
def _deployed(worker_id: str) -> Iterator[Stack]:
    cloud = Cloud(ROOT / f".local/test-{worker_id}")
    cloud.forget()
    files = cloud.folder / "pictures"
    files.mkdir(parents=True, exist_ok=True)
    known = cloud.up(
        {"GpuConcurrency": "6", "DeferAfterSeconds": "10"},
        {
            "gpu": ["--workers", "8", "--latency", "0.2"],
            "fashn": ["--latency", "0.2", "--per-minute", "100000"],
            "openai_images": [
                "--latency",
                "0.2",
                "--shutdown-date",
                f"{datetime.now(UTC) + timedelta(days=20):%Y-%m-%d}",
            ],
            "pictures": ["--folder", str(files)],
        },
    )
    stack = Stack(known, cloud)
    seed_model_photos(known["api_url"], stack.token())
    yield stack
    cloud.forget()


@pytest.fixture
def stack(_deployed: Stack) -> Iterator[Stack]:
    _deployed.heal()
    yield _deployed
    _deployed.heal()


@pytest.fixture(scope="module")
def no_store_is_left(_deployed: Stack) -> Iterator[None]:
    """Removes the stores that a module's tests have added and left."""

    def there() -> set[str]:
        return {store["store_id"] for store in _deployed.get("/api/stores")["stores"]}

    before = there()
    yield
    for store_id in there() - before:
        answer = _deployed.call("DELETE", f"/api/stores/{quote(store_id, safe='')}?keep_pictures=true")
        assert answer.status_code == 200, answer.text


@pytest.fixture
def products(stack: Stack) -> Callable[..., list[dict[str, Any]]]:
    """Makes products that no other test has: `products(3)`."""

    def make(count: int, title: str = "Striped Cotton Shirt", **more: Any) -> list[dict[str, Any]]:
        batch = uuid.uuid4().hex[:8]
        return [
            {
                "product_id": f"CJ{batch}{number:02d}",
                "title": f"{title} {number}",
                "category": "Women's Clothing > Tops",
                "image": stack.picture(f"shirt-{batch}-{number}"),
                "price": "3.49 -- 4.78",
                **more,
            }
            for number in range(count)
        ]

    return make
