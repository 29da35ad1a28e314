"""What each step of a plan does: it looks at the book and the orders as they are now and says
which calls to make, or that it is done. Every function runs inside the writer's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, select, update

from app import clock
from app.domain import brackets
from app.domain.orders import MOVES, TERMINAL
from app.domain.plans import (
    Adopt,
    AwaitFlat,
    CancelOrders,
    Close,
    CorrectLegs,
    Enter,
    MoveStop,
    Net,
    Reprotect,
)
from app.domain.trading import (
    OrderRole,
    OrderStatus,
    OrderTicket,
    OrderType,
    Origin,
    PositionSide,
    Side,
)
from app.models import Book, Order
from app.models.base import table
from app.models.orders import IS_OPEN
from app.models.prepared import Prepared
from app.services import fills, payloads
from app.services.context import facts_of
from app.services.intents import leg_ticket, place
from app.services.runs import Call, Cancel, Modify, Place, PlaceOco, Run, Wait
from app.transactions import Tx

_ORDERS = table(Order)
_BOOKS = table(Book)
FLAT_TIMEOUT = timedelta(seconds=10)
"""How long an exit may take before an entry that waits for it is given up; how long a market order
that the broker took may take to fill before the account's work goes on."""
ASK_AGAIN = timedelta(seconds=1)
"""An order that still works so long after its cancel was asked for is asked to cancel again."""
_MOST_EXITS = 5
"""How many exits one step sends before it is given up."""
_OPEN_OF_TRADER = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.trader_id == bindparam("trader"),
        IS_OPEN,
    )
)
_OF_STEP = Prepared(
    select(_ORDERS)
    .where(
        _ORDERS.c.execution_id == bindparam("execution"),
        _ORDERS.c.step == bindparam("step"),
        _ORDERS.c.parent_id.is_(None),
    )
    .order_by(_ORDERS.c.id)
)
_OPEN_MANUAL = Prepared(
    select(_ORDERS).where(
        _ORDERS.c.account_id == bindparam("account"), _ORDERS.c.trader_id.is_(None), IS_OPEN
    )
)
BY_CLIENT_ID = Prepared(select(_ORDERS).where(_ORDERS.c.client_order_id == bindparam("id")))
_IN_CONTRACT = Prepared(
    select(_BOOKS.c.trader_id, _BOOKS.c.net_pos, _BOOKS.c.avg_price).where(
        _BOOKS.c.account_id == bindparam("account"), _BOOKS.c.contract == bindparam("contract")
    )
)
_CANCELLABLE = frozenset(
    status.value for status, moves in MOVES.items() if OrderStatus.CANCEL_PENDING in moves
)


def _cancel(tx: Tx, run: Run, step: CancelOrders) -> list[Call]:
    open_ids = {row["client_order_id"]: row for row in _open_orders(tx, run)}
    wanted = [open_ids[i] for i in step.ids if i in open_ids]
    if wanted:
        return _cancel_rows(tx, run, wanted)
    return _await_last_fills(tx, run, step.ids)


def _await_last_fills(tx: Tx, run: Run, ids: tuple[str, ...]) -> list[Call]:
    """An order that ended may have filled more than we have heard of; the book counts only when
    that is here."""
    asked = [i for i in ids if i in run.asked]
    rows = [row for i in asked for row in BY_CLIENT_ID.rows(tx.conn, {"id": i})]
    lacking = tuple(
        row.client_order_id
        for row in rows
        if row.reported_filled is not None and row.reported_filled > row.filled_quantity
    )
    return _until_told(run, lacking) if lacking else []


