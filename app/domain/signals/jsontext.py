"""JSON bodies: read strictly, else repaired where only one reading is possible, else refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from app.domain.signals.errors import BadAlert
from app.domain.signals.jsonrepair import Repair
from app.domain.signals.masking import excerpt, quote
from app.domain.signals.numbers import NumberText

MOST_NESTED = 20
_PLACEHOLDER = re.compile(r"\{\{[^{}]{0,60}\}{0,2}")


def unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A dict of the pairs, refused when one key has two values: which of them was meant?"""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    # Later pairs win in a dict, so comparing each with the winner finds every difference.
    for key, value in pairs:
        if found[key] != value:
            raise BadAlert(
                "duplicate_key", f"{quote(key)} appears twice with different values", field=key[:64]
            )
    return found


def _decoder(constant: Callable[[str], object]) -> json.JSONDecoder:
    # Numbers stay text: a number of 60,000 digits in a field that nobody reads costs nothing,
    # and one reader judges texts and numbers alike. Line breaks inside a text come from
    # comments of several lines and can be read only one way, hence not strict.
    return json.JSONDecoder(
        object_pairs_hook=unique_object,
        parse_float=NumberText,
        parse_int=NumberText,
        parse_constant=constant,
        strict=False,
    )


# Built once: building one takes as long as reading an alert with it.
_DECODER = _decoder(NumberText)


def read_json(text: str) -> tuple[object, list[str]]:
    """The value of ``text`` (no blanks around it) and what had to be repaired.

    Objects are dicts, numbers are `NumberText`.

    Raises:
        BadAlert: ``malformed_json``, ``duplicate_key`` or ``unexpanded_placeholder``.
    """
    try:
        return _parse(text)
    except json.JSONDecodeError as e:
        failure = e
    repaired = Repair(text)
    if repaired.warnings:
        try:
            value, warnings = _parse(repaired.text)
        except json.JSONDecodeError as e:
            failure = json.JSONDecodeError(e.msg, text, repaired.original(e.pos))
        else:
            return value, repaired.warnings + warnings
    raise _refusal(text, failure)


def unwrapped(text: str) -> str | None:
    """The text inside a JSON string, None when ``text`` is not exactly one."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, str) else None


def _parse(text: str) -> tuple[object, list[str]]:
    warnings: list[str] = []
    try:
        if "NaN" in text or "Infinity" in text:
            value = _decoder(lambda word: _noted(word, warnings)).decode(text)
        else:
            value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    if text.count("{") + text.count("[") > MOST_NESTED and _is_too_deep(value):
        raise _too_deep()
    return value, warnings


def _noted(word: str, warnings: list[str]) -> NumberText:
    warning = f"{word} is not JSON and no number"
    if warning not in warnings:
        warnings.append(warning)
    return NumberText(word)


def _too_deep() -> BadAlert:
    return BadAlert("malformed_json", f"nested deeper than {MOST_NESTED} levels")


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MOST_NESTED + 1):
        level = [child for item in level for child in _children(item)]
    return bool(level)


def _children(value: object) -> list[object]:
    """What is inside an object or list; an empty one counts as a level all the same."""
    if isinstance(value, dict):
        return list(value.values()) or [None]
    if isinstance(value, list):
        return value or [None]
    return []


def _refusal(text: str, failure: json.JSONDecodeError) -> BadAlert:
    placeholder = _PLACEHOLDER.search(text)
    if placeholder is not None:
        return BadAlert("unexpanded_placeholder", not_filled_in(placeholder[0]))
    where = f"line {failure.lineno}, column {failure.colno}"
    return BadAlert("malformed_json", f"{where}: {failure.msg}, near {excerpt(text, failure.pos)}")


def not_filled_in(text: str) -> str:
    return (
        f"{quote(text)} was not filled in: placeholders work in the alert's message box,"
        " not inside alert() text"
    )
