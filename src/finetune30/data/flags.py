"""Cells that say whether a class is there: 0 and 1, or truth values."""

from __future__ import annotations

import polars as pl

from finetune30.data.sources.table import SourceTable

YES, NO = ("1", "1.0", "true", "True", "TRUE"), ("0", "0.0", "false", "False", "FALSE")
BLANK = ("", "NaN", "nan")


def flag_columns(table: SourceTable) -> list[str]:
    """Return the columns of a table that hold nothing but 0 and 1, where there are at least two."""
    found = [name for name in table.columns if _is_flag(table.frame[name])]
    return found if len(found) > 1 else []


def _is_flag(column: pl.Series) -> bool:
    values = column.str.strip_chars().unique().drop_nulls()
    return bool(values.is_in([*YES, *NO, *BLANK]).all()) and bool(values.is_in([*YES, *NO]).any())
