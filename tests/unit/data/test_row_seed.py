"""Which seed chooses the rows: data.split_seed, and training.seed only where that is null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.config.presets import list_presets, load_preset
from finetune30.config.recording import record_tree
from finetune30.data.prepare import PreparedData, prepare_data
from finetune30.problems import choose_problem
from finetune30.service.datasets.operations import request_of_config
from finetune30.service.datasets.preview import preview_data
from finetune30.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    texts = [f"text number {number} about a thing" for number in range(400)]
    pl.DataFrame({"text": texts, "label": ["good", "bad"] * 200}).write_csv(path)
    return path


def config_of(file: Path, seed: int, split_seed: int | None, **data: Any) -> ExperimentConfig:
    tree: dict[str, Any] = {"data": {"dataset_name": str(file), "split_seed": split_seed, **data}}
    return ExperimentConfig.model_validate({**tree, "training": {"seed": seed}})


def prepare(config: ExperimentConfig) -> PreparedData:
    return prepare_data(
        config.data, problem=choose_problem("auto"), num_labels=2, seed=config.row_seed, log=lambda _: None
    )


@pytest.mark.parametrize("samples", [{}, {"train_samples": 100, "eval_samples": 20}])
def test_two_seeds_of_training_use_and_judge_the_same_rows(file: Path, samples: dict[str, int]) -> None:
    first, second = (prepare(config_of(file, seed, 42, **samples)) for seed in (1, 2))
    assert first.digest == second.digest
    assert first.evaluation.equals(second.evaluation)
    other = prepare(config_of(file, 1, 43, **samples))
    assert not first.evaluation.equals(other.evaluation)


def test_without_the_key_rows_are_those_that_the_seed_of_training_chose_before(file: Path) -> None:
    old, named = config_of(file, 7, None), config_of(file, 1, 7)
    assert "split_seed" not in record_tree(old)["data"]
    assert validate_tree(record_tree(old)).row_seed == 7
    assert prepare(old).digest == prepare(named).digest
    # What the release before, which had no such key, made of the same file under seed 7.
    assert prepare(old).digest == "ee23452d55b78d3e0252701e5797b8a873ef1d93bdea4950f8301f66562d44e1"


@pytest.mark.parametrize("name", [preset.name for preset in list_presets()])
def test_shipped_configurations_choose_rows_by_a_seed_of_their_own(name: str) -> None:
    config = load_preset(name).config
    assert config.data.split_seed == 42
    assert config.row_seed == config.training.seed, "with their own seed they use the rows that they always used"


def test_data_commands_and_the_preview_look_at_the_rows_that_a_training_would_use(file: Path) -> None:
    first, second = (config_of(file, seed, 42, eval_samples=10, train_samples=50) for seed in (1, 2))
    assert [request_of_config(LoadedConfig(config, frozenset())).seed for config in (first, second)] == [42, 42]
    shown = [
        preview_data(LoadedConfig(config, frozenset()), Settings(data_folder=file.parent)) for config in (first, second)
    ]
    assert shown[0]["rows"] == shown[1]["rows"]
