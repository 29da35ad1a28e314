"""Our books beside the broker's positions: what differs is said, and said again when mended."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.domain.trading import BrokerPosition, BrokerReport, Side
from app.models import Account, Book, LivePosition
from app.services import sync, user_data
from tests.brokers import FakeBroker
from tests.integration.trading.desk import Desk, Setup, contract_of, wait_until


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PATIENCE_S", 0.05)


def _account(setup: Setup) -> Any:
    [row] = setup.desk.rows(Account, id=setup.account.id)
    return row


def _tell(fake: FakeBroker, setup: Setup) -> None:
    user_data.take_in(setup.ref, fake.snapshot(setup.ref))


def _without_fills(fake: FakeBroker, setup: Setup, quantity: int) -> None:
    """The broker holds what no fill explains."""
    fake.hold(setup.account.id, contract_of(), quantity)
    _tell(fake, setup)


def test_a_difference_that_no_fill_explains_is_said_with_its_size(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")

    _without_fills(fake, setup, 2)

    wait_until(lambda: _account(setup).out_of_sync_since is not None)
    assert _account(setup).sync_note == (f"{contract_of()}: the broker holds 3, our books say 1.")
    assert "account:status" in desk.events()


def test_it_ends_when_the_broker_agrees_again(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    _without_fills(fake, setup, 2)
    wait_until(lambda: _account(setup).out_of_sync_since is not None)

    _without_fills(fake, setup, -2)

    wait_until(lambda: _account(setup).out_of_sync_since is None)
    assert _account(setup).sync_note is None


def test_a_fill_that_nobody_told_is_asked_for_and_explains_it(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    fake.trade_by_hand(setup.ref, contract_of(), Side.BUY, 2)

    _tell(fake, setup)

    wait_until(lambda: fake.calls["fills"] > 0)
    wait_until(lambda: not sync._looking)
    assert _account(setup).out_of_sync_since is None


def test_a_broker_that_does_not_answer_makes_no_alarm(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    position = BrokerPosition(contract_of(), Decimal(5), Decimal(20000))
    fake.is_mute = fake.is_down = True

    user_data.take_in(setup.ref, BrokerReport(positions=(position,)))
    wait_until(lambda: not sync._looking)

    assert _account(setup).out_of_sync_since is None


def test_what_a_complete_report_does_not_list_is_flat(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake")
    _without_fills(fake, setup, 2)
    fake.hold(setup.account.id, contract_of(), -2)

    _tell(fake, setup)

    [row] = desk.rows(LivePosition, account_id=setup.account.id)
    assert row.net_pos == 0


def test_an_order_missing_from_a_complete_report_is_asked_for(desk: Desk, fake: FakeBroker) -> None:
    setup = desk.setup("fake", entry_order={"type": "limit"})
    setup.alert("buy", price="19000")
    [key] = fake.open_ids(setup.account.id)
    fake.end(setup.account.id, key, tell=False)

    _tell(fake, setup)

    wait_until(lambda: setup.order("entry").status == "cancelled")


def test_what_was_held_before_we_knew_the_account_is_taken_over_as_somebody_elses(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")

    _without_fills(fake, setup, 2)

    wait_until(lambda: desk.rows(Book, account_id=setup.account.id))
    [book] = desk.rows(Book, account_id=setup.account.id)
    assert (book.trader_id, book.strategy_id, book.net_pos) == (None, None, 2)
    wait_until(lambda: not sync._looking)
    assert _account(setup).out_of_sync_since is None


def test_adopting_lets_the_books_follow_the_broker_and_sends_nothing(
    desk: Desk, fake: FakeBroker
) -> None:
    setup = desk.setup("fake")
    setup.alert("buy")
    _without_fills(fake, setup, -1)
    wait_until(lambda: _account(setup).out_of_sync_since is not None)
    sent = list(fake.sent)

    with desk.app.app_context():
        [taken] = sync.adopt(desk.user.id, setup.account.id)

    assert (taken.contract, taken.broker, taken.books) == (
        contract_of(),
        Decimal(0),
        Decimal(1),
    )
    assert setup.net() == 0
    assert _account(setup).out_of_sync_since is None
    assert setup.trades()[-1].exit_reason == "external"
    assert fake.sent == sent
