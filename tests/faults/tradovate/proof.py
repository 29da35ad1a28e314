"""What our database says beside what the simulated Tradovate has: lost, doubled, wrong. Each count
should be 0."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from app.models import Account, ExternalOrder, LivePosition
from app.models.base import table
from app.services.corrections import whole_id
from tests.faults import proof
from tests.faults.proof import Counts, Rows
from tests.faults.tradovate.world import TradovateWorld
from tests.faults.world import with_timeout

ZERO = Decimal(0)
AGREEING_S = 30.0
"""How long it may take until the last difference is gone after everything has come to rest."""
_NEVER_THERE = frozenset({"not_found", "rejected", "cancelled", "expired", "skipped", "inactive"})
_STATUSES = {
    "Working": ("working", "partially_filled", "triggered"),
    "Suspended": ("inactive", "partially_filled"),
    "Filled": ("filled",),
    "Canceled": ("cancelled",),
    "Rejected": ("rejected",),
    "Expired": ("expired",),
}
Found = dict[str, list[Any]]
_SIDES = {"Buy": "buy", "Sell": "sell"}


@dataclass(frozen=True)
class Seen:
    """Both sides at one time. ``numbers``: our account id -> the broker's."""

    rows: Rows
    numbers: dict[int, int]
    live: list[Any]
    external: list[Any]
    apart: set[int]
    orders: dict[int, dict[str, Any]]
    fills: list[dict[str, Any]]
    net: dict[tuple[int, str], Decimal]
    fees: dict[int, Decimal]
    twice: frozenset[str | None]

    def of(self, order: Any) -> dict[str, Any] | None:
        """The simulator's row of an order of ours."""
        if order.broker_order_id is not None:
            return self.orders.get(int(order.broker_order_id))
        found = [o for o in self.orders.values() if o.get("clOrdId") == order.client_order_id]
        return found[0] if found else None


def see(world: TradovateWorld) -> Seen:
    book = world.simulator.book()
    accounts, live, external = table(Account), table(LivePosition), table(ExternalOrder)
    with world.engine.connect() as connection:
        rows = Rows(connection)
        ours = connection.execute(select(accounts)).all()
        positions = list(connection.execute(select(live)).all())
        others = list(connection.execute(select(external)).all())
    return Seen(
        rows=rows,
        numbers={row.id: int(row.broker_account_id) for row in ours},
        live=positions,
        external=others,
        apart={int(row.broker_account_id) for row in ours if row.out_of_sync_since is not None},
        orders={order["id"]: order for order in book["orders"]},
        fills=book["fills"],
        net={(p["accountId"], p["contract"]): _decimal(p["netPos"]) for p in book["positions"]},
        fees={int(number): _decimal(cash["fees"]) for number, cash in book["cash"].items()},
        twice=frozenset(world.twice),
    )


def rest(world: TradovateWorld) -> Counts:
    """Let everything come to rest, look while positions are held and orders work, and stop; then
    look at entries that the broker takes twice, and stop again. Differences add up."""
    world.settle()
    _agree(world, compare)
    wrong = proof.misplaced(world)
    held = _counted(world, compare(see(world)))
    world.finish()
    world.enter_twice()
    _agree(world, _after_twice)
    twice = _counted(world, _after_twice(see(world)))
    world.flatten()
    return {
        "positions other than the last alert wants": wrong,
        **{f"while positions are held: {what}": number for what, number in held.items()},
        **twice,
    }


def _agree(world: TradovateWorld, found: Callable[[Seen], Found]) -> None:
    """Wait until nothing is found, but not for ever."""
    with_timeout(lambda: not any(found(see(world)).values()), AGREEING_S)


def _counted(world: TradovateWorld, found: Found) -> Counts:
    """How much was found; what it is, is written beside the data."""
    with (world.folder / "wrong.txt").open("a") as file:
        for name, those in found.items():
            for what in those:
                file.write(f"{sum(world.kills.values())} kills: {name}: {what}\n")
    return {name: len(those) for name, those in found.items()}


def compare(seen: Seen) -> Found:
    return {
        "orders that the broker does not have": _lost(seen),
        "orders that the broker has twice": _doubled(seen),
        "orders at the broker that we do not know": _unknown(seen),
        "orders of ours taken for somebody else's": _disowned(seen),
        "orders that the broker knows differently": _different_orders(seen),
        "fills that the broker knows differently": _different_fills(seen),
        "accounts whose fees differ": _different_fees(seen),
        "positions shown that differ from the broker": _different_positions(seen),
        "books that differ from the broker": _apart(seen),
        "accounts that say so wrongly, or not": _wrongly_apart(seen),
        "legs that work on a flat book": _orphans(seen),
    }


def _after_twice(seen: Seen) -> Found:
    """What was traded is in a book, or the account says that it is out of sync."""
    return {
        "taken twice: orders that we do not know": _unknown(seen),
        "taken twice: fills that we do not know": _different_fills(seen),
        "taken twice: positions shown that differ": _different_positions(seen),
        "taken twice: accounts out of sync that do not say so": _wrongly_apart(seen),
    }


