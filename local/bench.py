"""The figures: whole runs against the GPU's own time, memory and payloads of a large run, and a store's whole sync.

Ratios, not seconds, count.

python -m local.bench [--products 300]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from local import catalogue, shops
from local.cloud import ROOT, Cloud
from local.seed import seed_model_photos

WORKERS = 8
SECONDS_PER_IMAGE = 0.5
VARIANTS = 3
CONCURRENCY = 32
LARGE = 100_000
POINTS_A_SECOND = 100  # what Shopify's smallest plan restores
READS = 40
MIB = 1024 * 1024


@dataclass(frozen=True)
class Figure:
    """One line of the closing table."""

    what: str
    measured: str
    wanted: str
    met: bool


class Bench:
    """The local cloud, as the benchmarks use it."""

    def __init__(self, cloud: Cloud, known: dict[str, Any]) -> None:
        self.cloud = cloud
        self.known = known
        self.token = cloud.token(known)

    def call(self, method: str, path: str, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.token}"}
        answer = requests.request(method, self.known["api_url"] + path, headers=headers, timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def run(self, name: str, scrape: bytes) -> dict[str, Any]:
        """Upload a scrape, wait for its run to end, and return the run; its `seconds` are those a user waits."""
        started = time.monotonic()
        made = self.call("POST", "/api/runs", json={"name": name, "upload": True})
        upload = made["upload"]
        sent = requests.post(upload["url"], data=upload["fields"], files={"file": scrape}, timeout=120)
        sent.raise_for_status()
        ended = self.finish(made["run"])
        return {**ended, "seconds": round(time.monotonic() - started, 1)}

    def finish(self, run: dict[str, Any]) -> dict[str, Any]:
        """Wait for a run's end, and return it."""
        while not run["finished_at"]:
            time.sleep(0.2)
            run = self.call("GET", f"/api/runs/{run['run_id']}")
        return run

    def charges(self) -> int:
        return int(requests.get(f"{self.known['gpu_url']}/_charges", timeout=10).json()["count"])

    def execution(self, run: dict[str, Any]) -> str:
        key = {"run_id": {"S": run["run_id"]}, "sort_key": {"S": "run"}}
        table = self.known["outputs"]["RunsTable"]
        item = self.cloud.aws(self.known, "dynamodb").get_item(TableName=table, Key=key)["Item"]
        return str(item["execution_arn"]["S"])


def scrape(known: dict[str, Any], numbers: range) -> bytes:
    return json.dumps(catalogue.cj_scrape(known["pictures_url"], numbers)).encode()


def large_scrape(known: dict[str, Any]) -> bytes:
    """100,000 products; all but a few have no picture to try on, so that the plan and not the GPU is measured."""
    garments = catalogue.plain_scrape(known["pictures_url"], range(10_000, 10_010))
    others = [
        {
            "id": 5_000_000 + number,
            "title": f"Ceramic Flower Pot, Hand Glazed, Size {number}",
            "category": "Home & Garden > Planters",
            "price": "12.90 -- 18.40",
            "description": "A sturdy pot with a drainage hole and a saucer; colours vary a little. " * 4,
        }
        for number in range(LARGE - len(garments))
    ]
    return json.dumps({"products": garments + others, "options": {"method": "catvton"}}).encode()


def peak_memory_mib(function: str) -> float:
    """Return the highest resident memory of a function's processes so far, from Linux' own books."""
    peaks = [0.0]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if f"AWS_LAMBDA_FUNCTION_NAME=lookbook-{function}".encode() in environment:
                status = (process / "status").read_text()
                peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        except (OSError, IndexError):
            continue  # it ended, or is not ours
    return max(peaks)


def payloads(bench: Bench, run: dict[str, Any]) -> Iterator[int]:
    """Yield the size of every state's input and output of a run's execution, and of its children's."""
    client = bench.cloud.aws(bench.known, "stepfunctions")
    arn = bench.execution(run)
    for page in client.get_paginator("get_execution_history").paginate(executionArn=arn):
        for event in page["events"]:
            for details in event.values():
                if isinstance(details, dict):
                    yield from (len(str(details[part]).encode()) for part in ("input", "output") if part in details)
    for map_run in client.list_map_runs(executionArn=arn)["mapRuns"]:
        for child in client.list_executions(mapRunArn=map_run["mapRunArn"])["executions"]:
            told = client.describe_execution(executionArn=child["executionArn"])
            yield from (len(str(told[part]).encode()) for part in ("input", "output") if told.get(part))


