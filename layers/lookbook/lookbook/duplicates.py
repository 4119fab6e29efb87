"""Products whose source pictures are the same, or nearly: found, to be offered, and never merged by themselves.

Pictures that differ in size, format or compression only have difference hashes (imaging.dhash) that differ in few of
their 64 bits. So may two products whose outlines are alike, such as one shirt in two colours: a person must decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTANCE = 6  # bits in which the hashes of near-duplicates differ at most

_BITS = 64
_BLOCKS = (8, 9, 10)  # into how many the bits may be cut: see _join_near
_FEW = 64  # hashes that are best compared each with each
_MASK_COMPARISONS = 6  # what it takes to put a hash where a mask has it


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """A product's source picture: the SHA-256 of its bytes, and its difference hash as 16 hexadecimal digits."""

    product_id: str
    sha256: str
    dhash: str


@dataclass(frozen=True, slots=True)
class Member:
    """A product of a group; `distance` is in how many bits its hash differs from that of the group's first."""

    product_id: str
    distance: int


def groups(pictures: Iterable[SourcePicture]) -> list[list[Member]]:
    """Return the groups of products whose pictures are the same bytes, or whose hashes differ in at most 6 bits.

    A group is all that hangs together: two of its members may be further apart if others lie between them. Groups and
    their members are in the order of the pictures given; a product without a duplicate is in no group. No pair is
    missed. 100,000 random hashes take 2 to 4 seconds; as many that share most bits and yet differ may take 20.
    """
    given = list(pictures)
    hashes = {picture.dhash: int(picture.dhash, 16) for picture in given}
    sets = _Sets()
    for picture in given:
        if not _is_flat(hashes[picture.dhash]):
            sets.join(picture.sha256, hashes[picture.dhash])
    _join_near([value for value in hashes.values() if not _is_flat(value)], sets)

    found: defaultdict[str | int, list[SourcePicture]] = defaultdict(list)
    for picture in given:
        found[sets.of(picture.sha256)].append(picture)
    return [
        [Member(each.product_id, (hashes[each.dhash] ^ hashes[group[0].dhash]).bit_count()) for each in group]
        for group in found.values()
        if len(group) > 1
    ]


def _is_flat(value: int) -> bool:
    """Whether a hash says nothing, so that only equal bytes count.

    A plain white picture has the hash 0 and one that gets brighter from left to right has all bits set. What is within
    the distance of these is a hint of something on a plain ground: it would pass for a duplicate of every such picture.
    """
    return not DISTANCE < value.bit_count() < _BITS - DISTANCE


class _Sets:
    """Disjoint sets of pictures' SHA-256s (text) and hashes (numbers)."""

    def __init__(self) -> None:
        self._parents: dict[str | int, str | int] = {}
        self.joined = 0

    def of(self, each: str | int) -> str | int:
        """Return what stands for the set of `each`."""
        parents = self._parents
        parent = parents.setdefault(each, each)
        while parent != each:
            parents[each] = each = parents[parent]
            parent = parents[each]
        return each

    def join(self, one: str | int, other: str | int) -> None:
        one, other = self.of(one), self.of(other)
        if one != other:
            self._parents[one] = other
            self.joined += 1


def _join_near(hashes: list[int], sets: _Sets) -> None:
    """Join all hashes that are within the distance; they are distinct.

    Six bits that differ spoil at most six of eight blocks of bits, so that two hashes within the distance agree in two
    blocks at least: for each of the 28 pairs of blocks, only those are compared that agree in it. Nine blocks taken by
    three make 84 masks of more bits; that is the faster way if many hashes share what they have.
    """
    masks = min((_masks(blocks) for blocks in _BLOCKS), key=lambda masks: _work(hashes, masks))
    joined = sets.joined
    for done, mask in enumerate(masks):
        for some in _alike(hashes, mask):
            if len(some) > _FEW:
                _join_crowd(some, sets)
                continue
            for one, other in combinations(some, 2):
                if (one ^ other).bit_count() <= DISTANCE:
                    sets.join(one, other)
        # Once nearly all are one set, comparing the others with all is less than the masks that are left.
        worth = _MASK_COMPARISONS * (len(masks) - done)
        if len(hashes) - (sets.joined - joined) < worth and _outside(hashes, sets) < worth:
            _join_crowd(hashes, sets)
            return


def _join_crowd(hashes: list[int], sets: _Sets) -> None:
    """Do the same for hashes that may well be one set, by going from each that is reached to those that are not."""
    parts: defaultdict[str | int, list[int]] = defaultdict(list)
    for value in hashes:
        parts[sets.of(value)].append(value)
    reached = max(parts.values(), key=len, default=[])
    rest = {value for part in parts.values() if part is not reached for value in part}
    while rest:
        for one in reached:
            near = [other for other in rest if (one ^ other).bit_count() <= DISTANCE]
            for other in near:
                sets.join(one, other)
            reached += near
            rest.difference_update(near)
            if not rest:
                return
        reached = [rest.pop()]


def _outside(hashes: list[int], sets: _Sets) -> int:
    """Return how many are not in the largest set."""
    return len(hashes) - max(Counter(map(sets.of, hashes)).values(), default=0)


def _masks(blocks: int) -> list[int]:
    """Return a mask for each choice of so many blocks as six bits that differ must leave unspoilt.

    The blocks run diagonally: many pictures have a white margin, and with it the same bits in whole rows and columns.
    """
    bits = sorted(range(_BITS), key=lambda bit: ((bit + bit // 8) % 8, bit))
    ends = [_BITS * number // blocks for number in range(blocks + 1)]
    parts = [sum(1 << bit for bit in bits[start:end]) for start, end in pairwise(ends)]
    return [sum(some) for some in combinations(parts, blocks - DISTANCE)]


def _alike(hashes: list[int], mask: int) -> list[list[int]]:
    """Return the hashes by what they have under the mask, without those that are alone in that."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for value in hashes:
        found[value & mask].append(value)
    return [some for some in found.values() if len(some) > 1]


def _work(hashes: list[int], masks: list[int]) -> float:
    """Estimate from the first mask what all will cost, in comparisons."""
    pairs = sum(len(some) ** 2 / 2 for some in _alike(hashes, masks[0]))
    return len(masks) * (_MASK_COMPARISONS * len(hashes) + pairs)
