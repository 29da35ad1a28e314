"""The dashboard through the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app import clock
from app.models import Account, RecordedPosition, Strategy, Trade
from tests import factories
from tests.integration.api.conftest import Caller, fields

NOW = datetime(2026, 11, 18, 20, 0, tzinfo=UTC)
"""A Wednesday, 14:00 in Chicago: the session day began on Tuesday at 23:00 UTC."""


@pytest.fixture(autouse=True)
def _at_a_fixed_time(app: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def strategy(owner: Caller) -> Strategy:
    return factories.strategy(owner.user)


@pytest.fixture
def account(owner: Caller) -> Account:
    return factories.account(owner.user)


def _trade(account: Account, net: str, closed_at: datetime, **columns: Any) -> Trade:
    row = Trade(
        user_id=account.user_id,
        account_id=account.id,
        **{
            "contract": "MNQZ6",
            "side": "long",
            "quantity": Decimal(1),
            "entry_price": Decimal("21450.25"),
            "exit_price": Decimal("21460.50"),
            "gross": Decimal(net) + 1,
            "fees": Decimal(1),
            "net": Decimal(net),
            "opened_at": closed_at - timedelta(minutes=5),
            "closed_at": closed_at,
            "exit_reason": "signal",
            **columns,
        },
    )
    factories.store(row)
    return row


def _position(account: Account, strategy: Strategy, **columns: Any) -> RecordedPosition:
    row = RecordedPosition(
        user_id=account.user_id,
        account_id=account.id,
        strategy_id=strategy.id,
        **{
            "contract": "MNQZ6",
            "symbol": "MNQ",
            "side": "long",
            "quantity": Decimal(2),
            "max_quantity": Decimal(2),
            "entry_price": Decimal("21450.25"),
            "last_price": Decimal("21455"),
            "unrealized_pnl": Decimal(19),
            "opened_at": NOW,
            **columns,
        },
    )
    factories.store(row)
    return row


def test_the_summary_counts_by_session_day_and_exactly(owner: Caller, account: Account) -> None:
    _trade(account, "0.1", NOW - timedelta(hours=1))
    _trade(account, "0.2", datetime(2026, 11, 17, 23, 0, tzinfo=UTC))
    _trade(account, "-0.15", datetime(2026, 11, 17, 22, 59, tzinfo=UTC))
    _trade(account, "40", datetime(2026, 11, 15, 22, 59, tzinfo=UTC))

    summary = owner.get("/api/dashboard/summary/")

    assert (summary["pnl_today"], summary["pnl_week"]) == ("0.3", "0.15")
    assert (summary["pnl_all"], summary["currency"]) == ("40.15", "USD")
    assert (summary["wins"], summary["losses"], summary["win_rate"]) == (3, 1, "0.75")
    assert summary["profit_factor"] == "268.6667"
    assert summary["max_drawdown"] == "0.15"


def test_without_trades_ratios_are_undefined_and_say_why(owner: Caller) -> None:
    summary = owner.get("/api/dashboard/summary/")

    assert (summary["pnl_all"], summary["win_rate"], summary["profit_factor"]) == ("0", None, None)
    assert summary["undefined"]["win_rate"] == "no_trades"


def test_a_first_loss_is_a_drawdown(owner: Caller, account: Account) -> None:
    _trade(account, "-10", NOW - timedelta(hours=2))
    _trade(account, "4", NOW - timedelta(hours=1))

    summary = owner.get("/api/dashboard/summary/")
    points = owner.get("/api/dashboard/performance/")["points"]

    assert summary["max_drawdown"] == "10"
    assert [(p["equity"], p["drawdown"]) for p in points] == [("-10", "10"), ("-6", "6")]


def test_other_currencies_are_kept_apart(owner: Caller, account: Account) -> None:
    euros = factories.account(owner.user, currency="EUR")
    _trade(account, "5", NOW)
    _trade(account, "6", NOW)
    _trade(euros, "7", NOW)

    usual = owner.get("/api/dashboard/summary/")
    in_euros = owner.get("/api/dashboard/summary/", currency="eur")

    assert (usual["currency"], usual["pnl_all"]) == ("USD", "11")
    assert (in_euros["currency"], in_euros["pnl_all"]) == ("EUR", "7")
    assert usual["currencies"] == ["USD", "EUR"]


def test_an_open_position_is_listed_as_it_stands(
    owner: Caller, stranger: Caller, account: Account, strategy: Strategy
) -> None:
    row = _position(account, strategy)

    listed = owner.get("/api/dashboard/positions/")["items"]

    assert (
        listed[0]
        | {
            "id": row.id,
            "strategy_id": strategy.id,
            "strategy_name": strategy.name,
            "account_id": account.id,
            "account_name": account.name,
            "symbol": "MNQ",
            "contract": "MNQZ6",
            "side": "long",
            "quantity": "2",
            "entry_price": "21450.25",
            "last_price": "21455",
            "unrealized_pnl": "19",
            "opened_at": "2026-11-18T20:00:00.000Z",
        }
        == listed[0]
    )
    assert stranger.get("/api/dashboard/positions/")["items"] == []
    assert owner.get("/api/dashboard/summary/")["open_pnl"] == "19"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"symbol": "MNQ"}, 1),
        ({"symbol": "CME_MINI:MNQ1!"}, 1),
        ({"symbol": "MNQZ2026"}, 1),
        ({"symbol": "MNQH7"}, 0),
        ({"symbol": "NQ"}, 0),
        ({"environment": "demo"}, 1),
        ({"environment": "live"}, 0),
        ({"from": "2026-11-18T20:00:00Z"}, 1),
        ({"to": "2026-11-18T20:00:00Z"}, 0),
        ({"account_id": 9223372036854775807}, 0),
    ],
)
def test_filters_narrow_every_list(
    owner: Caller, account: Account, strategy: Strategy, query: dict[str, Any], found: int
) -> None:
    _position(account, strategy)
    _trade(account, "1", NOW)

    positions = owner.get("/api/dashboard/positions/", **query)
    trades = owner.get("/api/dashboard/trade-history/", **query)
    summary = owner.get("/api/dashboard/summary/", **query)

    assert (positions["total"], trades["total"], summary["trades"]) == (found, found, found)


def test_the_trade_history_pages_through_without_gaps(owner: Caller, account: Account) -> None:
    made = [_trade(account, str(n), NOW - timedelta(minutes=n // 2)).id for n in range(5)]

    first = owner.get("/api/dashboard/trade-history/", limit=2)
    second = owner.get("/api/dashboard/trade-history/", limit=2, cursor=first["next"])
    third = owner.get("/api/dashboard/trade-history/", limit=2, cursor=second["next"])

    seen = [item["id"] for page in (first, second, third) for item in page["items"]]
    assert sorted(seen) == made
    assert (first["total"], third["next"]) == (5, None)


def test_the_figures_of_one_strategy_leave_out_the_others(
    owner: Caller, stranger: Caller, account: Account, strategy: Strategy
) -> None:
    _trade(account, "3", NOW, strategy_id=strategy.id)
    _trade(account, "5", NOW, strategy_id=factories.strategy(owner.user).id)

    one = owner.get(f"/api/analytics/strategy/{strategy.id}/")
    everything = owner.get("/api/analytics/dashboard/")
    chart = owner.get("/api/analytics/chart-data/")

    assert (one["summary"]["pnl_all"], len(one["points"])) == ("3", 1)
    assert everything["pnl_all"] == chart["points"][-1]["equity"] == "8"
    stranger.get(f"/api/analytics/strategy/{strategy.id}/", 404)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"environment": "x"}, "environment"),
        ({"sort": "y"}, "sort"),
    ],
)
def test_a_wrong_filter_is_named(owner: Caller, query: dict[str, str], field: str) -> None:
    problem = owner.get("/api/dashboard/trade-history/", 422, **query)

    assert fields(problem) == [field]
