"""``--lenient``: what published clients read or send although the schema never had it.

The strict service is the default. Under ``lenient`` (also ``set {"lenient": true}`` of the control
port) a row carries more than its entity has, and requests are read more generously. Rows, in
every answer, snapshot and event, where a field of the schema is never replaced:

* ``order``: orderQty, orderType, price, stopPrice, timeInForce and pegDifference of its newest
  version. lumibot takes them off ``order/list``; an order without orderQty is one of 0 contracts.
* ``order``: filledQty and avgFillPrice. lumibot looks there before it asks for fills.
* ``order``, ``fill``: symbol. ``position``: symbol and contractName. Bots that look no contract up.
* ``position``: openPnL, as of the moment of the answer. The same bots.
* ``fill``: accountId. Journals that sort fills by account and not by their order.
* ``account``: active. npm ``tradovate`` takes the first active account, and clients generated from
  the schema until 2024 refuse an account without it.

Requests:

* Numbers and booleans may come as texts, as in a posted form (Python clients of
  ``requests.post(data=...)``): ``typed``.
* ``accountSpec`` may be the user's name, as in the oldest official samples, or missing.
* A Stop may carry its trigger in ``price``; a strategy may ask for ``breakeven``.
* A bearer token may begin with ``$`` (a JavaScript template in Python).
* The market-data token opens the trading socket, too: npm ``tradovate`` 1.0.3 and PyPI
  ``tradovate`` 0.0.1 authorize every socket with it.
* ``user/syncrequest`` without ``entityTypes`` is told of everything, as until 2024.

Each response on a socket has a frame of its own: npm ``tradovate`` looks for its response only
in the first message of a frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.simulators.tradovate.venue import Venue
from tests.simulators.tradovate.venue.schema import BY_LOWER
from tests.simulators.tradovate.venue.wire import Row, wire

_READS = frozenset({"list", "item", "items", "find", "deps", "ldeps", "suggest"})
_TERMS = ("orderQty", "orderType", "price", "stopPrice", "pegDifference", "timeInForce")
_BOOLEANS = {"true": True, "false": False}
_BOOLEAN_FIELDS = frozenset({"admin", "isAutomated", "forward", "ifExpired"})
_NUMBER_FIELDS = frozenset(
    {
        "accountId",
        "contractId",
        "orderId",
        "orderStrategyId",
        "orderStrategyTypeId",
        "orderQty",
        "price",
        "stopPrice",
        "limitIfTouchedPrice",
        "pegDifference",
        "maxShow",
        "cashChange",
    }
)
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?\d+\.\d*")


def row(venue: Venue, entity: str, strict: Row) -> Row:
    """A row of an entity with what clients expect of it besides; the row itself if strict."""
    more = _MORE.get(entity)
    if more is None or not venue.switches.lenient:
        return strict
    return {**wire(more(venue, strict)), **strict}


def answer(venue: Venue, path: str, value: Any) -> Any:
    """The answer to a read (``order/list``) with its rows so."""
    name, _, operation = path.partition("/")
    entity = BY_LOWER.get(name)
    if entity not in _MORE or operation not in _READS or not venue.switches.lenient:
        return value
    if isinstance(value, list):
        return [row(venue, entity, each) for each in value]
    return row(venue, entity, value)


def typed(body: Any) -> Any:
    """A body whose numbers and booleans may have been texts; nonsense stays as it is."""
    if not isinstance(body, dict):
        return body
    return {name: _typed(name, value) for name, value in body.items()}


def _typed(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name in _BOOLEAN_FIELDS:
        return _BOOLEANS.get(value.lower(), value)
    if name in _NUMBER_FIELDS and _INTEGER.fullmatch(value):
        return int(value)
    if name in _NUMBER_FIELDS and _NUMBER.fullmatch(value):
        return Decimal(value)
    return value


def _order(venue: Venue, strict: Row) -> Row:
    joined = venue.order(strict["id"])
    more = {name: joined[name] for name in _TERMS if name in joined}
    more |= {"symbol": joined["contract"], "filledQty": joined["filled"]}
    if joined["avgPrice"] is not None:
        more["avgFillPrice"] = joined["avgPrice"]
    return more


def _position(venue: Venue, strict: Row) -> Row:
    name = venue.library.contract(strict["contractId"]).name
    pnl = venue.open_pnl(strict["accountId"], strict["contractId"])
    return {"symbol": name, "contractName": name, "openPnL": pnl}


def _fill(venue: Venue, strict: Row) -> Row:
    joined = venue.order(strict["orderId"])
    return {"accountId": joined["accountId"], "symbol": joined["contract"]}


def _account(venue: Venue, strict: Row) -> Row:
    return {"active": not strict.get("closed", False)}


_MORE: dict[str, Callable[[Venue, Row], Row]] = {
    "order": _order,
    "position": _position,
    "fill": _fill,
    "account": _account,
}
