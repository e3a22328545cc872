"""Quoted cells that hold line ends: text of several lines, or rows that a stray quotation mark took together?

A row is told by its shape: as many separators as the header has. Where every line inside of a quoted record has that
shape, and a cell of each stands in the same column of another row too (a label, most of all), the lines are rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import polars as pl

from finetune30.data.sources.table import LINE
from finetune30.errors import DataFileError

_LINE_END = re.compile(r"\r\n|\r|\n")
#: Records whose lines look like rows that are kept to compare and to name; more say nothing new.
_KEPT = 1_000
_SHOWN = 3


class JoinedLines:
    """Collects the records of a file that span lines which look like rows of their own."""

    def __init__(self, name: str, delimiter: str, width: int) -> None:
        self._name, self._delimiter, self._width = name, delimiter, width
        self._found: list[tuple[int, int, list[list[str]]]] = []
        self._count = 0

    def add(self, cells: Sequence[str], line: int, last_line: int) -> None:
        """Look at a record that spans the lines from `line` to `last_line`."""
        lines = _LINE_END.split(self._delimiter.join(cells))
        if self._width < 2 or any(text.count(self._delimiter) != self._width - 1 for text in lines):
            return
        self._count += 1
        if len(self._found) < _KEPT:
            self._found.append((line, last_line, [text.split(self._delimiter) for text in lines]))

    def find_rows(self, frame: pl.DataFrame) -> DataFileError | None:
        """Return the error about the first record whose lines are rows, judged by the other rows of the file."""
        if not self._found:
            return None
        others = frame.filter(~pl.col(LINE).is_in([line for line, _, _ in self._found]))
        known = [set(others.to_series(index)) | self._repeated(index) for index in range(self._width)]
        for line, last_line, rows in self._found:
            if any(all(_bare(row[index]) in cells for row in rows) for index, cells in enumerate(known)):
                found = f"the quotation mark that opens here takes lines {line} to {last_line} for one row"
                remedy = 'write a quotation mark of the text twice and the cell in quotes: """like this"" …"'
                return DataFileError(self._name, line, 0, found, remedy)
        return None

    def _repeated(self, index: int) -> set[str]:
        """Return the cells of a column that stand in two of the lines that look like rows."""
        counts = Counter(_bare(row[index]) for _, _, rows in self._found for row in rows)
        return {cell for cell, count in counts.items() if count > 1}

    def notes(self) -> tuple[str, ...]:
        """Say which records span lines that have the shape of rows."""
        if not self._count:
            return ()
        shown = ", ".join(f"{line} to {last_line}" for line, last_line, _ in self._found[:_SHOWN])
        more = f" and {self._count - _SHOWN} more" if self._count > _SHOWN else ""
        return (f"quoted cells that hold line ends and separators: lines {shown}{more} are one row each",)


def _bare(cell: str) -> str:
    return cell.strip('"')
