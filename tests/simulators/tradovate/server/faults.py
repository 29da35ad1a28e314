"""Rules that spoil chosen requests. Several may wait; the first that matches is used up."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from tests.simulators.tradovate.server.calls import Call

WITHOUT_VALUE = frozenset(
    {
        "drop_before",
        "drop_after",
        "html",
        "html_after",
        "malformed",
        "malformed_after",
        "hang",
        "hang_after",
        "delay_until_events",
        "accept_twice",
        "captcha",
    }
)
WITH_VALUE = frozenset({"status", "status_after", "delay_ms", "delay_after_ms", "p_ticket"})


@dataclass
class Rule:
    """``path`` is a pattern (``order/*``); ``times`` None means until it is cleared.

    ``skip`` requests pass first; ``door`` (http, ws), ``world``, ``user`` (name) and ``body``
    (fields that have to be equal) narrow it down.
    """

    id: int
    path: str
    do: str
    value: Any = None
    times: int | None = 1
    skip: int = 0
    door: str | None = None
    world: str | None = None
    user: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    def matches(self, call: Call) -> bool:
        if not fnmatchcase(call.path, self.path):
            return False
        user = call.session.person.name if call.session else call.fields.get("name")
        return (
            self.door in (None, call.door)
            and self.world in (None, call.world.name)
            and self.user in (None, user)
            and all(_text(call.fields.get(name)) == _text(v) for name, v in self.body.items())
        )

    @property
    def is_used_up(self) -> bool:
        return self.times is not None and self.hits >= self.times


class Rules:
    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._ids = count(1)

    def add(self, asked: dict[str, Any]) -> Rule:
        """``asked`` is what the control port was sent.

        Raises:
            ValueError: no such fault, or a field that no rule has.
        """
        plain = dict(asked)
        do, value = _action(plain.pop("do", None))
        path = str(plain.pop("path", "*")).lower().strip("/")
        unknown = set(plain) - {"times", "skip", "door", "world", "user", "body"}
        if unknown:
            raise ValueError(f"a rule has no {sorted(unknown)}")
        rule = Rule(next(self._ids), path, do, value, **plain)
        self._rules.append(rule)
        return rule

    def take(self, call: Call) -> Rule | None:
        """The rule that spoils this call; it counts as a hit."""
        for rule in self._rules:
            if rule.is_used_up or not rule.matches(call):
                continue
            if call.forgiven and rule.do in ("p_ticket", "captcha"):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            rule.hits += 1
            return rule
        return None

    def clear(self, rule_id: int | None = None) -> None:
        self._rules = [r for r in self._rules if rule_id is not None and r.id != rule_id]

    def holds(self, rule: Rule) -> bool:
        return rule in self._rules

    @property
    def all(self) -> list[dict[str, Any]]:
        return [dict(vars(rule)) for rule in self._rules]


def _action(do: Any) -> tuple[str, Any]:
    """``"hang"`` -> ("hang", None); ``{"status": 500}`` -> ("status", 500)."""
    if isinstance(do, str) and do in WITHOUT_VALUE:
        return do, None
    if isinstance(do, dict) and len(do) == 1:
        ((name, value),) = do.items()
        if name in WITH_VALUE or name in WITHOUT_VALUE:
            return name, value
    raise ValueError(f"no such fault: {do!r}")


def _text(value: Any) -> str:
    return str(value)
