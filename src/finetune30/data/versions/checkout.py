"""A version back as files: a folder with train and validation that any tool can read, and training here too."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from finetune30.data.versions.storage import VersionStore
from finetune30.data.writing import write_atomic, write_text_atomic
from finetune30.errors import ConflictError

FORMATS = ("csv", "jsonl", "parquet")


def checkout_version(
    store: VersionStore, name: str, folder: Path, format_name: str = "csv", *, overwrite: bool = False
) -> list[Path]:
    """Write `train` and `validation` of a version into a folder; columns text, text_pair (if any) and label.

    Raises ConflictError where a file is already there and `overwrite` is false.
    """
    manifest = store.get(name)
    paths: dict[str, Path] = {
        split: folder / f"{called}.{format_name}"
        for split, called in (("train", "train"), ("evaluation", "validation"))
        if manifest.rows.get(split)
    }
    taken = [path for path in paths.values() if path.exists()]
    if taken and not overwrite:
        raise ConflictError(f"{taken[0]} is already there", "choose another folder, or give --overwrite")
    for split, path in paths.items():
        rows = store.load_rows(manifest, split).drop("origin")
        if rows["text_pair"].null_count() == rows.height:
            rows = rows.drop("text_pair")
        _save(rows, path, format_name)
    return list(paths.values())


def _save(rows: pl.DataFrame, path: Path, format_name: str) -> None:
    if format_name == "csv":
        write_atomic(path, lambda temporary: rows.write_csv(temporary, quote_style="non_numeric"))
    elif format_name == "parquet":
        write_atomic(path, rows.write_parquet)
    else:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows.iter_rows(named=True))
        write_text_atomic(path, "".join(line + "\n" for line in lines))
