"""The Tradovate broker: the verbs, on top of one ``Login`` per log-in (reference 3.3 and 4).

An answer with an id means that a command was taken, no more: each verb then waits a moment for
what became of it and reports what is known by then. What had no clear answer raises
``BrokerUnavailable``; nothing is ever sent again on a guess.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from time import monotonic
from typing import Any

from app import clock
from app.brokers.base import AccountRef, Listener
from app.brokers.logins import (
    BudgetState,
    FoundAccount,
    LoginListener,
    LoginRef,
    LoginStore,
    StreamState,
)
from app.brokers.tradovate import brackets, wire
from app.brokers.tradovate.brackets import Request
from app.brokers.tradovate.budget import Budget, Purpose
from app.brokers.tradovate.contracts import ContractFacts, Contracts, Maturity, rows
from app.brokers.tradovate.errors import NoAnswer, NotSent, NotThere, SessionLost
from app.brokers.tradovate.flattening import flatten
from app.brokers.tradovate.http import Transport
from app.brokers.tradovate.link import Limits
from app.brokers.tradovate.login import FEES_PATIENCE_S, Login
from app.brokers.tradovate.session import Session
from app.brokers.tradovate.signing import exchange_code, refresh_grant, sign_in
from app.brokers.tradovate.stream import UserStream
from app.brokers.tradovate.wire import Entity
from app.domain import symbols
from app.domain.errors import (
    BrokerError,
    BrokerRateLimited,
    BrokerRefused,
    BrokerUnavailable,
)
from app.domain.trading import (
    BrokerBalance,
    BrokerFill,
    BrokerOrder,
    BrokerPosition,
    BrokerReport,
    OrderStatus,
    OrderTicket,
    OrderType,
    Origin,
    Side,
    SoughtOrder,
)

log = logging.getLogger(__name__)

LIVE = "live"
_TRIED_S = 300.0
"""For so long the session of tried credentials is kept."""
_PRICE_AGE = timedelta(minutes=5)
_BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of what was accepted and not yet heard of, so that whatever the broker tells of it is
newer, whichever clock is ahead and by how much."""
_OVER = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)
_KEPT_TERMS = ("orderType", "timeInForce", "expireTime", "text")
"""A change replaces all terms: these are sent again as they are."""
_FAILED_STRATEGY = frozenset({"ExecutionFailed", "NotEnoughLiquidity"})


