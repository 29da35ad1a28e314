"""Whether our books say what the broker holds. While they do not, the account says so, since when
and by how much; nothing is traded to make them agree. What was held before we knew the account is
taken over at once; anything else waits for its owner, who may let the books follow (``adopt``)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import gevent
from gevent.pool import Group
from sqlalchemy import Connection, bindparam, select

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef
from app.domain.errors import BrokerUnavailable, TradingError
from app.domain.trading import BrokerFill, BrokerReport, Side
from app.extensions import db, lifecycle, writer
from app.models import Account, Book, Fill, LivePosition, Order
from app.models.base import table
from app.models.prepared import Prepared
from app.services import account_status, fills, journal, payloads, reconcile, user_data
from app.services.executor import executor
from app.services.owned import get
from app.transactions import Tx

log = logging.getLogger(__name__)

PATIENCE_S = 1.5
"""A position and its fill come as two messages: how long the second may take before the broker is
asked. With the answer it stays within five seconds."""

_STOP_S = 0.5
_PAPER = "paper"

_ACCOUNTS = table(Account)
_BOOKS = table(Book)
_FILLS = table(Fill)
_ORDERS = table(Order)
_LIVE = table(LivePosition)
_HELD_BY_BOOKS = Prepared(
    select(_BOOKS.c.contract, _BOOKS.c.net_pos).where(
        _BOOKS.c.account_id == bindparam("account"), _BOOKS.c.net_pos != Decimal(0)
    )
)
_HELD_AT_BROKER = Prepared(
    select(_LIVE.c.contract, _LIVE.c.net_pos).where(
        _LIVE.c.account_id == bindparam("account"), _LIVE.c.net_pos != Decimal(0)
    )
)
_SAID = Prepared(
    select(_ACCOUNTS.c.out_of_sync_since, _ACCOUNTS.c.sync_note).where(
        _ACCOUNTS.c.id == bindparam("account")
    )
)

_ANY_FILL = Prepared(
    select(_FILLS.c.id)
    .where(
        _FILLS.c.account_id == bindparam("account"),
        _FILLS.c.contract == bindparam("contract"),
    )
    .limit(1)
)
_ANY_ORDER = Prepared(
    select(_ORDERS.c.id)
    .where(
        _ORDERS.c.account_id == bindparam("account"),
        _ORDERS.c.contract == bindparam("contract"),
    )
    .limit(1)
)
_LIVE_PRICE = Prepared(
    select(_LIVE.c.avg_price).where(
        _LIVE.c.account_id == bindparam("account"),
        _LIVE.c.contract == bindparam("contract"),
        _LIVE.c.net_pos != Decimal(0),
        _LIVE.c.avg_price.is_not(None),
    )
)
_BOOK_PRICE = Prepared(
    select(_BOOKS.c.avg_price).where(
        _BOOKS.c.account_id == bindparam("account"),
        _BOOKS.c.contract == bindparam("contract"),
        _BOOKS.c.avg_price.is_not(None),
    )
)

_looking: set[int] = set()
"""Accounts whose difference is being looked into."""
_looks = Group()


@dataclass(frozen=True, slots=True)
class Difference:
    """One contract of which the broker holds ``broker`` and our books say ``books`` (signed)."""

    contract: str
    broker: Decimal
    books: Decimal

    def __str__(self) -> str:
        broker, books = payloads.number(self.broker), payloads.number(self.books)
        return f"{self.contract}: the broker holds {broker}, our books say {books}"


def register() -> None:
    """Look after every account that a broker tells of by itself."""
    _looking.clear()
    user_data.on_taken_in(take_note)
    lifecycle.add("comparison", lambda: None, _end_looks)


def _end_looks() -> None:
    """Let those that are reading end: killed while it connects, one leaves the connection open."""
    _looks.join(timeout=_STOP_S)
    _looks.kill()


def take_note(account: AccountRef, report: BrokerReport) -> None:
    """Something was taken in: ask about orders that are gone, compare positions. The paper broker
    is of this process: what it holds is compared at every decision."""
    if account.broker == _PAPER:
        return
    if report.is_complete:
        missing = reconcile.gone(account, report)
        if missing:
            executor.doubt(account.id, missing)
    if report.positions or report.fills or report.is_complete:
        _check(account)


def differences(connection: Connection, account_id: int) -> list[Difference]:
    """What the broker last said it holds beside the sums of the account's books."""
    of_account = {"account": account_id}
    books: dict[str, Decimal] = {}
    for row in _HELD_BY_BOOKS.rows(connection, of_account):
        books[row.contract] = books.get(row.contract, Decimal(0)) + row.net_pos
    broker = {row.contract: row.net_pos for row in _HELD_AT_BROKER.rows(connection, of_account)}
    return [
        Difference(contract, broker.get(contract, Decimal(0)), books.get(contract, Decimal(0)))
        for contract in sorted({*broker, *books})
        if broker.get(contract, Decimal(0)) != books.get(contract, Decimal(0))
    ]


