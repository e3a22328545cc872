"""The score of a run, as its columns keep it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from finetune30.store.scores import score_columns

NONE = (None, None, None, None)


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        ({"score": 12.5, "score_name": "perplexity", "score_greater_is_better": False}, (12.5, "perplexity", False)),
        ({"score": 1, "score_name": "eval_accuracy", "score_greater_is_better": True}, (1.0, "eval_accuracy", True)),
        (
            {"score": 0.5, "score_name": "eval_f1", "score_greater_is_better": True, "eval_mse": 3.0},
            (0.5, "eval_f1", True),
        ),
        ({"eval_accuracy": 0.875, "eval_f1": 0.5}, (0.875, "eval_accuracy", True)),
        ({"eval_accuracy": 0.25, "eval_f1": 0.5, "eval_f1_micro": 0.75}, (0.5, "eval_f1", True)),
        ({"eval_mse": 0.25, "eval_mae": 0.5}, (0.25, "eval_mse", False)),
    ],
)
def test_score_comes_from_the_metrics(metrics: dict[str, Any], columns: tuple[float, str, bool]) -> None:
    found = score_columns(metrics)
    assert tuple(found.values()) == (*columns, columns[0] if columns[2] else -columns[0])
    assert list(found) == ["score", "score_name", "score_greater_is_better", "score_rank"]


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"eval_accuracy": None},
        {"eval_mse": None, "eval_accuracy": 0.5},
        {"score": None, "score_name": "eval_f1", "score_greater_is_better": True, "eval_accuracy": 0.5},
        {"score": math.nan, "score_name": "eval_f1", "score_greater_is_better": True},
        {"score": -math.inf, "score_name": "eval_f1", "score_greater_is_better": True},
        {"score": True, "score_name": "eval_f1", "score_greater_is_better": True},
        {"eval_accuracy": "0.5"},
    ],
)
def test_without_a_finite_number_there_is_no_score(metrics: dict[str, Any]) -> None:
    assert tuple(score_columns(metrics).values()) == NONE
