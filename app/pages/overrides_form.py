"""What a trader sets differently, as a form. Empty inherits from the strategy, 0 is a value.

An input is named after the path under which a fault of it is reported
(``overrides.stop_loss.distance``). A setting with parts, a list or a map has a choice before it
(``overrides.stop_loss.mode``): empty inherits, ``own``, ``off``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.settings import OFF, Effective, SettingInfo, Source, describe, dump
from app.pages.settings_form import SECTIONS, words

AT = "overrides"
OWN = "own"
_SEPARATORS = re.compile(r"[\s,;]+")
_INHERITED = "{}, from strategy"


@dataclass(frozen=True, slots=True)
class Control:
    """One input. ``placeholder`` is what is inherited; ``options``: (value, words) of a choice."""

    name: str
    kind: str
    label: str
    unit: str
    value: str
    placeholder: str
    error: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One setting. ``mode`` is the choice before a setting with parts, None for the others."""

    info: SettingInfo
    mode: Control | None
    controls: tuple[Control, ...]
    is_over: bool
    inherited: str
    source: str
    error: str

    @property
    def name(self) -> str:
        return f"{AT}.{self.info.name}"


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    title: str
    note: str
    rows: tuple[Row, ...]

    @property
    def own(self) -> int:
        return sum(row.is_over for row in self.rows)


def overridable() -> list[SettingInfo]:
    return [info for info in describe() if info.is_overridable]


def count(overrides: Mapping[str, Any]) -> int:
    """How many settings are overridden."""
    return sum(overrides.get(info.name) is not None for info in overridable())


def read(form: Mapping[str, str]) -> dict[str, Any]:
    """The overrides that a posted form states, as JSON: every one of them, None inherits."""
    return {info.name: _read(info, form) for info in overridable()}


def sections(
    overrides: Mapping[str, Any], inherited: Effective, errors: Mapping[str, str]
) -> list[Section]:
    """The rows of the form. ``inherited``: what holds where nothing is overridden; ``errors`` by
    path. Sections without an overridable setting are left out."""
    values = dump(inherited.values)
    by_section: dict[str, list[Row]] = {}
    for info in overridable():
        row = _row(info, overrides.get(info.name), values[info.name], inherited, errors)
        by_section.setdefault(info.section, []).append(row)
    return [
        Section(name, title, note, tuple(by_section[name]))
        for name, title, note in SECTIONS
        if name in by_section
    ]


def said(info: SettingInfo, value: Any) -> str:
    """A value in few words: ``80 ticks``, ``NQ = MNQ``, ``Off``."""
    if info.kind == "map" and isinstance(value, Mapping) and value:
        return ", ".join(_lines(info, value))
    if info.kind == "list" and isinstance(value, list) and value:
        if isinstance(value[0], Mapping):
            return "; ".join(_part_words(item) for item in value)
        return ", ".join(str(item) for item in value)
    if isinstance(value, Mapping) and value:
        return _part_words(value)
    if value in (0, "0") and info.name.startswith("max_"):
        return "Off"
    return words(value)


def _part_words(parts: Mapping[str, Any]) -> str:
    if "distance" in parts:
        text = f"{parts['distance']} {parts.get('unit') or 'ticks'}"
        if str(parts.get("share", "100")) != "100" or parts.get("share_unit") == "contracts":
            text += f", {parts['share']} {parts.get('share_unit')}"
        return text
    kind, offset = words(parts.get("type")), str(parts.get("offset_ticks") or 0)
    return kind if offset == "0" else f"{kind}, {offset} ticks"


def _row(
    info: SettingInfo, own: Any, value: Any, inherited: Effective, errors: Mapping[str, str]
) -> Row:
    path = f"{AT}.{info.name}"
    controls = _controls(info, path, own, value, errors)
    named = {control.name for control in controls if control.error}
    beside = [
        text
        for name, text in errors.items()
        if (name == path or name.startswith(path + ".")) and name not in named
    ]
    is_default = inherited.sources[info.name] is Source.DEFAULT
    return Row(
        info=info,
        mode=_mode(info, path, own, value) if _has_mode(info) else None,
        controls=controls,
        is_over=own is not None,
        inherited=said(info, value),
        source="strategy, its default" if is_default else "strategy",
        error=" ".join(beside),
    )


