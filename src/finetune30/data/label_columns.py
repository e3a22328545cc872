"""One column of 0 and 1 a class (`data.label_columns`), read as one column of lists of names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.data.columns import require_column
from finetune30.data.flags import BLANK, NO, YES
from finetune30.data.row_ids import fault_at
from finetune30.data.sources.resolve import LoadedSources
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError, DataFileError

_TARGET_KEY = "label_column"


def with_label_columns(
    sources: LoadedSources, config: DataConfig, named: Mapping[str, str | None]
) -> tuple[LoadedSources, Mapping[str, str | None]]:
    """Return the tables with a column of lists made of `data.label_columns`, and it among the named columns.

    Without that key everything stays as it is. A row where one of the cells is blank has no label. Raises DataFileError
    for a column that does not exist and a cell that is neither 0 nor 1, DataError for a problem without labels.
    """
    names = config.label_columns
    if names is None:
        return sources, named
    if _TARGET_KEY not in named:
        raise DataError(
            "data.label_columns is set, but the problem has no label column",
            "leave data.label_columns out, or set model.problem_type to multi_label_classification",
        )
    train = [_combine(table, names, is_first=index == 0) for index, table in enumerate(sources.train)]
    # Public test sets often have no labels at all: see `finetune30.data.loading`.
    evaluation = [
        table if not sources.chosen and not {*names} & {*table.columns} else _combine(table, names, is_first=False)
        for table in sources.evaluation
    ]
    return replace(sources, train=train, evaluation=evaluation), {**named, _TARGET_KEY: _joined(names)}


def without_label_columns(table: SourceTable, config: DataConfig) -> SourceTable:
    """Return the table without the columns that are classes: none of them is a text."""
    return replace(table, frame=table.frame.drop(config.label_columns or []))


def _joined(names: Sequence[str]) -> str:
    return "+".join(names)


def _combine(table: SourceTable, names: Sequence[str], *, is_first: bool) -> SourceTable:
    for name in names:
        if is_first and name not in table.columns:
            found = f"there is no column {name!r}; the columns are {', '.join(map(repr, table.columns[:20]))}"
            raise DataFileError(
                table.name, 1, 0, found, f"put one of them in the place of {name!r} in data.label_columns"
            )
        require_column(table, name, "label_columns", is_first=is_first)
    cells = [table.frame[name].str.strip_chars().fill_null("") for name in names]
    for name, column in zip(names, cells, strict=True):
        wrong = ~column.is_in([*YES, *NO, *BLANK])
        if wrong.any():
            found = f"the column {name!r} holds {column.filter(wrong)[0][:60]!r}, but label columns hold 0 and 1"
            remedy = "write 0 or 1, or leave the label columns of a row without labels empty"
            raise fault_at(table.row_ids().filter(wrong)[0], found, remedy)
    flags = zip(*(column.is_in(YES) for column in cells), strict=True)
    blanks = zip(*(column.is_in(BLANK) for column in cells), strict=True)
    texts = [None if any(blank) else _names_at(names, row) for row, blank in zip(flags, blanks, strict=True)]
    # At the end: the places of the other cells are counted by the order of the columns.
    frame = table.frame.with_columns(pl.Series(_joined(names), texts, dtype=pl.String))
    return replace(table, frame=frame, label_order={**table.label_order, _joined(names): tuple(names)})


def _names_at(names: Sequence[str], row: Sequence[bool]) -> str:
    return json.dumps([name for name, is_there in zip(names, row, strict=True) if is_there], ensure_ascii=False)
