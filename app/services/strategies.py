"""Strategies (recorders): made, changed, started, stopped, given a webhook, copied.

Every change raises ``version``, with which the intake verifies what it remembers of a webhook.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Select, func, select

from app import clock
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.settings import (
    NAMES,
    StrategySettings,
    dump,
    parse_strategy,
)
from app.extensions import db, writer
from app.models import Account, Book, Order, Signal, Strategy, Trader
from app.models.orders import OPEN_STATUSES
from app.services import journal, passphrases, positions, secrets, traders
from app.services.owned import get, owned
from app.transactions import Tx

DOCUMENT = "just-trades-strategy"
DOCUMENT_VERSION = 1
_SLUG_LENGTH = 40
_NAME_LENGTH = 80

_TEMPLATE = {
    "action": "{{strategy.order.action}}",
    "ticker": "{{ticker}}",
    "exchange": "{{exchange}}",
    "contracts": "{{strategy.order.contracts}}",
    "price": "{{strategy.order.price}}",
    "market_position": "{{strategy.market_position}}",
    "market_position_size": "{{strategy.market_position_size}}",
    "prev_market_position": "{{strategy.prev_market_position}}",
    "prev_market_position_size": "{{strategy.prev_market_position_size}}",
    "order_id": "{{strategy.order.id}}",
    "interval": "{{interval}}",
    "time": "{{timenow}}",
}


def listing(user_id: int) -> Select[Strategy]:
    return owned(Strategy, user_id)


def create(
    user_id: int,
    *,
    name: str,
    symbol: str | None = None,
    demo_account_id: int | None = None,
    recording: bool = False,
    enabled: bool = True,
    settings: object = None,
) -> Strategy:
    """Make a strategy with a webhook of its own. ``settings`` is JSON; what is absent has its
    default.

    Raises:
        Invalid: naming each wrong setting as ``settings.<name>``.
        NotFound: the demo account is not there or not the user's.
    """
    parsed = parse_strategy({} if settings is None else settings, at="settings")
    return _insert(
        user_id,
        {
            "name": name,
            "symbol": symbol,
            "demo_account_id": demo_account_id,
            "recording": recording,
            "enabled": enabled,
            **passphrases.columns(user_id, parsed),
        },
    )


def update(user_id: int, strategy_id: int, changes: Mapping[str, Any]) -> Strategy:
    """Change what ``changes`` names (name, symbol, demo_account_id, recording, enabled,
    settings); within ``settings`` too, what is absent stays and null is the default."""

    def change(tx: Tx, row: Strategy) -> str:
        # Before anything is set: the check reads, and a read writes what is set.
        _check_demo_account(tx, user_id, changes.get("demo_account_id", row.demo_account_id))
        for column, value in changes.items():
            for name, kept in _columns(row, column, value).items():
                setattr(row, name, kept)
        return f"Changed: {', '.join(_changed_names(changes)) or 'nothing'}."

    return _changed(user_id, strategy_id, "strategy_changed", change)


def set_recording(user_id: int, strategy_id: int, on: bool) -> Strategy:
    def change(_tx: Tx, row: Strategy) -> str:
        row.recording = on
        return "Recording was started." if on else "Recording was stopped."

    event = "recording_started" if on else "recording_stopped"
    return _changed(user_id, strategy_id, event, change)


def rotate_webhook(user_id: int, strategy_id: int) -> Strategy:
    """Give the webhook a new token; the old address answers 404 from the next request on."""

    def change(_tx: Tx, row: Strategy) -> str:
        row.token_hash, row.token_cipher = _new_token()
        return "The webhook has a new address; the old one no longer works."

    return _changed(user_id, strategy_id, "webhook_rotated", change, level="warning")


def delete(user_id: int, strategy_id: int) -> None:
    """End the strategy, its webhook and its traders; signals, trades and logs stay.

    Raises:
        Conflict: one of its traders holds a position or has a working order.
    """

    def work(tx: Tx) -> None:
        row = _claim(tx, user_id, strategy_id)
        _refuse_if_held(tx, row)
        now = clock.now()
        for trader in tx.session.scalars(
            owned(Trader, user_id).where(Trader.strategy_id == strategy_id)
        ):
            traders.end(tx, trader, now)
        row.enabled = row.recording = False
        row.deleted_at = now
        row.version += 1
        _announce(tx, row, "strategy_deleted", "The strategy was deleted.")

    writer.run(work)


def clone(user_id: int, strategy_id: int, name: str | None = None) -> Strategy:
    """A strategy with the same settings and a webhook of its own; without traders, stopped."""
    source = get(Strategy, strategy_id, user_id)
    return _insert(
        user_id,
        {
            "name": name or f"{source.name[: _NAME_LENGTH - 5]} copy",
            "symbol": source.symbol,
            "demo_account_id": source.demo_account_id,
            "recording": False,
            "enabled": source.enabled,
            "settings": dict(source.settings),
            "passphrase_cipher": source.passphrase_cipher,
        },
    )


def export(user_id: int, strategy_id: int) -> dict[str, Any]:
    """A document for ``import_document``: settings without any secret."""
    row = get(Strategy, strategy_id, user_id)
    document = dump(settings_of(row))
    return {
        "format": DOCUMENT,
        "version": DOCUMENT_VERSION,
        "name": row.name,
        "symbol": row.symbol,
        "settings": {name: document[name] for name in NAMES if name != "passphrase"},
    }


def import_document(user_id: int, document: Mapping[str, Any]) -> Strategy:
    """
    Raises:
        Invalid: another kind of document, a newer version, or wrong settings.
    """
    if document.get("format") != DOCUMENT:
        raise Invalid(f"should be {DOCUMENT}", field="format")
    if document.get("version") != DOCUMENT_VERSION:
        raise Invalid(f"should be {DOCUMENT_VERSION}", field="version")
    return create(
        user_id,
        name=document["name"],
        symbol=document.get("symbol"),
        settings=document.get("settings"),
    )


def settings_of(strategy: Strategy) -> StrategySettings:
    """A passphrase reads ``"set"``; see ``passphrases.opened``."""
    return parse_strategy(strategy.settings)


def status(strategy: Strategy) -> str:
    return "recording" if strategy.recording else "stopped"


def webhook_url(strategy: Strategy, base: str) -> str:
    """``base`` is what the outside calls this app, without a final slash."""
    token = secrets.decrypt(strategy.token_cipher, _context(strategy.token_hash))
    return f"{base}/webhook/{strategy.slug}-{token}/"


def alert_template(strategy: Strategy) -> str:
    """The text to paste into TradingView's message box. Every value is quoted, so that one that
    is missing or NaN cannot break the JSON. A passphrase is left for the owner to fill in."""
    template = dict(_TEMPLATE)
    if settings_of(strategy).passphrase is not None:
        template["passphrase"] = "YOUR PASSPHRASE"  # noqa: S105  (a hint where to type it)
    return json.dumps(template, indent=1)


def last_signals(user_id: int, strategy_ids: list[int]) -> dict[int, Signal]:
    """Strategy → its newest signal."""
    newest = (
        select(func.max(Signal.id))
        .where(Signal.user_id == user_id, Signal.strategy_id.in_(strategy_ids))
        .group_by(Signal.strategy_id)
    )
    rows = db.session.scalars(owned(Signal, user_id).where(Signal.id.in_(newest)))
    return {row.strategy_id: row for row in rows}


def status_event(strategy: Strategy) -> dict[str, Any]:
    """What ``strategy:status`` carries."""
    return {
        "id": strategy.id,
        "name": strategy.name,
        "enabled": strategy.enabled,
        "status": status(strategy),
        "version": strategy.version,
        "deleted": strategy.deleted_at is not None,
    }


def _insert(user_id: int, columns: dict[str, Any]) -> Strategy:
    token_hash, token_cipher = _new_token()

    def work(tx: Tx) -> Strategy:
        _check_demo_account(tx, user_id, columns["demo_account_id"])
        row = Strategy(
            user_id=user_id,
            slug=slug(columns["name"]),
            token_hash=token_hash,
            token_cipher=token_cipher,
            settings_version=DOCUMENT_VERSION,
            **columns,
        )
        tx.session.add(row)
        tx.session.flush()
        _announce(tx, row, "strategy_created", "The strategy was created.")
        return row

    return writer.run(work)


def slug(name: str) -> str:
    """The name in ``[a-z0-9-]``, for people who read the address."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")
    return words[:_SLUG_LENGTH].strip("-") or "strategy"


