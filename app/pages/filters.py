"""How figures and times are written on pages: the Jinja filters.

``static/js/format.js`` writes the same values after a live update; both are held to the cases of
``tests/data/formats.json``. Signs use the real minus (U+2212), never a hyphen or brackets. Nothing
known (``None``) is an empty cell. Rounding happens here alone, half up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from flask import Flask

from app import clock as wall_clock

Number = Decimal | int | float | str

MINUS = "\N{MINUS SIGN}"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SYMBOLS = {"USD": "$", "$": "$"}


def _decimal(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _rounded(value: Number, places: int) -> Decimal:
    return _decimal(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def _with_unit(digits: str, sign: str, unit: str) -> str:
    symbol = _SYMBOLS.get(unit)
    if symbol:
        return f"{sign}{symbol}{digits}"
    return f"{sign}{digits} {unit}" if unit else f"{sign}{digits}"


def _sign(value: Decimal, plus: str) -> str:
    return MINUS if value < 0 else plus if value > 0 else ""


def signed(value: Number | None, unit: str = "$", places: int = 2) -> str:
    """A gain or a loss: ``+$1,284.50``, ``−$50.00``, ``$0.00``, ``+120.00 EUR``.

    ``unit`` is ``$``, a currency code (written behind; USD is ``$``) or empty for a bare number.
    """
    if value is None:
        return ""
    amount = _rounded(value, places)
    return _with_unit(f"{abs(amount):,}", _sign(amount, "+"), unit)


def money(value: Number | None, unit: str = "$", places: int = 2) -> str:
    """An amount that is not a gain or a loss: ``$100,000.00``; a sign only below zero."""
    if value is None:
        return ""
    amount = _rounded(value, places)
    return _with_unit(f"{abs(amount):,}", _sign(amount, ""), unit)


def price(value: Number | None, places: int | None = None) -> str:
    """A price at its contract's tick places: ``21,442.25``; without places the value's own."""
    if value is None:
        return ""
    amount = _rounded(value, places) if places is not None else _decimal(value)
    return f"{_sign(amount, '')}{abs(amount):,f}"


def qty(value: Number | None) -> str:
    """A quantity, bare, without zeros behind it: ``3``, ``0.015``, ``−4``."""
    if value is None:
        return ""
    amount = _decimal(value)
    digits = f"{abs(amount):,f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{_sign(amount, '')}{digits}"


def percent(value: Number | None, places: int = 1, plus: bool = False) -> str:
    """Percent points: 58.333 is ``58.3 %``; with ``plus`` a change, ``+0.6 %``."""
    if value is None:
        return ""
    points = _rounded(value, places)
    return f"{_sign(points, '+' if plus else '')}{abs(points):,} %"


def latency(value: Number | timedelta | None) -> str:
    """Milliseconds or a timedelta, by size: ``8.2 ms``, ``61 ms``, ``1.1 s``, ``38 s``."""
    if value is None:
        return ""
    if isinstance(value, timedelta):
        value = Decimal(value // timedelta(microseconds=1)) / 1000
    ms = _decimal(value)
    if _rounded(ms, 1) < 10:
        return f"{_rounded(ms, 1)} ms"
    if _rounded(ms, 0) < 1000:
        return f"{_rounded(ms, 0)} ms"
    seconds = ms / 1000
    if _rounded(seconds, 1) < 10:
        return f"{_rounded(seconds, 1)} s"
    return age(_rounded(seconds, 0))


def age(value: datetime | timedelta | Number | None, now: datetime | None = None) -> str:
    """How long ago, or how long: ``38 s``, ``11 m``, ``1 h 08 m``, ``3 d 04 h``.

    Takes an instant (counted to ``now``), a timedelta or seconds. A time ahead of us is ``0 s``.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        value = (now or wall_clock.now()) - value
    total = int(value.total_seconds() if isinstance(value, timedelta) else _decimal(value))
    minutes, seconds = divmod(max(total, 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} m"
    return f"{minutes} m" if minutes else f"{seconds} s"


def _time_of_day(local: datetime, ms: bool) -> str:
    return f"{local:%H:%M:%S}" + (f".{local.microsecond // 1000:03}" if ms else "")


def clock(value: datetime | None, zone: str = "UTC", ms: bool = False) -> str:
    """The time of day in the user's zone, whatever the day: ``10:14:22``, ``10:14:22.123``."""
    return "" if value is None else _time_of_day(value.astimezone(ZoneInfo(zone)), ms)


def when(
    value: datetime | None, zone: str = "UTC", ms: bool = False, now: datetime | None = None
) -> str:
    """An instant as short as it is unambiguous in the user's zone.

    ``10:14:22`` today, ``Thu 11:20`` in the six days before, ``3 Nov 11:20`` this year,
    ``3 Nov 2025 11:20`` otherwise. ``ms`` writes milliseconds, on other days too.
    """
    if value is None:
        return ""
    tz = ZoneInfo(zone)
    local, today = value.astimezone(tz), (now or wall_clock.now()).astimezone(tz).date()
    time = _time_of_day(local, ms)
    if local.date() == today:
        return time
    if not ms:
        time = f"{local:%H:%M}"
    if timedelta(0) < today - local.date() < timedelta(days=7):
        return f"{_WEEKDAYS[local.weekday()]} {time}"
    day = f"{local.day} {_MONTHS[local.month - 1]}"
    return f"{day} {time}" if local.year == today.year else f"{day} {local.year} {time}"


def iso(value: datetime | None) -> str:
    """RFC 3339 in UTC with milliseconds, for ``<time datetime>``."""
    if value is None:
        return ""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(value: datetime | None) -> str:
    """The UTC that stands in a time's title: ``2026-11-20 16:14:22 UTC``."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def sign_class(value: Number | None) -> str:
    """The class that colours a signed figure; zero and unknown stay neutral."""
    amount = _decimal(value) if value is not None else Decimal(0)
    return "jt-pos" if amount > 0 else "jt-neg" if amount < 0 else ""


def zone_name(zone: str) -> str:
    """A zone's place: ``America/Chicago`` is ``Chicago``."""
    return zone.rsplit("/", 1)[-1].replace("_", " ")


def register(app: Flask) -> None:
    """Give every template the filters of this module."""
    app.jinja_env.filters.update(
        signed=signed,
        money=money,
        price=price,
        qty=qty,
        percent=percent,
        latency=latency,
        age=age,
        clock=clock,
        when=when,
        iso=iso,
        utc=utc,
        sign_class=sign_class,
        zone_name=zone_name,
    )
