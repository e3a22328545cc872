"""Errors and correlations of an evaluation."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Steps of a histogram; fewer where the root of the number of rows is less.
_MOST_BINS = 20


def measure_regression(
    predicted: NDArray[np.float64], labels: NDArray[np.float64], train_mean: float | None
) -> dict[str, Any]:
    """Return what is known of predicted values and targets, float64 (n,).

    mse, mae, pearson, spearman, baseline (mse and mae of always predicting the mean of the training rows, and that
    mean; None where it is not known) and residuals (a histogram of prediction less target).
    """
    from scipy.stats import pearsonr, spearmanr

    error = predicted - labels
    metrics: dict[str, Any] = {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean())}
    # A correlation needs two values that differ; null says so more honestly than NaN.
    defined = len(labels) > 1 and np.ptp(predicted) > 0 and np.ptp(labels) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near-constant inputs: the value is still the best there is
        metrics["pearson"] = float(pearsonr(predicted, labels)[0]) if defined else None
        metrics["spearman"] = float(spearmanr(predicted, labels)[0]) if defined else None
    return {**metrics, "baseline": _baseline(labels, train_mean), "residuals": _residuals(error)}


def _baseline(labels: NDArray[np.float64], train_mean: float | None) -> dict[str, float] | None:
    """Return what one number for all rows reaches; nested, since it is no metric to choose by.

    The number is the training rows' mean: that of the evaluation rows is known to nobody who has to answer them.
    """
    if train_mean is None:
        return None
    error = labels - train_mean
    return {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean()), "mean": train_mean}


def _residuals(error: NDArray[np.float64]) -> dict[str, list[Any]] | None:
    """Return edges (k + 1) and counts (k) of a histogram over even steps; None where there is none to be had."""
    if not len(error) or not np.isfinite(error).all():
        return None
    try:
        counts, edges = np.histogram(error, bins=min(_MOST_BINS, max(1, math.isqrt(len(error)))))
    except ValueError:  # large errors so alike that the steps would be finer than numbers are
        return None
    return {"edges": edges.tolist(), "counts": counts.tolist()}