def _cancel_rows(tx: Tx, run: Run, rows: list[Any]) -> list[Call]:
    """Ask for what is not yet asked for, or was in vain; then wait until each is confirmed as
    ended."""
    if not rows:
        return []
    now = clock.now()
    due = [row for row in rows if _is_to_ask(run, row, now)]
    is_repeated = all(row["client_order_id"] in run.asked for row in rows)
    if is_repeated and run.waiting_until is None:
        run.waiting_until = now + FLAT_TIMEOUT
    if not due or (is_repeated and run.waiting_until is not None and now >= run.waiting_until):
        ids = tuple(row["client_order_id"] for row in rows)
        return _wait(run, "not_cancelled", "An order could not be cancelled in time.", ids)
    for row in due:
        run.asked[row["client_order_id"]] = now
        if row["status"] in _CANCELLABLE:
            _set_status(tx, row, OrderStatus.CANCEL_PENDING, now)
    return [Cancel(row["client_order_id"], row["broker_order_id"]) for row in due]


def _is_to_ask(run: Run, row: Any, now: datetime) -> bool:
    """A request to cancel may get lost: then its order is said to work as before."""
    asked_at = run.asked.get(row["client_order_id"])
    if asked_at is None:
        return True
    return row["status"] in _CANCELLABLE and now - asked_at >= ASK_AGAIN


def _close(tx: Tx, run: Run, step: Close) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    held = _held(tx, run, step.contract)
    if held.side is None or held.side is not _reduced_by(step.side):
        return []
    quantity = held.size if step.is_whole else min(step.quantity, held.size)
    return [_exit_call(tx, run, step.contract, held, quantity)]


def _await_flat(tx: Tx, run: Run, step: AwaitFlat) -> list[Call]:
    for contract in step.contracts:
        held = _held(tx, run, contract)
        if held.side is None:
            continue
        exits = [
            row
            for row in _open_orders(tx, run)
            if row["role"] == OrderRole.EXIT.value and row["contract"] == contract
        ]
        if exits:
            words = f"{contract} was not flat in time; nothing was entered."
            ids = tuple(row["client_order_id"] for row in exits)
            return _wait(run, "not_flat", words, ids)
        if run.waiting_until is None:
            run.waiting_until = clock.now() + FLAT_TIMEOUT
        is_tried = run.sent_step == run.step and len(run.sent) >= _MOST_EXITS
        if is_tried or clock.now() > run.waiting_until:
            return _fail(run, "not_flat", f"{contract} could not be closed; nothing was entered.")
        return [_exit_call(tx, run, contract, held, held.size)]
    return []


def _enter(tx: Tx, run: Run, step: Enter) -> list[Call]:
    now = clock.now()
    sent = _sent(tx, run)
    if sent.is_there:
        return []
    if sent.lost > 1:
        return _fail(run, "order_lost", _LOST_TWICE)
    if now < step.not_before:
        run.deferred_until = step.not_before
        return []
    if now > step.deadline:
        return _fail(run, "entry_deadline", _TOO_LATE)
    client_order_id = uuid4().hex
    ticket = OrderTicket(
        contract=step.contract,
        side=step.side,
        quantity=step.quantity,
        order_type=step.order_type,
        limit_price=step.limit_price,
        stop_price=step.stop_price,
        take_profit=leg_ticket(client_order_id, "tp", step.take_profit),
        stop_loss=leg_ticket(client_order_id, "sl", step.stop_loss),
        reference_price=step.reference_price,
    )
    return [place(tx, run, ticket, OrderRole.ENTRY, client_order_id)]


_TOO_LATE = "The entry could not be sent before its deadline."
_LOST_TWICE = "The entry did not reach the broker, twice; it was not sent again."


def _net(tx: Tx, run: Run, step: Net) -> list[Call]:
    """Close and open by one order. Where its entering half may not be or was not taken, the exit
    still runs."""
    sent = _sent(tx, run)
    if run.failure is None and not sent.is_there:
        if sent.lost > 1:
            _fail(run, "order_lost", _LOST_TWICE)
        elif clock.now() > step.deadline:
            _fail(run, "entry_deadline", _TOO_LATE)
    if run.failure is not None:
        return _close_half(tx, run, step)
    if sent.is_there:
        return []
    held = _held(tx, run, step.contract)
    closes = held.size if held.side is _reduced_by(step.side) else Decimal(0)
    ticket = OrderTicket(
        contract=step.contract,
        side=step.side,
        quantity=closes + step.opens,
        reference_price=step.reference_price,
    )
    return [place(tx, run, ticket, OrderRole.ENTRY)]


