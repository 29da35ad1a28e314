"""A simulator in its own process for each module; each test finds it as after the start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.simulators.client import Client, Stream
from tests.simulators.tradovate.control import Simulator, running


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.reset()
    return process


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Client]:
    """demo/demo, logged in."""
    with Client(simulator.url) as client:
        client.log_in()
        yield client


@pytest.fixture
def stream(simulator: Simulator, client: Client) -> Iterator[Stream]:
    """An authorised socket of the same session that is told of everything that trades."""
    with Stream(simulator.ws_url) as stream:
        stream.authorize(client.token)
        stream.synchronize()
        yield stream
