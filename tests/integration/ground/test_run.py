"""The process as a user meets it: it starts, stands beside another, stops, and keeps secrets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import requests

from tests.servers import Server, launch, serve

PLANTED = {
    "SECRET_KEY": "planted-secret-key-0123456789abcdefgh",
    "CREDENTIALS_KEY": "planted-credentials-key-0123456789ab",
    "METRICS_TOKEN": "planted-metrics-token",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "data", LOG_LEVEL="debug", **PLANTED) as running:
        yield running


def _refusal(data_dir: Path, **variables: str) -> tuple[int, str]:
    log_path = data_dir / "refused.log"
    process = launch(data_dir, log_path, **variables)
    with process:
        status = process.wait(timeout=60)
    return status, log_path.read_text()


def test_it_serves_the_printed_address_from_an_empty_folder(server: Server) -> None:
    assert server.get("/healthz").json() == {"status": "ok"}
    ready = server.get("/readyz")

    assert ready.status_code == 200, ready.text
    assert set(ready.json()["parts"].values()) == {"ok"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked_within_ten_seconds(server: Server, number: signal.Signals) -> None:
    idle = requests.Session()
    idle.get(server.url + "/healthz", timeout=10)
    begun = monotonic()

    status = server.stop(number)

    assert status == 0, server.log
    assert monotonic() - begun < 10
    assert "Traceback" not in server.log


def test_a_client_that_never_ends_its_request_does_not_hold_the_stop(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
        slow.sendall(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        begun = monotonic()

        assert server.stop() == 0
        assert monotonic() - begun < 10


def test_it_starts_again_where_it_was_killed(tmp_path: Path) -> None:
    with serve(tmp_path) as first:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(timeout=10)

    with serve(tmp_path) as second:
        assert second.get("/readyz").status_code == 200


def test_two_copies_stand_side_by_side(tmp_path: Path) -> None:
    with serve(tmp_path / "one") as one, serve(tmp_path / "two") as two:
        assert one.url != two.url
        assert one.get("/readyz").status_code == two.get("/readyz").status_code == 200
    keys = {(tmp_path / name / "secret_key.txt").read_text() for name in ("one", "two")}
    assert len(keys) == 2


def test_a_second_process_on_the_same_folder_is_refused_by_name(
    server: Server, tmp_path: Path
) -> None:
    status, said = _refusal(tmp_path / "data")

    assert status == 2
    assert str(tmp_path / "data") in said
    assert "Traceback" not in said
    assert server.get("/healthz").status_code == 200


def test_a_port_in_use_is_refused_by_name(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()

    status, said = _refusal(other, PORT=server.url.rsplit(":", 1)[1])

    assert status == 2
    assert "PORT" in said
    assert "Traceback" not in said


def test_a_wrong_setting_is_refused_by_name(tmp_path: Path) -> None:
    status, said = _refusal(tmp_path, REGISTRATION="maybe")

    assert status == 2
    assert said.startswith("Not started: REGISTRATION")
    assert "Traceback" not in said


def test_a_served_database_without_tables_is_refused_with_what_to_run(
    tmp_path: Path, postgres_server: str
) -> None:
    status, said = _refusal(tmp_path, DATABASE_URL=postgres_server)

    assert status == 2
    assert "make migrate" in said


def test_a_database_that_does_not_answer_is_refused_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://trader:planted-password@127.0.0.1:1/none"

    status, said = _refusal(tmp_path, DATABASE_URL=url)

    assert status == 2
    assert "DATABASE_URL" in said
    assert "planted-password" not in said
    assert "Traceback" not in said


def test_no_secret_reaches_the_log(server: Server) -> None:
    token = "plantedwebhooktoken0123456789abcdef"
    server.get("/metrics", headers={"Authorization": "Bearer planted-wrong-token"})
    server.get("/api/accounts?token=planted-query-token", headers={"X-API-Key": "planted-api-key"})
    server.post(f"/webhook/my-strategy-{token}", data='{"action":"buy","password":"planted-pw"}')
    server.post(f"/webhook/{token}", data="planted-body \0 not text")
    server.post("/login", data={"username": "ada", "password": "planted-password"})
    server.post("/api/auth/login", json={"username": "ada", "password": "planted-password"})
    server.get("/", cookies={"jt_session": "planted-cookie"})

    server.stop()

    assert "planted" not in server.log


def test_the_log_is_one_json_object_a_line(server: Server) -> None:
    server.stop()

    lines = server.log.splitlines()
    assert lines
    assert all(line.startswith("{") and line.endswith("}") for line in lines), server.log


def test_files_of_the_folder_are_private(server: Server, tmp_path: Path) -> None:
    listing = subprocess.run(
        ["find", str(tmp_path / "data"), "-name", "*key*", "-perm", "/077"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert listing.stdout == ""
