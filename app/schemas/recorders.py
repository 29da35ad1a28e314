"""Strategies (recorders) in JSON."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.domain.settings import Symbol
from app.schemas.common import Body, Instant, Out
from app.schemas.fields import Id, Name


class RecorderIn(Body):
    """``settings``: every setting has a default; see the settings page of the documentation."""

    name: Name
    symbol: Symbol | None = None
    demo_account_id: Id | None = None
    recording_enabled: bool = False
    enabled: bool = True
    settings: dict[str, Any] = Field(default_factory=dict)


class RecorderChange(Body):
    """What is absent stays; the same holds within ``settings``, where null is the default."""

    name: Name | None = None
    symbol: Symbol | None = None
    demo_account_id: Id | None = None
    recording_enabled: bool | None = None
    enabled: bool | None = None
    settings: dict[str, Any] | None = None

    def changes(self) -> dict[str, Any]:
        """Column → value of what was stated. Null empties the two fields that can be empty."""
        stated = self.model_dump(exclude_unset=True)
        if "recording_enabled" in stated:
            stated["recording"] = stated.pop("recording_enabled")
        can_be_empty = ("symbol", "demo_account_id")
        return {k: v for k, v in stated.items() if v is not None or k in can_be_empty}


class CloneIn(Body):
    name: Name | None = None


class ImportIn(Body):
    format: str
    version: int
    name: Name
    symbol: Symbol | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class TestAlertIn(Body):
    """``body`` is the alert's text as TradingView would send it."""

    body: str = Field(max_length=65_536)
    content_type: str = Field("text/plain", max_length=120)


class RecorderOut(Out):
    """``webhook_url`` is null for a caller who may only read: it lets its holder trade."""

    id: int
    name: str
    slug: str
    symbol: str | None
    demo_account_id: int | None
    enabled: bool
    status: str
    recording_enabled: bool
    settings: dict[str, Any]
    settings_version: int
    version: int
    webhook_url: str | None
    alert_template: str
    last_signal_at: Instant | None
    poll_interval_s: float | None = Field(
        description="How often its demo account is read as a whole, beside the user stream. Null "
        "without an account at a broker."
    )
    polled_at: Instant | None
    poll_trouble: str | None
    created_at: Instant
    updated_at: Instant
