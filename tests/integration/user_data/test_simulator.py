"""The whole way, over real sockets: what happens at the broker is here, and with its owner only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy import select

from app.extensions import writer
from app.models import (
    BrokerLogin,
    ExternalOrder,
    Fill,
    LiveBalance,
    LivePosition,
    StrategyLog,
    User,
)
from app.services import stream_states
from config import Config, load
from tests.conftest import KEYS
from tests.databases import ONLY_SQLITE
from tests.integration.realtime.conftest import Listener, connect, cookie, url
from tests.integration.user_data.conftest import wait_until
from tests.people import Person, register
from tests.simulators.tradovate.control import Simulator, running

__all__ = ["connect", "cookie", "url"]

pytestmark = ONLY_SQLITE
CREDENTIALS = {"username": "demo", "password": "demo", "client_id": "1", "client_secret": "demo"}


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def tradovate(process: Simulator) -> Simulator:
    process.reset()
    return process


@pytest.fixture
def config(database_url: str, tmp_path: Any, tradovate: Simulator) -> Config:
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
        }
    )


@dataclass
class Desk:
    """A person with an account at the simulator, connected."""

    person: Person
    tradovate: Simulator
    account_id: int
    number: int
    contract: str

    def stream(self) -> dict[str, Any]:
        body = self.person.get("/api/user-data/status/").get_json()
        return next(item for item in body["items"] if item["account_id"] == self.account_id)

    def is_live(self) -> bool:
        return bool(self.stream()["state"] == "live")

    def trade(self, action: str = "Buy", qty: int = 1) -> None:
        self.tradovate.manual_trade(self.number, self.contract, action, qty)


def rows(model: Any) -> list[Any]:
    with writer.read() as connection:
        return list(connection.execute(select(model.__table__).order_by(model.__table__.c.id)))


@pytest.fixture
def desk(app: APIFlask, tradovate: Simulator) -> Desk:
    person = register(app)
    body = {"name": "Demo", "broker": "tradovate", "environment": "demo"}
    number = min(tradovate.book()["cash"], key=int)
    choice = {"credentials": CREDENTIALS, "broker_account_id": number}
    made = person.post("/api/accounts/", {**body, **choice})
    assert made.status_code == 201, made.text
    desk = Desk(
        person,
        tradovate,
        made.get_json()["id"],
        int(number),
        "ESZ6",
    )
    tradovate.set_price(desk.contract, "5000", "5000.25")
    wait_until(desk.is_live)
    return desk


def test_trade_in_another_terminal_is_here_at_once(desk: Desk) -> None:
    desk.trade("Buy", 2)

    wait_until(lambda: rows(LivePosition) and rows(LivePosition)[0].net_pos == 2)
    wait_until(lambda: rows(Fill) and rows(ExternalOrder))
    [order], fills = rows(ExternalOrder), rows(Fill)
    assert sum(fill.quantity for fill in fills) == 2
    assert {fill.source for fill in fills} == {"stream"}
    wait_until(lambda: rows(ExternalOrder)[0].status == "filled")
    assert (order.contract, order.side, order.order_type) == (desk.contract, "buy", "market")
    assert rows(LiveBalance)[0].currency == "USD"


def test_resting_order_of_somebody_else_comes_and_goes(desk: Desk) -> None:
    order_id = desk.tradovate.manual_order(
        account_id=desk.number,
        contract=desk.contract,
        action="Buy",
        qty=1,
        order_type="Limit",
        price="4900",
    )
    wait_until(lambda: [o.status for o in rows(ExternalOrder)] == ["working"])

    desk.tradovate.venue("manual_cancel", order_id=order_id)

    wait_until(lambda: rows(ExternalOrder)[0].status == "cancelled")


def test_what_happened_while_the_line_was_down_is_repaired_and_said(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_states, "FLAP_S", 0.1)
    desk.tradovate.disturb_events("lose", None)
    desk.trade("Buy", 3)
    desk.tradovate.clear_events()
    assert rows(Fill) == []

    desk.tradovate.cut_sockets()

    wait_until(lambda: not desk.is_live())
    wait_until(desk.is_live, 30)
    wait_until(lambda: rows(LivePosition) and rows(LivePosition)[0].net_pos == 3)
    wait_until(lambda: sum(fill.quantity for fill in rows(Fill)) == 3)
    wait_until(lambda: rows(BrokerLogin)[0].gaps_repaired == 1)
    assert rows(BrokerLogin)[0].reconnects >= 1
    wait_until(lambda: "had been missed" in rows(StrategyLog)[-1].message)


def test_follower_is_told_where_it_stands_and_what_moves(
    desk: Desk, connect: Callable[..., Listener]
) -> None:
    listener = connect(_user(desk.person.id))
    topic = {"topic": f"account:{desk.account_id}"}
    assert listener.ask("subscribe", topic) == {"ok": True}
    wait_until(lambda: listener.of("account:snapshot"))
    assert listener.of("account:snapshot")[0]["stream"]["state"] == "live"

    desk.trade()

    wait_until(lambda: listener.of("account:positions"))
    told = listener.of("account:positions")[-1]
    assert told["account_id"] == desk.account_id
    assert told["positions"][0]["net_pos"] == "1"
    wait_until(lambda: listener.of("balance:update"))
    wait_until(lambda: listener.of("fill"))


def test_nobody_else_hears_of_it(desk: Desk, connect: Callable[..., Listener]) -> None:
    other = register(desk.person.app, "bob")
    stranger = connect(_user(other.id))
    assert stranger.greeting
    assert stranger.ask("subscribe", {"topic": f"account:{desk.account_id}"}) == {
        "ok": False,
        "error": "not_found",
    }

    desk.trade()
    wait_until(lambda: rows(LivePosition))
    desk.tradovate.cut_sockets()
    wait_until(lambda: not desk.is_live())

    assert stranger.ask("ping")["ok"]
    assert {name for name, _ in stranger.heard} <= {"connected", "pong"}
    assert other.get("/api/user-data/status/").get_json()["items"] == []
    answer = other.post("/api/user-data/disconnect/", {"account_id": desk.account_id})
    assert answer.status_code == 404


def test_disconnect_and_connect_by_the_person(desk: Desk) -> None:
    answer = desk.person.post("/api/user-data/disconnect/", {"account_id": desk.account_id})
    assert answer.get_json()["state"] == "stopped"
    wait_until(lambda: desk.tradovate.sockets() == [])
    desk.trade("Sell", 1)

    for _ in range(2):
        again = desk.person.post("/api/user-data/connect/", {"account_id": desk.account_id})
        assert again.status_code == 200

    wait_until(desk.is_live)
    wait_until(lambda: rows(LivePosition) and rows(LivePosition)[0].net_pos == -1)
    assert len(desk.tradovate.sockets()) == 1
    assert desk.stream()["budget"]["limit"] == 5000


def _user(user_id: int) -> User:
    user = User()
    user.id = user_id
    return user
