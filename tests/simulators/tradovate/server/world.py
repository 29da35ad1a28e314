"""One environment, demo or live: its books, its log-ins, its budgets, its open sockets."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.simulators.tradovate.server import lenient
from tests.simulators.tradovate.server.auth import Auth, Key, Person, Session
from tests.simulators.tradovate.server.limits import Budget
from tests.simulators.tradovate.server.prices import quote_everything
from tests.simulators.tradovate.server.stream import Event, Stream
from tests.simulators.tradovate.server.switches import Switches
from tests.simulators.tradovate.server.ticking import Clock
from tests.simulators.tradovate.venue import Venue

if TYPE_CHECKING:
    from tests.simulators.tradovate.server.sockets import Socket

ID_STEP = 10_000_000
"""Worlds count their ids from multiples of it, so that no id exists in two."""


class World:
    def __init__(
        self, name: str, number: int, clock: Clock, switches: Switches, *, shapes: str, seed: int
    ) -> None:
        self.name = name
        self.clock = clock
        self.switches = switches
        self.shapes = shapes
        self.venue = Venue(now=clock.now, shapes=shapes, seed=seed, first_id=number * ID_STEP + 1)
        self.auth = Auth(clock, switches, on_close=self._cut_sockets_of)
        self.stream = Stream(self._deliver)
        self.sockets: list[Socket] = []
        """Open ones, authorised or not, oldest first."""
        self.is_live_apart = False
        self.in_maintenance = False
        self.partner: World | None = None
        self._budgets: dict[int, Budget] = {}
        quote_everything(self.venue)
        self.venue.on_event.append(self._publish)

    # People.

    def add_user(
        self, name: str, password: str, *, user_id: int | None = None, **options: Any
    ) -> Person:
        """``options``: ``keys`` (list of Key), ``email``, ``is_organization``."""
        user = self.venue.add_user(name, password, user_id=user_id)
        keys = {key.cid: key for key in options.pop("keys", [])}
        person = Person(user.id, name, password, keys, **options)
        self.auth.register(person)
        return person

    def add_account(self, person: Person, **options: Any) -> dict[str, Any]:
        user = self.venue.users[person.id]
        account: dict[str, Any] = self.venue.add_account(user, **options)
        return account

    def identify(self, token: str | None, *, takes_md: bool = False) -> Session:
        """The session of a token of this world, or of the partner's if such are taken.

        Raises:
            Http: 401, or what a closed session is answered.
        """
        partner = self.partner
        if partner is None or self.auth.knows(token) or not partner.auth.knows(token):
            return self.auth.identify(token, takes_md=takes_md)
        session = partner.auth.identify(token, takes_md=takes_md)
        taken = self.switches.tokens_cross_worlds
        if taken == "all" or taken == session.via:
            return self.auth.adopt(session)
        return self.auth.identify(token)

    def owner_of(self, token: str | None) -> Auth:
        """Where a token was issued."""
        partner = self.partner
        is_foreign = partner is not None and not self.auth.knows(token)
        return partner.auth if partner and is_foreign else self.auth

    def budget(self, user_id: int) -> Budget:
        if user_id not in self._budgets:
            switches = self.switches
            self._budgets[user_id] = Budget(
                switches.limit, switches.limit_window_s, switches.lock_s
            )
        return self._budgets[user_id]

    def forget_budgets(self) -> None:
        self._budgets.clear()

    @property
    def is_lenient(self) -> bool:
        """More is read and told than the schema has; see ``lenient``."""
        return bool(self.venue.switches.lenient)

    def account_of(self, kind: str, entity: dict[str, Any]) -> int | None:
        """The account that an entity belongs to; None for the library and for users."""
        if kind == "account":
            return int(entity["id"])
        if "accountId" in entity:
            return int(entity["accountId"])
        return self.venue.account_of(kind, entity["id"])

    def prices(self, contract_id: int) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
        """Bid, ask and last; None when the contract was never quoted."""
        contract = self.venue.library.get(contract_id)
        quote = self.venue.quote(contract.name) if contract else None
        return (quote["bid"], quote["ask"], quote["last"]) if quote else (None, None, None)

    # Sockets.

    def sockets_of(self, user_id: int | None) -> list[Socket]:
        """All open ones, or the authorised ones of one user, oldest first."""
        return [
            socket
            for socket in self.sockets
            if user_id is None or (socket.session and socket.session.user_id == user_id)
        ]

    def enforce_socket_limit(self, user_id: int) -> None:
        """Close the oldest sockets above the limit and revoke their tokens."""
        mine = self.sockets_of(user_id)
        for socket in mine[: max(0, len(mine) - self.switches.max_sockets)]:
            socket.shut_down("ConnectionQuotaReached")
            if socket.session is not None and socket.token:
                self.auth.revoke_token(socket.token)

    def _publish(self, user_id: int, event: Event) -> None:
        if self.is_lenient:
            entity = lenient.row(self.venue, event["entityType"], event["entity"])
            event = {**event, "entity": entity}
        self.stream.publish(user_id, event)

    def _deliver(self, user_id: int, event: Event) -> None:
        for socket in self.sockets_of(user_id):
            socket.tell(event)

    def _cut_sockets_of(self, session: Session) -> None:
        worlds = [self] if self.partner is None else [self, self.partner]
        for socket in [socket for world in worlds for socket in world.sockets]:
            if socket.session and session in (socket.session, socket.session.foreign):
                socket.close_clean("Session closed")


def key_of(asked: dict[str, Any]) -> Key:
    """An API key as the control port is sent it."""
    return Key(
        cid=str(asked.get("cid", "1")),
        sec=str(asked.get("sec", "demo")),
        permissions=dict(asked.get("permissions") or {}),
        redirect_uris=tuple(asked.get("redirect_uris") or ()),
    )
