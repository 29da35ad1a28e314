"""Signed-in browsers: started by a log-in, ended by a log-out, by age or all at once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from app import clock
from app.domain.errors import NotFound, Unavailable
from app.extensions import db, writer
from app.models import User, UserSession
from app.services import audit
from app.services.identity import Identity, identity
from app.services.secrets import hash_token, new_token
from app.transactions import Tx

log = logging.getLogger(__name__)

REMEMBERED = timedelta(days=30)
UNREMEMBERED = timedelta(days=1)
_SEEN_EVERY = timedelta(minutes=1)
_KEPT_AFTER_END = timedelta(days=30)

_WHO = (
    select(
        User.id,
        User.username,
        User.email,
        User.role,
        User.zone,
        UserSession.id.label("session_id"),
        UserSession.last_seen_at,
        UserSession.expires_at,
    )
    .join(UserSession, UserSession.user_id == User.id)
    .where(UserSession.ended_at.is_(None), UserSession.epoch == User.session_epoch)
)


def start(user_id: int, *, remember: bool = False, user_agent: str = "", address: str = "") -> str:
    """Sign the user in and return the token for his cookie; only its hash is kept."""
    token = new_token()

    def work(tx: Tx) -> None:
        user, now = tx.session.get_one(User, user_id), clock.now()
        session = UserSession(
            user_id=user_id,
            token_hash=hash_token(token),
            epoch=user.session_epoch,
            user_agent=user_agent[:300],
            address=address,
            last_seen_at=now,
            expires_at=now + (REMEMBERED if remember else UNREMEMBERED),
        )
        tx.session.add(session)
        tx.session.flush()
        audit.record(tx, user_id, "login", f"session:{session.id}", address=address)

    writer.run(work)
    return token


def resolve(token: str) -> Identity | None:
    """Who holds this cookie's token, where its session is still in force."""
    return _resolve(UserSession.token_hash == hash_token(token))


def resolve_id(session_id: int) -> Identity | None:
    """Who a session belongs to, where it is still in force."""
    return _resolve(UserSession.id == session_id)


def listing(user_id: int) -> list[UserSession]:
    """The user's sessions that are in force, the one used last first."""
    query = (
        select(UserSession)
        .join(User, User.id == UserSession.user_id)
        .where(
            UserSession.user_id == user_id,
            UserSession.ended_at.is_(None),
            UserSession.expires_at > clock.now(),
            UserSession.epoch == User.session_epoch,
        )
        .order_by(UserSession.last_seen_at.desc(), UserSession.id.desc())
    )
    return list(db.session.scalars(query))


def end(session_id: int, user_id: int, *, address: str = "") -> None:
    """
    Raises:
        NotFound: no session of the user, or it has ended before.
    """

    def work(tx: Tx) -> None:
        ended = tx.session.scalar(
            update(UserSession)
            .where(
                UserSession.id == session_id,
                UserSession.user_id == user_id,
                UserSession.ended_at.is_(None),
            )
            .values(ended_at=clock.now())
            .returning(UserSession.id)
        )
        if ended is None:
            raise NotFound
        audit.record(tx, user_id, "logout", f"session:{session_id}", address=address)
        tx.record(user_id, "session:ended", {"session_id": session_id})

    writer.run(work)


def end_all(user_id: int, *, address: str = "") -> None:
    def work(tx: Tx) -> None:
        audit.record(tx, user_id, "logout", "all sessions", address=address)
        end_others(tx, user_id, keep=None)

    writer.run(work)


def end_others(tx: Tx, user_id: int, *, keep: int | None) -> None:
    """End every session of the user but ``keep``, in the caller's transaction. The raised epoch
    also ends one that is being started at this moment by another process."""
    user = tx.session.get_one(User, user_id)
    user.session_epoch += 1
    tx.session.flush()
    mine = update(UserSession).where(UserSession.user_id == user_id, UserSession.ended_at.is_(None))
    kept = keep if keep is not None else 0
    tx.session.execute(mine.where(UserSession.id != kept).values(ended_at=clock.now()))
    tx.session.execute(mine.where(UserSession.id == kept).values(epoch=user.session_epoch))
    tx.record(user_id, "session:ended", {"session_id": None, "kept": keep})


def purge() -> int:
    """Delete what ended or expired a month ago; how many rows."""
    limit = clock.now() - _KEPT_AFTER_END
    statement = delete(UserSession).where(
        (UserSession.ended_at < limit) | (UserSession.expires_at < limit)
    )
    return writer.run(lambda tx: tx.conn.execute(statement).rowcount)


def _resolve(condition: object) -> Identity | None:
    now = clock.now()
    # A connection of its own, given back at once: the request's session starts its first read
    # after this, so it sees what was committed until then.
    with db.engine.connect() as connection:
        row = connection.execute(_WHO.where(condition)).first()  # type: ignore[arg-type]
    if row is None or row.expires_at <= now:
        return None
    if now - row.last_seen_at >= _SEEN_EVERY:
        _touch(row.session_id, row.last_seen_at, row.expires_at, now)
    return identity(row, session_id=row.session_id)


def _touch(session_id: int, seen: datetime, expires: datetime, now: datetime) -> None:
    """A session that is used lives on for as long as it was given at first."""
    statement = (
        update(UserSession)
        .where(UserSession.id == session_id)
        .values(last_seen_at=now, expires_at=now + (expires - seen))
    )
    try:
        writer.run(lambda tx: tx.conn.execute(statement))
    except Unavailable:
        log.warning("session not touched", extra={"session_id": session_id})
