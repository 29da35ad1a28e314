"""One's own profile and password."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.schemas.auth import PasswordIn, ProfileIn, UserOut
from app.schemas.common import Done
from app.services import users
from app.web import sign_in
from app.web.auth import current_identity, current_user_id

bp = APIBlueprint("settings", __name__, url_prefix="/settings", tag="Settings")


@bp.get("/")
@bp.output(UserOut)
def show() -> Any:
    """One's own settings"""
    return users.get(current_user_id())


@bp.put("/")
@bp.input(ProfileIn)
@bp.output(UserOut)
def update(json_data: ProfileIn) -> Any:
    """Change what is given"""
    return users.update_profile(current_user_id(), email=json_data.email, zone=json_data.zone)


@bp.post("/password/")
@bp.input(PasswordIn)
@bp.output(Done)
def change_password(json_data: PasswordIn) -> Done:
    """Set a new password; every other session ends"""
    sign_in.change_password(current_identity(), json_data)
    return Done()
