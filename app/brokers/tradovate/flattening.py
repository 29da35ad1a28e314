"""Close everything on an account: ask, look, and ask again only for what is seen to be left.

``liquidateposition`` cancels the contract's orders and closes its position in one step, as a
request without guarantee: so the lists have the last word. It is a person who asks for it, so
nothing of it is marked as automated.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from time import monotonic

import gevent

from app.brokers.tradovate import wire
from app.brokers.tradovate.budget import Purpose
from app.brokers.tradovate.login import Login
from app.domain.errors import BrokerError, BrokerRateLimited, BrokerRefused, BrokerUnavailable

log = logging.getLogger(__name__)

DEADLINE_S = 20.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_PATIENCE_S = 2.0
"""What was asked for is not asked for again sooner."""


@dataclass(slots=True)
class _Asked:
    """What was asked for, when (monotonic), and which orders close positions."""

    positions: dict[int, float] = field(default_factory=dict)
    cancels: dict[int, float] = field(default_factory=dict)
    closing: dict[int, int] = field(default_factory=dict)
    """Contract -> the order that closes it."""


def flatten(login: Login, number: int) -> None:
    """Return when the broker's lists show no position and no working order on the account.

    Raises:
        BrokerUnavailable: something is left, or could not be looked at; it says what.
    """
    asked, until, pause = _Asked(), monotonic() + DEADLINE_S, _FIRST_PAUSE_S
    trouble: str | None = None
    while True:
        try:
            login.read(Purpose.EXIT, is_fresh=True)
            left = _left(login, number)
            if not left:
                return
            trouble = None
            _ask(login, number, asked)
        except BrokerRateLimited as e:
            # A person gets out all the same, by what is known already. While the broker answers
            # no lists, what it tells by itself has to do for a proof.
            if login.is_live and not _left(login, number):
                return
            trouble, left = e.detail, []
            _ask(login, number, asked)
        except BrokerError as e:
            trouble, left = e.detail, []
        if monotonic() + pause >= until:
            raise BrokerUnavailable(trouble or f"Still open: {', '.join(left)}")
        gevent.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _left(login: Login, number: int) -> list[str]:
    """What is open, in words; raises where the account is not shown."""
    if number not in login.visible:
        raise BrokerUnavailable("Tradovate does not show this account now")
    mirror = login.mirror
    held = [
        f"{net} {login.contracts.name_of(contract) or contract}"
        for contract, net in mirror.held_contracts(number).items()
    ]
    return held + [f"order {each}" for each in sorted(mirror.open_ids(number))]


def _ask(login: Login, number: int, asked: _Asked) -> None:
    """Ask for what has not been asked for lately. An order that closes a position is left to do
    so; where it has ended and the position is still there, it is asked for again."""
    mirror, now = login.mirror, monotonic()
    held = mirror.held_contracts(number)
    closing = {asked.closing[c] for c in held if c in asked.closing}
    for contract in held:
        order_id = asked.closing.get(contract)
        is_under_way = order_id is not None and mirror.status(order_id) not in wire.FINAL
        is_recent = now - asked.positions.get(contract, float("-inf")) < _PATIENCE_S
        if is_recent or (is_under_way and order_id in mirror.open_ids(number)):
            continue
        asked.positions[contract] = now
        closing_id = _liquidate(login, number, contract)
        if closing_id is not None:
            asked.closing[contract] = closing_id
            closing.add(closing_id)
    for order_id in sorted(mirror.open_ids(number) - closing):
        if _is_left_alone(login, order_id, asked, now):
            continue
        asked.cancels[order_id] = now
        _cancel(login, order_id)


def _is_left_alone(login: Login, order_id: int, asked: _Asked, now: float) -> bool:
    """Its cancel was asked for lately; or closing its contract's position was right now, which
    ends it, too; or it may be the closing order of an answer that was lost."""
    if now - asked.cancels.get(order_id, float("-inf")) < _PATIENCE_S:
        return True
    asked_at = asked.positions.get(login.mirror.contract_of(order_id), float("-inf"))
    is_market = (login.mirror.terms(order_id) or {}).get("orderType") == "Market"
    return asked_at == now or (is_market and now - asked_at < _PATIENCE_S)


def _liquidate(login: Login, number: int, contract: int) -> int | None:
    """The id of the closing order; None: refused or not answered, and the next look decides."""
    body = {"accountId": number, "contractId": contract, "admin": False, "isAutomated": False}
    try:
        answer = login.order_call("order/liquidateposition", body, Purpose.EXIT, by_hand=True)
    except (BrokerRefused, BrokerUnavailable) as e:
        log.warning("position not closed", extra={"login_id": login.ref.id, "code": e.code})
        return None
    return wire.integer(answer.get("orderId"))


def _cancel(login: Login, order_id: int) -> None:
    body = {"orderId": order_id, "isAutomated": False}
    try:
        login.order_call("order/cancelorder", body, Purpose.CANCEL, by_hand=True)
    except (BrokerRefused, BrokerUnavailable) as e:
        log.warning("order not cancelled", extra={"login_id": login.ref.id, "code": e.code})