class TradovateBroker:
    """``store`` keeps credentials and sessions; ``new_budget`` makes one log-in's request budget;
    ``limits`` are the user streams' (the defaults where it is None); ``new_transport`` makes the
    connections to a base URL; ``application`` is our own id
    and secret, for people who sign in on Tradovate's page."""

    def __init__(
        self,
        *,
        demo_url: str,
        live_url: str,
        demo_ws_url: str,
        live_ws_url: str,
        store: LoginStore,
        new_budget: Callable[[], Budget] = Budget,
        limits: Limits | None = None,
        new_transport: Callable[[str], Transport] = Transport,
        application: tuple[str, str] | None = None,
    ) -> None:
        self._application = application
        self._transports = {"demo": new_transport(demo_url), LIVE: new_transport(live_url)}
        self._ws_urls = {"demo": demo_ws_url, LIVE: live_ws_url}
        self._store = store
        self._new_budget = new_budget
        self._limits = limits
        self._contracts = {"demo": Contracts(), LIVE: Contracts()}
        self._logins: dict[int, Login] = {}
        self._listeners: list[Listener] = []
        self._watchers: list[LoginListener] = []
        self._tried: dict[str, tuple[float, dict[str, Any]]] = {}

    # Log-ins

    def try_credentials(
        self, environment: str, credentials: Mapping[str, Any]
    ) -> list[FoundAccount]:
        self._forget_tried()
        key = _fingerprint(environment, credentials)
        token = credentials.get("token") or self._tried_token(key)
        if token is not None:
            with suppress(SessionLost, NoAnswer):  # closed meanwhile, by another sign-in
                return self._list_accounts(environment, token)
        if "token" not in credentials:
            token = self._sign_in(environment, credentials)
            self._tried[key] = (monotonic() + _TRIED_S, token)
        try:
            return self._list_accounts(environment, token or {})
        except SessionLost as e:
            raise BrokerRefused(
                "The log-in works, but its API key has no permission to see accounts: give the key"
                f" access to them at Tradovate ({e.detail})",
                code="no_permission",
            ) from e

    def _sign_in(self, environment: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        if credentials.get("username"):
            return sign_in(self._transports[environment], credentials)
        given = str(credentials.get("refresh_token") or "")
        token = refresh_grant(self._transports[LIVE], credentials, given)
        token["refresh_of"] = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        return token

    def _list_accounts(self, environment: str, token: Mapping[str, Any]) -> list[FoundAccount]:
        listed = self._transports[environment].send(
            "account/list", token=str(token["access_token"]), purpose="read"
        )
        return [_found(row) for row in rows(listed)]

    def exchange_code(self, environment: str, code: str, redirect_uri: str) -> dict[str, Any]:
        """Credentials of somebody who comes back from Tradovate's log-in page, with ``token`` (the
        session that came along) and ``identity`` (who it is). Grants are the live host's.

        Raises:
            BrokerRefused: the code is no good. BrokerUnavailable: no clear answer.
        """
        if self._application is None:
            raise BrokerRefused("We are not registered with Tradovate", code="no_application")
        client_id, client_secret = self._application
        token = exchange_code(self._transports[LIVE], code, redirect_uri, client_id, client_secret)
        credentials = {
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": token.get("refresh_token"),
            "identity": token.get("name"),
            "token": token,
        }
        return {name: value for name, value in credentials.items() if value}

    def open(self, login: LoginRef) -> None:
        known = self._login(login)
        if known.stream is None:
            known.stream = UserStream(
                login,
                known.session,
                self._ws_urls[login.environment],
                accounts=known.numbers,
                on_change=known.on_change,
                on_sync=known.on_sync,
                on_state=partial(self._tell_state, login),
                limits=self._limits,
            )
        known.stream.start()

    def close(self, login_id: int) -> None:
        """Also forgets the session here, so that the next use reads the credentials anew."""
        known = self._logins.pop(login_id, None)
        if known is not None:
            known.close()

    def stop(self) -> None:
        """End every stream and every connection."""
        for login_id in list(self._logins):
            self.close(login_id)
        for transport in self._transports.values():
            transport.close()

    def resync(self, login_id: int) -> None:
        """The log-in's accounts have changed: let its stream ask for those that there are now."""
        known = self._logins.get(login_id)
        if known is None:
            return
        known.numbers()
        if known.stream is not None:
            known.stream.resync()

    def state(self, login_id: int) -> StreamState | None:
        known = self._logins.get(login_id)
        return known.stream.state if known is not None and known.stream is not None else None

    def budget(self, login_id: int) -> BudgetState | None:
        known = self._logins.get(login_id)
        return known.budget.state() if known is not None else None

    def list_accounts(self, login: LoginRef) -> list[FoundAccount]:
        known = self._login(login)
        listed = rows(known.session.call("account/list"))
        known.mirror.take("account", listed)
        return [_found(row) for row in listed]

    def poll(self, login: LoginRef) -> None:
        known = self._login(login)
        known.numbers()
        touched = known.read(Purpose.POLL, is_fresh=True, tells=False)
        known.tell_complete(touched)
        known.read_contracts()

    def watch(self, listener: LoginListener) -> None:
        self._watchers.append(listener)

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    # Contracts

    def known_maturities(self, root: str) -> tuple[Maturity, ...]:
        """The contract months of a product, without a request: empty until they were read."""
        found = [self._contracts[each].known_maturities(root) for each in (LIVE, "demo")]
        return found[0] or found[1]

    def maturities(self, login: LoginRef, root: str) -> tuple[Maturity, ...]:
        known = self._login(login)
        return known.contracts.maturities(root, known.session.call)

    def contract_facts(self, login: LoginRef, contract: str) -> ContractFacts:
        """Raises BrokerRefused: ``unknown_contract``."""
        known = self._login(login)
        return known.contracts.facts(contract, known.session.call)

    # Placing

    def place_order(
        self, account: AccountRef, ticket: OrderTicket, *, client_order_id: str
    ) -> BrokerReport:
        login, number = self._of(account)
        known = login.mirror.find(number, client_order_id)
        if known is not None:
            return _report(login, known, ticket, client_order_id)
        with _sending(login, client_order_id):
            self._settle_doubt(account, client_order_id)
            ticket = _reduced(login, number, ticket)
            request = brackets.entry(
                {"accountId": number, "accountSpec": login.spec(number)},
                ticket,
                client_order_id,
                tick_size=self._tick_size(login, ticket),
                reference=_reference(login, ticket),
            )
            return self._place(login, account, number, ticket, client_order_id, request)

    def place_oco(
        self, account: AccountRef, first: OrderTicket, second: OrderTicket, *, ids: tuple[str, str]
    ) -> BrokerReport:
        login, number = self._of(account)
        known = [login.mirror.find(number, each) for each in ids]
        if None not in known:
            return login.mirror.report_of(i for i in known if i is not None)
        with _sending(login, *ids):
            for each in ids:
                self._settle_doubt(account, each)
            spec = {"accountId": number, "accountSpec": login.spec(number)}
            request = brackets.pair(spec, first, second, ids)
            answer = self._sent(login, account, request, first, ids)
            mirror = login.mirror
            order_ids = [_order_id(answer)]
            login.changed(mirror.claim(order_ids[0], ids[0], first.contract))
            other = wire.integer(answer.get("ocoId"))
            if other is not None:
                order_ids.append(other)
                login.changed(mirror.claim(other, ids[1], first.contract))
            login.settle(
                lambda: order_ids, lambda: not any(mirror.is_pending(i) for i in order_ids)
            )
            tickets = zip(order_ids, (first, second), ids, strict=False)
            told = [_order_or_stub(login, *each) for each in tickets]
            return BrokerReport(tuple(told), mirror.fills_of(order_ids))

    def _place(
        self,
        login: Login,
        account: AccountRef,
        number: int,
        ticket: OrderTicket,
        client_order_id: str,
        request: Request,
    ) -> BrokerReport:
        mirror = login.mirror
        legs = [
            leg.client_order_id if leg else None for leg in (ticket.take_profit, ticket.stop_loss)
        ]
        if any(legs):
            mirror.remember_legs(client_order_id, legs[0], legs[1])
        if request.is_strategy:
            try:
                with mirror.expecting(number) as held:
                    answer = self._sent(login, account, request, ticket, (client_order_id,))
                    entry_id = _follow_strategy(login, answer, ticket)
            finally:
                login.changed(held)
        else:
            answer = self._sent(login, account, request, ticket, (client_order_id,))
            entry_id = _order_id(answer)
            login.changed(mirror.claim(entry_id, client_order_id, ticket.contract))
            names = [each for each in legs if each is not None]
            for place, leg_id in enumerate(names, start=1):
                order_id = wire.integer(answer.get(f"oso{place}Id"))
                if order_id is not None:
                    login.changed(mirror.claim(order_id, leg_id, ticket.contract, leg_of=entry_id))
            _follow(login, entry_id, ticket)
        return _report(login, entry_id, ticket, client_order_id)

    def _sent(
        self,
        login: Login,
        account: AccountRef,
        request: Request,
        ticket: OrderTicket,
        ids: tuple[str, ...],
    ) -> Entity:
        purpose = Purpose.ENTRY
        if ticket.reduce_only or ticket.origin in (Origin.BRACKET, Origin.RISK):
            purpose = Purpose.EXIT
        by_hand = ticket.origin is Origin.MANUAL
        try:
            return login.order_call(request.path, request.body, purpose, by_hand=by_hand)
        except NotThere:
            # Not executed by the meaning of 404; but on an order call it is not to be believed
            # unseen (reference 4).
            found = self._search(login, account, ids[0], None)
            if found is None:
                raise
            return {"orderId": found}
        except BrokerUnavailable:
            login.doubtful.update(ids)
            raise

    def _settle_doubt(self, account: AccountRef, client_order_id: str) -> None:
        """What may have been sent before is not sent again.

        Raises:
            BrokerUnavailable: it may exist.
        """
        login, _ = self._of(account)
        if client_order_id in login.doubtful:
            raise BrokerUnavailable("The outcome of the first attempt is not known yet")

    def _tick_size(self, login: Login, ticket: OrderTicket) -> Decimal:
        instrument = symbols.instrument_for(ticket.contract)
        if instrument.known or not brackets.has_legs(ticket):
            return instrument.tick_size
        return login.contracts.facts(ticket.contract, login.session.call).tick_size

    # Changing

    def cancel_order(
        self, account: AccountRef, client_order_id: str, *, broker_order_id: str | None = None
    ) -> BrokerReport:
        login, number = self._of(account)
        order_id = self._open_id(login, account, client_order_id, broker_order_id)
        mirror = login.mirror
        body = {"orderId": order_id, "isAutomated": True}
        command_id: int | None = None
        try:
            answer = login.order_call("order/cancelorder", body, Purpose.CANCEL)
            command_id = wire.integer(answer.get("commandId"))
        except BrokerRefused as e:
            if e.code != "another_command_pending":
                raise _as_it_is(login, order_id, e) from e
        watched = {order_id, *mirror.legs_of(order_id)}

        def is_refused() -> str | None:
            return None if command_id is None else mirror.command_refusal(order_id, command_id)

        def is_done() -> bool:
            if is_refused():
                return True
            filled = mirror.status(order_id) == "Filled"
            ended = {order_id} if filled else watched
            return all(mirror.is_over(each) for each in ended)

        login.settle(lambda: watched, is_done, Purpose.CANCEL, changes=True)
        words = is_refused()
        if words and not mirror.is_over(order_id):
            raise BrokerRefused(words, code="cancel_refused")
        return _pending_cancel(mirror.report_of(sorted(watched)), order_id)

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
        login, _ = self._of(account)
        order_id = self._open_id(login, account, client_order_id, broker_order_id)
        mirror = login.mirror
        if mirror.order(order_id) is None:
            login.look([order_id], Purpose.EXIT)
        terms = mirror.terms(order_id)
        if terms is None:
            raise BrokerUnavailable("The terms of the order are not known")
        wanted: Entity = {"orderQty": wire.quantity(quantity)}
        if limit_price is not None:
            wanted["price"] = wire.number(limit_price)
        if stop_price is not None:
            wanted["stopPrice"] = wire.number(stop_price)
        if _has(terms, wanted):
            return mirror.report_of([order_id])
        body: Entity = {name: terms[name] for name in _KEPT_TERMS if name in terms}
        body |= {"orderId": order_id, **wanted, "isAutomated": True}
        try:
            answer = login.order_call("order/modifyorder", body, Purpose.EXIT)
        except BrokerRefused as e:
            raise _modify_refusal(login, order_id, e) from e
        command_id = wire.integer(answer.get("commandId"))

        def is_refused() -> str | None:
            return None if command_id is None else mirror.command_refusal(order_id, command_id)

        def is_done() -> bool:
            applied = _has(mirror.terms(order_id) or {}, wanted)
            return applied or bool(is_refused()) or mirror.is_over(order_id)

        login.settle(lambda: [order_id], is_done, Purpose.EXIT, changes=True)
        if _has(mirror.terms(order_id) or {}, wanted):
            return mirror.report_of([order_id])
        if mirror.status(order_id) in wire.FINAL:
            raise _not_open()
        words = is_refused()
        if words:
            raise BrokerRefused(words, code="modify_refused")
        raise BrokerUnavailable("Tradovate accepted the change and has not made it")

    def _open_id(
        self,
        login: Login,
        account: AccountRef,
        client_order_id: str,
        broker_order_id: str | None,
    ) -> int:
        """The broker's id of an order that may still be open.

        Raises:
            BrokerRefused: ``not_found``, ``not_open``.
        """
        number = login.remember(account)
        order_id = login.mirror.find(number, client_order_id) or wire.integer(broker_order_id)
        if order_id is None:
            order_id = self._search(login, account, client_order_id, None)
        if order_id is None:
            raise BrokerRefused("Tradovate does not have this order.", code="not_found")
        if login.mirror.status(order_id) in wire.FINAL:
            raise _not_open()
        return order_id

    # Asking

    def find_order(
        self, account: AccountRef, client_order_id: str, *, sought: SoughtOrder | None = None
    ) -> BrokerOrder | None:
        login, number = self._of(account)
        order_id = login.mirror.find(number, client_order_id)
        known = login.mirror.order(order_id) if order_id is not None else None
        if order_id is not None and known is not None and login.mirror.is_over(order_id):
            return known
        order_id = self._search(login, account, client_order_id, sought)
        if order_id is None:
            return None
        found = login.mirror.order(order_id)
        if found is None:
            raise BrokerUnavailable("Tradovate has the order, and has not told its terms yet")
        login.doubtful.discard(client_order_id)
        return replace(found, client_order_id=client_order_id)

    def _search(
        self, login: Login, account: AccountRef, client_order_id: str, sought: SoughtOrder | None
    ) -> int | None:
        """The broker's id of our order by the broker's lists as they are now. None is only said
        of an account that was in them."""
        number = login.remember(account)
        mirror = login.mirror
        known = wire.integer(sought.broker_order_id) if sought else None
        known = known or mirror.find(number, client_order_id)
        if known is not None:
            login.look([known], Purpose.EXIT)
            if mirror.knows(known):
                login.changed(mirror.claim(known, client_order_id))
                return known
        login.read(Purpose.EXIT, is_fresh=True)
        if number not in login.visible:
            raise BrokerUnavailable("Tradovate does not show this account now")
        found = mirror.find(number, client_order_id) or _by_strategy(login, number, client_order_id)
        if found is None and sought is not None:
            found = _by_parent(login, number, sought) or _by_terms(login, number, sought)
            if found is not None:
                login.changed(mirror.claim(found, client_order_id))
        return found

    def working_orders(self, account: AccountRef) -> list[BrokerOrder]:
        login, number = self._of(account)
        self._refresh(login, number)
        return login.mirror.open_orders(number)

    def positions(self, account: AccountRef) -> list[BrokerPosition]:
        login, number = self._of(account)
        self._refresh(login, number)
        return login.mirror.positions(number)

    def fills(self, account: AccountRef, since: datetime | None = None) -> list[BrokerFill]:
        login, number = self._of(account)
        login.read(Purpose.READ)
        return login.mirror.fills(number, since)

    def balance(self, account: AccountRef) -> BrokerBalance:
        """Without a position the stream knows it all; the open P&L has to be asked for."""
        login, number = self._of(account)
        if not login.is_live or login.mirror.balance(number) is None:
            login.money(number)
        if not login.is_live:
            login.read(Purpose.READ)
        if login.mirror.held_contracts(number):
            try:
                login.open_pnl(number)
            except BrokerError as e:
                if not login.is_live:
                    raise
                log.warning("open P&L not known anew", extra={"code": e.code})
        known = login.mirror.balance(number)
        if known is None:
            raise BrokerUnavailable("Tradovate did not tell the account's balance")
        return known

    def snapshot(self, account: AccountRef) -> BrokerReport:
        login, number = self._of(account)
        login.read(Purpose.READ)
        _must_see(login, number)
        return login.mirror.complete(number)

    def flatten(self, account: AccountRef) -> None:
        login, number = self._of(account)
        flatten(login, number)

    def _refresh(self, login: Login, number: int) -> None:
        if not login.is_live:
            login.read(Purpose.READ)
            _must_see(login, number)

    # Inside

    def _of(self, account: AccountRef) -> tuple[Login, int]:
        if account.login_id is None:
            raise BrokerRefused("The account has no log-in.", code="no_login")
        ref = LoginRef(account.login_id, account.user_id, account.broker, account.environment)
        login = self._login(ref)
        return login, login.remember(account)

    def _login(self, ref: LoginRef) -> Login:
        known = self._logins.get(ref.id)
        if known is None:
            self._hand_over(ref)
            budget = self._new_budget()
            session = Session(
                ref,
                self._store,
                self._transports[ref.environment],
                budget,
                oauth_transport=self._transports[LIVE],
            )
            known = Login(
                ref,
                session,
                budget,
                self._contracts[ref.environment],
                refs=partial(self._store.accounts, ref.id),
                tell=self._tell,
            )
            # Another greenlet may have been first while the store was asked.
            known = self._logins.setdefault(ref.id, known)
        return known

    def _hand_over(self, ref: LoginRef) -> None:
        """Use the session that the same credentials were tried with."""
        self._forget_tried()
        if not self._tried:
            return
        key = _fingerprint(ref.environment, self._store.credentials(ref.id))
        token = self._tried_token(key)
        if token is not None and self._store.token(ref.id) is None:
            del self._tried[key]
            self._store.save_token(ref.id, token)

    def _forget_tried(self) -> None:
        now = monotonic()
        self._tried = {key: tried for key, tried in self._tried.items() if tried[0] > now}

    def _tried_token(self, key: str) -> dict[str, Any] | None:
        tried = self._tried.get(key)
        return tried[1] if tried is not None and tried[0] > monotonic() else None

    def _tell(self, account: AccountRef, report: BrokerReport) -> None:
        for listener in self._listeners:
            listener(account, report)

    def _tell_state(self, login: LoginRef, state: StreamState) -> None:
        for watcher in self._watchers:
            watcher(login, state)


@contextmanager
def _sending(login: Login, *ids: str) -> Iterator[None]:
    """One at a time for each id."""
    if login.sending & set(ids):
        raise BrokerUnavailable("This order is being sent already")
    login.sending.update(ids)
    try:
        yield
    finally:
        login.sending.difference_update(ids)


def _reduced(login: Login, number: int, ticket: OrderTicket) -> OrderTicket:
    """Tradovate has no reduce-only orders: what fills at once is cut down to what is held. Resting
    ones are left as they are; the engine takes care of them.

    Raises:
        BrokerRefused: ``nothing_to_reduce``.
    """
    if not ticket.reduce_only or ticket.order_type is not OrderType.MARKET:
        return ticket
    held = _held(login, number, ticket)
    if login.is_live and held >= ticket.quantity:
        return ticket
    listed = rows(
        login.session.call("position/deps", query={"masterid": number}, purpose=Purpose.EXIT)
    )
    login.changed(login.mirror.take("position", listed))
    login.contracts.resolve_names(login.mirror.unnamed(), login.session.call)
    held = _held(login, number, ticket)
    if held <= 0:
        raise BrokerRefused(
            f"Nothing is held in {ticket.contract} that this order would close.",
            code="nothing_to_reduce",
        )
    return replace(ticket, quantity=min(ticket.quantity, held))


def _held(login: Login, number: int, ticket: OrderTicket) -> Decimal:
    """Contracts that an order of the ticket's side would close; negative: on its own side."""
    net_pos = login.mirror.net_pos(number, ticket.contract)
    return net_pos if ticket.side is Side.SELL else -net_pos


def _reference(login: Login, ticket: OrderTicket) -> Decimal | None:
    if ticket.reference_price is not None:
        return ticket.reference_price
    return login.mirror.last_price(ticket.contract, clock.now() - _PRICE_AGE)


def _order_id(answer: Entity) -> int:
    order_id = wire.integer(answer.get("orderId"))
    if order_id is None:
        raise BrokerUnavailable("Tradovate's answer names no order")
    return order_id


def _follow(login: Login, entry_id: int, ticket: OrderTicket) -> None:
    """Wait until it is known what became of an order that was accepted."""
    mirror = login.mirror
    is_market = ticket.order_type is OrderType.MARKET
    legs = sum(leg is not None for leg in (ticket.take_profit, ticket.stop_loss))

    def is_done() -> bool:
        if mirror.status(entry_id) == "Rejected":
            return not mirror.refused_commands(entry_id)
        if mirror.is_pending(entry_id) or (is_market and not mirror.is_over(entry_id)):
            return False
        known = mirror.legs_of(entry_id)
        return len(known) >= legs and not any(mirror.is_pending(leg) for leg in known)

    def ids() -> set[int]:
        return {entry_id, *mirror.legs_of(entry_id)}

    if login.settle(ids, is_done) and login.is_live and mirror.is_over(entry_id):
        login.wait(lambda: mirror.has_fees(entry_id), FEES_PATIENCE_S)


def _follow_strategy(login: Login, answer: Entity, ticket: OrderTicket) -> int:
    """The id of the strategy's entry order.

    Raises:
        BrokerRefused: ``strategy_failed``: it ended before it had an order.
        BrokerUnavailable: its orders are not known yet.
    """
    if "orderId" in answer:  # found after a 404
        return _order_id(answer)
    row = answer.get("orderStrategy")
    strategy_id = wire.integer(row.get("id")) if isinstance(row, dict) else None
    if strategy_id is None:
        raise BrokerUnavailable("Tradovate's answer names no order strategy")
    mirror = login.mirror
    contract = wire.integer(row.get("contractId")) if isinstance(row, dict) else None
    if contract is not None:
        login.contracts.learn(contract, ticket.contract)
    login.changed(mirror.take("orderStrategy", rows(row)))

    def has_entry() -> bool:
        return mirror.entry_of_strategy(strategy_id) is not None

    if not (login.is_live and login.wait(has_entry, 0.5)):
        try:
            login.look_at_strategy(strategy_id)
        except BrokerError as e:
            log.warning("strategy not looked at", extra={"code": e.code})
    entry_id = mirror.entry_of_strategy(strategy_id)
    if entry_id is not None:
        _follow(login, entry_id, ticket)
        return entry_id
    strategy = mirror.strategy(strategy_id) or {}
    if strategy.get("status") in _FAILED_STRATEGY:
        words = str(strategy.get("failureMessage") or "The order strategy failed")
        raise BrokerRefused(words, code="strategy_failed")
    raise BrokerUnavailable("Tradovate took the order and has not shown it yet")


def _report(login: Login, entry_id: int, ticket: OrderTicket, client_order_id: str) -> BrokerReport:
    legs = sorted(login.mirror.legs_of(entry_id))
    entry = _order_or_stub(login, entry_id, ticket, client_order_id)
    orders = (entry, *filter(None, map(login.mirror.order, legs)))
    return BrokerReport(orders, login.mirror.fills_of([entry_id, *legs]))


def _order_or_stub(
    login: Login, order_id: int, ticket: OrderTicket, client_order_id: str
) -> BrokerOrder:
    """The order or, while nothing but its acceptance is known, that it works."""
    known = login.mirror.order(order_id)
    if known is not None:
        return known
    return BrokerOrder(
        broker_order_id=str(order_id),
        client_order_id=client_order_id,
        contract=ticket.contract,
        side=ticket.side,
        quantity=ticket.quantity,
        filled_quantity=Decimal(0),
        order_type=ticket.order_type,
        status=OrderStatus.WORKING,
        limit_price=ticket.limit_price,
        stop_price=ticket.stop_price,
        avg_fill_price=None,
        reason=None,
        at=_BEFORE_ALL,
    )


def _as_it_is(login: Login, order_id: int, error: BrokerRefused) -> BrokerRefused:
    """What a refused command means, now that the order is looked at: most are refused because it
    had ended."""
    if isinstance(error, NotSent | BrokerRateLimited):
        return error
    try:
        login.look([order_id], Purpose.CANCEL)
    except BrokerError:
        return error
    if login.mirror.status(order_id) in wire.FINAL:
        return _not_open()
    if not login.mirror.knows(order_id):
        return BrokerRefused("Tradovate does not have this order.", code="not_found")
    return error


def _modify_refusal(login: Login, order_id: int, error: BrokerRefused) -> BrokerRefused:
    found = _as_it_is(login, order_id, error)
    is_final_word = found is not error or isinstance(error, NotSent | BrokerRateLimited)
    if is_final_word or isinstance(error, SessionLost) or not login.mirror.is_leg(order_id):
        return found
    return BrokerRefused(error.detail, code="modify_refused")


def _not_open() -> BrokerRefused:
    return BrokerRefused("The order has ended already.", code="not_open")


def _pending_cancel(report: BrokerReport, order_id: int) -> BrokerReport:
    """A cancel that was taken is under way until its end is known."""
    orders = tuple(
        replace(order, status=OrderStatus.CANCEL_PENDING)
        if order.broker_order_id == str(order_id) and order.status not in _OVER
        else order
        for order in report.orders
    )
    return replace(report, orders=orders)


def _has(terms: Entity, wanted: Entity) -> bool:
    return all(wire.decimal(terms.get(k)) == wire.decimal(v) for k, v in wanted.items())


def _by_strategy(login: Login, number: int, client_order_id: str) -> int | None:
    """The entry of the order strategy that has our id. Its orders carry none themselves, so that
    with a lost event they would be taken for somebody else's.

    Raises:
        BrokerUnavailable: there is such a strategy, and its order is not known yet.
    """
    login.read_strategies(Purpose.EXIT)
    strategy_id = login.mirror.strategy_named(client_order_id)
    if strategy_id is None:
        return None
    login.look_at_strategy(strategy_id, Purpose.EXIT)
    found = login.mirror.find(number, client_order_id)
    strategy = login.mirror.strategy(strategy_id) or {}
    if found is None and strategy.get("status") not in _FAILED_STRATEGY:
        raise BrokerUnavailable("Tradovate has the order strategy, and has not shown its order yet")
    return found


def _by_parent(login: Login, number: int, sought: SoughtOrder) -> int | None:
    """A leg by the entry that it belongs to."""
    if sought.parent_client_order_id is None:
        return None
    mirror = login.mirror
    entry_id = mirror.find(number, sought.parent_client_order_id)
    if entry_id is None:
        return None
    for leg_id in sorted(mirror.legs_of(entry_id)):
        leg = mirror.order(leg_id)
        if leg is not None and leg.order_type is sought.order_type:
            return leg_id
    return None


def _by_terms(login: Login, number: int, sought: SoughtOrder) -> int | None:
    """Where the broker gives back no ids of ours, an order like ours that nobody claims. Where it
    is known to give them back, ours would have one."""
    if login.mirror.tells_ids:
        return None
    # It is looked for since it was sent, by the broker's clock; ours may be a minute ahead.
    sent_at = sought.sent_at - login.session.clock_ahead
    return login.mirror.resembling(number, replace(sought, sent_at=sent_at))


def _must_see(login: Login, number: int) -> None:
    """An account that the lists leave out is not flat: it is not known."""
    if number not in login.visible:
        raise BrokerUnavailable("Tradovate does not show this account now")


def _found(row: Entity) -> FoundAccount:
    notes = {
        "closed": "closed at Tradovate",
        "restricted": "restricted at Tradovate",
        "readonly": "read-only for this log-in",
    }
    note = next((words for name, words in notes.items() if row.get(name)), None)
    if row.get("active") is False:
        note = note or "not active at Tradovate"
    return FoundAccount(
        id=str(row["id"]),
        name=str(row.get("name") or row["id"]),
        currency=wire.currency_of(None),
        is_usable=note is None,
        note=note,
    )


def _fingerprint(environment: str, credentials: Mapping[str, Any]) -> str:
    given = {name: str(value) for name, value in credentials.items() if value}
    text = json.dumps([environment, given], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
