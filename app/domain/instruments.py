"""What can be traded: tick sizes, point values, fees and margins of known instruments.

The facts in ``data/instruments.json`` are those that the exchanges publish (tick size, contract
multiplier, listed months). Fees, margins and reference prices are defaults for paper trading:
typical all-in fees per side and typical intraday margins of retail futures brokers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

_DATA = Path(__file__).parent / "data" / "instruments.json"
_ZERO = Decimal(0)


class InstrumentKind(StrEnum):
    FUTURES = "futures"
    CRYPTO = "crypto"
    FOREX = "forex"
    STOCK = "stock"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One product. Money is in ``currency``; ``point_value`` is money per 1.00 of price and unit.

    Futures charge ``fee_per_contract`` per side and ask for ``initial_margin`` per contract; the
    others charge a rate of the notional and ask for ``margin_rate`` of it. ``months`` are the
    letters of the listed cycle. ``underlying`` names what a micro contract is a small version of.
    """

    root: str
    name: str
    kind: InstrumentKind
    tick_size: Decimal
    point_value: Decimal
    currency: str = "USD"
    exchange: str = ""
    underlying: str = ""
    months: str = ""
    roll: str = ""
    fee_per_contract: Decimal = _ZERO
    maker_rate: Decimal = _ZERO
    taker_rate: Decimal = _ZERO
    initial_margin: Decimal = _ZERO
    maintenance_margin: Decimal = _ZERO
    margin_rate: Decimal = _ZERO
    lot_step: Decimal = Decimal(1)
    min_quantity: Decimal = Decimal(1)
    max_quantity: Decimal = Decimal(10_000)
    min_notional: Decimal = _ZERO
    max_notional: Decimal | None = None
    reference_price: Decimal | None = None
    slippage_ticks: int = 0
    spread_ticks: int = 1
    known: bool = True

    @property
    def tick_value(self) -> Decimal:
        """Money per tick and unit."""
        return self.tick_size * self.point_value

    @property
    def price_places(self) -> int:
        return max(0, -int(self.tick_size.normalize().as_tuple().exponent))

    def on_tick(self, price: Decimal) -> bool:
        return price % self.tick_size == 0

    def round_price(self, price: Decimal) -> Decimal:
        """The nearest price on the tick grid."""
        return self._to_tick(price, ROUND_HALF_EVEN)

    def round_up(self, price: Decimal) -> Decimal:
        return self._to_tick(price, ROUND_CEILING)

    def round_down(self, price: Decimal) -> Decimal:
        return self._to_tick(price, ROUND_FLOOR)

    def _to_tick(self, price: Decimal, rounding: str) -> Decimal:
        return (price / self.tick_size).to_integral_value(rounding) * self.tick_size


@cache
def all_instruments() -> MappingProxyType[str, Instrument]:
    """Every known instrument by its root (ES, BTCUSDT, EURUSD, AAPL)."""
    groups = json.loads(_DATA.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    found: dict[str, Instrument] = {}
    for kind, group in groups.items():
        for row in group["instruments"]:
            instrument = _from_row(InstrumentKind(kind), {**group["defaults"], **row})
            if instrument.root in found:
                raise ValueError(f"{instrument.root} is listed twice")
            found[instrument.root] = instrument
    return MappingProxyType(found)


def find(root: str) -> Instrument | None:
    return all_instruments().get(root)


def unknown(symbol: str) -> Instrument:
    """An instrument of which only the name is known, so that an alert's price can fill it."""
    step = Decimal("0.00000001")
    return Instrument(
        root=symbol,
        name=symbol,
        kind=InstrumentKind.UNKNOWN,
        tick_size=Decimal("0.01"),
        point_value=Decimal(1),
        underlying=symbol,
        margin_rate=Decimal(1),
        lot_step=step,
        min_quantity=step,
        max_quantity=Decimal(1_000_000_000),
        known=False,
    )


def _from_row(kind: InstrumentKind, row: dict[str, Any]) -> Instrument:
    values = {key: value for key, value in row.items() if value is not None}
    values.setdefault("underlying", values["root"])
    values.setdefault("min_quantity", values.get("lot_step", Decimal(1)))
    for key in ("slippage_ticks", "spread_ticks"):
        if key in values:
            values[key] = int(values[key])
    return Instrument(kind=kind, **values)
