"""What a function is told by its environment, read once at the edge and validated."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0)]


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(lambda value: [name for name in _split(value) if name])]


class Settings(BaseModel):
    """What every function gets; functions with more extend it. Field names are the variables' names in lower case."""

    # A function validates one of these classes, once: the others' schemas are not built.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    bucket: str
    library_table: str
    history_table: str
    runs_table: str

    @classmethod
    def from_environment(cls) -> Self:
        return cls.model_validate({name.lower(): value for name, value in os.environ.items()})


class MethodSettings(Settings):
    """How images can be made, and what that costs. Only the function that submits is told the secrets' names."""

    gpu_endpoint_url: str = ""
    gpu_endpoint_key_secret: str = ""
    gpu_usd_per_second: PositiveFloat
    gpu_concurrency: int = Field(ge=1)
    fashn_base_url: str
    fashn_key_secret: str = ""
    fashn_usd_per_credit: PositiveFloat
    open_ai_base_url: str
    open_ai_key_secret: str = ""
    open_ai_model: str = ""
    open_ai_quality: Literal["low", "medium", "high"]
    open_ai_usd_per_million_tokens: Annotated[
        tuple[PositiveFloat, PositiveFloat, PositiveFloat], BeforeValidator(_split)
    ] = Field(description="Text in, image in, image out.")
    prices_as_of: str
    try_on_method: Literal["catvton", "fashn"]
    allow_private_urls: bool = False


class CheckSettings(Settings):
    defer_after_seconds: int = Field(ge=1)


class StoreSettings(Settings):
    """Where shops are, and where their credentials lie in Secrets Manager."""

    shopify_admin_url: str = Field(pattern=r"^https?://[^ ]*\{shop\}[^ ]*$")
    store_secrets_prefix: str


class StartSettings(Settings):
    """What starts runs knows the state machine."""

    pipeline_arn: str


class HotmartSettings(StartSettings):
    """The Hotmart account, and which of its products get a cover by themselves.

    An empty list of formats means all. The secret has `{"client_id", "client_secret", "basic"}`.
    """

    hotmart_auth_url: str = Field(pattern=r"^https?://")
    hotmart_api_url: str = Field(pattern=r"^https?://")
    hotmart_secret: str
    hotmart_statuses: Names
    hotmart_formats: Names = []
    hotmart_max_cost_usd: PositiveFloat
    open_ai_model: str = Field("", description="Empty: nothing can make covers.")


class ApiSettings(MethodSettings, StartSettings):
    store_secrets_prefix: str
    publish_function: str
    hotmart_sync_function: str
    hotmart_schedule: str
    user_pool_client_id: str
    aws_region: str
