"""The kill switch in the top bar of every page: all of the user's accounts at once."""

from __future__ import annotations

from flask import Blueprint, flash, redirect
from werkzeug.wrappers import Response

from app.services import accounts
from app.web.auth import current_user_id

bp = Blueprint("kill_switch", __name__)


@bp.post("/kill-switch/")
def pull() -> Response:
    """Block every new entry and end the unfilled ones. Positions keep their stops and targets; an
    account's own page allows entries again."""
    stopped = accounts.set_kill_switches(current_user_id(), True)
    count = f"{len(stopped)} account{'' if len(stopped) == 1 else 's'}"
    flash(f"The kill switch is on for {count}: entries are blocked.")
    return redirect("/accounts/", 303)
