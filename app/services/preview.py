"""A dry run: what an alert would do now, by the same decoder and decision; nothing is sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app import clock
from app.brokers import registry
from app.domain.decisions import decide
from app.domain.plans import Decision, step_to_json
from app.domain.settings import parse_strategy
from app.domain.signals import Signal, decode, invert
from app.extensions import writer
from app.models import Strategy, Trader
from app.services import context, execution
from app.services.context import BrokerState, Subject
from app.services.executor import executor
from app.services.signal_json import from_signal


def preview(strategy_id: int, body: bytes, content_type: str | None = None) -> dict[str, Any]:
    """``{"signals", "warnings", "plans"}``: one plan per signal and enabled trader, decided from
    the account as it is now.

    Raises:
        BadAlert: as the webhook would answer.
    """
    with writer.read() as connection:
        strategy = connection.execute(
            select(Strategy.settings, Strategy.symbol).where(Strategy.id == strategy_id)
        ).one()
        traders = connection.scalars(
            select(Trader.id)
            .where(Trader.strategy_id == strategy_id, Trader.enabled, Trader.deleted_at.is_(None))
            .order_by(Trader.id)
        ).all()
        subjects = [context.read_subject(connection, trader_id) for trader_id in traders]
    decoded = decode(body, content_type, default_symbol=strategy.symbol)
    signals, warnings = list(decoded.signals), list(decoded.warnings)
    if parse_strategy(strategy.settings).inverse:
        inverted = [invert(s) for s in signals]
        signals = [signal for signal, _ in inverted]
        warnings += [word for _, words in inverted for word in words]
    return {
        "signals": [from_signal(s) for s in signals],
        "warnings": warnings,
        "plans": [_plan(i, s, subject) for i, s in enumerate(signals) for subject in subjects],
    }


def _plan(index: int, signal: Signal, subject: Subject) -> dict[str, Any]:
    decision = _decide(signal, subject)
    return {
        "index": index,
        "trader_id": subject.trader_id,
        "account_id": subject.account.id,
        "account": subject.account_name,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "words": decision.words,
        "steps": [step_to_json(step) for step in decision.plan],
        "verdicts": execution.trace_to_json(decision, clock.now()),
    }


def _decide(signal: Signal, subject: Subject) -> Decision:
    broker = registry.get(subject.account.broker)
    state = BrokerState(
        tuple(broker.positions(subject.account)), broker.balance(subject.account).equity
    )
    now = clock.now()
    with writer.read() as connection:
        found = context.build(
            connection,
            subject,
            signal,
            received_at=now,
            now=now,
            broker=state,
            quote_of=executor.quote_of,
        )
    return decide(found)
