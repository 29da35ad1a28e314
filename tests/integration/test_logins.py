"""What is kept of log-ins at brokers, and who may renew a session when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import gevent
import pytest
from apiflask import APIFlask
from gevent.event import Event
from sqlalchemy import Engine, create_engine

from app.domain.errors import BrokerRateLimited, BrokerRefused
from app.extensions import db, writer
from app.models import BrokerLogin, User
from app.models.engine import LockHeld, exclusively
from app.services import logins, secrets
from app.services.logins import Given, Store
from tests import factories
from tests.databases import ONLY_POSTGRESQL

GIVEN = Given(
    "tradovate",
    "demo",
    {"username": "Jo", "password": "p", "client_id": "8", "client_secret": "s", "device_id": "d1"},
)


@pytest.fixture
def user(app: APIFlask) -> User:
    return factories.user()


@pytest.fixture
def engine(app: APIFlask) -> Engine:
    with app.app_context():
        return db.engine


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def _kept(user: User, given: Given = GIVEN) -> BrokerLogin:
    return writer.run(lambda tx: logins.keep(tx, user.id, given))


def _with(**changes: str) -> Given:
    return Given(GIVEN.broker, GIVEN.environment, {**GIVEN.credentials, **changes})


def test_credentials_come_back_as_they_were_given(user: User, store: Store) -> None:
    login = _kept(user)

    assert store.credentials(login.id) == GIVEN.credentials


def test_the_same_name_is_found_however_it_is_written(user: User) -> None:
    first = _kept(user)

    assert _kept(user, _with(username=" jO ")).id == first.id
    assert _kept(user, _with(username="ann")).id != first.id
    assert _kept(factories.user()).id != first.id


def test_new_credentials_end_the_session_and_the_same_ones_do_not(user: User, store: Store) -> None:
    login = _kept(user)
    store.save_token(login.id, {"access_token": "t"})

    _kept(user)
    kept = store.token(login.id)
    _kept(user, _with(password="other"))

    assert kept == {"access_token": "t"}
    assert store.token(login.id) is None


def test_a_session_that_cannot_be_read_is_no_session(user: User, store: Store) -> None:
    login = _kept(user)
    store.save_token(login.id, {"access_token": "t"})
    secrets.bind("another key, as after a restore without it")

    assert store.token(login.id) is None
    with pytest.raises(BrokerRefused, match="enter the credentials again"):
        store.credentials(login.id)


def test_secrets_of_one_log_in_do_not_open_in_another(user: User, store: Store) -> None:
    first, second = _kept(user), _kept(user, _with(username="ann"))

    def swap(tx: object) -> None:
        row = tx.session.get(BrokerLogin, second.id)  # type: ignore[attr-defined]
        row.credentials_cipher = first.credentials_cipher

    writer.run(swap)

    with pytest.raises(BrokerRefused):
        store.credentials(second.id)


def test_a_log_in_that_was_removed_has_nothing(user: User, store: Store) -> None:
    login = _kept(user)
    store.save_token(login.id, {"access_token": "t"})

    assert writer.run(lambda tx: logins.forget_unused(tx, login.id))
    store.save_token(login.id, {"access_token": "late"})

    assert store.token(login.id) is None
    with pytest.raises(BrokerRefused, match="removed"):
        store.credentials(login.id)


def test_a_log_in_whose_account_stays_is_kept(user: User, store: Store) -> None:
    login = _kept(user)
    account = factories.account(user, broker="tradovate", login_id=login.id, broker_account_id="33")

    assert not writer.run(lambda tx: logins.forget_unused(tx, login.id))
    assert [ref.id for ref in store.accounts(login.id)] == [account.id]
    assert store.accounts(login.id)[0].login_id == login.id


def test_one_greenlet_renews_at_a_time(store: Store) -> None:
    inside, most, let_go = [0], [0], Event()

    def renew() -> None:
        with store.renewing(7):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            let_go.wait(timeout=10)
            inside[0] -= 1

    renewing = [gevent.spawn(renew) for _ in range(3)]
    with gevent.Timeout(10, AssertionError("nobody got in")):
        while not inside[0]:
            gevent.sleep(0)
    with store.renewing(8):  # another log-in is not held up
        assert inside[0] == 1
    let_go.set()
    gevent.joinall(renewing, timeout=10, raise_error=True)

    assert (most[0], inside[0]) == (1, 0)


def test_who_waits_too_long_hears_that_it_is_not_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "_RENEWAL_WAIT_S", 0.05)

    with store.renewing(7), pytest.raises(BrokerRateLimited):
        gevent.spawn(lambda: store.renewing(7).__enter__()).get(timeout=10)


def test_a_renewal_that_fails_lets_the_next_one_in(store: Store) -> None:
    with pytest.raises(ValueError, match="broken"), store.renewing(7):
        raise ValueError("broken")

    with gevent.Timeout(10), store.renewing(7):
        pass


@contextmanager
def _another_process(engine: Engine) -> Iterator[Engine]:
    other = create_engine(engine.url)
    try:
        yield other
    finally:
        other.dispose()


@ONLY_POSTGRESQL
def test_one_process_renews_at_a_time(engine: Engine, store: Store) -> None:
    with _another_process(engine) as other:
        with store.renewing(7), pytest.raises(LockHeld), exclusively(other, "login:7", wait_s=1):
            pass

        with exclusively(other, "login:7", wait_s=1):
            pass


@ONLY_POSTGRESQL
def test_a_process_that_dies_lets_the_others_in(engine: Engine) -> None:
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("SELECT pg_advisory_lock(hashtextextended('login:7', 0))")
        connection.detach()

    with exclusively(engine, "login:7", wait_s=5):
        pass
