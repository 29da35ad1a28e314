"""Accounts that a log-in at a broker has: tried, chosen, given other credentials, connected."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter, ValidationError

from app.domain.errors import Conflict, Invalid, TradingError
from app.models import Account
from app.schemas.accounts import LogInForm
from app.schemas.fields import Name
from app.services import accounts, broker_accounts, logins
from app.services.broker_accounts import Choice, Found, Source
from app.services.logins import Given
from app.services.owned import get
from app.web.auth import current_user_id, remote_address
from app.web.forms import Form, submit
from config import Config

bp = Blueprint("log_ins", __name__, url_prefix="/accounts")

BROKER = "tradovate"
FORM = f"/accounts/new/?broker={BROKER}"
WORDS = {
    "username": "Use your name at Tradovate, of up to 64 characters.",
    "password": "Use the password at Tradovate (or the one of the API key), up to 64 characters.",
    "client_id": "Use the id (cid) that Tradovate shows beside the API key.",
    "client_secret": "Use the secret that Tradovate showed when the API key was made.",
    "environment": "Choose demo or live.",
}
REPLACED = "The credentials were replaced. The stream starts again with them."
_MOST_DIGITS = 20
_NAMES: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(slots=True)
class Offer:
    """The accounts of a log-in that was tried, to choose from. ``sealed`` holds what was signed
    in with, for a new log-in; ``account`` is one of ours on a log-in that is here already."""

    environment: str
    found: list[Found]
    sealed: str = ""
    account: Account | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    """What was ticked already, and the name that was typed for it."""

    def is_chosen(self, found: Found) -> bool:
        return found.broker_account_id in self.chosen or (not self.chosen and len(self.free) == 1)

    def name_of(self, found: Found) -> str:
        """The name that its field shows."""
        return self.chosen.get(found.broker_account_id, f"Tradovate {found.name}")

    @property
    def free(self) -> list[Found]:
        """Those that can be opened."""
        return [a for a in self.found if a.is_usable and a.account_id is None]

    @property
    def ours(self) -> list[Found]:
        return [a for a in self.found if a.account_id is not None]

    @property
    def action(self) -> str:
        return f"/accounts/{self.account.id}/others/" if self.account else "/accounts/choose/"


def offers_oauth() -> bool:
    """Whether the button that leads to the broker's own log-in page is shown."""
    config: Config = current_app.config["JUST_TRADES"]
    is_registered = bool(config.tradovate_client_id and config.tradovate_client_secret)
    return is_registered and logins.offers_oauth(BROKER)


def new_page(form: Form) -> ResponseReturnValue:
    """The form for a log-in at Tradovate."""
    page = render_template(
        "pages/accounts/log_in.html",
        form=form,
        offers_oauth=offers_oauth(),
        nav_active="accounts.new",
    )
    return page, form.status


def choose_page(offer: Offer, form: Form | None = None) -> ResponseReturnValue:
    form = form or Form()
    page = render_template(
        "pages/accounts/choose.html", offer=offer, form=form, nav_active="accounts.new"
    )
    return page, form.status


@bp.post("/log-in/")
def try_out() -> ResponseReturnValue:
    """Sign in and list the accounts; nothing is saved yet."""
    user_id = current_user_id()
    offers: list[Offer] = []

    def sign_in(posted: LogInForm) -> None:
        given = Given(BROKER, posted.environment, posted.as_given())
        offers.append(offer_of(user_id, *broker_accounts.try_log_in(user_id, given)))

    form = submit(LogInForm, sign_in, WORDS)
    return new_page(form) if form is not None else choose_page(offers[0])


@bp.post("/choose/")
def choose() -> ResponseReturnValue:
    """Open the chosen accounts of a log-in that was tried, or let one of ours use it."""
    user_id, sealed = current_user_id(), request.form.get("sealed", "")
    try:
        given = logins.unseal(user_id, sealed)
    except Invalid as e:
        flash(e.detail, "error")
        return redirect(FORM, 303)
    if request.form.get("replace"):
        return _use_for(user_id, _number(request.form["replace"]), given)
    try:
        return _open(user_id, given.environment, given)
    except (Invalid, Conflict) as e:
        return _choose_again(user_id, given, e)


@bp.get("/<int:account_id>/others/")
def others(account_id: int) -> ResponseReturnValue:
    """What else the account's log-in has."""
    user_id = current_user_id()
    account = get(Account, account_id, user_id)
    if account.login_id is None:
        return redirect(f"/accounts/{account_id}/")
    try:
        found = broker_accounts.listed(user_id, account.login_id)
    except TradingError as e:
        flash(e.detail, "error")
        return redirect(f"/accounts/{account_id}/")
    return choose_page(Offer(account.environment, found, account=account))


