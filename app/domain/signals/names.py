"""Field names: which spellings mean what, and which of them carry a secret."""

from __future__ import annotations

import re
from functools import lru_cache

# In every list the first name that is present with a value wins. The names that begin with
# ``strategy_`` are TradingView's placeholders used as names (``strategy.market_position``).
ACTION = (
    "action",
    "side",
    "signal",
    "order_action",
    "strategy_order_action",
    "direction",
    "order",
    "data",
    "cmd",
    "command",
    "b",
    "type",
)
SYMBOL = ("symbol", "ticker", "instrument", "pair", "market", "tv_instrument", "s")
EXCHANGE = ("exchange",)
QUANTITY = (
    "quantity",
    "qty",
    "contracts",
    "order_contracts",
    "size",
    "amount",
    "volume",
    "lots",
    "vol_lots",
    "units",
    "q",
    "strategy_order_contracts",
)
QUANTITY_TYPE = ("quantity_type", "qty_type")
TARGET = ("market_position", "position", "sentiment", "strategy_market_position")
PREVIOUS = (
    "prev_market_position",
    "previous_position",
    "prev_position",
    "strategy_prev_market_position",
)
TARGET_SIZE = (
    "market_position_size",
    "position_size",
    "strategy_market_position_size",
    "strategy_position_size",
)
# TradingView's ``strategy.position_size`` has a sign, ``market_position_size`` has none.
SIGNED_SIZES = frozenset({"position_size", "strategy_position_size"})
PREVIOUS_SIZE = (
    "prev_market_position_size",
    "previous_position_size",
    "prev_position_size",
    "strategy_prev_market_position_size",
)
PRICE = ("price", "close", "last", "signal_price", "entry_price", "strategy_order_price")
ORDER_TYPE = ("order_type", "type")
LIMIT_PRICE = ("limit_price",)
STOP_PRICE = ("stop_price", "trigger_price")
TAKE_PROFIT = ("tp", "take_profit", "tp_price", "take_profit_limit_price")
STOP_LOSS = ("sl", "stop_loss", "sl_price", "stop_loss_stop_price")
INTERVAL = ("interval", "timeframe")
ORDER_ID = ("id", "order_id", "client_id", "strategy_order_id")
COMMENT = ("comment", "strategy_order_comment")
TIME = ("time",)
FIRED_AT = ("timenow", "date", "timestamp", "alert_timestamp", "time")
INNER_TEXT = ("message", "msg", "text", "content", "alert_message")
SECRET = (
    "passphrase",
    "secret",
    "password",
    "token",
    "key",
    "pin",
    "apikey",
    "api_key",
    "api_secret",
    "auth_key",
)

# Objects that are searched after the top level, in this order, one level deep.
NESTED = ("strategy", "order", "market", "general", "data", "strategy_info", "signal", "alert")
# Names that mean something only when their value is text.
TEXT_ONLY = frozenset({"order", "data", "market", "position"})
# A form with one field of these names carries the real body.
PAYLOAD = frozenset({"payload", "message", "body", "data", "text"})

KNOWN = frozenset(
    name
    for group in (
        ACTION,
        SYMBOL,
        EXCHANGE,
        QUANTITY,
        QUANTITY_TYPE,
        TARGET,
        PREVIOUS,
        TARGET_SIZE,
        PREVIOUS_SIZE,
        PRICE,
        ORDER_TYPE,
        LIMIT_PRICE,
        STOP_PRICE,
        TAKE_PROFIT,
        STOP_LOSS,
        INTERVAL,
        ORDER_ID,
        COMMENT,
        TIME,
        FIRED_AT,
        INNER_TEXT,
        SECRET,
        NESTED,
    )
    for name in group
)
_SECRETS = frozenset(SECRET)
# ``signal_token`` or ``webhook_secret`` are no passphrase of ours, yet nothing to show either.
_SECRET_ENDINGS = frozenset(
    {"key", "secret", "token", "passphrase", "password", "pin", "apikey", "passwd", "pwd"}
)

_LONGEST = 64
_JOINTS = re.compile(r"[-.\s_]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def normalise(name: str) -> str:
    """``takeProfit.limitPrice`` and ``Take-Profit limit price`` become the same name."""
    return _JOINTS.sub("_", _HUMPS.sub("_", name.strip())).lower()


@lru_cache(maxsize=4096)
def _known(key: str) -> str:
    name = normalise(key)
    return name if name in KNOWN else ""


def known(key: str) -> str:
    """The normalised name if alerts give it a meaning, otherwise an empty text."""
    # Senders choose the keys: only short ones may occupy the cache.
    return _known(key) if len(key) <= _LONGEST else ""


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    name = normalise(key)
    return name in _SECRETS or name.rpartition("_")[2] in _SECRET_ENDINGS


def is_secret(key: str) -> bool:
    """Whether the value of ``key`` must not be shown."""
    return len(key) <= _LONGEST and _is_secret(key)
