"""Whose streams run, what their states do to accounts, and what a person reads of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy.exc import OperationalError

from app import clock
from app.brokers.logins import LoginRef, StreamStatus
from app.domain.errors import BrokerUnavailable, NotFound, Unavailable
from app.domain.trading import BrokerReport
from app.extensions import db, ownership, writer
from app.models import BrokerLogin
from app.models.engine import Ownership
from app.services import stream_states, user_data
from app.services.user_data import streams
from tests import factories
from tests.databases import ONLY_POSTGRESQL, ONLY_SQLITE
from tests.integration.user_data.conftest import NAME, Desk, login_of, wait_until
from tests.integration.user_data.test_live import holds, worth


def test_connect_opens_the_stream_once_for_all_accounts_of_the_log_in(desk: Desk) -> None:
    first, second = desk.account(), desk.account()

    desk.connect(first)
    standing = desk.connect(second)

    assert desk.broker.opened == [desk.login.id]
    assert user_data.is_here(desk.login.id)
    assert desk.row(BrokerLogin, desk.login.id).is_wanted
    assert (standing.state, standing.budget is not None) == ("connecting", True)
    assert desk.status(first) == desk.status(second) == ("connecting", None)


def test_states_reach_the_accounts_and_last_as_events(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    statuses = []

    for status in (
        StreamStatus.AUTHENTICATING,
        StreamStatus.SYNCING,
        StreamStatus.LIVE,
        StreamStatus.DEGRADED,
        StreamStatus.LIVE,
        StreamStatus.DISCONNECTED,
    ):
        desk.broker.tell(desk.ref, status, reason="why")
        statuses.append(desk.status(account)[0])

    assert statuses == [
        "connecting",
        "connecting",
        "connected",
        "degraded",
        "connected",
        "disconnected",
    ]
    row = desk.row(BrokerLogin, desk.login.id)
    assert (row.state, row.state_reason) == ("disconnected", "why")
    events = [(e["status"], e["stream"]["state"]) for e in desk.events("account:status")]
    assert events == [
        ("connecting", "connecting"),
        ("connected", "live"),
        ("degraded", "degraded"),
        ("connected", "live"),
        ("disconnected", "disconnected"),
    ]


def test_refused_log_in_is_an_error_that_only_a_person_ends(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)

    desk.broker.tell(
        desk.ref, StreamStatus.STOPPED, is_refused=True, reason="Wrong user name or password."
    )
    streams.supervise()

    assert desk.status(account) == ("error", "Wrong user name or password.")
    assert desk.broker.opened == [desk.login.id]
    assert desk.lines() == [
        "fake demo: Wrong user name or password. It is not tried again before you connect it."
    ]
    standing = desk.connect(account)
    assert desk.broker.opened == [desk.login.id] * 2
    assert standing.state == "connecting"
    desk.live()
    assert desk.status(account) == ("connected", None)


@ONLY_SQLITE
def test_refused_log_in_is_tried_again_when_it_was_connected_elsewhere(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    desk.broker.tell(desk.ref, StreamStatus.STOPPED, is_refused=True)

    writer.run(lambda tx: user_data._want(tx, desk.user.id, account.id))
    streams.supervise()

    wait_until(lambda: len(desk.broker.opened) == 2)


@ONLY_SQLITE
def test_block_is_said_with_its_end(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    until = clock.now().replace(hour=14, minute=5, second=0)

    desk.lost(reason="Too many requests.", blocked_until=until)

    assert desk.status(account) == (
        "disconnected",
        "fake demo asks to wait until 14:05:00 UTC. Too many requests.",
    )
    assert desk.lines() == [
        "The connection to fake demo could not be made: Too many requests."
        " Trying again. Not before 14:05:00 UTC."
    ]


@pytest.mark.usefixtures("quick")
def test_lost_connection_and_what_it_missed_are_said(desk: Desk) -> None:
    desk.connect(desk.account())
    now = clock.now()
    desk.live(epoch=1)
    wait_until(lambda: len(desk.lines()) == 1)

    desk.lost(reason="The broker closed it.", since=now)
    wait_until(lambda: len(desk.lines()) == 2)
    desk.live(epoch=2, reconnects=1, repaired=3, since=now + timedelta(seconds=7))

    wait_until(lambda: len(desk.lines()) == 3)
    assert desk.lines() == [
        "Connected to fake demo.",
        "The connection to fake demo was lost: The broker closed it. Trying again.",
        "Connected to fake demo again after 7 s. Took in 3 changes that had been missed.",
    ]
    row = desk.row(BrokerLogin, desk.login.id)
    assert (row.reconnects, row.gaps_repaired) == (1, 1)


@pytest.mark.usefixtures("quick")
@ONLY_SQLITE
def test_flapping_is_one_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_states, "FLAP_S", 3.0)
    desk.connect(desk.account())
    since = clock.now()
    desk.live(epoch=1)

    for number in range(2, 12):
        desk.lost(since=since, reconnects=number - 2)
        desk.live(epoch=number, repaired=1, since=since, reconnects=number - 1)

    wait_until(lambda: len(desk.lines()) == 2)
    assert desk.lines()[1] == (
        "Connected to fake demo again after 0 s. Took in 10 changes that had been missed."
    )
    row = desk.row(BrokerLogin, desk.login.id)
    assert (row.reconnects, row.gaps_repaired) == (10, 10)


@ONLY_SQLITE
def test_the_same_state_again_counts_once(desk: Desk) -> None:
    desk.connect(desk.account())

    for _ in range(3):
        desk.live(epoch=1, repaired=2, reconnects=1)

    row = desk.row(BrokerLogin, desk.login.id)
    assert (row.reconnects, row.gaps_repaired) == (1, 1)


def test_disconnect_ends_it_for_good(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    desk.live()

    standing = desk.disconnect(account)
    desk.disconnect(account)
    streams.supervise()

    assert desk.broker.closed == [desk.login.id]
    assert (standing.state, standing.is_wanted) == ("stopped", False)
    assert desk.status(account) == ("disconnected", None)
    assert desk.lines()[-1] == "Disconnected from fake demo, as you asked."
    assert not user_data.is_here(desk.login.id)
    assert len(desk.broker.opened) == 1


@ONLY_SQLITE
def test_word_of_a_stream_that_was_ended_changes_nothing(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    desk.disconnect(account)

    desk.live()

    assert desk.status(account) == ("disconnected", None)


@ONLY_SQLITE
def test_stream_that_is_not_wanted_any_more_is_not_heard(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)

    writer.run(lambda tx: user_data._unwant(tx, desk.user.id, account.id))  # by another process
    desk.live()
    streams.supervise()

    assert desk.status(account) == ("disconnected", None)
    assert desk.broker.closed == [desk.login.id]


@ONLY_SQLITE
def test_nobody_connects_what_is_not_his(desk: Desk) -> None:
    account = desk.account()
    stranger = factories.user()

    for act in (user_data.connect, user_data.disconnect, user_data.stream_of):
        with desk.app.app_context(), pytest.raises(NotFound):
            act(stranger.id, account.id)

    assert desk.broker.opened == []


@ONLY_SQLITE
def test_paper_is_always_live(app: APIFlask) -> None:
    user = factories.user()
    account = factories.account(user)

    with app.app_context():
        answers = [act(user.id, account.id) for act in (user_data.connect, user_data.disconnect)]
        [standing] = user_data.status(user.id)

    assert [answer.state for answer in [*answers, standing]] == ["live"] * 3


@ONLY_SQLITE
def test_wanted_streams_open_at_the_start_and_close_at_the_end(desk: Desk) -> None:
    wanted = login_of(desk.user, is_wanted=True)
    login_of(desk.user, is_wanted=True)  # no account needs it
    deleted = login_of(desk.user, is_wanted=True, deleted_at=clock.now())
    unwanted = login_of(desk.user)
    for login in (wanted, deleted, unwanted):
        factories.account(desk.user, broker=NAME, login_id=login.id)

    streams.stop()
    streams.start()

    wait_until(lambda: desk.broker.opened)
    streams.stop()
    assert desk.broker.opened == desk.broker.closed == [wanted.id]
    streams.start()


@ONLY_SQLITE
def test_many_streams_open_one_after_the_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_data, "SPREAD_S", 0.5)
    for _ in range(12):
        login = login_of(desk.user, is_wanted=True)
        factories.account(desk.user, broker=NAME, login_id=login.id)

    began = clock.now()
    streams.supervise()
    wait_until(lambda: len(desk.broker.opened) == 12)

    times = sorted((state.since - began).total_seconds() for state in desk.broker.states.values())
    assert times[0] < times[-1]
    assert times[-1] > 0.25


@ONLY_SQLITE
def test_stream_that_could_not_be_opened_is_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = desk.account()
    with monkeypatch.context() as broken:
        broken.setattr(desk.broker, "open", _break)
        desk.connect(account)
    assert not user_data.is_here(desk.login.id)

    streams.supervise()

    wait_until(lambda: desk.broker.opened)


def test_report_that_could_not_be_stored_is_caught_up_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = desk.account()
    desk.connect(account)
    desk.live()

    with monkeypatch.context() as away:
        away.setattr(writer, "run", _away)
        with pytest.raises(Unavailable):
            user_data.take_in(account, BrokerReport())
    streams.supervise()
    streams.supervise()

    assert desk.broker.polled == [desk.login.id]


@ONLY_SQLITE
def test_catching_up_goes_on_until_the_broker_answers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.connect(desk.account())
    streams.note_missed(desk.account())
    with monkeypatch.context() as mute:
        mute.setattr(desk.broker, "poll", _mute)
        streams.supervise()

    streams.supervise()

    assert desk.broker.polled == [desk.login.id]


@pytest.fixture
def another(app: APIFlask) -> Iterator[Ownership]:
    """The ownership of a second process on the same database."""
    own = Ownership()
    with app.app_context():
        own.bind(db.engine, ownership._path)
        own.claim_boot(900_000)
        yield own
        own.release()


@ONLY_POSTGRESQL
def test_stream_runs_in_one_process_and_moves_when_that_ends(
    desk: Desk, another: Ownership
) -> None:
    account = desk.account()
    assert another.hold([desk.login.id]) == {desk.login.id}

    desk.connect(account)
    streams.supervise()

    assert desk.broker.opened == []
    another.release()
    streams.supervise()
    wait_until(lambda: desk.broker.opened == [desk.login.id])


@ONLY_POSTGRESQL
def test_claims_are_given_back(desk: Desk, another: Ownership) -> None:
    account = desk.account()
    desk.connect(account)
    assert another.hold([desk.login.id]) == set()

    desk.disconnect(account)

    assert another.hold([desk.login.id]) == {desk.login.id}
    assert another.hold([desk.login.id]) == {desk.login.id}
    another.let_go(desk.login.id)
    assert ownership.hold([desk.login.id]) == {desk.login.id}


@ONLY_POSTGRESQL
def test_claim_that_was_lost_ends_the_stream_here(desk: Desk, another: Ownership) -> None:
    desk.connect(desk.account())
    ownership.let_go(desk.login.id)
    another.hold([desk.login.id])

    streams.supervise()

    assert desk.broker.closed == [desk.login.id]


def test_what_people_are_told_of_an_account_is_all_there_is(desk: Desk) -> None:
    account = desk.account()
    desk.connect(account)
    desk.live(last_message_at=clock.now())
    user_data.take_in(account, holds("2"))
    user_data.take_in(account, worth("10"))

    with desk.app.app_context():
        said = user_data.snapshot(desk.user.id, account.id)
        [standing] = user_data.status(desk.user.id)

    assert said["positions"][0]["net_pos"] == "2"
    assert said["balances"][0]["equity"] == "10"
    assert said["external_orders"] == []
    assert said["stream"]["state"] == "live"
    assert standing.last_message_age_s is not None
    assert 0 <= standing.last_message_age_s < 5


def _break(_login: LoginRef) -> None:
    raise RuntimeError("broken")


def _mute(_login: LoginRef) -> None:
    raise BrokerUnavailable("timed out")


def _away(_work: Any) -> None:
    raise Unavailable("The database is away.") from OperationalError("", None, Exception())
