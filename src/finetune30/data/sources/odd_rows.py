"""Rows that do not fit their header: what stands in them that is known to break rows, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from finetune30.data.sources.dialects import Dialect
from finetune30.values import say_count

#: What is known of a row: the lines by which it is off (0: its own), the column (from 1), what was found, the remedy.
Explained = tuple[int, int, str, str]

_CURLY = "“”„‟«»"
#: Separators that are not read, most telling first.
_UNKNOWN = ("::", "^|^", "~|~", "^", "~", "¦", "\x01", "\x1f", "\x1e")
_LEAST_ROWS = 100


def explain_row(text: str, before: str, cells: Sequence[str], width: int, dialect: Dialect) -> Explained | None:
    """Return why a row has another number of cells than its header; None: nothing is known.

    `text`: its physical lines. `before`: the line above it.
    """
    if not text.strip("\0 \t\r\n"):
        found = (
            "the line holds NUL bytes and nothing else" if "\0" in text else "the line holds nothing but white space"
        )
        return 0, 1, found, "remove the line; what wrote the file may not have finished"
    for lines, line in ((-1, before), (0, text)):
        if line.endswith("\r"):
            found = "a carriage return (CR) without a line feed ends the row here, in a file whose lines end otherwise"
            return lines, len(line), found, "remove it, or put quotes around the cell that it stands in"
    if cells[0].lstrip().startswith("#"):
        found = (
            f"the row has {say_count(len(cells), 'cells')} where the header has {width}; it begins with '#', and "
            f"comments are known "
            "above the header only"
        )
        return 0, 1, found, "remove the line, or give it all of its cells"
    if blank := re.search(rf'{re.escape(dialect.delimiter)}([ \t]+)"', text):
        found = (
            "white space stands before the quotation mark here, so it quotes nothing; "
            f"the row has {say_count(len(cells), 'cells')} where the header has {width}"
        )
        return 0, blank.start(1) + 1, found, "remove the white space between separator and quotation mark"
    curly = next((cell.lstrip()[0] for cell in cells if cell.lstrip()[:1] in tuple(_CURLY)), None)
    if len(cells) > width and curly:
        found = (
            f'the quotation mark {curly} quotes nothing, only straight ones (") do; '
            f"the row has {say_count(len(cells), 'cells')} where the header has {width}"
        )
        return 0, text.index(curly) + 1, found, 'write straight quotation marks (") around the cell'
    return None


def unknown_separator(header: str, rows: Sequence[Sequence[str]]) -> str | None:
    """Return what seems to separate the cells of a file that was read as one column."""
    checked = [row[0] for row in rows[:_LEAST_ROWS]]
    for mark in _UNKNOWN:
        count = header.count(mark)
        if count and checked and all(text.count(mark) >= count for text in checked):
            return mark
    return None
