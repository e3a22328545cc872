"""Locks of files and folders that go with the process that holds them, so that none outlives its holder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

#: Whoever only looks holds a lock for a moment, which is waited for.
_TRIES, _PAUSE_SECONDS = 5, 0.02


def lock(handle: int) -> bool:
    """Take the lock of what is open, until it is closed; return False where a process holds it."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock of a file or folder, which need not be there."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
