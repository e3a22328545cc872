"""CSV and TSV: the csv module reads (it knows quoted newlines and counts physical lines), polars keeps the columns.

Faults are explained by reading the record at fault once more, character by character: the fast path stays fast and
the message can still name line and column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from finetune30.data.sources.table import ColumnChunks, SourceTable, check_header, invalid_utf8
from finetune30.errors import DataFileError

#: Longest cell read, in characters; a longer one is nearly always a quote that was never closed.
MAX_CELL_CHARACTERS = 16_000_000


@dataclass(frozen=True)
class Dialect:
    """How cells are separated, and whether quotes group them (`quoted`) or are plain characters."""

    delimiter: str
    quoted: bool = True


def load_delimited(path: Path, name: str, delimiter: str | None = None) -> SourceTable:
    """Read a CSV or TSV file with a header line; `delimiter` None: told from the header.

    Raises DataFileError with file, line and column for ragged rows, quotes that do not close and bytes that are
    not UTF-8.
    """
    dialect = detect_dialect(path, name, delimiter)
    notes: list[str] = []
    try:
        try:
            frame_source = _read(path, name, dialect)
        except DataFileError:
            if dialect.delimiter != "\t" or not dialect.quoted:
                raise
            # Many public TSV sets never quote: a lone quotation mark there is a character like any other.
            frame_source = _read(path, name, Dialect("\t", quoted=False))
            notes.append("quotation marks read as plain characters")
    except UnicodeDecodeError:
        raise invalid_utf8(name, path) from None
    if dialect.delimiter not in (",", "\t"):
        notes.append(f"cells separated by {dialect.delimiter!r}")
    format_name = "tsv" if dialect.delimiter == "\t" else "csv"
    return SourceTable(name, format_name, frame_source.finish(), path, notes=tuple(notes))


def detect_dialect(path: Path, name: str, delimiter: str | None) -> Dialect:
    """Return the dialect: the named delimiter, else the one most frequent in the header line."""
    if delimiter is not None:
        return Dialect(delimiter)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            header = handle.readline()
    except UnicodeDecodeError:
        raise invalid_utf8(name, path) from None
    counts = {mark: header.count(mark) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=lambda mark: counts[mark])
    return Dialect(best if counts[best] > counts[","] else ",")


def split_record(lines: str, dialect: Dialect) -> list[int]:
    """Return the 0-based offset at which every cell of the first record in `lines` starts."""
    starts, quoted, at_start = [0], False, True
    for offset, character in enumerate(lines):
        if quoted:
            quoted = character != '"'
        elif character == '"' and dialect.quoted and (at_start or lines[offset - 1] == '"'):
            quoted = True
        elif character == dialect.delimiter:
            starts.append(offset + 1)
            at_start = True
            continue
        elif character in "\r\n":
            break
        at_start = False
    return starts


def record_lines(path: Path, line: int, count: int) -> str:
    """Return `count` physical lines of `path` from `line` on, as text."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as handle:
        return "".join(islice(handle, line - 1, line - 1 + count))


def _read(path: Path, name: str, dialect: Dialect) -> ColumnChunks:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, delimiter=dialect.delimiter, strict=dialect.quoted, quoting=quoting)
        rows = _records(reader, path, name, dialect)
        first = next(rows, None)
        if first is None:
            raise DataFileError(name, 1, 0, "the file is empty", "give it a header line and at least one row")
        header = check_header(name, first[0], first[1])
        width, chunks, row_count = len(header), ColumnChunks(header), 0
        for cells, line in rows:
            if len(cells) != width:
                raise _ragged(path, name, dialect, cells, header, line, reader.line_num)
            chunks.append(cells, line)
            row_count += 1
    if not row_count:
        raise DataFileError(name, 2, 0, "there is a header but no row below it", "add rows below the header")
    return chunks


def _records(reader: Iterator[list[str]], path: Path, name: str, dialect: Dialect) -> Iterator[tuple[list[str], int]]:
    """Yield cells and first physical line of every record; blank lines are no records."""
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _bad_quote(path, name, dialect, line, str(error)) from None
        if cells:
            yield cells, line
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _ragged(
    path: Path, name: str, dialect: Dialect, cells: list[str], header: list[str], line: int, last_line: int
) -> DataFileError:
    starts = split_record(record_lines(path, line, last_line - line + 1), dialect)
    width = len(header)
    column = starts[width] + 1 if len(starts) > width and line == last_line else 0
    found = f"the row has {len(cells)} cells where the header has {width} ({', '.join(header[:8])})"
    if len(cells) > width:
        remedy = f'put quotes (") around a cell that contains {dialect.delimiter!r}'
    else:
        remedy = "add the missing cells (an empty one still needs its separator)"
    return DataFileError(name, line, column, found, remedy)


def _bad_quote(path: Path, name: str, dialect: Dialect, line: int, reason: str) -> DataFileError:
    text = record_lines(path, line, 1)
    starts = split_record(text, dialect)
    last = starts[-1]
    if "field larger" in reason:
        found = f"a cell is longer than {MAX_CELL_CHARACTERS} characters; a quote was probably never closed"
    elif "unexpected end" in reason:
        found = "the quote that opens here is never closed"
    else:
        found = f"a quoted cell opens here and does not end before the next separator ({reason})"
    remedy = 'close the quote; a quotation mark inside a quoted cell is written twice ("")'
    return DataFileError(name, line, last + 1, found, remedy)
