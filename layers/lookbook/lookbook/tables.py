"""The three DynamoDB tables as PynamoDB models. docs/decisions.md draws their layout.

Money is whole micro-dollars and time whole milliseconds, so that sums are exact. Table names are bound by `bind`,
when a function starts, never at import.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from pynamodb.attributes import (
    BooleanAttribute,
    DiscriminatorAttribute,
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    NumberSetAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.connection import Connection
from pynamodb.exceptions import UpdateError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

from lookbook import aws

if TYPE_CHECKING:
    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

    from lookbook.settings import Settings

PRODUCT = "product"
RUN = "run"
ALL_PRODUCTS = "products"
ALL_RUNS = "runs"
# What pynamodb tells as the cause of an error when a write's condition did not hold.
CONDITION_FAILED = "ConditionalCheckFailedException"
ALL_STORES = "all#stores"  # no product's id: those have no #
UPLOAD = "upload"  # an image's method
HOTMART = "all#hotmart"
NOTES = "~note#"  # after all else of a product, so that who needs no notes can leave them unread


class _Meta:
    """Shared by all tables. botocore repeats a call whose answer was lost; a write under a condition must mind that."""

    table_name = "unbound"
    connect_timeout_seconds = 3
    read_timeout_seconds = 10
    max_retry_attempts = 3
    base_backoff_ms = 50


# An index has what its lists show, so that what changes often (claims) or is long (descriptions) is not written there.
LISTED = ["kind", "title", "category", "cover_image_id", "variants", "hidden_variants", "tags", "created_at"]


class ProductsBySource(GlobalSecondaryIndex["LibraryItem"]):
    class Meta:
        index_name = "products_by_source"
        projection = IncludeProjection([*LISTED, "source_status", "source_deleted_at"])

    source = UnicodeAttribute(hash_key=True)
    updated_at = UnicodeAttribute(range_key=True)


class ProductsByTime(GlobalSecondaryIndex["LibraryItem"]):
    class Meta:
        index_name = "products_by_time"
        projection = IncludeProjection([*LISTED, "source"])

    listing = UnicodeAttribute(hash_key=True)
    updated_at = UnicodeAttribute(range_key=True)


class ProductsByPicture(GlobalSecondaryIndex["LibraryItem"]):
    """Sparse: only products whose picture has been seen."""

    class Meta:
        index_name = "products_by_picture"
        projection = IncludeProjection(
            ["kind", "title", "source_seen", "variants", "hidden_variants", "cover_image_id"]
        )

    listing = UnicodeAttribute(hash_key=True)
    source_dhash = UnicodeAttribute(range_key=True)


class UsagesByStore(GlobalSecondaryIndex["LibraryItem"]):
    """Sparse: only usages have a store_id."""

    class Meta:
        index_name = "usages_by_store"
        projection = AllProjection()

    store_id = UnicodeAttribute(hash_key=True)
    product_id = UnicodeAttribute(range_key=True)


# AWS refuses a plain update of an item while a transaction is at it, and botocore does not repeat that.
IN_TRANSACTION = "TransactionConflictException"
MOST_CONFLICTS = 8


def pause() -> None:
    """Wait a moment, so that those who collided do not collide again."""
    time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - only to spread them


def _update(item: Model, actions: list[Action], condition: Condition | None) -> Any:
    for _ in range(MOST_CONFLICTS):
        try:
            return Model.update(item, actions, condition=condition)
        except UpdateError as error:
            if error.cause_response_code != IN_TRANSACTION:
                raise
            pause()
    return Model.update(item, actions, condition=condition)


class LibraryItem(Model):
    """One item of a product's collection: the product itself, its images, usages and notes, together one Query."""

    class Meta(_Meta):
        pass

    product_id = UnicodeAttribute(hash_key=True)
    sort_key = UnicodeAttribute(range_key=True)
    kind = DiscriminatorAttribute()

    by_source = ProductsBySource()
    by_time = ProductsByTime()
    by_picture = ProductsByPicture()
    by_store = UsagesByStore()

    def update(self, actions: list[Action], condition: Condition | None = None) -> Any:  # type: ignore[override]  # settings are not used
        """Change the item, and read it back; again, a few times, while a transaction is at it."""
        return _update(self, actions, condition)


