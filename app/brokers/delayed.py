"""A broker that answers late, to try the app against a slow one (``PAPER_LATENCY_MS``)."""

from __future__ import annotations

from typing import Any

import gevent

from app.brokers.base import AccountRef, Broker
from app.domain.trading import BrokerReport, OrderTicket


class DelayedBroker:
    """Passes every call on, those that send something after ``seconds``."""

    def __init__(self, broker: Broker, seconds: float) -> None:
        self._broker = broker
        self._seconds = seconds

    def place_order(
        self, account: AccountRef, ticket: OrderTicket, *, client_order_id: str
    ) -> BrokerReport:
        gevent.sleep(self._seconds)
        return self._broker.place_order(account, ticket, client_order_id=client_order_id)

    def place_oco(
        self, account: AccountRef, first: OrderTicket, second: OrderTicket, *, ids: tuple[str, str]
    ) -> BrokerReport:
        gevent.sleep(self._seconds)
        return self._broker.place_oco(account, first, second, ids=ids)

    def cancel_order(
        self, account: AccountRef, client_order_id: str, *, broker_order_id: str | None = None
    ) -> BrokerReport:
        gevent.sleep(self._seconds)
        return self._broker.cancel_order(account, client_order_id, broker_order_id=broker_order_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)
