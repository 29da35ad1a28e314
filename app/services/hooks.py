"""Webhooks as the intake needs them: found by token, cached, verified at the commit.

The cache may be old for a moment (another process changed the strategy), so whoever stores
something under a hook compares its ``version`` inside the same transaction.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field

from sqlalchemy import select

from app.domain.settings import StrategySettings, parse_strategy
from app.extensions import db
from app.models import Strategy
from app.services import passphrases

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Hook:
    strategy_id: int
    user_id: int
    version: int
    enabled: bool
    symbol: str | None
    settings: StrategySettings
    passphrase: str | None = field(repr=False)
    sources: tuple[Network, ...]

    def allows(self, address: str) -> bool:
        if not self.sources:
            return True
        sender = ipaddress.ip_address(address)
        return any(sender in network for network in self.sources)


_cache: dict[str, Hook] = {}
_MOST = 10_000


def find(token: str) -> Hook | None:
    """The hook of a webhook's token; None for unknown, rotated and deleted ones alike."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return _cache.get(digest) or _load(digest)


def forget(token: str) -> None:
    """Read the hook anew the next time: its strategy changed."""
    _cache.pop(hashlib.sha256(token.encode()).hexdigest(), None)


def clear() -> None:
    _cache.clear()


def _load(digest: str) -> Hook | None:
    statement = select(Strategy).where(Strategy.token_hash == digest, Strategy.deleted_at.is_(None))
    row = db.session.scalar(statement)
    db.session.remove()
    if row is None:
        return None
    settings = parse_strategy(row.settings)
    hook = Hook(
        strategy_id=row.id,
        user_id=row.user_id,
        version=row.version,
        enabled=row.enabled,
        symbol=row.symbol,
        settings=settings,
        passphrase=passphrases.opened(row),
        sources=tuple(ipaddress.ip_network(s, strict=False) for s in settings.allowed_sources),
    )
    if len(_cache) >= _MOST:
        _cache.clear()
    _cache[digest] = hook
    return hook
