"""Runs the node tests beside this file, one pytest test each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_NODE = shutil.which("node")


@pytest.mark.skipif(_NODE is None, reason="node is not installed")
@pytest.mark.parametrize("script", sorted(_HERE.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_node_suite_passes(script: Path) -> None:
    command = [str(_NODE), "--test", "--test-reporter=spec", str(script)]

    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
