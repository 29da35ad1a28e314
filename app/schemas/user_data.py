"""User data in JSON: how the stream of an account stands."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.schemas.common import Body, Instant, Out
from app.schemas.fields import Id
from app.services.user_data import StreamOf


class StreamIn(Body):
    account_id: Id


class BudgetOut(Out):
    """Requests of the log-in: ``left`` of ``limit`` in the window, ``reserve`` of them for exits
    and cancels; ``wait_s`` until the next ordinary one may go."""

    limit: int
    window_s: int
    left: int
    reserve: int
    wait_s: float


class StreamStatusOut(Out):
    """``state`` is stopped, disconnected, connecting, authenticating, syncing, live or degraded.
    Accounts of one log-in share its stream. What another process has is null here."""

    account_id: int
    login_id: int | None
    name: str
    broker: str
    environment: str
    status: str
    state: str
    since: Instant | None
    reason: str | None
    is_wanted: bool = Field(description="Whether the stream is to run; `disconnect` ends that.")
    last_message_at: Instant | None
    last_message_age_s: float | None
    reconnects: int
    gaps_repaired: int
    blocked_until: Instant | None
    budget: BudgetOut | None


def shown(standing: StreamOf) -> dict[str, Any]:
    account = standing.account
    age = standing.last_message_age_s
    return {
        "account_id": account.id,
        "login_id": account.login_id,
        "name": account.name,
        "broker": account.broker,
        "environment": account.environment,
        "status": account.status,
        "state": standing.state,
        "since": standing.since,
        "reason": standing.reason,
        "is_wanted": standing.is_wanted,
        "last_message_at": standing.last_message_at,
        "last_message_age_s": None if age is None else round(age, 3),
        "reconnects": standing.reconnects,
        "gaps_repaired": standing.gaps_repaired,
        "blocked_until": standing.blocked_until,
        "budget": standing.budget,
    }
