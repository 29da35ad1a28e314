"""A paper exchange as pure functions of orders, quotes and the clock."""

from app.domain.matching.engine import Engine
from app.domain.matching.market import MarketRules, default_rules, quote_from_last
from app.domain.matching.records import (
    LedgerEntry,
    PaperAccount,
    PaperFill,
    PaperOrder,
    PaperPosition,
    Step,
)

__all__ = [
    "Engine",
    "LedgerEntry",
    "MarketRules",
    "PaperAccount",
    "PaperFill",
    "PaperOrder",
    "PaperPosition",
    "Step",
    "default_rules",
    "quote_from_last",
]
