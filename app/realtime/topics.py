"""What a connection may follow beside its own user's events, and whose it must be."""

from __future__ import annotations

from typing import Any

from app.domain.errors import NotFound
from app.models import Account, Order, Signal, Strategy, Trader
from app.services import owned, user_data

_OWNED = {
    "order": Order,
    "strategy": Strategy,
    "account": Account,
    "trader": Trader,
    "signal": Signal,
}


def room(topic: str, user_id: int) -> str:
    """The room that a topic is in for this user; says nothing of whether it may be entered.

    Raises:
        NotFound: there is no such topic.
    """
    if topic == "logs":
        return f"logs:{user_id}"
    kind, row_id = _named(topic)
    return f"{kind}:{row_id}"


def checked_room(topic: str, user_id: int) -> str:
    """The room of a topic, once it is sure that what it names belongs to the user.

    Raises:
        NotFound: unknown, deleted, or somebody else's.
    """
    if topic != "logs":
        kind, row_id = _named(topic)
        owned.get(_OWNED[kind], row_id, user_id)
    return room(topic, user_id)


def first_words(topic: str, user_id: int) -> list[tuple[str, Any]]:
    """Events that one who begins to follow a topic of the user is sent at once: where things
    stand, for what moves without numbers."""
    kind, _, number = topic.partition(":")
    if kind != "account":
        return []
    return [("account:snapshot", user_data.snapshot(user_id, int(number)))]


def _named(topic: str) -> tuple[str, int]:
    kind, _, number = topic.partition(":")
    if kind not in _OWNED or not (number.isascii() and number.isdigit() and len(number) < 20):
        raise NotFound
    return kind, int(number)
