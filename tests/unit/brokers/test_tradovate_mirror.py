"""Rows of the API, in any order and any number, become one picture of orders and positions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.brokers.tradovate.mirror import Mirror
from app.domain.trading import (
    BrokerOrder,
    BrokerReport,
    OrderRole,
    OrderStatus,
    OrderType,
    Side,
    SoughtOrder,
)

ACCOUNT, CONTRACT = 33, 560901
NAMES = {CONTRACT: "MNQZ6"}
Row = dict[str, Any]
Change = tuple[str, str, Row]


def _at(second: int) -> str:
    return f"2026-11-20T15:30:{second:02}.000Z"


def _order(order_id: int = 1, status: str = "Working", second: int = 0, **more: Any) -> Change:
    row = {"id": order_id, "accountId": ACCOUNT, "contractId": CONTRACT, "timestamp": _at(second)}
    return "order", "Updated", {**row, "action": "Buy", "ordStatus": status, **more}


def _version(order_id: int = 1, version: int = 11, **more: Any) -> Change:
    row = {"id": version, "orderId": order_id, "orderQty": 2, "orderType": "Limit", "price": 20000}
    return "orderVersion", "Created", {**row, **more}


def _command(order_id: int = 1, command: int = 21, kind: str = "New", **more: Any) -> Change:
    row = {"id": command, "orderId": order_id, "timestamp": _at(0), "commandType": kind}
    return "command", "Created", {**row, "commandStatus": "AtExecution", **more}


def _fill(fill: int = 31, order_id: int = 1, qty: int = 2, **more: Any) -> Change:
    row = {"id": fill, "orderId": order_id, "contractId": CONTRACT, "timestamp": _at(5)}
    terms = {"action": "Buy", "qty": qty, "price": Decimal("20000.25"), "active": True}
    return "fill", "Created", {**row, **terms, **more}


def _position(net_pos: int, second: int, **more: Any) -> Change:
    row = {"id": 41, "accountId": ACCOUNT, "contractId": CONTRACT, "timestamp": _at(second)}
    return "position", "Updated", {**row, "netPos": net_pos, "netPrice": 20000.25, **more}


@pytest.fixture
def mirror() -> Mirror:
    return Mirror(NAMES.get)


def _told(mirror: Mirror, *changes: Change) -> BrokerReport:
    return mirror.told_now(mirror.apply(changes)).get(ACCOUNT, BrokerReport())


def _only(mirror: Mirror, order_id: int = 1) -> BrokerOrder:
    order = mirror.order(order_id)
    assert order is not None
    return order


LIFE: list[Change] = [
    _command(clOrdId="mine", commandStatus="Pending"),
    _order(status="PendingNew"),
    _version(text="mine"),
    ("commandReport", "Created", {"id": 51, "commandId": 21, "commandStatus": "RiskPassed"}),
    _command(clOrdId="mine"),
    _order(status="Working"),
    _fill(31, qty=1),
    _fill(32, qty=1),
    ("fillFee", "Created", {"id": 31, "commission": Decimal("0.35"), "nfaFee": Decimal("0.02")}),
    ("fillFee", "Created", {"id": 32, "commission": Decimal("0.35")}),
    _position(1, 5),
    _position(2, 6),
    _order(status="Filled"),
]


@given(st.permutations(LIFE), st.lists(st.sampled_from(LIFE)))
def test_the_picture_does_not_depend_on_order_or_repetition(
    changes: list[Change], again: list[Change]
) -> None:
    mirror = Mirror(NAMES.get)
    for change in [*changes, *again]:
        mirror.apply([change])

    order = _only(mirror)
    assert (order.client_order_id, order.status) == ("mine", OrderStatus.FILLED)
    assert order.filled_quantity == 2
    assert order.avg_fill_price == Decimal("20000.25")
    assert [(f.fill_id, f.fee) for f in mirror.fills(ACCOUNT)] == [
        ("31", Decimal("0.37")),
        ("32", Decimal("0.35")),
    ]
    assert [p.net_pos for p in mirror.positions(ACCOUNT)] == [2]


@given(st.permutations(LIFE))
def test_everything_is_told_whatever_comes_first(changes: list[Change]) -> None:
    mirror = Mirror(NAMES.get)
    reports = [_told(mirror, change) for change in changes]

    orders = [order for report in reports for order in report.orders]
    fills = {fill.fill_id: fill for report in reports for fill in report.fills}
    assert orders[-1].status is OrderStatus.FILLED
    assert {o.client_order_id for o in orders} <= {"mine"}
    assert {f.client_order_id for f in fills.values()} == {"mine"}
    assert [fills[i].fee for i in ("31", "32")] == [Decimal("0.37"), Decimal("0.35")]


def test_what_is_repeated_is_not_told_again(mirror: Mirror) -> None:
    _told(mirror, *LIFE)

    assert _told(mirror, *LIFE) == BrokerReport()


def test_an_order_is_not_told_before_its_terms_are_known(mirror: Mirror) -> None:
    assert _told(mirror, _order(), _command(clOrdId="mine")) == BrokerReport()

    assert [o.client_order_id for o in _told(mirror, _version()).orders] == ["mine"]


def test_a_fill_of_an_order_that_is_not_known_yet_waits_for_it(mirror: Mirror) -> None:
    assert _told(mirror, _fill()) == BrokerReport()

    report = _told(mirror, _order(), _version(), _command(clOrdId="mine"))

    assert [fill.client_order_id for fill in report.fills] == ["mine"]


def test_the_newest_version_is_what_counts(mirror: Mirror) -> None:
    mirror.apply([_order(), _version(version=12, orderQty=3, price=19000), _version(), _command()])

    assert _only(mirror).quantity == 3
    assert _only(mirror).limit_price == 19000


def test_an_order_without_an_id_is_not_ours(mirror: Mirror) -> None:
    mirror.apply([_order(), _version(), _command()])

    assert _only(mirror).client_order_id is None


def test_only_the_command_that_made_an_order_names_it(mirror: Mirror) -> None:
    cancel = _command(command=22, kind="Cancel", clOrdId="other")
    mirror.apply([cancel, _order(), _version(), _command()])

    assert _only(mirror).client_order_id is None


def test_the_answer_to_our_call_names_an_order_that_carries_no_id(mirror: Mirror) -> None:
    mirror.claim(1, "mine", "MNQZ6")
    mirror.apply([_order(), _version(), _command()])

    assert _only(mirror).client_order_id == "mine"
    assert mirror.tells_ids is False


def test_the_answer_also_tells_the_name_of_the_contract() -> None:
    names: dict[int, str] = {}
    mirror = Mirror(names.get, names.__setitem__)
    mirror.claim(1, "mine", "MNQZ6")

    mirror.apply([_order(), _version()])

    assert names == NAMES


def test_of_two_orders_with_one_id_the_answered_one_is_ours(mirror: Mirror) -> None:
    mirror.claim(2, "mine")
    for order_id in (1, 2):
        named: Row = {"clOrdId": "mine"}
        mirror.apply([_order(order_id), _version(order_id, order_id), _command(order_id, **named)])
        mirror.apply([_command(order_id, command=20 + order_id, **named)])

    assert [_only(mirror, i).client_order_id for i in (1, 2)] == [None, "mine"]
    assert mirror.find(ACCOUNT, "mine") == 2


def test_the_orders_of_a_strategy_are_named_by_it(mirror: Mirror) -> None:
    strategy = {"id": 61, "accountId": ACCOUNT, "action": "Buy", "uuid": "e"}
    sell: Row = {"action": "Sell", "parentId": 1}
    links = [{"id": 70 + i, "orderStrategyId": 61, "orderId": i, "label": "?"} for i in (1, 2, 3)]
    mirror.apply([("orderStrategyLink", "Created", link) for link in links])
    mirror.apply([_order(1), _version(1, 11, orderType="Market"), _order(2, **sell)])
    mirror.apply([_version(2, 12), _order(3, "Suspended", **sell)])
    mirror.apply([_version(3, 13, orderType="Stop", stopPrice=19990, price=None)])

    mirror.apply([("orderStrategy", "Created", strategy)])

    found = [_only(mirror, i) for i in (1, 2, 3)]
    assert [o.client_order_id for o in found] == ["e", "e-tp", "e-sl"]
    assert [o.role for o in found] == [None, OrderRole.TAKE_PROFIT, OrderRole.STOP_LOSS]
    assert found[2].status is OrderStatus.INACTIVE
    assert mirror.legs_of(1) == {2, 3}


def test_legs_have_the_ids_that_we_gave_them(mirror: Mirror) -> None:
    mirror.remember_legs("e", "target", None)
    mirror.apply([_order(1), _version(1, 11, text="e"), _order(2, action="Sell", parentId=1)])

    mirror.apply([_version(2, 12)])

    assert _only(mirror, 2).client_order_id == "target"


def test_an_order_that_loses_our_id_to_an_earlier_double_is_told_as_foreign(
    mirror: Mirror,
) -> None:
    later = (_order(2), _version(2, 12, text="mine"), _command(2, 22, clOrdId="mine"))
    told = _told(mirror, *later, _fill(order_id=2))
    assert [order.client_order_id for order in told.orders] == ["mine"]

    report = _told(mirror, *LIFE[:3])

    ids = {order.broker_order_id: order.client_order_id for order in report.orders}
    assert ids == {"1": "mine", "2": None}
    assert [fill.client_order_id for fill in report.fills] == [None]


def test_a_double_found_while_a_strategy_starts_is_told_when_it_has(mirror: Mirror) -> None:
    later = (_order(2), _version(2, 12, text="mine"), _command(2, 22, clOrdId="mine"))
    with mirror.expecting(ACCOUNT) as held:
        _told(mirror, *later, _fill(order_id=2))
        assert not [o for o in _told(mirror, *LIFE[:3]).orders if o.broker_order_id == "2"]

    report = mirror.told_now(held)[ACCOUNT]

    assert [(o.broker_order_id, o.client_order_id) for o in report.orders] == [("2", None)]
    assert [fill.broker_order_id for fill in report.fills] == ["2"]


def test_a_double_is_told_with_the_order_that_took_its_place(mirror: Mirror) -> None:
    """Told before it, the double would pass for ours: we know it by the broker's id."""
    later = (_order(2), _version(2, 12, text="mine"), _command(2, 22, clOrdId="mine"))
    _told(mirror, *later)
    mirror.told_now(mirror.claim(1, "mine", "MNQZ6"))

    report = _told(mirror, *LIFE[:3])

    ids = {order.broker_order_id: order.client_order_id for order in report.orders}
    assert ids == {"1": "mine", "2": None}


