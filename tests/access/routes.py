"""What is expected of every route: a new one fails the tests until it stands here.

``ROUTES``: endpoint to the case of its guarded use. An argument of the URL names one of Alice's
rows (see ``rows.Rows``) or, after an equals sign, itself. ``body`` is what a caller who may do
it would send; Bob sends it to Alice's row and must hear 404.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    ids: dict[str, str] = field(default_factory=dict)
    body: Any = None
    admin: bool = False

    @property
    def is_about_a_row(self) -> bool:
        return any(not name.startswith("=") for name in self.ids.values())


def _of(argument: str, row: str, body: Any = None) -> Case:
    return Case({argument: row}, body)


OWN = Case()
"""About the caller alone: there is no id that could be somebody else's."""

ADMIN = Case(admin=True)

_ACCOUNT = _of("account_id", "account")
_RECORDER = _of("recorder_id", "strategy")
_STRATEGY_PAGE = _of("strategy_id", "strategy")
_TRADER = _of("trader_id", "trader")
_SIGNAL = _of("signal_id", "signal")

PUBLIC = {
    "static",
    "operations.healthz",
    "operations.readyz",
    "operations.metrics",
    "api.docs.openapi",
    "api.docs.browse",
    "api.auth.register",
    "api.auth.login",
    "auth.login",
    "auth.log_in",
    "auth.register",
    "auth.create",
    "components.show",
}

SELF_GUARDED = {
    "tradingview.receive",
    "realtime.stream",
}
"""They ask for a proof of their own kind and have tests of their own."""

