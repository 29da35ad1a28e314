"""What holds for every template and every vendored file, whoever writes the next one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TEMPLATES = sorted((_ROOT / "templates").rglob("*.html"))
_STYLES = sorted((_ROOT / "static" / "css").glob("*.css"))
_VENDOR = _ROOT / "static" / "vendor"
_SPRITE = (_ROOT / "templates" / "_icons.svg").read_text(encoding="utf-8")


def _name(path: Path) -> str:
    return str(path.relative_to(_ROOT))


@pytest.mark.parametrize("template", _TEMPLATES, ids=_name)
def test_template_keeps_the_content_security_policy(template: Path) -> None:
    text = template.read_text(encoding="utf-8")

    assert not re.findall(r"\sstyle\s*=|<style", text)
    assert not re.findall(r"<script(?![^>]*\ssrc=)", text)
    assert not re.findall(r"\son[a-z]+\s*=\s*[\"']", text)
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)


@pytest.mark.parametrize("template", _TEMPLATES, ids=_name)
def test_every_icon_named_is_in_the_sprite(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    named = set(re.findall(r"icon\('([a-z-]+)'", text)) | set(re.findall(r'"#i-([a-z-]+)"', text))

    missing = {name for name in named if f'id="i-{name}"' not in _SPRITE}

    assert not missing


@pytest.mark.parametrize("style", _STYLES, ids=_name)
def test_every_token_used_is_defined(style: Path) -> None:
    tokens = (_ROOT / "static" / "css" / "tokens.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\((--jt-[a-z0-9-]+)", style.read_text(encoding="utf-8")))

    assert {name for name in used if f"{name}:" not in tokens} == set()


def test_both_themes_define_the_same_colours() -> None:
    tokens = (_ROOT / "static" / "css" / "tokens.css").read_text(encoding="utf-8")
    dark, light = (
        set(
            re.findall(
                r"(--jt-[a-z0-9-]+):", tokens.split(f"/* {'-' * 60} {part}")[1].split("}")[0]
            )
        )
        for part in ("1b.", "1c.")
    )

    assert dark == light


def test_vendored_files_are_the_ones_on_record() -> None:
    table = (_VENDOR / "README.md").read_text(encoding="utf-8")
    recorded = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", table))
    shipped = {
        str(path.relative_to(_VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _VENDOR.glob("*/*")
        if not path.name.startswith("LICENSE")
    }

    assert recorded == shipped
    assert all((path / "LICENSE").is_file() for path in _VENDOR.iterdir() if path.is_dir())
    assert not [p for p in _VENDOR.glob("*/*") if b"sourceMappingURL" in p.read_bytes()]
