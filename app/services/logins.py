"""Log-ins at brokers: tried, found or made, their secrets kept, forgotten with the last account.

One log-in is one session, one request budget and one user stream; whoever gives the same name at
the same broker again gets the log-in that is there, with the credentials that were given last.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from gevent.lock import BoundedSemaphore
from sqlalchemy import Engine, Select, func, select, update
from sqlalchemy.orm import Session

from app import clock
from app.brokers import registry
from app.brokers.base import AccountRef
from app.brokers.logins import FoundAccount, LoginBroker, LoginRef
from app.domain.errors import BrokerRateLimited, BrokerRefused, Conflict, Invalid
from app.extensions import db, writer
from app.models import Account, BrokerLogin
from app.models.engine import LockHeld, exclusively, serialize
from app.services import account_status, audit, broker_sign_ins, secrets
from app.services.owned import get
from app.transactions import Tx

log = logging.getLogger(__name__)

PASSWORD, OAUTH = "password", "oauth"
UNREADABLE = (
    "The saved credentials cannot be read, because the key of this installation changed:"
    " enter the credentials again."
)
_RENEWAL_WAIT_S = 60.0
"""How long one process waits for another one's log-in before it gives up for now."""
_SEALED_FOR = timedelta(minutes=15)
_SET: dict[str, dict[str, str]] = {
    PASSWORD: dict.fromkeys(("username", "password", "client_id", "client_secret"), "set"),
    OAUTH: {"oauth": "set"},
}


class TakesCodes(Protocol):
    """A broker where people may sign in on its own page."""

    def exchange_code(self, environment: str, code: str, redirect_uri: str) -> dict[str, Any]:
        """Credentials as ``LoginStore.credentials`` returns them, with ``identity`` (who signed
        in) and ``token`` (the session, as ``save_token`` is given it)."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody signs in with. ``credentials`` as ``LoginStore.credentials`` returns them, and
    ``token`` where a session came along with them."""

    broker: str
    environment: str
    credentials: Mapping[str, Any] = field(repr=False)
    kind: str = PASSWORD

    @property
    def identity_hash(self) -> str:
        """Tells one name at the broker from another; without our key a name cannot be guessed."""
        name = str(self.credentials.get("username") or self.credentials.get("identity") or "")
        return secrets.stable_token(f"identity:{name.strip().casefold()}")


def broker_of(name: str) -> LoginBroker | None:
    """The broker of that name where it is reached through log-ins.

    Raises:
        Invalid: ``broker_unavailable`` where this installation has no such broker.
    """
    found = registry.get(name)
    return cast("LoginBroker", found) if hasattr(found, "try_credentials") else None


def ref(login: BrokerLogin) -> LoginRef:
    return LoginRef(login.id, login.user_id, login.broker, login.environment)


def shown(kind: str) -> dict[str, str]:
    """What is said about saved credentials: that they are there."""
    return dict(_SET.get(kind, _SET[PASSWORD]))


def get_owned(user_id: int, login_id: int) -> BrokerLogin:
    """
    Raises:
        NotFound: not there, or not the user's.
    """
    return get(BrokerLogin, login_id, user_id)


def kinds(user_id: int) -> dict[int, str]:
    """How each of the user's log-ins signs in, by id."""
    rows = db.session.execute(
        select(BrokerLogin.id, BrokerLogin.kind).where(BrokerLogin.user_id == user_id)
    )
    return {row.id: row.kind for row in rows}


def offers_oauth(name: str) -> bool:
    """Whether people may sign in on the broker's own page."""
    return name in registry.names() and hasattr(registry.get(name), "exchange_code")


# Asking the broker; nothing here is inside a transaction.


def sign_in(
    user_id: int, given: Given, *, device_id: str | None = None
) -> tuple[Given, list[FoundAccount]]:
    """Try credentials at their broker and list the accounts; nothing is saved.

    Returns ``given`` as it is to be kept: with the device's id, and for a log-in without a name
    with what tells it from others.

    Raises:
        Invalid: the broker has no log-ins.
        TooManyRequests: too many were tried.
        BrokerError: with the broker's own words.
    """
    broker = _required(given.broker)
    given = _with(given, device_id=device_id or _device_id(user_id, given))
    db.session.commit()  # no read may hold a transaction open while a broker is asked
    with broker_sign_ins.counted(user_id, given.broker):
        found = broker.try_credentials(given.environment, given.credentials)
    if not (given.credentials.get("username") or given.credentials.get("identity")):
        given = _with(given, identity="accounts:" + ",".join(sorted(a.id for a in found)))
    return given, found


def exchange_code(
    user_id: int, broker: str, environment: str, code: str, redirect_uri: str
) -> Given:
    """What somebody who came back from the broker's own log-in page signs in with.

    Raises:
        TooManyRequests: too many were tried.
        BrokerError: with the broker's own words; a code works once.
    """
    taker = cast("TakesCodes", _required(broker))
    db.session.commit()
    with broker_sign_ins.counted(user_id, broker):
        credentials = taker.exchange_code(environment, code, redirect_uri)
    return Given(broker, environment, credentials, OAUTH)


