"""Which broker serves an account: one line per package."""

from __future__ import annotations

from app.brokers.base import AccountRef, Broker
from app.domain.errors import Invalid
from app.models import Account

_brokers: dict[str, Broker] = {}


def register(name: str, broker: Broker) -> None:
    _brokers[name] = broker


def names() -> list[str]:
    return sorted(_brokers)


def get(name: str) -> Broker:
    """The broker of that name.

    Raises:
        Invalid: no such broker here.
    """
    broker = _brokers.get(name)
    if broker is None:
        raise Invalid(
            f"{name} is not available; choose one of {', '.join(names())}",
            code="broker_unavailable",
            field="broker",
        )
    return broker


def ref(account: Account) -> AccountRef:
    return AccountRef(
        id=account.id,
        user_id=account.user_id,
        broker=account.broker,
        environment=account.environment,
        broker_account_id=account.broker_account_id,
        login_id=account.login_id,
    )


def for_account(account: Account) -> tuple[Broker, AccountRef]:
    return get(account.broker), ref(account)
