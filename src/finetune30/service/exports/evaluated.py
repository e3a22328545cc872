"""Outputs of any reader, evaluated as the run's own evaluation was: the score and its interval, and what flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.score_interval import score_interval

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.batching import Batch
    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Problem
    from finetune30.training.engine import Engine
    from finetune30.training.problem import Trainable

_BATCH = 32


@dataclass(frozen=True)
class Evaluated:
    """A score over rows with its 95 % interval, where there is one, and the predictions (`Problem.predictions`)."""

    value: float
    interval: dict[str, Any] | None
    predictions: pl.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Return what a receipt says."""
        return {"value": self.value, "interval": self.interval}


class _KnownOutputs:
    """Gives outputs that are known already as an engine gives its own: one array a row, (k,) or (tokens, k)."""

    name = "known"
    device = "cpu"
    pad_token_id = 0

    def __init__(self, rows: list[NDArray[np.float32]]) -> None:
        self._rows = rows

    def outputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return the outputs of the batch's rows, filled up with zeros where rows have one a token."""
        found = [self._rows[row] for row in batch.rows.tolist()]
        if found[0].ndim == 1:
            return np.stack(found)
        padded = np.zeros((len(found), batch.input_ids.shape[1], found[0].shape[1]), dtype=np.float32)
        for place, row in enumerate(found):
            padded[place, : len(row)] = row
        return padded


def evaluate_outputs(
    problem: Problem, trainable: Trainable, split: EncodedSplit, rows: list[NDArray[np.float32]]
) -> Evaluated:
    """Evaluate outputs, one array for each row of the split, by the problem's own evaluation."""
    found = trainable.evaluate(cast("Engine", _KnownOutputs(rows)), split, _BATCH)
    predictions = problem.predictions(split, found.outputs, trainable.targets)
    interval = score_interval(problem, predictions, trainable.targets)
    return Evaluated(
        float(found.metrics[problem.score.name]), None if interval is None else interval.as_dict(), predictions
    )


def count_flips(one: pl.DataFrame, other: pl.DataFrame) -> int | None:
    """Return in how many rows predictions differ; None where they are numbers, or are not kept."""
    if "prediction" not in one.columns or one["prediction"].dtype.is_numeric():
        return None
    pairs = zip(one["prediction"].to_list(), other["prediction"].to_list(), strict=True)
    return sum(bool(first != second) for first, second in pairs)
