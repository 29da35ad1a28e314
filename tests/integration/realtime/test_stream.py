"""What a connected client is sent: its user's events once and in order, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
import redis
from apiflask import APIFlask
from sqlalchemy import delete

from app import events
from app.extensions import db, writer
from app.models import Event
from app.realtime.bridge import CHANNEL, PUSHES, Bridge
from app.transactions import Tx
from tests import factories
from tests.databases import ONLY_SQLITE
from tests.integration.realtime.conftest import Listener, wait_until

Connect = Callable[..., Listener]
Record = Callable[..., None]


def test_event_reaches_its_owner_in_its_envelope(connect: Connect, record: Record) -> None:
    user = factories.user()
    listener = connect(user)
    assert listener.greeting["last_seq"] == 0

    record(user, type="signal", symbol="ES")

    listener.wait_for(1)
    body = listener.of("signal")[0]
    assert body["data"] == {"n": 0, "symbol": "ES"}
    assert (body["seq"], body["type"], body["request_id"]) == (1, "signal", None)
    assert body["at"].endswith("Z")


def test_nobody_hears_of_others(connect: Connect, record: Record) -> None:
    mine, other = factories.user(), factories.user()
    listener, stranger = connect(mine), connect(other)
    assert listener.greeting
    assert stranger.greeting

    record(mine, 5)
    record(other, 1, type="trade")

    listener.wait_for(5)
    stranger.wait_for(1)
    assert stranger.numbers == [1]
    assert not listener.of("trade")


def test_resume_gives_exactly_what_was_missed(connect: Connect, record: Record) -> None:
    user = factories.user()
    record(user, 7)
    listener = connect(user)
    assert listener.greeting["last_seq"] == 7

    answer = listener.ask("resume", {"last_seq": 3})
    record(user, 1)

    listener.wait_for(8)
    assert answer == {"ok": True, "last_seq": 7}
    assert listener.numbers == [4, 5, 6, 7, 8]


@ONLY_SQLITE
def test_resume_in_the_middle_of_a_storm_leaves_no_hole(connect: Connect, record: Record) -> None:
    user = factories.user()
    record(user, 20)
    storm = gevent.spawn(record, user, 200)

    listener = connect(user)
    greeted = listener.greeting["last_seq"]
    before = list(listener.numbers)
    answer = listener.ask("resume", {"last_seq": 10})
    storm.get()
    record(user, 1)

    listener.wait_for(221)
    resumed_at = listener.numbers.index(11)
    assert answer["ok"]
    assert listener.numbers[:resumed_at] == list(range(greeted + 1, greeted + 1 + resumed_at))
    assert resumed_at >= len(before)
    assert listener.numbers[resumed_at:] == list(range(11, 222))


@ONLY_SQLITE
def test_client_that_was_away_too_long_is_told_to_resync(connect: Connect, record: Record) -> None:
    user = factories.user()
    _record_at_once(user.id, 1001)
    listener = connect(user)
    assert listener.greeting["last_seq"] == 1001

    answer = listener.ask("resume", {"last_seq": 0})

    assert answer == {"ok": True, "last_seq": 1001}
    assert listener.of("resync") == [{"last_seq": 1001}]
    assert listener.numbers == []


@ONLY_SQLITE
def test_client_whose_past_was_deleted_is_told_to_resync(connect: Connect, record: Record) -> None:
    user = factories.user()
    record(user, 5)
    writer.run(lambda tx: tx.conn.execute(delete(Event).where(Event.seq < 4)))
    listener = connect(user)
    assert listener.greeting

    listener.ask("resume", {"last_seq": 1})

    assert listener.of("resync") == [{"last_seq": 5}]


@ONLY_SQLITE
def test_resume_without_a_number_names_the_last_one(connect: Connect, record: Record) -> None:
    user = factories.user()
    record(user, 2)
    listener = connect(user)
    assert listener.greeting

    answer = listener.ask("resume", {"last_seq": None})

    assert answer == {"ok": True, "last_seq": 2}
    assert listener.numbers == []


@ONLY_SQLITE
@pytest.mark.parametrize("body", ["x", {"last_seq": "3"}, {"last_seq": 1.5}, {"last_seq": True}])
def test_resume_with_nonsense_is_refused(connect: Connect, body: Any) -> None:
    listener = connect(factories.user())

    answer = listener.ask("resume", body)

    assert answer.get("error", "invalid") == "invalid"
    assert answer["ok"] is (body == "x")


def test_own_topics_can_be_followed_and_others_are_not_found(connect: Connect) -> None:
    mine, other = factories.user(), factories.user()
    rows = {owner.id: _rows(owner) for owner in (mine, other)}
    listener = connect(mine)

    for kind, row in rows[mine.id].items():
        assert listener.ask("subscribe", {"topic": f"{kind}:{row}"}) == {"ok": True}
        assert listener.ask("unsubscribe", {"topic": f"{kind}:{row}"}) == {"ok": True}
    assert listener.ask("subscribe", {"topic": "logs"}) == {"ok": True}
    for kind, row in rows[other.id].items():
        assert listener.ask("subscribe", {"topic": f"{kind}:{row}"}) == {
            "ok": False,
            "error": "not_found",
        }
    assert listener.ask("ping")["ok"]


@ONLY_SQLITE
@pytest.mark.parametrize(
    "topic", ["", "order:", "order:-1", "order:x", "order:²", "order:" + "9" * 19, "user:1", "a"]
)
def test_topic_that_names_nothing_is_not_found(connect: Connect, topic: str) -> None:
    listener = connect(factories.user())

    answer = listener.ask("subscribe", {"topic": topic})

    assert answer == {"ok": False, "error": "not_found"}


@ONLY_SQLITE
def test_nonsense_is_answered_and_the_connection_stays(connect: Connect) -> None:
    listener = connect(factories.user())

    nonsense: list[Any] = [None, 5, [], {"topic": 5}]
    answers = [listener.ask("subscribe", body) for body in nonsense]

    assert answers == [{"ok": False, "error": "invalid"}] * 4
    answer = listener.ask("ping", {})
    assert answer["ok"]
    assert answer["at"].endswith("Z")


def test_word_of_another_process_brings_its_events(
    connect: Connect, app: APIFlask, redis_url: str
) -> None:
    """The other process is played by a second bridge and a commit that is never published."""
    user = factories.user()
    hub = app.extensions["hub"]
    here = Bridge(redis_url, hub.wake, hub.wake_all)
    there = Bridge(redis_url, lambda _user_id, _newest: None, lambda: None)
    here.start()
    there.start()
    listener = connect(user)
    assert listener.greeting

    published = _commit_elsewhere(app, events.Pending(user.id, "log", {}, None))
    with redis.Redis.from_url(redis_url) as asked:
        wait_until(lambda: asked.pubsub_numsub(CHANNEL)[0][1] >= 2, "both listen")
    there.publish(published)

    listener.wait_for(1)
    assert listener.numbers == [1]
    here.stop()
    there.stop()


def test_what_is_pushed_to_a_room_reaches_it_in_every_process(redis_url: str) -> None:
    heard: dict[str, list[Any]] = {"here": [], "there": []}
    bridges = {
        name: Bridge(
            redis_url,
            lambda _user_id, _newest: None,
            lambda: None,
            push=lambda *message, name=name: heard[name].append(message),
        )
        for name in heard
    }
    for bridge in bridges.values():
        bridge.start()
    with redis.Redis.from_url(redis_url) as asked:
        wait_until(lambda: asked.pubsub_numsub(PUSHES)[0][1] >= 2, "both listen")

    bridges["here"].push("account:1", "balance:update", {"cash": "1"})
    bridges["there"].push("account:1", "balance:update", {"cash": "2"})

    wait_until(lambda: min(len(of) for of in heard.values()) == 2, "both told")
    for of in heard.values():
        assert sorted(message[2]["cash"] for message in of) == ["1", "2"]
    for bridge in bridges.values():
        bridge.stop()


def _record_at_once(user_id: int, count: int) -> None:
    def work(tx: Tx) -> None:
        for _ in range(count):
            tx.record(user_id, "log", {})

    writer.run(work)


def _commit_elsewhere(app: APIFlask, fact: events.Pending) -> list[events.Published]:
    with app.app_context():
        engine = db.engine
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        return events.seal(connection, [fact])


def _rows(owner: Any) -> dict[str, int]:
    strategy, account = factories.strategy(owner), factories.account(owner)
    return {
        "strategy": strategy.id,
        "account": account.id,
        "trader": factories.trader(strategy, account).id,
        "signal": factories.signal(strategy).id,
    }
