"""Unsafe calls that name an ``Idempotency-Key``: done once, answered as often as asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Update, delete, select, update
from sqlalchemy.exc import IntegrityError

from app import clock
from app.domain.errors import Conflict, Invalid
from app.extensions import writer
from app.models import IdempotencyKey
from app.services import secrets
from app.transactions import Tx

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first call was answered."""

    status: int
    body: str


def claim(user_id: int, key: str, request_hash: str) -> Answer | None:
    """Begin the call named ``key``; ``None``: it is ours to do, else what it was answered.
    ``request_hash`` is kept under our own key: bodies hold passwords, and a hash alone would let
    them be guessed.

    Raises:
        Invalid: the key belongs to another request.
        Conflict: the first call has no answer (yet).
    """
    request_hash = secrets.stable_token(f"request:{user_id}:{request_hash}")
    try:
        row = writer.run(lambda tx: _claim(tx, user_id, key, request_hash))
    except IntegrityError as e:
        raise _running() from e
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise Invalid("This Idempotency-Key was used for another request.", code="key_reused")
    if row.status is None or row.response is None:
        raise _running()
    return Answer(row.status, secrets.decrypt(row.response, _context(user_id, key)))


def finish(user_id: int, key: str, answer: Answer) -> None:
    """Keep the answer; encrypted, since some show a secret this once."""
    sealed = secrets.encrypt(answer.body, _context(user_id, key))
    statement = _row(user_id, key).values(status=answer.status, response=sealed)
    writer.run(lambda tx: tx.conn.execute(statement))


def forget(user_id: int, key: str) -> None:
    """Let the call be repeated: it did nothing."""
    statement = delete(IdempotencyKey).where(
        IdempotencyKey.user_id == user_id, IdempotencyKey.key == key
    )
    writer.run(lambda tx: tx.conn.execute(statement))


def _claim(tx: Tx, user_id: int, key: str, request_hash: str) -> IdempotencyKey | None:
    now = clock.now()
    row = tx.session.scalar(
        select(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
    )
    if row is not None and row.expires_at > now:
        return row
    if row is not None:
        tx.session.delete(row)
        tx.session.flush()
    tx.session.add(
        IdempotencyKey(user_id=user_id, key=key, request_hash=request_hash, expires_at=now + KEPT)
    )
    return None


def _row(user_id: int, key: str) -> Update:
    return update(IdempotencyKey).where(
        IdempotencyKey.user_id == user_id, IdempotencyKey.key == key
    )


def _context(user_id: int, key: str) -> str:
    return f"idempotency:{user_id}:{key}"


def _running() -> Conflict:
    return Conflict(
        "The first call with this Idempotency-Key has no answer yet. Repeat in a moment; where it"
        " stays so, that call was cut off: look what it did before you use another key.",
        code="in_progress",
    )
