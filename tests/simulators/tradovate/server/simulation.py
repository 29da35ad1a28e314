"""The whole service: one world or two, the desk that answers for them, the walk of prices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.simulators.tradovate.server.auth import Key
from tests.simulators.tradovate.server.desk import Desk
from tests.simulators.tradovate.server.marketdata import MarketData
from tests.simulators.tradovate.server.switches import Switches
from tests.simulators.tradovate.server.ticking import Clock
from tests.simulators.tradovate.server.world import World

_WALK_S = 0.25
_ACCOUNTS = 2


@dataclass(frozen=True)
class Options:
    """How the process was started; a reset goes back to it."""

    shapes: str = "2026"
    limit: tuple[int, float] = (5000, 3600)
    is_lenient: bool = False
    walks: bool = False
    has_live: bool = False
    seed: int = 1


class Simulation:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._build()

    def _build(self) -> None:
        options = self.options
        self.clock = Clock()
        self.switches = Switches()
        self.switches.limit, self.switches.limit_window_s = options.limit
        self.market = MarketData(self.clock)
        self.desk = Desk(self.clock, self.switches, self.market)
        self.demo = self._world("demo", 1)
        self.live = self.demo
        if options.has_live:
            self.live = self._world("live", 2)
            self.live.is_live_apart = True
            self.demo.partner, self.live.partner = self.live, self.demo

    def _world(self, name: str, number: int) -> World:
        options = self.options
        world = World(
            name, number, self.clock, self.switches, shapes=options.shapes, seed=options.seed
        )
        if options.is_lenient:
            world.venue.switches.assign(lenient=True)
        # Ids that a README may name: 100, 101, 102, in the live world 200, 201, 202.
        user_id = number * 100
        person = world.add_user("demo", "demo", user_id=user_id, keys=[Key("1", "demo")])
        for account in range(1, _ACCOUNTS + 1):
            world.add_account(person, cash="100000", account_id=user_id + account)
        world.stream.forget()
        return world

    @property
    def worlds(self) -> list[World]:
        return [self.demo] if self.live is self.demo else [self.demo, self.live]

    def world(self, name: str | None) -> World:
        """Raises KeyError for an unknown name."""
        return {"demo": self.demo, "live": self.live, None: self.demo}[name]

    def reset(self) -> None:
        """As it was after the start: nobody is connected, nothing was traded."""
        for world in self.worlds:
            for socket in list(world.sockets):
                socket.cut()
        self.desk.rules.clear()
        self._build()

    def prices_changed(self) -> None:
        for world in self.worlds:
            self.market.refresh(world)

    async def walk(self) -> None:
        """Let the prices move by themselves, if the process was started so."""
        while self.options.walks:
            await asyncio.sleep(_WALK_S)
            for world in self.worlds:
                world.venue.tick()
            self.prices_changed()
