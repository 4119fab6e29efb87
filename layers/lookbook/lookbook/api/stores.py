"""Stores: add them and their credentials, try them out, map products to them, publish, and see what is live in each."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, SecretStr

from lookbook import aws, runs, shapes, stores
from lookbook.api import cursor as cursors
from lookbook.api.access import user
from lookbook.api.config import settings
from lookbook.api.http import HttpError, JsonBody, Request, Router, example
from lookbook.api.parameters import Cursor, Limit, RunId, StoreId
from lookbook.api.products import URL_SECONDS
from lookbook.api.runs import execute
from lookbook.errors import ConflictError, InputError, NotFoundError
from lookbook.logging import logger
from lookbook.options import STORE_ID
from lookbook.tables import Usage
from lookbook.times import now

if TYPE_CHECKING:
    from lookbook.tables import Store

router = Router()

MOST_MAPPING_BYTES = 4_000_000
# With a status, a request looks at no more than so many of a store's usages; the cursor goes on from there.
MOST_LOOKED_AT = 2000

UsageStatus = Literal["mapped", "live", "failed", "unpublished", "removed"]

A_MAPPING = "CJ Product ID,Shopify Product ID\nCJ12345678,8123456789\n"


class Credentials(JsonBody):
    """Either an Admin API token, or the id and the secret of an app of the shop's organisation."""

    admin_token: SecretStr | None = Field(None, max_length=500, description="An Admin API access token.")
    client_id: str | None = Field(None, max_length=200, description="An app's client id.")
    client_secret: SecretStr | None = Field(None, max_length=500, description="The app's client secret.")


class NewStore(Credentials):
    """A Shopify shop, and the credentials to publish to it."""

    model_config = example(store_id="summer-shop", domain="summer-shop.myshopify.com", admin_token="shpat_…")  # noqa: S106 - an example

    store_id: str = Field(max_length=128, description="What you call it: a-z, 0-9 and -, 32 characters at most.")
    domain: str = Field(max_length=300, description="The shop's own address, such as my-shop.myshopify.com.")
    name: str | None = Field(None, min_length=1, max_length=100, description="Its name; by default its id.")


class ChangedStore(Credentials):
    """What to change of a store; the rest stays as it is."""

    model_config = example(name="Summer shop")

    domain: str | None = Field(None, max_length=300)
    name: str | None = Field(None, min_length=1, max_length=100)


class Mapping(JsonBody):
    """A CSV file's text, whose first line has `CJ Product ID` and `Shopify Product ID`; 4 MB at most."""

    model_config = example(mapping=A_MAPPING)

    mapping: str


class Sync(JsonBody):
    """What to bring up to date: all that is mapped, only a mapping's products, or only those that have changed."""

    model_config = example(changed=True)

    mapping: str | None = Field(None, description="A CSV file's text: map these products first, and publish only them.")
    changed: bool = Field(False, description="Only products that are not in the shop as the library has them.")


class Unpublish(JsonBody):
    """What to take out of the shop: some products' images, or those of all."""

    model_config = example(products=["CJ12345678"])

    products: list[Annotated[str, Field(min_length=1, max_length=128)]] | None = Field(
        None, min_length=1, max_length=100
    )


# ---------------------------------------------------------------------- their records


@router.get("/api/stores", summary="List stores", tags=["stores"])
def list_stores() -> shapes.Stores:
    """All stores, by id."""
    return {"stores": [stores.show(store) for store in stores.every()]}


@router.post("/api/stores", summary="Add a store", status=201, errors=[409], tags=["stores"])
def add_store(new: NewStore, request: Request) -> shapes.Store:
    """Add a store with its credentials; nothing ever shows those again. Try it with `POST …/test`."""
    if not STORE_ID.fullmatch(new.store_id):
        raise InputError("A store's id has a-z, 0-9 and - in it, 32 at most, and does not begin with a -.")
    stores.refuse_reserved(new.store_id)
    domain = domain_of(new.domain)
    credentials = _credentials(new)
    if credentials is None:
        raise InputError("Give the shop's credentials: admin_token, or client_id and client_secret.")
    known = stores.every()
    if any(stores.id_of(each) == new.store_id for each in known):
        again = f"lookbook stores add {new.store_id} --replace"
        raise ConflictError(
            f"There is a store {new.store_id} already. Change it with: {again} (PUT /api/stores/{new.store_id})"
        )
    _refuse_twice(known, new.store_id, domain)
    # The secret first: a crash in between leaves one that no store has, and adding the store again writes over it. The
    # other way round there would be a store that cannot be published to.
    kind, secret = credentials
    _keep_secret(new.store_id, secret)
    store = stores.put(new.store_id, name=new.name or new.store_id, domain=domain, credentials=kind, now=now())
    logger.info("store added", extra={"store_id": new.store_id, "credentials": kind, "by": user(request)})
    return stores.show(store)


