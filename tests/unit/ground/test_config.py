"""The environment is read once; a value that cannot be used is named."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from config import Config, ConfigError, load

KEY = "0123456789abcdef" * 2


def _load(tmp_path: Path, **values: str) -> Config:
    return load({"DATA_DIR": str(tmp_path / "data"), **values})


def test_nothing_given_is_enough_to_start(tmp_path: Path) -> None:
    config = _load(tmp_path)

    assert config.is_embedded
    assert (config.host, config.port) == ("127.0.0.1", 5000)
    assert config.redis_url is None
    assert config.registration == "open"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "²"),
        ("TRUSTED_PROXIES", "yes"),
        ("TRUSTED_PROXIES", "11"),
        ("REGISTRATION", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DEBUG_PAGES", "true"),
        ("BCRYPT_ROUNDS", "3"),
        ("BCRYPT_ROUNDS", "20"),
        ("PAPER_LATENCY_MS", "-5"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "nonsense"),
        ("REDIS_URL", "localhost:6379"),
        ("PUBLIC_URL", "example.com"),
        ("SECRET_KEY", "short"),
        ("CREDENTIALS_KEY", "short"),
    ],
)
def test_a_wrong_value_stops_the_start_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        _load(tmp_path, **{name: value})


@pytest.mark.parametrize("name", ["SECRET_KEY", "CREDENTIALS_KEY", "DATABASE_URL"])
def test_a_refused_secret_is_not_repeated(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, **{name: "hunter2"})

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        "postgres://u@h/d",
        "postgresql://u@h/d",
        "postgresql+psycopg://u@h/d",
    ],
)
def test_every_spelling_of_postgresql_means_the_same_driver(tmp_path: Path, given: str) -> None:
    config = _load(tmp_path, DATABASE_URL=given)

    assert config.database_url == "postgresql+psycopg://u@h/d"
    assert not config.is_embedded


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first, second = _load(tmp_path), _load(tmp_path)

    assert first.secret_key == second.secret_key
    assert first.secret_key != first.credentials_key
    files = list((tmp_path / "data").glob("*key*"))
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_key_file_that_a_crash_left_empty_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret_key.txt").touch()

    with pytest.raises(ConfigError, match="secret_key.txt"):
        _load(tmp_path)


def test_a_given_key_wins_over_the_kept_one(tmp_path: Path) -> None:
    _load(tmp_path)

    assert _load(tmp_path, SECRET_KEY=KEY).secret_key == KEY


def test_secrets_are_not_in_the_text_of_the_configuration(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        SECRET_KEY=KEY,
        CREDENTIALS_KEY=KEY[::-1],
        METRICS_TOKEN="metrics-token",
        DATABASE_URL="postgresql://u:hunter2@h/d",
        REDIS_URL="redis://:hunter3@h/0",
    )

    text = repr(config)

    for secret in (KEY, KEY[::-1], "metrics-token", "hunter2", "hunter3"):
        assert secret not in text


def test_a_file_in_the_folder_is_read_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"PORT=5001\nHOST=0.0.0.0\nDATA_DIR={tmp_path}/data\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "5002")

    config = load()

    assert (config.host, config.port) == ("0.0.0.0", 5002)  # noqa: S104


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="DATA_DIR"):
        load({"DATA_DIR": str(tmp_path / "file" / "data")})
