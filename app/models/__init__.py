"""Tables, one module per noun. Importing this package knows them all."""

from app.models.accounts import Account, Boot, Lane
from app.models.base import db
from app.models.events import Event, EventSeq
from app.models.live import ExternalOrder, LiveBalance, LivePosition
from app.models.logins import BrokerLogin
from app.models.orders import Book, Fill, Order, RecordedPosition, Trade
from app.models.paper import (
    PaperAccountRow,
    PaperFillRow,
    PaperLedgerRow,
    PaperOrderRow,
    PaperPositionRow,
)
from app.models.signals import AlertKey, Execution, Signal
from app.models.strategies import Strategy, StrategyLog, Trader
from app.models.users import ApiKey, AuditEntry, IdempotencyKey, User, UserSession

__all__ = [
    "Account",
    "AlertKey",
    "ApiKey",
    "AuditEntry",
    "Book",
    "Boot",
    "BrokerLogin",
    "Event",
    "EventSeq",
    "Execution",
    "ExternalOrder",
    "Fill",
    "IdempotencyKey",
    "Lane",
    "LiveBalance",
    "LivePosition",
    "Order",
    "PaperAccountRow",
    "PaperFillRow",
    "PaperLedgerRow",
    "PaperOrderRow",
    "PaperPositionRow",
    "RecordedPosition",
    "Signal",
    "Strategy",
    "StrategyLog",
    "Trade",
    "Trader",
    "User",
    "UserSession",
    "db",
]
