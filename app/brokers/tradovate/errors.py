"""What Tradovate refuses and how it fails, sorted by whether the call may have been executed.

HTTP 200 is no success: the verdict of an order call is in the body (``refusal``). What travels as
a status, or gets lost on the way, is raised by ``http.Transport``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.errors import BrokerRateLimited, BrokerRefused, BrokerUnavailable
from app.log import masked

CAPTCHA_S = 3600.0
"""For so long an endpoint that asked for a captcha is left alone."""
QUOTE_LENGTH = 200
"""Longer texts of the broker are cut."""
_CODE_LENGTH = 64


class NotSent(BrokerRefused):
    """No connection came about, so nothing was sent."""

    code, status, title = "not_sent", 503, "Tradovate could not be reached"
    retry_after_s = 1.0


class BadRequest(BrokerRefused):
    """400: Tradovate did not understand the request."""

    code, title = "bad_request", "Tradovate did not understand the request"


class NotThere(BrokerRefused):
    """404: an id that is unknown there, or of the other environment. No proof that a thing is
    gone: nothing of ours may be dropped because of it, and an account that is not to be seen may
    be there again in a moment."""

    code, title = "not_there", "Tradovate does not know what the request is about"
    retry_after_s = 1.0


class SessionLost(BrokerRefused):
    """401 or 403: the token is not accepted, or not for this. ``is_expired``: Tradovate said in so
    many words that the token is too old."""

    code, title = "access_denied", "Tradovate denied access"
    retry_after_s = 1.0

    def __init__(self, detail: str = "", *, is_expired: bool = False) -> None:
        super().__init__(detail)
        self.is_expired = is_expired


class Locked(BrokerRateLimited):
    """429 with an empty body (``rate_limit``) or 423 (``last_warning``): every further call
    prolongs the lock, which is the user's and lasts an hour."""

    def __init__(self, reason: str, *, retry_after_s: float) -> None:
        super().__init__(_LOCKS[reason], retry_after_s=retry_after_s)
        self.reason = reason


class Busy(BrokerRateLimited):
    """429 with words: not executed, and no lock."""


class Penalty(BrokerRateLimited):
    """The request was not executed. Without a captcha the same one works after ``seconds``, with
    the ticket in its body; a captcha only a person can solve (code ``captcha``)."""

    def __init__(self, ticket: str, seconds: float, *, captcha: bool) -> None:
        wait_s = max(seconds, CAPTCHA_S) if captcha else seconds
        super().__init__(_CAPTCHA if captcha else _PENALTY, retry_after_s=wait_s)
        self.ticket = ticket
        self.seconds = seconds
        self.captcha = captcha
        if captcha:
            self.code = "captcha"


class NoAnswer(BrokerUnavailable):
    """No clear answer: the call may have been executed. ``http_status``: the answer's, where there
    was one (408, 5xx, a 200 that is not JSON)."""

    def __init__(self, detail: str = "", *, http_status: int | None = None) -> None:
        super().__init__(detail)
        self.http_status = http_status

    @property
    def may_mean_eviction(self) -> bool:
        """Calls with the token of a closed session get such answers, too."""
        return self.http_status is not None and self.http_status >= _FIRST_ERROR_STATUS


_FIRST_ERROR_STATUS = 400
_LOCKS = {
    "rate_limit": "Tradovate has locked this log-in for about an hour: too many requests",
    "last_warning": "Tradovate warned that it is about to lock this log-in; "
    "no request is sent for an hour",
}
_PENALTY = "Tradovate asks to slow down"
_CAPTCHA = (
    "Tradovate asks for a captcha, which no program can solve: wait about an hour, or sign in at "
    "Tradovate in a browser"
)

