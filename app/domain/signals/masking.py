"""What of a body may be shown: everything except the values of its secrets."""

from __future__ import annotations

import json
import re
from itertools import islice
from urllib.parse import quote_plus, unquote_plus

from app.domain.signals import names
from app.domain.signals.jsonrepair import Repair
from app.domain.signals.numbers import NumberText
from app.domain.signals.words import is_action

HIDDEN = "***"
_MOST_QUOTED = 80
_AROUND = 30  # characters shown on either side of an error
_MOST_NESTED = 20
_MOST_INNER = 3  # a body inside a text inside a body ...
# No alert has as many names, lines or fields: whatever follows them is hidden unread.
_MOST_PARTS = 1000

_Span = tuple[int, int]

_Q = "\"'“”„‟"
_SECRET_WORD = re.compile(
    r"(?:api_?key|key|secret|token|passphrase|password|passwd|pwd|pin)(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
# The sign may be missing between two quoted texts: broken JSON is masked too.
_SIGN = re.compile(rf"\s*+(?P<name_end>\\*+[{_Q}]\s*+)?+(?P<sign>[ \t]*+[:=][:=> \t]*+)?+")
_OPENING = re.compile(rf"\s*+(?P<escape>\\*+)(?P<quote>[{_Q}])")
_NEXT_NAME = r"[\w.\-]++\s*+[=:]"
# What may follow the quote that really ends a text, in JSON or in a list of pairs.
_FOLLOWS = rf"(?=\s*+(?:\Z|[}}\];&]|,\s*+(?:\\*+[{_Q}]|[{{\[}}\]]|{_NEXT_NAME}|\Z)|{_NEXT_NAME}|@))"
_SINGLE_END = re.compile(rf"(?:\\.|[^\\])*?'{_FOLLOWS}", re.DOTALL)
_DOUBLE_END = re.compile(rf"(?:\\.|[^\\])*?[\"“”„‟]{_FOLLOWS}", re.DOTALL)
_ESCAPED_END = re.compile(rf".*?\\++[{_Q}]", re.DOTALL)
_BARE = re.compile(
    r"(?:[^\s;,&}\]]++"
    rf"|,(?!\s*+(?:\\*+[{_Q}]|{_NEXT_NAME}))"
    r"|&(?![\w.%+\-]++=)"
    r"|[}\]](?!\s*+(?:[,}\]]|\Z))"
    rf"|[ \t]++(?!\\*+[{_Q}]|{_NEXT_NAME})(?=[^\s;,&}}\]])"
    r")*+"
)
# Fields whose text is read as a body of its own.
_BODIES = names.PAYLOAD.union(names.INNER_TEXT)
# Without any of these the names of a JSON object tell all: an escape, a text that is a body.
_MAY_HIDE = re.compile(r'\\|\A\s*+"|' + "|".join(sorted(_BODIES)), re.IGNORECASE)
# What the name of a secret, of an inner body or an escape cannot be written without.
_HINTS = ("key", "secret", "token", "pass", "pwd", "pin", "\\", *sorted(_BODIES))
_LINE = re.compile(r"[^\r\n]+")
_FORM = re.compile(r"[^\s;&=]+=[^\s;&]*(?:&[^\s;&=]+=[^\s;&]*)+")
_PAYLOAD = re.compile(rf"(?:{'|'.join(sorted(names.PAYLOAD))})=", re.IGNORECASE)


def mask(body: bytes | str) -> str:
    """The body as text with the value of every secret replaced, whatever is wrong with it."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if text.startswith("{") and text.isascii() and _names_no_secret(text):
        return text
    return printable(_masked_body(text, _MOST_INNER))


def _names_no_secret(text: str) -> bool:
    """Whether nothing in an object can be a secret, as in most alerts: the quick way out."""
    folded = text.lower()
    return not any(hint in folded for hint in _HINTS)


def printable(text: str) -> str:
    """``text`` without halves of surrogate pairs, which can be neither stored nor sent."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def quote(value: object) -> str:
    """A value as error texts show it: masked, on one line, at most 80 characters."""
    # More than is shown, so that no secret is cut off from its name.
    return _shown(printable(_masked_pairs(str(value)[:2000])))


def quote_body(text: str) -> str:
    """The beginning of a whole body as error texts show it."""
    return _shown(mask(text[:2000]))


def excerpt(text: str, position: int) -> str:
    """A few characters around ``position``, masked as the whole text would be."""
    start, end = max(0, position - _AROUND), min(len(text), position + _AROUND)
    return _shown(printable(_without(text, _pair_spans(text), start, end)))


def _shown(text: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in text[: _MOST_QUOTED + 1])
    return f"'{text}'" if len(text) <= _MOST_QUOTED else f"'{text[: _MOST_QUOTED - 1]}…'"


def is_form(text: str) -> bool:
    """Whether a text without blanks is made of ``name=value`` joined by ``&``."""
    return _FORM.fullmatch(text) is not None


def payload_of(text: str) -> str | None:
    """What follows ``payload=`` or the like where it is the only field of a form."""
    m = _PAYLOAD.match(text)
    return text[m.end() :] if m and not is_form(text) else None


def _masked_body(text: str, inner: int) -> str:
    stripped = text.lstrip("\ufeff").strip()
    if not stripped or inner == 0:
        return _masked_pairs(text)
    if stripped[0] in '{["':
        return _masked_json(text, stripped, inner)
    payload = payload_of(stripped)
    if payload is not None:
        start = stripped[: len(stripped) - len(payload)]
        return start + _masked_form_value(payload, inner, is_body=True)
    if is_form(stripped):
        fields = stripped.split("&", _MOST_PARTS)
        shown = [_masked_field(field, inner) for field in fields[:_MOST_PARTS]]
        return "&".join([*shown, HIDDEN] if len(fields) > _MOST_PARTS else shown)
    return _without(text, [*_pair_spans(text), *_line_spans(text)])


def _masked_pairs(text: str) -> str:
    return _without(text, _pair_spans(text))


def _without(text: str, spans: list[_Span], start: int = 0, end: int | None = None) -> str:
    """``text[start:end]`` with everything inside the spans hidden."""
    pieces, at = [], start
    end = len(text) if end is None else end
    for left, right in sorted(spans):
        if right <= at or left >= end:
            continue
        pieces += [text[at:left], HIDDEN]
        at = right
    return "".join([*pieces, text[at:end]])


# --- name and value in a text of any kind ---


def _pair_spans(text: str) -> list[_Span]:
    """Where the values of secrets lie, found by their names, well formed or not."""
    spans: list[_Span] = []
    at = 0
    for _ in range(_MOST_PARTS):
        m = _SECRET_WORD.search(text, at)
        if m is None:
            return spans
        at = m.end()
        if _begins_a_name_part(text, m.start()) and (span := _value_span(text, at)) is not None:
            spans.append(span)
            at = span[1]
    return [*spans, (at, len(text))]


def _begins_a_name_part(text: str, start: int) -> bool:
    """``auth_key`` and ``signalToken`` name a secret, ``monkey`` does not."""
    before = text[start - 1] if start else ""
    return not before.isalpha() or (before.islower() and text[start].isupper())


def _value_span(text: str, at: int) -> _Span | None:
    sign = _SIGN.match(text, at)
    if sign is None or (sign["sign"] is None and sign["name_end"] is None):
        return None
    at = sign.end()
    is_equals = sign["sign"] is not None and "=" in sign["sign"] and sign["name_end"] is None
    opening = None if is_equals and text[at : at + 1].isspace() else _OPENING.match(text, at)
    if opening is not None:
        return opening.end(), _quoted_end(text, opening)
    if sign["sign"] is None:
        return None
    return _bare_span(text, at, is_equals)


def _quoted_end(text: str, opening: re.Match[str]) -> int:
    """Before the closing quote, or the end of the text when there is none."""
    if opening["escape"]:
        ending = _ESCAPED_END.match(text, opening.end())
        return len(text) if ending is None else _before_quote(text, ending.end(), escaped=True)
    pattern = _SINGLE_END if opening["quote"] == "'" else _DOUBLE_END
    ending = pattern.match(text, opening.end())
    return len(text) if ending is None else _before_quote(text, ending.end(), escaped=False)


def _before_quote(text: str, end: int, *, escaped: bool) -> int:
    end -= 1
    while escaped and text[end - 1] == "\\":
        end -= 1
    return end


def _bare_span(text: str, at: int, is_equals: bool) -> _Span | None:
    while not is_equals and at < len(text) and text[at].isspace():
        at += 1
    if text[at : at + 1] in ("{", "["):
        return at, len(text)
    value = _BARE.match(text, at)
    return (at, value.end()) if value is not None and value.end() > at else None


# --- JSON ---


class _Pairs(list[tuple[str, object]]):
    """A JSON object that still has its repeated keys."""


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_float=NumberText,
    parse_int=NumberText,
    parse_constant=NumberText,
    strict=False,
)


