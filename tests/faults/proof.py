"""What the database says afterwards: lost, doubled, wrong. Each count should be 0."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, select

from app.domain import books, symbols
from app.models import (
    Book,
    Event,
    Execution,
    Fill,
    Order,
    PaperAccountRow,
    PaperFillRow,
    PaperLedgerRow,
    PaperOrderRow,
    PaperPositionRow,
    Signal,
    Trade,
)
from app.models.base import table
from tests.faults.world import Alert, Listener, World

ZERO = Decimal(0)
DEADLINE = timedelta(seconds=60)
"""The default of ``entry_deadline``."""
_LOG_IN_PAUSE = timedelta(seconds=15)
"""Between two tries to sign in at a broker that did not answer the first."""
Counts = dict[str, int]

_WANTED = {"buy": 1, "sell": -1, "close": 0}


def misplaced(world: World) -> int:
    """Positions that are not what the last alert of their strategy wants, unless its entry was
    given up by a rule."""
    wanted: dict[int, Alert] = {}
    for alert in world.alerts:
        if alert.strategy.is_certain:
            wanted[alert.strategy.id] = alert
    given_up = _given_up(world)
    wrong = 0
    for (strategy_id, account_id), net_pos in world.positions().items():
        last = wanted.get(strategy_id)
        if last is not None and (strategy_id, account_id) not in given_up:
            size = Decimal(last.strategy.settings.get("entry_quantity", "1"))
            wrong += net_pos != size * _WANTED[last.action]
    return wrong


def _given_up(world: World) -> set[tuple[int, int]]:
    """(strategy, account) whose last execution sent no entry because a rule forbade it."""
    last: dict[tuple[int, int], str | None] = {}
    with world.engine.connect() as connection:
        for row in connection.execute(select(table(Execution)).order_by(table(Execution).c.id)):
            last[row.strategy_id, row.account_id] = row.reason
    return {pair for pair, reason in last.items() if reason in ("entry_deadline", "order_lost")}


def rest(world: World) -> Counts:
    """Let everything come to rest, look while positions are still held, and stop."""
    world.settle()
    wrong = misplaced(world)
    world.finish()
    return {"positions other than the last alert wants": wrong}


def count(world: World) -> Counts:
    """Counts over the whole history of a world that has been stopped and is flat."""
    with world.engine.connect() as connection:
        rows = Rows(connection)
    return {
        **of_alerts(world, rows),
        "orders at the exchange that nobody sent": _unknown_orders(rows),
        "orders that the exchange knows differently": _different_orders(rows),
        "fills that the exchange knows differently": _different_fills(rows),
        "positions that differ from the exchange": _different_positions(rows),
        **of_books(rows),
        "ledgers that do not add up": _unbalanced(rows),
        **of_events(world, rows),
    }


def of_alerts(world: World, rows: Rows) -> Counts:
    traders = {s.id: len(s.accounts) for s in world.strategies}
    return {
        "alerts answered 2xx and not stored": _not_stored(world.alerts, rows),
        "alerts stored without all their executions": _without_executions(rows, traders),
        "alerts accepted twice": _accepted_twice(rows),
        "executions without an end": sum(e.finished_at is None for e in rows.executions),
        "executions that expired before their deadline": sum(
            e.reason == "entry_deadline" and e.finished_at - e.received_at < DEADLINE
            for e in rows.executions
        ),
        "executions that failed": sum(
            e.status == "failed" and e.reason != "order_lost" and not _came_too_late(e)
            for e in rows.executions
        ),
        "entries given up that were not lost twice": _given_up_early(rows),
        "executions held back as out of sync": sum(
            e.reason == "out_of_sync" for e in rows.executions
        ),
        "executions with more than one filled entry": _entered_twice(rows),
        "client order ids used twice": _repeats(o.client_order_id for o in rows.orders),
    }


def _came_too_late(execution: Any) -> bool:
    """Whether it was given up because the broker asked to wait until after its deadline."""
    left = DEADLINE - (execution.finished_at - execution.received_at)
    return bool(execution.reason == "broker_rate_limited" and left < _LOG_IN_PAUSE)


def of_books(rows: Rows) -> Counts:
    return {
        "books that differ from their fills": _different_books(rows),
        "books whose trades do not add up": _different_trades(rows),
        "orders open on a flat book": _left_open(rows),
    }


def of_events(world: World, rows: Rows) -> Counts:
    return {
        "holes and repeats in the sequence of events": _gaps(rows),
        "events never handed out": sum(e.published_at is None for e in rows.events),
        **of_client(world.listener, len(rows.events)),
    }


def of_client(listener: Listener, total: int) -> Counts:
    return {
        "events that the client missed": listener.missed + listener.resyncs + total - listener.last,
        "events that the client saw twice": listener.repeated,
    }


def figures(world: World) -> dict[str, int]:
    """How much there was to lose."""
    with world.engine.connect() as connection:
        rows = Rows(connection)
    ends = Counter(f"{e.status} {e.reason or ''}".strip() for e in rows.executions)
    return {
        "kills": sum(world.kills.values()),
        "alerts sent": len(world.alerts),
        "requests made": sum(alert.attempts for alert in world.alerts),
        "alerts answered as duplicates": sum(
            alert.answer.get("status") == "duplicate" for alert in world.alerts
        ),
        "executions": len(rows.executions),
        "executions resumed after a kill": sum(e.attempts > 1 for e in rows.executions),
        "orders": len(rows.orders),
        "orders that never reached the exchange": sum(o.status == "not_found" for o in rows.orders),
        "fills": len(rows.fills),
        "events": len(rows.events),
        "connections resumed": world.listener.resumed,
        **{f"executions that ended: {name}": number for name, number in ends.most_common()},
    }


class Rows:
    def __init__(self, connection: Connection) -> None:
        def every(model: type) -> Any:
            statement: Select[Any] = select(table(model)).order_by(table(model).c.id)
            return connection.execute(statement).all()

        self.signals = every(Signal)
        self.executions = every(Execution)
        self.orders = every(Order)
        self.fills = every(Fill)
        self.books = every(Book)
        self.trades = every(Trade)
        self.events = every(Event)
        self.paper_accounts = every(PaperAccountRow)
        self.paper_orders = every(PaperOrderRow)
        self.paper_fills = every(PaperFillRow)
        self.paper_positions = every(PaperPositionRow)
        self.paper_ledger = every(PaperLedgerRow)


def _not_stored(alerts: list[Alert], rows: Rows) -> int:
    bodies = {row.id: row.raw_body for row in rows.signals}
    accepted = {row.raw_body for row in rows.signals if row.status == "accepted"}
    lost = 0
    for alert in alerts:
        if alert.is_answered:
            body = alert.body.decode()
            lost += bodies.get(alert.answer["signal_id"]) != body or body not in accepted
    return lost


def _without_executions(rows: Rows, traders: dict[int, int]) -> int:
    made = Counter(e.signal_id for e in rows.executions)
    return sum(
        made[row.id] != traders[row.strategy_id] * len(row.parsed)
        for row in rows.signals
        if row.status == "accepted"
    )


def _accepted_twice(rows: Rows) -> int:
    return _repeats(row.raw_body for row in rows.signals if row.status == "accepted")


def _entered_twice(rows: Rows) -> int:
    return _repeats(o.execution_id for o in rows.orders if o.role == "entry" and o.filled_quantity)


def _given_up_early(rows: Rows) -> int:
    """An entry that was proven not to exist is sent again once."""
    lost = Counter(
        o.execution_id for o in rows.orders if o.role == "entry" and o.status == "not_found"
    )
    return sum(e.reason == "order_lost" and lost[e.id] < 2 for e in rows.executions)


def _unknown_orders(rows: Rows) -> int:
    ours = {(o.account_id, o.client_order_id) for o in rows.orders}
    return sum((p.account_id, p.client_order_id) not in ours for p in rows.paper_orders)


def _different_orders(rows: Rows) -> int:
    theirs = {(p.account_id, p.client_order_id): p for p in rows.paper_orders}
    different = 0
    for order in rows.orders:
        paper = theirs.get((order.account_id, order.client_order_id))
        if paper is None:
            # Refused before it existed, never arrived, or the leg of such an order.
            different += order.status not in ("not_found", "rejected", "cancelled")
        else:
            different += (order.status, order.filled_quantity) != (paper.status, paper.filled)
    return different


def _different_fills(rows: Rows) -> int:
    ours = Counter(
        (f.account_id, f.broker_fill_id, f.contract, f.side, f.quantity, f.price, f.fee)
        for f in rows.fills
    )
    theirs = Counter(
        (f.account_id, f"{f.account_id}-{f.number}", f.contract, f.side, f.quantity, f.price, f.fee)
        for f in rows.paper_fills
    )
    return ((ours - theirs) + (theirs - ours)).total()


def _different_positions(rows: Rows) -> int:
    net: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for book in rows.books:
        net[book.account_id, book.contract] += book.net_pos
    for position in rows.paper_positions:
        net[position.account_id, position.contract] -= position.net_pos
    return sum(bool(difference) for difference in net.values())


def _different_books(rows: Rows) -> int:
    net: dict[_Key, Decimal] = defaultdict(Decimal)
    for fill in rows.fills:
        net[_key(fill)] += fill.quantity if fill.side == "buy" else -fill.quantity
    for book in rows.books:
        net[_key(book)] -= book.net_pos
    return sum(bool(difference) for difference in net.values())


def _different_trades(rows: Rows) -> int:
    """Realised of a book = what its closed trades and its open trip made, and what a replay of
    its fills makes."""
    net: dict[_Key, Decimal] = defaultdict(Decimal)
    for trade in rows.trades:
        net[_key(trade)] += trade.net
    fills: dict[_Key, list[Any]] = defaultdict(list)
    for fill in rows.fills:
        fills[_key(fill)].append(fill)
    different = 0
    for book in rows.books:
        trip = books.Trip.from_json(book.trip) if book.trip else None
        realized = net[_key(book)] + (trip.gross - trip.fees if trip else ZERO)
        different += realized != book.realized or _replayed(fills[_key(book)]) != book.realized
    return different


_Key = tuple[int, int | None, str]


def _key(row: Any) -> _Key:
    """Of a book: what no trader holds is apart by its account."""
    return row.account_id, row.trader_id, row.contract


def _replayed(fills: list[Any]) -> Decimal:
    """At flat, what was realised does not depend on the order of the fills."""
    if not fills:
        return ZERO
    per_point = symbols.instrument_for(fills[0].contract).point_value
    cash = ZERO
    for fill in fills:
        value = (fill.quantity * fill.price * per_point).quantize(Decimal("1E-8"))
        cash += (value if fill.side == "sell" else -value) - fill.fee
    return cash


def _left_open(rows: Rows) -> int:
    held = {_key(book) for book in rows.books if book.net_pos}
    ended = ("filled", "cancelled", "expired", "rejected", "not_found", "skipped")
    return sum(o.status not in ended and _key(o) not in held for o in rows.orders)


def _unbalanced(rows: Rows) -> int:
    available: dict[int, Decimal] = defaultdict(Decimal)
    reserved: dict[int, Decimal] = defaultdict(Decimal)
    wrong = 0
    for entry in rows.paper_ledger:
        available[entry.account_id] += entry.available_change
        reserved[entry.account_id] += entry.reserved_change
        wrong += entry.available != available[entry.account_id]
        wrong += entry.reserved != reserved[entry.account_id]
    for account in rows.paper_accounts:
        wrong += available[account.account_id] != account.cash - account.reserved
        wrong += reserved[account.account_id] != account.reserved
    return wrong


def _gaps(rows: Rows) -> int:
    seen: dict[int, int] = defaultdict(int)
    wrong = 0
    for event in sorted(rows.events, key=lambda e: (e.user_id, e.seq)):
        wrong += event.seq != seen[event.user_id] + 1
        seen[event.user_id] = event.seq
    return wrong


def _repeats(keys: Any) -> int:
    return sum(number - 1 for number in Counter(keys).values())
