"""The short form of ``python -m tests.faults``: one kill at each kind of gap."""

from __future__ import annotations

import pytest

from tests.faults.proof import count, misplaced
from tests.faults.world import POINTS, World, points_in_source

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

_EMBEDDED = (
    "intake stored:3",
    "paper:5",
    "paper stored:9",
    "reconcile asked:1",
    "commit:25",
    "dispatch:12",
)
_POSTGRES = ("paper stored:6", "reconciled:1", "outcome stored:4")


def _wrong_after(world: World, points: tuple[str, ...]) -> dict[str, int]:
    world.end()
    for point in points:
        world.die({"FAULT_POINT": point}, each=3)
    world.settle()
    wrong = {"positions other than the last alert wants": misplaced(world)}
    world.finish()
    return {name: number for name, number in {**count(world), **wrong}.items() if number}


def test_every_point_of_the_app_is_known_here() -> None:
    assert points_in_source() == set(POINTS)


def test_kills_lose_and_double_nothing(world: World) -> None:
    wrong = _wrong_after(world, _EMBEDDED)

    assert not wrong
    assert sum(world.kills.values()) == len(_EMBEDDED)


def test_kills_lose_and_double_nothing_on_postgresql(postgres_world: World) -> None:
    wrong = _wrong_after(postgres_world, _POSTGRES)

    assert not wrong
    assert sum(postgres_world.kills.values()) == len(_POSTGRES)
