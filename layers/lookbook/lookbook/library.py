"""Products and their images in the Library table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook import search
from lookbook.errors import ConflictError, NotFoundError
from lookbook.tables import (
    ALL_PRODUCTS,
    CONDITION_FAILED,
    MOST_CONFLICTS,
    NOTES,
    PRODUCT,
    Image,
    LibraryItem,
    Note,
    Product,
    Usage,
    pause,
)
from lookbook.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

    from lookbook.state import Item

# A claim is kept short and renewed while the product is at work, so that a dead run holds up others for a moment only.
# Losing one costs no money: the ledger, not the claim, keeps work from being paid for twice.
CLAIM_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Holding:
    """What the library has of a product: filled variants, and what they once cost."""

    variants: frozenset[int]
    cost_microusd: int
    work_ms: int

    def covers(self, variants: int) -> bool:
        return self.variants.issuperset(range(1, variants + 1))


def look_up(product_ids: Iterable[str], *, consistent: bool = False) -> dict[str, Holding]:
    """Return what the library holds of these products; those it does not know are left out.

    One call and at most 100 reads per 100 ids, eventually consistent unless asked otherwise: a product that is just
    being saved may be missed. Check, which decides, reads consistently.
    """
    fields = ["product_id", "sort_key", "kind", "variants", "images_cost_microusd", "images_work_ms"]
    keys = [(product_id, PRODUCT) for product_id in product_ids]
    found = Product.batch_get(keys, consistent_read=consistent, attributes_to_get=fields)
    return {product.product_id: holding(product) for product in found}


def holding(product: Product) -> Holding:
    return Holding(
        frozenset(int(variant) for variant in product.variants or ()),
        int(product.images_cost_microusd or 0),
        int(product.images_work_ms or 0),
    )


def claim(item: Item, run_id: str, variants: int, now: datetime, *, reuse: bool = True) -> Product | None:
    """Take the right to generate a product's missing images: one conditional write that also decides.

    Returns the product as it now is, or None if there is nothing to claim: all variants are there, or another run
    holds the claim. The product is created if the library does not know it. Without reuse the claim is taken if it is
    free, so that others wait for the new pictures, and else done without: new pictures are of this run alone, and
    those of several runs may be made side by side.
    """
    free = (
        Product.claimed_by.does_not_exist()
        | (Product.claimed_by == run_id)
        | (Product.claim_expires_at < now.timestamp())
    )
    hold: list[Action] = [Product.claimed_by.set(run_id), Product.claim_expires_at.set(now.timestamp() + CLAIM_SECONDS)]
    if reuse:
        return _keep(item, now, hold, free & _lacks_any(variants), renew=True)
    claimed = _keep(item, now, hold, free, renew=False)
    return claimed if claimed is not None else _keep(item, now, [], None, renew=False)


def _keep(item: Item, now: datetime, hold: list[Action], condition: Condition | None, *, renew: bool) -> Product | None:
    """Write down what a run knows of a product; `renew` what the library knows already, too. None if refused."""
    moment = iso(now)
    told = (
        (Product.title, item.title),
        (Product.category, item.category),
        (Product.source, item.source),
        (Product.source_url, item.image_url),
    )
    product = Product(item.product_id, PRODUCT)
    try:
        product.update(
            actions=[
                Product.kind.set(Product),
                *(column.set(value if renew else column | value) for column, value in told),
                Product.listing.set(ALL_PRODUCTS),
                Product.created_at.set(Product.created_at | moment),
                Product.updated_at.set(Product.updated_at | moment),
                Product.images_cost_microusd.set(Product.images_cost_microusd | 0),
                Product.images_work_ms.set(Product.images_work_ms | 0),
                *hold,
            ],
            condition=condition,
        )
    except UpdateError as error:
        if error.cause_response_code == CONDITION_FAILED:
            return None
        raise
    return product


def _lacks_any(variants: int) -> Condition:
    lacking = Product.variants.does_not_exist()
    for variant in range(1, variants + 1):
        lacking |= ~Product.variants.contains(variant)
    return lacking


def set_tags(product_id: str, tags: list[str]) -> Product:
    """Give a product these tags and no others. Returns it; raises NotFoundError."""
    return change_tags(product_id, lambda _: tags)


def change_tags(product_id: str, change: Callable[[list[str]], list[str]]) -> Product:
    """Change a product's tags, from what they are when they are written. Returns it; raises NotFoundError."""
    for _ in range(MOST_CONFLICTS):
        product = must_have(product_id, consistent=True)
        tags: Any = Product.tags
        same = tags.does_not_exist() if product.tags is None else tags == product.tags
        try:
            product.update([Product.tags.set(change([str(tag) for tag in product.tags or ()]))], condition=same)
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
            pause()  # somebody else was faster, and theirs are to stay too
        else:
            search.keep(product)
            return product
    raise ConflictError("Others are changing this product at the same moment. Try it again.")


