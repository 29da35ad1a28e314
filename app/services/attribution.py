"""Whose is a fill that no order of ours explains: a recorder's, a trader's, or nobody's.

The strategy that records the account in that product has it; where several do, the one whose
signal came last within ``MATCH_WINDOW`` before. What the fill closes is asked first: a person who
closes at the broker what a trader holds has closed the trader's position, whoever records there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, select

from app.brokers.base import AccountRef
from app.domain import symbols
from app.domain.trading import BrokerFill, Side
from app.models import Book, Signal, Strategy, Trader
from app.models.base import table
from app.models.prepared import Prepared
from app.services.bookkeeping import NOBODY, Owner

MATCH_WINDOW = timedelta(seconds=120)
"""How long after a signal a fill without an order of ours may still be its work."""
MOST_PARTS = 8
"""Into how many books one fill may go; more than that is taken as the last one's."""
_CLOCKS_DIFFER = timedelta(seconds=2)
"""By how much the broker's time of a fill may lie before ours of the signal that caused it."""
_NEWEST_SIGNALS = 50

_STRATEGIES = table(Strategy)
_TRADERS = table(Trader)
_SIGNALS = table(Signal)
_BOOKS = table(Book)

_RECORDING = Prepared(
    select(_STRATEGIES.c.id, _STRATEGIES.c.symbol)
    .where(
        _STRATEGIES.c.demo_account_id == bindparam("account"),
        _STRATEGIES.c.recording,
        _STRATEGIES.c.deleted_at.is_(None),
    )
    .order_by(_STRATEGIES.c.id)
)
_TRADER_OF = Prepared(
    select(_TRADERS.c.id).where(
        _TRADERS.c.strategy_id == bindparam("strategy"),
        _TRADERS.c.account_id == bindparam("account"),
        _TRADERS.c.deleted_at.is_(None),
    )
)
_HELD = Prepared(
    select(_BOOKS.c.trader_id, _BOOKS.c.strategy_id, _BOOKS.c.net_pos).where(
        _BOOKS.c.account_id == bindparam("account"),
        _BOOKS.c.contract == bindparam("contract"),
        _BOOKS.c.net_pos != Decimal(0),
    )
)
_LATEST_SIGNALS = Prepared(
    select(_SIGNALS.c.id, _SIGNALS.c.received_at, _SIGNALS.c.status, _SIGNALS.c.parsed)
    .where(_SIGNALS.c.strategy_id == bindparam("strategy"))
    .order_by(_SIGNALS.c.id.desc())
    .limit(_NEWEST_SIGNALS)
)
_HEARD = ("accepted", "ignored")
"""The signals that were understood; without a trader that is on they are ignored here, and what
somebody else makes of them is recorded."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a fill that goes to one book; ``closes`` of it reduces what that holds."""

    owner: Owner
    quantity: Decimal
    closes: Decimal


class Holdings:
    """What the books of an account hold, the fills of the present report included, which are
    stored but have not moved their books yet."""

    def __init__(self, conn: Connection, account: AccountRef) -> None:
        self._conn = conn
        self._account = account
        self._stored: dict[str, dict[Owner, Decimal]] = {}
        self._moved: list[tuple[str, Owner, Decimal]] = []

    def note(self, owner: Owner, contract: str, side: Side, quantity: Decimal) -> None:
        self._moved.append((contract, owner, side.sign * quantity))

    def of(self, contract: str) -> dict[Owner, Decimal]:
        """Owner → net position, signed, where it is not flat."""
        if contract not in self._stored:
            wanted = {"account": self._account.id, "contract": contract}
            self._stored[contract] = {
                Owner(row.trader_id, row.strategy_id): row.net_pos
                for row in _HELD.rows(self._conn, wanted)
            }
        held = dict(self._stored[contract])
        for moved, owner, quantity in self._moved:
            if moved == contract:
                held[owner] = held.get(owner, Decimal(0)) + quantity
        return {owner: net for owner, net in held.items() if net}


