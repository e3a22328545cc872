"""What is on record of an export that was asked for over the API: who asked, how far it is, how it ended.

It lies beside the exports themselves, in a file that whoever works on it writes anew. A lock on a file beside that one
is held from the request to the end: it goes with the process that holds it, so none is taken for one that goes on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune30.errors import Finetune30Error
from finetune30.files import disk_errors, load_json, save_bytes_atomic
from finetune30.service.exports.kinds import EXPORTS
from finetune30.service.exports.locks import is_locked, lock
from finetune30.service.runs.open_records import Records
from finetune30.store import Run

_FOLDER = ".asked"


@dataclass(frozen=True)
class Asked:
    """An export that somebody asked for.

    `stage` is the last thing that was said of the work, None before it began; `error` what ended it.
    """

    form: str
    precision: str | None = None
    into: str | None = None
    accepted_gap: float | None = None
    by: str = ""
    called: str | None = None
    asked_at: str = ""
    stage: str | None = None
    ended_at: str | None = None
    error: dict[str, Any] | None = None


def record_of(records: Records, run: Run, name: str) -> Path:
    """Return the file in which an export of a run is on record."""
    return records.results_root / EXPORTS / _FOLDER / f"{run.folder}-{name}.json"


def load_asked(record: Path) -> Asked | None:
    """Return what is on record; None for what nobody asked for over the API. Raises StorageError."""
    loaded = load_json(record)
    known = {field.name for field in fields(Asked)}  # a later version may keep more
    return None if loaded is None else Asked(**{key: value for key, value in loaded.items() if key in known})


def save_asked(record: Path, asked: Asked) -> None:
    """Put it on record. Raises StorageError."""
    # What was measured of an export that is refused need not be a number, so this is not written as other JSON.
    save_bytes_atomic(record, json.dumps(asdict(asked), indent=2).encode())


def note_stage(record: Path, stage: str) -> None:
    """Say what is done at present. Raises StorageError."""
    if (asked := load_asked(record)) is not None:
        save_asked(record, replace(asked, stage=stage))


def note_end(record: Path, error: Finetune30Error | None) -> None:
    """Say how it ended. Raises StorageError."""
    if (asked := load_asked(record)) is not None:
        save_asked(record, replace(asked, ended_at=tell_now(), error=None if error is None else error.as_dict()))


def tell_now() -> str:
    """Return this moment as records and receipts have it, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def take(record: Path) -> int | None:
    """Lock an export for this process; return what lets go of it when it is closed, None where another has it."""
    with disk_errors(f"cannot write {record.name}"):
        record.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(_lock_of(record), os.O_RDWR | os.O_CREAT, 0o644)
        if lock(handle):
            return handle
        os.close(handle)
    return None


def is_taken(record: Path) -> bool:
    """Tell whether a process holds an export since it was asked for."""
    return is_locked(_lock_of(record))


def _lock_of(record: Path) -> Path:
    return record.with_suffix(".lock")