def renew(product_id: str, run_id: str, until: float) -> None:
    """Hold on to a claim until then (epoch seconds); without effect if another run has taken it over."""
    _if_claimed(product_id, run_id, [Product.claim_expires_at.set(until)])


def remember_source(product_id: str, sha256: str, dhash: str, url: str) -> None:
    """Keep which picture a product's images are made from."""
    try:
        Product(product_id, PRODUCT).update(
            [Product.source_seen.set(f"{sha256} {url}"), Product.source_dhash.set(dhash)],
            condition=Product.product_id.exists(),
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        raise NotFoundError(f"Product {product_id} is not in the library.") from error


def release(product_id: str, run_id: str) -> None:
    """Give a claim up, if this run still holds it."""
    _if_claimed(product_id, run_id, [Product.claimed_by.remove(), Product.claim_expires_at.remove()])


def _if_claimed(product_id: str, run_id: str, actions: list[Action]) -> None:
    try:
        Product(product_id, PRODUCT).update(actions=actions, condition=Product.claimed_by == run_id)
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise


def must_have(product_id: str, *, consistent: bool = False) -> Product:
    """Return a product, or raise NotFoundError."""
    product = get_product(product_id, consistent=consistent)
    if product is None:
        raise NotFoundError(f"The library has no product {product_id}.")
    return product


def shown_variants(product: Product) -> list[int]:
    """Return the slots that hold an image that is not hidden, in their order."""
    return sorted(int(each) for each in (product.variants or set()) - (product.hidden_variants or set()))


def get_product(product_id: str, *, consistent: bool = False) -> Product | None:
    try:
        return Product.get(product_id, PRODUCT, consistent_read=consistent)
    except DoesNotExist:
        return None


@dataclass(frozen=True, slots=True)
class Page:
    """All there is of a product: its images by variant then age, its usages by store, its notes newest first.

    `more_notes`: there are so many notes that none is here; notes.page lists them.
    """

    product: Product
    images: list[Image]
    usages: list[Usage]
    notes: list[Note]
    more_notes: bool


def product_page(product_id: str, *, consistent: bool = False) -> tuple[Product | None, list[Image]]:
    """Return a product and its images, by variant then age, in one Query that leaves the notes alone."""
    return product_page_with_usages(product_id, consistent=consistent)[:2]


def product_page_with_usages(
    product_id: str, *, consistent: bool = False
) -> tuple[Product | None, list[Image], list[Usage]]:
    """Return a product, its images, by variant then age, and its usages, by store, in one Query without the notes."""
    return _page(list(LibraryItem.query(product_id, LibraryItem.sort_key < NOTES, consistent_read=consistent)))


def whole_page(product_id: str) -> Page:
    """Return all of a product in one Query, of one page up to 1 MB: notes come last. Raises NotFoundError."""
    pages: Any = LibraryItem.query(product_id).page_iter
    items: list[LibraryItem] = []
    for page in pages:
        items += [LibraryItem.from_raw_data(raw) for raw in page["Items"]]
        last = pages.last_evaluated_key
        if last is None or last["sort_key"]["S"].startswith(NOTES):
            break  # all but notes are there; a product with a megabyte of images takes another page
    product, images, usages = _page(items)
    if product is None:
        raise NotFoundError(f"The library has no product {product_id}.")
    notes = [item for item in items if isinstance(item, Note) and not item.deleted_at]
    if pages.last_evaluated_key is not None:  # there is a megabyte of them, and those that were read are the oldest
        notes = []
    return Page(product, images, usages, notes[::-1], more_notes=pages.last_evaluated_key is not None)


def _page(items: list[LibraryItem]) -> tuple[Product | None, list[Image], list[Usage]]:
    product = next((item for item in items if isinstance(item, Product)), None)
    images = [item for item in items if isinstance(item, Image)]
    usages = [item for item in items if isinstance(item, Usage)]
    return product, sorted(images, key=lambda image: (image.variant, image.created_at)), usages


def best_images(images: Iterable[Image], cover_image_id: str | None = None) -> list[Image]:
    """Return the image to show of each variant, best rated first, then the cover, then by variant.

    Of several images of a variant that is the cover, else the best rated, then the newest. Hidden ones are not shown.
    """

    def worth(image: Image) -> tuple[bool, int, str]:
        return image.image_id == cover_image_id, int(image.stars or 0), str(image.created_at)

    best: dict[int, Image] = {}
    for image in images:
        other = best.get(int(image.variant))
        if not image.hidden_at and (other is None or worth(image) > worth(other)):
            best[int(image.variant)] = image

    def place(image: Image) -> tuple[int, bool, int]:
        return -int(image.stars or 0), image.image_id != cover_image_id, int(image.variant)

    return sorted(best.values(), key=place)


def fingerprint_key(image_id: str) -> tuple[str, str]:
    """Return the key of an image's fingerprint: those whose ids begin alike are found by one Query."""
    return f"bytes#{image_id[:3]}", image_id


def image_key(image_id: str) -> str:
    return f"images/{image_id}.jpg"
