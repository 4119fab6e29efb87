"""Covers by hand: a person uploads an image, goes back to an earlier one, hides one, rates one. Nothing is ever lost.

Each is one transaction on product, image and history, done again when someone else was faster: see history.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynamodb.transactions import TransactWrite

from lookbook import aws, history, library
from lookbook.errors import ConflictError, NotFoundError
from lookbook.tables import PRODUCT, UPLOAD, Fingerprint, HistoryEntry, Image, Product, connection
from lookbook.times import iso

if TYPE_CHECKING:
    from datetime import datetime

    from pynamodb.expressions.condition import Condition

    from lookbook.imaging import Picture

# An upload is the product's first image: the one that a cover is.
COVER_VARIANT = 1
LICENCE = "as its uploader says"
# How far back an earlier cover is looked for when the present one is hidden.
MOST_ENTRIES = 50
MOST_FOUND = 2


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, and when."""

    actor: str
    now: datetime


def upload(product_id: str, picture: Picture, bucket: str, act: Act, *, tail: str = "") -> Image:
    """Make a picture, which has been checked and normalised, the product's cover. Returns its image.

    With a `tail`, which stands for one upload, it may be repeated. Raises NotFoundError, ConflictError.
    """
    library.must_have(product_id)
    aws.put_once(bucket, library.image_key(picture.sha256), picture.data, "image/jpeg")
    return history.repeat(lambda: _upload(product_id, picture, act, tail))


def _upload(product_id: str, picture: Picture, act: Act, tail: str) -> Image:
    product, images = _read(product_id)
    moment = iso(act.now)
    image = next((each for each in images if each.image_id == picture.sha256), None)
    if tail and image is not None and history.has(product_id, history.entry_id(moment, tail)):
        return image  # it was written, and whoever did it died before they could say so
    # What was asked for at one moment keeps its place in history when it is repeated.
    entry = _entry(product, "uploaded", picture.sha256, act, requested_at=moment if tail else "", tail=tail)
    entry.method = UPLOAD
    with TransactWrite(connection=connection()) as transaction:
        if image is None:
            image = Image(
                product_id=product_id,
                sort_key=f"image#{picture.sha256}",
                image_id=picture.sha256,
                variant=COVER_VARIANT,
                method=UPLOAD,
                model_photo="",
                model_version="",
                licence=LICENCE,
                reuse_key="",
                width=picture.width,
                height=picture.height,
                size=len(picture.data),
                cost_microusd=0,
                work_ms=0,
                created_at=moment,
            )
            transaction.save(image, condition=Image.product_id.does_not_exist())
            transaction.update(
                Fingerprint(*library.fingerprint_key(picture.sha256)),
                actions=[Fingerprint.kind.set(Fingerprint), Fingerprint.used_by.add({product_id})],
            )
        elif image.hidden_at:
            image.hidden_at = image.hidden_by = None
            transaction.update(image, actions=_shown(), condition=Image.image_id.exists())
        variant = {int(image.variant)}
        actions: list[Any] = [Product.variants.add(variant), Product.hidden_variants.delete(variant)]
        _change_cover(transaction, product, entry, act, *actions)
    return image


def activate(product_id: str, image_id: str, act: Act) -> Product:
    """Make an image that the product has its cover; one that was hidden is shown again. Returns the product.

    Nothing happens if it is the cover already. Raises NotFoundError, ConflictError.
    """

    def change() -> None:
        product, images = _read(product_id)
        image = _find(images, product_id, image_id)
        if product.cover_image_id == image_id and not image.hidden_at:
            return
        entry = _entry(product, "reverted", image_id, act)
        entry.method, entry.prompt = image.method, image.prompt
        with TransactWrite(connection=connection()) as transaction:
            # Also if it was not hidden: it may have been taken out meanwhile, as a provider's placeholder.
            transaction.update(image, actions=_shown(), condition=Image.image_id.exists())
            shown = Product.hidden_variants.delete({int(image.variant)})
            _change_cover(transaction, product, entry, act, shown)

    history.repeat(change)
    return library.must_have(product_id, consistent=True)


