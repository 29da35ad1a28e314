"""What a log-in's accounts look like at the broker, put together from its separate rows.

An order is spread over Order, OrderVersion, Command, CommandReport and ExecutionReport; fills name
no account, and fees come apart from them (reference 3.2, 3.3). Rows come from the stream, from
lists and from answers, repeated and in any order: each is kept by its id, an older one never
replaces a newer one, and what is asked for is joined anew.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic

from app.brokers.tradovate import wire
from app.brokers.tradovate.errors import reason_words
from app.brokers.tradovate.frames import Change, entities
from app.brokers.tradovate.wire import Entity
from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    OrderRole,
    OrderStatus,
    OrderType,
    SoughtOrder,
)

log = logging.getLogger(__name__)

_FEES = (
    "clearingFee",
    "exchangeFee",
    "nfaFee",
    "brokerageFee",
    "ipFee",
    "commission",
    "orderRoutingFee",
)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_MOST_EARLY = 1000
"""Reports of so many commands are kept until the command comes; it does within moments."""
_CLOCK_SKEW = timedelta(seconds=2)
"""How far the broker's clock may be behind ours when an order is matched by its time."""


@dataclass(slots=True)
class Touched:
    """What changed: orders and fills by the broker's ids, positions by (account, contract), money
    by account."""

    orders: set[int] = field(default_factory=set)
    fills: set[int] = field(default_factory=set)
    positions: set[tuple[int, int]] = field(default_factory=set)
    balances: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.orders or self.fills or self.positions or self.balances)

    def __len__(self) -> int:
        return len(self.orders) + len(self.fills) + len(self.positions) + len(self.balances)

    def add(self, other: Touched) -> None:
        self.orders |= other.orders
        self.fills |= other.fills
        self.positions |= other.positions
        self.balances |= other.balances


@dataclass(slots=True)
class _Order:
    """The rows of one order, by id."""

    id: int
    row: Entity | None = None
    versions: dict[int, Entity] = field(default_factory=dict)
    commands: dict[int, Entity] = field(default_factory=dict)
    reports: dict[int, Entity] = field(default_factory=dict)
    executions: dict[int, Entity] = field(default_factory=dict)
    fills: dict[int, Entity] = field(default_factory=dict)
    strategy_id: int | None = None
    parent_id: int | None = None
    """Whose leg it is, by its row or by the answer to our own call."""
    claimed: str | None = None
    """Our id of it, as the answer to our own call told it."""
    client_order_id: str | None = None
    is_examined: bool = False
    """Its commands were asked for, so that one without an id of ours is not ours."""
    is_explained: bool = False
    told: BrokerOrder | None = None
    """As it was told last; the same is not told again."""

    @property
    def account(self) -> int | None:
        return wire.integer(self.row.get("accountId")) if self.row else None

    @property
    def status(self) -> str:
        return str(self.row.get("ordStatus")) if self.row else ""

    @property
    def is_final(self) -> bool:
        return self.status in wire.FINAL

    @property
    def terms(self) -> Entity | None:
        """The version that counts: the newest."""
        return self.versions[max(self.versions)] if self.versions else None

    @property
    def traded(self) -> list[Entity]:
        """Its fills without those that the exchange took back."""
        return [fill for fill in self.fills.values() if fill.get("active") is not False]

    @property
    def filled(self) -> Decimal:
        """By its fills or by its execution reports, whichever know more."""
        by_fills = sum((_number(fill, "qty") for fill in self.traded), Decimal(0))
        told = (_number(report, "cumQty") for report in self.executions.values())
        return max(by_fills, *told, Decimal(0))

    @property
    def at(self) -> datetime:
        """The newest instant of any of its rows."""
        own = [self.row] if self.row else []
        rows = (*own, *self.commands.values(), *self.reports.values())
        return max((_at(row) for row in (*rows, *self.executions.values())), default=_EARLIEST)


@dataclass(slots=True)
class _Position:
    row: Entity
    seen: float
    """``monotonic`` of when the row came."""
    told: Decimal | None = None
    """The last net position that was told; a flat one is told once."""


