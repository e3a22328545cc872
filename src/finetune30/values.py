"""What a single value is, and how it is written where somebody else reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

#: A cell that begins so, maybe behind blanks, is a formula in a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

#: Verbs that may stand behind what is counted, as they go with one.
_OF_ONE = {
    "are": "is", "have": "has", "were": "was", "do": "does", "differ": "differs", "hold": "holds", "wait": "waits",
    "begin": "begins", "end": "ends", "repeat": "repeats", "stop": "stops", "show": "shows", "stand": "stands",
    "tell": "tells", "leave": "leaves",
}  # fmt: skip
#: Words with an s at their end that are no plurals.
_NO_PLURALS = frozenset({
    "as", "counts", "does", "gives", "has", "is", "its", "keeps", "less", "reads", "refuses", "this", "was",
    *_OF_ONE.values(),
})  # fmt: skip


def is_number(value: Any) -> bool:
    """Tell whether a metric's value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that can be written: JSON may spell halves of characters, which are none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def say_count(count: int, words: str, form: str = "") -> str:
    """Return a count and what is counted, one in the singular: `1 row is`, `3 rows are`.

    `words` begin with the plural, maybe with an adjective before it; `form` is how the number is written (`,`).
    """
    return f"{count:{form}} {words if count != 1 else of_one(words)}"


def filled(template: str, values: Mapping[str, Any]) -> str:
    """Return an English template with its {names} filled in, and what follows a value of 1 in the singular."""
    parts, is_one = [], False
    for fixed, name, form, conversion in Formatter().parse(template):
        parts.append(f" {of_one(fixed[1:])}" if is_one and fixed.startswith(" ") else fixed)
        is_one = False
        if name is not None:
            field = f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}"
            parts.append(field.format(**values))
            is_one = parts[-1] == "1"
    return "".join(parts)


def of_one(words: str) -> str:
    """Return words that follow a count as they follow a 1: the plural that is their first or second, and its verb."""
    parts = words.split(" ")
    for place, part in enumerate(parts[:2]):
        found = re.fullmatch(r"([a-z]+s)(\W*)", part)
        if found and found[1] not in _NO_PLURALS:
            parts[place] = _singular(found[1]) + found[2]
            if place + 1 < len(parts) and not found[2]:
                parts[place + 1] = _OF_ONE.get(parts[place + 1], parts[place + 1])
            break
    return " ".join(parts)


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun[:-2] if noun.endswith(("ches", "shes", "sses", "xes")) else noun[:-1]


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
