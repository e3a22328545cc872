"""Errors and correlations of an evaluation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray


def measure_regression(predicted: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, Any]:
    """Return mse, mae, pearson and spearman of predicted values and targets, float64 (n,)."""
    from scipy.stats import pearsonr, spearmanr

    error = predicted - labels
    metrics: dict[str, Any] = {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean())}
    # A correlation needs two values that differ; null says so more honestly than NaN.
    defined = len(labels) > 1 and np.ptp(predicted) > 0 and np.ptp(labels) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near-constant inputs: the value is still the best there is
        metrics["pearson"] = float(pearsonr(predicted, labels)[0]) if defined else None
        metrics["spearman"] = float(spearmanr(predicted, labels)[0]) if defined else None
    return metrics
