"""What the services keep running: added to the lifecycle in the order of their needs."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import cast

from flask import Flask
from sqlalchemy import Engine

from app import clock, events, faults
from app.brokers import registry
from app.brokers.base import AccountRef, Broker
from app.brokers.delayed import DelayedBroker
from app.brokers.paper import PaperBroker
from app.brokers.tradovate.broker import TradovateBroker
from app.domain.symbols import Listed
from app.domain.trading import Quote
from app.extensions import db, dispatcher, lifecycle, ownership, writer
from app.marketdata.simulated import SimulatedFeed
from app.models import Boot
from app.services import context, hooks, logins, reconcile, signals, user_data
from app.services.executor import executor
from app.transactions import Tx
from config import Config

PAPER, TRADOVATE = "paper", "tradovate"
_PAPER = 1
"""The leader's lock of the one process that matches resting paper orders."""


def register(app: Flask) -> None:
    config: Config = app.config["JUST_TRADES"]
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
    context.clear()
    user_data.streams.reset()
    faults.arm(config.fault_point)
    feed = SimulatedFeed()
    paper = PaperBroker(
        writer, feed, leads=lambda: ownership.lead(_PAPER), is_alone=config.is_embedded
    )
    paper.subscribe(user_data.take_in)
    registry.register(PAPER, _as_configured(paper, config))
    tradovate = _tradovate(config, engine)
    user_data.attach(TRADOVATE, tradovate)
    context.list_with(TRADOVATE, partial(_listed, tradovate))
    reconcile.SETTLING[TRADOVATE] = timedelta(seconds=config.tradovate_settling_s)
    executor.price_with(partial(_simulated, feed))
    executor.serve_where(user_data.serves)
    signals.wake_with(executor.wake)
    lifecycle.add("paper broker", paper.start, paper.stop)
    lifecycle.add("user streams", user_data.streams.start, user_data.streams.stop)
    lifecycle.add("executor", executor.start, executor.stop)


def _tradovate(config: Config, engine: Engine) -> TradovateBroker:
    return TradovateBroker(
        demo_url=config.tradovate_demo_url,
        live_url=config.tradovate_live_url,
        demo_ws_url=config.tradovate_demo_ws_url,
        live_ws_url=config.tradovate_live_ws_url,
        store=logins.Store(engine),
        application=_application(config),
    )


def _listed(broker: TradovateBroker, _account: AccountRef, root: str) -> tuple[Listed, ...]:
    """The contracts of a root by the broker's own dates, as far as they were read."""
    return tuple(
        Listed(each.code, each.expires_on, each.first_notice_on)
        for each in broker.known_maturities(root)
    )


def _application(config: Config) -> tuple[str, str] | None:
    """Our own id and secret at Tradovate, where we are registered there."""
    client_id, secret = config.tradovate_client_id, config.tradovate_client_secret
    return (client_id, secret) if client_id and secret else None


def _simulated(feed: SimulatedFeed, account: AccountRef | None, contract: str) -> Quote | None:
    """Simulated prices are for paper: on a broker's account nothing is decided by them."""
    if account is not None and account.broker != PAPER:
        return None
    return feed.quote(contract) if feed.knows(contract) else None


def _as_configured(paper: PaperBroker, config: Config) -> Broker:
    if not config.paper_latency_s:
        return paper
    return cast("Broker", DelayedBroker(paper, config.paper_latency_s))


def _boot() -> None:
    """Number this start and hold the lock that proves that it lives."""
    ownership.claim_file()

    def work(tx: Tx) -> int:
        boot = Boot(created_at=clock.now(), updated_at=clock.now())
        tx.session.add(boot)
        tx.session.flush()
        return boot.id

    ownership.claim_boot(writer.run(work))
    faults.point("booted")


def _mark(handed: list[events.Published], at: datetime) -> None:
    writer.run(lambda tx: events.mark_published(tx.conn, handed, at))
