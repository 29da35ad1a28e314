"""The outbox: numbers without gaps, delivery in order and at least once."""

from __future__ import annotations

import gevent
import pytest
from apiflask import APIFlask
from gevent.event import AsyncResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from app import clock, create_app, events
from app.events import Dispatcher, Published
from app.extensions import db, dispatcher, writer
from app.models import Event, User
from app.transactions import Tx
from config import Config
from tests import factories
from tests.apps import started, stop

BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=4), max_size=6
)
"""Works, each with the events it records: (which user, does the work fail after it)."""


def _record(user: User, *numbers: int) -> None:
    def work(tx: Tx) -> None:
        for number in numbers:
            tx.record(user.id, "test.counted", {"number": number})

    writer.run(work)


def _stored(app: APIFlask, user: User) -> list[tuple[int, int]]:
    """(seq, number) of the user's events in the order in which they were stored."""
    query = select(Event).where(Event.user_id == user.id).order_by(Event.id)
    with app.app_context():
        return [(row.seq, row.data["number"]) for row in db.session.scalars(query)]


def _wait_for(condition: object, timeout_s: float = 5) -> None:
    with gevent.Timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            gevent.sleep(0.01)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(works=BATCHES)
def test_numbers_have_no_gaps_whatever_fails(
    app: APIFlask, works: list[list[tuple[int, bool]]]
) -> None:
    users = [factories.user() for _ in range(3)]
    expected: dict[int, list[int]] = {user.id: [] for user in users}

    def run(number: int, work: list[tuple[int, bool]]) -> None:
        def body(tx: Tx) -> None:
            for which, fails in work:
                tx.record(users[which].id, "test.counted", {"number": number})
                if fails:
                    raise LookupError

        try:
            writer.run(body)
        except LookupError:
            return
        for which, _ in work:
            expected[users[which].id].append(number)

    gevent.joinall([gevent.spawn(run, n, work) for n, work in enumerate(works)], timeout=10)

    for user in users:
        stored = _stored(app, user)
        assert [seq for seq, _ in stored] == list(range(1, len(stored) + 1))
        assert [number for _, number in stored] == expected[user.id]


def test_subscribers_get_events_after_the_commit_in_their_order(app: APIFlask) -> None:
    user = factories.user()
    seen: list[Published] = []
    dispatcher.subscribe(seen.extend)

    for number in range(5):
        _record(user, number, number + 100)

    _wait_for(lambda: len(seen) == 10)
    assert [e.seq for e in seen] == list(range(1, 11))
    assert [e.data["number"] for e in seen] == [n for k in range(5) for n in (k, k + 100)]


def test_a_subscriber_that_fails_hurts_nobody(app: APIFlask) -> None:
    user = factories.user()
    seen: list[Published] = []

    def fail(_events: list[Published]) -> None:
        raise RuntimeError("broken subscriber")

    dispatcher.subscribe(fail)
    dispatcher.subscribe(seen.extend)

    _record(user, 1)
    _record(user, 2)

    _wait_for(lambda: len(seen) == 2)


def test_what_was_handed_out_is_marked_as_published(app: APIFlask) -> None:
    user = factories.user()

    _record(user, 1, 2)

    def unmarked() -> int:
        with app.app_context():
            query = select(func.count()).where(Event.published_at.is_(None))
            return db.session.scalar(query) or 0

    _wait_for(lambda: unmarked() == 0)


def test_a_stop_marks_what_was_handed_out(app: APIFlask) -> None:
    user = factories.user()
    _record(user, 1)

    dispatcher.stop()

    with app.app_context():
        assert all(row.published_at for row in db.session.scalars(select(Event)))


def test_a_restart_hands_out_what_a_crash_left_behind_before_what_is_new(
    app: APIFlask, config: Config
) -> None:
    user = factories.user()
    _record(user, 1, 2)
    stop(app)
    again = create_app(config)
    seen: list[Published] = []
    dispatcher.subscribe(seen.extend)
    writer.run(lambda tx: tx.conn.execute(update(Event).values(published_at=None)))

    with started(again):
        _record(user, 3)
        _wait_for(lambda: len(seen) == 3)

    assert [(e.seq, e.data["number"]) for e in seen] == [(1, 1), (2, 2), (3, 3)]


def test_a_published_event_reads_the_same_live_and_from_the_table(app: APIFlask) -> None:
    user = factories.user()
    live: AsyncResult[Published] = AsyncResult()
    dispatcher.subscribe(lambda batch: live.set(batch[0]))

    writer.run(lambda tx: tx.record(user.id, "order.changed", {"qty": "1.5"}, request_id="r-1"))

    with app.app_context():
        stored = events.published(db.session.scalars(select(Event)).one())
    assert live.get(timeout=5).envelope() == stored.envelope()
    assert stored.envelope()["request_id"] == "r-1"
    assert stored.envelope()["at"].endswith("Z")


@pytest.mark.parametrize("fails_first", [True, False])
def test_a_mark_that_cannot_be_stored_does_not_stop_the_dispatcher(fails_first: bool) -> None:
    marked: list[int] = []

    def mark(batch: list[Published], _at: object) -> None:
        if fails_first and not marked:
            marked.append(0)
            raise OSError("database away")
        marked.append(len(batch))

    own, seen = Dispatcher(), list[Published]()
    own.subscribe(seen.extend)
    event = Published(1, 1, "test", clock.now(), None, {})
    own.start([event], mark)
    _wait_for(lambda: marked)

    own.push([event])

    _wait_for(lambda: len(seen) == 2 and len(marked) == 2)
    own.stop()
