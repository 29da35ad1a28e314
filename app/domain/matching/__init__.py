"""A paper exchange as pure functions of orders, quotes and the clock."""

from app.domain.matching.engine import Engine, transferred
from app.domain.matching.market import MarketRules, default_rules, is_sane, quote_from_last
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
    "is_sane",
    "quote_from_last",
    "transferred",
]
