"""Limits on rows belong to the shipped example; other data are used whole, and recorded configurations as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune30.config.loading import load_config, validate_tree
from finetune30.config.presets import load_preset, preset_path
from finetune30.ui.views.data_choice import EXAMPLE_LIMITS

DEFAULT = preset_path("default")
LIMITED, WHOLE = (500, 100), (None, None)


def limits_of(tree: dict[str, Any]) -> tuple[int | None, int | None]:
    data = validate_tree({"data": tree}).data
    return data.train_samples, data.eval_samples


def loaded(path: Path | None, **given: Any) -> tuple[int | None, int | None]:
    data = load_config(path, {f"data.{key}": value for key, value in given.items()}).config.data
    return data.train_samples, data.eval_samples


@pytest.mark.parametrize(
    ("tree", "limits"),
    [
        ({}, LIMITED),
        ({"dataset_name": "glue"}, LIMITED),
        ({"dataset_name": "glue", "dataset_config": "sst2"}, LIMITED),
        ({"dataset_name": "glue", "dataset_config": "mrpc"}, WHOLE),
        ({"dataset_name": "reviews.csv"}, WHOLE),
        ({"dataset_name": "imdb"}, WHOLE),
        ({"dataset_name": "starter"}, WHOLE),
        ({"dataset_name": "version:reviews"}, WHOLE),
        ({"dataset_name": "reviews.csv", "train_samples": 500}, (500, None)),
        ({"dataset_name": "reviews.csv", "train_samples": 500, "eval_samples": 100}, LIMITED),
        ({"train_samples": None}, (None, 100)),
    ],
)
def test_only_the_example_has_limits_by_itself(tree: dict[str, Any], limits: tuple[int | None, int | None]) -> None:
    assert limits_of(tree) == limits


@pytest.mark.parametrize("path", [DEFAULT, None], ids=["default.yaml", "no file"])
def test_data_that_a_flag_names_are_used_whole(path: Path | None) -> None:
    assert loaded(path) == LIMITED
    assert loaded(path, dataset_name="reviews.csv") == WHOLE
    assert loaded(path, dataset_config="mrpc") == WHOLE
    assert loaded(path, dataset_name="reviews.csv", train_samples=50) == (50, None)
    assert loaded(path, dataset_name="glue") == LIMITED


def test_what_is_laid_aside_is_said() -> None:
    (note,) = load_config(DEFAULT, {"data.dataset_name": "reviews.csv"}).notes
    assert "data.train_samples, data.eval_samples" in note


def test_limits_that_were_chosen_stay(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("data: {dataset_name: a.csv, train_samples: 2000, eval_samples: 100}\n", encoding="utf-8")
    assert loaded(path) == (2000, 100)
    assert loaded(path, dataset_name="b.csv") == (2000, None)
    quick = preset_path("quick_cpu")
    assert loaded(quick, dataset_name="b.csv") == (64, 32)


def test_recorded_configurations_repeat_with_the_limits_that_they_had() -> None:
    recorded = Path(__file__).parents[2] / "fixtures" / "first_format" / "runs"
    for path in sorted(recorded.glob("*/config.yaml")):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
        assert loaded(path) == (tree["train_samples"], tree["eval_samples"])
    tree = load_preset("default").config.as_tree()["data"] | {"dataset_name": "own.csv", "dataset_config": None}
    assert limits_of(tree) == LIMITED


def test_the_page_knows_the_limits_of_the_example() -> None:
    assert tuple(EXAMPLE_LIMITS.values()) == loaded(None)
