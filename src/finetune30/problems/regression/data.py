"""Regression as rows have it: a target is a finite number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.encoding import EncodedSplit, TextEncoder, encode_split
from finetune30.data.problem import Problem, Rank, Settled, TargetRules, Targets
from finetune30.data.row_ids import fault_at
from finetune30.errors import DataError
from finetune30.problems.regression.score import NAME, SCORE
from finetune30.problems.regression.view import view_regression
from finetune30.problems.shared.columns import TEXT_AND_LABEL
from finetune30.problems.shared.targets import settle_one

if TYPE_CHECKING:
    from finetune30.blocks import Block

#: Samples keep the share of each decile of the targets.
_STRATA = 10


class Regression:
    """See `finetune30.data.problem.Problem`; encoded targets are Float64."""

    name = NAME
    columns = TEXT_AND_LABEL
    # Several people may well give one text different numbers.
    rules = TargetRules(quantity=True, severities=(("contradictory_label", "warn"),))
    score = SCORE
    rank: Rank | None = None

    def settle(self, targets: pl.Series, separator: str | None, outputs: int | None) -> Settled:
        """Return itself and the numbers as texts."""
        return settle_one(self, targets)

    def plan(self, targets: pl.Series, outputs: int | None, declared: tuple[str, ...]) -> Targets:
        """Return no more than that a number is asked for. Raises DataError for another number of outputs than one."""
        if outputs not in (1, None):
            message = f"regression has 1 output but model.num_labels is {outputs}"
            raise DataError(message, "set model.num_labels to 1")
        return {}

    def choices(self, targets: Targets) -> tuple[str, ...] | None:
        """None: numbers are not listed."""
        return None

    def describe(self, targets: Targets) -> str:
        """Return what a target may be."""
        return "a number"

    def read(self, cell: str, targets: Targets) -> str | None:
        """Return a finite number as it was written, None for anything else."""
        try:
            return cell if math.isfinite(float(cell)) else None
        except ValueError:
            return None

    def encode_targets(self, rows: pl.DataFrame, targets: Targets) -> pl.DataFrame:
        """Return the rows with `label` Float64. Raises DataFileError at the first that is no finite number."""
        label = rows["label_text"].cast(pl.Float64, strict=False)
        bad = rows.filter(pl.col("reason").is_null() & (label.is_null() | ~label.is_finite()))
        if bad.height:
            found = f"the label {bad['label_text'][0]!r} is no finite number, as regression needs"
            raise fault_at(bad["row_id"][0], found, "correct it, or set model.problem_type to the task you mean")
        return rows.with_columns(label.alias("label"))

    def strata(self, labels: pl.Series) -> pl.Series:
        """Return the decile of each number."""
        ranks = labels.rank("ordinal").cast(pl.Int64) - 1
        return ranks * _STRATA // max(len(labels), 1)

    def count(self, targets: pl.Series, known: Targets | None = None) -> dict[str, int]:
        """Return nothing: numbers are no classes."""
        return {}

    def encode(self, rows: pl.DataFrame, encoder: TextEncoder, targets: Targets, max_length: int) -> EncodedSplit:
        """Return token ids and targets float32 (n,)."""
        return encode_split(rows, encoder, max_length, rows["label"].to_numpy().astype(np.float32))

    def predictions(self, split: EncodedSplit, outputs: NDArray[Any] | None, targets: Targets) -> pl.DataFrame:
        """Return row_id, label, prediction, probabilities (a list with the value) and outcome (the squared error)."""
        assert outputs is not None  # noqa: S101 - heads keep their outputs
        predicted = outputs.reshape(-1)
        error = predicted.astype(np.float64) - split.targets.astype(np.float64)
        return pl.DataFrame(
            {
                "row_id": split.row_ids,
                "label": split.targets.tolist(),
                "prediction": predicted.tolist(),
                "probabilities": outputs.tolist(),
                "outcome": np.square(error),
            }
        )

    def view(self, metrics: Mapping[str, Any], targets: Targets) -> list[Block]:
        """Return errors, correlations and residuals."""
        return view_regression(metrics)


REGRESSION = Regression()
PROBLEMS: dict[str, Problem] = {NAME: REGRESSION}
