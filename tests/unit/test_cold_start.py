"""What a cold start of the API brings along, and what a read does: in a process of its own, as a function has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.fakes import method_settings

ROOT = Path(__file__).resolve().parents[2]
# Of what else is installed here no request needs more than the layers' own; of those a read needs none of these.
HEAVY = {"openai", "PIL", "ijson", "boto3", "requests", "aws_lambda_powertools.event_handler"}
OURS = {"imaging", "shopify", "scrape", "mapping", "match", "sync", "providers", "api.openapi", "api.examples"}

IMPORT = "import sys; sys.path[:0] = ['functions/api', 'layers/lookbook']; import app, json"
# botocore answers every call as an empty table does; nothing is sent.
READ = """
import types, botocore.client
botocore.client.BaseClient._make_api_call = lambda *_: {"Items": [], "Count": 0, "ScannedCount": 0}
context = types.SimpleNamespace(
    function_name="api", memory_limit_in_mb=1024, invoked_function_arn="arn", aws_request_id="1"
)
event = {
    "version": "2.0", "rawPath": "/api/products", "rawQueryString": "limit=5", "headers": {}, "isBase64Encoded": False,
    "requestContext": {"http": {"method": "GET"}, "authorizer": {"jwt": {"claims": {"sub": "1"}}}},
}
answer = app.handler(event, context)
"""
TELL = "print(json.dumps({'answer': answer, 'modules': sorted(sys.modules)}))"


def run(*code: str) -> dict[str, Any]:
    """Run code in a process with the API's environment, and return the last line that it prints."""
    settings = method_settings().model_dump(mode="json") | {
        "open_ai_usd_per_million_tokens": "5,8,30",
        "pipeline_arn": "arn:pipeline",
        "publish_function": "publish",
        "hotmart_sync_function": "hotmart",
        "hotmart_schedule": "rate(6 hours)",
        "store_secrets_prefix": "lookbook/stores/",
        "user_pool_client_id": "client",
        "aws_region": "eu-west-1",
        "aws_default_region": "eu-west-1",
        "aws_access_key_id": "x",
        "aws_secret_access_key": "x",
    }
    environment = os.environ | {name.upper(): str(value) for name, value in settings.items()}
    command = [sys.executable, "-c", "\n".join(code)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


def unneeded(modules: list[str]) -> set[str]:
    return set(modules) & (HEAVY | {f"lookbook.{name}" for name in OURS})


def test_an_import_brings_nothing_that_most_requests_do_not_need() -> None:
    told = run(IMPORT, "answer = None", TELL)
    assert "lookbook.api.products" in told["modules"]
    assert unneeded(told["modules"]) == set()


def test_a_read_imports_neither_openai_nor_pillow() -> None:
    told = run(IMPORT, READ, TELL)
    assert (told["answer"]["statusCode"], json.loads(told["answer"]["body"])) == (200, {"products": [], "cursor": None})
    assert unneeded(told["modules"]) == set()
