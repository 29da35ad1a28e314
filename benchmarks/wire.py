"""HTTP over a raw socket, as little as a load generator needs."""

from __future__ import annotations

import socket


def connect(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def post(peer: socket.socket, path: str, body: bytes) -> str:
    """Send one request on a kept connection and return the status of its answer."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    peer.sendall(head.encode() + body)
    return _status(peer)


def _status(peer: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = peer.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(rest) < length:
        rest += peer.recv(65536)
    return head[9:12].decode()
