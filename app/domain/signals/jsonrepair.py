"""JSON put right where only one reading is possible: quotes and trailing commas."""

from __future__ import annotations

import re
from bisect import bisect_right

_MOST_QUOTES = 8000  # no alert has as many; bounds the work
_TYPOGRAPHIC = "“”„‟"
_STRINGS = re.compile(
    rf'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+'
    rf"|[{_TYPOGRAPHIC}][^{_TYPOGRAPHIC}]*+[{_TYPOGRAPHIC}]?+"
    r"|'[^'\\]*+(?:\\.[^'\\]*+)*+'?+",
    re.DOTALL,
)
# A comma right after a bracket, a colon or another comma stands for a value that is missing.
_TRAILING_COMMA = re.compile(r"([\[{,:]\s*+)?,(\s*+[}\]])")
_PYTHON_WORD = re.compile(r"\b(?:True|False|None|nan|inf)\b")
_PYTHON_WORDS = {
    "True": "true",
    "False": "false",
    "None": "null",
    "nan": "NaN",
    "inf": "Infinity",
}
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\'|\\.|\"", re.DOTALL)


class Repair:
    """``text`` repaired, and in ``warnings`` what was; no warnings: nothing could be."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.warnings: list[str] = []
        self._pieces: list[str] = []
        self._starts: list[int] = []  # of the pieces in the repaired text
        self._origins: list[int] = []  # of the same pieces in the original
        self._length = 0
        if sum(text.count(c) for c in f"\"'{_TYPOGRAPHIC}") <= _MOST_QUOTES:
            self._run(text)

    def original(self, position: int) -> int:
        """About where in the original text ``position`` of the repaired one lies."""
        i = bisect_right(self._starts, position) - 1
        return self._origins[i] + position - self._starts[i]

    def _run(self, text: str) -> None:
        strings = list(_STRINGS.finditer(text))
        is_python = any(m[0][0] == "'" for m in strings)
        at = 0
        for m in strings:
            self._between(text[at : m.start()], at, is_python)
            self._string(m[0], m.start())
            at = m.end()
        self._between(text[at:], at, is_python)
        self.text = "".join(self._pieces)

    def _add(self, piece: str, origin: int) -> None:
        self._starts.append(self._length)
        self._origins.append(origin)
        self._pieces.append(piece)
        self._length += len(piece)

    def _between(self, piece: str, origin: int, is_python: bool) -> None:
        if is_python:
            piece = _PYTHON_WORD.sub(lambda m: _PYTHON_WORDS[m[0]], piece)
        if "," in piece:
            before = piece
            piece = _TRAILING_COMMA.sub(lambda m: m[0] if m[1] else m[2], piece)
            if piece != before:
                self._warn("trailing comma ignored")
        self._add(piece, origin)

    def _string(self, literal: str, origin: int) -> None:
        opened, closed = literal[0], literal[-1]
        if len(literal) > 1 and opened == closed == "'":
            self._warn("single quotes read as double quotes")
            literal = _requoted(literal)
        elif len(literal) > 1 and opened in _TYPOGRAPHIC and closed in _TYPOGRAPHIC:
            self._warn("typographic quotes read as plain ones")
            literal = _requoted(literal)
        self._add(literal, origin)

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def _requoted(literal: str) -> str:
    return f'"{_ESCAPE.sub(_json_escape, literal[1:-1])}"'


def _json_escape(m: re.Match[str]) -> str:
    if m[1]:
        return f"\\u00{m[1]}"
    return {"\\'": "'", '"': '\\"'}.get(m[0], m[0])
