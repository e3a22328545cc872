"""What came of the rows of a set's runs, by name: what is counted, or whose mean is taken."""

from __future__ import annotations

from typing import Literal

from finetune30.service.runs.outcomes import Measure, name_loss
from finetune30.service.sets.outcomes import SetOutcomes

Measured = Measure | Literal["all_labels_right"]

#: Outcomes that are shares of rows: what is counted.
COUNTED: dict[str, str] = {"right": "right rows", "all_labels_right": "rows with all labels right"}
#: Outcomes that are losses: what their mean is called.
MEANS: dict[str, str] = {
    "squared_error": "mean squared error",
    "absolute_error": "mean absolute error",
    "loss": "mean loss a row",
}


def measure_of(outcomes: SetOutcomes) -> Measured:
    """Return what an outcome is; only where a run has finished."""
    import polars as pl

    predictions = outcomes.judged[0].predictions
    if outcomes.is_right_or_wrong:
        return "all_labels_right" if predictions.schema.get("label") == pl.List else "right"
    has_both = {"label", "prediction"} <= set(predictions.columns)
    return name_loss(predictions) if has_both else "loss"
