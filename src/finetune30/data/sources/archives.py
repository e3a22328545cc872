"""One table inside of a .gz or .zip file, unpacked into a temporary folder and read by its own ending."""

from __future__ import annotations

import gzip
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataFileError
from finetune30.files import disk_errors

#: Most bytes that a packed file may hold: a small one can unpack to more than any disk has.
MAX_UNPACKED_BYTES = 1_000_000_000
_PIECE_BYTES = 1 << 20
#: What Python's modules raise for bytes that are no archive, or one that was damaged.
_DAMAGED = (
    zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, RuntimeError, OverflowError, struct.error, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
#: What systems put into archives beside the files.
_BESIDE = ("__MACOSX/", ".")

Load = Callable[[Path, str, FileOptions], SourceTable]


def check_unpacked_size(path: Path, name: str) -> None:
    """Raise DataFileError where the files of an archive say that they hold more than is read."""
    with _unpacking(name), zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
            raise _too_large(name)


def load_gzip(path: Path, name: str, options: FileOptions, load: Load) -> SourceTable:
    """Read the file inside of `name`, whose ending stands before `.gz`. Raises DataFileError."""
    inner = PurePosixPath(name).stem
    if not PurePosixPath(inner).suffix:
        found = f"the name does not say what is inside of {name!r}"
        raise DataFileError(name, 0, 0, found, f"call it by what it holds, for example {inner}.csv.gz")
    with tempfile.TemporaryDirectory(prefix="finetune30-unpacked-") as folder:
        unpacked = Path(folder) / f"unpacked{PurePosixPath(inner).suffix}"
        with _unpacking(name), gzip.open(path) as packed:
            _copy(packed, unpacked, name)
        return packed_in(load(unpacked, name, options), path, "")


def load_zip(path: Path, name: str, options: FileOptions, load: Load, endings: Collection[str]) -> SourceTable:
    """Read the one data file inside of an archive, or the one that `options.sheet` names.

    Raises DataFileError where there is none or several, listing them.
    """
    with tempfile.TemporaryDirectory(prefix="finetune30-unpacked-") as folder:
        with _unpacking(name), zipfile.ZipFile(path) as archive:
            member = _choose(archive, name, options.sheet, endings)
            _refuse_encrypted(member, name)
            unpacked = Path(folder) / f"unpacked{PurePosixPath(member.filename).suffix.lower()}"
            with archive.open(member) as packed:
                _copy(packed, unpacked, name)
        shown = f"{name}/{PurePosixPath(member.filename).name}"
        return packed_in(load(unpacked, shown, replace(options, sheet=None)), path, member.filename)


def packed_in(table: SourceTable, path: Path, member: str) -> SourceTable:
    """Return a table that was read from an unpacked file with its text where that stays: in the archive."""
    return replace(table, text=table.text and replace(table.text, path=path, member=member))


def list_members(path: Path, name: str, endings: Collection[str]) -> list[str]:
    """Return the data files of an archive, by their names inside. Raises DataFileError where it cannot be opened."""
    with _unpacking(name), zipfile.ZipFile(path) as archive:
        return [member.filename for member in _members(archive, endings)]


def unpack_members(path: Path, name: str, members: Collection[str], folder: Path) -> list[Path]:
    """Write files of an archive into a folder, by the last parts of their names. Raises DataFileError."""
    check_unpacked_size(path, name)
    unpacked = []
    with _unpacking(name), zipfile.ZipFile(path) as archive:
        for member in members:
            _refuse_encrypted(archive.getinfo(member), name)
            target = folder / PurePosixPath(member).name
            with archive.open(member) as packed:
                _copy(packed, target, name)
            unpacked.append(target)
    return unpacked


def _refuse_encrypted(member: zipfile.ZipInfo, name: str) -> None:
    if member.flag_bits & 1:
        raise DataFileError(name, 0, 0, f"{member.filename!r} is encrypted", "unpack it, and name the file inside")


def _members(archive: zipfile.ZipFile, endings: Collection[str]) -> list[zipfile.ZipInfo]:
    return [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith(_BESIDE)
        and not PurePosixPath(member.filename).name.startswith(".")
        and PurePosixPath(member.filename).suffix.lower() in endings
    ]


def _choose(archive: zipfile.ZipFile, name: str, wanted: str | None, endings: Collection[str]) -> zipfile.ZipInfo:
    members = _members(archive, endings)
    listed = ", ".join(repr(member.filename) for member in members[:10])
    if wanted is not None:
        chosen = [member for member in members if member.filename == wanted]
        if not chosen:
            found = f"the archive holds no data file {wanted!r}; it holds {listed or 'none'}"
            raise DataFileError(name, 0, 0, found, "set data.sheet to one of them")
        return chosen[0]
    if not members:
        raise DataFileError(
            name, 0, 0, "the archive holds no data file", f"put one in that ends in {', '.join(endings)}"
        )
    if len(members) > 1:
        found = f"the archive holds several data files: {listed}"
        raise DataFileError(name, 0, 0, found, "set data.sheet to the one to read")
    return members[0]


def _copy(packed: IO[bytes] | gzip.GzipFile, unpacked: Path, name: str) -> None:
    size = 0
    with disk_errors("cannot unpack the file"):
        handle = unpacked.open("xb")
    with handle:
        while piece := packed.read(_PIECE_BYTES):  # an OSError here is about the archive, not about the disk
            size += len(piece)
            if size > MAX_UNPACKED_BYTES:
                raise _too_large(name)
            with disk_errors("cannot unpack the file"):
                handle.write(piece)


def _too_large(name: str) -> DataFileError:
    found = f"more than {MAX_UNPACKED_BYTES:,} bytes come out of the file"
    return DataFileError(name, 0, 0, found, "store the rows as Parquet, or split the file")


@contextmanager
def _unpacking(name: str) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:  # zipfile's word for a compression that Python does not know
        found = f"the file is packed in a way that is not read ({str(error)[:200]})"
        raise DataFileError(name, 0, 0, found, "unpack it, and name the file inside") from error
    except _DAMAGED as error:
        found = f"the file cannot be unpacked ({str(error)[:200]})"
        raise DataFileError(name, 0, 0, found, "fetch it again; it may have been cut off while copying") from error
