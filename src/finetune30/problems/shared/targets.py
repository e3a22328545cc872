"""Target cells as texts: what counts as blank, lists of one label, and which spellings are one label."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from finetune30.data.problem import Detected, Problem, Settled
from finetune30.problems.shared.lists import ListCells, read_lists
from finetune30.problems.shared.spellings import join_spellings


def strip_targets(series: pl.Series) -> pl.Series:
    """Return target texts without outer white space; blank is null.

    Among numbers, NaN is no target: that is how a table of floating-point numbers says that one is missing.
    """
    stripped = series.str.strip_chars()
    stripped = pl.select(pl.when(stripped.str.len_bytes() > 0).then(stripped)).to_series().rename(series.name)
    numbers = stripped.cast(pl.Float64, strict=False)
    if numbers.null_count() == stripped.null_count() and numbers.is_nan().any() and numbers.is_finite().any():
        stripped = pl.select(pl.when(~numbers.is_nan()).then(stripped)).to_series().rename(series.name)
    return stripped


def replace_cells(series: pl.Series, by: dict[str, str]) -> pl.Series:
    """Return the cells with others in the place of those that `by` names."""
    return series.replace(by) if by else series


def unwrap_lists(cells: pl.Series, lists: ListCells) -> tuple[pl.Series, tuple[Detected, ...]]:
    """Return the one label of each list where every cell is a list of just one, else the cells as they are."""
    if not lists.are_single:
        return cells, ()
    single = {cell: str(items[0]).strip() for cell, items in lists.items.items()}
    because = f"each of the {lists.rows:,} labels is a list of one item"
    found = Detected("labels read as one a row", because, "model.problem_type")
    return strip_targets(replace_cells(cells, single)), (found,)


def settle_one(problem: Problem, targets: pl.Series) -> Settled:
    """Return cells of which each holds one label, as the problem reads them."""
    cells = strip_targets(targets)
    lists = read_lists(cells)
    cells, unwrapped = unwrap_lists(cells, lists)
    spellings, joined = join_spellings(cells.drop_nulls().unique().to_list())
    settled = Settled(problem, replace_cells(cells, spellings), (*unwrapped, *joined), spellings=spellings)
    if lists.list_rows and not lists.are_single:
        because = f"{lists.list_rows:,} labels are lists, and a row has one label"
        each = Detected("labels read as one class for each list", because, "model.problem_type")
        settled = replace(settled, detected=(*settled.detected, each))
    return settled
