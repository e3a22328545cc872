"""Errors and correlations of an evaluation."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Steps of a histogram; fewer where the root of the number of rows is less.
_MOST_BINS = 20


def measure_regression(predicted: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, Any]:
    """Return what is known of predicted values and targets, float64 (n,).

    mse, mae, pearson, spearman, baseline (mse and mae of always predicting the mean of these targets) and residuals (a
    histogram of prediction less target).
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
    return {**metrics, "baseline": _mean_baseline(labels), "residuals": _residuals(error)}


def _mean_baseline(labels: NDArray[np.float64]) -> dict[str, float]:
    """Return mse and mae of always predicting the mean of the labels; nested, since it is no metric to choose by."""
    error = labels - labels.mean()
    return {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean())}


def _residuals(error: NDArray[np.float64]) -> dict[str, list[Any]] | None:
    """Return edges (k + 1) and counts (k) of a histogram over even steps; None where there is none to be had."""
    if not len(error) or not np.isfinite(error).all():
        return None
    try:
        counts, edges = np.histogram(error, bins=min(_MOST_BINS, max(1, math.isqrt(len(error)))))
    except ValueError:  # large errors so alike that the steps would be finer than numbers are
        return None
    return {"edges": edges.tolist(), "counts": counts.tolist()}
