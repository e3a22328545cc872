"""Where a run came from, when it came from another run: kept in its folder from the moment it is created."""

from __future__ import annotations

from typing import Any

from finetune30.files import load_json, save_json_atomic
from finetune30.store.run_folder import RunFolder

_FILE = "origin.json"


def save_origin(folder: RunFolder, **link: str) -> None:
    """Note `replay_of` or `warm_start_of` with the id of that run. Raises StorageError."""
    save_json_atomic(folder.path / _FILE, link)


def load_origin(folder: RunFolder) -> dict[str, Any] | None:
    """Return what was noted, None for a run that began by itself."""
    loaded: dict[str, Any] | None = load_json(folder.path / _FILE)
    return loaded
