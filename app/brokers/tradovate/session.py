"""The session of one log-in: its token, kept and renewed, and the calls that are made with it.

A log-in closes older sessions of the same user (two are allowed), may be refused with a captcha,
and is counted per address: so a token is kept across restarts, renewed while it is valid, and a
session is opened only where renewing is impossible. One greenlet at a time does that, the others
wait for what comes of it.

What is kept is one JSON object (``LoginStore.save_token``): ``access_token, md_token, expires_at,
obtained_at, user_id, name``, by OAuth ``refresh_token`` and ``refresh_of``, and while the broker
asks for silence ``blocked_until, block_reason`` and, for single endpoints, ``blocked_paths``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any

from gevent.event import AsyncResult

from app import clock
from app.brokers.logins import LoginRef, LoginStore
from app.brokers.tradovate.budget import Budget, Purpose
from app.brokers.tradovate.errors import (
    BadRequest,
    Busy,
    Locked,
    NoAnswer,
    NotSent,
    Penalty,
    SessionLost,
)
from app.brokers.tradovate.http import Transport
from app.brokers.tradovate.signing import (
    GRANT_ENDED,
    LOGIN_PATH,
    ME_PATH,
    OAUTH_PATH,
    RENEWAL_PATH,
    identity,
    instant,
    is_password_login,
    refresh_grant,
    sign_in,
    text_or_none,
    token_of,
    wait_out,
)
from app.domain.errors import BrokerError, BrokerRateLimited, BrokerRefused, BrokerUnavailable

log = logging.getLogger(__name__)

_LEAD = timedelta(minutes=15)
_LEAD_SHARE = 6
"""A token is renewed a quarter of an hour, but at most a sixth of its life, before its end."""
_JITTER_S = 60.0
_RENEWAL_PAUSE = timedelta(minutes=1)
"""Between renewals before the end that failed, or that moved the end by nothing."""
_BLOCK = timedelta(hours=1)
_REVIVAL_PAUSE = timedelta(minutes=15)
"""Between renewals on mere suspicion: the endpoint takes 15 an hour from one address."""
_STRANGE_ANSWERS = 2
_DENIAL = timedelta(hours=1)
"""For so long what was denied to a fresh token is not taken for a lost session."""
_LOGIN_PAUSES = tuple(timedelta(seconds=s) for s in (15, 30, 60, 120, 300))
"""After log-ins without a clear answer: they may count as failures, of which 5 an hour are free."""
_EVERYTHING = ""
"""The path that stands for all paths."""
_KEPT_WITHOUT_SESSION = (
    "refresh_token",
    "refresh_of",
    "blocked_until",
    "block_reason",
    "blocked_paths",
)
_BLOCK_WORDS = {
    "rate_limit": "Tradovate has locked this log-in: too many requests",
    "last_warning": "Tradovate warned that it is about to lock this log-in",
    "captcha": "Tradovate asks for a captcha, which no program can solve",
}
_DOMAINS = {
    "order": "orders",
    "orderversion": "orders",
    "orderstrategy": "orders",
    "orderstrategylink": "orders",
    "command": "orders",
    "commandreport": "orders",
    "executionreport": "orders",
    "position": "positions",
    "fillpair": "positions",
    "fill": "fills",
    "fillfee": "fills",
    "account": "accounts",
    "accountriskstatus": "accounts",
    "cashbalance": "balances",
    "cashbalancelog": "balances",
    "marginsnapshot": "balances",
    "contract": "the contract library",
    "contractmaturity": "the contract library",
    "product": "the contract library",
    "user": "users",
    "md": "market data",
}
"""What the permissions of an API key are given for, by the first part of a path."""
_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    body: Mapping[str, Any] | None
    query: Mapping[str, Any] | None
    purpose: Purpose
    by_hand: bool

    @property
    def changes_orders(self) -> bool:
        """Reads may be as urgent as an exit; they may be asked again all the same."""
        return self.purpose.is_urgent and self.body is not None

    @property
    def endpoint(self) -> str:
        """The path as captchas are remembered for it."""
        return self.path.lower()

    @property
    def domain(self) -> str:
        """What an API key needs a permission for, to make this call."""
        entity = self.endpoint.strip("/").partition("/")[0]
        return _DOMAINS.get(entity, entity)

    @property
    def may_pass_a_block(self) -> bool:
        """A person gets out of a position whatever we think of our chances."""
        return self.by_hand and self.purpose in (Purpose.EXIT, Purpose.CANCEL)

    def with_ticket(self, ticket: str) -> _Request:
        return replace(self, body={**(self.body or {}), "p-ticket": ticket})


class Session:
    """``oauth_transport``: to the host that takes OAuth grants (the live one), where it is
    another."""

    def __init__(
        self,
        login: LoginRef,
        store: LoginStore,
        transport: Transport,
        budget: Budget,
        *,
        oauth_transport: Transport | None = None,
    ) -> None:
        self._login = login
        self._store = store
        self._transport = transport
        self._oauth_transport = oauth_transport or transport
        self._budget = budget
        self._kept: dict[str, Any] = {}
        self._is_loaded = False
        self._under_way: AsyncResult | None = None
        self._refused: tuple[str, str] | None = None
        self._renew_after = clock.now()
        self._revive_after = clock.now()
        self._login_after = clock.now()
        self._failed_logins = 0
        self._strange_answers = 0
        self._doubted: str | None = None
        self._denied: dict[str, datetime] = {}
        self._jitter = timedelta(seconds=_random.uniform(0, _JITTER_S))

    # What the others use.

    def call(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        purpose: Purpose = Purpose.READ,
        by_hand: bool = False,
    ) -> Any:
        """The answer's JSON; a refusal inside it is the caller's to find (``errors.refusal``).

        Order calls (ENTRY, EXIT or CANCEL, with a ``body``) are sent again in two cases only, in
        both of which the first one was not executed (reference 2.5 and 4) and what is sent is
        identical: with the ticket of a penalty, once; and once after a 401 that says that the
        token has expired, because such a call is turned away before anything looks at what it
        asks. Any other 401 may be about the order or the account and is handed on.

        ``by_hand``: a person wants this EXIT or CANCEL now, even while the broker has asked for
        silence.

        Raises:
            BrokerRefused: not executed (``access_denied``, ``no_permission``, ``not_there``,
                ``bad_request``, ``bad_credentials``, ``not_sent``).
            BrokerRateLimited: not executed; blocked, over budget, or a penalty too long to wait.
            BrokerUnavailable: it may have been executed; a read was not answered.
        """
        request = _Request(_normal(path), body, query, purpose, by_hand)
        token = self._token_for(request)
        try:
            return self._through_penalty(request, token)
        except SessionLost as e:
            return self._after_denial(request, token, e)
        except (NoAnswer, BrokerRateLimited) as e:
            if request.changes_orders or not self._looks_evicted(e):
                raise
        return self._through_penalty(request, self._revived(token))

    def token(self) -> str:
        """A token that is valid as far as we know; what needs one for long asks each time.

        Raises:
            BrokerRefused: ``bad_credentials`` is final until a person acts; ``not_sent`` is not.
            BrokerRateLimited: blocked. BrokerUnavailable: signing in was not answered.
        """
        return self._current(forced=False)

    def md_token(self) -> str | None:
        self._load()
        return text_or_none(self._kept.get("md_token"))

    def user_id(self) -> int:
        """The user's id at Tradovate. Raises as ``call`` does."""
        self.token()
        if self._kept.get("user_id") is None:
            self._change(identity(self.call(ME_PATH)))
        return int(self._kept["user_id"])

    def forget(self, token: str | None = None) -> None:
        """Drop the session, so that the next call opens one, with the credentials of then. What
        outlives a session stays: a lock of the broker, a refresh token.

        ``token``: only if this is still the one that is in use.
        """
        self._load(again=True)
        if token is not None and token != self._kept.get("access_token"):
            return
        self._refused = None
        self._doubted = None
        self._denied.clear()
        self._keep({k: v for k, v in self._kept.items() if k in _KEPT_WITHOUT_SESSION})

    @property
    def clock_ahead(self) -> timedelta:
        """By how much our clock is ahead of the broker's."""
        return self._transport.clock_ahead

    @property
    def blocked_until(self) -> datetime | None:
        """No call before this instant; None: not blocked."""
        self._load()
        return self._blocked_until(_EVERYTHING)

    @property
    def block_reason(self) -> str | None:
        """``rate_limit``, ``last_warning`` or ``captcha``, while it is blocked."""
        return self._kept.get("block_reason") if self.blocked_until else None

    # One call.

    def _token_for(self, request: _Request) -> str:
        self._guard(request.endpoint, forced=request.may_pass_a_block)
        try:
            token = self._current(forced=request.may_pass_a_block)
            # A person's exit during a lock goes out as it is: first things first.
            if token == self._doubted and self._blocked_until(_EVERYTHING) is None:
                token = self._revived(token)
        except BrokerUnavailable as e:
            raise _without_session(request, e) from e
        return token

    def _through_penalty(self, request: _Request, token: str) -> Any:
        try:
            return self._send(request, token)
        except Penalty as e:
            wait_out(e)
            return self._send(request.with_ticket(e.ticket), token)

    def _send(self, request: _Request, token: str) -> Any:
        self._guard(request.endpoint, forced=request.may_pass_a_block)
        self._budget.take(request.purpose)
        self._guard(request.endpoint, forced=request.may_pass_a_block)
        try:
            answer = self._transport.send(
                request.path,
                body=request.body,
                query=request.query,
                token=token,
                purpose=request.purpose.name.lower(),
            )
        except (Locked, Penalty) as e:
            self._note_block(request.endpoint, e)
            self._doubted = token if isinstance(e, Locked) else self._doubted
            raise
        except (NoAnswer, BrokerRateLimited) as e:
            self._strange_answers += _may_mean_eviction(e)
            raise
        self._strange_answers = 0
        return answer

    def _after_denial(self, request: _Request, token: str, error: SessionLost) -> Any:
        if request.changes_orders and not error.is_expired:
            self._doubted = token
            raise error
        if not error.is_expired and self._is_denied(request.domain):
            raise _no_permission(request.domain, error)
        try:
            fresh = self._renewed(token, forced=request.may_pass_a_block)
        except BrokerUnavailable as e:
            raise _without_session(request, e) from e
        try:
            return self._through_penalty(request, fresh)
        except SessionLost as e:
            if request.changes_orders:
                raise
            if not self._is_accepted(fresh):
                # It has ended, too: that says nothing of what the key may do.
                words = "Tradovate does not accept the new session either"
                raise BrokerUnavailable(words) from e
            self._denied[request.domain] = clock.now() + _DENIAL
            raise _no_permission(request.domain, e) from e

    def _is_accepted(self, token: str) -> bool:
        """Whether a token is good for what every key may ask: who it is."""
        try:
            self._transport.send(ME_PATH, token=token)
        except BrokerError:
            return False
        return True

    def _is_denied(self, domain: str) -> bool:
        until = self._denied.get(domain)
        return until is not None and clock.now() < until

    # The broker asks for silence.

    def _guard(self, path: str, *, forced: bool) -> None:
        """Raises BrokerRateLimited while nothing may be sent there."""
        self._load()
        if forced:
            return
        for scope in (_EVERYTHING, path):
            until = self._blocked_until(scope)
            if until is not None:
                reason = self._kept.get("block_reason") if scope == _EVERYTHING else "captcha"
                words = _BLOCK_WORDS.get(str(reason), "Tradovate asks to wait")
                raise BrokerRateLimited(
                    f"{words}; no request is sent before {until:%H:%M} UTC",
                    retry_after_s=(until - clock.now()).total_seconds(),
                )

    def _blocked_until(self, scope: str) -> datetime | None:
        kept = self._kept.get("blocked_until")
        if scope != _EVERYTHING:
            kept = (self._kept.get("blocked_paths") or {}).get(scope)
        until = instant(kept)
        return until if until is not None and until > clock.now() else None

    def _note_block(self, path: str, error: BrokerError) -> None:
        """A lock is the user's. A captcha is the endpoint's, except that without a log-in there
        is nothing."""
        if not isinstance(error, Locked) and error.code != "captcha":
            return
        until = (clock.now() + _BLOCK).isoformat()
        reason = error.reason if isinstance(error, Locked) else "captcha"
        if reason == "captcha" and path not in (LOGIN_PATH, OAUTH_PATH):
            self._change(
                {"blocked_paths": {**(self._kept.get("blocked_paths") or {}), path: until}}
            )
        else:
            self._change({"blocked_until": until, "block_reason": reason})
        log.warning(
            "the broker asks for silence", extra={"login_id": self._login.id, "reason": reason}
        )

    # The token.

    def _current(self, *, forced: bool) -> str:
        self._load()
        if not self._is_valid(self._kept):
            return self._renewed(None, forced=forced)
        if self._under_way is not None or self._is_due(self._kept):
            return self._renewed_early()
        return str(self._kept["access_token"])

    def _is_valid(self, token: Mapping[str, Any]) -> bool:
        if not token.get("access_token"):
            return False
        expires_at = instant(token.get("expires_at"))
        return expires_at is None or expires_at > clock.now()

    def _is_due(self, token: Mapping[str, Any]) -> bool:
        expires_at, obtained_at = instant(token.get("expires_at")), token.get("obtained_at")
        if expires_at is None or clock.now() < self._renew_after:
            return False
        life = expires_at - (instant(obtained_at) or expires_at - _LEAD * _LEAD_SHARE)
        lead = min(_LEAD, life / _LEAD_SHARE)
        jitter = min(self._jitter, lead / 4)
        return clock.now() >= expires_at - lead - jitter

    def _renewed_early(self) -> str:
        """The renewed token or, where that fails, the one that is valid for a while yet."""
        token = str(self._kept["access_token"])
        self._renew_after = clock.now() + _RENEWAL_PAUSE
        try:
            return self._renewed(token, forced=False)
        except BrokerError as e:
            log.warning("token not renewed yet", extra={"login_id": self._login.id, "code": e.code})
            return str(self._kept.get("access_token") or token)

    def _revived(self, token: str) -> str:
        """The token after the suspicion that its session was closed: renewed if it lives, of a
        new session if it does not."""
        self._doubted = None
        self._strange_answers = 0
        if clock.now() < self._revive_after:
            return token
        self._revive_after = clock.now() + _REVIVAL_PAUSE
        return self._renewed(token, forced=False, suspected=True)

    def _looks_evicted(self, error: BrokerError) -> bool:
        return (
            _may_mean_eviction(error)
            and self._strange_answers >= _STRANGE_ANSWERS
            and clock.now() >= self._revive_after
        )

    def _renewed(self, bad: str | None, *, forced: bool, suspected: bool = False) -> str:
        """Another token than ``bad``, of whoever gets it first: the store may have one of another
        process, and what is under way here already is waited for."""
        if self._under_way is not None:
            kept = self._under_way.get()
        else:
            kept = self._alone(lambda: self._obtained(bad, forced, suspected))
        return str(kept["access_token"])

    def _alone(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        result = self._under_way = AsyncResult()
        try:
            kept = work()
        except BrokerError as e:
            result.set_exception(e)
            raise
        except BaseException:
            result.set_exception(BrokerUnavailable("Signing in at Tradovate was interrupted"))
            raise
        else:
            result.set(kept)
            return kept
        finally:
            self._under_way = None

    def _obtained(self, bad: str | None, forced: bool, suspected: bool) -> dict[str, Any]:
        with self._store.renewing(self._login.id):
            self._load(again=True)
            kept = self._kept
            if self._is_valid(kept) and kept["access_token"] != bad:
                return kept
            if self._is_valid(kept):
                renewed = self._renewal(kept, forced, suspected)
                if renewed is not None:
                    return self._adopt(renewed, is_renewal=True)
            return self._adopt(self._opened(kept, forced), is_renewal=False)

    def _renewal(
        self, kept: dict[str, Any], forced: bool, suspected: bool
    ) -> dict[str, Any] | None:
        """The kept token renewed; None: its session is over."""
        self._guard(RENEWAL_PATH, forced=forced)
        try:
            answer = self._transport.send(RENEWAL_PATH, token=str(kept["access_token"]))
        except (SessionLost, BadRequest):
            return None
        except (NoAnswer, BrokerRateLimited) as e:
            if suspected and _may_mean_eviction(e):
                return None
            self._note_block(RENEWAL_PATH, e)
            raise
        is_renewed = isinstance(answer, dict) and answer.get("accessToken")
        return {**kept, **token_of(answer, kept)} if is_renewed else None

    def _opened(self, kept: dict[str, Any], forced: bool) -> dict[str, Any]:
        """A new session.

        Raises:
            BrokerRefused: ``bad_credentials``, remembered until the credentials change.
        """
        credentials = self._store.credentials(self._login.id)
        fingerprint = _fingerprint(dict(credentials))
        if self._refused is not None and self._refused[0] == fingerprint:
            raise BrokerRefused(self._refused[1], code="bad_credentials")
        path = LOGIN_PATH if is_password_login(credentials) else OAUTH_PATH
        self._guard(path, forced=forced)
        if not forced:
            self._guard_log_in()
        try:
            opened = self._signed_in(credentials, kept)
        except (Locked, Penalty) as e:
            self._note_block(path, e)
            raise
        except BrokerRefused as e:
            if e.code == "bad_credentials":
                self._refused = (fingerprint, e.detail)
            raise
        except BrokerUnavailable:
            pause = _LOGIN_PAUSES[min(self._failed_logins, len(_LOGIN_PAUSES) - 1)]
            self._failed_logins += 1
            self._login_after = clock.now() + pause
            raise
        self._failed_logins = 0
        return opened

    def _guard_log_in(self) -> None:
        wait_s = (self._login_after - clock.now()).total_seconds()
        if wait_s > 0:
            raise BrokerRateLimited(
                "Signing in at Tradovate was not answered; it is tried again shortly",
                retry_after_s=wait_s,
            )

    def _signed_in(self, credentials: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        if is_password_login(credentials):
            return sign_in(self._transport, credentials)
        given = text_or_none(credentials.get("refresh_token"))
        origin = _fingerprint(given)
        is_descendant = kept.get("refresh_of") == origin or given is None
        refresh_token = text_or_none(kept.get("refresh_token")) if is_descendant else None
        refresh_token = refresh_token or given
        if refresh_token is None:
            raise BrokerRefused(GRANT_ENDED, code="bad_credentials")
        granted = refresh_grant(self._oauth_transport, credentials, refresh_token)
        granted["refresh_token"] = granted["refresh_token"] or refresh_token
        who = {name: kept.get(name) for name in ("user_id", "name")} if is_descendant else {}
        return {**granted, **who, "refresh_of": origin}

    def _adopt(self, token: dict[str, Any], *, is_renewal: bool) -> dict[str, Any]:
        """Keep the token, first of all: a refresh token works once."""
        blocks = {k: self._kept[k] for k in _KEPT_WITHOUT_SESSION if k in self._kept}
        kept = {**blocks, **token}
        self._keep(kept)
        self._doubted = None
        self._strange_answers = 0
        self._jitter = timedelta(seconds=_random.uniform(0, _JITTER_S))
        self._renew_after = clock.now() + _RENEWAL_PAUSE
        if not is_renewal:
            self._denied.clear()
        log.info(
            "session renewed" if is_renewal else "signed in at the broker",
            extra={"login_id": self._login.id},
        )
        return kept  # not ``_kept``: it may have been forgotten while it was stored

    def _load(self, *, again: bool = False) -> None:
        if again or not self._is_loaded:
            self._kept = dict(self._store.token(self._login.id) or {})
            self._is_loaded = True

    def _change(self, values: Mapping[str, Any]) -> None:
        """Keep these too, next to what another process may have kept meanwhile."""
        self._load(again=True)
        self._keep({**self._kept, **values})

    def _keep(self, kept: dict[str, Any]) -> None:
        # In memory first: a token that could not be stored is still the one that works.
        self._kept = kept
        self._is_loaded = True
        self._store.save_token(self._login.id, dict(kept) or None)


# Small things.


def _may_mean_eviction(error: BrokerError) -> bool:
    """Calls of a closed session are answered 408, 429 or 5xx."""
    if isinstance(error, NoAnswer):
        return error.may_mean_eviction
    return isinstance(error, Locked | Busy)


def _without_session(request: _Request, error: BrokerUnavailable) -> BrokerError:
    """Signing in has no known outcome, but the order that needed it has: it was not executed."""
    if not request.changes_orders:
        return BrokerUnavailable(error.detail)
    return NotSent(f"There is no session at Tradovate: {error.detail}; the order was not executed")


def _no_permission(domain: str, error: SessionLost) -> BrokerRefused:
    return BrokerRefused(
        f"The API key has no permission for {domain}: {error.detail}", code="no_permission"
    )


def _normal(path: str) -> str:
    return "/" + path.strip("/")


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
