"""What the fields of one message ask for.

The wanted position decides before the action word: after a missed alert only the former is
still right. A message that could mean two different orders is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.domain.signals import names
from app.domain.signals.errors import BadAlert
from app.domain.signals.fields import Entry, each, first, text
from app.domain.signals.jsontext import not_filled_in
from app.domain.signals.masking import quote
from app.domain.signals.numbers import parse_number
from app.domain.signals.symbols import is_delayed, parse_exchange, parse_symbol
from app.domain.signals.text import has_placeholder
from app.domain.signals.times import firing_time
from app.domain.signals.types import Action, Signal, Target
from app.domain.signals.words import (
    ACTIONS,
    EVERYTHING,
    NEUTRAL,
    action_word,
    order_type_word,
    quantity_type_word,
    target_word,
)

_CLOSING = frozenset({Action.CLOSE, Action.CLOSE_LONG, Action.CLOSE_SHORT})
_NEEDS_QUANTITY = frozenset({Action.BUY, Action.SELL, Action.ADD, Action.REVERSE})
_SIDES = {Action.BUY: Target.LONG, Action.SELL: Target.SHORT}
_OF_POSITION = frozenset({"percent", "percent_of_position"})
# A % sign on the number says the same as these; beside the other types it contradicts.
_PERCENTS = frozenset({"percent", "percent_of_equity", "percent_of_position", "risk_percent"})
_NEEDED_PRICES = {
    "limit": ("limit_price",),
    "stop": ("stop_price",),
    "stop_limit": ("limit_price", "stop_price"),
}


@dataclass(slots=True)
class _Intent:
    """What is to be done, before sizes and prices."""

    action: Action
    target: Target | None = None
    previous: Target | None = None
    side: Target | None = None
    reduce_only: bool = False
    is_everything: bool = False


def has_action(entry: Entry) -> bool:
    """Whether any field names an action, known or not; verbs without a direction do not."""
    return next(_action_fields(entry), None) is not None


def understand(entry: Entry, default_symbol: str | None, warnings: list[str]) -> Signal:
    """The signal that the fields describe; repairs and ignored fields are added to ``warnings``.

    Raises:
        BadAlert: with the code that says which field is missing, unreadable or contradicted.
    """
    word, side = _action(entry)
    target = _target(entry, warnings)
    previous = _previous(entry, warnings)
    target_size = _size(entry, names.TARGET_SIZE, warnings)
    if target is None and word is not None and ACTIONS[word] in _SIDES:
        target = _target_of_size(target_size)
    intent = _intent(word, side, target, previous, warnings)
    symbol, exchange = _symbol(entry, default_symbol, warnings)
    quantity, quantity_type = _quantity(entry, intent, warnings)
    previous_size = _size(entry, names.PREVIOUS_SIZE, warnings)
    price = _price(entry, names.PRICE, warnings)
    order_type, limit_price, stop_price = _order_type(entry, price, warnings)
    return Signal(
        action=intent.action,
        symbol=symbol,
        exchange=exchange,
        quantity=quantity,
        quantity_type=quantity_type,
        target=intent.target,
        target_size=_agreeing(target_size, intent.target, warnings),
        previous=intent.previous,
        previous_size=None if previous_size is None else abs(previous_size[1]),
        side=intent.side,
        fired_at=_fired_at(entry, warnings),
        reduce_only=intent.reduce_only,
        price=price,
        order_type=order_type,
        limit_price=limit_price,
        stop_price=stop_price,
        take_profit=_level(entry, names.TAKE_PROFIT, warnings),
        stop_loss=_level(entry, names.STOP_LOSS, warnings),
        time=text(entry, names.TIME),
        interval=text(entry, names.INTERVAL),
        order_id=text(entry, names.ORDER_ID),
        comment=text(entry, names.COMMENT),
    )


# --- action and position ---


def _action_fields(entry: Entry) -> Iterator[tuple[str, object, str | None]]:
    """Fields that may name an action: name, value, action word or None for other values."""
    for name, value in each(entry, names.ACTION):
        word = action_word(value) if type(value) is str else None
        if word in NEUTRAL or (name == "type" and word is None):
            continue
        yield name, value, word


def _action(entry: Entry) -> tuple[str | None, Target | None]:
    """The action word, and the side that a second field names beside ``reverse`` or ``add``."""
    fields = _action_fields(entry)
    found = next(fields, None)
    if found is None:
        return None, None
    name, value, word = found
    if word is None:
        if type(value) is str and has_placeholder(value):
            raise BadAlert("unexpanded_placeholder", not_filled_in(value), field=name)
        raise BadAlert("unknown_action", f"{name} is {quote(value)}: not an action", field=name)
    if ACTIONS[word] not in (Action.REVERSE, Action.ADD):
        return word, None
    sides = (_SIDES[ACTIONS[w]] for _, _, w in fields if w is not None and ACTIONS[w] in _SIDES)
    return word, next(sides, None)


def _target(entry: Entry, warnings: list[str]) -> Target | None:
    """The wanted position. A word that cannot be read is refused: it would decide everything."""
    found = first(entry, names.TARGET)
    if found is None:
        return None
    name, value = found
    target = target_word(value) if isinstance(value, str) else None
    if target is None and not _is_unfilled(value):
        raise BadAlert(
            "unknown_action", f"{name} is {quote(value)}: expected long, short or flat", field=name
        )
    if target is None:
        _ignore(name, value, warnings)
    return target


def _previous(entry: Entry, warnings: list[str]) -> Target | None:
    found = first(entry, names.PREVIOUS)
    if found is None:
        return None
    name, value = found
    previous = target_word(value) if isinstance(value, str) else None
    if previous is None:
        _ignore(name, value, warnings)
    return previous


def _is_unfilled(value: object) -> bool:
    """Whether a placeholder had no value: left as it was, or ``NaN``."""
    return isinstance(value, str) and (
        has_placeholder(value) or value.lstrip("+-").lower() in ("nan", "infinity")
    )


def _ignore(name: str, value: object, warnings: list[str]) -> None:
    warnings.append(f"{name} is {quote(value)}: ignored")


def _intent(
    word: str | None,
    side: Target | None,
    target: Target | None,
    previous: Target | None,
    warnings: list[str],
) -> _Intent:
    if word is None:
        if target is not Target.FLAT:
            raise BadAlert("missing_action", "no field names an action", field="action")
        return _Intent(Action.CLOSE, target, previous, is_everything=True)
    action = ACTIONS[word]
    if action in _SIDES:
        return _sided(action, target, previous)
    if action in _CLOSING:
        if target not in (None, Target.FLAT):
            warnings.append(f"{word} closes although the wanted position is {target}")
        is_everything = word in EVERYTHING or target is Target.FLAT
        return _Intent(action, target, previous, is_everything=is_everything)
    if action in (Action.REVERSE, Action.ADD):
        return _turned(action, side, target, previous)
    if target is not None:
        warnings.append(f"{word} changes no position: the wanted position {target} is ignored")
    return _Intent(action, None, previous)


def _sided(action: Action, target: Target | None, previous: Target | None) -> _Intent:
    """Buy or sell: an entry or a reversal, a partial exit, or everything out."""
    if target is Target.FLAT:
        return _Intent(Action.CLOSE, target, previous, is_everything=True)
    if target in (None, _SIDES[action]):
        return _Intent(action, target, previous)
    if previous not in (None, target):
        raise _conflict(f"{action} cannot lead from {previous} to {target}")
    return _Intent(action, target, previous, reduce_only=True)


def _turned(
    action: Action, side: Target | None, target: Target | None, previous: Target | None
) -> _Intent:
    """Reverse to a side, or add to the side held; whatever is named must name the same one."""
    if target is Target.FLAT or None is not side is not target is not None:
        raise _conflict(f"{action} of {side or 'a position'} cannot lead to {target}")
    side = side or target
    held = _opposite(side) if action is Action.REVERSE else side
    if side is not None and previous in (Target.LONG, Target.SHORT) and previous is not held:
        raise _conflict(f"{action} cannot lead from {previous} to {side}")
    return _Intent(action, target, previous, side)


def _opposite(side: Target | None) -> Target | None:
    if side is None:
        return None
    return Target.SHORT if side is Target.LONG else Target.LONG


def _conflict(detail: str) -> BadAlert:
    return BadAlert("conflicting_fields", detail, field="action")


# --- sizes ---


def _size(entry: Entry, wanted: tuple[str, ...], warnings: list[str]) -> tuple[str, Decimal] | None:
    """The first position size with its name; it may have a sign."""
    found = first(entry, wanted)
    if found is None:
        return None
    name, value = found
    number = parse_number(value)
    if number is None:
        _ignore(name, value, warnings)
        return None
    return name, number


def _target_of_size(size: tuple[str, Decimal] | None) -> Target | None:
    """The wanted position that a size implies; without a sign, more than 0 tells no side."""
    if size is None:
        return None
    name, number = size
    if number == 0:
        return Target.FLAT
    if number < 0:
        return Target.SHORT
    return Target.LONG if name in names.SIGNED_SIZES else None


def _agreeing(
    size: tuple[str, Decimal] | None, target: Target | None, warnings: list[str]
) -> Decimal | None:
    """The wanted size without its sign; the wanted position wins over a size that denies it."""
    if size is None:
        return None
    name, number = size
    if target is Target.LONG and number < 0:
        raise BadAlert(
            "conflicting_fields", f"the wanted position is long, {name} is {number}", field=name
        )
    if target is not None and (number == 0) is not (target is Target.FLAT):
        warnings.append(f"{name} is {number} although the wanted position is {target}: ignored")
        return None
    return abs(number)


def _quantity(entry: Entry, intent: _Intent, warnings: list[str]) -> tuple[Decimal | None, str]:
    """How much, None for "not stated" and for the whole position, and in which unit."""
    found = first(entry, names.QUANTITY)
    if found is not None and isinstance(found[1], str) and has_placeholder(found[1]):
        raise BadAlert("unexpanded_placeholder", not_filled_in(found[1]), field=found[0])
    if intent.is_everything:
        return None, "fixed_quantity"
    kind = _quantity_type(entry)
    if found is None:
        return None, kind or "fixed_quantity"
    name, value = found
    is_percent = type(value) is str and value.endswith("%")
    number = parse_number(value[:-1] if is_percent else value)  # type: ignore[index]
    if number is None or number < 0 or (number == 0 and intent.action in _NEEDS_QUANTITY):
        raise _bad_quantity(name, value, "expected a positive number")
    if is_percent:
        if kind is not None and kind not in _PERCENTS:
            raise _bad_quantity(name, value, f"a percentage is no {kind}")
        kind = kind or "percent"
    kind = kind or "fixed_quantity"
    is_whole = intent.action in _CLOSING and kind in _OF_POSITION and number >= 100
    return (None if number == 0 or is_whole else number), kind


def _bad_quantity(name: str, value: object, expected: str) -> BadAlert:
    return BadAlert("bad_quantity", f"{name} is {quote(value)}: {expected}", field=name)


def _quantity_type(entry: Entry) -> str | None:
    found = first(entry, names.QUANTITY_TYPE)
    if found is None:
        return None
    name, value = found
    word = quantity_type_word(value) if isinstance(value, str) else None
    if word is None:
        if isinstance(value, str) and has_placeholder(value):
            raise BadAlert("unexpanded_placeholder", not_filled_in(value), field=name)
        raise _bad_quantity(name, value, "not a kind of quantity")
    return word


# --- symbol ---


def _symbol(
    entry: Entry, default_symbol: str | None, warnings: list[str]
) -> tuple[str, str | None]:
    found = first(entry, names.SYMBOL)
    if found is None:
        if not default_symbol or not default_symbol.strip():
            raise BadAlert(
                "missing_symbol", "no field names a symbol and none is configured", field="symbol"
            )
        found = "symbol", default_symbol.strip()
    name, value = found
    if isinstance(value, str) and has_placeholder(value):
        raise BadAlert("unexpanded_placeholder", not_filled_in(value), field=name)
    parsed = parse_symbol(value) if isinstance(value, str) else None
    if parsed is None:
        raise BadAlert("bad_symbol", f"{name} is {quote(value)}: not a symbol", field=name)
    symbol, exchange = parsed
    exchange = exchange or _exchange(entry, warnings)
    if exchange is not None and is_delayed(exchange):
        warnings.append(f"{exchange} is delayed data")
    return symbol, exchange


def _exchange(entry: Entry, warnings: list[str]) -> str | None:
    found = first(entry, names.EXCHANGE)
    if found is None:
        return None
    name, value = found
    exchange = parse_exchange(value) if isinstance(value, str) else None
    if exchange is None:
        _ignore(name, value, warnings)
    return exchange


# --- prices and times ---


def _price(entry: Entry, wanted: tuple[str, ...], warnings: list[str]) -> Decimal | None:
    found = first(entry, wanted)
    if found is None:
        return None
    name, value = found
    number = parse_number(value)
    if number is None:
        _ignore(name, value, warnings)
    return number


def _level(entry: Entry, wanted: tuple[str, ...], warnings: list[str]) -> Decimal | None:
    """A price at which something shall happen; senders write 0 for "none"."""
    number = _price(entry, wanted, warnings)
    if number == 0:
        warnings.append(f"{wanted[0]} is 0: read as not set")
        return None
    return number


def _order_type(
    entry: Entry, price: Decimal | None, warnings: list[str]
) -> tuple[str | None, Decimal | None, Decimal | None]:
    """``(order_type, limit_price, stop_price)``."""
    order_type = _order_type_word(entry, warnings)
    limit_price = _level(entry, names.LIMIT_PRICE, warnings)
    stop_price = _level(entry, names.STOP_PRICE, warnings)
    if order_type is None:
        return None, limit_price, stop_price
    if order_type == "limit" and limit_price is None:
        limit_price = price or None
    has = {"limit_price": limit_price, "stop_price": stop_price}
    for name in _NEEDED_PRICES.get(order_type, ()):
        if has[name] is None:
            raise BadAlert("bad_price", f"a {order_type} order needs a {name}", field=name)
    return order_type, limit_price, stop_price


def _order_type_word(entry: Entry, warnings: list[str]) -> str | None:
    for name, value in each(entry, names.ORDER_TYPE):
        word = order_type_word(value) if isinstance(value, str) else None
        if word is not None:
            return word
        if name == "order_type":
            _ignore(name, value, warnings)
    return None


def _fired_at(entry: Entry, warnings: list[str]) -> datetime | None:
    for name, value in each(entry, names.FIRED_AT):
        moment = firing_time(value)
        if moment is not None:
            return moment
        _ignore(name, value, warnings)
    return None
