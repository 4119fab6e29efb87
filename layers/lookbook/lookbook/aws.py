"""The AWS clients, built once and late, with time-outs, and our names for what goes wrong."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from lookbook.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_stepfunctions import SFNClient

# SigV4 always: botocore would presign S3 with version 2, which enforces fewer of a POST's conditions.
CONFIG = Config(
    connect_timeout=3,
    read_timeout=20,
    retries={"total_max_attempts": 3, "mode": "standard"},
    signature_version="s3v4",
    s3={"addressing_style": "path"},
)
CALL_CONFIG = Config(connect_timeout=3, read_timeout=22, retries={"total_max_attempts": 1})
MOST_CONFLICTS = 10
PLAIN_CONFIG = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def session() -> botocore.session.Session:
    """Return the one botocore session: reading the endpoints of all of AWS is most of what a client costs."""
    return botocore.session.get_session()


def client(service: str, config: Config) -> Any:
    """Return a new client. It is botocore's, as boto3 would add nothing to it but its import."""
    return session().create_client(service, config=config)


@cache
def s3() -> S3Client:
    made: S3Client = client("s3", CONFIG)
    return made


@cache
def secrets() -> SecretsManagerClient:
    made: SecretsManagerClient = client("secretsmanager", PLAIN_CONFIG)
    return made


@cache
def step_functions() -> SFNClient:
    made: SFNClient = client("stepfunctions", PLAIN_CONFIG)
    return made


@cache
def functions() -> LambdaClient:
    """Return the client that calls our other functions, once: the API, which has 29 seconds itself, waits for some."""
    made: LambdaClient = client("lambda", CALL_CONFIG)
    return made


@cache
def secret(secret_id: str) -> str:
    """Return a secret's text; read once per warm function (`secret.cache_clear()` forgets it), never logged."""
    return read_secret(secret_id)


def read_secret(secret_id: str) -> str:
    """Return a secret's text as it is now; never logged."""
    return secrets().get_secret_value(SecretId=secret_id)["SecretString"]


def get_object(bucket: str, key: str) -> bytes:
    """Return an object's bytes, or raise NotFoundError."""
    try:
        return s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error_code(error) in {"NoSuchKey", "404"}:
            raise NotFoundError(f"There is no {key} in the bucket.") from error
        raise


def head_metadata(bucket: str, key: str) -> dict[str, str]:
    """Return an object's own metadata, or raise NotFoundError."""
    try:
        return s3().head_object(Bucket=bucket, Key=key)["Metadata"]
    except ClientError as error:
        if error_code(error) in {"NoSuchKey", "404"}:
            raise NotFoundError(f"There is no {key} in the bucket.") from error
        raise


def put_file(bucket: str, key: str, path: Path) -> None:
    """Put a file's bytes."""
    with path.open("rb") as file:
        s3().put_object(Bucket=bucket, Key=key, Body=file)


def put_once(bucket: str, key: str, data: bytes, content_type: str) -> bool:
    """Put an immutable object unless it is there already; return whether it was written."""
    for _ in range(MOST_CONFLICTS):
        try:
            s3().put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type, IfNoneMatch="*")
        except ClientError as error:
            if error_code(error) == "PreconditionFailed":
                return False
            if error_code(error) != "ConditionalRequestConflict":  # somebody is putting it at this moment
                raise
            time.sleep(0.2)
        else:
            return True
    raise ConflictError(f"Others are writing {key} at the same moment. Try it again.")


def error_code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
