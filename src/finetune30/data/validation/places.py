"""From a finding's row id and cell to `file:line:column`, by reading the one line of the file again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import polars as pl

from finetune30.data.columns import Columns
from finetune30.data.sources.dialects import Dialect, split_record
from finetune30.data.sources.table import SourceTable
from finetune30.data.sources.text_file import TextFile

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[\s,:{]*")


def locate_findings(findings: pl.DataFrame, tables: Sequence[SourceTable], columns: Columns) -> pl.DataFrame:
    """Return the findings with `file`, `line`, `column` (from 1; 0: unknown) and `place` (`file:line:column`).

    The column is where the cell begins, where it begins on the line on which the record starts.
    """
    if findings.is_empty():
        empty = {"file": pl.String, "line": pl.Int64, "column": pl.Int64, "place": pl.String}
        return findings.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in empty.items())
    names = _names_of_cells(columns)
    parts = []
    for table in tables:
        part = pl.DataFrame({"row_id": table.row_ids(), "line": table.frame["__line__"]})
        part = part.with_columns(pl.lit(table.name).alias("file"))
        if "__column__" in table.frame.columns:
            part = part.with_columns(table.frame["__column__"].alias("start"))
        else:
            part = part.with_columns(pl.lit(0, dtype=pl.Int64).alias("start"))
        wanted = findings.join(part, on="row_id", how="inner", maintain_order="left")
        if wanted.height:
            found = pl.Series("column", _columns(table, wanted, names), dtype=pl.Int64)
            parts.append(wanted.with_columns(found).drop("start"))
    located = pl.concat(parts)
    place = pl.concat_str(
        [
            pl.col("file"),
            pl.lit(":"),
            pl.col("line").cast(pl.String),
            pl.when(pl.col("column") > 0).then(pl.format(":{}", "column")).otherwise(pl.lit("")),
        ]
    )
    return located.with_columns(place.alias("place"))


def _names_of_cells(columns: Columns) -> dict[str, str]:
    """Return the file's column for each cell that a finding may name; an absent one lies where the first text is."""
    first = next(iter(columns.chosen.values())) or ""
    named = {role: name or first for role, name in columns.chosen.items()}
    return named | {"label": columns.target_column or first}


def _columns(table: SourceTable, wanted: pl.DataFrame, names: Mapping[str, str]) -> list[int]:
    lines, cells = wanted["line"].to_list(), [names[cell] for cell in wanted["cell"]]
    if table.text is None:
        return [0] * len(lines)
    if table.text.dialect is not None:
        return _delimited_columns(table, table.text, table.text.dialect, lines, cells)
    if table.format == "jsonl" or (wanted["start"] > 0).any():
        starts = [max(start, 1) for start in wanted["start"]]
        return _json_columns(table.text, lines, cells, starts)
    return [0] * len(lines)


def _delimited_columns(
    table: SourceTable, text: TextFile, dialect: Dialect, lines: list[int], cells: list[str]
) -> list[int]:
    index = {name: number for number, name in enumerate(table.columns)}
    if all(index[cell] == 0 for cell in cells):
        return [1] * len(lines)
    texts = text.read_lines(set(lines))
    result = []
    for line, cell in zip(lines, cells, strict=True):
        number = index[cell]
        starts = [0] if number == 0 else split_record(texts[line], dialect)
        result.append(starts[number] + 1 if number < len(starts) else 0)
    return result


def _json_columns(text: TextFile, lines: list[int], cells: list[str], starts: list[int]) -> list[int]:
    texts = text.read_lines(set(lines))
    return [_value_column(texts[line], start - 1, cell) for line, cell, start in zip(lines, cells, starts, strict=True)]


def _value_column(text: str, start: int, key: str) -> int:
    """Return where the value of `key` begins (from 1) in the object that starts at `start`; 0: not on this line."""
    position = start
    try:
        while True:
            position = _skip(text, position)
            name, position = _DECODER.raw_decode(text, position)
            position = _skip(text, position)
            if name == key or (isinstance(name, str) and name.strip() == key):
                return position + 1
            _, position = _DECODER.raw_decode(text, position)
    except ValueError:
        return 0


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
