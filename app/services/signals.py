"""The intake: an alert becomes a durable signal with its executions, then the answer leaves.

A 2xx is a promise. What is answered so is on disk, its duplicate key is claimed, and one
execution per enabled trader waits in the lane of its account: all of it in one commit, shared by
the alerts that arrive together. Nothing of a broker happens before the answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, update

from app import clock, events, faults
from app.domain.errors import NotFound
from app.domain.signals import BadAlert, Decoded, Signal, decode, invert, mask
from app.extensions import writer
from app.models import AlertKey, Execution, plain
from app.models import Signal as SignalRow
from app.models.base import table
from app.models.bulk import BulkInsert
from app.models.engine import reserve_ids
from app.services import hooks
from app.services.hooks import Hook
from app.services.signal_json import from_signal
from app.transactions import Tx

LONG_WINDOW = timedelta(hours=24)
"""How long a duplicate key lives when the body carries the moment of firing."""
_FRESH = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Alert:
    """What came in, before anything of it is understood."""

    body: bytes
    content_type: str | None
    address: str
    received_at: datetime
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates made of an alert. ``status``: accepted, ignored, rejected."""

    status: str
    answer: int
    decoded: Decoded
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was stored. ``of`` is the first of a duplicate."""

    signal_id: int
    verdict: Verdict
    parsed: list[dict[str, Any]]
    of: int | None = None

    @property
    def status(self) -> str:
        return "duplicate" if self.of is not None else self.verdict.status


@dataclass(slots=True)
class _Intake:
    hook: Hook
    alert: Alert
    verdict: Verdict
    raw_body: str
    parsed: list[dict[str, Any]]
    key: str
    key_expires_at: datetime
    decode_us: int
    repeats: int


class _Stale:
    """The hook changed since it was cached; nothing was stored."""


_NOTHING = Decoded(signals=())
_wake: Callable[[Iterable[int]], None] = lambda _accounts: None  # noqa: E731


def wake_with(wake: Callable[[Iterable[int]], None]) -> None:
    """Tell the intake whom to wake when executions are durable."""
    global _wake
    _wake = wake


def receive(token: str, alert: Alert) -> Receipt:
    """Judge, store and answer for one alert.

    Raises:
        NotFound: no such webhook; nothing is stored.
        Unavailable: it could not be stored; the sender should repeat it.
    """
    while True:
        hook = hooks.find(token)
        if hook is None:
            raise NotFound("No such webhook.", code="unknown_webhook")
        faults.point("intake")
        stored = writer.run_batched(_store, _prepare(hook, alert))
        faults.point("intake stored")
        if not isinstance(stored, _Stale):
            return stored
        hooks.forget(token)


def refuse(
    token: str, alert: Alert, *, answer: int, reason: str, detail: str, repeats: int = 1
) -> None:
    """Keep a trace of requests that were not even read (too large, too many).

    Raises:
        NotFound: no such webhook; nothing is stored.
    """
    hook = hooks.find(token)
    if hook is None:
        raise NotFound("No such webhook.", code="unknown_webhook")
    verdict = Verdict("rejected", answer, _NOTHING, reason, None, detail)
    writer.run_batched(_store, _intake(hook, alert, verdict, 0, repeats))


def judge(hook: Hook, alert: Alert) -> Verdict:
    """The gates that need nothing but the alert and its webhook, in their order."""
    if not hook.allows(alert.address):
        detail = f"The sender {alert.address} is not on this webhook's list."
        return Verdict("rejected", 403, _NOTHING, "ip_not_allowed", None, detail)
    try:
        decoded = decode(alert.body, alert.content_type, default_symbol=hook.symbol)
    except BadAlert as e:
        return Verdict("rejected", e.status, _NOTHING, e.code, e.field, e.detail)
    secret = hook.passphrase
    if secret is not None and not _same(secret, decoded.secret):
        detail = "The passphrase in the message is missing or wrong."
        return Verdict("rejected", 401, _NOTHING, "wrong_secret", None, detail)
    if hook.settings.inverse:
        decoded = _inverted(decoded)
    if not hook.enabled:
        detail = "The strategy is switched off."
        return Verdict("ignored", 200, decoded, "strategy_off", None, detail)
    return Verdict("accepted", 202, decoded)


def _prepare(hook: Hook, alert: Alert) -> _Intake:
    verdict = judge(hook, alert)
    spent = clock.now() - alert.received_at
    return _intake(hook, alert, verdict, spent // timedelta(microseconds=1))


def _intake(
    hook: Hook, alert: Alert, verdict: Verdict, decode_us: int, repeats: int = 1
) -> _Intake:
    fired_at = verdict.decoded.signals[0].fired_at if verdict.decoded.signals else None
    is_dated = fired_at is not None and abs(alert.received_at - fired_at) <= _FRESH
    window = LONG_WINDOW if is_dated else timedelta(seconds=hook.settings.duplicate_window)
    digest = hashlib.sha256(b"%d:" % hook.strategy_id + alert.body).hexdigest()
    return _Intake(
        hook=hook,
        alert=alert,
        verdict=verdict,
        raw_body=mask(alert.body),
        parsed=[from_signal(s) for s in verdict.decoded.signals],
        key=digest,
        key_expires_at=alert.received_at + window,
        decode_us=decode_us,
        repeats=repeats,
    )


def _inverted(decoded: Decoded) -> Decoded:
    signals: list[Signal] = []
    warnings = list(decoded.warnings)
    for signal in decoded.signals:
        swapped, said = invert(signal)
        signals.append(swapped)
        warnings += said
    return Decoded(tuple(signals), tuple(warnings), decoded.secret)


def _same(expected: str, given: str | None) -> bool:
    return given is not None and hmac.compare_digest(expected.encode(), given.encode())


# Below: the batch, in the writer's transaction.

# These run for every batch: plain statements with their numbers in the text (they are integers
# and hexadecimal digests of ours) cost a fraction of ones with lists of parameters.

_VERSIONS = "SELECT id, version FROM strategies WHERE deleted_at IS NULL AND id IN (%s)"
_TRADERS = (
    "SELECT id, strategy_id, account_id FROM traders"
    " WHERE enabled AND deleted_at IS NULL AND strategy_id IN (%s) ORDER BY id"
)
_HOLDERS = "SELECT key, signal_id FROM alert_keys WHERE key IN ('%s')"
_SIGNAL_TABLE = table(SignalRow)
_SIGNALS = BulkInsert(
    _SIGNAL_TABLE,
    (
        "id",
        "user_id",
        "strategy_id",
        "received_at",
        "status",
        "reason",
        "field",
        "detail",
        "answer",
        "raw_body",
        "content_type",
        "source_address",
        "request_id",
        "parsed",
        "warnings",
        "fired_at",
        "decode_us",
        "repeats",
        "created_at",
        "updated_at",
    ),
)
_EXECUTIONS = BulkInsert(
    table(Execution),
    (
        "user_id",
        "signal_id",
        "index_in_alert",
        "strategy_id",
        "trader_id",
        "account_id",
        "status",
        "received_at",
        "attempts",
        "plan",
        "step",
        "trace",
        "created_at",
        "updated_at",
    ),
)
_KEYS = BulkInsert(
    table(AlertKey),
    ("key", "signal_id", "claimed_at", "expires_at"),
    # A key is taken where it is free or has expired before the alert that wants it came.
    "ON CONFLICT (key) DO UPDATE SET signal_id = excluded.signal_id,"
    " expires_at = excluded.expires_at WHERE alert_keys.expires_at <= excluded.claimed_at",
)
_AS_DUPLICATE = (
    update(_SIGNAL_TABLE)
    .where(_SIGNAL_TABLE.c.id == bindparam("of_id"))
    .values(status="duplicate", answer=200, duplicate_of=bindparam("of"))
)


def _store(tx: Tx, items: list[_Intake]) -> list[Receipt | _Stale]:
    versions = dict(plain.execute(tx.conn, _VERSIONS % _strategy_ids(items), ()).fetchall())
    fresh = [i for i in items if versions.get(i.hook.strategy_id) == i.hook.version]
    receipts = _store_fresh(tx, fresh) if fresh else {}
    return [receipts.get(id(i), _Stale()) for i in items]


def _store_fresh(tx: Tx, items: list[_Intake]) -> dict[int, Receipt | _Stale]:
    traders = _enabled_traders(tx, items)
    for item in items:
        if item.verdict.status == "accepted" and not traders.get(item.hook.strategy_id):
            item.verdict = Verdict(
                "ignored", 200, item.verdict.decoded, "no_trader", None, "No trader is on."
            )
    signal_ids = reserve_ids(tx.conn, "signals", len(items))
    rows = [_row(item, signal_id) for item, signal_id in zip(items, signal_ids, strict=True)]
    _SIGNALS.execute(tx.conn, rows)
    firsts = _claim_keys(tx, items, signal_ids)
    receipts: dict[int, Receipt | _Stale] = {}
    executions: list[dict[str, Any]] = []
    accounts: set[int] = set()
    for item, signal_id in zip(items, signal_ids, strict=True):
        of = firsts.get(signal_id)
        receipt = Receipt(signal_id, item.verdict, item.parsed, of)
        receipts[id(item)] = receipt
        if receipt.status == "accepted":
            for execution in _execution_rows(item, signal_id, traders[item.hook.strategy_id]):
                executions.append(execution)
                accounts.add(execution["account_id"])
        tx.record(
            item.hook.user_id,
            "signal",
            _event(item, receipt),
            request_id=item.alert.request_id,
        )
    if executions:
        _EXECUTIONS.execute(tx.conn, executions)
        tx.after_commit(lambda: _wake(accounts))
    return receipts


def _enabled_traders(tx: Tx, items: list[_Intake]) -> dict[int, list[tuple[int, int]]]:
    """(trader, account) of each strategy that has accepted alerts in this batch."""
    accepted = [i for i in items if i.verdict.status == "accepted"]
    found: dict[int, list[tuple[int, int]]] = {}
    if accepted:
        rows = plain.execute(tx.conn, _TRADERS % _strategy_ids(accepted), ())
        for trader_id, strategy_id, account_id in rows:
            found.setdefault(strategy_id, []).append((trader_id, account_id))
    return found


def _strategy_ids(items: list[_Intake]) -> str:
    return ",".join({str(int(i.hook.strategy_id)) for i in items})


def _row(item: _Intake, signal_id: int) -> dict[str, Any]:
    signals = item.verdict.decoded.signals
    now = clock.now()
    return {
        "id": signal_id,
        "user_id": item.hook.user_id,
        "strategy_id": item.hook.strategy_id,
        "received_at": item.alert.received_at,
        "status": item.verdict.status,
        "reason": item.verdict.reason,
        "field": item.verdict.field,
        "detail": item.verdict.detail[:500] if item.verdict.detail else None,
        "answer": item.verdict.answer,
        "raw_body": item.raw_body,
        "content_type": item.alert.content_type[:120] if item.alert.content_type else None,
        "source_address": item.alert.address,
        "request_id": item.alert.request_id,
        "parsed": item.parsed,
        "warnings": list(item.verdict.decoded.warnings),
        "fired_at": signals[0].fired_at if signals else None,
        "decode_us": item.decode_us,
        "repeats": item.repeats,
        "created_at": now,
        "updated_at": now,
    }


def _claim_keys(tx: Tx, items: list[_Intake], signal_ids: list[int]) -> dict[int, int]:
    """Claim the duplicate keys of accepted alerts; the first of each signal that lost.

    One statement claims: a key is taken where it is free or has expired. A duplicate neither
    takes nor extends it, and finds the first one's id there.
    """
    claims: dict[str, dict[str, Any]] = {}
    wanted: list[tuple[str, int]] = []
    for item, signal_id in zip(items, signal_ids, strict=True):
        if item.verdict.status == "accepted":
            wanted.append((item.key, signal_id))
            claims.setdefault(
                item.key,
                {
                    "key": item.key,
                    "signal_id": signal_id,
                    "claimed_at": item.alert.received_at,
                    "expires_at": item.key_expires_at,
                },
            )
    if not claims:
        return {}
    _KEYS.execute(tx.conn, list(claims.values()))
    holders = dict(plain.execute(tx.conn, _HOLDERS % "','".join(claims), ()).fetchall())
    firsts = {signal_id: holders[key] for key, signal_id in wanted if holders[key] != signal_id}
    if firsts:
        tx.conn.execute(_AS_DUPLICATE, [{"of_id": s, "of": of} for s, of in firsts.items()])
    return firsts


def _execution_rows(
    item: _Intake, signal_id: int, traders: list[tuple[int, int]]
) -> Iterable[dict[str, Any]]:
    now = clock.now()
    for index in range(len(item.verdict.decoded.signals)):
        for trader_id, account_id in traders:
            yield {
                "user_id": item.hook.user_id,
                "signal_id": signal_id,
                "index_in_alert": index,
                "strategy_id": item.hook.strategy_id,
                "trader_id": trader_id,
                "account_id": account_id,
                "status": "pending",
                "received_at": item.alert.received_at,
                "attempts": 0,
                "plan": [],
                "step": 0,
                "trace": [],
                "created_at": now,
                "updated_at": now,
            }


def _event(item: _Intake, receipt: Receipt) -> dict[str, Any]:
    first = item.parsed[0] if item.parsed else {}
    return {
        "id": receipt.signal_id,
        "strategy_id": item.hook.strategy_id,
        "status": receipt.status,
        "reason": item.verdict.reason,
        "detail": item.verdict.detail,
        "action": first.get("action"),
        "symbol": first.get("symbol"),
        "quantity": first.get("quantity"),
        "received_at": events.timestamp(item.alert.received_at),
    }
