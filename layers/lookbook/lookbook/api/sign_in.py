"""How to sign in: public, as it names only the region and the public app client."""

from __future__ import annotations

from lookbook import shapes
from lookbook.api.config import settings
from lookbook.api.http import Router

router = Router()


@router.get("/sign-in", summary="Learn where to sign in", tags=["sign-in"], public=True)
def sign_in() -> shapes.SignIn:
    """The region and the app client of the Cognito user pool that gives out tokens; anyone may ask."""
    told = settings()
    return {"region": told.aws_region, "client_id": told.user_pool_client_id}
