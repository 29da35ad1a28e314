"""The rules of one market: prices that count, slippage, money per unit, ends of sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from zoneinfo import ZoneInfo

from app.domain.instruments import Instrument, InstrumentKind
from app.domain.symbols import instrument_for
from app.domain.trading import Quote, Side

ONE = Decimal(1)
MAX_AGE = timedelta(seconds=10)
MONEY_STEP = Decimal("1E-8")

_TOO_MUCH = Decimal(10) ** 9
_DOLLARS = frozenset({"USD", "USDT", "USDC"})
_SMALLEST_UNIT = {"JPY": Decimal(1), "USDT": MONEY_STEP, "USDC": MONEY_STEP, "BTC": MONEY_STEP}
_CENT = Decimal("0.01")
_SESSION_ENDS = {
    InstrumentKind.FOREX: (time(17), ZoneInfo("America/New_York")),
    InstrumentKind.CRYPTO: (time(0), ZoneInfo("UTC")),
}
_DEFAULT_END = (time(17), ZoneInfo("America/Chicago"))


@dataclass(frozen=True, slots=True)
class MarketRules:
    """What the engine must know of a contract. ``price_band`` is a share of the far side."""

    instrument: Instrument
    enabled: bool = True
    is_open: bool = True
    price_band: Decimal = Decimal("0.10")

    @property
    def slippage(self) -> Decimal:
        """Price by which market and stop fills are worse than the quote."""
        return self.instrument.slippage_ticks * self.instrument.tick_size


def default_rules(contract: str) -> MarketRules:
    """Rules of a market that never closes, from the list of known instruments."""
    return MarketRules(instrument_for(contract))


def is_sane(price: Decimal) -> bool:
    """A positive number with which arithmetic stays exact."""
    return price.is_finite() and 0 < price < _TOO_MUCH


def is_usable(quote: Quote, now: datetime, max_age: timedelta = MAX_AGE) -> bool:
    """Crossed, empty and old quotes fill nothing."""
    return 0 < quote.bid <= quote.ask and now - quote.at <= max_age


def quote_from_last(instrument: Instrument, contract: str, last: Decimal, at: datetime) -> Quote:
    """A quote around a price that came alone: half the usual spread to each side, outward."""
    half = instrument.tick_size * instrument.spread_ticks / 2
    bid = max(instrument.round_down(last - half), min(last, instrument.tick_size))
    return Quote(contract, bid=bid, ask=instrument.round_up(last + half), at=at, last=last)


def far_side(quote: Quote, side: Side) -> Decimal:
    """Where an order of this side trades at once."""
    return quote.ask if side is Side.BUY else quote.bid


def session_end(kind: InstrumentKind, at: datetime) -> datetime:
    """When a day order that is accepted at ``at`` ends: at 24:00 UTC for crypto, at 17:00 in New
    York for forex, at 17:00 in Chicago for the rest."""
    end, zone = _SESSION_ENDS.get(kind, _DEFAULT_END)
    local = at.astimezone(zone)
    today = datetime.combine(local.date(), end, zone)
    following = today if local < today else datetime.combine(today.date() + _DAY, end, zone)
    return following.astimezone(at.tzinfo)


_DAY = timedelta(days=1)


def conversion(instrument: Instrument, currency: str, price: Decimal) -> Decimal | None:
    """Account money per money of the instrument at ``price``; None where no rate is known.

    The dollar coins count as dollars. A currency pair whose base is the account's currency
    (USDJPY for a dollar account) carries its own rate.
    """
    if instrument.currency == currency or {instrument.currency, currency} <= _DOLLARS:
        return ONE
    if instrument.kind is InstrumentKind.FOREX and instrument.root.startswith(currency):
        return ONE / price
    return None


def round_up_money(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(_SMALLEST_UNIT.get(currency, _CENT), ROUND_CEILING)


def money_per_point(instrument: Instrument, currency: str, price: Decimal) -> Decimal:
    """Account money that one unit gains per 1.00 of price, at ``price``."""
    return instrument.point_value * (conversion(instrument, currency, price) or ONE)


def margin_of(
    instrument: Instrument, currency: str, quantity: Decimal, price: Decimal | None
) -> Decimal:
    """Initial margin of a position or order of that size, rounded up."""
    if not quantity or price is None:
        return Decimal(0)
    per_unit = instrument.initial_margin
    if instrument.margin_rate:
        per_unit += instrument.margin_rate * price * money_per_point(instrument, currency, price)
    return round_up_money(abs(quantity) * per_unit, currency)


def fee_of(
    instrument: Instrument, currency: str, quantity: Decimal, price: Decimal, *, maker: bool
) -> Decimal:
    """The fee of a fill before rounding."""
    rate = instrument.maker_rate if maker else instrument.taker_rate
    fee = quantity * instrument.fee_per_contract
    if rate:
        fee += quantity * price * money_per_point(instrument, currency, price) * rate
    return fee
