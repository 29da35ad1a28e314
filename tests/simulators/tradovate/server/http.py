"""The HTTP door of one world: paths, bodies, status codes and the log-in page."""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.simulators.tradovate.server.auth import Key, Person
from tests.simulators.tradovate.server.calls import HTTP, Answer, Call
from tests.simulators.tradovate.server.desk import Desk
from tests.simulators.tradovate.server.sockets import Socket, cut_transport
from tests.simulators.tradovate.server.wire import parse_json
from tests.simulators.tradovate.server.world import World

_API = "/v1/"
_SOCKETS = frozenset({"/v1/websocket", "/v1/mdwebsocket", "/md/v1/websocket"})
_BEARER = "bearer "
_LOGIN_PAGE = """<!doctype html><title>Log in</title><form method="post">{hidden}
<input name="name" placeholder="User"><input name="password" type="password">
<button>Log in</button></form>"""

Door = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def door(world: Callable[[], World], desk: Callable[[], Desk]) -> Door:
    """The handler of one port. What it serves is looked up each time: a reset replaces it."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.lower()
        if path in _SOCKETS:
            return await _socket(world(), desk(), request)
        if path == "/oauth":
            return await _login_page(world(), request)
        if path.startswith(_API):
            return await _api(world(), desk(), request, path.removeprefix(_API).strip("/"))
        return web.Response(status=404)

    return handle


async def _socket(world: World, desk: Desk, request: web.BaseRequest) -> web.StreamResponse:
    if world.in_maintenance:
        return web.Response(status=503, text="Service Unavailable")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(status=400)
    return await Socket(world, request, lambda socket, call: desk.answer(call, socket)).serve()


async def _api(world: World, desk: Desk, request: web.BaseRequest, path: str) -> web.StreamResponse:
    arrived = time.time()
    call = Call(
        world,
        HTTP,
        path,
        ip=request.remote or "",
        arrived=arrived,
        query=dict(request.query),
        body=_body(request, await request.text()),
        token=_token(request, strays="$" if world.is_lenient else ""),
    )
    call.take_ticket()
    answer = await desk.answer(call)
    if answer.is_cut:
        cut_transport(request)
    return _response(answer)


def _token(request: web.BaseRequest, *, strays: str) -> str | None:
    """``strays`` are characters that may come before it."""
    header = request.headers.get("Authorization", "")
    is_bearer = header.lower().startswith(_BEARER)
    return header[len(_BEARER) :].lstrip(strays) if is_bearer else None


def _body(request: web.BaseRequest, text: str) -> Any:
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(text))
    return parse_json(text)


def _response(answer: Answer) -> web.Response:
    status = answer.status or 500
    if answer.raw is not None:
        return web.Response(status=status, text=answer.raw, content_type=answer.content_type)
    if answer.is_ok:
        return web.Response(status=status, text=answer.text, content_type="application/json")
    return web.Response(status=status, body=answer.text.encode(), content_type="text/plain")


# The log-in page.


async def _login_page(world: World, request: web.BaseRequest) -> web.Response:
    """The form; with ``auto=1`` or a posted form, the way back with a code.

    ``auto`` logs in the user of ``user`` or, without it, the one whose key it is.
    """
    asked = dict(request.query)
    known = world.auth.key(asked.get("client_id", ""))
    if known is None or asked.get("response_type") != "code":
        return web.Response(status=400, text="Unknown client or response type")
    owner, key = known
    uri = asked.get("redirect_uri", "")
    if not uri or (key.redirect_uris and uri not in key.redirect_uris):
        return web.Response(status=400, text="redirect_uri is not registered")
    if "auto" in asked:
        return _back(world, _chosen(world, asked, owner), key, asked)
    if request.method != "POST":
        return web.Response(text=_form(asked), content_type="text/html")
    form = dict(parse_qsl(await request.text()))
    person = world.auth.check(form.get("name", ""), form.get("password", ""))
    if person is None:
        return web.Response(status=200, text=_form(asked), content_type="text/html")
    return _back(world, person, key, {**asked, **form})


def _chosen(world: World, asked: dict[str, str], owner: Person) -> Person:
    try:
        return world.auth.person(asked.get("user", owner.name))
    except KeyError:
        return owner


def _back(world: World, person: Person, key: Key, asked: dict[str, str]) -> web.Response:
    target = world.auth.redirect(person, person.keys.get(key.cid, key), asked)
    return web.Response(status=302, headers={"Location": target})


def _form(asked: dict[str, str]) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in asked.items()
    )
    return _LOGIN_PAGE.format(hidden=hidden)
