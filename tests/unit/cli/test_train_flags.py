"""The flags of `ft30 train` and `ft30 config`: precedence, spellings, presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from finetune30.cli.main import app
from finetune30.config.fields import field_schemas
from finetune30.config.loading import load_config
from finetune30.errors import ConfigError, UsageError


def dry_run(*arguments: str) -> dict:
    result = CliRunner().invoke(app, ["train", "--dry_run", *arguments], catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0
    return yaml.safe_load(result.stdout)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_documented_flags_reach_the_configuration():
    tree = dry_run(
        "--experiment_name", "custom_test", "--learning_rate", "0.001", "--epochs", "3", "--train_samples", "1000",
        "--device", "cpu",
    )  # fmt: skip
    assert tree["experiment_name"] == "custom_test"
    assert tree["training"]["learning_rate"] == 0.001
    assert tree["training"]["num_train_epochs"] == 3
    assert tree["data"]["train_samples"] == 1000
    assert tree["training"]["device"] == "cpu"


@pytest.mark.parametrize("flag", ["--learning_rate", "--learning-rate", "--training.learning_rate"])
def test_both_spellings_work(flag):
    assert dry_run(flag, "2e-3")["training"]["learning_rate"] == 0.002


def test_every_key_is_a_flag_and_can_be_set():
    config = load_config(None).config.as_tree()
    for key in field_schemas():
        value = config
        for part in key.split("."):
            value = value[part]
        text = json.dumps(value)
        assert dry_run(f"--{key}", text) == dry_run("--set", f"{key}={text}"), key


def test_same_key_with_two_values_is_refused():
    with pytest.raises(UsageError, match=r"training\.seed is given twice, as 1 and as 2"):
        dry_run("--seed", "1", "--set", "training.seed=2")


def test_file_of_the_working_folder_is_the_default():
    Path("config").mkdir()
    Path("config/default.yaml").write_text("training: {seed: 99}\n", encoding="utf-8")
    assert dry_run()["training"]["seed"] == 99


def test_shipped_default_is_used_elsewhere():
    assert dry_run()["model"]["offline_fallback"] == "starter"


def test_config_and_preset_exclude_each_other():
    with pytest.raises(UsageError, match="cannot both be the base"):
        dry_run("--config", "x.yaml", "--preset", "default")


def test_fault_of_a_flag_is_reported_as_such():
    with pytest.raises(ConfigError, match=r"command line: training\.learning_rate: 'fast' is not allowed"):
        dry_run("--learning_rate", "fast")


def test_check_reports_every_file_and_fails():
    Path("good.yaml").write_text("training: {seed: 1}\n", encoding="utf-8")
    Path("bad.yaml").write_text("training: {seed: x}\nlora: {r: 0}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["config", "check", "good.yaml", "bad.yaml"])
    assert result.stdout == "good.yaml: ok\n"
    assert isinstance(result.exception, ConfigError)
    assert "bad.yaml:1: training.seed" in result.exception.message
    assert "bad.yaml:2: lora.r" in result.exception.message


def test_show_prints_what_would_run():
    result = CliRunner().invoke(app, ["config", "show", "--json", "--seed", "5"])
    assert json.loads(result.stdout)["training"]["seed"] == 5


def test_schema_is_json_schema_of_every_key():
    result = CliRunner().invoke(app, ["config", "schema"])
    schema = json.loads(result.stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["properties"]) == {"experiment_name", "model", "lora", "data", "training", "chat"}


def test_unknown_preset_is_a_usage_error_like_an_unknown_file():
    with pytest.raises(UsageError, match="no preset 'roberta'") as caught:
        dry_run("--preset", "roberta")
    assert caught.value.exit_code == 2
    assert "roberta_sst2" in caught.value.remedy
