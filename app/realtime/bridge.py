"""Word between processes: whose events reached which number. The events themselves stay in the
database, so a word that is lost, late or doubled loses nothing. What goes to rooms without a
number (the newest values of an account) travels as it is: only the process that has a broker's
stream knows it."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import gevent
import redis
from gevent.event import Event as Signal

from app import events

log = logging.getLogger(__name__)

CHANNEL = "just_trades:events"
PUSHES = "just_trades:pushes"
_RETRY_S = 2.0
_LISTEN_S = 30.0
_MOST_PUSHES = 10_000
"""While Redis is away only the newest values are kept."""


Push = Callable[[str, str, Any], None]
"""Sends (room, event, data) to the connections of this process."""


class Bridge:
    """Tells other processes of ours, and ``hear``s (user id, number) of theirs. ``reconnected``
    is called whenever words may have been missed; ``push`` with what is for rooms."""

    def __init__(
        self,
        url: str,
        hear: Callable[[int, int], None],
        reconnected: Callable[[], None],
        push: Push = lambda _room, _event, _data: None,
    ) -> None:
        self._redis = redis.Redis.from_url(url, socket_connect_timeout=2, health_check_interval=15)
        self._hear = hear
        self._reconnected = reconnected
        self._push_here = push
        self._name = uuid4().hex
        self._pushes: deque[tuple[str, str, Any]] = deque(maxlen=_MOST_PUSHES)
        self._untold: dict[int, int] = {}
        self._wake = Signal()
        self._greenlets: list[gevent.Greenlet] = []

    def publish(self, batch: list[events.Published]) -> None:
        """Note what to tell; never waits for the network."""
        for event in batch:
            self._untold[event.user_id] = event.seq
        self._wake.set()

    def push(self, room: str, event: str, data: Any) -> None:
        """Send to the room here and in every other process; never waits for the network."""
        self._push_here(room, event, data)
        self._pushes.append((room, event, data))
        self._wake.set()

    def start(self) -> None:
        self._greenlets = [
            gevent.spawn(self._for_ever, self._tell),
            gevent.spawn(self._for_ever, self._listen),
        ]

    def stop(self) -> None:
        gevent.killall(self._greenlets)
        self._redis.close()

    def _for_ever(self, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
            except redis.RedisError as e:
                log.warning("redis does not answer", extra={"reason": str(e)})
                gevent.sleep(_RETRY_S)
            except Exception:  # the loop's edge
                log.exception("bridge failed")
                gevent.sleep(_RETRY_S)

    def _tell(self) -> None:
        self._wake.wait()
        self._wake.clear()
        untold, self._untold = self._untold, {}
        if untold:
            self._redis.publish(CHANNEL, json.dumps(list(untold.items())))
        while self._pushes:
            self._redis.publish(PUSHES, json.dumps([self._name, *self._pushes.popleft()]))

    def _listen(self) -> None:
        subscribe: Any = self._redis.pubsub
        with subscribe(ignore_subscribe_messages=True) as channel:
            channel.subscribe(CHANNEL, PUSHES)
            self._reconnected()
            while True:
                self._take(channel.get_message(timeout=_LISTEN_S))

    def _take(self, message: Any) -> None:
        if message is None:
            return
        if message["channel"] == PUSHES.encode():
            name, room, event, data = json.loads(message["data"])
            if name != self._name:
                self._push_here(room, event, data)
            return
        for user_id, newest in json.loads(message["data"]):
            self._hear(int(user_id), int(newest))
