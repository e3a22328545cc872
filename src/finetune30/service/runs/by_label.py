"""Rows with several labels, compared label by label: a label is right in a row that has it, or lacks it, as it should.

Only sets are compared so: lists of texts in which none stands twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.service.statistics.by_group import compare_sums
from finetune30.service.statistics.groups import Codes
from finetune30.service.statistics.mcnemar import PairedTest, compare_discordant


def are_sets(*columns: pl.Series) -> bool:
    """Tell whether columns hold sets of names."""
    return all(
        column.dtype == pl.List(pl.String) and bool((column.list.len() == column.list.n_unique()).all())
        for column in columns
    )


def compare_labels(
    truth: pl.Series, predictions: Sequence[pl.Series], groups: Codes | None = None
) -> dict[tuple[int, int], dict[str, PairedTest]]:
    """Return McNemar's test of every label for every pair of predictions; all are List(String).

    Labels are those that the truth or any of the runs names. With `groups` (see `number_groups`) p-values and intervals
    are by group.
    """
    true = _cells(truth).with_columns(is_true=True)
    runs = [_cells(named).join(true, on=["row", "label"], how="left") for named in predictions]
    labels = pl.concat([frame["label"] for frame in (true, *runs)]).unique().sort().to_list()
    found = {}
    for first, second in combinations(range(len(runs)), 2):
        tests = _compare(len(truth), labels, runs[first], runs[second])
        if groups is not None and labels:
            sums = _sum_by_group(labels, runs[first], runs[second], groups)
            tests = dict(zip(labels, compare_sums(list(tests.values()), sums, np.bincount(groups)), strict=True))
        found[first, second] = tests
    return found


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


def _sum_by_group(
    labels: Sequence[str], first: pl.DataFrame, second: pl.DataFrame, groups: Codes
) -> NDArray[np.float64]:
    """Return how many more rows of a group the second has right than the first, label by label: (groups, labels)."""
    place = {label: number for number, label in enumerate(labels)}
    sums = np.zeros((int(groups.max()) + 1, len(labels)))
    for run, other, sign in ((second, first, 1.0), (first, second, -1.0)):
        alone = run.join(other, on=["row", "label"], how="anti")
        values = np.where(alone["is_true"].is_null().to_numpy(), -sign, sign)
        columns = alone["label"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
        np.add.at(sums, (groups[alone["row"].to_numpy()], columns), values)
    return sums


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
