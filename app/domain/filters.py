"""The filters of an entry. Exits, cancels and flatten never pass through here.

Each filter returns one line of the trace; the first that stops ends the entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from app.domain.plans import Context, Outcome, Rule
from app.domain.settings import Direction
from app.domain.signals.types import Signal
from app.domain.symbols import instrument_for
from app.domain.trading import PositionSide


def entry_filters(context: Context, side: PositionSide) -> Iterator[Rule]:
    """The verdict of every filter in turn. A rule that stops is named after its reason code."""
    yield _account(context)
    yield _deadline(context)
    settings = context.settings
    if settings.max_signal_age:
        yield _age(context, context.signal)
    if settings.direction is not Direction.BOTH:
        yield _direction(settings.direction, side)
    if settings.allowed_symbols:
        yield _symbols(settings.allowed_symbols, context.signal.symbol)


def _account(context: Context) -> Rule:
    account = context.account
    if account.kill_switch:
        return Rule("kill_switch", {}, Outcome.STOPPED, "the kill switch is on: no entries")
    if account.is_locked:
        return Rule("account_locked", {}, Outcome.STOPPED, "the account is locked: no entries")
    if not account.is_enabled:
        return Rule("account_disabled", {}, Outcome.STOPPED, "the account is off: no entries")
    return Rule("account", {}, Outcome.PASS, "the account takes entries")


def _deadline(context: Context) -> Rule:
    limit = context.settings.entry_deadline
    waited = max((context.now - context.received_at).total_seconds(), 0.0)
    inputs = {"waited_s": f"{waited:.3f}", "entry_deadline": str(limit)}
    if context.now > context.received_at + timedelta(seconds=limit):
        words = f"{waited:.0f} s after the alert is too late to enter: the limit is {limit} s"
        return Rule("entry_deadline", inputs, Outcome.STOPPED, words)
    return Rule("entry_deadline", inputs, Outcome.PASS, f"within {limit} s of the alert")


def _age(context: Context, signal: Signal) -> Rule:
    limit = context.settings.max_signal_age
    if signal.fired_at is None:
        words = "the alert does not say when it fired"
        return Rule("max_signal_age", {}, Outcome.PASS, words)
    age = (context.received_at - signal.fired_at).total_seconds()
    inputs = {"age_s": f"{age:.3f}", "max_signal_age": str(limit)}
    if age > limit:
        words = f"the alert fired {age:.0f} s before it arrived: the limit is {limit} s"
        return Rule("max_signal_age", inputs, Outcome.STOPPED, words)
    return Rule("max_signal_age", inputs, Outcome.PASS, f"fired {age:.0f} s before it arrived")


def _direction(direction: Direction, side: PositionSide) -> Rule:
    inputs = {"direction": direction.value, "side": side.value}
    if direction.value != side.value:
        words = f"only {direction} entries are allowed, this one is {side}"
        return Rule("direction", inputs, Outcome.STOPPED, words)
    return Rule("direction", inputs, Outcome.PASS, f"{side} entries are allowed")


def _symbols(allowed: tuple[str, ...], symbol: str) -> Rule:
    inputs = {"symbol": symbol, "allowed_symbols": ", ".join(allowed)}
    roots = {instrument_for(name).root for name in allowed}
    if symbol in allowed or instrument_for(symbol).root in roots:
        return Rule("allowed_symbols", inputs, Outcome.PASS, f"{symbol} is allowed")
    words = f"{symbol} is not among the allowed symbols"
    return Rule("allowed_symbols", inputs, Outcome.STOPPED, words)