@bp.post("/<int:account_id>/others/")
def open_others(account_id: int) -> ResponseReturnValue:
    """Open more accounts of the same log-in."""
    user_id = current_user_id()
    account = get(Account, account_id, user_id)
    if account.login_id is None:
        return redirect(f"/accounts/{account_id}/", 303)
    try:
        return _open(user_id, account.environment, account.login_id)
    except (Invalid, Conflict) as e:
        found = broker_accounts.listed(user_id, account.login_id)
        offer = Offer(account.environment, found, account=account, chosen=_ticked())
        return choose_page(offer, Form(message=e.detail, status=e.status))


@bp.post("/<int:account_id>/test/")
def test(account_id: int) -> ResponseReturnValue:
    """Ask the broker with the saved credentials."""
    user_id = current_user_id()
    get(Account, account_id, user_id)
    try:
        account, found = accounts.test_connection(user_id, account_id)
    except TradingError as e:
        flash(f"The connection does not work. {e.detail}", "error")
    else:
        names = ", ".join(a.name for a in found)
        flash(f"The connection of “{account.name}” works. The broker lists {names}.")
    return redirect(f"/accounts/{account_id}/", 303)


@bp.post("/<int:account_id>/connect/")
def connect(account_id: int) -> ResponseReturnValue:
    return _switch(account_id, on=True)


@bp.post("/<int:account_id>/disconnect/")
def disconnect(account_id: int) -> ResponseReturnValue:
    return _switch(account_id, on=False)


def offer_of(user_id: int, given: Given, found: list[Found]) -> Offer:
    return Offer(given.environment, found, sealed=logins.seal(user_id, given))


def _choose_again(user_id: int, given: Given, error: TradingError) -> ResponseReturnValue:
    """The same page with what was ticked and typed, and what was wrong."""
    try:
        offer = offer_of(user_id, *broker_accounts.try_log_in(user_id, given))
    except TradingError as e:
        flash(e.detail, "error")
        return redirect(FORM, 303)
    offer.chosen = _ticked()
    return choose_page(offer, Form(message=error.detail, status=error.status))


def _ticked() -> dict[str, str]:
    """The chosen accounts by their id at the broker, with the names as they were typed."""
    chosen = request.form.getlist("account")
    return {id_: request.form.get(f"name-{id_}", "") for id_ in chosen}


def _open(user_id: int, environment: str, source: Source) -> ResponseReturnValue:
    """
    Raises:
        Invalid: nothing was chosen, or not confirmed, or not named.
    """
    if environment == "live" and request.form.get("understood") != "1":
        raise Invalid("Tick the box that says that orders on a live account trade real money.")
    choices = [Choice(id_, _name_of(id_)) for id_ in request.form.getlist("account")]
    if not choices:
        raise Invalid("Choose at least one account.")
    opened = broker_accounts.open_accounts(
        user_id, BROKER, environment, source, choices, address=remote_address()
    )
    if len(opened) > 1:
        flash(f"{len(opened)} accounts were opened.")
        return redirect("/accounts/", 303)
    flash(f"“{opened[0].name}” was opened.")
    return redirect(f"/accounts/{opened[0].id}/", 303)


def _name_of(broker_account_id: str) -> str:
    typed = request.form.get(f"name-{broker_account_id}", "")
    try:
        return _NAMES.validate_python(typed)
    except ValidationError as e:
        raise Invalid("Give each account a name of up to 80 characters.") from e


def _use_for(user_id: int, account_id: int, given: Given) -> ResponseReturnValue:
    try:
        broker_accounts.replace_credentials(
            user_id, account_id, given.credentials, kind=given.kind, address=remote_address()
        )
    except TradingError as e:
        flash(f"The credentials were not replaced. {e.detail}", "error")
    else:
        flash(REPLACED)
    return redirect(f"/accounts/{account_id}/", 303)


def _switch(account_id: int, *, on: bool) -> ResponseReturnValue:
    act = broker_accounts.connect if on else broker_accounts.disconnect
    try:
        account = act(current_user_id(), account_id)
    except Conflict as e:
        flash(e.detail, "error")
    else:
        word = "is being connected" if on else "was disconnected"
        flash(f"“{account.name}” {word}.")
    return redirect(f"/accounts/{account_id}/", 303)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else 0
