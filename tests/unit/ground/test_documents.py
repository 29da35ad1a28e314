"""What the documents say in tables is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from app.domain.orders import LATE_FILLS, MOVES
from app.domain.trading import OrderStatus

ROOT = Path(__file__).resolve().parents[3]
_BROKER_SAYS = "whatever the broker says, or not_found"


def _rows() -> dict[str, str]:
    """State -> the cell that says what it may become, from the table of order states."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## The states of an order")[1].split("## ")[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for state in re.findall(r"`([a-z_]+)`", cells[0]) if len(cells) == 3 else ():
            rows[state] = cells[2]
    return rows


def test_the_table_of_order_states_is_complete() -> None:
    assert set(_rows()) == {str(status) for status in OrderStatus}


def test_the_table_of_order_states_says_the_moves_of_the_code() -> None:
    said = _rows()

    for status, moves in MOVES.items():
        cell = said[str(status)]
        if cell == _BROKER_SAYS:
            assert {"not_found", "filled", "rejected"} <= {str(m) for m in moves}
            continue
        late = status in LATE_FILLS
        names = set(re.findall(r"[a-z_]+", cell)) & {str(s) for s in OrderStatus}
        assert late or names == {str(m) for m in moves}, status
        assert not late or "late fill" in cell or cell == "as above"


def test_every_requirement_has_its_reason() -> None:
    names = re.findall(r"^([a-z-]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    reasons = (ROOT / "docs" / "decisions" / "0001-libraries.md").read_text()

    missing = [name for name in names if name not in reasons.split("## Consequences")[0]]
    assert not missing
