"""Alice's things: one of each kind, all named so that they are found wherever they leak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app import clock
from app.extensions import db, writer
from app.models import Signal, StrategyLog, UserSession
from app.transactions import Tx
from tests.people import Person

MARK = "alices-own-thing"


@dataclass(frozen=True, slots=True)
class Rows:
    """Ids of one person's rows, by kind."""

    account: int
    strategy: int
    trader: int
    signal: int
    api_key: int
    session: int

    def named(self, name: str) -> int | str:
        return name[1:] if name.startswith("=") else int(getattr(self, name))


def of(person: Person) -> Rows:
    account = _made(person, "/api/accounts/", {"name": f"{MARK} account", "broker": "paper"})
    strategy = _made(
        person,
        "/api/recorders/",
        {"name": f"{MARK} strategy", "symbol": "MNQ1!", "demo_account_id": account},
    )
    trader = _made(person, "/api/traders/", {"strategy_id": strategy, "account_id": account})
    key = _made(person, "/api/auth/api-keys/", {"name": f"{MARK} key", "scopes": ["read"]})
    with person.app.app_context():
        signal = writer.run(lambda tx: _signal(tx, person.id, strategy))
        session = db.session.scalars(
            select(UserSession.id).where(UserSession.user_id == person.id)
        ).first()
    assert session is not None
    return Rows(account, strategy, trader, signal, key, session)


def _made(person: Person, path: str, body: dict[str, Any]) -> int:
    answer = person.post(path, body)
    assert answer.status_code == 201, f"{path}: {answer.text}"
    return int(answer.get_json()["id"])


def _signal(tx: Tx, user_id: int, strategy_id: int) -> int:
    now = clock.now()
    signal = Signal(
        user_id=user_id,
        strategy_id=strategy_id,
        received_at=now,
        status="ignored",
        reason="no_traders",
        answer=200,
        raw_body=f"{MARK} body",
    )
    tx.session.add(signal)
    tx.session.flush()
    tx.session.add(
        StrategyLog(
            created_at=now,
            user_id=user_id,
            strategy_id=strategy_id,
            level="info",
            event="signal",
            message=f"{MARK} log",
            signal_id=signal.id,
        )
    )
    return signal.id
