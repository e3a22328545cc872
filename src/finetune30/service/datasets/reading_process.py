"""Reading data that others sent, in a process of its own, which may end, hang or eat memory without harm to the asker.

One process a question: it gets one JSON line, answers with one JSON document and ends. It is killed when it takes too
long or too much memory, and ends by itself when its asker is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from finetune30.errors import DataError, ServiceUnavailableError
from finetune30.restored_errors import restore_error
from finetune30.settings import Settings, variable_name

#: Longest answer that is taken: what is shown of data is cut anyway.
MOST_ANSWER_BYTES = 64 << 20
_LOOK_SECONDS = 0.05
_PIECE_BYTES = 1 << 16
_SMALLER = "send fewer rows or columns, or look at the file with: ft30 data validate FILE"

_log = logging.getLogger(__name__)


class Readings:
    """Asks such processes, under the limits of the settings; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def ask(self, task: str, name: str, **question: Any) -> dict[str, Any]:
        """Return what `reading_tasks` answers to a task about the data that people know as `name`.

        Raises the error that the process raised, DataError where it took too long or too much memory or ended without
        an answer, ServiceUnavailableError after `close`.
        """
        with self._lock:
            if self._closed:
                raise ServiceUnavailableError("the API is stopping", "ask again once it is up")
            process = _start(self._settings)
            self._running.add(process)
        answer: bytes | None = None
        try:
            asked = json.dumps({"task": task, "name": name, **question}).encode() + b"\n"
            with contextlib.suppress(BrokenPipeError):  # it ended at once: its exit says more
                assert process.stdin is not None  # noqa: S101 - piped
                process.stdin.write(asked)
                process.stdin.flush()
            answer = self._collect(process, name)
        finally:
            with self._lock:
                self._running.discard(process)
            _end(process, has_answered=answer is not None)
        return self._read_answer(process, name, answer)

    def close(self) -> None:
        """End every process; nothing can be asked any more."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _collect(self, process: subprocess.Popen[bytes], name: str) -> bytes:
        """Return all that a process answers. Raises DataError beyond a limit."""
        limits = self._settings
        deadline = time.monotonic() + limits.read_seconds
        answer = bytearray()
        assert process.stdout is not None  # noqa: S101 - piped
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(_LOOK_SECONDS):
                    piece = os.read(process.stdout.fileno(), _PIECE_BYTES)
                    if not piece:
                        return bytes(answer)
                    answer += piece
                if len(answer) > MOST_ANSWER_BYTES:
                    raise DataError(f"{name}: there is more to show than {MOST_ANSWER_BYTES} bytes", _SMALLER)
                if time.monotonic() > deadline:
                    raise DataError(f"{name} cannot be read within {limits.read_seconds:g} s", _SMALLER)
                if _memory_of(process) > limits.read_memory_bytes:
                    raise DataError(f"{name} cannot be read with {limits.read_memory_bytes} bytes of memory", _SMALLER)

    def _read_answer(self, process: subprocess.Popen[bytes], name: str, answer: bytes) -> dict[str, Any]:
        try:
            tree: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            if self._closed:
                raise ServiceUnavailableError("the API is stopping", "ask again once it is up") from error
            code = process.returncode
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            _log.error("the process that read %s ended with %s", name, how)
            raise DataError(f"{name} cannot be read: its reader ended with {how}", _SMALLER) from error
        if "error" in tree:
            raise restore_error(tree)
        return tree


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != variable_name("api_keys")}
    environment |= {
        variable_name("results_folder"): str(settings.results_folder),
        variable_name("data_folder"): str(settings.data_folder),
        variable_name("database_url"): settings.resolved_database_url,
        variable_name("max_fetch_bytes"): str(settings.max_fetch_bytes),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "finetune30", "read"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


def _memory_of(process: subprocess.Popen[bytes]) -> int:
    import psutil

    try:
        return int(psutil.Process(process.pid).memory_info().rss)
    except psutil.Error:  # it ended: its answer is at hand
        return 0


def _end(process: subprocess.Popen[bytes], *, has_answered: bool) -> None:
    if not has_answered:
        process.kill()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
