"""What a broker says anew of a fill that is stored: its fee, that it is of one of our orders after
all, that it was cancelled. Its quantity never counts twice; the books are worked out again."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from app import clock
from app.brokers.base import AccountRef
from app.domain.trading import BrokerFill
from app.models import Fill
from app.models.base import table
from app.models.prepared import Prepared
from app.services import bookkeeping, journal, payloads, rebuild
from app.services.attribution import MOST_PARTS, Share
from app.services.bookkeeping import Owner
from app.transactions import Tx

log = logging.getLogger(__name__)

FEE_STEP = Decimal("1E-8")
"""Fees are money, kept to 8 places, half to even."""
_FILLS = table(Fill)
_PARTS = Prepared(
    select(_FILLS).where(
        _FILLS.c.account_id == bindparam("account"),
        _FILLS.c.broker_fill_id.in_([bindparam(f"part{n}") for n in range(1, MOST_PARTS + 1)]),
    )
)
_STORED = Prepared(
    select(_FILLS.c.fee, _FILLS.c.order_id).where(
        _FILLS.c.account_id == bindparam("account"),
        _FILLS.c.broker_fill_id == bindparam("fill"),
    )
)
_LATER_PART = re.compile(r"~\d$")

Known = tuple[BrokerFill, Mapping[str, Any] | None]
"""A fill that is stored, as it was told again, and our row of its order where it is of one."""


def part_id(fill_id: str, number: int) -> str:
    """Under which id the ``number``-th part of a fill is stored that moved several books."""
    return fill_id if number == 1 else f"{fill_id}~{number}"


def whole_id(stored_id: str) -> str:
    """The broker's own id of a stored fill or part."""
    return _LATER_PART.sub("", stored_id)


def parts_of(fill: BrokerFill, shares: Sequence[Share]) -> list[BrokerFill]:
    """The fill as it is stored where it moves several books."""
    fees = divide(fill.fee, [share.quantity for share in shares])
    return [
        replace(fill, fill_id=part_id(fill.fill_id, number), quantity=share.quantity, fee=fee)
        for number, (share, fee) in enumerate(zip(shares, fees, strict=True), start=1)
    ]


def divide(fee: Decimal, quantities: Sequence[Decimal]) -> list[Decimal]:
    """A fee by quantities; what rounding leaves goes to the first."""
    fee = fee.quantize(FEE_STEP)
    whole = sum(quantities, Decimal(0))
    rest = [(fee * quantity / whole).quantize(FEE_STEP) for quantity in quantities[1:]]
    return [fee - sum(rest, Decimal(0)), *rest]


def is_news(fill: BrokerFill, fee: Decimal) -> bool:
    """Whether a stored fill's ``fee`` is now told differently. None told reads as zero."""
    return bool(fill.fee) and fill.fee.quantize(FEE_STEP) != fee


def take_in(tx: Tx, account: AccountRef, known: Sequence[Known]) -> set[int]:
    """Correct what differs; the ids of our orders whose fills are other ones now."""
    touched: set[int] = set()
    for fill, order in known:
        if _is_old_news(tx, account, fill, order):
            continue
        parts = _parts(tx, account, fill.fill_id)
        if fill.is_busted:
            touched |= _undo(tx, account, fill, parts)
            continue
        if order is not None and parts[0]["order_id"] is None:
            parts = _claim(tx, account, parts, order)
            touched.add(order["id"])
        if is_news(fill, sum((part["fee"] for part in parts), Decimal(0))):
            _take_fee(tx, account, fill.fee, parts)
    return touched


def _is_old_news(
    tx: Tx, account: AccountRef, fill: BrokerFill, order: Mapping[str, Any] | None
) -> bool:
    """What nearly every repeat is."""
    stored = _STORED.first(tx.conn, {"account": account.id, "fill": fill.fill_id})
    if stored is None:
        return True
    is_ours_now = order is not None and stored.order_id is None
    return not (fill.is_busted or is_ours_now or is_news(fill, stored.fee))


def _parts(tx: Tx, account: AccountRef, fill_id: str) -> list[dict[str, Any]]:
    ids = {f"part{n}": part_id(fill_id, n) for n in range(1, MOST_PARTS + 1)}
    found = _PARTS.dicts(tx.conn, {"account": account.id, **ids})
    return sorted(found, key=lambda row: rebuild.place_of(row["broker_fill_id"]))


def _take_fee(tx: Tx, account: AccountRef, fee: Decimal, parts: list[dict[str, Any]]) -> None:
    for part, share in zip(parts, divide(fee, [p["quantity"] for p in parts]), strict=True):
        if share == part["fee"]:
            continue
        part["fee"] = share
        _change(tx, part, fee=share)
        tx.record(account.user_id, "fill", {**payloads.fill(part), "fee_final": True})
        bookkeeping.remake(
            tx, account, _owner(part), part["contract"], part["filled_at"], is_fee_only=True
        )


def _claim(
    tx: Tx, account: AccountRef, parts: list[dict[str, Any]], order: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Give a fill to the order that it turned out to be of; the parts that are left."""
    log.warning("a fill is of our order after all", extra={"order_id": order["id"]})
    owner = Owner(order["trader_id"], order["strategy_id"])
    if owner.trader_id is None:
        for part in parts:
            part["order_id"] = order["id"]
            _change(tx, part, order_id=order["id"])
        return parts
    before = {_owner(part) for part in parts} - {owner}
    whole = parts[0]
    changes = {
        "order_id": order["id"],
        "trader_id": owner.trader_id,
        "strategy_id": owner.strategy_id,
        "quantity": sum((part["quantity"] for part in parts), Decimal(0)),
        "fee": sum((part["fee"] for part in parts), Decimal(0)),
    }
    whole.update(changes)
    _change(tx, whole, **changes)
    _delete(tx, account, parts[1:])
    for book in (*before, owner):
        bookkeeping.remake(tx, account, book, whole["contract"], whole["filled_at"])
    tx.record(account.user_id, "fill", payloads.fill(whole))
    return [whole]


def _undo(tx: Tx, account: AccountRef, fill: BrokerFill, parts: list[dict[str, Any]]) -> set[int]:
    """Take a fill out of the books that the broker has cancelled."""
    log.error("the broker cancelled a fill", extra={"fill_id": parts[0]["id"]})
    _delete(tx, account, parts)
    for owner in {_owner(part) for part in parts}:
        bookkeeping.remake(tx, account, owner, parts[0]["contract"], parts[0]["filled_at"])
    journal.write(
        tx,
        account.user_id,
        "fill_busted",
        f"The broker cancelled a trade: {bookkeeping.in_words(fill)} did not count; "
        "the books were corrected.",
        level="error",
        strategy_id=parts[0]["strategy_id"],
        account_id=account.id,
        order_id=parts[0]["order_id"],
    )
    return {part["order_id"] for part in parts if part["order_id"] is not None}


def _owner(part: Mapping[str, Any]) -> Owner:
    return Owner(part["trader_id"], part["strategy_id"])


def _change(tx: Tx, part: Mapping[str, Any], **values: Any) -> None:
    tx.conn.execute(
        update(_FILLS).where(_FILLS.c.id == part["id"]).values(updated_at=clock.now(), **values)
    )


def _delete(tx: Tx, account: AccountRef, parts: list[dict[str, Any]]) -> None:
    ids = [part["id"] for part in parts]
    if ids:
        tx.conn.execute(delete(_FILLS).where(_FILLS.c.id.in_(ids)))
    for fill_id in ids:
        tx.record(account.user_id, "fill:removed", {"id": fill_id})
