"""The Tradovate broker against a simulator that behaves as badly as the reference says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from time import monotonic
from typing import Any

import pytest

from app import clock
from app.brokers.logins import StreamStatus
from app.brokers.tradovate import flattening
from app.domain.errors import BrokerRefused, BrokerUnavailable
from app.domain.trading import (
    BrokerOrder,
    BrokerReport,
    LegTicket,
    OrderStatus,
    OrderTicket,
    OrderType,
    Origin,
    Side,
    SoughtOrder,
)
from tests.simulators.tradovate.control import Simulator, running
from tests.tradovate import CONTRACT, CREDENTIALS, LOGIN, TradovateDesk

PLACE = "order/placeorder"
STRATEGY = "orderstrategy/startorderstrategy"
_ids = count(1)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def desk(simulator: Simulator) -> Iterator[TradovateDesk]:
    desk = TradovateDesk(simulator)
    yield desk
    desk.stop()


@pytest.fixture
def streamless(simulator: Simulator) -> Iterator[TradovateDesk]:
    desk = TradovateDesk(simulator, has_stream=False)
    yield desk
    desk.stop()


@pytest.fixture(params=["stream", "lists"])
def either(request: pytest.FixtureRequest, simulator: Simulator) -> Iterator[TradovateDesk]:
    """With its stream, and without."""
    desk = TradovateDesk(simulator, has_stream=request.param == "stream")
    yield desk
    desk.stop()


def _id() -> str:
    return f"id{next(_ids)}"


def _market(side: Side = Side.BUY, quantity: int = 1, **terms: Any) -> OrderTicket:
    return OrderTicket(CONTRACT, side, Decimal(quantity), **terms)


def _limit(price: str, quantity: int = 1, side: Side = Side.BUY, **terms: Any) -> OrderTicket:
    return OrderTicket(CONTRACT, side, Decimal(quantity), OrderType.LIMIT, Decimal(price), **terms)


def _place(desk: TradovateDesk, ticket: OrderTicket, key: str | None = None) -> BrokerReport:
    return desk.broker.place_order(desk.account, ticket, client_order_id=key or _id())


def _of(report: BrokerReport, key: str) -> BrokerOrder:
    return next(order for order in report.orders if order.client_order_id == key)


def _find(desk: TradovateDesk, key: str, **known: Any) -> BrokerOrder | None:
    return desk.broker.find_order(desk.account, key, **known)


# What is sent.


def test_an_order_carries_our_id_twice_and_is_the_first_request(desk: TradovateDesk) -> None:
    _place(desk, _market())
    desk.simulator.clear_requests()

    _place(desk, _limit("19990.25"), "mine")

    [*_, row] = desk.simulator.requests()
    assert row["path"] == PLACE
    assert desk.sent(PLACE) == [
        {
            "accountId": desk.number,
            "accountSpec": f"DEMO{desk.number}",
            "action": "Buy",
            "symbol": CONTRACT,
            "orderQty": 1,
            "orderType": "Limit",
            "price": 19990.25,
            "timeInForce": "GTC",
            "clOrdId": "mine",
            "text": "mine",
            "isAutomated": True,
        }
    ]
    assert len(desk.simulator.requests()) == 1


def test_what_a_person_sends_is_not_automated(desk: TradovateDesk) -> None:
    _place(desk, _market(origin=Origin.MANUAL))

    assert [body["isAutomated"] for body in desk.sent(PLACE)] == [False]


def test_a_market_entry_takes_its_exits_along_as_offsets(desk: TradovateDesk) -> None:
    ticket = _market(
        Side.SELL,
        2,
        take_profit=LegTicket("e-tp", offset=Decimal(20)),
        stop_loss=LegTicket("e-sl", price=Decimal("20010.25")),
        reference_price=Decimal("20000.25"),
    )

    report = _place(desk, ticket, "e")

    [body] = desk.sent(STRATEGY)
    assert body["uuid"] == "e"
    assert '"profitTarget": -20, "stopLoss": 10' in body["params"]
    assert _of(report, "e").status is OrderStatus.FILLED
    assert _of(report, "e-tp").limit_price == Decimal(19980)
    assert _of(report, "e-sl").stop_price == Decimal(20010)


def test_exits_at_prices_go_as_prices_where_nobody_knows_the_market(desk: TradovateDesk) -> None:
    ticket = _market(stop_loss=LegTicket("e-sl", price=Decimal("19985.1")))

    report = _place(desk, ticket, "e")

    [body] = desk.sent("order/placeoso")
    assert body["bracket1"]["stopPrice"] == 19985.25
    assert _of(report, "e-sl").status is OrderStatus.WORKING


def test_exits_of_a_resting_entry_are_counted_from_its_price(either: TradovateDesk) -> None:
    ticket = _limit(
        "20010",
        side=Side.SELL,
        take_profit=LegTicket("e-tp", offset=Decimal("20.1")),
        stop_loss=LegTicket("e-sl", offset=Decimal("10.1")),
    )

    report = _place(either, ticket, "e")

    assert _of(report, "e-tp").limit_price == Decimal("19989.75")
    assert _of(report, "e-sl").stop_price == Decimal(20020)
    assert {_of(report, k).status for k in ("e-tp", "e-sl")} == {OrderStatus.INACTIVE}


def test_the_session_of_tried_credentials_is_let_go_of(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = TradovateDesk(simulator, has_stream=False)
    desk.broker.try_credentials("demo", CREDENTIALS)
    later = monotonic() + 301
    monkeypatch.setattr("app.brokers.tradovate.broker.monotonic", lambda: later)

    desk.broker.try_credentials("demo", {**CREDENTIALS, "device_id": "another"})

    desk.stop()
    assert len(desk.broker._tried) == 1


def test_a_trial_and_its_saving_open_one_session(simulator: Simulator) -> None:
    desk = TradovateDesk(simulator, has_stream=False)

    found = desk.broker.try_credentials("demo", CREDENTIALS)
    desk.broker.open(LOGIN)
    desk.until(desk.is_live)
    desk.stop()

    assert str(desk.number) in {account.id for account in found if account.is_usable}
    assert len(desk.sent("auth/accesstokenrequest")) == 1


def test_wrong_credentials_are_refused_in_words(simulator: Simulator) -> None:
    desk = TradovateDesk(simulator, has_stream=False)

    with pytest.raises(BrokerRefused) as refused:
        desk.broker.try_credentials("demo", {**CREDENTIALS, "password": "no"})

    assert refused.value.code == "bad_credentials"


# What has no clear answer.


@pytest.mark.parametrize(
    "fault", ["drop_after", {"status_after": 500}, "html_after", "malformed_after"]
)
def test_an_order_whose_answer_was_lost_is_found_and_not_sent_again(
    either: TradovateDesk, fault: Any
) -> None:
    either.simulator.rule(PLACE, fault)
    key = _id()

    with pytest.raises(BrokerUnavailable):
        _place(either, _market(), key)
    found = _find(either, key)
    again = _place(either, _market(), key)

    assert found is not None
    assert found.status is OrderStatus.FILLED
    assert _of(again, key).broker_order_id == found.broker_order_id
    assert len(either.orders()) == 1


@pytest.mark.parametrize("fault", ["drop_before", {"status": 500}, "hang"])
def test_an_order_that_never_arrived_is_not_there(either: TradovateDesk, fault: Any) -> None:
    either.simulator.rule(PLACE, fault)
    key = _id()

    with pytest.raises(BrokerUnavailable):
        _place(either, _market(), key)

    assert _find(either, key) is None
    with pytest.raises(BrokerUnavailable):
        _place(either, _market(), key)
    assert either.orders() == []


def test_a_bracket_whose_answer_was_lost_is_found_with_its_legs(either: TradovateDesk) -> None:
    either.simulator.rule(STRATEGY, "drop_after")
    ticket = _market(
        take_profit=LegTicket("e-tp", offset=Decimal(20)),
        stop_loss=LegTicket("e-sl", offset=Decimal(10)),
    )

    with pytest.raises(BrokerUnavailable):
        _place(either, ticket, "e")

    found = {key: _find(either, key) for key in ("e", "e-tp", "e-sl")}
    assert [o and o.status for o in found.values()] == [
        OrderStatus.FILLED,
        OrderStatus.WORKING,
        OrderStatus.WORKING,
    ]


def test_legs_are_known_after_a_restart(either: TradovateDesk) -> None:
    ticket = _market(stop_loss=LegTicket("e-sl", offset=Decimal(10)))
    _place(either, ticket, "e")
    either.stop()

    either.start()

    found = _find(either, "e-sl")
    assert found is not None
    assert found.stop_price == Decimal("19990.25")


def test_of_an_order_that_was_doubled_one_is_ours(either: TradovateDesk) -> None:
    either.simulator.rule(PLACE, "accept_twice")

    report = _place(either, _limit("19000"), "mine")

    either.catch_up()
    working = either.broker.working_orders(either.account)
    assert sorted(str(o.client_order_id) for o in working) == ["None", "mine"]
    assert _of(report, "mine").status is OrderStatus.WORKING


def test_where_no_id_comes_back_an_order_is_known_by_its_terms(simulator: Simulator) -> None:
    desk = TradovateDesk(simulator, has_stream=False)
    sent_at = clock.now()
    simulator.manual_order(
        account_id=desk.number,
        contract=CONTRACT,
        action="Buy",
        qty=2,
        order_type="Limit",
        price="19000",
    )
    sought = SoughtOrder(
        "lost", None, CONTRACT, Side.BUY, Decimal(2), OrderType.LIMIT, Decimal(19000), None, sent_at
    )

    other = _find(desk, "lost", sought=replace(sought, quantity=Decimal(3)))
    late = _find(desk, "lost", sought=replace(sought, sent_at=sent_at + timedelta(minutes=1)))
    found = _find(desk, "lost", sought=sought)
    desk.stop()

    assert (other, late) == (None, None)
    assert found is not None
    assert found.client_order_id == "lost"


def test_where_ids_come_back_nothing_else_is_taken_for_ours(either: TradovateDesk) -> None:
    _place(either, _limit("19000", 2))
    sent_at = clock.now()
    either.simulator.manual_order(
        account_id=either.number,
        contract=CONTRACT,
        action="Buy",
        qty=2,
        order_type="Limit",
        price="19000",
    )
    sought = SoughtOrder(
        "lost", None, CONTRACT, Side.BUY, Decimal(2), OrderType.LIMIT, Decimal(19000), None, sent_at
    )

    assert _find(either, "lost", sought=sought) is None


# What becomes of an order.


@pytest.mark.parametrize("kind", ["RiskRejected", "ExecutionRejected"])
def test_an_order_rejected_after_its_acceptance_says_why(either: TradovateDesk, kind: str) -> None:
    either.simulator.set(reject_after_accept=kind, reject_reason="MaxPosLimitReached")

    report = _place(either, _market(), "mine")

    order = _of(report, "mine")
    assert order.status is OrderStatus.REJECTED
    assert "larger than Tradovate allows" in str(order.reason)


def test_a_refusal_in_the_answer_is_told_with_its_code(either: TradovateDesk) -> None:
    either.simulator.set(reject_next="TradingLocked")

    with pytest.raises(BrokerRefused) as refused:
        _place(either, _market())

    assert refused.value.code == "trading_locked"


def test_an_order_that_fills_in_parts_is_reported_with_all_of_them(either: TradovateDesk) -> None:
    either.simulator.set(partial_fills_one_lot=True)
    key = _id()

    report = _place(either, _market(quantity=3), key)
    while _of(report, key).status is not OrderStatus.FILLED:
        either.quote("20000", "20000.25")
        found = _find(either, key)
        assert found is not None
        report = BrokerReport((found,), tuple(either.broker.fills(either.account)))

    fills = either.broker.fills(either.account)
    assert [f.quantity for f in fills] == [1, 1, 1]
    assert len({f.fill_id for f in fills}) == 3


def test_a_part_fill_is_told_as_one(desk: TradovateDesk) -> None:
    desk.simulator.set(partial_fills_one_lot=True)
    key = _id()
    _place(desk, _limit("19990", 3), key)

    desk.move("19989.75", "19990")

    [order] = {o for report in desk.heard for o in report.orders}
    assert (order.status, order.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal(1))


def test_a_market_order_that_waits_is_reported_as_working(either: TradovateDesk) -> None:
    either.simulator.set(fill_market_orders=False)

    report = _place(either, _market(), "mine")

    assert _of(report, "mine").status is OrderStatus.WORKING


def test_a_cancel_that_comes_too_late_tells_of_the_fill(either: TradovateDesk) -> None:
    _place(either, _limit("19000"), "mine")
    either.simulator.set(cancel_loses_race=True)

    report = either.broker.cancel_order(either.account, "mine")

    assert _of(report, "mine").status is OrderStatus.FILLED
    assert [fill.client_order_id for fill in report.fills] == ["mine"]


def test_a_cancel_under_way_is_told_as_pending(either: TradovateDesk) -> None:
    _place(either, _limit("19000"), "mine")
    either.simulator.set(slow_cancel=True)

    report = either.broker.cancel_order(either.account, "mine")

    assert _of(report, "mine").status is OrderStatus.CANCEL_PENDING


@pytest.mark.parametrize("is_401", [False, True])
def test_cancelling_what_ended_unseen_says_so(streamless: TradovateDesk, is_401: bool) -> None:
    _place(streamless, _limit("19990"), "mine")
    streamless.quote("19989.75", "19990")
    streamless.simulator.set(too_late_is_401=is_401)

    with pytest.raises(BrokerRefused) as refused:
        streamless.broker.cancel_order(streamless.account, "mine")

    assert refused.value.code == "not_open"


def test_a_change_that_is_not_made_is_no_success(either: TradovateDesk) -> None:
    _place(either, _limit("19000"), "mine")
    either.simulator.set(modify_not_applied=True)

    with pytest.raises(BrokerUnavailable):
        either.broker.modify_order(
            either.account, "mine", quantity=Decimal(1), limit_price=Decimal(19001)
        )


def test_a_change_that_a_leg_does_not_take_is_refused_as_such(desk: TradovateDesk) -> None:
    ticket = _market(stop_loss=LegTicket("e-sl", offset=Decimal(10)))
    _place(desk, ticket, "e")
    desk.simulator.set(reject_next="Unsupported")

    with pytest.raises(BrokerRefused) as refused:
        desk.broker.modify_order(
            desk.account, "e-sl", quantity=Decimal(1), stop_price=Decimal(19985)
        )

    assert refused.value.code == "modify_refused"


# The stream at its worst.


@pytest.mark.parametrize("kind", ["duplicate", "reorder", "lose"])
def test_disturbed_events_lose_and_double_nothing(desk: TradovateDesk, kind: Any) -> None:
    desk.simulator.disturb_events(kind, None)
    key = _id()

    report = _place(desk, _market(quantity=2), key)
    found = _find(desk, key)

    assert _of(report, key).status is OrderStatus.FILLED
    assert found is not None
    assert found.filled_quantity == 2
    assert sum(f.quantity for f in desk.broker.fills(desk.account)) == 2
    desk.simulator.clear_events()


def test_a_replay_of_the_session_changes_nothing(desk: TradovateDesk) -> None:
    _place(desk, _market(stop_loss=LegTicket("e-sl", offset=Decimal(10))), "e")
    _place(desk, _market(Side.SELL), "x")
    desk.catch_up()
    before = desk.broker.working_orders(desk.account), desk.broker.positions(desk.account)
    desk.heard.clear()

    desk.simulator.replay_events()
    _place(desk, _limit("19000"), "after")
    desk.until(lambda: any(o.client_order_id == "after" for r in desk.heard for o in r.orders))

    desk.broker.cancel_order(desk.account, "after")
    now = desk.broker.working_orders(desk.account), desk.broker.positions(desk.account)
    assert now == before
    assert [fill for report in desk.heard for fill in report.fills] == []


def test_what_happened_while_the_stream_was_away_is_told_and_counted(desk: TradovateDesk) -> None:
    _place(desk, _limit("19990"), "mine")
    desk.catch_up()
    desk.simulator.rule("authorize", {"delay_ms": 300})
    desk.simulator.cut_sockets()
    desk.until(lambda: not desk.is_live())
    desk.heard.clear()

    desk.quote("19989.75", "19990")
    desk.until(desk.is_live)

    state = desk.broker.state(LOGIN.id)
    assert state is not None
    assert state.repaired > 0
    complete = [report for report in desk.heard if report.is_complete]
    assert [_of(report, "mine").status for report in complete] == [OrderStatus.FILLED]
    assert [fill.client_order_id for fill in complete[0].fills] == ["mine"]
    assert [(p.contract, p.net_pos) for p in complete[0].positions] == [(CONTRACT, Decimal(1))]


def test_what_others_do_on_the_account_is_told_without_an_id(desk: TradovateDesk) -> None:
    desk.simulator.manual_trade(desk.number, CONTRACT, "Buy", 2)

    desk.catch_up()

    orders = {o.broker_order_id: o for report in desk.heard for o in report.orders}
    assert [(o.client_order_id, o.status) for o in orders.values()] == [(None, OrderStatus.FILLED)]
    held = [p for report in desk.heard for p in report.positions]
    assert held[-1].net_pos == 2


def test_a_flat_position_is_told_once(desk: TradovateDesk) -> None:
    _place(desk, _market())
    _place(desk, _market(Side.SELL))
    desk.catch_up()
    desk.broker.poll(LOGIN)

    flat = [p for report in desk.heard for p in report.positions if not p.net_pos]

    assert len(flat) == 1


def test_money_is_told_as_it_changes(desk: TradovateDesk) -> None:
    _place(desk, _market())
    desk.catch_up()

    told = [report.balance for report in desk.heard if report.balance is not None]

    cash = desk.simulator.book()["cash"][str(desk.number)]["amount"]
    assert told[-1].cash == Decimal(str(cash))
    assert told[-1].reserved > 0


def test_a_listener_that_fails_is_told_again(desk: TradovateDesk) -> None:
    failures = iter([RuntimeError("storage is away")])

    def fail_once(*_: object) -> None:
        for failure in failures:
            raise failure

    desk.broker.subscribe(fail_once)
    heard: list[BrokerReport] = []
    desk.broker.subscribe(lambda _account, report: heard.append(report))

    _place(desk, _market(), "mine")

    desk.until(lambda: any(o.client_order_id == "mine" for r in heard for o in r.orders))


# Accounts.


def test_an_account_that_is_not_shown_is_not_flat(streamless: TradovateDesk) -> None:
    _place(streamless, _market())
    streamless.simulator.hide_account(streamless.number)

    for ask in (streamless.broker.positions, streamless.broker.snapshot):
        with pytest.raises(BrokerUnavailable):
            ask(streamless.account)
    streamless.heard.clear()
    streamless.broker.poll(LOGIN)
    assert streamless.heard == []
    with pytest.raises(BrokerUnavailable):
        _find(streamless, "unknown")


def test_a_poll_reads_each_list_once_for_all_accounts(streamless: TradovateDesk) -> None:
    streamless.broker.poll(LOGIN)
    streamless.simulator.clear_requests()

    streamless.broker.poll(LOGIN)

    paths = [r["path"] for r in streamless.simulator.requests()]
    assert sorted(paths) == sorted(set(paths))
    assert {"position/list", "order/list", "fill/list"} <= set(paths)


def test_a_refused_login_stops_the_stream(simulator: Simulator) -> None:
    desk = TradovateDesk(simulator, has_stream=False)
    desk.store.tokens.clear()
    simulator.rule("auth/accesstokenrequest", "captcha", times=None)

    desk.broker.open(LOGIN)
    desk.until(lambda: bool(desk.states) and desk.states[-1].status is StreamStatus.STOPPED)
    desk.stop()

    assert desk.states[-1].blocked_until is not None or desk.states[-1].is_refused


# Flattening.


def test_flattening_closes_what_others_opened(either: TradovateDesk) -> None:
    either.simulator.manual_trade(either.number, CONTRACT, "Sell", 3)
    either.simulator.set_price("MESZ6", "6000", "6000.25", "6000")
    either.simulator.manual_order(
        account_id=either.number,
        contract="MESZ6",
        action="Buy",
        qty=1,
        order_type="Limit",
        price="5000",
    )

    either.broker.flatten(either.account)

    book = either.simulator.book()
    assert book["working"][str(either.number)] == []
    assert either.net_pos() == 0


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", {"status_after": 500}])
def test_flattening_looks_before_it_closes_again(either: TradovateDesk, fault: Any) -> None:
    _place(either, _market(quantity=2))
    either.simulator.rule("order/liquidateposition", fault)

    either.broker.flatten(either.account)

    assert either.net_pos() == 0
    assert len(either.orders()) == 2


def test_an_order_that_closes_is_given_its_time(
    either: TradovateDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flattening, "DEADLINE_S", 1.0)
    _place(either, _market(quantity=2))
    either.simulator.set(fill_market_orders=False)
    either.simulator.rule("order/liquidateposition", "drop_after")

    with pytest.raises(BrokerUnavailable):
        either.broker.flatten(either.account)

    assert len(either.sent("order/liquidateposition")) == 1
    assert either.sent("order/cancelorder") == []


def test_flattening_that_cannot_be_shown_is_no_success(
    streamless: TradovateDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flattening, "DEADLINE_S", 0.3)
    _place(streamless, _market())
    streamless.simulator.hide_account(streamless.number)

    with pytest.raises(BrokerUnavailable):
        streamless.broker.flatten(streamless.account)


# Other servers and other keys.


def test_a_server_of_2024_is_traded_on_all_the_same() -> None:
    with running(shapes="2024") as simulator:
        desk = TradovateDesk(simulator)
        try:
            report = _place(desk, _market(stop_loss=LegTicket("e-sl", offset=Decimal(10))), "e")
            cancelled = desk.broker.cancel_order(desk.account, "e-sl")
        finally:
            desk.stop()

    assert _of(report, "e").status is OrderStatus.FILLED
    assert _of(cancelled, "e-sl").status is OrderStatus.CANCELLED


@pytest.mark.parametrize("has_stream", [True, False])
def test_a_key_that_may_not_see_commands_can_trade(
    simulator: Simulator, has_stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = TradovateDesk(simulator, has_stream=False)
    desk.stop()
    simulator.add_user("half", permissions={"*": "full", "commands": "none"})
    row = simulator.add_account("half", cash="10000")
    monkeypatch.setitem(CREDENTIALS, "username", "half")
    desk.use(row, has_stream=has_stream)
    try:
        report = _place(desk, _market(), "mine")
        simulator.rule(PLACE, "drop_after")
        with pytest.raises(BrokerUnavailable):
            _place(desk, _limit("19000"), "lost")
        found = _find(desk, "lost")
    finally:
        desk.stop()

    assert _of(report, "mine").status is OrderStatus.FILLED
    assert found is not None
    assert found.status is OrderStatus.WORKING


# The contract library.


def test_maturities_come_from_the_library_once_a_day(desk: TradovateDesk) -> None:
    assert desk.broker.known_maturities("MNQ") == ()

    desk.broker.poll(LOGIN)
    desk.simulator.clear_requests()
    desk.broker.poll(LOGIN)

    known = desk.broker.known_maturities("MNQ")
    assert [m.code for m in known[:2]] == ["MNQZ6", "MNQH7"]
    assert known[0].expires_on.isoformat() == "2026-12-18"
    assert desk.sent("contractmaturity/deps") == []


def test_an_unknown_contract_is_refused_with_its_neighbours(desk: TradovateDesk) -> None:
    login = desk.broker._login(LOGIN)

    with pytest.raises(BrokerRefused) as refused:
        login.contracts.resolve_id("MNQF6", login.session.call)

    assert refused.value.code == "unknown_contract"
    assert "MNQZ6" in refused.value.detail
