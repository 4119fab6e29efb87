"""The promise under fire: runs over faults of every kind and killed functions, then every image and cent is counted.

python -m local.chaos [--seeds 50] [--first 1]

Each seed is one round on one local cloud: 60 products by three methods, among them the same picture under two ids, in
three runs at the same moment, while providers fail as the seed says and Lambda's processes are killed. Then what is
left undone is retried as a user would, and charges, ledger, library and runs have to agree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from local.bench import Bench
from local.catalogue import plain_scrape
from local.cloud import ROOT, Cloud
from local.seed import seed_model_photos

PRODUCTS = 60
BY_FASHN, COVERS = 8, 10
RETRIES = 6
KILLED_FUNCTIONS = ("Generate", "Save", "Check", "Finish")
SERVICES = {"catvton": "gpu", "fashn": "fashn", "openai": "openai_images"}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "gpu": [
        {"kind": "5xx", "status": 503},
        {"kind": "5xx", "status": 500, "on": "status"},
        {"kind": "5xx", "status": 502, "on": "status"},
        {"kind": "429"},
        {"kind": "failed"},
        {"kind": "error_in_output"},
        {"kind": "garbage"},
        {"kind": "garbage_json", "on": "status"},
        {"kind": "flagged"},
        {"kind": "expired"},
        {"kind": "latency", "seconds": 1.5},
        {"kind": "timeout_after_success", "seconds": 1},
        {"kind": "timeout_after_success", "seconds": 1, "status": 524},
    ],
    "fashn": [
        {"kind": "429"},
        {"kind": "failed"},
        {"kind": "garbage"},
        {"kind": "5xx", "status": 500},
        {"kind": "timeout_after_success", "seconds": 1},
    ],
    "openai_images": [
        {"kind": "429"},
        {"kind": "garbage"},
        {"kind": "5xx", "status": 500},
        {"kind": "garbage_json", "on": "image"},
        {"kind": "timeout_after_success", "seconds": 1},
    ],
    "pictures": [{"kind": "5xx", "status": 503}, {"kind": "latency", "seconds": 1}],
}


@dataclass
class Round:
    """What one seed came to."""

    seed: int
    runs: int = 0
    charges: int = 0
    unknown: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Chaos:
    """Rounds on one local cloud."""

    def __init__(self, bench: Bench, console: Console) -> None:
        self.bench = bench
        self.known = bench.known
        self.console = console

    def round(self, seed: int) -> Round:
        dice = random.Random(seed)  # noqa: S311 - a repeatable round, not a secret
        told = Round(seed)
        scrapes = self.scrapes(seed)
        for service in SERVICES.values():
            self.ask("DELETE", service, "/_charges")
        for service, faults in FAULTS.items():
            for fault in dice.sample(faults, dice.randint(0, min(4, len(faults)))):
                self.ask("POST", service, "/_faults", {**fault, "count": dice.randint(1, 8)})
        run_ids = [self.start(scrape, method) for scrape, method in scrapes]
        killer = Killer(self.bench.cloud.folder / "tmp", dice.random() * 0.6 + 0.2, dice.randint(0, 12), seed)
        killer.start()
        runs = [self.wait(run_id) for run_id in run_ids]
        killer.stop()
        told.killed = killer.killed
        for service in FAULTS:
            self.ask("DELETE", service, "/_faults")
        everything = list(runs)
        for _ in range(RETRIES):
            left = [run for run in runs if any(run["counts"][word] for word in ("failed", "deferred", "over_budget"))]
            runs = [
                self.wait(self.bench.call("POST", f"/api/runs/{run['run_id']}/retry", json={})["run_id"])
                for run in left
            ]
            everything += runs
            if not runs:
                break
        told.runs = len(everything)
        self.judge(told, scrapes, everything)
        return told

    def scrapes(self, seed: int) -> list[tuple[list[dict[str, Any]], str]]:
        """Return three runs' products: garments and covers, a few for FASHN, and a store that shares most of these."""
        numbers = range(1_000_000 + seed * 1000, 1_000_000 + seed * 1000 + PRODUCTS - BY_FASHN - COVERS - 1)
        garments = plain_scrape(self.known["pictures_url"], numbers)
        twin = {**garments[0], "cj_product_id": f"{garments[0]['cj_product_id']}-twin"}
        covers = [
            {"id": f"course-{seed}-{number}", "title": f"Course {seed}.{number}", "category": "Education"}
            for number in range(COVERS)
        ]
        worn = range(numbers.stop, numbers.stop + BY_FASHN)
        first = [*garments, twin, *covers]
        return [
            (first, "auto"),
            (plain_scrape(self.known["pictures_url"], worn), "fashn"),
            (first[len(first) // 6 :], "auto"),
        ]

    # ------------------------------------------------------------------ calls

    def ask(self, method: str, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(method, f"{self.known[f'{service}_url']}{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, scrape: list[dict[str, Any]], method: str) -> str:
        options = {"variants": 1, "method": method}
        body = {"name": "chaos", "scrape": json.dumps(scrape), "options": options}
        return str(self.bench.call("POST", "/api/runs", json=body)["run_id"])

    def wait(self, run_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                run: dict[str, Any] = self.bench.call("GET", f"/api/runs/{run_id}")
                if run["finished_at"]:
                    return run
            time.sleep(0.5)
        raise TimeoutError(f"run {run_id} did not end")

    # ------------------------------------------------------------------ the accounts

    def judge(self, told: Round, scrapes: list[tuple[list[dict[str, Any]], str]], runs: list[dict[str, Any]]) -> None:
        """Compare what the providers charged, what the ledger says, what the library has, and what the runs counted."""
        products = {
            str(product.get("cj_product_id") or product.get("id")) for scrape, _ in scrapes for product in scrape
        }
        blocked = {
            problem["product_id"] for run in runs for problem in run["problems"] if problem["status"] == "blocked"
        }
        for product_id in sorted(products):
            page = self.bench.call("GET", f"/api/products/{product_id}")
            if page["variants"] != [1] and product_id not in blocked:
                told.lost.append(product_id)
            if len(page["image_list"]) > 1:
                told.wrong.append(f"{product_id} has {len(page['image_list'])} images")
        for run in runs:
            counts = dict(run["counts"])
            asked = counts.pop("products")
            counts.pop("duplicates")
            if sum(counts.values()) != asked:
                told.wrong.append(f"run {run['run_id']} counts {counts} of {asked}")
        for method, service in SERVICES.items():
            self.judge_provider(told, method, service, runs)

    def judge_provider(self, told: Round, method: str, service: str, runs: list[dict[str, Any]]) -> None:
        entries = [entry for run in runs for entry in self.ledger(run["run_id"]) if entry["provider"] == method]
        charges = self.ask("GET", service, "/_charges")["charges"]
        unknown = [entry for entry in entries if entry["status"] == "unknown"]
        noted = {entry["job_id"]: entry for entry in entries if entry["job_id"]}
        unmatched = [charge for charge in charges if charge["id"] not in noted]
        told.charges += len(charges)
        told.unknown += len(unknown)
        if len(unmatched) > sum(not entry["job_id"] for entry in unknown):
            told.wrong.append(
                f"{method}: {len(unmatched)} charges that the ledger does not know, {len(unknown)} unknown"
            )
        if left := [entry for entry in entries if entry["status"] in {"intent", "submitted", "staged"}]:
            told.wrong.append(f"{method}: {len(left)} attempts are still open")
        good = Counter(charge["key"] for charge in charges if noted.get(charge["id"], {}).get("status") == "succeeded")
        if twice := [key for key, count in good.items() if count > 1]:
            told.wrong.append(f"{method}: {len(twice)} works paid for twice")
        ids = {charge["id"] for charge in charges}
        if phantom := [entry for entry in entries if entry["status"] == "succeeded" and entry["job_id"] not in ids]:
            told.wrong.append(f"{method}: {len(phantom)} successes that were never charged")
        money = sum(entry["cost_usd"] for entry in entries)
        known = [charge for charge in charges if noted.get(charge["id"], {}).get("status", "unknown") != "unknown"]
        if abs(money - sum(self.dollars(method, charge) for charge in known)) > 1e-5 * (1 + len(known)):
            told.wrong.append(f"{method}: the ledger says ${money:.5f}")

    @staticmethod
    def dollars(method: str, charge: dict[str, Any]) -> float:
        """Return what a stand-in's charge is in US dollars, by the template's prices."""
        if method == "catvton":
            return float(charge["seconds"]) * 0.00031
        return float(charge["credits"]) * 0.075 if method == "fashn" else float(charge["usd"])

    def ledger(self, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            more = {"params": {"limit": 100, **({"cursor": cursor} if cursor else {})}}
            page = self.bench.call("GET", f"/api/runs/{run_id}/ledger", **more)
            found += page["entries"]
            cursor = page["cursor"]
            if not cursor:
                return found


class Killer(threading.Thread):
    """Kills processes of Lambda functions, one now and then."""

    def __init__(self, folder: Path, every: float, most: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._every, self._most = every, most
        self._dice = random.Random(seed)  # noqa: S311 - as above
        self._over = threading.Event()
        self.killed = 0

    def run(self) -> None:
        while not self._over.wait(self._every) and self.killed < self._most:
            if found := workers(self._folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._dice.choice(found), signal.SIGKILL)
                    self.killed += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


def workers(folder: Path) -> list[int]:
    """Return the processes that run the pipeline's functions on the cloud in this folder, as Linux lists them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in command and any(f"lookbook-{name}Function" in command for name in KILLED_FUNCTIONS):
                found.append(int(process.name))
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description="Runs over faults and killed functions, counted to the cent.")
    arguments.add_argument("--seeds", type=int, default=50)
    arguments.add_argument("--first", type=int, default=1)
    given = arguments.parse_args()
    console = Console()
    cloud = Cloud(ROOT / ".local/chaos")
    cloud.forget()
    rounds: list[Round] = []
    try:
        known = cloud.up(
            {"GpuConcurrency": "16", "DeferAfterSeconds": "20"},
            {
                "gpu": ["--workers", "8", "--latency", "0.1"],
                "fashn": ["--latency", "0.1", "--per-minute", "100000"],
                "openai_images": ["--latency", "0.1"],
            },
        )
        seed_model_photos(known["api_url"], cloud.token(known))
        for seed in range(given.first, given.first + given.seeds):
            # A token lasts an hour; fifty rounds may take longer.
            started = time.monotonic()
            told = Chaos(Bench(cloud, known), console).round(seed)
            rounds.append(told)
            console.print(
                f"seed {seed}: {told.runs} runs, {told.charges} charges, {told.unknown} unknown, {told.killed} killed, "
                f"{len(told.lost)} lost, {time.monotonic() - started:.0f} s {'; '.join([*told.lost, *told.wrong])}"
            )
    finally:
        cloud.forget()
    bad = [told for told in rounds if told.lost or told.wrong]
    console.print(
        f"{len(rounds)} seeds, {PRODUCTS} products each: {sum(len(told.lost) for told in rounds)} lost, "
        f"{len(bad)} rounds with accounts that do not agree, {sum(told.charges for told in rounds)} charges, "
        f"{sum(told.unknown for told in rounds)} marked unknown, {sum(told.killed for told in rounds)} killed."
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