def test_what_a_starting_strategy_makes_is_held_back(mirror: Mirror) -> None:
    with mirror.expecting(ACCOUNT) as held:
        assert _told(mirror, _order(), _version(), _command()) == BrokerReport()

    assert [o.broker_order_id for o in mirror.told_now(held)[ACCOUNT].orders] == ["1"]


def test_an_order_never_comes_back_from_its_end(mirror: Mirror) -> None:
    mirror.apply([_order(status="Canceled", second=3), _version(), _command()])

    mirror.apply([_order(status="Working", second=4), _order(status="PendingNew", second=5)])

    assert _only(mirror).status is OrderStatus.CANCELLED


def test_an_order_does_not_become_pending_again(mirror: Mirror) -> None:
    mirror.apply([_order(status="Working"), _version(), _command()])

    mirror.apply([_order(status="PendingNew")])

    assert not mirror.is_pending(1)


def test_an_older_row_of_an_order_changes_nothing(mirror: Mirror) -> None:
    mirror.apply([_order(status="PendingCancel", second=3), _version(), _command()])

    mirror.apply([_order(status="Working", second=2)])

    assert _only(mirror).status is OrderStatus.CANCEL_PENDING


def test_a_cancelled_order_may_turn_out_to_be_filled(mirror: Mirror) -> None:
    mirror.apply([_order(status="Canceled", second=3), _version(), _command()])

    mirror.apply([_order(status="Filled", second=3)])

    assert _only(mirror).status is OrderStatus.FILLED


