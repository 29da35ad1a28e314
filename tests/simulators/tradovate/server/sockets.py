"""The WebSocket door: frames, heartbeats, requests and what is told without being asked."""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from tests.simulators.tradovate.server.auth import Session
from tests.simulators.tradovate.server.calls import SOCKET, Answer, Call, dumps
from tests.simulators.tradovate.server.snapshot import Subscription, parts
from tests.simulators.tradovate.server.stream import Event
from tests.simulators.tradovate.server.wire import parse_json
from tests.simulators.tradovate.server.world import World

GO_AWAY = 3000
_MAX_MESSAGES_PER_FRAME = 50
_OUT_OF_ORDER_WAIT_S = 0.1
_TEXT_FRAME = 0x81
_NO_LINGER = struct.pack("ii", 1, 0)

Handler = Callable[["Socket", Call], Awaitable[Answer]]


class Socket:
    """One connection. Everything that goes out passes ``_pump``, in order."""

    def __init__(self, world: World, request: web.BaseRequest, handle: Handler) -> None:
        self.world = world
        self.session: Session | None = None
        self.token = ""
        self.is_md_only = False
        self.subscription: Subscription | None = None
        self.has_synced = False
        self.is_muted = False
        """Nothing more goes out, while the connection stays: a dead peer."""
        self.has_heartbeats = True
        self.truncates_next = False
        self._request = request
        self._handle = handle
        self._ws = web.WebSocketResponse(compress=False, autoping=False, timeout=1.0)
        self._out: deque[dict[str, Any] | str] = deque()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_closing = False
        self._last_client_beat = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, Any] | None = None

    # What the world tells it.

    def tell(self, event: Event) -> None:
        """One entity has changed."""
        if self.subscription is None or self.session is None:
            return
        if not self.subscription.wants(self.world, self.session, event):
            return
        entity = [event["entity"]] if self.world.switches.array_entities else event["entity"]
        self.send({"e": "props", "d": {**event, "entity": entity}})

    def send(self, message: dict[str, Any] | str) -> None:
        """A message for an ``a`` frame, or a whole frame."""
        if not self._is_closing:
            self._out.append(message)
            self._drained.clear()
            self._wake.set()

    def shut_down(self, reason_code: str) -> None:
        """Say why, then close."""
        self.send({"e": "shutdown", "d": {"reasonCode": reason_code, "reason": reason_code}})
        self.close_clean(reason_code)

    def close_clean(self, reason: str) -> None:
        """A ``c`` frame and the closing handshake, after what waits to go out."""
        self.send("c" + dumps([GO_AWAY, reason]))
        self._leave_the_world()
        self._is_closing = True

    def cut(self) -> None:
        """Reset the TCP connection."""
        self._leave_the_world()
        self._is_closing = True
        cut_transport(self._request)
        self._wake.set()

    def mute(self, is_muted: bool) -> None:
        self.is_muted = is_muted
        self.look_again()

    def look_again(self) -> None:
        """Something that its pump goes by has changed."""
        self._wake.set()

    async def drained(self) -> None:
        """Return when all that was told has been written."""
        while self._out and not self._is_closing and not self.is_muted:
            await self._drained.wait()

    # The connection.

    async def serve(self) -> web.WebSocketResponse:
        await self._ws.prepare(self._request)
        self.world.sockets.append(self)
        self.send("o")
        background = [asyncio.create_task(self._pump()), asyncio.create_task(self._watch())]
        try:
            await self._read()
        finally:
            self._leave_the_world()
            self._is_closing = True
            for task in [*background, *self._tasks]:
                task.cancel()
            await asyncio.gather(*background, *self._tasks, return_exceptions=True)
        return self._ws

    def _leave_the_world(self) -> None:
        if self in self.world.sockets:
            self.world.sockets.remove(self)

    async def _read(self) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.PING and not self.is_muted:
                await self._ws.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._take(message.data)

    def _take(self, frame: str) -> None:
        if frame == "[]":
            self._last_client_beat = time.monotonic()
            return
        task = asyncio.ensure_future(self._answer(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self) -> None:
        """Write what waits; an ``h`` when nothing did for a while."""
        while not self._ws.closed:
            try:
                async with asyncio.timeout(self.world.switches.heartbeat_s):
                    await self._wake.wait()
            except TimeoutError:
                if self.has_heartbeats and not self.is_muted:
                    self.send("h")
            self._wake.clear()
            try:
                await self._write_all()
            except (ConnectionError, RuntimeError):
                return

    async def _write_all(self) -> None:
        while self._out and not self.is_muted:
            frame = self._next_frame()
            if self.truncates_next and frame[0] == "a":
                self._truncate(frame)
                return
            await self._ws.send_str(frame)
            if frame[0] == "c":
                await self._ws.close(code=GO_AWAY)
        self._drained.set()

    def _next_frame(self) -> str:
        first = self._out.popleft()
        if isinstance(first, str):
            return first
        messages = [first]
        while self._out and len(messages) < _MAX_MESSAGES_PER_FRAME:
            if isinstance(self._out[0], str) or self._stand_alone(first, self._out[0]):
                break
            message = self._out.popleft()
            assert not isinstance(message, str)
            messages.append(message)
        return "a" + dumps(messages)

    def _stand_alone(self, *messages: dict[str, Any] | str) -> bool:
        """One of them is a response that gets a frame of its own."""
        return self.world.is_lenient and any("i" in message for message in messages)

    def _truncate(self, frame: str) -> None:
        """Half of a frame, then the end of the connection."""
        payload = frame.encode()
        transport = self._request.transport
        if transport is not None:
            data = _header(len(payload)) + payload
            transport.write(data[: len(data) // 2])
            transport.close()
        self._leave_the_world()
        self._is_closing = True

    async def _watch(self) -> None:
        """Cut off a client that is silent for too long."""
        while True:
            limit = self.world.switches.silence_s
            left = self._last_client_beat + limit - time.monotonic()
            if left <= 0:
                self.close_clean("Go away!")
                return
            await asyncio.sleep(min(left, 0.25))

    # Requests.

    async def _answer(self, frame: str) -> None:
        endpoint, number, query, body = (frame.split("\n", 3) + ["", "", ""])[:4]
        if not number.strip().lstrip("-").isdigit():
            self._respond(0, Answer(400, "Malformed request"))
            return
        request_id = int(number)
        answer = await self._handle(self, self._call(endpoint, query, body))
        if answer.is_cut:
            self.cut()
        elif not answer.never:
            self._respond(request_id, answer)

    def _call(self, endpoint: str, query: str, body: str) -> Call:
        path = endpoint.strip().strip("/").lower()
        call = Call(
            self.world,
            SOCKET,
            path,
            ip=self._request.remote or "",
            arrived=time.time(),
            query=dict(parse_qsl(query.strip())),
            session=self.session,
        )
        if path == "authorize":
            call.token = body.strip().strip('"')
        else:
            call.token = self.token
            call.body = parse_json(body)
        call.take_ticket()
        return call

    def _respond(self, request_id: int, answer: Answer) -> None:
        message: dict[str, Any] = {"s": answer.status, "i": request_id}
        if answer.raw is not None:
            self.send(f'a[{{"s":{answer.status},"i":{request_id},"d":{answer.raw}')
        elif answer.value not in (None, ""):
            message["d"] = answer.value
        if answer.raw is None:
            self._send_response(message, answer)

    def _send_response(self, message: dict[str, Any], answer: Answer) -> None:
        if isinstance(answer.value, Split):
            for part in parts(answer.value, self.world.switches.split_size):
                self.send({**message, "d": part})
        elif self.world.switches.out_of_order_responses and self._held is None:
            self._held = message
            asyncio.get_running_loop().call_later(_OUT_OF_ORDER_WAIT_S, self._release_held)
        else:
            self.send(message)
            self._release_held()

    def _release_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.send(held)


class Split(dict[str, list[Any]]):
    """A snapshot that is to be sent in parts."""


def authorize(socket: Socket, call: Call) -> Answer:
    """Bind the socket to the session of a token.

    Raises:
        Http: 401, or what the token of a closed session is answered.
    """
    token = call.token or ""
    session = socket.world.identify(token, takes_md=True)
    socket.session = session
    socket.token = token
    socket.is_md_only = socket.world.auth.is_md(token)
    socket.world.enforce_socket_limit(session.user_id)
    return Answer(200)


def cut_transport(request: web.BaseRequest) -> None:
    """End the connection with a reset, without a goodbye."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _NO_LINGER)
    transport.abort()


def _header(length: int) -> bytes:
    """Of an unmasked text frame."""
    if length < 126:
        return bytes([_TEXT_FRAME, length])
    if length < 1 << 16:
        return bytes([_TEXT_FRAME, 126]) + struct.pack("!H", length)
    return bytes([_TEXT_FRAME, 127]) + struct.pack("!Q", length)
