"""Accounts at brokers that are reached through a log-in: found, opened, given other credentials,
connected and disconnected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.brokers.logins import FoundAccount
from app.domain.errors import Conflict, Invalid
from app.extensions import db, writer
from app.models import Account, BrokerLogin
from app.services import account_status, logins, user_data
from app.services.logins import Given
from app.services.owned import get, owned
from app.transactions import Tx

Source = Given | int
"""How a log-in is named: what somebody signs in with, or the id of one that is here."""


class ChooseAccount(Invalid):
    """The log-in has several accounts, and which one was not said: ``accounts`` lists them."""

    code = "choose_account"

    def __init__(self, found: Iterable[Found]) -> None:
        offered = list(found)
        super().__init__(
            f"is required: this log-in has {_in_words(offered)}", field="broker_account_id"
        )
        self.members = {"accounts": [account.as_json() for account in offered]}


@dataclass(frozen=True, slots=True)
class Found:
    """An account that a log-in has. ``account_id`` is ours, where it was opened here before;
    ``note`` says why it cannot be used."""

    broker_account_id: str
    name: str
    currency: str
    is_usable: bool
    note: str | None
    account_id: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "broker_account_id": self.broker_account_id,
            "name": self.name,
            "currency": self.currency,
            "is_usable": self.is_usable,
            "note": self.note,
            "account_id": self.account_id,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """An account to open: which one of the log-in (its id or name at the broker; None where the
    log-in has only one), and how it is to be called here."""

    broker_account_id: str | None
    name: str


def open_accounts(
    user_id: int,
    broker: str,
    environment: str,
    source: Source,
    choices: Sequence[Choice],
    *,
    address: str = "",
) -> list[Account]:
    """Open accounts of one log-in, all of them or none, and start its stream.

    Raises:
        ChooseAccount: the log-in has several accounts and a choice names none.
        Invalid: it has no such account, or one that cannot be traded.
        Conflict: an account is open here already.
        BrokerError: with the broker's own words; nothing was saved.
    """
    source, found = _ask(user_id, broker, environment, source)
    picked = [(_pick(found, choice.broker_account_id), choice.name) for choice in choices]

    def work(tx: Tx) -> list[Account]:
        logins.lock(tx, user_id)
        if isinstance(source, int):
            login = get(BrokerLogin, source, user_id, session=tx.session)
        else:
            login = logins.keep(tx, user_id, source, address=address)
        return [_open_found(tx, login, account, name) for account, name in picked]

    opened = writer.run(work)
    if isinstance(source, int):
        logins.resync(logins.get_owned(user_id, source))
        user_data.connect(user_id, opened[0].id)
    else:
        _start_anew(user_id, opened[0])
    return opened


def try_log_in(user_id: int, given: Given) -> tuple[Given, list[Found]]:
    """Sign in and list the accounts; nothing is saved. The first is what ``open_accounts`` and
    ``logins.seal`` take, so that the broker sees one sign-in, not two.

    Raises:
        BrokerError: with the broker's own words.
    """
    given, found = logins.sign_in(user_id, given)
    return given, _beside_ours(user_id, given.broker, given.environment, found)


def try_code(
    user_id: int, broker: str, environment: str, code: str, redirect_uri: str
) -> tuple[Given, list[Found]]:
    """``try_log_in`` for somebody who comes back from the broker's own log-in page."""
    given = logins.exchange_code(user_id, broker, environment, code, redirect_uri)
    return try_log_in(user_id, given)


def listed(user_id: int, login_id: int) -> list[Found]:
    """The accounts that a saved log-in has, asked of its broker now."""
    login = logins.get_owned(user_id, login_id)
    found = logins.list_accounts(login)
    return _beside_ours(user_id, login.broker, login.environment, found)


def replace_credentials(
    user_id: int,
    account_id: int,
    credentials: Mapping[str, Any],
    *,
    kind: str = logins.PASSWORD,
    address: str = "",
) -> Account:
    """Try other credentials for the account's log-in and keep them; its stream starts anew. All
    accounts of the log-in have them then.

    Raises:
        Invalid: the account has no log-in, or these credentials do not reach its accounts.
        BrokerError: with the broker's own words; the old ones stay.
    """
    account = get(Account, account_id, user_id)
    login = _login_of(account, "credentials")
    given = Given(account.broker, account.environment, credentials, kind)
    device_id, identity_hash = login.device_id, login.identity_hash
    siblings = _siblings(user_id, login.id)
    given, found = logins.sign_in(user_id, given, device_id=device_id)
    # A broker may leave an account out of the list of its own log-in for a while.
    lacking = [a.name for a in siblings if a.broker_account_id not in {f.id for f in found}]
    if lacking and given.identity_hash != identity_hash:
        words = ", ".join(f"“{name}”" for name in lacking)
        raise Invalid(f"are of a log-in without {words}", code="other_login", field="credentials")

    def work(tx: Tx) -> Account:
        row = get(BrokerLogin, login.id, user_id, session=tx.session)
        logins.replace(tx, row, given, address=address)
        for each in _siblings(user_id, row.id, tx):
            each.status, each.last_error = "connecting", None
            account_status.tell(tx, each, "credentials", f"“{each.name}” has new credentials.")
        return get(Account, account_id, user_id, session=tx.session)

    changed = writer.run(work)
    _start_anew(user_id, changed)
    return changed


