"""Rows with several labels, compared label by label: a label is right in a row that has it, or lacks it, as it should.

Only sets are compared so: lists of texts in which none stands twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import polars as pl

from finetune30.service.statistics.mcnemar import PairedTest, compare_discordant


def are_sets(*columns: pl.Series) -> bool:
    """Tell whether columns hold sets of names."""
    return all(
        column.dtype == pl.List(pl.String) and bool((column.list.len() == column.list.n_unique()).all())
        for column in columns
    )


def compare_labels(truth: pl.Series, predictions: Sequence[pl.Series]) -> dict[tuple[int, int], dict[str, PairedTest]]:
    """Return McNemar's test of every label for every pair of predictions; all are List(String).

    Labels are those that the truth or any of the runs names.
    """
    true = _cells(truth).with_columns(is_true=True)
    runs = [_cells(named).join(true, on=["row", "label"], how="left") for named in predictions]
    labels = pl.concat([frame["label"] for frame in (true, *runs)]).unique().sort().to_list()
    return {
        (first, second): _compare(len(truth), labels, runs[first], runs[second])
        for first, second in combinations(range(len(runs)), 2)
    }


def _compare(rows: int, labels: Sequence[str], first: pl.DataFrame, second: pl.DataFrame) -> dict[str, PairedTest]:
    # Where only one of the runs names a label, it is right if the row has the label; if not, the other is.
    right, wrong = _count_alone(first, second)
    other_right, other_wrong = _count_alone(second, first)
    return {
        label: compare_discordant(
            rows,
            right.get(label, 0) + other_wrong.get(label, 0),
            other_right.get(label, 0) + wrong.get(label, 0),
        )
        for label in labels
    }


def _cells(column: pl.Series) -> pl.DataFrame:
    """Return a line for every label of every row: row, label."""
    frame = pl.DataFrame({"row": pl.arange(len(column), eager=True), "label": column})
    return frame.explode("label").drop_nulls("label")


def _count_alone(run: pl.DataFrame, other: pl.DataFrame) -> tuple[dict[str, int], dict[str, int]]:
    """Count by label what `run` names and `other` does not: what is true of it, and what is not."""
    alone = run.join(other, on=["row", "label"], how="anti")
    true, untrue = (alone.filter(pl.col("is_true").is_null() == is_null) for is_null in (False, True))
    return _count(true), _count(untrue)


def _count(cells: pl.DataFrame) -> dict[str, int]:
    return dict(cells["label"].value_counts().iter_rows())
