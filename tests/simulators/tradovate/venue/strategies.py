"""Server-side brackets: startorderstrategy and what becomes of its orders (reference 3.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue import validation as v
from tests.simulators.tradovate.venue.library import Contract
from tests.simulators.tradovate.venue.lifecycle import Lifecycle, link
from tests.simulators.tradovate.venue.matching import Matcher
from tests.simulators.tradovate.venue.orders import ACCOUNT, TERMS, OrderDesk, number
from tests.simulators.tradovate.venue.wire import ACCESS_DENIED, Http, Refused, Row
from tests.simulators.tradovate.venue.world import (
    AutoTrail,
    Group,
    LiveOrder,
    Tags,
    Terms,
    World,
)

MULTI_BRACKET = 2
INVALID = "Invalid or missed parameters"
NO_BREAKEVEN = "Stop and Stop/Limit breakeven supported only"
LASTING = frozenset({"Day", "GTC", "GTD"})
ACTIVE = "ActiveStrategy"
START = {
    **ACCOUNT,
    "symbol": v.must(v.TEXT),
    "orderStrategyTypeId": v.must(v.INTEGER),
    "action": v.must(v.ACTION),
    "params": v.PARAMS,
    "uuid": v.TEXT,
    "customTag50": v.TEXT,
    "isAutomated": v.BOOLEAN,
}
INTERRUPT = {"orderStrategyId": v.must(v.INTEGER)}
MODIFY = {"orderStrategyId": v.must(v.INTEGER), "command": v.must(v.COMMAND)}
ENTRY = {**TERMS, "orderQty": v.must(v.POSITIVE), "timeInForce": v.TIME_IN_FORCE}
BRACKET = {
    "qty": v.must(v.POSITIVE),
    "profitTarget": v.NUMBER,
    "stopLoss": v.NUMBER,
    "trailingStop": v.BOOLEAN,
    "autoTrail": v.OBJECT,
}
AUTO_TRAIL = {
    "stopLoss": v.must(v.NUMBER),
    "trigger": v.must(v.NUMBER),
    "freq": v.must(v.NUMBER),
}


@dataclass(frozen=True, slots=True)
class Bracket:
    """``target`` and ``stop`` are signed points from the entry."""

    qty: int
    target: Decimal | None
    stop: Decimal | None
    trails: bool
    auto_trail: AutoTrail | None


@dataclass(slots=True, eq=False)
class Strategy:
    id: int
    account_id: int
    entry: LiveOrder
    legs: list[LiveOrder] = field(default_factory=list)
    active: bool = True
    priced: bool = False
    """The legs' prices follow from a fill, no longer from a guess."""

    @property
    def orders(self) -> list[LiveOrder]:
        return [self.entry, *self.legs]


