"""What the services keep running: added to the lifecycle in the order of their needs."""

from __future__ import annotations

from datetime import datetime

from flask import Flask

from app import clock, events
from app.extensions import db, dispatcher, lifecycle, ownership, writer
from app.marketdata.simulated import SimulatedFeed
from app.models import Boot
from app.services import hooks, signals
from app.services.executor import executor
from app.transactions import Tx


def register(app: Flask) -> None:
    with app.app_context():
        engine = db.engine

    def start_outbox() -> None:
        with engine.connect() as connection:
            missed = events.unpublished(connection)
        dispatcher.start(missed, _mark)

    lifecycle.add("ownership", _boot, ownership.release)
    lifecycle.add("writer", lambda: None, writer.close)
    lifecycle.add("outbox", start_outbox, dispatcher.stop)
    hooks.clear()
    feed = SimulatedFeed()
    executor.price_with(lambda contract: feed.quote(contract) if feed.knows(contract) else None)
    signals.wake_with(executor.wake)
    lifecycle.add("executor", executor.start, executor.stop)


def _boot() -> None:
    """Number this start and hold the lock that proves that it lives."""
    ownership.claim_file()

    def work(tx: Tx) -> int:
        boot = Boot(created_at=clock.now(), updated_at=clock.now())
        tx.session.add(boot)
        tx.session.flush()
        return boot.id

    ownership.claim_boot(writer.run(work))


def _mark(handed: list[events.Published], at: datetime) -> None:
    writer.run(lambda tx: events.mark_published(tx.conn, handed, at))
