"""From the data section of a configuration to tables for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetune30.config.data import DataConfig
from finetune30.config.schema import VERSION_PREFIX
from finetune30.data.sources.files import WITH_SHEETS, load_file
from finetune30.data.sources.folders import is_local, load_archive, load_folder
from finetune30.data.sources.hub import load_hub
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.table import SourceTable
from finetune30.data.starter import is_starter, load_starter
from finetune30.errors import DataError
from finetune30.hub.fetching import OnTransfer
from finetune30.hub.names import Reference

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class LoadedSources:
    """Tables of both splits; `evaluation` is empty where rows must be split off from the training rows.

    `chosen` says that the user named the evaluation rows (they must then be usable). `reference` is what the name of a
    hub set stood for.
    """

    kind: str
    reference: Reference | None
    train: list[SourceTable]
    evaluation: list[SourceTable]
    eval_split: str | None
    chosen: bool
    #: The names of all splits that the source has, also of those that were not read.
    splits: tuple[str, ...] = ()

    @property
    def tables(self) -> list[SourceTable]:
        """Every table, training first."""
        return [*self.train, *self.evaluation]


def load_sources(
    config: DataConfig,
    log: Callable[[str], None],
    load_version: Callable[[str], Mapping[str, list[SourceTable]]] | None = None,
    on_transfer: OnTransfer | None = None,
) -> LoadedSources:
    """Load what `config.dataset_name` (and `eval_file`) names.

    Raises DataError, DataFileError or a HubError. `load_version` answers names like `version:<tag>`.
    """
    kind, splits, reference = _load_splits(config, log, load_version, on_transfer)
    if config.test_split is not None and config.test_split not in splits:
        raise _no_split(config, "test_split", config.test_split, splits)
    names = tuple(splits)
    splits = _with_idle_sheet(config, {name: found for name, found in splits.items() if name != config.test_split})
    train_split = config.train_split or TRAIN
    if train_split not in splits:
        raise _no_split(config, "train_split", train_split, splits)
    if config.test_file is not None and not Path(config.test_file).expanduser().is_file():
        raise DataError(f"data.test_file is not there: {config.test_file}", "name a file, which is not opened yet")
    if config.eval_file is not None:
        path = Path(config.eval_file).expanduser()
        taken = {table.name for table in splits[train_split]}
        shown = f"{path.parent.name}/{path.name}" if path.name in taken else path.name
        evaluation = [load_file(path, shown, _options(config))]
        return LoadedSources(kind, reference, list(splits[train_split]), evaluation, "eval_file", True, names)
    if config.eval_split is not None:
        if config.eval_split not in splits:
            raise _no_split(config, "eval_split", config.eval_split, splits)
        if config.eval_split == train_split:
            message = f"data.eval_split and data.train_split are both {train_split!r}"
            raise DataError(message, "name another split, or leave eval_split out to split rows off")
        evaluation = list(splits[config.eval_split])
        return LoadedSources(kind, reference, list(splits[train_split]), evaluation, config.eval_split, True, names)
    found = _find_evaluation(splits, train_split)
    evaluation = list(splits[found]) if found else []
    return LoadedSources(kind, reference, list(splits[train_split]), evaluation, found, False, names)


def _load_splits(
    config: DataConfig,
    log: Callable[[str], None],
    load_version: Callable[[str], Mapping[str, list[SourceTable]]] | None,
    on_transfer: OnTransfer | None,
) -> tuple[str, Mapping[str, list[SourceTable]], Reference | None]:
    name = config.dataset_name
    _check_options(config)
    if is_starter(name):
        return "starter", load_starter(name), None
    if name.startswith(VERSION_PREFIX):
        if load_version is None:
            raise DataError(f"no data folder is known in which to look for {name!r}", "run through the ft30 command")
        return "version", load_version(name.removeprefix(VERSION_PREFIX)), None
    if is_local(name):
        path = Path(name).expanduser()
        if path.is_dir():
            return "folder", load_folder(path, _options(config), config.dataset_config, config.test_split), None
        return "file", load_local(path, _options(config), unread=config.test_split), None
    found = load_hub(name, config.dataset_config, config.revision, log, on_transfer, config.test_split)
    tables = {split: [table] for split, table in found.tables.items()}
    return "hub", tables | {split: [] for split in found.unread}, found.reference


def load_local(
    path: Path, options: FileOptions, name: str | None = None, unread: str | None = None
) -> dict[str, list[SourceTable]]:
    """Read one file, or the splits of an archive whose files are named by them; `name` is what messages call it.

    `unread` as in `load_folder`. Raises DataError and DataFileError.
    """
    return load_archive(path, options, name, unread) or {TRAIN: [load_file(path, name, options)]}


def _options(config: DataConfig) -> FileOptions:
    return FileOptions(config.encoding, config.sheet)


def _local_files(config: DataConfig) -> list[Path]:
    names = [config.dataset_name, *([config.eval_file] if config.eval_file else [])]
    return [Path(name).expanduser() for name in names if name != config.dataset_name or is_local(name)]


def _check_options(config: DataConfig) -> None:
    """Refuse an encoding where no file of the configuration takes one: it would decide nothing."""
    if config.encoding is not None and not _local_files(config):
        raise DataError(
            f"data.encoding is for local files, and {config.dataset_name!r} is none", "leave data.encoding out"
        )


def _with_idle_sheet(config: DataConfig, splits: Mapping[str, list[SourceTable]]) -> Mapping[str, list[SourceTable]]:
    """Say of every table that `data.sheet` chose nothing, where it was left over from another file."""
    files = _local_files(config)
    if config.sheet is None or any(path.is_dir() or path.suffix.lower() in WITH_SHEETS for path in files):
        return splits
    note = f"data.sheet ({config.sheet!r}) chooses nothing here: it is for files that end in {', '.join(WITH_SHEETS)}"
    return {split: [replace(table, notes=(*table.notes, note)) for table in found] for split, found in splits.items()}


def _find_evaluation(splits: Mapping[str, list[SourceTable]], train_split: str) -> str | None:
    """Return the split to evaluate on: validation, else one that begins so, else test."""
    names = [name for name in splits if name != train_split]
    for wanted in (VALIDATION, "dev", TEST):
        if wanted in names:
            return wanted
        near = [name for name in names if name.startswith(wanted)]
        if near:
            return near[0]
    return None


def is_test_split(name: str | None) -> bool:
    """Tell whether a split is one for tests, by its name (`test`, `test_matched` …)."""
    return name is not None and name.startswith(TEST)


def _no_split(config: DataConfig, key: str, wanted: str, splits: Mapping[str, list[SourceTable]]) -> DataError:
    message = f"{config.dataset_name!r} has no split {wanted!r}; it has {', '.join(splits)}"
    return DataError(message, f"set data.{key} to one of them")


def with_unique_names(tables: list[SourceTable]) -> list[SourceTable]:
    """Return the tables, those whose name another one has already told apart by a number."""
    seen: dict[str, int] = {}
    result = []
    for table in tables:
        seen[table.name] = seen.get(table.name, 0) + 1
        count = seen[table.name]
        result.append(table if count == 1 else replace(table, name=f"{table.name}#{count}"))
    return result
