"""JSON in, with exact numbers; what cannot be read is told apart from what is missing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


class Unreadable:
    """In the place of a body that is not JSON."""


def parse_json(text: str) -> Any:
    """None for an empty text, ``Unreadable()`` for nonsense."""
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return Unreadable()