class Product(LibraryItem, discriminator="product"):
    """`variants` is the set of slots that hold an image: the one fact that decides reuse.

    Those of which all images are hidden are `hidden_variants`, too: nobody wants to pay for them again.

    `source_seen` is `<sha256> <url>` of the picture it is made from, so that paid work is found again without it;
    `source_dhash` is the same picture's difference hash, by which near-duplicates are found. `cover_entry_id` is the
    history entry that the cover comes from. `words` are those under which search.py has it.

    Of a Hotmart product `source_status` is what Hotmart says of it, `locale` what its texts are written in,
    `source_change` which sync wrote it last and whether it was new then, `cover_run_id` the last run that was to make
    its cover by itself, and `cover_tries` how many such runs failed.
    """

    sort_key = UnicodeAttribute(range_key=True, default=PRODUCT)
    title = UnicodeAttribute()
    category = UnicodeAttribute()
    source = UnicodeAttribute()
    source_url = UnicodeAttribute()
    source_seen = UnicodeAttribute(null=True)
    source_dhash = UnicodeAttribute(null=True)
    listing = UnicodeAttribute(default=ALL_PRODUCTS)
    created_at = UnicodeAttribute()
    updated_at = UnicodeAttribute()
    variants = NumberSetAttribute(null=True)
    hidden_variants = NumberSetAttribute(null=True)
    cover_image_id = UnicodeAttribute(null=True)
    cover_entry_id = UnicodeAttribute(null=True)
    description = UnicodeAttribute(null=True)
    price = UnicodeAttribute(null=True)
    tags: JSONAttribute = JSONAttribute(null=True)
    words = UnicodeSetAttribute(null=True)
    source_status = UnicodeAttribute(null=True)
    source_deleted_at = UnicodeAttribute(null=True)
    source_change = UnicodeAttribute(null=True)
    locale = UnicodeAttribute(null=True)
    cover_run_id = UnicodeAttribute(null=True)
    cover_tries = NumberAttribute(default=0)
    images_cost_microusd = NumberAttribute(default=0)
    images_work_ms = NumberAttribute(default=0)
    claimed_by = UnicodeAttribute(null=True)
    claim_expires_at = NumberAttribute(null=True)


class Image(LibraryItem, discriminator="image"):
    """An image in its product; `sort_key` is image#<image_id>, its bytes are S3's images/<image_id>.jpg.

    One that was hidden is shown nowhere, keeps its slot, and comes back when it is made the cover again.
    """

    image_id = UnicodeAttribute()
    variant = NumberAttribute()
    method = UnicodeAttribute()
    model_photo = UnicodeAttribute()
    model_version = UnicodeAttribute()
    licence = UnicodeAttribute()
    reuse_key = UnicodeAttribute()
    width = NumberAttribute()
    height = NumberAttribute()
    size = NumberAttribute()
    run_id = UnicodeAttribute(null=True)
    prompt = UnicodeAttribute(null=True)
    stars = NumberAttribute(null=True)
    hidden_at = UnicodeAttribute(null=True)
    hidden_by = UnicodeAttribute(null=True)
    cost_microusd = NumberAttribute()
    work_ms = NumberAttribute()
    created_at = UnicodeAttribute()


class Note(LibraryItem, discriminator="note"):
    """A text on a product; `sort_key` is ~note#<note_id>, which sorts by time. `text` is as it was typed.

    One that was deleted is shown nowhere.
    """

    text = UnicodeAttribute()
    author = UnicodeAttribute()
    created_at = UnicodeAttribute()
    edited_at = UnicodeAttribute(null=True)
    edited_by = UnicodeAttribute(null=True)
    deleted_at = UnicodeAttribute(null=True)
    deleted_by = UnicodeAttribute(null=True)


class Usage(LibraryItem, discriminator="usage"):
    """A product in a store: which product of the shop it is there, and which images are live; store#<store_id>.

    `status` is `mapped`, `live`, `failed`, `unpublished`, or `removed` (the shop has no such product any more).
    `media` lists `{image_id, media_id, since}` in the order in which they are wanted, `old_media` the ids of media that
    have to go. `library_seen` is the product's `updated_at` that the shop was last brought up to, `shop_updated_at` and
    `shop_media_count` are what the shop's product was then: as long as all three hold there is nothing to do.
    `shown` are all images that ever were there, and `domain` is the shop in which they are. `run_counts` is what the
    run `run_id` did here, for its counts should it have to do its last batch again.
    """

    store_id = UnicodeAttribute()
    shop_product_id = UnicodeAttribute()
    mapped_at = UnicodeAttribute()
    status = UnicodeAttribute(default="mapped")
    reason = UnicodeAttribute(null=True)
    media: JSONAttribute = JSONAttribute(null=True)
    old_media: JSONAttribute = JSONAttribute(null=True)
    shown: JSONAttribute = JSONAttribute(null=True)
    domain = UnicodeAttribute(null=True)
    alt = UnicodeAttribute(null=True)
    library_seen = UnicodeAttribute(null=True)
    shop_updated_at = UnicodeAttribute(null=True)
    shop_media_count = NumberAttribute(null=True)
    synced_at = UnicodeAttribute(null=True)
    run_id = UnicodeAttribute(null=True)
    run_counts: JSONAttribute = JSONAttribute(null=True)


