"""The order verbs: place, OSO, OCO, modify, cancel, liquidate, dry run (reference 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue import validation as v
from tests.simulators.tradovate.venue.library import Contract
from tests.simulators.tradovate.venue.lifecycle import Lifecycle, link
from tests.simulators.tradovate.venue.matching import Matcher
from tests.simulators.tradovate.venue.money import Ledger
from tests.simulators.tradovate.venue.schema import TRAILING
from tests.simulators.tradovate.venue.wire import ACCESS_DENIED, Http, Refused, Row, Violated
from tests.simulators.tradovate.venue.world import Account, Group, LiveOrder, Tags, Terms, World

TERMS = {
    "orderType": v.must(v.ORDER_TYPE),
    "price": v.NUMBER,
    "stopPrice": v.NUMBER,
    "limitIfTouchedPrice": v.NUMBER,
    "pegDifference": v.NUMBER,
    "timeInForce": v.TIME_IN_FORCE,
    "expireTime": v.MOMENT,
    "maxShow": v.INTEGER,
    "text": v.TEXT,
}
TAGS = {
    "clOrdId": v.TEXT,
    "customTag50": v.TEXT,
    "isAutomated": v.BOOLEAN,
    "activationTime": v.MOMENT,
}
ACCOUNT = {"accountId": v.must(v.INTEGER), "accountSpec": v.must(v.TEXT)}
PLACE = {
    **ACCOUNT,
    "action": v.must(v.ACTION),
    "symbol": v.must(v.TEXT),
    "orderQty": v.must(v.POSITIVE),
    **TERMS,
    **TAGS,
}
RESTRAINED = {"action": v.must(v.ACTION), **TERMS, "clOrdId": v.TEXT}
OSO = {**PLACE, "bracket1": v.must(v.OBJECT), "bracket2": v.OBJECT}
OCO = {**PLACE, "other": v.must(v.OBJECT)}
MODIFY = {"orderId": v.must(v.INTEGER), "orderQty": v.must(v.POSITIVE), **TERMS, **TAGS}
CANCEL = {"orderId": v.must(v.INTEGER), **TAGS}
LIQUIDATE = {
    "accountId": v.must(v.INTEGER),
    "contractId": v.must(v.INTEGER),
    "admin": v.must(v.BOOLEAN),
    "customTag50": v.TEXT,
    "isAutomated": v.BOOLEAN,
}
LIQUIDATE_MANY = {
    "positions": v.must(v.INTEGERS),
    "admin": v.must(v.BOOLEAN),
    "customTag50": v.TEXT,
    "isAutomated": v.BOOLEAN,
}
DRY_RUN = {"accountId": v.must(v.INTEGER), "orders": v.must(v.OBJECTS)}
DRY_ORDER = {
    "contractId": v.must(v.INTEGER),
    "action": v.must(v.ACTION),
    "orderQty": v.must(v.POSITIVE),
    "orderType": v.must(v.ORDER_TYPE),
    "price": v.NUMBER,
    "stopPrice": v.NUMBER,
}
MOST_DRY_ORDERS = 4
NEEDS: dict[str, tuple[str, ...]] = {
    "Market": (),
    "Limit": ("price",),
    "Stop": ("stop_price",),
    "StopLimit": ("price", "stop_price"),
    "TrailingStop": ("stop_price",),
    "TrailingStopLimit": ("price", "stop_price"),
    "MIT": ("stop_price",),
    "LimitIfTouched": ("price", "touch_price"),
}
"""Order type -> the prices without which it is InvalidPrice."""
Verb = Callable[[int, Any], Row]


class OrderDesk:
    """Each verb takes the user and the body and answers as the service does.

    Raises:
        Http: 401 for somebody else's account or order, 404 for an unknown one.
        Violated, Refused: for the caller to turn into their rows.
    """

    def __init__(
        self, world: World, lifecycle: Lifecycle, matcher: Matcher, ledger: Ledger
    ) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._matcher = matcher
        self._ledger = ledger
        self.delayed: list[tuple[datetime, Callable[[], None]]] = []
        """What waits for its activationTime; ``Venue.tick`` runs what is due."""
        self.verbs: dict[str, Verb] = {
            "order/placeorder": self.place,
            "order/placeoso": self.place_oso,
            "order/placeoco": self.place_oco,
            "order/modifyorder": self.modify,
            "order/cancelorder": self.cancel,
            "order/liquidateposition": self.liquidate,
            "order/liquidatepositions": self.liquidate_many,
            "order/dryrun": self.dry_run,
        }

    def place(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, PLACE)
        account, contract, terms = self.admit(user_id, body)
        order = self._lifecycle.open(
            account.id, contract, body["action"], terms, tags_of(body, user_id)
        )
        self._start(order)
        self._matcher.run()
        return {"orderId": order.id}

    def place_oso(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, OSO, "bracket1", "bracket2")
        account, contract, terms = self.admit(user_id, body)
        brackets = [body[name] for name in ("bracket1", "bracket2") if name in body]
        leg_terms = [self.terms(leg, terms.qty, contract, leg["action"]) for leg in brackets]
        entry = self._lifecycle.open(
            account.id, contract, body["action"], terms, tags_of(body, user_id)
        )
        ids = [self._world.store.new_id() for _ in brackets]
        legs = []
        for place, (bracket, its_terms) in enumerate(zip(brackets, leg_terms, strict=True)):
            links: Row = {"parentId": entry.id}
            if len(ids) > 1:
                links["ocoId"] = ids[1 - place]
            legs.append(
                self._lifecycle.open(
                    account.id,
                    contract,
                    bracket["action"],
                    its_terms,
                    self._leg_tags(bracket, body, user_id),
                    order_id=ids[place],
                    links=links,
                )
            )
        entry.groups.append(link(Group(legs, entry)))
        self.start_with_legs(entry)
        return {"orderId": entry.id} | {
            f"oso{place}Id": leg.id for place, leg in enumerate(legs, start=1)
        }

    def place_oco(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, OCO, "other")
        account, contract, terms = self.admit(user_id, body)
        other = body["other"]
        other_terms = self.terms(other, terms.qty, contract, other["action"])
        self.check(account, contract, other["action"], other_terms)
        first_id, other_id = self._world.store.new_id(), self._world.store.new_id()
        first = self._lifecycle.open(
            account.id,
            contract,
            body["action"],
            terms,
            tags_of(body, user_id),
            order_id=first_id,
            links={"ocoId": other_id},
        )
        second = self._lifecycle.open(
            account.id,
            contract,
            other["action"],
            other_terms,
            self._leg_tags(other, body, user_id),
            order_id=other_id,
            links={"ocoId": first_id},
        )
        link(Group([first, second]))
        for order in (first, second):
            if not order.is_final:
                self._start(order)
        self._matcher.run()
        return {"orderId": first_id, "ocoId": other_id}

    def modify(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, MODIFY)
        order = self._commandable(user_id, body["orderId"])
        self._refuse_next()
        terms = self._new_terms(order, body)
        switches = self._world.switches
        command_id = self._lifecycle.begin_modify(order, terms, tags_of(body, user_id))
        if switches.modify_not_applied:
            self._lifecycle.ignore_pending(order)
        elif not switches.slow_modify:
            self._lifecycle.apply_pending(order)
        self._matcher.run()
        return {"commandId": command_id}

    def cancel(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, CANCEL)
        order = self._commandable(user_id, body["orderId"])
        self._refuse_next()
        tags = tags_of(body, user_id)
        command_id = self._lifecycle.begin_cancel(order, tags)
        switches = self._world.switches
        if tags.activation is not None and tags.activation > self._world.now():
            self.delayed.append((tags.activation, lambda: self._lifecycle.apply_pending(order)))
        elif switches.cancel_loses_race and order.is_resting:
            self._matcher.force(order, None, None)
        elif not switches.slow_cancel:
            self._lifecycle.apply_pending(order)
        self._matcher.run()
        return {"commandId": command_id}

    def liquidate(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, LIQUIDATE)
        if "customTag50" in body and self._world.switches.liquidate_tag_is_404:
            raise Http(404)
        account = self.account(user_id, body["accountId"])
        contract = self._world.library.get(body["contractId"])
        if contract is None:
            raise Refused("InvalidContract", "Unknown contract")
        self._refuse_next()
        order = self._flatten(account, contract, tags_of(body, user_id))
        if order is not None:
            return {"orderId": order.id}
        if self._world.switches.liquidate_flat_refused:
            raise Refused("UnknownReason", "No position to liquidate")
        return {}

    def liquidate_many(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, LIQUIDATE_MANY)
        rows = [self._world.store.get("position", each) for each in body["positions"]]
        if any(row is None for row in rows):
            raise Http(404)
        for row in filter(None, rows):
            account = self.account(user_id, row["accountId"])
            contract = self._world.library.contract(row["contractId"])
            try:
                self._flatten(account, contract, tags_of(body, user_id))
            except Refused as refusal:
                return {"ok": False, "errorText": refusal.text}
        return {"ok": True}

    def dry_run(self, user_id: int, body: Any) -> Row:
        body = self._checked(body, DRY_RUN)
        account = self.account(user_id, body["accountId"])
        if len(body["orders"]) > MOST_DRY_ORDERS:
            return {"errorText": "Too many orders"}
        fees = Decimal(0)
        for each in body["orders"]:
            given = v.checked(each, DRY_ORDER)
            contract = self._world.library.get(given["contractId"])
            if contract is None:
                return {"rejectReason": "InvalidContract"}
            try:
                terms = self.terms(given, given["orderQty"], contract, given["action"])
                self.check(account, contract, given["action"], terms)
            except Refused as refusal:
                return {"rejectReason": refusal.reason, "comment": refusal.text}
            fees += contract.product.fees.total * terms.qty
        return {"fees": fees}

    def start_with_legs(self, entry: LiveOrder) -> None:
        """Park the legs, then send the entry: a fill of it wakes them."""
        legs = [leg for group in entry.groups for leg in group.legs]
        if self._world.switches.reject_after_accept is None:
            for leg in legs:
                self._lifecycle.suspend(leg)
        self._start(entry)
        self._matcher.run()

    def account(self, user_id: int, account_id: int, spec: str | None = None) -> Account:
        """An account the user may trade. Raises Http 404 if unknown, 401 if not theirs."""
        account = self._world.accounts.get(account_id)
        if account is None:
            raise Http(404)
        if user_id not in self._world.store.watchers[account_id]:
            raise Http(401, ACCESS_DENIED)
        if spec not in {None, account.name} and not self._world.switches.lenient:
            raise Http(401, ACCESS_DENIED)
        return account

    def contract(self, symbol: str) -> Contract:
        contract = self._world.library.find(symbol)
        if contract is None:
            raise Refused("InvalidContract", f"Invalid contract {symbol}")
        return contract

    def terms(self, body: Row, qty: int, contract: Contract, action: str) -> Terms:
        """The terms in a body that has passed validation. Raises Refused InvalidPrice."""
        terms = self._read_terms(body, qty)
        if terms.order_type not in NEEDS:
            raise Refused("Unsupported", f"{terms.order_type} is not supported")
        if terms.order_type == "MIT" and terms.stop_price is None:
            terms = replace(terms, stop_price=terms.price, price=None)
        if terms.order_type == "Stop" and terms.stop_price is None and self._world.switches.lenient:
            terms = replace(terms, stop_price=terms.price, price=None)
        for needed in NEEDS[terms.order_type]:
            if getattr(terms, needed) is None:
                raise Refused("InvalidPrice", f"{terms.order_type} needs a {needed}")
        terms = terms.only(NEEDS[terms.order_type])
        check_ticks(terms, contract)
        return self._with_peg(terms, contract, action)

    def check(self, account: Account, contract: Contract, action: str, terms: Terms) -> None:
        """Everything an order is refused for before it exists. Raises Refused."""
        self._check_account(account)
        self._check_contract(contract)
        self._check_size(account, contract, action, terms.qty)
        self._check_market(contract, terms)

    def admit(self, user_id: int, body: Row) -> tuple[Account, Contract, Terms]:
        """Let a new order in: every check of it, in the order of the service's own."""
        account = self.account(user_id, body["accountId"], body.get("accountSpec"))
        self._refuse_next()
        self._check_account(account)
        contract = self.contract(body["symbol"])
        terms = self.terms(body, body["orderQty"], contract, body["action"])
        self.check(account, contract, body["action"], terms)
        return account, contract, terms

    def _check_account(self, account: Account) -> None:
        if account.closed:
            raise Refused("AccountClosed", "Account is closed")
        if account.locked:
            raise Refused("TradingLocked", "Trading is locked")

    def _check_contract(self, contract: Contract) -> None:
        switches = self._world.switches
        refusal = switches.contract_refusals.get(contract.name)
        if refusal is not None:
            raise Refused(refusal)
        if contract.expires <= self._world.now():
            raise Refused("InvalidContract", f"{contract.name} has expired")
        if switches.market_closed:
            raise Refused("SessionClosed", "Session is closed")

    def _check_size(self, account: Account, contract: Contract, action: str, qty: int) -> None:
        held = self._ledger.net(account.id, contract.id)
        after = held + (qty if action == "Buy" else -qty)
        opens = abs(after) > abs(held) or held * after < 0
        if account.liquidate_only and opens:
            raise Refused("LiquidationOnly", "Account is in liquidation only mode")
        if account.max_order_qty is not None and qty > account.max_order_qty:
            raise Refused("MaxOrderQtyLimitReached", "Order quantity is over the limit")
        if account.max_position is not None and opens and abs(after) > account.max_position:
            raise Refused("MaxPosLimitReached", "Position would be over the limit")
        if self._world.switches.check_margin and opens:
            more = (abs(after) - abs(held)) * contract.product.margin
            equity = self._ledger.purse(account.id).amount + self._ledger.open_pnl(account.id)
            if self._ledger.margin(account.id) + more > equity:
                raise Refused("UnknownReason", "Insufficient margin")

    def _check_market(self, contract: Contract, terms: Terms) -> None:
        if terms.order_type == "Market" and contract.id not in self._world.quotes:
            raise Refused("NoQuote", "No quote available")

    def _refuse_next(self) -> None:
        switches = self._world.switches
        reason, switches.reject_next = switches.reject_next, None
        if reason is not None:
            raise Refused(reason)

    def _start(self, order: LiveOrder) -> None:
        activation = order.tags.activation
        if activation is not None and activation > self._world.now():
            self.delayed.append((activation, lambda: self._activate(order)))
            return
        self._lifecycle.accept(order)

    def _activate(self, order: LiveOrder) -> None:
        if order.status == "PendingNew":
            self._lifecycle.accept(order)

    def _commandable(self, user_id: int, order_id: int) -> LiveOrder:
        """An order that can take a command now."""
        order = self._world.orders.get(order_id)
        if order is None or self._world.store.get("order", order_id) is None:
            raise Http(404)
        self.account(user_id, order.account_id)
        if order.is_final:
            if self._world.switches.too_late_is_401:
                raise Http(401, ACCESS_DENIED)
            raise Refused("TooLate", f"Order is {order.status}")
        if order.pending is not None:
            raise Refused("AnotherCommandPending", "Another command is pending")
        return order

    def _new_terms(self, order: LiveOrder, body: Row) -> Terms:
        contract, old = order.contract, order.terms
        if old.order_type in TRAILING:
            asked = self._read_terms(body, body["orderQty"])
            changed = asked.order_type != old.order_type or any(
                getattr(asked, name) not in {None, getattr(old, name)}
                for name in ("price", "stop_price", "peg")
            )
            if changed:
                raise Refused("TrailingStopNonOrderQtyModify", "Only the quantity can change")
            terms = old.with_qty(asked.qty)
        else:
            terms = self.terms(body, body["orderQty"], contract, order.action)
        account = self._world.accounts[order.account_id]
        if account.max_order_qty is not None and terms.qty > account.max_order_qty:
            raise Refused("MaxOrderQtyLimitReached", "Order quantity is over the limit")
        if terms.qty <= order.filled:
            raise Refused("TooLate", "That quantity has filled")
        return terms

    def flatten_account(self, account: Account) -> None:
        """Cancel everything and close every position, on behalf of the broker."""
        for (account_id, _), orders in list(self._world.resting.items()):
            if account_id == account.id:
                for order in list(orders.values()):
                    self._lifecycle.cancel(order)
        for holding in self._ledger.holdings(account.id):
            if holding.net:
                self._flatten(account, holding.contract, Tags())

    def _flatten(self, account: Account, contract: Contract, tags: Tags) -> LiveOrder | None:
        """Cancel what works on the contract and close what is held; None when flat."""
        self._check_account(account)
        held = self._ledger.net(account.id, contract.id)
        action = "Sell" if held > 0 else "Buy"
        terms = Terms("Market", abs(held))
        if held:
            self._check_contract(contract)
            self._check_market(contract, terms)
        for order in list(self._world.open_orders(account.id, contract.id).values()):
            self._lifecycle.cancel(order)
        if not held:
            return None
        order = self._lifecycle.open(account.id, contract, action, terms, tags)
        self._start(order)
        self._matcher.run()
        return order

    def _checked(self, body: Any, fields: dict[str, v.Field], *nested: str) -> Row:
        fields = self.fields(fields)
        given = v.checked(body, fields)
        found: list[Row] = []
        for name in nested:
            if name in given:
                given[name] = {k: each for k, each in given[name].items() if each is not None}
                found += v.violations(given[name], self.fields(RESTRAINED), f"{name}.")
        if found:
            raise Violated(found)
        return given

    def fields(self, fields: dict[str, v.Field]) -> dict[str, v.Field]:
        """A schema as this world has it: shapes and leniency."""
        if "orderType" in fields and self._world.is_2026:
            fields = {**fields, "orderType": v.must(v.ORDER_TYPE_2026)}
        if "accountSpec" in fields and self._world.switches.lenient:
            fields = {**fields, "accountSpec": v.TEXT}
        return fields

    def _read_terms(self, body: Row, qty: int) -> Terms:
        expires = moment(body.get("expireTime"))
        in_force = body.get("timeInForce", "Day")
        if in_force == "GTD" and expires is None:
            raise Violated(
                [{"constraint": "required", "value": "", "description": "expireTime is required"}]
            )
        peg = number(body.get("pegDifference"))
        return Terms(
            body["orderType"],
            qty,
            price=number(body.get("price")),
            stop_price=number(body.get("stopPrice")),
            touch_price=number(body.get("limitIfTouchedPrice")),
            peg=abs(peg) if peg else None,
            time_in_force=in_force,
            expire_time=expires,
            max_show=body.get("maxShow"),
            text=body.get("text"),
        )

    def _with_peg(self, terms: Terms, contract: Contract, action: str) -> Terms:
        """The trail's distance, from the market when only its first trigger was given."""
        if terms.order_type not in TRAILING:
            return replace(terms, peg=None)
        quote = self._world.quotes.get(contract.id)
        if terms.peg is None and terms.stop_price is not None:
            if quote is None:
                raise Refused("NoQuote", "No quote available")
            market = quote.ask if action == "Buy" else quote.bid
            return replace(terms, peg=abs(terms.stop_price - market) or contract.tick)
        return terms

    def _leg_tags(self, leg: Row, body: Row, user_id: int) -> Tags:
        automated = body.get("isAutomated", False)
        return Tags(user_id, leg.get("clOrdId"), body.get("customTag50"), automated)


def tags_of(body: Row, user_id: int) -> Tags:
    return Tags(
        user_id,
        body.get("clOrdId"),
        body.get("customTag50"),
        body.get("isAutomated", False),
        moment(body.get("activationTime")),
    )


def number(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    parsed = datetime.fromisoformat(value)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def check_ticks(terms: Terms, contract: Contract) -> None:
    """Raises Refused InvalidPrice for a price off the grid. Negative prices are possible."""
    for price in (terms.price, terms.stop_price, terms.touch_price, terms.peg):
        if price is not None and price % contract.tick:
            raise Refused("InvalidPrice", "Invalid price increment")
