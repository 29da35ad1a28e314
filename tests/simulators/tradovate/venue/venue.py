"""One world of the simulated broker: the parts joined, and what a test may do to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue.accounts import AccountDesk
from tests.simulators.tradovate.venue.contracts import ContractDesk
from tests.simulators.tradovate.venue.library import CLEARING_HOUSE, Library
from tests.simulators.tradovate.venue.lifecycle import Lifecycle
from tests.simulators.tradovate.venue.linkage import Linkage
from tests.simulators.tradovate.venue.matching import Matcher
from tests.simulators.tradovate.venue.money import Ledger
from tests.simulators.tradovate.venue.orders import OrderDesk
from tests.simulators.tradovate.venue.queries import Queries
from tests.simulators.tradovate.venue.schema import ADMIN_ACTIONS, FINAL
from tests.simulators.tradovate.venue.store import Listener, Store
from tests.simulators.tradovate.venue.strategies import StrategyDesk
from tests.simulators.tradovate.venue.switches import Switches
from tests.simulators.tradovate.venue.users import User
from tests.simulators.tradovate.venue.wire import Http, Refused, Row, Violated, deep, wire
from tests.simulators.tradovate.venue.world import (
    Account,
    LiveOrder,
    Quote,
    Tags,
    Terms,
    World,
    session_day,
)

SHAPES = ("2024", "2026")
AVERAGES = ("fill_average", "fifo")
FIRST_ID = 1_000
ONLY_2026 = frozenset({"order/dryrun", "order/liquidatepositions", "cashbalance/changedemobalance"})
LOCKING = "LockTradingImmediately"
FLATTENING = frozenset({"LiquidateImmediately", "AgreedOnLiquidationByAutoLiq"})
REDUCING = FLATTENING | {"LiquidateOnlyModeImmediately", "AgreedOnLiqOnlyModeByAutoLiq"}
OTHER_TERMINAL = 7
"""The sender of what was traded by hand."""


class Venue:
    """Accounts, orders, positions and money of one world ("demo" or "live").

    Synchronous and without a clock of its own. Give two worlds ``first_id`` far apart: all ids
    come from one counter, so that an id of one world does not exist in the other. ``shapes``
    is "2024" or "2026", ``average`` "fill_average" or "fifo" (see ``Ledger``).

    ``call`` answers JSON-ready values and raises ``Http`` for what is not a 200. ``on_event``
    is a list of callables ``(user_id, {"entityType", "eventType", "entity"})``, called in order
    for every change in an account that the user sees, before ``call`` returns.

    For tests: ``switches`` (see ``Switches``; ``switches.assign(name=value)``), ``set_price``,
    ``tick``, ``fill_order``, ``release_fills``, ``release_commands``, ``manual_trade``,
    ``manual_order``, ``manual_cancel``, ``set_risk``, ``set_limits``, ``close_account``,
    ``share_account``, ``change_cash``, ``session_roll``, ``archive``, ``account_of``, ``book``.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        shapes: str = "2026",
        average: str = "fill_average",
        seed: int = 1,
        first_id: int = FIRST_ID,
    ) -> None:
        if shapes not in SHAPES or average not in AVERAGES:
            raise ValueError(f"unknown shapes or average: {shapes}, {average}")
        self.now = now
        self.shapes = shapes
        self.switches = Switches()
        self.users: dict[int, User] = {}
        self._random = random.Random(seed)
        self._store = Store(first_id)
        self.on_event: list[Listener] = self._store.listeners
        self.library = Library(self._store, now())
        self._world = World(now, self._store, self.library, self.switches, shapes, average)
        self._ledger = Ledger(self._world)
        self._lifecycle = Lifecycle(self._world, self._ledger)
        self._matcher = Matcher(self._world, self._lifecycle)
        Linkage(self._world, self._lifecycle)
        self._desk = OrderDesk(self._world, self._lifecycle, self._matcher, self._ledger)
        self._strategies = StrategyDesk(self._world, self._lifecycle, self._matcher, self._desk)
        self._queries = Queries(self._world)
        self._verbs: dict[str, Callable[[int, Any], Any]] = {
            **self._desk.verbs,
            **self._strategies.verbs,
            **AccountDesk(self._world, self._ledger, self._desk).verbs,
            **ContractDesk(self._world).verbs,
        }

    def add_user(
        self, name: str, password: str, *, user_id: int | None = None, **more: Any
    ) -> User:
        """A login; ``more`` are further fields of ``User``."""
        user = User(user_id or self._store.new_id(), name, password, **more)
        self.users[user.id] = user
        self._store.add(
            "user",
            {
                "id": user.id,
                "name": name,
                "timestamp": self._world.stamp(),
                "email": user.email or f"{name}@example.com",
                "status": user.status,
            },
        )
        return user

    def add_account(
        self,
        user: User | int,
        name: str | None = None,
        cash: Decimal | str | int = "100000",
        *,
        account_id: int | None = None,
        max_order_qty: int | None = None,
        max_position: int | None = None,
    ) -> Row:
        """The Account entity of a new account that holds ``cash`` USD."""
        user_id = user if isinstance(user, int) else user.id
        account_id = account_id or self._store.new_id()
        self._store.watch(account_id, user_id)
        row: Row = {
            "id": account_id,
            "name": name or f"DEMO{account_id}",
            "userId": user_id,
            "accountType": "Customer",
            "clearingHouseId": CLEARING_HOUSE,
            "riskCategoryId": 5,
            "autoLiqProfileId": 1,
            "marginAccountType": "Speculator",
            "legalStatus": "Individual",
            "timestamp": self._world.stamp(),
        }
        row |= {"restricted": False, "closed": False} if self._world.is_2026 else {"active": True}
        self._store.add("account", row, account_id=account_id)
        self._world.accounts[account_id] = Account(
            account_id, row["name"], user_id, max_order_qty=max_order_qty, max_position=max_position
        )
        self._store.add(
            "accountRiskStatus", {"id": account_id, "adminAction": "Normal"}, account_id=account_id
        )
        self._ledger.open_account(account_id, Decimal(cash))
        return wire(row)

    def call(self, user_id: int, path: str, query: dict[str, str], body: Any = None) -> Any:
        """The answer to one request of a logged-in user; ``path`` like ``order/placeorder``.

        Raises:
            Http: anything but a 200.
        """
        path = path.strip("/").lower()
        verb = self._verbs.get(path)
        if verb is not None and path in ONLY_2026 and not self._world.is_2026:
            raise Http(404)
        if verb is None:
            return self._queries.answer(user_id, path, query)
        try:
            return deep(verb(user_id, body))
        except (Refused, Violated) as refusal:
            return refusal.as_row()

    def snapshot(
        self,
        user_id: int,
        *,
        accounts: Iterable[int] | None = None,
        users: Iterable[int] | None = None,
        entity_types: Iterable[str] | None = None,
    ) -> Row:
        """The arrays of reference 5.4. ``entity_types`` None means all, an empty list none.

        ``users`` and ``contractGroups`` are always there. Of the library, only what orders and
        positions refer to.
        """
        return self._queries.snapshot(user_id, accounts, users, entity_types)

    def set_price(
        self,
        contract_name: str,
        bid: Decimal | str | float,
        ask: Decimal | str | float | None = None,
        last: Decimal | str | float | None = None,
    ) -> None:
        """Quote a contract and match against it. ``ask`` defaults to the bid.

        ``last`` defaults to the last trade so far, kept between bid and ask. Raises ValueError
        for an unknown contract, a price off the tick grid or a crossed quote.
        """
        contract = self.library.find(contract_name)
        if contract is None:
            raise ValueError(f"unknown contract {contract_name}")
        low = Decimal(str(bid))
        high = low if ask is None else Decimal(str(ask))
        old = self._world.quotes.get(contract.id)
        if last is not None:
            trade = Decimal(str(last))
        else:
            trade = low if old is None else min(max(old.last, low), high)
        if low > high or any(price % contract.tick for price in (low, high, trade)):
            raise ValueError(f"not a quote of {contract_name}: {low} / {high}, last {trade}")
        self._world.quotes[contract.id] = Quote(low, high, trade)
        self._matcher.price_changed(contract.id)

    def quote(self, contract: str) -> dict[str, Decimal] | None:
        """``bid``, ``ask`` and ``last`` of a contract by name, or None when never quoted."""
        found = self.library.find(contract)
        quote = self._world.quotes.get(found.id) if found else None
        return {"bid": quote.bid, "ask": quote.ask, "last": quote.last} if quote else None

    def account_of(self, entity: str, row_id: int) -> int | None:
        """The account that a row belongs to; None for the library and for users."""
        return self._store.account_of(entity, row_id)

    def order(self, order_id: int) -> Row:
        """One order as ``book`` shows it, archived or not. Raises KeyError for an unknown id."""
        return self._order_row(self._world.orders[order_id])

    def open_pnl(self, account_id: int, contract_id: int) -> Decimal:
        """USD of one position at the last price; 0 when flat or never quoted."""
        quote = self._world.quotes.get(contract_id)
        held = (h for h in self._ledger.holdings(account_id) if h.contract.id == contract_id)
        return sum((h.open_pnl(quote.last) for h in held if quote), Decimal(0))

    def fill_order(
        self,
        order_id: int,
        qty: int | None = None,
        price: Decimal | str | float | None = None,
    ) -> None:
        """Fill a resting order now, held or not, at its own price unless one is given.

        Raises ValueError when it does not rest or there is no price.
        """
        order = self._world.orders[order_id]
        if not order.is_resting:
            raise ValueError(f"order {order_id} is {order.status}")
        self._matcher.force(order, qty, None if price is None else Decimal(str(price)))
        self._matcher.run()

    def release_fills(self) -> None:
        """Let everything that was held trade once, and stop holding."""
        self.switches.hold_fills = False
        self.switches.fill_market_orders = True
        for contract_id in list(self._world.quotes):
            self._matcher.price_changed(contract_id)

    def release_commands(self) -> None:
        """Carry out every cancel and modify that is pending."""
        for orders in list(self._world.resting.values()):
            for order in list(orders.values()):
                self._lifecycle.apply_pending(order)
        self._matcher.run()

    def tick(self) -> None:
        """One step of a random walk of every quote, and what is due by the clock."""
        self._run_due()
        for contract_id, quote in list(self._world.quotes.items()):
            contract = self.library.contract(contract_id)
            step = contract.tick * self._random.choice((-1, 0, 1))
            bid, ask = quote.bid + step, quote.ask + step
            self.set_price(contract.name, bid, ask, self._random.choice((bid, ask)))

    def manual_trade(self, account_id: int, contract: str, action: str, qty: int) -> int:
        """A market order of another terminal, filled whatever is held; its order id.

        Raises ValueError when the contract has no price yet.
        """
        if self.quote(contract) is None:
            raise ValueError(f"{contract} has no price")
        order = self._manual(account_id, contract, action, Terms("Market", qty))
        if not order.is_final:
            self._matcher.force(order, None, None)
            self._matcher.run()
        return order.id

    def manual_order(
        self,
        account_id: int,
        contract: str,
        action: str,
        qty: int,
        *,
        order_type: str = "Limit",
        price: Decimal | str | float | None = None,
        stop_price: Decimal | str | float | None = None,
    ) -> int:
        """An order of another terminal: another senderId, no clOrdId; its order id."""
        limit = None if price is None else Decimal(str(price))
        trigger = None if stop_price is None else Decimal(str(stop_price))
        terms = Terms(order_type, qty, price=limit, stop_price=trigger)
        return self._manual(account_id, contract, action, terms).id

    def manual_cancel(self, order_id: int) -> None:
        """A cancel from another terminal, carried out at once."""
        self._lifecycle.cancel(self._world.orders[order_id], Tags(OTHER_TERMINAL))
        self._matcher.run()

    def set_risk(self, account_id: int, admin_action: str) -> None:
        """What the broker's risk desk does; the liquidating ones flatten at once."""
        if admin_action not in ADMIN_ACTIONS:
            raise ValueError(f"unknown admin action {admin_action}")
        account, stamp = self._world.accounts[account_id], self._world.stamp()
        if admin_action in FLATTENING:
            self._desk.flatten_account(account)
        account.locked = admin_action == LOCKING
        account.liquidate_only = admin_action in REDUCING
        self._store.update(
            "accountRiskStatus",
            account_id,
            adminAction=admin_action,
            adminTimestamp=stamp,
            liquidateOnly=stamp if account.liquidate_only else None,
        )

    def set_limits(
        self,
        account_id: int,
        *,
        max_order_qty: int | None = None,
        max_position: int | None = None,
    ) -> None:
        """Contracts per order and held per contract; None: no limit."""
        account = self._world.accounts[account_id]
        account.max_order_qty, account.max_position = max_order_qty, max_position

    def close_account(self, account_id: int) -> None:
        self._world.accounts[account_id].closed = True
        flag: Row = {"closed": True} if self._world.is_2026 else {"active": False}
        self._store.update("account", account_id, **flag)

    def share_account(self, account_id: int, user: User | int) -> None:
        """Let another user see and trade an account."""
        self._store.watch(account_id, user if isinstance(user, int) else user.id)

    def change_cash(self, account_id: int, delta: Decimal | str | int) -> None:
        """Deposit or withdraw USD."""
        self._ledger.change_cash(account_id, Decimal(delta))

    def session_roll(self, *, new_week: bool | None = None) -> None:
        """A session ends: day orders expire, lists empty, netPos becomes prevPos.

        ``new_week`` defaults to whether the session that begins is Monday's.
        """
        self._run_due()
        for order in list(self._world.orders.values()):
            if not order.is_final and order.terms.time_in_force == "Day":
                self._lifecycle.expire(order)
        self.archive()
        if new_week is None:
            new_week = session_day(self.now()).weekday() == 0
        for account_id in self._world.accounts:
            self._ledger.roll(account_id, new_week=new_week)
        self.library.refresh(self.now())

    def archive(self) -> None:
        """Finished orders with all their rows, and all fills, leave every answer."""
        store = self._store
        for entity in ("fillFee", "fillPair", "fill"):
            for row in list(store.rows(entity)):
                store.archive(entity, row["id"])
        for row in list(store.rows("order")):
            if row["ordStatus"] in FINAL:
                self._archive_order(row["id"])
        for row in list(store.rows("orderStrategy")):
            if row["status"] != "ActiveStrategy":
                for child in list(store.of_master("orderStrategyLink", row["id"])):
                    store.archive("orderStrategyLink", child["id"])
                store.archive("orderStrategy", row["id"])

    def book(self) -> Row:
        """Everything for comparison by tests, archived or not, JSON-ready.

        ``orders`` (with status, terms, filled, avgPrice, marks and links joined), ``fills`` (with
        accountId), ``positions``, ``working`` (account id -> ids of orders not final) and
        ``cash`` (account id -> amount, realizedPnL, fees).
        """
        orders = list(self._world.orders.values())
        working: dict[int, list[int]] = {each: [] for each in self._world.accounts}
        for order in orders:
            if not order.is_final:
                working[order.account_id].append(order.id)
        return {
            "orders": [self._order_row(order) for order in orders],
            "fills": [self._fill_row(row) for row in self._fills()],
            "positions": [
                wire(self._store.get("position", holding.position_id) or {})
                | {"contract": holding.contract.name, "netPos": holding.net}
                for account_id in self._world.accounts
                for holding in self._ledger.holdings(account_id)
            ],
            "working": working,
            "cash": {each: self._cash(each) for each in self._world.accounts},
        }

    def _run_due(self) -> None:
        """Delayed commands whose time has come, and orders whose time is over."""
        now = self.now()
        due = [action for moment, action in self._desk.delayed if moment <= now]
        self._desk.delayed = [each for each in self._desk.delayed if each[0] > now]
        for action in due:
            action()
        for orders in list(self._world.resting.values()):
            for order in list(orders.values()):
                expires = order.terms.expire_time
                if order.terms.time_in_force == "GTD" and expires and expires <= now:
                    self._lifecycle.expire(order)
        self._matcher.run()

    def _manual(self, account_id: int, name: str, action: str, terms: Terms) -> LiveOrder:
        contract = self.library.find(name)
        if contract is None:
            raise ValueError(f"unknown contract {name}")
        tags = Tags(OTHER_TERMINAL)
        order = self._lifecycle.open(account_id, contract, action, terms, tags)
        self._lifecycle.accept(order)
        self._matcher.run()
        return order

    def _archive_order(self, order_id: int) -> None:
        store = self._store
        for command in list(store.of_master("command", order_id)):
            for entity in ("commandReport", "executionReport"):
                for row in list(store.of_master(entity, command["id"])):
                    store.archive(entity, row["id"])
            store.archive("command", command["id"])
        for version in list(store.of_master("orderVersion", order_id)):
            store.archive("orderVersion", version["id"])
        store.archive("order", order_id)

    def _order_row(self, order: LiveOrder) -> Row:
        return wire(
            {
                **order.terms.as_row(),
                "id": order.id,
                "accountId": order.account_id,
                "contract": order.contract.name,
                "action": order.action,
                "status": order.status,
                "filled": order.filled,
                "avgPrice": order.value / order.filled if order.filled else None,
                "clOrdId": order.tags.cl_ord_id,
                "customTag50": order.tags.custom_tag,
                "isAutomated": order.tags.is_automated,
                "senderId": order.tags.sender_id,
                "parentId": order.links.get("parentId"),
                "ocoId": order.links.get("ocoId"),
                "strategyId": order.strategy_id,
            }
        )

    def _fills(self) -> Iterable[Row]:
        yield from self._store.archived["fill"].values()
        yield from self._store.rows("fill")

    def _fill_row(self, row: Row) -> Row:
        order = self._world.orders[row["orderId"]]
        return wire(row) | {"accountId": order.account_id, "contract": order.contract.name}

    def _cash(self, account_id: int) -> Row:
        purse = self._ledger.purse(account_id)
        return wire({"amount": purse.amount, "realizedPnL": purse.realized, "fees": purse.fees})
