"""What a user may ask of a run."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

# Of a product's id: what the path of a URL can carry as it is.
PRODUCT_ID_CHARACTER = r"[\w.~()'!*:@,;=+&$<>\[\]{}^-]"
STORE_ID = re.compile(r"^[a-z0-9][a-z0-9-]{0,31}$")
StoreId = Annotated[str, Field(pattern=STORE_ID.pattern)]
ModelPhotoName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class RunOptions(BaseModel):
    """Options of a run, the same in a scrape's `options` and in `POST /api/runs`."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    variants: int = Field(3, ge=1, le=10, description="Images per product.")
    method: Literal["auto", "catvton", "fashn", "openai"] = Field(
        "auto",
        description="`auto` tries garments on and makes a cover of other products. `catvton` (CC BY-NC-SA 4.0, not for "
        "commercial use) and `fashn` try on whatever it is, `openai` makes a cover of whatever it is.",
    )
    model_photos: list[ModelPhotoName] = Field(
        [], max_length=10, description="Names of the model photos, one a variant; by default the first in the library."
    )
    stores: list[StoreId] = Field([], max_length=50, description="The stores that the run's products are published to.")
    reuse: bool = Field(True, description="False makes new images even of products that have some.")
    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="What covers are asked for, as written; by default what suits the product. Of `openai` only.",
    )
    max_cost_usd: float | None = Field(
        None, gt=0, le=100_000, description="The run's budget in US dollars: it submits nothing that would exceed it."
    )

    @field_validator("model_photos", "stores")
    @classmethod
    def _once_each(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("names one of them twice")
        return names
