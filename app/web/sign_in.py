"""Registering and signing in, the same for the page's form and the API."""

from __future__ import annotations

from app.domain.errors import Invalid, Unauthorized
from app.models import User
from app.schemas.auth import LoginIn, PasswordIn, RegisterIn
from app.services import users
from app.services.identity import Identity
from app.web import attempts
from app.web.auth import remote_address, sign_in


def register(wanted: RegisterIn) -> User:
    """Make the user and sign this browser in."""
    attempts.count_registration(remote_address())
    user = users.register(wanted.username, wanted.email, wanted.password, address=remote_address())
    sign_in(user.id)
    return user


def log_in(given: LoginIn) -> User:
    """Sign this browser in, where name and password match.

    Raises:
        Unauthorized: they do not.
        TooManyRequests: tried too often.
    """
    name, address = users.key_of(given.login), remote_address()
    attempts.begin(name, address)
    try:
        user = users.authenticate(given.login, given.password, address=address)
    except Unauthorized:
        attempts.failed(address)
        raise
    attempts.succeeded(name, address)
    sign_in(user.id, remember=given.remember)
    return user


def change_password(identity: Identity, given: PasswordIn) -> None:
    """
    Raises:
        Invalid: the current password is wrong, or the new one is weak.
        TooManyRequests: tried too often.
    """
    name, address = users.key_of(identity.username), remote_address()
    attempts.begin(name, address)
    try:
        users.change_password(
            identity.id,
            given.current_password,
            given.new_password,
            session_id=identity.session_id,
            address=address,
        )
    except Invalid:
        attempts.failed(address)
        raise
    attempts.succeeded(name, address)
