"""Traders: which strategy trades on which account, how large, and what it sets differently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.domain.errors import Conflict, Invalid
from app.domain.settings import (
    OFF,
    StrategySettings,
    TraderOverrides,
    describe,
    dump,
    effective,
    parse_overrides,
    parse_strategy,
)
from app.extensions import db
from app.models import Account, Strategy, Trader
from app.pages import effect, overrides_form, settings_form
from app.pages import filters as written
from app.pages.accounts import closing
from app.schemas.traders import TraderIn
from app.services import accounts, strategies, traders
from app.services.owned import get
from app.services.traders import Live
from app.web.auth import current_user_id
from app.web.forms import Form, submit

bp = Blueprint("traders", __name__, url_prefix="/traders")

_WORDS = {"strategy_id": "Choose a strategy.", "account_id": "Choose an account."}
_INFO = {info.name: info for info in describe()}


@dataclass(slots=True)
class Group:
    """One strategy and everybody who trades it."""

    strategy: Strategy
    rows: list[Shown] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shown:
    """One trader with its settings in few words."""

    live: Live
    size: str
    exits: str
    own: int

    @property
    def health(self) -> tuple[str, str]:
        """(state, words) of what keeps it from trading; ``on`` where nothing does."""
        assigned = self.live.assigned
        if not assigned.trader.enabled:
            return "off", "Off"
        if not assigned.strategy.enabled:
            return "off", "Recorder off"
        if assigned.account.kill_switch:
            return "killed", "Kill switch on"
        if assigned.account.status != "connected":
            return assigned.account.status, ""
        return "on", "Takes alerts"

    @property
    def ask(self) -> tuple[str, str] | None:
        """The question before the switch is turned, and what turning it does; None where that
        harms nothing."""
        assigned = self.live.assigned
        if assigned.trader.enabled and self.live.positions:
            what = "Its open position stays, with its stop and target; alerts no longer close it."
            return f"Switch off {name_of(self.live)}?", what
        if not assigned.trader.enabled and assigned.account.badge == "live":
            return f"Switch on {name_of(self.live)}?", "Its next alert trades real money."
        return None

    @property
    def effects(self) -> list[str]:
        return close_effects(self.live)


def name_of(live: Live) -> str:
    return f"{live.assigned.strategy.name} on {live.assigned.account.name}"


def close_effects(live: Live) -> list[str]:
    """What *Close* would do, one sentence each."""
    effects = []
    if live.working_orders:
        count = live.working_orders
        effects.append(f"Cancels {count} working {'order' if count == 1 else 'orders'}.")
    effects += [closing(p, live.assigned.account) for p in live.positions]
    if live.assigned.trader.enabled:
        effects.append("The trader stays on and may enter again.")
    return effects


@bp.get("/")
def index() -> ResponseReturnValue:
    return _index(Form())


@bp.get("/parts/list/")
def list_part() -> str:
    return render_template("pages/traders/_list.html", **_list())


@bp.post("/new/")
def create() -> ResponseReturnValue:
    user_id = current_user_id()
    made: list[Trader] = []

    def assign(given: TraderIn) -> None:
        made.append(
            traders.create(
                user_id,
                strategy_id=given.strategy_id,
                account_id=given.account_id,
                enabled=request.form.get("on") == "1",
            )
        )

    form = submit(TraderIn, assign, _WORDS)
    if form is not None:
        return _index(form)
    flash("The trader was added.")
    return redirect(f"/traders/{made[0].id}/", 303)


@bp.get("/<int:trader_id>/")
def show(trader_id: int) -> ResponseReturnValue:
    return _show(trader_id)


@bp.get("/<int:trader_id>/parts/state/")
def state_part(trader_id: int) -> str:
    return render_template("pages/traders/_state.html", **_state(trader_id))


@bp.post("/<int:trader_id>/")
def save(trader_id: int) -> ResponseReturnValue:
    typed = overrides_form.read(request.form)
    try:
        traders.change(current_user_id(), trader_id, {"overrides": typed})
    except Invalid as e:
        return _show(trader_id, typed=typed, errors=dict(e.errors)), e.status
    flash("The settings were saved.")
    return redirect(f"/traders/{trader_id}/", 303)


@bp.post("/<int:trader_id>/effect/")
def show_effect(trader_id: int) -> str:
    """The column beside the form, for settings that are not saved yet."""
    trader = get(Trader, trader_id, current_user_id())
    strategy = get(Strategy, trader.strategy_id, current_user_id())
    typed = overrides_form.read(request.form)
    return render_template("pages/recorders/_effect.html", **_effect(trader, strategy, typed))


@bp.post("/<int:trader_id>/toggle/")
def toggle(trader_id: int) -> ResponseReturnValue:
    trader = traders.toggle(current_user_id(), trader_id, request.form.get("on") == "1")
    flash(f"The trader is {'on' if trader.enabled else 'off'}.")
    return redirect(f"/traders/{trader_id}/", 303)


@bp.post("/<int:trader_id>/close/")
def close(trader_id: int) -> ResponseReturnValue:
    traders.close(current_user_id(), trader_id)
    flash("Its orders were cancelled and its positions closed.")
    return redirect(f"/traders/{trader_id}/", 303)


@bp.post("/<int:trader_id>/delete/")
def delete(trader_id: int) -> ResponseReturnValue:
    try:
        traders.delete(current_user_id(), trader_id)
    except Conflict as e:
        return _show(trader_id, refusal=e.detail), e.status
    flash("The trader was deleted. Its history stays.")
    return redirect("/traders/", 303)


def _index(form: Form) -> ResponseReturnValue:
    user_id = current_user_id()
    own = db.session.scalars(accounts.listing(user_id).order_by(Account.name, Account.id))
    page = render_template(
        "pages/traders/index.html",
        **_list(),
        form=form,
        accounts=[(a.id, f"{a.badge.upper()} {a.name}") for a in own],
    )
    return page, form.status


def _list() -> dict[str, Any]:
    user_id = current_user_id()
    strategy_id = request.args.get("strategy_id", type=int)
    account_id = request.args.get("account_id", type=int)
    ordered = strategies.listing(user_id).order_by(Strategy.name, Strategy.id)
    every = list(db.session.scalars(ordered))
    groups = {row.id: Group(row) for row in every if strategy_id in (None, row.id)}
    shown = [_shown(live) for live in traders.live(user_id)]
    for row in shown:
        assigned = row.live.assigned
        if account_id in (None, assigned.account.id) and assigned.strategy.id in groups:
            groups[assigned.strategy.id].rows.append(row)
    return {
        "groups": list(groups.values()),
        "strategies": [(row.id, row.name) for row in every],
        "strategy_id": strategy_id,
        "on": sum(row.live.assigned.trader.enabled for row in shown),
        "count": len(shown),
        "query": request.query_string.decode("ascii", "ignore"),
    }


def _shown(live: Live) -> Shown:
    assigned = live.assigned
    values = assigned.effective.values
    own = overrides_form.count(assigned.trader.overrides)
    return Shown(live, _size(values), _exits(values), own)


def _size(values: StrategySettings) -> str:
    """``2, cap 5``; what is not a fixed number by its name."""
    if values.sizing == "fixed":
        text = written.qty(values.entry_quantity * values.multiplier)
    else:
        text = settings_form.words(values.sizing)
        if values.sizing_value is not None:
            text += f" {written.qty(values.sizing_value)}"
        if values.multiplier != 1:
            text += f" × {written.qty(values.multiplier)}"
    return f"{text}, cap {written.qty(values.max_position)}" if values.max_position else text


def _exits(values: StrategySettings) -> str:
    """``target 80 ticks, stop 60 ticks``."""
    if values.exits_from == "alert":
        return "from the alert"
    document = dump(values)
    said = [
        f"{word} {overrides_form.said(_INFO[name], document[name])}"
        for word, name in (("target", "take_profits"), ("stop", "stop_loss"))
        if document[name] and document[name] != OFF
    ]
    return ", ".join(said) or "none"


def _show(
    trader_id: int,
    *,
    typed: dict[str, Any] | None = None,
    errors: dict[str, str] | None = None,
    refusal: str = "",
) -> str:
    context = _state(trader_id)
    trader, strategy = context["trader"], context["strategy"]
    overrides = typed if typed is not None else trader.overrides
    inherited = effective(parse_strategy(strategy.settings))
    siblings = traders.listing(current_user_id(), strategy_id=strategy.id).order_by(Trader.id)
    return render_template(
        "pages/traders/show.html",
        **context,
        **_effect(trader, strategy, overrides),
        sections=overrides_form.sections(overrides, inherited, errors or {}),
        siblings=[
            (assigned, overrides_form.count(assigned.trader.overrides))
            for assigned in traders.assigned(list(db.session.scalars(siblings)))
        ],
        errors=errors or {},
        refusal=refusal,
    )


def _state(trader_id: int) -> dict[str, Any]:
    user_id = current_user_id()
    trader = get(Trader, trader_id, user_id)
    live = next(row for row in traders.live(user_id) if row.assigned.trader.id == trader.id)
    return {
        "trader": live.assigned.trader,
        "strategy": live.assigned.strategy,
        "account": live.assigned.account,
        "shown": _shown(live),
        "live": live,
    }


def _effect(trader: Trader, strategy: Strategy, overrides: dict[str, Any]) -> dict[str, Any]:
    """Of settings that cannot be read, the first fault."""
    base = parse_strategy(strategy.settings)
    common = {"effect_url": f"/traders/{trader.id}/effect/", "form_id": "overrides-form"}
    try:
        parsed: TraderOverrides = parse_overrides(overrides, base, at=overrides_form.AT)
    except Invalid as e:
        return {**common, "effect": None, "fault": _fault(e)}
    values = effective(base, parsed).values
    return {**common, "effect": effect.of_buy(values, strategy.symbol), "fault": ""}


def _fault(error: Invalid) -> str:
    """The first fault, by the setting's name."""
    path, message = error.errors[0] if error.errors else ("", error.detail)
    name = path.removeprefix(f"{overrides_form.AT}.").partition(".")[0]
    return f"{_INFO[name].label}: {message}" if name in _INFO else message
