"""The real process, ``run.py``, started as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent
import requests

ROOT = Path(__file__).resolve().parent.parent
_START_TIMEOUT_S = 60


@dataclass
class Server:
    """A process that serves ``url``. What it logs is in ``log``."""

    process: subprocess.Popen[str]
    url: str
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def get(self, path: str, **kwargs: object) -> requests.Response:
        return requests.get(self.url + path, timeout=10, **kwargs)  # type: ignore[arg-type]

    def post(self, path: str, **kwargs: object) -> requests.Response:
        return requests.post(self.url + path, timeout=10, **kwargs)  # type: ignore[arg-type]

    def stop(self, with_signal: signal.Signals = signal.SIGTERM, timeout_s: float = 15) -> int:
        """The exit status after the signal."""
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=timeout_s)


@contextmanager
def serve(data_dir: Path, **variables: str) -> Iterator[Server]:
    """Run a server on a free port until the end of the block; ``variables`` are settings."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = data_dir / "process.log"
    process = launch(data_dir, log_path, **variables)
    try:
        url = _url(process, log_path)
        yield Server(process, url, log_path)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def launch(data_dir: Path, log_path: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a process without waiting for it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(data_dir),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATA_DIR": str(data_dir),
        "BCRYPT_ROUNDS": "4",
        **variables,
    }
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "run.py"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _url(process: subprocess.Popen[str], log_path: Path) -> str:
    assert process.stdout is not None
    with gevent.Timeout(_START_TIMEOUT_S):
        line = process.stdout.readline()
    if "http://" not in line:
        raise AssertionError(f"did not start: {log_path.read_text(errors='replace')[-2000:]}")
    return line[line.index("http://") :].strip().rstrip("/")
