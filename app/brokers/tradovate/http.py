"""One request to Tradovate: sent once, and its outcome sorted by whether it may have been executed.

Status codes: reference 2.6; outcomes of an order call: reference 4.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import gevent
import requests
from gevent.monkey import get_original
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from app import clock
from app.brokers.tradovate.errors import (
    BadRequest,
    Busy,
    Locked,
    NoAnswer,
    NotSent,
    NotThere,
    Penalty,
    SessionLost,
    quoted,
)
from app.brokers.tradovate.refusals import Refusals
from app.domain.errors import BrokerRateLimited, BrokerUnavailable, TradingError
from app.metrics import BROKER_REQUESTS

CONNECT_TIMEOUT_S = 3.05
READ_TIMEOUT_S = 10.0
_DEADLINE_S = 20.0
"""For the whole request: an answer that trickles in keeps inside the read time-out for ever."""
_MAX_IDLE_S = 20.0
"""A connection that was idle for longer is not used again: the server may be about to close it,
and an order sent into a closing connection has no known outcome."""
_POOL_SIZE = 64
_LOCK_S = 3600.0
_BUSY_S = 60.0
_USER_AGENT = "Just.Trades."
_EXPIRED = "expired access token"
_ERROR_FIELDS = ("errorText", "error_description", "error", "message")
_WORDS = (*_ERROR_FIELDS, "failureText", "constraint", "value", "description")
_SECRET_FIELDS = frozenset(
    {"password", "sec", "code", "client_secret", "refresh_token", "code_verifier", "p-ticket"}
)


class Transport:
    """Requests to one environment (``base_url`` ends in ``/v1``), whoever's they are.

    Nothing is ever sent twice, except where no connection came about: then once more.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: tuple[float, float] = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        self.refusals = Refusals()
        """Of signing in, which is limited by address, whoever it is for."""
        self.clock_ahead = timedelta(0)
        """By how much our clock is ahead of the server's, as its last answer was dated."""
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._deadline_s = deadline_s
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept": "application/json", "User-Agent": _USER_AGENT})
        # The connections are shared by users, whom a cookie must not tie together.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_connections=2, pool_maxsize=_POOL_SIZE, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        token: str | None = None,
        purpose: str = "auth",
    ) -> Any:
        """The JSON of a 2xx, fractions as Decimal. A refusal inside it is the caller's to find
        (``errors.refusal``). Without ``body`` and ``form`` it is a GET.

        Raises:
            NotSent: no connection came about, twice.
            BadRequest, NotThere, SessionLost, Locked, Busy: not executed.
            Penalty: not executed; the same request works with the ticket in its body.
            NoAnswer: it may have been executed.
        """
        outcome = "ok"
        try:
            try:
                answer = self._exchange(path, body, form, query, token)
            except NotSent:
                answer = self._exchange(path, body, form, query, token)
            return _verdict(answer, _secrets(body, form, token))
        except TradingError as e:
            outcome = _outcome(e)
            raise
        finally:
            BROKER_REQUESTS.labels("tradovate", purpose, outcome).inc()

    def close(self) -> None:
        self._session.close()

    def _exchange(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        form: Mapping[str, str] | None,
        query: Mapping[str, Any] | None,
        token: str | None,
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data: bytes | dict[str, str] | None = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, default=_on_the_wire).encode()
        elif form is not None:
            data = dict(form)
        try:
            with gevent.Timeout(self._deadline_s, _TooLong):
                answer = self._session.request(
                    "GET" if data is None else "POST",
                    f"{self._base_url}/{path.strip('/')}",
                    params=query,
                    data=data,
                    headers=headers,
                    timeout=self._timeout,
                    # A followed redirect would carry the token, and the order, elsewhere.
                    allow_redirects=False,
                )
            self.clock_ahead = _ahead_of(answer.headers.get("Date"), self.clock_ahead)
            return answer
        except _TooLong as e:
            raise NoAnswer("Tradovate took too long to answer") from e
        except (requests.RequestException, HTTPError, OSError) as e:
            # ``from None``: these exceptions quote addresses, and a query may hold ids.
            raise (_not_sent() if _is_before_sending(e) else _cut_off(e)) from None


class _TooLong(Exception):
    """The deadline of a request has passed."""


def _ahead_of(date: str | None, known: timedelta) -> timedelta:
    """Our clock less the ``date`` of an answer, which is in whole seconds; else what is known."""
    try:
        dated = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return known
    return clock.now() - dated if dated.tzinfo is not None else known


# The outcome.


