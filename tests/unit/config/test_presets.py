"""Every shipped configuration is sound, true to its name, and says how to run it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from finetune30.cli.main import app
from finetune30.config.presets import list_presets, load_preset, preset_path, presets_folder
from finetune30.config.schema import ExperimentConfig
from finetune30.errors import NotFoundError
from support.present import present

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if not path.name.startswith("temp_"))


def test_folder_is_the_repositorys_own():
    assert presets_folder() == ROOT / "config"
    assert [preset.name for preset in list_presets()] == ["default", *(name for name in NAMES if name != "default")]


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_sound_and_starts_with_the_command_that_runs_it(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    preset = next(preset for preset in list_presets() if preset.name == name)
    words = shlex.split(preset.command)
    assert words[:4] == ["ft30", "train", "--config", f"config/{name}.yaml"]
    command = present(app.get_command(click.Context(app), "train"))
    assert command.main(["--dry_run", *words[2:]], standalone_mode=False) in (None, 0)
    assert preset.summary.endswith(".")
    assert load_preset(name).config.experiment_name == ("default_experiment" if name == "default" else name)


@pytest.mark.parametrize("name", NAMES)
def test_preset_is_true_to_its_name(name):
    config = load_preset(name).config
    wanted = {
        "roberta": lambda: config.model.name.startswith("roberta"),
        "bert_chinese": lambda: "chinese" in config.model.name,
        "starter": lambda: config.data.dataset_name.startswith("starter"),
        "_zh": lambda: config.data.dataset_name == "starter-zh" and "chinese" in config.model.name,
        "regression": lambda: config.model.num_labels == 1 and config.model.problem_type == "regression",
        "multilabel": lambda: config.model.problem_type == "multi_label_classification",
        "sst2": lambda: "sst2" in f"{config.data.dataset_name} {config.data.dataset_config}",
        "stsb": lambda: config.data.dataset_config == "stsb" and config.data.text_pair_column == "sentence2",
        "trec": lambda: config.model.num_labels == 6 and "trec" in config.data.dataset_name,
        "banking77": lambda: config.model.num_labels == 77 and "banking77" in config.data.dataset_name,
        "minilm": lambda: config.model.name == "starter",
        "cpu": lambda: config.training.device == "cpu",
        "default": lambda: config.model.offline_fallback == "starter",
        "chat": lambda: config.model.problem_type == "causal_lm",
        "smollm2": lambda: "SmolLM2" in config.model.name,
        "qwen3": lambda: "Qwen3" in config.model.name,
        "llama": lambda: "Llama" in config.model.name,
        "gemma3": lambda: "gemma-3" in config.model.name,
    }
    held = [word for word, holds in wanted.items() if word in name and holds()]
    assert held == [word for word in wanted if word in name]
    assert held, f"nothing is known about what {name} promises: add it here"


def test_default_holds_the_documented_values():
    config = load_preset("default").config
    assert (config.model.name, config.model.num_labels) == ("distilbert-base-uncased", 2)
    assert (config.lora.r, config.lora.lora_alpha, config.lora.lora_dropout) == (8, 16, 0.1)
    assert config.lora.target_modules == ["q_lin", "v_lin"]
    assert (config.data.dataset_name, config.data.dataset_config) == ("glue", "sst2")
    assert (config.data.train_samples, config.data.eval_samples, config.data.max_length) == (500, 100, 128)
    rules = config.data.validation_rules
    assert (rules.min_text_length, rules.max_text_length, rules.allow_empty, rules.remove_html) == (
        None,
        None,
        False,
        True,
    )
    training = config.training
    assert (training.learning_rate, training.num_train_epochs, training.per_device_train_batch_size) == (5e-4, 1, 2)
    assert (training.logging_steps, training.device, config.data.offline_fallback) == (10, None, "starter")


def test_default_differs_from_the_schema_only_by_its_fallbacks_and_the_seed_of_its_rows():
    tree = load_preset("default").config.as_tree()
    tree["data"]["split_seed"] = None
    tree["model"]["offline_fallback"] = tree["data"]["offline_fallback"] = None
    assert tree == ExperimentConfig().as_tree()


def test_default_writes_numbers_that_every_yaml_reader_takes_for_numbers():
    text = (ROOT / "config/default.yaml").read_text(encoding="utf-8")
    assert re.search(r"learning_rate: 5\.0e-4\b", text)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(NotFoundError, match="no preset 'roberta'") as error:
        preset_path("roberta")
    assert "roberta_sst2" in error.value.remedy
