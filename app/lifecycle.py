"""What lives in the process, started in order and stopped in reverse."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Lifecycle:
    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], None], Callable[[], None]]] = []
        self._running: list[tuple[str, Callable[[], None]]] = []
        self.accepting = False
        """Whether new alerts are taken; the webhook answers 503 otherwise."""

    def reset(self) -> None:
        """Forget the parts of an earlier app in this process."""
        self.stop()
        self._parts.clear()

    def add(self, name: str, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self._parts.append((name, start, stop))

    def start(self) -> None:
        """Start every part; unfinished work is picked up before the first alert is accepted."""
        for name, start, stop in self._parts:
            start()
            self._running.append((name, stop))
        self.accepting = True

    def stop(self) -> None:
        self.accepting = False
        while self._running:
            name, stop = self._running.pop()
            try:
                stop()
            except Exception:  # the loop's edge: the other parts are stopped all the same
                log.exception("part did not stop", extra={"part": name})
