"""The only entry: prepare the runtime, join the app, start what lives, serve."""

from gevent import monkey

monkey.patch_all()

import faulthandler
import gc
import logging
import signal
import socket
import sys
from typing import Any

import gevent
import gevent.event
from flask import Flask
from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler
from sqlalchemy.exc import DBAPIError

from app import create_app
from app.extensions import db, lifecycle, ownership
from app.migrate import SchemaBehind, prepare_schema
from app.models.engine import OwnershipTaken
from config import ConfigError, load

log = logging.getLogger("just_trades")
_STOP_TIMEOUT_S = 7


SILENCE_S = 75


class Handler(WebSocketHandler):  # type: ignore[misc]
    def log_request(self) -> None:
        """Requests are counted in the metrics; a line each would cost more than the answer."""


class Server(WSGIServer):  # type: ignore[misc]
    def do_handle(self, *args: Any) -> Any:
        # pywsgi leaves Nagle on: up to 40 ms per event.
        args[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Who sends nothing for that long holds no greenlet; a live page pings more often.
        args[0].settimeout(SILENCE_S)
        return super().do_handle(*args)


def keep_gc_short() -> None:
    """A full collection with thousands of clients stops the process for half a second, so only
    the youngest generation is collected and survivors are frozen."""
    gc.set_threshold(10_000, 10, 10_000)
    while True:
        gevent.sleep(5)
        gc.collect(0)
        gc.freeze()


def main() -> int:
    faulthandler.enable()
    sys.setswitchinterval(0.001)
    try:
        config = load()
        app = create_app(config)
        ownership.claim_file()
        prepare_schema(app, config)
    except (ConfigError, OwnershipTaken, SchemaBehind) as e:
        sys.stderr.write(f"Not started: {e}\n")
        return 2
    except DBAPIError as e:
        reason = str(e.orig).partition("\n")[0]
        sys.stderr.write(f"Not started: the database of DATABASE_URL failed: {reason}\n")
        return 2
    server = Server((config.host, config.port), app, log=None, backlog=4096, handler_class=Handler)
    try:
        server.init_socket()
    except OSError as e:
        where = f"HOST {config.host}, PORT {config.port}"
        sys.stderr.write(f"Not started: {where} cannot be used: {e.strerror}\n")
        return 2
    with app.app_context():
        lifecycle.start()
    server.start()
    gc.collect()
    gc.freeze()
    gevent.spawn(keep_gc_short)
    stopped = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopped.set)
    sys.stdout.write(f"Just.Trades. serves http://{config.host}:{server.server_port}/\n")
    sys.stdout.flush()
    stopped.wait()
    stop(app, server)
    return 0


def stop(app: Flask, server: Server) -> None:
    """Let requests end, then what lives; whatever does not end in time dies with the process
    and is repaired by the next start."""
    lifecycle.accepting = False
    server.stop(timeout=1)
    with app.app_context(), gevent.Timeout(_STOP_TIMEOUT_S, False):
        lifecycle.stop()
        # The last connection that closes brings SQLite's journal into the file.
        db.session.remove()
        db.engine.dispose()
        log.info("stopped")
        return
    log.error("stopped with parts still running")


if __name__ == "__main__":
    sys.exit(main())
