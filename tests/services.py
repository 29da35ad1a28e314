"""What the tests need beside Python: PostgreSQL, Redis and Chromium, found or started.

What is found running is used and left alone; what is started here is private (its own folder,
its own port on the loopback) and ended by ``Services.stop``, by process id.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
import redis

_START_TIMEOUT_S = 30
_INSTALL_TIMEOUT_S = 300


@dataclass
class Services:
    """Where each service is; a ``reasons`` entry says why one is missing."""

    postgres_url: str | None = None
    redis_url: str | None = None
    chromium: str | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _folders: list[Path] = field(default_factory=list)

    def prepare(self) -> None:
        """Find each service, else start or install it."""
        self.postgres_url = running_postgres() or self._start_postgres()
        self.redis_url = running_redis() or self._start_redis()
        self.chromium = installed_chromium() or self._install_chromium()

    def environment(self) -> dict[str, str]:
        """What pytest is told. An empty value says: looked for and not there."""
        return {
            "TEST_POSTGRES_URL": self.postgres_url or "",
            "TEST_REDIS_URL": self.redis_url or "",
            "TEST_CHROMIUM": self.chromium or "",
            **{f"TEST_{name}_MISSING": reason for name, reason in self.reasons.items()},
        }

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            _wait_or_kill(process)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _start_postgres(self) -> str | None:
        binaries = _postgres_binaries()
        if binaries is None:
            self.reasons["POSTGRES"] = "no server on 127.0.0.1:5432 and no initdb installed"
            return None
        folder = self._folder()
        user = _unprivileged(folder)
        data, port = folder / "data", _free_port()
        try:
            _initialise(binaries, data, user)
        except (subprocess.SubprocessError, OSError) as e:
            self.reasons["POSTGRES"] = f"initdb failed: {_last_line(e)}"
            return None
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        self._spawn(command, user=user)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        if _comes_up(lambda: _answers_postgres(url)):
            return url
        self.reasons["POSTGRES"] = "the private server did not come up"
        return None

    def _start_redis(self) -> str | None:
        binary = shutil.which("redis-server")
        if binary is None:
            self.reasons["REDIS"] = "no server on 127.0.0.1:6379 and no redis-server installed"
            return None
        port = _free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self._spawn([*command, "--dir", str(self._folder())])
        url = f"redis://127.0.0.1:{port}/0"
        if _comes_up(lambda: _answers_redis(url)):
            return url
        self.reasons["REDIS"] = "the private server did not come up"
        return None

    def _install_chromium(self) -> str | None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            self.reasons["CHROMIUM"] = "chromium is not installed (on Debian, root installs it)"
            return None
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            try:
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    timeout=_INSTALL_TIMEOUT_S,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                )
            except (subprocess.SubprocessError, OSError) as e:
                self.reasons["CHROMIUM"] = f"{' '.join(command)} failed: {_last_line(e)}"
                return None
        return installed_chromium()

    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="just-trades-services-"))
        self._folders.append(folder)
        return folder

    def _spawn(self, command: list[str], user: str | None = None) -> None:
        # A session of its own: an interrupt from the keyboard reaches pytest first.
        self._processes.append(
            subprocess.Popen(
                command,
                user=user,
                cwd="/",
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )


@cache
def running_postgres() -> str | None:
    """The URL of a server that may be used: the given one, else the usual one of this machine."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given is not None:
        return given or None
    for user in ("postgres", "root"):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if _answers_postgres(url):
            return url
    return None


@cache
def running_redis() -> str | None:
    given = os.environ.get("TEST_REDIS_URL")
    if given is not None:
        return given or None
    url = "redis://127.0.0.1:6379/0"
    return url if _answers_redis(url) else None


@cache
def installed_chromium() -> str | None:
    given = os.environ.get("TEST_CHROMIUM")
    if given is not None:
        return given or None
    for name in ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium"):
        if found := shutil.which(name):
            return found
    return None


def missing(name: str) -> str:
    """Why ``POSTGRES``, ``REDIS`` or ``CHROMIUM`` is not there."""
    return os.environ.get(f"TEST_{name}_MISSING", f"{name.capitalize()} was not found")


def _answers_postgres(url: str) -> bool:
    """Whether somebody who may make databases can log in there."""
    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute(
                "SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.Error:
        return False
    return bool(row and row[0])


def _answers_redis(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _postgres_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, of the newest version where there are many."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
        reverse=True,
    )
    on_path = shutil.which("initdb")
    candidates = [*versions, *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _unprivileged(folder: Path) -> str | None:
    """PostgreSQL refuses root: the user to run it as, made the owner of ``folder``."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in known else "nobody"
    shutil.chown(folder, user)
    return user


def _initialise(binaries: Path, data: Path, user: str | None) -> None:
    command = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
    command += ["-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        command, check=True, capture_output=True, user=user, cwd="/", timeout=_START_TIMEOUT_S
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _comes_up(answers: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.1)
    return False


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


def _last_line(error: Exception) -> str:
    output = getattr(error, "stderr", None) or b""
    lines = output.decode(errors="replace").strip().splitlines() or [str(error)]
    return lines[-1][:200]
