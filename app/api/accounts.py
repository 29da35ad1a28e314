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
    AdoptedOut,
    BalanceOut,
    ConnectionOut,
    CredentialsIn,
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
from app.services import accounts, broker_accounts, logins, recorder, sync
from app.services.broker_accounts import Found, Source
from app.services.logins import Given
from app.services.owned import get
from app.web.auth import current_user_id, remote_address
from app.web.pagination import Listed, paginate

bp = APIBlueprint("accounts", __name__, url_prefix="/accounts", tag="Accounts")
_SORTS = {"created_at": Account.created_at, "name": Account.name}


@bp.get("/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(AccountOut))
def index(query_data: ListQuery) -> Listed:
    """List accounts"""
    rows = accounts.listing(current_user_id())
    page = paginate(rows, query_data, id_column=Account.id, sorts=_SORTS, default="id")
    page["items"] = _shown(page["items"])
    return page


@bp.post("/")
@bp.input(AccountIn)
@bp.output(AccountOut, 201)
def create(json_data: AccountIn) -> AccountOut:
    """Open an account"""
    account = accounts.open_account(
        current_user_id(),
        name=json_data.name,
        broker=json_data.broker,
        environment=json_data.environment,
        currency=json_data.currency,
        starting_balance=json_data.starting_balance,
        source=_source(json_data),
        broker_account_id=json_data.broker_account_id,
        address=remote_address(),
    )
    return _shown([account])[0]


@bp.post("/test-connection/")
@bp.input(TestConnectionIn)
@bp.output(ConnectionOut)
def test_connection(json_data: TestConnectionIn) -> dict[str, Any]:
    """Try saved or given credentials; nothing is saved"""
    user_id = current_user_id()
    if json_data.account_id is not None:
        account, found = accounts.test_connection(user_id, json_data.account_id)
        return _connection(account.broker, account.environment, found)
    if json_data.login_id is not None:
        login = logins.get_owned(user_id, json_data.login_id)
        found = broker_accounts.listed(user_id, login.id)
        return _connection(login.broker, login.environment, found)
    if json_data.broker is None:
        raise Invalid("is required without account_id", field="broker")
    found = accounts.try_out(
        user_id, json_data.broker, json_data.environment, _credentials(json_data.credentials)
    )
    return _connection(json_data.broker, json_data.environment, found)


@bp.get("/<int:account_id>/")
@bp.output(AccountOut)
def show(account_id: int) -> AccountOut:
    """Show an account"""
    return _shown([get(Account, account_id, current_user_id())])[0]


@bp.put("/<int:account_id>/")
@bp.input(AccountChange)
@bp.output(AccountOut)
def change(account_id: int, json_data: AccountChange) -> AccountOut:
    """Rename an account, or give its log-in other credentials"""
    user_id = current_user_id()
    account = get(Account, account_id, user_id)
    credentials = _credentials(json_data.credentials)
    if credentials is not None:
        account = broker_accounts.replace_credentials(
            user_id, account_id, credentials, address=remote_address()
        )
    if json_data.name is not None:
        account = accounts.rename(user_id, account_id, json_data.name)
    return _shown([account])[0]


@bp.post("/<int:account_id>/connect/")
@bp.output(AccountOut)
def connect(account_id: int) -> AccountOut:
    """Keep the user stream of the account's log-in running"""
    return _shown([broker_accounts.connect(current_user_id(), account_id)])[0]


@bp.post("/<int:account_id>/disconnect/")
@bp.output(AccountOut)
def disconnect(account_id: int) -> AccountOut:
    """End the user stream of the account's log-in"""
    return _shown([broker_accounts.disconnect(current_user_id(), account_id)])[0]


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


@bp.post("/<int:account_id>/adopt/")
@bp.output(page_of(AdoptedOut))
def adopt(account_id: int) -> dict[str, Any]:
    """Let our books follow what the broker holds; answers what differed"""
    return _all(sync.adopt(current_user_id(), account_id))


@bp.post("/<int:account_id>/kill-switch/")
@bp.input(KillSwitchIn)
@bp.output(AccountOut)
def kill_switch(account_id: int, json_data: KillSwitchIn) -> AccountOut:
    """Block entries, or allow them again; protection stays"""
    account = accounts.set_kill_switch(
        current_user_id(), account_id, json_data.on, flatten_too=json_data.flatten
    )
    return _shown([account])[0]


def _shown(rows: list[Account]) -> list[AccountOut]:
    """With what may be said of their credentials."""
    kinds = logins.kinds(current_user_id()) if any(row.login_id for row in rows) else {}
    polls = recorder.of_accounts(current_user_id(), [row.id for row in rows if row.login_id])
    return [
        AccountOut.of(
            row,
            logins.shown(kinds[row.login_id]) if row.login_id else None,
            recorder.said(polls.get(row.id)),
        )
        for row in rows
    ]


def _source(given: AccountIn) -> Source | None:
    if given.credentials is not None and given.login_id is not None:
        raise Invalid("is not for a body with credentials", field="login_id")
    if given.login_id is not None:
        return given.login_id
    if given.credentials is None:
        return None
    return Given(given.broker, given.environment, given.credentials.as_given())


def _credentials(given: CredentialsIn | None) -> dict[str, str] | None:
    return None if given is None else given.as_given()


def _all(items: list[Any]) -> dict[str, Any]:
    return {"items": items, "next": None, "total": len(items)}


def _connection(broker: str, environment: str, found: list[Found]) -> dict[str, Any]:
    return {"ok": True, "broker": broker, "environment": environment, "accounts": found}