def connect(user_id: int, account_id: int) -> Account:
    """Keep the user stream of the account's log-in running.

    Raises:
        Conflict: the account has none.
    """
    account = get(Account, account_id, user_id)
    _require_stream(account)
    user_data.connect(user_id, account_id)
    return _reread(account)


def disconnect(user_id: int, account_id: int) -> Account:
    """End the user stream of the account's log-in, for all accounts of that log-in.

    Raises:
        Conflict: the account has none.
    """
    account = get(Account, account_id, user_id)
    _require_stream(account)
    user_data.disconnect(user_id, account_id)
    return _reread(account)


def _ask(user_id: int, broker: str, environment: str, source: Source) -> tuple[Source, list[Found]]:
    if not isinstance(source, int):
        return try_log_in(user_id, source)
    login = logins.get_owned(user_id, source)
    if (login.broker, login.environment) != (broker, environment):
        raise Invalid(
            f"is a {login.environment} log-in at {login.broker}, not a {environment} one at"
            f" {broker}",
            field="login_id",
        )
    return source, listed(user_id, source)


def _pick(found: Sequence[Found], wanted: str | None) -> Found:
    """The account that is meant, by its id or name at the broker."""
    if not found:
        raise Invalid(
            "The log-in works, but it has no account.", code="no_accounts", field="credentials"
        )
    if wanted is None and len(found) > 1:
        raise ChooseAccount(found)
    named = [a for a in found if wanted in (None, a.broker_account_id, a.name)]
    if not named:
        raise Invalid(
            f"is none of this log-in's: it has {_in_words(found)}", field="broker_account_id"
        )
    account = named[0]
    if not account.is_usable:
        raise Invalid(
            f"{account.name} cannot be traded: {account.note or 'the broker has closed it'}",
            code="account_unusable",
            field="broker_account_id",
        )
    return account


def _in_words(found: Iterable[Found]) -> str:
    return ", ".join(
        f"{a.broker_account_id} ({a.name}{f', {a.note}' if a.note else ''})" for a in found
    )


def _beside_ours(
    user_id: int, broker: str, environment: str, found: Iterable[FoundAccount]
) -> list[Found]:
    ours = {
        account.broker_account_id: account.id
        for account in db.session.scalars(
            owned(Account, user_id).where(
                Account.broker == broker, Account.environment == environment
            )
        )
    }
    return [Found(a.id, a.name, a.currency, a.is_usable, a.note, ours.get(a.id)) for a in found]


def _open_found(tx: Tx, login: BrokerLogin, found: Found, name: str) -> Account:
    there = tx.session.scalar(
        owned(Account, login.user_id).where(
            Account.broker == login.broker,
            Account.environment == login.environment,
            Account.broker_account_id == found.broker_account_id,
        )
    )
    if there is not None:
        raise Conflict(
            f"{found.name} is open here already, as “{there.name}”.", code="account_exists"
        )
    account = Account(
        user_id=login.user_id,
        name=name,
        broker=login.broker,
        environment=login.environment,
        login_id=login.id,
        broker_account_id=found.broker_account_id,
        currency=found.currency,
        status="connecting",
    )
    account_status.add(tx, account)
    message = f"Account “{name}” ({found.name}) was opened."
    account_status.tell(tx, account, "account_opened", message)
    return account


def _start_anew(user_id: int, account: Account) -> None:
    """A session and a stream that run know nothing of new credentials."""
    if account.login_id is not None:
        logins.close(account.broker, account.login_id)
        user_data.connect(user_id, account.id)


def _login_of(account: Account, field: str) -> BrokerLogin:
    login = db.session.get(BrokerLogin, account.login_id) if account.login_id else None
    if login is None:
        raise Invalid(f"are not for {account.broker} accounts: they have no log-in", field=field)
    return login


def _siblings(user_id: int, login_id: int, tx: Tx | None = None) -> list[Account]:
    """Our accounts on one log-in."""
    session = tx.session if tx is not None else db.session
    return list(session.scalars(owned(Account, user_id).where(Account.login_id == login_id)))


def _require_stream(account: Account) -> None:
    if account.login_id is None:
        raise Conflict(
            f"“{account.name}” is a {account.broker} account: it is always connected.",
            code="no_stream",
        )


def _reread(account: Account) -> Account:
    db.session.expire_all()
    return get(Account, account.id, account.user_id)
