"""The embedded database on a disk that is full, and in a file that was damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.faults.proof import count
from tests.faults.world import World
from tests.servers import launch

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

_MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; root alone can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def _fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast


def _send(world: World, action: str) -> requests.Response:
    """One attempt at one alert; what is answered with 2xx counts as promised."""
    alert = world.make_alert(world.strategies[0], action)
    alert.attempts = 1
    answer = requests.post(world.address + alert.strategy.path, data=alert.body, timeout=20)
    if answer.ok:
        alert.status, alert.answer = answer.status_code, answer.json()
    return answer


def _refusals(world: World) -> list[requests.Response]:
    """Alerts until three in a row were refused: what is left in a file can still be used."""
    refused: list[requests.Response] = []
    for number in range(400):
        answer = _send(world, "sell" if number % 2 else "buy")
        refused = [] if answer.ok else [*refused, answer]
        if len(refused) == 3:
            return refused
    raise AssertionError("alerts are accepted for ever")


def _is_problem(answer: requests.Response) -> bool:
    body = answer.json()
    return (
        answer.status_code == 503
        and answer.headers["Content-Type"] == "application/problem+json"
        and body["code"] == "temporarily_unavailable"
        and "Retry-After" in answer.headers
    )


def test_full_disk_refuses_alerts_and_loses_none(small_disk: Path, tmp_path: Path) -> None:
    world = World(small_disk / "data", seed=7)
    world.log_path = tmp_path / "process.log"
    try:
        world.set_up()
        world.listen()
        assert _send(world, "buy").status_code == 202
        ballast = _fill(small_disk)

        refused = _refusals(world)
        health = requests.get(world.address + "/healthz", timeout=10)

        assert all(map(_is_problem, refused))
        assert health.status_code == 200
        assert "disk is full" in world.log
        ballast.unlink()
        for alert in world.pending():
            assert world.deliver(alert)
        world.wait_until_settled()
        world.finish()
        assert not {name: number for name, number in count(world).items() if number}
    finally:
        world.close()


def test_killed_on_a_full_disk_it_starts_again_with_space(small_disk: Path, tmp_path: Path) -> None:
    world = World(small_disk / "data", seed=8)
    world.log_path = tmp_path / "process.log"
    try:
        world.set_up()
        ballast = _fill(small_disk)
        _refusals(world)
        world.end()
        ballast.unlink()

        world.settle()

        world.finish()
        assert not {name: number for name, number in count(world).items() if number}
    finally:
        world.close()


def test_damaged_file_is_not_served(world: World) -> None:
    world.end(signal.SIGTERM)
    path = world.folder / "just_trades.db"
    whole = path.read_bytes()
    path.write_bytes(os.urandom(len(whole)))

    process = launch(world.folder, world.log_path)
    status = process.wait(timeout=40)
    assert process.stdout is not None
    process.stdout.close()

    assert status == 2
    assert "Not started: the database of DATABASE_URL failed: file is not a database" in world.log
    path.write_bytes(whole)
    world.settle()
    world.finish()
    assert not {name: number for name, number in count(world).items() if number}


def test_damage_while_it_runs_is_refused_not_hidden(world: World) -> None:
    world.end(signal.SIGTERM)
    path = world.folder / "just_trades.db"
    copy = shutil.copyfile(path, world.folder / "copy.db")
    world.start()
    with path.open("r+b") as file:  # in place, as a failing disk does
        file.write(os.urandom(path.stat().st_size))

    answers = [_send(world, "sell" if number % 2 else "buy") for number in range(20)]

    assert all(map(_is_problem, answers))
    assert "malformed" in world.log or "not a database" in world.log
    assert world.is_alive
    world.end()
    for name in ("just_trades.db-wal", "just_trades.db-shm"):
        (world.folder / name).unlink(missing_ok=True)
    shutil.copyfile(copy, path)
    world.alerts.clear()  # the copy knows nothing of them
    world.settle()
    world.finish()
    assert not {name: number for name, number in count(world).items() if number}
