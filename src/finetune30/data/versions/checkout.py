"""A version back as files: a folder with train and validation that any tool can read, and training here too."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from finetune30.data.sources.parquet import column_text
from finetune30.data.versions.schema import FIRST_SCHEMA, Schema
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConflictError
from finetune30.files import save_bytes_atomic

FORMATS = ("csv", "jsonl", "parquet")
_FILE_NAMES = {"train": "train", "evaluation": "validation", "test": "test"}


def checkout_version(
    store: VersionStore, name: str, folder: Path, format_name: str = "csv", *, overwrite: bool = False
) -> list[Path]:
    """Write a version into a folder (see `save_splits`)."""
    manifest = store.get(name)
    splits = {split: store.load_rows(manifest, split) for split, count in manifest.rows.items() if count}
    return save_splits(splits, folder, format_name, manifest.schema, overwrite=overwrite)


def save_splits(
    splits: Mapping[str, pl.DataFrame],
    folder: Path,
    format_name: str = "csv",
    schema: Schema = FIRST_SCHEMA,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write rows as `train`, `validation`, `test` files with the texts and targets of `schema`, without empty columns.

    In a CSV lists and structs are JSON; the other formats keep every value as it is. Texts stand there as they are,
    also those that a spreadsheet takes for formulas: these files are read as data again, and must give the same rows.
    Raises ConflictError where `folder` is a file, or where a file is already there and `overwrite` is false.
    """
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"{folder} is a file, not a folder", "choose another folder")
    paths = {split: folder / f"{_FILE_NAMES[split]}.{format_name}" for split in splits}
    taken = [path for path in paths.values() if path.exists()]
    if taken and not overwrite:
        raise ConflictError(f"{taken[0]} is already there", "choose another folder, or give --overwrite")
    for split, path in paths.items():
        rows = splits[split].select(column.name for column in schema.content)
        _save(schema.without_empty_texts(rows), path, format_name)
    return list(paths.values())


def _save(rows: pl.DataFrame, path: Path, format_name: str) -> None:
    content = io.BytesIO()
    if format_name == "csv":
        texts = [column_text(rows[name], name) for name, dtype in rows.schema.items() if dtype.is_nested()]
        rows.with_columns(texts).write_csv(content, quote_style="non_numeric")
    elif format_name == "parquet":
        rows.write_parquet(content)
    else:
        for row in rows.iter_rows(named=True):
            content.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
    save_bytes_atomic(path, content.getvalue())
