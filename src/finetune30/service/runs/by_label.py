"""Rows with several labels, compared label by label: a label is right in a row that has it, or lacks it, as it should.

Only sets are compared so: lists of texts in which none stands twice.
"""

from __future__ import annotations

import polars as pl

from finetune30.service.runs.mcnemar import PairedTest, compare_discordant


def are_sets(*columns: pl.Series) -> bool:
    """Tell whether columns hold sets of names."""
    return all(
        column.dtype == pl.List(pl.String) and bool((column.list.len() == column.list.n_unique()).all())
        for column in columns
    )


def compare_labels(truth: pl.Series, first: pl.Series, second: pl.Series) -> dict[str, PairedTest]:
    """Return McNemar's test of every label that the truth or a run names, by label; all are List(String)."""
    true, one, other = _cells(truth), _cells(first), _cells(second)
    names = pl.concat([true, one, other])["label"].unique().sort()
    # Where only one of the runs names a label, it is right if the row has the label; if not, the other is.
    right, wrong = _count_alone(one, other, true)
    other_right, other_wrong = _count_alone(other, one, true)
    return {
        name: compare_discordant(
            len(truth),
            right.get(name, 0) + other_wrong.get(name, 0),
            other_right.get(name, 0) + wrong.get(name, 0),
        )
        for name in names
    }


def _cells(column: pl.Series) -> pl.DataFrame:
    """Return a line for every label of every row: row, label."""
    frame = pl.DataFrame({"row": pl.arange(len(column), eager=True), "label": column})
    return frame.explode("label").drop_nulls("label")


def _count_alone(run: pl.DataFrame, other: pl.DataFrame, true: pl.DataFrame) -> tuple[dict[str, int], dict[str, int]]:
    """Count by label what `run` names and `other` does not: what is true of it, and what is not."""
    alone = run.join(other, on=["row", "label"], how="anti")
    return _count(alone.join(true, on=["row", "label"], how="semi")), _count(
        alone.join(true, on=["row", "label"], how="anti")
    )


def _count(cells: pl.DataFrame) -> dict[str, int]:
    return dict(cells["label"].value_counts().iter_rows())
