"""Products, maturities and contracts (reference 3.4 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.simulators.tradovate.venue.store import Store
from tests.simulators.tradovate.venue.wire import Row, iso, iso_minutes

NEW_YORK = ZoneInfo("America/New_York")
MONTH_CODES = "FGHJKMNQUVXZ"
COMING = 6
"""Maturities listed per product, besides the one that expired last."""
USD = 1
CLEARING_HOUSE = 1
MAINTENANCE_SHARE = Decimal("0.9")
"""Of the initial margin."""
FRIDAY = 4
WEDNESDAY = 2


@dataclass(frozen=True, slots=True)
class Fees:
    """USD per contract and side."""

    clearing: Decimal
    exchange: Decimal
    nfa: Decimal
    commission: Decimal

    @property
    def total(self) -> Decimal:
        return self.clearing + self.exchange + self.nfa + self.commission


MINI_FEES = Fees(Decimal("0.19"), Decimal("1.38"), Decimal("0.02"), Decimal("1.29"))
MICRO_FEES = Fees(Decimal("0.09"), Decimal("0.35"), Decimal("0.02"), Decimal("0.39"))


@dataclass(frozen=True, slots=True)
class Product:
    root: str
    description: str
    exchange: str
    tick: Decimal
    value_per_point: Decimal
    months: str
    rule: str
    margin: Decimal
    fees: Fees


@dataclass(frozen=True, slots=True)
class Contract:
    """One dated contract. ``expires`` is its last moment of trading."""

    id: int
    name: str
    product: Product
    product_id: int
    maturity_id: int
    month: date
    expires: datetime

    @property
    def tick(self) -> Decimal:
        return self.product.tick


def _catalogue() -> Iterator[Product]:
    quarterly, every = "HMUZ", MONTH_CODES
    rows = (
        ("ES", "E-Mini S&P 500", "CME", "0.25", "50", quarterly, "index", "15000", MINI_FEES),
        ("MES", "Micro E-Mini S&P", "CME", "0.25", "5", quarterly, "index", "1500", MICRO_FEES),
        ("NQ", "E-Mini NASDAQ 100", "CME", "0.25", "20", quarterly, "index", "21000", MINI_FEES),
        ("MNQ", "Micro NASDAQ 100", "CME", "0.25", "2", quarterly, "index", "2100", MICRO_FEES),
        ("YM", "E-Mini Dow", "CBOT", "1", "5", quarterly, "index", "10000", MINI_FEES),
        ("MYM", "Micro Dow", "CBOT", "1", "0.5", quarterly, "index", "1000", MICRO_FEES),
        ("RTY", "E-Mini Russell 2000", "CME", "0.1", "50", quarterly, "index", "7000", MINI_FEES),
        ("M2K", "Micro Russell 2000", "CME", "0.1", "5", quarterly, "index", "700", MICRO_FEES),
        ("CL", "Crude Oil", "NYMEX", "0.01", "1000", every, "crude", "6000", MINI_FEES),
        ("MCL", "Micro Crude Oil", "NYMEX", "0.01", "100", every, "crude", "600", MICRO_FEES),
        ("NG", "Natural Gas", "NYMEX", "0.001", "10000", every, "gas", "4000", MINI_FEES),
        ("GC", "Gold", "COMEX", "0.1", "100", "GJMQVZ", "metal", "12000", MINI_FEES),
        ("MGC", "Micro Gold", "COMEX", "0.1", "10", "GJMQVZ", "metal", "1200", MICRO_FEES),
        ("SI", "Silver", "COMEX", "0.005", "5000", "HKNUZ", "metal", "14000", MINI_FEES),
        ("SIL", "Micro Silver", "COMEX", "0.005", "1000", "HKNUZ", "metal", "2800", MICRO_FEES),
        ("HG", "Copper", "COMEX", "0.0005", "25000", "HKNUZ", "metal", "7000", MINI_FEES),
        ("6E", "Euro FX", "CME", "0.00005", "125000", quarterly, "currency", "2800", MINI_FEES),
        ("ZN", "10-Year Note", "CBOT", "0.015625", "1000", quarterly, "rates", "2000", MINI_FEES),
        ("ZB", "30-Year Bond", "CBOT", "0.03125", "1000", quarterly, "rates", "3800", MINI_FEES),
    )
    for root, text, exchange, tick, value, months, rule, margin, fees in rows:
        yield Product(
            root, text, exchange, Decimal(tick), Decimal(value), months, rule, Decimal(margin), fees
        )


def _business_days_back(day: date, count: int) -> date:
    """The ``count``-th business day before ``day`` (holidays are not known)."""
    while count:
        day -= timedelta(days=1)
        if day.weekday() <= FRIDAY:
            count -= 1
    return day


def _nth_weekday(month: date, weekday: int, nth: int) -> date:
    first = month + timedelta(days=(weekday - month.weekday()) % 7)
    return first + timedelta(weeks=nth - 1)


def _next_month(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def last_trading_day(rule: str, month: date) -> date:
    """The exchange's last day of trading of the contract for ``month`` (its first day)."""
    if rule == "index":
        return _nth_weekday(month, FRIDAY, 3)
    if rule == "currency":
        return _business_days_back(_nth_weekday(month, WEDNESDAY, 3), 2)
    if rule == "rates":
        return _business_days_back(_next_month(month), 8)
    if rule == "crude":
        return _business_days_back((month - timedelta(days=1)).replace(day=25), 3)
    if rule == "gas":
        return _business_days_back(month, 3)
    return _business_days_back(_next_month(month), 3)