def of_foreign(
    conn: Connection, account: AccountRef, fill: BrokerFill, held: Mapping[Owner, Decimal]
) -> list[Share]:
    """Whose books a fill moves that no order of ours explains."""
    strategy_id = _recorder_of(conn, account, fill)
    chosen = NOBODY if strategy_id is None else _owner_of(conn, account, strategy_id, held)
    return split(fill, chosen, held)


def of_own(
    order: Mapping[str, Any], fill: BrokerFill, held: Mapping[Owner, Decimal]
) -> list[Share]:
    """Whose books a fill of our own order without a trader moves: what is held there that no
    trader has, first."""
    return split(fill, Owner(None, order["strategy_id"]), held, with_traders=False)


def split(
    fill: BrokerFill, chosen: Owner, held: Mapping[Owner, Decimal], *, with_traders: bool = True
) -> list[Share]:
    """Share a fill out: to what it closes first, the rest to ``chosen`` as a new position."""
    closable = {o: abs(net) for o, net in held.items() if net * fill.side.sign < 0}
    shares: dict[Owner, Share] = {}
    left = fill.quantity
    for owner in _closers(chosen, closable, with_traders)[: MOST_PARTS - 1]:
        closes = min(left, closable[owner])
        if closes:
            shares[owner] = Share(owner, closes, closes)
            left -= closes
    if left:
        own = shares.get(chosen, Share(chosen, Decimal(0), Decimal(0)))
        shares[chosen] = Share(chosen, own.quantity + left, own.closes)
    return list(shares.values())


def _closers(chosen: Owner, closable: Iterable[Owner], with_traders: bool) -> list[Owner]:
    if chosen != NOBODY and chosen in closable:
        return [chosen]
    foreign = [owner for owner in closable if owner.trader_id is None]
    foreign.sort(key=lambda owner: (owner.strategy_id is not None, owner.strategy_id or 0))
    traders = [owner for owner in closable if owner.trader_id is not None]
    is_clear = len(traders) == 1 and (chosen == NOBODY or not foreign)
    return foreign + (traders if with_traders and is_clear else [])


def _recorder_of(conn: Connection, account: AccountRef, fill: BrokerFill) -> int | None:
    root = symbols.instrument_for(fill.contract).root
    candidates = [
        row
        for row in _RECORDING.rows(conn, {"account": account.id})
        if not row.symbol or symbols.instrument_for(row.symbol).root == root
    ]
    if len(candidates) == 1:
        return int(candidates[0].id)
    signals = []
    for strategy in candidates:
        for signal in _LATEST_SIGNALS.rows(conn, {"strategy": strategy.id}):
            if _may_have_caused(signal, fill, root, strategy.symbol):
                signals.append((signal.received_at, signal.id, strategy.id))
    return int(max(signals)[-1]) if signals else None


def _may_have_caused(signal: Any, fill: BrokerFill, root: str, symbol: str | None) -> bool:
    if signal.status not in _HEARD:
        return False
    if not fill.at - MATCH_WINDOW <= signal.received_at <= fill.at + _CLOCKS_DIFFER:
        return False
    named = (entry.get("symbol") or symbol for entry in signal.parsed)
    return any(name and symbols.instrument_for(name).root == root for name in named)


def _owner_of(
    conn: Connection, account: AccountRef, strategy_id: int, held: Mapping[Owner, Decimal]
) -> Owner:
    """The strategy's trader on the account, else its recorder. One that has ended and still holds
    something here is asked before the recorder: one of the two is open at a time."""
    found = _TRADER_OF.first(conn, {"strategy": strategy_id, "account": account.id})
    if found is not None:
        return Owner(found.id, strategy_id)
    for owner in held:
        if owner.trader_id is not None and owner.strategy_id == strategy_id:
            return owner
    return Owner(None, strategy_id)
