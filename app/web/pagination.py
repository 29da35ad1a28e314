"""Lists in pages that stay right while rows arrive: a cursor names the last row that was seen."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, TypeVar

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.types import TypeEngine
from werkzeug.exceptions import BadRequest

from app.domain.errors import Invalid
from app.extensions import db
from app.models.types import Money, UTCDateTime
from app.schemas.common import ListQuery

R = TypeVar("R")
_MAX_ID = 2**63 - 1


class Listed(TypedDict):
    """What ``page_of(...)`` dumps. ``items`` are rows."""

    items: list[Any]
    next: str | None
    total: int


def paginate(
    query: Select[R],
    params: ListQuery,
    *,
    id_column: Any,
    sorts: Mapping[str, Any] | None = None,
    default: str = "-id",
) -> Listed:
    """One page of ``query``, which has no order of its own.

    ``sorts``: public name to column, never an empty one (a row without a value has no place in
    an order); ``id`` is always there and settles ties. A price or a quantity cannot be sorted by.

    Raises:
        Invalid: ``sort`` is none of these.
        BadRequest: the cursor was not given out for this order.
    """
    columns = {"id": id_column, **(sorts or {})}
    order = params.sort or default
    name, falls = order.removeprefix("-"), order.startswith("-")
    if name not in columns:
        raise Invalid(f"Sort by one of: {', '.join(sorted(columns))}.", field="sort")
    column = columns[name]
    total = db.session.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    if params.cursor:
        query = query.where(
            _after(column, id_column, falls, *_decode(params.cursor, order, column))
        )
    ordered = query.order_by(
        column.desc() if falls else column.asc(), id_column.desc() if falls else id_column.asc()
    )
    rows = list(db.session.scalars(ordered.limit(params.limit + 1)))
    page, has_more = rows[: params.limit], len(rows) > params.limit
    following = _encode(order, page[-1], column, id_column) if has_more else None
    return Listed(items=page, next=following, total=total or 0)


def _after(column: Any, id_column: Any, falls: bool, value: Any, row_id: int) -> Any:
    if column is id_column:
        return id_column < row_id if falls else id_column > row_id
    beyond = column < value if falls else column > value
    beside = id_column < row_id if falls else id_column > row_id
    return or_(beyond, and_(column == value, beside))


def _encode(order: str, row: Any, column: Any, id_column: Any) -> str:
    value = getattr(row, column.key)
    if isinstance(value, datetime):
        value = value.isoformat()
    elif isinstance(value, Decimal):
        value = str(value)
    text = json.dumps([order, value, getattr(row, id_column.key)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, order: str, column: Any) -> tuple[Any, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        of_order, value, row_id = json.loads(base64.urlsafe_b64decode(padded))
        if of_order != order or not isinstance(row_id, int) or abs(row_id) > _MAX_ID:
            raise ValueError("not of this list")
        return _typed(value, column.type), row_id
    except (ValueError, TypeError, ArithmeticError, binascii.Error, RecursionError) as e:
        raise BadRequest("This cursor was not given out for this list and order.") from e


def _typed(value: Any, kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, UTCDateTime):
        return _aware(datetime.fromisoformat(value))
    if isinstance(kind, Money):
        return Decimal(value)
    if not isinstance(value, kind.python_type) or (isinstance(value, int) and value > _MAX_ID):
        raise ValueError("of another kind")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("naive")
    return value
