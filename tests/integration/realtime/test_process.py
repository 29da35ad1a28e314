"""Live connections to the real process: over its restart, by ticket, until the user signs out."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
import socketio
from socketio.exceptions import ConnectionError as Refused

from tests.integration.realtime.conftest import Listener, wait_until
from tests.servers import Server, serve


class Person:
    """A browser that is signed in at a server."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.session = requests.Session()
        account = {"username": "ann", "email": "ann@example.com", "password": "correct horse 1"}
        answer = self.session.post(f"{self.url}/api/auth/register/", json=account, timeout=10)
        assert answer.status_code == 201, answer.text
        self.session.headers["X-CSRFToken"] = answer.json()["csrf_token"]

    def post(self, path: str, **body: object) -> requests.Response:
        answer = self.session.post(self.url + path, json=body, timeout=10)
        assert answer.ok, answer.text
        return answer

    def make_an_event(self) -> None:
        """An API key that comes and goes leaves one durable event."""
        made = self.post("/api/auth/api-keys/", name="short-lived", scopes=["read"]).json()
        path = f"{self.url}/api/auth/api-keys/{made['id']}/"
        assert self.session.delete(path, timeout=10).ok

    def cookie(self) -> str:
        return "; ".join(f"{c.name}={c.value}" for c in self.session.cookies)

    def listen(self, **options: object) -> Listener:
        client = socketio.Client(reconnection=False, handle_sigint=False)
        listener = Listener(client)
        client.on("*", lambda name, body=None: listener.heard.append((name, body)))
        client.on("disconnect", lambda reason: listener.heard.append(("disconnect", reason)))
        client.connect(self.url, **options)
        return listener


def test_what_was_missed_over_a_crash_is_given_by_resume(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        person = Person(server)
        first = person.listen(headers={"Cookie": person.cookie()})
        wait_until(lambda: first.socket.transport() == "websocket", "upgrade")
        person.make_an_event()
        first.wait_for(1)
        first.socket.disconnect()
        person.make_an_event()
        person.make_an_event()
        server.process.kill()
        server.process.wait(timeout=10)

    with serve(tmp_path) as server:
        person.url = server.url
        second = person.listen(headers={"Cookie": person.cookie()}, transports=["websocket"])
        answer = second.ask("resume", {"last_seq": 1})
        person.make_an_event()
        second.wait_for(4)
        # An open connection does not hold the stop.
        status = server.stop()

    assert status == 0
    assert answer["ok"]
    assert second.numbers == [2, 3, 4]


def test_ticket_opens_a_connection_that_ends_with_the_session(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        person = Person(server)
        ticket = person.post("/api/auth/ws-ticket/").json()["ticket"]
        listener = person.listen(auth={"token": ticket}, transports=["websocket"])
        assert listener.greeting["last_seq"] == 0

        person.post("/api/auth/logout/")

        wait_until(lambda: listener.of("disconnect"), "disconnect")
        with pytest.raises(Refused):
            person.listen(auth={"token": ticket}, transports=["websocket"])
        assert "Traceback" not in server.log
