"""Log rows in JSON."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import Field

from app.schemas.common import Instant, ListQuery, Out
from app.schemas.fields import Id
from app.services.logs import Filters

_FILTERS = tuple(f.name for f in fields(Filters))


class LogQuery(ListQuery):
    """``from`` is inclusive, ``to`` exclusive."""

    strategy_id: Id | None = None
    account_id: Id | None = None
    level: Literal["info", "warning", "error"] | None = None
    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")

    def filters(self) -> Filters:
        return Filters(**{name: getattr(self, name) for name in _FILTERS})


class LogOut(Out):
    id: int
    created_at: Instant
    strategy_id: int | None
    account_id: int | None
    level: str
    event: str
    message: str
    data: dict[str, Any]
    signal_id: int | None
    order_id: int | None
    position_id: int | None
