"""Instruments that domain tests trade."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Instrument:
    contract: str = "MNQZ6"
    tick_size: Decimal = Decimal("0.25")
    point_value: Decimal = Decimal(2)
    lot_step: Decimal = Decimal(1)


MNQ = Instrument()
OLD_MNQ = Instrument(contract="MNQU6")
BTC = Instrument("BTCUSDT", Decimal("0.1"), Decimal(1), Decimal("0.001"))
