"""What has had its day is deleted, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from apiflask import APIFlask

from app import clock
from app.extensions import db
from app.models import IdempotencyKey, UserSession
from app.services import housekeeping, idempotency, sessions
from tests import factories


def test_old_sessions_and_idempotency_keys_are_deleted(app: APIFlask) -> None:
    user = factories.user()
    with app.app_context():
        sessions.start(user.id)
        idempotency.claim(user.id, "old", "hash")

        with time_machine.travel(clock.now() + timedelta(days=40), tick=False):
            sessions.start(user.id)
            idempotency.claim(user.id, "new", "hash")
            housekeeping.purge()

        [session] = db.session.query(UserSession).all()
        [key] = db.session.query(IdempotencyKey).all()
    assert session.created_at > clock.now()
    assert key.key == "new"
