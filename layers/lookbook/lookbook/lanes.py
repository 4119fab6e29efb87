"""A provider's limits, kept across all runs: so many jobs at once, so many submissions a minute.

A lane is one item per provider with a lease for each job in flight. A lease is taken by a conditional write, given back
when the job has ended, and expires, so that a process that died holds no place for long. The provider's own
`retry-after` closes the lane for everyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, PutError, UpdateError
from pynamodb.expressions.condition import size
from pynamodb.expressions.operand import Path

from lookbook.tables import CONDITION_FAILED, Lane

if TYPE_CHECKING:
    from lookbook.providers.base import Limits

FULL_WAIT_SECONDS = 1.0


def take(provider: str, limits: Limits | None, token: str, now: float) -> float:
    """Take a place for a job; return 0, or after how many seconds to try again.

    For a provider without limits only its `retry-after` counts: one read, no write.
    """
    if limits is None:
        return max(0.0, float(_lane(provider).next_at) - now)
    for _ in range(2):
        try:
            Lane(_key(provider)).update(
                [
                    _lease(token).set(now + limits.job_seconds),
                    Lane.next_at.set(now + 60 / limits.per_minute),
                ],
                condition=(_size(Lane.leases) < limits.at_once) & (Lane.next_at <= now),
            )
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
            lane = _lane(provider)
            if not _make_room(lane, now):
                return max(FULL_WAIT_SECONDS, float(lane.next_at) - now)
        else:
            return 0.0
    return FULL_WAIT_SECONDS


def give_back(provider: str, limits: Limits | None, token: str) -> None:
    """Give a place back; does nothing if it was given back or has expired."""
    if limits is None:
        return
    try:
        Lane(_key(provider)).update([_lease(token).remove()], condition=_lease(token).exists())
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise


def close(provider: str, until: float) -> None:
    """Let nobody submit to a provider before this time (epoch seconds)."""
    _make(provider)
    try:
        Lane(_key(provider)).update([Lane.next_at.set(until)], condition=Lane.next_at < until)
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise


def _key(provider: str) -> str:
    return f"lane#{provider}"


_size: Any = size  # pynamodb leaves it without annotations


def _lease(token: str) -> Path:
    return Path(["leases", token])


def _lane(provider: str) -> Lane:
    try:
        return Lane.get(_key(provider), "lane", consistent_read=True)
    except DoesNotExist:
        return Lane(_key(provider))


def _make(provider: str) -> bool:
    """Make the lane if there is none; return whether there was none."""
    try:
        Lane(_key(provider)).save(Lane.run_id.does_not_exist())
    except PutError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False
    return True


def _make_room(lane: Lane, now: float) -> bool:
    """Make the lane, or take expired leases out of it; return whether it is worth trying again at once."""
    if _make(lane.run_id.removeprefix("lane#")):
        return True
    leases: dict[str, float] = lane.leases.attribute_values
    expired = {token: ends for token, ends in leases.items() if ends <= now}
    for token, ends in expired.items():
        try:
            Lane(lane.run_id).update([_lease(token).remove()], condition=_lease(token) == ends)
        except UpdateError as error:
            if error.cause_response_code != CONDITION_FAILED:
                raise
    return bool(expired) and float(lane.next_at) <= now