def adopt(user_id: int, account_id: int) -> list[Difference]:
    """Let the books say what the broker holds; what differed is booked as traded by somebody else,
    at the broker's average price. Returns what was taken over.

    Raises:
        NotFound: not the user's account.
        BrokerUnavailable: the broker could not be asked; nothing was changed.
    """
    account = registry.ref(get(Account, account_id, user_id))
    db.session.commit()  # no read may hold a transaction open while a broker is asked
    if not _is_asked(account):
        raise BrokerUnavailable("The broker does not answer; nothing was changed. Try again.")
    taken = writer.run(lambda tx: _explain(tx, account, differences(tx.conn, account.id)))
    _check(account)
    return taken


def _take_over(tx: Tx, account: AccountRef) -> None:
    """What was held in a contract before we ever traded or heard of a fill there is nobody's here.
    Where an order of ours is, it may be the one that explains it, in a session that was archived:
    then its stop must not be taken for one that has nothing to protect."""
    found = [
        each
        for each in differences(tx.conn, account.id)
        if not any(
            known.rows(tx.conn, {"account": account.id, "contract": each.contract})
            for known in (_ANY_FILL, _ANY_ORDER)
        )
    ]
    _explain(tx, account, found)


def _explain(tx: Tx, account: AccountRef, found: list[Difference]) -> list[Difference]:
    """Book what nobody told as a fill of somebody else; it reduces what it closes first."""
    now = clock.now()
    taken = []
    for each in found:
        price = _price_of(tx, account, each.contract)
        if price is None:
            continue
        missing = each.broker - each.books
        key = f"adopted-{each.contract}-{now:%Y%m%d%H%M%S%f}"
        side = Side.BUY if missing > 0 else Side.SELL
        fill = BrokerFill(key, None, key, each.contract, side, abs(missing), price, Decimal(0), now)
        fills.apply(tx, account, BrokerReport(fills=(fill,)), source="reconcile")
        journal.write(
            tx,
            account.user_id,
            "adopted",
            f"{each}. The books follow the broker; no order of ours explains the difference.",
            level="warning",
            account_id=account.id,
        )
        taken.append(each)
    return taken


def _price_of(tx: Tx, account: AccountRef, contract: str) -> Decimal | None:
    """The broker's average price of what it holds, else that of a book which it does not."""
    of_contract = {"account": account.id, "contract": contract}
    for prices in (_LIVE_PRICE, _BOOK_PRICE):
        for row in prices.rows(tx.conn, of_contract):
            return Decimal(row.avg_price)
    return None


def _check(account: AccountRef) -> None:
    with writer.read() as connection:
        found = differences(connection, account.id)
        state = _SAID.first(connection, {"account": account.id})
    if not found:
        if state.out_of_sync_since is not None:
            writer.run(lambda tx: _clear(tx, account, state.out_of_sync_since))
        return
    if _words(found) != state.sync_note and account.id not in _looking:
        _looking.add(account.id)
        _looks.spawn(_look_again, account)


def _look_again(account: AccountRef) -> None:
    """Believe a difference only when the broker, asked for everything, still makes one."""
    try:
        gevent.sleep(PATIENCE_S)
        if _is_apart(account) and _is_asked(account) and _is_apart(account):
            writer.run(lambda tx: _take_over(tx, account))
            writer.run(lambda tx: _mark(tx, account))
    except Exception:  # the greenlet's edge: the next report looks again
        log.exception("comparison failed", extra={"account_id": account.id})
    finally:
        _looking.discard(account.id)


def _is_apart(account: AccountRef) -> bool:
    with writer.read() as connection:
        return bool(differences(connection, account.id))


def _is_asked(account: AccountRef) -> bool:
    """Take in the broker's fills and everything that it has open; False: it did not answer."""
    broker = registry.get(account.broker)
    try:
        reconcile.catch_up(broker, account)
        user_data.take_in(account, broker.snapshot(account), source="reconcile")
    except TradingError as e:
        log.warning("broker not reachable", extra={"account_id": account.id, "detail": e.detail})
        return False
    return True


def _mark(tx: Tx, account: AccountRef) -> None:
    found = differences(tx.conn, account.id)
    if not found:
        return
    row = tx.session.get(Account, account.id)
    if row is None or row.sync_note == _words(found):
        return
    row.out_of_sync_since = row.out_of_sync_since or clock.now()
    row.sync_note = _words(found)
    _tell(tx, row, "out_of_sync", f"“{row.name}” is out of sync. {row.sync_note}", "error")


def _clear(tx: Tx, account: AccountRef, since: datetime) -> None:
    row = tx.session.get(Account, account.id)
    if row is None or row.out_of_sync_since != since or differences(tx.conn, account.id):
        return
    row.out_of_sync_since = row.sync_note = None
    _tell(tx, row, "in_sync", f"“{row.name}” agrees with the broker again.", "info")


def _tell(tx: Tx, row: Account, event: str, message: str, level: str) -> None:
    tx.session.flush()
    tx.record(row.user_id, "account:status", account_status.event(row))
    journal.write(tx, row.user_id, event, message, level=level, account_id=row.id)


def _words(found: list[Difference]) -> str:
    return ("; ".join(map(str, found)) + ".")[:500]
