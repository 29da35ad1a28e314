"""Trading accounts: opened, renamed, looked into, emptied, closed."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, cast

from sqlalchemy import Select, func, select, update

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef, Broker
from app.domain.errors import Conflict, Invalid
from app.domain.trading import BrokerBalance
from app.extensions import db, writer
from app.models import Account, Book, Fill, Lane, Order, Strategy, Trader
from app.models.orders import OPEN_STATUSES
from app.services import entries, flatten, journal, positions
from app.services.owned import get, owned
from app.transactions import Tx

PAPER = "paper"


class OpensAccounts(Protocol):
    """A broker of our own, where opening an account is writing rows."""

    def open_account(
        self, tx: Tx, account_id: int, currency: str, starting_balance: Decimal
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Exposure:
    """What of an account is still at risk."""

    open_positions: int
    working_orders: int

    def __bool__(self) -> bool:
        return bool(self.open_positions or self.working_orders)

    def __str__(self) -> str:
        return f"{self.open_positions} open position(s) and {self.working_orders} working order(s)"


@dataclass(frozen=True, slots=True)
class Held:
    """One contract on an account: the broker's position beside the sum of our books."""

    contract: str
    net_pos: Decimal
    avg_price: Decimal | None
    books: Decimal

    @property
    def in_sync(self) -> bool:
        return self.net_pos == self.books


def listing(user_id: int) -> Select[Account]:
    return owned(Account, user_id)


def open_account(
    user_id: int,
    *,
    name: str,
    broker: str,
    environment: str,
    currency: str,
    starting_balance: Decimal,
) -> Account:
    """Open an account and, on paper, pay in its starting balance.

    Raises:
        Invalid: ``broker_unavailable`` where this installation has no such broker.
    """
    refuse_unsupported(broker, environment)

    def work(tx: Tx) -> Account:
        account = Account(
            user_id=user_id,
            name=name,
            broker=broker,
            environment=environment,
            currency=currency,
            status="connected",
        )
        tx.session.add(account)
        tx.session.flush()
        tx.session.add(Lane(account_id=account.id))
        tx.session.flush()
        cast("OpensAccounts", registry.get(broker)).open_account(
            tx, account.id, currency, starting_balance
        )
        _announce(tx, account, "account_opened", f"Account “{name}” was opened.")
        return account

    return writer.run(work)


def refuse_unsupported(broker: str, environment: str) -> None:
    """
    Raises:
        Invalid: no such broker here (``broker_unavailable``), or it has no such environment.
    """
    registry.get(broker)
    if broker == PAPER and environment != "demo":
        raise Invalid("should be demo: paper accounts are never live", field="environment")


def rename(user_id: int, account_id: int, name: str) -> Account:
    def work(tx: Tx) -> Account:
        account = get(Account, account_id, user_id, session=tx.session)
        if account.name != name:
            message = f"Account “{account.name}” is now called “{name}”."
            account.name = name
            _announce(tx, account, "account_renamed", message)
        return account

    return writer.run(work)


def delete(user_id: int, account_id: int, *, flatten_first: bool = False) -> None:
    """Close the account here; its history stays. Its traders end with it.

    Raises:
        Conflict: a position is open or an order works, also after flattening.
    """
    get(Account, account_id, user_id)
    if flatten_first:
        flatten_account(user_id, account_id)

    def work(tx: Tx) -> None:
        row = get(Account, account_id, user_id, session=tx.session)
        left = exposure(account_id, tx)
        if left:
            raise Conflict(f"Account “{row.name}” has {left}: flatten it first.", code="not_flat")
        _end_use(tx, account_id)
        row.deleted_at = clock.now()
        row.status = "disabled"
        _announce(tx, row, "account_deleted", f"Account “{row.name}” was deleted.")

    writer.run(work)


def set_kill_switch(
    user_id: int, account_id: int, on: bool, *, flatten_too: bool = False
) -> Account:
    """Block entries (and end the unfilled ones), or allow them again. Protection stays, unless
    ``flatten_too`` closes everything."""

    def work(tx: Tx) -> Account:
        account = get(Account, account_id, user_id, session=tx.session)
        account.kill_switch = on
        word = "on: entries are blocked" if on else "off: entries are allowed"
        message = f"The kill switch of “{account.name}” is {word}."
        level = "warning" if on else "info"
        _announce(tx, account, "kill_switch", message, level=level, data={"on": on})
        return account

    account = writer.run(work)
    if on and exposure(account_id):
        db.session.commit()
        end = flatten.flatten_account if flatten_too else entries.cancel_entries
        end(account_id)
    return account


