"""Near-duplicates: products whose source pictures are the same or nearly, as an offer; nothing is merged."""

from __future__ import annotations

from lookbook import aws, duplicates, library, shapes
from lookbook.api import cursor as cursors
from lookbook.api.config import settings
from lookbook.api.http import Router
from lookbook.api.parameters import Cursor, Limit
from lookbook.api.products import URL_SECONDS
from lookbook.duplicates import Member, SourcePicture
from lookbook.errors import InputError
from lookbook.tables import ALL_PRODUCTS, Product

router = Router()

# Of a group, so many with images are shown and so many without: an answer may have 6 MB, and a link has 1.5 KB of it.
MOST_SHOWN = 10


@router.get("/api/duplicates", summary="List near-duplicates", tags=["products"])
def list_duplicates(limit: Limit = 20, cursor: Cursor = None) -> shapes.Duplicates:
    """Groups of products whose source pictures are the same or nearly; first those where images could be shared.

    These are groups in which some product has images and another has none. Then larger groups come first. A group's
    first product is one with images, if any has; `distance` is in how many of 64 bits another's picture differs from
    that one's. A group shows at most ten products with images and ten without; `product_count` counts them all.

    Each page compares all pictures anew. For 100,000 products of 600 bytes that is 60 MB of an index, in 60 calls one
    after the other: 7,500 read units, 0.1 US cents, 250 MB of memory and, on one whole processor, some 15 of the 29
    seconds there are.
    """
    start = _position(cursor)
    known = _known()
    found = sorted((_rank(group, known), group) for group in _groups(known))
    left = [(rank, group) for rank, group in found if start is None or rank > start]
    page = left[:limit]
    return {
        "groups": [_show(group, known) for _, group in page],
        "compared": len(known),
        "cursor": cursors.encode(page[-1][0] if len(left) > limit else None),
    }


# Whether nothing could be shared, minus the size, the first product's id: what groups are sorted by.
Rank = tuple[bool, int, str]


def _position(cursor: str | None) -> Rank | None:
    """Return the rank of the group after which the page starts: the groups themselves may change between two pages."""
    match cursors.decode(cursor):
        case None:
            return None
        case [bool() as useless, int() as size, str() as product_id]:
            return useless, size, product_id
    raise InputError(cursors.FORGED)


def _known() -> dict[str, Product]:
    """Return the products whose picture is known, those with images first."""
    found = [each for each in Product.by_picture.query(ALL_PRODUCTS) if isinstance(each, Product) and each.source_seen]
    found.sort(key=lambda product: (not product.variants, product.product_id))
    return {product.product_id: product for product in found}


def _groups(known: dict[str, Product]) -> list[list[Member]]:
    return duplicates.groups(
        SourcePicture(product_id, str(product.source_seen).partition(" ")[0], str(product.source_dhash))
        for product_id, product in known.items()
    )


def _rank(group: list[Member], known: dict[str, Product]) -> Rank:
    first, last = known[group[0].product_id], known[group[-1].product_id]
    shareable = bool(first.variants) and not last.variants
    return not shareable, -len(group), first.product_id


def _show(group: list[Member], known: dict[str, Product]) -> shapes.Lookalikes:
    having = [member for member in group if known[member.product_id].variants]
    lacking = group[len(having) :]
    shown = having[:MOST_SHOWN] + lacking[:MOST_SHOWN]
    return {
        "products": [_show_member(member, known[member.product_id]) for member in shown],
        "product_count": len(group),
    }


def _show_member(member: Member, product: Product) -> shapes.Lookalike:
    return {
        "product_id": product.product_id,
        "title": product.title,
        "image_count": len(library.shown_variants(product)),
        "cover_url": _url(product.cover_image_id) if product.cover_image_id else None,
        "distance": member.distance,
    }


def _url(image_id: str) -> str:
    told = settings()
    where = {"Bucket": told.bucket, "Key": library.image_key(image_id)}
    return aws.s3().generate_presigned_url("get_object", Params=where, ExpiresIn=URL_SECONDS)
