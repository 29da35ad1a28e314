"""Requests over a webhook's rate: counted in memory, kept as one row a second."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import gevent

from app.domain.errors import TradingError
from app.services import signals
from app.services.signals import Alert

log = logging.getLogger(__name__)
_FLUSH_AFTER_S = 1.0


@dataclass(slots=True)
class _Count:
    first: Alert
    number: int = 0


_counts: dict[str, _Count] = {}


def count(token: str, alert: Alert) -> None:
    """Count one refused request; the owner sees how many there were within the second."""
    counted = _counts.get(token)
    if counted is None:
        counted = _counts[token] = _Count(alert)
        gevent.spawn_later(_FLUSH_AFTER_S, _flush, token)
    counted.number += 1


def _flush(token: str) -> None:
    counted = _counts.pop(token)
    detail = f"{counted.number} requests over 300 a second were refused within one second."
    try:
        signals.refuse(
            token,
            counted.first,
            answer=429,
            reason="rate_limited",
            detail=detail,
            repeats=counted.number,
        )
    except TradingError:
        log.warning("refused requests could not be noted", extra={"number": counted.number})
