"""Locks on the devices of this machine: a GPU trains one thing at a time, whoever began it.

A lock is held through a file that all processes of a user share, and is free again when the process that holds it is
really gone. The processes that a training starts inherit nothing: they hold a second file of each device, at which
whoever takes it looks.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune30.errors import ConflictError
from finetune30.machine.gpus import find_gpus


def default_lock_folder() -> Path:
    """Return the folder that all processes of this user on this machine share."""
    return Path(tempfile.gettempdir()) / f"finetune30-slots-{os.getuid()}"


def take_lock(folder: Path, device: str) -> int | None:
    """Lock a device; return the handle of its file, None where somebody holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = _try_lock(_path(folder, device, "lock"))
    if handle is None:
        return None
    unheld = _try_lock(held_path(folder, device))
    if unheld is None:  # a process of a training whose first one is gone
        os.close(handle)
        return None
    os.close(unheld)
    return handle


def held_path(folder: Path, device: str) -> Path:
    """Return the file that further processes of the training on a device hold (`hold_until_end`)."""
    return _path(folder, device, "held")


def hold_until_end(path: Path) -> None:
    """Hold such a file until this process is gone."""
    fcntl.flock(_open(path), fcntl.LOCK_SH)


def close_locks(handles: Iterable[int]) -> None:
    """Free what `take_lock` returned."""
    for handle in handles:
        os.close(handle)


@contextmanager
def held_gpus(device: str | None, count: int = 1, folder: Path | None = None) -> Iterator[None]:
    """Hold the GPUs on which a training at a terminal runs; nothing where it uses none.

    `device` and the number of processes on this host are those of its configuration. A single process that names no
    GPU sees the one that is held as its only one. Raises ConflictError where another training holds what is needed.
    """
    folder = folder or default_lock_folder()
    kind, _, number = (device or "auto").partition(":")
    gpus = find_gpus() if kind in ("auto", "cuda") else []
    if number:
        gpus = gpus[int(number) : int(number) + 1]
    locks: dict[str, int] = {}
    for gpu in gpus:
        if len(locks) < count and (lock := take_lock(folder, f"cuda:{gpu}")) is not None:
            locks[gpu] = lock
    if gpus and len(locks) < min(count, len(gpus)):
        close_locks(locks.values())
        raise ConflictError(
            f"this training needs {count} of the {len(gpus)} GPUs that it could use, and other trainings on this "
            f"machine hold {len(gpus) - len(locks)}",
            "wait for them (ft30 status shows what runs), hand it in with ft30 submit, which waits by itself, or set "
            "training.device to cpu",
        )
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if locks and count == 1 and not number:
        os.environ["CUDA_VISIBLE_DEVICES"] = next(iter(locks))
    try:
        yield
    finally:
        close_locks(locks.values())
        if before is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _path(folder: Path, device: str, kind: str) -> Path:
    return folder / f"{re.sub('[^A-Za-z0-9.-]', '-', device)}.{kind}"


def _try_lock(path: Path) -> int | None:
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
