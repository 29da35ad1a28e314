"""API keys: for programs, shown once, kept as a hash."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update

from app import clock
from app.domain.errors import Forbidden, Invalid, NotFound, Unavailable
from app.extensions import db, writer
from app.models import ApiKey, User
from app.services import audit
from app.services.identity import Identity, identity
from app.services.owned import owned
from app.services.secrets import hash_token, new_token
from app.transactions import Tx

log = logging.getLogger(__name__)

PREFIX = "jt_"
_SHOWN = 11
"""Characters that stay readable in lists; 26 secret ones remain."""
_SEEN_EVERY = timedelta(minutes=1)

_WHO = select(
    User.id,
    User.username,
    User.email,
    User.role,
    User.zone,
    ApiKey.id.label("api_key_id"),
    ApiKey.scopes,
    ApiKey.expires_at,
    ApiKey.last_used_at,
).join(ApiKey, ApiKey.user_id == User.id)


def create(
    user_id: int,
    name: str,
    scopes: Sequence[str],
    *,
    grantable: frozenset[str],
    expires_at: datetime | None = None,
    address: str = "",
) -> tuple[ApiKey, str]:
    """The new row and the key itself, which nobody can read again.

    ``grantable``: what the caller may do; a key never gets more than who makes it has.

    Raises:
        Forbidden: a scope that the caller does not have.
        Invalid: it would be expired already.
    """
    if missing := sorted(set(scopes) - grantable):
        raise Forbidden(f"You cannot give a scope that you do not have: {', '.join(missing)}.")
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid("This time has passed.", field="expires_at")
    key = PREFIX + new_token() + new_token()[: _SHOWN - len(PREFIX)]

    def work(tx: Tx) -> ApiKey:
        row = ApiKey(
            user_id=user_id,
            name=name,
            prefix=key[:_SHOWN],
            key_hash=hash_token(key),
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
        tx.session.add(row)
        tx.session.flush()
        audit.record(
            tx,
            user_id,
            "api_key_created",
            f"api_key:{row.id}",
            address=address,
            detail={"scopes": row.scopes},
        )
        return row

    return writer.run(work), key


def listing(user_id: int) -> list[ApiKey]:
    """The user's keys that were not revoked, newest first."""
    query = owned(ApiKey, user_id).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id.desc())
    return list(db.session.scalars(query))


def revoke(key_id: int, user_id: int, *, address: str = "") -> None:
    """
    Raises:
        NotFound: no key of the user, or revoked before.
    """

    def work(tx: Tx) -> None:
        revoked = tx.session.scalar(
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=clock.now())
            .returning(ApiKey.id)
        )
        if revoked is None:
            raise NotFound
        audit.record(tx, user_id, "api_key_revoked", f"api_key:{key_id}", address=address)
        tx.record(user_id, "session:ended", {"api_key_id": key_id})

    writer.run(work)


def resolve(key: str) -> Identity | None:
    """Who holds this key, where it is still in force."""
    return _resolve(ApiKey.key_hash == hash_token(key))


def resolve_id(key_id: int) -> Identity | None:
    """Who a key belongs to, where it is still in force."""
    return _resolve(ApiKey.id == key_id)


def _resolve(condition: object) -> Identity | None:
    now = clock.now()
    with db.engine.connect() as connection:
        row = connection.execute(
            _WHO.where(condition, ApiKey.revoked_at.is_(None))  # type: ignore[arg-type]
        ).first()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    if row.last_used_at is None or now - row.last_used_at >= _SEEN_EVERY:
        _touch(row.api_key_id, now)
    return identity(row, row.scopes, api_key_id=row.api_key_id)


def _touch(key_id: int, now: datetime) -> None:
    statement = update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now)
    try:
        writer.run(lambda tx: tx.conn.execute(statement))
    except Unavailable:
        log.warning("API key not touched", extra={"api_key_id": key_id})
