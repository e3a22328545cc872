"""Writing at the place of a file where the last noted writing ended, so that what is written twice is there once."""

from __future__ import annotations

import os
from pathlib import Path

from finetune30.errors import TrackerError
from finetune30.files import disk_errors


def write_at(path: Path, offset: int, content: bytes, tracker: str, *, ends_file: bool) -> None:
    """Write at a place of a file that is there; with `ends_file` nothing stays behind it.

    Raises TrackerError where the file is gone or too short, StorageError.
    """
    with disk_errors(f"cannot write {path}"):
        size = path.stat().st_size if path.is_file() else -1
        if size < offset:
            raise TrackerError(
                f"{path} is {'gone' if size < 0 else 'shorter than what was written to it'}",
                f"write it anew: ft30 mirror RUN --to {tracker} --again",
            )
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(content)
            if ends_file:
                file.truncate()
            file.flush()
            os.fsync(file.fileno())
