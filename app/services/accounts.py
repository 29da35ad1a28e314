"""Trading accounts: opened, renamed, looked into, emptied, closed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, cast

from sqlalchemy import Select, func, select, update

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef, Broker
from app.brokers.logins import StreamStatus
from app.domain.errors import BrokerError, BrokerRefused, Conflict, Invalid
from app.domain.trading import BrokerBalance
from app.extensions import db, writer
from app.models import (
    Account,
    Book,
    BrokerLogin,
    ExternalOrder,
    Fill,
    LiveBalance,
    LivePosition,
    Order,
    Strategy,
    Trader,
)
from app.models.orders import OPEN_STATUSES
from app.services import (
    account_status,
    broker_accounts,
    entries,
    flatten,
    logins,
    positions,
    user_data,
)
from app.services.broker_accounts import Choice, Found, Source
from app.services.logins import Given
from app.services.owned import get, owned
from app.transactions import Tx

log = logging.getLogger(__name__)

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
    source: Source | None = None,
    broker_account_id: str | None = None,
    address: str = "",
) -> Account:
    """Open an account: on paper with its starting balance, else one that a log-in has.

    Raises:
        Invalid: ``broker_unavailable`` where this installation has no such broker; what
            ``broker_accounts.open_accounts`` raises.
    """
    refuse_unsupported(broker, environment)
    if logins.broker_of(broker) is not None:
        if source is None:
            raise Invalid(
                "are required: those of the log-in, or the login_id of one that is here",
                field="credentials",
            )
        return broker_accounts.open_accounts(
            user_id,
            broker,
            environment,
            source,
            [Choice(broker_account_id, name)],
            address=address,
        )[0]
    if source is not None:
        field = "login_id" if isinstance(source, int) else "credentials"
        raise Invalid(f"is not for {broker} accounts: they have no log-in", field=field)

    def work(tx: Tx) -> Account:
        account = Account(
            user_id=user_id,
            name=name,
            broker=broker,
            environment=environment,
            currency=currency,
            status="connected",
        )
        account_status.add(tx, account)
        cast("OpensAccounts", registry.get(broker)).open_account(
            tx, account.id, currency, starting_balance
        )
        account_status.tell(tx, account, "account_opened", f"Account “{name}” was opened.")
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
            account_status.tell(tx, account, "account_renamed", message)
        return account

    return writer.run(work)


def delete(user_id: int, account_id: int, *, flatten_first: bool = False) -> None:
    """Close the account here; its history stays. Its traders end with it.

    Raises:
        Conflict: a position is open or an order works, also after flattening.
    """
    login_id = get(Account, account_id, user_id).login_id
    if flatten_first:
        flatten_account(user_id, account_id)

    def work(tx: Tx) -> BrokerLogin | None:
        row = get(Account, account_id, user_id, session=tx.session)
        left = exposure(account_id, tx)
        if left:
            raise Conflict(f"Account “{row.name}” has {left}: flatten it first.", code="not_flat")
        _end_use(tx, account_id)
        row.deleted_at = clock.now()
        row.status = "disabled"
        account_status.tell(tx, row, "account_deleted", f"Account “{row.name}” was deleted.")
        return _forget_login(tx, row)

    unused = writer.run(work)
    if unused is not None:
        logins.close(unused.broker, unused.id)
    elif login_id is not None:
        logins.resync(logins.get_owned(user_id, login_id))


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
        account_status.tell(tx, account, "kill_switch", message, level=level, data={"on": on})
        return account

    account = writer.run(work)
    if on and flatten_too:
        flatten_account(user_id, account_id)
    elif on and exposure(account_id):
        db.session.commit()
        entries.cancel_entries(account_id)
    return account


def set_kill_switches(user_id: int, on: bool, *, flatten_too: bool = False) -> list[Account]:
    """The kill switch of every account of the user."""
    ids = list(db.session.scalars(listing(user_id).with_only_columns(Account.id)))
    db.session.commit()
    return [set_kill_switch(user_id, i, on, flatten_too=flatten_too) for i in sorted(ids)]


def flatten_account(user_id: int, account_id: int) -> Exposure:
    """Cancel every order and close every position of the account; what is left afterwards.

    At a broker it is done whatever our books say: they may not know what is held there.
    """
    account = get(Account, account_id, user_id)
    if account.login_id is None and not exposure(account_id):
        return exposure(account_id)
    db.session.commit()
    flatten.flatten_account(account_id)
    if account.login_id is not None:
        _look_at_the_rest(account)
    return exposure(account_id)


def _look_at_the_rest(account: Account) -> None:
    """A broker that answers no lists now has shown all the same that nothing is left."""
    broker, ref = registry.for_account(account)
    try:
        user_data.take_in(ref, broker.snapshot(ref), source="reconcile")
    except BrokerError as e:
        log.warning("not looked at", extra={"account_id": account.id, "code": e.code})


def exposure(account_id: int, tx: Tx | None = None) -> Exposure:
    """What our books or the broker's last word hold open on the account."""
    session = tx.session if tx is not None else db.session
    books = select(Book.contract).where(
        Book.account_id == account_id, Book.net_pos != positions.FLAT
    )
    stated = select(LivePosition.contract).where(
        LivePosition.account_id == account_id, LivePosition.net_pos != positions.FLAT
    )
    held = select(func.count()).select_from(books.union(stated).subquery())
    working = select(func.count(Order.id)).where(
        Order.account_id == account_id, Order.status.in_(OPEN_STATUSES)
    )
    others = select(func.count(ExternalOrder.id)).where(
        ExternalOrder.account_id == account_id, ExternalOrder.status.in_(OPEN_STATUSES)
    )
    orders = (session.scalar(working) or 0) + (session.scalar(others) or 0)
    return Exposure(session.scalar(held) or 0, orders)