WORDS = {
    "AccountClosed": "The account is closed at Tradovate",
    "AdvancedTrailingStopUnsupported": "Tradovate does not offer this kind of trailing stop here",
    "AnotherCommandPending": "Tradovate is still working on an earlier change of this order",
    "BackMonthProhibited": "Tradovate does not let this account trade a back month: use the "
    "front contract",
    "ExecutionProviderNotConfigured": "Tradovate has no route to the exchange for this account",
    "ExecutionProviderUnavailable": "Tradovate's route to the exchange is down",
    "InvalidContract": "Tradovate does not know this contract, or it is not traded any more",
    "InvalidPrice": "Tradovate does not accept this price: it is not a multiple of the contract's "
    "tick, or on the wrong side of the market",
    "KeyInformationDocumentRequired": "Tradovate wants a key information document to be "
    "acknowledged first",
    "LiquidationOnly": "Tradovate lets this account only close positions, not open them",
    "LiquidationOnlyBeforeExpiration": "The contract is about to expire: Tradovate only lets its "
    "positions be closed",
    "MaxOrderQtyIsNotSpecified": "The account has no limit for the quantity of an order, and "
    "Tradovate accepts none without",
    "MaxOrderQtyLimitReached": "The order is larger than Tradovate allows on this account",
    "MaxPosLimitMisconfigured": "The account's position limit is not set up properly at Tradovate",
    "MaxPosLimitReached": "The position would be larger than Tradovate allows in this contract",
    "MaxTotalPosLimitReached": "The positions together would be larger than Tradovate allows on "
    "this account",
    "MultipleAccountPlanRequired": "Tradovate asks for a plan that covers several accounts",
    "NoQuote": "Tradovate has no quote for this contract now",
    "NotEnoughLiquidity": "There are not enough offers in the market for this order",
    "OtherExecutionRelated": "The exchange or Tradovate's route to it refused the order",
    "ParentRejected": "The order this one belongs to was refused",
    "RiskCheckTimeout": "Tradovate's risk check did not answer in time",
    "SSFRiskDisclosureAcknowledgmentRequired": "Tradovate wants the risk disclosure for "
    "single-stock futures to be acknowledged first",
    "SessionClosed": "The market is closed for this contract",
    "TooLate": "It is too late: the order has ended already",
    "TradingLocked": "Trading is locked on this account at Tradovate",
    "TrailingStopNonOrderQtyModify": "Only the quantity of a trailing stop can be changed",
    "Unauthorized": "This log-in may not trade that account",
    "UnknownReason": "Tradovate refused without saying why",
    "Unsupported": "Tradovate does not offer this kind of order here",
}
"""Every ``failureReason`` of the schema but ``Success``, for people."""
_IDS = ("orderId", "commandId", "orderStrategyId")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HTML = re.compile(r"<\s*[!/a-zA-Z]")


def refusal(payload: Any) -> BrokerRefused | None:
    """What the body of a 200 refuses, or None.

    A body that names an order or a command refuses nothing, whatever else it says: what exists at
    the broker is followed, and its own state tells how it ended.
    """
    if not isinstance(payload, Mapping) or any(payload.get(name) for name in _IDS):
        return None
    reason = payload.get("failureReason")
    if reason and reason != "Success":
        return _failed(reason, payload.get("failureText"))
    if payload.get("violations"):
        return _violated(payload["violations"])
    text = payload.get("errorText") or payload.get("failureText")
    if text or payload.get("ok") is False:
        return BrokerRefused(_sentence("Tradovate refused", text))
    return None


def reason_code(reason: object) -> str:
    """``InvalidPrice`` -> ``invalid_price``; also for values that no schema has."""
    words = _HUMP.sub("_", reason) if isinstance(reason, str) else ""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:_CODE_LENGTH] or "unknown_reason"


def reason_words(reason: object, text: object = None) -> str:
    """What a ``failureReason`` or ``rejectReason`` means, with the broker's own ``text``."""
    known = WORDS.get(reason) if isinstance(reason, str) else None
    return _sentence(known or f"Tradovate refused: {reason_code(reason)}", text)


def quoted(text: object, secrets: Iterable[str] = ()) -> str:
    """The broker's own words, fit to be shown: on one line, cut, without secrets; none of HTML."""
    if not isinstance(text, str) or _HTML.search(text):
        return ""
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = masked(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    return text if len(text) <= QUOTE_LENGTH else text[: QUOTE_LENGTH - 1] + "…"


def _failed(reason: object, text: object) -> BrokerRefused:
    return BrokerRefused(reason_words(reason, text), code=reason_code(reason))


def _violated(violations: object) -> BrokerRefused:
    rows = violations if isinstance(violations, list) else [violations]
    told = [_violation(row) for row in rows]
    words = "; ".join(text for text in told if text)
    return BrokerRefused(
        _sentence("Tradovate does not accept a field of the request", words),
        code="invalid_request",
    )


def _violation(row: object) -> str:
    if not isinstance(row, Mapping):
        return quoted(row)
    return quoted(row.get("description")) or quoted(row.get("constraint"))


def _sentence(ours: str, theirs: object) -> str:
    words = quoted(theirs)
    return f"{ours} ({words})" if words else ours
