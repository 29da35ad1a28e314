"""The account verbs: the cash snapshot and the demo balance (reference 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue import validation as v
from tests.simulators.tradovate.venue.money import Ledger
from tests.simulators.tradovate.venue.orders import OrderDesk
from tests.simulators.tradovate.venue.wire import Row
from tests.simulators.tradovate.venue.world import World

MOST_DEMO_CASH = Decimal(50_000)
"""USD that an ordinary user may raise a demo account to."""
BETWEEN_CHANGES = timedelta(hours=1)
SNAPSHOT = {"accountId": v.must(v.INTEGER)}
CHANGE = {"accountId": v.must(v.INTEGER), "cashChange": v.must(v.NUMBER), "comment": v.TEXT}


class AccountDesk:
    def __init__(self, world: World, ledger: Ledger, desk: OrderDesk) -> None:
        self._world = world
        self._ledger = ledger
        self._desk = desk
        self._changed: dict[int, datetime] = {}
        self.verbs: dict[str, Callable[[int, Any], Row]] = {
            "cashbalance/getcashbalancesnapshot": self.snapshot,
            "cashbalance/changedemobalance": self.change_demo_balance,
        }

    def snapshot(self, user_id: int, body: Any) -> Row:
        given = v.checked(body, SNAPSHOT)
        return self._ledger.snapshot(self._desk.account(user_id, given["accountId"]).id)

    def change_demo_balance(self, user_id: int, body: Any) -> Row:
        """One change per account and hour, up to 50,000 USD."""
        given = v.checked(body, CHANGE)
        account_id = self._desk.account(user_id, given["accountId"]).id
        now, changed = self._world.now(), self._changed.get(account_id)
        if changed is not None and now - changed < BETWEEN_CHANGES:
            return {"errorText": "The balance was changed less than an hour ago"}
        delta = Decimal(str(given["cashChange"]))
        if delta > 0 and self._ledger.purse(account_id).amount + delta > MOST_DEMO_CASH:
            return {"errorText": "The balance would exceed the limit"}
        self._changed[account_id] = now
        self._ledger.change_cash(account_id, delta, given.get("comment"))
        return self._ledger.snapshot(account_id)
