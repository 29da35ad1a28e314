"""Short ways to decode a body in a test."""

from __future__ import annotations

import json

from app.domain.signals import BadAlert, Decoded, Signal, decode

FORM = "application/x-www-form-urlencoded"


def read(body: str | bytes, content_type: str | None = None, symbol: str | None = None) -> Decoded:
    raw = body.encode() if isinstance(body, str) else body
    return decode(raw, content_type, default_symbol=symbol)


def one(body: str | bytes, content_type: str | None = None, symbol: str | None = None) -> Signal:
    """The only signal of a body."""
    (signal,) = read(body, content_type, symbol).signals
    return signal


def fields(**values: object) -> Decoded:
    """A JSON object with an action and a symbol, changed by ``values``; None leaves one out."""
    found = {"action": "buy", "symbol": "MNQ1!"} | values
    return read(json.dumps({k: v for k, v in found.items() if v is not None}))


def signal(**values: object) -> Signal:
    (found,) = fields(**values).signals
    return found


def of(found: Signal, *members: str) -> tuple[object, ...]:
    """Some members of a signal, to be compared with plain values."""
    return tuple(getattr(found, member) for member in members)


def refusal(
    body: str | bytes, content_type: str | None = None, symbol: str | None = None
) -> BadAlert:
    try:
        decoded = read(body, content_type, symbol)
    except BadAlert as e:
        return e
    raise AssertionError(f"accepted as {decoded.signals}")


def refused(**values: object) -> BadAlert:
    found = {"action": "buy", "symbol": "MNQ1!"} | values
    return refusal(json.dumps({k: v for k, v in found.items() if v is not None}))
