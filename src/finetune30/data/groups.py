"""Rows that belong together: of one author, document or patient, told by a column of the source (`data.group_column`).

What a column says is read, compared and forgotten: rows carry a number for each group, counted from 0 in the order in
which groups first appear, and a stored version keeps the numbers of its rows (column `group`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.columns import require_column
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError
from finetune30.values import say_count

if TYPE_CHECKING:
    from finetune30.config.data import DataConfig

#: The column of prepared rows, versions and predictions that holds the number of a row's group.
GROUP = "group"
_KEY = "group_column"


@dataclass(frozen=True)
class Groups:
    """What is known of the groups of loaded rows: the `column` that told them, how many there are, rows of the largest.

    `without`: rows whose cell is blank, or whose file lacks the column; each is a group of its own. `is_numbered`: the
    numbers are those that a stored version gave.
    """

    column: str
    count: int
    largest: int
    without: int
    is_numbered: bool

    def as_dict(self) -> dict[str, Any]:
        """Return what reports hold."""
        return {"column": self.column, "groups": self.count, "largest": self.largest, "without": self.without}

    def describe(self) -> str:
        """Return one line for the log."""
        told = f"rows come in {say_count(self.count, 'groups', ',')} of {self.column!r}, the largest has {self.largest}"
        if not self.without:
            return told
        return f"{told}; {say_count(self.without, 'rows', ',')} without a group, each taken for one of its own"


def find_groups(
    rows: pl.DataFrame,
    tables: Sequence[SourceTable],
    train_count: int,
    config: DataConfig,
    log: Callable[[str], None],
) -> tuple[pl.DataFrame, Groups | None]:
    """Return rows with the number of their group (Int64), and what is known of groups; None: rows come in none.

    The column is the one in which a stored version keeps its groups, of other tables `data.group_column`. Rows that say
    nothing are groups of one. Raises DataFileError where a table with training rows lacks the column.
    """
    names = [table.group_column or config.group_column for table in tables]
    shown = config.group_column or next((name for name in names if name), None)
    if shown is None:
        return rows, None
    cells = []
    for place, (table, name) in enumerate(zip(tables, names, strict=True)):
        if name is not None and place < train_count:
            require_column(table, name, _KEY, is_first=place == 0)
        if name is None or name not in table.columns:
            log(f"WARNING: data: {table.name} has no column {shown!r}: each of its rows is a group of its own")
            continue
        said, kind = pl.col(name).str.strip_chars(), "cell" if table.group_column is None else "number"
        known = pl.when(said != "").then(pl.format(f"{kind} {{}}", said)).alias("_group")
        cells.append(table.frame.select(table.row_ids(), known))
    told = rows.join(pl.concat(cells), on="row_id", how="left", maintain_order="left")["_group"]
    without = told.null_count()
    is_numbered = not without and all(table.group_column is not None for table in tables)
    rows = rows.with_columns(told.alias("_group"))
    if is_numbered:
        number = pl.col("_group").str.strip_prefix("number ").cast(pl.Int64)
        rows = rows.with_columns(number.alias(GROUP)).drop("_group")
    else:
        keys = rows.select(pl.col("_group").fill_null(pl.format("row {}", "row_id"))).to_series()
        rows = rows.with_columns(_in_order(keys).alias(GROUP)).drop("_group")
    sizes = rows.group_by(GROUP).len()["len"].to_list()
    found = Groups(shown, len(sizes), max(sizes, default=0), without, is_numbered)
    log(f"data: {found.describe()}")
    return rows, found


def without_group_column(table: SourceTable, config: DataConfig) -> pl.DataFrame:
    """Return the cells of a table without the column that groups are told by: it is neither text nor label."""
    name = table.group_column or config.group_column
    return table.frame if name is None else table.frame.drop(name, strict=False)


def number_as_stored(rows: pl.DataFrame, found: Groups | None) -> pl.DataFrame:
    """Return rows with their groups numbered as a version of the rows in use has them: training, evaluation, others.

    So the same rows have the same numbers wherever they lie. Those of a stored version stay as they are.
    """
    if found is None or found.is_numbered:
        return rows
    is_used = rows["reason"].is_null()
    rank = pl.select(
        pl.when(is_used & (rows["split"] == "train")).then(0).when(is_used).then(1).otherwise(2)
    ).to_series()
    order = np.argsort(rank.to_numpy(), kind="stable")
    numbers = np.empty(rows.height, dtype=np.int64)
    numbers[order] = _in_order(rows[GROUP][order]).to_numpy()
    return rows.with_columns(pl.Series(GROUP, numbers))


def keep_together(keys: pl.Series, rows: pl.DataFrame) -> pl.Series:
    """Return a key for each row, equal for rows that share a key or a group, also over several steps."""
    if GROUP not in rows.columns:
        return keys
    parts = join_numbers(*(_in_order(column).to_numpy() for column in (keys, rows[GROUP])))
    return pl.Series(keys.name, parts)


def join_numbers(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers of parts, (rows,), in which rows are together that share a number in either, also over steps."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(first.max(initial=-1)) + 1
    size = count + int(second.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(first), dtype=np.int8), (first, count + second)), shape=(size, size))
    _, parts = connected_components(edges, directed=False)
    found: NDArray[np.int64] = parts[first].astype(np.int64)
    return found


def require_several(keys: pl.Series, rows: pl.DataFrame, part: str) -> None:
    """Raise DataError where all rows belong together, so that no part of them can be split off."""
    if GROUP in rows.columns and rows.height > 1 and keys.n_unique() < 2:
        raise DataError(
            f"all {say_count(rows.height, 'rows')} are of one group: no {part} rows can be split off",
            "name a column whose values differ, or give these rows in a file of their own",
        )


def with_groups(predictions: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return predictions (row_id and more) with the group of each of their `rows`, where these have groups."""
    if GROUP not in rows.columns:
        return predictions
    return predictions.join(rows.select("row_id", GROUP), on="row_id", how="left", maintain_order="left")


def count_shared(rows: pl.DataFrame) -> int:
    """Return how many evaluation rows are of a group that training rows are of, too."""
    if GROUP not in rows.columns:
        return 0
    known = rows.filter(pl.col("split") == "train")[GROUP].unique()
    return rows.filter((pl.col("split") == "evaluation") & pl.col(GROUP).is_in(known.implode())).height


def _in_order(values: pl.Series) -> pl.Series:
    """Return for each value its number in the order of first appearance, Int64."""
    distinct = values.unique(maintain_order=True)
    known = pl.DataFrame({"value": distinct, "number": np.arange(len(distinct), dtype=np.int64)})
    frame = pl.DataFrame({"value": values})
    return frame.join(known, on="value", how="left", nulls_equal=True, maintain_order="left")["number"]
