"""Bodies that may be left out."""

from __future__ import annotations

from typing import TypeVar

from flask import request
from pydantic import BaseModel

Schema = TypeVar("Schema", bound=BaseModel)


def optional(schema: type[Schema]) -> Schema:
    """The request's JSON, or the schema's defaults where there is no body at all. A broken body
    is refused: it must not pass for none.

    Raises:
        ValidationError: naming each wrong field.
        BadRequest: not JSON.
    """
    return schema.model_validate(request.get_json(force=True) if request.get_data() else {})
