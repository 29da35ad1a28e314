"""What a client may ask for; every answer is an acknowledgement ``{ok, error?}``."""

from __future__ import annotations

import logging
from typing import Any

from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO, join_room, leave_room, rooms

from app import clock, events
from app.domain.errors import Invalid, TradingError
from app.realtime import handshake, topics
from app.realtime.clients import Clients
from app.realtime.hub import Hub

log = logging.getLogger(__name__)

MOST_TOPICS = 200

Answer = dict[str, Any]


def register(socketio: SocketIO, clients: Clients, hub: Hub) -> None:
    """Bind the events to this hub; the connection's id is Socket.IO's own."""

    def connect(auth: Any = None) -> None:
        credential = handshake.identify(auth)
        if credential is None:
            reason = "Sign in first." if auth is None else "The token is unknown or out of date."
            raise ConnectionRefusedError(reason, {"code": "unauthorized"})
        clients.expect(_sid(), credential)

    def disconnect(_reason: str = "") -> None:
        clients.forget(_sid())
        hub.remove(_sid())

    def subscribe(body: Any = None) -> Answer:
        client = hub.client(_sid())
        room = topics.checked_room(_topic(body), client.user_id)
        if len(rooms()) > MOST_TOPICS:
            raise Invalid("Too many topics.", code="too_many_topics")
        join_room(room)
        # After joining: what changes while this is read follows it.
        for event, data in topics.first_words(_topic(body), client.user_id):
            socketio.emit(event, data, to=_sid())
        return {"ok": True}

    def unsubscribe(body: Any = None) -> Answer:
        client = hub.client(_sid())
        leave_room(topics.room(_topic(body), client.user_id))
        return {"ok": True}

    def resume(body: Any = None) -> Answer:
        last_seq = hub.resume(_sid(), _last_seq(body))
        return {"ok": True, "last_seq": last_seq}

    def ping(_body: Any = None) -> Answer:
        now = {"at": events.timestamp(clock.now())}
        socketio.emit("pong", now, to=_sid())
        return {"ok": True, "type": "pong", **now}

    for handler in (connect, disconnect, subscribe, unsubscribe, resume, ping):
        socketio.on_event(handler.__name__, handler)
    socketio.on_error_default(_refused)


def _sid() -> str:
    sid: str = request.sid  # type: ignore[attr-defined]
    return sid


def _topic(body: Any) -> str:
    topic = body.get("topic") if isinstance(body, dict) else None
    if not isinstance(topic, str):
        raise Invalid("Expected {topic}.", field="topic")
    return topic


def _last_seq(body: Any) -> int | None:
    last_seq = body.get("last_seq") if isinstance(body, dict) else None
    if last_seq is not None and (isinstance(last_seq, bool) or not isinstance(last_seq, int)):
        raise Invalid("Expected {last_seq}: a whole number or null.", field="last_seq")
    return last_seq


def _refused(error: Exception) -> Answer:
    """The answer to what failed; the connection stays. A failed handshake is a refused one."""
    asked = request.event["message"]  # type: ignore[attr-defined]
    if not isinstance(error, TradingError):
        log.error("socket event failed", exc_info=error, extra={"event": asked})
    code = error.code if isinstance(error, TradingError) else "internal_error"
    if asked == "connect":
        raise ConnectionRefusedError("The connection could not be made.", {"code": code})
    return {"ok": False, "error": code}
