"""The text of one WebSocket message, read and written: o, h, a[...] and c[...] come in, four lines
go out (Tradovate reference, section 5). Nothing here knows of a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

Change = tuple[str, str, dict[str, Any]]
"""(entity type, ``Created`` | ``Updated`` | ``Deleted``, entity), all as the broker names them.
Types and values that we do not know pass through."""

BEAT = "[]"
"""What a client sends every 2.5 s, or it is cut off."""
AUTHORIZE = "authorize"
SYNC = "user/syncrequest"
ENTITY_TYPES = (
    "account",
    "accountRiskStatus",
    "cashBalance",
    "marginSnapshot",
    "position",
    "order",
    "orderVersion",
    "command",
    "commandReport",
    "executionReport",
    "fill",
    "fillPair",
    "fillFee",
    "orderStrategy",
    "orderStrategyLink",
    "contract",
    "contractMaturity",
    "product",
)
"""What we ask to be told of. Servers of 2026 send nothing that is not named."""

_UPDATED = "Updated"
_PLURALS = (("ies", "y"), ("ses", "s"), ("s", ""))


class BadFrame(ValueError):
    """Not a frame, or cut off in the middle. What it contained is not in the message."""


class Kind(StrEnum):
    OPEN = "o"
    HEARTBEAT = "h"
    MESSAGES = "a"
    CLOSE = "c"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to our request ``id``; ``status`` is like HTTP's, 0 where there is none. ``data``
    is JSON after a 2xx (absent after ``authorize``), plain text otherwise."""

    id: int
    status: int
    data: Any = None

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Event:
    """``props``, ``shutdown``, or one that is not for us."""

    name: str
    data: Any = None


Message = Reply | Event


@dataclass(frozen=True, slots=True)
class Frame:
    """``reason``: the broker's words in a close frame."""

    kind: Kind
    messages: tuple[Message, ...] = ()
    reason: str = ""


def parse(text: str) -> Frame:
    """One frame. Numbers with a point are Decimal.

    Raises:
        BadFrame: garbage, a cut-off frame, or a letter that the reference does not have.
    """
    letter, rest = text[:1], text[1:]
    if letter == Kind.MESSAGES:
        return Frame(Kind.MESSAGES, tuple(_messages(_list(rest))))
    if letter == Kind.CLOSE:
        return Frame(Kind.CLOSE, reason=_close_reason(rest))
    if text in {Kind.OPEN, Kind.HEARTBEAT}:
        return Frame(Kind(text))
    raise BadFrame("not a frame")


def request(endpoint: str, number: int, *, query: str = "", body: Any = "") -> str:
    """One request; ``number`` comes back in its ``Reply``. A text goes out as it is (a token), all
    else as JSON on one line: the server splits at line ends."""
    written = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    return f"{endpoint}\n{number}\n{query}\n{written}"


def sync_body(accounts: list[int], *, ticket: str | None = None) -> dict[str, Any]:
    """The ``user/syncrequest`` of 2026. Without ``entityTypes`` nothing would come; ``users`` may
    not stand beside them."""
    body = {"splitResponses": True, "accounts": accounts, "entityTypes": list(ENTITY_TYPES)}
    return body | _with(ticket)


def old_sync_body(user_id: int, *, ticket: str | None = None) -> dict[str, Any]:
    """The ``user/syncrequest`` of 2024, which names a user and gets everything of theirs."""
    return {"users": [user_id]} | _with(ticket)


def changes(data: Any) -> list[Change]:
    """What one ``props`` event says; empty where it says nothing that could be understood."""
    if not isinstance(data, dict):
        return []
    kind, what, entity = data.get("entityType"), data.get("eventType"), data.get("entity")
    if not isinstance(kind, str):
        return []
    rows = entity if isinstance(entity, list) else [entity]
    return [(kind, str(what or _UPDATED), row) for row in rows if isinstance(row, dict)]


def entities(part: Any) -> Iterator[Change]:
    """The rows of a snapshot, or of a part of it, as changes: ``cashBalances`` holds rows of
    ``cashBalance``, and so do arrays that are not known yet."""
    if not isinstance(part, dict):
        return
    for name, rows in part.items():
        if isinstance(rows, list):
            kind = _singular(name)
            yield from ((kind, _UPDATED, row) for row in rows if isinstance(row, dict))


def has_wanted_arrays(part: Any) -> bool:
    """Whether a snapshot has any array, if only an empty one, of what we ask to be told of."""
    return isinstance(part, dict) and any(
        isinstance(rows, list) and _singular(name) in ENTITY_TYPES for name, rows in part.items()
    )


def _with(ticket: str | None) -> dict[str, Any]:
    return {"p-ticket": ticket} if ticket else {}


def _singular(name: str) -> str:
    for ending, instead in _PLURALS:
        if name.endswith(ending):
            return name.removesuffix(ending) + instead
    return name


def _list(text: str) -> list[Any]:
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError):
        raise BadFrame("cut off, or not JSON") from None
    if not isinstance(value, list):
        raise BadFrame("not an array")
    return value


def _no_number(_word: str) -> None:
    """NaN and Infinity are no JSON and no price: as if there were no value."""


def _messages(items: list[Any]) -> Iterator[Message]:
    for item in items:
        if not isinstance(item, dict):
            raise BadFrame("a message that is no object")
        if isinstance(item.get("e"), str):
            yield Event(item["e"], item.get("d"))
        elif isinstance(item.get("i"), int):
            status = item.get("s")
            yield Reply(item["i"], status if isinstance(status, int) else 0, item.get("d"))


def _close_reason(text: str) -> str:
    """``[3000,"Go away!"]`` -> ``Go away!``. The connection ends whatever it says."""
    try:
        return " ".join(str(word) for word in _list(text) if isinstance(word, str))
    except BadFrame:
        return ""
