"""Secrets: kept encrypted when we must read them again, as a hash when we only compare them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import string

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask

from config import Config

_ALPHABET = string.ascii_lowercase + string.digits
_TOKEN_LENGTH = 26
"""36 ** 26 is a little over 2 ** 134."""
_VERSION = b"\x01"
_NONCE_BYTES = 12


class WrongKey(ValueError):
    """The text was not encrypted with this key and for this context, or it was altered."""


class _Keeper:
    cipher: AESGCM | None = None
    key: bytes = b""


_keeper = _Keeper()


def register(app: Flask) -> None:
    config: Config = app.config["JUST_TRADES"]
    bind(config.credentials_key)


def bind(key: str) -> None:
    """Derive the process's key; ``key`` is the setting ``CREDENTIALS_KEY``."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"just-trades credentials")
    _keeper.cipher = AESGCM(derived.derive(key.encode()))
    _keeper.key = key.encode()


def encrypt(plain: str, context: str) -> str:
    """URL-safe text that ``decrypt`` opens for the same ``context`` alone, for example
    ``"account:7"``: a value copied into another row stays closed."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = _cipher().encrypt(nonce, plain.encode(), context.encode())
    return base64.urlsafe_b64encode(_VERSION + nonce + sealed).decode()


def decrypt(text: str, context: str) -> str:
    """
    Raises:
        WrongKey: another key, another context, or altered text.
    """
    try:
        raw = base64.urlsafe_b64decode(text)
        nonce, sealed = raw[1 : 1 + _NONCE_BYTES], raw[1 + _NONCE_BYTES :]
        if raw[:1] != _VERSION:
            raise WrongKey("unknown version")
        return _cipher().decrypt(nonce, sealed, context.encode()).decode()
    except (InvalidTag, ValueError) as e:
        raise WrongKey("cannot be opened with this key for this context") from e


def new_token() -> str:
    """26 characters of ``[a-z0-9]``, more than 128 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_TOKEN_LENGTH))


def stable_token(context: str) -> str:
    """32 characters of hex that nobody else can tell: the same ones for the same ``context``
    under this key."""
    _cipher()
    return hmac.new(_keeper.key, context.encode(), hashlib.sha256).hexdigest()[:32]


def hash_token(token: str) -> str:
    """SHA-256 in hex: enough for a token that cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


def _cipher() -> AESGCM:
    if _keeper.cipher is None:
        raise RuntimeError("secrets.bind was not called")
    return _keeper.cipher
