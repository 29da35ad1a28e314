"""What can go wrong, sorted by what the caller can do next.

For an order one question matters: may it exist at the broker?
"""

from __future__ import annotations

from typing import Any


class TradingError(Exception):
    """Root of every refusal. ``code`` is public and stable; ``status`` is the HTTP answer."""

    code = "error"
    status = 400
    title = "Request refused"

    def __init__(
        self, detail: str = "", *, code: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(detail or type(self).title)
        self.detail = detail or type(self).title
        self.field = field
        if code is not None:
            self.code = code


class NotFound(TradingError):
    """Not there, or not yours: the answer never tells which."""

    code, status, title = "not_found", 404, "Not found"


class Conflict(TradingError):
    code, status, title = "conflict", 409, "Conflict with the current state"


class Forbidden(TradingError):
    code, status, title = "forbidden", 403, "Not allowed"


class Unauthorized(TradingError):
    code, status, title = "unauthorized", 401, "Sign in first"


class TooManyRequests(TradingError):
    code, status, title = "rate_limited", 429, "Too many requests"

    def __init__(self, detail: str = "", *, retry_after_s: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Invalid(TradingError):
    """Understood but not acceptable. ``errors`` is a list of (field, message)."""

    code, status, title = "invalid", 422, "Invalid"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        field: str | None = None,
        errors: list[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(detail, code=code, field=field)
        self.errors = errors if errors is not None else ([(field, detail)] if field else [])
        self.members: dict[str, Any] = {}
        """More that the answer of a program says, by name."""


class Unavailable(TradingError):
    """We cannot do it now (database, shutdown); nothing was done."""

    code, status, title = "temporarily_unavailable", 503, "Temporarily unavailable"


class RiskLimitExceeded(TradingError):
    """We refused; nothing was sent."""

    code, status, title = "risk_limit", 422, "Risk limit"


class BrokerError(TradingError):
    code, status, title = "broker_error", 502, "The broker failed"


class BrokerRefused(BrokerError):
    """The broker said no; nothing works there."""

    code, status, title = "broker_refused", 422, "The broker refused"
    retry_after_s: float | None = None
    """Set where only the moment was wrong: the same may be asked for again after so long."""


class BrokerRateLimited(BrokerRefused):
    """The broker said not now; nothing works there."""

    code, status, title = "broker_rate_limited", 503, "The broker asks to wait"

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s: float = retry_after_s


class BrokerUnavailable(BrokerError):
    """No clear answer: the order MAY exist. Only asking the broker settles it."""

    code, status, title = "broker_unavailable", 502, "No answer from the broker"
