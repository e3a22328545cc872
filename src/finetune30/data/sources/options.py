"""What the configuration says about reading a file, for the reader that it concerns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileOptions:
    """`encoding` of text files (None: UTF-8, or told from the bytes); `sheet` of a workbook or file of an archive."""

    encoding: str | None = None
    sheet: str | None = None


NO_OPTIONS = FileOptions()
