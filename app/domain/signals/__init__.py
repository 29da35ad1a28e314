"""Alerts: from raw bodies to signals."""

from app.domain.signals.decode import decode
from app.domain.signals.errors import BadAlert
from app.domain.signals.inversion import invert
from app.domain.signals.masking import mask
from app.domain.signals.times import firing_time
from app.domain.signals.types import Action, Decoded, Signal, Target

__all__ = [
    "Action",
    "BadAlert",
    "Decoded",
    "Signal",
    "Target",
    "decode",
    "firing_time",
    "invert",
    "mask",
]
