"""Start the engine, with what AWS does and ministack 1.5.33 leaves out. Runs in the engine's own environment.

With PERSIST_STATE=1 it saves what it holds to STATE_DIR at SIGTERM: all of it or nothing, so that the next start never
finds one service newer than another. Files there say what was: `saved` when it last was, `saving` that it was cut off
while the new took the place of the old, `running` that what came after is not saved.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, lambda_runtime, persistence
from ministack.services import lambda_svc, stepfunctions

STATE = Path(persistence.STATE_DIR)
SAVED, SAVING, RUNNING = STATE / "saved", STATE / "saving", STATE / "running"
NEW = ".new"

run_distributed_map = stepfunctions._run_distributed_map  # noqa: SLF001 - the engine has no other way in
extract_resource_arn = iam_actions.extract_resource_arn
dynamodb_service_context = iam_actions.dynamodb_service_context


def with_max_concurrency_path(state_def: dict[str, Any], raw_input: Any, effective: Any, *rest: Any) -> Any:
    """Honour MaxConcurrencyPath, which the engine ignores (and would then run 64 children at once)."""
    path = state_def.get("MaxConcurrencyPath")
    if path:
        resolve = stepfunctions._resolve_path_or_ctx  # noqa: SLF001 - as above
        state_def = {**state_def, "MaxConcurrency": resolve(path, effective, rest[-1])}
    return run_distributed_map(state_def, raw_input, effective, *rest)


def with_map_runs(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
    """Name the map run that a request is about; the engine would check it against any resource (`*`)."""
    if service == "states" and headers.get("x-amz-target", "").endswith(".DescribeMapRun"):
        return str(json.loads(body)["mapRunArn"])
    return str(extract_resource_arn(service, method, path, headers, body, *rest))


def with_leading_keys(body: bytes) -> dict[str, Any]:
    """Tell conditions on dynamodb:LeadingKeys, which the engine does not know, which item a request is about."""
    context: dict[str, Any] = dynamodb_service_context(body)
    asked = json.loads(body or b"{}")
    writes = [
        write for writes in asked.get("RequestItems", {}).values() if isinstance(writes, list) for write in writes
    ]
    puts = [write["PutRequest"]["Item"] for write in writes if "PutRequest" in write]
    keys = [
        asked.get("Key", {}),
        *puts,
        *(write["DeleteRequest"]["Key"] for write in writes if "DeleteRequest" in write),
    ]
    leading = [value for key in keys if "product_id" in key for value in key["product_id"].values()]
    if leading:
        context["dynamodb:LeadingKeys"] = leading
    return context


def save(services: dict[str, Callable[[], Any]]) -> None:
    """Save the state of all services, or leave all as it was last saved; then end.

    The engine would save one after the other and leave out what it cannot read, such as executions that go on
    meanwhile.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    unused: list[set[str]] = []
    lambda_svc._prune_orphan_code_blobs = unused.append  # noqa: SLF001 - what was last saved still needs them
    for name, get_state in services.items():
        if (state := steady(get_state)) is not None:
            version = persistence._state_format_version(name)  # noqa: SLF001 - as it saves it itself
            document = {"__ministack_format__": version, "payload": state}
            text = json.dumps(document, default=persistence._json_default)  # noqa: SLF001 - as above
            (STATE / f"{name}.json{NEW}").write_text(text)
    SAVING.write_text(f"{time.time()}")
    put_in_place()
    for used in unused:
        prune_code(used)
    os._exit(0)  # what executions and functions do from now on would be lost, and waiting for them takes long


def put_in_place() -> None:
    """Let what was saved take the place of what was saved before; it can be done again if it is cut off."""
    for new in STATE.glob(f"*{NEW}"):
        new.replace(new.with_suffix(""))
    SAVING.replace(SAVED)
    RUNNING.unlink(missing_ok=True)


def steady(get_state: Callable[[], Any]) -> Any:
    """Return a service's state, which an execution's thread may be changing while it is read."""
    for _ in range(50):
        try:
            return get_state()
        except RuntimeError:
            time.sleep(0.02)
    return get_state()


def load() -> None:
    """Load what was saved, or end: the engine itself would go on without what it cannot read."""
    try:
        if SAVING.exists():
            put_in_place()
        for new in STATE.glob(f"*{NEW}"):
            new.unlink()
        for name, module in app._state_map.items():  # noqa: SLF001 - the engine has no other way in
            state = persistence.load_state(name)
            if state is not None:
                app._get_module(module).load_persisted_state(state)  # noqa: SLF001 - as above
            elif (STATE / f"{name}.json").exists():
                raise ValueError(f"{name}.json cannot be read.")  # noqa: TRY301 - it is caught for all to end alike
    except Exception:  # noqa: BLE001 - whatever it is, it must not be gone on without
        traceback.print_exc()
        os._exit(1)  # an exception would only end the engine's care for its start and its end
    STATE.mkdir(parents=True, exist_ok=True)
    RUNNING.touch()


prune_code = lambda_svc._prune_orphan_code_blobs  # noqa: SLF001 - as above
app.save_all = save
app._load_persisted_state = load  # noqa: SLF001 - as above
stepfunctions._run_distributed_map = with_max_concurrency_path  # noqa: SLF001 - as above
iam_actions.extract_resource_arn = with_map_runs
iam_actions.dynamodb_service_context = with_leading_keys
# After each call the engine waits 50 ms for a first line on stderr. Our functions log to stdout, so it always waited.
lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (0.002, 0.005, 0.25)  # noqa: SLF001 - as above

if __name__ == "__main__":
    app.main()
