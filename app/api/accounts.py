"""Trading accounts: ``/api/accounts/``."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.domain.errors import Invalid
from app.models import Account, Fill, Order
from app.schemas.accounts import (
    AccountChange,
    AccountIn,
    AccountOut,
    BalanceOut,
    ConnectionOut,
    DeleteQuery,
    ExposureOut,
    FillOut,
    HeldOut,
    KillSwitchIn,
    OrderOut,
    OrdersQuery,
    TestConnectionIn,
)
from app.schemas.common import Done, ListQuery, page_of
from app.services import accounts
from app.services.owned import get
from app.web.auth import current_user_id
from app.web.pagination import Listed, paginate

bp = APIBlueprint("accounts", __name__, url_prefix="/accounts", tag="Accounts")
_SORTS = {"created_at": Account.created_at, "name": Account.name}


@bp.get("/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(AccountOut))
def index(query_data: ListQuery) -> Listed:
    """List accounts"""
    rows = accounts.listing(current_user_id())
    return paginate(rows, query_data, id_column=Account.id, sorts=_SORTS, default="id")


@bp.post("/")
@bp.input(AccountIn)
@bp.output(AccountOut, 201)
def create(json_data: AccountIn) -> Any:
    """Open an account"""
    return accounts.open_account(
        current_user_id(),
        name=json_data.name,
        broker=json_data.broker,
        environment=json_data.environment,
        currency=json_data.currency,
        starting_balance=json_data.starting_balance,
    )


@bp.post("/test-connection/")
@bp.input(TestConnectionIn)
@bp.output(ConnectionOut)
def test_connection(json_data: TestConnectionIn) -> dict[str, Any]:
    """Try saved or given credentials; nothing is saved"""
    if json_data.account_id is not None:
        account = accounts.test_connection(current_user_id(), json_data.account_id)
        return _connection(account.broker, account.environment, [_named(account)])
    if json_data.broker is None:
        raise Invalid("is required without account_id", field="broker")
    accounts.refuse_unsupported(json_data.broker, json_data.environment)
    return _connection(json_data.broker, json_data.environment, [])


@bp.get("/<int:account_id>/")
@bp.output(AccountOut)
def show(account_id: int) -> Any:
    """Show an account"""
    return get(Account, account_id, current_user_id())


@bp.put("/<int:account_id>/")
@bp.input(AccountChange)
@bp.output(AccountOut)
def change(account_id: int, json_data: AccountChange) -> Any:
    """Rename an account"""
    if json_data.name is None:
        return get(Account, account_id, current_user_id())
    return accounts.rename(current_user_id(), account_id, json_data.name)


@bp.delete("/<int:account_id>/")
@bp.input(DeleteQuery, location="query")
@bp.output(Done)
def delete(account_id: int, query_data: DeleteQuery) -> Done:
    """Delete an account; its history stays"""
    accounts.delete(current_user_id(), account_id, flatten_first=query_data.flatten)
    return Done()


@bp.get("/<int:account_id>/balances/")
@bp.output(page_of(BalanceOut))
def balances(account_id: int) -> dict[str, Any]:
    """What the broker says the account is worth"""
    stated = accounts.balance(current_user_id(), account_id)
    return _all([BalanceOut.of(stated)])


@bp.get("/<int:account_id>/positions/")
@bp.output(page_of(HeldOut))
def positions(account_id: int) -> dict[str, Any]:
    """What the broker holds, beside our books"""
    return _all(accounts.broker_positions(current_user_id(), account_id))


@bp.get("/<int:account_id>/orders/")
@bp.input(OrdersQuery, location="query")
@bp.output(page_of(OrderOut))
def orders(account_id: int, query_data: OrdersQuery) -> Listed:
    """List orders, newest first"""
    rows = accounts.orders(current_user_id(), account_id, only_open=query_data.open)
    return paginate(rows, query_data, id_column=Order.id)


@bp.get("/<int:account_id>/fills/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(FillOut))
def fills(account_id: int, query_data: ListQuery) -> Listed:
    """List fills, newest first"""
    rows = accounts.fills(current_user_id(), account_id)
    return paginate(rows, query_data, id_column=Fill.id, sorts={"filled_at": Fill.filled_at})


@bp.post("/<int:account_id>/flatten/")
@bp.output(ExposureOut)
def flatten(account_id: int) -> Any:
    """Cancel every order and close every position; answers what is left"""
    return accounts.flatten_account(current_user_id(), account_id)


@bp.post("/<int:account_id>/kill-switch/")
@bp.input(KillSwitchIn)
@bp.output(AccountOut)
def kill_switch(account_id: int, json_data: KillSwitchIn) -> Any:
    """Block entries, or allow them again; protection stays"""
    return accounts.set_kill_switch(
        current_user_id(), account_id, json_data.on, flatten_too=json_data.flatten
    )


def _all(items: list[Any]) -> dict[str, Any]:
    return {"items": items, "next": None, "total": len(items)}


def _connection(broker: str, environment: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"ok": True, "broker": broker, "environment": environment, "accounts": found}


def _named(account: Account) -> dict[str, Any]:
    return {"broker_account_id": account.broker_account_id, "name": account.name}