class StrategyDesk:
    """The strategy verbs, and the end of a strategy when its last order ends."""

    def __init__(
        self, world: World, lifecycle: Lifecycle, matcher: Matcher, desk: OrderDesk
    ) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._matcher = matcher
        self._desk = desk
        self.strategies: dict[int, Strategy] = {}
        # The legs get their prices before the linkage wakes them.
        lifecycle.on_filled.insert(0, self._filled)
        lifecycle.on_final.append(self._ended)
        self.verbs: dict[str, Callable[[int, Any], Row]] = {
            "orderstrategy/startorderstrategy": self.start,
            "orderstrategy/interruptorderstrategy": self.interrupt,
            "orderstrategy/modifyorderstrategy": self.modify,
        }

    def start(self, user_id: int, body: Any) -> Row:
        body = v.checked(body, self._desk.fields(START))
        try:
            return {"orderStrategy": self._start(user_id, body)}
        except Refused as refusal:
            return self._refusal(refusal)

    def interrupt(self, user_id: int, body: Any) -> Row:
        body = v.checked(body, INTERRUPT)
        strategy = self._own(user_id, body["orderStrategyId"])
        if not strategy.active:
            return self._refusal(Refused("TooLate", "Order strategy is not active"))
        row = self._stop(strategy, "ExecutionInterrupted")
        if not self._world.switches.interrupt_leaves_legs:
            for order in strategy.orders:
                self._lifecycle.cancel(order)
        self._matcher.run()
        return {"orderStrategy": row}

    def modify(self, user_id: int, body: Any) -> Row:
        """The grammar of ``command`` is not documented."""
        body = v.checked(body, MODIFY)
        self._own(user_id, body["orderStrategyId"])
        return self._refusal(Refused("Unsupported", "Unsupported command"))

    def _start(self, user_id: int, body: Row) -> Row:
        # The account comes first: its 401 and 404 do not depend on the parameters.
        self._desk.account(user_id, body["accountId"], body.get("accountSpec"))
        if body["orderStrategyTypeId"] != MULTI_BRACKET:
            raise Refused("Unsupported", "Unknown order strategy type")
        entry_body, brackets = self._parameters(body)
        account, contract, terms = self._desk.admit(
            user_id, {**entry_body, **{k: body[k] for k in ("accountId", "action", "symbol")}}
        )
        for bracket in brackets:
            _check_grid(bracket, contract)
        strategy_row = self._strategy_row(user_id, account.id, contract, body)
        tags = Tags(
            user_id,
            custom_tag=body.get("customTag50"),
            is_automated=body.get("isAutomated", False),
        )
        entry = self._lifecycle.open(account.id, contract, body["action"], terms, tags)
        strategy = Strategy(strategy_row["id"], account.id, entry)
        self.strategies[strategy.id] = strategy
        self._adopt(strategy, entry, "Entry")
        offset = 0
        for place, bracket in enumerate(brackets, start=1):
            self._open_bracket(strategy, bracket, offset, place)
            offset += bracket.qty
        self._desk.start_with_legs(entry)
        return strategy_row

    def _strategy_row(self, user_id: int, account_id: int, contract: Contract, body: Row) -> Row:
        given = {name: body[name] for name in ("uuid", "customTag50") if name in body}
        return self._world.add(
            "orderStrategy",
            account_id,
            accountId=account_id,
            timestamp=self._world.stamp(),
            contractId=contract.id,
            orderStrategyTypeId=MULTI_BRACKET,
            initiatorId=user_id,
            action=body["action"],
            params=body["params"],
            status=ACTIVE,
            senderId=user_id,
            userSessionId=user_id,
            **given,
        )

    def _parameters(self, body: Row) -> tuple[Row, list[Bracket]]:
        """The decoded ``params``. Raises Refused with the service's one text for all of them."""
        try:
            params = json.loads(body.get("params", ""), parse_float=Decimal)
        except ValueError:
            raise Refused("UnknownReason", INVALID) from None
        if not isinstance(params, dict):
            raise Refused("UnknownReason", INVALID)
        entry = _fitting(params.get("entryVersion"), self._desk.fields(ENTRY))
        brackets = params.get("brackets")
        if not isinstance(brackets, list) or not brackets:
            raise Refused("UnknownReason", INVALID)
        parsed = [self._bracket(each, body["action"]) for each in brackets]
        if sum(each.qty for each in parsed) != entry["orderQty"]:
            raise Refused("UnknownReason", INVALID)
        return entry, parsed

    def _bracket(self, given: Any, action: str) -> Bracket:
        row = _fitting(given, BRACKET)
        if "breakeven" in row and not self._world.switches.lenient:
            raise Refused("UnknownReason", NO_BREAKEVEN)
        sign = 1 if action == "Buy" else -1
        target, stop = number(row.get("profitTarget")), number(row.get("stopLoss"))
        wrong_side = (target is not None and target * sign <= 0) or (
            stop is not None and stop * sign >= 0
        )
        trails = row.get("trailingStop", False)
        needs_stop = trails or "autoTrail" in row
        if wrong_side or (stop is None and (needs_stop or target is None)):
            raise Refused("UnknownReason", INVALID)
        return Bracket(row["qty"], target, stop, trails, _auto_trail(row.get("autoTrail")))

    def _open_bracket(self, strategy: Strategy, bracket: Bracket, offset: int, place: int) -> None:
        entry = strategy.entry
        group = Group(
            [],
            entry,
            offset=offset,
            cap=bracket.qty,
            target_offset=bracket.target,
            stop_offset=bracket.stop,
            trail=bracket.auto_trail,
        )
        in_force = entry.terms.time_in_force
        common = Terms(
            "Limit",
            bracket.qty,
            time_in_force=in_force if in_force in LASTING else "Day",
            expire_time=entry.terms.expire_time,
        )
        wanted = []
        if bracket.target is not None:
            wanted.append((f"ProfitTarget{place}", common))
        if bracket.stop is not None:
            kind = "TrailingStop" if bracket.trails else "Stop"
            peg = abs(bracket.stop) if bracket.trails else None
            wanted.append((f"StopLoss{place}", replace(common, order_type=kind, peg=peg)))
        ids = [self._world.store.new_id() for _ in wanted]
        base = self._guess(entry)
        for index, (label, terms) in enumerate(wanted):
            links: Row = {"parentId": entry.id}
            if len(ids) > 1:
                links["ocoId"] = ids[1 - index]
            leg = self._lifecycle.open(
                entry.account_id,
                entry.contract,
                "Sell" if entry.sign > 0 else "Buy",
                _priced(terms, group, base),
                replace(entry.tags, cl_ord_id=None),
                order_id=ids[index],
                links=links,
            )
            group.legs.append(leg)
            strategy.legs.append(leg)
            self._adopt(strategy, leg, label)
        link(group)
        entry.groups.append(group)

    def _adopt(self, strategy: Strategy, order: LiveOrder, label: str) -> None:
        order.strategy_id = strategy.id
        self._world.add(
            "orderStrategyLink",
            strategy.account_id,
            orderStrategyId=strategy.id,
            orderId=order.id,
            label=label,
        )

    def _guess(self, entry: LiveOrder) -> Decimal | None:
        """Where the entry will probably fill; its first fill corrects it."""
        for price in (entry.terms.price, entry.terms.stop_price):
            if price is not None:
                return price
        return self._matcher.touch(entry)

    def _filled(self, order: LiveOrder) -> None:
        strategy = self.strategies.get(order.strategy_id or 0)
        if strategy is None or order is not strategy.entry or strategy.priced:
            return
        strategy.priced = True
        base = order.last_price
        for group in order.groups:
            for leg in group.legs:
                terms = _priced(leg.terms, group, base)
                if terms != leg.terms and not leg.is_final:
                    self._lifecycle.reversion(leg, terms)

    def _ended(self, order: LiveOrder) -> None:
        strategy = self.strategies.get(order.strategy_id or 0)
        if strategy is None or not strategy.active:
            return
        if not all(each.is_final for each in strategy.orders):
            return
        entry = strategy.entry
        if entry.filled:
            self._stop(strategy, "ExecutionFinished")
        elif entry.status == "Rejected":
            self._stop(strategy, "ExecutionFailed", failureMessage="Entry order rejected")
        else:
            self._stop(strategy, "ExecutionInterrupted")

    def _stop(self, strategy: Strategy, status: str, **more: str) -> Row:
        strategy.active = False
        return self._world.store.update("orderStrategy", strategy.id, status=status, **more)

    def _own(self, user_id: int, strategy_id: int) -> Strategy:
        strategy = self.strategies.get(strategy_id)
        if strategy is None or self._world.store.get("orderStrategy", strategy_id) is None:
            raise Http(404)
        if user_id not in self._world.store.watchers[strategy.account_id]:
            raise Http(401, ACCESS_DENIED)
        return strategy

    def _refusal(self, refusal: Refused) -> Row:
        row = {"errorText": refusal.text}
        return row | {"failureReason": refusal.reason} if self._world.is_2026 else row