def test_a_filled_order_is_not_over_before_its_fills_are_here(mirror: Mirror) -> None:
    mirror.apply([_order(status="Filled"), _version(), _command(), _fill(qty=1)])
    assert not mirror.is_over(1)
    assert _only(mirror).filled_quantity == 2

    mirror.apply([_fill(32, qty=1)])

    assert mirror.is_over(1)


def test_an_execution_report_may_know_more_than_the_fills(mirror: Mirror) -> None:
    report = {"id": 81, "orderId": 1, "timestamp": _at(9), "cumQty": 1, "avgPx": 20001}

    mirror.apply([_order(), _version(), _command(), ("executionReport", "Created", report)])

    order = _only(mirror)
    assert order.status is OrderStatus.PARTIALLY_FILLED
    assert order.avg_fill_price == 20001
    assert order.at == datetime(2026, 11, 20, 15, 30, 9, tzinfo=UTC)


def test_a_busted_trade_is_told_as_such_and_counts_no_more(mirror: Mirror) -> None:
    mirror.apply([_order(), _version(), _command(), _fill(qty=1)])

    report = _told(mirror, _fill(qty=1, active=False))

    assert [fill.is_busted for fill in report.fills] == [True]
    assert _only(mirror).filled_quantity == 0


def test_a_rejection_has_its_reason_even_when_the_report_comes_first(mirror: Mirror) -> None:
    report = {"id": 51, "commandId": 21, "commandStatus": "RiskRejected", "timestamp": _at(1)}
    words = {"rejectReason": "MaxPosLimitReached", "text": "limit 2"}
    mirror.apply([("commandReport", "Created", {**report, **words})])

    mirror.apply([_command(clOrdId="mine"), _order(status="Rejected"), _version()])

    assert "(limit 2)" in str(_only(mirror).reason)
    assert _only(mirror).status is OrderStatus.REJECTED


