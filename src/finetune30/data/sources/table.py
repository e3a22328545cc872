"""What every reader returns: all cells as text in columns, and the place of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from finetune30.data.sources.physical_lines import PhysicalLines
from finetune30.data.sources.text_file import TextFile
from finetune30.errors import DataFileError
from finetune30.values import say_count

#: Rows turned into columns at a time: bounds the memory that Python objects take.
CHUNK_ROWS = 50_000
#: Columns that carry the place of a row; no file may bring its own.
LINE, COLUMN = "__line__", "__column__"
#: The format of rows that are a stored version.
VERSION = "version"
#: More columns than any set of texts and labels has: their number is multiplied with that of the rows.
MAX_COLUMNS = 1_000
#: What the stand-in for the name of a column without one begins with.
NAMELESS = "\0"


@dataclass(frozen=True)
class SourceTable:
    """Rows of one file or one hub split.

    `frame`: one String column for each column of the source (null: absent), plus `__line__` (Int64, from 1: the
    physical line on which the record starts, or the row number where there are no lines) and, where several
    records share a line, `__column__` (Int64, from 1). `label_names`: columns that hold class ids, with the names
    behind the ids. `label_order`: columns that hold names already, with the order of the classes. `text`: where the
    line of a row can be read once more, its cells in the order of `columns`; None: there is no such file.
    `lines`: where the physical lines of the file went; None: it has none, or a row's number stands for its line.
    `reading`: how a text file was read (encoding, separator, quotes), for people. `group_column`: of a stored version,
    the column with the number of each row's group.
    """

    name: str
    format: str
    frame: pl.DataFrame
    text: TextFile | None = None
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label_order: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: dict[str, str | int | None] = field(default_factory=dict)
    lines: PhysicalLines | None = None
    reading: dict[str, str] = field(default_factory=dict)
    group_column: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the source's own columns."""
        return [name for name in self.frame.columns if name not in (LINE, COLUMN)]

    def row_ids(self) -> pl.Series:
        """Return `<source>:<line>` (or `<source>:<line>:<column>`) for every row."""
        parts = [pl.lit(f"{self.name}:"), pl.col(LINE).cast(pl.String)]
        if COLUMN in self.frame.columns:
            parts += [pl.lit(":"), pl.col(COLUMN).cast(pl.String)]
        return self.frame.select(pl.concat_str(parts).alias("row_id")).to_series()


class ColumnChunks:
    """Collects rows of text cells and turns them into a frame chunk by chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [*names, LINE]
        self._rows: list[Sequence[str | None]] = []
        self._lines: list[int] = []
        self._frames: list[pl.DataFrame] = []

    def append(self, cells: Sequence[str | None], line: int) -> None:
        """Add one row that starts at `line`."""
        self._rows.append(cells)
        self._lines.append(line)
        if len(self._rows) >= CHUNK_ROWS:
            self._flush()

    def finish(self) -> pl.DataFrame:
        """Return everything collected as one frame."""
        if self._rows or not self._frames:
            self._flush()
        return pl.concat(self._frames)

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * (len(self._names) - 1)
        series = [
            pl.Series(name, cells, dtype=pl.String) for name, cells in zip(self._names[:-1], columns, strict=True)
        ]
        self._frames.append(pl.DataFrame([*series, pl.Series(LINE, self._lines, dtype=pl.Int64)]))
        self._rows, self._lines = [], []


def check_header(name: str, header: Sequence[str], line: int = 1) -> list[str]:
    """Return the column names without outer white space.

    Raises DataFileError for a name that stands twice, is empty (an unnamed first column, as pandas writes its index,
    is called `unnamed_1`) or is reserved, and for more columns than `MAX_COLUMNS`.
    """
    names = name_columns(name, header, line)
    for index, column in enumerate(names):
        if column.startswith(NAMELESS):
            raise nameless_column(name, index, line)
    return names


def name_columns(name: str, header: Sequence[str], line: int = 1) -> list[str]:
    """Do what `check_header` does, but give columns without a name one that starts with `NAMELESS`."""
    if len(header) > MAX_COLUMNS:
        found = f"there are {say_count(len(header), 'columns', ',')}; at most {MAX_COLUMNS:,} are read"
        raise DataFileError(name, line, 0, found, "keep the columns of text and label only")
    cleaned = [cell.strip() for cell in header]
    if cleaned and not cleaned[0] and len(cleaned) > 1:
        cleaned[0] = "unnamed_1"
    seen: set[str] = set()
    for index, column in enumerate(cleaned):
        if not column:
            cleaned[index] = f"{NAMELESS}{index}"
        elif column in (LINE, COLUMN):
            raise DataFileError(name, line, 0, f"the column name {column!r} is reserved", "rename the column")
        elif column in seen:
            found = f"the column {column!r} stands twice in the header"
            raise DataFileError(name, line, 0, found, "rename or remove one of the two columns")
        seen.add(column)
    return cleaned


def drop_empty_columns(name: str, frame: pl.DataFrame, line: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Leave out columns without a name that hold nothing; return what to say about it.

    Raises DataFileError where a column without a name holds something.
    """
    nameless = [column for column in frame.columns if column.startswith(NAMELESS)]
    for column in nameless:
        filled = frame.filter(pl.col(column).str.strip_chars() != "").head(1)
        if filled.height:
            index = frame.columns.index(column)
            raise nameless_column(name, index, line, filled[column][0], filled[LINE][0])
    if not nameless:
        return frame, ()
    return frame.drop(nameless), (f"{len(nameless)} columns without a name hold nothing; left out",)


def nameless_column(name: str, index: int, line: int, cell: str | None = None, at: int = 0) -> DataFileError:
    """Return the error about the column at `index` (from 0), and the first cell that stands in it."""
    found = f"column {index + 1} of the header has no name"
    if cell is not None:
        found = f"column {index + 1} of the header has no name, but line {at} holds {cell[:40]!r} there"
    return DataFileError(name, line, 0, found, "give every column a name in the first line")
