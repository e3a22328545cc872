"""JSON (one array of objects) and JSONL (one object a line), read record by record so that each keeps its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.sources.table import CHUNK_ROWS, COLUMN, LINE, SourceTable, check_header, invalid_utf8
from finetune30.errors import DataFileError

_SPACE = re.compile(r"[ \t\r\n]*")
#: Keys under which some tools put the array of records.
_WRAPPERS = ("data", "rows", "examples", "records")

Record = dict[str, Any]
Placed = tuple[Record, int, int]


def load_jsonl(path: Path, name: str) -> SourceTable:
    """Read a JSONL file; blank lines are skipped. Raises DataFileError with line and column for bad JSON."""
    return SourceTable(name, "jsonl", _build_frame(_jsonl_records(path, name), name), path)


def load_json(path: Path, name: str) -> SourceTable:
    """Read a JSON array of objects (or an object that holds one under `data`).

    Raises DataFileError with line and column for bad JSON or records that are not objects.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise invalid_utf8(name, path) from None
    records = list(_json_records(text, name))
    shared_lines = any(a[1] == b[1] for a, b in pairwise(records))
    return SourceTable(name, "json", _build_frame(iter(records), name, with_columns=shared_lines), path)


def cell_text(value: Any) -> str | None:
    """Return a JSON value as the text of a cell: null stays null, lists and objects become JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _jsonl_records(path: Path, name: str) -> Iterator[Placed]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as handle:
            for line, raw in enumerate(handle, start=1):
                if raw.isspace():
                    continue
                try:
                    value = json.loads(raw)
                except json.JSONDecodeError as error:
                    raise _bad_json(name, line, error.colno, error.msg, raw) from None
                yield _expect_object(value, name, line, 1), line, 1
    except UnicodeDecodeError:
        raise invalid_utf8(name, path) from None


def _json_records(text: str, name: str) -> Iterator[Placed]:
    decoder = json.JSONDecoder()
    position = _skip_space(text, 0)
    if position >= len(text):
        raise DataFileError(name, 1, 0, "the file is empty", "write a JSON array of objects")
    position = _enter_array(text, position, name, decoder)
    line, counted = 1, 0
    position = _skip_space(text, position)
    while position < len(text) and text[position] != "]":
        line += text.count("\n", counted, position)
        column = position - text.rfind("\n", 0, position)
        counted = position
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _bad_json(name, error.lineno, error.colno, error.msg, text) from None
        yield _expect_object(value, name, line, column), line, column
        position = _skip_space(text, position)
        if position < len(text) and text[position] == ",":
            position = _skip_space(text, position + 1)
        elif position >= len(text) or text[position] != "]":
            fault = json.JSONDecodeError("expected ',' or ']' after a record", text, min(position, len(text)))
            raise _bad_json(name, fault.lineno, fault.colno, fault.msg, text)
    if position >= len(text):
        fault = json.JSONDecodeError("the array is never closed with ']'", text, len(text))
        raise _bad_json(name, fault.lineno, fault.colno, fault.msg, text)


def _enter_array(text: str, position: int, name: str, decoder: json.JSONDecoder) -> int:
    """Return the position behind the opening bracket of the array of records."""
    if text[position] == "[":
        return position + 1
    wrapped = re.compile(rf'\{{\s*"(?:{"|".join(_WRAPPERS)})"\s*:\s*\[').match(text, position)
    if wrapped:
        return wrapped.end()
    try:
        _, end = decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _bad_json(name, error.lineno, error.colno, error.msg, text) from None
    if text[position] == "{" and text[_skip_space(text, end) :].startswith("{"):
        raise DataFileError(name, 1, 1, "one object a line is JSONL, not JSON", "rename the file to end in .jsonl")
    raise DataFileError(name, 1, 1, "the file is no array of objects", 'write [{"text": …, "label": …}, …]')


def _build_frame(records: Iterator[Placed], name: str, *, with_columns: bool = False) -> pl.DataFrame:
    """Turn records into String columns; a key that a record lacks is null there."""
    names: dict[str, str] = {}
    frames: list[pl.DataFrame] = []
    chunk: list[Placed] = []

    def flush() -> None:
        for record, line, _ in chunk:
            if not names.keys() >= record.keys():
                names.update(dict.fromkeys(record, ""))
                names.update(zip(names, check_header(name, list(names), line), strict=True))
        columns = [
            pl.Series(column, [cell_text(record.get(key)) for record, _, _ in chunk], dtype=pl.String)
            for key, column in names.items()
        ]
        columns.append(pl.Series(LINE, [line for _, line, _ in chunk], dtype=pl.Int64))
        if with_columns:
            columns.append(pl.Series(COLUMN, [column for _, _, column in chunk], dtype=pl.Int64))
        frames.append(pl.DataFrame(columns))
        chunk.clear()

    for placed in records:
        chunk.append(placed)
        if len(chunk) >= CHUNK_ROWS:
            flush()
    if chunk:
        flush()
    if not frames:
        raise DataFileError(name, 1, 0, "there is no record in the file", "add at least one object")
    return pl.concat(frames, how="diagonal")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect_object(value: Any, name: str, line: int, column: int) -> Record:
    if isinstance(value, dict):
        return value
    found = f'expected an object like {{"text": …, "label": …}}, found {json.dumps(value, ensure_ascii=False)[:60]}'
    raise DataFileError(name, line, column, found, "write every record as an object with the columns as keys")


def _bad_json(name: str, line: int, column: int, reason: str, text: str) -> DataFileError:
    lines = text.splitlines() or [""]
    shown = lines[line - 1] if len(lines) >= line and len(lines) > 1 else lines[0]
    near = shown[max(0, column - 21) : column + 19].strip()
    found = f"invalid JSON: {reason[:1].lower()}{reason[1:]}" + (f", near {near!r}" if near else "")
    return DataFileError(name, line, column, found, "repair the JSON at this place")
