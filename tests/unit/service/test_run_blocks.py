"""Which blocks a run's metrics become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune30.blocks import as_tree, format_value
from finetune30.problems import PROBLEMS, load_problem
from finetune30.service.runs.blocks import build_result_blocks, build_run_blocks

TRAINED = {"train_runtime": 61.0, "peak_memory_bytes": 3 * 2**20, "train_samples": 1500, "stopped_early": True}


def test_every_problem_has_a_view() -> None:
    assert all(load_problem(name).view({}, {}) == [] for name in PROBLEMS)


def test_metrics_of_an_unknown_problem_become_a_table_of_their_numbers() -> None:
    metrics = {"problem_type": "telepathy", "eval_distance": 0.5, "eval_words": ["a"], **TRAINED}
    (table,) = [as_tree(block) for block in build_result_blocks(metrics)]
    assert (table["kind"], table["rows"]) == ("table", (("eval_distance", 0.5),))


def test_run_shows_its_result_and_then_what_the_training_took() -> None:
    metrics = {"problem_type": "single_label_classification", "labels": ["a", "b"], "eval_accuracy": 0.5, **TRAINED}
    shown = [as_tree(block) for block in build_run_blocks(metrics)]
    assert [(block["title"]["en"], format_value(block["value"], block["format"])) for block in shown] == [
        ("Accuracy", "50.00 %"),
        ("Training rows", "1,500"),
        ("Training time", "0:01:01"),
        ("Peak memory", "3 MiB"),
    ]
    assert all(block["title"]["zh"] for block in shown)


def test_targets_of_the_run_name_the_labels() -> None:
    matrix = {"problem_type": "single_label_classification", "eval_confusion_matrix": [[1, 0], [0, 1]]}
    for named in ({"targets": {"label_names": ["a", "b"]}}, {"labels": ["a", "b"]}):
        (drawn,) = [as_tree(block) for block in build_result_blocks(matrix | named) if block.kind == "matrix"]
        assert drawn["row_names"] == ("a", "b")


@pytest.mark.parametrize("metrics", [None, {}])
def test_run_without_metrics_shows_nothing(metrics: dict[str, Any] | None) -> None:
    assert build_run_blocks(metrics) == []


def test_blocks_travel_as_json() -> None:
    matrix = {"eval_confusion_matrix": [[2, 1], [0, 3]], "eval_accuracy": 5 / 6, "eval_loss": 0.5}
    metrics = {"problem_type": "single_label_classification", "labels": ["a", "b"], **matrix}
    trees = json.loads(json.dumps([as_tree(block) for block in build_run_blocks(metrics)]))
    assert {tree["kind"] for tree in trees} == {"figure", "table", "matrix"}
    assert trees[0]["interval"] == [pytest.approx(0.4365, abs=1e-4), pytest.approx(0.9699, abs=1e-4)]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "number", ""),
        (True, "number", "True"),
        ("name", "percent", "name"),
        (0.12345, "number", "0.1235"),
        (1234567.0, "number", "1,234,567"),
        (3723, "seconds", "1:02:03"),
        (5.04, "seconds", "5.0 s"),
    ],
)
def test_values_are_written_with_their_unit(value: Any, form: str, text: str) -> None:
    assert format_value(value, form) == text
