"""Cells of a CSV that carry more than their text: what tools put around it, and the mark of an appended file."""

from __future__ import annotations

import polars as pl

from finetune30.data.sources.table import LINE

#: A cell that spreadsheets take for a text.
_FORMULA = r'^="(?:[^"]|"")*"$'


def without_formulas(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Take `="` and `"` away around the cells of columns where all are written so, lest spreadsheets change them."""
    found = []
    for name in frame.columns[:-1]:
        column = frame[name]
        if column.str.starts_with('="').any() and (column.str.contains(_FORMULA) | (column == "")).all():
            found.append(name)
    bare = [pl.col(name).str.strip_prefix('="').str.strip_suffix('"').str.replace_all('""', '"') for name in found]
    listed = ", ".join(map(repr, found[:10]))
    notes = (f'cells of {listed} are written as ="…": the text inside is read',) if found else ()
    return frame.with_columns(bare), notes


def without_marks(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Take byte order marks away before a header that stands in the rows once more: there a file was appended."""
    first = frame.columns[0]
    bare = pl.col(first).str.strip_prefix("\ufeff").str.strip_chars().str.replace(r'^"(.*)"$', "$1")
    is_marked = pl.col(first).str.starts_with("\ufeff") & (bare == first)
    marked = frame.filter(is_marked)
    if not marked.height:
        return frame, ()
    lines = ", ".join(map(str, marked[LINE].head(3)))
    cells = pl.when(is_marked).then(bare).otherwise(pl.col(first)).alias(first)
    return frame.with_columns(cells), (f"a file was appended at line {lines}: a byte order mark stands there",)
