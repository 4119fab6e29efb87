"""A run's budget, and the switch that stops it: one small item that every submission asks first.

`committed` is what was spent plus what is reserved for jobs in flight, and a reservation is one conditional write that
keeps it within the limit; `spent` is what has been settled. A reservation that would fit beside what was spent, and
only jobs in flight leave it no room, waits, as they may turn out cheaper; else it is beyond the budget. `open` has the
tokens of the intents that hold a reservation, so that each is given back or settled once, however often it is said. A
process that dies in between leaves a reservation behind: Finish corrects it from the ledger between two passes of the
map, when nothing is being submitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pynamodb.exceptions import DoesNotExist, UpdateError

from lookbook.tables import CONDITION_FAILED, Budget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pynamodb.expressions.condition import Condition

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


def reserve(entry: LedgerEntry, limit_microusd: int | None) -> Answer:
    """Set an intent's price aside: the one write that keeps a run within its budget, and heeds a stop."""
    token, microusd = str(entry.token), int(entry.reserved_microusd)
    condition = Budget.stop_status.does_not_exist() & ~Budget.open.contains(token)
    if limit_microusd is not None:
        room = limit_microusd - microusd
        if room < 0:
            return OVER_BUDGET
        condition &= Budget.committed_microusd.does_not_exist() | (Budget.committed_microusd <= room)
    if _change(entry, condition, opens=True, committed=microusd):
        return "reserved"
    found = look(entry.paid_by)
    if token in (found.open or ()):  # the write was repeated because its answer was lost
        return "reserved"
    if found.stop_status is not None:
        return "stopped"
    fits = limit_microusd is not None and found.spent_microusd + microusd <= limit_microusd
    return "wait" if fits else OVER_BUDGET


def release(entry: LedgerEntry) -> None:
    """Give back what was set aside for a submission that was not made."""
    _change(entry, _is_open(entry), committed=-int(entry.reserved_microusd))


def settle(entry: LedgerEntry, cost_microusd: int) -> None:
    """Replace a reservation by what the job came to."""
    change = cost_microusd - int(entry.reserved_microusd)
    _change(entry, _is_open(entry), committed=change, spent=cost_microusd)


def settle_unknown(entry: LedgerEntry) -> None:
    """Count a reservation as spent: nobody knows what the job came to."""
    microusd = int(entry.reserved_microusd)
    _change(entry, _is_open(entry), spent=microusd, unknown=microusd)


def revive(entry: LedgerEntry) -> None:
    """Take back `settle_unknown`: the job has been found after all, and is in flight again."""
    microusd = int(entry.reserved_microusd)
    _change(entry, ~_is_open(entry), opens=True, spent=-microusd, unknown=-microusd)


def _is_open(entry: LedgerEntry) -> Condition:
    condition: Condition = Budget.open.contains(str(entry.token))
    return condition


def _change(
    entry: LedgerEntry,
    condition: Condition,
    *,
    opens: bool = False,
    committed: int = 0,
    spent: int = 0,
    unknown: int = 0,
) -> bool:
    """Change the sums and open or close a reservation, in one write; return whether the condition held.

    botocore repeats a write whose answer was lost. Then the reservation is open, or closed, already.
    """
    tokens = {str(entry.token)}
    try:
        Budget(entry.paid_by).update(
            [
                Budget.kind.set(Budget),
                Budget.open.add(tokens) if opens else Budget.open.delete(tokens),
                Budget.committed_microusd.add(committed),
                Budget.spent_microusd.add(spent),
                Budget.unknown_microusd.add(unknown),
            ],
            condition=condition,
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False
    return True


def stop(run_id: str, status: str, reason: str) -> bool:
    """Let a run submit nothing more; what it has not begun ends with this status. The first to say so is heard."""
    try:
        Budget(run_id).update(
            [Budget.kind.set(Budget), Budget.stop_status.set(status), Budget.stop_reason.set(reason)],
            condition=Budget.stop_status.does_not_exist(),
        )
    except UpdateError as error:
        if error.cause_response_code != CONDITION_FAILED:
            raise
        return False
    return True


def recount(run_id: str, entries: Iterable[LedgerEntry]) -> None:
    """Set the sums to what the ledger says, between two passes of the map."""
    committed = spent = unknown = 0
    tokens = set()
    for entry in entries:
        amount = counted(entry)
        committed += amount
        if entry.status in IN_FLIGHT:
            tokens.add(str(entry.token))
            continue
        spent += amount
        unknown += amount if entry.status == "unknown" else 0
    Budget(run_id).update(
        [
            Budget.kind.set(Budget),
            Budget.open.set(tokens) if tokens else Budget.open.remove(),
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
