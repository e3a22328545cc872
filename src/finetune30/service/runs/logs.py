"""Reading a run's log, also while it is written and across attempts."""

from __future__ import annotations

import codecs
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune30.errors import NotFoundError
from finetune30.service.runs.open_records import Records
from finetune30.store import RunFolder

POLL_SECONDS = 0.5
RECONCILE_SECONDS = 5.0
#: The longest piece handed out at a time.
PIECE_BYTES = 262_144


@dataclass(frozen=True)
class LogPiece:
    """Text of a log; `offset` is the byte after it, `size` that of the whole log."""

    text: str
    offset: int
    size: int


def load_log(path: Path, tail: int | None = None) -> str:
    """Return a log, or its last `tail` lines. Raises NotFoundError when it was not begun yet."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        remedy = "wait until the run starts, or see why it did not: ft30 runs show RUN"
        raise NotFoundError(f"{path.parent.name} has no log yet", remedy) from None
    return text if tail is None else last_lines(text, tail)


def last_lines(text: str, count: int) -> str:
    """Return the last lines of a text."""
    lines = text.splitlines(keepends=True)
    return "".join(lines[max(0, len(lines) - count) :])


def load_log_piece(path: Path, *, tail: int | None = None, offset: int = 0) -> LogPiece:
    """Return at most 256 KiB of a log from byte `offset` on, or the end of it with the last `tail` lines.

    Pieces end where a line does, so that no character is torn; a log that was not begun is empty.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - PIECE_BYTES) if tail is not None else min(offset, size)
            file.seek(start)
            content = file.read(PIECE_BYTES)
    except FileNotFoundError:
        return LogPiece("", 0, 0)
    complete = content[: content.rfind(b"\n") + 1] or (content if len(content) == PIECE_BYTES else b"")
    shown = complete
    if tail is not None:
        lines = complete.splitlines(keepends=True)[1 if start else 0 :]
        shown = b"".join(lines[max(0, len(lines) - tail) :])
    return LogPiece(shown.decode(errors="replace"), start + len(complete), size)


def follow_log(
    records: Records, run_id: str, tail: int | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Yield pieces of the newest attempt's log until the run has ended.

    The log of a further attempt begins with the lines of the one before; what was yielded already is not repeated.
    A run whose process dies is found within seconds. Raises NotFoundError when the run is deleted meanwhile.
    """
    folder = records.require_folder(records.store.get(run_id))
    reader = _LogReader(folder)
    if tail is not None:
        yield last_lines(reader.read(), tail)
    checked = time.monotonic()
    while True:
        if time.monotonic() - checked > RECONCILE_SECONDS:
            records.store.reconcile()
            checked = time.monotonic()
        ended = records.store.get(run_id).status.is_final
        if text := reader.read():
            yield text
        if ended:
            return
        sleep(POLL_SECONDS)


class _LogReader:
    """Reads what was added to a log that is appended to, or replaced by one that begins with the same bytes."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._offset = 0
        self._seen = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> str:
        """Return the new text, "" when there is none."""
        try:
            with self._folder.live_logs().open("rb") as file:
                known = file.read(self._offset)
                added = file.read()
        except FileNotFoundError:
            return ""
        if hashlib.sha256(known).digest() != self._seen.digest():
            known, added, self._seen = b"", known + added, hashlib.sha256()  # another log: from its beginning
        self._offset = len(known) + len(added)
        self._seen.update(added)
        return self._decoder.decode(added)
