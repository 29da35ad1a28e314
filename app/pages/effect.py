"""What a buy would do now with some settings: in words, in money, and as a ladder of prices."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from app import clock
from app.domain.brackets import Legs, legs_for, stop_distance
from app.domain.errors import Invalid
from app.domain.instruments import Instrument
from app.domain.settings import (
    Direction,
    EntryType,
    Sizing,
    StopLoss,
    StrategySettings,
    TakeProfit,
)
from app.domain.signals.types import Action, Signal
from app.domain.sizing import Market, size_entry
from app.domain.trading import PositionSide
from app.pages import filters as written
from app.services import context
from app.services.executor import executor

_HEIGHT = 168


@dataclass(frozen=True, slots=True)
class Rung:
    """A price of the ladder; ``y`` counts down from its top, ``kind`` is tp, en or sl."""

    kind: str
    label: str
    price: str
    money: Decimal | None
    y: int


@dataclass(slots=True)
class Effect:
    """``figures`` are (words, money). ``problem`` is why nothing would be bought."""

    sentence: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    rungs: list[Rung] = field(default_factory=list)
    figures: list[tuple[str, Decimal]] = field(default_factory=list)
    reward_to_risk: Decimal | None = None
    margin: Decimal | None = None
    currency: str = "USD"


def of_buy(settings: StrategySettings, symbol: str | None) -> Effect:
    """From flat, with the newest price where one is known."""
    if not symbol:
        return Effect(problem="Each alert names what to trade. Give a symbol to see an example.")
    if settings.direction is Direction.SHORT:
        return Effect(problem="A buy opens nothing: only short entries are allowed.")
    try:
        resolved = context.resolve(symbol, settings.symbol_map, settings.contract, clock.now())
    except Invalid as e:
        return Effect(problem=e.detail)
    instrument, contract = resolved.instrument, resolved.contract
    quote = executor.quote_of(None, contract)
    price = quote.ask if quote else None
    signal = Signal(action=Action.BUY, symbol=symbol, price=price)
    facts = context.facts_of(contract)
    points = stop_distance(PositionSide.LONG, price, settings, facts, signal)
    sized = size_entry(settings, signal, facts, Market(price, None, points), stated=None)
    if settings.sizing is Sizing.SIGNAL:
        return Effect(problem="The alert says how many. The stop and target below are for each.")
    if not sized.quantity:
        return Effect(problem=f"{sized.words}.".capitalize(), notes=sized.notes)
    result = Effect(notes=sized.notes, currency=instrument.currency)
    result.sentence = _sentence(settings, contract, sized.quantity)
    if price is not None:
        legs = legs_for(PositionSide.LONG, price, sized.quantity, settings, facts)
        _add_money(result, legs, price, sized.quantity, instrument)
        result.margin = sized.quantity * (
            instrument.initial_margin or price * instrument.point_value * instrument.margin_rate
        )
    return result


def _sentence(settings: StrategySettings, contract: str, quantity: Decimal) -> str:
    order = {
        EntryType.MARKET: "at market",
        EntryType.LIMIT: "by a limit order",
        EntryType.AS_ALERT: "as the alert says",
    }[settings.entry_order.type]
    parts = [f"From flat: buy {written.qty(quantity)} {contract} {order}."]
    for target in settings.take_profits:
        parts.append(f"Close at {_distance(target)} above the fill.")
    if isinstance(settings.stop_loss, StopLoss):
        parts.append(f"Stop {_distance(settings.stop_loss)} below the fill.")
    else:
        parts.append("No stop is set.")
    return " ".join(parts)


def _distance(leg: TakeProfit | StopLoss) -> str:
    unit = "%" if leg.unit.value == "percent" else leg.unit.value
    return f"{written.qty(leg.distance)} {unit}"


def _add_money(
    result: Effect, legs: Legs, price: Decimal, quantity: Decimal, instrument: Instrument
) -> None:
    def money(level: Decimal) -> Decimal:
        return (level - price) * instrument.point_value * quantity

    levels: list[tuple[str, str, Decimal, Decimal | None]] = [
        ("en", f"Buy {written.qty(quantity)}", price, None)
    ]
    gain = loss = None
    if legs.take_profit is not None:
        gain = money(legs.take_profit.price)
        levels.append(("tp", "Target", legs.take_profit.price, gain))
        result.figures.append(("Target", gain))
    if legs.stop_loss is not None:
        loss = money(legs.stop_loss.price)
        levels.append(("sl", "Stop", legs.stop_loss.price, loss))
        result.figures.insert(0, ("At risk", loss))
    if gain and loss:
        result.reward_to_risk = gain / -loss
    result.rungs = _rungs(levels, instrument.price_places)


def _rungs(levels: list[tuple[str, str, Decimal, Decimal | None]], places: int) -> list[Rung]:
    prices = [price for _, _, price, _ in levels]
    high, span = max(prices), (max(prices) - min(prices)) or Decimal(1)
    return [
        Rung(
            kind=kind,
            label=label,
            price=written.price(price, places),
            money=gain,
            y=int((high - price) / span * _HEIGHT),
        )
        for kind, label, price, gain in sorted(levels, key=lambda level: -level[2])
    ]
