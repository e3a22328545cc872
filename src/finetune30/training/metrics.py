"""Metrics of an evaluation, under the names that transformers' Trainer users know."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Metrics where less is better; everything else is better when greater.
_LESS_IS_BETTER = ("loss", "mse", "mae")
#: Steps of a histogram; fewer where the root of the number of rows is less.
_MOST_BINS = 20


def compute_metrics(
    logits: NDArray[np.float32], labels: NDArray[Any], problem_type: str, label_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return metrics without the `eval_` prefix.

    logits: float32 (n, num_labels); labels: int64 (n,), float32 (n, num_labels) or float32 (n,).
    Single-label: accuracy, macro f1/precision/recall, confusion_matrix (rows: true). Multi-label: accuracy (all
    labels of a row right), micro and macro f1, per_label. Regression: mse, mae, pearson, spearman, baseline (mse and
    mae of always predicting the mean of these labels), residuals (a histogram of prediction less label).
    """
    if problem_type == "single_label_classification":
        return _single_label(logits.argmax(axis=-1), labels, len(label_names))
    if problem_type == "multi_label_classification":
        return _multi_label(logits > 0, labels > 0.5, label_names)
    return _regression(logits.reshape(-1).astype(np.float64), labels.astype(np.float64))


def probabilities(logits: NDArray[np.float32], problem_type: str) -> NDArray[np.float32]:
    """Return softmax (single-label) or sigmoid (multi-label) of logits, or the values themselves (regression)."""
    if problem_type == "regression":
        return logits
    if problem_type == "multi_label_classification":
        return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def default_metric(problem_type: str) -> str:
    """Return the metric that decides 'best' when none is named."""
    return {"multi_label_classification": "eval_f1", "regression": "eval_mse"}.get(problem_type, "eval_accuracy")


def is_greater_better(metric: str) -> bool:
    """Tell a metric's direction from its name."""
    return not metric.endswith(_LESS_IS_BETTER)


def _single_label(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=range(classes)).tolist(),
    }


def _multi_label(
    predicted: NDArray[np.bool_], labels: NDArray[np.bool_], label_names: tuple[str, ...]
) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, average=None, zero_division=0)
    micro = precision_recall_fscore_support(labels, predicted, average="micro", zero_division=0)
    return {
        "accuracy": float((predicted == labels).all(axis=1).mean()),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1_micro": float(micro[2]),
        "per_label": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(label_names)
        },
    }


def _regression(predicted: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, Any]:
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