def first_intent_day(rule: str, month: date) -> date | None:
    """First notice, only of what is delivered and announced before its last trading day."""
    return _business_days_back(month, 1) if rule in {"metal", "rates"} else None


def _close(day: date) -> datetime:
    return datetime.combine(day, time(17), NEW_YORK).astimezone(UTC)


class Library:
    """The contracts around a moment, as rows of the store and as values for the books."""

    def __init__(self, store: Store, now: datetime) -> None:
        self._store = store
        self._contracts: dict[int, Contract] = {}
        self._by_name: dict[str, Contract] = {}
        self._chains: dict[str, list[Contract]] = {}
        self._product_ids: dict[str, int] = {}
        self._front_of: datetime | None = None
        store.add("currency", {"id": USD, "name": "USD", "symbol": "$"})
        store.add("clearingHouse", {"id": CLEARING_HOUSE, "name": "Simulated Clearing"})
        store.add("orderStrategyType", {"id": 2, "name": "multiBracket", "enabled": True})
        group = store.add("contractGroup", {"name": "Futures"})["id"]
        exchanges: dict[str, int] = {}
        for product in _catalogue():
            if product.exchange not in exchanges:
                exchanges[product.exchange] = store.add("exchange", {"name": product.exchange})[
                    "id"
                ]
            self._add_product(product, exchanges[product.exchange], group, now)
        self.refresh(now)

    def find(self, name: str) -> Contract | None:
        return self._by_name.get(name)

    def get(self, contract_id: int) -> Contract | None:
        return self._contracts.get(contract_id)

    def contract(self, contract_id: int) -> Contract:
        return self._contracts[contract_id]

    def front(self, root: str, now: datetime) -> Contract:
        """The contract that expires next: what ``isFront`` says."""
        return next(c for c in self._chains[root] if c.expires > now)

    def chain(self, root: str) -> list[Contract]:
        """All listed contracts of one product, by expiry."""
        return self._chains.get(root, [])

    def neighbour(self, contract: Contract, *, forward: bool) -> Contract | None:
        chain = self._chains[contract.product.root]
        place = chain.index(contract) + (1 if forward else -1)
        return chain[place] if 0 <= place < len(chain) else None

    def product_of(self, product_id: int) -> Product | None:
        row = self._store.get("product", product_id)
        return self._chains[row["name"]][0].product if row else None

    def suggest(self, text: str, limit: int, now: datetime) -> list[Row]:
        """Best matches first: the exact root by expiry, then names that begin so or contain it."""
        wanted = text.upper()

        def rank(contract: Contract) -> tuple[int, str, datetime]:
            root = contract.product.root
            if wanted == root:
                return 0, root, contract.expires
            return (1 if contract.name.startswith(wanted) else 2), root, contract.expires

        hits = [c for c in self._contracts.values() if wanted in c.name and c.expires > now]
        hits.sort(key=rank)
        return [self._store.get("contract", c.id) or {} for c in hits[:limit]]

    def refresh(self, now: datetime) -> None:
        """Move ``isFront`` and list further maturities once a contract has expired."""
        if self._front_of is not None and now < self._front_of:
            return
        for root, chain in self._chains.items():
            product = chain[0].product
            while sum(c.expires > now for c in chain) < COMING:
                self._append(product, self._following(product, chain[-1].month))
            front = self.front(root, now)
            for contract in chain:
                row = self._store.get("contractMaturity", contract.maturity_id) or {}
                row["isFront"] = contract is front
                row["archived"] = contract.expires <= now
        self._front_of = min(self.front(root, now).expires for root in self._chains)

    def _add_product(self, product: Product, exchange: int, group: int, now: datetime) -> None:
        row = self._store.add(
            "product",
            {
                "name": product.root,
                "currencyId": USD,
                "productType": "Futures",
                "description": product.description,
                "exchangeId": exchange,
                "contractGroupId": group,
                "status": "Verified",
                "months": product.months,
                "valuePerPoint": product.value_per_point,
                "priceFormatType": "Fractional" if product.root in {"ZN", "ZB"} else "Decimal",
                "priceFormat": product.tick.as_tuple().exponent,
                "tickSize": product.tick,
            },
        )
        self._product_ids[product.root] = row["id"]
        self._store.add(
            "productSession",
            {
                "id": row["id"],
                "openTime": {"hour": 18, "minute": 0},
                "startTime": {"hour": 18, "minute": 0},
                "stopTime": {"hour": 17, "minute": 0},
                "closeTime": {"hour": 17, "minute": 0},
                "sundayOpenTime": {"hour": 18, "minute": 0},
            },
        )
        self._store.add(
            "productMargin",
            {
                "id": row["id"],
                "initialMargin": product.margin,
                "maintenanceMargin": product.margin * MAINTENANCE_SHARE,
                "timestamp": iso(now),
            },
        )
        self._chains[product.root] = []
        month = now.date().replace(day=1) - timedelta(days=100)
        expired: date | None = None
        month = self._following(product, month.replace(day=1))
        while _close(last_trading_day(product.rule, month)) <= now:
            expired, month = month, self._following(product, month)
        if expired is not None:
            self._append(product, expired)
        for _ in range(COMING):
            self._append(product, month)
            month = self._following(product, month)

    def _following(self, product: Product, month: date) -> date:
        month = _next_month(month)
        while MONTH_CODES[month.month - 1] not in product.months:
            month = _next_month(month)
        return month

    def _append(self, product: Product, month: date) -> None:
        expires = _close(last_trading_day(product.rule, month))
        maturity: Row = {
            "productId": self._product_ids[product.root],
            "expirationMonth": month.year * 100 + month.month,
            "expirationDate": iso_minutes(expires),
            "isFront": False,
            "archived": False,
            "seqNo": len(self._chains[product.root]) + 1,
        }
        notice = first_intent_day(product.rule, month)
        if notice is not None:
            maturity["firstIntentDate"] = iso_minutes(_close(notice))
        maturity_id = self._store.add("contractMaturity", maturity)["id"]
        name = f"{product.root}{MONTH_CODES[month.month - 1]}{month.year % 10}"
        row = self._store.add(
            "contract",
            {
                "name": name,
                "contractMaturityId": maturity_id,
                "status": "DefinitionChecked",
                "providerTickSize": product.tick,
                "timestamp": iso(expires - timedelta(days=400)),
            },
        )
        contract = Contract(
            row["id"], name, product, maturity["productId"], maturity_id, month, expires
        )
        self._contracts[contract.id] = contract
        self._by_name[name] = contract
        self._chains[product.root].append(contract)
