"""What came of each evaluation row of a run: right or wrong, or a loss; read from its predictions.parquet.

Nothing here knows what was learnt: the type of the column `outcome` decides how runs are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from finetune30.data.groups import GROUP
from finetune30.errors import StorageError, first_line
from finetune30.service.statistics.groups import Codes, number_groups
from finetune30.values import say_count

#: What an outcome is: a row that is right, an answer that is word for word the wanted one or holds what is expected of
#: it, or a loss of the row (less is better), named where the row tells which.
Measure = Literal["right", "exact", "expected", "squared_error", "absolute_error", "loss"]

_NEEDED = ("row_id", "label", "prediction")
#: In the place of `label` where rows have no targets beside their texts: how many tokens each asks for.
_TOKENS = "tokens_asked"
#: Losses are recognised by their values; what single precision loses of them is no difference.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Outcomes:
    """`frame`: row_id, label, prediction, outcome (Boolean: right or wrong; Float64: a loss), sorted by row_id.

    Predictions are null where a row is told by its loss alone, and labels are then tokens that it asks for. `groups`:
    the number of each row's group, where rows belong together (see `number_groups`).
    """

    frame: pl.DataFrame
    measure: Measure
    groups: Codes | None = None

    @property
    def is_loss(self) -> bool:
        """Whether an outcome is a loss, of which less is better."""
        return self.frame["outcome"].dtype != pl.Boolean

    @property
    def has_predictions(self) -> bool:
        """Whether rows have predictions beside their outcomes."""
        return self.frame["prediction"].dtype != pl.Null

    @property
    def mean(self) -> float:
        """The share of right rows, or the mean loss."""
        return float(self.frame["outcome"].cast(pl.Float64).mean())  # type: ignore[arg-type]

    def has_rows_of(self, other: Outcomes) -> bool:
        """Whether both are about the same rows."""
        return self.frame["row_id"].equals(other.frame["row_id"])

    def has_labels_of(self, other: Outcomes) -> bool:
        """Whether both ask the same of their rows, one after the other."""
        return self.frame["label"].equals(other.frame["label"], check_dtypes=True)


def load_outcomes(path: Path) -> Outcomes:
    """Return the outcomes of a predictions.parquet; files of earlier versions have none, so they are derived.

    Raises StorageError for a file that cannot be read and for rows without an outcome (null or not finite).
    """
    try:
        kept = pl.read_parquet_schema(path)
        frame = pl.read_parquet(path, columns=[name for name in (*_NEEDED, _TOKENS, "outcome", GROUP) if name in kept])
        frame = _complete(frame)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"cannot be read: {first_line(error)}", "see: ft30 runs verify {run}") from error
    return _judge(frame)


def load_groups(path: Path) -> dict[str, int]:
    """Return the group of each row of a predictions.parquet by its id; none where rows are independent.

    Raises StorageError for a file that cannot be read.
    """
    try:
        if GROUP not in pl.read_parquet_schema(path):
            return {}
        return dict(pl.read_parquet(path, columns=["row_id", GROUP]).select("row_id", GROUP).iter_rows())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"cannot be read: {first_line(error)}", "see: ft30 runs verify {run}") from error


def shape_outcomes(predictions: pl.DataFrame) -> Outcomes:
    """Return the outcomes of predictions (see `Problem.predictions`). Raises StorageError for rows without one."""
    return _judge(_complete(predictions))


def _complete(frame: pl.DataFrame) -> pl.DataFrame:
    """Return row_id, label, prediction and, where there are such, outcome and group."""
    more = [name for name in ("outcome", GROUP) if name in frame.columns]
    if "outcome" not in more or "label" in frame.columns:
        return frame.select(*_NEEDED, *more)
    label = pl.col(_TOKENS) if _TOKENS in frame.columns else pl.lit(None)
    return frame.select("row_id", label.alias("label"), pl.lit(None).alias("prediction"), *more)


def _judge(frame: pl.DataFrame) -> Outcomes:
    frame = type_empty_lists(frame).sort("row_id")
    known = "outcome" in frame.columns
    outcome = _check(frame["outcome"] if known else derive_outcome(frame["label"], frame["prediction"]))
    frame = frame.with_columns(outcome.alias("outcome"))
    measure: Measure = "right" if outcome.dtype == pl.Boolean else name_loss(frame)
    return Outcomes(frame, measure, groups_of(frame))


def groups_of(predictions: pl.DataFrame) -> Codes | None:
    """Return the groups of rows in their order; None where they are independent, as files of earlier versions say."""
    return number_groups(predictions[GROUP].to_numpy()) if GROUP in predictions.columns else None


def type_empty_lists(frame: pl.DataFrame) -> pl.DataFrame:
    """Return predictions whose lists are lists of texts: those that are all empty come without a type."""
    untyped = (name for name, kind in frame.schema.items() if kind == pl.List(pl.Null))
    return frame.with_columns(pl.col(name).cast(pl.List(pl.String)) for name in untyped)


def derive_outcome(label: pl.Series, prediction: pl.Series) -> pl.Series:
    """Return what files of earlier versions do not hold: the squared error of numbers, else right or wrong."""
    if label.dtype.is_numeric() and prediction.dtype.is_numeric():
        return (prediction.cast(pl.Float64) - label.cast(pl.Float64)) ** 2
    return label.eq_missing(prediction)


def _check(outcome: pl.Series) -> pl.Series:
    if outcome.dtype == pl.Boolean:
        missing = outcome.null_count()
    elif outcome.dtype.is_numeric():
        outcome = outcome.cast(pl.Float64)
        missing = len(outcome) - int(outcome.is_finite().sum())
    else:
        raise StorageError(f"have outcomes of the type {outcome.dtype}", "use a version that knows them")
    if missing:
        raise StorageError(f"have {say_count(missing, 'rows')} without an outcome", "train anew")
    return outcome


def name_loss(frame: pl.DataFrame) -> Measure:
    """Return what the losses in `outcome` are, told from label and prediction."""
    label, prediction, outcome = frame["label"], frame["prediction"], frame["outcome"]
    if not (label.dtype.is_numeric() and prediction.dtype.is_numeric()):
        return "loss"
    distance = (prediction.cast(pl.Float64) - label.cast(pl.Float64)).abs()
    if _are_close(outcome, distance**2):
        return "squared_error"
    return "absolute_error" if _are_close(outcome, distance) else "loss"


def _are_close(values: pl.Series, expected: pl.Series) -> bool:
    return bool(((values - expected).abs() <= _TOLERANCE * (1 + expected)).all())
