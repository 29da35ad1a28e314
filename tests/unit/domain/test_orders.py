from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.orders import (
    LATE_FILLS,
    MOVES,
    OPEN,
    TERMINAL,
    IllegalTransition,
    move,
    reach,
    status_from_fills,
)
from app.domain.trading import OrderStatus as S

statuses = st.sampled_from(list(S))


@pytest.mark.parametrize(
    "way",
    [
        [S.CREATED, S.SUBMITTING, S.WORKING, S.PARTIALLY_FILLED, S.FILLED],
        [S.CREATED, S.SUBMITTING, S.WORKING, S.PARTIALLY_FILLED, S.CANCELLED],
        [S.CREATED, S.SUBMITTING, S.WORKING, S.PARTIALLY_FILLED, S.EXPIRED],
        [S.CREATED, S.SUBMITTING, S.WORKING, S.CANCELLED],
        [S.CREATED, S.SUBMITTING, S.WORKING, S.EXPIRED],
        [S.CREATED, S.SUBMITTING, S.WORKING, S.REJECTED],
        [S.CREATED, S.SUBMITTING, S.REJECTED],
        [S.CREATED, S.SUBMITTING, S.FILLED],
        [S.CREATED, S.SUBMITTING, S.PARTIALLY_FILLED],
        *(
            [S.CREATED, S.SUBMITTING, S.UNKNOWN, end]
            for end in (
                S.WORKING,
                S.PARTIALLY_FILLED,
                S.FILLED,
                S.CANCELLED,
                S.EXPIRED,
                S.REJECTED,
                S.NOT_FOUND,
            )
        ),
        *(
            [S.WORKING, S.CANCEL_PENDING, end]
            for end in (S.CANCELLED, S.FILLED, S.WORKING, S.PARTIALLY_FILLED, S.EXPIRED)
        ),
        [S.CREATED, S.INACTIVE, S.WORKING, S.TRIGGERED, S.FILLED],
        [S.CREATED, S.INACTIVE, S.CANCELLED],
        [S.CREATED, S.SKIPPED],
    ],
)
def test_every_drawn_way_is_open(way: list[S]) -> None:
    for current, new in zip(way, way[1:], strict=False):
        assert move(current, new) is new


@given(start=statuses, wishes=st.lists(st.tuples(statuses, st.booleans()), max_size=30))
def test_no_sequence_of_moves_leaves_the_drawn_graph(
    start: S, wishes: list[tuple[S, bool]]
) -> None:
    current = start
    for wish, proof in wishes:
        drawn = MOVES[current] | {current} | (LATE_FILLS.get(current, set()) if proof else set())

        try:
            reached = move(current, wish, proof=proof)
        except IllegalTransition:
            assert wish not in drawn
            continue

        assert reached is wish
        assert reached in drawn
        current = reached


@given(current=statuses, new=statuses, proof=st.booleans())
def test_reach_takes_legal_moves_only(current: S, new: S, proof: bool) -> None:
    try:
        way = reach(current, new, proof=proof)
    except IllegalTransition:
        way = ()

    for step in way:
        current = move(current, step, proof=proof)
    assert not way or current is new


@pytest.mark.parametrize("ended", sorted(TERMINAL))
def test_an_order_that_ended_moves_only_on_proof(ended: S) -> None:
    assert not [new for new in S if new is not ended and _allowed(ended, new, proof=False)]

    by_proof = {new for new in S if new is not ended and _allowed(ended, new, proof=True)}

    late = {S.FILLED, S.PARTIALLY_FILLED}
    shown_after_all = late | {S.INACTIVE, S.WORKING, S.TRIGGERED}
    assert by_proof == {S.CANCELLED: late, S.EXPIRED: late, S.NOT_FOUND: shown_after_all}.get(
        ended, set()
    )


def test_open_and_terminal_share_all_statuses() -> None:
    assert set(S) == OPEN | TERMINAL
    assert not OPEN & TERMINAL


@pytest.mark.parametrize(
    ("current", "new", "way"),
    [
        (S.CREATED, S.WORKING, 2),
        (S.SUBMITTING, S.CANCELLED, 2),
        (S.INACTIVE, S.FILLED, 2),
        (S.WORKING, S.WORKING, 0),
    ],
)
def test_a_report_may_skip_states(current: S, new: S, way: int) -> None:
    assert len(reach(current, new)) == way


@pytest.mark.parametrize(
    ("current", "stale"),
    [
        (S.FILLED, S.WORKING),
        (S.PARTIALLY_FILLED, S.WORKING),
        (S.WORKING, S.SUBMITTING),
        (S.CANCELLED, S.WORKING),
    ],
)
def test_a_report_older_than_what_we_know_is_refused(current: S, stale: S) -> None:
    with pytest.raises(IllegalTransition, match=f"{current} cannot become {stale}"):
        reach(current, stale)


@pytest.mark.parametrize(
    ("current", "filled", "expected"),
    [
        (S.WORKING, "0", S.WORKING),
        (S.WORKING, "1", S.PARTIALLY_FILLED),
        (S.SUBMITTING, "3", S.FILLED),
        (S.CANCEL_PENDING, "1", S.CANCEL_PENDING),
        (S.CANCELLED, "1", S.CANCELLED),
        (S.CANCELLED, "3", S.FILLED),
        (S.NOT_FOUND, "1", S.PARTIALLY_FILLED),
    ],
)
def test_status_follows_the_total_of_the_fills(current: S, filled: str, expected: S) -> None:
    assert status_from_fills(current, Decimal(3), Decimal(filled)) is expected


def _allowed(current: S, new: S, *, proof: bool) -> bool:
    try:
        move(current, new, proof=proof)
    except IllegalTransition:
        return False
    return True
