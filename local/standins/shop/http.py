"""All shops over HTTP: what an app calls, the picture CDN, and what tests arrange."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from graphql import GraphQLError, execute_sync
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.standins.shop import kept, price
from local.standins.shop.faults import ShopControl, ShopFault, called
from local.standins.shop.fields import Call
from local.standins.shop.pictures import MOST_BYTES, BadPictureError, Store
from local.standins.shop.schema import SCHEMA, read_query
from local.standins.shop.state import MediaImage, NewPicture, NewShop, Product, Shop, settle

API_VERSION = "2026-10"

Thing = TypeVar("Thing")


class Query(BaseModel):
    """A request to the GraphQL API."""

    query: str
    variables: dict[str, Any] | None = None


class Shops:
    """All shops."""

    def __init__(self, store: Store) -> None:
        self.control = ShopControl()
        self._store = store
        self._shops: dict[str, Shop] = {}

    def add(self, shop: Shop) -> None:
        self._shops[shop.domain] = shop

    def all(self) -> list[Shop]:
        return list(self._shops.values())

    def routes(self) -> list[Route]:
        shop, product, picture = "/_shops/{shop}", "/products/{product:int}", "/media/{picture:int}"
        calls = [
            ("POST", "/{shop}/admin/oauth/access_token", self._token),
            ("POST", f"/{{shop}}/admin/api/{API_VERSION}/graphql.json", self._graphql),
            ("POST", "/{shop}/staged-uploads/", self._upload),
            ("GET", "/{shop}/cdn/files/{name}", self._cdn),
            ("POST", "/_shops", self._make),
            ("GET", shop, self._look),
            ("PATCH", shop, self._set),
            ("POST", f"{shop}/revoke", self._revoke),
            ("DELETE", shop + product, self._delete_product),
            ("POST", f"{shop}{product}/media", self._add_picture),
            ("PATCH", shop + picture, self._describe_picture),
            ("DELETE", shop + picture, self._delete_picture),
        ]
        return [*self.control.routes(), *(Route(path, handle, methods=[method]) for method, path, handle in calls)]

    def _shop(self, request: Request) -> Shop:
        return _found(self._shops, request.path_params["shop"])

    # ------------------------------------------------------------------ the Admin API

    async def _token(self, request: Request) -> Response:
        shop = self._shop(request)
        form = dict(parse_qsl((await request.body()).decode()))

        async def handle() -> Response:
            return self._granted(shop, form)

        return await self.control.answer("token", called(shop.domain), handle)

    def _granted(self, shop: Shop, form: Mapping[str, str]) -> Response:
        """The client credentials grant: only for an app of the shop's own organisation."""
        app = (form.get("client_id"), form.get("client_secret"))
        owned = [each for each in self._shops.values() if (each.settings.client_id, each.settings.client_secret) == app]
        error = "" if shop in owned else "shop_not_permitted" if owned else "invalid_client"
        if form.get("grant_type") != "client_credentials":
            error = "unsupported_grant_type"
        if error:
            return JSONResponse({"error": error, "error_description": f"No token is granted: {error}."}, 400)
        token, seconds = f"shpat_{secrets.token_hex(16)}", shop.settings.token_seconds
        shop.tokens[token] = time.time() + seconds
        shop.tokens_granted += 1
        scope = ",".join(shop.settings.scopes)
        return JSONResponse({"access_token": token, "scope": scope, "expires_in": int(seconds)})

    async def _graphql(self, request: Request) -> Response:
        shop = self._shop(request)
        if shop.tokens.get(request.headers.get("X-Shopify-Access-Token", ""), 0) < time.time():
            raise HTTPException(401, "[API] Invalid API key or access token (unrecognized login or wrong password)")
        query = Query.model_validate_json(await request.body())
        document, operation = read_query(query.query)
        variables = query.variables or {}
        named = [getattr(node, "name", None) for node in (operation, *operation.selection_set.selections)]
        operations = [name.value for name in named if name]
        text = called(shop.domain, operations, f"{query.query}\n{json.dumps(variables, ensure_ascii=False)}")

        async def handle() -> Response:
            requested = price.requested(operation, variables)
            fault = self.control.take(["throttled"], text, "graphql")
            if fault or not shop.bucket.take(requested):
                shop.throttled.append(time.time())
                return _throttled(shop.bucket.told(requested, None), fault)
            call = Call(shop, self.control, operations)
            result = execute_sync(
                SCHEMA, document, call, None, variables, None, call.resolve, lambda value, *_: type(value).__name__
            )
            shop.bucket.take(call.spent - requested)
            shop.points += call.spent
            extensions = {"cost": shop.bucket.told(requested, call.spent)}
            return JSONResponse({**result.formatted, "extensions": extensions})

        return await self.control.answer("graphql", text, handle)

    # ------------------------------------------------------------------ uploads, and the CDN

    async def _upload(self, request: Request) -> Response:
        """A form with the target's parameters, and the file as its last field."""
        shop = self._shop(request)
        form, data = read_form(await request.body(), request.headers.get("Content-Type", ""))
        address = f"{shop.url}/staged-uploads/{form.get('key')}"

        async def handle() -> Response:
            if address not in shop.targets or not shop.targets[address].items() <= form.items():
                return _of_storage(403, "AccessDenied")
            if not 0 < len(data) <= MOST_BYTES:
                return _of_storage(400, "EntityTooLarge" if data else "EntityTooSmall")
            shop.staged[address] = self._store.put(data)
            return _of_storage(201, "Created")

        return await self.control.answer("upload", called(shop.domain, (), form.get("key", "")), handle)

    async def _cdn(self, request: Request) -> Response:
        shop, name = self._shop(request), request.path_params["name"]

        async def handle() -> Response:
            content = _found(shop.by_filename, name).content
            assert content  # what has a name is ready
            return Response(content.file.read_bytes(), media_type=f"image/{content.kind.lower()}")

        return await self.control.answer("cdn", called(shop.domain, (), name), handle)

    # ------------------------------------------------------------------ for tests, and by the merchant's hand

    async def _make(self, request: Request) -> Response:
        """Make a shop, or replace the one of this name."""
        new = NewShop.model_validate(await request.json())
        shop = Shop(new, f"{request.base_url}{new.shop}", self._store)
        for product in new.products:
            await shop.add_product(product)
        self.add(shop)
        return JSONResponse(look(shop), 201)

    async def _look(self, request: Request) -> Response:
        return JSONResponse(look(self._shop(request)))

    async def _set(self, request: Request) -> Response:
        self._shop(request).change(await request.json())
        return Response(status_code=204)

    async def _revoke(self, request: Request) -> Response:
        self._shop(request).tokens.clear()
        return Response(status_code=204)

    def _product(self, request: Request) -> Product:
        return _found(self._shop(request).products, f"gid://shopify/Product/{request.path_params['product']}")

    def _picture(self, request: Request) -> MediaImage:
        return _found(self._shop(request).pictures, f"gid://shopify/MediaImage/{request.path_params['picture']}")

    async def _delete_product(self, request: Request) -> Response:
        """Delete a product; its pictures stay as files."""
        del self._shop(request).products[self._product(request).id]
        return Response(status_code=204)

    async def _add_picture(self, request: Request) -> Response:
        await self._shop(request).add_own_picture(
            self._product(request), NewPicture.model_validate(await request.json())
        )
        return Response(status_code=204)

    async def _describe_picture(self, request: Request) -> Response:
        self._picture(request).describe((await request.json())["alt"])
        return Response(status_code=204)

    async def _delete_picture(self, request: Request) -> Response:
        self._shop(request).delete_picture(self._picture(request))
        return Response(status_code=204)


