"""What brokers say of an account beside our orders and fills: what it holds, its money, and
orders that somebody else sent. Absolute values; an older one changes nothing.

Positions and money are pushed to who looks at the account (``live_push``); orders of others are
events that last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, literal, select, update

from app import clock
from app.brokers.base import AccountRef
from app.domain.orders import TERMINAL
from app.domain.trading import (
    BrokerBalance,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    OrderStatus,
)
from app.extensions import db
from app.models import ExternalOrder, LiveBalance, LivePosition, Order
from app.models.base import table
from app.models.prepared import Prepared
from app.services import payloads
from app.services.live_push import pusher
from app.transactions import Tx

log = logging.getLogger(__name__)

ENDED = "ended"
"""The status of an order of somebody else that the broker lists no more: it was filled or
cancelled, and nobody told us which."""
OVER = frozenset({ENDED, *(status.value for status in TERMINAL)})

_POSITIONS = table(LivePosition)
_BALANCES = table(LiveBalance)
_EXTERNAL = table(ExternalOrder)
_ORDERS = table(Order)

_OF_ACCOUNT = {
    of.name: Prepared(select(of).where(of.c.account_id == bindparam("account")))
    for of in (_POSITIONS, _BALANCES)
}
_CHANGES = {
    of.name: Prepared(
        update(of)
        .where(of.c.id == bindparam("of_id"))
        .values({of.c[name]: bindparam(f"to_{name}") for name in (*names, "updated_at")})
    )
    for of, names in (
        (_POSITIONS, ("contract", "net_pos", "avg_price", "as_of")),
        (_BALANCES, ("currency", "cash", "reserved", "equity", "realized_today", "as_of")),
    )
}
_OURS_BY_OUR_ID = Prepared(
    select(_ORDERS.c.broker_order_id, _ORDERS.c.client_order_id).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.client_order_id == bindparam("id"),
    )
)
_OURS_BY_BROKERS_ID = Prepared(
    select(_ORDERS.c.broker_order_id, _ORDERS.c.client_order_id).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.broker_order_id == bindparam("id"),
    )
)
_BEING_SENT = Prepared(
    select(_ORDERS.c.contract, _ORDERS.c.side).where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.broker_order_id.is_(None),
        _ORDERS.c.status.in_(
            [
                literal(OrderStatus.SUBMITTING.value),
                literal(OrderStatus.UNKNOWN.value),
            ]
        ),
    )
)
_KNOWN_OPEN = Prepared(
    select(_EXTERNAL).where(
        _EXTERNAL.c.account_id == bindparam("account"),
        _EXTERNAL.c.status.not_in([literal(status) for status in sorted(OVER)]),
    )
)
_KNOWN_BY_ID = Prepared(
    select(_EXTERNAL).where(
        _EXTERNAL.c.account_id == bindparam("account"),
        _EXTERNAL.c.broker_order_id == bindparam("id"),
    )
)
_NEWS = timedelta(minutes=10)
"""An order of others that had ended longer ago when we first heard of it is no event."""

_MONEY_STEP = Decimal("1E-8")
_MOST_MONEY = Decimal(9) * 10**10
_REASON_LENGTH = 500


def apply(tx: Tx, account: AccountRef, report: BrokerReport) -> None:
    """Take in what a report says beside our orders and fills, as part of ``tx``.

    Comes after ``fills.apply`` of the same report, which learns which orders are ours.
    """
    _take_positions(tx, account, report)
    if report.balance is not None:
        _take_balance(tx, account, report.balance)
    _take_external(tx, account, report)


def positions(account_id: int) -> Sequence[LivePosition]:
    """What the broker says the account holds, by contract; flat rows too. Whose account it is
    has been checked before, here as in the other reads."""
    query = select(LivePosition).where(LivePosition.account_id == account_id)
    return db.session.scalars(query.order_by(LivePosition.contract)).all()


def balances(account_id: int) -> Sequence[LiveBalance]:
    query = select(LiveBalance).where(LiveBalance.account_id == account_id)
    return db.session.scalars(query.order_by(LiveBalance.currency)).all()


def external_orders(
    account_id: int, *, only_open: bool = False, limit: int = 100
) -> Sequence[ExternalOrder]:
    """Orders that we did not send, newest first."""
    query = select(ExternalOrder).where(ExternalOrder.account_id == account_id)
    if only_open:
        query = query.where(ExternalOrder.status.not_in(sorted(OVER)))
    newest_first = query.order_by(ExternalOrder.reported_at.desc(), ExternalOrder.id.desc())
    return db.session.scalars(newest_first.limit(limit)).all()


def snapshot(account_id: int) -> dict[str, Any]:
    """What a page that begins to follow the account is told first. Ready for JSON."""
    rows = (_row(order) for order in external_orders(account_id, only_open=True))
    return {
        "account_id": account_id,
        "positions": [payloads.live_position(_row(p)) for p in positions(account_id)],
        "balances": [payloads.live_balance(_row(b)) for b in balances(account_id)],
        "external_orders": [payloads.external_order(row) for row in rows],
    }


def _row(of: LivePosition | LiveBalance | ExternalOrder) -> dict[str, Any]:
    return {column.key: getattr(of, column.key) for column in of.__table__.columns}


# Positions and money.


def _take_positions(tx: Tx, account: AccountRef, report: BrokerReport) -> None:
    if not report.positions and not report.is_complete:
        return
    known = _by(tx, _POSITIONS, account, "contract")
    for position in report.positions:
        _take_position(tx, account, known.get(position.contract), position)
    if report.is_complete:
        told = {position.contract for position in report.positions}
        for contract, row in known.items():
            if contract not in told and row["net_pos"]:
                # Of the time of what it ends, so that no clock is compared with another.
                flat = BrokerPosition(contract, Decimal(0), None, row["as_of"])
                _take_position(tx, account, row, flat)


def _take_position(
    tx: Tx, account: AccountRef, row: dict[str, Any] | None, position: BrokerPosition
) -> None:
    as_of = position.at or clock.now()
    if row is not None and as_of < row["as_of"]:
        return
    average = position.avg_price if position.net_pos else None
    key = {"contract": position.contract}
    state = {"net_pos": position.net_pos, "avg_price": average, "as_of": as_of}
    _put(tx, _POSITIONS, account, row, {**key, **state})
    before = (row["net_pos"], row["avg_price"]) if row is not None else (Decimal(0), None)
    if (position.net_pos, average) != before:
        said = payloads.live_position({**key, **state})
        tx.after_commit(
            lambda: pusher.offer(account.id, "account:positions", position.contract, said)
        )


def _take_balance(tx: Tx, account: AccountRef, stated: BrokerBalance) -> None:
    balance = _rounded(stated)
    if balance is None:
        log.warning("balance out of range", extra={"account_id": account.id})
        return
    row = _by(tx, _BALANCES, account, "currency").get(balance.currency)
    as_of = balance.at or clock.now()
    if row is not None and as_of < row["as_of"]:
        return
    state = {
        "cash": balance.cash,
        "reserved": balance.reserved,
        "equity": balance.equity,
        "realized_today": balance.realized_today,
    }
    said = {"currency": balance.currency, **state, "as_of": as_of}
    _put(tx, _BALANCES, account, row, said)
    if row is None or any(row[name] != value for name, value in state.items()):
        message = payloads.live_balance(said)
        tx.after_commit(
            lambda: pusher.offer(account.id, "balance:update", balance.currency, message)
        )


def _rounded(stated: BrokerBalance) -> BrokerBalance | None:
    """To the 8 places that money has here, half to even; None: no amount could be that large."""
    amounts = (stated.cash, stated.reserved, stated.equity, stated.realized_today or Decimal(0))
    if not all(amount.is_finite() and abs(amount) <= _MOST_MONEY for amount in amounts):
        return None
    today = stated.realized_today
    return replace(
        stated,
        cash=stated.cash.quantize(_MONEY_STEP),
        reserved=stated.reserved.quantize(_MONEY_STEP),
        equity=stated.equity.quantize(_MONEY_STEP),
        realized_today=None if today is None else today.quantize(_MONEY_STEP),
    )


# Orders of others.

_held_back: dict[int, dict[str, BrokerOrder]] = {}
"""Per account, by the broker's id: orders that may be one that we are just sending. A crash loses
them; whatever lists the account's orders next brings them again."""


