"""Sign in, register, sign out: plain forms that work without JavaScript."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.domain.passwords import MIN_LENGTH
from app.schemas.auth import LoginIn, RegisterIn
from app.services import users
from app.web import sign_in as door
from app.web.auth import caller, local_path, sign_out
from app.web.forms import Form, submit

bp = Blueprint("auth", __name__)

REGISTER_WORDS = {
    "username": "3 to 40 letters, digits, dots, dashes or underscores; a letter or digit first.",
    "email": "This is no e-mail address. Expected something like name@example.com.",
    "password": f"Use at least {MIN_LENGTH} characters.",
}
_LOGIN_WORDS = {"login": "Type your user name or e-mail.", "password": "Type your password."}


@bp.get("/login")
def login() -> ResponseReturnValue:
    if caller() is not None:
        return redirect(_next())
    return _show_login(Form())


@bp.post("/login")
def log_in() -> ResponseReturnValue:
    form = submit(LoginIn, door.log_in, _LOGIN_WORDS)
    return redirect(_next()) if form is None else _show_login(form)


@bp.get("/register")
def register() -> ResponseReturnValue:
    if caller() is not None:
        return redirect(_next())
    return _show_register(Form())


@bp.post("/register")
def create() -> ResponseReturnValue:
    form = submit(RegisterIn, _register, REGISTER_WORDS)
    return redirect(_next()) if form is None else _show_register(form)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    sign_out(everywhere=request.form.get("all") == "1")
    return redirect("/login")


def _register(wanted: RegisterIn) -> None:
    """Make the user, in the browser's time zone where it names one."""
    user = door.register(wanted)
    zone = request.form.get("zone", "")
    if zone in users.zones():
        users.update_profile(user.id, zone=zone)


def _show_login(form: Form) -> ResponseReturnValue:
    page = render_template(
        "pages/login.html",
        form=form,
        next=request.args.get("next"),
        is_open=users.is_registration_open(),
    )
    return page, form.status, form.headers


def _show_register(form: Form) -> ResponseReturnValue:
    page = render_template(
        "pages/register.html",
        form=form,
        next=request.args.get("next"),
        is_open=users.is_registration_open(),
        is_first=not users.is_anybody_there(),
        min_length=MIN_LENGTH,
    )
    return page, form.status, form.headers


def _next() -> str:
    return local_path(request.args.get("next"))
