"""Accounts in JSON: what opens one, and what is said about one."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.domain.trading import BrokerBalance
from app.schemas.common import Body, DecimalStr, Instant, ListQuery, MoneyStr, Out
from app.schemas.fields import Currency, Id, Name

Environment = Literal["demo", "live"]
Broker = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,30}(:[a-z0-9_]{1,30})?$")]


class AccountIn(Body):
    """``credentials`` and ``login_id`` are for brokers that need a log-in; paper has none."""

    name: Name
    broker: Broker = "paper"
    environment: Environment = "demo"
    currency: Currency = "USD"
    starting_balance: MoneyStr = Field(Decimal(100_000), gt=0, le=Decimal(1_000_000_000))
    credentials: dict[str, Any] | None = None
    login_id: Id | None = None
    broker_account_id: str | None = Field(None, max_length=80)


class AccountChange(Body):
    """What is absent stays."""

    name: Name | None = None


class KillSwitchIn(Body):
    on: bool
    flatten: bool = False


class TestConnectionIn(Body):
    """Either ``account_id`` (the saved account) or a broker with its credentials."""

    account_id: Id | None = None
    broker: Broker | None = None
    environment: Environment = "demo"
    credentials: dict[str, Any] | None = None


class OrdersQuery(ListQuery):
    open: bool = Field(False, description="Only orders that may still fill.")


class DeleteQuery(BaseModel):
    flatten: bool = Field(False, description="Cancel all and close all first.")


class AccountOut(Out):
    id: int
    name: str
    broker: str
    environment: str
    badge: str
    broker_account_id: str | None
    currency: str
    status: str
    last_error: str | None
    kill_switch: bool
    out_of_sync_since: Instant | None
    created_at: Instant
    updated_at: Instant


class ConnectionOut(Out):
    """``accounts`` are those that the log-in has."""

    ok: bool
    broker: str
    environment: str
    accounts: list[dict[str, Any]]


class BalanceOut(Out):
    currency: str
    cash: DecimalStr
    reserved: DecimalStr
    available: DecimalStr
    equity: DecimalStr
    open_pnl: DecimalStr

    @classmethod
    def of(cls, stated: BrokerBalance) -> BalanceOut:
        return cls(
            currency=stated.currency,
            cash=stated.cash,
            reserved=stated.reserved,
            available=stated.cash - stated.reserved,
            equity=stated.equity,
            open_pnl=stated.equity - stated.cash,
        )


class HeldOut(Out):
    """``net_pos`` is the broker's, signed; ``books`` the sum of our own books."""

    contract: str
    net_pos: DecimalStr
    avg_price: DecimalStr | None
    books: DecimalStr
    in_sync: bool


class ExposureOut(Out):
    open_positions: int
    working_orders: int


class OrderOut(Out):
    id: int
    client_order_id: str
    broker_order_id: str | None
    account_id: int
    strategy_id: int | None
    trader_id: int | None
    execution_id: int | None
    parent_id: int | None
    contract: str
    side: str
    role: str
    origin: str
    order_type: str
    tif: str
    quantity: DecimalStr
    limit_price: DecimalStr | None
    stop_price: DecimalStr | None
    status: str
    reason: str | None
    filled_quantity: DecimalStr
    avg_fill_price: DecimalStr | None
    created_at: Instant
    submitted_at: Instant | None
    acknowledged_at: Instant | None
    finished_at: Instant | None


class FillOut(Out):
    id: int
    order_id: int | None
    account_id: int
    trader_id: int | None
    contract: str
    side: str
    quantity: DecimalStr
    price: DecimalStr
    fee: DecimalStr
    liquidity: str
    source: str
    at: Instant = Field(validation_alias="filled_at")
