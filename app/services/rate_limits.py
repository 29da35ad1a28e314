"""How often something may be done, with the library ``limits``: counted in Redis where there is
one, so that several processes count together, else in this process."""

from __future__ import annotations

import logging
from typing import NoReturn

from flask import Flask
from limits import RateLimitItem
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from app import clock
from app.domain.errors import TooManyRequests

log = logging.getLogger(__name__)

_fallback: RateLimiter = FixedWindowRateLimiter(MemoryStorage())
_shared = _fallback


def register(app: Flask) -> None:
    global _shared
    uri = app.config["JUST_TRADES"].redis_url or "memory://"
    _shared = FixedWindowRateLimiter(storage_from_string(uri))


def count(limit: RateLimitItem, *names: str) -> None:
    """
    Raises:
        TooManyRequests: says when to try again.
    """
    if not limiter().hit(limit, *names):
        refuse(limit, *names)


def check(limit: RateLimitItem, *names: str) -> None:
    """The same without counting.

    Raises:
        TooManyRequests: says when to try again.
    """
    if not limiter().test(limit, *names):
        refuse(limit, *names)


def refuse(limit: RateLimitItem, *names: str) -> NoReturn:
    wait = round(limiter().get_window_stats(limit, *names).reset_time - clock.now().timestamp())
    minutes = max(1, -(-wait // 60))
    raise TooManyRequests(
        f"Too many tries. Try again in {minutes} min.", retry_after_s=max(1, wait)
    )


def limiter() -> RateLimiter:
    """The shared count, or one of this process while Redis is away."""
    if _shared.storage.check():
        return _shared
    log.warning("rate limits are counted in this process: the shared storage is away")
    return _fallback
