"""A decoded signal as JSON for its column and back, without losing a digit."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from app.domain.signals import Signal
from app.domain.signals.types import Action, Target
from app.models.types import canonical

_NAMES = tuple(f.name for f in fields(Signal))
_DECIMALS = frozenset(
    {
        "quantity",
        "target_size",
        "previous_size",
        "price",
        "limit_price",
        "stop_price",
        "take_profit",
        "stop_loss",
    }
)
_TARGETS = frozenset({"target", "previous", "side"})


def from_signal(signal: Signal) -> dict[str, Any]:
    """Only what was stated: absent fields are left out."""
    document: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(signal, name)
        if value is None or value is False:
            continue
        if isinstance(value, Decimal):
            value = canonical(value)
        elif isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, Enum):
            value = value.value
        document[name] = value
    return document


def to_signal(document: dict[str, Any]) -> Signal:
    values = dict(document)
    values["action"] = Action(values["action"])
    for name in _DECIMALS & values.keys():
        values[name] = Decimal(values[name])
    for name in _TARGETS & values.keys():
        values[name] = Target(values[name])
    if "fired_at" in values:
        values["fired_at"] = datetime.fromisoformat(values["fired_at"])
    return Signal(**values)