def clear() -> None:
    """Forget what was held back: a new app begins."""
    _held_back.clear()


def is_holding_back(account_id: int) -> bool:
    """Whether something waits for the outcome of an order of ours; ``apply`` looks again."""
    return account_id in _held_back


def _take_external(tx: Tx, account: AccountRef, report: BrokerReport) -> None:
    held_back = _held_back.get(account.id, {})
    told = {**held_back, **{order.broker_order_id: order for order in report.orders}}
    if not told and not report.is_complete:
        return
    known = _known(tx, account, told)
    ours = _ours(tx, account, told) if told else set()
    foreign = {id_: order for id_, order in told.items() if id_ not in ours}
    unclear = _unclear(tx, account, foreign, known)
    for id_, order in foreign.items():
        if id_ not in unclear:
            _take_order(tx, account, known.get(id_), order)
    for id_ in ours & known.keys():
        _give_up(tx, account, known[id_])
    if report.is_complete:
        for id_ in known.keys() - told.keys():
            _end(tx, account, known[id_])
    if unclear or held_back:
        tx.after_commit(lambda: _hold_back(account.id, unclear, told.keys() - unclear.keys()))


def _hold_back(account_id: int, unclear: dict[str, BrokerOrder], clear: set[str]) -> None:
    held_back = {**_held_back.get(account_id, {}), **unclear}
    _held_back[account_id] = {id_: o for id_, o in held_back.items() if id_ not in clear}
    if not _held_back[account_id]:
        del _held_back[account_id]


