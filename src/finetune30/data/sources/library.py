"""Sets of the `datasets` library as tables: what it loaded, wrote with `save_to_disk`, or keeps in a repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.sources.parquet import cast_to_text, name_listed_labels, number_rows, undecoded_columns
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError
from finetune30.hub.reach import hub_left_alone

_UNLABELLED = -1
_LONGEST_REASON = 1_000
_FAULTS = (OSError, ValueError, KeyError, TypeError)
#: Files that `save_to_disk` writes, of a set of splits and of one split.
_SAVED = ("dataset_dict.json", "state.json")


def build_table(dataset: Any, source: str, facts: dict[str, str | int | None]) -> SourceTable:
    """Return a split that the library loaded; names of classes come with it, and -1 is no label."""
    label_names, listed = {}, {}
    for column, feature in dataset.features.items():
        if names := getattr(feature, "names", None):
            label_names[column] = tuple(names)
        elif names := getattr(getattr(feature, "feature", None), "names", None):
            listed[column] = tuple(names)
    frame = name_listed_labels(pl.DataFrame(dataset.with_format("arrow")[:]), listed)
    notes = undecoded_columns(frame)
    frame = cast_to_text(frame, source)
    for column in label_names:
        frame = frame.with_columns(pl.when(pl.col(column) != str(_UNLABELLED)).then(pl.col(column)).alias(column))
    rows = number_rows(frame)
    return SourceTable(source, "hub", rows, label_names=label_names, label_order=listed, notes=notes, facts=facts)


def is_saved(folder: Path) -> bool:
    """Say whether a folder is what `save_to_disk` writes."""
    return any((folder / name).is_file() for name in _SAVED)


def is_repository(folder: Path) -> bool:
    """Say whether a folder is a repository of the hub whose card says which files belong to which split."""
    card = folder / "README.md"
    if not card.is_file():
        return False
    head = card.read_text(encoding="utf-8", errors="replace")
    return head.startswith("---") and "\nconfigs:" in head.partition("\n---")[0]


def load_saved(folder: Path) -> dict[str, list[SourceTable]]:
    """Read the splits of a folder of `save_to_disk`; one split alone is for training. Raises DataError."""
    loaded = _ask(folder, lambda datasets: datasets.load_from_disk(str(folder)))
    return _tables(folder, loaded if isinstance(loaded, Mapping) else {"train": loaded})


def load_repository(folder: Path, config: str | None) -> dict[str, list[SourceTable]]:
    """Read the splits of a cloned repository of the hub, as its card names them. Raises DataError."""
    with tempfile.TemporaryDirectory(prefix="finetune30-prepared-") as cache:
        loaded = _ask(
            folder,
            lambda datasets: datasets.load_dataset(
                str(folder), config, verification_mode="no_checks", cache_dir=cache, keep_in_memory=True
            ),
        )
        return _tables(folder, loaded)


def _tables(folder: Path, loaded: Mapping[Any, Any]) -> dict[str, list[SourceTable]]:
    name = folder.resolve().name
    return {str(split): [build_table(rows, f"{name}/{split}", {})] for split, rows in loaded.items()}


def _ask(folder: Path, question: Callable[[Any], Any]) -> Any:
    import datasets
    import pyarrow

    datasets.disable_progress_bars()
    try:
        with hub_left_alone():
            return question(datasets)
    except (*_FAULTS, datasets.exceptions.DatasetsError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:_LONGEST_REASON]
        if "Config name is missing" in reason or "BuilderConfig" in reason:
            raise DataError(
                f"the data set in the folder {folder.name or str(folder)!r}: {reason}",
                "set data.dataset_config to one of the names above",
            ) from error
        raise DataError(
            f"the data set in the folder {folder.name or str(folder)!r} cannot be read: {reason}",
            "name one of its files instead, or write it again",
        ) from error
