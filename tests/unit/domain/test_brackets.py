from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.brackets import Leg, LegPlan, legs_for, plans_for, stop_price, target_price
from app.domain.settings import StrategySettings, parse_strategy
from app.domain.signals.types import Action, Signal
from app.domain.trading import PositionSide
from tests.unit.domain.facts import MNQ

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def exits(target: object, stop: object, unit: str = "ticks", **more: Any) -> StrategySettings:
    return parse_strategy(
        {
            "take_profits": [{"distance": target, "unit": unit}],
            "stop_loss": {"distance": stop, "unit": unit},
            **more,
        }
    )


def alert(**fields: Any) -> Signal:
    return Signal(action=Action.BUY, symbol="MNQ1!", **fields)


@pytest.mark.parametrize(
    ("side", "avg", "unit", "target", "stop", "prices"),
    [
        (LONG, "100", "ticks", 8, 4, ("102", "99")),
        (SHORT, "100", "ticks", 8, 4, ("98", "101")),
        (LONG, "100", "points", "1.5", "1.5", ("101.5", "98.5")),
        (LONG, "20000", "percent", "0.5", "0.25", ("20100", "19950")),
        (SHORT, "20000", "percent", "0.5", "0.25", ("19900", "20050")),
        # 60 money / (3 contracts x 2 per point) = 10 points
        (LONG, "100", "currency", 60, 60, ("110", "90")),
        # off the grid: a stop towards the market, a target away from the entry
        (LONG, "100.10", "ticks", 4, 4, ("101.25", "99.25")),
        (SHORT, "100.10", "ticks", 4, 4, ("99", "101")),
    ],
)
def test_distances_become_prices_at_valid_ticks(
    side: PositionSide, avg: str, unit: str, target: object, stop: object, prices: tuple[str, str]
) -> None:
    legs = legs_for(side, Decimal(avg), Decimal(3), exits(target, stop, unit), MNQ)

    assert legs.take_profit == Leg(Decimal(prices[0]), Decimal(3))
    assert legs.stop_loss == Leg(Decimal(prices[1]), Decimal(3))


def test_without_exits_there_are_no_legs() -> None:
    legs = legs_for(LONG, Decimal(100), Decimal(1), StrategySettings(), MNQ)

    assert (legs.take_profit, legs.stop_loss, legs.notes) == (None, None, ())


def test_the_alerts_own_prices_count_when_exits_come_from_it() -> None:
    settings = exits(8, 4, exits_from="alert")

    legs = legs_for(LONG, Decimal(100), Decimal(1), settings, MNQ, alert(stop_loss=Decimal("97.1")))

    assert legs.stop_loss == Leg(Decimal("97.25"), Decimal(1))
    assert legs.take_profit == Leg(Decimal(102), Decimal(1))


def test_the_alerts_prices_are_not_used_when_exits_come_from_settings() -> None:
    legs = legs_for(
        LONG, Decimal(100), Decimal(1), exits(8, 4), MNQ, alert(take_profit=Decimal(130))
    )

    assert legs.take_profit == Leg(Decimal(102), Decimal(1))


def test_an_alert_price_on_the_wrong_side_falls_back_and_is_named() -> None:
    settings = exits(8, 4, exits_from="alert")

    legs = legs_for(LONG, Decimal(100), Decimal(1), settings, MNQ, alert(stop_loss=Decimal(105)))

    assert legs.stop_loss == Leg(Decimal(99), Decimal(1))
    assert legs.notes == ("the alert's stop loss 105 is on the wrong side of the entry 100",)


def test_an_entry_whose_only_stop_is_on_the_wrong_side_is_at_fault() -> None:
    settings = parse_strategy({"exits_from": "alert"})

    plans = plans_for(LONG, Decimal(100), Decimal(1), settings, MNQ, alert(stop_loss=Decimal(105)))

    assert plans.fault is not None
    assert plans.fault[0] == "bad_stop"


@pytest.mark.parametrize(
    ("unit", "target", "stop", "offsets"),
    [
        ("ticks", 8, 4, ("2", "1")),
        ("points", "1.1", "1.1", ("1.25", "1")),
        ("percent", "0.5", "0.5", ("0.5", "0.5")),
        ("currency", "7", "7", ("1.25", "1")),
        ("points", "0.1", "0.1", ("0.25", "0.25")),
    ],
)
def test_an_entry_carries_its_legs_as_offsets_of_whole_ticks(
    unit: str, target: object, stop: object, offsets: tuple[str, str]
) -> None:
    plans = plans_for(LONG, Decimal(100), Decimal(3), exits(target, stop, unit), MNQ, alert())

    assert plans.take_profit == LegPlan(offset=Decimal(offsets[0]))
    assert plans.stop_loss == LegPlan(offset=Decimal(offsets[1]))


def test_a_percentage_without_a_price_is_at_fault() -> None:
    plans = plans_for(LONG, None, Decimal(1), exits(1, 1, "percent"), MNQ, alert())

    assert plans.fault is not None
    assert plans.fault[0] == "no_price"


@given(
    side=st.sampled_from(list(PositionSide)),
    avg=st.decimals("1", "50000", places=4),
    points=st.decimals("0.01", "500", places=3),
)
def test_legs_lie_on_ticks_at_their_side_of_the_entry(
    side: PositionSide, avg: Decimal, points: Decimal
) -> None:
    tick = MNQ.tick_size

    stop = stop_price(side, avg, points, tick)
    target = target_price(side, avg, points, tick)

    assert stop % tick == target % tick == 0
    assert (avg - stop) * side.sign > 0
    assert (target - avg) * side.sign >= points
    assert (avg - stop) * side.sign <= max(points, tick)