def hide(product_id: str, image_id: str, act: Act) -> Image:
    """Show an image nowhere any more; its bytes, its slot and its history stay. Returns it.

    If it is the cover, the one before it that is not hidden takes its place. Raises NotFoundError, ConflictError.
    """

    def change() -> Image:
        product, images = _read(product_id)
        image = _find(images, product_id, image_id)
        if image.hidden_at:
            return image
        image.hidden_at, image.hidden_by = iso(act.now), act.actor
        actions: list[Any] = [Image.hidden_at.set(image.hidden_at), Image.hidden_by.set(act.actor)]
        left = any(each.variant == image.variant and not each.hidden_at for each in images)
        gone: list[Any] = [] if left else [Product.hidden_variants.add({int(image.variant)})]
        with TransactWrite(connection=connection()) as transaction:
            transaction.update(image, actions=actions, condition=Image.image_id.exists())
            if product.cover_image_id != image_id:
                _touch(transaction, product, act, *gone)
                return image
            before = _cover_before(product_id, [each for each in images if each.image_id != image_id])
            entry = _entry(product, "hidden", before.image_id if before else None, act)
            entry.method, entry.hidden_image_id = before.method if before else None, image_id
            if before is not None:
                transaction.update(before, actions=_shown(), condition=Image.image_id.exists())
            _change_cover(transaction, product, entry, act, *gone)
        return image

    return history.repeat(change)


def rate(product_id: str, image_id: str, stars: int, act: Act) -> Image:
    """Give an image 1 to 5 stars; stores show the best rated first. Returns it. Raises NotFoundError, ConflictError."""

    def change() -> Image:
        product, images = _read(product_id)
        image = _find(images, product_id, image_id)
        if image.stars != stars:
            image.stars = stars
            with TransactWrite(connection=connection()) as transaction:
                transaction.update(image, actions=[Image.stars.set(stars)], condition=Image.image_id.exists())
                _touch(transaction, product, act)
        return image

    return history.repeat(change)


def which(start: str) -> tuple[str, list[str]]:
    """Return the one image whose id begins so (8 digits or more), and the products that have it.

    Raises NotFoundError, and ConflictError if there are several.
    """
    partition, _ = library.fingerprint_key(start)
    found: Any = Fingerprint.query(partition, Fingerprint.sort_key.startswith(start), limit=MOST_FOUND)
    match list(found):
        case []:
            raise NotFoundError(f"The library has no image {start}.")
        case [one]:
            return str(one.sort_key), sorted(one.used_by or ())
    raise ConflictError(f"Several images have ids that begin with {start}; give more of it.")


def _read(product_id: str) -> tuple[Product, list[Image]]:
    product, images = library.product_page(product_id, consistent=True)
    if product is None:
        raise NotFoundError(f"The library has no product {product_id}.")
    return product, images


def _find(images: list[Image], product_id: str, image_id: str) -> Image:
    for image in images:
        if image.image_id == image_id:
            return image
    raise NotFoundError(f"The product {product_id} has no image {image_id}.")


def _entry(
    product: Product, action: str, image_id: str | None, act: Act, *, requested_at: str = "", tail: str = ""
) -> HistoryEntry:
    moment = requested_at or history.no_sooner(product, iso(act.now))
    return HistoryEntry(
        product_id=product.product_id,
        entry_id=history.entry_id(moment, tail),
        action=action,
        image_id=image_id,
        actor=act.actor,
        created_at=iso(act.now),
    )


def _change_cover(transaction: TransactWrite, product: Product, entry: HistoryEntry, act: Act, *more: Any) -> None:
    """Add an entry to history and, if it is the newest, make its image the cover."""
    _touch(transaction, product, act, *more, *(history.set_cover(entry) if history.wins(product, entry) else ()))
    transaction.save(entry, condition=HistoryEntry.entry_id.does_not_exist())


def _touch(transaction: TransactWrite, product: Product, act: Act, *more: Any) -> None:
    """Let the stores know that the product's pictures have changed."""
    transaction.update(
        Product(product.product_id, PRODUCT),
        actions=[Product.updated_at.set(iso(act.now)), *more],
        condition=_as_read(product),
    )


def _as_read(product: Product) -> Condition:
    """Return the condition that neither the cover nor what is shown has changed since the product was read."""
    condition: Condition = history.unchanged(product) & (Product.updated_at == product.updated_at)
    return condition


def _shown() -> list[Any]:
    return [Image.hidden_at.remove(), Image.hidden_by.remove()]


def _cover_before(product_id: str, others: list[Image]) -> Image | None:
    """Return the image of history's newest entry that is left and shown; else any that is."""
    shown = {str(image.image_id): image for image in others if not image.hidden_at}
    for entry in history.page(product_id, MOST_ENTRIES):
        if entry.image_id in shown:
            return shown[entry.image_id]
    return next(iter(shown.values()), None)
