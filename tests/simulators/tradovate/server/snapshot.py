"""``user/syncrequest``: what a socket asked to be told, and the first picture of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulators.tradovate.server import lenient, permissions
from tests.simulators.tradovate.server.auth import Session
from tests.simulators.tradovate.server.stream import Event
from tests.simulators.tradovate.venue import Http
from tests.simulators.tradovate.venue.schema import PLURALS

if TYPE_CHECKING:
    from tests.simulators.tradovate.server.world import World

ENTITY_OF = {array: entity for entity, array in PLURALS.items()}
_SHARD_BY = ("modAccountId", "modUserId")


@dataclass(frozen=True)
class Shard:
    by_account: bool
    divisor: int
    remainder: int

    def holds(self, *, account_id: int | None, user_id: int) -> bool:
        number = account_id if self.by_account else user_id
        return number is None or number % self.divisor == self.remainder


@dataclass(frozen=True)
class Subscription:
    """None means all of them."""

    accounts: frozenset[int] | None
    entity_types: frozenset[str] | None
    """Lower-case."""
    shard: Shard | None
    is_split: bool

    def wants(self, world: World, session: Session, event: Event) -> bool:
        kind = event["entityType"]
        if self.entity_types is not None and kind.lower() not in self.entity_types:
            return False
        if session.permission(permissions.domain(kind)) == "none":
            return False
        account_id = world.account_of(kind, event["entity"])
        if self.shard and not self.shard.holds(account_id=account_id, user_id=session.user_id):
            return False
        return self.accounts is None or account_id is None or account_id in self.accounts


def subscription(world: World, body: dict[str, Any]) -> Subscription:
    """What the body asks for, in the shape of the world's year.

    Raises:
        Http: 400, fields that exclude each other, or nonsense.
    """
    asked_types, shard = body.get("entityTypes"), body.get("shardingExpression")
    if world.shapes == "2024":
        asked_types = shard = None
    elif body.get("users") and (asked_types is not None or shard):
        raise Http(400, "users cannot be combined with entityTypes or shardingExpression")
    elif body.get("accounts") and shard:
        raise Http(400, "accounts cannot be combined with shardingExpression")
    try:
        accounts = body.get("accounts")
        is_all = _is_of_everything(world, body)
        types = None if is_all else frozenset(map(str.lower, asked_types or ()))
        return Subscription(
            accounts=frozenset(map(int, accounts)) if accounts else None,
            entity_types=types,
            shard=_shard(shard) if shard else None,
            is_split=bool(body.get("splitResponses")),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as e:
        raise Http(400, "Malformed synchronization request") from e


def _is_of_everything(world: World, body: dict[str, Any]) -> bool:
    """Entity types are not asked for: until 2024 that meant all of them."""
    return world.shapes == "2024" or (world.is_lenient and body.get("entityTypes") is None)


def _shard(asked: dict[str, Any]) -> Shard:
    if asked["expressionType"] not in _SHARD_BY or int(asked["divisor"]) <= 0:
        raise ValueError("expressionType")
    return Shard(
        asked["expressionType"] == _SHARD_BY[0], int(asked["divisor"]), int(asked["remainder"])
    )


def picture(
    world: World, session: Session, wanted: Subscription, body: dict[str, Any]
) -> dict[str, list[Any]]:
    """The arrays of the snapshot that the key may see."""
    arrays = world.venue.snapshot(
        session.user_id,
        accounts=sorted(wanted.accounts) if wanted.accounts else None,
        users=body.get("users") or None,
        entity_types=None if _is_of_everything(world, body) else body.get("entityTypes") or [],
    )
    return {
        name: [
            lenient.row(world.venue, ENTITY_OF.get(name, name), row)
            for row in _of_shard(world, session, wanted, name, rows)
        ]
        for name, rows in arrays.items()
        if session.permission(permissions.domain(ENTITY_OF.get(name, name))) != "none"
    }


def _of_shard(
    world: World, session: Session, wanted: Subscription, name: str, rows: list[Any]
) -> list[Any]:
    shard = wanted.shard
    if shard is None or name not in ENTITY_OF:
        return rows
    kind, user_id = ENTITY_OF[name], session.user_id
    return [
        row for row in rows if shard.holds(account_id=world.account_of(kind, row), user_id=user_id)
    ]


def parts(arrays: dict[str, list[Any]], size: int) -> Iterator[dict[str, list[Any]]]:
    """The same arrays in pieces of at most ``size`` entities; the users come first."""
    yield {"users": arrays.get("users", [])}
    for name, rows in arrays.items():
        if name == "users":
            continue
        for start in range(0, len(rows), size):
            yield {name: rows[start : start + size]}
