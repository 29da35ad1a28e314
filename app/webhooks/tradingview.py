"""The TradingView webhook: ``POST /webhook/<slug>-<token>/``."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from datetime import datetime
from time import monotonic
from typing import Any

from flask import Blueprint, Response, g, json, request

from app import clock, metrics
from app.domain.errors import NotFound, TooManyRequests, TradingError, Unavailable
from app.extensions import lifecycle
from app.services import refusals, signals
from app.services.signals import Alert, Receipt
from app.web.errors import problem

bp = Blueprint("tradingview", __name__)

MAX_BODY = 64 * 1024


class TooLarge(TradingError):
    code, status, title = "body_too_large", 413, "Bad alert"


class Incomplete(TradingError):
    code, status, title = "incomplete_body", 400, "Bad alert"


class Buckets:
    """Token buckets by name: ``rate`` a second with bursts of ``burst``. The least used name is
    forgotten first, which can only make the limit softer."""

    def __init__(self, rate: float, burst: float, most: int = 10_000) -> None:
        self._rate, self._burst, self._most = rate, burst, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def reset(self) -> None:
        self._levels.clear()

    def take(self, name: str) -> bool:
        now = monotonic()
        level, since = self._levels.pop(name, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        allowed = level >= 1
        self._levels[name] = (level - 1 if allowed else level, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return allowed


_webhooks = Buckets(rate=300, burst=1000)
_wrong_tokens = Buckets(rate=1, burst=60)


def reset_limits() -> None:
    """Forget who sent how much: a new app begins."""
    _webhooks.reset()
    _wrong_tokens.reset()


@bp.post("/webhook/<name>/", strict_slashes=False)
def receive(name: str) -> Response:
    """Store what came in, then answer: nothing of a broker happens before."""
    if not lifecycle.accepting:
        raise Unavailable("The service is starting or stopping. Send it again.")
    started = clock.now()
    address = _address()
    try:
        receipt = _take(_token(name), address, started)
    except NotFound:
        metrics.ALERTS.labels("unknown").inc()
        if not _wrong_tokens.take(address):
            raise TooManyRequests("Too many wrong webhook addresses from here.") from None
        raise
    metrics.ALERTS.labels(receipt.status).inc()
    metrics.INTAKE_SECONDS.observe((clock.now() - started).total_seconds())
    return _answer(receipt)


def _take(token: str, address: str, received_at: datetime) -> Receipt:
    if not _webhooks.take(token):
        refusals.count(token, _alert(b"", address, received_at))
        raise TooManyRequests("More than 300 alerts a second on this webhook.", retry_after_s=1)
    body = _body()
    if body is None:
        detail = "The body is larger than 64 KiB."
        alert = _alert(b"", address, received_at)
        signals.refuse(token, alert, answer=413, reason="body_too_large", detail=detail)
        raise TooLarge(detail)
    return signals.receive(token, _alert(body, address, received_at))


def _alert(body: bytes, address: str, received_at: datetime) -> Alert:
    return Alert(body, request.content_type, address, received_at, g.request_id)


def _body() -> bytes | None:
    """The raw bytes; None where they are more than an alert can have (they are not read).

    Raises:
        Incomplete: the sender hung up, or what it sent is not HTTP.
    """
    length = request.content_length
    if length is not None and length > MAX_BODY:
        return None
    try:
        if length is None:
            body = request.stream.read(MAX_BODY + 1)
        else:
            body = request.environ["wsgi.input"].read(length)
    except OSError as e:
        raise Incomplete("The connection ended before the whole body came.") from e
    return None if len(body) > MAX_BODY else body


def _token(name: str) -> str:
    """What stands after the last dash; the slug before it is for people and not compared."""
    return name.rpartition("-")[2]


def _address() -> str:
    """The sender, as the outermost trusted proxy saw it. IPv4 in IPv6 is told as IPv4."""
    address = ipaddress.ip_address(request.remote_addr or "0.0.0.0")  # noqa: S104
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _answer(receipt: Receipt) -> Response:
    verdict = receipt.verdict
    if receipt.status == "rejected":
        members: dict[str, Any] = {"signal_id": receipt.signal_id}
        if verdict.field:
            members["field"] = verdict.field
        return problem(
            verdict.answer,
            verdict.reason or "bad_alert",
            "Bad alert",
            verdict.detail or "",
            **members,
        )
    body: dict[str, Any] = {"signal_id": receipt.signal_id, "status": receipt.status}
    if receipt.of is not None:
        body["of"] = receipt.of
    if receipt.status == "ignored":
        body |= {"reason": verdict.reason, "detail": verdict.detail}
    body |= {"signals": receipt.parsed, "warnings": list(verdict.decoded.warnings)}
    answer = 200 if receipt.of is not None else verdict.answer
    return Response(json.dumps(body), answer, mimetype="application/json")
