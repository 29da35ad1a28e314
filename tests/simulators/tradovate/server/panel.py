"""The control port: ``POST /<verb>`` with JSON. What a test does to the service."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from tests.simulators.tradovate.server.auth import Person
from tests.simulators.tradovate.server.calls import dumps
from tests.simulators.tradovate.server.simulation import Simulation
from tests.simulators.tradovate.server.sockets import Socket
from tests.simulators.tradovate.server.stream import Disturbance
from tests.simulators.tradovate.server.wire import Unreadable, parse_json
from tests.simulators.tradovate.server.world import World, key_of

Asked = dict[str, Any]
_NOTHING: dict[str, Any] = {"ok": True}
_GARBAGE = 'a[{"e":"props","d":{"entityType":"order","ev'


class Panel:
    """A method that is named ``do_<verb>`` answers that verb.

    Most verbs take ``world`` (demo or live, demo without it) and ``user`` (name or id; without
    it everybody is meant).
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        verb = request.path.strip("/").replace("-", "_")
        method: Callable[[Asked], Any] | None = getattr(self, f"do_{verb}", None)
        asked = parse_json(await request.text()) or {}
        if method is None or isinstance(asked, Unreadable):
            return _answer({"error": f"no such verb: {verb}"}, status=404)
        try:
            value = method(asked)
        except (KeyError, ValueError, TypeError, AttributeError, InvalidOperation) as e:
            return _answer({"error": f"{type(e).__name__}: {e}"}, status=400)
        return _answer(value)

    # The world.

    def do_reset(self, _: Asked) -> Any:
        self._simulation.reset()
        return _NOTHING

    def do_add_user(self, asked: Asked) -> Any:
        """``keys``: [{cid, sec, permissions, redirect_uris}]; or one key's fields directly."""
        world = self._world(asked)
        keys = asked.get("keys") or [asked]
        person = world.add_user(
            asked["name"],
            asked.get("password", "demo"),
            keys=[key_of(key) for key in keys],
            email=asked.get("email", ""),
            is_organization=bool(asked.get("is_organization")),
        )
        return {"id": person.id, "name": person.name}

    def do_add_account(self, asked: Asked) -> Any:
        """``user`` is needed; ``name`` and ``cash`` may be given, and what the venue takes."""
        options = {k: v for k, v in asked.items() if k not in ("user", "world")}
        options["cash"] = str(options.get("cash", "100000"))
        world = self._world(asked)
        return world.add_account(world.auth.person(asked["user"]), **options)

    def do_users(self, asked: Asked) -> Any:
        return [{"id": p.id, "name": p.name} for p in self._world(asked).auth.people]

    def do_set_price(self, asked: Asked) -> Any:
        """``contract`` and ``bid``; ``ask`` and ``last`` follow from it if they are missing."""
        prices = {
            name: Decimal(str(asked[name])) for name in ("bid", "ask", "last") if name in asked
        }
        self._world(asked).venue.set_price(self._contract(asked), **prices)
        self._simulation.prices_changed()
        return _NOTHING

    def do_set(self, asked: Asked) -> Any:
        """Switches of the server or of the venue (of both worlds unless one is named)."""
        values = {name: value for name, value in asked.items() if name != "world"}
        ours = {n: v for n, v in values.items() if hasattr(self._simulation.switches, n)}
        theirs = {n: v for n, v in values.items() if n not in ours}
        named = asked.get("world")
        for world in [self._world(asked)] if named else self._simulation.worlds:
            world.venue.switches.assign(**theirs)
            for socket in world.sockets:
                socket.look_again()
        for name, value in ours.items():
            kind = type(getattr(self._simulation.switches, name))
            setattr(self._simulation.switches, name, kind(value))
        if "limit" in ours or "limit_window_s" in ours or "lock_s" in ours:
            self.do_forget_limits({})
        return _NOTHING

    def do_switches(self, asked: Asked) -> Any:
        return dict(vars(self._simulation.switches))

    def do_advance(self, asked: Asked) -> Any:
        """Move the service's clock ahead by ``seconds``."""
        self._simulation.clock.advance(float(asked["seconds"]))
        return {"now": self._simulation.clock.seconds()}

    def do_book(self, asked: Asked) -> Any:
        return self._world(asked).venue.book()

    def do_session_roll(self, asked: Asked) -> Any:
        world = self._world(asked)
        world.venue.session_roll()
        world.stream.forget()
        return _NOTHING

    def do_archive(self, asked: Asked) -> Any:
        self._world(asked).venue.archive()
        return _NOTHING

    def do_venue(self, asked: Asked) -> Any:
        """Call any public method of the venue: ``{"method": ..., "arguments": {...}}``."""
        method = str(asked["method"])
        if method.startswith("_"):
            raise ValueError(f"{method} is not public")
        value = getattr(self._world(asked).venue, method)(**asked.get("arguments", {}))
        self._simulation.prices_changed()
        return {"value": value}

    def do_manual_trade(self, asked: Asked) -> Any:
        """Somebody trades by hand: ``account_id``, ``contract``, ``action``, ``qty``."""
        return {"value": self._manual("manual_trade", asked)}

    def do_manual_order(self, asked: Asked) -> Any:
        return {"value": self._manual("manual_order", asked)}

    def do_hide_account(self, asked: Asked) -> Any:
        """Missing from lists and snapshots; ``hidden`` false brings it back."""
        switches = self._world(asked).venue.switches
        account_id = int(asked["account_id"])
        hidden = set(switches.hidden_accounts) - {account_id}
        if asked.get("hidden", True):
            hidden.add(account_id)
        switches.assign(hidden_accounts=hidden)
        return _NOTHING

    # Requests.

    def do_rule(self, asked: Asked) -> Any:
        rule = self._simulation.desk.rules.add(asked.get("rule", asked))
        return {"id": rule.id}

    def do_rules(self, _: Asked) -> Any:
        return self._simulation.desk.rules.all

    def do_clear_rules(self, asked: Asked) -> Any:
        self._simulation.desk.rules.clear(asked.get("id"))
        return _NOTHING

    def do_latency(self, asked: Asked) -> Any:
        self._simulation.switches.latency_ms = float(asked["ms"])
        return _NOTHING

    def do_forget_limits(self, _: Asked) -> Any:
        """Every counter starts again, and nobody is locked out."""
        self._simulation.desk.limits.forget()
        for world in self._simulation.worlds:
            world.forget_budgets()
        return _NOTHING

    def do_maintenance(self, asked: Asked) -> Any:
        """Requests answer 503 and the sockets are closed, until ``on`` is false."""
        named = asked.get("world")
        for world in [self._world(asked)] if named else self._simulation.worlds:
            world.in_maintenance = bool(asked.get("on", True))
            if world.in_maintenance:
                for socket in list(world.sockets):
                    socket.shut_down("Maintenance")
        return _NOTHING

    def do_requests(self, asked: Asked) -> Any:
        return self._simulation.desk.journal.entries(asked.get("path"), asked.get("user"))

    def do_counts(self, _: Asked) -> Any:
        return self._simulation.desk.journal.counts()

    def do_first_bytes(self, _: Asked) -> Any:
        return self._simulation.desk.journal.first_bytes()

    def do_clear_requests(self, _: Asked) -> Any:
        self._simulation.desk.journal.clear()
        return _NOTHING

    # Log-ins.

    def do_expire_tokens(self, asked: Asked) -> Any:
        return {"count": self._world(asked).auth.expire(self._person(asked))}

    def do_revoke_tokens(self, asked: Asked) -> Any:
        """Close the sessions and their sockets; ``status`` is what the tokens get from now on."""
        auth = self._world(asked).auth
        return {"count": auth.revoke(self._person(asked), asked.get("status"))}

    def do_open_session(self, asked: Asked) -> Any:
        """A person logs in to the web trader; it counts as a session."""
        auth = self._world(asked).auth
        session = auth.open(auth.person(asked["user"]), None, "web", via="password")
        return {"id": session.id}

    def do_sessions(self, asked: Asked) -> Any:
        person = self._person(asked)
        auth = self._world(asked).auth
        people = auth.people if person is None else [person]
        return [
            {"id": s.id, "user": s.person.name, "via": s.via, "device_id": s.device_id}
            for p in people
            for s in auth.sessions_of(p)
        ]

    # Sockets and events.

    def do_sockets(self, asked: Asked) -> Any:
        return [
            {
                "user": socket.session.person.name if socket.session else None,
                "has_synced": socket.has_synced,
                "is_muted": socket.is_muted,
            }
            for socket in self._sockets(asked)
        ]

    def do_cut_sockets(self, asked: Asked) -> Any:
        """``how``: abrupt, clean or shutdown (with ``reason_code``)."""
        how = asked.get("how", "abrupt")
        if how not in ("abrupt", "clean", "shutdown"):
            raise ValueError(f"sockets are cut abrupt, clean or shutdown, not {how}")
        sockets = self._sockets(asked)
        for socket in sockets:
            if how == "abrupt":
                socket.cut()
            elif how == "clean":
                socket.close_clean("Go away!")
            else:
                socket.shut_down(asked.get("reason_code", "Maintenance"))
        return {"count": len(sockets)}

    def do_stop_heartbeats(self, asked: Asked) -> Any:
        """The open sockets fall silent and stay open; with ``only`` they still tell events."""
        sockets = self._sockets(asked)
        is_on = bool(asked.get("on", True))
        for socket in sockets:
            if asked.get("only"):
                socket.has_heartbeats = not is_on
            else:
                socket.mute(is_on)
        return {"count": len(sockets)}

    def do_truncate_frame(self, asked: Asked) -> Any:
        """The next data frame of each socket ends in the middle, and so does the connection."""
        sockets = self._sockets(asked)
        for socket in sockets:
            socket.truncates_next = True
        return {"count": len(sockets)}

    def do_garbage_frame(self, asked: Asked) -> Any:
        """Send a text that is no frame of the protocol."""
        sockets = self._sockets(asked)
        for socket in sockets:
            socket.send(str(asked.get("text", _GARBAGE)))
        return {"count": len(sockets)}

    def do_disturb_events(self, asked: Asked) -> Any:
        """``kind``: lose, duplicate, delay or reorder; ``times`` events, null until cleared."""
        person = self._person(asked)
        times = asked.get("times", 1)
        self._world(asked).stream.add(
            Disturbance(
                asked["kind"],
                None if times is None else int(times),
                ms=float(asked.get("ms", 200)),
                entity_types=tuple(asked.get("entity_types") or ()),
                user_id=person.id if person else None,
            )
        )
        return _NOTHING

    def do_clear_events(self, asked: Asked) -> Any:
        self._world(asked).stream.clear()
        return _NOTHING

    def do_replay_events(self, asked: Asked) -> Any:
        world = self._world(asked)
        return {"count": world.stream.replay(world.auth.person(asked["user"]).id)}

    def do_events(self, asked: Asked) -> Any:
        """What the user was, or should have been, told in this session."""
        world = self._world(asked)
        return world.stream.told(world.auth.person(asked["user"]).id)

    # Ground.

    def _world(self, asked: Asked) -> World:
        return self._simulation.world(asked.get("world"))

    def _person(self, asked: Asked) -> Person | None:
        user = asked.get("user")
        return None if user is None else self._world(asked).auth.person(user)

    def _sockets(self, asked: Asked) -> list[Socket]:
        person = self._person(asked)
        return list(self._world(asked).sockets_of(person.id if person else None))

    def _manual(self, method: str, asked: Asked) -> Any:
        arguments = {name: value for name, value in asked.items() if name != "world"}
        if "contract" in arguments:
            arguments["contract"] = self._contract(asked)
        return getattr(self._world(asked).venue, method)(**arguments)

    def _contract(self, asked: Asked) -> str:
        """The name of a contract; for a product (``MNQ``) that of the one that expires next."""
        world, name = self._world(asked), str(asked["contract"])
        if not world.venue.library.chain(name):
            return name
        return world.venue.library.front(name, world.clock.now()).name


def _answer(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=dumps(value), content_type="application/json")
