"""No secret is kept or told in clear: the real process is fed marked ones, then searched."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gevent
import pytest
import requests

from app.services import secrets
from tests.servers import Server, serve
from tests.simulators.tradovate.control import Simulator, running

SETTINGS = {
    "SECRET_KEY": "planted-secret-key-0123456789abcdefgh",
    "CREDENTIALS_KEY": "planted-credentials-key-0123456789ab",
    "METRICS_TOKEN": "planted-metrics-token",
    "TRADOVATE_CLIENT_SECRET": "planted-application-secret",
}
APPLICATION = "7001"
"""Our own id at Tradovate; people see it in the address of its log-in page."""
LOG_IN = {
    "username": "planted.trader",
    "password": "planted-broker-password",
    "client_id": "90210",
    "client_secret": "planted-key-secret",
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
    "name at the broker": LOG_IN["username"],
    "password at the broker": LOG_IN["password"],
    "secret of the broker's key": LOG_IN["client_secret"],
    "wrong password at the broker": "planted-broker-guess",
    "password of another at the broker": "planted-second-password",
    "wrong code of the broker": "planted-oauth-code",
}
"""What people and programs send; what the app makes itself is added as it is met."""


class Visitor:
    """Uses the app as its owner would, and remembers every secret that it sees."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.browser = requests.Session()
        self.secrets = {**SETTINGS, **TYPED}
        self.pages = ""

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
            metrics = self.server.get("/metrics", headers=headers)
            assert metrics.status_code == answer
            self.pages += metrics.text

    def connect_accounts(self, tradovate: Simulator) -> None:
        """One by a key and its password, tried and mistyped first; one by signing in there."""
        wish = {"name": "TV", "broker": "tradovate", "credentials": LOG_IN}
        tried = {name: wish[name] for name in ("broker", "credentials")}
        guess = {**LOG_IN, "password": TYPED["wrong password at the broker"]}
        self.call("POST", "/api/accounts/test-connection/", tried)
        self.call("POST", "/api/accounts/", {**wish, "credentials": guess}, expect=422)
        # The form shows again what was typed, but for what is secret.
        mistyped = {**guess, "username": "somebody", "environment": "demo"}
        self.pages += self.form("/accounts/log-in/", mistyped).text
        made = self.call("POST", "/api/accounts/", wish, expect=201, key="planted-once")
        again = self.call("POST", "/api/accounts/", wish, expect=201, key="planted-once")
        assert made == again
        self.until_connected(made["id"])
        self.call("PUT", f"/api/accounts/{made['id']}/", {"credentials": LOG_IN})
        self.until_connected(made["id"])
        tradovate.expire_tokens()
        tradovate.cut_sockets()
        self.until_connected(made["id"])
        self.call("POST", "/api/accounts/test-connection/", {"account_id": made["id"]})
        self.sign_in_at_the_broker()

    def sign_in_at_the_broker(self) -> None:
        """On the broker's own page, and once with a code that is none."""
        page = self.come_back("code of the broker")
        sealed, number = _field("sealed", page), _field("account", page)
        chosen = {"sealed": sealed, "account": number, f"name-{number}": "L", "understood": "1"}
        opened = self.form("/accounts/choose/", chosen)
        assert opened.status_code == 200, opened.text
        self.until_connected(int(urlsplit(opened.url).path.split("/")[2]))
        assert "unknown, used or expired" in self.come_back("wrong code of the broker")

    def come_back(self, code_name: str) -> str:
        """The page that the broker's page leads to."""
        url = f"{self.server.url}/oauth/tradovate"
        began = self.browser.get(
            f"{url}/start/?environment=live", allow_redirects=False, timeout=10
        )
        there = began.headers["Location"]
        state = parse_qs(urlsplit(there).query)["state"][0]
        self.secrets[f"state beside the {code_name}"] = state
        if code_name not in self.secrets:
            # As if a person had signed in there.
            back = requests.get(there, params={"auto": "1"}, allow_redirects=False, timeout=10)
            query = parse_qs(urlsplit(back.headers["Location"]).query)
            self.secrets[code_name] = query["code"][0]
        answer = {"code": self.secrets[code_name], "state": state}
        page = self.browser.get(f"{url}/callback/", params=answer, timeout=10).text
        self.pages += page
        return page

    def until_connected(self, account_id: int) -> None:
        def is_connected() -> bool:
            stream = self.call("GET", "/api/user-data/status/")["items"]
            [state] = [s["state"] for s in stream if s["account_id"] == account_id]
            return bool(state == "live")

        _until(is_connected)

    def form(self, path: str, fields: dict[str, str]) -> requests.Response:
        fields = {**fields, "csrf_token": self.secrets["CSRF token"]}
        return self.browser.post(self.server.url + path, data=fields, timeout=10)

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

    def call(
        self, method: str, path: str, body: Any = None, expect: int = 200, key: str | None = None
    ) -> Any:
        headers = {"X-CSRFToken": self.secrets.get("CSRF token", "")}
        if key is not None:
            headers["Idempotency-Key"] = key
        answer = self.browser.request(
            method, self.server.url + path, json=body, headers=headers, timeout=10
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
                *(f"accounts/{number}" for number in (1, 2, 3)),
                *(f"accounts/2/{part}" for part in ("balances", "positions", "orders", "fills")),
                "user-data/status",
                "openapi.json",
                "control-center/logs",
                "auth/me",
                "auth/api-keys",
                "auth/sessions",
                "settings",
            )
        ]
        paths = [path.replace(".json/", ".json") for path in paths]
        answers = [self.server.get(path, headers=headers) for path in paths]
        answers += [
            self.browser.get(self.server.url + path, timeout=10)
            for path in ("/accounts/", "/accounts/2/", "/accounts/3/", "/accounts/2/others/")
        ]
        assert {answer.status_code for answer in answers} == {200}
        return "\n".join([_without_csrf(self.pages), *(_without_csrf(a.text) for a in answers)])


