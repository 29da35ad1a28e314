"""What must hold whatever is asked: money is conserved, positions are sums of fills, exits never
open, and the same steps give the same records, also after a restart in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.domain.errors import BrokerRefused
from app.domain.instruments import all_instruments
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
from app.domain.trading import (
    LegTicket,
    OrderTicket,
    OrderType,
    Quote,
    Side,
    TimeInForce,
)

from .exchange import START

MNQ = replace(all_instruments()["MNQ"], initial_margin=Decimal(100))
CONTRACTS = ("MNQZ6", "MNQH7")
ACCOUNTS = (1, 2)
TICK = Decimal("0.25")
BASE = Decimal(100)

Command = Callable[[Engine], list[Step]]

sides = st.sampled_from(Side)
prices = st.integers(-12, 12).map(lambda ticks: BASE + ticks * TICK)
quantities = st.integers(1, 6).map(Decimal)
sizes = st.one_of(st.none(), st.integers(0, 5).map(Decimal))
accounts = st.sampled_from(ACCOUNTS)
contracts = st.sampled_from(CONTRACTS)
offsets = st.integers(1, 30).map(lambda tenths: Decimal(tenths) / 10)


class Paper(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = START
        self.engine = _fresh()
        self.restarted = _fresh()
        self.commands: list[Command] = []
        self.steps: list[Step] = []
        self.quotes: dict[str, Quote] = {}
        self.keys: list[tuple[int, str]] = []
        self.orders: dict[tuple[int, str], PaperOrder] = {}
        self.fills: list[PaperFill] = []
        self.ledger: list[LedgerEntry] = []
        self.positions: dict[tuple[int, str], PaperPosition] = {}

    def do(self, command: Command) -> None:
        """Run on the engine, and on one that is rebuilt from the records before every step."""
        self.restart()
        self.commands.append(command)
        steps = command(self.engine)
        assert command(self.restarted) == steps
        self.steps += steps
        for step in steps:
            self.note(step)

    def note(self, step: Step) -> None:
        for fill in step.fills:
            self.check_exit(step, fill)
        for order in step.orders:
            self.orders[order.account_id, order.client_order_id] = order
        if step.position is not None:
            self.positions[step.account.id, step.position.contract] = step.position
        self.fills += step.fills
        self.ledger += step.ledger

    def check_exit(self, step: Step, fill: PaperFill) -> None:
        held = sum(
            (
                f.side.sign * f.quantity
                for f in (*self.fills, *step.fills[: step.fills.index(fill)])
                if (f.account_id, f.contract) == (fill.account_id, fill.contract)
            ),
            Decimal(0),
        )
        order = next(o for o in step.orders if o.client_order_id == fill.client_order_id)
        if order.reduce_only:
            assert fill.side.sign * held < 0
            assert fill.quantity <= abs(held)

    def restart(self) -> None:
        for account in ACCOUNTS:
            positions = [p for p in self.positions.values() if p.account_id == account]
            orders = [o for o in self.orders.values() if o.account_id == account]
            state = self.engine.account(account)
            self.restarted.restore(state, positions, [o for o in orders if o.is_open])

    def key(self, account: int) -> str:
        self.keys.append((account, f"c{len(self.keys)}"))
        return self.keys[-1][1]

    @initialize(cash=st.integers(300, 5000))
    def begin(self, cash: int) -> None:
        for contract in CONTRACTS:
            self.quote(contract, BASE, 1, (None, None))
        for account in ACCOUNTS:
            now = self.now

            def command(engine: Engine, account: int = account, now: datetime = now) -> list[Step]:
                return [_applied(engine, engine.transfer(account, Decimal(cash), now=now))]

            self.do(command)

    @rule(contract=contracts, bid=prices, spread=st.integers(0, 2), sizes=st.tuples(sizes, sizes))
    def new_quote(
        self,
        contract: str,
        bid: Decimal,
        spread: int,
        sizes: tuple[Decimal | None, Decimal | None],
    ) -> None:
        self.quote(contract, bid, spread, sizes)

    def quote(
        self,
        contract: str,
        bid: Decimal,
        spread: int,
        sizes: tuple[Decimal | None, Decimal | None],
    ) -> None:
        self.now += timedelta(seconds=1)
        now, ask = self.now, bid + spread * TICK
        last = ask if spread == 2 else None
        quote = Quote(contract, bid, ask, now, *sizes, last=last)
        self.quotes[contract] = quote

        self.do(lambda engine: list(engine.on_quote(quote, now)))
        self.do(lambda engine: list(engine.on_quote(quote, now)))

        assert not self.commands[-1](self.engine), "the same quote again changed something"

    @rule(
        account=accounts,
        contract=contracts,
        side=sides,
        quantity=quantities,
        limit=st.none() | prices,
        stop=st.none() | st.none() | prices,
        tif=st.sampled_from([TimeInForce.GTC] * 4 + list(TimeInForce)),
        reduce_only=st.sampled_from([False, False, False, True]),
        legs=st.none() | st.tuples(offsets, offsets),
    )
    def order(
        self,
        account: int,
        contract: str,
        side: Side,
        quantity: Decimal,
        limit: Decimal | None,
        stop: Decimal | None,
        legs: tuple[Decimal, Decimal] | None,
        **terms: Any,
    ) -> None:
        kind = {
            (False, False): OrderType.MARKET,
            (True, False): OrderType.LIMIT,
            (False, True): OrderType.STOP,
            (True, True): OrderType.STOP_LIMIT,
        }[limit is not None, stop is not None]
        ticket = OrderTicket(
            contract,
            side,
            quantity,
            kind,
            limit,
            stop,
            expire_at=self.now + timedelta(seconds=5),
            take_profit=LegTicket(self.key(account), offset=legs[0]) if legs else None,
            stop_loss=LegTicket(self.key(account), offset=legs[1]) if legs else None,
            **terms,
        )
        key, now, quote = self.key(account), self.now, self.quotes.get(contract)
        self.do(
            lambda engine: [
                _applied(engine, engine.submit(account, ticket, key, now=now, quote=quote))
            ]
        )

    @rule(data=st.data(), quantity=quantities, goal=prices, stop=prices)
    def exits(self, data: st.DataObject, quantity: Decimal, goal: Decimal, stop: Decimal) -> None:
        held = [key for key, position in self.positions.items() if position.net_pos]
        if not held:
            return
        account, contract = data.draw(st.sampled_from(held))
        is_long = self.positions[account, contract].net_pos > 0
        side = Side.SELL if is_long else Side.BUY
        first = OrderTicket(contract, side, quantity, OrderType.LIMIT, limit_price=goal)
        second = OrderTicket(contract, side, quantity, OrderType.STOP, stop_price=stop)
        keys = (self.key(account), self.key(account))
        now, quote = self.now, self.quotes.get(contract)
        self.do(
            lambda engine: [
                _applied(
                    engine,
                    engine.submit_oco(account, first, second, keys, now=now, quote=quote),
                )
            ]
        )

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.keys:
            return
        account, key = data.draw(st.sampled_from(self.keys))
        now = self.now
        self.do(lambda engine: _tried(engine, lambda: engine.cancel(account, key, now=now)))

    @rule(data=st.data(), quantity=st.none() | quantities, limit=st.none() | prices)
    def change(self, data: st.DataObject, quantity: Decimal | None, limit: Decimal | None) -> None:
        working = [key for key, order in self.orders.items() if order.is_open]
        if not working:
            return
        account, key = data.draw(st.sampled_from(working))
        now, quote = self.now, self.quotes.get(self.orders[account, key].contract)
        self.do(
            lambda engine: _tried(
                engine,
                lambda: engine.replace(
                    account, key, now=now, quote=quote, quantity=quantity, limit_price=limit
                ),
            )
        )

    @invariant()
    def money_is_conserved(self) -> None:
        for account in ACCOUNTS:
            state = self.engine.account(account)
            entries = [entry for entry in self.ledger if entry.account_id == account]
            changes = [(e.available_change, e.reserved_change) for e in entries]
            assert sum(a + r for a, r in changes) == state.cash
            assert sum(r for _, r in changes) == state.reserved

    @invariant()
    def reserved_money_is_what_orders_hold_and_positions_bind(self) -> None:
        for account in ACCOUNTS:
            holds = sum(o.hold for o in self.engine.open_orders(account))
            margins = sum(p.margin for p in self.engine.positions(account))
            assert self.engine.account(account).reserved == holds + margins >= 0

    @invariant()
    def a_position_is_the_sum_of_its_fills(self) -> None:
        for (account, contract), position in self.positions.items():
            fills = [f for f in self.fills if (f.account_id, f.contract) == (account, contract)]
            assert position.net_pos == sum(f.side.sign * f.quantity for f in fills)

    @invariant()
    def orders_add_up(self) -> None:
        for order in self.orders.values():
            fills = [
                f
                for f in self.fills
                if (f.account_id, f.client_order_id) == (order.account_id, order.client_order_id)
            ]
            assert order.filled == sum(f.quantity for f in fills) <= order.quantity
            assert order.fee == sum(f.fee for f in fills)
            assert order.hold == 0 or order.is_open
            assert order.leaves >= 0

    @invariant()
    def no_exit_is_left_behind_a_closed_position(self) -> None:
        for order in self.orders.values():
            if order.is_open and order.reduce_only and order.leaves:
                held = self.positions[order.account_id, order.contract].net_pos
                assert order.side.sign * held < 0

    def teardown(self) -> None:
        fresh = _fresh()
        again = [step for command in self.commands for step in command(fresh)]
        assert again == self.steps


def _fresh() -> Engine:
    engine = Engine(lambda _contract: MarketRules(MNQ))
    for account in ACCOUNTS:
        engine.restore(PaperAccount(id=account))
    return engine


def _applied(engine: Engine, step: Step) -> Step:
    engine.apply(step)
    return step


def _tried(engine: Engine, verb: Callable[[], Step]) -> list[Step]:
    try:
        return [_applied(engine, verb())]
    except BrokerRefused:
        return []


Paper.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestPaper = Paper.TestCase
