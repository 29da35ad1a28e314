"""What a decision looks at, read in one go inside the transaction that will act on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection, bindparam, literal, null, select, true

from app.brokers.base import AccountRef
from app.domain import symbols
from app.domain.plans import AccountState, Context, Holding, WorkingOrder
from app.domain.settings import (
    Effective,
    Sizing,
    StrategySettings,
    effective,
    parse_overrides,
    parse_strategy,
)
from app.domain.signals import Signal
from app.domain.symbols import Listed, ListedOf, ResolvedContract
from app.domain.trading import BrokerPosition, OrderRole, Quote, Side
from app.models import Account, Book, Order, Strategy, Trader
from app.models.orders import IS_OPEN
from app.models.prepared import Prepared

WHO = (
    Trader.id.label("trader_id"),
    Trader.enabled.label("trader_enabled"),
    Trader.deleted_at.label("trader_deleted_at"),
    Trader.version.label("trader_version"),
    Strategy.id.label("strategy_id"),
    Strategy.name.label("strategy_name"),
    Strategy.version.label("strategy_version"),
    Account.id.label("account_id"),
    Account.user_id.label("user_id"),
    Account.name.label("account_name"),
    Account.broker,
    Account.environment,
    Account.broker_account_id,
    Account.login_id,
    Account.status.label("account_status"),
    Account.kill_switch,
    Account.deleted_at.label("account_deleted_at"),
)
"""The columns that ``subject_of`` reads, for statements that join them to something else."""
_TRADER = (
    select(*WHO)
    .join_from(Trader, Strategy, Strategy.id == Trader.strategy_id)
    .join(Account, Account.id == Trader.account_id)
    .where(Trader.id == bindparam("trader"))
)
_ACCOUNT = select(
    null().label("trader_id"),
    true().label("trader_enabled"),
    null().label("trader_deleted_at"),
    null().label("strategy_id"),
    literal("manual").label("strategy_name"),
    Account.id.label("account_id"),
    Account.user_id.label("user_id"),
    Account.name.label("account_name"),
    Account.broker,
    Account.environment,
    Account.broker_account_id,
    Account.login_id,
    Account.status.label("account_status"),
    Account.kill_switch,
    Account.deleted_at.label("account_deleted_at"),
).where(Account.id == bindparam("account"))
_DOCUMENTS = (
    select(Strategy.settings, Trader.overrides)
    .join_from(Trader, Strategy, Strategy.id == Trader.strategy_id)
    .where(Trader.id == bindparam("trader"))
)
_HELD = Prepared(
    select(Book.trader_id, Book.contract, Book.net_pos, Book.avg_price).where(
        Book.account_id == bindparam("account"), Book.net_pos != Decimal(0)
    )
)
_WORKING = Prepared(
    select(
        Order.client_order_id,
        Order.contract,
        Order.role,
        Order.side,
        Order.quantity,
        Order.filled_quantity,
        Order.limit_price,
        Order.stop_price,
    )
    .where(
        Order.account_id == bindparam("account"),
        Order.trader_id == bindparam("trader"),
        IS_OPEN,
    )
    .order_by(Order.id)
)


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """What rules need to know of a traded contract."""

    contract: str
    root: str
    tick_size: Decimal
    point_value: Decimal
    lot_step: Decimal


_DEFAULTS = effective(StrategySettings())
NEED_EQUITY = frozenset({Sizing.EQUITY_PERCENT, Sizing.RISK})

QuoteOf = Callable[[AccountRef | None, str], Quote | None]
"""The newest price of a contract as the account's own market has it; without an account, as any
feed has it, for an example."""


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What the broker said before the transaction began. ``positions`` None: not asked."""

    positions: tuple[BrokerPosition, ...] | None = None
    equity: Decimal | None = None
    is_equity_asked: bool = False

    def net(self, contract: str) -> Decimal | None:
        if self.positions is None:
            return None
        return sum((p.net_pos for p in self.positions if p.contract == contract), Decimal(0))

    def average(self, contract: str) -> Decimal | None:
        found = (p.avg_price for p in self.positions or () if p.contract == contract)
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Subject:
    """The trader that acts: its account, its effective settings, its names for people. Without a
    trader it is the account's manual book."""

    trader_id: int | None
    strategy_id: int | None
    strategy_name: str
    account: AccountRef
    account_name: str
    state: AccountState
    is_active: bool
    effective: Effective


def read_subject(conn: Connection, trader_id: int) -> Subject:
    return subject_of(conn, conn.execute(_TRADER, {"trader": trader_id}).one())


def read_owner(conn: Connection, trader_id: int | None, account_id: int) -> Subject:
    """Whose book it is: the trader, or the account itself where that is None."""
    if trader_id is not None:
        return read_subject(conn, trader_id)
    return _subject(conn.execute(_ACCOUNT, {"account": account_id}).one(), _DEFAULTS)


def read_subject_without_settings(conn: Connection, trader_id: int) -> Subject:
    """For what only names the trader: it works where the settings cannot be read."""
    return _subject(conn.execute(_TRADER, {"trader": trader_id}).one(), _DEFAULTS)


def subject_of(conn: Connection, row: Any) -> Subject:
    """The trader of a row that has the columns of ``WHO``."""
    return _subject(row, _effective(conn, row))


