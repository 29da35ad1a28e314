"""User data: what brokers tell by themselves is taken in here, and here it is decided whose
streams run in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable

from app.brokers.base import AccountRef
from app.domain.trading import BrokerReport
from app.extensions import writer
from app.services import fills, live
from app.services.executor import executor
from app.transactions import Tx

log = logging.getLogger(__name__)

Check = Callable[[AccountRef, BrokerReport], None]

_checks: list[Check] = []


def on_taken_in(check: Check) -> None:
    """Call ``check`` after each report that is taken in, outside the transaction."""
    if check not in _checks:
        _checks.append(check)


def take_in(account: AccountRef, report: BrokerReport, source: str = "stream") -> None:
    """What a broker tells by itself: stored like an answer, and whoever waits looks again.

    Raises:
        Unavailable: the database cannot be written; nothing of the report was taken in.
    """

    def work(tx: Tx) -> None:
        fills.apply(tx, account, report, source=source)
        live.apply(tx, account, report)

    writer.run(work)
    executor.notify(account.id)
    for check in _checks:
        try:
            check(account, report)
        except Exception:  # the loop's edge: the report is stored, and the next check goes on
            log.exception("check failed", extra={"account_id": account.id})