def _fitting(given: Any, fields: dict[str, v.Field]) -> Row:
    """A part of ``params`` that fits its schema; the service answers one text for all misfits."""
    if not isinstance(given, dict):
        raise Refused("UnknownReason", INVALID)
    row = {key: value for key, value in given.items() if value is not None}
    if v.violations(row, fields):
        raise Refused("UnknownReason", INVALID)
    return row


def _auto_trail(given: Row | None) -> AutoTrail | None:
    if given is None:
        return None
    row = _fitting(given, AUTO_TRAIL)
    stop_loss, trigger, freq = (abs(Decimal(str(row[each]))) for each in AUTO_TRAIL)
    if not (stop_loss and freq):
        raise Refused("UnknownReason", INVALID)
    return AutoTrail(stop_loss, trigger, freq)


def _check_grid(bracket: Bracket, contract: Contract) -> None:
    trail = bracket.auto_trail
    steps = (trail.stop_loss, trail.freq) if trail else ()
    for points in (bracket.target, bracket.stop, *steps):
        if points is not None and points % contract.tick:
            raise Refused("InvalidPrice", "Invalid price increment")


def _priced(terms: Terms, group: Group, base: Decimal | None) -> Terms:
    """A leg's terms for an entry at ``base``."""
    if base is None:
        return terms
    if terms.order_type == "Limit" and group.target_offset is not None:
        return replace(terms, price=base + group.target_offset)
    if group.stop_offset is not None:
        return replace(terms, stop_price=base + group.stop_offset)
    return terms
