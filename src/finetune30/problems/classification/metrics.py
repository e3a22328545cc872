"""Metrics of an evaluation, under the names that transformers' Trainer users know.

Counted here as scikit-learn's `precision_recall_fscore_support` defines them, with 0 where nothing is to be divided by:
importing scikit-learn brings SciPy and pandas along, which takes every training longer than all it measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def measure_single_label(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Return accuracy, macro f1, precision and recall, confusion_matrix (rows: true) of class ids (n,), 0 to classes-1.

    The macro averages are those of the classes that stand among the labels or the predictions.
    """
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    said, true = confusion.sum(axis=0), confusion.sum(axis=1)
    occurring = said + true > 0
    precision, recall, f1 = _divide_counts(confusion.diagonal()[occurring], said[occurring], true[occurring])
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "confusion_matrix": confusion.tolist(),
    }


def measure_multi_label(
    predicted: NDArray[np.bool_], labels: NDArray[np.bool_], label_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return accuracy (all labels of a row right), macro and micro f1, per_label of memberships (n, classes)."""
    right, said, true = ((predicted & labels).sum(axis=0), predicted.sum(axis=0), labels.sum(axis=0))
    precision, recall, f1 = _divide_counts(right, said, true)
    _, _, f1_micro = _divide_counts(right.sum(), said.sum(), true.sum())
    return {
        "accuracy": float((predicted == labels).all(axis=1).mean()),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1_micro": float(f1_micro),
        "per_label": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(true[i]),
            }
            for i, name in enumerate(label_names)
        },
    }


def _divide_counts(
    right: NDArray[np.int64] | np.int64, said: NDArray[np.int64] | np.int64, true: NDArray[np.int64] | np.int64
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and f1 of counts of one shape: right, predicted in all, true in all."""
    return _divide(right, said), _divide(right, true), _divide(2 * right, said + true)


def _divide(above: NDArray[np.int64] | np.int64, below: NDArray[np.int64] | np.int64) -> NDArray[np.float64]:
    return np.where(below == 0, 0.0, above / np.maximum(below, 1))
