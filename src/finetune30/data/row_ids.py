"""Row ids: `<source>:<line>[:<column>]`, and faults at the row that one names."""

from __future__ import annotations

from finetune30.errors import DataFileError


def split_row_id(row_id: str) -> tuple[str, int, int]:
    """Return source, line and column (0: not part of the id) of `<source>:<line>[:<column>]`."""
    head, _, last = row_id.rpartition(":")
    source, _, middle = head.rpartition(":")
    if source and middle.isdigit():
        return source, int(middle), int(last)
    return head, int(last), 0


def fault_at(row_id: str, found: str, remedy: str) -> DataFileError:
    """Return the error that names a row's place and what was found there."""
    file, line, column = split_row_id(row_id)
    return DataFileError(file, line, column, found, remedy)
