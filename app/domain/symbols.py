"""From the name in an alert to the contract that is traded.

Understood are TradingView's continuous names (``MNQ1!``, ``MNQ2!``) and dated contracts
(``MNQZ2025``), Tradovate's (``MNQZ5``), two-digit years (``MNQZ25``), NinjaTrader's
(``MNQ 12-25``), bare roots, and names of crypto, forex and stocks. Contract codes follow
Tradovate: root, month letter, last digit of the year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from app.domain import instruments
from app.domain.instruments import Instrument, InstrumentKind

MONTH_LETTERS = "FGHJKMNQUVXZ"
FRONT = "front"
NEXT = "next"

_CHICAGO = ZoneInfo("America/Chicago")
_NINJATRADER = re.compile(r"([A-Z0-9]+) (\d{1,2})-(\d{4}|\d{2})")
_PERPETUAL = re.compile(r"([A-Z0-9]+?)(?:\.P|PERP|\.PERP)")


@dataclass(frozen=True, slots=True)
class ResolvedContract:
    """``contract`` is the code to trade; ``year`` and ``month`` only for dated futures."""

    instrument: Instrument
    contract: str
    year: int | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A futures contract as a broker lists it. ``first_notice_on``: from when on a long may be
    asked to take delivery; none where it is settled in cash."""

    contract: str
    expires_on: date
    first_notice_on: date | None = None


ListedOf = Callable[[str], Sequence[Listed]]
"""What a broker lists of a root; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class _Named:
    """What a symbol says by itself: an instrument, and a month or a place in the cycle."""

    instrument: Instrument
    month: int | None = None
    year_digits: str = ""
    place: int | None = None
    code: str = ""


def resolve(
    symbol: str, at: datetime, *, contract: str = FRONT, listed_of: ListedOf | None = None
) -> ResolvedContract:
    """The contract that ``symbol`` means at ``at``.

    ``contract`` says what a bare or continuous futures name stands for: ``front``, ``next``, or
    a pinned contract code, which also wins over a month in the symbol; a pin of another product
    is ignored. ``2!`` is the second contract whatever ``contract`` says. A name that nobody
    knows gives an instrument with ``known=False`` and itself as the contract. With ``listed_of``
    the broker's own dates decide which contract is the front one.
    """
    named = _read(_normal(symbol))
    if named.instrument.kind is not InstrumentKind.FUTURES:
        return ResolvedContract(named.instrument, named.code)
    pinned = _pin(contract, named.instrument)
    if pinned is not None:
        named = pinned
    if named.month is not None:
        year = _full_year(named.year_digits, at)
        return _dated(named.instrument, year, named.month)
    place = named.place if named.place is not None and named.place > 1 else 1
    if place == 1 and contract == NEXT:
        place = 2
    listed = listed_of(named.instrument.root) if listed_of is not None else ()
    return nth_contract(named.instrument, at, place, listed)


@lru_cache(maxsize=4096)
def instrument_for(contract: str) -> Instrument:
    """The instrument of a contract code or symbol; one with ``known=False`` for a foreign name."""
    return _read(_normal(contract)).instrument


def nth_contract(
    instrument: Instrument, at: datetime, place: int, listed: Sequence[Listed] = ()
) -> ResolvedContract:
    """The front contract at ``at`` (place 1), the one after it (2), and so on: of those that
    ``listed`` names, where it goes that far, else by the calendar."""
    today = _trade_date(at)
    tradable = _tradable(instrument, listed, today)
    if len(tradable) >= place:
        return resolve(tradable[place - 1].contract, at)
    waiting = place
    for year, month in _cycle(instrument, today):
        if roll_date(instrument, year, month) > today:
            waiting -= 1
        if waiting == 0:
            return _dated(instrument, year, month)
    raise AssertionError("the cycle of a futures product never ends")


def roll_date(instrument: Instrument, year: int, month: int) -> date:
    """The trade date from which this contract is no longer the front one."""
    return _ROLLS[instrument.roll](year, month)


def _normal(symbol: str) -> str:
    return symbol.strip().upper().rsplit(":", 1)[-1].replace("/", "")


def _read(symbol: str) -> _Named:
    return _read_futures(symbol) or _read_other(symbol)


def _read_futures(symbol: str) -> _Named | None:
    if ninja := _NINJATRADER.fullmatch(symbol):
        instrument = instruments.find(ninja[1])
        month = int(ninja[2])
        if instrument is None or not instrument.months or not 1 <= month <= 12:
            return None
        return _Named(instrument, month=month, year_digits=ninja[3])
    if not (match := _futures_pattern().fullmatch(symbol)):
        return None
    instrument = instruments.all_instruments()[match["root"]]
    if match["letter"]:
        month = MONTH_LETTERS.index(match["letter"]) + 1
        return _Named(instrument, month=month, year_digits=match["year"])
    return _Named(instrument, place=int(match["place"]) if match["place"] else None)


def _read_other(symbol: str) -> _Named:
    instrument = instruments.find(symbol)
    if instrument is not None:
        return _Named(instrument, code=symbol)
    if perpetual := _PERPETUAL.fullmatch(symbol):
        instrument = instruments.find(perpetual[1])
        if instrument is not None and instrument.kind is InstrumentKind.CRYPTO:
            return _Named(instrument, code=f"{instrument.root}.P")
    return _Named(instruments.unknown(symbol), code=symbol)


@cache
def _futures_pattern() -> re.Pattern[str]:
    """Known roots only: they may hold digits (M2K) and end in month letters (6M, ZN), so that a
    general pattern would have to guess."""
    roots = sorted((r for r, i in instruments.all_instruments().items() if i.months), key=len)
    known = "|".join(re.escape(root) for root in reversed(roots))
    return re.compile(
        rf"(?P<root>{known})"
        rf"(?:(?P<letter>[{MONTH_LETTERS}])(?P<year>\d{{4}}|\d{{2}}|\d)|(?P<place>[1-9])!|!)?"
    )


def _pin(contract: str, instrument: Instrument) -> _Named | None:
    if contract in (FRONT, NEXT):
        return None
    pinned = _read_futures(_normal(contract))
    return pinned if pinned is not None and pinned.instrument is instrument else None


def _full_year(digits: str, at: datetime) -> int:
    """One digit repeats every ten years: the nearest such year that is not before last year."""
    if len(digits) == 4:
        return int(digits)
    if len(digits) == 2:
        return 2000 + int(digits)
    earliest = _trade_date(at).year - 1
    return earliest + (int(digits) - earliest) % 10


def _dated(instrument: Instrument, year: int, month: int) -> ResolvedContract:
    code = f"{instrument.root}{MONTH_LETTERS[month - 1]}{year % 10}"
    return ResolvedContract(instrument, code, year, month)


def _cycle(instrument: Instrument, start: date) -> Iterator[tuple[int, int]]:
    months = sorted(MONTH_LETTERS.index(letter) + 1 for letter in instrument.months)
    year = start.year
    while True:
        for month in months:
            if (year, month) >= (start.year, start.month):
                yield year, month
        year += 1


def _trade_date(at: datetime) -> date:
    """The session that begins at 17:00 in Chicago belongs to the next day, so that a contract
    never changes within a session."""
    return (at.astimezone(_CHICAGO) + timedelta(hours=7)).date()


def _tradable(instrument: Instrument, listed: Sequence[Listed], today: date) -> list[Listed]:
    """What is listed of the product's usual months and has not rolled yet, nearest first."""
    found = []
    for each in sorted(listed, key=lambda one: one.expires_on):
        named = _read_futures(each.contract)
        if named is None or named.instrument is not instrument or named.month is None:
            continue
        is_usual = MONTH_LETTERS[named.month - 1] in instrument.months
        if is_usual and _rolls_on(instrument, each) > today:
            found.append(each)
    return found