def _masked_json(text: str, stripped: str, inner: int) -> str:
    """Masked by name; written anew where the names alone do not find every secret.

    Names can be escaped (``"\\u006bey"``) and whole bodies can hide in a text.
    """
    by_name = _masked_json_pairs(text)
    if by_name is text and _MAY_HIDE.search(text) is None:
        return text
    value = _loaded(stripped)
    if value is None:
        return by_name
    masked = _hidden(value, inner, is_body=True)
    return by_name if _loaded(by_name.lstrip("\ufeff").strip()) == masked else _dumped(masked)


def _masked_json_pairs(text: str) -> str:
    """As `_masked_pairs`, with numbers replaced by a text so that it stays JSON."""
    spans = _pair_spans(text)
    if not spans:
        return text
    pieces, at = [], 0
    for left, right in spans:
        is_quoted = left > 0 and text[left - 1] in _Q
        pieces += [text[at:left], HIDDEN if is_quoted else f'"{HIDDEN}"']
        at = right
    return "".join([*pieces, text[at:]])


def _loaded(text: str) -> object | None:
    try:
        value = _decoded(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    # A deeper body is refused, and what is refused is masked by name.
    return value if value is not None and _height(value, 0) <= _MOST_NESTED else None


def _decoded(text: str) -> object:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        repaired = Repair(text)
        if not repaired.warnings:
            raise
        return _DECODER.decode(repaired.text)


def _height(value: object, above: int) -> int:
    if above > _MOST_NESTED or not isinstance(value, list):
        return above
    children = (v for _, v in value) if isinstance(value, _Pairs) else iter(value)
    return max((_height(child, above + 1) for child in children), default=above + 1)


def _hidden(value: object, inner: int, *, is_body: bool) -> object:
    if isinstance(value, _Pairs):
        return _Pairs((key, _hidden_member(key, item, inner)) for key, item in value)
    if isinstance(value, list):
        return [_hidden(item, inner, is_body=False) for item in value]
    if isinstance(value, str) and not isinstance(value, NumberText):
        return _masked_body(value, inner - 1) if is_body else _masked_pairs(value)
    return value


def _hidden_member(key: str, value: object, inner: int) -> object:
    if names.is_secret(key):
        return value if value is None or value == "" else HIDDEN
    return _hidden(value, inner, is_body=names.known(key) in _BODIES)


def _dumped(value: object) -> str:
    if isinstance(value, _Pairs):
        members = (f"{json.dumps(key, ensure_ascii=False)}: {_dumped(v)}" for key, v in value)
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_dumped(item) for item in value)}]"
    return str(value) if isinstance(value, NumberText) else json.dumps(value, ensure_ascii=False)


