"""Plain HTML forms: checked by the same shapes as JSON, shown again with what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from app.domain.errors import Invalid, TooManyRequests, TradingError
from app.web.errors import validation_errors

B = TypeVar("B", bound=BaseModel)


@dataclass(slots=True)
class Form:
    """What a form shows: what was typed (never a secret), and what was wrong with it."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """By field."""
    message: str = ""
    """What concerns no field."""
    status: int = 200
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}


def submit(
    schema: type[B], action: Callable[[B], object], words: Mapping[str, str] | None = None
) -> Form | None:
    """Check the posted form and do ``action`` with it; ``None`` where that went well.

    ``words``: by field, our sentence in place of the checker's.
    """
    posted = {name: value for name, value in request.form.items() if name in schema.model_fields}
    shown = {n: v for n, v in posted.items() if "password" not in n and "secret" not in n}
    form = Form(values=shown)
    lists = {n: request.form.getlist(n) for n in posted if n == "scopes"}
    try:
        action(schema.model_validate({**posted, **lists}))
    except ValidationError as e:
        form.status = 422
        form.errors = {name.split(".")[0]: message for name, message in validation_errors(e)}
        form.errors.update({n: w for n, w in (words or {}).items() if n in form.errors})
    except TradingError as e:
        form.status = e.status
        _refuse(form, e)
    else:
        return None
    return form


def _refuse(form: Form, error: TradingError) -> None:
    if isinstance(error, TooManyRequests):
        form.retry_after_s = error.retry_after_s
    if isinstance(error, Invalid) and error.errors:
        form.errors = dict(error.errors)
    elif error.field:
        form.errors = {error.field: error.detail}
    else:
        form.message = error.detail
