"""Rows for tests: plain inserts with defaults that satisfy the schema; name what matters.

Every function takes column values by keyword and returns the stored row, detached but loaded.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from typing import Any, TypeVar

from app import clock
from app.domain.settings import StrategySettings, dump
from app.extensions import writer
from app.models import Account, Lane, Signal, Strategy, Trader, User

Row = TypeVar("Row")
_numbers = itertools.count(1)


def store(*rows: Any) -> None:
    """Insert rows in one transaction, in the order given."""

    def work(tx: Any) -> None:
        for row in rows:
            tx.session.add(row)
            tx.session.flush()

    writer.run(work)


def user(**columns: Any) -> User:
    """Without a password that could be typed: give ``password_hash`` where a test signs in."""
    name = columns.pop("username", f"trader{next(_numbers)}")
    email = columns.pop("email", f"{name}@example.com")
    row = User(
        username=name,
        username_key=name.casefold(),
        email=email,
        email_key=email.casefold(),
        **{"password_hash": "!", **columns},
    )
    store(row)
    return row


def account(owner: User, **columns: Any) -> Account:
    """A paper account with its lane."""
    row = Account(
        user_id=owner.id,
        **{
            "name": f"Paper {next(_numbers)}",
            "broker": "paper",
            "environment": "demo",
            **columns,
        },
    )
    store(row)
    store(Lane(account_id=row.id))
    return row


def strategy(owner: User, *, token: str | None = None, **columns: Any) -> Strategy:
    """With the default settings. ``token`` is the secret part of its webhook's address."""
    number = next(_numbers)
    token = token or secrets.token_hex(16)
    row = Strategy(
        user_id=owner.id,
        token_hash=hashlib.sha256(token.encode()).hexdigest(),
        **{
            "name": f"Strategy {number}",
            "slug": f"strategy-{number}",
            "token_cipher": "",
            "settings": dump(StrategySettings()),
            **columns,
        },
    )
    store(row)
    return row


def trader(of: Strategy, on: Account, **columns: Any) -> Trader:
    row = Trader(user_id=of.user_id, strategy_id=of.id, account_id=on.id, **columns)
    store(row)
    return row


def signal(of: Strategy, **columns: Any) -> Signal:
    """An accepted alert."""
    row = Signal(
        user_id=of.user_id,
        strategy_id=of.id,
        **{
            "received_at": clock.now(),
            "status": "accepted",
            "answer": 202,
            "raw_body": '{"action":"buy"}',
            **columns,
        },
    )
    store(row)
    return row
