"""How a CSV or TSV file separates and quotes its cells: told from its first lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune30.data.sources.encodings import UTF8

DELIMITERS = (",", ";", "\t", "|")
#: The line with which spreadsheets tell each other the separator; it is no header.
_DECLARATION = re.compile(r'\ufeff?"?sep=(?P<delimiter>[,;\t|])"?[,;\t|]*\s*', re.IGNORECASE)
#: Lines looked at for the first one that holds something.
_LEADING_LINES = 1_000


@dataclass(frozen=True)
class Dialect:
    """How cells are separated, and whether quotes group them (`quoted`) or are plain characters.

    `declared`: the first line names the separator. `backslash`: quotes inside of quoted cells follow a backslash.
    """

    delimiter: str
    quoted: bool = True
    declared: bool = False
    backslash: bool = False

    @property
    def quotes(self) -> str:
        """How quotation marks are read, for people."""
        if not self.quoted:
            return "plain characters"
        return "around cells, escaped by backslashes" if self.backslash else "around cells"


def detect_dialect(path: Path, delimiter: str | None, codec: str = UTF8) -> Dialect:
    """Return the dialect: as the first line declares it, else the named delimiter, else the most frequent one.

    Separators count in the first line that is not blank, outside of quotes. Raises UnicodeDecodeError.
    """
    with path.open(encoding=codec, newline="") as handle:
        header = next((line for line in islice(handle, _LEADING_LINES) if line.strip()), "")
    declared = _DECLARATION.fullmatch(header)
    if declared:
        return Dialect(declared["delimiter"], declared=True)
    if delimiter is not None:
        return Dialect(delimiter)
    outside = re.sub(r'"[^"]*("|$)', "", header)
    counts = {mark: outside.count(mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return Dialect(best if counts[best] > counts[","] else ",")


def split_record(lines: str, dialect: Dialect) -> list[int]:
    """Return the 0-based offset at which every cell of the first record in `lines` starts."""
    starts, quoted, at_start = [0], False, True
    for offset, character in enumerate(lines):
        if quoted:
            quoted = character != '"'
        elif character == '"' and dialect.quoted and (at_start or lines[offset - 1] == '"'):
            quoted = True
        elif character == dialect.delimiter:
            starts.append(offset + 1)
            at_start = True
            continue
        elif character in "\r\n":
            break
        at_start = False
    return starts


def record_lines(path: Path, line: int, count: int, codec: str = UTF8) -> str:
    """Return `count` physical lines of `path` from `line` on, as text."""
    with path.open(encoding=codec, newline="", errors="replace") as handle:
        return "".join(islice(handle, line - 1, line - 1 + count))


def escapes_only_quotes(path: Path, codec: str) -> bool:
    r"""Say whether quotes are escaped by backslashes throughout: each stands before a quote or another backslash."""
    escaped = False
    with path.open(encoding=codec, newline="") as handle:
        for line in handle:
            if "\\" in line:
                rest = line.replace("\\\\", "")
                if rest.count("\\") != rest.count('\\"') or '""' in rest.replace('\\"', ""):
                    return False
                escaped = escaped or '\\"' in rest
    return escaped
