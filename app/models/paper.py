"""The paper exchange: its accounts, orders, fills, positions and its ledger.

These rows are what a real broker would keep at its side. They are the truth: the engine in
memory is rebuilt from them. The columns are the fields of the records in ``domain.matching``.
Everything is asked for by account, never by user, so only accounts are indexed by user.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId, Exact, Money

_IS_OPEN = text("status IN ('inactive', 'working', 'triggered', 'partially_filled')")
IS_OPEN = text("paper_orders." + _IS_OPEN.text)
"""To the letter as in the partial index, which is not used for a condition with parameters."""


class PaperAccountRow(Stamped, Model):
    """The money of one paper account. ``next_number`` counts its orders, fills and ledger
    entries; who changes the account must have seen its present value. ``told_number`` is how far
    the rest of the app has been told what happened here."""

    __tablename__ = "paper_accounts"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), unique=True)
    currency: Mapped[str] = mapped_column(String(8))
    cash: Mapped[Decimal] = mapped_column(Money)
    reserved: Mapped[Decimal] = mapped_column(Money)
    next_number: Mapped[int] = mapped_column(BigId)
    told_number: Mapped[int] = mapped_column(BigId, default=0)
    enabled: Mapped[bool] = mapped_column(default=True)
    respect_size: Mapped[bool] = mapped_column(default=True)


class PaperOrderRow(Stamped, Model):
    """``changed_number`` is the account's counter after the step that last changed the order."""

    __tablename__ = "paper_orders"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    number: Mapped[int] = mapped_column(BigId)
    client_order_id: Mapped[str] = mapped_column(String(40))
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(4))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    order_type: Mapped[str] = mapped_column(String(14))
    tif: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(BigId)
    active_at: Mapped[datetime]
    limit_price: Mapped[Decimal | None] = mapped_column(Exact)
    stop_price: Mapped[Decimal | None] = mapped_column(Exact)
    offset: Mapped[Decimal | None] = mapped_column(Exact)
    expire_at: Mapped[datetime | None]
    reduce_only: Mapped[bool]
    post_only: Mapped[bool]
    origin: Mapped[str] = mapped_column(String(10))
    role: Mapped[str | None] = mapped_column(String(12))
    parent: Mapped[str | None] = mapped_column(String(40))
    group: Mapped[str | None] = mapped_column(String(40))
    has_legs: Mapped[bool]
    triggered: Mapped[bool]
    filled: Mapped[Decimal] = mapped_column(Exact)
    value: Mapped[Decimal] = mapped_column(Exact)
    held_back: Mapped[Decimal] = mapped_column(Exact)
    hold: Mapped[Decimal] = mapped_column(Money)
    fee_exact: Mapped[Decimal] = mapped_column(Exact)
    fee: Mapped[Decimal] = mapped_column(Money)
    reason: Mapped[str | None] = mapped_column(String(40))
    changed_number: Mapped[int] = mapped_column(BigId)

    __table_args__ = (
        Index(
            "uq_paper_orders_account_id_client_order_id",
            "account_id",
            "client_order_id",
            unique=True,
        ),
        Index("uq_paper_orders_account_id_number", "account_id", "number", unique=True),
        Index(
            "ix_paper_orders_open", "account_id", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN
        ),
        Index("ix_paper_orders_account_id_changed_number", "account_id", "changed_number"),
    )


class PaperFillRow(Stamped, Model):
    __tablename__ = "paper_fills"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    number: Mapped[int] = mapped_column(BigId)
    client_order_id: Mapped[str] = mapped_column(String(40))
    order_number: Mapped[int] = mapped_column(BigId)
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(4))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    price: Mapped[Decimal] = mapped_column(Exact)
    fee: Mapped[Decimal] = mapped_column(Money)
    realized: Mapped[Decimal] = mapped_column(Money)
    liquidity: Mapped[str] = mapped_column(String(8))
    at: Mapped[datetime]

    __table_args__ = (
        Index("uq_paper_fills_account_id_number", "account_id", "number", unique=True),
        Index("ix_paper_fills_account_id_at", "account_id", "at"),
        Index("ix_paper_fills_account_id_contract_number", "account_id", "contract", "number"),
    )


class PaperPositionRow(Stamped, Model):
    __tablename__ = "paper_positions"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    contract: Mapped[str] = mapped_column(String(40))
    net_pos: Mapped[Decimal] = mapped_column(Exact)
    avg_price: Mapped[Decimal | None] = mapped_column(Exact)
    margin: Mapped[Decimal] = mapped_column(Money)
    realized: Mapped[Decimal] = mapped_column(Exact)
    booked: Mapped[Decimal] = mapped_column(Money)
    quote_at: Mapped[datetime | None]
    taken_bid: Mapped[Decimal] = mapped_column(Exact)
    taken_ask: Mapped[Decimal] = mapped_column(Exact)

    __table_args__ = (
        Index("uq_paper_positions_account_id_contract", "account_id", "contract", unique=True),
    )


class PaperLedgerRow(Stamped, Model):
    """Append-only. The sums of the changes are the account's balances."""

    __tablename__ = "paper_ledger"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    number: Mapped[int] = mapped_column(BigId)
    kind: Mapped[str] = mapped_column(String(12))
    available_change: Mapped[Decimal] = mapped_column(Money)
    reserved_change: Mapped[Decimal] = mapped_column(Money)
    available: Mapped[Decimal] = mapped_column(Money)
    reserved: Mapped[Decimal] = mapped_column(Money)
    client_order_id: Mapped[str | None] = mapped_column(String(40))
    fill_number: Mapped[int | None] = mapped_column(BigId)
    at: Mapped[datetime]

    __table_args__ = (
        Index("uq_paper_ledger_account_id_number", "account_id", "number", unique=True),
    )
