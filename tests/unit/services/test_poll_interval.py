"""How often a log-in is polled."""

from __future__ import annotations

import pytest

from app.brokers.logins import BudgetState
from app.services.recorder import MOST_BACK_OFF_S, back_off_s, effective_interval_s


def _budget(limit: int) -> BudgetState:
    return BudgetState(limit, window_s=3600, left=limit, reserve=0, wait_s=0.0)


def test_the_configured_interval_holds_where_the_budget_allows_it() -> None:
    assert effective_interval_s(60, _budget(5000)) == 60
    assert effective_interval_s(60, None) == 60


@pytest.mark.parametrize(("limit", "least"), [(5000, 14.4), (400, 180.0)])
def test_polls_take_no_more_than_a_quarter_of_the_budget(limit: int, least: float) -> None:
    interval = effective_interval_s(1, _budget(limit))

    assert interval == pytest.approx(least)
    assert 5 * 3600 / interval <= limit / 4 + 1e-6


def test_pauses_double_up_to_ten_minutes_and_differ() -> None:
    pauses = [back_off_s(60, failures) for failures in range(1, 9)]

    for pause, whole in zip(pauses, [60, 120, 240, 480, 600, 600, 600, 600], strict=True):
        assert 0.75 * whole <= pause <= whole
    assert len({back_off_s(60, 30) for _ in range(5)}) > 1
    assert back_off_s(60, 10_000) <= MOST_BACK_OFF_S