@router.put("/api/stores/{store_id}", summary="Change a store", errors=[409], tags=["stores"])
def change_store(store_id: StoreId, changed: ChangedStore, request: Request) -> shapes.Store:
    """Change a store's name, domain or credentials; what is not given stays."""
    store = stores.get(store_id)
    domain = store.domain if changed.domain is None else domain_of(changed.domain)
    credentials = _credentials(changed)
    if changed.name is None and changed.domain is None and credentials is None:
        raise InputError("Say what to change: name, domain, admin_token, or client_id and client_secret.")
    if domain != store.domain:
        _refuse_twice(stores.every(), store_id, domain)
        _refuse_at_work(store)
        if next(stores.live_products(store_id), None) is not None:
            raise ConflictError(
                f"Images of ours are live in {store.domain}. Take them out first: lookbook unpublish {store_id} --all"
            )
    kind = store.credentials
    # The secret first, then the record: its new updated_at is what makes Publish read the secret again.
    if credentials is not None:
        kind, secret = credentials
        _keep_secret(store_id, secret)
    store = stores.put(store_id, name=changed.name or store.name, domain=domain, credentials=kind, now=now())
    logger.info("store changed", extra={"store_id": store_id, "credentials": kind, "by": user(request)})
    return stores.show(store)


@router.delete("/api/stores/{store_id}", summary="Remove a store", errors=[409], tags=["stores"])
def remove_store(store_id: StoreId, request: Request, keep_pictures: bool = False) -> shapes.Store:
    """Remove a store and its credentials, and return it; 409 while images are live in it, unless `keep_pictures`.

    What is mapped to it and live in it stays known: a store added with the same id finds it again.
    """
    store = stores.get(store_id)
    _refuse_at_work(store)
    if not keep_pictures and next(stores.live_products(store_id), None) is not None:
        raise ConflictError(
            f"Images of ours are live in the shop. Take them out first: lookbook unpublish {store_id} --all. "
            f"Or leave them there: lookbook stores remove {store_id} --keep-pictures"
        )
    # The secret first: a crash in between leaves a store without credentials, which is seen and can be removed again,
    # and not credentials that nobody knows of.
    _delete_secret(store_id)
    store.delete()
    logger.info("store removed", extra={"store_id": store_id, "keep_pictures": keep_pictures, "by": user(request)})
    return stores.show(store)


@router.post("/api/stores/{store_id}/test", summary="Try a store out", errors=[502, 503], tags=["stores"])
def test_store(store_id: StoreId) -> shapes.StoreTest:
    """Say whether the store can be published to: its shop's name, what its credentials may do, and what they lack."""
    stores.get(store_id)
    try:
        answer = aws.functions().invoke(
            FunctionName=settings().publish_function, Payload=json.dumps({"test": store_id}).encode()
        )
        told = json.loads(answer["Payload"].read())
    except (BotoCoreError, ClientError) as error:
        logger.warning("store not tried out", extra={"store_id": store_id, "reason": type(error).__name__})
        raise HttpError(
            HTTPStatus.SERVICE_UNAVAILABLE, "The shop could not be asked in time. Try it again in a moment."
        ) from error
    if answer.get("FunctionError") or not isinstance(told, dict):
        logger.error("store not tried out", extra={"store_id": store_id, "reason": "function error"})
        raise HttpError(
            HTTPStatus.BAD_GATEWAY, "The shop could not be asked: Publish failed. Its log says why; try it again."
        )
    return cast("shapes.StoreTest", told)


DOMAIN_HELP = (
    "Give the shop's own address, such as my-shop.myshopify.com: Shopify shows it under Settings > Domains. It is not "
    "the one that customers see, and not the admin's."
)


