"""What an attempt writes down while it works: logs.txt, history.jsonl, the console, and progress for the store."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from finetune30 import failpoints
from finetune30.files import disk_errors
from finetune30.values import is_number

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from finetune30.hub.fetching import Transfer
    from finetune30.training.progress import Progress

_SHOWN_IN_LOG = ("loss", "learning_rate", "grad_norm", "samples_per_second")


class RunLog:
    """Writes events with UTC times to the attempt's logs.txt and, when not quiet, to the console's standard error.

    One line an event: `2026-01-31T12:00:00.000Z text`; a text of several lines becomes several. A line of logs.txt that
    cannot be written is told to the console and never ends a run; a record of the history that cannot be written does.
    """

    def __init__(self, logs: Path, history: Path, *, console: Console | None = None) -> None:
        self._logs = LineAppender(logs)
        self._history = LineAppender(history)
        self._console = console
        self._told_of_loss = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush and close both files."""
        self._logs.close()
        self._history.close()

    def line(self, text: str) -> None:
        """Write one event."""
        self.to_file(text)
        if self._console:
            self._console.line(text)

    def to_file(self, text: str) -> None:
        """Write one event to logs.txt only (tracebacks, things the console shows otherwise)."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        lines = "".join(f"{moment} {part}\n" for part in text.splitlines() or [""])
        try:
            self._logs.append(lines)
        except OSError as error:
            if self._console and not self._told_of_loss:
                self._console.line(f"WARNING: logs.txt cannot be written ({error.strerror}); lines are missing in it")
            self._told_of_loss = True

    def sync_history(self) -> None:
        """Bring the history to the disk: a checkpoint counts on the records before it."""
        self._history.sync()

    def record(self, record: dict[str, Any]) -> None:
        """Append a record to history.jsonl and its readable form to logs.txt. Raises StorageError."""
        timed = {**record, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        with disk_errors("cannot write history.jsonl"):
            self._history.append(json.dumps(timed, ensure_ascii=False, allow_nan=False) + "\n")
        text = describe_record(record)
        self.to_file(text)
        if self._console:
            self._console.record(record, text)


class LineAppender:
    """Appends text to a file, whole or not at all: what a full disk cuts short is taken away again."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def append(self, text: str) -> None:
        """Append text at once; raises OSError."""
        content = text.encode("utf-8", "backslashreplace")
        failpoints.reach(failpoints.DISK_WRITE)
        before = os.fstat(self._file.fileno()).st_size
        written = self._file.write(content)
        if written != len(content):
            os.ftruncate(self._file.fileno(), before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Console:
    """The person's view: a progress bar on a terminal, quiet lines elsewhere; always on standard error.

    When nobody reads it any more (a closed pipe, a terminal that is gone) it falls silent: the run goes on.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._is_gone = False
        self._bar: Bar | None = None
        self._task: Any = None
        self._started = 0.0
        self._first_step = 0

    def line(self, text: str) -> None:
        """Show one event."""
        if self._is_gone:
            return
        try:
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)
        except OSError:
            self._fall_silent()

    def record(self, record: dict[str, Any], text: str) -> None:
        """Show a record: evaluations and events always, training steps only where there is no bar."""
        if record["type"] != "train" or self._bar is None:
            self.line(text)

    def step(self, progress: Progress) -> None:
        """Move the bar."""
        if not self._is_terminal or self._is_gone:
            return
        try:
            if self._bar is None:
                self._start_bar(progress)
            self._move_bar(progress)
        except OSError:
            self._fall_silent()

    def transfer(self, transfer: Transfer) -> None:
        """Move the bar of a download."""
        if not self._is_terminal or self._is_gone:
            return
        try:
            if self._bar is None:
                self._start_transfer_bar(transfer)
            assert self._bar is not None  # noqa: S101
            self._bar.update(self._task, completed=transfer.done_bytes)
            if transfer.done_bytes >= transfer.total_bytes:
                self.close()
        except OSError:
            self._fall_silent()

    def close(self) -> None:
        """Take the bar away."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError):
                bar.stop()

    def _fall_silent(self) -> None:
        self._is_gone = True
        self.close()

    def _move_bar(self, progress: Progress) -> None:
        assert self._bar is not None  # noqa: S101
        done = progress.global_step - self._first_step
        speed = done / max(time.monotonic() - self._started, 1e-9) * progress.samples / progress.global_step
        loss = "" if progress.last_loss is None else f"loss {progress.last_loss:.4f}  {speed:.0f} samples/s"
        self._bar.update(self._task, completed=progress.global_step, status=loss)

    def _start_transfer_bar(self, transfer: Transfer) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn(f"fetching {transfer.name}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=RichConsole(file=self._stream), transient=True)
        self._bar.start()
        self._task = self._bar.add_task("", total=transfer.total_bytes)

    def _start_bar(self, progress: Progress) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=RichConsole(file=self._stream), transient=True)
        self._bar.start()
        self._started, self._first_step = time.monotonic(), progress.global_step - 1
        self._task = self._bar.add_task("", total=progress.total_steps, completed=progress.global_step, status="")


def describe_record(record: dict[str, Any]) -> str:
    """Return the readable form of a history record."""
    place = f"step {record['step']} epoch {record['epoch']:.2f}"
    if record["type"] == "event":
        text = f"event {place} {record.get('event', '')}: {record.get('message', '')}"
        return f"WARNING: {text}" if record.get("event") == "doubt" else text
    if record["type"] == "train":
        shown = {key: record[key] for key in _SHOWN_IN_LOG if record.get(key) is not None}
    else:
        shown = {key: value for key, value in record.items() if key.startswith("eval_") and is_number(value)}
    values = " ".join(f"{key}={value:{_format_of(key)}}" for key, value in shown.items())
    return f"{record['type']} {place} {values}"


def _format_of(key: str) -> str:
    if key.endswith(("per_second", "runtime")):
        return ".1f"
    return ".3g" if key in ("learning_rate", "grad_norm") else ".4f"
