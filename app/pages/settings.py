"""One's own profile, password, sessions and API keys, all by plain forms."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template
from flask.typing import ResponseReturnValue

from app.domain.passwords import MIN_LENGTH
from app.schemas.auth import ApiKeyIn, PasswordIn, ProfileIn
from app.services import api_keys, sessions, users
from app.web import sign_in
from app.web.auth import current_identity, current_user_id, remote_address
from app.web.forms import Form, submit

bp = Blueprint("settings", __name__, url_prefix="/settings")

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python", "Python"),
    ("Python", "Python"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@bp.get("/")
def show() -> ResponseReturnValue:
    return _render()


@bp.post("/profile/")
def save_profile() -> ResponseReturnValue:
    user_id = current_user_id()
    form = submit(
        ProfileIn,
        lambda given: users.update_profile(user_id, email=given.email, zone=given.zone),
        {"email": "This is no e-mail address. Expected something like name@example.com."},
    )
    return _done("Profile saved.") if form is None else _render(profile=form)


@bp.post("/password/")
def change_password() -> ResponseReturnValue:
    identity = current_identity()
    form = submit(PasswordIn, lambda given: sign_in.change_password(identity, given))
    if form is None:
        return _done("Password changed. Every other session has ended.")
    return _render(password=form)


@bp.post("/sessions/<int:session_id>/end/")
def end_session(session_id: int) -> ResponseReturnValue:
    sessions.end(session_id, current_user_id(), address=remote_address())
    return _done("That browser is signed out.")


@bp.post("/api-keys/")
def create_api_key() -> ResponseReturnValue:
    identity = current_identity()
    made: list[str] = []

    def create(given: ApiKeyIn) -> None:
        _, key = api_keys.create(
            identity.id,
            given.name,
            given.scopes,
            grantable=identity.scopes,
            expires_at=given.expires_at,
            address=remote_address(),
        )
        made.append(key)

    words = {"name": "Give it a name of up to 80 characters.", "scopes": "Choose at least one."}
    form = submit(ApiKeyIn, create, words)
    return _render(new_key=made[0]) if form is None else _render(api_key=form)


@bp.post("/api-keys/<int:key_id>/revoke/")
def revoke_api_key(key_id: int) -> ResponseReturnValue:
    api_keys.revoke(key_id, current_user_id(), address=remote_address())
    return _done("The key is revoked.")


def browser(user_agent: str) -> str:
    """What a person calls it: ``Firefox on Windows``. Many pretend to be others too, so the more
    particular names are looked for first."""
    name = next((word for sign, word in _BROWSERS if sign in user_agent), "Unknown program")
    system = next((word for sign, word in _SYSTEMS if sign in user_agent), "")
    return f"{name} on {system}" if system else name


def _done(message: str) -> ResponseReturnValue:
    flash(message)
    return redirect("/settings/")


def _render(*, new_key: str = "", **forms: Form) -> ResponseReturnValue:
    """The page; ``forms``: those that are shown again, by name."""
    identity = current_identity()
    user, signed_in = users.get(identity.id), sessions.listing(identity.id)
    shown: dict[str, Any] = {name: Form() for name in ("profile", "password", "api_key")}
    page = render_template(
        "pages/settings.html",
        user=user,
        forms=shown | forms,
        zones=[(zone, zone) for zone in users.zones()],
        sessions=signed_in,
        browsers={s.id: browser(s.user_agent) for s in signed_in},
        session_id=identity.session_id,
        api_keys=api_keys.listing(identity.id),
        scopes=[s for s in ("read", "trade", "admin") if s in identity.scopes],
        new_key=new_key,
        min_length=MIN_LENGTH,
    )
    return page, max([200, *(form.status for form in forms.values())])
