"""The paper broker: the matching engine, its tables, and the pump that brings it quotes.

The database is the truth. The engine in memory is a cache of it: every step is stored first and
taken over by the engine afterwards, and an account whose step could not be stored is forgotten
and read again. Steps of one account run one after another; accounts run in parallel and share
commits.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import uuid4

import gevent
from gevent.event import Event
from gevent.lock import RLock
from sqlalchemy.exc import IntegrityError

from app import clock, faults
from app.brokers.base import AccountRef, Listener
from app.brokers.paper import storage
from app.brokers.paper.reports import broker_fill, broker_order, broker_position, report, report_of
from app.domain.errors import BrokerRefused, BrokerUnavailable, Unavailable
from app.domain.instruments import Instrument
from app.domain.matching import (
    Engine,
    MarketRules,
    PaperAccount,
    PaperPosition,
    Step,
    default_rules,
    is_sane,
    quote_from_last,
    transferred,
)
from app.domain.matching.market import MONEY_STEP, money_per_point
from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    OrderTicket,
    Origin,
    Quote,
    Side,
    SoughtOrder,
)
from app.marketdata.base import Feed
from app.transactions import Tx, Writer

log = logging.getLogger(__name__)

BEAT_S = 0.25
_REFRESH = timedelta(seconds=1)
_ATTEMPTS = 3


class PaperBroker:
    """``leads`` tells whether this process is the one that matches resting orders. ``is_alone``:
    no other process changes these accounts, so what the engine knows is what is stored."""

    def __init__(
        self,
        writer: Writer,
        feed: Feed,
        *,
        rules: Callable[[str], MarketRules] = default_rules,
        leads: Callable[[], bool] = lambda: True,
        is_alone: bool = False,
    ) -> None:
        self._writer = writer
        self._feed = feed
        self._rules = rules
        self._leads = leads
        self._is_alone = is_alone
        self._engine = Engine(rules)
        self._locks: defaultdict[int, RLock] = defaultdict(RLock)
        self._refs: dict[int, AccountRef] = {}
        self._listeners: list[Listener] = []
        self._untold: defaultdict[int, deque[tuple[BrokerReport, int]]] = defaultdict(deque)
        self._told: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._refreshed_at: datetime | None = None
        self._stopping = Event()
        self._pump: gevent.Greenlet | None = None

    # Accounts

    def open_account(
        self, tx: Tx, account_id: int, currency: str, starting_balance: Decimal
    ) -> None:
        """Open the exchange's side of an account and pay in its starting balance, as part of
        ``tx``."""
        user_id = storage.owner_of(tx.conn, account_id)
        if user_id is None:
            raise BrokerRefused("No such account", code="not_found")
        now = clock.now()
        account = PaperAccount(id=account_id, currency=currency)
        step = transferred(account, starting_balance, now)
        storage.open_account(tx.conn, step, user_id, now)

    def transfer(self, account: AccountRef, amount: Decimal) -> None:
        """Pay money in, or out where ``amount`` is negative.

        Raises:
            BrokerRefused: ``insufficient_funds``.
        """
        self._call(account, lambda now: self._engine.transfer(account.id, amount, now=now))

    # Broker

    def place_order(
        self, account: AccountRef, ticket: OrderTicket, *, client_order_id: str
    ) -> BrokerReport:
        """See ``Broker``. What the exchange rejects is recorded there, and reported as such."""

        def verb(now: datetime) -> Step:
            quote = self._price(account, ticket)
            return self._engine.submit(account.id, ticket, client_order_id, now=now, quote=quote)

        return self._submit(account, verb, (client_order_id,))

    def place_oco(
        self, account: AccountRef, first: OrderTicket, second: OrderTicket, *, ids: tuple[str, str]
    ) -> BrokerReport:
        def verb(now: datetime) -> Step:
            quote = self._price(account, first)
            return self._engine.submit_oco(account.id, first, second, ids, now=now, quote=quote)

        return self._submit(account, verb, ids)

    def cancel_order(
        self, account: AccountRef, client_order_id: str, *, broker_order_id: str | None = None
    ) -> BrokerReport:
        try:
            step = self._call(
                account, lambda now: self._engine.cancel(account.id, client_order_id, now=now)
            )
        except BrokerRefused as e:
            raise self._as_ended(account, client_order_id, e) from e
        return report_of(step)

    def modify_order(
        self,
        account: AccountRef,
        client_order_id: str,
        *,
        quantity: Decimal,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        broker_order_id: str | None = None,
    ) -> BrokerReport:
        def verb(now: datetime) -> Step:
            order = self._engine.find(account.id, client_order_id)
            return self._engine.replace(
                account.id,
                client_order_id,
                now=now,
                quote=self._quote(order.contract) if order is not None else None,
                quantity=quantity,
                limit_price=limit_price,
                stop_price=stop_price,
            )

        try:
            return report_of(self._call(account, verb))
        except BrokerRefused as e:
            raise self._as_ended(account, client_order_id, e) from e

    def find_order(
        self, account: AccountRef, client_order_id: str, *, sought: SoughtOrder | None = None
    ) -> BrokerOrder | None:
        with self._writer.read() as connection:
            found = storage.orders_named(connection, account.id, (client_order_id,))
        return broker_order(found[0]) if found else None

    def working_orders(self, account: AccountRef) -> list[BrokerOrder]:
        with self._writer.read() as connection:
            return [broker_order(o) for o in storage.open_orders(connection, account.id)]

    def fills(self, account: AccountRef, since: datetime | None = None) -> list[BrokerFill]:
        with self._writer.read() as connection:
            return [broker_fill(f) for f in storage.fills_since(connection, account.id, since)]

    def positions(self, account: AccountRef) -> list[BrokerPosition]:
        if self._is_alone and self._engine.knows(account.id):
            return [broker_position(p) for p in self._engine.positions(account.id) if p.net_pos]
        with self._writer.read() as connection:
            return [broker_position(p) for p in storage.positions(connection, account.id)]

    def balance(self, account: AccountRef) -> BrokerBalance:
        with self._writer.read() as connection:
            state = storage.read_account(connection, account.id)
            held = storage.positions(connection, account.id)
        if state is None:
            raise _unknown_account()
        open_pnl = sum((self._open_pnl(state.currency, p) for p in held), Decimal(0))
        return BrokerBalance(state.currency, state.cash, state.reserved, state.cash + open_pnl)

    def snapshot(self, account: AccountRef) -> BrokerReport:
        with self._writer.read() as connection:
            orders = storage.open_orders(connection, account.id)
            held = storage.positions(connection, account.id)
        return BrokerReport(
            orders=tuple(map(broker_order, orders)),
            positions=tuple(map(broker_position, held)),
            balance=self.balance(account),
            is_complete=True,
        )

    def flatten(self, account: AccountRef) -> None:
        for order in self.working_orders(account):
            with suppress(BrokerRefused):  # it ended meanwhile, perhaps with the one before it
                self._tell_all(account, self.cancel_order(account, order.client_order_id or ""))
        for position in self.positions(account):
            side = Side.SELL if position.net_pos > 0 else Side.BUY
            ticket = OrderTicket(
                position.contract,
                side,
                abs(position.net_pos),
                reduce_only=True,
                origin=Origin.MANUAL,
            )
            self._tell_all(account, self.place_order(account, ticket, client_order_id=uuid4().hex))
        left = [p.contract for p in self.positions(account) if p.net_pos]
        if left or self.working_orders(account):
            raise BrokerUnavailable(f"Still open: {', '.join(left) or 'working orders'}")

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def _tell_all(self, account: AccountRef, told: BrokerReport) -> None:
        for listener in self._listeners:
            listener(account, told)

    def _as_ended(
        self, account: AccountRef, client_order_id: str, refused: BrokerRefused
    ) -> BrokerRefused:
        """The engine forgets orders that ended; the database does not."""
        if refused.code == "not_found" and self.find_order(account, client_order_id) is not None:
            return BrokerRefused("The order has ended already", code="not_open")
        return refused

    # The pump

    def start(self) -> None:
        """Tell what an earlier process may have left untold, then match resting orders."""
        self._stopping.clear()
        with self._writer.read() as connection:
            left = storage.untold(connection)
        for found in left:
            self._refs[found.ref.id] = found.ref
            self._untold[found.ref.id].append((report(found.orders, found.fills), found.number))
        self._pump = gevent.spawn(self._run)

    def stop(self) -> None:
        self._stopping.set()
        if self._pump is not None:
            self._pump.join(timeout=5)
            self._pump.kill(timeout=1)
            self._pump = None
            told = dict(self._told)
            self._writer.run(lambda tx: storage.note_told(tx.conn, told))

    def beat(self) -> None:
        """One round of the pump: match, expire, and tell what changed by itself."""
        if not self._leads():
            return
        self._refresh()
        due: dict[int, list[tuple[str, Quote | None, list[str]]]] = {}
        now = clock.now()
        for contract in self._engine.working_contracts():
            quote = self._quote(contract)
            for account_id, keys in self._engine.due(contract, quote, now).items():
                due.setdefault(account_id, []).append((contract, quote, keys))
        waiting = {account_id for account_id, queue in self._untold.items() if queue}
        accounts = sorted(due.keys() | waiting)
        gevent.joinall([gevent.spawn(self._serve, a, due.get(a, [])) for a in accounts])

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.beat()
            except Exception:  # the loop's edge: the next round tries again
                log.exception("paper matching failed")
            self._stopping.wait(timeout=BEAT_S)

    def _serve(self, account_id: int, due: list[tuple[str, Quote | None, list[str]]]) -> None:
        ref = self._refs[account_id]
        try:
            for contract, quote, keys in due:
                step = self._act(ref, partial(self._match, account_id, contract, keys, quote))
                if step:
                    self._untold[account_id].append((report_of(step), step.account.next_number))
            self._tell(ref)
        except Exception:  # the loop's edge: the other accounts are served all the same
            log.exception("paper account not served", extra={"account_id": account_id})

    def _match(
        self,
        account_id: int,
        contract: str,
        keys: list[str],
        quote: Quote | None,
        now: datetime,
    ) -> Step:
        return self._engine.match(account_id, contract, keys, quote, now)

    def _tell(self, ref: AccountRef) -> None:
        """Hand out what happened, in order. What a listener could not take is told again."""
        queue = self._untold[ref.id]
        while queue:
            told, number = queue[0]
            faults.point("paper tells")
            for listener in self._listeners:
                listener(ref, told)
            faults.point("paper told")
            queue.popleft()
            self._told[ref.id] = max(number, self._told.get(ref.id, 0))

    def _refresh(self) -> None:
        """Take over accounts with open orders that are not known here yet, or that another
        process changed."""
        now = clock.now()
        if self._refreshed_at is not None and now - self._refreshed_at < _REFRESH:
            return
        with self._writer.read() as connection:
            found = storage.with_open_orders(connection)
        for ref, number in found:
            self._refs[ref.id] = ref
            if not self._is_current(ref.id, number):
                with self._locks[ref.id]:
                    if not self._is_current(ref.id, number):
                        self._load(ref.id)
        self._refreshed_at = now

    def _is_current(self, account_id: int, number: int) -> bool:
        known = self._engine.knows(account_id)
        return known and self._engine.account(account_id).next_number >= number

    # Steps

    def _submit(
        self, account: AccountRef, verb: Callable[[datetime], Step], ids: tuple[str, ...]
    ) -> BrokerReport:
        try:
            step = self._call(account, verb)
        except IntegrityError as e:
            # The id belongs to an order that ended so long ago that the engine forgot it.
            found = self._stored(account, ids)
            if not found.orders:
                raise BrokerRefused(
                    "The client order id is in use", code="duplicate_client_id"
                ) from e
            return found
        return report_of(step) if step else self._stored(account, ids)

    def _call(self, account: AccountRef, verb: Callable[[datetime], Step]) -> Step:
        """A step that somebody asked for and whose outcome goes back as the answer. Who asks again
        has taken in the answer before; until then it counts as untold."""
        answered = self._answered.get(account.id, 0)
        if not self._untold[account.id]:
            self._told[account.id] = max(answered, self._told.get(account.id, 0))
        step = self._act(account, verb)
        if step:
            self._answered[account.id] = step.account.next_number
        return step

    def _act(self, account: AccountRef, verb: Callable[[datetime], Step]) -> Step:
        """Work out one step, store it, take it over.

        Raises:
            BrokerRefused: the engine said no; nothing changed.
            BrokerUnavailable: it may or may not have been stored.
        """
        self._refs[account.id] = account
        with self._locks[account.id]:
            for _ in range(_ATTEMPTS):
                if not self._engine.knows(account.id):
                    self._load(account.id)
                seen = self._engine.account(account.id).next_number
                try:
                    step = verb(clock.now())
                except BrokerRefused:
                    if self._is_stored(account.id, seen):
                        raise
                    self._engine.forget(account.id)
                    continue
                if not step or self._store(account, step, seen):
                    return step
        raise BrokerUnavailable("The account is changed by others all the time")

    def _store(self, account: AccountRef, step: Step, seen: int) -> bool:
        """False: the state was old; it is forgotten and nothing was stored."""
        work = storage.Work(step, account.user_id, seen, self._told.get(account.id, 0))
        try:
            self._writer.run_batched(storage.store, work)
        except IntegrityError:
            raise  # nothing was stored, and the state is not in doubt
        except storage.Outdated:
            self._engine.forget(account.id)
            return False
        except Unavailable as e:
            self._engine.forget(account.id)
            raise BrokerUnavailable(e.detail) from e
        except BaseException:
            self._engine.forget(account.id)
            raise
        faults.point("paper stored")
        self._engine.apply(step)
        return True

    def _load(self, account_id: int) -> None:
        with self._writer.read() as connection:
            state = storage.load(connection, account_id)
        if state is None:
            raise _unknown_account()
        self._told[account_id] = max(state.told, self._told.get(account_id, 0))
        self._engine.restore(state.account, state.positions, state.orders)

    def _is_stored(self, account_id: int, seen: int) -> bool:
        """Whether the database still says what a refusal was based on."""
        with self._writer.read() as connection:
            stored = storage.read_account(connection, account_id)
        return stored is not None and stored.next_number == seen

    def _stored(self, account: AccountRef, ids: tuple[str, ...]) -> BrokerReport:
        """What the database knows of these orders, their legs and their fills."""
        with self._writer.read() as connection:
            orders = storage.orders_named(connection, account.id, ids)
            orders += [leg for order in orders for leg in storage.legs_of(connection, order)]
            keys = [order.client_order_id for order in orders]
            return report(orders, storage.fills_of(connection, account.id, keys))

    # Prices

    def _quote(self, contract: str) -> Quote | None:
        return self._feed.quote(contract) if self._feed.knows(contract) else None

    def _price(self, account: AccountRef, ticket: OrderTicket) -> Quote | None:
        """The market's price, else the alert's own; an exit may also use the contract's last fill,
        since what an alert opened must be closable without one."""
        quote = self._quote(ticket.contract)
        if quote is not None:
            return quote
        last = ticket.reference_price
        if last is None and ticket.reduce_only:
            with self._writer.read() as connection:
                fill = storage.last_fill(connection, account.id, ticket.contract)
            last = fill.price if fill is not None else None
        if last is None or not is_sane(last):
            return None
        return quote_from_last(
            self._instrument(ticket.contract), ticket.contract, last, clock.now()
        )

    def _open_pnl(self, currency: str, position: PaperPosition) -> Decimal:
        """Longs are worth the bid, shorts the ask; nothing where no feed knows the contract."""
        quote = self._quote(position.contract)
        if quote is None or position.avg_price is None:
            return Decimal(0)
        price = quote.bid if position.net_pos > 0 else quote.ask
        per_point = money_per_point(self._instrument(position.contract), currency, price)
        return ((price - position.avg_price) * position.net_pos * per_point).quantize(MONEY_STEP)

    def _instrument(self, contract: str) -> Instrument:
        return self._rules(contract).instrument


def _unknown_account() -> BrokerRefused:
    return BrokerRefused("The account was never opened on paper", code="not_found")
