"""Sets from the Hugging Face hub: files only, never a repository's code.

The `datasets` library knows which files a configuration of a set reads, and reads them. It is shown a folder that looks
like the repository, with empty files in the place of what is not fetched; it never asks the hub itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from finetune30.data.sources.parquet import cast_to_text, name_listed_labels, number_rows
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError
from finetune30.hub.cache import assets_folder
from finetune30.hub.faults import first_line, unavailable
from finetune30.hub.fetching import OnTransfer
from finetune30.hub.names import Reference, canonical_id
from finetune30.hub.reach import hub_left_alone
from finetune30.hub.snapshots import Snapshot, open_snapshot

if TYPE_CHECKING:
    from datasets import DatasetBuilder, DatasetDict

Log = Callable[[str], None]

#: The configuration that the default set needs; it means nothing for any other set.
_DEFAULT_CONFIG = ("glue", "sst2")
#: Files that describe the set and decide what its configurations read.
_DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")
_UNLABELLED = -1


@dataclass(frozen=True)
class HubSet:
    """Every split of a hub set as a table, and what its name stood for."""

    tables: dict[str, SourceTable]
    reference: Reference


def load_hub(
    name: str, config: str | None, revision: str | None, log: Log, on_transfer: OnTransfer | None = None
) -> HubSet:
    """Load every split of a hub set (from the cache where the hub is out of reach).

    Raises HubUnavailableError (not cached and out of reach), the other errors of the hub, and DataError (no such
    configuration, or a set that exists only as code).
    """
    if config == _DEFAULT_CONFIG[1] and name not in (_DEFAULT_CONFIG[0], canonical_id("dataset", _DEFAULT_CONFIG[0])):
        log(f"data: dataset_config 'sst2' belongs to glue and is left out for {name}")
        config = None
    snapshot = open_snapshot("dataset", name, revision, log)
    if snapshot.is_listed:
        reference, loaded = snapshot.reference, _load(snapshot, config, log, on_transfer)
    else:
        reference, loaded = _load_prepared(snapshot, config)
    log(f"data: {reference.describe()}")
    source = "/".join(part for part in (name, config) if part)
    tables = {
        str(split): _build_table(dataset, f"{source}/{split}", reference.commit) for split, dataset in loaded.items()
    }
    return HubSet(tables, reference)


def _load(snapshot: Snapshot, config: str | None, log: Log, on_transfer: OnTransfer | None) -> DatasetDict:
    descriptions = [name for name in _DESCRIPTIONS if name in snapshot.files]
    snapshot.require(descriptions, log, on_transfer)
    view = _View(snapshot)
    view.show(descriptions)
    name = snapshot.reference.asked
    try:
        builder = _ask_library(name, lambda datasets: datasets.load_dataset_builder(str(view.folder), config))
    except FileNotFoundError as error:
        raise _no_data(name, snapshot.files) from error
    needed = view.names_in(builder)
    snapshot.require(needed, log, on_transfer)
    view.show(needed)
    snapshot.remember()
    return _ask_library(name, lambda datasets: datasets.load_dataset(str(view.folder), config))


class _View:
    """A folder that looks like the repository: what is fetched is linked, the rest is empty files."""

    def __init__(self, snapshot: Snapshot) -> None:
        reference = snapshot.reference
        # The place is the same every time: the library knows by it what it has prepared before.
        self.folder = assets_folder("views", f"{reference.id.replace('/', '--')}--{reference.commit}")
        self._snapshot = snapshot
        for name in snapshot.files:
            place = self._place(name)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)  # a link to something that was removed
                with suppress(FileExistsError):  # another process was faster
                    place.touch(exist_ok=False)

    def show(self, names: Iterable[str]) -> None:
        """Put the files of the snapshot in the place of the empty ones."""
        for name in names:
            place, file = self._place(name), (self._snapshot.folder / name).resolve()
            if place.is_symlink() and place.resolve() == file:
                continue
            link = place.with_name(f".{place.name}.link")
            link.unlink(missing_ok=True)
            link.symlink_to(file)
            link.replace(place)

    def names_in(self, builder: DatasetBuilder) -> list[str]:
        """Return which files of the repository a builder reads."""
        files: Collection[str] = [file for split in (builder.config.data_files or {}).values() for file in split]
        root = self.folder.resolve()
        return sorted({str(Path(file).relative_to(root)) for file in files})

    def _place(self, name: str) -> Path:
        place = self.folder / name
        if not Path(os.path.normpath(place)).is_relative_to(self.folder):
            raise DataError(f"the hub lists a file outside of its repository: {name!r}", "choose another data set")
        return place


def _load_prepared(snapshot: Snapshot, config: str | None) -> tuple[Reference, DatasetDict]:
    """Load a set that another program prepared with the library, whose own cache keeps only the newest commit."""
    asked = snapshot.reference
    fault = snapshot.fault or unavailable("dataset", asked.asked)
    try:
        with hub_left_alone():
            builder = _ask_library(asked.asked, lambda datasets: datasets.load_dataset_builder(asked.id, config))
            loaded = _ask_library(asked.asked, lambda datasets: datasets.load_dataset(asked.id, config))
    except (ConnectionError, FileNotFoundError) as error:
        raise fault from error
    if builder.hash != asked.commit:
        raise fault
    return asked, loaded


def _no_data(name: str, files: Collection[str]) -> DataError:
    if any(file.endswith(".py") for file in files):
        found = f"the hub set {name!r} exists only as code, and code from the hub is never run"
    else:
        found = f"the hub set {name!r} holds no file that can be read as rows"
    return DataError(found, "use a set stored as Parquet, CSV or JSON, or download it as a file")


def _ask_library(name: str, question: Callable[[Any], Any]) -> Any:
    """Ask the `datasets` library something about files on this machine. Raises DataError."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    datasets.disable_progress_bars()
    try:
        with hub_left_alone():
            return question(datasets)
    except DatasetGenerationError as error:
        reason = first_line(error.__cause__ or error)
        remedy = "download the files, look at them, and give the one to use as a file"
        raise DataError(f"the files of the hub set {name!r} cannot be read: {reason}", remedy) from error
    except ValueError as error:
        raise DataError(
            f"the hub set {name!r}: {first_line(error)}", "set data.dataset_config to one of the names above"
        ) from error


def _build_table(dataset: Any, source: str, commit: str) -> SourceTable:
    label_names, listed = {}, {}
    for column, feature in dataset.features.items():
        if names := getattr(feature, "names", None):
            label_names[column] = tuple(names)
        elif names := getattr(getattr(feature, "feature", None), "names", None):
            listed[column] = tuple(names)
    frame = name_listed_labels(pl.DataFrame(dataset.with_format("arrow")[:]), listed)
    frame = cast_to_text(frame, source)
    for column in label_names:
        frame = frame.with_columns(pl.when(pl.col(column) != str(_UNLABELLED)).then(pl.col(column)).alias(column))
    facts: dict[str, str | int | None] = {"revision": commit}
    return SourceTable(source, "hub", number_rows(frame), label_names=label_names, label_order=listed, facts=facts)
