"""Writing files so that a crash leaves the old content or the new one, never half of it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.errors import StorageError

_BLOCK_BYTES = 1 << 20


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{doing}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
            "check free space (df -h) and the permissions of that folder",
        ) from error


def save_bytes_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under a temporary name, fsync it and rename it into place. Raises StorageError.

    Without `durable` nothing is fsynced: for what a power loss may take, because it can be had again.
    """
    with disk_errors(f"cannot write {path.name}"):
        failpoints.reach(failpoints.DISK_WRITE)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            sync_folder(path.parent)


def create_file(path: Path, text: str) -> bool:
    """Write a file that must not replace another; return False where it is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    finally:
        temporary.unlink()


def save_json_atomic(path: Path, tree: Any) -> None:
    """Write JSON (UTF-8, indented, no NaN) like `save_bytes_atomic`. Raises StorageError."""
    save_bytes_atomic(path, encode_json(tree))


def encode_json(tree: Any) -> bytes:
    """Return the bytes of a JSON file as this package writes them. Raises ValueError for NaN and infinity."""
    return (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load_json(path: Path) -> Any:
    """Return the tree of a JSON file; None when there is no such file. Raises StorageError when it is broken."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}", "restore it, or run the experiment again") from error


def load_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file, without a last line that is still being written; [] without a file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    complete = content[: content.rfind(b"\n") + 1]
    try:
        return [json.loads(line) for line in complete.splitlines() if line.strip()]
    except ValueError as error:
        raise StorageError(f"{path} cannot be read: {error}", "restore it, or run the experiment again") from error


def sha256_of(path: Path, size: int | None = None) -> str:
    """Return the sha256 of a file, or of its first `size` bytes."""
    digest = hashlib.sha256()
    left = size if size is not None else 1 << 62
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Make a file's content survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make a folder's entries survive a power loss (a no-op where folders cannot be synced)."""
    if os.name == "nt":
        return
    sync_file(path)