class Store(LibraryItem, discriminator="store"):
    """A Shopify shop. Its `product_id` is all#stores, its `sort_key` store#<store_id>; its credentials are a secret.

    The counters are settled once for each run that published to it.
    """

    product_id = UnicodeAttribute(hash_key=True, default=ALL_STORES)
    name = UnicodeAttribute()
    domain = UnicodeAttribute()
    credentials = UnicodeAttribute()
    created_at = UnicodeAttribute()
    updated_at = UnicodeAttribute()
    published_at = UnicodeAttribute(null=True)
    images_generated = NumberAttribute(default=0)
    images_reused = NumberAttribute(default=0)
    saved_microusd = NumberAttribute(default=0)
    saved_work_ms = NumberAttribute(default=0)
    leased_by = UnicodeAttribute(null=True)
    leased_until = NumberAttribute(null=True)


class HotmartSync(LibraryItem, discriminator="hotmart_sync"):
    """The sync of the account's Hotmart products: one item, all#hotmart. See hotmart_sync.py.

    `page_token` is where a sync that was cut off goes on, `pages` how many pages are done, and `listed` says that these
    are all. `call` is the invocation that works on it, until `leased_until` (epoch seconds) at most. The counts are of
    the newest sync, and `problems` its first products that cannot be used. `scheduled_at` is when the schedule last
    began one, `configured` whether there were credentials when somebody last looked.
    """

    product_id = UnicodeAttribute(hash_key=True, default=HOTMART)
    sort_key = UnicodeAttribute(range_key=True, default="sync")
    sync_id = UnicodeAttribute()
    status = UnicodeAttribute()
    started_at = UnicodeAttribute()
    started_by = UnicodeAttribute()
    finished_at = UnicodeAttribute(null=True)
    error = UnicodeAttribute(null=True)
    scheduled_at = UnicodeAttribute(null=True)
    configured = BooleanAttribute(null=True)
    page_token = UnicodeAttribute(null=True)
    pages = NumberAttribute(default=0)
    listed = BooleanAttribute(default=False)
    call = UnicodeAttribute(null=True)
    leased_until = NumberAttribute(null=True)
    run_id = UnicodeAttribute(null=True)
    counts: JSONAttribute = JSONAttribute(null=True)
    problems: JSONAttribute = JSONAttribute(null=True)


class SearchWord(LibraryItem, discriminator="word"):
    """A word of a product's title, id or tags: see search.py for its keys. `words` are all of the product's."""

    source = UnicodeAttribute()
    words = UnicodeSetAttribute()


class Fingerprint(LibraryItem, discriminator="fingerprint"):
    """Who made these bytes first, and which products have them.

    Its `product_id` is bytes#<the image id's first three digits>, its `sort_key` the image id, so that an image is
    found by the beginning of its id; see save.py on placeholders. An upload has no reuse key.
    """

    reuse_key = UnicodeAttribute(null=True)
    used_by = UnicodeSetAttribute()
    blocked = BooleanAttribute(default=False)


class HistoryEntry(Model):
    """One change of a product's cover: see history.py. `image_id` is the cover since, none if there is none.

    `entry_id` sorts by the time at which the change was asked for.
    """

    class Meta(_Meta):
        pass

    product_id = UnicodeAttribute(hash_key=True)
    entry_id = UnicodeAttribute(range_key=True)
    action = UnicodeAttribute()
    image_id = UnicodeAttribute(null=True)
    method = UnicodeAttribute(null=True)
    prompt = UnicodeAttribute(null=True)
    actor = UnicodeAttribute()
    run_id = UnicodeAttribute(null=True)
    hidden_image_id = UnicodeAttribute(null=True)
    created_at = UnicodeAttribute()


class RunsByTime(GlobalSecondaryIndex["RunsItem"]):
    class Meta:
        index_name = "runs_by_time"
        projection = AllProjection()

    listing = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class LedgerByRun(GlobalSecondaryIndex["RunsItem"]):
    class Meta:
        index_name = "ledger_by_run"
        projection = AllProjection()

    paid_by = UnicodeAttribute(hash_key=True)
    run_id = UnicodeAttribute(range_key=True)


