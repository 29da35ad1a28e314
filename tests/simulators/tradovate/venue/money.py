"""Positions, fill pairs, fees, cash and margin (reference 3.1 and 3.2)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from tests.simulators.tradovate.venue.library import MAINTENANCE_SHARE, USD, Contract
from tests.simulators.tradovate.venue.wire import Row
from tests.simulators.tradovate.venue.world import LiveOrder, World

ZERO = Decimal(0)
RISK_PERIOD = 1


@dataclass(slots=True)
class Lot:
    """Contracts that are not paired yet; ``qty`` is signed."""

    fill_id: int
    qty: int
    price: Decimal


@dataclass(slots=True)
class Pairing:
    """``qty`` contracts of an earlier fill closed by the newest one."""

    opening: Lot
    qty: int


@dataclass(slots=True)
class Holding:
    """One account's contracts of one kind, oldest lot first."""

    position_id: int
    contract: Contract
    lots: deque[Lot] = field(default_factory=deque)
    net: int = 0
    average: Decimal = ZERO

    def take(self, fill_id: int, qty: int, price: Decimal) -> list[Pairing]:
        """Book ``qty`` (signed) at ``price``: first against the oldest lots, then as a new one."""
        pairings, left = [], qty
        while left and self.lots and self.lots[0].qty * left < 0:
            lot = self.lots[0]
            paired = min(abs(lot.qty), abs(left))
            direction = 1 if lot.qty > 0 else -1
            pairings.append(Pairing(Lot(lot.fill_id, direction * paired, lot.price), paired))
            lot.qty -= direction * paired
            left += direction * paired
            if not lot.qty:
                self.lots.popleft()
        if left:
            opened = self.net if self.net * left > 0 else 0
            total = self.average * abs(opened) + price * abs(left)
            self.average = total / (abs(opened) + abs(left))
            self.lots.append(Lot(fill_id, left, price))
        self.net += qty
        return pairings

    @property
    def fifo_average(self) -> Decimal:
        return sum((lot.price * lot.qty for lot in self.lots), ZERO) / self.net

    def open_pnl(self, last: Decimal) -> Decimal:
        points = sum(((last - lot.price) * lot.qty for lot in self.lots), ZERO)
        return points * self.contract.product.value_per_point


@dataclass(slots=True)
class Purse:
    """USD. ``realized`` is gross of fees; ``amount`` has both in it."""

    balance_id: int
    amount: Decimal
    start_of_day: Decimal
    realized: Decimal = ZERO
    week_realized: Decimal = ZERO
    fees: Decimal = ZERO


