"""The parameters that several routes have. A path parameter's first example is told to whoever gives what is none."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lookbook.api.http import JsonBody, example
from lookbook.options import PRODUCT_ID_CHARACTER, STORE_ID
from lookbook.runs import RUN_ID

ProductId = Annotated[
    str, Field(pattern=f"^{PRODUCT_ID_CHARACTER}{{1,128}}$", examples=["CJ12345678", "hotmart:698441"])
]
RunId = Annotated[str, Field(pattern=RUN_ID.pattern, examples=["20261121T101502-3f9a2c1b"])]
ImageId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["3f9a2c1b" * 8])]
StoreId = Annotated[str, Field(pattern=STORE_ID.pattern, examples=["summer-shop"])]
ModelPhotoName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", examples=["woman_45_caucasian"])]

Limit = Annotated[int, Field(ge=1, le=100, description="At most so many.")]
Cursor = Annotated[str | None, Field(max_length=2000, description="Where to go on: the `cursor` of the page before.")]


class Nothing(JsonBody):
    """There is nothing to say."""

    model_config = example()
