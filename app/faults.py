"""Points at which the process can be told to die, so that the fault tests hit every gap between
two commits. Without ``FAULT_POINT`` they cost one comparison."""

from __future__ import annotations

import os
import signal

_armed: str | None = None
_left = 0


def arm(setting: str | None) -> None:
    """``name:n`` kills the process when point ``name`` is passed for the n-th time."""
    global _armed, _left
    name, _, number = (setting or "").partition(":")
    _armed, _left = name or None, int(number or 1)


def point(name: str) -> None:
    global _left
    if _armed != name:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
