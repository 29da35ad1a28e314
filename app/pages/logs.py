"""The log of strategies and accounts, as it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, request

from app.extensions import db
from app.models import Account, Strategy, StrategyLog
from app.pages import periods
from app.schemas.common import ListQuery
from app.services import logs
from app.services.logs import Filters
from app.services.owned import owned
from app.web.auth import current_identity, current_user_id
from app.web.pagination import paginate

bp = Blueprint("logs", __name__, url_prefix="/logs")

PER_PAGE = 100
_LEVELS = (("", "All"), ("info", "Info"), ("warning", "Warnings"), ("error", "Errors"))


@dataclass(frozen=True, slots=True)
class Query:
    """What the address asks for. The days are the user's; both count in full."""

    strategy_id: int | None
    account_id: int | None
    level: str | None
    first: str
    last: str
    cursor: str | None

    @classmethod
    def read(cls) -> Query:
        """Values that make no sense count as not given: an old bookmark still opens."""
        given = request.args
        level = given.get("level")
        return cls(
            strategy_id=given.get("strategy_id", type=int),
            account_id=given.get("account_id", type=int),
            level=level if level in logs.LEVELS else None,
            first=periods.day_text(given.get("from")),
            last=periods.day_text(given.get("to")),
            cursor=given.get("cursor"),
        )

    def filters(self, zone: str) -> Filters:
        since, until = periods.span(self.first, self.last, zone)
        return Filters(
            strategy_id=self.strategy_id,
            account_id=self.account_id,
            level=self.level,
            since=since,
            until=until,
        )

    def text(self, **changed: Any) -> str:
        values: dict[str, Any] = {
            "level": self.level,
            "strategy_id": self.strategy_id,
            "account_id": self.account_id,
            "from": self.first,
            "to": self.last,
        } | changed
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def is_live(self) -> bool:
        """New lines belong on the page: it begins with the newest and does not end some day."""
        return self.cursor is None and not self.last


@bp.get("/")
def index() -> str:
    return render_template("pages/logs/index.html", **_choices(), **_lines(Query.read()))


@bp.get("/parts/lines/")
def lines_part() -> str:
    """The lines alone: the newest, or with a cursor those that follow the ones on the page."""
    return render_template("pages/logs/_lines.html", **_lines(Query.read()))


def _choices() -> dict[str, Any]:
    user_id = current_user_id()
    strategies = _named(Strategy, user_id)
    accounts = _named(Account, user_id)
    return {
        "levels": _LEVELS,
        "strategies": [("", "Every strategy"), *strategies.items()],
        "accounts": [("", "Every account"), *accounts.items()],
        "strategy_names": strategies,
        "account_names": accounts,
    }


def _lines(query: Query) -> dict[str, Any]:
    user_id = current_user_id()
    rows = logs.listing(user_id, query.filters(current_identity().zone))
    asked = ListQuery(limit=PER_PAGE, cursor=query.cursor, sort="-id")
    page = paginate(rows, asked, id_column=StrategyLog.id)
    return {
        "query": query,
        "text": query.text(),
        "lines": page["items"],
        "total": page["total"],
        "older": query.text(cursor=page["next"]) if page["next"] else None,
        "names": _names(user_id, page["items"]),
    }


def _names(user_id: int, rows: list[StrategyLog]) -> dict[int, str]:
    """Line → whose it is: its strategy's name, else its account's."""
    strategies = _named(Strategy, user_id)
    accounts = _named(Account, user_id)
    return {
        row.id: strategies.get(row.strategy_id) or accounts.get(row.account_id) or ""
        for row in rows
    }


def _named(table: Any, user_id: int) -> dict[int | None, str]:
    """Id → name of the user's rows, deleted ones included, by name."""
    rows = owned(table, user_id, with_deleted=True).order_by(table.name, table.id)
    return {row.id: row.name for row in db.session.scalars(rows)}
