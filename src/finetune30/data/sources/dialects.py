"""How a CSV or TSV file separates and quotes its cells: told from its first lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from finetune30.data.sources.encodings import UTF8

DELIMITERS = (",", ";", "\t", "|")
#: The line with which spreadsheets tell each other the separator; it is no header.
_DECLARATION = re.compile(r'\ufeff?"?sep=(?P<delimiter>[,;\t|])"?[,;\t|]*\s*', re.IGNORECASE)
#: Lines looked at for the first one that holds something, and lines that the quotes of a header may span.
_LEADING_LINES = 1_000
_HEADER_LINES = 100
_COMMENT = "#"


@dataclass(frozen=True)
class Dialect:
    """How cells are separated, and whether quotes group them (`quoted`) or are plain characters.

    `declared`: the first line names the separator. `backslash`: quotes inside of quoted cells follow a backslash.
    `quote`: the quotation mark. `spaced`: spaces behind a separator belong to no cell. `comments`: physical lines above
    the header that are left out.
    """

    delimiter: str
    quoted: bool = True
    declared: bool = False
    backslash: bool = False
    quote: str = '"'
    spaced: bool = False
    comments: int = 0

    @property
    def quotes(self) -> str:
        """How quotation marks are read, for people."""
        if not self.quoted:
            return "plain characters"
        if self.quote == "'":
            return "single ones around cells"
        return "around cells, escaped by backslashes" if self.backslash else "around cells"


def detect_dialect(path: Path, delimiter: str | None, codec: str = UTF8) -> Dialect:
    """Return the dialect: as the first line declares it, else the named delimiter, else the most frequent one.

    Separators count in the first line that is neither blank nor a comment, outside of quotes. Raises
    UnicodeDecodeError.
    """
    with path.open(encoding=codec, newline="") as handle:
        leading, header = _read_header(handle)
    declared = _DECLARATION.fullmatch(leading[-1] if leading else "")
    if declared and not any(map(_is_comment, leading)):
        return Dialect(declared["delimiter"], declared=True)
    chosen = delimiter or _most_frequent(header)
    comments, header = _split_comments(leading, header, chosen)
    names = header.strip("\ufeff\r\n").split(chosen)
    is_single = len(names) > 1 and all(len(name) > 1 and name[0] == name[-1] == "'" for name in map(str.strip, names))
    return Dialect(chosen, comments=comments, quote="'" if is_single else '"')


def _read_header(handle: TextIO) -> tuple[list[str], str]:
    """Return the lines down to the first that is neither blank nor a comment, and it with what its quotes take."""
    leading: list[str] = []
    for line in islice(handle, _LEADING_LINES):
        leading.append(line)
        if line.strip() and not _is_comment(line):
            break
    header = leading[-1] if leading else ""
    if header.count('"') % 2:
        for line in islice(handle, _HEADER_LINES):
            header += line
            if header.count('"') % 2 == 0:
                return leading, header
        header = leading[-1]  # that quote belongs to no cell of several lines
    return leading, header


def _split_comments(leading: list[str], header: str, delimiter: str) -> tuple[int, str]:
    """Return how many lines stand above the header, where some of them are comments, and the header.

    A line that begins with # and has as many separators as the line below it is the header itself, unless they are
    those of a sentence, with spaces behind them.
    """
    marked = [number for number, line in enumerate(leading) if _is_comment(line)]
    if not marked:
        return 0, header
    if _is_comment(leading[-1]) or leading[-1].isspace():
        return 0, leading[marked[0]]
    last, width = leading[marked[-1]], _count(header, delimiter)
    is_prose = f"{delimiter} " in last and f"{delimiter} " not in header
    if not width or (_count(last, delimiter) == width and not is_prose):
        return (marked[-1], last) if len(marked) > 1 else (0, last)
    return len(leading) - 1, header


def _is_comment(line: str) -> bool:
    return line.lstrip("\ufeff").startswith(_COMMENT)


def _count(header: str, delimiter: str) -> int:
    """Return how often a separator stands outside of quotes."""
    return re.sub(r'"[^"]*("|$)', "", header).count(delimiter)


def _most_frequent(header: str) -> str:
    counts = {mark: _count(header, mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] > counts[","] else ","


def split_record(lines: str, dialect: Dialect) -> list[int]:
    """Return the 0-based offset at which every cell of the first record in `lines` starts."""
    starts, quoted, at_start = [0], False, True
    for offset, character in enumerate(lines):
        if quoted:
            quoted = character != dialect.quote
        elif character == dialect.quote and dialect.quoted and (at_start or lines[offset - 1] == dialect.quote):
            quoted = True
        elif character == dialect.delimiter:
            starts.append(offset + 1)
            at_start = True
            continue
        elif character in "\r\n":
            break
        at_start = at_start and dialect.spaced and character == " "
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


def quotes_separators(path: Path, codec: str, delimiter: str) -> bool:
    """Say whether single quotes stand around cells that hold the separator, in any line."""
    mark = re.escape(delimiter)
    quoted = re.compile(rf"(?:^|{mark})'[^']*{mark}[^']*'(?={mark}|\s*$)")
    with path.open(encoding=codec, newline="") as handle:
        return any("'" in line and quoted.search(line) for line in handle)
