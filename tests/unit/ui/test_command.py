"""The command beside the form submits what the form would."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest

from finetune30.cli.config_options import load_from_flags
from finetune30.cli.submit import command
from finetune30.config.fields import field_schemas
from finetune30.config.loading import flatten_tree, load_config
from finetune30.config.presets import preset_path
from finetune30.ui.command import submit_command


def read(text: str) -> tuple[dict[str, Any], int]:
    """Return the configuration and the priority that `ft30 submit` makes of a command."""
    program, name, *arguments = shlex.split(text.replace("\\\n", ""))
    assert (program, name) == ("ft30", "submit")
    with command.make_context("submit", arguments) as context:
        loaded = load_from_flags(context, context.params["config_file"], context.params["preset"])
        return loaded.config.as_tree(), int(context.params["priority"])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"experiment_name": "客戶 評論"},
        {"experiment_name": "007"},
        {"experiment_name": "null"},
        {"model": {"name": "org/model-1.5b", "revision": "5e10123", "num_labels": 3}},
        {"model": {"dropout": None}, "training": {"learning_rate": 1e-05, "device": "cpu"}},
        {"lora": {"target_modules": ["query", "value"], "use_dora": True}},
        {"lora": {"target_modules": "all-linear"}},
        {"data": {"dataset_name": "a folder/it's.csv", "label_separator": "|", "train_samples": None}},
        {"data": {"validation_rules": {"min_text_length": 3}, "text_column": "文字 欄: 1"}},
    ],
    ids=str,
)
def test_the_command_gives_the_configuration_of_the_form(config: dict[str, Any]) -> None:
    request = {"preset": "starter", "config": config, "priority": 7}
    wanted = load_config(preset_path("starter"), flatten_tree(config)).config.as_tree()
    assert read(submit_command(request, field_schemas())) == (wanted, 7)


def test_without_a_change_the_preset_is_the_whole_command() -> None:
    assert submit_command({"preset": "quick_cpu", "config": {}}, ()) == "ft30 submit \\\n  --preset quick_cpu"


def test_a_command_is_written_for_every_key_of_the_schema() -> None:
    flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
    assert {f"--{key}" for key in field_schemas()} <= flags
