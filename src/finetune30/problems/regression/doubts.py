"""Whether an evaluation shows that a quantity was learnt, or only what one number for all rows reaches too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from finetune30.blocks import Words
from finetune30.problems.shared.doubts import NOT_ABOVE_BASELINE, ONE_ANSWER
from finetune30.problems.shared.intervals import mean_interval
from finetune30.training.problem import Doubt

#: Predictions that vary less than this share of the targets' standard deviation count as one value: with the best
#: correlation that there is they explain 2 s - s² of the variance, below 2 %.
_LEAST_SPREAD = 0.01


def doubt_regression(
    predicted: NDArray[np.float64], labels: NDArray[np.float64], train_mean: float | None
) -> list[Doubt]:
    """Doubt nearly one value for all rows; else squared errors not clearly below those of the training rows' mean.

    Values (n,). The errors are compared row by row: 95 % interval of their mean difference. Without that mean they are
    not judged.
    """
    count = len(labels)
    if not count:
        return []
    if predicted.std() < _LEAST_SPREAD * labels.std():
        low, high = predicted.min(), predicted.max()
        en = f"all {count:,} evaluation rows got nearly the same value, {low:.4g} to {high:.4g}; the targets are "
        zh = f"{count:,} 筆評估資料幾乎都得到同一個數值（{low:.4g} 至 {high:.4g}），目標值則為 "
        return [
            Doubt(
                ONE_ANSWER,
                Words(f"{en}{labels.min():.4g} to {labels.max():.4g}", f"{zh}{labels.min():.4g} 至 {labels.max():.4g}"),
            )
        ]
    if train_mean is None:
        return []
    without, errors = np.square(labels - train_mean), np.square(labels - predicted)
    low, high = mean_interval(without - errors)
    if low > 0:
        return []
    mse, baseline = float(errors.mean()), float(without.mean())
    en = (
        f"mean squared error {mse:.4g} on {count:,} evaluation rows is not clearly below the {baseline:.4g} of always "
        f"answering the mean of the training rows, {train_mean:.4g}"
    )
    zh = (
        f"{count:,} 筆評估資料的均方誤差 {mse:.4g} "
        f"未能明顯低於一律預測訓練資料平均值 {train_mean:.4g} 的 {baseline:.4g}"
    )
    if math.isfinite(low):
        en += f" (95 % interval of the gain {low:.4g} to {high:.4g})"
        zh += f"（差距的 95 % 信賴區間 {low:.4g} 至 {high:.4g}）"
    return [Doubt(NOT_ABOVE_BASELINE, Words(en, zh))]
