"""Users, as admins see them."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy import select

from app.models import User
from app.schemas.auth import AdminUserOut, NewUserIn
from app.schemas.common import ListQuery, page_of
from app.services import users
from app.web.auth import current_user_id, remote_address
from app.web.pagination import Listed, paginate

bp = APIBlueprint("admin_users", __name__, url_prefix="/admin/users", tag="Admin")


@bp.get("/")
@bp.input(ListQuery, location="query")
@bp.output(page_of(AdminUserOut))
def list_users(query_data: ListQuery) -> Listed:
    """All users"""
    sorts = {"created_at": User.created_at, "username": User.username_key}
    return paginate(select(User), query_data, id_column=User.id, sorts=sorts)


@bp.post("/")
@bp.input(NewUserIn)
@bp.output(AdminUserOut, 201)
def create_user(json_data: NewUserIn) -> Any:
    """Make a user, whatever the setting REGISTRATION says"""
    return users.create(
        json_data.username,
        json_data.email,
        json_data.password,
        json_data.role,
        by=current_user_id(),
        address=remote_address(),
    )
