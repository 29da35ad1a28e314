"""The real process with alerts under way: identical ones at once, a stop, a lost database."""

from __future__ import annotations

import signal
import time
from collections import Counter
from functools import partial

import gevent
import psycopg
import pytest
import requests
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from app.models import Order
from app.models.base import table
from tests.faults.proof import count
from tests.faults.world import Alert, World, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]


def _wrong(world: World) -> dict[str, int]:
    return {name: number for name, number in count(world).items() if number}


def test_four_identical_alerts_at_once_are_one_trade(world: World) -> None:
    plain = world.strategies[0]
    alert = world.make_alert(plain, "buy")
    world.listen()

    def send(_number: int) -> requests.Response:
        return requests.post(world.address + plain.path, data=alert.body, timeout=10)

    senders = [gevent.spawn(send, number) for number in range(4)]
    answers = [sender.get(timeout=20) for sender in senders]

    alert.status = 202
    alert.answer = next(a.json() for a in answers if a.status_code == 202)
    world.wait_until_settled()
    first = alert.answer["signal_id"]
    bodies = [a.json() for a in answers]
    assert Counter(body["status"] for body in bodies) == {"accepted": 1, "duplicate": 3}
    assert {body["of"] for body in bodies if "of" in body} == {first}
    entries = select(func.count()).where(table(Order).c.role == "entry")
    assert world.scalar(entries) == len(plain.accounts)
    assert set(world.positions().values()) == {1}
    world.finish()
    assert not _wrong(world)


def test_stop_under_load_is_quick_and_loses_nothing(world: World) -> None:
    world.listen()
    senders = world.senders(200)
    wait_until(partial(_has_answered, world.alerts, 30), "answers")

    began = time.monotonic()
    status = world.end(signal.SIGTERM)
    seconds = time.monotonic() - began

    gevent.joinall(senders, timeout=15, raise_error=True)
    assert status == 0
    assert seconds < 10
    assert not (world.folder / "just_trades.db-wal").exists(), "the file alone is not whole"
    assert "Traceback" not in world.log
    world.settle()
    world.finish()
    assert not _wrong(world)


def test_terminated_backends_lose_and_double_nothing(postgres_world: World) -> None:
    world = postgres_world
    world.listen()
    senders = world.senders(25)
    for number in (20, 60, 100):
        wait_until(partial(_has_answered, world.alerts, number), "answers")
        _terminate_backends(world.url)
    gevent.joinall(senders, timeout=40, raise_error=True)

    world.wait_until_settled()
    world.finish()
    assert not world.pending()
    assert not _wrong(world)


def _has_answered(alerts: list[Alert], number: int) -> bool:
    return sum(alert.is_answered for alert in alerts) > number


def _terminate_backends(url: str) -> None:
    """End every connection to the database, as its restart does."""
    name = make_url(url).database
    server = make_url(url).set(drivername="postgresql", database="postgres")
    with psycopg.connect(server.render_as_string(hide_password=False)) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        ).fetchone()
    assert ended is not None
    assert ended[0]
