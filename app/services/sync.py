"""Whether our books say what the broker holds. While they do not, the account says so, since when
and by how much; nothing is traded to make them agree."""

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
from app.domain.errors import TradingError
from app.domain.trading import BrokerReport
from app.extensions import lifecycle, writer
from app.models import Account, Book, LivePosition
from app.models.base import table
from app.models.prepared import Prepared
from app.services import account_status, journal, payloads, reconcile, user_data
from app.services.executor import executor
from app.transactions import Tx

log = logging.getLogger(__name__)

PATIENCE_S = 1.5
"""A position and its fill come as two messages: how long the second may take before the broker is
asked. With the answer it stays within five seconds."""

_ACCOUNTS = table(Account)
_BOOKS = table(Book)
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
    lifecycle.add("comparison", lambda: None, _looks.kill)


def take_note(account: AccountRef, report: BrokerReport) -> None:
    """Something was taken in: ask about orders that are gone, compare positions."""
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
