"""Which of a shop's pictures are ours, and what it takes to have those that are wanted there: decided, not done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lookbook.shopify import Media

# Shopify names a file as its source was named, images/<sha256>.jpg, and tells two of one name apart by a UUID.
_OUR_FILE = re.compile(r"/([0-9a-f]{64})(?:_[0-9a-f-]{36})?\.jpe?g(?:\?|$)")
UNFINISHED = frozenset({"UPLOADED", "PROCESSING"})


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to be done with one product of a shop.

    `keep` are our pictures that stay (media ids by image id), `add` the images that are not there, in the order they
    are wanted in, `remove` our media that have to go. `busy`: pictures are being processed, which may be ours.
    """

    keep: dict[str, str]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    busy: bool


def place(
    wanted: Sequence[str],
    ours: Collection[str],
    known: Mapping[str, str],
    media: Sequence[Media],
    *,
    alt: str,
    since: str,
) -> Placement:
    """Compare a product's pictures in the shop with the images that are wanted there.

    `ours` are all image ids that may be there, `known` the image ids of the media that we put there, by media id. A
    picture of ours is also known by its file's name, so that one whose upload was never answered is found again; one
    that failed has no file, and is known by the alternative text that we give, and by its time: after `since`, when the
    product was mapped.
    """
    keep: dict[str, str] = {}
    remove: list[str] = []
    busy = False
    for each in media:
        image_id = known.get(each.media_id) or _image_in(each.url, ours)
        if (
            image_id is None
            and each.is_image
            and (each.status, each.alt) == ("FAILED", alt)
            and each.created_at > since
        ):
            remove.append(each.media_id)
        elif image_id is None:
            busy |= each.status in UNFINISHED and each.is_image
        elif image_id in wanted and image_id not in keep and each.status != "FAILED":
            keep[image_id] = each.media_id
        else:
            remove.append(each.media_id)
    add = tuple(image_id for image_id in wanted if image_id not in keep)
    return Placement(keep, add, tuple(remove), busy and (bool(add) or not wanted))


def _image_in(url: str, ours: Collection[str]) -> str | None:
    found = _OUR_FILE.search(url)
    return found[1] if found and found[1] in ours else None


def moves(order: Sequence[str], wanted: Sequence[str]) -> list[tuple[str, int]]:
    """Return the moves (media id, new position from 0) that put our media into the wanted order.

    They take the places that ours have now, so the merchant's own end where they were. Moves are made one by one, and
    go from left to right, so that none undoes another.
    """
    current, ours = list(order), iter(wanted)
    target = [next(ours) if media_id in wanted else media_id for media_id in order]
    made: list[tuple[str, int]] = []
    for position, media_id in enumerate(target):
        if current[position] != media_id:
            current.remove(media_id)
            current.insert(position, media_id)
            made.append((media_id, position))
    return made
