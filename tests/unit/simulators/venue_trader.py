"""One trader at a venue of their own, with a clock that stands still until moved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.simulators.tradovate.venue import Venue

MONDAY = datetime(2026, 2, 16, 15, 30, tzinfo=UTC)
MNQ = "MNQH6"


class Trader:
    """``do`` sends a request; the rest are short forms of the common ones.

    MNQH6 is quoted 20000.00 / 20000.25 from the start.
    """

    def __init__(self, **venue: Any) -> None:
        self.time = MONDAY
        self.venue = Venue(now=lambda: self.time, **venue)
        self.user = self.venue.add_user("trader", "secret")
        self.account = self.venue.add_account(self.user, "DEMO1")
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.venue.set_price(MNQ, "20000", "20000.25")
        self.venue.on_event.append(self._hear)

    @property
    def switches(self) -> Any:
        return self.venue.switches

    def _hear(self, user_id: int, event: dict[str, Any]) -> None:
        if user_id == self.user.id:
            self.events.append((event["entityType"], event["eventType"], event["entity"]))

    def do(self, path: str, body: Any = None, **query: Any) -> Any:
        asked = {key: str(value) for key, value in query.items()}
        return self.venue.call(self.user.id, path, asked, body)

    def ticket(self, action: str = "Buy", qty: int = 1, kind: str = "Market", **more: Any) -> Any:
        return {
            "accountId": self.account["id"],
            "accountSpec": self.account["name"],
            "action": action,
            "symbol": MNQ,
            "orderQty": qty,
            "orderType": kind,
            "timeInForce": "Day",
            "isAutomated": True,
        } | more

    def place(self, action: str = "Buy", qty: int = 1, kind: str = "Market", **more: Any) -> int:
        answer = self.do("order/placeorder", self.ticket(action, qty, kind, **more))
        assert list(answer) == ["orderId"], answer
        return int(answer["orderId"])

    def bracketed(self, qty: int = 1, kind: str = "Market", **more: Any) -> tuple[int, int, int]:
        """Buy with a target at 20010 and a stop at 19990: entry, target, stop."""
        target = {"action": "Sell", "orderType": "Limit", "price": 20010.0, "timeInForce": "GTC"}
        stop = {"action": "Sell", "orderType": "Stop", "stopPrice": 19990.0, "timeInForce": "GTC"}
        body = self.ticket("Buy", qty, kind, bracket1=target, bracket2=stop, **more)
        answer = self.do("order/placeoso", body)
        return answer["orderId"], answer["oso1Id"], answer["oso2Id"]

    def strategy(self, params: Any, /, action: str = "Buy", **more: Any) -> Any:
        body = {
            "accountId": self.account["id"],
            "accountSpec": self.account["name"],
            "symbol": MNQ,
            "orderStrategyTypeId": 2,
            "action": action,
            "params": params if isinstance(params, str) else json.dumps(params),
            "uuid": "my-uuid",
        }
        return self.do("orderstrategy/startorderstrategy", body | more)

    def price(self, bid: str, ask: str | None = None) -> None:
        self.venue.set_price(MNQ, bid, ask)

    def pass_time(self, **delta: float) -> None:
        self.time += timedelta(**delta)

    def order(self, order_id: int) -> Any:
        return next(o for o in self.venue.book()["orders"] if o["id"] == order_id)

    def status(self, order_id: int) -> str:
        return str(self.order(order_id)["status"])

    def position(self) -> Any:
        return self.do("position/list")[0]

    def net(self) -> int:
        return int(self.position()["netPos"])

    def heard(self) -> list[str]:
        """What was heard, as ``order Updated Working``: entity, event, and its status if any."""
        return [
            " ".join(
                filter(
                    None,
                    (
                        entity,
                        kind,
                        row.get("ordStatus") if entity == "order" else None,
                        row.get("commandStatus"),
                        row.get("execType"),
                    ),
                )
            )
            for entity, kind, row in self.events
        ]