def _found(things: Mapping[str, Thing], name: str) -> Thing:
    if name not in things:
        raise HTTPException(404, "Not Found")
    return things[name]


def _throttled(cost: dict[str, Any], fault: ShopFault | None) -> Response:
    """The refusal of a query that costs more than is there; if that is a fault, nothing is."""
    if fault:
        cost["throttleStatus"]["currentlyAvailable"] = 0
    error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
    body = {"errors": [error], "extensions": {"cost": cost}}
    if fault and fault.status == 429:
        return JSONResponse(body, 429, {"Retry-After": str(1.0 if fault.seconds is None else fault.seconds)})
    return JSONResponse(body)


def read_form(body: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    """Return a form's fields and its file. What follows the file does not count, as with Google's storage."""
    fields: dict[str, str] = {}
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name and name[1] == b"file":
            return fields, value
        if name:
            fields[name[1].decode()] = value.decode()
    return fields, b""


def _of_storage(status: int, code: str) -> Response:
    """An answer as Google's storage gives it."""
    return Response(f"<?xml version='1.0'?><Answer><Code>{code}</Code></Answer>", status, media_type="application/xml")


def look(shop: Shop) -> dict[str, Any]:
    """Return a shop's whole state."""
    return {
        "shop": shop.domain,
        "products": [
            {
                "id": product.id,
                "title": product.title,
                "updated_at": product.updated_at,
                "media": [_look_at(picture) for picture in product.pictures],
            }
            for product in shop.products.values()
        ],
        "files": [_look_at(picture) for picture in shop.pictures.values()],
        "points": {"total": round(shop.points, 1), "available": round(shop.bucket.available(), 1)},
        "throttled": shop.throttled,
        "mutations": dict(shop.mutations),
        "tokens_granted": shop.tokens_granted,
    }


def _look_at(picture: MediaImage) -> dict[str, Any]:
    return {
        "id": picture.id,
        "alt": picture.alt,
        "status": picture.status,
        "url": picture.image and picture.image["url"],
        "filename": picture.filename,
        "created_by": picture.created_by,
        "source": picture.source,
        "sha256": picture.content and picture.content.file.name,
    }


def _to_json(_: Request, error: Exception) -> Response:
    """What is wrong with a request, as JSON."""
    if isinstance(error, GraphQLError):  # a query that is not executed
        return JSONResponse({"errors": [error.formatted]})
    if isinstance(error, HTTPException):
        return JSONResponse({"errors": error.detail}, error.status_code)
    return JSONResponse({"errors": str(error)}, 400)


def application(folder: Path | None = None, url: str = "") -> Starlette:
    """Return the stand-in as an ASGI application, without a shop, or with those that it left in `folder`.

    `url` is where those are served now.
    """
    scratch = tempfile.TemporaryDirectory(prefix="shops-")
    store = Store(folder or Path(scratch.name))
    shops = Shops(store)
    file = folder / "shops.json" if folder else None
    if folder and file:
        folder.mkdir(parents=True, exist_ok=True)
        for shop in kept.load(file, url, store) if file.exists() else ():
            shops.add(shop)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with scratch:
            yield
            if file:
                await settle()
                kept.save(shops.all(), file)

    errors = (HTTPException, GraphQLError, BadPictureError, ValueError)
    return Starlette(routes=shops.routes(), exception_handlers=dict.fromkeys(errors, _to_json), lifespan=lifespan)
