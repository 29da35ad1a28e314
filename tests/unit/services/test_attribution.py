"""What a fill without an order closes first, and who gets the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.trading import BrokerFill, Side
from app.services import corrections
from app.services.attribution import split
from app.services.bookkeeping import NOBODY, Owner

RECORDER, OTHER = Owner(None, 1), Owner(None, 2)
TRADER, RIVAL = Owner(7, 1), Owner(8, 3)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _fill(side: Side, quantity: int) -> BrokerFill:
    return BrokerFill(
        "1", None, "B1", "MNQZ6", side, Decimal(quantity), Decimal(20000), Decimal(0), NOON
    )


def _sold(quantity: int, chosen: Owner, held: dict[Owner, int], **more: bool) -> list[object]:
    holdings = {owner: Decimal(net) for owner, net in held.items()}
    shares = split(_fill(Side.SELL, quantity), chosen, holdings, **more)
    return [(share.owner, int(share.quantity), int(share.closes)) for share in shares]


def test_without_holdings_all_goes_to_the_chosen() -> None:
    assert _sold(2, RECORDER, {}) == [(RECORDER, 2, 0)]


def test_the_chosen_book_is_reduced_and_may_turn_round() -> None:
    assert _sold(3, RECORDER, {RECORDER: 2, OTHER: 5, RIVAL: 5}) == [(RECORDER, 3, 2)]


def test_another_foreign_book_that_holds_the_other_side_is_reduced_first() -> None:
    assert _sold(3, RECORDER, {OTHER: 2}) == [(OTHER, 2, 2), (RECORDER, 1, 0)]


def test_a_foreign_book_on_the_same_side_is_left_alone() -> None:
    assert _sold(1, RECORDER, {OTHER: -2}) == [(RECORDER, 1, 0)]


@pytest.mark.parametrize("chosen", [NOBODY, RECORDER, TRADER])
def test_a_person_closes_the_only_trader_that_holds_it(chosen: Owner) -> None:
    assert _sold(3, chosen, {RIVAL: 2}) == [(RIVAL, 2, 2), (chosen, 1, 0)]


def test_of_two_traders_nobody_knows_which_was_closed() -> None:
    assert _sold(2, NOBODY, {RIVAL: 2, TRADER: 2}) == [(NOBODY, 2, 0)]


def test_nobodys_own_position_is_closed_before_a_traders() -> None:
    assert _sold(3, NOBODY, {NOBODY: 1, RIVAL: 5}) == [(NOBODY, 1, 1), (RIVAL, 2, 2)]


def test_an_order_of_ours_without_a_trader_leaves_traders_alone() -> None:
    held = {RECORDER: 1, RIVAL: 5}
    assert _sold(2, NOBODY, held, with_traders=False) == [(RECORDER, 1, 1), (NOBODY, 1, 0)]


_OWNERS = [NOBODY, RECORDER, OTHER, TRADER, RIVAL]


@given(
    chosen=st.sampled_from(_OWNERS),
    side=st.sampled_from(Side),
    quantity=st.integers(1, 9),
    held=st.dictionaries(st.sampled_from(_OWNERS), st.integers(-5, 5).filter(bool)),
)
def test_nothing_is_lost_and_nothing_is_closed_twice(
    chosen: Owner, side: Side, quantity: int, held: dict[Owner, int]
) -> None:
    holdings = {owner: Decimal(net) for owner, net in held.items()}
    shares = split(_fill(side, quantity), chosen, holdings)

    assert sum(share.quantity for share in shares) == quantity
    assert len({share.owner for share in shares}) == len(shares)
    for share in shares:
        opposite = max(Decimal(0), -side.sign * holdings.get(share.owner, Decimal(0)))
        assert share.closes == min(opposite, share.quantity)
        assert share.closes == share.quantity or share.owner == chosen


@given(
    fee=st.decimals(0, 100, places=8),
    quantities=st.lists(st.integers(1, 9).map(Decimal), min_size=1, max_size=4),
)
def test_a_fee_is_divided_without_loss(fee: Decimal, quantities: list[Decimal]) -> None:
    shares = corrections.divide(fee, quantities)

    assert sum(shares) == fee
    assert len(shares) == len(quantities)


def test_parts_of_a_fill_are_found_by_the_brokers_id() -> None:
    ids = [corrections.part_id("F12", number) for number in (1, 2, 3)]

    assert ids == ["F12", "F12~2", "F12~3"]
    assert {corrections.whole_id(i) for i in ids} == {"F12"}
