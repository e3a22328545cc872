"""Process settings from the environment and `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.errors import ConfigError
from finetune30.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FT30_{name.upper()}", raising=False)


def test_defaults_are_the_documented_addresses():
    settings = load_settings()
    assert settings.resolved_database_url == "sqlite:///results/experiments.db"
    assert (settings.api_host, settings.api_port, settings.ui_port) == ("127.0.0.1", 8000, 8501)
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.result_backend_url == "redis://localhost:6379/1"


def test_environment_wins_over_env_file(monkeypatch):
    Path(".env").write_text("FT30_API_PORT=9000\nFT30_UI_PORT=9001\nOTHER=1\n", encoding="utf-8")
    monkeypatch.setenv("FT30_API_PORT", "9100")
    settings = load_settings()
    assert (settings.api_port, settings.ui_port) == (9100, 9001)


def test_empty_variable_means_the_default(monkeypatch):
    monkeypatch.setenv("FT30_DATABASE_URL", "")
    assert load_settings().database_url is None


def test_keys_are_split_and_never_shown(monkeypatch):
    monkeypatch.setenv("FT30_API_KEYS", "alpha, beta,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["alpha", "beta"]
    assert "alpha" not in repr(settings)


def test_every_fault_is_named_and_no_secret_shown(monkeypatch):
    monkeypatch.setenv("FT30_API_PORT", "99999")
    monkeypatch.setenv("FT30_DATABASE_URL", "mysql://u:secret@h/x")
    with pytest.raises(ConfigError) as error:
        load_settings()
    assert error.value.message.splitlines() == [
        "FT30_DATABASE_URL: must begin with sqlite:// or postgresql://",
        "FT30_API_PORT: '99999' is not allowed, must be less than or equal to 65535",
    ]
    assert "secret" not in str(error.value.as_dict())


def test_misspelt_variable_is_refused(monkeypatch):
    monkeypatch.setenv("FT30_DATABSE_URL", "sqlite:///x.db")
    with pytest.raises(ConfigError, match="FT30_DATABSE_URL is set but is no setting") as error:
        load_settings()
    assert error.value.remedy == "did you mean FT30_DATABASE_URL?"


def test_misspelt_variable_of_an_environment_file_is_refused():
    Path(".env").write_text("FT30_RESULT_FOLDER=elsewhere\n")
    with pytest.raises(ConfigError, match="FT30_RESULT_FOLDER is set but is no setting") as error:
        load_settings()
    assert error.value.remedy == "did you mean FT30_RESULTS_FOLDER?"
