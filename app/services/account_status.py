"""Rows of accounts: what is told when something about one changes."""

from __future__ import annotations

from typing import Any

from app.models import Account, Lane
from app.services import journal
from app.transactions import Tx


def event(account: Account) -> dict[str, Any]:
    """What ``account:status`` carries."""
    return {
        "id": account.id,
        "name": account.name,
        "broker": account.broker,
        "environment": account.environment,
        "status": account.status,
        "last_error": account.last_error,
        "kill_switch": account.kill_switch,
        "deleted": account.deleted_at is not None,
    }


def announce(tx: Tx, account: Account) -> None:
    tx.record(account.user_id, "account:status", event(account))


def tell(
    tx: Tx,
    account: Account,
    what: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> None:
    """Announce it and write the line of the log that says why."""
    announce(tx, account)
    journal.write(tx, account.user_id, what, message, level=level, account_id=account.id, data=data)


def add(tx: Tx, account: Account) -> None:
    """A new account, with the lane that keeps its work in order."""
    tx.session.add(account)
    tx.session.flush()
    tx.session.add(Lane(account_id=account.id))
    tx.session.flush()
