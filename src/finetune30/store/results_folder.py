"""Making and removing the folders of runs."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

from finetune30.errors import StorageError
from finetune30.files import disk_errors, sync_folder
from finetune30.store.published_files import ORIGIN

#: `{name}_{YYYYmmdd_HHMMSS}`, with -2, -3 … where several runs of a name began in one second.
RUN_FOLDER = re.compile(r".+_\d{8}_\d{6}(-\d+)?")


def reserve_run_folder(results_root: Path, name: str, at: datetime, is_taken: Callable[[str], bool]) -> Path:
    """Make a new folder `{name}_{YYYYmmdd_HHMMSS}`, with -2, -3 … when that is taken. Raises StorageError."""
    base = f"{name}_{at:%Y%m%d_%H%M%S}"
    with disk_errors(f"cannot make a folder for the run in {results_root}"):
        results_root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100_000):
            folder = results_root / (base if number == 1 else f"{base}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue  # many runs of a name began in this second: the database need not be asked about each
            if is_taken(folder.name):  # by a run whose folder is gone
                folder.rmdir()
                continue
            sync_folder(results_root)
            return folder
    raise StorageError(f"every folder name like {base} is taken in {results_root}", "use another experiment name")


def remove_unused_folders(results_root: Path, is_taken: Callable[[str], bool], older_than_seconds: float) -> list[str]:
    """Remove unused folders that no run has: those of processes killed before they recorded the run. Return the names.

    Younger ones stay, their run may be about to be recorded. Raises StorageError.
    """
    removed = []
    with disk_errors(f"cannot look through {results_root}"):
        for folder in list(results_root.iterdir()) if results_root.is_dir() else ():
            if not RUN_FOLDER.fullmatch(folder.name) or not folder.is_dir() or not _is_unused(folder):
                continue
            if time.time() - folder.stat().st_mtime > older_than_seconds and not is_taken(folder.name):
                release_run_folder(folder)
                removed.append(folder.name)
    return removed


def release_run_folder(folder: Path) -> None:
    """Remove a reserved folder that no attempt has opened."""
    for entry in list(folder.iterdir()):
        if _is_of_reservation(entry.name):
            entry.unlink(missing_ok=True)
    folder.rmdir()


def _is_unused(folder: Path) -> bool:
    return all(_is_of_reservation(entry.name) for entry in folder.iterdir())


def _is_of_reservation(name: str) -> bool:
    """Tell the origin of a run from what its attempts write, also where the writing of it was cut short."""
    return name == ORIGIN or fnmatch(name, f".{ORIGIN}.*.tmp")


def remove_run_folder(results_root: Path, folder: str) -> None:
    """Remove a run's folder: hidden by one rename first, so that nobody sees half of it. Raises StorageError.

    Several processes may do it at the same time: each ends when the folder is gone.
    """
    if Path(folder).name != folder or folder in ("", ".", ".."):
        raise StorageError(f"{folder!r} is not the name of a run folder", "check the row in the database")
    hidden = results_root / f".deleted-{folder}"
    with disk_errors(f"cannot remove {folder}"):
        if (results_root / folder).is_dir():
            with suppress(FileNotFoundError):
                (results_root / folder).rename(hidden)
        while hidden.is_dir():
            with suppress(FileNotFoundError):  # another process removed what was about to be
                shutil.rmtree(hidden)