@pytest.fixture
def tradovate() -> Iterator[Simulator]:
    with running() as simulator:
        simulator.add_user(
            LOG_IN["username"],
            LOG_IN["password"],
            cid=LOG_IN["client_id"],
            sec=LOG_IN["client_secret"],
        )
        simulator.add_account(LOG_IN["username"], "ACCOUNT1")
        simulator.add_user(
            "second",
            TYPED["password of another at the broker"],
            cid=APPLICATION,
            sec=SETTINGS["TRADOVATE_CLIENT_SECRET"],
            world="live",
        )
        simulator.add_account("second", "ACCOUNT2", world="live")
        yield simulator


@pytest.fixture
def server(tmp_path: Path, tradovate: Simulator) -> Iterator[Server]:
    urls = {
        "TRADOVATE_DEMO_URL": tradovate.url,
        "TRADOVATE_LIVE_URL": tradovate.live_url,
        "TRADOVATE_DEMO_WS_URL": tradovate.ws_url,
        "TRADOVATE_LIVE_WS_URL": tradovate.live_ws_url,
        "TRADOVATE_OAUTH_URL": tradovate.oauth_url,
        "TRADOVATE_CLIENT_ID": APPLICATION,
    }
    with serve(tmp_path / "data", LOG_LEVEL="debug", **SETTINGS, **urls) as running:
        yield running


def test_no_secret_is_kept_or_told_in_clear(
    server: Server, tradovate: Simulator, tmp_path: Path
) -> None:
    visitor = Visitor(server)
    database = tmp_path / "data" / "just_trades.db"

    visitor.sign_in()
    recorder_id = visitor.make_things()
    visitor.connect_accounts(tradovate)
    visitor.send_alerts()
    visitor.ask_for_metrics()
    told = visitor.read_everything()
    visitor.secrets |= _kept_of_log_ins(database)
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


def _kept_of_log_ins(database: Path) -> dict[str, str]:
    """The tokens of the sessions at the broker, which only who has the key can read."""
    connection = sqlite3.connect(database, timeout=10)
    rows = connection.execute("SELECT id, credentials_cipher, token_cipher FROM broker_logins")
    found: dict[str, str] = {}
    secrets.bind(SETTINGS["CREDENTIALS_KEY"])
    for login_id, credentials, token in rows.fetchall():
        kept = json.loads(secrets.decrypt(token, f"login-token:{login_id}"))
        kept |= json.loads(secrets.decrypt(credentials, f"login:{login_id}"))
        names = ("access_token", "md_token", "refresh_token")
        found |= {f"{name} of log-in {login_id}": kept[name] for name in names if kept.get(name)}
    connection.close()
    assert {"access_token of log-in 1", "refresh_token of log-in 2"} <= set(found)
    return found


def _without_csrf(page: str) -> str:
    """A page brings the token of its own forms along."""
    return re.sub(r"<[^>]*csrf[-_]token[^>]*>", "", page)


def _field(name: str, page: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert match is not None, page
    return match[1]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + 15
    while not is_so():
        assert monotonic() < deadline, "it did not come to that"
        gevent.sleep(0.02)


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
