"""What the API answers, as types: the OpenAPI document shows them, mypy checks them, nothing looks at them at run time.

Times are ISO 8601 in UTC with milliseconds, money is US dollars, durations are seconds, links work for an hour.
"""

# No `from __future__ import annotations`: to compile what it makes of annotations costs a cold start 4 ms.
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic wants no other below Python 3.12


class Product(TypedDict):
    """A product of the library; `variants` are the slots that hold an image."""

    product_id: str
    title: str
    category: str
    source: str
    cover_image_id: str | None
    cover_url: str | None
    image_count: int
    variants: list[int]
    tags: list[str]
    created_at: str
    updated_at: str


class Image(TypedDict):
    """A finished picture of a product; its id is the SHA-256 of its bytes. A hidden one is shown nowhere else."""

    image_id: str
    variant: int
    method: str
    model_photo: str
    model_version: str
    licence: str
    prompt: str | None
    stars: int | None
    hidden: bool
    is_cover: bool
    width: int
    height: int
    bytes: int
    url: str
    created_at: str
    run_id: str | None
    cost_usd: float
    seconds: float


class LiveImage(TypedDict):
    """An image that is in a shop, and since when."""

    image_id: str
    media_id: str
    since: str


class Usage(TypedDict):
    """A product in a store: which of the shop's products it is there, and which images are live."""

    product_id: str
    store_id: str
    shop_product_id: str
    status: str
    reason: str | None
    mapped_at: str
    synced_at: str | None
    images: list[LiveImage]


class Note(TypedDict):
    """A text on a product, as it was typed, and who typed it."""

    note_id: str
    note: str
    author: str
    created_at: str
    edited_at: str | None
    edited_by: str | None


class Notes(TypedDict):
    notes: list[Note]
    cursor: str | None


class ProductPage(Product):
    """A product with its images, in which stores they are used, and its notes, newest first.

    `source_status` is what Hotmart says of it. `more_notes`: there are too many for this page; list them.
    """

    description: str | None
    price: str | None
    source_status: str | None
    source_deleted_at: str | None
    image_list: list[Image]
    usages: list[Usage]
    notes: list[Note]
    more_notes: bool


class Images(TypedDict):
    images: list[Image]


class HistoryEntry(TypedDict):
    """A change of the cover: `image_id` is what it has been since, null if there was none."""

    entry_id: str
    action: str
    image_id: str | None
    url: str | None
    method: str | None
    prompt: str | None
    actor: str
    run_id: str | None
    hidden_image_id: str | None
    created_at: str


class History(TypedDict):
    entries: list[HistoryEntry]
    cursor: str | None


class FoundImage(TypedDict):
    """An image by the beginning of its id, and the products that have it."""

    image_id: str
    products: list[str]


class AwaitedUpload(TypedDict):
    """Where to send a picture as a form: the fields first, the file last, named `file`; until when, and how large."""

    upload_id: str
    url: str
    fields: dict[str, str]
    expires_at: str
    most_bytes: int


class Upload(TypedDict):
    """What has become of an upload: `waiting`, `done` with its image, or `refused` with the reason."""

    upload_id: str
    status: str
    reason: str | None
    image: Image | None


class Products(TypedDict):
    products: list[Product]
    cursor: str | None


# ---------------------------------------------------------------------- near-duplicates


class Lookalike(TypedDict):
    """A product whose picture differs from that of its group's first one in `distance` of 64 bits."""

    product_id: str
    title: str
    image_count: int
    cover_url: str | None
    distance: int


class Lookalikes(TypedDict):
    """A group of products whose pictures are the same or nearly; `product_count` is how many there are in all."""

    products: list[Lookalike]
    product_count: int


class Duplicates(TypedDict):
    groups: list[Lookalikes]
    compared: int
    cursor: str | None


# ---------------------------------------------------------------------- runs


class Progress(TypedDict):
    """How many of a run's products have come to an end."""

    done: int
    total: int


class LedgerSum(TypedDict):
    """What a run has bought of one provider: attempts by how they ended."""

    provider: str
    cost_usd: float
    unknown_usd: float
    work_seconds: float
    attempts: int
    succeeded: int
    failed: int
    blocked: int
    unknown: int
    open: int


class Run(TypedDict):
    """A run; `work_seconds` is what the providers worked for it, `problems` are the first twenty."""

    run_id: str
    name: str
    kind: str
    retry_of: str | None
    status: str
    options: dict[str, Any]
    started_by: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    counts: dict[str, int]
    images_generated: int
    images_reused: int
    cost_usd: float
    unknown_usd: float
    work_seconds: float
    saved_usd: float
    saved_work_seconds: float
    reason: str | None
    stopping: str | None
    note: str | None
    progress: Progress | None
    problems: list[dict[str, Any]]
    ledger: list[LedgerSum]
    plan: dict[str, Any] | None