def balance(user_id: int, account_id: int) -> BrokerBalance:
    """The account's money, as its broker states it now."""
    account = get(Account, account_id, user_id)
    if _is_heard(account) and (known := last_balance(account)) is not None:
        return known
    broker, ref = _connection(account)
    return broker.balance(ref)


def last_balance(account: Account) -> BrokerBalance | None:
    """What the broker last said without being asked; None before its first word."""
    row = db.session.scalar(
        select(LiveBalance)
        .where(LiveBalance.account_id == account.id)
        .order_by((LiveBalance.currency == account.currency).desc(), LiveBalance.id)
    )
    if row is None:
        return None
    return BrokerBalance(
        row.currency, row.cash, row.reserved, row.equity, row.realized_today, row.as_of
    )


def broker_positions(user_id: int, account_id: int) -> list[Held]:
    """Every contract that the broker or one of our books holds on the account."""
    account = get(Account, account_id, user_id)
    if _is_heard(account):
        return last_positions(account)
    books = positions.held(user_id, account_id)
    broker, ref = _connection(account)
    stated = {p.contract: (p.net_pos, p.avg_price) for p in broker.positions(ref) if p.net_pos}
    return _side_by_side(stated, books)


def last_positions(account: Account) -> list[Held]:
    """The same from what the broker last said without being asked."""
    rows = db.session.scalars(
        select(LivePosition).where(
            LivePosition.account_id == account.id, LivePosition.net_pos != positions.FLAT
        )
    )
    stated = {row.contract: (row.net_pos, row.avg_price) for row in rows}
    return _side_by_side(stated, positions.held(account.user_id, account.id))


def orders(user_id: int, account_id: int, *, only_open: bool = False) -> Select[Order]:
    get(Account, account_id, user_id)
    rows = owned(Order, user_id).where(Order.account_id == account_id)
    return rows.where(Order.status.in_(OPEN_STATUSES)) if only_open else rows


def fills(user_id: int, account_id: int) -> Select[Fill]:
    get(Account, account_id, user_id)
    return owned(Fill, user_id).where(Fill.account_id == account_id)


def try_out(
    user_id: int, broker: str, environment: str, credentials: Mapping[str, Any] | None
) -> list[Found]:
    """Whether such an account could be opened; the accounts that the credentials reach. Nothing
    is saved.

    Raises:
        Invalid: no such broker here, or it needs credentials.
        BrokerError: with the broker's own words.
    """
    refuse_unsupported(broker, environment)
    if logins.broker_of(broker) is None and credentials is None:
        return []
    if credentials is None:
        raise Invalid("are required", field="credentials")
    return broker_accounts.try_log_in(user_id, Given(broker, environment, credentials))[1]


def test_connection(user_id: int, account_id: int) -> tuple[Account, list[Found]]:
    """Ask the account's broker, with the saved credentials; the accounts that those reach.

    Raises:
        BrokerError: with the broker's own words.
    """
    account = get(Account, account_id, user_id)
    if account.login_id is None:
        broker, ref = _connection(account)
        broker.balance(ref)
        return account, [_own(account)]
    found = broker_accounts.listed(user_id, account.login_id)
    if account.broker_account_id not in {f.broker_account_id for f in found}:
        raise BrokerRefused(
            f"The log-in works, but has no account {account.broker_account_id} now.",
            code="account_missing",
        )
    return account, found


def _connection(account: Account) -> tuple[Broker, AccountRef]:
    # No read may hold a transaction open while a broker is asked.
    db.session.commit()
    return registry.for_account(account)


def _is_heard(account: Account) -> bool:
    """Whether the stream keeps what we know of the account up to date, so that asking would only
    spend the request budget."""
    if account.login_id is None:
        return False
    login = db.session.get(BrokerLogin, account.login_id)
    return login is not None and login.state == StreamStatus.LIVE


def _side_by_side(
    stated: Mapping[str, tuple[Decimal, Decimal | None]], books: Mapping[str, Decimal]
) -> list[Held]:
    nothing = (positions.FLAT, None)
    return [
        Held(contract, *stated.get(contract, nothing), books.get(contract, positions.FLAT))
        for contract in sorted({*stated, *books})
    ]


def _forget_login(tx: Tx, account: Account) -> BrokerLogin | None:
    """The account's log-in, where this was its last account."""
    if account.login_id is None:
        return None
    tx.session.flush()
    if not logins.forget_unused(tx, account.login_id):
        return None
    return tx.session.get(BrokerLogin, account.login_id)


def _own(account: Account) -> Found:
    return Found(
        account.broker_account_id or str(account.id),
        account.name,
        account.currency,
        True,
        None,
        account.id,
    )


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
