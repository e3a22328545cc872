"""The score of a run, as its columns keep it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from finetune30.store.scores import score_columns

NONE = (None,) * 5


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        (
            {"score": 12.5, "score_name": "perplexity", "score_greater_is_better": False, "score_format": "number"},
            (12.5, "perplexity", False, -12.5, "number"),
        ),
        (
            {"score": 1, "score_name": "exact", "score_greater_is_better": True, "score_format": "percent"},
            (1.0, "exact", True, 1.0, "percent"),
        ),
        (
            {"score": 0.5, "score_name": "eval_f1", "score_greater_is_better": True, "eval_mse": 3.0},
            (0.5, "eval_f1", True, 0.5, None),
        ),
        ({"score": 2, "score_name": "stars", "score_format": "stars"}, (2.0, "stars", True, 2.0, None)),
        ({"eval_accuracy": 0.875, "eval_f1": 0.5}, (0.875, "eval_accuracy", True, 0.875, "percent")),
        (
            {"eval_accuracy": 0.25, "eval_f1": 0.5, "eval_f1_micro": 0.75},
            (0.5, "eval_f1", True, 0.5, "percent"),
        ),
        ({"eval_mse": 0.25, "eval_mae": 0.5}, (0.25, "eval_mse", False, -0.25, "number")),
    ],
)
def test_score_comes_from_the_metrics(metrics: dict[str, Any], columns: tuple[Any, ...]) -> None:
    found = score_columns(metrics)
    assert tuple(found.values()) == columns
    assert list(found) == ["score", "score_name", "score_greater_is_better", "score_rank", "score_format"]


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
