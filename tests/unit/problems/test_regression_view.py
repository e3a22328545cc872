"""Blocks of predicted numbers against NumPy, and against the rows that their filters list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from finetune30.blocks import Block, Curve, Figure
from finetune30.problems.regression.metrics import measure_regression
from finetune30.problems.regression.view import view_regression

#: Nowhere near the mean of the rows below.
TRAIN_MEAN = 1.0


@pytest.fixture
def numbers() -> tuple[Any, Any]:
    """Targets and predictions of 150 rows, as training holds them."""
    chance = np.random.default_rng(3)
    target = chance.normal(2.0, 1.5, 150).astype(np.float32)
    return target, (target + chance.normal(0.2, 0.4, 150)).astype(np.float32)


def measured(target: Any, predicted: Any) -> dict[str, Any]:
    found = measure_regression(predicted.astype(np.float64), target.astype(np.float64), TRAIN_MEAN)
    return {f"eval_{name}": value for name, value in found.items()} | {"eval_loss": 0.5, "eval_samples": len(target)}


def figure(blocks: list[Block], title: str) -> Figure:
    (found,) = [block for block in blocks if isinstance(block, Figure) and block.title.en == title]
    return found


def test_errors_stand_beside_those_of_always_predicting_the_training_mean(numbers: tuple[Any, Any]) -> None:
    target, predicted = (values.astype(np.float64) for values in numbers)
    blocks = view_regression(measured(*numbers))
    square, absolute = figure(blocks, "Mean squared error"), figure(blocks, "Mean absolute error")
    assert square.value == pytest.approx(np.mean((target - predicted) ** 2))
    assert square.rows == 150
    assert square.baseline is not None
    assert square.baseline[1] == pytest.approx(np.mean((target - TRAIN_MEAN) ** 2))
    assert absolute.baseline is not None
    assert absolute.baseline[1] == pytest.approx(np.abs(target - TRAIN_MEAN).mean())
    correlation = np.corrcoef(target, predicted)[0, 1]
    assert figure(blocks, "Pearson correlation").value == pytest.approx(correlation)
    assert figure(blocks, "Spearman correlation").value is not None


def test_bars_count_each_residual_once(numbers: tuple[Any, Any]) -> None:
    residual = numbers[1].astype(np.float64) - numbers[0].astype(np.float64)
    (curve,) = [block for block in view_regression(measured(*numbers)) if isinstance(block, Curve)]
    assert curve.as_bars
    points, filters = curve.lines["rows"], curve.filters["rows"]
    assert sum(count for _, count in points) == 150
    for (middle, count), wanted in zip(points, filters, strict=True):
        assert wanted is not None
        low, high = wanted["residual"]
        inside = residual[(low is None or residual >= low) & (high is None or residual < high)]
        assert len(inside) == count
        assert low is None or low < middle
        assert high is None or middle < high


@pytest.mark.parametrize(
    ("metrics", "kinds"),
    [
        ({}, []),
        ({"eval_mse": 1.0, "eval_pearson": None}, ["figure"]),
        ({"eval_residuals": None, "eval_baseline": None, "eval_mae": 0.5}, ["figure"]),
        ({"eval_residuals": {"edges": [0, 1], "counts": []}}, []),
        ({"eval_residuals": {"edges": [0, 1], "counts": ["x"]}}, []),
        ({"eval_residuals": {"edges": [0, 1], "counts": [4]}}, ["curve"]),
    ],
)
def test_what_older_metrics_lack_is_left_out(metrics: dict[str, Any], kinds: list[str]) -> None:
    assert [block.kind for block in view_regression(metrics)] == kinds
    assert all(block.baseline is None for block in view_regression(metrics) if isinstance(block, Figure))