class Mirror:
    """One log-in's orders, fills, positions and money.

    ``name_of`` knows contracts by id, ``learn`` takes what is found out about one; what names no
    known contract is held back until its name is known (``unnamed``).
    """

    def __init__(
        self,
        name_of: Callable[[int], str | None],
        learn: Callable[[int, str], None] = lambda _id, _name: None,
    ) -> None:
        self._name_of = name_of
        self._learn = learn
        self.accounts: dict[int, Entity] = {}
        self.tells_ids: bool | None = None
        """Whether the broker gives back the ids that we send: orders of ours have proved or
        refuted it. None: not known yet."""
        self._orders: dict[int, _Order] = {}
        self._of_account: defaultdict[int, set[int]] = defaultdict(set)
        self._children: defaultdict[int, set[int]] = defaultdict(set)
        self._order_of_command: dict[int, int] = {}
        self._early_reports: defaultdict[int, dict[int, Entity]] = defaultdict(dict)
        self._order_of_fill: dict[int, int] = {}
        self._fees: dict[int, Entity] = {}
        self._strategies: dict[int, Entity] = {}
        self._of_strategy: defaultdict[int, set[int]] = defaultdict(set)
        self._owners: dict[str, int] = {}
        self._doubles: defaultdict[int, set[int]] = defaultdict(set)
        self._leg_ids: dict[str, tuple[str | None, str | None]] = {}
        self._contract_claims: dict[int, str] = {}
        self._positions: dict[tuple[int, int], _Position] = {}
        self._cash: dict[int, Entity] = {}
        self._margin: dict[int, Entity] = {}
        self._open_pnl: dict[int, Decimal] = {}
        self._last_prices: dict[int, tuple[datetime, Decimal]] = {}
        self._expecting: defaultdict[int, int] = defaultdict(int)
        self._complained: set[str] = set()
        self._takers: dict[str, Callable[[Entity, Touched], None]] = {
            "account": self._take_account,
            "order": self._take_order,
            "orderVersion": self._take_version,
            "command": self._take_command,
            "commandReport": self._take_report,
            "executionReport": self._take_execution,
            "fill": self._take_fill,
            "fillFee": self._take_fee,
            "orderStrategy": self._take_strategy,
            "orderStrategyLink": self._take_link,
            "position": self._take_position,
            "cashBalance": self._take_cash,
            "marginSnapshot": self._take_margin,
            "contract": self._take_contract,
        }

    # What comes in

    def apply(self, changes: Iterable[Change]) -> Touched:
        """Take in changes of the stream. Rows that are deleted there are archived, not undone."""
        touched = Touched()
        for kind, event, row in changes:
            if event != "Deleted":
                self._take(kind, row, touched)
        self._identify(touched)
        return touched

    def take(self, kind: str, rows: Iterable[Entity]) -> Touched:
        """Take in rows of one kind, from a list or an answer."""
        return self.apply((kind, "Updated", row) for row in rows)

    def take_snapshot(self, parts: Iterable[object]) -> Touched:
        """Take in the parts of the answer to ``user/syncrequest``."""
        return self.apply(change for part in parts for change in entities(part))

    def claim(
        self,
        order_id: int,
        client_order_id: str,
        contract: str | None = None,
        *,
        leg_of: int | None = None,
    ) -> Touched:
        """The broker has answered that its order ``order_id`` is our ``client_order_id``."""
        order = self._order(order_id)
        order.claimed = client_order_id
        self._set_parent(order, leg_of)
        if contract is not None:
            self._contract_claims[order_id] = contract
            self._learn_contract(order)
        touched = Touched(orders={order_id})
        self._identify(touched)
        return touched

    def remember_legs(self, entry: str, target: str | None, stop: str | None) -> None:
        """Our ids of the legs of the entry ``entry``, for those that the broker gives no id."""
        self._leg_ids[entry] = (target, stop)

    def examined(self, order_ids: Iterable[int]) -> Touched:
        """The commands of these orders were read, so that nothing more will tell whose they
        are."""
        touched = Touched()
        for order_id in order_ids:
            order = self._orders.get(order_id)
            if order is None or order.is_examined or self._expecting.get(order.account or 0):
                continue
            if order.versions:
                order.is_examined = True
                touched.orders.add(order_id)
        self._identify(touched)
        return touched

    @contextmanager
    def expecting(self, account: int) -> Iterator[Touched]:
        """While an order strategy is being started its orders exist before anything tells whose
        they are: what nobody owns on the account is held back. Gives what is to be told then."""
        self._expecting[account] += 1
        touched = Touched()
        try:
            yield touched
        finally:
            self._expecting[account] -= 1
            held = {o for o in self._of_account[account] if not self._orders[o].is_explained}
            touched.orders |= held
            self._identify(touched)

    def note_open_pnl(self, account: int, amount: Decimal) -> None:
        self._open_pnl[account] = amount

    def close_missing(self, account: int, rows: Iterable[Entity], began: float) -> Touched:
        """Positions of a visible account that a list does not have are flat; those that came to
        be known after the list was asked for (``began``, monotonic) are not meant."""
        listed = {wire.integer(row.get("contractId")) for row in rows}
        touched = Touched()
        for key, position in self._positions.items():
            is_meant = key[0] == account and key[1] not in listed and position.seen < began
            if is_meant and _number(position.row, "netPos"):
                position.row = {**position.row, "netPos": 0}
                touched.positions.add(key)
        return touched

    def forget(self, order_ids: Iterable[int]) -> None:
        """Let go of orders with all their rows."""
        for order_id in order_ids:
            order = self._orders.pop(order_id, None)
            if order is None:
                continue
            for command_id in order.commands:
                self._order_of_command.pop(command_id, None)
            for fill_id in order.fills:
                self._order_of_fill.pop(fill_id, None)
                self._fees.pop(fill_id, None)
            if order.client_order_id and self._owners.get(order.client_order_id) == order_id:
                self._owners.pop(order.client_order_id)
                self._leg_ids.pop(order.client_order_id, None)
            self._of_account[order.account or 0].discard(order_id)
            self._contract_claims.pop(order_id, None)
            self._children.pop(order_id, None)
            self._doubles.pop(order_id, None)
            self._forget_link(order)

    def _forget_link(self, order: _Order) -> None:
        strategy_id = order.strategy_id or 0
        left = self._of_strategy.get(strategy_id, set()) - {order.id}
        if left:
            self._of_strategy[strategy_id] = left
        else:
            self._of_strategy.pop(strategy_id, None)
            self._strategies.pop(strategy_id, None)

    # What is known

    def find(self, account: int, client_order_id: str) -> int | None:
        """The broker's id of our order."""
        order_id = self._owners.get(client_order_id)
        if order_id is None:
            return None
        known = self._orders[order_id].account
        return order_id if known in (None, account) else None

    def knows(self, order_id: int) -> bool:
        order = self._orders.get(order_id)
        return order is not None and order.row is not None

    def order(self, order_id: int) -> BrokerOrder | None:
        """The order as it is; None while something of it is not known."""
        order = self._orders.get(order_id)
        return self._joined(order) if order is not None else None

    def fills_of(self, order_ids: Iterable[int]) -> tuple[BrokerFill, ...]:
        known = (self._orders[i] for i in order_ids if i in self._orders)
        fills = (self._fill(o, row) for o in known for row in o.fills.values())
        return tuple(sorted(filter(None, fills), key=_order_of_time))

    def report_of(self, order_ids: Iterable[int]) -> BrokerReport:
        """These orders with all their fills."""
        ids = list(order_ids)
        orders = tuple(filter(None, map(self.order, ids)))
        return BrokerReport(orders, self.fills_of(ids))

    def fills(self, account: int, since: datetime | None = None) -> list[BrokerFill]:
        """Oldest first."""
        found = self.fills_of(self._of_account.get(account, ()))
        return [fill for fill in found if since is None or fill.at >= since]

    def open_orders(self, account: int) -> list[BrokerOrder]:
        """Everything that may still fill, oldest first."""
        return list(filter(None, map(self.order, sorted(self.open_ids(account)))))

    def open_ids(self, account: int) -> set[int]:
        """As the broker has them, whether or not they could be told."""
        ids = self._of_account.get(account, ())
        return {i for i in ids if not self._orders[i].is_final}

    def positions(self, account: int) -> list[BrokerPosition]:
        """What is not flat."""
        held = (self._position(key) for key in self._positions if key[0] == account)
        return [position for position in held if position is not None and position.net_pos]

    def net_pos(self, account: int, contract: str) -> Decimal:
        return sum((p.net_pos for p in self.positions(account) if p.contract == contract), _ZERO)

    def held_contracts(self, account: int) -> dict[int, Decimal]:
        """Net positions that are not flat by the broker's contract id."""
        held = {
            contract: _number(position.row, "netPos")
            for (of, contract), position in self._positions.items()
            if of == account
        }
        return {contract: net for contract, net in held.items() if net}

    def balance(self, account: int) -> BrokerBalance | None:
        """None: nothing is known of its money. ``equity`` is as old as the last open P&L that
        the broker gave; without a position it is the cash."""
        row = self._cash.get(account)
        cash = wire.decimal(row.get("amount")) if row else None
        if row is None or cash is None:
            return None
        margin = self._margin.get(account, {})
        open_pnl = self._open_pnl.get(account, _ZERO) if self.held_contracts(account) else _ZERO
        return BrokerBalance(
            currency=wire.currency_of(row.get("currencyId")),
            cash=cash,
            reserved=_number(margin, "totalUsedMargin"),
            equity=cash + open_pnl,
            realized_today=wire.decimal(row.get("realizedPnL")),
            at=wire.instant(row.get("timestamp")),
        )

    def last_price(self, contract: str, since: datetime) -> Decimal | None:
        """The price of the newest fill of a contract on any account of the log-in."""
        for contract_id, (at, price) in self._last_prices.items():
            if at >= since and self._name_of(contract_id) == contract:
                return price
        return None

    def unnamed(self) -> set[int]:
        """Contracts that something is about and whose names are not known."""
        orders = (wire.integer(o.row.get("contractId")) for o in self._orders.values() if o.row)
        ids = {*orders, *(contract for _, contract in self._positions)}
        return {i for i in ids if i is not None and self._name_of(i) is None}

    def about_contracts(self, contract_ids: set[int]) -> Touched:
        """What can be told now that these contracts have names."""
        touched = Touched()
        for order in self._orders.values():
            if order.row and wire.integer(order.row.get("contractId")) in contract_ids:
                touched.orders.add(order.id)
                touched.fills |= order.fills.keys()
        touched.positions = {key for key in self._positions if key[1] in contract_ids}
        self._identify(touched)
        return touched

    def is_pending(self, order_id: int) -> bool:
        """Whether nothing is known yet of what the broker decided about it."""
        order = self._orders.get(order_id)
        return order is None or order.status in ("", "PendingNew") or not order.versions

    def is_over(self, order_id: int) -> bool:
        """Whether it has ended and its fills are all here."""
        order = self._orders.get(order_id)
        if order is None or not order.is_final or order.terms is None:
            return False
        told = sum((_number(fill, "qty") for fill in order.traded), _ZERO)
        wanted = _number(order.terms, "orderQty") if order.status == "Filled" else order.filled
        return told >= wanted

    def has_fees(self, order_id: int) -> bool:
        order = self._orders.get(order_id)
        return order is not None and all(fill in self._fees for fill in order.fills)

    def terms(self, order_id: int) -> Entity | None:
        order = self._orders.get(order_id)
        return order.terms if order else None

    def status(self, order_id: int) -> str:
        """The broker's word; empty: not known."""
        order = self._orders.get(order_id)
        return order.status if order else ""

    def contract_of(self, order_id: int) -> int:
        """The broker's id of its contract; 0: not known."""
        order = self._orders.get(order_id)
        return wire.integer((order.row or {}).get("contractId")) or 0 if order else 0

    def is_leg(self, order_id: int) -> bool:
        order = self._orders.get(order_id)
        return order is not None and self._role(order) is not None

    def command_refusal(self, order_id: int, command_id: int) -> str | None:
        """Why the broker refused a command after it had taken it; None: it did not."""
        order = self._orders.get(order_id)
        if order is None:
            return None
        return _refusal(order, {command_id})

    def legs_of(self, entry_id: int) -> set[int]:
        """The bracket legs of an entry, however they are linked to it."""
        entry = self._orders.get(entry_id)
        linked = set(self._children.get(entry_id, ()))
        if entry is not None and entry.strategy_id is not None:
            linked |= self._of_strategy[entry.strategy_id]
        linked.discard(entry_id)
        return {i for i in linked if i in self._orders}

    def orders_of_strategy(self, strategy_id: int) -> set[int]:
        return set(self._of_strategy.get(strategy_id, ()))

    def entry_of_strategy(self, strategy_id: int) -> int | None:
        """Its order on the strategy's own side; None: not known yet."""
        strategy = self._strategies.get(strategy_id)
        ids = sorted(self._of_strategy.get(strategy_id, ()))
        orders = (self._orders[i] for i in ids if i in self._orders)
        return next((o.id for o in orders if strategy and _same_action(o, strategy)), None)

    def strategy(self, strategy_id: int) -> Entity | None:
        return self._strategies.get(strategy_id)

    def strategy_named(self, uuid: str) -> int | None:
        named = (i for i, row in sorted(self._strategies.items()) if row.get("uuid") == uuid)
        return next(named, None)

    def unexplained(self, account: int | None = None) -> list[int]:
        """Orders whose terms or whose owner are not known yet, oldest first."""
        ids = self._orders if account is None else self._of_account.get(account, ())
        orders = (self._orders[i] for i in sorted(ids))
        return [o.id for o in orders if o.row is not None and not self._is_explained(o)]

    def without_commands(self, order_ids: Iterable[int]) -> list[int]:
        return [i for i in order_ids if i in self._orders and not self._orders[i].commands]

    def without_terms(self, order_ids: Iterable[int]) -> list[int]:
        return [i for i in order_ids if i in self._orders and not self._orders[i].versions]

    def nameless(self, order_ids: Iterable[int]) -> list[int]:
        """Those without an id of ours."""
        known = (self._orders[i] for i in order_ids if i in self._orders)
        return [order.id for order in known if order.client_order_id is None]

    def without_fees(self, order_ids: Iterable[int] | None = None) -> list[int]:
        """Fills, of these orders or of all, whose fees are not known."""
        if order_ids is None:
            return [i for i in self._order_of_fill if i not in self._fees]
        known = (self._orders[i] for i in order_ids if i in self._orders)
        return [i for order in known for i in order.fills if i not in self._fees]

    def refused_commands(self, order_id: int) -> list[int]:
        """Commands that were refused for a reason that is not known yet."""
        order = self._orders.get(order_id)
        if order is None:
            return []
        explained = {wire.integer(row.get("commandId")) for row in order.reports.values()}
        is_rejected = order.status == "Rejected"
        return [
            i
            for i, command in order.commands.items()
            if i not in explained
            and (is_rejected or command.get("commandStatus") in wire.REJECTED_COMMAND)
        ]

    def resembling(self, account: int, sought: SoughtOrder) -> int | None:
        """The oldest order that nobody claims and that is like the one sought: for brokers'
        answers that carry no id of ours."""
        for order_id in sorted(self._of_account.get(account, ())):
            order = self._orders[order_id]
            if str(order_id) in sought.taken or order.client_order_id is not None:
                continue
            if self._resembles(order, sought):
                return order_id
        return None

    def told_now(self, touched: Touched) -> dict[int, BrokerReport]:
        """One report per account of what is touched; what cannot be told yet is left out, and is
        touched again when it can."""
        accounts = {self._orders[i].account for i in touched.orders if i in self._orders}
        accounts |= {self._account_of_fill(i) for i in touched.fills}
        accounts |= {account for account, _ in touched.positions} | touched.balances
        reports = {a: self._told(a, touched) for a in sorted(filter(None, accounts))}
        return {
            account: report
            for account, report in reports.items()
            if report.orders or report.fills or report.positions or report.balance
        }

    def untell(self, touched: Touched) -> None:
        """What was to be told was not, so that it is no repetition."""
        for key in touched.positions & self._positions.keys():
            self._positions[key].told = None
        for order_id in touched.orders & self._orders.keys():
            self._orders[order_id].told = None

    def complete(self, account: int, touched: Touched | None = None) -> BrokerReport:
        """Everything open on the account, and of what is touched also what has ended."""
        touched = touched or Touched()
        changed = self._told(account, touched)
        open_orders = self.open_orders(account)
        known = {order.broker_order_id for order in open_orders}
        held = self.positions(account)
        names = {position.contract for position in held}
        for key, position in self._positions.items():
            if key[0] == account:
                position.told = _number(position.row, "netPos")
        return BrokerReport(
            orders=(*(o for o in changed.orders if o.broker_order_id not in known), *open_orders),
            fills=changed.fills,
            positions=(*held, *(p for p in changed.positions if p.contract not in names)),
            balance=self.balance(account),
            is_complete=True,
        )

    def finished_before(self, instant: datetime) -> list[int]:
        return [o.id for o in self._orders.values() if o.is_final and o.at < instant]

    # Taking in, one kind each

    def _take(self, kind: str, row: Entity, touched: Touched) -> None:
        taker = self._takers.get(kind)
        if taker is None or wire.integer(row.get("id")) is None:
            return
        taker(row, touched)

    def _order(self, order_id: int) -> _Order:
        found = self._orders.get(order_id)
        if found is None:
            found = self._orders[order_id] = _Order(order_id)
        return found

    def _take_account(self, row: Entity, touched: Touched) -> None:
        del touched
        self.accounts[row["id"]] = row

    def _take_order(self, row: Entity, touched: Touched) -> None:
        order = self._order(row["id"])
        if order.row == row or (order.row is not None and not _is_newer_order(order.row, row)):
            return
        order.row = row
        account = wire.integer(row.get("accountId"))
        if account is not None:
            self._of_account[account].add(order.id)
        self._set_parent(order, wire.integer(row.get("parentId")))
        self._learn_contract(order)
        touched.orders.add(order.id)

    def _set_parent(self, order: _Order, parent_id: int | None) -> None:
        if parent_id is not None:
            order.parent_id = parent_id
            self._children[parent_id].add(order.id)

    def _take_version(self, row: Entity, touched: Touched) -> None:
        self._take_part(row, touched, "versions")

    def _take_command(self, row: Entity, touched: Touched) -> None:
        order_id, command_id = wire.integer(row.get("orderId")), row["id"]
        if order_id is None:
            return
        commands = self._order(order_id).commands
        known = commands.get(command_id)
        if known is not None and known.get("commandStatus") in wire.REJECTED_COMMAND:
            return
        self._take_part(row, touched, "commands")
        self._order_of_command[command_id] = order_id
        for report in self._early_reports.pop(command_id, {}).values():
            self._take_report(report, touched)

    def _take_report(self, row: Entity, touched: Touched) -> None:
        command_id = wire.integer(row.get("commandId"))
        if command_id is None:
            return
        order_id = self._order_of_command.get(command_id)
        if order_id is None:
            if len(self._early_reports) >= _MOST_EARLY:
                self._early_reports.clear()
            self._early_reports[command_id][row["id"]] = row
            return
        reports = self._order(order_id).reports
        if reports.get(row["id"]) != row:
            reports[row["id"]] = row
            touched.orders.add(order_id)

    def _take_execution(self, row: Entity, touched: Touched) -> None:
        self._take_part(row, touched, "executions")

    def _take_part(self, row: Entity, touched: Touched, part: str) -> None:
        order_id = wire.integer(row.get("orderId"))
        if order_id is None:
            return
        rows: dict[int, Entity] = getattr(self._order(order_id), part)
        if rows.get(row["id"]) != row:
            rows[row["id"]] = row
            touched.orders.add(order_id)

    def _take_fill(self, row: Entity, touched: Touched) -> None:
        order_id = wire.integer(row.get("orderId"))
        if order_id is None:
            return
        fills = self._order(order_id).fills
        known = fills.get(row["id"])
        if known is not None and all(known.get(k) == row.get(k) for k in _FILL_FIELDS):
            return
        fills[row["id"]] = row
        self._order_of_fill[row["id"]] = order_id
        touched.fills.add(row["id"])
        touched.orders.add(order_id)
        contract, price = wire.integer(row.get("contractId")), wire.decimal(row.get("price"))
        if contract is not None and price is not None:
            before = self._last_prices.get(contract, (_EARLIEST, price))
            self._last_prices[contract] = max(before, (_at(row), price))

    def _take_fee(self, row: Entity, touched: Touched) -> None:
        fill_id = wire.integer(row.get("fillId", row["id"]))
        if fill_id is not None and self._fees.get(fill_id) != row:
            self._fees[fill_id] = row
            if fill_id in self._order_of_fill:
                touched.fills.add(fill_id)

    def _take_strategy(self, row: Entity, touched: Touched) -> None:
        self._strategies[row["id"]] = row
        touched.orders |= self._of_strategy.get(row["id"], set())

    def _take_link(self, row: Entity, touched: Touched) -> None:
        order_id = wire.integer(row.get("orderId"))
        strategy_id = wire.integer(row.get("orderStrategyId"))
        if order_id is None or strategy_id is None:
            return
        self._order(order_id).strategy_id = strategy_id
        if order_id not in self._of_strategy[strategy_id]:
            self._of_strategy[strategy_id].add(order_id)
            touched.orders.add(order_id)

    def _take_position(self, row: Entity, touched: Touched) -> None:
        account, contract = wire.integer(row.get("accountId")), wire.integer(row.get("contractId"))
        if account is None or contract is None:
            return
        known = self._positions.get((account, contract))
        if known is None:
            self._positions[account, contract] = _Position(row, monotonic())
            if _number(row, "netPos"):
                touched.positions.add((account, contract))
            return
        if _at(row) < _at(known.row):
            return
        known.seen = monotonic()
        if known.row != row:
            known.row = row
            touched.positions.add((account, contract))

    def _take_cash(self, row: Entity, touched: Touched) -> None:
        self._take_money(self._cash, row, touched)

    def _take_margin(self, row: Entity, touched: Touched) -> None:
        # The schema has no account in it: the row's id is the account's (UNCONFIRMED).
        self._take_money(self._margin, {"accountId": row["id"], **row}, touched)

    def _take_money(self, known: dict[int, Entity], row: Entity, touched: Touched) -> None:
        account = wire.integer(row.get("accountId"))
        if account is None:
            return
        before = known.get(account)
        if before is None or (before != row and _at(row) >= _at(before)):
            known[account] = row
            touched.balances.add(account)

    def _take_contract(self, row: Entity, touched: Touched) -> None:
        name = row.get("name")
        if isinstance(name, str) and self._name_of(row["id"]) is None:
            self._learn(row["id"], name)
            touched.add(self.about_contracts({row["id"]}))

    def _learn_contract(self, order: _Order) -> None:
        name = self._contract_claims.get(order.id)
        contract = wire.integer(order.row.get("contractId")) if order.row else None
        if name is not None and contract is not None and self._name_of(contract) is None:
            self._learn(contract, name)

    # Whose order it is

    def _identify(self, touched: Touched) -> None:
        """Find out our ids of touched orders, and of those that are known by them."""
        waiting = set(touched.orders)
        while waiting:
            order = self._orders.get(waiting.pop())
            if order is None:
                continue
            before = order.client_order_id
            order.client_order_id, rival = self._own_id(order)
            is_new = order.client_order_id != before
            if rival is not None:
                # It was told as ours, and is to be told as somebody else's.
                rival.is_explained = False
                self._doubles[order.id].add(rival.id)
                doubles = {rival.id, *self._relatives(rival)}
                touched.orders |= doubles
                waiting |= doubles
            if is_new:
                relatives = self._relatives(order) - touched.orders
                touched.orders |= relatives
                waiting |= relatives
            if is_new or (not order.is_explained and self._is_explained(order)):
                touched.fills |= order.fills.keys()
                order.is_explained = self._is_explained(order)
                if order.is_explained:
                    # Until this one is told, its double passes for ours: it is told once more.
                    again = Touched(orders=self._doubles.pop(order.id, set()))
                    self.untell(again)
                    touched.add(again)

    def _relatives(self, order: _Order) -> set[int]:
        of_strategy = self._of_strategy.get(order.strategy_id or 0, set())
        return {i for i in self._children.get(order.id, set()) | of_strategy if i in self._orders}

    def _own_id(self, order: _Order) -> tuple[str | None, _Order | None]:
        """Our id of it, unless another order has that already: then it is a double, and not the
        one that we follow. With it, the order that has lost that id to this one."""
        given = _given_id(order)
        if order.claimed is not None and (order.versions and order.commands):
            self.tells_ids = given == order.claimed or bool(self.tells_ids)
        found = order.claimed or given or self._derived_id(order)
        if found is None:
            return None, None
        owner = self._orders.get(self._owners.get(found, order.id))
        if owner is None or owner is order:
            self._owners[found] = order.id
            return found, None
        if (order.claimed is None, order.id) < (owner.claimed is None, owner.id):
            self._owners[found] = order.id
            owner.client_order_id = None
            self._complain(f"double {owner.id}", "a second order with one id", owner.id)
            return found, owner
        self._complain(f"double {order.id}", "a second order with one id", order.id)
        return None, None

    def _derived_id(self, order: _Order) -> str | None:
        """By the strategy it belongs to, or by the entry whose leg it is."""
        strategy = self._strategies.get(order.strategy_id or 0)
        if strategy is not None and isinstance(strategy.get("uuid"), str):
            entry_id: str | None = strategy["uuid"]
            if _same_action(order, strategy):
                return entry_id
        else:
            parent = self._orders.get(order.parent_id or 0)
            entry_id = parent.client_order_id if parent is not None else None
        role = self._role(order)
        return None if entry_id is None or role is None else self._leg_id(entry_id, role)

    def _leg_id(self, entry_id: str, role: OrderRole) -> str | None:
        is_target = role is OrderRole.TAKE_PROFIT
        if entry_id in self._leg_ids:
            return self._leg_ids[entry_id][0 if is_target else 1]
        return f"{entry_id}-{'tp' if is_target else 'sl'}"

    def _role(self, order: _Order) -> OrderRole | None:
        """What a bracket's leg is for: the label of the link is not documented, its type says
        it."""
        if order.row is None or order.terms is None:
            return None
        strategy = self._strategies.get(order.strategy_id or 0)
        of_strategy = strategy is not None and not _same_action(order, strategy)
        if not of_strategy and order.parent_id is None:
            return None
        is_limit = wire.order_type_of(order.terms.get("orderType")) is OrderType.LIMIT
        return OrderRole.TAKE_PROFIT if is_limit else OrderRole.STOP_LOSS

    def _is_explained(self, order: _Order) -> bool:
        """Whether it can be told: its terms are known, and whose it is."""
        if order.row is None or not order.versions:
            return False
        if order.client_order_id is not None or order.is_examined:
            return True
        return bool(order.commands) and not self._expecting.get(order.account or 0)

    # Joining

    def _joined(self, order: _Order) -> BrokerOrder | None:
        row, terms = order.row, order.terms
        if row is None or terms is None or not self._is_explained(order):
            return None
        quantity = _number(terms, "orderQty")
        filled = max(order.filled, quantity if order.status == "Filled" else _ZERO)
        name = self._name_of(wire.integer(row.get("contractId")) or 0)
        side = wire.side_of(row.get("action"))
        kind = wire.order_type_of(terms.get("orderType"))
        is_leg = self._role(order) is not None
        status = wire.status_of(row.get("ordStatus"), quantity, filled, may_grow=is_leg)
        if side is None or kind is None:
            self._complain(f"words {order.id}", "an order in words that are not known", order.id)
            return None
        if name is None:
            return None
        limit, stop = _prices(kind, terms)
        return BrokerOrder(
            broker_order_id=str(order.id),
            client_order_id=order.client_order_id,
            contract=name,
            side=side,
            quantity=quantity,
            filled_quantity=filled,
            order_type=kind,
            status=status,
            limit_price=limit,
            stop_price=stop,
            avg_fill_price=_average(order, filled),
            reason=_reason(order, status),
            at=order.at,
            role=self._role(order),
        )

    def _fill(self, order: _Order, row: Entity) -> BrokerFill | None:
        name = self._name_of(wire.integer(row.get("contractId")) or 0)
        side, price = wire.side_of(row.get("action")), wire.decimal(row.get("price"))
        if name is None or side is None or price is None or not self._is_explained(order):
            return None
        fee = self._fees.get(row["id"], {})
        return BrokerFill(
            fill_id=str(row["id"]),
            client_order_id=order.client_order_id,
            broker_order_id=str(order.id),
            contract=name,
            side=side,
            quantity=_number(row, "qty"),
            price=price,
            fee=sum((_number(fee, name) for name in _FEES), _ZERO),
            at=_at(row),
            is_busted=row.get("active") is False,
        )

    def _position(self, key: tuple[int, int]) -> BrokerPosition | None:
        row, name = self._positions[key].row, self._name_of(key[1])
        if name is None:
            return None
        net_pos = _number(row, "netPos")
        price = wire.decimal(row.get("netPrice")) or wire.decimal(row.get("prevPrice"))
        return BrokerPosition(
            name, net_pos, price if net_pos else None, wire.instant(row.get("timestamp"))
        )

    def _told(self, account: int, touched: Touched) -> BrokerReport:
        ids = sorted(i for i in touched.orders if i in self._of_account.get(account, ()))
        fills = []
        for fill_id in touched.fills:
            order = self._orders.get(self._order_of_fill.get(fill_id, 0))
            row = order.fills.get(fill_id) if order else None
            if order is not None and row is not None and order.account == account:
                fills.append(self._fill(order, row))
        positions = (
            self._told_position(key) for key in sorted(touched.positions) if key[0] == account
        )
        return BrokerReport(
            orders=tuple(filter(None, map(self._told_order, ids))),
            fills=tuple(sorted(filter(None, fills), key=_order_of_time)),
            positions=tuple(filter(None, positions)),
            balance=self.balance(account) if account in touched.balances else None,
        )

    def _told_order(self, order_id: int) -> BrokerOrder | None:
        known = self.order(order_id)
        if known == self._orders[order_id].told:
            return None
        self._orders[order_id].told = known
        return known

    def _told_position(self, key: tuple[int, int]) -> BrokerPosition | None:
        position = self._position(key)
        if position is None or (not position.net_pos and self._positions[key].told == _ZERO):
            return None
        self._positions[key].told = position.net_pos
        return position

    def _account_of_fill(self, fill_id: int) -> int | None:
        order = self._orders.get(self._order_of_fill.get(fill_id, 0))
        return order.account if order else None

    def _resembles(self, order: _Order, sought: SoughtOrder) -> bool:
        row, terms = order.row, order.terms
        if row is None or terms is None or _at(row) < sought.sent_at - _CLOCK_SKEW:
            return False
        kind = wire.order_type_of(terms.get("orderType"))
        name = self._name_of(wire.integer(row.get("contractId")) or 0)
        if kind is None or (kind, name) != (sought.order_type, sought.contract):
            return False
        limit, stop = _prices(kind, terms)
        return (
            wire.side_of(row.get("action")) is sought.side
            and _number(terms, "orderQty") == sought.quantity
            and sought.limit_price in (None, limit)
            and sought.stop_price in (None, stop)
        )

    def _complain(self, key: str, words: str, order_id: int) -> None:
        """Once each."""
        if key not in self._complained:
            self._complained.add(key)
            log.error(words, extra={"broker_order_id": order_id})


