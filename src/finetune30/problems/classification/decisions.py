"""What both halves of the problems call them, without polars or torch; and the rules by which logits become answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.problem import Score

SINGLE_NAME, MULTI_NAME = "single_label_classification", "multi_label_classification"
SINGLE_SCORE = Score("eval_accuracy", greater_is_better=True, format="percent", share_right="eval_accuracy")
MULTI_SCORE = Score("eval_f1", greater_is_better=True, format="percent", share_right="eval_accuracy")


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities of classes that exclude each other: (n, classes) in the logits' own dtype."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=logits.dtype)


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities of classes that do not exclude each other: (n, classes) in the logits' own dtype."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), dtype=logits.dtype)


def decide_one(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the chosen class of each row, int64 (n,), from logits or probabilities (n, classes)."""
    return np.asarray(outputs.argmax(axis=-1), dtype=np.int64)


def decide_several(logits: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which classes each row has, bool (n, classes): those that are more probable than not."""
    return np.asarray(logits > 0)
