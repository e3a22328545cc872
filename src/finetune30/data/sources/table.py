"""What every reader returns: all cells as text in columns, and the place of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from finetune30.errors import DataFileError

#: Rows turned into columns at a time: bounds the memory that Python objects take.
CHUNK_ROWS = 50_000
#: Columns that carry the place of a row; no file may bring its own.
LINE, COLUMN = "__line__", "__column__"
#: The format of rows that are a stored version.
VERSION = "version"


@dataclass(frozen=True)
class SourceTable:
    """Rows of one file or one hub split.

    `frame`: one String column for each column of the source (null: absent), plus `__line__` (Int64, from 1: the
    physical line on which the record starts, or the row number where there are no lines) and, where several
    records share a line, `__column__` (Int64, from 1). `label_names`: columns that hold class ids, with the names
    behind the ids. `label_order`: columns that hold names already, with the order of the classes.
    """

    name: str
    format: str
    frame: pl.DataFrame
    path: Path | None = None
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label_order: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: dict[str, str | int | None] = field(default_factory=dict)

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
    is called `unnamed_1`) or is reserved.
    """
    cleaned = [cell.strip() for cell in header]
    if cleaned and not cleaned[0] and len(cleaned) > 1:
        cleaned[0] = "unnamed_1"
    for index, column in enumerate(cleaned):
        if not column:
            found = f"column {index + 1} of the header has no name"
            raise DataFileError(name, line, 0, found, "give every column a name in the first line")
        if column in (LINE, COLUMN):
            raise DataFileError(name, line, 0, f"the column name {column!r} is reserved", "rename the column")
        if column in cleaned[:index]:
            found = f"the column {column!r} stands twice in the header"
            raise DataFileError(name, line, 0, found, "rename or remove one of the two columns")
    return cleaned


def invalid_utf8(name: str, path: Path) -> DataFileError:
    """Return the error that names the first byte of `path` that is no UTF-8."""
    offset = 0
    for line_number, raw in enumerate(_raw_lines(path), start=1):
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            column = len(raw[: error.start].decode("utf-8")) + 1
            found = f"byte {offset + error.start} (0x{raw[error.start]:02x}) is not UTF-8"
            remedy = f"save the file as UTF-8, for example: iconv -f cp1252 -t utf-8 '{name}' > utf8_{Path(name).name}"
            return DataFileError(name, line_number, column, found, remedy)
        offset += len(raw)
    return DataFileError(name, 0, 0, "the file is not UTF-8", "save the file as UTF-8")


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        yield from handle
