"""Start the engine, with what AWS does and ministack 1.5.33 leaves out. Runs in the engine's own environment."""

from __future__ import annotations

import json
from typing import Any

from ministack.app import main
from ministack.core import iam_actions
from ministack.services import stepfunctions

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


stepfunctions._run_distributed_map = with_max_concurrency_path  # noqa: SLF001 - as above
iam_actions.extract_resource_arn = with_map_runs
iam_actions.dynamodb_service_context = with_leading_keys

if __name__ == "__main__":
    main()