def _subject(row: Any, settings: Effective) -> Subject:
    is_usable = row.account_deleted_at is None and row.account_status not in ("disabled", "error")
    return Subject(
        trader_id=row.trader_id,
        strategy_id=row.strategy_id,
        strategy_name=row.strategy_name,
        account=AccountRef(
            row.account_id,
            row.user_id,
            row.broker,
            row.environment,
            row.broker_account_id,
            row.login_id,
        ),
        account_name=row.account_name,
        state=AccountState(is_enabled=is_usable, kill_switch=row.kill_switch),
        is_active=row.trader_enabled and row.trader_deleted_at is None,
        effective=settings,
    )


_parsed: dict[tuple[int, int, int], Effective] = {}
_MOST = 10_000


def clear() -> None:
    """Forget what was parsed and who lists contracts: a new app begins."""
    _parsed.clear()
    _listings.clear()


ListedBy = Callable[[AccountRef, str], Sequence[Listed]]
_listings: dict[str, ListedBy] = {}


def list_with(broker: str, listed_by: ListedBy) -> None:
    """The contracts of a root as that broker lists them on an account, without asking anybody:
    a decision is made inside a transaction."""
    _listings[broker] = listed_by


def _listed_of(account: AccountRef) -> ListedOf | None:
    listed_by = _listings.get(account.broker)
    return None if listed_by is None else partial(listed_by, account)


def _effective(conn: Connection, row: Any) -> Effective:
    """Every change raises a version, so what was parsed under the same ones still holds."""
    key = (row.trader_id, row.trader_version, row.strategy_version)
    found = _parsed.get(key)
    if found is None:
        documents = conn.execute(_DOCUMENTS, {"trader": row.trader_id}).one()
        strategy = parse_strategy(documents.settings)
        if len(_parsed) >= _MOST:
            _parsed.clear()
        found = _parsed[key] = effective(strategy, parse_overrides(documents.overrides))
    return found


def build(
    conn: Connection,
    subject: Subject,
    signal: Signal,
    *,
    received_at: datetime,
    now: datetime,
    broker: BrokerState,
    quote_of: QuoteOf,
) -> Context:
    settings = subject.effective.values
    resolved = resolve(
        signal.symbol,
        settings.symbol_map,
        settings.contract,
        now,
        _listed_of(subject.account),
    )
    held = _HELD.rows(conn, {"account": subject.account.id})
    return Context(
        signal=signal,
        settings=settings,
        instrument=facts_of(resolved.contract),
        now=now,
        received_at=received_at,
        holdings=_holdings(held, subject, resolved, broker),
        orders=_working(conn, subject),
        quote=quote_of(subject.account, resolved.contract),
        equity=broker.equity,
        account=subject.state,
    )


def resolve(
    symbol: str,
    symbol_map: Mapping[str, str],
    contract: str,
    now: datetime,
    listed_of: ListedOf | None = None,
) -> ResolvedContract:
    """The contract to trade for what an alert names, after the trader's own mapping."""
    named = symbols.resolve(symbol, now, contract=contract, listed_of=listed_of)
    mapped = symbol_map.get(named.instrument.root) or symbol_map.get(symbol)
    if not mapped:
        return named
    return symbols.resolve(mapped, now, contract=contract, listed_of=listed_of)


@lru_cache(maxsize=4096)
def facts_of(contract: str) -> ContractFacts:
    instrument = symbols.instrument_for(contract)
    return ContractFacts(
        contract=contract,
        root=instrument.root,
        tick_size=instrument.tick_size,
        point_value=instrument.point_value,
        lot_step=instrument.lot_step,
    )


def _holdings(
    held: Any, subject: Subject, resolved: ResolvedContract, broker: BrokerState
) -> tuple[Holding, ...]:
    """The trader's books in the signal's product, and the contract an entry would trade."""
    root = resolved.instrument.root
    mine: dict[str, Any] = {resolved.contract: None}
    sums: dict[str, list[Decimal]] = {}
    others: dict[str, int] = {}
    for row in held:
        if row.trader_id != subject.trader_id:
            others[row.contract] = others.get(row.contract, 0) + 1
        sums.setdefault(row.contract, []).append(row.net_pos)
        if row.trader_id == subject.trader_id and facts_of(row.contract).root == root:
            mine[row.contract] = row
    return tuple(
        Holding(
            instrument=facts_of(contract),
            net_pos=row.net_pos if row is not None else Decimal(0),
            avg_price=row.avg_price if row is not None else None,
            broker_net=broker.net(contract),
            books_sum=sum(sums.get(contract, []), Decimal(0)),
            broker_avg=broker.average(contract),
            books=1 + others.get(contract, 0),
        )
        for contract, row in mine.items()
    )


def _working(conn: Connection, subject: Subject) -> tuple[WorkingOrder, ...]:
    rows = _WORKING.rows(conn, {"account": subject.account.id, "trader": subject.trader_id})
    return tuple(
        WorkingOrder(
            client_order_id=row.client_order_id,
            contract=row.contract,
            role=OrderRole(row.role),
            side=Side(row.side),
            quantity=row.quantity - row.filled_quantity,
            price=row.limit_price if row.limit_price is not None else row.stop_price,
        )
        for row in rows
    )
