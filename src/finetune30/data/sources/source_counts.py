"""What the files of a set count themselves, beside the rows that the `datasets` library read from them.

The library gives rows without their lines. A file that knows its number of rows is asked for it; of a text file the
physical lines are counted, apart from the reader, so that a row that nobody read does not go unseen.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from finetune30.data.sources.physical_lines import BLANK, LineTally

_SHOWN_FILES = 3
_SHOWN_LINES = 5
_GZIP = ".gz"


@dataclass(frozen=True)
class FileCount:
    """What a file says of itself.

    `rows`: its own number of rows; None where only its lines can be counted, or (`lines` None as well) nothing.
    `blank`: how many of its lines are blank, `blank_lines` the first of them (from 1).
    """

    name: str
    rows: int | None = None
    lines: int | None = None
    blank: int = 0
    blank_lines: tuple[int, ...] = ()


def count_notes(root: Path, files: Collection[str | Path], rows: int, encoding: str | None = None) -> tuple[str, ...]:
    """Return what the files of a split below `root` count themselves, beside the `rows` that were read from them."""
    return describe_counts([_count(Path(path), root, encoding or "utf-8") for path in files], rows)


def describe_counts(counts: Sequence[FileCount], rows: int) -> tuple[str, ...]:
    """Return notes: rows or lines by the files' own count, blank lines by number, and what could not be counted."""
    unknown = [count.name for count in counts if count.rows is None and count.lines is None]
    notes: list[str] = []
    if unknown:
        notes.append(f"rows are not counted apart from their reader in {_listed(unknown)}")
    elif counts and all(count.rows is not None for count in counts):
        told = sum(count.rows or 0 for count in counts)
        listed = _listed([f"{count.name} {count.rows:,}" for count in counts])
        if told == rows:
            notes.append(f"rows read: {rows:,}, as many as its files count themselves ({listed})")
        else:
            notes.append(f"rows read: {rows:,}, but its files count {told:,} themselves ({listed})")
    elif counts:
        lines = sum(count.lines or 0 for count in counts)
        blank = sum(count.blank for count in counts)
        listed = _listed([count.name for count in counts])
        notes.append(
            f"lines of {listed}: {lines:,}; of them rows: {rows:,}, blank: {blank:,}, headers and lines inside of "
            f"quoted cells: {lines - rows - blank:,}"
        )
    notes += [_describe_blank(count) for count in [count for count in counts if count.blank][:_SHOWN_FILES]]
    return tuple(notes)


def _describe_blank(count: FileCount) -> str:
    shown = ", ".join(map(str, count.blank_lines[:_SHOWN_LINES])) + (" …" if count.blank > _SHOWN_LINES else "")
    return f"blank lines in {count.name}: {count.blank:,} ({shown})"


def _listed(names: Sequence[str]) -> str:
    left_out = len(names) - _SHOWN_FILES
    return ", ".join(names[:_SHOWN_FILES]) + (f" … (+{left_out:,})" if left_out > 0 else "")


def _count(path: Path, root: Path, encoding: str) -> FileCount:
    name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    kind = Path(path.name.removesuffix(_GZIP)).suffix
    if kind == ".parquet":
        return FileCount(name, _parquet_rows(path))
    if kind == ".arrow":
        return FileCount(name, _arrow_rows(path))
    if kind in (".jsonl", ".ndjson", ".json", ".txt", ".csv", ".tsv"):
        return _count_text(path, name, kind, encoding)
    return FileCount(name)


def _parquet_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return cast("int", pq.read_metadata(path).num_rows)


def _arrow_rows(path: Path) -> int:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
        return sum(batch.num_rows for batch in batches)


def _count_text(path: Path, name: str, kind: str, encoding: str) -> FileCount:
    """Count lines; each is a row of plain text, each that is not blank one of JSON lines."""
    tally, lines, first = LineTally(), 0, ""
    with _open_text(path, encoding) as handle:
        for lines, text in enumerate(handle, start=1):
            if not text.strip("\ufeff \t\r\n"):
                tally.add(BLANK, lines)
            first = first or text.strip("\ufeff \t\r\n")
    blank, numbers = tally.counts.get(BLANK, 0), tuple(tally.numbers.get(BLANK, ()))
    if kind == ".txt":
        return FileCount(name, lines, lines, blank, numbers)
    if kind in (".csv", ".tsv"):
        return FileCount(name, None, lines, blank, numbers)
    if kind == ".json" and not (lines - blank > 1 and _is_object(first)):
        return FileCount(name)
    return FileCount(name, lines - blank, lines, blank, numbers)


def _open_text(path: Path, encoding: str) -> IO[str]:
    if path.suffix == _GZIP:
        return gzip.open(path, "rt", encoding=encoding, errors="replace")
    return path.open(encoding=encoding, errors="replace")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
