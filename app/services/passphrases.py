"""The word that an alert's body must carry: kept encrypted, beside settings that say ``"set"``."""

from __future__ import annotations

import logging
from typing import Any

from app.domain.errors import Unavailable
from app.domain.settings import SECRET_IS_SET, StrategySettings, dump
from app.models import Strategy
from app.services import secrets

log = logging.getLogger(__name__)


def columns(user_id: int, settings: StrategySettings, *, kept: str | None = None) -> dict[str, Any]:
    """What a strategy's row keeps of ``settings``. ``kept`` is the cipher text that it has so
    far: it stays where the passphrase is given back as it is shown."""
    return {
        "settings": dump(settings),
        "passphrase_cipher": _cipher(user_id, settings.passphrase, kept),
    }


def opened(strategy: Strategy) -> str | None:
    """
    Raises:
        Unavailable: it was encrypted under another ``CREDENTIALS_KEY``.
    """
    if strategy.passphrase_cipher is None:
        return None
    try:
        return secrets.decrypt(strategy.passphrase_cipher, _context(strategy.user_id))
    except secrets.WrongKey as e:
        log.error("passphrase cannot be read", extra={"strategy_id": strategy.id})
        raise Unavailable("The strategy's passphrase cannot be read; set it again.") from e


def _cipher(user_id: int, passphrase: str | None, kept: str | None) -> str | None:
    if passphrase is None:
        return None
    if passphrase == SECRET_IS_SET and kept is not None:
        return kept
    return secrets.encrypt(passphrase, _context(user_id))


def _context(user_id: int) -> str:
    return f"passphrase:user:{user_id}"
