"""Quotes per second of the paper engine with 100,000 resting orders over 100 symbols.

One core. Floor: a bare loop over the same quotes that only compares two Decimals. Both sides
alternate; medians of several runs. Run: ``python -m benchmarks.matching``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.domain.instruments import all_instruments
from app.domain.matching import Engine, MarketRules, PaperAccount
from app.domain.trading import OrderTicket, OrderType, Quote, Side

SYMBOLS = 100
ORDERS = 100_000
ACCOUNTS = 50
QUOTES = 200_000
RUNS = 7
START = datetime(2026, 10, 15, 14, 30, tzinfo=UTC)
TICK = Decimal("0.25")
MIDDLE = Decimal(20_000)
FEW = 200
"""One quote in so many fills orders in the second measurement."""


def main() -> dict[str, float]:
    """Print the figures; returns them by name."""
    engine = _engine()
    placed = _place(engine)
    quiet = _quotes(START)
    figures = _compare(engine, quiet)
    few = _few(engine, START + timedelta(hours=1))
    print(f"{placed:>12,.0f} orders placed/s ({ORDERS:,} resting over {SYMBOLS} symbols)")
    print(f"{figures['floor']:>12,.0f} quotes/s floor: two Decimals compared")
    print(
        f"{figures['none']:>12,.0f} quotes/s that fill none ({figures['ratio']:.2f} of the floor)"
    )
    print(f"{few['quotes']:>12,.0f} quotes/s of which one in {FEW} fills")
    print(f"{few['fills']:>12,.0f} fills/s within these")
    return {**figures, "placed": placed, "few": few["quotes"], "fills": few["fills"]}


def _engine() -> Engine:
    instrument = all_instruments()["MNQ"]
    rules = MarketRules(instrument)
    engine = Engine(lambda _contract: rules)
    for account in range(ACCOUNTS):
        engine.restore(PaperAccount(id=account, cash=Decimal(10**9)))
    return engine


def _place(engine: Engine) -> float:
    """Buy limits and sell stops below the market, sell limits and buy stops above it."""
    began = time.perf_counter()
    for number in range(ORDERS):
        level = number // SYMBOLS
        distance = (8 + level // 4) * TICK
        side = Side.BUY if level % 2 else Side.SELL
        is_limit = level % 4 < 2
        price = MIDDLE - distance if (side is Side.BUY) is is_limit else MIDDLE + distance
        ticket = OrderTicket(
            f"S{number % SYMBOLS}",
            side,
            Decimal(1),
            OrderType.LIMIT if is_limit else OrderType.STOP,
            limit_price=price if is_limit else None,
            stop_price=None if is_limit else price,
        )
        engine.apply(engine.submit(level % ACCOUNTS, ticket, f"o{number}", now=START))
    return ORDERS / (time.perf_counter() - began)


def _quotes(begin: datetime) -> list[Quote]:
    return [
        Quote(
            f"S{number % SYMBOLS}",
            bid=MIDDLE + (number // SYMBOLS) % 4 * TICK,
            ask=MIDDLE + (number // SYMBOLS) % 4 * TICK + TICK,
            at=begin + timedelta(microseconds=number + 1),
        )
        for number in range(QUOTES)
    ]


def _compare(engine: Engine, quotes: list[Quote]) -> dict[str, float]:
    now = quotes[-1].at
    low, high = MIDDLE - 8 * TICK, MIDDLE + 8 * TICK

    def floor() -> None:
        for quote in quotes:
            if quote.ask <= low or quote.bid >= high:
                raise AssertionError("these quotes reach nothing")

    def match() -> None:
        for quote in quotes:
            if engine.on_quote(quote, now):
                raise AssertionError("these quotes reach nothing")

    rates = _alternate(floor, match)
    return {"floor": rates[0], "none": rates[1], "ratio": rates[1] / rates[0]}


def _few(engine: Engine, begin: datetime) -> dict[str, float]:
    quotes = _quotes(begin)
    for place in range(0, QUOTES, FEW):
        quote = quotes[place + place // FEW % SYMBOLS]
        depth = (8 + place // FEW // SYMBOLS) * TICK
        quotes[place] = Quote(quote.symbol, MIDDLE - depth - TICK, MIDDLE - depth, quote.at)
    fills = 0
    began = time.perf_counter()
    for quote in quotes:
        for step in engine.on_quote(quote, quote.at):
            fills += len(step.fills)
    took = time.perf_counter() - began
    return {"quotes": QUOTES / took, "fills": fills / took}


def _alternate(*sides: Callable[[], None]) -> list[float]:
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(RUNS):
        for side, found in zip(sides, rates, strict=True):
            began = time.perf_counter()
            side()
            found.append(QUOTES / (time.perf_counter() - began))
    return [statistics.median(found) for found in rates]


if __name__ == "__main__":
    main()