def _rolls_on(instrument: Instrument, listed: Listed) -> date:
    """The same distances as in the calendar below, counted from the broker's own dates."""
    days, is_business = _ROLL_BEFORE[instrument.roll]
    last = min(listed.expires_on, listed.first_notice_on or listed.expires_on)
    return _business_days_before(last, days) if is_business else last - timedelta(days=days)


_ROLL_BEFORE: dict[str, tuple[int, bool]] = {
    "equity_index": (8, False),
    "currency": (7, False),
    "month_before": (3, True),
    "crude": (3, True),
    "natural_gas": (3, True),
    "crypto_month": (4, False),
}
"""Days (``True``: business days) between the roll and the last trade or the first notice."""


# The roll calendar. It knows weekends and no holidays: a contract may roll one session early.


def _roll_equity_index(year: int, month: int) -> date:
    """Eight days before they end on the third Friday, when the volume moves on."""
    return _nth_weekday(year, month, weekday=4, n=3) - timedelta(days=8)


def _roll_currency(year: int, month: int) -> date:
    """They end on the Monday before the third Wednesday; we leave one week earlier."""
    return _nth_weekday(year, month, weekday=2, n=3) - timedelta(days=9)


def _roll_month_before(year: int, month: int) -> date:
    """Delivered products whose first notice (or last trade) is the last business day before the
    contract month: four business days before that month begins."""
    return _business_days_before(date(year, month, 1), 4)


def _roll_crude(year: int, month: int) -> date:
    """WTI ends three business days before the 25th of the month before; three days earlier."""
    last = date(year, month, 1) - timedelta(days=1)
    anchor = last.replace(day=25)
    while anchor.weekday() >= 5:
        anchor -= timedelta(days=1)
    return _business_days_before(anchor, 6)


def _roll_natural_gas(year: int, month: int) -> date:
    """Henry Hub ends three business days before its month; three days earlier."""
    return _business_days_before(date(year, month, 1), 6)


def _roll_crypto_month(year: int, month: int) -> date:
    """Bitcoin and ether futures end on the last Friday of their month: its Monday."""
    first_of_next = date(year + month // 12, month % 12 + 1, 1)
    last_friday = first_of_next - timedelta(days=(first_of_next.weekday() - 4 - 1) % 7 + 1)
    return last_friday - timedelta(days=4)


_ROLLS: dict[str, Callable[[int, int], date]] = {
    "equity_index": _roll_equity_index,
    "currency": _roll_currency,
    "month_before": _roll_month_before,
    "crude": _roll_crude,
    "natural_gas": _roll_natural_gas,
    "crypto_month": _roll_crypto_month,
}


def _nth_weekday(year: int, month: int, *, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def _business_days_before(day: date, count: int) -> date:
    while count:
        day -= timedelta(days=1)
        if day.weekday() < 5:
            count -= 1
    return day
