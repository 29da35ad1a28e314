"""The floor on which ``test_end_to_end*.py`` trade, and the simulator that it is connected to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from app.brokers.tradovate.broker import TradovateBroker
from app.brokers.tradovate.http import Transport
from app.brokers.tradovate.link import Limits
from app.services import (
    execution,
    protection,
    reconcile,
    runtime,
    steps,
    stream_states,
    sync,
)
from config import Config, load
from tests.conftest import KEYS
from tests.integration.tradovate.floor import Floor
from tests.simulators.tradovate.control import Simulator, running

_LIMITS = Limits(
    parts_gap_s=0.05,
    first_pause_s=0.1,
    longest_pause_s=0.5,
    shortest_pause_s=0.05,
    soft_silence_s=3.0,
    hard_silence_s=4.0,
    maintenance_s=1.0,
    quota_s=1.0,
)
_TIMEOUTS = (2.0, 1.5)
"""Connect, read. So long a request that hangs is waited for."""


@pytest.fixture(scope="module")
def tradovate_process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def tradovate(tradovate_process: Simulator) -> Simulator:
    tradovate_process.reset()
    tradovate_process.clear_rules()
    tradovate_process.clear_requests()
    return tradovate_process


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is short: pauses, not deadlines."""
    broker = partial(
        TradovateBroker, limits=_LIMITS, new_transport=partial(Transport, timeout=_TIMEOUTS)
    )
    monkeypatch.setattr(runtime, "TradovateBroker", broker)
    monkeypatch.setattr(protection, "EVERY_S", 0.3)
    monkeypatch.setattr(protection, "FIRST_PAUSE_S", 0.3)
    monkeypatch.setattr(steps, "ASK_AGAIN", timedelta(seconds=0.2))
    monkeypatch.setattr(execution, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(sync, "PATIENCE_S", 0.3)
    monkeypatch.setattr(reconcile, "PAUSE_S", 0.1)
    monkeypatch.setattr(stream_states, "FLAP_S", 0.1)


@pytest.fixture
def config(database_url: str, tmp_path: Path, tradovate: Simulator, quick: None) -> Config:
    return load(
        {
            **KEYS,
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": database_url,
            "BCRYPT_ROUNDS": "4",
            "TRADOVATE_DEMO_URL": tradovate.url,
            "TRADOVATE_LIVE_URL": tradovate.live_url,
            "TRADOVATE_DEMO_WS_URL": tradovate.ws_url,
            "TRADOVATE_LIVE_WS_URL": tradovate.live_ws_url,
            "TRADOVATE_SETTLING_MS": "600",
        }
    )


@pytest.fixture
def floor(config: Config, tradovate: Simulator) -> Iterator[Floor]:
    floor = Floor(config, tradovate)
    yield floor
    floor.stop()
