"""Averages of curves against pandas, and the plain word about a loss."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from finetune30.ui.smoothing import WEIGHTS, find_trend, smooth

NOISE = np.random.default_rng(5)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_average_is_the_one_of_pandas(weight: float) -> None:
    values = NOISE.normal(1.0, 0.3, 200).tolist()
    wanted = pd.Series(values).ewm(alpha=1 - weight, adjust=True).mean().tolist()
    assert smooth(values, weight) == pytest.approx(wanted)


def test_first_value_is_kept_and_without_weight_all_are() -> None:
    assert smooth([3.0, 1.0], 0.98)[0] == pytest.approx(3.0)
    assert smooth([3.0, 1.0], 0.0) == [3.0, 1.0]
    assert smooth([], 0.5) == []


def losses(first: float, last: float, noise: float, count: int = 20) -> list[float]:
    return (np.linspace(first, last, count) + NOISE.normal(0, noise, count)).tolist()


def test_a_loss_that_stays_is_said_to() -> None:
    """As in 200 steps of two classes that learn nothing: ln 2, nearly."""
    assert find_trend(losses(math.log(2), math.log(2), 0.01)) == "flat"


def test_a_loss_that_rises_is_said_to() -> None:
    assert find_trend(losses(0.7, 2.5, 0.05)) == "rising"


@pytest.mark.parametrize(
    "values",
    [
        losses(0.7, 0.3, 0.02),
        losses(0.7, 0.6, 0.01),
        losses(0.7, 0.7, 0.4),  # so noisy that nothing can be said
        losses(0.7, 0.7, 0.0, count=10),  # too few
        [0.7] * 30 + [math.nan],
        [],
    ],
    ids=["falls", "falls a little", "noisy", "few", "no number", "none"],
)
def test_nothing_is_said_where_it_falls_or_cannot_be_told(values: list[float]) -> None:
    assert find_trend(values) is None


def test_nothing_is_said_where_the_evaluation_loss_falls() -> None:
    assert find_trend(losses(0.7, 0.7, 0.005), [0.7, 0.5]) is None
    assert find_trend(losses(0.7, 0.7, 0.005), [0.7, 0.7]) == "flat"