def test_a_refused_change_is_a_reason_of_an_order_that_goes_on(mirror: Mirror) -> None:
    mirror.apply([_order(), _version(), _command(), _command(command=22, kind="Modify")])
    report = {"id": 52, "commandId": 22, "commandStatus": "ExecutionRejected"}

    mirror.apply([("commandReport", "Created", {**report, "rejectReason": "InvalidPrice"})])

    assert str(_only(mirror).reason).startswith("The change was refused")
    assert mirror.command_refusal(1, 22) is not None
    assert mirror.command_refusal(1, 21) is None


def test_an_order_in_a_state_that_nobody_knows_is_open(mirror: Mirror) -> None:
    mirror.apply([_order(status="Unknown"), _version(), _command(clOrdId="mine")])

    [told] = mirror.complete(ACCOUNT).orders
    assert (told.client_order_id, told.status) == ("mine", OrderStatus.WORKING)


@pytest.mark.parametrize("change", [_order(action="Swap"), _version(orderType="Iceberg")])
def test_an_order_in_unknown_words_is_not_told(mirror: Mirror, change: Change) -> None:
    mirror.apply([_order(second=0), _version(), _command()])

    mirror.apply([change])

    assert mirror.order(1) is None
    assert mirror.open_ids(ACCOUNT) == {1}


def test_an_older_position_changes_nothing_and_flat_is_told_once(mirror: Mirror) -> None:
    assert [p.net_pos for p in _told(mirror, _position(-2, 5)).positions] == [-2]
    assert _told(mirror, _position(7, 4)).positions == ()

    flat = [_told(mirror, _position(0, second)).positions for second in (6, 7)]

    assert [[p.net_pos for p in told] for told in flat] == [[0], []]


def test_the_price_of_an_earlier_session_stands_in(mirror: Mirror) -> None:
    mirror.apply([_position(1, 5, netPrice=None, prevPrice=19900)])

    assert [p.avg_price for p in mirror.positions(ACCOUNT)] == [19900]