# --- forms ---


def _masked_field(field: str, inner: int) -> str:
    name, _, value = field.partition("=")
    plain = unquote_plus(name)
    if names.is_secret(plain):
        return f"{name}={HIDDEN if value else ''}"
    is_body = names.known(plain) in _BODIES
    return f"{name}={_masked_form_value(value, inner, is_body=is_body)}"


def _masked_form_value(value: str, inner: int, *, is_body: bool) -> str:
    plain = unquote_plus(value)
    masked = _masked_body(plain, inner - 1) if is_body else _masked_pairs(plain)
    return value if masked == plain else quote_plus(masked, safe="*")


# --- lines whose place, not a name, says that they are secret ---


def _line_spans(text: str) -> list[_Span]:
    found = list(islice(_LINE.finditer(text), _MOST_PARTS))
    rest = [(found[-1].end(), len(text))] if len(found) == _MOST_PARTS else []
    lines = [m for m in found if is_command(m[0])]
    password = _password_span(lines, text)
    tokens = [span for m in lines if (span := _token_span(m)) is not None]
    return [*tokens, *rest] if password is None else [password, *tokens, *rest]


def is_command(line: str) -> bool:
    """Whether a line of a text counts: neither blank nor a comment."""
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith(("//", "#"))


def is_password(line: str) -> bool:
    """Whether a first line can be nothing but a password: one word, no action and no pair."""
    return len(line.split(None, 1)) == 1 and "=" not in line and not is_action(line)


def token_of(line: str) -> str | None:
    """The access token in front of ``token,ACTION,SYMBOL``, whatever follows it."""
    first, comma, rest = line.partition(",")
    word = first.strip()
    if not comma or not word or "=" in first or is_action(word) or ": order " in line:
        return None
    has_blank = len(word.split(None, 1)) > 1
    return None if has_blank and not is_action(rest.partition(",")[0].strip()) else word


def _password_span(lines: list[re.Match[str]], text: str) -> _Span | None:
    if not lines or not is_password(lines[0][0]):
        return None
    is_alone = len(lines) == 1
    if is_alone and "\n" not in text[lines[0].end() :]:
        return None
    if all(token_of(m[0]) is not None for m in lines):
        return None
    return lines[0].span()


def _token_span(m: re.Match[str]) -> _Span | None:
    token = token_of(m[0])
    if token is None:
        return None
    start = m.start() + m[0].index(token)
    return start, start + len(token)
