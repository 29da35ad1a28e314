"""The life of an order: which state may follow which.

created -> submitting -> working -> partially_filled -> filled
   |           |            |              `-> cancelled | expired (with fills)
   |           |            |-> filled | cancelled | expired | rejected
   |           |            |-> triggered -> (as working)              (a stop)
   |           |            `-> cancel_pending -> cancelled | expired | filled
   |           |                                  | working | triggered | partially_filled
   |           |-> rejected | inactive
   |           |-> working | triggered | partially_filled | filled
   |           `-> unknown -> any of the above that a broker can report, or not_found
   |-> inactive -> working | cancelled         (a bracket leg; its entry ended unfilled)
   `-> skipped                                 (a rule said no)
cancelled | expired | not_found -> filled | partially_filled     only on proof (a late fill)
not_found -> inactive | working | triggered     only on proof (the broker shows it after all)
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from app.domain.errors import Conflict
from app.domain.trading import OrderStatus as S


class IllegalTransition(Conflict):
    """An order cannot go from where it is to where it was asked to go; nothing was changed."""

    code, title = "illegal_transition", "Illegal order transition"

    def __init__(self, current: S, new: S) -> None:
        super().__init__(f"an order that is {current} cannot become {new}")
        self.current = current
        self.new = new


_BROKER_SAYS = frozenset(
    {S.INACTIVE, S.WORKING, S.TRIGGERED, S.PARTIALLY_FILLED, S.FILLED, S.REJECTED}
)

MOVES: dict[S, frozenset[S]] = {
    S.CREATED: frozenset({S.SUBMITTING, S.INACTIVE, S.SKIPPED}),
    S.SUBMITTING: _BROKER_SAYS | {S.UNKNOWN},
    S.UNKNOWN: _BROKER_SAYS | {S.CANCELLED, S.EXPIRED, S.NOT_FOUND},
    S.INACTIVE: frozenset({S.WORKING, S.CANCELLED}),
    S.WORKING: frozenset(
        {
            S.TRIGGERED,
            S.PARTIALLY_FILLED,
            S.FILLED,
            S.CANCEL_PENDING,
            S.CANCELLED,
            S.EXPIRED,
            S.REJECTED,
        }
    ),
    S.TRIGGERED: frozenset(
        {S.PARTIALLY_FILLED, S.FILLED, S.CANCEL_PENDING, S.CANCELLED, S.EXPIRED, S.REJECTED}
    ),
    S.PARTIALLY_FILLED: frozenset({S.FILLED, S.CANCEL_PENDING, S.CANCELLED, S.EXPIRED}),
    S.CANCEL_PENDING: frozenset(
        {S.CANCELLED, S.EXPIRED, S.FILLED, S.WORKING, S.TRIGGERED, S.PARTIALLY_FILLED}
    ),
    S.FILLED: frozenset(),
    S.CANCELLED: frozenset(),
    S.EXPIRED: frozenset(),
    S.REJECTED: frozenset(),
    S.NOT_FOUND: frozenset(),
    S.SKIPPED: frozenset(),
}

LATE_FILLS: dict[S, frozenset[S]] = {
    ended: frozenset({S.FILLED, S.PARTIALLY_FILLED}) for ended in (S.CANCELLED, S.EXPIRED)
} | {S.NOT_FOUND: frozenset({S.FILLED, S.PARTIALLY_FILLED, S.INACTIVE, S.WORKING, S.TRIGGERED})}
"""Where a proof of the broker's leads from an end. What was thought not to exist may also turn up
open: left for ended, it would work there with nobody to see or to cancel it."""

TERMINAL = frozenset(status for status, moves in MOVES.items() if not moves)
OPEN = frozenset(MOVES) - TERMINAL

# A report may leave out states that the order passed through between two looks.
_PASSED_UNSEEN = frozenset({S.SUBMITTING, S.INACTIVE, S.WORKING, S.TRIGGERED})


def move(current: S, new: S, *, proof: bool = False) -> S:
    """Return ``new`` if the order may go there in one step; staying is always allowed.

    ``proof``: a fill of the broker stands behind the move, so an order that had ended may still
    turn out (partially) filled; or the broker shows what it was thought not to have. The caller
    logs that loudly.

    Raises:
        IllegalTransition: the move is not drawn.
    """
    if new is current or new in MOVES[current]:
        return new
    if proof and new in LATE_FILLS.get(current, ()):
        return new
    raise IllegalTransition(current, new)


def reach(current: S, new: S, *, proof: bool = False) -> tuple[S, ...]:
    """The shortest legal way from ``current`` to what a report says, without ``current``.

    A poll or an answer may jump over states (a leg that went from created to working, an
    immediate-or-cancel order that was never seen working). Empty when nothing changed.

    Raises:
        IllegalTransition: no way leads there, as for a report that is older than what we know.
    """
    if new is current:
        return ()
    if proof and new in LATE_FILLS.get(current, ()):
        return (new,)
    ways: deque[tuple[S, ...]] = deque([()])
    while ways:
        way = ways.popleft()
        here = way[-1] if way else current
        if new in MOVES[here]:
            return (*way, new)
        ways.extend((*way, step) for step in MOVES[here] & _PASSED_UNSEEN if step not in way)
    raise IllegalTransition(current, new)


def status_from_fills(current: S, quantity: Decimal, filled: Decimal) -> S:
    """The status that the total of an order's fills proves.

    Totals only ever say more, never less: without fills the status stays. An order that had been
    cancelled or had expired keeps that status with a part filled; one that was thought not to
    exist is partially filled again, so that the broker is asked about the rest.
    """
    if not filled:
        return current
    if filled >= quantity:
        return S.FILLED
    if current in (S.CANCELLED, S.EXPIRED, S.CANCEL_PENDING):
        return current
    return S.PARTIALLY_FILLED