def measure(bench: Bench, products: int, console: Console) -> list[Figure]:
    console.print(f"warming up ({2 * CONCURRENCY} products, so that cold starts are not measured) …")
    bench.run("warm-up", scrape(bench.known, range(50_000, 50_000 + 2 * CONCURRENCY)))

    console.print(f"{products} products x {VARIANTS} images, {SECONDS_PER_IMAGE} s each on {WORKERS} workers …")
    before = bench.charges()
    first = bench.run("first", scrape(bench.known, range(products)))
    paid = bench.charges() - before
    floor = products * VARIANTS * SECONDS_PER_IMAGE / WORKERS

    console.print("the same scrape again …")
    before = bench.charges()
    again = bench.run("again", scrape(bench.known, range(products)))
    paid_again = bench.charges() - before
    client = bench.cloud.aws(bench.known, "stepfunctions")
    map_runs = client.list_map_runs(executionArn=bench.execution(again))["mapRuns"]

    console.print(f"{LARGE:,} products …")
    large = bench.run("large", large_scrape(bench.known))
    memory = peak_memory_mib("IngestFunction")
    largest = max(payloads(bench, large))

    console.print(f"{products} products to a shop that restores {POINTS_A_SECOND} points a second …")
    published = sync(bench, range(products))

    console.print(f"{READS} reads of each kind …")
    read = reads(bench, catalogue.product_id(0))

    ratio, share = first["seconds"] / floor, again["seconds"] / first["seconds"]
    took, took_again = f"{first['seconds']} s / {floor:.1f} s", f"{again['seconds']} s"
    dollars = first["cost_usd"] / max(1, first["counts"]["generated"])
    return [
        Figure("first run, against the GPU's floor", f"{ratio:.2f} x ({took})", "<= 1.5 x", ratio <= 1.5),
        Figure("images paid for, first run", str(paid), str(products * VARIANTS), paid == products * VARIANTS),
        Figure("dollars per product, as the ledger has it", f"{dollars:.6f}", "the GPU's own", dollars > 0),
        Figure("the same scrape again, of the first's time", f"{share:.1%} ({took_again})", "<= 10 %", share <= 0.1),
        Figure("images paid for, second run", str(paid_again), "0", paid_again == 0),
        Figure("map runs started, second run", str(len(map_runs)), "0", not map_runs),
        Figure(f"{LARGE:,} products accounted for", str(large["counts"]["products"]), str(LARGE), accounted(large)),
        Figure("Ingest's memory for them", f"{memory:.0f} MiB", "< 512 MiB", 0 < memory < 512),
        Figure("largest state payload of that run", f"{largest / 1024:.1f} KiB", "< 64 KiB", largest < 64 * 1024),
        *published,
        *read,
    ]  # fmt: skip


CONSTANT = """
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": "{}"}
"""


def add_constant(bench: Bench) -> None:
    """Put a function that returns a constant behind the same API, as GET /constant."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CONSTANT)
    functions, gateway = bench.cloud.aws(bench.known, "lambda"), bench.cloud.aws(bench.known, "apigatewayv2")
    [role] = [
        each["Role"] for each in functions.list_functions()["Functions"] if "-ApiFunction-" in each["FunctionName"]
    ]
    made = functions.create_function(
        FunctionName="constant",
        Runtime="python3.13",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
        MemorySize=1024,
    )
    api = bench.known["outputs"]["ApiId"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=made["FunctionArn"], PayloadFormatVersion="2.0"
    )
    target = f"integrations/{integration['IntegrationId']}"
    gateway.create_route(ApiId=api, RouteKey="GET /constant", Target=target, AuthorizationType="NONE")


def reads(bench: Bench, product_id: str) -> list[Figure]:
    """Compare the API's reads, warm, with a function that returns a constant; the calls alternate."""
    add_constant(bench)
    image = bench.call("GET", f"/api/products/{product_id}")["cover_image_id"]
    paths = {
        "a product's page": f"/api/products/{product_id}",
        "20 products": "/api/products?limit=20",
        "20 products by a word": "/api/products?q=shirt&limit=20",
        "a cover's history": f"/api/products/{product_id}/images/history",
        "20 runs": "/api/runs",
        "an image": f"/api/images/{image[:12]}",
    }
    seconds: dict[str, list[float]] = {path: [] for path in ("/constant", *paths.values())}
    for turn in range(READS + 5):
        for path, taken in seconds.items():
            started = time.perf_counter()
            bench.call("GET", path)
            if turn >= 5:  # the first ones find processes that are still starting
                taken.append(time.perf_counter() - started)
    medians = {path: statistics.median(taken) for path, taken in seconds.items()}
    constant = medians["/constant"]
    return [
        Figure(f"{what}, against a constant", f"{medians[path] / constant:.2f} x ({medians[path] * 1000:.0f} ms)",
               "<= 3 x", medians[path] <= 3 * constant)
        for what, path in paths.items()
    ]  # fmt: skip