class StoreCounts(TypedDict):
    """What became of a run's products and their images in one store; `throttled` is how often the shop said wait."""

    published: int
    unchanged: int
    taken_out: int
    failed: int
    not_mapped: int
    without_images: int
    removed: int
    not_reached: int
    images_added: int
    images_removed: int
    images_generated: int
    images_reused: int
    throttled: int


class RunInStore(StoreCounts):
    """How far a run is with one store; `points` are those of Shopify's rate limit."""

    store_id: str
    done: bool
    reason: str | None
    points: float
    saved_usd: float
    problems: list[dict[str, Any]]


class RunPage(Run):
    """A run with what it has done in each store; `phase` is `publishing` when that is all that is left."""

    phase: str | None
    stores: list[RunInStore]


class Runs(TypedDict):
    runs: list[Run]
    cursor: str | None


class PresignedPost(TypedDict):
    """Where to send a file as a form: the fields first, the file last, named `file`."""

    url: str
    fields: dict[str, str]


class AwaitedRun(TypedDict):
    """A run that starts once its scrape is uploaded."""

    run: Run
    upload: PresignedPost


class Item(TypedDict):
    """What became of one product of a run; `index` is its place in the scrape."""

    index: int
    product_id: str
    title: str
    status: str
    images_generated: int
    images_reused: int
    cost_usd: float
    reason: str


class Items(TypedDict):
    items: list[Item]
    cursor: str | None


class PaidAttempt(TypedDict):
    """An entry of the ledger; `at_most_usd` is what one may have cost of which nobody knows."""

    product_id: str
    variant: int
    provider: str
    status: str
    job_id: str | None
    created_at: str
    cost_usd: float
    at_most_usd: float | None
    work_seconds: float
    usage: str | None
    model_version: str | None
    image_id: str | None
    reason: str | None


class Ledger(TypedDict):
    entries: list[PaidAttempt]
    cursor: str | None


# ---------------------------------------------------------------------- stores


class Store(TypedDict):
    """A store, never its credentials, of which `credentials` is the kind; `reuse_rate` is between 0 and 1."""

    store_id: str
    name: str
    domain: str
    credentials: str
    created_at: str
    updated_at: str
    published_at: str | None
    images_generated: int
    images_reused: int
    reuse_rate: float | None
    saved_usd: float
    saved_work_seconds: float


class Stores(TypedDict):
    stores: list[Store]


class StoreTest(TypedDict):
    """Whether a store can be published to: what its credentials may do, and what they lack."""

    ok: bool
    shop: str
    scopes: list[str]
    missing: list[str]
    reason: str


class StoreUsage(TypedDict):
    store: Store
    usages: list[Usage]
    cursor: str | None


class Matches(TypedDict):
    """How many products a match found, by what, and where they are as a mapping (CSV)."""

    matched: int
    ambiguous: int
    not_found: int
    mapped_before: int
    by: dict[Literal["sku", "barcode", "handle"], int]
    url: str


# ---------------------------------------------------------------------- model photos, methods, signing in


class ModelPhoto(TypedDict):
    """A person to try garments on; pixels, 0 if it was not put there by Lookbook."""

    name: str
    width: int
    height: int
    bytes: int
    url: str


class ModelPhotos(TypedDict):
    models: list[ModelPhoto]


class Method(TypedDict):
    """A way to make an image; `basis` is how its price and time are known."""

    method: str
    about: str
    licence: str
    usd_per_image: float
    seconds_per_image: float
    basis: str


class ReadyMethod(Method):
    """A way to make an image, whether it can be used, and what there is to know."""

    ready: bool
    notices: list[str]


class Methods(TypedDict):
    methods: list[ReadyMethod]
    prices_as_of: str


class SignIn(TypedDict):
    """Where to sign in: the region and the app client of the Cognito user pool."""

    region: str
    client_id: str


# ---------------------------------------------------------------------- Hotmart


class HotmartCounts(TypedDict):
    """What a sync found: each listed product is added, changed, unchanged or skipped.

    `deleted` are no longer at Hotmart. Of those `without_image`, the `given_up` get no cover by themselves any more.
    """

    listed: int
    added: int
    changed: int
    unchanged: int
    skipped: int
    deleted: int
    without_image: int
    given_up: int


class HotmartStatus(TypedDict):
    """How the newest sync stands (`never`, `running`, `succeeded`, `failed`), and the run it started for covers.

    `configured` is whether there were credentials when somebody last looked, null if nobody has.
    """

    configured: bool | None
    status: str
    sync_id: str | None
    started_at: str | None
    finished_at: str | None
    next_at: str | None
    error: str | None
    counts: HotmartCounts
    run_id: str | None
    run_status: str | None
    schedule: str
