"""How many rows a training on all of some data will have, told without reading the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune30.config import VERSION_PREFIX, DataConfig
from finetune30.data.starter import is_starter, starter_folder
from finetune30.errors import Finetune30Error
from finetune30.store import RunFilter, RunStatus, RunStore

#: Kinds of files of which nearly every line is a row; files beyond the size are not looked through.
_LINES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson")
_MOST_BYTES = 200_000_000
_PIECE_BYTES = 1 << 20
_MOST_RUNS = 50
#: Keys of data that decide how many rows there are.
_KEYS = (
    *("dataset_name", "dataset_config", "train_split", "eval_split", "eval_file", "eval_fraction"),
    *("test_split", "test_file", "test_fraction"),
)


def expect_rows(data: DataConfig, store: RunStore, data_folder: Path | None) -> int | None:
    """Return the rows to train on, about, or None where nothing tells.

    A stored version and the data of the package know; else a finished run that used all rows of the same data, else
    the lines of a file.
    """
    try:
        if is_starter(data.dataset_name):
            return _count_rows(next(starter_folder(data.dataset_name).glob("train.*")))
        return _rows_of_version(data, data_folder) or _rows_of_runs(data, store) or _lines_of_file(data)
    except OSError:  # the training will say what is wrong with the file
        return None


def _rows_of_runs(data: DataConfig, store: RunStore) -> int | None:
    if Path(data.dataset_name).exists():
        return None  # a file may have other rows by now
    # A run records the commit that it found: without a revision a request takes what may be the same, and is close.
    keys = _KEYS if data.revision is None else (*_KEYS, "revision")
    now = data.model_dump(mode="json")
    for run in store.find(RunFilter(statuses=frozenset({RunStatus.SUCCEEDED}), limit=_MOST_RUNS)):
        then: dict[str, Any] = run.config.get("data") or {}
        if then.get("train_samples") is None and all(then.get(key) == now[key] for key in keys) and run.metrics:
            return run.metrics.get("train_samples")
    return None


def _rows_of_version(data: DataConfig, data_folder: Path | None) -> int | None:
    if data_folder is None or not data.dataset_name.startswith(VERSION_PREFIX):
        return None
    from finetune30.data.versions.storage import VersionStore

    try:
        rows = VersionStore(data_folder).get(data.dataset_name.removeprefix(VERSION_PREFIX)).rows
    except Finetune30Error:  # the training will say what is wrong with it
        return None
    whole = rows.get("train", 0) * (1 - (data.test_fraction or 0.0))
    return round(whole if rows.get("evaluation") else whole * (1 - data.eval_fraction))


def _lines_of_file(data: DataConfig) -> int | None:
    path = Path(data.dataset_name)
    if path.suffix.lower() not in _LINES or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    rows = _count_rows(path)
    left = rows * (1 - (data.test_fraction or 0.0))
    kept = left if data.eval_file else left * (1 - data.eval_fraction)
    return round(kept) if kept >= 1 else None


def _count_rows(path: Path) -> int:
    with path.open("rb") as file:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE_BYTES), b""))
    return lines if path.suffix.lower() in (".jsonl", ".ndjson") else lines - 1
