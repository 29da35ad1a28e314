"""How the app speaks JSON: decimals in as ``Decimal``, out as text; instants with milliseconds."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask.json.provider import JSONProvider

from app.events import timestamp
from app.models.types import canonical


class DecimalProvider(JSONProvider):
    def dumps(self, obj: Any, **kwargs: Any) -> str:
        if not kwargs:
            return _ENCODER.encode(obj)
        kwargs.setdefault("separators", (",", ":"))
        return json.dumps(obj, default=plain, ensure_ascii=False, **kwargs)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s, parse_float=Decimal, **kwargs)


def plain(value: Any) -> Any:
    """What a JSON encoder does not know, as the API writes it."""
    if isinstance(value, Decimal):
        return canonical(value)
    if isinstance(value, datetime):
        return timestamp(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(default=plain, ensure_ascii=False, separators=(",", ":"))
