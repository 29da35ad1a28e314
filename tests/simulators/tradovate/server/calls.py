"""One request of a client and its answer, whichever door it came through."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulators.tradovate.server.auth import Session
    from tests.simulators.tradovate.server.world import World

HTTP, SOCKET = "http", "ws"
DENIED = "Access is denied"
ORDER_CALLS = frozenset(
    {
        "order/placeorder",
        "order/placeoso",
        "order/placeoco",
        "order/modifyorder",
        "order/cancelorder",
        "order/liquidateposition",
        "order/liquidatepositions",
        "orderstrategy/startorderstrategy",
        "orderstrategy/modifyorderstrategy",
        "orderstrategy/interruptorderstrategy",
    }
)


@dataclass
class Call:
    world: World
    door: str
    path: str
    """Lower-case, without the version: ``order/placeorder``."""
    ip: str
    arrived: float
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    token: str | None = None
    session: Session | None = None
    ticket: str | None = None
    forgiven: bool = False
    """Came with a valid penalty ticket."""

    def take_ticket(self) -> None:
        """Put the penalty ticket aside: what is left is the request it was issued for."""
        if isinstance(self.body, dict) and "p-ticket" in self.body:
            self.ticket = self.body.pop("p-ticket")
            self.body = self.body or None
        self.ticket = self.ticket or self.query.pop("p-ticket", None)

    @property
    def fields(self) -> dict[str, Any]:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def request(self) -> Any:
        """What a penalty ticket holds for."""
        return [self.query, self.body or {}]


@dataclass
class Answer:
    status: int
    value: Any = None
    """JSON of a 2xx; text of the others."""
    raw: str | None = None
    """Sent as it is in the place of the value."""
    content_type: str = "application/json"
    is_cut: bool = False
    """No answer: the connection breaks."""
    never: bool = False
    """No answer, and the connection stays."""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        if self.raw is not None:
            return self.raw
        if self.is_ok:
            return dumps(self.value)
        return str(self.value or "")


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=float)