_ZERO = Decimal(0)
_FILL_FIELDS = ("orderId", "contractId", "action", "qty", "price", "active", "timestamp")
"""What of a fill is ours to tell; ``finallyPaired`` changes afterwards."""


def _number(row: Entity, name: str) -> Decimal:
    return wire.decimal(row.get(name)) or _ZERO


def _at(row: Entity) -> datetime:
    return wire.instant(row.get("timestamp")) or _EARLIEST


def _order_of_time(fill: BrokerFill) -> tuple[datetime, int, str]:
    return fill.at, len(fill.fill_id), fill.fill_id


def _is_newer_order(known: Entity, row: Entity) -> bool:
    """An order does not come back from its end, nor become pending again; a fill may prove that a
    cancelled one was filled after all."""
    was, now = str(known.get("ordStatus")), str(row.get("ordStatus"))
    if was == "Filled" or (was in wire.FINAL and now not in wire.FINAL):
        return was == now
    if now == "PendingNew" and was not in ("PendingNew", "None"):
        return False
    return _at(row) >= _at(known)


def _same_action(order: _Order, strategy: Entity) -> bool:
    return order.row is not None and order.row.get("action") == strategy.get("action")


def _given_id(order: _Order) -> str | None:
    """The id that came with the order: on the command that made it, or as its text."""
    new = [c for _, c in sorted(order.commands.items()) if c.get("commandType") == "New"]
    named = next((c["clOrdId"] for c in new if c.get("clOrdId")), None)
    if named is None and order.versions:
        named = order.versions[min(order.versions)].get("text")
    return str(named) if named else None


