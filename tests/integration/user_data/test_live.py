"""What brokers say beside orders and fills: the newest word stands, whatever comes how often."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from app import clock
from app.brokers.base import AccountRef
from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerPosition,
    BrokerReport,
    OrderStatus,
    Side,
)
from app.extensions import writer
from app.models import ExternalOrder, Fill, LiveBalance, LivePosition, Order
from app.services import fills, user_data
from app.services.live_push import pusher
from tests import factories
from tests.databases import ONLY_SQLITE
from tests.integration.user_data.conftest import ES, Desk, external, wait_until

Pushed = list[tuple[str, str, Any]]


def holds(net: str, average: str | None = "5000", *, at: Any = None) -> BrokerReport:
    price = None if average is None else Decimal(average)
    return BrokerReport(positions=(BrokerPosition(ES, Decimal(net), price, at),))


def worth(cash: str, *, at: Any = None) -> BrokerReport:
    amount = Decimal(cash)
    return BrokerReport(balance=BrokerBalance("USD", amount, Decimal(0), amount, at=at))


def order_of_ours(account: AccountRef, **columns: Any) -> Order:
    row = Order(
        user_id=account.user_id,
        account_id=account.id,
        **{
            "contract": ES,
            "side": "buy",
            "role": "entry",
            "origin": "signal",
            "order_type": "limit",
            "quantity": Decimal(2),
            "client_order_id": "our-own",
            "status": "submitting",
            "submitted_at": clock.now(),
            **columns,
        },
    )
    factories.store(row)
    return row


def test_position_is_what_the_broker_said_last(desk: Desk) -> None:
    account, now = desk.account(), clock.now()

    user_data.take_in(account, holds("2", at=now))
    user_data.take_in(account, holds("-1", "4990", at=now + timedelta(seconds=2)))
    user_data.take_in(account, holds("5", at=now + timedelta(seconds=1)))

    [row] = desk.rows(LivePosition)
    assert (row.contract, row.net_pos, row.avg_price) == (ES, Decimal(-1), Decimal(4990))


def test_flat_position_stays_and_is_told_once(desk: Desk, pushed: Pushed) -> None:
    account = desk.account()
    user_data.take_in(account, holds("2"))
    wait_until(lambda: len(pushed) == 1)

    for _ in range(3):
        user_data.take_in(account, holds("0", "5000"))
    user_data.take_in(account, worth("1"))

    wait_until(lambda: [event for _, event, _ in pushed][-1] == "balance:update")
    told = [data["positions"][0]["net_pos"] for _, event, data in pushed if "positions" in event]
    assert told == ["2", "0"]
    [row] = desk.rows(LivePosition)
    assert (row.net_pos, row.avg_price) == (Decimal(0), None)


def test_what_a_complete_report_leaves_out_is_flat_and_over(desk: Desk) -> None:
    account = desk.account()
    user_data.take_in(account, holds("2"))
    user_data.take_in(account, BrokerReport(orders=(external("1"), external("2"))))

    user_data.take_in(account, BrokerReport(orders=(external("2"),), is_complete=True))

    [position] = desk.rows(LivePosition)
    gone, open_ = desk.rows(ExternalOrder)
    assert position.net_pos == 0
    assert (gone.status, open_.status) == ("ended", "working")
    assert gone.reason == "The broker does not list it any more."
    assert desk.events("order:update")[-1]["status"] == "ended"


@ONLY_SQLITE
def test_partial_report_ends_nothing(desk: Desk) -> None:
    account = desk.account()
    user_data.take_in(account, holds("2"))
    user_data.take_in(account, BrokerReport(orders=(external("1"),)))

    user_data.take_in(account, BrokerReport(orders=(external("2"),)))

    assert [row.status for row in desk.rows(ExternalOrder)] == ["working", "working"]
    assert desk.rows(LivePosition)[0].net_pos == 2


@ONLY_SQLITE
def test_order_taken_for_over_opens_again_when_the_broker_lists_it(desk: Desk) -> None:
    account, at = desk.account(), clock.now()
    user_data.take_in(account, BrokerReport(orders=(external(at=at),)))
    user_data.take_in(account, BrokerReport(is_complete=True))

    user_data.take_in(account, BrokerReport(orders=(external(at=at),)))

    assert [row.status for row in desk.rows(ExternalOrder)] == ["working"]


def test_older_balance_is_dropped_and_places_are_rounded(desk: Desk) -> None:
    account, now = desk.account(), clock.now()

    user_data.take_in(account, worth("100.1234567891", at=now))
    user_data.take_in(account, worth("7", at=now - timedelta(seconds=1)))

    [row] = desk.rows(LiveBalance)
    assert (row.currency, row.cash) == ("USD", Decimal("100.12345679"))


@ONLY_SQLITE
@pytest.mark.parametrize("cash", ["NaN", "1e30", "-Infinity"])
def test_impossible_balance_costs_nothing_else(desk: Desk, cash: str) -> None:
    account = desk.account()
    position = BrokerPosition(ES, Decimal(1), None)

    user_data.take_in(account, BrokerReport(positions=(position,), balance=worth(cash).balance))

    assert desk.rows(LiveBalance) == []
    assert len(desk.rows(LivePosition)) == 1


def test_order_of_somebody_else_is_kept_and_lasts_as_an_event(desk: Desk) -> None:
    account = desk.account()

    user_data.take_in(account, BrokerReport(orders=(external(),)))
    user_data.take_in(
        account, BrokerReport(orders=(external(status=OrderStatus.FILLED, filled="2"),))
    )

    [row] = desk.rows(ExternalOrder)
    assert (row.status, row.filled_quantity, row.limit_price) == ("filled", 2, 5000)
    events = desk.events("order:update")
    assert [(e["external"], e["status"]) for e in events] == [(True, "working"), (True, "filled")]
    assert events[0]["id"] == f"external-{row.id}"


@ONLY_SQLITE
def test_what_is_over_stays_over(desk: Desk) -> None:
    account = desk.account()
    user_data.take_in(account, BrokerReport(orders=(external(status=OrderStatus.CANCELLED),)))

    user_data.take_in(account, BrokerReport(orders=(external(),)))

    assert desk.rows(ExternalOrder)[0].status == "cancelled"


def test_the_same_report_again_changes_nothing(desk: Desk) -> None:
    account, at = desk.account(), clock.now()
    fill = BrokerFill("f1", None, "900", ES, Side.BUY, Decimal(2), Decimal(5000), Decimal(0), at)
    report = BrokerReport(
        orders=(external(at=at, status=OrderStatus.FILLED, filled="2"),),
        fills=(fill,),
        positions=holds("2", at=at).positions,
        balance=worth("10", at=at).balance,
        is_complete=True,
    )
    user_data.take_in(account, report)
    before = len(desk.events("order:update")), len(desk.events("fill"))

    for _ in range(3):
        user_data.take_in(account, report)

    assert (len(desk.events("order:update")), len(desk.events("fill"))) == before == (1, 1)
    assert [len(desk.rows(m)) for m in (LivePosition, LiveBalance, ExternalOrder, Fill)] == [1] * 4


def test_order_of_ours_is_not_external_by_either_id(desk: Desk) -> None:
    account = desk.account()
    order_of_ours(account, broker_order_id="7", status="working")
    order_of_ours(account, client_order_id="second", status="submitting")

    user_data.take_in(account, BrokerReport(orders=(external("7"), external("8", ours="second"))))

    assert desk.rows(ExternalOrder) == []


@pytest.mark.usefixtures("quick")
def test_order_that_may_be_ours_waits_for_our_answer(desk: Desk) -> None:
    account = desk.account()
    mine = order_of_ours(account)

    user_data.take_in(account, BrokerReport(orders=(external("8"), external("9"))))

    assert desk.rows(ExternalOrder) == []
    answer = BrokerReport(orders=(external("8", ours=mine.client_order_id),))
    writer.run(lambda tx: fills.apply(tx, account, answer, source="answer"))
    wait_until(lambda: desk.rows(ExternalOrder))
    assert [row.broker_order_id for row in desk.rows(ExternalOrder)] == ["9"]


@ONLY_SQLITE
def test_order_on_the_other_side_does_not_wait(desk: Desk) -> None:
    account = desk.account()
    order_of_ours(account)

    user_data.take_in(account, BrokerReport(orders=(external(side=Side.SELL),)))

    assert len(desk.rows(ExternalOrder)) == 1


def test_order_that_turns_out_to_be_ours_is_given_up(desk: Desk) -> None:
    account = desk.account()
    user_data.take_in(account, BrokerReport(orders=(external("8"),)))
    mine = order_of_ours(account, status="inactive")

    user_data.take_in(account, BrokerReport(orders=(external("8", ours=mine.client_order_id),)))

    assert desk.rows(ExternalOrder) == []
    external_events = [e for e in desk.events("order:update") if e.get("external")]
    assert external_events[-1]["status"] == "ended"


@ONLY_SQLITE
def test_values_in_motion_are_told_five_times_a_second_at_most(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, told = desk.account(), list[tuple[float, str, Any]]()
    monkeypatch.setattr(
        pusher, "_send", lambda room, _event, data: told.append((monotonic(), room, data))
    )

    for number in range(1, 50):
        user_data.take_in(account, holds(str(number)))
        user_data.take_in(account, worth(str(number)))

    wait_until(lambda: {"49"} == {_newest(told, "positions"), _newest(told, "cash")})
    times = [at for at, _, _ in told]
    assert all(later - at > 0.19 for at, later in pairwise(times))
    assert {room for _, room, _ in told} == {f"account:{account.id}"}


@ONLY_SQLITE
def test_check_that_fails_costs_nobody_else(desk: Desk) -> None:
    account, heard = desk.account(), list[int]()
    user_data.on_taken_in(lambda _account, _report: _fail())
    user_data.on_taken_in(lambda account, _report: heard.append(account.id))

    user_data.take_in(account, holds("1"))

    assert heard == [account.id]


def _fail() -> None:
    raise RuntimeError("broken")


def _newest(told: list[tuple[float, str, Any]], name: str) -> str:
    """What was told last of it; of positions the net one."""
    found = [data[name] for _, _, data in told if name in data]
    if not found:
        return ""
    return str(found[-1] if name == "cash" else found[-1][-1]["net_pos"])
