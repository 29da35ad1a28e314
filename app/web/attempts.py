"""How often somebody may try to sign in, counted per name and per address.

A name is counted with the address first, so that strangers who guess do not lock its owner out;
the count per name alone is wider and stops guessing from many addresses.
"""

from __future__ import annotations

from limits import parse

from app.services import rate_limits

_NAME_HERE = parse("10 per 15 minutes")
_NAME = parse("100 per hour")
_FAILED_HERE = parse("60 per 15 minutes")
_REGISTER_HERE = parse("100 per 10 minutes")


def begin(name: str, address: str) -> None:
    """Count one try to prove to be ``name``, before the password is looked at.

    Raises:
        TooManyRequests: says when to try again.
    """
    rate_limits.check(_FAILED_HERE, "failed", address)
    rate_limits.count(_NAME_HERE, "name-here", name, address)
    rate_limits.count(_NAME, "name", name)


def failed(address: str) -> None:
    rate_limits.limiter().hit(_FAILED_HERE, "failed", address)


def succeeded(name: str, address: str) -> None:
    """Who knows the password may make as many mistakes again."""
    rate_limits.limiter().clear(_NAME_HERE, "name-here", name, address)


def count_registration(address: str) -> None:
    """
    Raises:
        TooManyRequests: says when to try again.
    """
    rate_limits.count(_REGISTER_HERE, "register", address)
