"""The scheduler and what it runs. A job only ticks; it never carries an order."""

from flask import Flask

from app.extensions import lifecycle
from app.jobs.scheduler import scheduler
from app.services import fills, health, housekeeping, protection, user_data
from app.services.executor import executor
from app.services.recorder import EVERY_S, recorder
from config import Config

_HELD_BACK_S = 2
"""How soon a fill counts as somebody else's after what it was held back for is settled."""


def register(app: Flask) -> None:
    """Schedule the jobs; the lifecycle starts them last and stops them first."""
    config: Config = app.config["JUST_TRADES"]
    recorder.configure(config.recorder_interval_s)
    fills.forget_held_back()
    scheduler.reset()
    scheduler.every(2, "sweep", executor.sweep)
    scheduler.every(protection.EVERY_S, "protection", protection.watch.look)
    scheduler.every(3, "user streams", user_data.streams.supervise)
    scheduler.every(EVERY_S, "recorder", recorder.tick)
    scheduler.every(_HELD_BACK_S, "held-back fills", _retry_held_back)
    scheduler.every(600, "housekeeping", housekeeping.purge)
    health.watch("scheduler", lambda: health.OK if scheduler.is_running else "not running")
    lifecycle.add("repairs", lambda: None, protection.watch.stop)
    lifecycle.add("recorder", lambda: None, recorder.stop)
    lifecycle.add("scheduler", scheduler.start, scheduler.stop)


def _retry_held_back() -> None:
    for account_id in fills.retry_held_back():
        executor.notify(account_id)