def list_accounts(login: BrokerLogin) -> list[FoundAccount]:
    """The accounts of a saved log-in, asked of its broker now."""
    broker, login_ref = _required(login.broker), ref(login)
    db.session.commit()
    return broker.list_accounts(login_ref)


def close(broker: str, login_id: int) -> None:
    """End the stream and forget the session that this process holds."""
    found = broker_of(broker)
    if found is not None:
        found.close(login_id)


def resync(login: BrokerLogin) -> None:
    """Let its stream, where it runs, take in accounts that were opened meanwhile."""
    _required(login.broker).resync(login.id)


# Rows; each of these is called inside the transaction that makes it true.


def keep(tx: Tx, user_id: int, given: Given, *, address: str = "") -> BrokerLogin:
    """The log-in that ``given`` signs in with: made, or the one that is there brought up to date.

    ``given`` comes from ``sign_in``.
    """
    lock(tx, user_id)
    login = tx.session.scalar(_same(user_id, given))
    if login is not None:
        if _seal(login, given):
            _audit(tx, login, "login_credentials_changed", address)
        return login
    login = BrokerLogin(
        user_id=user_id,
        broker=given.broker,
        environment=given.environment,
        identity_hash=given.identity_hash,
        credentials_cipher="",
        device_id=given.credentials["device_id"],
    )
    tx.session.add(login)
    tx.session.flush()
    _seal(login, given)
    _audit(tx, login, "login_added", address)
    return login


def replace(tx: Tx, login: BrokerLogin, given: Given, *, address: str = "") -> None:
    """Give a log-in other credentials.

    Raises:
        Conflict: they are those of another log-in that is there.
    """
    lock(tx, login.user_id)
    other = tx.session.scalar(_same(login.user_id, given).where(BrokerLogin.id != login.id))
    if other is not None:
        raise Conflict("These are the credentials of another log-in that you have here.")
    login.identity_hash = given.identity_hash
    _seal(login, given)
    _audit(tx, login, "login_credentials_changed", address)


def forget_unused(tx: Tx, login_id: int) -> bool:
    """Delete the log-in and wipe its secrets where none of its accounts is left; whether it was.
    Its stream is then to be closed, after the commit."""
    login = tx.session.get(BrokerLogin, login_id)
    used = select(func.count(Account.id)).where(
        Account.login_id == login_id, Account.deleted_at.is_(None)
    )
    if login is None or login.deleted_at is not None or tx.session.scalar(used):
        return False
    login.deleted_at = clock.now()
    login.credentials_cipher, login.token_cipher = "", None
    login.is_wanted, login.state, login.state_reason = False, "stopped", None
    _audit(tx, login, "login_deleted", "")
    return True


def lock(tx: Tx, user_id: int) -> None:
    """One change of a user's log-ins and their accounts at a time, in all processes."""
    serialize(tx.conn, f"logins:{user_id}")


def opened(login: BrokerLogin) -> dict[str, Any] | None:
    """The credentials in the clear; None where they cannot be read (any more)."""
    return _opened(login.credentials_cipher, _credentials_context(login.id))


# Between two forms: credentials that were tried and are not saved yet.


def seal(user_id: int, given: Given) -> str:
    """``given`` as text for a hidden field: only we open it, for this user, for a while."""
    content = {
        "at": clock.now().isoformat(),
        "broker": given.broker,
        "environment": given.environment,
        "kind": given.kind,
        "credentials": dict(given.credentials),
    }
    return secrets.encrypt(json.dumps(content), _given_context(user_id))


def unseal(user_id: int, text: str) -> Given:
    """
    Raises:
        Invalid: altered, of somebody else, or too old.
    """
    content = _opened(text, _given_context(user_id))
    if content is None or clock.now() - datetime.fromisoformat(content["at"]) > _SEALED_FOR:
        raise Invalid("This form is out of date: enter the credentials again.", code="form_expired")
    return Given(content["broker"], content["environment"], content["credentials"], content["kind"])


