"""Number formats of .xlsx that show zeros before a number: `00000` makes 00042 of the stored 42.

The reader of workbooks gives stored values. An id or a label is what people saw, so whole numbers under a plain
padding become the text that is shown; a format that shows zeros in another way is said and not applied.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from finetune30.errors import first_line

#: A padding and nothing else, perhaps with the mark of a language before it and a place for texts behind it.
_PLAIN = re.compile(r"(?:\[\$-[0-9A-Fa-f]+\])?(0{2,})(?:;@)?")
#: Of a format: what stands as it is, what is escaped, and conditions and colours.
_NO_DIGITS = re.compile(r'"[^"]*"|\\.|_.|\[[^\]]*\]')
#: Zeros side by side that are neither decimals nor an exponent.
_SHOWS_ZEROS = re.compile(r"(?<![.0+\-])00")
_COLUMN = re.compile(r"[A-Z]{1,3}")
#: Whole numbers above lose digits where they are stored.
_EXACT = 2**53
#: What parts of a workbook raise that cannot be read.
UNREADABLE = (expat.ExpatError, zipfile.BadZipFile, OSError, KeyError, ValueError)

Element = Callable[[str, Mapping[str, str]], None]


@dataclass(frozen=True)
class Shown:
    """Whole numbers of a column that a format shows with zeros before them; `applied`: they became that text."""

    column: int
    code: str
    count: int
    applied: bool

    def describe(self, name: str) -> str:
        """Return the note for the column called `name`."""
        code, count = repr(self.code), f"{self.count:,}"
        if self.applied:
            return f"numbers of the column {name!r} with the format {code}: {count}, read as it shows them"
        return f"numbers of the column {name!r} with the format {code}: {count}, read as stored, not as it shows them"


def apply_number_formats(path: Path, sheet: str, rows: Sequence[list[Any]]) -> tuple[list[Shown], tuple[str, ...]]:
    """Write the text that a plain padding shows into `rows` (all rows of the sheet from its first one, first column).

    Return which columns hold such numbers, and a note where the formats cannot be read.
    """
    counts: Counter[tuple[int, str]] = Counter()
    try:
        with zipfile.ZipFile(path) as archive:
            codes = {style: code for style, code in enumerate(_read_codes(archive)) if _shows_zeros(code)}
            if codes:
                with archive.open(_part_of(archive, sheet)) as handle:
                    _parse(handle, _Cells(rows, codes, counts).start)
    except UNREADABLE as error:
        return [], (describe_unread(error),)
    return [Shown(column, code, count, bool(_PLAIN.fullmatch(code))) for (column, code), count in counts.items()], ()


def is_whole(value: Any) -> bool:
    """Say whether a cell holds a whole number that was stored to its last digit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and value == value // 1 and abs(value) < _EXACT


def describe_unread(error: BaseException) -> str:
    """Return the note for formats that cannot be read."""
    return f"the number formats of the workbook cannot be read ({first_line(error)}): numbers are as stored"


class _Cells:
    """Follows the cells of a sheet; one without an address stands behind the one before it."""

    def __init__(self, rows: Sequence[list[Any]], codes: Mapping[int, str], counts: Counter[tuple[int, str]]) -> None:
        self._rows, self._codes, self._counts = rows, codes, counts
        self._row = self._column = -1

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "row":
            self._row = int(attributes["r"]) - 1 if "r" in attributes else self._row + 1
            self._column = -1
        elif name == "c":
            letters = _COLUMN.match(attributes.get("r", ""))
            self._column = _column_index(letters[0]) if letters else self._column + 1
            if code := self._codes.get(int(attributes.get("s", "0"))):
                self._show(code)

    def _show(self, code: str) -> None:
        if self._row >= len(self._rows) or self._column >= len(self._rows[self._row]):
            return
        row = self._rows[self._row]
        value = row[self._column]
        if not is_whole(value):
            return
        self._counts[self._column, code] += 1
        if plain := _PLAIN.fullmatch(code):
            row[self._column] = f"{'-' if value < 0 else ''}{abs(int(value)):0{len(plain[1])}}"


def _shows_zeros(code: str) -> bool:
    return bool(_SHOWS_ZEROS.search(_NO_DIGITS.sub("", code).split(";")[0]))


def _column_index(letters: str) -> int:
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


def _read_codes(archive: zipfile.ZipFile) -> list[str]:
    """Return the format of every style of cells; formats that every program knows have none with zeros in front."""
    if "xl/styles.xml" not in archive.namelist():
        return []
    own: dict[str, str] = {}
    styles: list[str] = []
    within = ""

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal within
        if name in ("cellXfs", "cellStyleXfs", "dxfs"):
            within = name
        elif name == "numFmt" and within != "dxfs":
            own[attributes["numFmtId"]] = attributes["formatCode"]
        elif name == "xf" and within == "cellXfs":
            styles.append(attributes.get("numFmtId", "0"))

    with archive.open("xl/styles.xml") as handle:
        _parse(handle, start)
    return [own.get(style, "") for style in styles]


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """Return where a sheet lies in the archive. Raises KeyError."""
    ids: dict[str, str] = {}
    targets: dict[str, str] = {}

    def sheets(name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            ids[attributes["name"]] = attributes["id"]

    def links(name: str, attributes: Mapping[str, str]) -> None:
        if name == "Relationship":
            targets[attributes["Id"]] = attributes["Target"]

    with archive.open("xl/workbook.xml") as handle:
        _parse(handle, sheets)
    with archive.open("xl/_rels/workbook.xml.rels") as handle:
        _parse(handle, links)
    return posixpath.normpath(posixpath.join("/xl", targets[ids[sheet]])).lstrip("/")


def _parse(handle: IO[bytes], start: Element) -> None:
    """Call `start` with the name of each element and its attributes, both without their namespaces."""
    parser = expat.ParserCreate(namespace_separator=" ")

    def plain(name: str, attributes: dict[str, str]) -> None:
        start(name.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in attributes.items()})

    parser.StartElementHandler = plain
    parser.ParseFile(handle)
