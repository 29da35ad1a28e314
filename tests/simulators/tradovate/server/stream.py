"""What the venue tells, on its way to the sockets: in order, unless a test disturbs it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
"""``{"entityType": ..., "eventType": ..., "entity": ...}``"""

KINDS = ("lose", "duplicate", "delay", "reorder")
_REORDER_WAIT_MS = 200.0


@dataclass
class Disturbance:
    """Hits the next ``times`` events, or all until it is cleared (None).

    ``reorder`` holds its events and lets them go in reverse once it has ``times`` of them, or
    ``ms`` after the first; ``delay`` holds each for ``ms``, and later ones overtake it.
    """

    kind: str
    times: int | None = 1
    ms: float = _REORDER_WAIT_MS
    entity_types: tuple[str, ...] = ()
    user_id: int | None = None
    hits: int = 0
    held: list[tuple[int, Event]] = field(default_factory=list)

    def takes(self, user_id: int, event: Event) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.user_id in (None, user_id)
            and (not self.entity_types or event["entityType"] in self.entity_types)
        )


class Stream:
    """The events of one world. ``deliver`` hands one to the sockets of its user."""

    def __init__(self, deliver: Callable[[int, Event], None]) -> None:
        self._deliver = deliver
        self._told: dict[int, list[Event]] = defaultdict(list)
        self._disturbances: list[Disturbance] = []

    def publish(self, user_id: int, event: Event) -> None:
        self._told[user_id].append(event)
        for disturbance in self._disturbances:
            if disturbance.takes(user_id, event):
                disturbance.hits += 1
                self._disturb(disturbance, user_id, event)
                return
        self._deliver(user_id, event)

    def add(self, disturbance: Disturbance) -> None:
        """Raises ValueError for an unknown kind."""
        if disturbance.kind not in KINDS:
            raise ValueError(f"events can be {', '.join(KINDS)}, not {disturbance.kind}")
        self._disturbances.append(disturbance)

    def clear(self) -> None:
        """No more disturbances; what was held goes out."""
        old, self._disturbances = self._disturbances, []
        for disturbance in old:
            self._release(disturbance)

    def replay(self, user_id: int) -> int:
        """Tell everything of the session again; how many events that was."""
        events = list(self._told[user_id])
        for event in events:
            self._deliver(user_id, event)
        return len(events)

    def told(self, user_id: int) -> list[Event]:
        return list(self._told[user_id])

    def forget(self) -> None:
        """A new session begins: what was told before is not replayed."""
        self._told.clear()

    def _disturb(self, disturbance: Disturbance, user_id: int, event: Event) -> None:
        if disturbance.kind == "duplicate":
            self._deliver(user_id, event)
            self._deliver(user_id, event)
        elif disturbance.kind == "delay":
            asyncio.get_running_loop().call_later(
                disturbance.ms / 1000, self._deliver, user_id, event
            )
        elif disturbance.kind == "reorder":
            self._hold(disturbance, user_id, event)

    def _hold(self, disturbance: Disturbance, user_id: int, event: Event) -> None:
        disturbance.held.append((user_id, event))
        if disturbance.times is not None and disturbance.hits >= disturbance.times:
            self._release(disturbance)
        elif len(disturbance.held) == 1:
            asyncio.get_running_loop().call_later(disturbance.ms / 1000, self._release, disturbance)

    def _release(self, disturbance: Disturbance) -> None:
        held, disturbance.held = disturbance.held, []
        for user_id, event in reversed(held):
            self._deliver(user_id, event)
