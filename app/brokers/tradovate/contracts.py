"""The broker's own contract library: names, ids, tick sizes, maturities.

It hardly changes within a day and every look-up costs a request, so it is kept for a day, one
library per environment: ids of the one do not exist in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from time import monotonic
from typing import Any

from app import clock
from app.brokers.tradovate import wire
from app.brokers.tradovate.errors import NotThere
from app.domain import symbols
from app.domain.errors import BrokerRefused

Call = Callable[..., Any]
"""``Session.call``."""

MOST_IDS = 10
"""More ids in one request are answered with 404 (reference 1)."""
_KEPT_S = 24 * 60 * 60.0
_SUGGESTIONS = 10


@dataclass(frozen=True, slots=True)
class Maturity:
    """A contract month. ``first_notice_on``: from then on a holder may be given the goods."""

    code: str
    expires_on: date
    first_notice_on: date | None = None


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """``tick_size`` in points, ``point_value`` in currency per point and contract."""

    tick_size: Decimal
    point_value: Decimal


class Contracts:
    """What costs a request takes the session's ``call``; the others only know what was learnt."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ids: dict[str, tuple[int, float]] = {}
        self._facts: dict[str, tuple[ContractFacts, float]] = {}
        self._maturities: dict[str, tuple[tuple[Maturity, ...], float]] = {}
        self._wanted: set[str] = set()

    def name_of(self, contract_id: int) -> str | None:
        return self._names.get(contract_id)

    def learn(self, contract_id: int, name: str) -> None:
        self._names[contract_id] = name
        self._ids[name] = (contract_id, monotonic())
        root = _root(name)
        if root is not None:
            self._wanted.add(root)

    def resolve_id(self, name: str, call: Call) -> int:
        """
        Raises:
            BrokerRefused: ``unknown_contract``, with names that are alike.
        """
        known = self._ids.get(name)
        if known is not None and monotonic() - known[1] < _KEPT_S:
            return known[0]
        try:
            row = call("contract/find", query={"name": name})
        except NotThere as e:
            raise self._unknown(name, call) from e
        found = wire.integer(row.get("id")) if isinstance(row, dict) else None
        if found is None:
            raise self._unknown(name, call)
        self.learn(found, name)
        return found

    def resolve_names(self, contract_ids: Iterable[int], call: Call) -> None:
        """Learn the names of these contracts; those that the broker does not know stay unknown."""
        ids = sorted(i for i in contract_ids if i not in self._names)
        for chunk in chunks(ids):
            for row in rows(call("contract/items", query={"ids": joined(chunk)})):
                if isinstance(row.get("name"), str) and wire.integer(row.get("id")) is not None:
                    self.learn(row["id"], row["name"])

    def facts(self, name: str, call: Call) -> ContractFacts:
        """
        Raises:
            BrokerRefused: ``unknown_contract``: the broker has no such product.
        """
        root = _root(name) or name
        known = self._facts.get(root)
        if known is not None and monotonic() - known[1] < _KEPT_S:
            return known[0]
        row = self._product(root, call)
        tick, value = wire.decimal(row.get("tickSize")), wire.decimal(row.get("valuePerPoint"))
        if not tick or not value:
            raise BrokerRefused(f"Tradovate has no tick size of {root}.", code="unknown_contract")
        facts = ContractFacts(tick, value)
        self._facts[root] = (facts, monotonic())
        return facts

    def maturities(self, root: str, call: Call) -> tuple[Maturity, ...]:
        """The contracts of a product that have not expired, the next one first."""
        if self._is_fresh(root):
            return self.known_maturities(root)
        product_id = self._product(root, call).get("id")
        listed = rows(call("contractMaturity/deps", query={"masterid": product_id}))
        found = sorted(
            filter(None, (_maturity(root, row) for row in listed)), key=lambda m: m.expires_on
        )
        self._maturities[root] = (tuple(found), monotonic())
        return self.known_maturities(root)

    def known_maturities(self, root: str) -> tuple[Maturity, ...]:
        """The same without a request: empty until they were read. What is asked for here is read
        by the next ``prefetch``."""
        self._wanted.add(root)
        today = clock.now().date()
        known, _ = self._maturities.get(root, ((), 0.0))
        return tuple(m for m in known if m.expires_on >= today)

    def prefetch(self, call: Call) -> None:
        """Read the maturities of the products in use that are not known, or no longer fresh."""
        for root in sorted(self._wanted):
            if not self._is_fresh(root):
                try:
                    self.maturities(root, call)
                except BrokerRefused:
                    self._maturities[root] = (self.known_maturities(root), monotonic())

    def _is_fresh(self, root: str) -> bool:
        known = self._maturities.get(root)
        return known is not None and monotonic() - known[1] < _KEPT_S

    def _product(self, root: str, call: Call) -> wire.Entity:
        try:
            row = call("product/find", query={"name": root})
        except NotThere as e:
            raise BrokerRefused(f"Tradovate has no product {root}.", code="unknown_contract") from e
        return row if isinstance(row, dict) else {}

    def _unknown(self, name: str, call: Call) -> BrokerRefused:
        found = rows(call("contract/suggest", query={"t": _root(name) or name, "l": _SUGGESTIONS}))
        near = ", ".join(str(row["name"]) for row in found if row.get("name"))
        words = f" It has {near}." if near else ""
        return BrokerRefused(f"Tradovate has no contract {name}.{words}", code="unknown_contract")


def rows(payload: Any) -> list[wire.Entity]:
    """The rows of a list's answer; what is not one is left out."""
    found = payload if isinstance(payload, list) else [payload]
    return [row for row in found if isinstance(row, dict) and "id" in row]


def chunks(ids: list[int]) -> list[list[int]]:
    return [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]


def joined(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids))


def _root(name: str) -> str | None:
    instrument = symbols.instrument_for(name)
    return instrument.root if instrument.known else None


def _maturity(root: str, row: wire.Entity) -> Maturity | None:
    """``expirationMonth`` 202612 of MNQ is MNQZ6."""
    month = wire.integer(row.get("expirationMonth"))
    expires = wire.instant(row.get("expirationDate"))
    if month is None or expires is None or not 1 <= month % 100 <= 12:
        return None
    notice = wire.instant(row.get("firstIntentDate"))
    code = f"{root}{symbols.MONTH_LETTERS[month % 100 - 1]}{month // 100 % 10}"
    return Maturity(code, expires.date(), notice.date() if notice else None)
