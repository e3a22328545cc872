"""By which signal processes of one training ended, told by whoever started them to those that remain.

Only the parent of a process learns how it ended. It notes what a signal ended, in files that the others look for when
one is lost, so that a process which was killed for want of memory is not merely gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from finetune30.store.process_identity import describe_owner, is_dead

#: Names the folder of the notes to the processes that are started.
NOTES_VARIABLE = "FINETUNE30_NOTED_ENDS"
_LOOK_SECONDS = 0.05
#: So long the signal of a process that is gone is waited for; one that ended by itself has none.
_PATIENCE_SECONDS = 2.0


def note_ends(folder: Path) -> None:
    """Note from now on, in a thread, which children of this process a signal ended; their parent still collects them.

    Where the system does not tell a process so (macOS), nothing is noted.
    """
    os.environ[NOTES_VARIABLE] = str(folder)
    if hasattr(os, "waitid"):
        threading.Thread(target=_note, args=(folder,), name="noted-ends", daemon=True).start()


def describe_peer(owner: str) -> str:
    """Return a process in words, with the signal that ended it where its parent noted one."""
    words, folder = describe_owner(owner), os.environ.get(NOTES_VARIABLE)
    parts = owner.split(":")
    if folder is None or len(parts) != 4:
        return words
    name = _read_note(Path(folder) / parts[2], _PATIENCE_SECONDS if is_dead(owner) else 0.0)
    if not name:  # it lives, ended by itself, or on another host
        return words
    return f"{words}, ended by {name}{' (often: out of memory)' if name == signal.SIGKILL.name else ''}"


def _read_note(path: Path, patience_seconds: float) -> str:
    """Return the name of the signal; its parent learns of an end in the same moment as those that look for it."""
    until = time.monotonic() + patience_seconds
    while True:
        with suppress(OSError):  # not written, or not yet
            if name := path.read_text():
                return name
        if time.monotonic() >= until:
            return ""
        time.sleep(_LOOK_SECONDS)


def _note(folder: Path) -> None:
    while folder.is_dir():
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:  # none is started yet, or all were collected
            ended = None
        if ended is not None and ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            _write(folder / str(ended.si_pid), signal.Signals(ended.si_status).name)
        time.sleep(_LOOK_SECONDS)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except FileNotFoundError:  # all have ended, and with them the folder
        return