def domain_of(text: str) -> str:
    """Return a shop's domain as given: with https:// and / or without, or its first part alone. Raises InputError."""
    host = re.sub(r"^https?://", "", text.strip().lower()).partition("/")[0]
    domain = host if "." in host else f"{host}.myshopify.com"
    if not stores.DOMAIN.fullmatch(domain):
        raise InputError(DOMAIN_HELP)
    return domain


def _refuse_twice(known: list[Store], store_id: str, domain: str) -> None:
    """Refuse to let two stores be one shop: a lease is a store's, and each would add its own pictures."""
    other = next((stores.id_of(each) for each in known if each.domain == domain), store_id)
    if other != store_id:
        raise ConflictError(f"The shop {domain} is the store {other} already.")


def _credentials(given: Credentials) -> tuple[str, str] | None:
    """Return of which kind the credentials are, and the secret's text; None if there are none. Raises InputError."""
    from lookbook import shopify  # noqa: PLC0415 - the shops' client, which no read needs

    token, client_id, client_secret = (
        (each.get_secret_value() if isinstance(each, SecretStr) else each or "").strip()
        for each in (given.admin_token, given.client_id, given.client_secret)
    )
    if not token and not client_id and not client_secret:
        return None
    if bool(token) == bool(client_id or client_secret):
        raise InputError("Give one kind of credentials: admin_token, or client_id and client_secret.")
    if not token and not (client_id and client_secret):
        raise InputError("client_id and client_secret go together: give both.")
    if not re.fullmatch(r"[!-~]*", token + client_id + client_secret):
        raise InputError("The credentials have characters in them that none have, such as spaces. Copy them again.")
    if token:
        return "admin_token", shopify.credentials_to_json(shopify.AdminToken(token))
    return "client_credentials", shopify.credentials_to_json(shopify.ClientCredentials(client_id, client_secret))


def _keep_secret(store_id: str, text: str) -> None:
    """Write a store's secret, new or over the one there is; it is never read here."""
    name = stores.secret_id(settings().store_secrets_prefix, store_id)
    client = aws.secrets()
    try:
        client.create_secret(Name=name, SecretString=text, Description="A store's credentials, written by Lookbook.")
    except ClientError as error:
        if aws.error_code(error) == "InvalidRequestException":  # being deleted
            raise ConflictError(
                f"The credentials of the store that was called {store_id} are still being deleted. Try it in a minute."
            ) from error
        if aws.error_code(error) != "ResourceExistsException":
            raise
        client.put_secret_value(SecretId=name, SecretString=text)


def _refuse_at_work(store: Store) -> None:
    if store.leased_by and float(store.leased_until or 0) > now().timestamp():
        raise ConflictError(
            f"The run {store.leased_by} is at work in it. Wait for it, or stop it: lookbook stop {store.leased_by}"
        )


def _delete_secret(store_id: str) -> None:
    name = stores.secret_id(settings().store_secrets_prefix, store_id)
    try:
        # At once, so that the id can be used again; by default the name would be taken for 30 days.
        aws.secrets().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    except ClientError as error:
        if aws.error_code(error) != "ResourceNotFoundException":
            raise


# ---------------------------------------------------------------------- their runs


@router.post("/api/stores/{store_id}/mapping", summary="Map products", status=202, tags=["stores"])
def map_products(store_id: StoreId, given: Mapping, request: Request) -> shapes.Run:
    """Say which products of the shop some products are, and publish nothing yet: 202 with a run."""
    store = _known(store_id)
    return _start(runs.SYNC, "map", store, request, _mapping(given.mapping), mapping=True, publish=False)


@router.post("/api/stores/{store_id}/sync", summary="Sync a store", status=202, tags=["stores"])
def sync_store(store_id: StoreId, asked: Sync, request: Request) -> shapes.Run:
    """Bring a store up to date with the library: 202 with a run. With a mapping: only its products, mapped first."""
    store = _known(store_id)
    text = None if asked.mapping is None else _mapping(asked.mapping)
    return _start(runs.SYNC, "sync", store, request, text, mapping=text is not None, changed=asked.changed)


@router.post("/api/stores/{store_id}/unpublish", summary="Take images out of a store", status=202, tags=["stores"])
def unpublish(store_id: StoreId, asked: Unpublish, request: Request) -> shapes.Run:
    """Take our images of some products, or of all, out of the shop: 202 with a run. The library keeps them."""
    return _start(runs.UNPUBLISH, "unpublish", _known(store_id), request, products=asked.products)


