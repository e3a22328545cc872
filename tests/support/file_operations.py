"""Something happens at the n-th file operation: the process is killed, or the disk is full."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What changes the disk, as pathlib, shutil and our own code call it.
OPERATIONS = ("fsync", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink")


@contextmanager
def at_operation(number: int, act: Callable[[str], None]) -> Iterator[list[str]]:
    """Call `act` just before the n-th operation (from 1) of this process; yields the names of those that came by."""
    seen: list[str] = []
    originals = {name: getattr(os, name) for name in OPERATIONS}
    effects = originals | {"fsync": lambda _descriptor: None}  # slow, and no test survives a power loss

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) == number:
                act(name)
            return effects[name](*arguments, **options)

        return call

    for name in OPERATIONS:
        setattr(os, name, counted(name))
    try:
        yield seen
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def die(_operation: str) -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(operation: str) -> None:
    """Fail as on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), operation)