class Store:
    """What brokers' packages read and keep of log-ins (``LoginStore``)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: dict[int, BoundedSemaphore] = {}

    def credentials(self, login_id: int) -> Mapping[str, Any]:
        """
        Raises:
            BrokerRefused: ``login_removed``; ``credentials_unreadable``, which the log-in's
                accounts then say too.
        """
        with self._engine.connect() as connection:
            row = connection.execute(
                select(BrokerLogin.credentials_cipher, BrokerLogin.device_id).where(
                    BrokerLogin.id == login_id, BrokerLogin.deleted_at.is_(None)
                )
            ).first()
        if row is None:
            raise BrokerRefused("This log-in was removed.", code="login_removed")
        content = _opened(row.credentials_cipher, _credentials_context(login_id))
        if content is None:
            log.error("credentials cannot be read", extra={"login_id": login_id})
            writer.run(lambda tx: _mark_unreadable(tx, login_id))
            raise BrokerRefused(UNREADABLE, code="credentials_unreadable")
        return {**content, "device_id": row.device_id}

    def token(self, login_id: int) -> dict[str, Any] | None:
        with self._engine.connect() as connection:
            cipher = connection.scalar(
                select(BrokerLogin.token_cipher).where(
                    BrokerLogin.id == login_id, BrokerLogin.deleted_at.is_(None)
                )
            )
        return _opened(cipher, _token_context(login_id)) if cipher else None

    def save_token(self, login_id: int, token: dict[str, Any] | None) -> None:
        cipher = None if token is None else _closed(token, _token_context(login_id))
        statement = (
            update(BrokerLogin)
            .where(BrokerLogin.id == login_id, BrokerLogin.deleted_at.is_(None))
            .values(token_cipher=cipher, updated_at=clock.now())
        )
        writer.run(lambda tx: tx.conn.execute(statement))

    @contextmanager
    def renewing(self, login_id: int) -> Iterator[None]:
        """Not to be entered twice by one greenlet.

        Raises:
            BrokerRateLimited: somebody else has been signing in for a minute.
        """
        here = self._locks.setdefault(login_id, BoundedSemaphore())
        if not here.acquire(timeout=_RENEWAL_WAIT_S):
            raise _busy()
        try:
            with exclusively(self._engine, f"login:{login_id}", _RENEWAL_WAIT_S):
                yield
        except LockHeld as e:
            raise _busy() from e
        finally:
            here.release()

    def accounts(self, login_id: int) -> tuple[AccountRef, ...]:
        with Session(self._engine) as session:
            rows = session.scalars(
                select(Account)
                .where(Account.login_id == login_id, Account.deleted_at.is_(None))
                .order_by(Account.id)
            )
            return tuple(registry.ref(row) for row in rows)


def _required(name: str) -> LoginBroker:
    broker = broker_of(name)
    if broker is None:
        raise Invalid(f"are not for {name} accounts: those have no log-in", field="credentials")
    return broker


def _same(user_id: int, given: Given) -> Select[BrokerLogin]:
    return select(BrokerLogin).where(
        BrokerLogin.user_id == user_id,
        BrokerLogin.broker == given.broker,
        BrokerLogin.environment == given.environment,
        BrokerLogin.identity_hash == given.identity_hash,
        BrokerLogin.deleted_at.is_(None),
    )


def _device_id(user_id: int, given: Given) -> str:
    """Of the log-in that is there; else one that stays the same however often it is tried."""
    known = db.session.scalar(_same(user_id, given).with_only_columns(BrokerLogin.device_id))
    return known or secrets.stable_token(
        f"device:{user_id}:{given.broker}:{given.environment}:{given.identity_hash}"
    )


def _with(given: Given, **more: str) -> Given:
    credentials = {**given.credentials, **more}
    return Given(given.broker, given.environment, credentials, given.kind)


def _seal(login: BrokerLogin, given: Given) -> bool:
    """Keep what was given; whether that is something new. The session of the old credentials ends
    with them."""
    content = dict(given.credentials)
    token = content.pop("token", None)
    login.kind = given.kind
    login.is_wanted = True
    login.blocked_until = None
    if token is None and login.credentials_cipher and opened(login) == content:
        return False
    login.credentials_cipher = _closed(content, _credentials_context(login.id))
    login.token_cipher = _closed(token, _token_context(login.id)) if token else None
    return True


def _closed(content: Mapping[str, Any], context: str) -> str:
    return secrets.encrypt(json.dumps(content, default=str), context)


def _opened(cipher: str, context: str) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", json.loads(secrets.decrypt(cipher, context)))
    except secrets.WrongKey:
        return None


def _mark_unreadable(tx: Tx, login_id: int) -> None:
    for account in tx.session.scalars(
        select(Account).where(Account.login_id == login_id, Account.deleted_at.is_(None))
    ):
        if account.last_error != UNREADABLE:
            account.status, account.last_error = "error", UNREADABLE
            account_status.announce(tx, account)


def _audit(tx: Tx, login: BrokerLogin, action: str, address: str) -> None:
    detail = {
        "broker": login.broker,
        "environment": login.environment,
        "credentials": shown(login.kind),
    }
    audit.record(tx, login.user_id, action, f"login:{login.id}", address=address, detail=detail)


def _busy() -> BrokerRateLimited:
    return BrokerRateLimited("Another sign-in of this log-in has not ended.", retry_after_s=5)


def _credentials_context(login_id: int) -> str:
    return f"login:{login_id}"


def _token_context(login_id: int) -> str:
    return f"login-token:{login_id}"


def _given_context(user_id: int) -> str:
    return f"given-credentials:{user_id}"