class Ledger:
    """Everything that follows from a fill.

    Pairing is FIFO and pairs carry the prices of their fills. The world's ``average`` says what
    ``netPrice`` becomes after a partial close: ``fill_average`` keeps the average of everything
    that opened the position, ``fifo`` takes that of the lots left. The open P&L of the snapshot
    is that of the lots left in both, so that equity is conserved.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._holdings: dict[tuple[int, int], Holding] = {}
        self._of_account: dict[int, list[Holding]] = {}
        self._purses: dict[int, Purse] = {}

    def open_account(self, account_id: int, cash: Decimal) -> None:
        world = self._world
        row = world.add(
            "cashBalance", account_id, **self._cash_row(account_id, Purse(0, cash, cash))
        )
        self._purses[account_id] = Purse(row["id"], cash, cash)
        world.add("marginSnapshot", account_id, id=account_id, **self._margin_row(account_id))

    def net(self, account_id: int, contract_id: int) -> int:
        """Signed contracts held."""
        holding = self._holdings.get((account_id, contract_id))
        return holding.net if holding else 0

    def holdings(self, account_id: int) -> list[Holding]:
        return self._of_account.get(account_id, [])

    def purse(self, account_id: int) -> Purse:
        return self._purses[account_id]

    def book(self, order: LiveOrder, fill: Row) -> list[Pairing]:
        """Change the position by a fill; what it closed is for ``settle``."""
        world, contract = self._world, order.contract
        holding = self._holdings.get((order.account_id, contract.id))
        if holding is None:
            holding = self._first(order.account_id, contract)
        pairings = holding.take(fill["id"], order.sign * fill["qty"], fill["price"])
        row = world.store.get("position", holding.position_id)
        before = row or self._position_row(order.account_id, holding)
        side = "bought" if order.sign > 0 else "sold"
        changes: Row = {
            "timestamp": world.stamp(),
            "tradeDate": world.trade_date(),
            "netPos": holding.net,
            "netPrice": self._net_price(holding),
            side: before[side] + fill["qty"],
            f"{side}Value": before[f"{side}Value"] + fill["qty"] * fill["price"],
        }
        if row is not None:
            world.store.update("position", holding.position_id, **changes)
        else:
            given = {key: value for key, value in (before | changes).items() if value is not None}
            world.store.add("position", given, account_id=order.account_id)
        return pairings

    def settle(self, order: LiveOrder, fill: Row, pairings: list[Pairing]) -> None:
        """Fill pairs, fees, cash and margin after the position has changed."""
        world, purse = self._world, self._purses[order.account_id]
        for pairing in pairings:
            self._pair(order, fill, pairing, purse)
        if world.switches.charge_fees:
            self._charge(order, fill, purse)
        world.store.update(
            "cashBalance", purse.balance_id, **self._cash_row(order.account_id, purse)
        )
        world.store.update("marginSnapshot", order.account_id, **self._margin_row(order.account_id))

    def change_cash(self, account_id: int, delta: Decimal, comment: str | None = None) -> None:
        purse = self._purses[account_id]
        self._log(account_id, purse, "FundTransaction", delta, comment=comment)
        self._world.store.update(
            "cashBalance", purse.balance_id, **self._cash_row(account_id, purse)
        )

    def snapshot(self, account_id: int) -> Row:
        """The cash snapshot: netLiq = totalCashValue + openPnL."""
        purse, open_pnl = self._purses[account_id], self.open_pnl(account_id)
        margin = self.margin(account_id)
        row: Row = {
            "totalCashValue": purse.amount,
            "totalPnL": open_pnl + purse.realized,
            "initialMargin": margin,
            "maintenanceMargin": margin * MAINTENANCE_SHARE,
            "netLiq": purse.amount + open_pnl,
            "openPnL": open_pnl,
            "realizedPnL": purse.realized,
            "weekRealizedPnL": purse.week_realized,
        }
        if self._world.is_2026:
            row |= {
                "netLiqSOD": purse.start_of_day,
                "totalCashValueSOD": purse.start_of_day,
                "cashUSD": purse.amount,
                "cashSODUSD": purse.start_of_day,
                "fullInitialMargin": margin,
                "fullInitialMarginSOD": ZERO,
            }
        return row

    def open_pnl(self, account_id: int) -> Decimal:
        quotes = self._world.quotes
        return sum(
            (
                holding.open_pnl(quotes[holding.contract.id].last)
                for holding in self.holdings(account_id)
                if holding.net and holding.contract.id in quotes
            ),
            ZERO,
        )

    def margin(self, account_id: int) -> Decimal:
        return sum(
            (abs(h.net) * h.contract.product.margin for h in self.holdings(account_id)), ZERO
        )

    def roll(self, account_id: int, *, new_week: bool) -> None:
        """A new session: what is held becomes prevPos, the day's counters start at zero."""
        world, purse = self._world, self._purses[account_id]
        for holding in self.holdings(account_id):
            row = world.store.get("position", holding.position_id)
            if row is None:
                continue
            price = row.get("netPrice", row.get("prevPrice"))
            if not holding.net:
                world.store.archive("position", holding.position_id)
                continue
            world.store.update(
                "position",
                holding.position_id,
                tradeDate=world.trade_date(),
                prevPos=holding.net,
                prevPrice=price,
                netPrice=None,
                bought=0,
                sold=0,
                boughtValue=ZERO,
                soldValue=ZERO,
            )
        purse.realized = ZERO
        if new_week:
            purse.week_realized = ZERO
        purse.start_of_day = purse.amount
        self._log(account_id, purse, "NewSession", ZERO)
        world.store.update("cashBalance", purse.balance_id, **self._cash_row(account_id, purse))

    def _first(self, account_id: int, contract: Contract) -> Holding:
        holding = Holding(self._world.store.new_id(), contract)
        self._holdings[account_id, contract.id] = holding
        self._of_account.setdefault(account_id, []).append(holding)
        return holding

    def _position_row(self, account_id: int, holding: Holding) -> Row:
        return {
            "id": holding.position_id,
            "accountId": account_id,
            "contractId": holding.contract.id,
            "timestamp": self._world.stamp(),
            "tradeDate": self._world.trade_date(),
            "netPos": 0,
            "bought": 0,
            "boughtValue": ZERO,
            "sold": 0,
            "soldValue": ZERO,
            "prevPos": 0,
        }

    def _net_price(self, holding: Holding) -> Decimal | None:
        if not holding.net:
            return None
        return holding.fifo_average if self._world.average == "fifo" else holding.average

    def _pair(self, order: LiveOrder, fill: Row, pairing: Pairing, purse: Purse) -> None:
        world, opening = self._world, pairing.opening
        long = opening.qty > 0
        buy_id, sell_id = (opening.fill_id, fill["id"]) if long else (fill["id"], opening.fill_id)
        buy, sell = (opening.price, fill["price"]) if long else (fill["price"], opening.price)
        holding = self._holdings[order.account_id, order.contract.id]
        row = world.add(
            "fillPair",
            order.account_id,
            positionId=holding.position_id,
            buyFillId=buy_id,
            sellFillId=sell_id,
            qty=pairing.qty,
            buyPrice=buy,
            sellPrice=sell,
            active=True,
        )
        for fill_id in (buy_id, sell_id):
            paired = world.store.get("fill", fill_id)
            if paired is not None:
                count = paired["finallyPaired"] + pairing.qty
                world.store.update("fill", fill_id, finallyPaired=count)
        gain = (sell - buy) * pairing.qty * order.contract.product.value_per_point
        purse.realized += gain
        purse.week_realized += gain
        self._log(order.account_id, purse, "TradePaired", gain, fillPairId=row["id"])

    def _charge(self, order: LiveOrder, fill: Row, purse: Purse) -> None:
        fees, qty = order.contract.product.fees, fill["qty"]
        parts = (
            ("ClearingFee", "clearingFee", fees.clearing),
            ("ExchangeFee", "exchangeFee", fees.exchange),
            ("NfaFee", "nfaFee", fees.nfa),
            ("Commission", "commission", fees.commission),
        )
        row: Row = {"id": fill["id"]}
        for kind, name, each in parts:
            row[name], row[f"{name}CurrencyId"] = each * qty, USD
            purse.fees += each * qty
            self._log(order.account_id, purse, kind, -each * qty, fillId=fill["id"])
        if self._world.is_2026:
            self._world.add("fillFee", order.account_id, **row)

    def _log(
        self, account_id: int, purse: Purse, kind: str, delta: Decimal, **marks: object
    ) -> None:
        """One line of the cash log; the log is not streamed."""
        purse.amount += delta
        given = {key: value for key, value in marks.items() if value is not None}
        row = {**self._cash_row(account_id, purse), "cashChangeType": kind, "delta": delta, **given}
        self._world.store.add("cashBalanceLog", row, account_id=account_id, silent=True)

    def _cash_row(self, account_id: int, purse: Purse) -> Row:
        row: Row = {
            "accountId": account_id,
            "timestamp": self._world.stamp(),
            "tradeDate": self._world.trade_date(),
            "currencyId": USD,
            "amount": purse.amount,
            "realizedPnL": purse.realized,
            "weekRealizedPnL": purse.week_realized,
        }
        if self._world.is_2026:
            row["amountSOD"] = purse.start_of_day
        return row

    def _margin_row(self, account_id: int) -> Row:
        margin = self.margin(account_id)
        row: Row = {
            "timestamp": self._world.stamp(),
            "riskTimePeriodId": RISK_PERIOD,
            "initialMargin": margin,
            "maintenanceMargin": margin * MAINTENANCE_SHARE,
            "totalUsedMargin": margin,
            "fullInitialMargin": margin,
            "positionMargin": margin,
        }
        if self._world.is_2026:
            row["totalUsedFullMargin"] = margin
        return row
