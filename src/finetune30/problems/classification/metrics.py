"""Metrics of an evaluation, under the names that transformers' Trainer users know."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def measure_single_label(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Return accuracy, macro f1, precision and recall, confusion_matrix (rows: true) of class ids (n,)."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=range(classes)).tolist(),
    }


def measure_multi_label(
    predicted: NDArray[np.bool_], labels: NDArray[np.bool_], label_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return accuracy (all labels of a row right), macro and micro f1, per_label of memberships (n, classes)."""
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
