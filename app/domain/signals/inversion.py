"""The opposite of a signal, for strategies that trade against their alerts."""

from __future__ import annotations

from dataclasses import replace

from app.domain.signals.types import Action, Signal, Target

_ACTIONS = {
    Action.BUY: Action.SELL,
    Action.SELL: Action.BUY,
    Action.CLOSE_LONG: Action.CLOSE_SHORT,
    Action.CLOSE_SHORT: Action.CLOSE_LONG,
}
_TARGETS = {Target.LONG: Target.SHORT, Target.SHORT: Target.LONG}


def invert(signal: Signal) -> tuple[Signal, tuple[str, ...]]:
    """Swap sides, wanted and previous position; the alert's own stop and target are dropped.

    They lie on the wrong side of the price for the opposite trade; a warning says so.
    """
    swapped = replace(
        signal,
        action=_ACTIONS.get(signal.action, signal.action),
        target=_swapped(signal.target),
        previous=_swapped(signal.previous),
        side=_swapped(signal.side),
        take_profit=None,
        stop_loss=None,
    )
    if signal.take_profit is None and signal.stop_loss is None:
        return swapped, ()
    return swapped, ("inverse: the alert's own stop and target are ignored",)


def _swapped(target: Target | None) -> Target | None:
    return None if target is None else _TARGETS.get(target, target)
