"""The steps of an order's life, each with its rows and events (reference 3.3 and 5.6)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tests.simulators.tradovate.venue.library import Contract
from tests.simulators.tradovate.venue.money import Ledger
from tests.simulators.tradovate.venue.wire import Row
from tests.simulators.tradovate.venue.world import (
    SYSTEM,
    Group,
    LiveOrder,
    Pending,
    Tags,
    Terms,
    World,
)

EXECUTION_PROVIDER = 1
Hook = Callable[[LiveOrder], None]


class Lifecycle:
    """Turns decisions into rows. ``on_working``, ``on_filled`` and ``on_final`` hear of each."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        self.on_working: list[Hook] = []
        self.on_filled: list[Hook] = []
        self.on_final: list[Hook] = []

    def open(
        self,
        account_id: int,
        contract: Contract,
        action: str,
        terms: Terms,
        tags: Tags,
        *,
        order_id: int | None = None,
        links: Row | None = None,
    ) -> LiveOrder:
        """The first three rows of an order: command Pending, order PendingNew, version."""
        world = self._world
        order_id = order_id or world.store.new_id()
        command = self._command(account_id, order_id, "New", tags)
        version_id = world.store.new_id()
        order = LiveOrder(
            order_id, account_id, contract, action, terms, tags, command["id"], version_id
        )
        order.links = links or {}
        world.orders[order_id] = order
        world.open_orders(account_id, contract.id)[order_id] = order
        world.add(
            "order",
            account_id,
            id=order_id,
            accountId=account_id,
            contractId=contract.id,
            timestamp=world.stamp(),
            action=action,
            ordStatus="PendingNew",
            executionProviderId=EXECUTION_PROVIDER,
            admin=False,
            **order.links,
        )
        world.add("orderVersion", account_id, id=version_id, orderId=order_id, **terms.as_row())
        return order

    def accept(self, order: LiveOrder) -> None:
        """The risk check, and the exchange: Working, or rejected if a switch says so."""
        switches = self._world.switches
        if switches.reject_after_accept == "RiskRejected":
            self.reject(order, "RiskRejected", switches.reject_reason)
            return
        self._report(order, order.command_id, "RiskPassed")
        if switches.reject_after_accept == "ExecutionRejected":
            self.reject(order, "ExecutionRejected", switches.reject_reason)
            return
        self.wake(order)

    def suspend(self, order: LiveOrder) -> None:
        """Park a leg whose entry has given it nothing (more) to work for."""
        if order.status == "PendingNew":
            self._report(order, order.command_id, "RiskPassed")
        self._set_command(order.command_id, "ExecutionSuspended")
        self._executed(order, order.command_id, "Suspended", "Suspended")
        self._set_status(order, "Suspended")

    def wake(self, order: LiveOrder) -> None:
        self._set_command(order.command_id, "AtExecution")
        self._executed(order, order.command_id, "New", "Working")
        self._set_status(order, "Working")
        for hook in self.on_working:
            hook(order)

    def reject(self, order: LiveOrder, command_status: str, reason: str) -> None:
        text = f"Rejected: {reason}"
        self._report(
            order,
            order.command_id,
            command_status,
            rejectReason=reason,
            text=text,
            ordStatus="Rejected",
        )
        self._set_command(order.command_id, command_status)
        if command_status == "ExecutionRejected":
            self._executed(
                order, order.command_id, "Rejected", "Rejected", rejectReason=reason, text=text
            )
        self._finish(order, "Rejected")

    def begin_cancel(self, order: LiveOrder, tags: Tags) -> int:
        """Returns the command's id; ``apply_pending`` or ``fail_pending`` ends it."""
        command = self._command(order.account_id, order.id, "Cancel", tags)
        order.pending = Pending(command["id"])
        if order.is_resting:
            self._set_status(order, "PendingCancel")
        self._report(order, command["id"], "RiskPassed")
        return int(command["id"])

    def begin_modify(self, order: LiveOrder, terms: Terms, tags: Tags) -> int:
        command = self._command(order.account_id, order.id, "Modify", tags)
        order.pending = Pending(command["id"], terms)
        if order.is_resting:
            self._set_status(order, "PendingReplace")
        self._report(order, command["id"], "RiskPassed")
        return int(command["id"])

    def apply_pending(self, order: LiveOrder) -> None:
        pending, order.pending = order.pending, None
        if pending is None or order.is_final:
            return
        if pending.terms is None:
            self._executed(order, pending.command_id, "Canceled", "Canceled")
            self._set_command(pending.command_id, "AtExecution")
            self._finish(order, "Canceled")
            return
        if pending.terms.qty <= order.filled:
            self._refuse_late(order, pending.command_id)
            self._resume(order)
            return
        self.reversion(order, pending.terms)
        status = "Suspended" if order.status == "Suspended" else "Working"
        self._executed(order, pending.command_id, "Replaced", status)
        self._set_command(pending.command_id, "AtExecution")
        order.triggered = order.rested = False
        self._resume(order)

    def ignore_pending(self, order: LiveOrder) -> None:
        """A modify that was accepted and never changes anything."""
        pending, order.pending = order.pending, None
        if pending is not None:
            self._set_command(pending.command_id, "AtExecution")
            self._resume(order)

    def fail_pending(self, order: LiveOrder) -> None:
        """The order was done before its Modify or Cancel arrived."""
        pending, order.pending = order.pending, None
        if pending is not None:
            self._refuse_late(order, pending.command_id)

    def _refuse_late(self, order: LiveOrder, command_id: int) -> None:
        self._report(
            order,
            command_id,
            "ExecutionRejected",
            rejectReason="TooLate",
            text="Too late",
            ordStatus=order.status,
        )
        self._set_command(command_id, "ExecutionRejected")

    def cancel(self, order: LiveOrder, tags: Tags = SYSTEM) -> None:
        """Cancel at once, on behalf of the venue."""
        if order.is_final:
            return
        if order.pending is not None and order.pending.terms is not None:
            self.fail_pending(order)
        if order.pending is None:
            self.begin_cancel(order, tags)
        self.apply_pending(order)

    def expire(self, order: LiveOrder) -> None:
        self._executed(order, order.command_id, "Expired", "Expired")
        self._finish(order, "Expired")

    def complete(self, order: LiveOrder) -> None:
        """A leg that had filled all it was given, once its entry gives no more."""
        self._finish(order, "Filled")

    def reversion(self, order: LiveOrder, terms: Terms) -> None:
        """New terms: a new OrderVersion."""
        row = self._world.add("orderVersion", order.account_id, orderId=order.id, **terms.as_row())
        order.terms, order.version_id = terms, row["id"]

    def trail(self, order: LiveOrder, terms: Terms) -> None:
        """The trigger of a trailing stop has moved: the same OrderVersion, updated."""
        order.terms = terms
        self._world.store.update("orderVersion", order.version_id, **terms.as_row())

    def fill(self, order: LiveOrder, qty: int, price: Decimal) -> None:
        """One execution of ``qty`` contracts at ``price``."""
        world = self._world
        order.filled += qty
        order.value += qty * price
        order.last_price = price
        whole = not order.remaining and (order.group is None or order.group.is_complete)
        self._executed(
            order,
            order.command_id,
            "Trade",
            "Filled" if whole else "Working",
            tradeDate=world.trade_date(),
            cumQty=order.filled,
            avgPx=order.value / order.filled,
            lastQty=qty,
            lastPx=price,
        )
        fill = world.add(
            "fill",
            order.account_id,
            orderId=order.id,
            contractId=order.contract.id,
            timestamp=world.stamp(),
            tradeDate=world.trade_date(),
            action=order.action,
            qty=qty,
            price=price,
            active=True,
            finallyPaired=0,
        )
        pairings = self._ledger.book(order, fill)
        if whole:
            self._close(order, "Filled")
        self._ledger.settle(order, fill, pairings)
        for hook in self.on_filled:
            hook(order)
        if whole:
            self._announce_final(order)

    def _resume(self, order: LiveOrder) -> None:
        if order.status in {"PendingReplace", "PendingCancel"}:
            self._set_status(order, "Working")
            for hook in self.on_working:
                hook(order)

    def _finish(self, order: LiveOrder, status: str) -> None:
        self._close(order, status)
        self._announce_final(order)

    def _close(self, order: LiveOrder, status: str) -> None:
        self._set_status(order, status)
        self._world.open_orders(order.account_id, order.contract.id).pop(order.id, None)
        self.fail_pending(order)

    def _announce_final(self, order: LiveOrder) -> None:
        for hook in self.on_final:
            hook(order)

    def _set_status(self, order: LiveOrder, status: str) -> None:
        order.status = status
        self._world.store.update("order", order.id, ordStatus=status)

    def _command(self, account_id: int, order_id: int, kind: str, tags: Tags) -> Row:
        return self._world.add(
            "command",
            account_id,
            orderId=order_id,
            timestamp=self._world.stamp(),
            commandType=kind,
            commandStatus="Pending",
            **tags.as_row(),
        )

    def _set_command(self, command_id: int, status: str) -> None:
        self._world.store.update("command", command_id, commandStatus=status)

    def _report(self, order: LiveOrder, command_id: int, status: str, **more: str) -> None:
        self._world.add(
            "commandReport",
            order.account_id,
            commandId=command_id,
            timestamp=self._world.stamp(),
            commandStatus=status,
            **more,
        )

    def _executed(
        self, order: LiveOrder, command_id: int, kind: str, status: str, **more: object
    ) -> None:
        world = self._world
        report_id = world.store.new_id()
        world.add(
            "executionReport",
            order.account_id,
            id=report_id,
            commandId=command_id,
            name=f"X{report_id}",
            accountId=order.account_id,
            contractId=order.contract.id,
            timestamp=world.stamp(),
            orderId=order.id,
            execType=kind,
            ordStatus=status,
            action=order.action,
            exchangeOrderId=f"E{order.id}",
            **more,
        )


def link(group: Group) -> Group:
    """Tell the legs of a group. Their rows' ``ocoId`` was given when they were opened."""
    for leg in group.legs:
        leg.group = group
    return group
