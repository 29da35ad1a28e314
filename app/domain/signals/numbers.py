"""Numbers as alerts write them."""

from __future__ import annotations

import re
from decimal import Decimal

_LONGEST = 40  # characters; a JSON number may have any length
_MOST_DIGITS = 15  # before the point
_FINEST = -18  # power of ten of the last digit
# Groups of three behind a leading zero (0,500) would be a decimal comma: not a number here.
_NUMBER = re.compile(
    r"[+-]?(?:(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
)


class NumberText(str):
    """A number of a JSON body, kept as it was written. ``NaN`` and ``Infinity`` are among them."""

    __slots__ = ()


def parse_number(value: object) -> Decimal | None:
    """Read a number or the text of one; None when it is not a finite number of sane size.

    Text may have blanks around it, a sign and thousands separators in groups of three.
    """
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text) is None:
        return None
    return _sane(Decimal(text.replace(",", "")))


def _sane(number: Decimal) -> Decimal | None:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < _FINEST or number.adjusted() >= _MOST_DIGITS:
        return None
    # 1E+3 is spelled out: what is shown and stored reads like what people write.
    return Decimal(format(number, "f")) if exponent > 0 else number


def looks_numeric(text: str) -> bool:
    """Whether a bare word is meant as a number, well formed or not."""
    return text.lstrip("+-").rstrip("%").replace(",", "").replace(".", "").isdigit()
