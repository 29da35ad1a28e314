"""Credentials that were turned down lately, at one environment.

Tradovate counts refused sign-ins by address, 5 an hour for everybody behind it (reference 7.1): the
same ones are not sent over and over, however often somebody presses *Connect*.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from app import clock
from app.domain.errors import BrokerRefused

MOST = 2
"""A wrong password may have been put right at the broker since: so often it is tried again."""
_WINDOW = timedelta(hours=1)


class Refusals:
    def __init__(self) -> None:
        self._at: dict[str, list[datetime]] = {}

    @contextmanager
    def counted(self, credentials: Mapping[str, Any]) -> Iterator[None]:
        """Around one sign-in with these.

        Raises:
            BrokerRefused: ``bad_credentials``; they were not sent.
        """
        self._forget()
        key = _fingerprint(credentials)
        before = self._at.get(key, [])
        if len(before) >= MOST:
            raise BrokerRefused(
                f"Tradovate refused these credentials {len(before)} times within an hour: they are"
                f" not sent again before {before[0] + _WINDOW:%H:%M} UTC. Enter others, or wait",
                code="bad_credentials",
            )
        try:
            yield
        except BrokerRefused as e:
            if e.code == "bad_credentials":
                self._at.setdefault(key, []).append(clock.now())
            raise

    def _forget(self) -> None:
        earliest = clock.now() - _WINDOW
        kept = {key: [at for at in times if at > earliest] for key, times in self._at.items()}
        self._at = {key: times for key, times in kept.items() if times}


def _fingerprint(credentials: Mapping[str, Any]) -> str:
    text = json.dumps(credentials, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