class RunsItem(Model):
    class Meta(_Meta):
        pass

    run_id = UnicodeAttribute(hash_key=True)
    sort_key = UnicodeAttribute(range_key=True)
    kind = DiscriminatorAttribute()

    by_time = RunsByTime()
    by_run = LedgerByRun()

    def update(self, actions: list[Action], condition: Condition | None = None) -> Any:  # type: ignore[override]  # as above
        """Change the item, and read it back; again, a few times, while a transaction is at it."""
        return _update(self, actions, condition)


class Run(RunsItem, discriminator="run"):
    """A run. The counts of the plan are written by Ingest, the rest by Finish.

    `purpose` is one of those in runs.py; `phase` is `publishing` when all that is left is its stores. A retry is
    `retry_of` another run, and `fresh_for` the first of them.
    """

    sort_key = UnicodeAttribute(range_key=True, default=RUN)
    listing = UnicodeAttribute(default=ALL_RUNS)
    name = UnicodeAttribute()
    purpose = UnicodeAttribute(default="scrape")
    retry_of = UnicodeAttribute(null=True)
    fresh_for = UnicodeAttribute(null=True)
    status = UnicodeAttribute()
    options: JSONAttribute = JSONAttribute(null=True)
    started_by = UnicodeAttribute()
    created_at = UnicodeAttribute()
    started_at = UnicodeAttribute(null=True)
    finished_at = UnicodeAttribute(null=True)
    execution_arn = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    note = UnicodeAttribute(null=True)
    phase = UnicodeAttribute(null=True)
    passes_counted = NumberAttribute(default=0)
    products = NumberAttribute(default=0)
    duplicates = NumberAttribute(default=0)
    rejected = NumberAttribute(default=0)
    reused = NumberAttribute(default=0)
    planned_reused = NumberAttribute(default=0)
    to_do = NumberAttribute(default=0)
    planned = NumberAttribute(default=0)
    linked = NumberAttribute(default=0)
    generated = NumberAttribute(default=0)
    failed = NumberAttribute(default=0)
    blocked = NumberAttribute(default=0)
    deferred = NumberAttribute(default=0)
    over_budget = NumberAttribute(default=0)
    images_generated = NumberAttribute(default=0)
    images_reused = NumberAttribute(default=0)
    cost_microusd = NumberAttribute(default=0)
    work_ms = NumberAttribute(default=0)
    saved_microusd = NumberAttribute(default=0)
    saved_work_ms = NumberAttribute(default=0)
    stop_status = UnicodeAttribute(null=True)
    stop_reason = UnicodeAttribute(null=True)
    problems: JSONAttribute = JSONAttribute(null=True)
    ledger: JSONAttribute = JSONAttribute(null=True)
    plan: JSONAttribute = JSONAttribute(null=True)


class Outcome(RunsItem, discriminator="outcome"):
    """What became of one product that needed work; `sort_key` is item#<product_id>. Written by the state machine.

    `work` lists the reuse keys of what a plan would generate, apart by spaces. Of an outcome that Finish has corrected
    it says what it was, and how many images it lost.
    """

    status = UnicodeAttribute()
    reason = UnicodeAttribute()
    method = UnicodeAttribute(null=True)
    work = UnicodeAttribute(null=True)
    images_generated = NumberAttribute()
    images_reused = NumberAttribute()
    cost_microusd = NumberAttribute()
    work_ms = NumberAttribute()


class Publishing(RunsItem, discriminator="publishing"):
    """How far a run is with one store; `sort_key` is store#<store_id>. Written by Publish alone, a batch at a time.

    `offset` is where in the run's plan.jsonl the next batch begins, `cursor` where a match goes on. `finished_at` is
    set when the store is done, and `reason` then says why, if it could not be brought to its end. `call` is the newest
    call of Publish: an older one that is still running, though nobody waits for it any more, adds nothing.
    """

    store_id = UnicodeAttribute()
    offset = NumberAttribute(default=0)
    cursor = UnicodeAttribute(null=True)
    call = UnicodeAttribute(null=True)
    started_at = UnicodeAttribute()
    finished_at = UnicodeAttribute(null=True)
    settled_at = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    tries = NumberAttribute(default=0)
    published = NumberAttribute(default=0)
    unchanged = NumberAttribute(default=0)
    taken_out = NumberAttribute(default=0)
    failed = NumberAttribute(default=0)
    not_mapped = NumberAttribute(default=0)
    without_images = NumberAttribute(default=0)
    removed = NumberAttribute(default=0)
    not_reached = NumberAttribute(default=0)
    images_added = NumberAttribute(default=0)
    images_removed = NumberAttribute(default=0)
    images_generated = NumberAttribute(default=0)
    images_reused = NumberAttribute(default=0)
    saved_microusd = NumberAttribute(default=0)
    saved_work_ms = NumberAttribute(default=0)
    points = NumberAttribute(default=0)
    throttled = NumberAttribute(default=0)
    problems: JSONAttribute = JSONAttribute(null=True)


