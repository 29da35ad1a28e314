"""The recorder's poll: which log-ins are read, when, and what one that fails does to the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from time import monotonic
from typing import Any, cast

import gevent
import pytest
import time_machine
from gevent.event import Event

from app import clock
from app.brokers import registry
from app.brokers.logins import BudgetState, LoginRef
from app.domain.errors import BrokerRateLimited, BrokerUnavailable
from app.models import Account, BrokerLogin, StrategyLog, User
from app.services import strategies
from app.services.recorder import TRIES, Recorder
from tests import factories
from tests.integration.trading.desk import Desk, wait_until

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
_numbers = count(1)


@dataclass
class Polled:
    """A broker that is polled and scripted by log-in: what to do instead of answering."""

    does: dict[int, Callable[[], Any]] = field(default_factory=dict)
    polls: Counter[int] = field(default_factory=Counter)
    began: dict[int, list[datetime]] = field(default_factory=dict)
    limit: int | None = None

    def poll(self, login: LoginRef) -> None:
        self.polls[login.id] += 1
        self.began.setdefault(login.id, []).append(clock.now())
        self.does.get(login.id, lambda: None)()

    def budget(self, login_id: int) -> BudgetState | None:
        if self.limit is None:
            return None
        return BudgetState(self.limit, 3600, self.limit, 0, 0.0)


@pytest.fixture
def broker(desk: Desk) -> Iterator[Polled]:
    polled = Polled()
    registry.register("polled", cast("Any", polled))
    yield polled
    registry._brokers.pop("polled")


@pytest.fixture
def recorder(broker: Polled) -> Iterator[Recorder]:
    made = Recorder(is_ours=lambda _id: True, deadline_s=0.3)
    made.configure(60)
    yield made
    made.stop()


def _login(owner: User, *, accounts: int = 1, **columns: Any) -> tuple[BrokerLogin, list[Account]]:
    number = next(_numbers)
    login = BrokerLogin(
        user_id=owner.id,
        **{
            "broker": "polled",
            "environment": "demo",
            "identity_hash": str(number),
            "credentials_cipher": "",
            "device_id": str(number),
            **columns,
        },
    )
    factories.store(login)
    return login, [
        factories.account(owner, broker="polled", login_id=login.id) for _ in range(accounts)
    ]


def _used(owner: User, **columns: Any) -> BrokerLogin:
    """A log-in with an account that a recorder watches."""
    login, [account] = _login(owner, **columns)
    factories.strategy(owner, recording=True, demo_account_id=account.id)
    return login


def _pass(recorder: Recorder, until: datetime, step_s: float = 5) -> None:
    """Tick as the job does while time passes, the last time just before ``until``."""
    at, last = clock.now(), until - timedelta(milliseconds=1)
    while at < last:
        _tick(recorder, at)
        at += timedelta(seconds=step_s)
    _tick(recorder, last)


def _tick(recorder: Recorder, at: datetime) -> None:
    with time_machine.travel(at, tick=False):
        recorder.tick()
        gevent.sleep(0)
        _idle(recorder)


def _idle(recorder: Recorder) -> None:
    gevent.joinall(
        [line.greenlet for line in recorder._lines.values() if line.greenlet is not None],
        timeout=5,
    )


def test_what_is_recorded_or_traded_is_polled_once_per_log_in(
    desk: Desk, broker: Polled, recorder: Recorder
) -> None:
    recorded, [demo, *_] = _login(desk.user, accounts=4)
    factories.strategy(desk.user, recording=True, demo_account_id=demo.id)
    traded, [account] = _login(desk.user)
    factories.trader(factories.strategy(desk.user), account)
    _login(desk.user)
    _, [stopped] = _login(desk.user)
    factories.strategy(desk.user, recording=False, demo_account_id=stopped.id)
    factories.trader(factories.strategy(desk.user), stopped, enabled=False)
    _used(desk.user, is_wanted=False)
    _used(desk.user, deleted_at=NOON)
    blocked = _used(desk.user, blocked_until=NOON + timedelta(hours=1))

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=120))

    assert broker.polls == {recorded.id: 2, traded.id: 2}
    assert blocked.id not in broker.polls
    [row] = desk.rows(BrokerLogin, id=recorded.id)
    assert row.polled_at is not None
    assert recorder.state(recorded.id).polled_at == row.polled_at


def test_a_log_in_of_another_process_is_left_to_it(desk: Desk, broker: Polled) -> None:
    mine, other = _used(desk.user), _used(desk.user)
    recorder = Recorder(is_ours=lambda login_id: login_id == mine.id)
    recorder.configure(60)

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=60))

    assert broker.polls == {mine.id: 1}
    assert recorder.state(other.id, NOON).polled_at == NOON


def test_polls_are_spread_over_the_interval(desk: Desk, broker: Polled, recorder: Recorder) -> None:
    logins = [_used(desk.user).id for _ in range(12)]

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=180), step_s=1)

    for login_id in logins:
        gaps = [b - a for a, b in pairwise(broker.began[login_id])]
        assert gaps == [timedelta(seconds=60)] * 2
    at_once = Counter(began[0] for began in broker.began.values())
    assert max(at_once.values()) <= 2
    spans = sorted(began[0] for began in broker.began.values())
    assert spans[-1] - spans[0] > timedelta(seconds=40)


def test_the_interval_is_what_the_budget_allows(
    desk: Desk, broker: Polled, recorder: Recorder
) -> None:
    login = _used(desk.user)
    broker.limit = 400

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=500))

    assert recorder.interval_s(login.id) == pytest.approx(180)
    assert broker.polls[login.id] <= 5


def test_failures_back_off_and_open_a_breaker_that_people_are_told_of(
    desk: Desk, broker: Polled, recorder: Recorder
) -> None:
    login = _used(desk.user)
    broker.does[login.id] = _raiser(BrokerUnavailable("503 from the broker"))

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(minutes=40), step_s=20)

    state = recorder.state(login.id)
    assert (state.is_paused, state.trouble) == (True, "503 from the broker")
    assert TRIES < state.failures < 9
    assert [line.level for line in _lines(desk, "recorder_paused")] == ["warning"]

    del broker.does[login.id]
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        _pass(recorder, NOON + timedelta(minutes=62))
    after = recorder.state(login.id)
    assert (after.is_paused, after.failures, after.trouble) == (False, 0, None)
    assert len(_lines(desk, "recorder_resumed")) == 1


def test_a_broker_that_asks_to_wait_is_not_a_failure(
    desk: Desk, broker: Polled, recorder: Recorder
) -> None:
    login = _used(desk.user)
    broker.does[login.id] = _raiser(BrokerRateLimited("slowly", retry_after_s=300))

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(minutes=9))

    assert broker.polls[login.id] == 2
    assert recorder.state(login.id).failures == 0


def test_a_defect_of_ours_is_one_log_ins_trouble(
    desk: Desk, broker: Polled, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    broken, healthy = _used(desk.user), _used(desk.user)
    broker.does[broken.id] = _raiser(KeyError("netPos"))

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=60))

    assert broker.polls[healthy.id] == 1
    assert recorder.state(broken.id).failures == 1
    assert "poll failed" in caplog.text


def test_one_that_hangs_and_one_that_fails_delay_nobody(desk: Desk, broker: Polled) -> None:
    logins = [_used(desk.user).id for _ in range(50)]
    hanging, failing, *healthy = logins
    broker.does[hanging] = Event().wait
    broker.does[failing] = _raiser(BrokerUnavailable("500"))
    recorder = Recorder(is_ours=lambda _id: True, deadline_s=30)
    recorder.configure(1)
    began = monotonic()

    def ticks() -> bool:
        recorder.tick()
        return all(broker.polls[login_id] >= 3 for login_id in healthy)

    try:
        wait_until(ticks, timeout_s=15)
        took = monotonic() - began
    finally:
        recorder.stop()

    assert broker.polls[hanging] == 1, "a poll that still runs is not started again"
    assert took < 10
    for login_id in healthy:
        gaps = [b - a for a, b in pairwise(broker.began[login_id])]
        assert max(gaps) < timedelta(seconds=3), "three times the interval on a busy machine"


def test_a_poll_ends_at_its_deadline(desk: Desk, broker: Polled, recorder: Recorder) -> None:
    login = _used(desk.user)
    broker.does[login.id] = Event().wait

    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=60))

    state = recorder.state(login.id)
    assert (state.failures, state.trouble) == (1, "No answer within 0.3 seconds.")


def test_a_recorder_that_is_stopped_is_not_polled_any_more(
    desk: Desk, broker: Polled, recorder: Recorder
) -> None:
    login, [account] = _login(desk.user)
    strategy = factories.strategy(desk.user, recording=True, demo_account_id=account.id)
    with time_machine.travel(NOON, tick=False):
        _pass(recorder, NOON + timedelta(seconds=60))
        with desk.app.app_context():
            strategies.set_recording(desk.user.id, strategy.id, False)
    with time_machine.travel(NOON + timedelta(seconds=60), tick=False):
        _pass(recorder, NOON + timedelta(seconds=300))

    assert broker.polls[login.id] == 1


def _raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def _lines(desk: Desk, event: str) -> list[Any]:
    return [line for line in desk.rows(StrategyLog, user_id=desk.user.id) if line.event == event]
