"""Why an alert was refused."""

from __future__ import annotations

from app.domain.errors import TradingError


class BadAlert(TradingError):
    """The body cannot be read as one clear order; nothing was done.

    ``code`` is stable, ``field`` names the field as it was understood, ``index`` counts the
    entries of a list from 0. ``detail`` is for people: secrets in it are masked.
    """

    code, status, title = "bad_alert", 400, "Bad alert"

    def __init__(
        self, code: str, detail: str, *, field: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(detail, code=code, field=field)
        self.index = index
        self.status = 413 if code == "body_too_large" else 400

    def within(self, index: int) -> BadAlert:
        """The same refusal, said of entry ``index`` of a list."""
        detail = f"entry {index + 1}: {self.detail}"
        return BadAlert(self.code, detail, field=self.field, index=index)
