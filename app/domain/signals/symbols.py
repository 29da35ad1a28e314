"""Symbols: the exchange in front split off, the rest kept as it is."""

from __future__ import annotations

import re

_PREFIX = re.compile(r"[A-Za-z0-9_]+")
_ALLOWED = re.compile(r"[A-Za-z0-9!._\-/:&^ ]{1,40}")
_CONTENT = re.compile(r"[A-Za-z0-9]")
_LONGEST = 100


def parse_symbol(text: str) -> tuple[str, str | None] | None:
    """``(symbol, exchange)`` in upper case, or None when ``text`` is not a symbol.

    ``CME_MINI:MNQ1!`` has an exchange; ``BTC/USDT:USDT`` (a ccxt name) and texts with two
    colons have none.
    """
    if len(text) > _LONGEST:
        return None
    rest, exchange = text, None
    prefix, colon, after = text.partition(":")
    if colon and ":" not in after and _PREFIX.fullmatch(prefix):
        rest, exchange = after.strip(), prefix.upper()
    if _ALLOWED.fullmatch(rest) is None or rest[0] == ":" or not _CONTENT.search(rest):
        return None
    return rest.upper(), exchange


def parse_exchange(text: str) -> str | None:
    return text.upper() if len(text) <= _LONGEST and _PREFIX.fullmatch(text) else None


def is_delayed(exchange: str) -> bool:
    """TradingView marks delayed data by the ending of the exchange: ``NYMEX_DL``."""
    return exchange.endswith(("_DL", "_DLY"))