def _changed(
    user_id: int,
    strategy_id: int,
    event: str,
    change: Callable[[Tx, Strategy], str],
    *,
    level: str = "info",
) -> Strategy:
    def work(tx: Tx) -> Strategy:
        row = _claim(tx, user_id, strategy_id)
        message = change(tx, row)
        row.version += 1
        tx.session.flush()
        _announce(tx, row, event, message, level=level)
        return row

    return writer.run(work)


def _claim(tx: Tx, user_id: int, strategy_id: int) -> Strategy:
    """The row, locked against other processes until the commit."""
    row = get(Strategy, strategy_id, user_id, session=tx.session)
    tx.session.refresh(row, with_for_update=True)
    return row


def _columns(row: Strategy, name: str, value: Any) -> dict[str, Any]:
    """The columns that one change sets; of settings, what is absent stays."""
    if name != "settings":
        return {name: value}
    data = {**row.settings, **value} if isinstance(value, Mapping) else value
    parsed = parse_strategy(data, at="settings")
    return passphrases.columns(row.user_id, parsed, kept=row.passphrase_cipher)


def _changed_names(changes: Mapping[str, Any]) -> list[str]:
    settings = changes.get("settings")
    inner = sorted(str(name) for name in settings) if isinstance(settings, Mapping) else []
    return [name for name in changes if name != "settings"] + inner


def _check_demo_account(tx: Tx, user_id: int, account_id: int | None) -> None:
    if account_id is None:
        return
    try:
        account = get(Account, account_id, user_id, session=tx.session)
    except NotFound as e:
        raise NotFound("No such account.", field="demo_account_id") from e
    if account.environment != "demo":
        raise Invalid("should be a demo or paper account", field="demo_account_id")


def _refuse_if_held(tx: Tx, row: Strategy) -> None:
    held = tx.session.scalar(
        select(func.count(Book.id)).where(
            Book.strategy_id == row.id, Book.net_pos != positions.FLAT
        )
    )
    working = tx.session.scalar(
        select(func.count(Order.id)).where(
            Order.strategy_id == row.id, Order.status.in_(OPEN_STATUSES)
        )
    )
    if held or working:
        raise Conflict(
            f"“{row.name}” has {held} open position(s) and {working} working order(s): "
            "close them first.",
            code="not_flat",
        )


def _new_token() -> tuple[str, str]:
    """A new token's hash, to find it, and its cipher text, to show it."""
    token = secrets.new_token()
    digest = secrets.hash_token(token)
    return digest, secrets.encrypt(token, _context(digest))


def _context(token_hash: str) -> str:
    return f"webhook:{token_hash}"


def _announce(tx: Tx, row: Strategy, event: str, message: str, *, level: str = "info") -> None:
    tx.record(row.user_id, "strategy:status", status_event(row))
    journal.write(tx, row.user_id, event, message, level=level, strategy_id=row.id)