def _prices(kind: OrderType, terms: Entity) -> tuple[Decimal | None, Decimal | None]:
    """Limit and trigger. Some pages put the trigger of a plain stop into ``price``."""
    limit, stop = wire.decimal(terms.get("price")), wire.decimal(terms.get("stopPrice"))
    if kind is OrderType.STOP:
        return None, stop if stop is not None else limit
    if kind is OrderType.LIMIT:
        touch = terms.get("limitIfTouchedPrice")
        return (limit if limit is not None else wire.decimal(touch) or stop), None
    return limit, stop


def _average(order: _Order, filled: Decimal) -> Decimal | None:
    fills = order.traded
    told = sum((_number(fill, "qty") for fill in fills), _ZERO)
    if told and told == filled:
        return sum((_number(f, "qty") * _number(f, "price") for f in fills), _ZERO) / told
    prices = [
        (_number(report, "cumQty"), wire.decimal(report.get("avgPx")))
        for report in order.executions.values()
    ]
    known = [(quantity, price) for quantity, price in prices if quantity and price is not None]
    return max(known)[1] if known else None


def _reason(order: _Order, status: OrderStatus) -> str | None:
    """Why it was rejected, or why its last change was not made."""
    changes = {i for i, c in order.commands.items() if c.get("commandType") == "Modify"}
    if status is OrderStatus.REJECTED:
        return _refusal(order, set(order.commands) - changes) or "The broker gave no reason."
    if status in (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED) and changes:
        refusal = _refusal(order, {max(changes)})
        return f"The change was refused: {refusal}" if refusal else None
    return None


def _refusal(order: _Order, command_ids: set[int]) -> str | None:
    """The broker's words about commands that it refused, newest first."""
    told = [*order.reports.values(), *order.executions.values()]
    for row in sorted(told, key=lambda row: (_at(row), int(row["id"])), reverse=True):
        is_meant = not command_ids or wire.integer(row.get("commandId")) in command_ids
        is_refused = row.get("commandStatus") in wire.REJECTED_COMMAND or (
            row.get("execType") == "Rejected"
        )
        if is_meant and is_refused:
            return reason_words(row.get("rejectReason"), row.get("text"))
    commands = (order.commands[i] for i in command_ids if i in order.commands)
    if any(c.get("commandStatus") in wire.REJECTED_COMMAND for c in commands):
        return reason_words(None)
    return None
