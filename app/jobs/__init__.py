"""The scheduler and what it runs. A job only ticks; it never carries an order."""

from flask import Flask

from app.extensions import lifecycle
from app.jobs.scheduler import scheduler
from app.services import health, housekeeping, protection, user_data
from app.services.executor import executor


def register(app: Flask) -> None:
    """Schedule the jobs; the lifecycle starts them last and stops them first."""
    scheduler.reset()
    scheduler.every(2, "sweep", executor.sweep)
    scheduler.every(protection.EVERY_S, "protection", protection.watch.look)
    scheduler.every(3, "user streams", user_data.streams.supervise)
    scheduler.every(600, "housekeeping", housekeeping.purge)
    health.watch("scheduler", lambda: health.OK if scheduler.is_running else "not running")
    lifecycle.add("scheduler", scheduler.start, scheduler.stop)
