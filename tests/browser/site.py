"""A running server and the people who use it, by HTTP alone: what the browser tests start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
import requests

PASSWORD = "nine purple anvils"
PATIENCE_S = 20.0


@dataclass
class Member:
    """Somebody registered and signed in. ``cookies`` make a browser theirs."""

    url: str
    username: str
    session: requests.Session = field(default_factory=requests.Session)
    csrf: str = ""

    @property
    def cookies(self) -> list[dict[str, str]]:
        return [
            {"name": c.name, "value": str(c.value), "url": self.url} for c in self.session.cookies
        ]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer of a call that must succeed."""
        headers = {"X-CSRFToken": self.csrf}
        answer = self.session.request(
            method, self.url + path, json=body, headers=headers, timeout=15
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def account(self, name: str = "Paper USD", balance: str = "100000") -> int:
        body = {"name": name, "broker": "paper", "starting_balance": balance}
        return int(self.call("POST", "/api/accounts/", body)["id"])

    def recorder(self, name: str = "NQ Trend", symbol: str = "MNQ1!", **settings: Any) -> int:
        body = {"name": name, "symbol": symbol, "recording_enabled": True, "settings": settings}
        return int(self.call("POST", "/api/recorders/", body)["id"])

    def trader(self, strategy_id: int, account_id: int, **overrides: Any) -> int:
        body = {"strategy_id": strategy_id, "account_id": account_id, "overrides": overrides}
        return int(self.call("POST", "/api/traders/", body)["id"])

    def webhook(self, strategy_id: int) -> str:
        return str(self.get(f"/api/recorders/{strategy_id}/")["webhook_url"])

    def alert(self, strategy_id: int, body: str | dict[str, Any]) -> int:
        """Send an alert as TradingView would; the id of its signal once it was carried out."""
        signal_id = send(self.webhook(strategy_id), body)
        until(lambda: self._is_carried_out(signal_id))
        return signal_id

    def _is_carried_out(self, signal_id: int) -> bool:
        executions = self.get(f"/api/signals/{signal_id}/")["executions"]
        return all(e["status"] not in ("pending", "running") for e in executions)


def register(url: str, username: str) -> Member:
    member = Member(url, username)
    body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    member.csrf = member.call("POST", "/api/auth/register/", body)["csrf_token"]
    return member


def send(webhook: str, body: str | dict[str, Any]) -> int:
    """Post an alert, as JSON or as text by what it is; the id of its signal."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/plain" if isinstance(body, str) else "application/json"
    answer = requests.post(
        webhook, data=text.encode(), headers={"Content-Type": f"{kind}; charset=utf-8"}, timeout=10
    )
    assert answer.status_code == 202, answer.text
    return int(answer.json()["signal_id"])


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as it gives something."""
    with gevent.Timeout(PATIENCE_S, AssertionError("it did not happen")):
        while not (found := condition()):
            gevent.sleep(0.02)
    return found


@dataclass(frozen=True, slots=True)
class Things:
    """The ids of what ``trade_a_little`` made."""

    account: int
    recorder: int
    trader: int
    signal: int


def trade_a_little(member: Member) -> Things:
    """A finished trade, an open position with its bracket, and alerts that did not trade."""
    account_id = member.account()
    strategy_id = member.recorder(
        stop_loss={"distance": "600", "unit": "ticks"},
        take_profits=[{"distance": "800", "unit": "ticks"}],
    )
    trader_id = member.trader(strategy_id, account_id)
    member.alert(strategy_id, "buy MNQ1! qty=1")
    member.alert(strategy_id, "close MNQ1!")
    signal_id = member.alert(strategy_id, {"action": "buy", "ticker": "MNQ1!", "price": "21500"})
    gold = member.recorder("Gold breakout with a rather long name", "MGC1!", direction="short")
    member.trader(gold, account_id, multiplier="2")
    member.alert(gold, "buy MGC1!")
    requests.post(member.webhook(strategy_id), data=b"hello there", timeout=10)
    return Things(account_id, strategy_id, trader_id, signal_id)
