"""Values of JSON as cells of text, and what a file may hold that is JSON and cannot be a row."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import polars as pl

from finetune30.data.conversations.messages import is_turns
from finetune30.errors import DataFileError

Record = dict[str, Any]
#: A record with the line and column (from 1) at which it begins; column 0: the line is the number of the row.
Placed = tuple[Record, int, int]

MARK = "\ufeff"


class _TwiceError(Exception):
    """A key that stands twice in an object: one of its values would be lost."""


def _object_of(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _TwiceError(next(key for key, count in counts.items() if count > 1))
    return found


#: NaN, which is no JSON but what pandas writes for a missing value, is none; the infinities stay.
_CONSTANTS = {"NaN": None, "Infinity": "Infinity", "-Infinity": "-Infinity"}
_DECODER = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_CONSTANTS.get)


#: What people write that is no JSON: how it begins, what is said about it, what to do.
_KNOWN_FAULTS = (
    (
        ("'",),
        "single quotes stand here, as Python prints them; JSON has double ones",
        "write the file with json.dumps, not with str or print",
    ),
    (
        ("None", "True", "False"),
        "a value stands here as Python prints it; JSON has null, true and false",
        "write the file with json.dumps, not with str or print",
    ),
    (("//", "/*", "#"), "a comment stands here, and JSON has none", "remove the comments"),
)


class IncompleteError(Exception):
    """JSON that ends before its last bracket is closed; `fault` is the error to raise if no more follows."""

    def __init__(self, fault: DataFileError) -> None:
        super().__init__(fault.message)
        self.fault = fault


def decode_value(text: str, position: int, name: str, line: int = 1) -> tuple[Any, int]:
    """Return the JSON value at `position` and where it ends; `line` is that of the first character of `text`.

    Raises DataFileError with line and column: no JSON, nested too deeply, a number too long, a key twice. Where the
    text ends in the middle of the value, IncompleteError with that error.
    """
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        fault = _bad_json(name, line + error.lineno - 1, error, text)
        if error.pos >= len(text.rstrip()):
            raise IncompleteError(fault) from None
        raise fault from None
    except RecursionError:
        found, remedy = "the record is nested too deeply to be read", "write the columns as plain values or short lists"
    except _TwiceError as error:
        found, remedy = f"the key {str(error)[:60]!r} stands twice in one object", "rename or remove one of the two"
    except ValueError:  # the only other one: an integer of thousands of digits
        found, remedy = "the record holds a number with too many digits", 'write it as a text, in quotes: "123…"'
    row, column = place_of(text, position)
    raise DataFileError(name, line + row - 1, column, found, remedy)


def place_of(text: str, position: int) -> tuple[int, int]:
    """Return line and column, both from 1, of a position."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def cell_text(value: Any) -> str | None:
    """Return a JSON value as the text of a cell: null stays null, lists and objects become JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def text_series(column: str, cells: list[str | None]) -> tuple[pl.Series, int]:
    """Return cells as a String column, and how many held half of a character.

    JSON may escape half of a surrogate pair, as where a text was cut in the middle of an emoji; U+FFFD stands for it.
    """
    try:
        return pl.Series(column, cells, dtype=pl.String), 0
    except UnicodeEncodeError:
        mended = [None if cell is None else without_halves(cell) for cell in cells]
        count = sum(a != b for a, b in zip(cells, mended, strict=True))
        return pl.Series(column, mended, dtype=pl.String), count


def without_halves(text: str) -> str:
    """Return a text with U+FFFD in the place of lone surrogates."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def expect_object(value: Any, name: str, line: int, column: int) -> Record:
    """Return a value that is an object, or a list of messages as one under `messages`. Raises DataFileError."""
    if isinstance(value, dict):
        return value
    if is_turns(value):
        return {"messages": value}
    shown = without_halves(str(cell_text(value))[:60])
    found = f"expected an object of the columns by their names, found {shown}"
    raise DataFileError(name, line, column, found, "write every record as an object with the columns as keys")


def _bad_json(name: str, line: int, error: json.JSONDecodeError, text: str) -> DataFileError:
    """Return the error about JSON that breaks off in line `line` of the file, in a text that may begin later."""
    column = error.colno
    shown = text[error.pos - column + 1 :].split("\n", 1)[0]
    near = shown[max(0, column - 21) : column + 19].strip()
    what, remedy = f"{error.msg[:1].lower()}{error.msg[1:]}", "repair the JSON at this place"
    if _behind_comma(text, error.pos):
        what, remedy = "a comma stands in front of a closing bracket", "remove the comma"
    for beginnings, known, repair in _KNOWN_FAULTS:
        if text.startswith(beginnings, error.pos):
            what, remedy = known, repair
    found = f"invalid JSON: {what}, near {near!r}" if near else f"invalid JSON: {what}"
    return DataFileError(name, line, column, found, remedy)


def _behind_comma(text: str, position: int) -> bool:
    if text.startswith(",", position):  # later versions of Python name the comma itself
        return re.compile(r",\s*[}\]]").match(text, position) is not None
    return text.startswith(("}", "]"), position) and text[:position].rstrip().endswith(",")