def _verdict(answer: requests.Response, secrets: tuple[str, ...]) -> Any:
    status = answer.status_code
    if 200 <= status < 300:
        return _without(secrets, _payload(answer, status))
    text = quoted(_text(answer), secrets)
    words = f" ({text})" if text else ""
    is_expired = text.strip(' ."').lower() == _EXPIRED
    if status in (401, 403) or (status == 400 and is_expired):
        raise SessionLost(f"Tradovate denied access{words}", is_expired=is_expired)
    if status == 400:
        raise BadRequest(f"Tradovate did not understand the request{words}")
    if status == 404:
        raise NotThere(f"Tradovate does not know what the request is about{words}")
    if status == 423:
        raise Locked("last_warning", retry_after_s=_LOCK_S)
    if status == 429:
        if answer.content.strip():
            raise Busy(f"Tradovate asks to wait{words}", retry_after_s=_BUSY_S)
        raise Locked("rate_limit", retry_after_s=_LOCK_S)
    raise NoAnswer(f"Tradovate answered with status {status}{words}", http_status=status)


def _payload(answer: requests.Response, status: int) -> Any:
    try:
        payload = json.loads(answer.content, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NoAnswer("Tradovate's answer could not be read", http_status=status) from None
    if isinstance(payload, dict) and payload.get("p-ticket"):
        raise Penalty(
            str(payload["p-ticket"]),
            _seconds(payload.get("p-time")),
            captcha=bool(payload.get("p-captcha")),
        )
    return payload


def _without(secrets: tuple[str, ...], payload: Any) -> Any:
    """Words of a refusal may repeat what they refuse, and people see them."""
    if not isinstance(payload, dict):
        return payload
    for name in _WORDS:
        for secret in secrets:
            if isinstance(payload.get(name), str):
                payload[name] = payload[name].replace(secret, "***")
    violations = payload.get("violations")
    for violation in violations if isinstance(violations, list) else ():
        _without(secrets, violation)
    return payload


def _text(answer: requests.Response) -> str:
    """The words of an error: plain text as a rule, a field of an object in OAuth's answers."""
    text = answer.content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(body, dict):
        return text
    return next((str(body[name]) for name in _ERROR_FIELDS if body.get(name)), "")


def _seconds(value: Any) -> float:
    """``p-time`` is in seconds; what is no number is taken for a long time."""
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError, OverflowError):
        return _LOCK_S


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _on_the_wire(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _secrets(
    body: Mapping[str, Any] | None, form: Mapping[str, str] | None, token: str | None
) -> tuple[str, ...]:
    fields = {**(body or {}), **(form or {})}
    values = [str(v) for name, v in fields.items() if name in _SECRET_FIELDS and v]
    return (*values, token) if token else tuple(values)


def _outcome(error: TradingError) -> str:
    if isinstance(error, BrokerRateLimited):
        return "rate_limited"
    if isinstance(error, BrokerUnavailable):
        return "unavailable"
    return error.code


# The connection.


def _is_before_sending(error: Exception) -> bool:
    """Whether it failed while connecting: looked up, connected, or its certificate checked."""
    reason = error.args[0] if error.args else None
    reason = getattr(reason, "reason", reason)
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, ConnectTimeoutError)


def _not_sent() -> NotSent:
    return NotSent("Tradovate could not be reached; nothing was sent")


def _cut_off(error: Exception) -> NoAnswer:
    if isinstance(error, requests.Timeout):
        return NoAnswer("Tradovate took too long to answer")
    return NoAnswer("The connection to Tradovate broke before its answer")


_poll_at_once = cast(Any, get_original("select", "poll"))


class _Watched:
    """A kept connection is looked at before it is used again. The library's look lets the other
    greenlets run first, and the first of many orders would wait for the last of them."""

    sock: Any

    @property
    def is_connected(self) -> bool:
        if self.sock is None:
            return False
        poll = _poll_at_once()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class _Plain(_Watched, HTTPConnection):
    pass


class _Encrypted(_Watched, HTTPSConnection):
    """A failed handshake is a failed connection here: nothing of the request was sent."""

    def connect(self) -> None:
        try:
            super().connect()
        except (HTTPError, OSError) as e:
            raise NewConnectionError(self, "no connection") from e


class _FreshOnly:
    """A pool that does not use a connection again which was idle for long."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        idle_since = getattr(connection, "idle_since", None)
        if idle_since is not None and time.monotonic() - idle_since > _MAX_IDLE_S:
            connection.close()
        return connection

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.idle_since = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


class _PlainPool(_FreshOnly, HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(_FreshOnly, HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = {"http": _PlainPool, "https": _EncryptedPool}
        cast(Any, self.poolmanager).pool_classes_by_scheme = pools
