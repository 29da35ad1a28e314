"""The fields of one message under their normalised names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.domain.signals import names
from app.domain.signals.errors import BadAlert
from app.domain.signals.masking import printable
from app.domain.signals.numbers import NumberText

# Known names with their values; what is empty is left out, texts have no blanks around them.
Scope = dict[str, object]
# The scopes of one order in the order in which they are searched: top level, nested objects.
Entry = tuple[Scope, ...]

# Objects that state a price in a member: {"takeProfit": {"limitPrice": 5010}}.
_PRICE_MEMBERS = {
    "tp": "take_profit_limit_price",
    "take_profit": "take_profit_limit_price",
    "sl": "stop_loss_stop_price",
    "stop_loss": "stop_loss_stop_price",
}
_PRICE_KEYS = {"take_profit_limit_price": "limit_price", "stop_loss_stop_price": "stop_price"}


def entry_of(obj: dict[str, object]) -> Entry:
    """The scopes of a JSON object: itself, then the objects in it that alerts use.

    Raises:
        BadAlert: ``duplicate_key`` when two spellings of one name have different values.
    """
    nested: dict[str, dict[str, object]] = {}
    top = _scope(obj.items(), nested)
    if not nested:
        return (top,)
    return (top, *(_scope(nested[n].items(), {}) for n in names.NESTED if n in nested))


def scope_of(pairs: Iterable[tuple[str, object]]) -> Scope:
    return _scope(pairs, {})


def _scope(pairs: Iterable[tuple[str, object]], nested: dict[str, dict[str, object]]) -> Scope:
    scope: Scope = {}
    for key, value in pairs:
        name = names.known(key)
        if not name or value is None:
            continue
        if type(value) is str:
            value = value.strip()
            if not value:
                continue
        elif type(value) is not NumberText and isinstance(value, dict):
            name, value = _from_object(name, value, nested)
        if value is None or (name in names.TEXT_ONLY and type(value) is not str):
            continue
        if scope.setdefault(name, value) != value:
            raise BadAlert("duplicate_key", f"{name} is given two values", field=name)
    return scope


def _from_object(
    name: str, value: dict[str, object], nested: dict[str, dict[str, object]]
) -> tuple[str, object]:
    """What an object stands for: more fields, a price in it, or itself (which nothing reads)."""
    if name in names.NESTED:
        nested.setdefault(name, value)
        return name, None
    if name in _PRICE_MEMBERS:
        name = _PRICE_MEMBERS[name]
        found = (v for k, v in value.items() if names.known(k) == _PRICE_KEYS[name])
        return name, next(found, None)
    return name, value


def first(entry: Entry, wanted: tuple[str, ...]) -> tuple[str, object] | None:
    """The first of the names that has a value, with that value."""
    for scope in entry:
        for name in wanted:
            value = scope.get(name)
            if value is not None:
                return name, value
    return None


def each(entry: Entry, wanted: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """All of the names that have a value, in the order of search."""
    for scope in entry:
        for name in wanted:
            value = scope.get(name)
            if value is not None:
                yield name, value


def text(entry: Entry, wanted: tuple[str, ...]) -> str | None:
    """The first value as text; None when there is none or it is an object or a list."""
    found = first(entry, wanted)
    if found is None or not isinstance(found[1], str):
        return None
    return printable(str(found[1]))
