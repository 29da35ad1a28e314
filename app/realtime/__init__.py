"""Socket.IO: who may connect, what they may follow, and what is pushed to them."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from app.extensions import db, dispatcher, lifecycle, socketio
from app.json import plain
from app.realtime import handlers
from app.realtime.bridge import Bridge
from app.realtime.clients import Clients
from app.realtime.guard import Guard
from app.realtime.hub import Credential, Hub
from app.services.event_stream import EventStream
from app.services.live_access import LiveAccess
from app.services.live_push import pusher
from app.services.marks import Marks
from config import Config

log = logging.getLogger(__name__)


class _Json:
    """The encoder of the wire; what it is given is ready for JSON but for decimals and times."""

    @staticmethod
    def dumps(value: Any, **kwargs: Any) -> str:
        return json.dumps(value, default=plain, ensure_ascii=False, **kwargs)

    loads = staticmethod(json.loads)


def register(app: Flask) -> None:
    config: Config = app.config["JUST_TRADES"]
    with app.app_context():
        engine = db.engine
    clients = Clients()
    socketio.init_app(
        app,
        async_mode="gevent",
        client_manager=clients,
        json=_Json,
        logger=logging.getLogger("socketio"),
        engineio_logger=logging.getLogger("engineio"),
        manage_session=False,
        cors_allowed_origins=lambda origin, environ: _is_ours(origin, environ, config),
        ping_interval=20,
        ping_timeout=20,
        max_http_buffer_size=65_536,
    )
    hub = Hub(EventStream(engine), _emit)
    guard = Guard(hub, LiveAccess(engine), _disconnect)
    clients.accepted = lambda sid, credential: _accept(hub, sid, credential)
    handlers.register(socketio, clients, hub)
    dispatcher.subscribe(hub.publish)
    dispatcher.subscribe(guard.publish)
    lifecycle.add("connections", guard.start, guard.stop)
    bridge: Bridge | None = None
    if config.redis_url:
        bridge = Bridge(config.redis_url, hub.wake, hub.wake_all, push=_push)
        dispatcher.subscribe(bridge.publish)
        lifecycle.add("bridge", bridge.start, bridge.stop)
    marks = Marks(engine, hub.user_ids, hub.send)
    lifecycle.add("marks", marks.start, marks.stop)
    pusher.send_with(_push if bridge is None else bridge.push)
    app.extensions["hub"] = hub


def _is_ours(origin: str | None, environ: dict[str, Any], config: Config) -> bool:
    """The scheme is not compared: behind a proxy that ends TLS we do not see the visitor's."""
    host = urlsplit(origin or "").netloc
    ours = {environ.get("HTTP_HOST"), urlsplit(config.public_url or "").netloc}
    return bool(host) and host in ours


def _emit(sid: str, event: str, data: Any) -> None:
    socketio.server.emit(event, data, to=sid)


def _push(room: str, event: str, data: Any) -> None:
    """To whoever is in the room; whose it is was checked when they entered."""
    socketio.server.emit(event, data, to=room)


def _disconnect(sid: str) -> None:
    socketio.server.disconnect(sid)


def _accept(hub: Hub, sid: str, credential: Credential) -> None:
    if not _is_open(sid):
        # It hung up during the handshake, and the end of such a connection is not told.
        socketio.server.manager.disconnect(sid, "/")
        return
    try:
        socketio.server.enter_room(sid, f"user:{credential.user_id}")
        hub.add(sid, credential)
    except Exception:  # the handshake's edge: a client that is hung up on tries again
        log.exception("connection not taken in", extra={"user_id": credential.user_id})
        _disconnect(sid)


def _is_open(sid: str) -> bool:
    server = socketio.server
    transport = server.eio.sockets.get(server.manager.eio_sid_from_sid(sid, "/"))
    return transport is not None and not (transport.closed or transport.closing)
