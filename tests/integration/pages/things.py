"""What the tests of pages make by the JSON API, and how they wait for what follows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import gevent

from tests.people import Person

BUY = {"action": "buy", "ticker": "MNQ1!", "contracts": 3, "price": "21442.00"}


def account(person: Person, name: str = "Paper USD") -> int:
    return _made(person, "/api/accounts/", {"name": name, "broker": "paper"})


def recorder(person: Person, name: str = "NQ Trend", **settings: Any) -> int:
    body = {"name": name, "symbol": "MNQ1!", "settings": settings}
    return _made(person, "/api/recorders/", body)


def trader(person: Person, strategy_id: int, account_id: int, **overrides: Any) -> int:
    body = {"strategy_id": strategy_id, "account_id": account_id, "overrides": overrides}
    return _made(person, "/api/traders/", body)


def alert(person: Person, recorder_id: int, body: Any = BUY) -> int:
    """Send an alert to the recorder's webhook; the id of its signal, whatever was answered."""
    address = person.get(f"/api/recorders/{recorder_id}/").get_json()["webhook_url"]
    text = body if isinstance(body, str) else json.dumps(body)
    answer = person.app.test_client().post(address[address.index("/webhook") :], data=text)
    return int(answer.get_json()["signal_id"])


def finished(person: Person, signal_id: int) -> dict[str, Any]:
    """The signal once all of its executions have ended."""

    def life() -> dict[str, Any] | None:
        found: dict[str, Any] = person.get(f"/api/signals/{signal_id}/").get_json()
        waiting = any(e["status"] in ("pending", "running") for e in found["executions"])
        return None if waiting else found

    ended: dict[str, Any] = until(life)
    return ended


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What the condition gives as soon as it gives something."""
    with gevent.Timeout(seconds, AssertionError("it did not happen")):
        while not (found := condition()):
            gevent.sleep(0.01)
    return found


def words(page: str) -> str:
    """The text of a page as one line, without its tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def _made(person: Person, path: str, body: dict[str, Any]) -> int:
    answer = person.post(path, body)
    assert answer.status_code == 201, answer.text
    return int(answer.get_json()["id"])
