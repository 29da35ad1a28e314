"""Accounts: opened, looked into, stopped, flattened, renamed, deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app import clock
from app.domain.errors import Conflict, TradingError
from app.domain.session_day import day_start
from app.domain.symbols import instrument_for
from app.domain.trading import BrokerBalance
from app.extensions import db
from app.models import Account, ExternalOrder, Fill, Order, RecordedPosition
from app.pages import filters as written
from app.pages import log_ins
from app.schemas.accounts import AccountChange, AccountIn, CredentialsIn
from app.services import (
    accounts,
    broker_accounts,
    dashboard,
    live,
    logins,
    positions,
    recorder,
    sync,
    traders,
    user_data,
)
from app.services.accounts import Held
from app.services.owned import get
from app.services.positions import Filters
from app.services.traders import Assigned
from app.services.user_data import StreamOf
from app.web.auth import current_user_id, remote_address
from app.web.forms import Form, submit

bp = Blueprint("accounts", __name__, url_prefix="/accounts")

FILLS_SHOWN = 50
_CURRENCIES = ("USD", "EUR", "GBP", "USDT")
_WORDS = {
    "name": "Give it a name of up to 80 characters.",
    "starting_balance": "Use plain digits above 0, for example 100000 or 2500.50.",
    "currency": "Use a currency's code, for example USD.",
}


@dataclass(slots=True)
class Standing:
    """One account as it stands. ``balance`` and ``held`` are the broker's own words, None while
    it does not answer; ``trouble`` says why. Money in the account's currency."""

    account: Account
    balance: BrokerBalance | None = None
    held: list[Held] | None = None
    trouble: str = ""
    open: list[RecordedPosition] = field(default_factory=list)
    closed_today: Decimal = Decimal(0)
    working: list[Order] = field(default_factory=list)
    external: list[ExternalOrder] = field(default_factory=list)
    traders: list[Assigned] = field(default_factory=list)
    stream: StreamOf | None = None

    @property
    def is_stale(self) -> bool:
        """Whether what is shown of it may have changed since it was last heard from."""
        return self.stream is not None and self.stream.state != user_data.LIVE

    @property
    def open_pnl(self) -> Decimal | None:
        """At a broker its own word, where it has given one: nobody sends us prices there."""
        if self.account.login_id is not None:
            if self.balance is None:
                return None
            stated = self.balance.equity - self.balance.cash
            return stated if stated or not self.positions else None
        known = [p.unrealized_pnl for p in self.open if p.unrealized_pnl is not None]
        return sum(known, Decimal(0)) if len(known) == len(self.open) else None

    @property
    def equity(self) -> Decimal | None:
        if self.balance is None or (self.account.login_id is not None and self.open_pnl is None):
            return None
        return self.balance.equity

    @property
    def today(self) -> Decimal | None:
        return None if self.open_pnl is None else self.closed_today + self.open_pnl

    @property
    def apart(self) -> list[Held]:
        """What the broker and our books do not agree on. At a broker a position and its fill come
        one after the other: only what was looked into counts."""
        if self.account.login_id is not None and self.account.out_of_sync_since is None:
            return []
        return [held for held in self.held or () if not held.in_sync]

    @property
    def state(self) -> str:
        if self.account.kill_switch:
            return "killed"
        if self.trouble:
            return "unknown"
        if self.account.out_of_sync_since is not None or self.apart:
            return "out_of_sync"
        return self.account.status

    @property
    def unexplained(self) -> list[Held]:
        """Positions that the broker holds and no strategy of ours."""
        known = {position.contract for position in self.open}
        return [held for held in self.held or () if held.net_pos and held.contract not in known]

    @property
    def positions(self) -> int:
        return len(self.open) + len(self.unexplained)

    @property
    def is_flat(self) -> bool:
        return not (self.positions or self.orders)

    @property
    def orders(self) -> int:
        return len(self.working) + len(self.external)

    @property
    def entries(self) -> int:
        return sum(order.role == "entry" for order in self.working)

    def flatten_effects(self) -> list[str]:
        """What *Flatten* would do, one sentence each."""
        effects = []
        if self.working:
            count = len(self.working)
            effects.append(f"Cancels {count} working {'order' if count == 1 else 'orders'}.")
        if self.external:
            count = len(self.external)
            effects.append(
                f"Cancels {count} {'order' if count == 1 else 'orders'} that somebody else placed."
            )
        effects += [closing(position, self.account) for position in self.open]
        effects += [
            f"Closes {written.qty(held.net_pos)} {held.contract}, which no strategy holds."
            for held in self.unexplained
        ]
        on = [a.strategy.name for a in self.traders if a.trader.enabled and a.strategy.enabled]
        if on:
            verb = "stays" if len(on) == 1 else "stay"
            effects.append(f"{' and '.join(on)} {verb} on and may enter again.")
        return effects


