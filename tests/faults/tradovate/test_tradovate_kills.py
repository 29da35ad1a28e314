"""The short form of ``python -m tests.faults --tradovate``: a few kills between us and a broker
that drops answers, loses events and ends sessions."""

from __future__ import annotations

import pytest

from tests.faults.tradovate.proof import count, rest
from tests.faults.tradovate.world import AMBUSHES, TradovateWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def _wrong(world: TradovateWorld) -> dict[str, int]:
    held = rest(world)
    return {name: number for name, number in {**count(world), **held}.items() if number}


def test_kills_while_trading_at_tradovate_lose_and_double_nothing(
    tradovate_world: TradovateWorld,
) -> None:
    world = tradovate_world
    world.end()

    world.die_at("told:20")
    world.die_in(AMBUSHES[0])

    assert not _wrong(world)
    assert sum(world.kills.values()) == 2


def test_kills_while_trading_at_tradovate_on_postgresql(
    postgres_tradovate_world: TradovateWorld,
) -> None:
    world = postgres_tradovate_world
    world.end()

    world.die_at("broker answered:3")

    assert not _wrong(world)
    assert sum(world.kills.values()) == 1
