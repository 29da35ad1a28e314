from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import instruments
from app.domain.instruments import Instrument
from app.domain.trading import Quote
from app.marketdata.simulated import STEP, SimulatedFeed

AT = datetime(2026, 10, 15, 14, 30, tzinfo=UTC)
TIMES = st.integers(0, 400_000_000_000).map(lambda ms: AT + timedelta(milliseconds=ms))


def _quote(symbol: str, at: datetime, seed: int = 1) -> Quote:
    quote = SimulatedFeed(seed).quote_at(symbol, at)
    assert quote is not None
    return quote


@given(st.sampled_from(list(instruments.all_instruments().values())), TIMES)
def test_every_price_is_on_the_tick_grid_and_one_spread_apart(
    instrument: Instrument, at: datetime
) -> None:
    quote = _quote(instrument.root, at)

    assert quote.bid > 0
    assert instrument.on_tick(quote.bid)
    assert quote.ask - quote.bid == instrument.spread_ticks * instrument.tick_size
    assert quote.bid_size is None
    assert quote.ask_size is None


@given(TIMES, st.integers())
def test_the_price_depends_on_nothing_but_seed_symbol_and_time(at: datetime, seed: int) -> None:
    assert _quote("MNQZ6", at, seed) == _quote("MNQZ6", at, seed)


def test_another_seed_walks_another_way() -> None:
    first, second = ([_quote("MNQZ6", AT + k * STEP, s).bid for k in range(50)] for s in (1, 2))

    assert first != second


def test_a_quote_stands_for_a_quarter_of_a_second() -> None:
    quote = _quote("MNQZ6", AT)

    assert _quote("MNQZ6", AT + STEP - timedelta(microseconds=1)) == quote
    assert _quote("MNQZ6", AT + STEP).at == AT + STEP


def test_the_walk_is_smooth_and_still_moves() -> None:
    bids = [_quote("MNQZ6", AT + k * STEP).bid for k in range(2_000)]

    jumps = [abs(b - a) for a, b in zip(bids, bids[1:], strict=False)]

    assert max(jumps) < 5
    assert len(set(bids)) > 20


def test_a_micro_contract_moves_with_its_big_sister() -> None:
    assert _quote("MNQZ6", AT).bid == _quote("NQ", AT).bid


def test_it_stays_near_the_reference_price() -> None:
    reference = instruments.all_instruments()["NQ"].reference_price
    assert reference is not None

    for day in range(200):
        assert abs(_quote("NQZ6", AT + timedelta(days=day)).bid / reference - 1) < 0.2


@pytest.mark.parametrize("symbol", ["HSI1!", "ZZTOPUSDT", ""])
def test_a_foreign_symbol_has_no_price(symbol: str) -> None:
    feed = SimulatedFeed()

    assert not feed.knows(symbol)
    assert feed.quote(symbol) is None


def test_it_reads_the_clock_that_it_is_given() -> None:
    feed = SimulatedFeed(now=lambda: AT)

    quote = feed.quote("BTCUSDT.P")

    assert quote is not None
    assert (quote.symbol, quote.at) == ("BTCUSDT.P", AT)