def closing(position: RecordedPosition, account: Account) -> str:
    """What closing one position does: ``Sells 2 MNQZ6 at market, about +$12.00 open.`` Of what is
    held at a broker the result is not known."""
    verb = "Sells" if position.side == "long" else "Buys back"
    text = f"{verb} {written.qty(position.quantity)} {position.contract} at market"
    if account.login_id is not None or position.unrealized_pnl is None:
        return f"{text}."
    return f"{text}, about {written.signed(position.unrealized_pnl, account.currency)} open."


@bp.get("/")
def index() -> str:
    return render_template("pages/accounts/index.html", **_list())


@bp.get("/parts/list/")
def list_part() -> str:
    return render_template("pages/accounts/_list.html", **_list())


@bp.get("/new/")
def new() -> ResponseReturnValue:
    if request.args.get("broker") == log_ins.BROKER:
        return log_ins.new_page(Form())
    return _new(Form())


@bp.post("/new/")
def create() -> ResponseReturnValue:
    user_id = current_user_id()
    made: list[Account] = []

    def open_account(given: AccountIn) -> None:
        made.append(
            accounts.open_account(
                user_id,
                name=given.name,
                broker=given.broker,
                environment=given.environment,
                currency=given.currency,
                starting_balance=given.starting_balance,
            )
        )

    form = submit(AccountIn, open_account, _WORDS)
    if form is not None:
        return _new(form)
    flash(f"“{made[0].name}” was opened.")
    return redirect(f"/accounts/{made[0].id}/", 303)


@bp.get("/<int:account_id>/")
def show(account_id: int) -> ResponseReturnValue:
    return _show(account_id)


@bp.get("/<int:account_id>/parts/state/")
def state_part(account_id: int) -> str:
    return render_template("pages/accounts/_state.html", **_account(account_id))


@bp.post("/<int:account_id>/rename/")
def rename(account_id: int) -> ResponseReturnValue:
    user_id = current_user_id()
    form = submit(
        AccountChange,
        lambda given: accounts.rename(user_id, account_id, given.name or ""),
        _WORDS,
    )
    if form is not None:
        return _show(account_id, form)
    flash("The account was renamed.")
    return redirect(f"/accounts/{account_id}/", 303)


@bp.post("/<int:account_id>/kill-switch/")
def kill_switch(account_id: int) -> ResponseReturnValue:
    on = request.form.get("on") == "1"
    account = accounts.set_kill_switch(current_user_id(), account_id, on)
    word = "on: entries are blocked" if on else "off: entries are allowed"
    flash(f"The kill switch of “{account.name}” is {word}.")
    return redirect(f"/accounts/{account_id}/", 303)


@bp.post("/<int:account_id>/flatten/")
def flatten(account_id: int) -> ResponseReturnValue:
    left = accounts.flatten_account(current_user_id(), account_id)
    if left:
        flash(f"Not flat yet: {left} left. See the log.", "error")
    else:
        flash("Everything was cancelled and closed.")
    return redirect(f"/accounts/{account_id}/", 303)


@bp.post("/<int:account_id>/adopt/")
def adopt(account_id: int) -> ResponseReturnValue:
    taken = sync.adopt(current_user_id(), account_id)
    flash("The books follow the broker now." if taken else "Nothing differed any more.")
    return redirect(f"/accounts/{account_id}/", 303)


@bp.post("/<int:account_id>/delete/")
def delete(account_id: int) -> ResponseReturnValue:
    account = get(Account, account_id, current_user_id())
    flatten_first = request.form.get("flatten") == "1"
    try:
        accounts.delete(current_user_id(), account_id, flatten_first=flatten_first)
    except Conflict as e:
        return _show(account_id, Form(status=e.status, message=e.detail))
    flash(f"“{account.name}” was deleted. Its history stays.")
    return redirect("/accounts/", 303)


@bp.post("/<int:account_id>/credentials/")
def replace_credentials(account_id: int) -> ResponseReturnValue:
    """Try other credentials and keep them; the old ones stay where that fails."""
    user_id = current_user_id()
    get(Account, account_id, user_id)
    form = submit(
        CredentialsIn,
        lambda given: broker_accounts.replace_credentials(
            user_id, account_id, given.as_given(), address=remote_address()
        ),
        log_ins.WORDS,
    )
    if form is not None:
        return _show(account_id, log_in=form)
    flash(log_ins.REPLACED)
    return redirect(f"/accounts/{account_id}/", 303)


def _new(form: Form) -> ResponseReturnValue:
    currencies = [(code, code) for code in _CURRENCIES]
    return render_template("pages/accounts/new.html", form=form, currencies=currencies), form.status


