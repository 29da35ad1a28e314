"""The books of the simulated broker: pure, synchronous, without sockets or a clock of its own."""

from tests.simulators.tradovate.venue.users import User
from tests.simulators.tradovate.venue.venue import Venue
from tests.simulators.tradovate.venue.wire import Http

__all__ = ["Http", "User", "Venue"]