def _close_half(tx: Tx, run: Run, step: Net) -> list[Call]:
    held = _held(tx, run, step.contract)
    is_tried = any(
        row.role == OrderRole.EXIT.value and row.status != OrderStatus.NOT_FOUND.value
        for row in _rows_of_step(tx, run)
    )
    if is_tried or held.side is not _reduced_by(step.side):
        return []
    return [_exit_call(tx, run, step.contract, held, held.size)]


def _adopt(tx: Tx, run: Run, step: Adopt) -> list[Call]:
    owner = fills.Owner(run.subject.trader_id, run.subject.strategy_id)
    key = f"adopt-{run.id}-{run.step}"
    fills.adopt(tx, run.account, owner, step.contract, step.net_pos, step.price, key)
    return []


def _reprotect(tx: Tx, run: Run, step: Reprotect) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    legs = _protective(tx, run, step.contract)
    if legs:
        return _cancel_rows(tx, run, legs)
    return _await_last_fills(tx, run, tuple(run.asked)) or _protect(
        tx, run, step.contract, step.take_profit, step.stop_loss
    )


def _move_stop(tx: Tx, run: Run, step: MoveStop) -> list[Call]:
    if _sent(tx, run).is_there:
        return []
    legs = _protective(tx, run, step.contract)
    if legs:
        return _cancel_rows(tx, run, legs)
    return _await_last_fills(tx, run, tuple(run.asked)) or _protect(
        tx, run, step.contract, None, step.price
    )


def _correct_legs(tx: Tx, run: Run, step: CorrectLegs) -> list[Call]:
    if run.sent_step == run.step:
        return []
    run.sent_step = run.step
    legs = _protective(tx, run, step.contract)
    return [call for leg in legs if (call := _correction(tx, leg)) is not None]


_ENTRY_OF = Prepared(
    select(_ORDERS.c.avg_fill_price, _ORDERS.c.side, _ORDERS.c.order_type).where(
        _ORDERS.c.id == bindparam("entry")
    )
)


def misplaced_to(leg: Any, entry: Any) -> Decimal | None:
    """Where a leg should be, counted from its entry's fill price; None: it is there, or nobody
    can say, or the broker counts itself, as it does behind a market order. ``leg`` is an order's
    row as a mapping, ``entry`` has its entry's price, side and type."""
    offset = (leg["ticket"] or {}).get("offset")
    if offset is None or entry is None or entry.avg_fill_price is None:
        return None
    if entry.order_type == OrderType.MARKET.value:
        return None
    side = PositionSide.LONG if entry.side == Side.BUY.value else PositionSide.SHORT
    is_target = leg["role"] == OrderRole.TAKE_PROFIT.value
    price_of = brackets.target_price if is_target else brackets.stop_price
    tick = facts_of(leg["contract"]).tick_size
    wanted = price_of(side, entry.avg_fill_price, Decimal(offset), tick)
    return None if wanted == leg["limit_price" if is_target else "stop_price"] else wanted


def _correction(tx: Tx, leg: Any) -> Modify | None:
    if leg["parent_id"] is None or leg["status"] not in _RESTING:
        return None
    wanted = misplaced_to(leg, _ENTRY_OF.first(tx.conn, {"entry": leg["parent_id"]}))
    if wanted is None:
        return None
    is_target = leg["role"] == OrderRole.TAKE_PROFIT.value
    return Modify(
        leg["client_order_id"],
        leg["broker_order_id"],
        leg["quantity"],
        limit_price=wanted if is_target else None,
        stop_price=None if is_target else wanted,
    )


_RESTING = (OrderStatus.WORKING.value, OrderStatus.PARTIALLY_FILLED.value)
HANDLERS: dict[type, Any] = {
    Adopt: _adopt,
    CancelOrders: _cancel,
    Close: _close,
    AwaitFlat: _await_flat,
    Enter: _enter,
    Net: _net,
    Reprotect: _reprotect,
    MoveStop: _move_stop,
    CorrectLegs: _correct_legs,
}


