"""Accounts in JSON: what opens one, and what is said about one."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from app.domain.trading import BrokerBalance
from app.models import Account
from app.schemas.common import Body, DecimalStr, Instant, ListQuery, MoneyStr, Out
from app.schemas.fields import Currency, Id, Name

Environment = Literal["demo", "live"]
Broker = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,30}(:[a-z0-9_]{1,30})?$")]


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


LoginName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
Secret = Annotated[str, Field(min_length=1, max_length=64, repr=False)]


class SecretBody(Body):
    """Something in here is secret: no error may repeat what was sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CredentialsIn(SecretBody):
    """A log-in at Tradovate with an API key of one's own; the lengths are the broker's."""

    username: LoginName
    password: Secret
    client_id: Annotated[LoginName, BeforeValidator(_number_as_text)] = Field(
        description="The API key's id (cid)."
    )
    client_secret: str = Field(min_length=1, max_length=8192, repr=False)
    app_id: LoginName | None = Field(None, description="The API key's application name.")

    def as_given(self) -> dict[str, str]:
        """Without what was left out."""
        return self.model_dump(exclude_none=True)


class LogInForm(CredentialsIn):
    """The same as a page's form gives it."""

    environment: Environment = "demo"

    def as_given(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True, exclude={"environment"})


class AccountIn(SecretBody):
    """``credentials`` (which make a log-in) or the ``login_id`` of one that is here are for
    brokers that need one; paper has none. ``broker_account_id``: which of the log-in's accounts,
    by its id or its name at the broker."""

    name: Name
    broker: Broker = "paper"
    environment: Environment = "demo"
    currency: Currency = "USD"
    starting_balance: MoneyStr = Field(Decimal(100_000), gt=0, le=Decimal(1_000_000_000))
    credentials: CredentialsIn | None = None
    login_id: Id | None = None
    broker_account_id: str | None = Field(None, min_length=1, max_length=80)


class AccountChange(SecretBody):
    """What is absent stays. ``credentials`` are tried before they replace the saved ones."""

    name: Name | None = None
    credentials: CredentialsIn | None = None


class KillSwitchIn(Body):
    on: bool
    flatten: bool = False


class TestConnectionIn(SecretBody):
    """Either ``account_id`` (a saved account), ``login_id`` (a saved log-in) or a broker with
    credentials."""

    account_id: Id | None = None
    login_id: Id | None = None
    broker: Broker | None = None
    environment: Environment = "demo"
    credentials: CredentialsIn | None = None


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
    login_id: int | None
    broker_account_id: str | None
    credentials: dict[str, str] | None = Field(
        None, description="Which ones are set; what they are is never told."
    )
    currency: str
    status: str
    last_error: str | None
    kill_switch: bool
    out_of_sync_since: Instant | None
    poll_interval_s: float | None = Field(
        None, description="How often it is read as a whole, beside the user stream."
    )
    polled_at: Instant | None = None
    poll_trouble: str | None = None
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(
        cls, account: Account, credentials: dict[str, str] | None, polling: dict[str, Any]
    ) -> AccountOut:
        """``polling``: the three fields about it."""
        made = cls.model_validate(account)
        made.credentials = credentials
        return made.model_copy(update=polling)


class FoundOut(Out):
    """An account that a log-in has. ``account_id``: where it is open here already; ``note``: why
    it cannot be used."""

    broker_account_id: str
    name: str
    currency: str
    is_usable: bool
    note: str | None
    account_id: int | None


class ConnectionOut(Out):
    """``accounts`` are those that the log-in has."""

    ok: bool
    broker: str
    environment: str
    accounts: list[FoundOut]


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


class AdoptedOut(Out):
    """What our books said in a contract, and what the broker held; the books say so now."""

    contract: str
    broker: DecimalStr
    books: DecimalStr


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