def _has_mode(info: SettingInfo) -> bool:
    return bool(info.fields) or info.kind in ("list", "map", "object")


def _mode(info: SettingInfo, path: str, own: Any, value: Any) -> Control:
    chosen = "" if own is None else OFF if own in (OFF, [], {}) else OWN
    options = [("", _INHERITED.format(said(info, value))), (OWN, "Own")]
    if info.can_be_off:
        options.append((OFF, "Off"))
    return Control(f"{path}.mode", "choice", info.label, "", chosen, "", "", tuple(options))


def _controls(
    info: SettingInfo, path: str, own: Any, value: Any, errors: Mapping[str, str]
) -> tuple[Control, ...]:
    if info.fields:
        return _part_controls(info, path, own, value, errors)
    error = errors.get(path, "")
    if info.kind in ("list", "map"):
        lines = "\n".join(_lines(info, own))
        hint = "\n".join(_lines(info, value))
        return (Control(path, info.kind, info.label, info.unit, lines, hint, error),)
    shown = "" if own is None else str(own)
    options: tuple[tuple[str, str], ...] = ()
    if info.choices:
        inherits = ("", _INHERITED.format(words(value)))
        options = (inherits, *((choice, words(choice)) for choice in info.choices))
    hint = "" if value is None else str(value)
    return (Control(path, info.kind, info.label, info.unit, shown, hint, error, options),)


def _part_controls(
    info: SettingInfo, path: str, own: Any, value: Any, errors: Mapping[str, str]
) -> tuple[Control, ...]:
    if info.kind == "list":
        path, own, value = f"{path}.0", _first(own), _first(value)
    stated = own if isinstance(own, Mapping) else {}
    hints = value if isinstance(value, Mapping) else {}
    found = []
    for part in info.fields:
        name = f"{path}.{part.name}"
        default = hints.get(part.name, part.default)
        is_choice = bool(part.choices)
        held = stated.get(part.name, default if is_choice else None)
        found.append(
            Control(
                name,
                part.kind,
                part.label,
                part.unit,
                "" if held is None else str(held),
                "" if default is None else str(default),
                errors.get(name, ""),
                tuple((choice, words(choice)) for choice in part.choices),
            )
        )
    return tuple(found)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _lines(info: SettingInfo, value: Any) -> list[str]:
    if not value or value == OFF:
        return []
    if isinstance(value, Mapping):
        return [f"{root} = {traded}" for root, traded in value.items()]
    return [str(item) for item in value] if isinstance(value, list) else []


def _read(info: SettingInfo, form: Mapping[str, str]) -> Any:
    path = f"{AT}.{info.name}"
    if _has_mode(info):
        return _read_with_mode(info, path, form)
    text = form.get(path, "").strip()
    if info.kind == "flag":
        return None if not text else text == "true"
    return text or None


def _read_with_mode(info: SettingInfo, path: str, form: Mapping[str, str]) -> Any:
    """Without scripts the choice before may still say *inherit* though something was typed."""
    mode = form.get(f"{path}.mode", "")
    if mode == OFF:
        return OFF
    if info.fields:
        parts = _read_parts(info, path, form)
        if mode == OWN:
            return [parts] if info.kind == "list" else parts
        typed = {p.name for p in info.fields if not p.choices} & parts.keys()
        if not typed:
            return None
        return [parts] if info.kind == "list" else parts
    text = form.get(path, "").strip()
    if not text:
        return OFF if mode == OWN else None
    if info.kind == "map":
        pairs = (line.partition("=") for line in re.split(r"[\n,;]+", text) if line.strip())
        return {root.strip(): traded.strip() for root, _, traded in pairs}
    return [item for item in _SEPARATORS.split(text) if item]


def _read_parts(info: SettingInfo, path: str, form: Mapping[str, str]) -> dict[str, str]:
    """What was typed; in a setting of its own, empty parts have their defaults."""
    at = f"{path}.0" if info.kind == "list" else path
    stated = {part.name: form.get(f"{at}.{part.name}", "").strip() for part in info.fields}
    return {name: text for name, text in stated.items() if text}
