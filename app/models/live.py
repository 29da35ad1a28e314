"""What a broker last said of an account: its money, what it holds, and orders that are not ours."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Model, Stamped
from app.models.types import BigId, Exact, Money


class LiveBalance(Stamped, Model):
    """One row per account and currency. None is unknown, not zero. ``as_of``: the broker's time."""

    __tablename__ = "live_balances"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    currency: Mapped[str] = mapped_column(String(8))
    cash: Mapped[Decimal] = mapped_column(Money)
    reserved: Mapped[Decimal] = mapped_column(Money)
    equity: Mapped[Decimal] = mapped_column(Money)
    realized_today: Mapped[Decimal | None] = mapped_column(Money)
    as_of: Mapped[datetime]

    __table_args__ = (
        Index("uq_live_balances_account_id_currency", "account_id", "currency", unique=True),
    )


class LivePosition(Stamped, Model):
    """The broker's own net position, one row per account and contract; flat rows stay."""

    __tablename__ = "live_positions"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    contract: Mapped[str] = mapped_column(String(40))
    net_pos: Mapped[Decimal] = mapped_column(Exact)
    avg_price: Mapped[Decimal | None] = mapped_column(Exact)
    as_of: Mapped[datetime]

    __table_args__ = (
        Index("uq_live_positions_account_id_contract", "account_id", "contract", unique=True),
    )


class ExternalOrder(Stamped, Model):
    """An order on the account that we did not send: from the broker's own terminal, for example."""

    __tablename__ = "external_orders"

    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    broker_order_id: Mapped[str] = mapped_column(String(80))
    contract: Mapped[str] = mapped_column(String(40))
    side: Mapped[str] = mapped_column(String(4))
    order_type: Mapped[str] = mapped_column(String(14))
    quantity: Mapped[Decimal] = mapped_column(Exact)
    filled_quantity: Mapped[Decimal] = mapped_column(Exact, default=Decimal(0))
    limit_price: Mapped[Decimal | None] = mapped_column(Exact)
    stop_price: Mapped[Decimal | None] = mapped_column(Exact)
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(500))
    reported_at: Mapped[datetime]

    __table_args__ = (
        Index(
            "uq_external_orders_account_id_broker_order_id",
            "account_id",
            "broker_order_id",
            unique=True,
        ),
    )
