"""Take-profit and stop-loss prices: distances become prices at valid ticks.

Distances count from the average fill price of the book. A stop is rounded towards the market, a
target away from the entry, so a long's legs both round up and a short's both round down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from app.domain.settings import ExitsFrom, StopLoss, StrategySettings, TakeProfit, Unit
from app.domain.signals.types import Signal
from app.domain.trading import InstrumentFacts, PositionSide

_HUNDRED = Decimal(100)
_NO_PRICE = ("no_price", "the bracket is a percentage and no price is known to take it of")


@dataclass(frozen=True, slots=True)
class Leg:
    """A protective order of a held position."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Legs:
    """The legs for a whole book. ``notes`` say what could not be used, and why."""

    take_profit: Leg | None = None
    stop_loss: Leg | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LegPlan:
    """A leg that is sent with its entry: ``offset`` (points from the fill price, positive) or
    ``price``; exactly one is set."""

    offset: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Plans:
    """What protects an entry. ``fault`` is the code and the words of a leg that cannot be placed:
    the entry must not go without it. ``notes`` say which of the alert's prices were not used."""

    take_profit: LegPlan | None = None
    stop_loss: LegPlan | None = None
    notes: tuple[str, ...] = ()
    fault: tuple[str, str] | None = None


def distance_points(
    distance: Decimal,
    unit: Unit,
    *,
    price: Decimal,
    quantity: Decimal,
    instrument: InstrumentFacts,
) -> Decimal:
    """A distance in points, not rounded.

    ``price`` is what a percentage counts from. ``quantity`` is what a money distance is for: the
    leg's for a target, the whole position's for a stop.
    """
    if unit is Unit.TICKS:
        return distance * instrument.tick_size
    if unit is Unit.POINTS:
        return distance
    if unit is Unit.CURRENCY:
        return distance / (quantity * instrument.point_value)
    return abs(price) * distance / _HUNDRED


def round_up(price: Decimal, tick_size: Decimal) -> Decimal:
    """The next valid price at or above."""
    return (price / tick_size).to_integral_value(ROUND_CEILING) * tick_size


def round_down(price: Decimal, tick_size: Decimal) -> Decimal:
    """The next valid price at or below."""
    return (price / tick_size).to_integral_value(ROUND_FLOOR) * tick_size


def leg_price(price: Decimal, side: PositionSide, tick_size: Decimal) -> Decimal:
    """A leg's price at a valid tick: stops towards the market, targets away from the entry."""
    round_leg = round_up if side is PositionSide.LONG else round_down
    return round_leg(price, tick_size)


def stop_price(side: PositionSide, avg: Decimal, points: Decimal, tick_size: Decimal) -> Decimal:
    """The stop ``points`` behind the average. Rounding never carries it to the average or past
    it: then it is the nearest valid price on the losing side."""
    rounded = leg_price(avg - side.sign * points, side, tick_size)
    if (avg - rounded) * side.sign > 0:
        return rounded
    if side is PositionSide.LONG:
        return round_up(avg, tick_size) - tick_size
    return round_down(avg, tick_size) + tick_size


def target_price(side: PositionSide, avg: Decimal, points: Decimal, tick_size: Decimal) -> Decimal:
    return leg_price(avg + side.sign * points, side, tick_size)


def legs_for(
    side: PositionSide,
    avg: Decimal,
    quantity: Decimal,
    settings: StrategySettings,
    instrument: InstrumentFacts,
    alert: Signal | None = None,
) -> Legs:
    """The bracket of a whole book: ``quantity`` (positive) held at ``avg``.

    ``alert`` is the signal whose own prices count when ``exits_from`` is ``alert``; where it has
    none, or one on the wrong side of the entry, the settings' distance is used.
    """
    notes: list[str] = []
    tick = instrument.tick_size
    target = _alert_price(alert, settings, side, avg, "take_profit", notes)
    stop = _alert_price(alert, settings, side, avg, "stop_loss", notes)
    if target is not None:
        target = leg_price(target, side, tick)
    elif settings.take_profits:
        points = _points(settings.take_profits[-1], avg, quantity, instrument)
        target = target_price(side, avg, points, tick)
    if stop is not None:
        stop = leg_price(stop, side, tick)
    elif isinstance(settings.stop_loss, StopLoss):
        points = _points(settings.stop_loss, avg, quantity, instrument)
        stop = stop_price(side, avg, points, tick)
    return Legs(
        take_profit=None if target is None else Leg(target, quantity),
        stop_loss=None if stop is None else Leg(stop, quantity),
        notes=tuple(notes),
    )


