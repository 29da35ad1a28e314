"""Who may import whom, who may read the clock and the environment: read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

DOORS = frozenset({"pages", "api", "webhooks", "realtime", "jobs", "cli"})
ADAPTERS = frozenset({"brokers", "marketdata", "payments", "notify"})
GROUND = frozenset(
    {"clock", "events", "extensions", "faults", "lifecycle", "log", "metrics", "transactions"}
)
LIBRARIES_OF_THE_DOMAIN = frozenset({"pydantic", "pydantic_core", "annotated_types"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "domain": frozenset({"domain"}),
    "models": frozenset({"models", "domain", "clock"}),
    **dict.fromkeys(ADAPTERS, ADAPTERS | GROUND | {"models", "domain"}),
    "schemas": frozenset({"schemas", "services", "models", "domain", "json", "events"}),
    "services": frozenset({"services", "schemas", "models", "domain"}) | ADAPTERS | GROUND,
    **{
        door: frozenset({door, "web", "services", "schemas", "models", "domain", "json"}) | GROUND
        for door in DOORS
    },
    "web": frozenset({"web", "services", "schemas", "models", "domain", "json"}) | GROUND,
    "transactions": frozenset({"events", "domain", "faults", "log", "models"}),
    "events": frozenset({"clock", "faults", "models"}),
    "faults": frozenset(),
    "lifecycle": frozenset(),
    "clock": frozenset(),
    "log": frozenset(),
    "metrics": frozenset({"log"}),
    "json": frozenset({"events", "models", "domain"}),
    "extensions": frozenset({"events", "lifecycle", "models", "transactions"}),
    "migrate": frozenset({"extensions", "models"}),
}
"""Parts of ``app`` that each part of it may import. The package itself joins them all."""

WALL_CLOCK = frozenset(
    {
        ("time", "time"),
        ("time", "time_ns"),
        ("datetime", "now"),
        ("datetime", "utcnow"),
        ("datetime", "today"),
        ("date", "today"),
    }
)
OUTGOING = frozenset({"requests", "urllib3", "httpx", "websocket", "http", "socket"})


@dataclass(frozen=True)
class Module:
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def part(self) -> str:
        """``domain`` for app/domain/x.py, ``clock`` for app/clock.py, "" for the package."""
        below = self.path.relative_to(ROOT / "app")
        first = below.parts[0]
        return "" if first == "__init__.py" else first.removesuffix(".py")

    @cache  # noqa: B019  (a module is a value; there are a few hundred)
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), filename=self.name)

    def imports(self) -> Iterator[str]:
        """Dotted names; ``from app import clock`` gives ``app.clock``."""
        for node in ast.walk(self.tree()):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def parts_imported(self) -> Iterator[str]:
        for name in self.imports():
            if name.startswith("app."):
                yield name.split(".")[1]


MODULES = [Module(path) for path in sorted((ROOT / "app").rglob("*.py"))]


def _ids(module: Module) -> str:
    return module.name


every_module = pytest.mark.parametrize("module", MODULES, ids=_ids)


@every_module
def test_imports_follow_the_direction(module: Module) -> None:
    if module.part == "":
        return

    assert module.part in MAY_IMPORT, f"say above what app/{module.part} may import"
    wrong = set(module.parts_imported()) - MAY_IMPORT[module.part]

    assert not wrong, f"{module.name} imports {sorted(wrong)}"


@every_module
def test_imports_stand_at_the_top(module: Module) -> None:
    inside = [
        node.lineno
        for function in ast.walk(module.tree())
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert not inside, f"{module.name}: lines {inside}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.part == "domain"], ids=_ids)
def test_the_domain_knows_only_the_standard_library_and_pydantic(module: Module) -> None:
    roots = {name.split(".")[0] for name in module.imports()}

    foreign = roots - set(sys.stdlib_module_names) - LIBRARIES_OF_THE_DOMAIN - {"app"}

    assert not foreign
    assert not roots & {"http", "socket", "sqlite3", "os"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.part == "services"], ids=_ids)
def test_no_service_knows_of_a_request(module: Module) -> None:
    names = set(module.imports())

    assert not names & {"flask.request", "flask.session", "flask.g", "flask_login.current_user"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.part in DOORS], ids=_ids)
def test_no_door_talks_to_the_outside_or_writes_by_itself(module: Module) -> None:
    roots = {name.split(".")[0] for name in module.imports()}

    assert not roots & OUTGOING
    assert "app.extensions.writer" not in set(module.imports())


@pytest.mark.parametrize("path", ["app/clock.py"])
def test_the_reader_of_the_wall_clock_exists(path: str) -> None:
    assert list(_clock_reads(Module(ROOT / path)))


@pytest.mark.parametrize("module", [m for m in MODULES if m.part != "clock"], ids=_ids)
def test_only_the_clock_reads_the_wall_clock(module: Module) -> None:
    assert not list(_clock_reads(module))


@every_module
def test_only_the_configuration_reads_the_environment(module: Module) -> None:
    reads = [
        node.lineno
        for node in ast.walk(module.tree())
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]

    assert not reads
    assert not {"os.environ", "os.getenv"} & set(module.imports())


@every_module
def test_nothing_prints(module: Module) -> None:
    calls = [
        node.lineno
        for node in ast.walk(module.tree())
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]

    assert not calls


def _clock_reads(module: Module) -> Iterator[int]:
    """Lines that call ``datetime.now`` and its like, under whatever prefix."""
    for node in ast.walk(module.tree()):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        owner_name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if (owner_name, node.attr) in WALL_CLOCK:
            yield node.lineno