def _protect(
    tx: Tx, run: Run, contract: str, target: Decimal | None, stop: Decimal | None
) -> list[Call]:
    """A bracket for the whole book as it is now."""
    book = _held(tx, run, contract)
    side = book.side
    if side is None or book.avg_price is None:
        return []
    settings = run.subject.effective.values
    legs = brackets.legs_for(
        side, book.avg_price, book.size, settings, facts_of(contract), run.alert
    )
    target_price = target or (legs.take_profit.price if legs.take_profit else None)
    stop_price = stop or (legs.stop_loss.price if legs.stop_loss else None)
    closing = side.opening.opposite
    tickets: list[tuple[OrderTicket, OrderRole]] = []
    if target_price is not None:
        tickets.append(
            (
                _protective_ticket(contract, closing, book.size, limit=target_price),
                OrderRole.TAKE_PROFIT,
            )
        )
    if stop_price is not None:
        tickets.append(
            (
                _protective_ticket(contract, closing, book.size, stop=stop_price),
                OrderRole.STOP_LOSS,
            )
        )
    placed = [place(tx, run, ticket, role) for ticket, role in tickets]
    if len(placed) == 2:
        first, second = placed
        ids = (first.client_order_id, second.client_order_id)
        return [PlaceOco(ids, first.ticket, second.ticket)]
    return list(placed)


def _protective_ticket(
    contract: str,
    side: Side,
    quantity: Decimal,
    *,
    limit: Decimal | None = None,
    stop: Decimal | None = None,
) -> OrderTicket:
    return OrderTicket(
        contract=contract,
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT if limit is not None else OrderType.STOP,
        limit_price=limit,
        stop_price=stop,
        reduce_only=True,
        origin=Origin.BRACKET,
    )


def _exit_call(tx: Tx, run: Run, contract: str, held: _Held, quantity: Decimal) -> Place:
    """Reduce-only where the account as a whole holds that much on this side. With books on both
    sides it holds less, or the other side, and the exit of one must still go through."""
    assert held.side is not None  # noqa: S101  (only what is held is closed)
    ticket = OrderTicket(
        contract=contract,
        side=held.side.closing,
        quantity=quantity,
        reduce_only=held.of_account * held.side.sign >= quantity,
        origin=run.origin,
        reference_price=run.alert.price if run.alert is not None else None,
    )
    return place(tx, run, ticket, OrderRole.EXIT)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What the broker has of a step's orders. ``lost``: how many were sent and proven not to
    exist."""

    is_there: bool
    lost: int = 0


def _sent(tx: Tx, run: Run) -> _Sent:
    """Whether this step's order was sent, by this run or by one that a crash ended.

    An order that was proven not to exist does not count: it is planned again, an entry once, an
    exit as often as it takes, from the book as it then is.
    """
    is_ours = run.sent_step == run.step
    if is_ours and not run.is_in_doubt:
        return _Sent(is_there=True)
    if not is_ours and not run.is_resumed:
        return _Sent(is_there=False)
    rows = _rows_of_step(tx, run)
    newest = {row.role: row for row in rows}
    lost = sum(r.status == OrderStatus.NOT_FOUND.value and bool(r.submitted_at) for r in rows)
    if not newest or any(r.status == OrderStatus.NOT_FOUND.value for r in newest.values()):
        return _Sent(is_there=False, lost=lost)
    if not is_ours:
        run.sent_step, run.sent = run.step, [row.client_order_id for row in rows]
    run.is_in_doubt = False
    for row in newest.values():
        if row.order_type == OrderType.MARKET.value and OrderStatus(row.status) not in TERMINAL:
            run.awaited = row.client_order_id
        if row.status == OrderStatus.REJECTED.value:
            take_rejection(tx, run, row.contract, Side(row.side), row.role, row.reason)
    return _Sent(is_there=True, lost=lost)


def _rows_of_step(tx: Tx, run: Run) -> list[Any]:
    """The step's orders without the legs of an entry, oldest first."""
    if run.id:
        return _OF_STEP.rows(tx.conn, {"execution": run.id, "step": run.step})
    return [row for i in run.sent for row in BY_CLIENT_ID.rows(tx.conn, {"id": i})]


