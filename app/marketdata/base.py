"""Where prices come from. One module or package beside this file per provider."""

from __future__ import annotations

from typing import Protocol

from app.domain.trading import Quote


class Feed(Protocol):
    def knows(self, symbol: str) -> bool:
        """Whether this feed prices the contract."""
        ...

    def quote(self, symbol: str) -> Quote | None:
        """The newest quote now, or None where the feed has none."""
        ...
