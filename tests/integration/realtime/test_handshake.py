"""Who may open a connection, by what transport, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from apiflask import APIFlask
from socketio.exceptions import ConnectionError as Refused
from sqlalchemy import update

from app.extensions import writer
from app.models import User
from app.realtime import guard
from app.services import api_keys, sessions, tickets
from app.services.identity import SCOPES
from tests import factories
from tests.databases import ONLY_SQLITE
from tests.integration.realtime.conftest import Listener, wait_until

Connect = Callable[..., Listener]


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("auth", "header", "reason"),
    [
        (None, None, "Sign in first."),
        (None, "jt_session=forged", "Sign in first."),
        ({"token": "jt_unknown"}, None, "The token is unknown or out of date."),
        ({"token": "not.a.ticket"}, None, "The token is unknown or out of date."),
        ({"token": 7}, None, "The token is unknown or out of date."),
    ],
)
def test_refused_handshake_says_why(
    connect: Connect, auth: Any, header: str | None, reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        connect(auth=auth, header=header)

    [why] = refused.value.args[0]
    assert why == {"message": reason, "data": {"code": "unauthorized"}}


def test_session_cookie_opens_a_connection(connect: Connect) -> None:
    user = factories.user()

    greeting = connect(user).greeting

    assert greeting["user_id"] == user.id
    assert greeting["last_seq"] == 0
    assert greeting["server_time"].endswith("Z")


def test_api_key_opens_a_connection_and_its_end_closes_it(app: APIFlask, connect: Connect) -> None:
    user = factories.user()
    with app.app_context():
        row, key = api_keys.create(user.id, "bot", ["read"], grantable=frozenset(SCOPES))
    listener = connect(auth={"token": key})
    assert listener.greeting["user_id"] == user.id

    with app.app_context():
        api_keys.revoke(row.id, user.id)

    wait_until(lambda: listener.of("disconnect"), "disconnect")


def test_key_without_the_right_to_read_is_refused(app: APIFlask, connect: Connect) -> None:
    user = factories.user()
    with app.app_context():
        _, key = api_keys.create(user.id, "bot", ["trade"], grantable=frozenset(SCOPES))

    with pytest.raises(Refused):
        connect(auth={"token": key})


@ONLY_SQLITE
def test_ticket_opens_a_connection_as_long_as_its_session_lives(
    app: APIFlask, connect: Connect
) -> None:
    user = factories.user()
    with app.app_context():
        identity = sessions.resolve(sessions.start(user.id))
        assert identity is not None
        ticket = tickets.issue(identity)
    listener = connect(auth={"token": ticket})
    assert listener.greeting["user_id"] == user.id

    with app.app_context():
        sessions.end_all(user.id)

    wait_until(lambda: listener.of("disconnect"), "disconnect")
    with pytest.raises(Refused):
        connect(auth={"token": ticket})


@ONLY_SQLITE
def test_token_decides_alone_where_one_is_given(
    connect: Connect, cookie: Callable[..., str]
) -> None:
    header = cookie(factories.user())

    with pytest.raises(Refused):
        connect(header=header, auth={"token": "jt_unknown"})


@ONLY_SQLITE
def test_page_of_another_site_is_refused(connect: Connect, cookie: Callable[..., str]) -> None:
    header = cookie(factories.user())

    with pytest.raises(Refused):
        connect(header=header, transports=["polling"], Origin="https://evil.example")

    # Over a websocket the client names the server's own address as its origin.
    assert connect(header=header, transports=["websocket"]).greeting


@ONLY_SQLITE
def test_long_polling_becomes_a_websocket(connect: Connect, record: Callable[..., None]) -> None:
    user = factories.user()

    listener = connect(user, transports=["polling", "websocket"])
    record(user, 3)

    wait_until(lambda: listener.socket.transport() == "websocket", "upgrade")
    listener.wait_for(3)
    assert listener.numbers == [1, 2, 3]


@ONLY_SQLITE
def test_long_polling_alone_is_served_too(connect: Connect, record: Callable[..., None]) -> None:
    user = factories.user()
    listener = connect(user, transports=["polling"])
    assert listener.greeting["user_id"] == user.id

    record(user, 3)

    listener.wait_for(3)
    assert listener.numbers == [1, 2, 3]


def test_ended_session_closes_its_own_connections_only(
    app: APIFlask, connect: Connect, cookie: Callable[..., str]
) -> None:
    user = factories.user()
    stays, goes = connect(user), connect(user)
    assert stays.greeting
    assert goes.greeting
    with app.app_context():
        newest = sessions.listing(user.id)[0]

    with app.app_context():
        sessions.end(newest.id, user.id)

    wait_until(lambda: goes.of("disconnect"), "disconnect")
    assert not stays.of("disconnect")
    assert stays.ask("ping")["ok"]


def test_session_that_ended_elsewhere_is_noticed(
    app: APIFlask, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = factories.user()
    monkeypatch.setattr(guard, "LOOK_EVERY_S", 0.05)
    with app.app_context():
        sessions.end_all(factories.user().id)  # the guard's present wait ends
    listener = connect(user)
    assert listener.greeting

    raise_epoch = (
        update(User).where(User.id == user.id).values(session_epoch=User.session_epoch + 1)
    )
    writer.run(lambda tx: tx.conn.execute(raise_epoch))

    wait_until(lambda: listener.of("disconnect"), "disconnect")
