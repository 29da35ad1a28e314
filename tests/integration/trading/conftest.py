from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from apiflask import APIFlask

from app.brokers import registry
from app.extensions import db
from app.services import executor, reconcile, runtime, user_data
from config import Config
from tests.brokers import FakeBroker
from tests.contract.brokers import PriceBoard
from tests.integration.trading.desk import Desk


@pytest.fixture
def board(config: Config, monkeypatch: pytest.MonkeyPatch) -> PriceBoard:
    """The prices of the paper broker, written by hand. Asked for before ``app``."""
    board = PriceBoard()
    monkeypatch.setattr(runtime, "SimulatedFeed", lambda: board)
    return board


@pytest.fixture
def desk(board: PriceBoard, app: APIFlask) -> Desk:
    """MNQ is quoted 20,000.00 x 20,000.25."""
    desk = Desk(app, board)
    desk.show("20000", "20000.25")
    return desk


@pytest.fixture
def fake(app: APIFlask, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """A scripted broker for accounts of ``broker="fake"``. It settles at once."""
    monkeypatch.setitem(reconcile.SETTLING, "fake", timedelta(0))
    monkeypatch.setattr(reconcile, "PAUSE_S", 0.02)
    monkeypatch.setattr(executor, "_STORAGE_PAUSE_S", 0.02)
    with app.app_context():
        broker = FakeBroker(db.engine)
    broker.subscribe(user_data.take_in)
    registry.register("fake", broker)
    yield broker
    registry._brokers.pop("fake")
