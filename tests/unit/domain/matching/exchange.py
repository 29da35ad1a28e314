"""A small hand around the engine: a clock, one account, orders in one line each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.domain.instruments import Instrument, all_instruments
from app.domain.matching import (
    Engine,
    LedgerEntry,
    MarketRules,
    PaperAccount,
    PaperFill,
    PaperOrder,
    PaperPosition,
    Step,
)
from app.domain.trading import OrderTicket, OrderType, Quote, Side, TimeInForce

START = datetime(2026, 10, 15, 14, 30, tzinfo=UTC)
ACCOUNT = 1

PLAIN = replace(
    all_instruments()["ES"],
    root="PLAIN",
    point_value=Decimal(1),
    fee_per_contract=Decimal(0),
    initial_margin=Decimal(0),
    slippage_ticks=0,
)
"""The instrument of the simulators' table: tick 0.25, multiplier 1, no costs."""


def d(value: object) -> Decimal:
    return Decimal(str(value))


class Exchange:
    """One engine with its steps applied at once; keeps everything that the steps said."""

    def __init__(
        self, instrument: Instrument = PLAIN, *, cash: object = 100_000, **rules: Any
    ) -> None:
        self.contract = instrument.root
        self.rules = MarketRules(instrument, **rules)
        self.engine = Engine(lambda _contract: self.rules)
        self.engine.restore(PaperAccount(id=ACCOUNT))
        self.now = START
        self.quote: Quote | None = None
        self.fills: list[PaperFill] = []
        self.ledger: list[LedgerEntry] = []
        self.orders: dict[str, PaperOrder] = {}
        self.position = PaperPosition(account_id=ACCOUNT, contract=self.contract)
        self._count = 0
        self.take(self.engine.transfer(ACCOUNT, d(cash), now=self.now))

    @property
    def account(self) -> PaperAccount:
        return self.engine.account(ACCOUNT)

    @property
    def net_pos(self) -> Decimal:
        return self.position.net_pos

    def take(self, step: Step) -> Step:
        self.engine.apply(step)
        self.note([step])
        return step

    def note(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.fills += step.fills
            self.ledger += step.ledger
            self.orders |= {order.client_order_id: order for order in step.orders}
            self.position = step.position or self.position

    def later(self, seconds: float = 1) -> None:
        self.now += timedelta(seconds=seconds)

    def show(
        self,
        bid: object,
        ask: object,
        bid_size: object = None,
        ask_size: object = None,
        last: object = None,
    ) -> list[str]:
        """Bring a new quote; returns the fills that it made."""
        self.later()
        self.quote = Quote(
            self.contract,
            bid=d(bid),
            ask=d(ask),
            at=self.now,
            bid_size=None if bid_size is None else d(bid_size),
            ask_size=None if ask_size is None else d(ask_size),
            last=None if last is None else d(last),
        )
        return self.repeat()

    def repeat(self) -> list[str]:
        """Bring the same quote again."""
        assert self.quote is not None
        before = len(self.fills)
        self.note(self.engine.on_quote(self.quote, self.now))
        return [told(fill) for fill in self.fills[before:]]

    def ticket(self, side: Side, quantity: object, **terms: Any) -> OrderTicket:
        prices: dict[str, Any] = {
            key: d(terms.pop(key)) for key in ("limit_price", "stop_price") if key in terms
        }
        kind = {
            (): OrderType.MARKET,
            ("limit_price",): OrderType.LIMIT,
            ("stop_price",): OrderType.STOP,
            ("limit_price", "stop_price"): OrderType.STOP_LIMIT,
        }[tuple(sorted(prices))]
        terms.setdefault("order_type", kind)
        return OrderTicket(self.contract, side, d(quantity), **prices, **terms)

    def buy(self, quantity: object, **terms: Any) -> PaperOrder:
        return self.send(self.ticket(Side.BUY, quantity, **terms))

    def sell(self, quantity: object, **terms: Any) -> PaperOrder:
        return self.send(self.ticket(Side.SELL, quantity, **terms))

    def send(self, ticket: OrderTicket, key: str | None = None) -> PaperOrder:
        self._count += 1
        key = key or f"o{self._count}"
        self.take(self.engine.submit(ACCOUNT, ticket, key, now=self.now, quote=self.quote))
        return self.orders[key]

    def oco(self, first: OrderTicket, second: OrderTicket) -> tuple[PaperOrder, PaperOrder]:
        self._count += 1
        keys = (f"oco{self._count}a", f"oco{self._count}b")
        step = self.engine.submit_oco(ACCOUNT, first, second, keys, now=self.now, quote=self.quote)
        self.take(step)
        return self.orders[keys[0]], self.orders[keys[1]]

    def cancel(self, key: str) -> None:
        self.take(self.engine.cancel(ACCOUNT, key, now=self.now))

    def replace(self, key: str, **changes: Any) -> PaperOrder:
        values = {name: d(value) for name, value in changes.items()}
        step = self.engine.replace(ACCOUNT, key, now=self.now, quote=self.quote, **values)
        self.take(step)
        return self.orders[key]

    def told(self) -> list[str]:
        return [told(fill) for fill in self.fills]


def told(fill: PaperFill) -> str:
    price = f"{fill.price:.0f}" if fill.price == int(fill.price) else f"{fill.price:.2f}"
    return f"{fill.side} {fill.quantity} @ {price} {fill.liquidity}"


def ioc() -> dict[str, TimeInForce]:
    return {"tif": TimeInForce.IOC}


def fok() -> dict[str, TimeInForce]:
    return {"tif": TimeInForce.FOK}
