"""A WebSocket server that does, byte by byte, what a test tells it: what no proper server does."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gevent import socket
from gevent.server import StreamServer

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE = 0x1, 0x8
_FIN = 0x80
_NO_LINGER = struct.pack("ii", 1, 0)


def header(length: int, opcode: int = _TEXT, *, fin: bool = True) -> bytes:
    first = opcode | (_FIN if fin else 0)
    if length < 126:
        return bytes([first, length])
    if length < 1 << 16:
        return bytes([first, 126]) + struct.pack("!H", length)
    return bytes([first, 127]) + struct.pack("!Q", length)


def text_frame(text: str | bytes) -> bytes:
    payload = text.encode() if isinstance(text, str) else text
    return header(len(payload)) + payload


def props(kind: str, entity: Any, what: str = "Created") -> dict[str, Any]:
    return {"e": "props", "d": {"entityType": kind, "eventType": what, "entity": entity}}


def frame_of(*messages: dict[str, Any]) -> str:
    return "a" + json.dumps(messages)


class Gone(Exception):
    """The client has closed the connection."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = sock.makefile("rb")
        self.wait_until_live: Callable[[], object] = lambda: None
        self.headers: dict[str, str] = {}
        self.heard: list[str] = []
        """Every text of the client, beats among them."""

    def read_upgrade(self) -> None:
        while (line := self._file.readline().decode().strip()) or not self.headers:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
            if not line:
                raise Gone

    def upgrade(self, *more: str) -> None:
        self.read_upgrade()
        key = self.headers["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest()).decode()  # noqa: S324
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept}", *more, "", ""]
        self.raw("\r\n".join(lines))

    def answer(self, status: str, body: str = "", *more: str) -> None:
        """Plain HTTP where a WebSocket was asked for."""
        self.read_upgrade()
        length = f"Content-Length: {len(body.encode())}"
        self.raw("\r\n".join([f"HTTP/1.1 {status}", length, *more, "", body]))
        self.close()

    def raw(self, data: bytes | str) -> None:
        self._sock.sendall(data.encode() if isinstance(data, str) else data)

    def send(self, text: str | bytes) -> None:
        self.raw(text_frame(text))

    def tell(self, *messages: dict[str, Any]) -> None:
        self.send(frame_of(*messages))

    def reply(self, number: int, status: int = 200, **data: Any) -> None:
        self.tell({"i": number, "s": status, **data})

    def read(self) -> str:
        """The next text that is no beat. Raises Gone."""
        while True:
            opcode, payload = self._read_frame()
            if opcode == _CLOSE:
                raise Gone("said goodbye")
            text = payload.decode()
            self.heard.append(text)
            if text != "[]":
                return text

    def read_request(self) -> tuple[str, int, Any]:
        endpoint, number, _, body = self.read().split("\n", 3)
        return endpoint, int(number), json.loads(body) if body.startswith("{") else body

    def read_until_gone(self) -> None:
        with suppress(Gone):
            while True:
                self.read()

    def hang_up(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self._file.close()
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._file.close()
        self._sock.close()

    # Whole conversations.

    def open(self) -> str:
        """Upgrade and ``o``; the token that came."""
        self.upgrade()
        self.send("o")
        endpoint, _, token = self.read_request()
        assert endpoint == "authorize"
        return str(token)

    def authorize(self) -> str:
        token = self.open()
        self.reply(0)
        return token

    def read_sync(self) -> Any:
        endpoint, number, body = self.read_request()
        assert (endpoint, number) == ("user/syncrequest", 1)
        return body

    def live(self, **arrays: Any) -> Any:
        """Up to the snapshot; the body of the request for it."""
        self.authorize()
        body = self.read_sync()
        self.reply(1, d={"orders": [], **arrays})
        return body

    def until_live(self) -> None:
        """... and until the client says that it is."""
        self.live()
        self.wait_until_live()

    def _read_frame(self) -> tuple[int, bytes]:
        try:
            first, second = self._exactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self._exactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._exactly(8))
            mask, data = self._exactly(4), self._exactly(length)
        except (OSError, ValueError) as e:
            raise Gone from e
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))

    def _exactly(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if len(data) < size:
            raise Gone
        return data


Script = Callable[[Peer], object]


class Server:
    """Each connection runs the next script; the last one runs again and again."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self.wait_until_live: Callable[[], object] = lambda: None
        self._scripts = scripts
        secure = {} if tls is None else {"ssl_context": tls}
        self._scheme = "ws" if tls is None else "wss"
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **secure)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        for peer in self.peers:
            peer.hang_up()
        self._server.stop(timeout=0.5)

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self._server.server_port}/v1/websocket"

    def _serve(self, sock: socket.socket, _address: object) -> None:
        peer = Peer(sock)
        peer.wait_until_live = self.wait_until_live
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        try:
            script(peer)
            peer.read_until_gone()
        except (Gone, OSError, ValueError):
            pass
        except AssertionError as e:
            self.failures.append(e)
        finally:
            peer.close()


@contextmanager
def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(*scripts, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert not server.failures, server.failures
