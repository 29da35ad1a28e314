"""The process: options, ports, and one line of JSON when it is ready."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
from collections.abc import Sequence

from aiohttp import web

from tests.simulators.tradovate.server.http import Door, door
from tests.simulators.tradovate.server.panel import Panel
from tests.simulators.tradovate.server.simulation import Options, Simulation
from tests.simulators.tradovate.server.switches import parse_limit

_PARENT_LOOK_S = 1.0
_GC_THRESHOLD = 50_000


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _parser().parse_args(arguments)
    # Short pauses matter more to a benchmark than a little memory.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(asked))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulators.tradovate",
        description="A Tradovate of our own. Port 0 is a free port.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--control-port", type=int, default=8081)
    parser.add_argument("--live-port", type=int, help="a live world of its own; else one for both")
    parser.add_argument("--shapes", choices=["2024", "2026"], default="2026")
    parser.add_argument("--limit", type=parse_limit, default="5000/h", help="5000/h or 80/min")
    parser.add_argument("--lenient", action="store_true", help="serve third-party clients, too")
    parser.add_argument("--walk", action="store_true", help="let the prices move")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--with-parent", action="store_true", help="end when the parent has")
    return parser


async def _serve(asked: argparse.Namespace) -> None:
    simulation = Simulation(
        Options(
            shapes=asked.shapes,
            limit=asked.limit,
            is_lenient=asked.lenient,
            walks=asked.walk,
            has_live=asked.live_port is not None,
            seed=asked.seed,
        )
    )
    demo = await _listen(
        door(lambda: simulation.demo, lambda: simulation.desk), asked.host, asked.port
    )
    live = demo
    if asked.live_port is not None:
        live = await _listen(
            door(lambda: simulation.live, lambda: simulation.desk), asked.host, asked.live_port
        )
    control = await _listen(Panel(simulation).handle, asked.host, asked.control_port)
    ready = {
        "url": f"http://{asked.host}:{demo}/v1",
        "live_url": f"http://{asked.host}:{live}/v1",
        "ws_url": f"ws://{asked.host}:{demo}/v1/websocket",
        "live_ws_url": f"ws://{asked.host}:{live}/v1/websocket",
        "md_url": f"ws://{asked.host}:{demo}/md/v1/websocket",
        "oauth_url": f"http://{asked.host}:{live}/oauth",
        "control_url": f"http://{asked.host}:{control}",
    }
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await asyncio.gather(simulation.walk(), _wait_for_end(asked.with_parent))


async def _listen(handle: Door, host: str, port: int) -> int:
    """The port that was bound."""
    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_address=True)
    await site.start()
    bound: int = runner.addresses[0][1]
    return bound


async def _wait_for_end(ends_with_parent: bool) -> None:
    """Never returns by itself, unless the process that started this one is gone."""
    parent = os.getppid()
    while not ends_with_parent or os.getppid() == parent:
        await asyncio.sleep(_PARENT_LOOK_S)
    os._exit(0)
