"""Data files that came over the network: kept by their content, under a name that a configuration can use.

<data folder>/uploads/<first 16 digits of the sha256>/<name>
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from finetune30.errors import DataError, UsageError
from finetune30.files import disk_errors, sync_folder

#: Returns the columns and the number of rows of a file, which people know by the name given with it.
ReadFile = Callable[[Path, str], tuple[list[str], int]]

_FOLDER = "uploads"
_NAME = re.compile(r"\w[\w .+-]{0,99}")


@dataclass(frozen=True)
class StoredFile:
    """A file in the data folder; `dataset_name` is what data.dataset_name takes."""

    dataset_name: str
    size: int
    sha256: str
    columns: list[str]
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return dict(vars(self))


class FileUpload:
    """Takes the pieces of one file; a context manager that leaves nothing behind unless `keep` was called."""

    def __init__(self, data_folder: Path, name: str, endings: Sequence[str]) -> None:
        """Raises UsageError unless `name` is that of a file with one of these endings."""
        require_file_name(name, endings)
        self._folder, self._name = data_folder / _FOLDER, name
        self._temporary = self._folder / f".{uuid.uuid4().hex}{Path(name).suffix}"
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        with disk_errors("cannot take the file"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("xb")
            fcntl.flock(self._file, fcntl.LOCK_EX)  # while it is held, `remove_abandoned` leaves the file alone
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises StorageError."""
        with disk_errors("cannot take the file"):
            self._file.write(piece)
        self._digest.update(piece)
        self._size += len(piece)

    def whole(self) -> Path:
        """Return the file with all that was written, which goes away with this upload. Raises StorageError."""
        with disk_errors("cannot take the file"):
            self._file.flush()
        return self._temporary

    def keep(self, read: ReadFile) -> StoredFile:
        """Read the file as data and keep it; the same content and name are kept once.

        Raises DataError and DataFileError for what is no readable data, StorageError.
        """
        if self._size == 0:
            raise DataError(f"{self._name} is empty", "send a file with rows")
        reading = self.whole()
        with disk_errors("cannot keep the file"):
            os.fsync(self._file.fileno())
        digest = self._digest.hexdigest()
        final = self._folder / digest[:16] / self._name
        columns, rows = read(reading, self._name)
        with disk_errors("cannot keep the file"):
            final.parent.mkdir(exist_ok=True)
            reading.replace(final)
            sync_folder(final.parent)
        return StoredFile(final.as_posix(), self._size, digest, columns, rows)


def require_file_name(name: str, endings: Sequence[str]) -> None:
    """Raise UsageError unless a name is that of a file with one of these endings, and nothing else."""
    path = Path(name)
    if not _NAME.fullmatch(name) or path.name != name or path.suffix.lower() not in endings:
        raise UsageError(
            f"{name[:100]!r} is no name of a data file",
            f"use letters, digits, spaces, dots and dashes, ending in {', '.join(filter(None, endings))}",
        )


def remove_abandoned(data_folder: Path) -> int:
    """Remove what uploads left whose process was killed; return how many. Those that go on are left alone."""
    removed = 0
    for path in (data_folder / _FOLDER).glob(".*"):
        with suppress(OSError), path.open("rb") as file:  # taken away meanwhile, or locked by its upload
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
    return removed
