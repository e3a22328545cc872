"""What a single value is, and how it is written where somebody else reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

#: A cell that begins so, maybe behind blanks, is a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def is_number(value: Any) -> bool:
    """Tell whether a metric's value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that can be written: JSON may spell halves of characters, which are none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def guard_formula(text: str) -> str:
    """Return a cell of a file that a spreadsheet may open: an apostrophe makes text of what it would run."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def unguard_formula(text: str) -> str:
    """Return what `guard_formula` was given."""
    return text[1:] if text.startswith("'") and guard_formula(text[1:]) == text else text


def encode_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV for people and their spreadsheets: no cell of it, and no heading, is a formula.

    Numbers stay numbers, None is an empty cell, truth values are true and false, lists and trees are JSON.
    """
    lines = [
        [_quote(guard_formula(column)) for column in columns],
        *([_csv_cell(cell) for cell in row] for row in rows),
    ]
    return "".join(",".join(line) + "\n" for line in lines)


def _csv_cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return str(cell)
    text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
    return _quote(guard_formula(text))


def _quote(text: str) -> str:
    # The csv module leaves a bare carriage return unquoted, behind which a spreadsheet begins a row, maybe a formula.
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & set(',"\r\n') else text
