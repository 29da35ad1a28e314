"""The first-run guide: an account, a strategy, its webhook, an alert, and the trade it makes.

What is shown is what is so: each step counts as done when its thing exists, whoever made it.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

from app import clock
from app.domain.brackets import distance_points
from app.domain.errors import Conflict, Invalid, TradingError
from app.domain.instruments import Instrument
from app.domain.settings import StopLoss, StrategySettings
from app.domain.symbols import ResolvedContract, resolve
from app.events import timestamp
from app.extensions import db
from app.models import Account, RecordedPosition, Signal, Strategy, Trade, Trader
from app.schemas.accounts import AccountIn
from app.schemas.recorders import RecorderIn
from app.services import (
    accounts,
    passphrases,
    positions,
    preview,
    signal_log,
    signals,
    strategies,
    traders,
)
from app.services.context import facts_of
from app.services.owned import get
from app.services.positions import Filters
from app.services.signal_log import Life
from app.services.signals import Alert
from app.services.traders import Assigned
from app.web.auth import current_user_id, remote_address
from app.web.errors import validation_errors
from app.web.urls import public_base

bp = Blueprint("guide", __name__, url_prefix="/guide")

NAME = "My first strategy"
SYMBOL = "MNQ1!"
ACCOUNT_NAME = "Paper USD"
BALANCE = "100000"
SETTINGS = {
    "stop_loss": {"distance": "60", "unit": "ticks"},
    "take_profits": [{"distance": "80", "unit": "ticks"}],
}
STEPS = 4
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(slots=True)
class Progress:
    """How far somebody has come. ``life`` is the strategy's newest alert."""

    account: Account | None = None
    equity: Decimal | None = None
    strategy: Strategy | None = None
    settings: StrategySettings | None = None
    contract: ResolvedContract | None = None
    life: Life | None = None
    position: RecordedPosition | None = None
    trade: Trade | None = None

    @property
    def done(self) -> int:
        return self.now - 1

    @property
    def now(self) -> int:
        """The number of the step to do next; beyond the last when all is done."""
        for number, thing in enumerate((self.account, self.strategy, self.life), start=1):
            if thing is None:
                return number
        return STEPS + 1 if self.trade is not None and self.position is None else STEPS


@dataclass(frozen=True, slots=True)
class Refused:
    """A form that was not taken: what was typed, and what is wrong by field."""

    values: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@bp.get("/")
def show() -> str:
    return _render(Refused())


@bp.post("/account/")
def open_account() -> Response | tuple[str, int]:
    """Open a paper account with play money."""
    typed = {
        "name": request.form.get("name", "").strip() or ACCOUNT_NAME,
        "starting_balance": request.form.get("starting_balance", "").replace(",", "") or BALANCE,
    }
    try:
        given = AccountIn.model_validate(typed)
        accounts.open_account(
            current_user_id(),
            name=given.name,
            broker=given.broker,
            environment=given.environment,
            currency=given.currency,
            starting_balance=given.starting_balance,
        )
    except (ValidationError, Invalid) as e:
        return _render(Refused(typed, _errors(e))), 422
    return redirect("/guide/", 303)


@bp.post("/strategy/")
def make_strategy() -> Response | tuple[str, int]:
    """Make a strategy with a stop and a target, and let it trade on the paper account."""
    user_id = current_user_id()
    account = _paper_account(user_id)
    if account is None:
        raise Conflict("Open a paper account first.")
    typed = {
        "name": request.form.get("name", "").strip() or NAME,
        "symbol": request.form.get("symbol", "").strip() or SYMBOL,
    }
    try:
        given = RecorderIn.model_validate({**typed, "settings": SETTINGS})
        made = strategies.create(
            user_id,
            name=given.name,
            symbol=given.symbol,
            demo_account_id=account.id,
            recording=True,
            settings=given.settings,
        )
    except (ValidationError, Invalid) as e:
        return _render(Refused(typed, _errors(e))), 422
    traders.create(user_id, strategy_id=made.id, account_id=account.id)
    return redirect("/guide/", 303)


@bp.post("/send/")
def send() -> Response:
    """Send the strategy's webhook a real alert. Where anything but paper would trade: never."""
    user_id = current_user_id()
    strategy = get(Strategy, request.form.get("strategy_id", 0, type=int), user_id)
    if not _is_paper_only(user_id, strategy.id):
        raise Conflict(
            f"“{strategy.name}” trades on an account that is not paper, so no test alert is sent. "
            "Use the test alert of its page: it shows what would happen and trades nothing.",
            code="not_paper",
        )
    action = "close" if request.form.get("action") == "close" else "buy"
    now = clock.now()
    secret = passphrases.opened(strategy)
    carried = {"passphrase": secret} if secret is not None else {}
    body = json.dumps(_alert(strategy, action, now) | carried).encode()
    alert = Alert(body, "application/json", remote_address(), now, g.get("request_id"))
    try:
        signals.receive(_token(strategy), alert)
    except TradingError as e:
        flash(e.detail, "error")
    return redirect("/guide/", 303)


def _render(refused: Refused) -> str:
    progress = _progress(current_user_id())
    context: dict[str, Any] = {"progress": progress, "refused": refused, "steps": STEPS}
    context |= {"name": NAME, "symbol": SYMBOL, "account_name": ACCOUNT_NAME, "balance": BALANCE}
    if progress.strategy is not None:
        context |= _webhook(progress.strategy, progress)
    return render_template("pages/guide/index.html", **context)


