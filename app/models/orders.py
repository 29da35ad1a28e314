"""Orders, fills, books, closed trades and recorded positions."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId, Exact, Money, UTCDateTime

OPEN_STATUSES = (
    "created",
    "submitting",
    "working",
    "triggered",
    "partially_filled",
    "cancel_pending",
    "unknown",
    "inactive",
)
_OPEN = "status IN ('" + "', '".join(OPEN_STATUSES) + "')"
IS_OPEN = text("orders." + _OPEN)
"""To the letter as in the partial index, which is not used for a condition with parameters."""


class Order(Stamped, Model):
    """What we asked a broker to do. ``client_order_id`` is ours, made before asking."""

    __tablename__ = "orders"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"))
    trader_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("traders.id"))
    execution_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("executions.id"), index=True)
    parent_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("orders.id"))
    """The entry of a bracket leg."""
    step: Mapped[int] = mapped_column(default=0)
    """Which step of the execution's plan it belongs to."""
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(4))
    role: Mapped[str] = mapped_column(String(12))
    origin: Mapped[str] = mapped_column(String(10))
    order_type: Mapped[str] = mapped_column(String(14))
    tif: Mapped[str] = mapped_column(String(4), default="gtc")
    quantity: Mapped[Decimal] = mapped_column(Exact)
    limit_price: Mapped[Decimal | None] = mapped_column(Exact)
    stop_price: Mapped[Decimal | None] = mapped_column(Exact)
    ticket: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """What else the broker was asked: leg offsets, reference price."""
    client_order_id: Mapped[str] = mapped_column(String(40), unique=True)
    broker_order_id: Mapped[str | None] = mapped_column(String(80))
    status: Mapped[str] = mapped_column(String(16), default="created")
    reason: Mapped[str | None] = mapped_column(String(500))
    filled_quantity: Mapped[Decimal] = mapped_column(Exact, default=Decimal(0))
    avg_fill_price: Mapped[Decimal | None] = mapped_column(Exact)
    submitted_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    """The broker's time of the newest state taken in; an older report changes nothing."""
    reported_filled: Mapped[Decimal | None] = mapped_column(Exact)
    """What that state said was filled; more than ``filled_quantity`` while fills are missing."""

    __table_args__ = (
        Index(
            "ix_orders_open",
            "account_id",
            "trader_id",
            sqlite_where=text(_OPEN),
            postgresql_where=text(_OPEN),
        ),
        Index("ix_orders_trader_id_id", "trader_id", "id"),
        Index("ix_orders_account_id_broker_order_id", "account_id", "broker_order_id"),
    )


class Fill(Stamped, Model):
    """One execution of a part of an order. Unique per account and broker fill id, so that a
    fill seen by stream, poll and reconcile counts once. ``fee`` positive = paid."""

    __tablename__ = "fills"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    order_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("orders.id"), index=True)
    trader_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("traders.id"))
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"))
    """Whose book it moved: the trader's strategy, or the recorder that watches the account."""
    broker_fill_id: Mapped[str] = mapped_column(String(80))
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(4))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    price: Mapped[Decimal] = mapped_column(Exact)
    fee: Mapped[Decimal] = mapped_column(Money)
    liquidity: Mapped[str] = mapped_column(String(8), default="unknown")
    source: Mapped[str] = mapped_column(String(10), default="stream")
    filled_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_fills_account_id_broker_fill_id", "account_id", "broker_fill_id", unique=True),
        Index("ix_fills_account_id_filled_at", "account_id", "filled_at"),
    )


class Book(Stamped, Model):
    """What one trader holds in one contract, kept from our own fills. ``trader_id`` empty: what
    was traded there without us, of the recorder that watches it (``strategy_id``) or of nobody.
    ``trip`` holds the sums of the open round trip (decimal text)."""

    __tablename__ = "books"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"))
    trader_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("traders.id"))
    contract: Mapped[str] = mapped_column(String(40))
    net_pos: Mapped[Decimal] = mapped_column(Exact, default=Decimal(0))
    avg_price: Mapped[Decimal | None] = mapped_column(Exact)
    realized: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    """Net of fees, all round trips of this book so far."""
    trip: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    last_fill_at: Mapped[datetime | None]
    """The broker's time of the newest fill; one that is older is put in its place."""

    __table_args__ = (
        Index(
            "uq_books_trader_id_contract",
            "trader_id",
            "contract",
            unique=True,
            sqlite_where=text("trader_id IS NOT NULL"),
            postgresql_where=text("trader_id IS NOT NULL"),
        ),
        Index(
            "uq_books_account_id_contract_manual",
            "account_id",
            "contract",
            unique=True,
            sqlite_where=text("trader_id IS NULL AND strategy_id IS NULL"),
            postgresql_where=text("trader_id IS NULL AND strategy_id IS NULL"),
        ),
        Index(
            "uq_books_account_id_contract_recorder",
            "account_id",
            "contract",
            "strategy_id",
            unique=True,
            sqlite_where=text("trader_id IS NULL AND strategy_id IS NOT NULL"),
            postgresql_where=text("trader_id IS NULL AND strategy_id IS NOT NULL"),
        ),
    )


class Trade(Stamped, Model):
    """A closed round trip of a book, flat to flat, at average cost. Money in account currency."""

    __tablename__ = "trades"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"), index=True)
    trader_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("traders.id"))
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(5))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    entry_price: Mapped[Decimal] = mapped_column(Exact)
    exit_price: Mapped[Decimal] = mapped_column(Exact)
    gross: Mapped[Decimal] = mapped_column(Money)
    fees: Mapped[Decimal] = mapped_column(Money)
    net: Mapped[Decimal] = mapped_column(Money)
    mae: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    mfe: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime]
    exit_reason: Mapped[str] = mapped_column(String(12))

    __table_args__ = (Index("ix_trades_user_id_closed_at", "user_id", "closed_at"),)


class RecordedPosition(Stamped, Model):
    """One round trip of a strategy in one contract on one account, while open and afterwards.
    ``mae`` and ``mfe``: worst and best open P&L seen (``mae`` ≤ 0 ≤ ``mfe``)."""

    __tablename__ = "recorded_positions"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    strategy_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("strategies.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    trader_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("traders.id"))
    contract: Mapped[str] = mapped_column(String(40))
    symbol: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(5))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    max_quantity: Mapped[Decimal] = mapped_column(Exact)
    entry_price: Mapped[Decimal] = mapped_column(Exact)
    exit_price: Mapped[Decimal | None] = mapped_column(Exact)
    last_price: Mapped[Decimal | None] = mapped_column(Exact)
    realized_pnl: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    unrealized_pnl: Mapped[Decimal | None] = mapped_column(Money)
    mae: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    mfe: Mapped[Decimal] = mapped_column(Money, default=Decimal(0))
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    exit_reason: Mapped[str | None] = mapped_column(String(12))
    source: Mapped[str] = mapped_column(String(10), default="stream")

    @property
    def is_external(self) -> bool:
        """Whether it was opened or closed past our own traders."""
        return self.trader_id is None or self.exit_reason == "external"

    __table_args__ = (
        Index(
            "uq_recorded_positions_open",
            "strategy_id",
            "account_id",
            "contract",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_recorded_positions_user_id_closed_at", "user_id", "closed_at"),
        Index(
            "ix_recorded_positions_open",
            "account_id",
            "contract",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )
