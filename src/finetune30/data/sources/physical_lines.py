"""Every physical line of a text file: a row begins on it, or it is counted under its reason with its number.

The lines are counted by the bytes of the file, apart from the reader that turned them into rows, and both must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune30.data.sources.encodings import UTF8
from finetune30.errors import DataFileError

if TYPE_CHECKING:
    import polars as pl

#: Why a line is no row of its own.
HEADER, DECLARATION, COMMENT, BLANK = "header", "separator_line", "comment", "blank"
IN_CELL, LAYOUT = "inside_quoted_cell", "json_layout"
WORDS = {
    HEADER: "header",
    DECLARATION: "that names the separator",
    COMMENT: "of comments",
    BLANK: "blank",
    IN_CELL: "inside of quoted cells",
    LAYOUT: "of brackets or of records that began before",
}
#: Line numbers that are kept for each reason; more say nothing new.
KEPT_NUMBERS = 20
_SHOWN_NUMBERS = 5
_PIECE_BYTES = 1 << 20

#: What ends a line: \n alone, or \r\n and \r as well.
Ends = Literal["\n", "any"]


@dataclass(frozen=True)
class PhysicalLines:
    """Where the lines of a file went: `total + sharing == rows + sum of the counts`.

    `total`: physical lines. `rows`: rows, `sharing` of which begin on a line on which another one begins. `counts`:
    lines that are no row of their own, by reason; `numbers`: the first of these lines (from 1). `joined_rows`: rows
    that quotation marks spread over several lines.
    """

    total: int
    rows: int
    sharing: int
    counts: Mapping[str, int]
    numbers: Mapping[str, tuple[int, ...]]
    joined_rows: int = 0

    def as_tree(self) -> dict[str, Any]:
        """Return what a report holds, JSON."""
        return {
            "physical": self.total,
            "rows": self.rows,
            "rows_on_shared_lines": self.sharing,
            "not_rows": {
                reason: {"count": count, "first": list(self.numbers[reason])} for reason, count in self.counts.items()
            },
        }


@dataclass
class LineTally:
    """Counts lines that are no rows while a file is read; the numbers of the first ones are kept."""

    counts: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)

    def add(self, reason: str, first: int, last: int | None = None) -> None:
        """Count the lines from `first` to `last` (the same one where it is left out)."""
        last = first if last is None else last
        self.counts[reason] = self.counts.get(reason, 0) + last - first + 1
        kept = self.numbers.setdefault(reason, [])
        kept.extend(range(first, min(last, first + KEPT_NUMBERS - len(kept) - 1) + 1))

    def account(self, name: str, total: int, rows: int, *, sharing: int = 0, joined_rows: int = 0) -> PhysicalLines:
        """Return the account of a file of `total` lines. Raises DataFileError where a line is in no count, or in two.

        What is wrong then is the reader, not the file.
        """
        numbers = {reason: tuple(lines) for reason, lines in self.numbers.items()}
        account = PhysicalLines(total, rows, sharing, dict(self.counts), numbers, joined_rows)
        check_lines(name, account.as_tree())
        return account


def check_lines(name: str, tree: Mapping[str, Any]) -> None:
    """Raise DataFileError where an account (see `PhysicalLines.as_tree`) does not add up."""
    counted = tree["rows"] + sum(entry["count"] for entry in tree["not_rows"].values())
    if tree["physical"] + tree["rows_on_shared_lines"] != counted:
        found = f"the file has {tree['physical']:,} lines, but {counted - tree['rows_on_shared_lines']:,} are accounted"
        raise DataFileError(name, 0, 0, found, "read it again; where that does not help, please report it")


def count_lines(path: Path, codec: str, ends: Ends) -> int:
    """Return the number of physical lines of a file; what follows the last line end is a line too.

    Counts bytes, piece by piece, wherever the codec writes line ends as ASCII does.
    """
    if not _has_plain_ends(codec):
        with path.open(encoding=codec, newline="\n" if ends == "\n" else "") as handle:
            return sum(1 for _ in handle)
    count, last = 0, b""
    with path.open("rb") as handle:
        while piece := handle.read(_PIECE_BYTES):
            count += piece.count(b"\n")
            if ends == "any":
                # A pair is one end; one that two pieces share was counted with the first.
                count += piece.count(b"\r") - piece.count(b"\r\n") - (last == b"\r" and piece[:1] == b"\n")
            last = piece[-1:]
    return count + (last not in (b"", b"\n", *((b"\r",) if ends == "any" else ())))


def account_records(path: Path, name: str, codec: str, ends: Ends, starts: pl.Series) -> PhysicalLines:
    """Return the account of a file of JSON whose records begin on the lines `starts` (Int64, one a record).

    Raises DataFileError where it does not add up.
    """
    total, tally = count_lines(path, codec, ends), LineTally()
    begun = starts.unique().sort()
    if total != len(begun):
        following = iter(begun)
        start = next(following, 0)
        with path.open(encoding=codec, newline="\n" if ends == "\n" else "") as handle:
            for number, text in enumerate(handle, start=1):
                if number == start:
                    start = next(following, 0)
                else:
                    tally.add(BLANK if not text.strip("\ufeff \t\r\n") else LAYOUT, number)
    return tally.account(name, total, len(starts), sharing=len(starts) - len(begun))


def describe_lines(tree: Mapping[str, Any]) -> str:
    """Return an account as one line, for example `62 lines = 60 rows + 1 header (line 1) + 1 blank (line 7)`."""
    shared = tree["rows_on_shared_lines"]
    rows = f"{tree['rows']:,} rows" + (f" ({shared:,} on the line of another)" if shared else "")
    parts = [
        f"{entry['count']:,} {WORDS.get(reason, reason)} ({_list_numbers(entry)})"
        for reason, entry in tree["not_rows"].items()
    ]
    return f"{tree['physical']:,} lines = {' + '.join([rows, *parts])}"


def _list_numbers(entry: Mapping[str, Any]) -> str:
    first = entry["first"][:_SHOWN_NUMBERS]
    listed = ", ".join(map(str, first)) + (" …" if entry["count"] > len(first) else "")
    return f"{'line' if entry['count'] == 1 else 'lines'} {listed}"


def _has_plain_ends(codec: str) -> bool:
    """Say whether a codec writes line ends, and nothing else, as the bytes of ASCII."""
    if codec == UTF8:
        return True
    try:
        return "\r\n".encode(codec) == b"\r\n"
    except UnicodeEncodeError:
        return False