class LedgerEntry(RunsItem, discriminator="ledger"):
    """One paid attempt. Its `run_id` is work#<reuse_key>, its `sort_key` attempt#<number>; `paid_by` is the run.

    Keyed by the work and not by the run, so that whoever wants the same work finds it: see ledger.py.
    """

    paid_by = UnicodeAttribute()
    product_id = UnicodeAttribute()
    variant = NumberAttribute()
    provider = UnicodeAttribute()
    status = UnicodeAttribute()
    token = UnicodeAttribute()
    job_id = UnicodeAttribute(null=True)
    created_at = NumberAttribute()
    expires_at = NumberAttribute(null=True)
    reserved_microusd = NumberAttribute(default=0)
    final = BooleanAttribute(default=False)
    usage = UnicodeAttribute(null=True)
    staging_key = UnicodeAttribute(null=True)
    image_id = UnicodeAttribute(null=True)
    model_version = UnicodeAttribute(null=True)
    reason = UnicodeAttribute(null=True)
    cost_microusd = NumberAttribute(default=0)
    work_ms = NumberAttribute(default=0)


class Budget(RunsItem, discriminator="budget"):
    """What a run may still spend: see budget.py. Apart from the run, as every submission writes here."""

    sort_key = UnicodeAttribute(range_key=True, default="budget")
    open = UnicodeSetAttribute(null=True)
    committed_microusd = NumberAttribute(default=0)
    spent_microusd = NumberAttribute(default=0)
    unknown_microusd = NumberAttribute(default=0)
    stop_status = UnicodeAttribute(null=True)
    stop_reason = UnicodeAttribute(null=True)


class Lane(RunsItem, discriminator="lane"):
    """How many jobs a provider has of us, and when it takes the next: see lanes.py. Its `run_id` is lane#<provider>."""

    sort_key = UnicodeAttribute(range_key=True, default="lane")
    leases: MapAttribute[str, Any] = MapAttribute(default=dict)
    next_at = NumberAttribute(default=0)


class Rate(RunsItem, discriminator="rate"):
    """What a method's images have cost so far, to estimate by. Its `run_id` is rate#<method>#<model>#<price>."""

    sort_key = UnicodeAttribute(range_key=True, default="rate")
    images = NumberAttribute(default=0)
    cost_microusd = NumberAttribute(default=0)
    work_ms = NumberAttribute(default=0)


class ModelNotice(RunsItem, discriminator="notice"):
    """When a provider's model ends, as it said last. Its `run_id` is notice#<model>."""

    sort_key = UnicodeAttribute(range_key=True, default="notice")
    shutdown_date = UnicodeAttribute(null=True)
    checked_at = UnicodeAttribute()


class Upload(RunsItem, discriminator="upload"):
    """A picture on its way through S3. Its `run_id` is upload#<upload_id>, its status waiting, done or refused."""

    sort_key = UnicodeAttribute(range_key=True, default="upload")
    product_id = UnicodeAttribute()
    actor = UnicodeAttribute()
    status = UnicodeAttribute(default="waiting")
    reason = UnicodeAttribute(null=True)
    image_id = UnicodeAttribute(null=True)
    created_at = UnicodeAttribute()
    arrived_at = UnicodeAttribute(null=True)


def bind(settings: Settings) -> None:
    """Say which tables the models stand for; once per process, before any is used.

    PynamoDB makes a connection for every model class, and each a botocore client, 150 ms apiece at a cold start. The
    classes of a table find that of their base class; the tables share one client, and its session is boto3's.
    """
    names: dict[type[Any], str] = {
        LibraryItem: settings.library_table,
        HistoryEntry: settings.history_table,
        RunsItem: settings.runs_table,
    }
    for model, name in names.items():
        model.Meta.table_name = name
    shared = connection()
    shared._local.session = aws.session()  # noqa: SLF001 - it has no other way in
    for model in (HistoryEntry, RunsItem):
        table = model._get_connection()  # noqa: SLF001 - as above
        if table.connection is not shared:
            shared.add_meta_table(table.get_meta_table())
            table.connection = shared


def connection() -> Connection:
    """Return the connection that all tables share."""
    return LibraryItem._get_connection().connection  # noqa: SLF001 - as above
