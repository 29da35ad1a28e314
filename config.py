"""The only reader of the environment. Wrong values stop the start, by name."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values


class ConfigError(ValueError):
    """A setting has a value that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the process, with the defaults that let one command start it."""

    host: str = "127.0.0.1"
    port: int = 5000
    data_dir: Path = Path("instance")
    database_url: str = field(default="", repr=False)
    redis_url: str | None = field(default=None, repr=False)
    secret_key: str = field(default="", repr=False)
    credentials_key: str = field(default="", repr=False)
    public_url: str | None = None
    trusted_proxies: int = 0
    registration: str = "open"
    metrics_token: str | None = field(default=None, repr=False)
    log_level: str = "info"
    log_format: str = "json"
    debug_pages: bool = False
    bcrypt_rounds: int = 12
    fault_point: str | None = None
    """A step of the pipeline at which the process kills itself; set only by the fault tests."""
    paper_latency_s: float = 0.0
    """Artificial answer time of the paper broker, to try the app against a slow broker."""
    recorder_interval_s: int = 60
    tradovate_demo_url: str = "https://demo.tradovateapi.com/v1"
    tradovate_live_url: str = "https://live.tradovateapi.com/v1"
    tradovate_demo_ws_url: str = "wss://demo.tradovateapi.com/v1/websocket"
    tradovate_live_ws_url: str = "wss://live.tradovateapi.com/v1/websocket"
    tradovate_oauth_url: str = "https://trader.tradovate.com/oauth"
    tradovate_client_id: str | None = None
    """Our own application at the broker; without it only log-ins with a key of their own work."""
    tradovate_client_secret: str | None = field(default=None, repr=False)
    tradovate_settling_s: float = 15.0
    """How long after the call an order may still turn up, so that its absence is no proof."""

    @property
    def is_embedded(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def lock_path(self) -> Path:
        return self.data_dir / "process.lock"


def load(environ: dict[str, str] | None = None) -> Config:
    """Read ``.env`` and the environment (which wins), fill in what is missing.

    Makes ``DATA_DIR`` and, inside it, a key file (mode 0600) for the keys that are not given.

    Raises:
        ConfigError: names the variable and says what was expected.
    """
    values = environ if environ is not None else _environment()
    data_dir = _data_dir(values.get("DATA_DIR") or "instance")
    database_url = values.get("DATABASE_URL") or f"sqlite:///{data_dir / 'just_trades.db'}"
    return Config(
        host=values.get("HOST") or "127.0.0.1",
        port=_integer(values, "PORT", 5000, 0, 65535),
        data_dir=data_dir,
        database_url=_database_url(database_url),
        redis_url=_redis_url(values.get("REDIS_URL")),
        secret_key=_key(values, data_dir, "SECRET_KEY"),
        credentials_key=_key(values, data_dir, "CREDENTIALS_KEY"),
        public_url=_public_url(values.get("PUBLIC_URL")),
        trusted_proxies=_integer(values, "TRUSTED_PROXIES", 0, 0, 10),
        registration=_choice(values, "REGISTRATION", "open", ("open", "invite", "closed")),
        metrics_token=values.get("METRICS_TOKEN") or None,
        log_level=_choice(values, "LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        log_format=_choice(
            values, "LOG_FORMAT", "text" if sys.stderr.isatty() else "json", ("text", "json")
        ),
        debug_pages=_choice(values, "DEBUG_PAGES", "0", ("0", "1")) == "1",
        bcrypt_rounds=_integer(values, "BCRYPT_ROUNDS", 12, 4, 16),
        fault_point=values.get("FAULT_POINT") or None,
        paper_latency_s=_integer(values, "PAPER_LATENCY_MS", 0, 0, 60_000) / 1000,
        recorder_interval_s=_integer(values, "RECORDER_INTERVAL", 60, 1, 300),
        tradovate_client_id=values.get("TRADOVATE_CLIENT_ID") or None,
        tradovate_client_secret=values.get("TRADOVATE_CLIENT_SECRET") or None,
        tradovate_settling_s=_integer(values, "TRADOVATE_SETTLING_MS", 15_000, 0, 60_000) / 1000,
        **_tradovate_urls(values),
    )


def _tradovate_urls(values: dict[str, str]) -> dict[str, str]:
    """Those that are given; plain ``http`` and ``ws`` only on this machine, for the simulator."""
    urls = {}
    for name, schemes in _TRADOVATE_URLS.items():
        text = (values.get(name) or "").rstrip("/")
        if not text:
            continue
        scheme, _, rest = text.partition("://")
        is_plain = scheme == schemes[1]
        if scheme not in schemes or (is_plain and not _LOOPBACK.match(rest)):
            raise ConfigError(f"{name}: expected {schemes[0]}://...")
        urls[name.lower()] = text
    return urls


_TRADOVATE_URLS = {
    "TRADOVATE_DEMO_URL": ("https", "http"),
    "TRADOVATE_LIVE_URL": ("https", "http"),
    "TRADOVATE_DEMO_WS_URL": ("wss", "ws"),
    "TRADOVATE_LIVE_WS_URL": ("wss", "ws"),
    "TRADOVATE_OAUTH_URL": ("https", "http"),
}
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?(/|$)")


def _environment() -> dict[str, str]:
    file = {k: v for k, v in dotenv_values(".env").items() if v is not None}
    return {**file, **os.environ}


def _integer(values: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name) or str(default)
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ConfigError(f"{name} is {text!r}: expected a whole number from {low} to {high}")
    return int(text)


def _choice(values: dict[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = (values.get(name) or default).lower()
    if text not in allowed:
        raise ConfigError(f"{name} is {text!r}: expected one of {', '.join(allowed)}")
    return text


def _data_dir(text: str) -> Path:
    path = Path(text).resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"DATA_DIR {path} cannot be used: {e.strerror}") from e
    return path


def _redis_url(text: str | None) -> str | None:
    if text and not text.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError("REDIS_URL: expected redis://host:port/number")
    return text or None


def _database_url(text: str) -> str:
    for prefix in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if text.startswith(prefix):
            return "postgresql+psycopg://" + text.removeprefix(prefix)
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    raise ConfigError("DATABASE_URL: expected postgresql://... or sqlite:///path")


def _public_url(text: str | None) -> str | None:
    if not text:
        return None
    if not text.startswith(("http://", "https://")):
        raise ConfigError(f"PUBLIC_URL is {text!r}: expected http://... or https://...")
    return text.rstrip("/")


def _key(values: dict[str, str], data_dir: Path, name: str) -> str:
    """The key from the environment, else from its file, which is made on the first start."""
    given = values.get(name)
    if given:
        if len(given) < 32:
            raise ConfigError(f"{name} is too short: expected at least 32 characters")
        return given
    path = data_dir / f"{name.lower()}.txt"
    if not path.exists():
        _make_key(path)
    kept = path.read_text().strip()
    if len(kept) < 32:
        raise ConfigError(f"{name}: {path} holds no key; put it back from a copy")
    return kept


def _make_key(path: Path) -> None:
    """All of it or nothing, and never over one that another process has just made."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
