"""Class names: told from the cells of the training rows, put in order, checked against model.num_labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import polars as pl

from finetune30.data.problem import Problem, Settled
from finetune30.data.row_ids import fault_at
from finetune30.errors import DataError
from finetune30.problems.shared.lists import read_lists
from finetune30.problems.shared.spellings import are_integers, integer_of, join_spellings, name_some
from finetune30.problems.shared.targets import strip_targets
from finetune30.values import say_count


def settle_lists(problem: Problem, targets: pl.Series, separator: str | None) -> Settled:
    """Return cells of several labels as JSON lists in sorted order: read from lists, else cut at the separator.

    Raises DataError for cells in brackets that are no lists (unless there is a separator) and for vectors of different
    lengths.
    """
    cells = strip_targets(targets)
    lists = read_lists(cells)
    if separator is None:
        lists.require_lists()

    def read(cell: str) -> list[str]:
        if cell in lists.items:
            return lists.labels(cell)
        return [label for piece in (cell.split(separator) if separator else [cell]) if (label := piece.strip())]

    labels = {cell: read(cell) for cell in cells.drop_nulls().unique().to_list()}
    found = {label for names in labels.values() for label in names}
    spellings, joined = join_spellings(found)
    written = {cell: write_list([spellings.get(label, label) for label in names]) for cell, names in labels.items()}
    read_cells = cells.replace_strict(written, default=None, return_dtype=pl.String)
    return Settled(problem, read_cells, (*lists.detected(), *joined), names=lists.names, spellings=spellings)


def write_list(labels: Iterable[str]) -> str:
    """Return labels as a JSON list in sorted order, as versions store them."""
    return json.dumps(sorted({*labels}), ensure_ascii=False)


def parse_lists(labels: pl.Series) -> pl.Series:
    """Return canonical label lists (JSON) as lists of texts."""
    return labels.str.json_decode(pl.List(pl.String))


def order_names(values: pl.Series) -> tuple[str, ...]:
    """Return distinct labels in class order: by value where all are whole numbers, else by code point."""
    names = values.to_list()
    if are_integers(names):
        return tuple(sorted(names, key=lambda name: (integer_of(name), name)))
    return tuple(sorted(names))


def count_names(names: pl.Series, known: Sequence[str] = ()) -> dict[str, int]:
    """Return how often each name stands there: of `known` in that order, else by value or in the order of texts."""
    counts = dict(names.value_counts().iter_rows())
    if known:
        return {name: int(counts.get(name, 0)) for name in known}
    return {name: int(counts[name]) for name in order_names(pl.Series(list(counts), dtype=pl.String))}


def require_count(names: Sequence[str], outputs: int | None, *, quantities: bool = False, least: int = 1) -> None:
    """Raise DataError where there are not as many names as the model has outputs (None: no model is meant).

    `quantities`: the names may as well be numbers to predict. `least`: how many names any model needs.
    """
    if outputs in (None, len(names)):
        return
    message = f"the training rows have {len(names)} labels ({name_some(names)}) but model.num_labels is {outputs}"
    if len(names) == 1:
        message = f"the training rows have one label ({name_some(names)}) but model.num_labels is {outputs}"
    remedy = f"set model.num_labels to {len(names)}"
    if quantities and len(names) > (outputs or 0) and len(names) > 20:
        way = "to 1" if outputs != 1 else "model.problem_type to regression"
        remedy += f", or {way} if the labels are quantities to predict (regression)"
    elif len(names) < least:
        remedy = f"a classifier needs at least {say_count(least, 'different labels')} in the training rows"
    raise DataError(message, remedy, details={"labels_found": len(names), "num_labels": outputs})


def refuse_unknown(rows: pl.DataFrame, unknown: pl.Series, names: Sequence[str]) -> None:
    """Raise DataFileError at the first row without a `reason` that is marked as having a label of no class."""
    bad = rows.filter(pl.col("reason").is_null() & unknown)
    if not bad.height:
        return
    found = f"the label {bad['label_text'][0]!r} does not occur in the training rows ({name_some(names)})"
    if bad.height > 1:
        found += f"; {say_count(bad.height, 'rows have')} such labels"
    raise fault_at(bad["row_id"][0], found, "correct the label, or add training rows that carry it")
