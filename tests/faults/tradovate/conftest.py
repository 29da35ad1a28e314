"""Worlds with a simulated Tradovate, each with its own processes and data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.tradovate.world import TradovateWorld
from tests.faults.world import private_postgres


@pytest.fixture
def tradovate_world(tmp_path: Path) -> Iterator[TradovateWorld]:
    """Set up and running, on SQLite."""
    world = TradovateWorld(tmp_path / "data", seed=7)
    try:
        world.set_up()
        yield world
    finally:
        world.close()


@pytest.fixture
def postgres_tradovate_world(
    tmp_path: Path, postgres_server: str, request: pytest.FixtureRequest
) -> Iterator[TradovateWorld]:
    """Set up and running, on a PostgreSQL database of its own."""
    request.node.user_properties.append(("group", "postgresql"))
    with private_postgres(postgres_server, f"jt_faults_{uuid4().hex[:8]}") as url:
        world = TradovateWorld(tmp_path / "data", seed=7, database_url=url)
        try:
            world.set_up()
            yield world
        finally:
            world.close()
