"""How the venue misbehaves, or which of two readings of the reference it follows."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tests.simulators.tradovate.venue.schema import FAILURE_REASONS

REJECTIONS = frozenset({"RiskRejected", "ExecutionRejected"})


@dataclass(slots=True)
class Switches:
    """All off: the strict service that fills at once. See each line.

    One-shot switches go back to None when they have been used.
    """

    hold_fills: bool = False
    """Nothing fills by itself; see ``Venue.release_fills`` and ``Venue.fill_order``."""
    fill_market_orders: bool = True
    """False: market orders stay Working until released."""
    partial_fills_one_lot: bool = False
    """Each look at an order (its arrival, a price) fills one contract at most."""
    reject_next: str | None = None
    """One-shot: the failureReason that the next order call is refused with."""
    reject_after_accept: str | None = None
    """``RiskRejected`` or ``ExecutionRejected``: every order is accepted, then rejected so."""
    reject_reason: str = "OtherExecutionRelated"
    """The rejectReason that goes with ``reject_after_accept``."""
    cancel_loses_race: bool = False
    """A cancel is accepted, but the order fills first and the cancel is TooLate."""
    slow_cancel: bool = False
    """Cancels stay pending until ``Venue.release_commands``."""
    slow_modify: bool = False
    """Modifies stay pending until ``Venue.release_commands``."""
    modify_not_applied: bool = False
    """A modify is accepted and nothing changes."""
    too_late_is_401: bool = False
    """A command on a finished order answers 401 instead of ``TooLate``."""
    lenient: bool = False
    """For third-party clients: see ``server.lenient``."""
    market_closed: bool = False
    """Every order is refused with SessionClosed; cancels are not."""
    interrupt_leaves_legs: bool = False
    """interruptorderstrategy does not cancel the working legs."""
    oco_follows_partial_fills: bool = True
    """A partly filled order takes its filled quantity off its OCO partner."""
    liquidate_flat_refused: bool = True
    """liquidateposition on a flat position: a failure, else an empty answer."""
    liquidate_tag_is_404: bool = True
    """liquidateposition with customTag50 answers 404 (a third party's report)."""
    charge_fees: bool = True
    check_margin: bool = False
    """Refuse openings whose margin exceeds the account's equity."""
    hidden_accounts: set[int] = field(default_factory=set)
    """Accounts that are missing from lists and snapshots (weekend maintenance)."""
    contract_refusals: dict[str, str] = field(default_factory=dict)
    """Contract name -> failureReason, e.g. BackMonthProhibited."""

    def assign(self, **values: Any) -> None:
        """Set several at once. Raises ValueError for an unknown name or reason."""
        known = {f.name for f in fields(self)}
        unknown = set(values) - known
        if unknown:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        if values.get("reject_next") not in FAILURE_REASONS | {None}:
            raise ValueError(f"no such failureReason: {values['reject_next']}")
        if values.get("reject_after_accept") not in REJECTIONS | {None}:
            raise ValueError(f"not a rejection: {values['reject_after_accept']}")
        for name, value in values.items():
            setattr(self, name, set(value) if name == "hidden_accounts" else value)
