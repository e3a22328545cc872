"""Tables of texts and labels in every form that is read, written without the code under test.

A form writes rows as `FOLDER/name` and returns the path. `TEXT_FORMS` give text, which any encoding and archive may
hold; `BINARY_FORMS` write files of their own.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from support.workbooks import write_ods, write_xlsx

Rows = Sequence[tuple[str, str]]
NAMES = ("text", "label")


def delimited(separator: str, end: str, *, always: bool, declared: bool = False) -> Callable[[Rows], str]:
    """Return what writes a CSV as RFC 4180 says: quoted where it must be, or `always`; `declared` by a line `sep=`."""

    def cell(text: str) -> str:
        if always or any(mark in text for mark in (separator, '"', "\r", "\n")) or text != text.strip():
            return '"' + text.replace('"', '""') + '"'
        return text

    def write(rows: Rows) -> str:
        lines = [separator.join(map(cell, row)) for row in (NAMES, *rows)]
        return "".join(f"{line}{end}" for line in ([f"sep={separator}"] if declared else []) + lines)

    return write


def json_lines(*, ascii_only: bool, end: str = "\n") -> Callable[[Rows], str]:
    """Return what writes one object a line."""
    return lambda rows: "".join(
        json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=ascii_only) + end for row in rows
    )


def json_value(layout: str, indent: int | None = None) -> Callable[[Rows], str]:
    """Return what writes one JSON value, laid out as pandas' `orient` of that name or `wrapped` under a key."""

    def write(rows: Rows) -> str:
        records = [dict(zip(NAMES, row, strict=True)) for row in rows]
        columns = {name: {str(n): record[name] for n, record in enumerate(records)} for name in NAMES}
        values = {
            "records": records,
            "split": {"columns": list(NAMES), "index": list(range(len(rows))), "data": [list(row) for row in rows]},
            "index": {str(number): record for number, record in enumerate(records)},
            "columns": columns,
            "lists": {name: [record[name] for record in records] for name in NAMES},
            "wrapped": {"version": "1.0", "reviews": records},
        }
        return json.dumps(values[layout], ensure_ascii=False, indent=indent)

    return write


#: Name of the file -> what writes its text.
TEXT_FORMS: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "comma": ("a.csv", delimited(",", "\n", always=False)),
    "comma, CR LF, all quoted": ("a.csv", delimited(",", "\r\n", always=True)),
    "comma, CR": ("a.csv", delimited(",", "\r", always=False)),
    "semicolon": ("a.csv", delimited(";", "\r\n", always=False)),
    "semicolon, declared": ("a.csv", delimited(";", "\r\n", always=False, declared=True)),
    "bar, all quoted": ("a.csv", delimited("|", "\n", always=True)),
    "tab named csv": ("a.csv", delimited("\t", "\n", always=False)),
    "tab": ("a.tsv", delimited("\t", "\n", always=False)),
    "tab, all quoted": ("a.tab", delimited("\t", "\r\n", always=True)),
    "lines": ("a.jsonl", json_lines(ascii_only=False)),
    "lines, ASCII, CR LF": ("a.ndjson", json_lines(ascii_only=True, end="\r\n")),
    "records": ("a.json", json_value("records")),
    "records, indented": ("a.json", json_value("records", 2)),
    "split": ("a.json", json_value("split")),
    "index": ("a.json", json_value("index")),
    "columns": ("a.json", json_value("columns", 1)),
    "lists": ("a.json", json_value("lists")),
    "wrapped": ("a.json", json_value("wrapped")),
}


def _parquet(convert: Callable[[Sequence[str]], pa.Array]) -> Callable[[Path, Rows], None]:
    def write(path: Path, rows: Rows) -> None:
        texts, labels = zip(*rows, strict=True)
        pq.write_table(pa.table({NAMES[0]: convert(texts), NAMES[1]: convert(labels)}), path)

    return write


BINARY_FORMS: dict[str, tuple[str, Callable[[Path, Rows], None]]] = {
    "parquet": ("a.parquet", _parquet(lambda cells: pa.array(cells, pa.string()))),
    "parquet, large": ("a.parquet", _parquet(lambda cells: pa.array(cells, pa.large_string()))),
    "parquet, dictionary": ("a.parquet", _parquet(lambda cells: pa.array(cells, pa.string()).dictionary_encode())),
    "parquet, bytes": ("a.parquet", _parquet(lambda cells: pa.array([cell.encode() for cell in cells], pa.binary()))),
    "xlsx": ("a.xlsx", lambda path, rows: write_xlsx(path, {"S": [NAMES, *rows]})),
    "ods": ("a.ods", lambda path, rows: write_ods(path, {"S": [NAMES, *rows]})),
}


def pack(path: Path, how: str) -> Path:
    """Return the file, or what it is packed in: `gz` or `zip`."""
    if how == "gz":
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), 1))
        return packed
    if how == "zip":
        packed = path.with_name("a.zip")
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(path, f"folder/{path.name}")
        return packed
    return path
