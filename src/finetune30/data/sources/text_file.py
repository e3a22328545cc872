"""Where the text of a table stands, to read a line of it once more: a file, or one that is packed in an archive."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from finetune30.data.sources.dialects import Dialect


@dataclass(frozen=True)
class TextFile:
    """A text file that was read as `codec`; `newline` as `open` takes it: what ends a line.

    `dialect`: how its cells are separated, where it is no JSON. `member`: its name in the archive `path`; the empty
    text stands for the only file of a .gz.
    """

    path: Path
    codec: str
    newline: str = ""
    dialect: Dialect | None = None
    member: str | None = None

    def read_lines(self, wanted: Collection[int]) -> dict[int, str]:
        """Return lines by their numbers, from 1, down to the last one that is wanted. Raises OSError."""
        last = max(wanted, default=0)
        found = {}
        with ExitStack() as stack:
            lines = io.TextIOWrapper(self._open(stack), self.codec, errors="replace", newline=self.newline)
            for number, text in enumerate(lines, start=1):
                if number in wanted:
                    found[number] = text
                if number >= last:
                    break
        return found

    def _open(self, stack: ExitStack) -> IO[bytes]:
        if self.member is None:
            return stack.enter_context(self.path.open("rb"))
        if self.member == "":
            return cast("IO[bytes]", stack.enter_context(gzip.open(self.path)))
        archive = stack.enter_context(zipfile.ZipFile(self.path))
        return stack.enter_context(archive.open(self.member))
