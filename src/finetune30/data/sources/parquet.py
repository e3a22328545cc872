"""Parquet files: columns are cast to text, rows are numbered from 1."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.sources.json_values import without_halves
from finetune30.data.sources.options import NO_OPTIONS, FileOptions
from finetune30.data.sources.table import LINE, SourceTable, check_header
from finetune30.errors import DataFileError
from finetune30.values import say_count

#: What is raised for damaged files beside the errors of the libraries.
_DAMAGED = (OSError, ValueError, MemoryError, OverflowError, RecursionError)
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def load_parquet(path: Path, name: str, options: FileOptions = NO_OPTIONS) -> SourceTable:
    """Read a Parquet file; no option concerns it. Raises DataFileError where the file is damaged."""
    frame, metadata = _read_file(path, name)
    frame, left_out = _without_index(frame)
    names, listed = _label_names(metadata, frame)
    rows = number_rows(cast_to_text(name_listed_labels(frame, listed), name))
    notes = (*left_out, *undecoded_columns(frame))
    return SourceTable(name, "parquet", rows, label_names=names, label_order=listed, notes=notes)


def _read_file(path: Path, name: str) -> tuple[pl.DataFrame, dict[bytes, bytes]]:
    """Return the columns of a file and its metadata. Raises DataFileError.

    pyarrow reads, for polars ends the whole process over some damaged files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # texts that are no UTF-8, too
        table.schema.to_string()  # names that are none
        plain = pa.schema([field.remove_metadata() for field in table.schema])
        frame = pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(table.columns, schema=plain)))
    except (*_DAMAGED, pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        found = f"the Parquet file cannot be read ({reason})"
        raise DataFileError(name, 0, 0, found, "write it again; it may have been cut off while copying") from error
    return frame, dict(table.schema.metadata or {})


def _without_index(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Leave out the columns in which pandas keeps an index that has no name; say which."""
    found = [name for name in frame.columns if _PANDAS_INDEX.fullmatch(name)]
    if not found or len(found) == frame.width:
        return frame, ()
    return frame.drop(found), (f"the index of pandas ({', '.join(found)}) is left out",)


def undecoded_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """Say which columns hold bytes that are no text, as pictures are: nothing is read from those cells."""
    counts = {
        column.name: column.len() - column.null_count() - column_text(column, column.name).drop_nulls().len()
        for column in frame.select(pl.col(pl.Binary)).iter_columns()
    }
    return tuple(
        f"{say_count(count, 'cells')} of {name!r} hold bytes that are no UTF-8"
        for name, count in counts.items()
        if count
    )


def cast_to_text(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the frame with every column as String; lists and structs become JSON, whole floats stay `1.0`."""
    header = check_header(name, frame.columns)
    if frame.is_empty():
        raise DataFileError(name, 0, 0, "there is no row in the file", "add at least one row")
    columns = [column_text(frame.to_series(index), column) for index, column in enumerate(header)]
    return pl.DataFrame(columns)


def name_listed_labels(frame: pl.DataFrame, names: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Return the frame with the names of classes in the place of their ids, in columns of lists of ids."""
    named = [
        pl.col(column).list.eval(
            pl.element().replace_strict(dict(enumerate(classes)), default=None, return_dtype=pl.String)
        )
        for column, classes in names.items()
    ]
    return frame.with_columns(named)


def number_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the place column: the row number, from 1."""
    return frame.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(LINE))


def column_text(series: pl.Series, name: str) -> pl.Series:
    """Return a column as text: lists and structs as JSON, bytes as UTF-8, or nothing where they are none."""
    if series.dtype == pl.Boolean:
        return series.cast(pl.String).alias(name)
    if series.dtype.is_nested():
        texts = [
            None if value is None else json.dumps(_plain(value), ensure_ascii=False, default=str) for value in series
        ]
        return pl.Series(name, texts, dtype=pl.String)
    if series.dtype == pl.Binary:
        return _decoded(series).alias(name)
    return series.cast(pl.String).alias(name)


def _decoded(series: pl.Series) -> pl.Series:
    try:
        return series.cast(pl.String)
    except pl.exceptions.ComputeError:  # not even one cell is read then
        texts = [None if value is None else value.decode("utf-8", errors="replace") for value in series]
        whole = [
            text if text is None or text.encode() == value else None for text, value in zip(texts, series, strict=True)
        ]
        return pl.Series(series.name, whole, dtype=pl.String)


def _plain(value: Any) -> Any:
    return value.to_list() if isinstance(value, pl.Series) else value


def _label_names(
    metadata: Mapping[bytes, bytes], frame: pl.DataFrame
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return the class names that the `datasets` library writes into a file's metadata, by column.

    First those of columns of class ids, then those of columns of lists of ids.
    """
    try:
        features = dict(json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}, {}
    names = {column: _class_names(features.get(column)) for column in frame.columns}
    lists = [column for column in frame.columns if frame.schema[column].is_nested()]
    listed = {column: _class_names(_element_of(features.get(column))) for column in lists}
    return {c: found for c, found in names.items() if found}, {c: found for c, found in listed.items() if found}


def _class_names(feature: Any) -> tuple[str, ...]:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    names = feature.get("names")
    return tuple(without_halves(str(name)) for name in names) if isinstance(names, list) else ()


def _element_of(feature: Any) -> Any:
    """Return what a list holds: the library writes `{"feature": …}`, older versions `[…]`."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature") if isinstance(feature, dict) else None
