"""What one order does to others: legs follow their entry, partners cancel each other."""

from __future__ import annotations

from tests.simulators.tradovate.venue.lifecycle import Lifecycle
from tests.simulators.tradovate.venue.world import Group, LiveOrder, World


class Linkage:
    """OSO and OCO (reference 3.3).

    A leg works for what its entry has filled: while that is nothing, or all of it has been
    used up and the entry still works, it is Suspended. Each change of quantity is a new
    OrderVersion.
    """

    def __init__(self, world: World, lifecycle: Lifecycle) -> None:
        self._world = world
        self._lifecycle = lifecycle
        lifecycle.on_filled.append(self._filled)
        lifecycle.on_final.append(self._ended)

    def _filled(self, order: LiveOrder) -> None:
        for group in order.groups:
            if group.entitled:
                self.refresh(group)
        if order.group is not None and not order.is_final:
            self._used_up(order, order.group)

    def _used_up(self, leg: LiveOrder, group: Group) -> None:
        """A partial fill of a leg: its partner protects what is left."""
        if group.entry is not None:
            self.refresh(group)
            return
        partner = group.partner(leg)
        if partner is None or not self._world.switches.oco_follows_partial_fills:
            return
        self._resize(partner, leg.remaining + partner.filled)

    def refresh(self, group: Group) -> None:
        """Give the legs the quantity that the entry has filled and nobody has closed."""
        follows = self._world.switches.oco_follows_partial_fills
        for leg in list(group.legs):
            partner = group.partner(leg)
            taken = partner.filled if partner is not None and follows else 0
            if not leg.is_final:
                self._allot(leg, group.entitled - taken, group)

    def _allot(self, leg: LiveOrder, qty: int, group: Group) -> None:
        if qty > leg.filled:
            self._resize(leg, qty)
            if leg.status in {"PendingNew", "Suspended"}:
                self._lifecycle.wake(leg)
        elif not group.is_complete:
            if leg.is_resting:
                self._lifecycle.suspend(leg)
        elif leg.filled:
            self._lifecycle.complete(leg)
        else:
            self._lifecycle.cancel(leg)

    def _resize(self, order: LiveOrder, qty: int) -> None:
        if qty != order.terms.qty and qty > order.filled and not order.is_final:
            self._lifecycle.reversion(order, order.terms.with_qty(qty))

    def _ended(self, order: LiveOrder) -> None:
        for group in order.groups:
            if order.filled and group.entitled:
                self.refresh(group)
                continue
            for leg in group.legs:
                self._abandon(leg, order)
        if order.group is not None:
            self._cancel_partner(order, order.group)

    def _cancel_partner(self, order: LiveOrder, group: Group) -> None:
        partner = group.partner(order)
        entry_was_rejected = group.entry is not None and group.entry.status == "Rejected"
        if partner is not None and not entry_was_rejected:
            self._lifecycle.cancel(partner)

    def _abandon(self, leg: LiveOrder, entry: LiveOrder) -> None:
        if leg.is_final:
            return
        if entry.status == "Rejected" and leg.status == "PendingNew":
            self._lifecycle.reject(leg, "RiskRejected", "ParentRejected")
        else:
            self._lifecycle.cancel(leg)
