"""One local file or folder: which reader fits, and a clear word when the file is not what its name says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from finetune30.data.sources.delimited import load_delimited
from finetune30.data.sources.json_records import load_json, load_jsonl
from finetune30.data.sources.parquet import load_parquet
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError, DataFileError

READERS: dict[str, Callable[[Path, str], SourceTable]] = {
    ".csv": load_delimited,
    ".tsv": partial(load_delimited, delimiter="\t"),
    ".tab": partial(load_delimited, delimiter="\t"),
    ".json": load_json,
    ".jsonl": load_jsonl,
    ".ndjson": load_jsonl,
    ".parquet": load_parquet,
}
#: First bytes of things that are sometimes named like data files, and what to do about each.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "fetch the real file with: git lfs pull"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or export the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "a gzip archive", "unpack it with: gunzip"),
    (b"\xff\xfe", "UTF-16 text", "save the file as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save the file as UTF-8"),
    (b"<!DOCTYPE html", "a web page", "download the file itself, not the page that shows it"),
    (b"<html", "a web page", "download the file itself, not the page that shows it"),
)
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_SPLIT_FILE = re.compile(r"^(?P<split>[A-Za-z]+)(?:[-_.]\d+(?:-of-\d+)?)?$")


def is_local(name: str) -> bool:
    """Say whether a data set name means a local file or folder rather than a hub set."""
    path = Path(name).expanduser()
    looks_local = name.startswith((".", "~", "/", "\\")) or name.endswith(("/", "\\")) or path.suffix.lower() in READERS
    return looks_local or path.exists()


def load_file(path: Path, name: str | None = None) -> SourceTable:
    """Read one file by its ending; `name` is what messages and row ids call it (default: the file name).

    Raises DataError (no such file, unknown ending) and DataFileError (the content is not what the ending says).
    """
    shown = name or path.name
    reader = READERS.get(path.suffix.lower())
    if not path.exists():
        missing = f"there is no file {shown!r}" if reader else f"there is no file or folder {shown!r}"
        raise DataError(missing, _nearest_file(path))
    if reader is None:
        raise DataError(f"{shown}: files ending in {path.suffix or 'nothing'!r} are not read", _known_endings())
    try:
        head = _read_head(path)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}", "check the file's rights") from error
    _check_signature(path, shown, head)
    return reader(path, shown)


def load_folder(folder: Path) -> dict[str, list[SourceTable]]:
    """Read a folder of split files into `{"train": [...], "validation": [...], "test": [...]}`.

    Files are named `train.csv`, `validation.csv` (or valid, val, dev), `test.csv`, in any format, or sharded as
    `train-00000-of-00002.parquet`. Raises DataError where there is no training file or one split has two formats.
    """
    found: dict[str, list[Path]] = {}
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in READERS:
            continue
        split = _split_of(path.stem)
        if split is None:
            others.append(path.name)
        else:
            found.setdefault(split, []).append(path)
    if "train" not in found:
        listed = ", ".join(others[:10] or [path.name for paths in found.values() for path in paths]) or "no data file"
        raise DataError(
            f"the folder {folder.name or str(folder)!r} has no training file; it holds {listed}",
            "name the files train.csv and validation.csv (or .tsv, .json, .jsonl, .parquet), or name one file",
        )
    for split, paths in found.items():
        if len({(path.suffix.lower(), _SPLIT_FILE.match(path.stem)["split"]) for path in paths}) > 1:  # type: ignore[index]
            listed = ", ".join(path.name for path in paths)
            raise DataError(
                f"the folder {folder.name or str(folder)!r} has several {split} files: {listed}", "keep one of them"
            )
    return {split: [load_file(path) for path in paths] for split, paths in found.items()}


def _split_of(stem: str) -> str | None:
    match = _SPLIT_FILE.match(stem)
    word = match["split"].lower() if match else ""
    return next((split for split, words in _SPLIT_WORDS.items() if word in words), None)


def _read_head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(256)


def _check_signature(path: Path, shown: str, head: bytes) -> None:
    suffix = path.suffix.lower()
    if not head:
        raise DataFileError(shown, 1, 0, "the file is empty", "give it a header line and at least one row")
    for signature, meaning, remedy in _SIGNATURES:
        if head.startswith(signature):
            raise DataFileError(shown, 1, 0, f"this is {meaning}", remedy)
    is_parquet = head.startswith(b"PAR1")
    if is_parquet and suffix != ".parquet":
        raise DataFileError(shown, 1, 0, f"this is a Parquet file named {suffix}", "rename it to end in .parquet")
    if suffix == ".parquet" and not is_parquet:
        raise DataFileError(shown, 0, 0, "this is no Parquet file", "rename it to what it is: .csv, .jsonl …")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix in (".csv", ".tsv", ".tab") and text[:2] in (b'{"', b"[{"):
        raise DataFileError(shown, 1, 1, f"this is JSON named {suffix}", "rename it to end in .json or .jsonl")
    if suffix in (".jsonl", ".ndjson") and text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b""):
        raise DataFileError(shown, 1, 1, "this is one JSON array, not one object a line", "rename it to end in .json")


def _known_endings() -> str:
    return f"use one of {', '.join(READERS)}"


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {str(folder)!r} does not exist either; check the path"
    names = [other.name for other in folder.iterdir() if other.suffix.lower() in READERS]
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"the folder holds {', '.join(sorted(names)[:10])}" if names else "the folder holds no data file"
