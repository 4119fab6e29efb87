"""How to sign in: public, as it names only the region and the public app client."""

from __future__ import annotations

from aws_lambda_powertools.event_handler.api_gateway import Router

from lookbook.api.config import settings

router = Router()


@router.get("/sign-in", include_in_schema=False)
def sign_in() -> dict[str, str]:
    told = settings()
    return {"region": told.aws_region, "client_id": told.user_pool_client_id}