def _progress(user_id: int) -> Progress:
    progress = Progress(account=_paper_account(user_id))
    if progress.account is None:
        return progress
    progress.equity = _equity(user_id, progress.account.id)
    progress.strategy = _strategy(user_id)
    if progress.strategy is None:
        return progress
    strategy_id = progress.strategy.id
    progress.settings = strategies.settings_of(progress.strategy)
    progress.contract = resolve(
        progress.strategy.symbol or SYMBOL, clock.now(), contract=progress.settings.contract
    )
    newest = strategies.last_signals(user_id, [strategy_id]).get(strategy_id)
    progress.life = _life(user_id, newest)
    chosen = Filters(strategy_id=strategy_id)
    progress.position = db.session.scalar(
        positions.open_positions(user_id, chosen).order_by(RecordedPosition.id.desc()).limit(1)
    )
    progress.trade = db.session.scalar(
        positions.trades(user_id, chosen).order_by(Trade.id.desc()).limit(1)
    )
    return progress


def _equity(user_id: int, account_id: int) -> Decimal | None:
    """None where the broker does not say: the page is shown all the same."""
    try:
        return accounts.balance(user_id, account_id).equity
    except TradingError:
        return None


def _life(user_id: int, newest: Signal | None) -> Life | None:
    return signal_log.life(user_id, newest.id) if newest is not None else None


def _paper_account(user_id: int) -> Account | None:
    rows = accounts.listing(user_id).where(Account.broker == accounts.PAPER)
    return db.session.scalar(rows.order_by(Account.id).limit(1))


def _assigned(user_id: int, strategy_id: int | None = None) -> list[Assigned]:
    rows = traders.listing(user_id, strategy_id=strategy_id).where(Trader.enabled)
    return traders.assigned(list(db.session.scalars(rows.order_by(Trader.id.desc()))))


def _strategy(user_id: int) -> Strategy | None:
    """The newest strategy of which nothing but paper accounts trade."""
    assigned = _assigned(user_id)
    elsewhere = {a.strategy.id for a in assigned if a.account.broker != accounts.PAPER}
    return next((a.strategy for a in assigned if a.strategy.id not in elsewhere), None)


def _is_paper_only(user_id: int, strategy_id: int) -> bool:
    return all(a.account.broker == accounts.PAPER for a in _assigned(user_id, strategy_id))


def _webhook(strategy: Strategy, progress: Progress) -> dict[str, Any]:
    base = public_base()
    url = strategies.webhook_url(strategy, base)
    now = clock.now()
    action = "close" if progress.position is not None else "buy"
    body = json.dumps(_alert(strategy, action, None))
    return {
        "webhook_url": url,
        "alert_text": strategies.alert_template(strategy),
        "curl": f"curl -X POST {shlex.quote(url)} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}",
        "is_local": base.split("//", 1)[-1].rsplit(":", 1)[0] in _LOOPBACK,
        "action": action,
        "dry_run": _dry_run(strategy, action, now),
        "bracket": _bracket(progress),
    }


def _dry_run(strategy: Strategy, action: str, now: datetime) -> dict[str, Any] | None:
    """What the alert would do now, for the one account of the guide."""
    db.session.commit()  # a broker is asked: no read may stay open meanwhile
    body = json.dumps(_alert(strategy, action, now)).encode()
    try:
        plans = preview.preview(strategy.id, body, "application/json")["plans"]
    except TradingError:
        return None
    return plans[0] if plans else None


def _bracket(progress: Progress) -> list[tuple[str, Decimal, str, Decimal | None]]:
    """(words, distance, unit, money) of the stop and the target, for the size of one entry."""
    if progress.settings is None or progress.contract is None:
        return []
    instrument, size = progress.contract.instrument, progress.settings.entry_quantity
    lines = []
    stop = progress.settings.stop_loss
    if isinstance(stop, StopLoss):
        money = _money(stop, size, instrument, progress.contract.contract)
        lines.append(("Stop", stop.distance, stop.unit.value, -money if money else None))
    for target in progress.settings.take_profits:
        money = _money(target, size, instrument, progress.contract.contract)
        lines.append(("Target", target.distance, target.unit.value, money))
    return lines


def _money(leg: Any, size: Decimal, instrument: Instrument, contract: str) -> Decimal | None:
    """What a leg's distance is worth; None where that depends on the price."""
    if leg.unit.value == "percent":
        return None
    points = distance_points(
        leg.distance, leg.unit, price=Decimal(0), quantity=size, instrument=facts_of(contract)
    )
    return points * instrument.point_value * size


def _alert(strategy: Strategy, action: str, at: datetime | None) -> dict[str, str]:
    """A body as TradingView would send it. The moment makes each one different from the last."""
    body = {"action": action, "ticker": strategy.symbol or SYMBOL}
    if at is not None:
        body["time"] = timestamp(at)
    return body


def _token(strategy: Strategy) -> str:
    return strategies.webhook_url(strategy, "").rstrip("/").rpartition("-")[2]


def _errors(error: ValidationError | Invalid) -> dict[str, str]:
    if isinstance(error, ValidationError):
        return dict(validation_errors(error))
    known = ("name", "symbol", "starting_balance")
    errors = {name: words for name, words in error.errors if name in known}
    return errors or {"": error.detail}
