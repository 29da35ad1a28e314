"""How often people may have us sign in at a broker with what they typed.

A broker counts the sign-ins that fail by address, and closes the door to all of them (Tradovate:
after 5 an hour). Everybody here comes from one address: what one person mistypes, or guesses, must
not use up what the log-ins that trade need in order to sign in again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gevent.lock import BoundedSemaphore
from limits import parse

from app.domain.errors import BrokerRefused, TooManyRequests
from app.services import rate_limits

_TRIES = parse("30 per hour")
"""Of one user, whatever becomes of them."""
_REFUSED = parse("3 per hour")
"""Of one user: the others can still try theirs."""
_REFUSED_TOGETHER = parse("4 per hour")
"""Of all users: the log-ins that are here already can still sign in."""
_WAIT_S = 30.0
_one_at_a_time = BoundedSemaphore()


@contextmanager
def counted(user_id: int, broker: str) -> Iterator[None]:
    """Around one sign-in. One at a time, because what came of the last one decides about the next.

    Raises:
        TooManyRequests: says when to try again; the broker was not asked.
    """
    user = str(user_id)
    rate_limits.count(_TRIES, "broker-sign-in", broker, user)
    if not _one_at_a_time.acquire(timeout=_WAIT_S):
        raise TooManyRequests("Others are signing in. Try again in a moment.", retry_after_s=5)
    try:
        rate_limits.check(_REFUSED, "broker-refused", broker, user)
        rate_limits.check(_REFUSED_TOGETHER, "broker-refused", broker)
        yield
    except BrokerRefused as e:
        if e.code == "bad_credentials":
            rate_limits.limiter().hit(_REFUSED, "broker-refused", broker, user)
            rate_limits.limiter().hit(_REFUSED_TOGETHER, "broker-refused", broker)
        raise
    finally:
        _one_at_a_time.release()
