"""The folder of an export: filled beside its place and renamed into it, so that it is there whole or not at all.

Whoever fills one holds a lock on it, which a process that dies lets go of: what it left is taken away by the next one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finetune30 import failpoints
from finetune30.errors import ConflictError, StorageError, UsageError
from finetune30.files import disk_errors, sha256_of, sync_file, sync_folder
from finetune30.service.exports.locks import is_locked, lock

SUMS = "SHA256SUMS"
_UNFINISHED = ".unfinished"
#: What a disk says that has, or gives, no more room.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Lend an empty folder; when the block ends well it becomes `target`, with the sha256 of its files in SHA256SUMS.

    With `overwrite` only what an export wrote is replaced. Raises UsageError where something is there already,
    ConflictError where another process makes the same export, and StorageError.
    """
    if target.name in ("", ".."):  # a folder that is named by where it lies
        target = target.resolve()
    if overwrite or not target.name:
        _require_replaceable(target)
    unfinished, replaced = _beside(target)
    with _disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _held(unfinished, target):
            _restore(replaced, target)
            if target.exists() and not overwrite:
                raise UsageError(f"'{target}' is there already", "give another --output, or add --overwrite")
            try:
                failpoints.reach("export.before_files")
                yield unfinished
                _seal(unfinished)
                failpoints.reach("export.before_rename")
                if target.exists():
                    target.rename(replaced)
                    failpoints.reach("export.between_renames")
                unfinished.rename(target)
                sync_folder(target.parent)
                failpoints.reach("export.after_rename")
                shutil.rmtree(replaced, ignore_errors=True)
            finally:
                _restore(replaced, target)
                shutil.rmtree(unfinished, ignore_errors=True)


def remove(target: Path) -> None:
    """Take an export away: at once it is not there, then its files go. Nothing is done where there is none.

    Raises UsageError where something is in it that no export wrote, ConflictError where it is being made, StorageError.
    """
    unfinished, replaced = _beside(target)
    with disk_errors(f"cannot remove {target}"):
        if not target.exists():
            return
        with _held(unfinished, target):
            _require_replaceable(target)
            target.rename(unfinished / target.name)
            sync_folder(target.parent)
            failpoints.reach("export.removed")
            shutil.rmtree(replaced, ignore_errors=True)
            shutil.rmtree(unfinished)


def is_being_filled(target: Path) -> bool:
    """Tell whether a process of this machine, whoever began it, makes the export at this moment."""
    return is_locked(_beside(target)[0])


def clear_away(target: Path) -> None:
    """Take away what an export that was killed left beside its place, and put back what it was about to replace.

    One that goes on is left alone. Raises StorageError.
    """
    unfinished, replaced = _beside(target)
    with disk_errors(f"cannot clear {target.parent}"), suppress(ConflictError):
        if unfinished.is_dir():
            with _held(unfinished, target):
                _restore(replaced, target)
                unfinished.rmdir()


def clear_abandoned(folder: Path) -> None:
    """Clear away what killed exports left in a folder. Raises StorageError."""
    for left in folder.glob(f".*{_UNFINISHED}"):
        clear_away(folder / left.name.removeprefix(".").removesuffix(_UNFINISHED))


def _beside(target: Path) -> tuple[Path, Path]:
    """Return where an export is filled, and where what it replaces lies meanwhile."""
    return target.with_name(f".{target.name}{_UNFINISHED}"), target.with_name(f".{target.name}.replaced")


@contextmanager
def _disk_faults(target: Path) -> Iterator[None]:
    """Say that the disk is full and in which folder, whichever library wrote; as `disk_errors` what else a disk has."""
    with disk_errors(f"cannot write {target}"):
        try:
            yield
        except Exception as error:
            if isinstance(error, StorageError):
                raise
            if fault := find_full_disk(error):
                raise StorageError(
                    f"cannot write {target}: {fault}",
                    f"free space in {target.parent.absolute()} (df -h), or give another --output",
                ) from error
            raise


def find_full_disk(error: BaseException) -> str | None:
    """Return the words of an error, or of one that led to it, that says that a disk is full; None for others.

    Libraries that are not written in Python raise errors of their own for it.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return os.strerror(seen.errno)
        if found := next((words for number in _FULL if (words := os.strerror(number)) in str(seen)), None):
            return found
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def _held(folder: Path, target: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock(handle):
            raise ConflictError(
                f"another process writes '{target}' at this moment", "wait for it, or give another --output"
            )
        for left in folder.iterdir():  # by an export that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        os.close(handle)


def _restore(replaced: Path, target: Path) -> None:
    """Put back what was there, where an export was killed before its own stood in the place."""
    if replaced.exists():
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(target)


def _require_replaceable(target: Path) -> None:
    """Raise UsageError where something is there that no export wrote: nothing else is ever taken away."""
    with disk_errors(f"cannot look at {target}"):
        if not target.is_dir():
            foreign = target.name if target.exists() else None
        else:
            known = {SUMS} | (read_sums(target).keys() if (target / SUMS).is_file() else set())
            files = (path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
            foreign = next((name for name in files if name not in known), None)
        if foreign is not None:
            raise UsageError(
                f"'{target}' is not replaced: no export wrote '{foreign}'", "give another --output, or move that away"
            )


def read_sums(folder: Path) -> dict[str, str]:
    """Return path -> sha256 of what a folder's SHA256SUMS lists; a line that begins with # is a remark."""
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    split = (line.partition("  ") for line in lines if not line.startswith("#"))
    return {name: digest for digest, _, name in split}


def _seal(folder: Path) -> None:
    """Write the sha256 of every file, and make all of it survive a power loss."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    for path in files:  # some libraries write weights for one account only; the others are to read an export as well
        path.chmod((folder / SUMS).stat().st_mode)
    for path in (*files, folder / SUMS, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_file(path)
    sync_folder(folder)
