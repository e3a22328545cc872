"""A local folder: files named by their split, what `save_to_disk` wrote, or a cloned repository of the hub."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import polars as pl

from finetune30.data.sources.archives import list_members, packed_in, unpack_members
from finetune30.data.sources.files import READERS, load_file
from finetune30.data.sources.library import is_repository, is_saved, load_repository, load_saved
from finetune30.data.sources.options import NO_OPTIONS, FileOptions
from finetune30.data.sources.table import COLUMN, LINE, SourceTable
from finetune30.errors import DataError

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_SPLIT_FILE = re.compile(r"^(?P<split>[A-Za-z]+)(?:[-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]+)?)?$")
#: Where repositories of the hub keep their files.
_DATA = "data"


def is_local(name: str) -> bool:
    """Say whether a data set name means a local file or folder rather than a hub set."""
    path = Path(name).expanduser()
    looks_local = name.startswith((".", "~", "/", "\\")) or name.endswith(("/", "\\")) or path.suffix.lower() in READERS
    return looks_local or path.exists()


def load_folder(
    folder: Path, options: FileOptions = NO_OPTIONS, config: str | None = None, unread: str | None = None
) -> dict[str, list[SourceTable]]:
    """Read a folder into `{"train": [...], "validation": [...], "test": [...]}`.

    Files are named `train.csv`, `validation.csv` (or valid, val, dev), `test.csv`, in any format, or sharded as
    `train-00000-of-00002.parquet`; they may lie in a folder `data`. Without such files, what the `datasets` library
    saved, or a repository of the hub whose card names the files (`config` chooses there). A test file that lacks
    columns of the training file gets them empty. The files of the split `unread` are not opened; it has no tables then.
    Raises DataError where there is no training file or one split has two formats.
    """
    found, others = _find_splits(folder)
    if "train" not in found:
        if is_saved(folder):
            return load_saved(folder, unread)
        if is_repository(folder):
            return load_repository(folder, config, unread)
        if (folder / _DATA).is_dir():
            within, _ = _find_splits(folder / _DATA)
            found = within if "train" in within else found
    shown = folder.name or str(folder)
    if "train" not in found:
        listed = ", ".join(others[:10] or [path.name for paths in found.values() for path in paths]) or "no data file"
        raise DataError(
            f"the folder {shown!r} has no training file; it holds {listed}",
            "name the files train.csv and validation.csv (or .tsv, .json, .jsonl, .parquet), or name one file",
        )
    return _load_splits(found, shown, options, unread=unread)


def load_archive(
    path: Path, options: FileOptions, name: str | None = None, unread: str | None = None
) -> dict[str, list[SourceTable]] | None:
    """Read a .zip of several files that are named by their split, as the folder of these files.

    None where it is no such archive, or one of its files is asked for. `unread` as in `load_folder`.
    Raises DataFileError, and DataError where one split has two formats.
    """
    shown = name or path.name
    if path.suffix.lower() != ".zip" or options.sheet is not None or not path.is_file():
        return None
    members = list_members(path, shown, READERS)
    by_split = {member: _split_of(PurePosixPath(member).name) for member in members}
    wanted = [member for member, split in by_split.items() if split is not None]
    names = {PurePosixPath(member).name for member in wanted}
    if len(members) < 2 or "train" not in by_split.values() or len(names) < len(wanted):
        return None
    with tempfile.TemporaryDirectory(prefix="finetune30-unpacked-") as folder:
        unpack_members(path, shown, wanted, Path(folder))
        tables = _load_splits(_find_splits(Path(folder))[0], shown, options, archive=shown, unread=unread)
    by_name = {f"{shown}/{PurePosixPath(member).name}": member for member in wanted}
    return {split: [packed_in(table, path, by_name[table.name]) for table in found] for split, found in tables.items()}


def _load_splits(
    found: dict[str, list[Path]],
    shown: str,
    options: FileOptions,
    *,
    archive: str | None = None,
    unread: str | None = None,
) -> dict[str, list[SourceTable]]:
    """Read the files of each split; those of an archive carry its name before theirs."""
    for split, paths in found.items():
        if len({(path.suffix.lower(), _split_word(path)) for path in paths}) > 1:
            listed = ", ".join(path.name for path in paths)
            raise DataError(f"the folder {shown!r} has several {split} files: {listed}", "keep one of them")
    tables = {
        split: [load_file(path, f"{archive}/{path.name}" if archive else None, options) for path in paths]
        if split != unread
        else []
        for split, paths in found.items()
    }
    if "test" in tables:
        tables["test"] = [_with_absent_columns(table, tables["train"][0]) for table in tables["test"]]
    return tables


def _find_splits(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Return the data files by split, and the names of those that belong to none."""
    found: dict[str, list[Path]] = {}
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in READERS or not path.is_file():
            continue
        split = _split_of(path.name)
        if split is None:
            others.append(path.name)
        else:
            found.setdefault(split, []).append(path)
    return found, others


def _split_of(name: str) -> str | None:
    word = _split_word(Path(name))
    return next((split for split, words in _SPLIT_WORDS.items() if word in words), None)


def _split_word(path: Path) -> str:
    """Return the word for the split with which a file name begins, in small letters."""
    name = Path(path.stem)
    stem = name.stem if path.suffix.lower() in (".gz", ".zip") and name.suffix.lower() in READERS else path.stem
    match = _SPLIT_FILE.match(stem)
    return match["split"].lower() if match else ""


def _with_absent_columns(table: SourceTable, training: SourceTable) -> SourceTable:
    """Return a test file of a competition, which has every column but those to be predicted, with these empty."""
    absent = [column for column in training.columns if column not in table.columns]
    if not absent or any(column not in training.columns for column in table.columns):
        return table
    places = [name for name in (LINE, COLUMN) if name in table.frame.columns]
    frame = table.frame.with_columns(pl.lit(None, dtype=pl.String).alias(column) for column in absent)
    frame = frame.select(*(column for column in frame.columns if column not in places), *places)
    listed = ", ".join(map(repr, absent[:10]))
    return replace(table, frame=frame, notes=(*table.notes, f"has no column {listed}, which the training file has"))
