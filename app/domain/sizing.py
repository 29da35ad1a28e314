"""How many contracts an entry or an add is for, and which rules changed the number.

The base size is scaled by ``multiplier``, rounded to the instrument's step and then cut by
``max_contracts_per_order`` and by the room that ``max_position`` leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from app.domain.settings import Rounding, Sizing, StrategySettings, canonical
from app.domain.signals.types import Signal
from app.domain.trading import InstrumentFacts

ZERO = Decimal(0)
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Market:
    """What a size may depend on. ``price`` and ``equity`` None where not known; ``stop_points``
    is the distance between entry and stop, None without one."""

    price: Decimal | None = None
    equity: Decimal | None = None
    stop_points: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Sized:
    """A quantity to send. At 0 nothing is sent: ``reason`` is its code, ``words`` say why.
    ``notes`` name every rule that changed the number."""

    quantity: Decimal
    notes: tuple[str, ...] = ()
    reason: str | None = None
    words: str = ""


class _Unknown(Exception):
    """A base size that cannot be worked out."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


def size_entry(
    settings: StrategySettings,
    signal: Signal,
    instrument: InstrumentFacts,
    market: Market,
    *,
    stated: Decimal | None,
) -> Sized:
    """The size of an entry from flat. ``stated`` is the size of the new position that the alert
    asks for (already without a closing part), None where it says none."""
    try:
        base, notes = _entry_base(settings, signal, instrument, market, stated)
    except _Unknown as e:
        return Sized(ZERO, reason=e.reason, words=e.words)
    return _limited(base * settings.multiplier, ZERO, settings, instrument, notes)


def size_add(
    settings: StrategySettings,
    signal: Signal,
    instrument: InstrumentFacts,
    *,
    held: Decimal,
    reach: Decimal | None = None,
) -> Sized:
    """The size of an add to ``held`` (positive). With ``reach``, the size of the whole position
    that a sized alert asks for, only what is missing to it is added."""
    if not settings.add_quantity:
        return Sized(ZERO, reason="adds_off", words="adds are off: add_quantity is 0")
    if settings.sizing is not Sizing.SIGNAL:
        wanted = settings.add_quantity * settings.multiplier
        return _limited(wanted, held, settings, instrument, _not_used(settings, signal))
    if reach is not None:
        wanted = reach * settings.multiplier - held
        if wanted <= 0:
            words = f"{_n(held)} held already reach the target {_n(reach * settings.multiplier)}"
            return Sized(ZERO, reason="already_at_target", words=words)
        return _limited(wanted, held, settings, instrument, ())
    quantity = signal.quantity if _is_contracts(signal) else None
    wanted = (settings.add_quantity if quantity is None else quantity) * settings.multiplier
    return _limited(wanted, held, settings, instrument, ())


def floor_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    return (quantity / step).to_integral_value(ROUND_FLOOR) * step


def _entry_base(
    settings: StrategySettings,
    signal: Signal,
    instrument: InstrumentFacts,
    market: Market,
    stated: Decimal | None,
) -> tuple[Decimal, tuple[str, ...]]:
    kind, value = settings.sizing, settings.sizing_value
    if kind is Sizing.FIXED:
        return settings.entry_quantity, _not_used(settings, signal)
    if kind is Sizing.SIGNAL:
        return _by_signal(settings, signal, instrument, market, stated)
    if value is None:
        raise _Unknown("no_sizing_value", f"sizing {kind} has no sizing_value")
    notes = _not_used(settings, signal)
    if kind is Sizing.RISK:
        return _by_risk(value, instrument, market), notes
    if kind is Sizing.EQUITY_PERCENT:
        return _by_notional(_percent_of_equity(value, market), instrument, market), notes
    return _by_notional(value, instrument, market), notes


def _by_signal(
    settings: StrategySettings,
    signal: Signal,
    instrument: InstrumentFacts,
    market: Market,
    stated: Decimal | None,
) -> tuple[Decimal, tuple[str, ...]]:
    quantity = signal.quantity
    if _is_contracts(signal) or quantity is None:
        if stated is not None:
            return stated, ()
        note = f"the alert states no size: entry_quantity {_n(settings.entry_quantity)}"
        return settings.entry_quantity, (note,)
    match signal.quantity_type:
        case "percent" | "percent_of_equity":
            money = _percent_of_equity(quantity, market)
            return _by_notional(money, instrument, market), ()
        case "dollar_amount":
            return _by_notional(quantity, instrument, market), ()
        case "risk_dollar_amount":
            return _by_risk(quantity, instrument, market), ()
        case "risk_percent":
            return _by_risk(_percent_of_equity(quantity, market), instrument, market), ()
    raise _Unknown(
        "bad_quantity_type", f"an entry cannot be sized by {signal.quantity_type} of the alert"
    )


def _by_risk(money: Decimal, instrument: InstrumentFacts, market: Market) -> Decimal:
    if not market.stop_points:
        raise _Unknown("no_stop", "sizing by risk needs a stop, and there is none to measure")
    return money / (market.stop_points * instrument.point_value)


def _by_notional(money: Decimal, instrument: InstrumentFacts, market: Market) -> Decimal:
    if not market.price or market.price < 0:
        raise _Unknown("no_price", "this sizing needs a price, and none is known")
    return money / (market.price * instrument.point_value)


def _percent_of_equity(percent: Decimal, market: Market) -> Decimal:
    if market.equity is None:
        raise _Unknown("no_equity", "this sizing needs the account's equity, and it is not known")
    return max(market.equity, ZERO) * percent / _HUNDRED


def _limited(
    wanted: Decimal,
    held: Decimal,
    settings: StrategySettings,
    instrument: InstrumentFacts,
    notes: tuple[str, ...],
) -> Sized:
    said = list(notes)
    step = instrument.lot_step
    quantity = floor_to_step(wanted, step)
    if not quantity and settings.rounding is Rounding.AT_LEAST_ONE and wanted > 0:
        quantity = step
        said.append(f"{_n(wanted)} raised to {_n(step)}: rounding at_least_one")
    elif quantity != wanted:
        said.append(f"{_n(wanted)} rounded to {_n(quantity)}")
    if quantity <= 0:
        words = f"{_n(wanted)} is below the smallest size {_n(step)}"
        return Sized(ZERO, tuple(said), "below_minimum", words)
    for name, room in _caps(settings, held):
        if quantity > room:
            cut = floor_to_step(max(room, ZERO), step)
            said.append(f"{_n(quantity)} cut to {_n(cut)}: {name}")
            quantity = cut
        if not quantity:
            return Sized(ZERO, tuple(said), name, said[-1])
    return Sized(quantity, tuple(said))


def _caps(settings: StrategySettings, held: Decimal) -> list[tuple[str, Decimal]]:
    caps = []
    if settings.max_contracts_per_order:
        caps.append(("max_contracts_per_order", settings.max_contracts_per_order))
    if settings.max_position:
        caps.append(("max_position", settings.max_position - held))
    return caps


def _is_contracts(signal: Signal) -> bool:
    return signal.quantity_type == "fixed_quantity"


def _not_used(settings: StrategySettings, signal: Signal) -> tuple[str, ...]:
    if signal.quantity is None:
        return ()
    return (f"the alert's quantity {_n(signal.quantity)} is not used: sizing {settings.sizing}",)


def _n(value: Decimal) -> str:
    text = canonical(value)
    return text if len(text) <= 12 else canonical(round(value, 4))
