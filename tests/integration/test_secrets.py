"""No secret is kept or told in clear: the real process is fed marked ones, then searched."""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import Server, serve

SETTINGS = {
    "SECRET_KEY": "planted-secret-key-0123456789abcdefgh",
    "CREDENTIALS_KEY": "planted-credentials-key-0123456789ab",
    "METRICS_TOKEN": "planted-metrics-token",
}
TYPED = {
    "password": "planted purple anvils",
    "wrong password": "planted wrong anvils",
    "passphrase": "planted-open-sesame",
    "wrong passphrase": "planted-guess",
    "password in an alert": "planted-in-the-body",
    "API key in an alert": "planted-broker-key",
    "token in an alert": "planted-signal-token",
    "wrong metrics token": "planted-metrics-guess",
    "token in a query": "planted-query-token",
}
"""What people and programs send; what the app makes itself is added as it is met."""


class Visitor:
    """Uses the app as its owner would, and remembers every secret that it sees."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.browser = requests.Session()
        self.secrets = {**SETTINGS, **TYPED}

    def sign_in(self) -> None:
        person = {"username": "ada", "email": "ada@example.com", "password": TYPED["password"]}
        self.call("POST", "/api/auth/register/", person, expect=201)
        wrong = {"login": "ada", "password": TYPED["wrong password"]}
        self.call("POST", "/api/auth/login/", wrong, expect=401)
        self.browser.post(f"{self.server.url}/login", data=wrong, timeout=10)
        right = {"login": "ada", "password": TYPED["password"]}
        self.secrets["CSRF token"] = self.call("POST", "/api/auth/login/", right)["csrf_token"]
        cookie = self.browser.cookies["jt_session"]
        self.secrets["session cookie"] = cookie
        self.secrets |= {f"{name} in the cookie": v for name, v in _opened(cookie).items()}

    def make_things(self) -> int:
        """The id of a recorder that asks for a passphrase and has a trader."""
        for scope in ("read", "trade"):
            wish = {"name": scope, "scopes": [scope]}
            made = self.call("POST", "/api/auth/api-keys/", wish, expect=201)
            self.secrets[f"API key to {scope}"] = made["key"]
        ticket = self.call("POST", "/api/auth/ws-ticket/", expect=201)
        self.secrets["ticket"] = ticket["ticket"]
        settings = {"passphrase": TYPED["passphrase"]}
        body = {"name": "Planted", "symbol": "MNQ1!", "settings": settings}
        recorder = self.call("POST", "/api/recorders/", body, expect=201)
        account = self.call("POST", "/api/accounts/", {"name": "Paper"}, expect=201)
        assigned = {"strategy_id": recorder["id"], "account_id": account["id"]}
        self.call("POST", "/api/traders/", assigned, expect=201)
        self.webhook = recorder["webhook_url"].removeprefix(self.server.url)
        self.secrets["webhook token"] = self.webhook.rstrip("/").rpartition("-")[2]
        return int(recorder["id"])

    def send_alerts(self) -> None:
        alert = {
            "action": "buy",
            "ticker": "MNQ1!",
            "passphrase": TYPED["passphrase"],
            "password": TYPED["password in an alert"],
            "api_key": TYPED["API key in an alert"],
            "signal_token": TYPED["token in an alert"],
        }
        good, wrong = json.dumps(alert), json.dumps(alert | {"passphrase": "planted-guess"})
        for body, answer in ((good, 202), (good, 200), (wrong, 401), (good[:-1], 400)):
            assert self.server.post(self.webhook, data=body).status_code == answer, body
        assert self.server.post(self.webhook, data=good + " " * 70_000).status_code == 413
        unknown = self.webhook.replace(self.secrets["webhook token"], "planted0" * 4)
        assert self.server.post(unknown, data=good).status_code == 404

    def ask_for_metrics(self) -> None:
        for token, answer in ((SETTINGS["METRICS_TOKEN"], 200), ("planted-metrics-guess", 403)):
            headers = {"Authorization": f"Bearer {token}"}
            assert self.server.get("/metrics", headers=headers).status_code == answer

    def run_into_errors(self, recorder_id: int, database: Path) -> None:
        """A row that is damaged from outside is an error that nobody has thought of."""
        with sqlite3.connect(database, timeout=10) as connection:
            connection.execute("UPDATE strategies SET settings = '{', version = version + 1")
        connection.close()
        path = f"/api/recorders/{recorder_id}/"
        self.call("PUT", path, {"settings": {"passphrase": TYPED["passphrase"]}}, expect=500)
        page = self.browser.get(f"{self.server.url}/recorders/{recorder_id}/", timeout=10)
        alert = self.server.post(self.webhook, data=json.dumps(TYPED))
        query = self.server.get(f"/api/accounts/?token={TYPED['token in a query']}")
        assert (page.status_code, alert.status_code, query.status_code) == (500, 500, 401)

    def call(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        csrf = {"X-CSRFToken": self.secrets.get("CSRF token", "")}
        answer = self.browser.request(
            method, self.server.url + path, json=body, headers=csrf, timeout=10
        )
        assert answer.status_code == expect, f"{path}: {answer.text}"
        return answer.json()

    def read_everything(self) -> str:
        """What the API tells a caller who may only read."""
        headers = {"Authorization": f"Bearer {self.secrets['API key to read']}"}
        signals = self.server.get("/api/signals/", headers=headers).json()["items"]
        paths = [f"/api/signals/{signal['id']}/" for signal in signals]
        paths += [
            f"/api/{name}/"
            for name in (
                "signals",
                "recorders",
                "recorders/1",
                "recorders/1/export",
                "recorders/1/logs",
                "traders",
                "accounts",
                "control-center/logs",
                "auth/me",
                "auth/api-keys",
                "auth/sessions",
                "settings",
            )
        ]
        answers = [self.server.get(path, headers=headers) for path in paths]
        assert {answer.status_code for answer in answers} == {200}
        return "\n".join(answer.text for answer in answers)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "data", LOG_LEVEL="debug", **SETTINGS) as running:
        yield running


def test_no_secret_is_kept_or_told_in_clear(server: Server, tmp_path: Path) -> None:
    visitor = Visitor(server)
    database = tmp_path / "data" / "just_trades.db"

    visitor.sign_in()
    recorder_id = visitor.make_things()
    visitor.send_alerts()
    visitor.ask_for_metrics()
    told = visitor.read_everything()
    visitor.run_into_errors(recorder_id, database)
    kept_while_it_runs = _files(tmp_path / "data")
    server.stop()

    assert "Traceback" in server.log
    places = {
        "the answers": told,
        "the events": _events(database),
        "the log": server.log,
        "the database's files": kept_while_it_runs + _files(tmp_path / "data"),
    }
    found = [
        f"{name} in {place}"
        for place, text in places.items()
        for name, secret in visitor.secrets.items()
        if secret in text
    ]
    assert found == []
    assert "signal" in places["the events"]


def _opened(cookie: str) -> dict[str, str]:
    """What the signed cookie carries; anybody who has it can read that."""
    payload = cookie.lstrip(".").partition(".")[0]
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    opened = json.loads(zlib.decompress(raw) if cookie.startswith(".") else raw)
    return {name: value for name, value in opened.items() if isinstance(value, str)}


def _events(database: Path) -> str:
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT type, data FROM events").fetchall()
    connection.close()
    return "\n".join(f"{kind} {data}" for kind, data in rows)


def _files(folder: Path) -> str:
    paths = [path for path in folder.iterdir() if path.name.startswith("just_trades.db")]
    assert paths
    return "\n".join(path.read_bytes().decode("latin-1") for path in paths)