def _known(tx: Tx, account: AccountRef, told: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows of orders of others, by the broker's id: those that are told, and all that are open."""
    rows = _KNOWN_OPEN.dicts(tx.conn, {"account": account.id})
    for broker_id in told:
        rows += _KNOWN_BY_ID.dicts(tx.conn, {"account": account.id, "id": broker_id})
    return {row["broker_order_id"]: row for row in rows}


def _ours(tx: Tx, account: AccountRef, told: dict[str, BrokerOrder]) -> set[str]:
    """The broker's ids of those that an order row of the account is about."""
    rows: list[Any] = []
    for broker_id, order in told.items():
        rows += _OURS_BY_BROKERS_ID.rows(tx.conn, {"account": account.id, "id": broker_id})
        if order.client_order_id:
            wanted = {"account": account.id, "id": order.client_order_id}
            rows += _OURS_BY_OUR_ID.rows(tx.conn, wanted)
    by_our_id = {row.client_order_id for row in rows}
    return {row.broker_order_id for row in rows if row.broker_order_id} | {
        id_ for id_, order in told.items() if order.client_order_id in by_our_id
    }


def _unclear(
    tx: Tx, account: AccountRef, foreign: dict[str, BrokerOrder], known: dict[str, Any]
) -> dict[str, BrokerOrder]:
    """Those that may be an order of ours whose answer, with its id there, is still to come."""
    new = {id_: order for id_, order in foreign.items() if id_ not in known}
    if not new:
        return {}
    rows = _BEING_SENT.rows(tx.conn, {"account": account.id})
    being_sent = {(row.contract, row.side) for row in rows}
    return {id_: o for id_, o in new.items() if (o.contract, o.side.value) in being_sent}


def _take_order(
    tx: Tx, account: AccountRef, row: dict[str, Any] | None, order: BrokerOrder
) -> None:
    """What is over stays over, except an order that we only took for over, or on proof of more."""
    if row is not None:
        was_filled, is_over = row["filled_quantity"], row["status"] in OVER - {ENDED}
        if order.at < row["reported_at"] or order.filled_quantity < was_filled:
            return
        if is_over and order.status.value not in OVER:
            return
    key = {"broker_order_id": order.broker_order_id}
    state = {
        "contract": order.contract,
        "side": order.side.value,
        "order_type": order.order_type.value,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "status": order.status.value,
        "reason": None if order.reason is None else order.reason[:_REASON_LENGTH],
    }
    if row is not None and all(row[name] == value for name, value in state.items()):
        return
    stored = _put(tx, _EXTERNAL, account, row, {**key, **state, "reported_at": order.at})
    is_old = row is None and state["status"] in OVER and clock.now() - order.at > _NEWS
    if not is_old:
        tx.record(account.user_id, "order:update", payloads.external_order(stored))


def _end(tx: Tx, account: AccountRef, row: dict[str, Any]) -> None:
    if row["status"] in OVER:
        return
    state = {"status": ENDED, "reason": "The broker does not list it any more."}
    stored = _put(tx, _EXTERNAL, account, row, state)
    tx.record(account.user_id, "order:update", payloads.external_order(stored))


def _give_up(tx: Tx, account: AccountRef, row: dict[str, Any]) -> None:
    """It has turned out to be one of ours: it was told before its connection with us was."""
    tx.conn.execute(delete(_EXTERNAL).where(_EXTERNAL.c.id == row["id"]))
    said = payloads.external_order({**row, "status": ENDED, "reason": "It is one of ours."})
    tx.record(account.user_id, "order:update", said)


# Rows.


def _by(tx: Tx, of: Table, account: AccountRef, key: str) -> dict[str, dict[str, Any]]:
    rows = _OF_ACCOUNT[of.name].dicts(tx.conn, {"account": account.id})
    return {row[key]: row for row in rows}


def _put(
    tx: Tx, of: Table, account: AccountRef, row: dict[str, Any] | None, values: dict[str, Any]
) -> dict[str, Any]:
    """Store ``values`` in ``row``, or as a new row; the whole row as it is then."""
    now = clock.now()
    if row is not None:
        changed = {**values, "updated_at": now}
        prepared = _CHANGES.get(of.name)
        if prepared is not None:
            wanted = {f"to_{name}": value for name, value in changed.items()}
            prepared.run(tx.conn, {**wanted, "of_id": row["id"]})
        else:
            tx.conn.execute(update(of).where(of.c.id == row["id"]).values(**changed))
        return {**row, **changed}
    new = {
        **values,
        "user_id": account.user_id,
        "account_id": account.id,
        "created_at": now,
        "updated_at": now,
    }
    return {**new, "id": tx.conn.scalar(insert(of).values(**new).returning(of.c.id))}