@router.post("/api/stores/{store_id}/match", summary="Find out what to map", status=202, tags=["stores"])
def match_store(store_id: StoreId, request: Request) -> shapes.Run:
    """Find products of the shop by SKU, barcode or handle: 202 with a run. It changes nothing."""
    return _start(runs.MATCH, "match", _known(store_id), request)


@router.get(
    "/api/stores/{store_id}/matches/{run_id}", summary="Look at what a match found", errors=[409], tags=["stores"]
)
def get_matches(store_id: StoreId, run_id: RunId) -> shapes.Matches:
    """How many products a match found, by what, and a link to them as a mapping (CSV) that works for an hour."""
    run = runs.get(run_id)
    if run.purpose != runs.MATCH or (run.options or {}).get("store") != store_id:
        raise NotFoundError(f"The run {run_id} is no match of the store {store_id[:40]}.")
    if run.finished_at is None:
        raise ConflictError("The run has not ended yet; wait for it.")
    if run.status != runs.SUCCEEDED or run.plan is None:
        raise ConflictError(f"The run found nothing out. {run.reason or 'Start it again.'}")
    from lookbook import match  # noqa: PLC0415 - with it comes the shops' client, which no other read needs

    told = settings()
    where = {
        "Bucket": told.bucket,
        "Key": match.matches_key(run_id),
        "ResponseContentDisposition": f'attachment; filename="{store_id}-mapping.csv"',
    }
    url = aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS)
    return cast("shapes.Matches", {**run.plan, "url": url})


def _known(store_id: str) -> str:
    return stores.id_of(stores.get(store_id))


def _mapping(text: str) -> bytes:
    """Return a mapping as it goes into the bucket. Raises InputError for what is none; its lines are the run's."""
    data = text.encode()
    if len(data) > MOST_MAPPING_BYTES:
        raise InputError("The mapping has more than 4 MB; split it.")
    from lookbook import mapping  # noqa: PLC0415 - with it comes the shops' client, which no read needs

    if next(mapping.parse(data), None) is None:
        raise InputError("The mapping has no lines below its first one.")
    return data


def _start(
    purpose: str, verb: str, store_id: str, request: Request, text: bytes | None = None, **options: Any
) -> shapes.Run:
    """Start a run in a store, with these SyncOptions, and return it."""
    from lookbook.sync import SyncOptions  # noqa: PLC0415 - with it comes the shops' client, which no read needs

    moment = now()
    run = runs.create(
        runs.new_id(moment),
        name=f"{verb} {store_id}",
        purpose=purpose,
        status=runs.RUNNING,
        options=SyncOptions(store=store_id, **options).model_dump(exclude_defaults=True),
        started_by=user(request),
        now=moment,
    )
    logger.info("run created", extra={"run_id": run.run_id, "store_id": store_id, "purpose": purpose})
    return execute(run, text)


# ---------------------------------------------------------------------- what is live in them


@router.get("/api/stores/{store_id}/usage", summary="See what a store uses", tags=["stores"])
def get_usage(
    store_id: StoreId, limit: Limit = 50, cursor: Cursor = None, status: UsageStatus | None = None
) -> shapes.StoreUsage:
    """A store's figures, and which images of which products are live in it, by product id.

    With `status`, a page may be short before the last.
    """
    store = stores.get(store_id)
    start = cursors.decode_key(cursor, {"store_id": store_id}, {"product_id", "sort_key"})
    page = stores.usages(store_id, limit=limit if status is None else MOST_LOOKED_AT, start=start)
    found: list[shapes.Usage] = []
    looked_at = 0
    position: dict[str, Any] | None = None
    for usage in page:
        looked_at, position = looked_at + 1, _position(usage)
        if status in {None, usage.status}:
            found.append(stores.show_usage(usage))
        if len(found) == limit:
            break
    goes_on = len(found) == limit or looked_at == MOST_LOOKED_AT
    return {
        "store": stores.show(store),
        "usages": found,
        "cursor": cursors.encode(position if goes_on else None),
    }


def _position(usage: Usage) -> dict[str, Any]:
    """Return where the store's list of usages goes on after this one."""
    return {name: {"S": getattr(usage, name)} for name in ("store_id", "product_id", "sort_key")}
