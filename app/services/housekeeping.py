"""Rows that have had their day."""

from __future__ import annotations

from sqlalchemy import delete

from app import clock
from app.extensions import writer
from app.models import AlertKey, IdempotencyKey
from app.services import sessions
from app.transactions import Tx


def purge() -> None:
    """Delete duplicate keys, idempotency keys and sessions that have expired or ended."""

    def work(tx: Tx) -> None:
        now = clock.now()
        tx.conn.execute(delete(AlertKey).where(AlertKey.expires_at <= now))
        tx.conn.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= now))

    writer.run(work)
    sessions.purge()