def until_filled(tx: Tx, run: Run) -> list[Call]:
    """A market order fills at once, but not every broker says so in its answer: what follows is
    decided from the book, so it waits."""
    if run.awaited is None:
        return []
    if not any(row["client_order_id"] == run.awaited for row in _open_orders(tx, run)):
        return []
    return _until_told(run, (run.awaited,))


def _until_told(run: Run, about: tuple[str, ...]) -> list[Call]:
    """Wait, but not for ever: what follows is then done with the book as it is."""
    now = clock.now()
    if run.waiting_until is None:
        run.waiting_until = now + FLAT_TIMEOUT
    return [Wait(run.waiting_until, about)] if now < run.waiting_until else []


def _open_orders(tx: Tx, run: Run) -> list[Any]:
    trader_id = run.subject.trader_id
    if trader_id is None:
        return _OPEN_MANUAL.dicts(tx.conn, {"account": run.account.id})
    return _OPEN_OF_TRADER.dicts(tx.conn, {"account": run.account.id, "trader": trader_id})


def _protective(tx: Tx, run: Run, contract: str) -> list[Any]:
    roles = (OrderRole.TAKE_PROFIT.value, OrderRole.STOP_LOSS.value)
    return [
        row for row in _open_orders(tx, run) if row["role"] in roles and row["contract"] == contract
    ]


@dataclass(frozen=True, slots=True)
class _Held:
    """The book in one contract. ``of_account``: the sum of all the account's books in it."""

    net_pos: Decimal = Decimal(0)
    avg_price: Decimal | None = None
    of_account: Decimal = Decimal(0)

    @property
    def side(self) -> PositionSide | None:
        return PositionSide.of(self.net_pos)

    @property
    def size(self) -> Decimal:
        return abs(self.net_pos)


def _held(tx: Tx, run: Run, contract: str) -> _Held:
    rows = _IN_CONTRACT.rows(tx.conn, {"account": run.account.id, "contract": contract})
    whole = sum((row.net_pos for row in rows), Decimal(0))
    mine = [row for row in rows if row.trader_id == run.subject.trader_id]
    # A trader has one book in a contract; what was traded without one may be in several.
    net_pos = sum((row.net_pos for row in mine), Decimal(0))
    return _Held(net_pos, mine[0].avg_price if len(mine) == 1 else None, whole)


def _reduced_by(side: Side) -> PositionSide:
    return PositionSide.LONG if side is Side.SELL else PositionSide.SHORT


def _set_status(tx: Tx, row: Any, status: OrderStatus, now: datetime) -> None:
    tx.conn.execute(
        update(_ORDERS)
        .where(_ORDERS.c.id == row["id"], _ORDERS.c.status == row["status"])
        .values(status=status.value, updated_at=now)
    )
    tx.record(row["user_id"], "order:update", payloads.order({**row, "status": status.value}))


def _wait(run: Run, code: str, words: str, about: tuple[str, ...]) -> list[Call]:
    now = clock.now()
    if run.waiting_until is None:
        run.waiting_until = now + FLAT_TIMEOUT
    if now >= run.waiting_until:
        return _fail(run, code, words)
    return [Wait(run.waiting_until, about)]


def take_rejection(
    tx: Tx, run: Run, contract: str, side: Side, role: str, reason: str | None
) -> None:
    opens = role == OrderRole.ENTRY.value
    if opens or _held(tx, run, contract).side is _reduced_by(side):
        run.failure = ("order_rejected", reason or "The broker rejected the order.")


def _fail(run: Run, code: str, words: str) -> list[Call]:
    run.failure = (code, words)
    return []
