"""The in-process scheduler. Its jobs only tick; one that fails is logged and comes again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from apscheduler.schedulers.gevent import GeventScheduler

log = logging.getLogger(__name__)


class Scheduler:
    """Starts and stops with the lifecycle; a job never overlaps itself."""

    def __init__(self) -> None:
        self._jobs: list[tuple[str, Callable[[], None], float]] = []
        self._scheduler: GeventScheduler | None = None

    def reset(self) -> None:
        self._jobs.clear()

    def every(self, seconds: float, name: str, work: Callable[[], None]) -> None:
        self._jobs.append((name, work, seconds))

    @property
    def is_running(self) -> bool:
        return self._scheduler is not None and self._scheduler.running

    def start(self) -> None:
        self._scheduler = GeventScheduler(timezone="UTC")
        for name, work, seconds in self._jobs:
            self._scheduler.add_job(
                _guarded(name, work),
                "interval",
                seconds=seconds,
                id=name,
                max_instances=1,
                coalesce=True,
            )
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None


def _guarded(name: str, work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except Exception:  # the loop's edge: the next tick tries again
            log.exception("job failed", extra={"job": name})

    return run


scheduler = Scheduler()
