"""From the raw body of an alert to its signals.

The Content-Type is only a hint: TradingView sends JSON as ``text/plain`` as soon as one line
break follows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from app.domain.signals import names
from app.domain.signals.errors import BadAlert
from app.domain.signals.fields import Entry, entry_of, first, text
from app.domain.signals.jsontext import read_json, unique_object, unwrapped
from app.domain.signals.masking import is_form, payload_of
from app.domain.signals.meaning import has_action, understand
from app.domain.signals.text import MOST_SIGNALS, is_fill, read_text, unrecognised
from app.domain.signals.types import Decoded, Signal, Target
from app.domain.signals.words import target_word

MOST_BYTES = 64 * 1024
_BOM = "\ufeff"
_FORM_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 500
_UNREADABLE = frozenset({"malformed_json", "unexpanded_placeholder"})
_BARE_JSON = re.compile(r"-?[0-9][0-9.eE+\-]*+|true|false|null")
# Where the header says form, values may hold blanks that the sender forgot to encode.
_SLOPPY_FORM = re.compile(r"[\w.\-%+\[\]]+=[^&\r\n]*(?:&[\w.\-%+\[\]]+=[^&\r\n]*)+")


@dataclass(slots=True)
class _Message:
    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)
    secret: str | None = field(default=None, repr=False)
    is_list: bool = False


def decode(
    body: bytes, content_type: str | None = None, *, default_symbol: str | None = None
) -> Decoded:
    """Read one alert; ``default_symbol`` is used where the body names none.

    Raises:
        BadAlert: the body cannot be read as one clear order or list of orders.
    """
    plain, warnings = _plain(body)
    message = _read(plain, is_form_type=_is_form_type(content_type), may_unwrap=True)
    secret = message.secret
    signals: list[Signal] = []
    for index, entry in enumerate(message.entries):
        said: list[str] = []
        try:
            found, inner_secret = _signals(entry, default_symbol, said)
        except BadAlert as e:
            if message.is_list:
                raise e.within(index) from e
            raise
        signals += found
        secret = secret or text(entry, names.SECRET) or inner_secret
        message.warnings += [f"entry {index + 1}: {w}" for w in said] if message.is_list else said
    if len(signals) > MOST_SIGNALS:
        raise _too_many()
    return Decoded(tuple(signals), tuple(warnings + message.warnings), secret)


def _is_form_type(content_type: str | None) -> bool:
    return content_type is not None and _FORM_TYPE in content_type.lower()


def _plain(body: bytes) -> tuple[str, list[str]]:
    """The body as text without byte-order mark."""
    if len(body) > MOST_BYTES:
        raise BadAlert("body_too_large", f"the body has more than {MOST_BYTES // 1024} KiB")
    try:
        plain = body.decode()
    except UnicodeDecodeError as e:
        raise BadAlert("bad_encoding", f"byte {e.start + 1} of the body is not UTF-8") from None
    if plain.startswith(_BOM):
        return plain[1:], ["byte-order mark ignored"]
    return plain, []


def _read(plain: str, *, is_form_type: bool, may_unwrap: bool) -> _Message:
    """The entries of a body, which may hold the real body once (a JSON text, a form field)."""
    stripped = plain.strip()
    if not stripped:
        raise BadAlert("empty_body", "the body is empty")
    if stripped[0] in "{[":
        return _read_json(stripped, has_blanks=len(stripped) < len(plain))
    if may_unwrap and (inner := _payload(stripped, is_form_type)) is not None:
        return _read(inner, is_form_type=False, may_unwrap=False)
    if is_form(stripped) or (is_form_type and _SLOPPY_FORM.fullmatch(stripped)):
        return _read_form(stripped)
    if stripped[0] == '"' and (inner := unwrapped(stripped)) is not None:
        if not may_unwrap:
            raise _bare_value()
        return _read(inner, is_form_type=False, may_unwrap=False)
    if _BARE_JSON.fullmatch(stripped):
        raise _bare_value()
    found = read_text(stripped)
    return _Message([(scope,) for scope in found.scopes], [], found.secret, found.is_list)


def _bare_value() -> BadAlert:
    # Not quoted: it may be the password of a command that is missing.
    return BadAlert("not_an_object", "a single value is neither an object nor a command")


# --- JSON ---


def _read_json(stripped: str, *, has_blanks: bool) -> _Message:
    try:
        value, warnings = read_json(stripped)
    except BadAlert as e:
        # TradingView's own text begins with the strategy's name: "[Bot] Trend: order buy @ ..."
        if e.code in _UNREADABLE and is_fill(stripped):
            return _Message([(scope,) for scope in read_text(stripped).scopes])
        raise
    if has_blanks:
        warnings.append("blanks around the body ignored")
    if isinstance(value, dict):
        return _Message([entry_of(value)], warnings)
    if not isinstance(value, list) or not value:
        raise BadAlert("not_an_object", "expected an object or a list of 1 to 10 objects")
    return _Message(_entries(value), warnings, is_list=True)


def _entries(values: list[object]) -> list[Entry]:
    if len(values) > MOST_SIGNALS:
        raise _too_many()
    entries = []
    for index, value in enumerate(values):
        try:
            if not isinstance(value, dict):
                raise BadAlert("not_an_object", "not an object")
            entries.append(entry_of(value))
        except BadAlert as e:
            raise e.within(index) from e
    return entries


def _too_many() -> BadAlert:
    return BadAlert("too_many_signals", f"more than {MOST_SIGNALS} orders in one alert")


# --- forms ---


def _payload(stripped: str, is_form_type: bool) -> str | None:
    """The body inside the only field of a form; without the header only when it is JSON."""
    encoded = payload_of(stripped)
    if encoded is None or (is_form_type and _SLOPPY_FORM.fullmatch(stripped)):
        return None
    plain = _unquoted(encoded)
    return plain if is_form_type or plain.lstrip()[:1] in ("{", "[") else None


def _unquoted(encoded: str) -> str:
    try:
        return unquote_plus(encoded, errors="strict")
    except UnicodeDecodeError:
        raise BadAlert("bad_encoding", "the form is not UTF-8") from None


def _read_form(stripped: str) -> _Message:
    items = [item for item in stripped.split("&", _MOST_FIELDS) if item]
    if len(items) > _MOST_FIELDS:
        raise unrecognised(stripped)
    pairs: list[tuple[str, object]] = []
    for item in items:
        name, _, value = item.partition("=")
        pairs.append((_unquoted(name), _unquoted(value)))
    return _Message([entry_of(unique_object(pairs))])


# --- one entry ---


def _signals(
    entry: Entry, default_symbol: str | None, warnings: list[str]
) -> tuple[list[Signal], str | None]:
    """The signals of an entry, several only where a text in it has several lines."""
    inner = None if has_action(entry) else _inner_text(entry)
    if inner is None:
        return [understand(entry, default_symbol, warnings)], None
    name, body = inner
    try:
        message = _read(body, is_form_type=False, may_unwrap=True)
    except BadAlert as e:
        if _is_flat(entry):
            return [understand(entry, default_symbol, warnings)], None
        raise BadAlert(e.code, f"in {name}: {e.detail}", field=e.field or name) from e
    warnings += [f"order read from {name}", *message.warnings]
    # What the text leaves open, the fields around it say.
    entries = [(*found, *entry) for found in message.entries]
    secret = message.secret or next((s for e in entries if (s := text(e, names.SECRET))), None)
    return [understand(found, default_symbol, warnings) for found in entries], secret


def _inner_text(entry: Entry) -> tuple[str, str] | None:
    found = first(entry, names.INNER_TEXT)
    if found is None or type(found[1]) is not str:
        return None
    return found[0], found[1]


def _is_flat(entry: Entry) -> bool:
    found = first(entry, names.TARGET)
    return found is not None and target_word(str(found[1])) is Target.FLAT
