"""People: made, proved to be who they say, and changed by themselves."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from zoneinfo import available_timezones

import bcrypt
from flask import current_app
from gevent.threadpool import ThreadPool
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict, Forbidden, Invalid, Unauthorized
from app.domain.passwords import weakness
from app.extensions import db, writer
from app.models import EventSeq, User
from app.models.engine import serialize
from app.services import audit, sessions
from app.transactions import Tx
from config import Config

T = TypeVar("T")

_CLOSED = {
    "invite": "Registration is by invitation: ask an admin, who can make your account.",
    "closed": "Registration is closed. An admin can make your account.",
}


def key_of(text: str) -> str:
    """How user names and e-mail addresses are compared: nobody can look like somebody else by
    capitals or by another spelling of the same letters."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def register(username: str, email: str, password: str, *, address: str = "") -> User:
    """Make a user by his own wish. The first one of an installation becomes its admin.

    Raises:
        Forbidden: registration is not open.
        Conflict: the name or the address is taken.
        Invalid: the password is weak; the message says why.
    """
    return _create(username, email, password, role=None, by=None, address=address)


def create(
    username: str, email: str, password: str, role: str, *, by: int, address: str = ""
) -> User:
    """Make a user by an admin's wish, whatever the setting ``REGISTRATION`` says.

    Raises:
        Conflict, Invalid: as ``register``.
    """
    return _create(username, email, password, role=role, by=by, address=address)


def is_registration_open() -> bool:
    return _config().registration == "open" or not is_anybody_there()


def is_anybody_there() -> bool:
    """Whether this installation has had its first user."""
    return _anybody(db.session)


def authenticate(login: str, password: str, *, address: str = "") -> User:
    """The user of that name or e-mail address, where the password is theirs.

    It takes as long and says the same for a name that does not exist.

    Raises:
        Unauthorized: no such pair.
    """
    key = key_of(login)
    user = db.session.scalar(
        select(User).where(or_(User.username_key == key, User.email_key == key))
    )
    stored = user.password_hash if user else _nobodys_hash(_config().bcrypt_rounds)
    matches = _crypto(_matches, password, stored)
    if user is None or not matches:
        audit.note(user.id if user else None, "login_failed", key, address=address)
        raise Unauthorized("That name and password do not match.", code="wrong_credentials")
    return user


def change_password(
    user_id: int, current: str, new: str, *, session_id: int | None = None, address: str = ""
) -> None:
    """Set a new password and end every session of the user but ``session_id``.

    Raises:
        Invalid: the current password is wrong, or the new one is weak.
    """
    user = get(user_id)
    if not _crypto(_matches, current, user.password_hash):
        audit.note(user_id, "password_change_failed", address=address)
        raise Invalid("This is not your current password.", field="current_password")
    _require_strength(new, user.username, user.email, field="new_password")
    hashed = _crypto(_hash, new, _config().bcrypt_rounds)

    def work(tx: Tx) -> None:
        tx.session.get_one(User, user_id).password_hash = hashed
        audit.record(tx, user_id, "password_changed", address=address)
        sessions.end_others(tx, user_id, keep=session_id)

    writer.run(work)


def update_profile(user_id: int, *, email: str | None = None, zone: str | None = None) -> User:
    """Change what is given.

    Raises:
        Invalid: no such time zone.
        Conflict: the address belongs to somebody else.
    """
    if zone is not None and zone not in zones():
        raise Invalid(f"There is no time zone {zone!r}.", field="zone")

    def work(tx: Tx) -> User:
        user = tx.session.get_one(User, user_id)
        if email is not None:
            user.email, user.email_key = email.strip(), key_of(email)
        if zone is not None:
            user.zone = zone
        tx.session.flush()
        return user

    try:
        return writer.run(work)
    except IntegrityError as e:
        raise Conflict("That e-mail address is taken.", field="email") from e


def get(user_id: int) -> User:
    return db.session.get_one(User, user_id)


@lru_cache(maxsize=1)
def zones() -> list[str]:
    """The names of all time zones, UTC first."""
    return ["UTC", *sorted(z for z in available_timezones() if "/" in z and z[:4] != "Etc/")]


def _create(
    username: str, email: str, password: str, *, role: str | None, by: int | None, address: str
) -> User:
    _require_strength(password, username, email, field="password")
    registration = _config().registration
    if role is None and registration != "open" and is_anybody_there():
        raise Forbidden(_CLOSED[registration], code="registration_closed")
    hashed = _crypto(_hash, password, _config().bcrypt_rounds)

    def work(tx: Tx) -> User:
        serialize(tx.conn, "register")  # or two could both be the first
        is_first = not _anybody(tx.session)
        if role is None and registration != "open" and not is_first:
            raise Forbidden(_CLOSED[registration], code="registration_closed")
        _refuse_taken(tx, username, email)
        user = User(
            username=username.strip(),
            username_key=key_of(username),
            email=email.strip(),
            email_key=key_of(email),
            password_hash=hashed,
            role=role or ("admin" if is_first else "trader"),
        )
        tx.session.add(user)
        tx.session.flush()
        tx.session.add(EventSeq(user_id=user.id, seq=0))
        audit.record(
            tx,
            by or user.id,
            "user_created",
            f"user:{user.id}",
            address=address,
            detail={"role": user.role},
        )
        return user

    return writer.run(work)


def _refuse_taken(tx: Tx, username: str, email: str) -> None:
    if tx.session.scalar(select(User.id).where(User.username_key == key_of(username))):
        raise Conflict("That user name is taken.", field="username", code="taken")
    if tx.session.scalar(select(User.id).where(User.email_key == key_of(email))):
        raise Conflict("That e-mail address is taken.", field="email", code="taken")


def _anybody(session: Any) -> bool:
    return session.scalar(select(User.id).limit(1)) is not None


def _require_strength(password: str, username: str, email: str, *, field: str) -> None:
    if reason := weakness(password, username, email):
        raise Invalid(reason, field=field, code="weak_password")


# bcrypt takes a fifth of a second: in the event loop it would stop everybody.

_pool: list[ThreadPool] = []


def _crypto(work: Callable[..., T], *args: object) -> T:
    if not _pool:
        _pool.append(ThreadPool(2))
    result: T = _pool[0].apply(work, args)
    return result


def _hash(password: str, rounds: int) -> str:
    return bcrypt.hashpw(_digest(password), bcrypt.gensalt(rounds)).decode()


def _matches(password: str, stored: str) -> bool:
    return bcrypt.checkpw(_digest(password), stored.encode())


def _digest(password: str) -> bytes:
    """bcrypt reads 72 bytes at most and stops at a zero: so it gets a digest in base64."""
    normal = unicodedata.normalize("NFKC", password).encode()
    return base64.b64encode(hashlib.sha256(normal).digest())


@lru_cache(maxsize=4)
def _nobodys_hash(rounds: int) -> str:
    return _crypto(_hash, "", rounds)


def _config() -> Config:
    config: Config = current_app.config["JUST_TRADES"]
    return config
