"""What ``md/subscribeDOM`` and ``md/subscribeHistogram`` tell: made up around the quote."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.server.ticking import iso
from tests.simulators.tradovate.venue.wire import as_date
from tests.simulators.tradovate.venue.world import session_day

LEVELS = 10
_SIZE = 7


def dom(
    contract_id: int, bid: Decimal, ask: Decimal, tick: Decimal, at: datetime
) -> dict[str, Any]:
    """The book of a contract, ten prices on each side, the best ones first."""
    return {
        "contractId": contract_id,
        "timestamp": iso(at),
        "bids": [_level(bid - place * tick, place) for place in range(LEVELS)],
        "offers": [_level(ask + place * tick, place) for place in range(LEVELS)],
    }


def histogram(
    contract_id: int,
    base: Decimal,
    volumes: dict[Decimal, int],
    tick: Decimal,
    at: datetime,
    *,
    refresh: bool,
) -> dict[str, Any]:
    """Volumes by price; the keys of ``items`` are ticks from ``base``."""
    return {
        "contractId": contract_id,
        "timestamp": iso(at),
        "tradeDate": as_date(session_day(at)),
        "base": base,
        "items": {str(int((price - base) / tick)): volume for price, volume in volumes.items()},
        "refresh": refresh,
    }


def _level(price: Decimal, place: int) -> dict[str, Any]:
    return {"price": price, "size": _SIZE + place}
