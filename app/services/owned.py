"""Whose rows these are: every query about a user's own rows begins here.

Somebody else's row, a deleted one and one that never existed are the same ``NotFound``.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, scoped_session

from app.domain.errors import NotFound
from app.models.base import Model, db

M = TypeVar("M", bound=Model)

_MAX_ID = 2**63 - 1


def owned(model: type[M], user_id: int, *, with_deleted: bool = False) -> Select[M]:
    """The user's rows of a table that has ``user_id``, without the soft-deleted ones."""
    table = cast("Any", model)
    query = select(model).where(table.user_id == user_id)
    if hasattr(table, "deleted_at") and not with_deleted:
        query = query.where(table.deleted_at.is_(None))
    return query


def get(
    model: type[M],
    row_id: int,
    user_id: int,
    *,
    session: Session | scoped_session[Session] | None = None,
    with_deleted: bool = False,
) -> M:
    """One row of the user. ``session``: the transaction's own (``tx.session``) where one runs.

    Raises:
        NotFound: not there, or not the user's.
    """
    if not 0 < row_id <= _MAX_ID:
        raise NotFound
    query = owned(model, user_id, with_deleted=with_deleted).where(cast("Any", model).id == row_id)
    row = (session or db.session).scalar(query)
    if row is None:
        raise NotFound
    return row
