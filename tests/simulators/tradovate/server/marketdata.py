"""The market-data requests of a socket: quotes, depth and charts that follow the prices."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from tests.simulators.tradovate.server import depth
from tests.simulators.tradovate.server.sockets import Socket
from tests.simulators.tradovate.server.ticking import Clock, iso
from tests.simulators.tradovate.server.world import World
from tests.simulators.tradovate.venue import Http

_MAX_BARS = 5000
_DEFAULT_BARS = 100
_MINUTES = {"MinuteBar": 1, "DailyBar": 24 * 60}
_OPEN_INTEREST = 40_702
_SIZE = 7
_DOM, _HISTOGRAM = "dom", "histogram"


@dataclass
class _Session:
    """Figures of one contract since the simulation began."""

    opened: Decimal
    high: Decimal
    low: Decimal
    volume: int = 0
    last: Decimal | None = None
    at_price: Counter[Decimal] = field(default_factory=Counter)

    def see(self, price: Decimal) -> None:
        if price != self.last:
            self.volume += 1
            self.at_price[price] += 1
        self.high, self.low, self.last = max(self.high, price), min(self.low, price), price


@dataclass
class _Chart:
    socket: Socket
    contract_id: int
    historical_id: int
    realtime_id: int
    underlying: str
    minutes: int
    tick_size: Decimal
    bar: dict[str, Any] | None = None
    last: Decimal | None = None


class MarketData:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quotes: dict[tuple[Socket, int], dict[str, Any]] = {}
        self._depths: dict[tuple[Socket, int, str], Any] = {}
        """What was sent last."""
        self._charts: dict[int, _Chart] = {}
        self._sessions: dict[tuple[str, int], _Session] = {}
        self._ids = count(1)

    def answer(self, socket: Socket, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Raises Http: 404 for what is not there."""
        if path == "md/cancelchart":
            return self._cancel_chart(asked)
        contract = _contract(socket, asked.get("symbol"))
        if path == "md/subscribequote":
            self._quotes[socket, contract["id"]] = {}
            asyncio.get_running_loop().call_soon(self._send_quote, socket, contract["id"])
            return {}
        if path == "md/unsubscribequote":
            self._quotes.pop((socket, contract["id"]), None)
            return {}
        action, _, kind = path.removeprefix("md/").partition("subscribe")
        if kind in (_DOM, _HISTOGRAM) and action in ("", "un"):
            return self._follow_depth((socket, contract["id"], kind), is_on=not action)
        if path == "md/getchart":
            return self._get_chart(socket, contract, asked)
        raise Http(404)

    def refresh(self, world: World) -> None:
        """Prices may have changed: tell those who want to know."""
        for socket, contract_id in list(self._quotes):
            if socket not in world.sockets:
                if socket.world is world:
                    del self._quotes[socket, contract_id]
                continue
            self._send_quote(socket, contract_id)
        for key in list(self._depths):
            if key[0] in world.sockets:
                self._send_depth(key)
            elif key[0].world is world:
                del self._depths[key]
        for chart in list(self._charts.values()):
            if chart.socket in world.sockets:
                self._send_bar(chart)

    # Quotes.

    def _send_quote(self, socket: Socket, contract_id: int) -> None:
        """What has changed since the last time: an absent entry is as it was."""
        sent = self._quotes.get((socket, contract_id))
        if sent is None:
            return
        entries = self._entries(socket.world, contract_id)
        changed = {name: entry for name, entry in entries.items() if sent.get(name) != entry}
        if not changed:
            return
        sent.update(changed)
        quote = {
            "timestamp": iso(self._clock.now()),
            "contractId": contract_id,
            "entries": changed,
        }
        socket.send({"e": "md", "d": {"quotes": [quote]}})

    def _entries(self, world: World, contract_id: int) -> dict[str, Any]:
        bid, ask, last = world.prices(contract_id)
        if last is None:
            return {}
        session = self._session(world, contract_id, last)
        return {
            "Bid": {"price": bid, "size": _SIZE},
            "Offer": {"price": ask, "size": _SIZE},
            "Trade": {"price": last, "size": 1},
            "TotalTradeVolume": {"size": session.volume},
            "OpenInterest": {"size": _OPEN_INTEREST},
            "OpeningPrice": {"price": session.opened},
            "HighPrice": {"price": session.high},
            "LowPrice": {"price": session.low},
            "SettlementPrice": {"price": session.opened},
        }

    def _session(self, world: World, contract_id: int, last: Decimal) -> _Session:
        session = self._sessions.setdefault((world.name, contract_id), _Session(last, last, last))
        session.see(last)
        return session

    # Depth.

    def _follow_depth(self, key: tuple[Socket, int, str], *, is_on: bool) -> dict[str, Any]:
        if is_on:
            self._depths[key] = None
            asyncio.get_running_loop().call_soon(self._send_depth, key)
        else:
            self._depths.pop(key, None)
        return {}

    def _send_depth(self, key: tuple[Socket, int, str]) -> None:
        """A whole DOM, or the volumes by price that are not as they were sent."""
        socket, contract_id, kind = key
        bid, ask, last = socket.world.prices(contract_id)
        if key not in self._depths or bid is None or ask is None or last is None:
            return
        tick, now = socket.world.venue.library.contract(contract_id).tick, self._clock.now()
        session, sent = self._session(socket.world, contract_id, last), self._depths[key]
        state = (bid, ask) if kind == _DOM else dict(session.at_price)
        if state == sent:
            return
        self._depths[key] = state
        if kind == _DOM:
            found = {"doms": [depth.dom(contract_id, bid, ask, tick, now)]}
        else:
            news = {p: v for p, v in session.at_price.items() if not sent or sent.get(p) != v}
            item = depth.histogram(
                contract_id, session.opened, news, tick, now, refresh=sent is None
            )
            found = {"histograms": [item]}
        socket.send({"e": "md", "d": found})

    # Charts.

    def _get_chart(
        self, socket: Socket, contract: dict[str, Any], asked: dict[str, Any]
    ) -> dict[str, Any]:
        description = asked.get("chartDescription") or {}
        span = asked.get("timeRange") or {}
        underlying = str(description.get("underlyingType"))
        if not span or underlying not in (*_MINUTES, "Tick"):
            raise Http(400, "Unsupported chart")
        chart = _Chart(
            socket,
            contract["id"],
            next(self._ids),
            next(self._ids),
            underlying,
            int(description.get("elementSize") or 1) * _MINUTES.get(underlying, 1),
            Decimal(str(contract.get("providerTickSize") or "0.25")),
        )
        self._charts[chart.realtime_id] = chart
        elements = min(int(span.get("asMuchAsElements") or _DEFAULT_BARS), _MAX_BARS)
        asyncio.get_running_loop().call_soon(self._send_history, chart, elements)
        return {"historicalId": chart.historical_id, "realtimeId": chart.realtime_id}

    def _cancel_chart(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Either id of the subscription does: the reference says both."""
        for chart in list(self._charts.values()):
            if asked.get("subscriptionId") in (chart.realtime_id, chart.historical_id):
                del self._charts[chart.realtime_id]
                return {}
        raise Http(404)

    def _send_history(self, chart: _Chart, elements: int) -> None:
        """Made-up elements that end at the present price, then the end-of-history mark."""
        now = self._clock.now()
        price = chart.socket.world.prices(chart.contract_id)[2] or Decimal(100)
        dice = random.Random(chart.contract_id)
        prices = [price]
        for _ in range(elements):
            prices.append(prices[-1] + dice.choice((-1, 0, 1)) * chart.tick_size)
        prices.reverse()
        if chart.underlying == "Tick":
            _send(chart, chart.historical_id, now, _ticks(chart, prices[1:], now))
        else:
            bars = [
                _bar(now - timedelta(minutes=chart.minutes * (elements - i)), first, last)
                for i, (first, last) in enumerate(zip(prices, prices[1:], strict=False))
            ]
            _send(chart, chart.historical_id, now, {"bars": bars})
        end = {"id": chart.historical_id, "eoh": True}
        chart.socket.send({"e": "chart", "d": {"charts": [end]}})

    def _send_bar(self, chart: _Chart) -> None:
        price = chart.socket.world.prices(chart.contract_id)[2]
        if price is None or price == chart.last:
            return
        chart.last, now = price, self._clock.now()
        if chart.underlying == "Tick":
            _send(chart, chart.realtime_id, now, _ticks(chart, [price], now))
            return
        start = _floor(now, chart.minutes)
        if chart.bar is None or chart.bar["timestamp"] != iso(start):
            chart.bar = _bar(start, price, price)
        bar = chart.bar
        bar["high"], bar["low"] = max(bar["high"], price), min(bar["low"], price)
        bar["close"] = price
        _send(chart, chart.realtime_id, now, {"bars": [dict(bar)]})


def _contract(socket: Socket, symbol: Any) -> dict[str, Any]:
    """The row of a contract by its name or its id."""
    assert socket.session is not None
    by_id = isinstance(symbol, int)
    path = "contract/item" if by_id else "contract/find"
    query = {"id" if by_id else "name": str(symbol)}
    row: dict[str, Any] = socket.world.venue.call(socket.session.user_id, path, query, None)
    return row


def _send(chart: _Chart, subscription_id: int, at: datetime, content: dict[str, Any]) -> None:
    packet = {"id": subscription_id, "td": int(at.strftime("%Y%m%d")), **content}
    chart.socket.send({"e": "chart", "d": {"charts": [packet]}})


def _bar(at: datetime, first: Decimal, last: Decimal) -> dict[str, Any]:
    return {
        "timestamp": iso(at),
        "open": first,
        "high": max(first, last),
        "low": min(first, last),
        "close": last,
        "upVolume": 1,
        "downVolume": 1,
        "upTicks": 1,
        "downTicks": 1,
        "bidVolume": 1,
        "offerVolume": 1,
    }


def _ticks(chart: _Chart, prices: list[Decimal], at: datetime) -> dict[str, Any]:
    """A packet of ticks: prices in tick sizes and times in ms, relative to its base."""
    base = int(prices[0] / chart.tick_size)
    relative = [int(price / chart.tick_size) - base for price in prices]
    return {
        "bp": base,
        "bt": int(at.timestamp() * 1000) - len(prices),
        "ts": chart.tick_size,
        "tks": [
            {"t": i, "p": p, "s": 1, "b": p - 1, "a": p + 1, "bs": _SIZE, "as": _SIZE, "id": i}
            for i, p in enumerate(relative)
        ],
    }


def _floor(at: datetime, minutes: int) -> datetime:
    seconds = minutes * 60
    return at - timedelta(seconds=at.timestamp() % seconds)