def test_a_position_that_a_list_lacks_is_flat_unless_it_is_newer(mirror: Mirror) -> None:
    began = monotonic()
    mirror.apply([_position(2, 5)])

    assert not mirror.close_missing(ACCOUNT, [], began)
    touched = mirror.close_missing(ACCOUNT, [], monotonic() + 1)

    assert [p.net_pos for p in mirror.told_now(touched)[ACCOUNT].positions] == [0]
    assert mirror.positions(ACCOUNT) == []


def test_money_is_cash_with_the_open_profit_of_what_is_held(mirror: Mirror) -> None:
    cash = {"id": 91, "accountId": ACCOUNT, "timestamp": _at(1), "currencyId": 1}
    mirror.apply([("cashBalance", "Updated", {**cash, "amount": 1000, "realizedPnL": -5})])
    mirror.apply([("marginSnapshot", "Updated", {"id": ACCOUNT, "totalUsedMargin": 50})])
    mirror.note_open_pnl(ACCOUNT, Decimal(30))

    flat = mirror.balance(ACCOUNT)
    mirror.apply([_position(1, 5)])
    held = mirror.balance(ACCOUNT)

    assert flat is not None
    assert held is not None
    money = [flat.cash, flat.equity, flat.reserved, flat.realized_today]
    assert money == [1000, 1000, 50, -5]
    assert held.equity == 1030


def test_a_complete_report_has_what_is_open_and_what_has_just_ended(mirror: Mirror) -> None:
    mirror.apply([_order(1), _version(1, 11), _command(1, 21), _position(1, 5)])
    mirror.apply([_order(2, "Filled"), _version(2, 12), _command(2, 22), _fill(31, 2)])

    ended = mirror.apply([_order(3, "Canceled"), _version(3, 13), _command(3, 23)])
    report = mirror.complete(ACCOUNT, ended)

    assert report.is_complete
    assert [o.broker_order_id for o in report.orders] == ["3", "1"]
    assert [p.net_pos for p in report.positions] == [1]


def test_an_order_is_known_again_by_its_terms_and_time(mirror: Mirror) -> None:
    mirror.apply([_order(second=10), _version(), _command()])
    at = datetime(2026, 11, 20, 15, 30, 11, tzinfo=UTC)
    price = Decimal(20000)
    sought = SoughtOrder(
        "lost", None, "MNQZ6", Side.BUY, Decimal(2), OrderType.LIMIT, price, None, at
    )

    assert mirror.resembling(ACCOUNT, sought) == 1
    for wrong in (
        {"side": Side.SELL},
        {"quantity": Decimal(1)},
        {"limit_price": Decimal(1)},
        {"order_type": OrderType.STOP},
        {"contract": "MESZ6"},
        {"sent_at": at + timedelta(seconds=2)},
        {"taken": frozenset({"1"})},
    ):
        other = SoughtOrder(**{**_fields(sought), **wrong})
        assert mirror.resembling(ACCOUNT, other) is None


def test_what_is_forgotten_leaves_nothing_behind(mirror: Mirror) -> None:
    mirror.apply(LIFE)

    mirror.forget(mirror.finished_before(datetime(2026, 11, 21, tzinfo=UTC)))

    assert mirror.find(ACCOUNT, "mine") is None
    assert mirror.fills(ACCOUNT) == []
    assert mirror.without_fees() == []


def test_rows_without_their_fields_break_nothing(mirror: Mirror) -> None:
    for kind, *_ in LIFE:
        mirror.apply(
            [(kind, "Created", {}), (kind, "Created", {"id": 1}), (kind, "Odd", {"id": 2})]
        )
    mirror.apply([("starship", "Created", {"id": 1}), _order(status="Working"), _version()])

    assert mirror.open_ids(ACCOUNT) == {1}


def _fields(sought: SoughtOrder) -> dict[str, Any]:
    return {name: getattr(sought, name) for name in SoughtOrder.__slots__}
