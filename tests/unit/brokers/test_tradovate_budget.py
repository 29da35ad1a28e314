"""The request budget of a log-in: rolling windows, a reserve, and who goes first."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import pytest

from app.brokers.tradovate.budget import Budget, Purpose
from app.domain.errors import BrokerRateLimited

WINDOW_S = 3600


class Hands:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


def budget_of(limit: int, hands: Hands, per_minute: int | None = None) -> Budget:
    return Budget(limit, WINDOW_S, per_minute, now=hands)


def taken(budget: Budget, purpose: Purpose) -> int:
    """How many requests of that purpose pass before one does not."""
    number = 0
    while True:
        try:
            budget.take(purpose)
        except BrokerRateLimited:
            return number
        number += 1


@pytest.mark.parametrize(
    ("purpose", "number"),
    [
        (Purpose.POLL, 60),
        (Purpose.READ, 80),
        (Purpose.ENTRY, 80),
        (Purpose.EXIT, 100),
        (Purpose.CANCEL, 100),
    ],
)
def test_polls_stop_first_and_the_reserve_is_for_exits(
    hands: Hands, purpose: Purpose, number: int
) -> None:
    assert taken(budget_of(100, hands), purpose) == number


def test_exits_and_cancels_use_what_entries_leave(hands: Hands) -> None:
    budget = budget_of(100, hands)
    taken(budget, Purpose.ENTRY)

    budget.take(Purpose.EXIT)
    budget.take(Purpose.CANCEL)

    assert budget.state().left == 18


def test_the_window_rolls(hands: Hands) -> None:
    budget = budget_of(10, hands)
    for _ in range(8):
        budget.take(Purpose.ENTRY)
        hands.at += 100

    with pytest.raises(BrokerRateLimited) as refused:
        budget.take(Purpose.ENTRY)

    assert refused.value.retry_after_s == pytest.approx(WINDOW_S - 800, abs=0.1)
    hands.at += WINDOW_S - 800 + 0.1
    assert taken(budget, Purpose.ENTRY) == 1


def test_what_is_refused_is_not_counted(hands: Hands) -> None:
    budget = budget_of(10, hands)
    taken(budget, Purpose.ENTRY)

    for _ in range(5):
        with pytest.raises(BrokerRateLimited):
            budget.take(Purpose.POLL)

    assert budget.state().left == 2


def test_the_state_says_what_an_entry_would_wait(hands: Hands) -> None:
    budget = budget_of(10, hands)
    taken(budget, Purpose.ENTRY)
    hands.at += 600

    state = budget.state()

    assert (state.limit, state.window_s, state.left, state.reserve) == (10, WINDOW_S, 2, 2)
    assert state.wait_s == pytest.approx(3000, abs=0.1)


def test_a_fresh_budget_lets_everybody_pass_at_once(hands: Hands) -> None:
    state = Budget(now=hands).state()

    assert (state.limit, state.left, state.reserve, state.wait_s) == (5000, 5000, 1000, 0)


def test_the_minute_counts_where_it_is_given(hands: Hands) -> None:
    budget = budget_of(5000, hands, per_minute=10)

    assert taken(budget, Purpose.ENTRY) == 8
    hands.at += 61
    assert taken(budget, Purpose.ENTRY) == 8


def test_a_long_wait_is_refused_at_once(hands: Hands) -> None:
    budget = budget_of(1, hands)
    budget.take(Purpose.EXIT)

    with gevent.Timeout(1), pytest.raises(BrokerRateLimited) as refused:
        budget.take(Purpose.ENTRY)

    assert "nothing was sent" in refused.value.detail


def test_a_budget_without_room_for_a_purpose_refuses_it(hands: Hands) -> None:
    budget = Budget(1, WINDOW_S, reserve=1.0, now=hands)

    with pytest.raises(BrokerRateLimited):
        budget.take(Purpose.ENTRY)
    budget.take(Purpose.CANCEL)


# With the real clock.


def test_whoever_waits_is_served_by_what_it_is_for() -> None:
    served: list[Purpose] = []
    budget = Budget(5, 1, reserve=0.0)
    for _ in range(5):  # so that there is room for one after the other, too
        budget.take(Purpose.CANCEL)
        gevent.sleep(0.03)

    def ask(purpose: Purpose) -> None:
        budget.take(purpose)
        served.append(purpose)

    order = [Purpose.POLL, Purpose.ENTRY, Purpose.CANCEL, Purpose.READ, Purpose.EXIT]
    waiting = [gevent.spawn(ask, purpose) for purpose in order]
    gevent.joinall(waiting, timeout=10, raise_error=True)

    assert served == sorted(order, reverse=True)


def test_a_short_wait_is_waited() -> None:
    budget = Budget(1, 1, reserve=0.0)
    budget.take(Purpose.ENTRY)
    before = time.monotonic()

    budget.take(Purpose.ENTRY)

    assert time.monotonic() - before >= 0.9


def test_an_entry_gives_up_when_others_go_first(hands: Hands) -> None:
    """Room comes in time for one, and a cancel takes it."""
    budget = Budget(1, 3, reserve=0.0, now=hands)
    budget.take(Purpose.CANCEL)
    outcome = gevent.spawn(_outcome, lambda: budget.take(Purpose.ENTRY))
    cancel = gevent.spawn(budget.take, Purpose.CANCEL)
    gevent.idle()

    hands.at += 3.1
    cancel.join(timeout=10)

    assert cancel.successful()
    refused = outcome.get(timeout=10)
    assert isinstance(refused, BrokerRateLimited)
    assert budget.state().left == 0


def test_one_that_was_killed_while_waiting_is_forgotten() -> None:
    budget = Budget(1, 1, reserve=0.0)
    budget.take(Purpose.ENTRY)
    killed = gevent.spawn(budget.take, Purpose.CANCEL)
    gevent.idle()
    killed.kill()

    budget.take(Purpose.POLL)

    assert budget.state().left == 0


def _outcome(work: Callable[[], None]) -> BrokerRateLimited | None:
    try:
        work()
    except BrokerRateLimited as e:
        return e
    return None
