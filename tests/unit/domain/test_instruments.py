from __future__ import annotations

from decimal import Decimal

import pytest

from app.domain import instruments
from app.domain.instruments import Instrument, InstrumentKind
from app.domain.symbols import MONTH_LETTERS

EVERY = list(instruments.all_instruments().values())

TICK_VALUES = [
    ("ES", "0.25", "12.50"),
    ("MES", "0.25", "1.25"),
    ("NQ", "0.25", "5.00"),
    ("MNQ", "0.25", "0.50"),
    ("RTY", "0.1", "5.00"),
    ("M2K", "0.1", "0.50"),
    ("YM", "1", "5.00"),
    ("MYM", "1", "0.50"),
    ("NKD", "5", "25.00"),
    ("CL", "0.01", "10.00"),
    ("MCL", "0.01", "1.00"),
    ("QM", "0.025", "12.50"),
    ("NG", "0.001", "10.00"),
    ("MNG", "0.001", "1.00"),
    ("RB", "0.0001", "4.20"),
    ("HO", "0.0001", "4.20"),
    ("GC", "0.1", "10.00"),
    ("MGC", "0.1", "1.00"),
    ("SI", "0.005", "25.00"),
    ("SIL", "0.005", "5.00"),
    ("HG", "0.0005", "12.50"),
    ("PL", "0.1", "5.00"),
    ("6E", "0.00005", "6.25"),
    ("M6E", "0.0001", "1.25"),
    ("6B", "0.0001", "6.25"),
    ("M6B", "0.0001", "0.625"),
    ("6J", "0.0000005", "6.25"),
    ("6A", "0.00005", "5.00"),
    ("M6A", "0.0001", "1.00"),
    ("6C", "0.00005", "5.00"),
    ("6S", "0.00005", "6.25"),
    ("6N", "0.00005", "5.00"),
    ("ZB", "0.03125", "31.25"),
    ("ZN", "0.015625", "15.625"),
    ("ZF", "0.0078125", "7.8125"),
    ("ZT", "0.00390625", "7.8125"),
    ("BTC", "5", "25.00"),
    ("MBT", "5", "0.50"),
    ("ETH", "0.5", "25.00"),
    ("MET", "0.5", "0.05"),
    ("ZC", "0.25", "12.50"),
    ("ZS", "0.25", "12.50"),
    ("LE", "0.025", "10.00"),
]


@pytest.mark.parametrize(("root", "tick_size", "tick_value"), TICK_VALUES)
def test_a_tick_has_the_size_and_value_that_the_exchange_publishes(
    root: str, tick_size: str, tick_value: str
) -> None:
    instrument = instruments.all_instruments()[root]

    assert instrument.tick_size == Decimal(tick_size)
    assert instrument.tick_value == Decimal(tick_value)


@pytest.mark.parametrize("instrument", EVERY, ids=lambda i: i.root)
def test_every_instrument_can_be_traded_and_simulated(instrument: Instrument) -> None:
    assert instrument.known
    assert instrument.tick_size > 0
    assert instrument.point_value > 0
    assert 0 < instrument.lot_step <= instrument.min_quantity <= instrument.max_quantity
    assert instrument.reference_price is not None
    assert instrument.on_tick(instrument.reference_price)
    assert instruments.find(instrument.underlying) is not None


@pytest.mark.parametrize("instrument", EVERY, ids=lambda i: i.root)
def test_futures_have_a_cycle_and_margins_and_the_others_have_neither(
    instrument: Instrument,
) -> None:
    is_future = instrument.kind is InstrumentKind.FUTURES

    assert bool(instrument.months) is is_future
    assert set(instrument.months) <= set(MONTH_LETTERS)
    assert (instrument.initial_margin >= instrument.maintenance_margin > 0) is is_future
    assert (instrument.margin_rate > 0) is not is_future


def test_prices_are_rounded_to_the_tick_grid() -> None:
    note = instruments.all_instruments()["ZN"]

    assert note.round_up(Decimal("110.51")) == Decimal("110.515625")
    assert note.round_down(Decimal("110.51")) == Decimal("110.5")
    assert note.round_price(Decimal("110.51")) == Decimal("110.515625")
    assert note.price_places == 6


def test_an_unknown_symbol_gets_a_penny_tick_and_no_fee() -> None:
    foreign = instruments.unknown("HSI1!")

    assert not foreign.known
    assert (foreign.tick_size, foreign.point_value) == (Decimal("0.01"), Decimal(1))
    assert foreign.fee_per_contract == foreign.taker_rate == 0
