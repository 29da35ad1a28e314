"""The audit log: who did what to what, from where. Secrets never get here."""

from __future__ import annotations

from typing import Any

from app.extensions import writer
from app.models import AuditEntry
from app.transactions import Tx


def record(
    tx: Tx,
    user_id: int | None,
    action: str,
    target: str = "",
    *,
    address: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Note it in the transaction that makes it true. ``target``: for example ``api_key:7``."""
    tx.session.add(
        AuditEntry(
            user_id=user_id,
            action=action,
            target=target[:120],
            address=address,
            request_id=tx.request_id,
            detail=detail or {},
        )
    )


def note(
    user_id: int | None,
    action: str,
    target: str = "",
    *,
    address: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Note something that changed nothing else, for example a refused log-in."""
    writer.run(lambda tx: record(tx, user_id, action, target, address=address, detail=detail))
