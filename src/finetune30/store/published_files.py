"""The manifest of a run: sha256 and size of every published file, and whether the files still are what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune30.errors import StorageError
from finetune30.files import load_json, sha256_of, sync_file, sync_folder

MANIFEST_FORMAT = 1
MANIFEST = "manifest.json"
LOGS = "logs.txt"
HISTORY = "history.jsonl"
#: Where a run came from, when it came from another run; there from before the run is recorded.
ORIGIN = "origin.json"
#: How a repetition compares with the run that it repeats.
REPLAY = "replay.json"
#: Where files pass on their way to the top while the attempt works; no part of what is published.
REVEAL = ".reveal"

#: Files that grow while everything else is published: the manifest vouches for their first `size` bytes.
_GROWING = frozenset({LOGS})


def load_usable_manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest that can be used; a broken one counts as none."""
    try:
        manifest = load_json(path)
    except StorageError:
        return None
    usable = (
        isinstance(manifest, dict)
        and manifest.get("format") == MANIFEST_FORMAT
        and isinstance(manifest.get("attempt"), int)
        and isinstance(manifest.get("files"), dict)
    )
    return manifest if usable else None


def find_faults(manifest: dict[str, Any], places: list[Path], history: Path | None = None) -> list[str]:
    """Check every file of a manifest in the first of `places` that has it."""
    faults = []
    for name, entry in manifest["files"].items():
        found = [place / name for place in places if (place / name).is_file()]
        path = history if history and name == HISTORY else next(iter(found), None)
        if path is None:
            faults.append(f"{name} is missing")
            continue
        size = path.stat().st_size
        grown = name in _GROWING and size >= entry["size"]
        if size != entry["size"] and not grown:
            faults.append(f"{name} has {size} bytes instead of {entry['size']}")
        elif sha256_of(path, entry["size"]) != entry["sha256"]:
            faults.append(f"{name} has other content than was published")
    return faults


def describe_synced(box: Path) -> dict[str, dict[str, Any]]:
    """Fsync everything in a box and return the manifest's entries by name. Raises StorageError for a symbolic link."""
    entries = {}
    for path in sorted(box.rglob("*")):
        name = path.relative_to(box).as_posix()
        if name.startswith(REVEAL) or name == MANIFEST:
            continue
        if path.is_symlink():
            raise StorageError(f"{name} is a symbolic link and cannot be published", "write the file itself")
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
            entries[name] = describe_file(path)
    sync_folder(box)
    return entries


def describe_file(path: Path) -> dict[str, Any]:
    """Return the manifest's entry of a file: size in bytes and sha256."""
    size = path.stat().st_size
    return {"size": size, "sha256": sha256_of(path, size)}
