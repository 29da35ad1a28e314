"""Prices for practice: a random walk that anybody can compute again.

The price of a contract is a function of (seed, contract's underlying, time) and of nothing else.
It is a sum of smooth noises with periods from one second to some days around the instrument's
reference price; longer periods move it further, as in a random walk.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from app import clock
from app.domain.instruments import Instrument
from app.domain.symbols import instrument_for
from app.domain.trading import Quote

DEFAULT_SEED = 7
STEP = timedelta(milliseconds=250)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_PER_STEP = 250
_MS_PER_DAY = 86_400_000
_DAILY_MOVE = 0.01
_PERIODS_MS = tuple(1_000 * 6**octave for octave in range(8))
_AMPLITUDES = tuple(_DAILY_MOVE * math.sqrt(period / _MS_PER_DAY) for period in _PERIODS_MS)


class SimulatedFeed:
    """Prices every instrument that the app knows by itself; moves four times a second."""

    def __init__(
        self, seed: int = DEFAULT_SEED, *, now: Callable[[], datetime] | None = None
    ) -> None:
        self._seed = seed
        self._now = now or clock.now

    def knows(self, symbol: str) -> bool:
        return instrument_for(symbol).reference_price is not None

    def quote(self, symbol: str) -> Quote | None:
        return self.quote_at(symbol, self._now())

    def quote_at(self, symbol: str, at: datetime) -> Quote | None:
        """The quote that stands at ``at``, stamped with the time at which it appeared."""
        instrument = instrument_for(symbol)
        if instrument.reference_price is None:
            return None
        step = (at - _EPOCH) // STEP
        ticks = _ticks(self._seed, instrument, step)
        bid = ticks * instrument.tick_size
        ask = (ticks + instrument.spread_ticks) * instrument.tick_size
        return Quote(symbol, bid=bid, ask=ask, at=_EPOCH + step * STEP, last=bid)


def _ticks(seed: int, instrument: Instrument, step: int) -> int:
    reference = instrument.reference_price or Decimal(0)
    moved = 1.0 + _walk(f"{seed}:{instrument.underlying}", step * _MS_PER_STEP)
    return max(1, round(float(reference / instrument.tick_size) * moved))


def _walk(key: str, ms: int) -> float:
    return sum(
        amplitude * _smooth_noise(f"{key}:{period}", ms, period)
        for period, amplitude in zip(_PERIODS_MS, _AMPLITUDES, strict=True)
    )


def _smooth_noise(key: str, ms: int, period: int) -> float:
    """Between -1 and 1; meets a random value at every multiple of ``period``."""
    index, inside = divmod(ms, period)
    share = inside / period
    weight = share * share * (3.0 - 2.0 * share)
    return _lattice(key, index) * (1.0 - weight) + _lattice(key, index + 1) * weight


@lru_cache(maxsize=65_536)
def _lattice(key: str, index: int) -> float:
    digest = hashlib.blake2b(f"{key}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1.0
