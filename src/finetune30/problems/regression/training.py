"""Regression as models learn it: one output, squared error."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.problems.regression.doubts import doubt_regression
from finetune30.problems.regression.metrics import measure_regression
from finetune30.problems.regression.score import NAME, SCORE
from finetune30.problems.shared.head import TextHead
from finetune30.training.problem import Answer, Doubt

if TYPE_CHECKING:
    from torch import Tensor

    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Targets
    from finetune30.training.problem import Trainable


class RegressionHead(TextHead):
    """One number a row: targets float32 (n,), outputs (n, 1)."""

    name = NAME
    score = SCORE
    reading = "logits.item()"
    #: Of the training rows; None where these are not known.
    _train_mean: float | None = None

    def with_baseline_of(self, train: EncodedSplit) -> Trainable:
        """Return itself holding results against the mean of the training rows."""
        known = copy(self)
        known._train_mean = float(train.targets.astype(np.float64).mean())
        return known

    def row_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error of each row."""
        return (outputs.squeeze(-1) - targets.to(outputs.dtype)).square()

    def measure(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> dict[str, Any]:
        """Return errors and correlations."""
        return measure_regression(*_values(outputs, targets), self._train_mean)

    def doubts(self, outputs: NDArray[np.float32], targets: NDArray[Any]) -> list[Doubt]:
        """Doubt nearly one value for every row, and errors like those of the mean."""
        return doubt_regression(*_values(outputs, targets), self._train_mean)

    def answers(self, outputs: NDArray[np.float32]) -> list[Answer]:
        """Return the number."""
        values = [float(value) for value in outputs.reshape(-1)]
        return [Answer({"value": value}, {"value": value}, f"{value:.4f}") for value in values]


def _values(outputs: NDArray[np.float32], targets: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return outputs.reshape(-1).astype(np.float64), targets.astype(np.float64)


TRAINABLES: dict[str, Callable[[Targets], Trainable]] = {NAME: RegressionHead}
