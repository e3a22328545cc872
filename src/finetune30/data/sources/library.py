"""Sets of the `datasets` library as tables: what it loaded, wrote with `save_to_disk`, or keeps in a repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.data.sources.parquet import cast_to_text, name_listed_labels, number_rows, undecoded_columns
from finetune30.data.sources.source_counts import count_notes
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError
from finetune30.hub.reach import hub_left_alone

_UNLABELLED = -1
_LONGEST_REASON = 1_000
_FAULTS = (OSError, ValueError, KeyError, TypeError)
#: Files that `save_to_disk` writes, of a set of splits and of one split.
_SAVED = ("dataset_dict.json", "state.json")


def build_table(
    dataset: Any, source: str, facts: dict[str, str | int | None], notes: tuple[str, ...] = ()
) -> SourceTable:
    """Return a split that the library loaded; names of classes come with it, and -1 is no label.

    `notes`: what is known of its source beside the rows.
    """
    label_names, listed = {}, {}
    for column, feature in dataset.features.items():
        if names := getattr(feature, "names", None):
            label_names[column] = tuple(names)
        elif names := getattr(getattr(feature, "feature", None), "names", None):
            listed[column] = tuple(names)
    frame = name_listed_labels(pl.DataFrame(dataset.with_format("arrow")[:]), listed)
    notes += undecoded_columns(frame)
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


def load_saved(folder: Path, unread: str | None = None) -> dict[str, list[SourceTable]]:
    """Read the splits of a folder of `save_to_disk`, but no row of `unread`; one split alone is for training.

    Raises DataError.
    """
    loaded = _ask(folder, lambda datasets: datasets.load_from_disk(str(folder)))
    splits = loaded if isinstance(loaded, Mapping) else {"train": loaded}
    notes = {
        split: count_notes(folder, [file["filename"] for file in rows.cache_files], len(rows))
        for split, rows in splits.items()
        if split != unread
    }
    return _tables(folder, splits, notes)


def load_repository(folder: Path, config: str | None, unread: str | None = None) -> dict[str, list[SourceTable]]:
    """Read the splits of a cloned repository of the hub, as its card names them; of `unread` no row becomes a table.

    Raises DataError.
    """
    with tempfile.TemporaryDirectory(prefix="finetune30-prepared-") as cache:
        builder = _ask(folder, lambda datasets: datasets.load_dataset_builder(str(folder), config, cache_dir=cache))
        loaded = _ask(
            folder,
            lambda datasets: datasets.load_dataset(
                str(folder), config, verification_mode="no_checks", cache_dir=cache, keep_in_memory=True
            ),
        )
        notes = count_notes_of(builder, loaded, folder)
        return _tables(folder, loaded, {split: said for split, said in notes.items() if split != unread})


def count_notes_of(builder: Any, loaded: Mapping[Any, Any], folder: Path) -> dict[Any, tuple[str, ...]]:
    """Return notes by split: what the card and the files below `folder` say of the number of rows that were read."""
    told, files = builder.info.splits or {}, builder.config.data_files or {}
    encoding = getattr(builder.config, "encoding", None)
    notes = {}
    for split, rows in loaded.items():
        counted = count_notes(folder.resolve(), files.get(split, ()), len(rows), encoding)
        said = told[split].num_examples if split in told else None
        if said and said != len(rows):
            counted = (f"the card says {said:,} rows for {split}, the files hold {len(rows):,}", *counted)
        notes[split] = counted
    return notes


def _tables(
    folder: Path, loaded: Mapping[Any, Any], notes: Mapping[Any, tuple[str, ...]]
) -> dict[str, list[SourceTable]]:
    """Return a table for each split that has notes; the others stay unread."""
    name = folder.resolve().name
    return {
        str(split): [build_table(rows, f"{name}/{split}", {}, notes[split])] if split in notes else []
        for split, rows in loaded.items()
    }


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
