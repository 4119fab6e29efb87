"""What a function is told by its environment, read once at the edge and validated."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """What every function gets; functions with more extend it. Field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bucket: str
    library_table: str
    history_table: str
    runs_table: str

    @classmethod
    def from_environment(cls) -> Self:
        return cls.model_validate({name.lower(): value for name, value in os.environ.items()})


class IngestSettings(Settings):
    gpu_concurrency: int = Field(ge=1)


class CheckSettings(Settings):
    defer_after_seconds: int = Field(ge=1)


class GenerateSettings(Settings):
    gpu_endpoint_url: str
    gpu_endpoint_key_secret: str
    gpu_usd_per_second: float = Field(gt=0)
    allow_private_urls: bool = False


class ApiSettings(Settings):
    pipeline_arn: str
    user_pool_client_id: str
    aws_region: str