def _show(
    account_id: int, form: Form | None = None, *, log_in: Form | None = None
) -> ResponseReturnValue:
    """``form``: of its name or of its deletion; ``log_in``: of its credentials."""
    form = form or Form()
    page = render_template(
        "pages/accounts/show.html",
        **_account(account_id),
        form=form,
        log_in=log_in or Form(),
        offers_oauth=log_ins.offers_oauth(),
    )
    return page, max(form.status, log_in.status if log_in else 0), (log_in or form).headers


def _list() -> dict[str, Any]:
    user_id = current_user_id()
    rows = list(db.session.scalars(accounts.listing(user_id).order_by(Account.name, Account.id)))
    standings = [_standing(user_id, row) for row in rows]
    standings.sort(key=lambda s: ("live", "demo", "paper").index(s.account.badge))
    return {"standings": standings, "sums": _sums(standings)}


def _sums(standings: Iterable[Standing]) -> list[tuple[str, str, Decimal]]:
    """(kind, currency, equity) of the accounts whose equity is known."""
    sums: dict[tuple[str, str], Decimal] = {}
    for standing in standings:
        if standing.equity is not None:
            key = (standing.account.badge, standing.account.currency)
            sums[key] = sums.get(key, Decimal(0)) + standing.equity
    return [(kind, currency, equity) for (kind, currency), equity in sums.items()]


def _account(account_id: int) -> dict[str, Any]:
    user_id = current_user_id()
    standing = _standing(user_id, get(Account, account_id, user_id))
    fills = list(
        db.session.scalars(
            accounts.fills(user_id, account_id)
            .order_by(Fill.filled_at.desc(), Fill.id.desc())
            .limit(FILLS_SHOWN)
        )
    )
    login_id = standing.account.login_id
    return {
        "standing": standing,
        "account": standing.account,
        "stream": standing.stream,
        "now": clock.now(),
        "polling": recorder.of_accounts(user_id, [account_id]).get(account_id),
        "credentials": logins.shown(logins.kinds(user_id)[login_id]) if login_id else {},
        "lines": _lines(standing),
        "fills": [(fill, instrument_for(fill.contract).price_places) for fill in fills],
        "orders": [
            (order, instrument_for(order.contract).price_places) for order in standing.working
        ],
        "external": [
            (order, instrument_for(order.contract).price_places) for order in standing.external
        ],
        "strategies": {row.strategy.id: row.strategy for row in standing.traders},
    }


@dataclass(frozen=True, slots=True)
class Line:
    """One contract on the account: the broker's position, our books and the open result.
    ``broker`` is None while the broker does not answer."""

    contract: str
    places: int
    broker: Decimal | None
    books: Decimal
    avg_price: Decimal | None
    open: list[RecordedPosition]
    is_apart: bool


def _lines(standing: Standing) -> list[Line]:
    user_id, account_id = standing.account.user_id, standing.account.id
    held = {h.contract: h for h in standing.held or ()}
    books = positions.held(user_id, account_id)
    apart = {h.contract for h in standing.apart}
    return [
        Line(
            contract,
            instrument_for(contract).price_places,
            None if standing.held is None else _net(held.get(contract)),
            books.get(contract, Decimal(0)),
            held[contract].avg_price if contract in held else None,
            [p for p in standing.open if p.contract == contract],
            contract in apart,
        )
        for contract in sorted({*held, *books})
    ]


def _net(held: Held | None) -> Decimal:
    return held.net_pos if held is not None else Decimal(0)


def _standing(user_id: int, account: Account) -> Standing:
    standing = Standing(account)
    of_account = Filters(account_id=account.id)
    standing.open = list(db.session.scalars(positions.open_positions(user_id, of_account)))
    working = accounts.orders(user_id, account.id, only_open=True).order_by(Order.id)
    standing.working = list(db.session.scalars(working))
    standing.traders = traders.assigned(
        list(db.session.scalars(traders.listing(user_id, account_id=account.id)))
    )
    today = Filters(account_id=account.id, since=day_start(clock.now()), currency=account.currency)
    standing.closed_today = dashboard.summary(user_id, today).pnl_all
    if account.login_id is not None:
        # Asking the broker for each look at a page would spend the log-in's request budget.
        standing.stream = user_data.stream_of(user_id, account.id)
        standing.external = list(live.external_orders(account.id, only_open=True))
        standing.balance = accounts.last_balance(account)
        if standing.balance is not None:
            standing.held = accounts.last_positions(account)
        return standing
    try:
        standing.balance = accounts.balance(user_id, account.id)
        standing.held = accounts.broker_positions(user_id, account.id)
    except TradingError as e:
        standing.trouble = e.detail
    return standing
