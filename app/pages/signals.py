"""The webhook log: every alert that arrived, and the whole life of one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, request

from app import clock
from app.domain.errors import NotFound
from app.domain.settings import TRADINGVIEW_SOURCES
from app.domain.signals.errors import BadAlert
from app.extensions import db
from app.models import Account, Signal, Strategy
from app.pages import periods, signal_life
from app.schemas.common import ListQuery
from app.services import preview, signal_log
from app.services.owned import get, owned
from app.services.signal_log import Filters, Life, Tally
from app.web.auth import current_identity, current_user_id
from app.web.pagination import paginate

bp = Blueprint("signals", __name__, url_prefix="/signals")

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Query:
    """What the address asks for. The days are the user's; both count in full."""

    strategy_id: int | None
    status: str | None
    first: str
    last: str
    cursor: str | None

    @classmethod
    def read(cls) -> Query:
        """Values that make no sense count as not given: an old bookmark still opens."""
        given = request.args
        status = given.get("status")
        return cls(
            strategy_id=given.get("strategy_id", type=int),
            status=status if status in signal_log.STATUSES else None,
            first=periods.day_text(given.get("from")),
            last=periods.day_text(given.get("to")),
            cursor=given.get("cursor"),
        )

    def filters(self, zone: str) -> Filters:
        since, until = periods.span(self.first, self.last, zone)
        return Filters(strategy_id=self.strategy_id, status=self.status, since=since, until=until)

    def text(self, **changed: Any) -> str:
        values: dict[str, Any] = {
            "strategy_id": self.strategy_id,
            "status": self.status,
            "from": self.first,
            "to": self.last,
        } | changed
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def is_narrowed(self) -> bool:
        return bool(self.text())


@bp.get("/")
def index() -> str:
    return render_template("pages/signals/index.html", **_list(Query.read()))


@bp.get("/parts/list/")
def list_part() -> str:
    return render_template("pages/signals/_list.html", **_list(Query.read()))


@bp.get("/<int:signal_id>/")
def show(signal_id: int) -> str:
    return render_template("pages/signals/show.html", **_life(signal_id))


@bp.get("/<int:signal_id>/parts/life/")
def life_part(signal_id: int) -> str:
    return render_template("pages/signals/_life.html", **_life(signal_id))


@bp.get("/<int:signal_id>/dry-run/")
def dry_run(signal_id: int) -> str:
    """What the same alert would do if it came now; nothing is sent."""
    signal = get(Signal, signal_id, current_user_id())
    strategy = get(Strategy, signal.strategy_id, current_user_id())
    context: dict[str, Any] = {"signal": signal, "strategy": strategy, "decided_at": clock.now()}
    db.session.commit()
    try:
        answer = preview.preview(strategy.id, signal.raw_body.encode(), signal.content_type)
    except BadAlert as e:
        return render_template("pages/signals/dry_run.html", **context, refusal=e.detail)
    return render_template(
        "pages/signals/dry_run.html",
        **context,
        **answer,
        contracts=[],
        sources=[],
        matrix=_planned(answer["plans"]),
    )


def _list(query: Query) -> dict[str, Any]:
    user_id = current_user_id()
    rows = signal_log.listing(user_id, query.filters(current_identity().zone))
    asked = ListQuery(limit=PER_PAGE, cursor=query.cursor, sort="-id")
    page = paginate(rows, asked, id_column=Signal.id)
    strategies = list(
        db.session.scalars(owned(Strategy, user_id, with_deleted=True).order_by(Strategy.name))
    )
    tallies = signal_log.tallies(user_id, [row.id for row in page["items"]])
    counted_rows = [(row, tallies.get(row.id, Tally())) for row in page["items"]]
    return {
        "query": query,
        "text": query.text(),
        "rows": [
            (row, counted, signal_life.outcome(row.status, counted))
            for row, counted in counted_rows
        ],
        "total": page["total"],
        "older": query.text(cursor=page["next"]) if page["next"] else None,
        "is_first_page": query.cursor is None,
        "names": {row.id: row.name for row in strategies},
        "strategies": [("", "Every strategy"), *((s.id, s.name) for s in strategies)],
        "statuses": [
            ("", "All"),
            *((status, signal_life.sentence(status)) for status in signal_log.STATUSES),
        ],
    }


def _life(signal_id: int) -> dict[str, Any]:
    life = signal_log.life(current_user_id(), signal_id)
    orders = signal_life.lines(life)
    return {
        "life": life,
        "signal": life.signal,
        "outcome": signal_life.outcome(life.signal.status, signal_life.tally(life)),
        "strategy": life.strategy,
        "body": signal_life.body_tokens(life.signal.raw_body, is_json=_is_json(life.signal)),
        "bytes": len(life.signal.raw_body.encode()),
        "alert_age": _alert_age(life.signal),
        "is_from_tradingview": life.signal.source_address in TRADINGVIEW_SOURCES,
        "matrix": signal_life.matrix(life.verdicts),
        "steps": signal_life.steps(life),
        "scale": signal_life.SCALE,
        "orders": orders,
        "contracts": sorted({line.order.contract for line in orders}),
        "traded": sum(signal_life.has_traded(verdict) for verdict in life.verdicts),
        "last_fill_ms": signal_life.last_fill_ms(life),
        "is_under_way": signal_life.is_under_way(life),
        "sources": _sources(life),
    }


def _sources(life: Life) -> list[str]:
    """What the sentence about the sizes needs to know: the sizings that are in use."""
    found = {
        line["inputs"].get("sizing")
        for verdict in life.verdicts
        for line in verdict.execution.trace
    }
    return sorted(name for name in found if name)


def _alert_age(signal: Signal) -> float | None:
    """How long the alert was on its way, in milliseconds, where it says when it fired."""
    if signal.fired_at is None:
        return None
    return _ms_between(signal.fired_at, signal.received_at)


def _ms_between(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds() * 1000, 0.0)


def _is_json(signal: Signal) -> bool:
    try:
        json.loads(signal.raw_body)
    except ValueError:
        return False
    return True


def _planned(plans: list[dict[str, Any]]) -> signal_life.Matrix:
    """The matrix of a dry run: a column for every plan."""
    ids = {plan["account_id"] for plan in plans}
    accounts = {
        row.id: row
        for row in db.session.scalars(owned(Account, current_user_id()).where(Account.id.in_(ids)))
    }
    if len(accounts) != len(ids):
        raise NotFound
    return signal_life.matrix_of(
        [
            (
                accounts[plan["account_id"]],
                plan["index"],
                plan["verdicts"],
                signal_life.planned(plan),
            )
            for plan in plans
        ]
    )
