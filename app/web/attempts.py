"""How often somebody may try to sign in, counted per name and per address.

A name is counted with the address first, so that strangers who guess do not lock its owner out;
the count per name alone is wider and stops guessing from many addresses.
"""

from __future__ import annotations

import logging

from flask import Flask
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from app import clock
from app.domain.errors import TooManyRequests

log = logging.getLogger(__name__)

_NAME_HERE = parse("10 per 15 minutes")
_NAME = parse("100 per hour")
_FAILED_HERE = parse("60 per 15 minutes")
_REGISTER_HERE = parse("100 per 10 minutes")
_fallback: RateLimiter = FixedWindowRateLimiter(MemoryStorage())
_shared = _fallback


def register(app: Flask) -> None:
    """Count in Redis where there is one, so that several processes count together."""
    global _shared
    uri = app.config["JUST_TRADES"].redis_url or "memory://"
    _shared = FixedWindowRateLimiter(storage_from_string(uri))


def begin(name: str, address: str) -> None:
    """Count one try to prove to be ``name``, before the password is looked at.

    Raises:
        TooManyRequests: says when to try again.
    """
    if not _limits().test(_FAILED_HERE, "failed", address):
        _refuse(_FAILED_HERE, "failed", address)
    _count(_NAME_HERE, "name-here", name, address)
    _count(_NAME, "name", name)


def failed(address: str) -> None:
    _limits().hit(_FAILED_HERE, "failed", address)


def succeeded(name: str, address: str) -> None:
    """Who knows the password may make as many mistakes again."""
    _limits().clear(_NAME_HERE, "name-here", name, address)


def count_registration(address: str) -> None:
    """
    Raises:
        TooManyRequests: says when to try again.
    """
    _count(_REGISTER_HERE, "register", address)


def _count(limit: RateLimitItem, *names: str) -> None:
    if not _limits().hit(limit, *names):
        _refuse(limit, *names)


def _refuse(limit: RateLimitItem, *names: str) -> None:
    wait = round(_limits().get_window_stats(limit, *names).reset_time - clock.now().timestamp())
    minutes = max(1, -(-wait // 60))
    raise TooManyRequests(
        f"Too many tries. Try again in {minutes} min.", retry_after_s=max(1, wait)
    )


def _limits() -> RateLimiter:
    """The shared count, or one of this process while Redis is away."""
    if _shared.storage.check():
        return _shared
    log.warning("rate limits are counted in this process: the shared storage is away")
    return _fallback
