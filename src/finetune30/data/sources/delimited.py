"""CSV and TSV: the csv module reads (it knows quoted newlines and counts physical lines), polars keeps the columns.

Faults are explained by reading the record at fault once more, character by character: the fast path stays fast and
the message can still name line and column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from finetune30.data.sources.dialects import (
    Dialect,
    detect_dialect,
    escapes_only_quotes,
    quotes_separators,
    record_lines,
    split_record,
)
from finetune30.data.sources.encodings import read_decoded
from finetune30.data.sources.joined_lines import JoinedLines
from finetune30.data.sources.odd_cells import without_formulas, without_marks
from finetune30.data.sources.odd_rows import explain_row, unknown_separator
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.physical_lines import (
    BLANK,
    COMMENT,
    DECLARATION,
    HEADER,
    IN_CELL,
    LineTally,
    PhysicalLines,
    count_lines,
)
from finetune30.data.sources.table import LINE, NAMELESS, ColumnChunks, SourceTable, drop_empty_columns, name_columns
from finetune30.data.sources.text_file import TextFile
from finetune30.errors import DataFileError
from finetune30.values import say_count

#: Longest cell read, in characters; a longer one is nearly always a quote that was never closed.
MAX_CELL_CHARACTERS = 16_000_000
#: A cell whose quotation marks quote all of it but the spaces before and behind.
_WHOLLY_QUOTED = r'^ +"(?:[^"]|"")*" *$'
#: Rows of a file of one column that are looked at for a separator.
_SEPARATOR_ROWS = 100


def load_delimited(path: Path, name: str, options: FileOptions, delimiter: str | None = None) -> SourceTable:
    """Read a CSV or TSV file with a header line; `delimiter` None: told from the header.

    Raises DataFileError with file, line and column for ragged rows, quotes that do not close, quotes that take several
    lines for one and bytes that do not decode.
    """

    def read(codec: str) -> _Reading:
        return _read_as_written(path, name, detect_dialect(path, delimiter, codec), codec)

    reading, codec, told = read_decoded(path, name, options.encoding, read)
    dialect, notes = reading.dialect, [*told, *_told_of(reading.dialect)]
    format_name = "tsv" if dialect.delimiter == "\t" else "csv"
    frame, dropped = drop_empty_columns(name, reading.frame, reading.header_line)
    frame, appended = without_marks(frame)
    frame, unwrapped = without_formulas(frame)
    in_order = frame.columns == [*reading.frame.columns[: len(frame.columns) - 1], LINE]
    text = TextFile(path, codec, dialect=dialect) if in_order and not dialect.backslash else None
    notes += [*dropped, *appended, *unwrapped, *reading.notes]
    return SourceTable(
        name,
        format_name,
        frame,
        text,
        notes=tuple(notes),
        lines=reading.account(),
        reading={"encoding": codec.removesuffix("-sig"), "separator": dialect.delimiter, "quotes": dialect.quotes},
    )


def _told_of(dialect: Dialect) -> list[str]:
    """Say how cells are separated and quoted, where that is not the usual way."""
    notes = []
    if not dialect.quoted:
        notes.append("quotation marks read as plain characters")
    if dialect.quote != '"':
        notes.append(f"cells quoted by {dialect.quote!r}")
    if dialect.backslash:
        notes.append("quotation marks inside of cells follow a backslash")
    if dialect.spaced:
        notes.append("spaces behind separators are left out: quotation marks follow them")
    if dialect.comments:
        notes.append(f"lines above the header left out, {dialect.comments} in all: comments begin with '#'")
    if dialect.declared:
        notes.append(f"cells separated by {dialect.delimiter!r}, as line 1 says")
    elif dialect.delimiter not in (",", "\t"):
        notes.append(f"cells separated by {dialect.delimiter!r}")
    return notes


def _read_as_written(path: Path, name: str, dialect: Dialect, codec: str) -> _Reading:
    """Read with quotes; where that fails or takes lines together, with quotes as plain characters or escaped ones."""
    plain = replace(dialect, quoted=False)
    try:
        reading = _Reading(path, name, dialect, codec)
    except DataFileError:
        for other in _other_quotes(path, dialect, codec):
            with suppress(DataFileError):  # the first fault says what is wrong with the file
                found = _Reading(path, name, other, codec)
                if not found.spanning:
                    return found
        if dialect.quote == "'":
            return _Reading(path, name, replace(dialect, quote='"'), codec)
        if dialect.delimiter == "\t":
            # Many public TSV sets never quote: a lone quotation mark there is a character like any other.
            return _Reading(path, name, plain, codec)
        if escapes_only_quotes(path, codec):
            return _Reading(path, name, replace(dialect, backslash=True), codec)
        raise
    if reading.has_spaced_quotes:
        with suppress(DataFileError):
            found = _Reading(path, name, replace(dialect, spaced=True), codec)
            if not found.begins_spaced:  # else the space and the marks are the text of a quoted cell
                return found
    swallowed = reading.joined.find_rows(reading.frame)
    if swallowed is None:
        return reading
    other = plain if dialect.delimiter == "\t" else replace(dialect, backslash=True)
    if other == plain or escapes_only_quotes(path, codec):
        with suppress(DataFileError):  # the first fault says what is wrong with the file
            return _Reading(path, name, other, codec)
    raise swallowed


def _other_quotes(path: Path, dialect: Dialect, codec: str) -> list[Dialect]:
    """Return how cells may be quoted otherwise than the standard says."""
    if dialect.delimiter == "\t" or dialect.quote == "'":
        return []
    spaced = [replace(dialect, spaced=True)]
    return [*spaced, replace(dialect, quote="'")] if quotes_separators(path, codec, dialect.delimiter) else spaced


class _Reading:
    """One pass over a file: its rows, and what was noticed."""

    def __init__(self, path: Path, name: str, dialect: Dialect, codec: str) -> None:
        self.dialect, self._path, self._name, self._codec = dialect, path, name, codec
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        with path.open(encoding=codec, newline="") as handle:
            self._tally = LineTally()
            for number in range(1, dialect.comments + 1):
                self._tally.add(COMMENT if next(handle).strip() else BLANK, number)
            self._reader = csv.reader(
                handle,
                delimiter=dialect.delimiter,
                strict=dialect.quoted,
                quoting=self._quoting(),
                quotechar=dialect.quote,
                skipinitialspace=dialect.spaced,
                escapechar="\\" if dialect.backslash else None,
                doublequote=not dialect.backslash,
            )
            self._read_rows()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said about rows that were read in another way than the file's lines show."""
        trimmed = (
            (f"{say_count(self._trimmed, 'rows end')} in separators without a cell behind them",)
            if self._trimmed
            else ()
        )
        return (*trimmed, *self.joined.notes())

    @property
    def begins_spaced(self) -> bool:
        """Whether any cell begins with a space and a quotation mark."""
        return self._any(pl.all().exclude(LINE).str.starts_with(' "'))

    @property
    def has_spaced_quotes(self) -> bool:
        """Whether a space before quotation marks kept them from quoting, in every cell that has one there."""
        spaced = pl.all().exclude(LINE).str.contains(r'^ +"') & ~pl.all().exclude(LINE).str.contains(_WHOLLY_QUOTED)
        return self.begins_spaced and not self._any(spaced)

    def _any(self, cells: pl.Expr) -> bool:
        return bool(self.frame.select(cells.any()).select(pl.any_horizontal(pl.all()))[0, 0])

    def account(self) -> PhysicalLines:
        """Return where the lines of the file went, compared with a count of them. Raises DataFileError."""
        total = count_lines(self._path, self._codec, "any")
        return self._tally.account(self._name, total, self.frame.height, joined_rows=self.spanning)

    def _quoting(self) -> Literal[0, 3]:
        return csv.QUOTE_MINIMAL if self.dialect.quoted else csv.QUOTE_NONE

    def _read_rows(self) -> None:
        rows = self._records()
        if self.dialect.declared:
            _, line, _ = next(rows)  # it was told from this line
            self._tally.add(DECLARATION, line)
        first = next(rows, None)
        if first is None:
            found, remedy = "the file is empty", "give it a header line and at least one row"
            raise DataFileError(self._name, 1, 0, found, remedy)
        cells, self.header_line, last_line = first
        self._tally.add(HEADER, self.header_line)
        if last_line != self.header_line:
            self._tally.add(IN_CELL, self.header_line + 1, last_line)
        header = name_columns(self._name, cells, self.header_line)
        width, chunks, row_count = len(header), ColumnChunks(header), 0
        self.joined, self._trimmed, self.spanning = JoinedLines(self._name, self.dialect.delimiter, width), 0, 0
        first_rows: list[list[str]] = []
        for cells, line, last_line in rows:
            if len(cells) != width:
                cells = self._fitted(cells, header, line, last_line)
            if last_line != line:
                self.joined.add(cells, line, last_line)
                self._tally.add(IN_CELL, line + 1, last_line)
                self.spanning += 1
            if width == 1 and row_count < _SEPARATOR_ROWS:
                first_rows.append(cells)
            chunks.append(cells, line)
            row_count += 1
        if not row_count:
            found, remedy = "there is a header but no row below it", "add rows below the header"
            raise DataFileError(self._name, self.header_line + 1, 0, found, remedy)
        if mark := unknown_separator(header[0], first_rows):
            found = f"the cells seem to be separated by {mark!r}"
            raise DataFileError(self._name, self.header_line, 0, found, "separate them by , ; | or a tab")
        self.frame = chunks.finish()

    def _fitted(self, cells: list[str], header: list[str], line: int, last_line: int) -> list[str]:
        """Return a row of another width as one that fits: nothing stands in the columns that it lacks or has more."""
        width = len(header)
        if len(cells) > width and not any(cells[width:]):
            self._trimmed += 1
            return cells[:width]
        if len(cells) < width and all(name.startswith(NAMELESS) for name in header[len(cells) :]):
            return [*cells, *[""] * (width - len(cells))]
        raise self._ragged(cells, header, line, last_line)

    def _records(self) -> Iterator[tuple[list[str], int, int]]:
        """Yield cells, first and last physical line of every record; blank lines are no records."""
        skipped, reader = self.dialect.comments, self._reader
        line = 1 + skipped
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._bad_quote(line, str(error)) from None
            last_line = skipped + reader.line_num
            if cells:
                yield cells, line, last_line
            else:
                self._tally.add(BLANK, line)
            line = last_line + 1

    def _ragged(self, cells: list[str], header: list[str], line: int, last_line: int) -> DataFileError:
        text = record_lines(self._path, line, last_line - line + 1, self._codec)
        width = len(header)
        before = record_lines(self._path, line - 1, 1, self._codec) if line - 1 > self.header_line else ""
        if explained := explain_row(text, before, cells, width, self.dialect):
            lines, column, found, remedy = explained
            return DataFileError(self._name, line + lines, column, found, remedy)
        starts = split_record(text, self.dialect)
        column = starts[width] + 1 if len(starts) > width and line == last_line else 0
        names = ("" if name.startswith(NAMELESS) else name for name in header[:8])
        found = f"the row has {say_count(len(cells), 'cells')} where the header has {width} ({', '.join(names)})"
        if len(cells) > width:
            remedy = f'put quotes (") around a cell that contains {self.dialect.delimiter!r}'
        else:
            remedy = "add the missing cells (an empty one still needs its separator)"
        return DataFileError(self._name, line, column, found, remedy)

    def _bad_quote(self, line: int, reason: str) -> DataFileError:
        last_line = max(line, self.dialect.comments + self._reader.line_num)
        text = record_lines(self._path, line, min(last_line - line + 1, 100), self._codec)
        starts = split_record(text.split("\n")[0], self.dialect)
        if "field larger" in reason:
            found = f"a cell is longer than {MAX_CELL_CHARACTERS} characters; a quote was probably never closed"
        elif "unexpected end" in reason:
            found = "the quote that opens here is never closed"
        else:
            found = f"a quoted cell opens here and does not end before the next separator ({reason})"
        remedy = 'close the quote; a quotation mark inside a quoted cell is written twice ("")'
        if (escaped := text.find('\\"')) >= 0:
            before = text[:escaped]
            found = 'a backslash stands before a quotation mark (\\"), which CSV does not know'
            remedy = 'write a quotation mark inside a quoted cell twice ("") instead of \\"'
            column = escaped - before.rfind("\n")
            return DataFileError(self._name, line + before.count("\n"), column, found, remedy)
        return DataFileError(self._name, line, starts[-1] + 1, found, remedy)
