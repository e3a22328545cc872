"""Numbers of .ods that are shown with zeros before them: the file holds 42 and, beside it, the 00042 that people saw.

The reader of workbooks gives stored values. As in .xlsx (`number_formats`), whole numbers that are shown as nothing but
digits become the text that is shown; what shows zeros in another way is said and not applied.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

from finetune30.data.sources.number_formats import UNREADABLE, Shown, describe_unread, is_whole

_PADDED = re.compile(r"-?0\d+")
#: A zero before another digit that is neither behind a digit nor a decimal: 000-42, not 10.07.
_SHOWS_ZEROS = re.compile(r"(?<![\d.,])0\d")
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0 "
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0 "
_CELLS = (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell")


def apply_shown_numbers(path: Path, sheet: str, rows: Sequence[list[Any]]) -> tuple[list[Shown], tuple[str, ...]]:
    """Write the text that shows zeros before a whole number into `rows` (all rows of the sheet from its first one).

    Return which columns hold such numbers, and a note where they cannot be read.
    """
    cells = _Cells(sheet, rows)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = cells.start, cells.end
    parser.CharacterDataHandler = cells.write
    try:
        with zipfile.ZipFile(path) as archive, archive.open("content.xml") as handle:
            parser.ParseFile(handle)
    except UNREADABLE as error:
        return [], (describe_unread(error),)
    return [Shown(column, code, count, applied) for (column, code, applied), count in cells.counts.items()], ()


class _Cells:
    """Follows the rows and cells of one sheet; each may stand for several that are equal."""

    def __init__(self, sheet: str, rows: Sequence[list[Any]]) -> None:
        self._sheet, self._rows = sheet, rows
        self.counts: Counter[tuple[int, str, bool]] = Counter()
        self._is_here = False
        self._row = self._column = 0
        self._row_times = self._cell_times = 1
        self._notes = self._paragraphs = 0
        self._shown: list[str] | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == f"{_TABLE}table":
            self._is_here = attributes.get(f"{_TABLE}name") == self._sheet
        elif name == f"{_TABLE}table-row":
            self._column, self._row_times = 0, int(attributes.get(f"{_TABLE}number-rows-repeated", "1"))
        elif name in _CELLS:
            self._cell_times = int(attributes.get(f"{_TABLE}number-columns-repeated", "1"))
            is_number = self._is_here and attributes.get(f"{_OFFICE}value-type") == "float"
            self._shown = [] if is_number else None
        elif name == f"{_OFFICE}annotation":
            self._notes += 1
        elif name == f"{_TEXT}p":
            self._paragraphs += 1

    def write(self, text: str) -> None:
        if self._shown is not None and self._paragraphs and not self._notes:
            self._shown.append(text)

    def end(self, name: str) -> None:
        if name == f"{_TABLE}table":
            self._is_here = False
        elif name == f"{_TABLE}table-row":
            self._row += self._row_times if self._is_here else 0
        elif name in _CELLS:
            if self._shown:
                self._show("".join(self._shown).strip())
            self._shown = None
            self._column += self._cell_times
        elif name == f"{_OFFICE}annotation":
            self._notes -= 1
        elif name == f"{_TEXT}p":
            self._paragraphs -= 1

    def _show(self, text: str) -> None:
        is_padded = bool(_PADDED.fullmatch(text))
        if not is_padded and not _SHOWS_ZEROS.search(text):
            return
        code = "0" * len(text.lstrip("-")) if is_padded else re.sub(r"\d", "0", text)
        for row in self._rows[self._row : self._row + self._row_times]:
            for column in range(self._column, min(self._column + self._cell_times, len(row))):
                value = row[column]
                if not is_whole(value) or (is_padded and int(text) != value):
                    continue
                self.counts[column, code, is_padded] += 1
                if is_padded:
                    row[column] = text
