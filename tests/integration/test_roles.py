"""Each function's role can do what its function does and nothing else: tried, with IAM enforced by the engine."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.integration.conftest import Stack

FUNCTIONS = ["Ingest", "Check", "Generate", "Save", "Finish", "Publish", "ModelCheck", "Api", "Upload", "HotmartSync"]
STORE_SECRET = "lookbook/stores/none"
KEY = {"product_id": {"S": "x"}, "sort_key": {"S": "x"}}
WORD, OTHER_WORD = ({"product_id": {"S": "word#p"}, "sort_key": {"S": f"probe{n}#x"}} for n in (1, 2))
RUN_KEY = {"run_id": {"S": "x"}, "sort_key": {"S": "x"}}

# What a function must be able to do for its work, and everything else that it might try and must not.
ATTEMPTS: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "read the endpoint's key": ("secretsmanager", "get_secret_value", {"SecretId": "<GpuEndpointKey>"}, {"Generate"}),
    "read FASHN's key": ("secretsmanager", "get_secret_value", {"SecretId": "<FashnKey>"}, {"Generate"}),
    "read OpenAI's key": (
        "secretsmanager",
        "get_secret_value",
        {"SecretId": "<OpenAiKey>"},
        {"Generate", "ModelCheck"},
    ),
    "read Hotmart's credentials": (
        "secretsmanager",
        "get_secret_value",
        {"SecretId": "<HotmartCredentials>"},
        {"HotmartSync"},
    ),
    "read a store's credentials": ("secretsmanager", "get_secret_value", {"SecretId": STORE_SECRET}, {"Publish"}),
    "change a store's credentials": (
        "secretsmanager",
        "put_secret_value",
        {"SecretId": STORE_SECRET, "SecretString": "{}"},
        {"Api"},
    ),
    "change another secret": (
        "secretsmanager",
        "put_secret_value",
        {"SecretId": "<FashnKey>", "SecretString": "x"},
        set(),
    ),
    "call a shop": (
        "lambda",
        "invoke",
        {"FunctionName": "<PublishFunction>", "Payload": b'{"test": "none"}'},
        {"Api"},
    ),
    "read an image": ("s3", "get_object", {"Bucket": "<Bucket>", "Key": "images/x"}, {"Api", "Publish"}),
    "write an image": ("s3", "put_object", {"Bucket": "<Bucket>", "Key": "images/probe"}, {"Save", "Upload", "Api"}),
    "let somebody upload": ("s3", "put_object", {"Bucket": "<Bucket>", "Key": "uploads/probe"}, {"Api"}),
    "read an upload": ("s3", "get_object", {"Bucket": "<Bucket>", "Key": "uploads/x"}, {"Upload"}),
    "delete an upload": ("s3", "delete_object", {"Bucket": "<Bucket>", "Key": "uploads/x"}, {"Upload"}),
    "delete an image": ("s3", "delete_object", {"Bucket": "<Bucket>", "Key": "images/probe"}, {"Save"}),
    "delete a scrape": ("s3", "delete_object", {"Bucket": "<Bucket>", "Key": "scrapes/x"}, set()),
    "read a scrape": ("s3", "get_object", {"Bucket": "<Bucket>", "Key": "scrapes/x"}, {"Ingest"}),
    "stage a result": ("s3", "put_object", {"Bucket": "<Bucket>", "Key": "staging/probe"}, {"Generate"}),
    "write a model photo": ("s3", "put_object", {"Bucket": "<Bucket>", "Key": "models/probe.txt"}, {"Api"}),
    "read the library": (
        "dynamodb",
        "get_item",
        {"TableName": "<LibraryTable>", "Key": KEY},
        {"Ingest", "Check", "Save", "Publish", "Api", "Upload", "HotmartSync"},
    ),
    "change the library": (
        "dynamodb",
        "update_item",
        {"TableName": "<LibraryTable>", "Key": KEY},
        {"Ingest", "Check", "Generate", "Save", "Finish", "Publish", "Api", "Upload", "HotmartSync"},
    ),
    "remove a store": (
        "dynamodb",
        "delete_item",
        {"TableName": "<LibraryTable>", "Key": {"product_id": {"S": "all#stores"}, "sort_key": {"S": "probe"}}},
        {"Save", "Api"},
    ),
    "delete from the library": ("dynamodb", "delete_item", {"TableName": "<LibraryTable>", "Key": KEY}, {"Save"}),
    "put many items into the library": (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {"<LibraryTable>": [{"PutRequest": {"Item": KEY}}]}},
        set(),
    ),
    "take many items out of the library": (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {"<LibraryTable>": [{"DeleteRequest": {"Key": KEY}}]}},
        set(),
    ),
    "find a product by its words": (
        "dynamodb",
        "batch_write_item",
        {"RequestItems": {"<LibraryTable>": [{"PutRequest": {"Item": WORD}}, {"DeleteRequest": {"Key": OTHER_WORD}}]}},
        {"Check", "Api", "HotmartSync"},
    ),
    "add to history": (
        "dynamodb",
        "put_item",
        {"TableName": "<HistoryTable>", "Item": {"product_id": {"S": "probe"}, "entry_id": {"S": "x"}}},
        {"Save", "Api", "Upload"},
    ),
    "change history": (
        "dynamodb",
        "update_item",
        {"TableName": "<HistoryTable>", "Key": {"product_id": {"S": "probe"}, "entry_id": {"S": "x"}}},
        set(),
    ),
    "scan the library": ("dynamodb", "scan", {"TableName": "<LibraryTable>"}, set()),
    "scan the runs": ("dynamodb", "scan", {"TableName": "<RunsTable>"}, set()),
    "take out an intent": ("dynamodb", "delete_item", {"TableName": "<RunsTable>", "Key": RUN_KEY}, {"Generate"}),
    "begin a run": (
        "dynamodb",
        "update_item",
        {"TableName": "<RunsTable>", "Key": RUN_KEY},
        {"Ingest", "Generate", "Save", "Finish", "Publish", "Api", "Upload"},
    ),
    "write a run": (
        "dynamodb",
        "put_item",
        {"TableName": "<RunsTable>", "Item": RUN_KEY},
        {"Generate", "ModelCheck", "Api", "HotmartSync"},
    ),
    "read a budget": (
        "dynamodb",
        "get_item",
        {"TableName": "<RunsTable>", "Key": RUN_KEY},
        {"Check", "Generate", "Save", "Finish", "Publish", "Api", "Upload", "HotmartSync"},
    ),
    "read a result": ("s3", "get_object", {"Bucket": "<Bucket>", "Key": "staging/x"}, {"Generate", "Save"}),
    "list the bucket": (
        "s3",
        "list_objects_v2",
        {"Bucket": "<Bucket>"},
        {"Ingest", "Generate", "Save", "Api", "Upload", "HotmartSync"},
    ),
    "delete history": (
        "dynamodb",
        "delete_item",
        {"TableName": "<HistoryTable>", "Key": {"product_id": {"S": "x"}, "entry_id": {"S": "x"}}},
        set(),
    ),
    "sync with Hotmart": (
        "lambda",
        "invoke",
        {"FunctionName": "lookbook-hotmart-sync", "Payload": b'{"test": true}'},
        {"Api", "HotmartSync"},
    ),
    "list users": ("cognito-idp", "list_users", {"UserPoolId": "<UserPool>"}, set()),
    "start the pipeline": (
        "stepfunctions",
        "start_execution",
        {"stateMachineArn": "<Pipeline>", "input": "[]"},
        {"Api", "HotmartSync"},
    ),
    "delete the pipeline": ("stepfunctions", "delete_state_machine", {"stateMachineArn": "<Pipeline>"}, set()),
    "list functions": ("lambda", "list_functions", {}, set()),
}  # fmt: skip
NAMED = {"HotmartSync": "lookbook-hotmart-sync"}
DENIED = {"AccessDenied", "AccessDeniedException", "403", "Forbidden"}


def client_of(stack: Stack, function: str, service: str) -> Any:
    functions = stack.aws("lambda").get_paginator("list_functions").paginate()
    [role] = [
        each["Role"]
        for page in functions
        for each in page["Functions"]
        if f"-{function}Function-" in each["FunctionName"] or each["FunctionName"] == NAMED.get(function)
    ]
    got = stack.aws("sts").assume_role(RoleArn=role, RoleSessionName="probe")["Credentials"]
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=stack.known["endpoint_url"],
        region_name=stack.known["region"],
        aws_access_key_id=got["AccessKeyId"],
        aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"],
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4") if service == "s3" else None,
    )


def allowed(stack: Stack, function: str, service: str, action: str, arguments: dict[str, Any]) -> bool:
    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {fill(name): each for name, each in value.items()}
        return stack.output(value[1:-1]) if isinstance(value, str) and value.startswith("<") else value

    filled = {name: fill(value) for name, value in arguments.items()}
    try:
        getattr(client_of(stack, function, service), action)(**filled)
    except ClientError as error:
        return error.response["Error"]["Code"] not in DENIED
    return True


@pytest.mark.parametrize("what", ATTEMPTS)
def test_only_the_functions_that_need_it_may(stack: Stack, what: str) -> None:
    service, action, arguments, expected = ATTEMPTS[what]
    assert {name for name in FUNCTIONS if allowed(stack, name, service, action, arguments)} == expected
