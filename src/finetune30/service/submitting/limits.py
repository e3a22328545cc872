"""Whether there is room for one more: open runs of the submitter, and space on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from finetune30.errors import QuotaError, StorageError
from finetune30.settings import Settings
from finetune30.store import RunStore
from finetune30.store.access import count_open_runs, is_submitted


def require_room(
    store: RunStore, settings: Settings, submitted_by: str, idempotency_key: str | None = None, *, count: int = 1
) -> None:
    """Raise QuotaError when the submitter had too many open runs with `count` more, StorageError for a full disk.

    What was submitted before under this key needs no room. Requests at the same moment may pass together, so the number
    can be exceeded by as many.
    """
    if idempotency_key is not None and is_submitted(store, submitted_by, idempotency_key):
        return
    require_disk_reserve(settings.results_folder, settings.disk_reserve_bytes)
    open_runs = count_open_runs(store, submitted_by)
    if open_runs + count > settings.max_open_runs:
        raise QuotaError(
            f"{submitted_by or 'this machine'} has {open_runs} waiting or running runs, "
            f"allowed are {settings.max_open_runs}",
            "wait until some have ended, cancel some, or raise FT30_MAX_OPEN_RUNS",
        )


def require_room_for_upload(settings: Settings) -> None:
    """Raise StorageError when the largest file that is taken would leave less free space than the reserve."""
    require_disk_reserve(settings.data_folder, settings.disk_reserve_bytes + settings.max_upload_bytes)


def require_disk_reserve(folder: Path, reserve_bytes: int) -> None:
    """Raise StorageError when the disk of a folder, which need not exist yet, has less free space than the reserve."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise StorageError(f"the disk of {folder} cannot be asked: {error.strerror}", "check the folder") from error
    if free < reserve_bytes:
        raise StorageError(
            f"the disk of {folder} has {free:,} bytes free, {reserve_bytes:,} are kept in reserve",
            "delete runs that are not needed, or lower FT30_DISK_RESERVE_BYTES",
        )