ROUTES: dict[str, Case] = {
    "api.auth.logout": OWN,
    "api.auth.me": OWN,
    "api.auth.create_ticket": OWN,
    "api.auth.list_api_keys": OWN,
    "api.auth.create_api_key": OWN,
    "api.auth.revoke_api_key": _of("key_id", "api_key"),
    "api.auth.list_sessions": OWN,
    "api.auth.end_session": _of("session_id", "session"),
    "api.settings.show": OWN,
    "api.settings.update": OWN,
    "api.settings.change_password": OWN,
    "api.admin_users.list_users": ADMIN,
    "api.admin_users.create_user": ADMIN,
    "api.accounts.index": OWN,
    "api.accounts.create": OWN,
    "api.accounts.test_connection": OWN,
    "api.accounts.show": _ACCOUNT,
    "api.accounts.change": _of("account_id", "account", {"name": "mine now"}),
    "api.accounts.delete": _ACCOUNT,
    "api.accounts.balances": _ACCOUNT,
    "api.accounts.positions": _ACCOUNT,
    "api.accounts.orders": _ACCOUNT,
    "api.accounts.fills": _ACCOUNT,
    "api.accounts.flatten": _ACCOUNT,
    "api.accounts.adopt": _ACCOUNT,
    "api.accounts.connect": _ACCOUNT,
    "api.accounts.disconnect": _ACCOUNT,
    "api.accounts.kill_switch": _of("account_id", "account", {"on": True}),
    "api.recorders.index": OWN,
    "api.recorders.create": OWN,
    "api.recorders.import_document": OWN,
    "api.recorders.show": _RECORDER,
    "api.recorders.change": _of("recorder_id", "strategy", {"name": "mine now"}),
    "api.recorders.delete": _RECORDER,
    "api.recorders.start": _RECORDER,
    "api.recorders.stop": _RECORDER,
    "api.recorders.rotate_webhook": _RECORDER,
    "api.recorders.clone": _of("recorder_id", "strategy", {}),
    "api.recorders.export": _RECORDER,
    "api.recorders.test_alert": _of("recorder_id", "strategy", {"body": "buy"}),
    "api.recorders.signals": _RECORDER,
    "api.recorders.recorded_positions": _RECORDER,
    "api.recorders.strategy_logs": _RECORDER,
    "api.traders.index": OWN,
    "api.traders.create": OWN,
    "api.traders.show": _TRADER,
    "api.traders.change": _of("trader_id", "trader", {"enabled": False}),
    "api.traders.delete": _TRADER,
    "api.traders.toggle": _of("trader_id", "trader", {"enabled": False}),
    "api.signals.index": OWN,
    "api.signals.show": _SIGNAL,
    "api.dashboard.summary": OWN,
    "api.dashboard.positions": OWN,
    "api.dashboard.trade_history": OWN,
    "api.dashboard.performance": OWN,
    "api.control_center.show_logs": OWN,
    "api.control_center.live_traders": OWN,
    "api.control_center.toggle": _of("trader_id", "trader", {"enabled": False}),
    "api.control_center.close": _TRADER,
    "api.control_center.close_all": OWN,
    "api.control_center.kill_switch": Case(body={"on": True}),
    "api.analytics.overview": OWN,
    "api.analytics.chart_data": OWN,
    "api.analytics.of_strategy": _STRATEGY_PAGE,
    "api.user_data.connect": OWN,
    "api.user_data.status": OWN,
    "api.user_data.disconnect": OWN,
    "auth.logout": OWN,
    "settings.show": OWN,
    "settings.save_profile": OWN,
    "settings.change_password": OWN,
    "settings.end_session": _of("session_id", "session"),
    "settings.create_api_key": OWN,
    "settings.revoke_api_key": _of("key_id", "api_key"),
    "dashboard.show": OWN,
    "dashboard.part": Case({"name": "=body"}),
    "dashboard.equity_csv": OWN,
    "dashboard.trades_csv": OWN,
    "kill_switch.pull": OWN,
    "guide.show": OWN,
    "guide.open_account": OWN,
    "guide.make_strategy": OWN,
    "guide.send": OWN,
    "recorders.index": OWN,
    "recorders.new": OWN,
    "recorders.create": OWN,
    "recorders.import_document": OWN,
    "recorders.show_effect": OWN,
    "recorders.show": _STRATEGY_PAGE,
    "recorders.edit": _STRATEGY_PAGE,
    "recorders.save": _STRATEGY_PAGE,
    "recorders.clone": _STRATEGY_PAGE,
    "recorders.export": _STRATEGY_PAGE,
    "recorders.delete": _STRATEGY_PAGE,
    "recorders.enable": _STRATEGY_PAGE,
    "recorders.disable": _STRATEGY_PAGE,
    "recorders.start": _STRATEGY_PAGE,
    "recorders.stop": _STRATEGY_PAGE,
    "recorders.rotate_webhook": _STRATEGY_PAGE,
    "recorders.test_alert": _STRATEGY_PAGE,
    "accounts.index": OWN,
    "accounts.list_part": OWN,
    "accounts.new": OWN,
    "accounts.create": OWN,
    "accounts.show": _ACCOUNT,
    "accounts.state_part": _ACCOUNT,
    "accounts.rename": _ACCOUNT,
    "accounts.flatten": _ACCOUNT,
    "accounts.adopt": _ACCOUNT,
    "accounts.kill_switch": _ACCOUNT,
    "accounts.delete": _ACCOUNT,
    "log_ins.try_out": OWN,
    "log_ins.choose": OWN,
    "log_ins.others": _ACCOUNT,
    "log_ins.open_others": _ACCOUNT,
    "accounts.replace_credentials": _ACCOUNT,
    "log_ins.test": _ACCOUNT,
    "log_ins.connect": _ACCOUNT,
    "log_ins.disconnect": _ACCOUNT,
    "oauth.start": OWN,
    "oauth.callback": OWN,
    "traders.index": OWN,
    "traders.list_part": OWN,
    "traders.create": OWN,
    "traders.show": _TRADER,
    "traders.state_part": _TRADER,
    "traders.save": _TRADER,
    "traders.show_effect": _TRADER,
    "traders.toggle": _TRADER,
    "traders.close": _TRADER,
    "traders.delete": _TRADER,
    "logs.index": OWN,
    "logs.lines_part": OWN,
    "signals.index": OWN,
    "signals.list_part": OWN,
    "signals.show": _SIGNAL,
    "signals.life_part": _SIGNAL,
    "signals.dry_run": _SIGNAL,
}

FOREIGN_BODIES: list[tuple[str, str, dict[str, str]]] = [
    ("POST", "/api/traders/", {"strategy_id": "strategy", "account_id": "own_account"}),
    ("POST", "/api/traders/", {"strategy_id": "own_strategy", "account_id": "account"}),
    ("POST", "/api/recorders/", {"name": "=x", "demo_account_id": "account"}),
    ("POST", "/api/accounts/test-connection/", {"account_id": "account"}),
    ("POST", "/api/user-data/connect/", {"account_id": "account"}),
    ("POST", "/api/user-data/disconnect/", {"account_id": "account"}),
]
"""Bodies by which Bob names Alice's rows (``own_…``: Bob's). Each must be refused."""