def set_kill_switches(user_id: int, on: bool, *, flatten_too: bool = False) -> list[Account]:
    """The kill switch of every account of the user."""
    ids = list(db.session.scalars(listing(user_id).with_only_columns(Account.id)))
    db.session.commit()
    return [set_kill_switch(user_id, i, on, flatten_too=flatten_too) for i in sorted(ids)]


def flatten_account(user_id: int, account_id: int) -> Exposure:
    """Cancel every order and close every position of the account; what is left afterwards."""
    get(Account, account_id, user_id)
    if exposure(account_id):
        db.session.commit()
        flatten.flatten_account(account_id)
    return exposure(account_id)


def exposure(account_id: int, tx: Tx | None = None) -> Exposure:
    session = tx.session if tx is not None else db.session
    books = select(func.count(Book.id)).where(
        Book.account_id == account_id, Book.net_pos != positions.FLAT
    )
    working = select(func.count(Order.id)).where(
        Order.account_id == account_id, Order.status.in_(OPEN_STATUSES)
    )
    return Exposure(session.scalar(books) or 0, session.scalar(working) or 0)


def balance(user_id: int, account_id: int) -> BrokerBalance:
    """The account's money, as its broker states it now."""
    broker, ref = _connection(get(Account, account_id, user_id))
    return broker.balance(ref)


def broker_positions(user_id: int, account_id: int) -> list[Held]:
    """Every contract that the broker or one of our books holds on the account."""
    account = get(Account, account_id, user_id)
    books = positions.held(user_id, account_id)
    broker, ref = _connection(account)
    stated = {p.contract: p for p in broker.positions(ref) if p.net_pos}
    return [
        Held(
            contract=contract,
            net_pos=stated[contract].net_pos if contract in stated else positions.FLAT,
            avg_price=stated[contract].avg_price if contract in stated else None,
            books=books.get(contract, positions.FLAT),
        )
        for contract in sorted({*stated, *books})
    ]


def orders(user_id: int, account_id: int, *, only_open: bool = False) -> Select[Order]:
    get(Account, account_id, user_id)
    rows = owned(Order, user_id).where(Order.account_id == account_id)
    return rows.where(Order.status.in_(OPEN_STATUSES)) if only_open else rows


def fills(user_id: int, account_id: int) -> Select[Fill]:
    get(Account, account_id, user_id)
    return owned(Fill, user_id).where(Fill.account_id == account_id)


def test_connection(user_id: int, account_id: int) -> Account:
    """Ask the account's broker for its balance.

    Raises:
        BrokerError: with the broker's own words.
    """
    account = get(Account, account_id, user_id)
    broker, ref = _connection(account)
    broker.balance(ref)
    return account


def status_event(account: Account) -> dict[str, Any]:
    """What ``account:status`` carries."""
    return {
        "id": account.id,
        "name": account.name,
        "broker": account.broker,
        "environment": account.environment,
        "status": account.status,
        "last_error": account.last_error,
        "kill_switch": account.kill_switch,
        "deleted": account.deleted_at is not None,
    }


def _connection(account: Account) -> tuple[Broker, AccountRef]:
    # No read may hold a transaction open while a broker is asked.
    db.session.commit()
    return registry.for_account(account)


def _end_use(tx: Tx, account_id: int) -> None:
    """Nothing trades on or records the account from here on."""
    now = clock.now()
    used_by = select(Trader.strategy_id).where(
        Trader.account_id == account_id, Trader.deleted_at.is_(None)
    )
    tx.conn.execute(
        update(Strategy)
        .where(Strategy.id.in_(used_by))
        .values(version=Strategy.version + 1, updated_at=now)
    )
    tx.conn.execute(
        update(Trader)
        .where(Trader.account_id == account_id, Trader.deleted_at.is_(None))
        .values(enabled=False, deleted_at=now, version=Trader.version + 1, updated_at=now)
    )
    tx.conn.execute(
        update(Strategy)
        .where(Strategy.demo_account_id == account_id)
        .values(demo_account_id=None, recording=False, version=Strategy.version + 1, updated_at=now)
    )


def _announce(
    tx: Tx,
    account: Account,
    event: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> None:
    tx.record(account.user_id, "account:status", status_event(account))
    journal.write(
        tx, account.user_id, event, message, level=level, account_id=account.id, data=data
    )
