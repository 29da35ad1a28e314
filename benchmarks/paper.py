"""CPU of one paper market order, from the call to its durable fill: alone, and 64 at once.

Floor: one bare row through the same writer, measured in the same run. Run:
``python -m benchmarks.paper``.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path

import gevent
from alembic import command

from app import create_app
from app.brokers.base import AccountRef
from app.brokers.paper import PaperBroker
from app.domain.trading import OrderTicket, Side
from app.extensions import writer
from app.marketdata.simulated import SimulatedFeed
from app.migrate import alembic_config
from app.transactions import Tx
from config import load
from tests import factories
from tests.apps import started

ORDERS = 512
ACCOUNTS = 64
RUNS = 5
_ROW = (
    "INSERT INTO paper_ledger (user_id, account_id, number, kind, available_change,"
    " reserved_change, available, reserved, at, created_at, updated_at)"
    " VALUES (?, ?, ?, 'floor', 0, 0, 0, 0, ?, ?, ?)"
)
_ids = count(1)


def main() -> dict[str, float]:
    """Milliseconds of CPU by name; the user's part and the kernel's together."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'just_trades.db'}"
        command.upgrade(alembic_config(url), "head")
        app = create_app(load({"DATA_DIR": folder, "DATABASE_URL": url}))
        with started(app):
            broker = PaperBroker(writer, SimulatedFeed())
            accounts = [_open(broker) for _ in range(ACCOUNTS)]
            figures = _measure(broker, accounts)
    print(f"{figures['floor']:.3f} ms CPU floor: one row through the writer")
    print(f"{figures['alone']:.3f} ms CPU per market order, one after another (reach 1.0)")
    print(f"{figures['together']:.3f} ms CPU per market order, {ACCOUNTS} accounts at once")
    return figures


def _open(broker: PaperBroker) -> AccountRef:
    row = factories.account(factories.user())
    writer.run(lambda tx: broker.open_account(tx, row.id, "USD", Decimal(1_000_000)))
    return AccountRef(row.id, row.user_id, "paper", "demo")


def _measure(broker: PaperBroker, accounts: list[AccountRef]) -> dict[str, float]:
    def floor() -> None:
        for _ in range(ORDERS):
            writer.run(lambda tx: _one_row(tx, accounts[0]))

    def alone() -> None:
        for _ in range(ORDERS):
            _trade(broker, accounts[0])

    def together() -> None:
        for _ in range(ORDERS // ACCOUNTS):
            gevent.joinall([gevent.spawn(_trade, broker, a) for a in accounts], raise_error=True)

    sides: dict[str, Callable[[], None]] = {"floor": floor, "alone": alone, "together": together}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(RUNS):
        for name, side in sides.items():
            began = time.process_time()
            side()
            spent[name].append((time.process_time() - began) / ORDERS * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


def _trade(broker: PaperBroker, account: AccountRef) -> None:
    number = next(_ids)
    ticket = OrderTicket("MNQZ6", Side.BUY if number % 2 else Side.SELL, Decimal(1))
    report = broker.place_order(account, ticket, client_order_id=f"bench{number}")
    assert report.fills, report.orders


def _one_row(tx: Tx, account: AccountRef) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat(" ")
    row = (account.user_id, account.id, -next(_ids), at, at, at)
    tx.conn.exec_driver_sql(_ROW, row)


if __name__ == "__main__":
    main()
