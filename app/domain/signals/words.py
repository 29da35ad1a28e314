"""The words that alerts use for actions, positions, order types and kinds of quantity."""

from __future__ import annotations

import re
from functools import lru_cache

from app.domain.signals.names import normalise
from app.domain.signals.types import Action, Target

_SPELLINGS: dict[Action, str] = {
    Action.BUY: "buy long bull bullish enter_long entry_long open_long go_long buy_to_open",
    Action.SELL: (
        "sell short bear bearish enter_short entry_short open_short go_short sell_short"
        " sell_to_open"
    ),
    Action.CLOSE: (
        "close exit flat flatten close_all closeall exit_all close_position closeposition"
        " flatten_all"
    ),
    Action.CLOSE_LONG: "close_long closelong exit_long exitlong sell_to_close",
    Action.CLOSE_SHORT: "close_short closeshort exit_short exitshort buy_to_close buy_to_cover",
    Action.CANCEL: "cancel cancel_all cancelall cancel_orders cancelorders",
    Action.ADD: "add add_to_position scale_in",
    Action.REVERSE: "reverse reverse_position reverseposition flip",
    Action.BREAKEVEN: "breakeven break_even be",
}
ACTIONS = {word: action for action, words in _SPELLINGS.items() for word in words.split()}

# These close everything whatever number comes along; the other closing words honour a quantity.
EVERYTHING = frozenset({"flat", "flatten", "close_all", "closeall", "exit_all", "flatten_all"})

# Verbs without a direction: the next action field decides.
NEUTRAL = frozenset({"open", "enter", "entry", "place", "signal", "order"})

_TARGETS = {
    "long": Target.LONG,
    "bullish": Target.LONG,
    "short": Target.SHORT,
    "bearish": Target.SHORT,
    "flat": Target.FLAT,
}
_ORDER_TYPES = {
    "market": "market",
    "limit": "limit",
    "stop": "stop",
    "stop_market": "stop",
    "stop_limit": "stop_limit",
    "stoplimit": "stop_limit",
    "trailing_stop": "trailing_stop",
}
QUANTITY_TYPES = frozenset(
    {
        "fixed_quantity",
        "percent",
        "percent_of_equity",
        "percent_of_position",
        "dollar_amount",
        "risk_dollar_amount",
        "risk_percent",
    }
)
_LONGEST = 40
_JOINTS = re.compile(r"[-\s]+")


def as_word(text: str) -> str:
    """Lower case, blanks and ``-`` as ``_``: ``Buy to-open`` is ``buy_to_open``."""
    return _JOINTS.sub("_", text.strip()).lower()


@lru_cache(maxsize=1024)
def _action(text: str) -> str | None:
    for word in (as_word(text), normalise(text)):
        if word in ACTIONS or word in NEUTRAL:
            return word
    return None


def action_word(text: str) -> str | None:
    """The action word or neutral verb that ``text`` spells, or None."""
    return _action(text) if len(text) <= _LONGEST else None


def is_action(text: str) -> bool:
    word = action_word(text)
    return word is not None and word in ACTIONS


def target_word(text: str) -> Target | None:
    return _TARGETS.get(text.lower())


def order_type_word(text: str) -> str | None:
    return _ORDER_TYPES.get(normalise(text)) if len(text) <= _LONGEST else None


def quantity_type_word(text: str) -> str | None:
    word = normalise(text) if len(text) <= _LONGEST else ""
    return word if word in QUANTITY_TYPES else None
