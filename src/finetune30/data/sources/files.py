"""One local file: which reader fits, and a clear word when the file is not what its name says."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from finetune30.data.conversations.messages import is_turns
from finetune30.data.sources.archives import load_gzip, load_zip
from finetune30.data.sources.delimited import load_delimited
from finetune30.data.sources.encodings import wide_encoding
from finetune30.data.sources.json_records import load_json, load_jsonl
from finetune30.data.sources.options import NO_OPTIONS, FileOptions
from finetune30.data.sources.parquet import load_parquet
from finetune30.data.sources.table import SourceTable
from finetune30.data.sources.workbooks import load_workbook
from finetune30.errors import DataError, DataFileError

Reader = Callable[[Path, str, FileOptions], SourceTable]

_TABLES: dict[str, Reader] = {
    ".csv": load_delimited,
    ".tsv": partial(load_delimited, delimiter="\t"),
    ".tab": partial(load_delimited, delimiter="\t"),
    ".json": load_json,
    ".jsonl": load_jsonl,
    ".ndjson": load_jsonl,
    ".parquet": load_parquet,
    ".xlsx": load_workbook,
    ".ods": load_workbook,
}
#: Endings of files in which `data.sheet` chooses.
WITH_SHEETS = (".xlsx", ".ods", ".zip")
_PACKED = (".gz", *WITH_SHEETS)
_TAB = "\t"
#: First bytes of things that are sometimes named like data files, and what to do about each.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "fetch the real file with: git lfs pull"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "rename it to what it is: .xlsx, .ods or .zip"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind", "save it as .xlsx or as CSV (UTF-8)"),
    (b"\x1f\x8b", "a gzip archive", "rename it to end in .gz"),
    (b"<!DOCTYPE html", "a web page", "download the file itself, not the page that shows it"),
    (b"<html", "a web page", "download the file itself, not the page that shows it"),
)


def load_file(path: Path, name: str | None = None, options: FileOptions = NO_OPTIONS) -> SourceTable:
    """Read one file by its ending; `name` is what messages and row ids call it (default: the file name).

    Raises DataError (no such file, unknown ending) and DataFileError (the content is not what the ending says).
    """
    shown = name or path.name
    reader = READERS.get(path.suffix.lower())
    if not path.exists():
        missing = f"there is no file {shown!r}" if reader else f"there is no file or folder {shown!r}"
        raise DataError(missing, _nearest_file(path))
    if reader is None:
        raise _unknown_ending(path, shown)
    try:
        head = _read_head(path)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}", "check the file's rights") from error
    _check_signature(path, shown, head)
    return reader(path, shown, options)


def _load_gzip(path: Path, name: str, options: FileOptions) -> SourceTable:
    return load_gzip(path, name, options, load_file)


def _load_zip(path: Path, name: str, options: FileOptions) -> SourceTable:
    return load_zip(path, name, options, load_file, _TABLES)


#: Reader of each ending, in small letters.
READERS: dict[str, Reader] = {**_TABLES, ".gz": _load_gzip, ".zip": _load_zip}


def _read_head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(256)


def _check_signature(path: Path, shown: str, head: bytes) -> None:
    suffix = path.suffix.lower()
    if not head:
        raise DataFileError(shown, 1, 0, "the file is empty", "give it a header line and at least one row")
    packed = suffix in _PACKED
    for signature, meaning, remedy in _SIGNATURES[:1] if packed else _SIGNATURES:
        if head.startswith(signature):
            raise DataFileError(shown, 1, 0, f"this is {meaning}", remedy)
    if packed:
        return
    is_parquet = head.startswith(b"PAR1")
    if is_parquet and suffix != ".parquet":
        raise DataFileError(shown, 1, 0, f"this is a Parquet file named {suffix}", "rename it to end in .parquet")
    if suffix == ".parquet" and not is_parquet:
        raise DataFileError(shown, 0, 0, "this is no Parquet file", "rename it to what it is: .csv, .jsonl …")
    wide = wide_encoding(path)
    text = head.decode(wide or "utf-8", errors="replace").removeprefix("\ufeff").lstrip()
    if suffix in (".csv", ".tsv", ".tab") and text[:2] in ('{"', "[{"):
        raise DataFileError(shown, 1, 1, f"this is JSON named {suffix}", "rename it to end in .json or .jsonl")
    is_array = text[:1] == "[" and text[1:].lstrip()[:1] in ("{", "")
    if suffix in (".jsonl", ".ndjson") and is_array and not _holds_turns(path, wide or "utf-8"):
        raise DataFileError(shown, 1, 1, "this is one JSON array, not one object a line", "rename it to end in .json")


def _holds_turns(path: Path, codec: str) -> bool:
    """Say whether the first line is a conversation, a list of messages."""
    with path.open(encoding=codec, errors="replace") as handle:
        line = next((line for line in handle if not line.isspace()), "")
    try:
        return is_turns(json.loads(line.removeprefix("\ufeff")))
    except (ValueError, RecursionError):
        return False


def _unknown_ending(path: Path, shown: str) -> DataError:
    """Return the error about a file whose ending says nothing, by what seems to stand in it."""
    ending = path.suffix or "nothing"
    try:
        text = _read_head(path).decode("utf-8", errors="replace").removeprefix("\ufeff").lstrip()
    except OSError:  # a folder, or a file that may not be read: its ending is wrong all the same
        text = ""
    if text.startswith("__label__"):
        found = f"{shown}: files ending in {ending!r} are not read; this one is written for fastText"
        return DataError(
            found, "write a TSV: a line 'label<tab>text', then label and text of each row with a tab between"
        )
    if text.startswith(("{", "[{", "[\n", "[\r")):
        found = f"{shown}: files ending in {ending!r} are not read; this one looks like JSON"
        remedy = "rename it to end in .json" if text[0] == "[" else "rename it to end in .jsonl"
        return DataError(found, remedy)
    line = text.partition("\n")[0]
    separator = next((mark for mark in "\t;," if mark in line), None)
    if separator and ending.lower() in ("nothing", ".txt", ".dat"):
        found = f"{shown}: files ending in {ending!r} are not read; this one may be a table"
        return DataError(found, f"if it is, rename it to end in {'.tsv' if separator == _TAB else '.csv'}")
    return DataError(f"{shown}: files ending in {ending!r} are not read", f"use one of {', '.join(READERS)}")


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {str(folder)!r} does not exist either; check the path"
    names = [other.name for other in folder.iterdir() if other.suffix.lower() in READERS]
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"the folder holds {', '.join(sorted(names)[:10])}" if names else "the folder holds no data file"
