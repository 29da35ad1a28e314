"""The settings of a strategy as a form: made from their description, read back into JSON.

An input is named after the path under which a fault of it is reported
(``settings.stop_loss.distance``), so that each error finds its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.settings import OFF, SECRET_IS_SET, SettingInfo, describe

AT = "settings"
SECTIONS = (
    ("sizing", "Sizing", "how much, of what"),
    ("exits", "Exits", "measured from the average fill"),
    ("signals", "What a signal does", ""),
    ("filters", "Filters", "entries only, exits always pass"),
    ("gates", "Webhook gates", "every alert, before anything else"),
)
"""(name, title, note) in the order of the page."""

_SEPARATORS = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class Control:
    """One input. ``options`` of a choice are (value, words)."""

    name: str
    kind: str
    label: str
    unit: str
    value: Any
    error: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the form; several controls where the setting has parts."""

    info: SettingInfo
    controls: tuple[Control, ...]
    error: str
    default: str
    is_default: bool

    @property
    def id(self) -> str:
        return f"{AT}.{self.info.name}"


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    title: str
    note: str
    settings: tuple[Setting, ...]

    @property
    def changed(self) -> int:
        return sum(not setting.is_default for setting in self.settings)


def read(form: Mapping[str, str], *, has_secret: bool = False) -> dict[str, Any]:
    """The settings that a posted form states, as JSON: every one of them, None for the default."""
    return {info.name: _read(info, form, has_secret) for info in describe()}


def sections(values: Mapping[str, Any], errors: Mapping[str, str]) -> list[Section]:
    """The rows of the form. ``errors`` by path, such as ``settings.stop_loss.distance``."""
    by_section: dict[str, list[Setting]] = {}
    for info in describe():
        by_section.setdefault(info.section, []).append(_setting(info, values, errors))
    return [
        Section(name, title, note, tuple(by_section.get(name, ())))
        for name, title, note in SECTIONS
    ]


def words(value: Any) -> str:
    """A value as people read it: ``at_least_one`` is *At least one*, nothing is *Off*."""
    if value is None or value == OFF or value == [] or value == {}:
        return "Off"
    if isinstance(value, bool):
        return "On" if value else "Off"
    if isinstance(value, Mapping):
        return ", ".join(str(part).replace("_", " ") for part in value.values())
    text = str(value).replace("_", " ")
    return text[:1].upper() + text[1:]


def label(path: str) -> str:
    """What the form calls the setting that an error's path is about."""
    name = path.removeprefix(f"{AT}.").partition(".")[0]
    labels = {info.name: info.label for info in describe()}
    return labels.get(name) or words(name)


def _setting(info: SettingInfo, values: Mapping[str, Any], errors: Mapping[str, str]) -> Setting:
    value = values.get(info.name)
    if value is None:
        value = info.default
    path = f"{AT}.{info.name}"
    controls = _controls(info, path, value, errors)
    own = {control.name for control in controls if control.error}
    beside = [text for name, text in errors.items() if _belongs(name, path) and name not in own]
    return Setting(
        info=info,
        controls=controls,
        error=" ".join(beside),
        default=words(info.default),
        is_default=_same(value, info.default),
    )


def _same(typed: Any, default: Any) -> bool:
    """Whether both mean the same, though a form knows only text."""
    if isinstance(typed, Mapping) and isinstance(default, Mapping):
        return {k: str(v) for k, v in typed.items()} == {k: str(v) for k, v in default.items()}
    return typed == default or str(typed) == str(default)


def _belongs(name: str, path: str) -> bool:
    return name == path or name.startswith(path + ".")


def _controls(
    info: SettingInfo, path: str, value: Any, errors: Mapping[str, str]
) -> tuple[Control, ...]:
    if not info.fields:
        shown = ", ".join(_items(info, value)) if info.kind in ("list", "map") else value
        if info.kind == "secret":
            shown = SECRET_IS_SET if value else None
        return (_control(info, path, info.label, shown, errors),)
    if info.kind == "list":
        value = value[0] if value else {}
        path = f"{path}.0"
    parts = value if isinstance(value, Mapping) else {}
    return tuple(
        _control(part, f"{path}.{part.name}", f"{info.label}: {part.label}", held, errors)
        for part in info.fields
        for held in (parts.get(part.name, part.default),)
    )


def _control(
    info: SettingInfo, path: str, label: str, value: Any, errors: Mapping[str, str]
) -> Control:
    options = tuple((choice, words(choice)) for choice in info.choices)
    return Control(path, info.kind, label, info.unit, value, errors.get(path, ""), options)


def _items(info: SettingInfo, value: Any) -> list[str]:
    if not value or value == OFF:
        return []
    if isinstance(value, Mapping):
        return [f"{root} = {traded}" for root, traded in value.items()]
    return [str(item) for item in value]


def _read(info: SettingInfo, form: Mapping[str, str], has_secret: bool) -> Any:
    path = f"{AT}.{info.name}"
    if info.fields:
        return _read_parts(info, path, form)
    text = form.get(path, "").strip()
    if info.kind == "flag":
        return bool(text)
    if info.kind == "secret":
        if text:
            return text
        return SECRET_IS_SET if has_secret and not form.get(f"{path}.clear") else None
    if info.kind == "list":
        return [item for item in _SEPARATORS.split(text) if item]
    if info.kind == "map":
        return _read_map(text)
    return text or None


def _read_parts(info: SettingInfo, path: str, form: Mapping[str, str]) -> Any:
    """An object setting is off where its first part, which has no default, is empty."""
    if info.kind == "list":
        path = f"{path}.0"
    parts = {part.name: form.get(f"{path}.{part.name}", "").strip() for part in info.fields}
    is_needed = info.fields[0].default is None
    if is_needed and not parts[info.fields[0].name]:
        return [] if info.kind == "list" else OFF
    stated = {name: text for name, text in parts.items() if text}
    if info.kind == "list":
        return [stated]
    return stated or None


def _read_map(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in re.split(r"[\n,;]+", text) if line.strip())
    return {root.strip(): traded.strip() for root, _, traded in pairs}
