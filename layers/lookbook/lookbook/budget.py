"""A run's budget, and the switch that stops it: one small item that every submission asks first.

`committed` is what was spent plus what is reserved for jobs in flight, and a reservation is one conditional write that
keeps it within the limit; `spent` is what has been settled. A reservation that would fit beside what was spent, and
only jobs in flight leave it no room, waits, as they may turn out cheaper; else it is beyond the budget. A process that
dies in between leaves a reservation behind: Finish corrects it from the ledger between two passes of the map, when
nothing is being submitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook.tables import Budget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lookbook.tables import LedgerEntry

# How what has not been begun ends when a run is stopped.
OVER_BUDGET: Final = "over_budget"
DEFERRED: Final = "deferred"

Answer = Literal["reserved", "wait", "over_budget", "stopped"]


def look(run_id: str) -> Budget:
    """Return a run's budget as it stands, read consistently; a fresh one if nothing was spent yet."""
    try:
        return Budget.get(run_id, "budget", consistent_read=True)
    except DoesNotExist:
        return Budget(run_id)


def reserve(run_id: str, microusd: int, limit_microusd: int | None) -> Answer:
    """Set money aside for a submission: the one write that keeps a run within its budget, and heeds a stop."""
    condition = Budget.stop_status.does_not_exist()
    if limit_microusd is not None:
        room = limit_microusd - microusd
        if room < 0:
            return OVER_BUDGET
        condition &= Budget.committed_microusd.does_not_exist() | (Budget.committed_microusd <= room)
    try:
        _add(run_id, committed=microusd, spent=0, condition=condition)
    except UpdateError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        found = look(run_id)
        if found.stop_status is not None:
            return "stopped"
        fits = limit_microusd is not None and found.spent_microusd + microusd <= limit_microusd
        return "wait" if fits else OVER_BUDGET
    return "reserved"


def release(run_id: str, microusd: int) -> None:
    """Give back what was set aside for a submission that was not made."""
    _add(run_id, committed=-microusd, spent=0)


def settle(run_id: str, reserved_microusd: int, cost_microusd: int) -> None:
    """Replace a reservation by what the job came to."""
    _add(run_id, committed=cost_microusd - reserved_microusd, spent=cost_microusd)


def settle_unknown(run_id: str, reserved_microusd: int) -> None:
    """Count a reservation as spent: nobody knows what the job came to."""
    _add(run_id, committed=0, spent=reserved_microusd, unknown=reserved_microusd)


def revive(run_id: str, reserved_microusd: int) -> None:
    """Take back `settle_unknown`: the job has been found after all, and is in flight again."""
    _add(run_id, committed=0, spent=-reserved_microusd, unknown=-reserved_microusd)


def _add(run_id: str, *, committed: int, spent: int, unknown: int = 0, condition: object = None) -> None:
    Budget(run_id).update(
        [
            Budget.kind.set(Budget),
            Budget.committed_microusd.add(committed),
            Budget.spent_microusd.add(spent),
            Budget.unknown_microusd.add(unknown),
        ],
        condition=condition,  # type: ignore[arg-type]  # a Condition, whose class pynamodb keeps to itself
    )


def stop(run_id: str, status: str, reason: str) -> bool:
    """Let a run submit nothing more; what it has not begun ends with this status. The first to say so is heard."""
    try:
        Budget(run_id).update(
            [Budget.kind.set(Budget), Budget.stop_status.set(status), Budget.stop_reason.set(reason)],
            condition=Budget.stop_status.does_not_exist(),
        )
    except UpdateError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    return True


def recount(run_id: str, entries: Iterable[LedgerEntry]) -> None:
    """Set the sums to what the ledger says, between two passes of the map."""
    committed = spent = unknown = 0
    for entry in entries:
        amount = counted(entry)
        committed += amount
        spent += amount if entry.status not in IN_FLIGHT else 0
        unknown += amount if entry.status == "unknown" else 0
    Budget(run_id).update(
        [
            Budget.kind.set(Budget),
            Budget.committed_microusd.set(committed),
            Budget.spent_microusd.set(spent),
            Budget.unknown_microusd.set(unknown),
        ]
    )


# As ledger.py names them: bought, but not settled.
IN_FLIGHT = frozenset({"intent", "submitted"})


def counted(entry: LedgerEntry) -> int:
    """Return what an attempt counts for in a budget: its cost, or what was reserved as long as that is not known.

    An attempt that ended `unknown` may have been charged, so its reservation is counted as spent.
    """
    known = entry.status not in IN_FLIGHT and entry.status != "unknown"
    return int(entry.cost_microusd if known else entry.reserved_microusd)
