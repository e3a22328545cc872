"""JSON (one array of objects) and JSONL (one object a line), read record by record so that each keeps its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import polars as pl

from finetune30.data.sources.encodings import read_decoded
from finetune30.data.sources.json_exports import (
    arrays_of_records,
    flatten_label_studio,
    is_label_studio,
    unpack_records,
    without_rejected,
)
from finetune30.data.sources.json_values import (
    MARK,
    IncompleteError,
    Placed,
    cell_text,
    decode_value,
    expect_object,
    place_of,
    text_series,
    without_halves,
)
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.physical_lines import account_records
from finetune30.data.sources.table import CHUNK_ROWS, COLUMN, LINE, SourceTable, check_header
from finetune30.data.sources.text_file import TextFile
from finetune30.errors import DataFileError
from finetune30.values import say_count

_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
#: Keys under which some tools put the array of records.
_WRAPPERS = ("data", "rows", "examples", "records")


def load_jsonl(path: Path, name: str, options: FileOptions) -> SourceTable:
    """Read a JSONL file; blank lines are skipped, and objects may span lines.

    Raises DataFileError with line and column for bad JSON.
    """
    notes: list[str] = []

    def read(codec: str) -> pl.DataFrame:
        notes.clear()
        return _build_frame(_jsonl_records(path, name, codec, notes), name, notes)

    frame, codec, told = read_decoded(path, name, options.encoding, read)
    return SourceTable(
        name,
        "jsonl",
        frame,
        TextFile(path, codec, "\n"),
        notes=(*told, *notes),
        lines=account_records(path, name, codec, "\n", frame[LINE]),
        reading={"encoding": codec.removesuffix("-sig")},
    )


def load_json(path: Path, name: str, options: FileOptions) -> SourceTable:
    """Read a JSON array of objects (or an object that holds one under `data`), or what pandas and Label Studio write.

    Raises DataFileError with line and column for bad JSON or records that are not objects.
    """
    text, codec, told = read_decoded(path, name, options.encoding, lambda codec: path.read_text(encoding=codec))
    notes = list(told)
    try:
        records = list(_json_records(text, name, notes))
    except IncompleteError as error:
        raise error.fault from None
    if records and is_label_studio(records[0][0]):
        records, said = flatten_label_studio(records)
        notes += said
    placed = bool(records) and records[0][2] > 0
    shared_lines = placed and any(a[1] == b[1] for a, b in pairwise(records))
    frame = _build_frame(iter(records), name, notes, with_columns=shared_lines)
    return SourceTable(
        name,
        "json",
        frame,
        TextFile(path, codec) if placed else None,
        notes=tuple(notes),
        lines=account_records(path, name, codec, "any", frame[LINE]) if placed else None,
        reading={"encoding": codec.removesuffix("-sig")},
    )


def _jsonl_records(path: Path, name: str, codec: str, notes: list[str]) -> Iterator[Placed]:
    with path.open(encoding=codec, newline="\n") as handle:
        for line, raw in enumerate(handle, start=1):
            if raw.isspace():
                continue
            start = 0
            if raw.startswith(MARK):
                notes.append(f"a file was appended at line {line}: a byte order mark stands there")
                start = 1
            try:
                value, end = decode_value(raw, _skip_space(raw, start), name, line)
            except IncompleteError:
                with path.open(encoding=codec, newline="\n") as whole:
                    yield from _spanning_records(whole.read(), name, line, notes)
                return
            if (after := _skip_space(raw, end)) < len(raw):
                found = f"the line goes on after its record with {raw[after : after + 20].strip()!r}"
                raise DataFileError(name, line, after + 1, found, "write one object a line, and nothing else")
            yield expect_object(value, name, line, 1), line, 1


def _spanning_records(text: str, name: str, first_line: int, notes: list[str]) -> Iterator[Placed]:
    """Yield objects one after the other from a line on, whatever lines they span."""
    notes.append(f"objects span lines from line {first_line} on")
    position, line, counted = _start_of_line(text, first_line), first_line, 0
    counted = position
    position = _skip_space(text, position)
    while position < len(text):
        line += text.count("\n", counted, position)
        column = position - text.rfind("\n", 0, position)
        counted = position
        try:
            value, position = decode_value(text, position, name)
        except IncompleteError as error:
            raise error.fault from None
        yield expect_object(value, name, line, column), line, column
        position = _skip_space(text, position)


def _start_of_line(text: str, line: int) -> int:
    position = 0
    for _ in range(line - 1):
        position = text.index("\n", position) + 1
    return position


def _json_records(text: str, name: str, notes: list[str]) -> Iterator[Placed]:
    position = _skip_space(text, 0)
    if position >= len(text):
        raise DataFileError(name, 1, 0, "the file is empty", "write a JSON array of objects")
    inside = _enter_array(text, position)
    if inside is None:
        yield from _other_records(text, position, name, notes)
        return
    line, counted = 1, 0
    position = _skip_space(text, inside)
    while position < len(text) and text[position] != "]":
        line += text.count("\n", counted, position)
        column = position - text.rfind("\n", 0, position)
        counted = position
        value, position = decode_value(text, position, name)
        yield expect_object(value, name, line, column), line, column
        position = _skip_space(text, position)
        if position < len(text) and text[position] == ",":
            position = _skip_space(text, position + 1)
        elif position >= len(text) or text[position] != "]":
            raise _expected(text, position, name, "expected ',' or ']' after a record")
    if position >= len(text):
        raise _expected(text, position, name, "the array is never closed with ']'")


def _enter_array(text: str, position: int) -> int | None:
    """Return the position behind the opening bracket of the array of records, None where there is no such array."""
    if text[position] == "[":
        return position + 1
    wrapped = re.compile(rf'\{{\s*"(?:{"|".join(_WRAPPERS)})"\s*:\s*\[\s*(?=[{{\]])').match(text, position)
    return wrapped.end() if wrapped else None


def _other_records(text: str, position: int, name: str, notes: list[str]) -> Iterator[Placed]:
    value, end = decode_value(text, position, name)
    if text[position] == "{" and text[_skip_space(text, end) :].startswith("{"):
        raise DataFileError(name, 1, 1, "one object a line is JSONL, not JSON", "rename the file to end in .jsonl")
    unpacked = unpack_records(value, _WRAPPERS)
    if unpacked is None:
        if len(arrays := arrays_of_records(value)) > 1:
            found = f"the file holds several arrays of objects: {', '.join(repr(key[:60]) for key in arrays[:10])}"
            raise DataFileError(name, 1, 1, found, "write each array into a file of its own, such as train.json")
        remedy = 'write an array with one object a row; in pandas: to_json(…, orient="records")'
        raise DataFileError(name, 1, 1, "the file is no array of objects", remedy)
    records, orientation = unpacked
    notes.append(f"laid out by {orientation}: a row's number stands for its line")
    for number, record in enumerate(records, start=1):
        yield expect_object(record, name, number, 0), number, 0


def _build_frame(records: Iterator[Placed], name: str, notes: list[str], *, with_columns: bool = False) -> pl.DataFrame:
    """Turn records into String columns; a key that a record lacks is null there."""
    names: dict[str, str] = {}
    frames: list[pl.DataFrame] = []
    chunk: list[Placed] = []
    halves = 0

    def flush() -> None:
        nonlocal halves
        for record, line, _ in chunk:
            if not names.keys() >= record.keys():
                names.update(dict.fromkeys(record, ""))
                names.update(zip(names, check_header(name, [without_halves(key) for key in names], line), strict=True))
        columns = []
        for key, column in names.items():
            series, count = text_series(column, [_cell(record, key, name, line) for record, line, _ in chunk])
            columns.append(series)
            halves += count
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
    if halves:
        notes.append(f"{say_count(halves, 'cells hold')} half of a character (a lone surrogate); U+FFFD stands for it")
    frame, rejected = without_rejected(pl.concat(frames, how="diagonal"))
    notes.extend(rejected)
    return frame


def _cell(record: dict[str, object], key: str, name: str, line: int) -> str | None:
    try:
        return cell_text(record.get(key))
    except RecursionError:
        found = f"the value of {key!r} is nested too deeply to be written as text"
        raise DataFileError(name, line, 0, found, "write the columns as plain values or short lists") from None


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expected(text: str, position: int, name: str, what: str) -> DataFileError:
    line, column = place_of(text, min(position, len(text)))
    near = text[max(0, position - 20) : position + 20].strip().split("\n")[-1]
    found = f"invalid JSON: {what}" + (f", near {near!r}" if near else "")
    return DataFileError(name, line, column, found, "repair the JSON at this place")