def count(world: TradovateWorld) -> Counts:
    """Over the whole history of a world that has been stopped and is flat."""
    seen = see(world)
    open_orders = [o for o in seen.orders.values() if o["status"] in ("Working", "Suspended")]
    found = {
        **compare(seen),
        "positions left at the broker": [held for held in seen.net.items() if held[1]],
        "orders left working at the broker": open_orders,
    }
    return {
        **proof.of_alerts(world, seen.rows),
        "executions skipped because their account was off": sum(
            e.reason == "account_disabled" for e in seen.rows.executions
        ),
        **_counted(world, found),
        **proof.of_books(seen.rows),
        **proof.of_events(world, seen.rows),
    }


def figures(world: TradovateWorld) -> dict[str, int]:
    """How much there was to lose, and what went wrong on the way."""
    seen = see(world)
    twice = Counter(o.get("clOrdId") for o in seen.orders.values())
    return {
        **proof.figures(world),
        "orders at the broker": len(seen.orders),
        "fills at the broker": len(seen.fills),
        "orders that the broker was made to take twice": sum(
            number > 1 for name, number in twice.items() if name in seen.twice and name
        ),
        **{f"trouble: {what}": number for what, number in sorted(world.troubles.items())},
    }


def _lost(seen: Seen) -> list[Any]:
    return [
        order
        for order in seen.rows.orders
        if (order.status not in _NEVER_THERE or order.filled_quantity) and seen.of(order) is None
    ]


def _doubled(seen: Seen) -> list[Any]:
    ids = Counter(o["clOrdId"] for o in seen.orders.values() if o.get("clOrdId") is not None)
    return [name for name, number in ids.items() if number > 1 and name not in seen.twice]


def _unknown(seen: Seen) -> list[Any]:
    ours = {o.broker_order_id for o in seen.rows.orders} | {
        o.broker_order_id for o in seen.external
    }
    return [order for order_id, order in seen.orders.items() if str(order_id) not in ours]


def _disowned(seen: Seen) -> list[Any]:
    """Nobody else trades here but a broker that took an order twice."""
    return [] if len(seen.twice) > 1 else seen.external


def _different_orders(seen: Seen) -> list[Any]:
    different = []
    for order in seen.rows.orders:
        theirs = seen.of(order)
        if theirs is None or order.client_order_id in seen.twice:
            continue
        is_same = order.status in _STATUSES.get(theirs["status"], ())
        is_same = is_same and order.filled_quantity == _decimal(theirs["filled"])
        if theirs["status"] == "Working":
            terms = (order.quantity, order.limit_price, order.stop_price)
            is_same = is_same and terms == _terms(theirs)
        if not is_same:
            different.append((order, theirs))
    return different


def _terms(theirs: dict[str, Any]) -> tuple[Decimal | None, ...]:
    names = ("orderQty", "price", "stopPrice")
    return tuple(None if theirs.get(n) is None else _decimal(theirs[n]) for n in names)


def _different_fills(seen: Seen) -> list[Any]:
    ours: defaultdict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for fill in seen.rows.fills:
        key = (whole_id(fill.broker_fill_id), fill.contract, fill.side, fill.price)
        ours[seen.numbers[fill.account_id], *key] += fill.quantity
    theirs: defaultdict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in seen.fills:
        key = (str(row["id"]), row["contract"], _SIDES[row["action"]], _decimal(row["price"]))
        theirs[row["accountId"], *key] += _decimal(row["qty"])
    keys = {*ours, *theirs}
    return [(key, ours[key], theirs[key]) for key in keys if ours[key] != theirs[key]]


def _different_fees(seen: Seen) -> list[Any]:
    ours: defaultdict[int, Decimal] = defaultdict(Decimal)
    for fill in seen.rows.fills:
        ours[seen.numbers[fill.account_id]] += fill.fee
    numbers = seen.numbers.values()
    return [(n, ours[n], seen.fees[n]) for n in numbers if ours[n] != seen.fees[n]]


def _different_positions(seen: Seen) -> list[Any]:
    shown = {(seen.numbers[row.account_id], row.contract): row.net_pos for row in seen.live}
    return _differences(shown, seen.net)


def _apart(seen: Seen) -> list[Any]:
    held: defaultdict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for book in seen.rows.books:
        held[seen.numbers[book.account_id], book.contract] += book.net_pos
    return _differences(held, seen.net)


def _wrongly_apart(seen: Seen) -> list[Any]:
    are = {number for (number, _), *_ in _apart(seen)}
    return sorted(are ^ seen.apart)


def _differences(
    ours: Mapping[tuple[int, str], Decimal], theirs: Mapping[tuple[int, str], Decimal]
) -> list[Any]:
    both = ((key, ours.get(key, ZERO), theirs.get(key, ZERO)) for key in {*ours, *theirs})
    return [each for each in both if each[1] != each[2]]


def _orphans(seen: Seen) -> list[Any]:
    """Legs that the broker works while nothing is held in their contract. Those of an entry that
    was not filled are Suspended there."""
    legs = {o.broker_order_id for o in seen.rows.orders if o.role in ("take_profit", "stop_loss")}
    return [
        order
        for order in seen.orders.values()
        if order["status"] == "Working"
        and (str(order["id"]) in legs or order.get("parentId") is not None)
        and not seen.net.get((order["accountId"], order["contract"]), ZERO)
    ]


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))
