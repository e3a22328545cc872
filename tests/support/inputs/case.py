"""One input that somebody had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A text and a label, as they are read; None: there is none.
Row = tuple[str | None, str | None]


@dataclass(frozen=True)
class Case:
    """An input, and what is right.

    `thread`: repository and number of the report. `what`: how the file looks. `right`: in words. `file`: its name;
    `content`: its bytes, or what writes it. `rows`: those that are read; None: the file is refused. `says`: patterns of
    what is said about the reading, or in the refusal and its remedy. `options`: further keys of the data section.
    """

    number: int
    thread: str
    what: str
    right: str
    file: str
    content: bytes | Callable[[Path], None]
    rows: tuple[Row, ...] | None = None
    says: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the file into a folder and return its path."""
        path = folder / self.file
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path

    @property
    def address(self) -> str:
        """Where the report can be read."""
        repository, _, number = self.thread.partition("#")
        return f"https://github.com/{repository}/issues/{number}"
