"""One log-in at work: its session, its stream, and what both say of its accounts.

The stream is the first source; lists are read where it is not live, where an answer has to be
certain, and after every synchronisation. What changed is told to listeners by one greenlet, so
that the stream is never kept waiting by whoever listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult, Event

from app import clock
from app.brokers.base import AccountRef
from app.brokers.logins import LoginRef, StreamStatus
from app.brokers.tradovate import wire
from app.brokers.tradovate.budget import Budget, Purpose
from app.brokers.tradovate.contracts import Contracts, chunks, joined, rows
from app.brokers.tradovate.errors import NotSent, NotThere, refusal
from app.brokers.tradovate.frames import Change
from app.brokers.tradovate.mirror import Mirror, Touched
from app.brokers.tradovate.session import Session
from app.brokers.tradovate.stream import UserStream
from app.brokers.tradovate.wire import Entity
from app.domain.errors import (
    BrokerError,
    BrokerRateLimited,
    BrokerRefused,
    BrokerUnavailable,
)
from app.domain.trading import BrokerReport

log = logging.getLogger(__name__)

PATIENCE_S = 1.5
"""How long a verb waits to hear what became of what it sent."""
FEES_PATIENCE_S = 0.05
"""Fees follow their fill within moments, or not at all."""
_SECOND_LOOK_S = 0.4
_SHARED_S = 1.0
"""Lists that were read so short a time ago are good enough for the next who asks."""
_RETELL_S = 1.0
_FEES_AGAIN_S = 60.0
_UNREADABLE_S = 900.0
_FEW = 10
"""Up to so many orders are looked up by their ids, more by the list of all."""
_KEPT = timedelta(hours=48)
"""Finished orders are let go of after that."""
_REFS_S = 10.0
_INTERRUPTED = "Reading the lists was interrupted"

T = TypeVar("T")
Tell = Callable[[AccountRef, BrokerReport], None]


class Login:
    """``refs`` reads our accounts on the log-in; ``tell`` hands one report to every listener."""

    def __init__(
        self,
        ref: LoginRef,
        session: Session,
        budget: Budget,
        contracts: Contracts,
        *,
        refs: Callable[[], tuple[AccountRef, ...]],
        tell: Tell,
    ) -> None:
        self.ref = ref
        self.session = session
        self.budget = budget
        self.contracts = contracts
        self.mirror = Mirror(contracts.name_of, contracts.learn)
        self.stream: UserStream | None = None
        self.doubtful: set[str] = set()
        """Our ids of orders whose sending had no clear answer."""
        self.sending: set[str] = set()
        self.visible: set[int] = set()
        """The accounts that the broker listed last."""
        self._read_refs = refs
        self._tell = tell
        self._refs: dict[int, AccountRef] = {}
        self._refs_read = float("-inf")
        self._waiting: set[Event] = set()
        self._untold = Touched()
        self._teller: gevent.Greenlet | None = None
        self._namer: gevent.Greenlet | None = None
        self._is_closed = False
        self._lists_began = float("-inf")
        self._reading: _Reading | None = None
        self._changed_at = float("-inf")
        self._unreadable: dict[str, float] = {}
        self._fees_asked: tuple[frozenset[int], float] = (frozenset(), 0.0)
        self._was_synchronised = False

    @property
    def is_live(self) -> bool:
        return self.stream is not None and self.stream.state.status is StreamStatus.LIVE

    def close(self) -> None:
        self._is_closed = True
        if self.stream is not None:
            self.stream.stop()
        for greenlet in (self._teller, self._namer):
            if greenlet is not None:
                greenlet.kill(block=False)

    # Accounts

    def remember(self, account: AccountRef) -> int:
        """The broker's number of the account.

        Raises:
            BrokerRefused: ``account_unknown``: it has none.
        """
        number = wire.integer(account.broker_account_id)
        if number is None:
            raise BrokerRefused("The account has no number at Tradovate.", code="account_unknown")
        self._refs[number] = account
        return number

    def numbers(self) -> list[int]:
        """Of our accounts, read anew: nothing more is told of one that was deleted."""
        numbered = [(wire.integer(ref.broker_account_id), ref) for ref in self._read_refs()]
        self._refs = {number: ref for number, ref in numbered if number is not None}
        self._refs_read = monotonic()
        return sorted(self._refs)

    def refs(self) -> dict[int, AccountRef]:
        if monotonic() - self._refs_read > _REFS_S:
            self.numbers()
        return self._refs

    def spec(self, number: int) -> str:
        """The account's name, which orders must carry beside its number."""
        row = self.mirror.accounts.get(number)
        if row is None:
            found = rows(self.session.call("account/item", query={"id": number}))
            self.mirror.take("account", found)
            row = self.mirror.accounts.get(number)
        if row is None or not row.get("name"):
            raise BrokerRefused("Tradovate does not show this account.", code="account_unknown")
        return str(row["name"])

    # Calls

    def order_call(
        self, path: str, body: Entity, purpose: Purpose, *, by_hand: bool = False
    ) -> Entity:
        """The answer to a call that changes orders.

        Raises:
            BrokerRefused: it was not executed, or the body of the answer refuses it.
            BrokerUnavailable: it may have been executed.
        """
        self._changed_at = monotonic()
        try:
            answer = self.session.call(path, body=body, purpose=purpose, by_hand=by_hand)
        finally:
            self._changed_at = monotonic()
        refused = refusal(answer)
        if refused is not None:
            raise refused
        if not isinstance(answer, dict):
            raise BrokerUnavailable("Tradovate's answer could not be read")
        return answer

    # Waiting for what was sent

    def settle(
        self,
        ids: Callable[[], Iterable[int]],
        is_done: Callable[[], bool],
        purpose: Purpose = Purpose.READ,
        *,
        changes: bool = False,
    ) -> bool:
        """Wait until it is done: by the stream where it is live, else by two looks. Never raises:
        what was accepted is reported as far as it is known."""
        if self.is_live and self.wait(is_done, PATIENCE_S):
            return True
        for pause in (0.0,) if self.is_live else (0.0, _SECOND_LOOK_S):
            gevent.sleep(pause)
            try:
                self.look(ids(), purpose, changes=changes)
            except BrokerError as e:
                log.warning("no look", extra={"login_id": self.ref.id, "code": e.code})
            if is_done():
                return True
        return False

    def wait(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Until it is done, looking whenever something changed; False: not in time."""
        until = monotonic() + seconds
        changed = Event()
        self._waiting.add(changed)
        try:
            while not is_done():
                left = until - monotonic()
                if left <= 0:
                    return False
                changed.clear()
                changed.wait(left)
            return True
        finally:
            self._waiting.discard(changed)

    def look(
        self, order_ids: Iterable[int], purpose: Purpose = Purpose.READ, *, changes: bool = False
    ) -> None:
        """Read how these orders stand; of ``changes``, also what commands made of their terms.

        Raises:
            BrokerError: the broker did not answer; what was answered is known.
        """
        touched = Touched()
        try:
            for chunk in chunks(sorted(set(order_ids))):
                self._look_at(chunk, purpose, changes, touched)
            touched.add(self._name_contracts())
        finally:
            self.changed(touched)

    def _look_at(self, chunk: list[int], purpose: Purpose, changes: bool, touched: Touched) -> None:
        mirror = self.mirror
        versions = chunk if changes else self._unseen(mirror.without_terms(chunk), chunk)
        commands = chunk if changes else self._unseen(mirror.without_commands(chunk), chunk)
        found = together(
            partial(self._get, "order/items", {"ids": joined(chunk)}, purpose),
            partial(self._dependants, "fill", chunk, purpose),
            partial(self._dependants, "orderVersion", versions, purpose),
            partial(self._dependants, "command", commands, purpose),
        )
        for kind, listed in zip(("order", "fill", "orderVersion", "command"), found, strict=True):
            touched.add(mirror.take(kind, listed or ()))
        refused = [command for each in chunk for command in mirror.refused_commands(each)]
        more = together(
            partial(self._dependants, "commandReport", refused, purpose),
            partial(self._dependants, "fillFee", mirror.without_fees(chunk), purpose),
        )
        for kind, listed in zip(("commandReport", "fillFee"), more, strict=True):
            touched.add(mirror.take(kind, listed or ()))

    def _unseen(self, known_to_lack: list[int], order_ids: list[int]) -> list[int]:
        unknown = (i for i in order_ids if not self.mirror.knows(i))
        return sorted({*known_to_lack, *unknown})

    def read_strategies(self, purpose: Purpose = Purpose.READ) -> None:
        """Read the order strategies; without the permission for it nothing is known of them."""
        listed = self._optional("orderStrategy/list", None, purpose)
        self.changed(self.mirror.take("orderStrategy", listed or ()))

    def look_at_strategy(self, strategy_id: int, purpose: Purpose = Purpose.READ) -> None:
        links = self._get("orderStrategyLink/deps", {"masterid": strategy_id}, purpose)
        self.changed(self.mirror.take("orderStrategyLink", links or ()))
        self.look(self.mirror.orders_of_strategy(strategy_id), purpose)

    # Reading the lists

    def read(
        self, purpose: Purpose = Purpose.READ, *, is_fresh: bool = False, tells: bool = True
    ) -> Touched:
        """Bring the mirror up to date with the broker's lists, of all accounts at once. Who asks
        at the same time shares one reading, except ``is_fresh``: one that begins now.

        Returns what this reading changed where ``tells`` is False; the listeners are told then
        by the caller.

        Raises:
            BrokerError: a list could not be read.
        """
        earliest = monotonic() if is_fresh else max(self._changed_at, monotonic() - _SHARED_S)
        if self._lists_began >= earliest:
            return Touched()
        running = self._reading
        if running is not None and running.began >= earliest:
            running.done.get()
            return Touched()
        touched = self._read_as_first(purpose)
        if tells:
            self.changed(touched)
            return Touched()
        self._wake()
        return touched

    def read_contracts(self) -> None:
        """Look up the maturities of the products in use, once a day."""
        self.contracts.prefetch(partial(self.session.call, purpose=Purpose.POLL))

    def open_pnl(self, number: int) -> None:
        """Ask for the account's open P&L, which nothing else tells."""
        body = {"accountId": number}
        answer = self.session.call("cashBalance/getcashbalancesnapshot", body=body)
        refused = refusal(answer)
        if refused is not None:
            raise refused
        amount = wire.decimal(answer.get("openPnL")) if isinstance(answer, dict) else None
        if amount is not None:
            self.mirror.note_open_pnl(number, amount)

    def money(self, number: int) -> None:
        """Read what is known of the account's cash and margin."""
        cash, margin = together(
            partial(self._get, "cashBalance/deps", {"masterid": number}, Purpose.READ),
            partial(self._optional, "marginSnapshot/deps", {"masterid": number}, Purpose.READ),
        )
        touched = self.mirror.take("cashBalance", cash or ())
        touched.add(self.mirror.take("marginSnapshot", margin or ()))
        self.changed(touched)

    def _read_as_first(self, purpose: Purpose) -> Touched:
        reading = self._reading = _Reading()
        touched = Touched()
        try:
            self._read_lists(purpose, reading.began, touched)
        except BaseException as e:
            is_answer = isinstance(e, BrokerError)
            reading.done.set_exception(e if is_answer else BrokerUnavailable(_INTERRUPTED))
            # What the mirror has taken in is no news the next time.
            self.changed(touched)
            raise
        finally:
            if self._reading is reading:
                self._reading = None
        self._lists_began = max(self._lists_began, reading.began)
        reading.done.set(None)
        return touched

    def _read_lists(self, purpose: Purpose, began: float, touched: Touched) -> None:
        kinds = ("account", "position", "order", "fill", "cashBalance")
        lists = together(*(partial(self._get, f"{kind}/list", None, purpose) for kind in kinds))
        found = {kind: listed or [] for kind, listed in zip(kinds, lists, strict=True)}
        known_open = {n: self.mirror.open_ids(n) for n in self.refs()}
        for kind in kinds:
            touched.add(self.mirror.take(kind, found[kind]))
        visible = {row["id"] for row in found["account"]}
        listed_orders = {row["id"] for row in found["order"]}
        for number in visible & known_open.keys():
            held = [r for r in found["position"] if wire.integer(r.get("accountId")) == number]
            touched.add(self.mirror.close_missing(number, held, began))
            self._look_for(known_open[number] - listed_orders, purpose)
        if not self.is_live:
            margin = self._optional("marginSnapshot/list", None, purpose)
            touched.add(self.mirror.take("marginSnapshot", margin or ()))
        touched.add(self._explain(purpose))
        touched.add(self._read_fees(purpose))
        touched.add(self._name_contracts())
        self.visible = visible
        self.mirror.forget(self.mirror.finished_before(clock.now() - _KEPT))

    def _look_for(self, missing: set[int], purpose: Purpose) -> None:
        """Orders that were open and are not in the list: archived, perhaps ended before."""
        for order_id in sorted(missing):
            try:
                found = rows(
                    self.session.call("order/item", query={"id": order_id}, purpose=purpose)
                )
                self.changed(self.mirror.take("order", found))
            except NotThere:
                self.mirror.forget([order_id])

    def _explain(self, purpose: Purpose) -> Touched:
        """Find out the terms and the owners of orders that the stream has not told of."""
        touched = Touched()
        ids = self.mirror.unexplained()
        if not ids:
            return touched
        for kind in ("orderVersion", "command"):
            if len(ids) > _FEW:
                listed = self._optional(f"{kind}/list", None, purpose)
                touched.add(self.mirror.take(kind, listed or ()))
            left = self.mirror.without_terms(ids) if kind == "orderVersion" else ids
            left = [i for i in left if i in self.mirror.unexplained()] if left else []
            touched.add(self.mirror.take(kind, self._dependants(kind, left, purpose) or ()))
        rejected = [c for i in ids for c in self.mirror.refused_commands(i)]
        reports = self._dependants("commandReport", rejected, purpose)
        touched.add(self.mirror.take("commandReport", reports or ()))
        touched.add(self._read_strategies(ids, purpose))
        touched.add(self.mirror.examined(ids))
        return touched

    def _read_strategies(self, ids: list[int], purpose: Purpose) -> Touched:
        touched = Touched()
        if not self.mirror.nameless(ids):
            return touched
        strategies = self._optional("orderStrategy/list", None, purpose) or []
        touched.add(self.mirror.take("orderStrategy", strategies))
        wanted = [s["id"] for s in strategies if not self.mirror.orders_of_strategy(s["id"])]
        links = self._dependants("orderStrategyLink", wanted, purpose)
        touched.add(self.mirror.take("orderStrategyLink", links or ()))
        return touched

    def _read_fees(self, purpose: Purpose) -> Touched:
        missing = frozenset(self.mirror.without_fees())
        asked, at = self._fees_asked
        if not missing or (missing <= asked and monotonic() - at < _FEES_AGAIN_S):
            return Touched()
        self._fees_asked = (missing, monotonic())
        return self.mirror.take("fillFee", self._optional("fillFee/list", None, purpose) or ())

    def _name_contracts(self) -> Touched:
        ids = self.mirror.unnamed()
        if not ids:
            return Touched()
        self.contracts.resolve_names(ids, self.session.call)
        return self.mirror.about_contracts(ids)

    def _get(self, path: str, query: Entity | None, purpose: Purpose) -> list[Entity]:
        return rows(self.session.call(path, query=query, purpose=purpose))

    def _optional(self, path: str, query: Entity | None, purpose: Purpose) -> list[Entity] | None:
        """Rows without which we can do; None where the key may not see them, or there are none."""
        if self._unreadable.get(path, 0.0) > monotonic():
            return None
        try:
            return self._get(path, query, purpose)
        except (BrokerRateLimited, NotSent):
            raise
        except BrokerRefused:
            self._unreadable[path] = monotonic() + _UNREADABLE_S
            return None

    def _dependants(self, kind: str, masters: list[int], purpose: Purpose) -> list[Entity] | None:
        """One unknown master spoils the answer for all: then each is asked for by itself."""
        if not masters or self._unreadable.get(kind, 0.0) > monotonic():
            return None
        found: list[Entity] = []
        for chunk in chunks(masters):
            try:
                found += self._get(f"{kind}/ldeps", {"masterids": joined(chunk)}, purpose)
            except NotThere:
                found += self._dependants_singly(kind, chunk, purpose)
            except (BrokerRateLimited, NotSent):
                raise
            except BrokerRefused:
                self._unreadable[kind] = monotonic() + _UNREADABLE_S
                return found
        return found

    def _dependants_singly(self, kind: str, masters: list[int], purpose: Purpose) -> list[Entity]:
        found: list[Entity] = []
        for master in masters:
            try:
                found += self._get(f"{kind}/deps", {"masterid": master}, purpose)
            except NotThere:
                continue
        return found

    # The stream

    def on_change(self, changes: list[Change]) -> None:
        self.changed(self.mirror.apply(changes))
        if self.mirror.unnamed() and (self._namer is None or self._namer.dead):
            self._namer = gevent.spawn(self._name_later)

    def on_sync(self, parts: list[Any]) -> int:
        """Take in a snapshot and compare it with the lists; how much was not known, but for the
        first time. Listeners have been told everything when it returns."""
        touched = self.mirror.take_snapshot(parts)
        try:
            touched.add(self._read_as_first(Purpose.READ))
        except BaseException:
            self.changed(touched)
            raise
        repaired = len(touched) if self._was_synchronised else 0
        self._was_synchronised = True
        self._wake()
        self.tell_complete(touched)
        return repaired

    def _name_later(self) -> None:
        try:
            self.changed(self._name_contracts())
        except BrokerError as e:
            log.warning("contract not named", extra={"login_id": self.ref.id, "code": e.code})

    # Telling

    def changed(self, touched: Touched) -> None:
        """Let those go on who wait for it, and have it told."""
        if not touched:
            return
        self._wake()
        self._untold.add(touched)
        if self._teller is None or self._teller.dead:
            self._teller = gevent.spawn(self._tell_all)

    def tell_complete(self, touched: Touched) -> None:
        """One complete report of each of our accounts that the broker shows. What a listener
        cannot take, or nobody has time to tell, is told again, and the exception goes on."""
        try:
            for number, account in sorted(self.refs().items()):
                if number in self.visible:
                    self._tell(account, self.mirror.complete(number, touched))
        except BaseException:
            self.mirror.untell(touched)
            self.changed(touched)
            raise

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _tell_all(self) -> None:
        while self._untold and not self._is_closed:
            touched, self._untold = self._untold, Touched()
            try:
                for number, report in self.mirror.told_now(touched).items():
                    account = self.refs().get(number)
                    if account is not None:
                        self._tell(account, report)
            except Exception:  # the loop's edge: it is told again, with what came meanwhile
                log.exception("listener failed", extra={"login_id": self.ref.id})
                self.mirror.untell(touched)
                self._untold.add(touched)
                gevent.sleep(_RETELL_S)


class _Reading:
    """Lists that are being read."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.done: AsyncResult = AsyncResult()


def together(*calls: Callable[[], T]) -> list[T]:
    """Make the calls at the same time.

    Raises:
        The first one's exception, when all have ended.
    """
    greenlets = [gevent.spawn(_outcome, call) for call in calls]
    gevent.joinall(greenlets)
    found = []
    for greenlet in greenlets:
        value, error = greenlet.get()
        if error is not None:
            raise error
        found.append(value)
    return found


def _outcome(call: Callable[[], T]) -> tuple[Any, BrokerError | None]:
    try:
        return call(), None
    except BrokerError as e:
        return None, e