def sync(bench: Bench, numbers: range) -> list[Figure]:
    """Publish products to a shop, twice, and compare with what the shop's points allow."""
    products = [(catalogue.product_id(number), catalogue.garment(number)[0]) for number in numbers]
    shop_url = bench.known["shop_url"]
    shop = shops.open_shop(shop_url, "bench", products, restore_rate=POINTS_A_SECOND)
    bench.call("POST", "/api/stores", json={"store_id": "bench", "domain": shop.domain, "admin_token": shop.token})
    bench.finish(bench.call("POST", "/api/stores/bench/mapping", json={"mapping": shop.mapping()}))
    before = shops.look(shop_url, shop)["points"]
    first = bench.finish(bench.call("POST", "/api/stores/bench/sync", json={}))
    after = shops.look(shop_url, shop)
    again = bench.finish(bench.call("POST", "/api/stores/bench/sync", json={}))
    last = shops.look(shop_url, shop)

    points = after["points"]["total"] - before["total"]
    floor = max(1.0, (points - before["available"]) / POINTS_A_SECOND)
    ratio, each = first["seconds"] / floor, points / len(products)
    each_again = (last["points"]["total"] - after["points"]["total"]) / len(products)
    writes = sum(last["mutations"].values()) - sum(after["mutations"].values())
    minutes = Counter(int(moment // 60) for moment in last["throttled"])
    good = first["status"] == again["status"] == "succeeded"
    complete = all(len(product["media"]) == 1 + VARIANTS for product in last["products"])
    took = f"{first['seconds']} s / {floor:.1f} s"
    return [
        Figure("a store's first sync, against its points' floor", f"{ratio:.2f} x ({took})", "<= 1.3 x", ratio <= 1.3),
        Figure("points a product with three new images", f"{each:.1f}", "<= 30", each <= 30),
        Figure("points a product of a repeated sync", f"{each_again:.1f}", "<= 3", good and each_again <= 3),
        Figure("writes to the shop, repeated sync", str(writes), "0", writes == 0),
        Figure("pictures in the shop", "all, once" if complete else "not as wanted", "all, once", complete),
        Figure("THROTTLED in a minute, at most", str(max(minutes.values(), default=0)), "<= 1",
               max(minutes.values(), default=0) <= 1),
    ]  # fmt: skip


def accounted(run: dict[str, Any]) -> bool:
    counts = run["counts"]
    return bool(
        counts["products"] == LARGE == sum(counts[each] for each in ("reused", "generated", "rejected", "failed"))
    )


COLD_IMPORTS = {
    "api": "import sys; sys.path[:0] = ['functions/api', 'layers/lookbook']; import app",
    "floor": "import boto3; from pydantic import BaseModel",
}


def cold_import(rounds: int = 15) -> Figure:
    """Compare what it takes to import the api function with what boto3 and pydantic take, by the least of each.

    Seconds of the processor in new processes, by turns; with bytecode, which the layers have (see build_layer.py).
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = folder
        seconds: dict[str, list[float]] = {name: [] for name in COLD_IMPORTS}
        for number in range(rounds + 1):
            for name, code in COLD_IMPORTS.items():
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                if number:  # the first one has compiled
                    seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    api, floor = min(seconds["api"]), min(seconds["floor"])
    measured = f"{api / floor:.2f} x ({api * 1000:.0f} ms / {floor * 1000:.0f} ms)"
    return Figure("cold import of api, against boto3 + pydantic", measured, "<= 1.6 x", api / floor <= 1.6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=300)
    products = parser.parse_args().products
    console = Console()
    console.print("importing the api function …")
    imported = cold_import()
    cloud = Cloud(ROOT / ".local/bench")
    cloud.forget()
    try:
        standins = {"gpu": ["--workers", str(WORKERS), "--latency", str(SECONDS_PER_IMAGE)]}
        known = cloud.up({"GpuConcurrency": str(CONCURRENCY)}, standins)
        seed_model_photos(known["api_url"], cloud.token(known))
        figures = [imported, *measure(Bench(cloud, known), products, console)]
    finally:
        cloud.forget()
    table = Table(title="Lookbook's figures")
    for column in ("what", "measured", "wanted", ""):
        table.add_column(column)
    for figure in figures:
        table.add_row(figure.what, figure.measured, figure.wanted, "ok" if figure.met else "MISSED")
    console.print(table)
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