def plans_for(
    side: PositionSide,
    price: Decimal | None,
    quantity: Decimal,
    settings: StrategySettings,
    instrument: InstrumentFacts,
    alert: Signal,
) -> Plans:
    """What is sent with an entry of ``quantity`` expected at ``price`` (None: not known).

    Distances become offsets, so that they count from the fill whatever the price turns out to be;
    a percentage is taken of the expected price.
    """
    notes: list[str] = []
    own_target = _alert_price(alert, settings, side, price, "take_profit", notes)
    own_stop = _alert_price(alert, settings, side, price, "stop_loss", notes)
    tick = instrument.tick_size
    target = stop = None
    fault = None
    if own_target is not None:
        target = LegPlan(price=leg_price(own_target, side, tick))
    elif settings.take_profits:
        target = _offset(settings.take_profits[-1], price, quantity, instrument, round_up)
        fault = _NO_PRICE if target is None else None
    if own_stop is not None:
        stop = LegPlan(price=leg_price(own_stop, side, tick))
    elif isinstance(settings.stop_loss, StopLoss):
        stop = _offset(settings.stop_loss, price, quantity, instrument, round_down)
        fault = _NO_PRICE if stop is None else fault
    elif settings.exits_from is ExitsFrom.ALERT and alert.stop_loss is not None:
        fault = ("bad_stop", notes[-1])
    return Plans(target, stop, tuple(notes), fault)


def stop_distance(
    side: PositionSide,
    price: Decimal | None,
    settings: StrategySettings,
    instrument: InstrumentFacts,
    alert: Signal,
) -> Decimal | None:
    """Points between an entry at ``price`` and its stop, for sizing by risk; None: not known.

    A stop in money depends on the size and so cannot decide it.
    """
    if settings.exits_from is ExitsFrom.ALERT and alert.stop_loss is not None and price is not None:
        points = (price - alert.stop_loss) * side.sign
        if points > 0:
            return points
    stop = settings.stop_loss
    if not isinstance(stop, StopLoss) or stop.unit is Unit.CURRENCY:
        return None
    plan = _offset(stop, price, Decimal(1), instrument, round_down)
    return None if plan is None else plan.offset


def _offset(
    leg: TakeProfit | StopLoss,
    price: Decimal | None,
    quantity: Decimal,
    instrument: InstrumentFacts,
    round_offset: Callable[[Decimal, Decimal], Decimal],
) -> LegPlan | None:
    """The leg as an offset of at least one tick; None where a percentage has no price."""
    if price is None and leg.unit is Unit.PERCENT:
        return None
    points = _points(leg, price or Decimal(0), quantity, instrument)
    return LegPlan(offset=max(round_offset(points, instrument.tick_size), instrument.tick_size))


def _points(
    leg: TakeProfit | StopLoss, price: Decimal, quantity: Decimal, instrument: InstrumentFacts
) -> Decimal:
    return distance_points(
        leg.distance, leg.unit, price=price, quantity=quantity, instrument=instrument
    )


def _alert_price(
    alert: Signal | None,
    settings: StrategySettings,
    side: PositionSide,
    entry: Decimal | None,
    role: str,
    notes: list[str],
) -> Decimal | None:
    """The alert's own price of a leg, if it counts and lies on the right side of the entry."""
    if alert is None or settings.exits_from is not ExitsFrom.ALERT:
        return None
    price: Decimal | None = getattr(alert, role)
    if price is None or entry is None:
        return price
    wins = (price - entry) * side.sign
    if wins > 0 if role == "take_profit" else wins < 0:
        return price
    words = role.replace("_", " ")
    notes.append(f"the alert's {words} {price} is on the wrong side of the entry {entry}")
    return None
