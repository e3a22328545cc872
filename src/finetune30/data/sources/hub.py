"""Sets from the Hugging Face hub: files only, never a repository's code.

The `datasets` library knows which files a configuration of a set reads, and reads them. It is shown a folder that looks
like the repository, with empty files in the place of what is not fetched; it never asks the hub itself.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finetune30.data.sources.library import build_table, count_notes_of
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataError, first_line
from finetune30.hub.cache import assets_folder
from finetune30.hub.faults import unavailable
from finetune30.hub.fetching import OnTransfer
from finetune30.hub.names import Reference
from finetune30.hub.reach import hub_left_alone
from finetune30.hub.snapshots import Snapshot, open_snapshot

if TYPE_CHECKING:
    from datasets import DatasetBuilder, DatasetDict

Log = Callable[[str], None]

#: Files that describe the set and decide what its configurations read.
_DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_LONGEST_REASON = 1_000
#: Views of commits that nobody used for so long are removed.
_UNUSED_SECONDS = 30 * 86_400


@dataclass(frozen=True)
class HubSet:
    """Every split of a hub set as a table, and what its name stood for."""

    tables: dict[str, SourceTable]
    reference: Reference
    unread: tuple[str, ...] = ()


def load_hub(
    name: str,
    config: str | None,
    revision: str | None,
    log: Log,
    on_transfer: OnTransfer | None = None,
    unread: str | None = None,
) -> HubSet:
    """Load every split of a hub set (from the cache where the hub is out of reach), but none of the rows of `unread`.

    Raises HubUnavailableError (not cached and out of reach), the other errors of the hub, and DataError (no such
    configuration, or a set that exists only as code).
    """
    snapshot = open_snapshot("dataset", name, revision, log, config or "default")
    if snapshot.is_listed:
        reference = snapshot.reference
        loaded, notes = _load(snapshot, config, log, on_transfer)
    else:
        (reference, loaded), notes = _load_prepared(snapshot, config), {}
    log(f"data: {reference.describe()}")
    source = "/".join(part for part in (name, config) if part)
    tables = {
        str(split): build_table(dataset, f"{source}/{split}", {"revision": reference.commit}, notes.get(split, ()))
        for split, dataset in loaded.items()
        if split != unread
    }
    return HubSet(tables, reference, tuple(str(split) for split in loaded if split == unread))


def _load(
    snapshot: Snapshot, config: str | None, log: Log, on_transfer: OnTransfer | None
) -> tuple[DatasetDict, dict[Any, tuple[str, ...]]]:
    """Return the splits of a set, and what the card and the fetched files say of their rows."""
    descriptions = [name for name in _DESCRIPTIONS if name in snapshot.files]
    snapshot.require(descriptions, log, on_transfer)
    view = _View(snapshot)
    view.show(descriptions)
    name = snapshot.reference.asked
    try:
        builder = _ask_for_builder(view, config, name)
    except zipfile.BadZipFile:  # the library looks into archives to tell their kind
        archives = [file for file in snapshot.files if file.endswith(_ARCHIVES)]
        snapshot.require(archives, log, on_transfer)
        view.show(archives)
        builder = _ask_for_builder(view, config, name)
    needed = view.names_in(builder, name)
    snapshot.require(needed, log, on_transfer)
    view.show(needed)
    snapshot.remember()
    # What a card says about rows is often older than the files, whose digests are compared anyway.
    loaded = _ask_library(
        name,
        lambda datasets: datasets.load_dataset(
            str(view.folder), config, verification_mode="no_checks", cache_dir=view.cache_folder
        ),
    )
    return cast("DatasetDict", loaded), count_notes_of(builder, loaded, view.folder)


def _ask_for_builder(view: _View, config: str | None, name: str) -> DatasetBuilder:
    try:
        return cast(
            "DatasetBuilder",
            _ask_library(
                name,
                lambda datasets: datasets.load_dataset_builder(str(view.folder), config, cache_dir=view.cache_folder),
            ),
        )
    except FileNotFoundError as error:
        raise _no_data(name, view.names) from error


class _View:
    """A folder that looks like the repository: what is fetched is linked, the rest is empty files."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.names = tuple(snapshot.files)
        self.folder, self.cache_folder = _places_of(snapshot.reference)
        for name in self.names:
            place = self._place(name)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.is_symlink():
                    place.unlink(missing_ok=True)  # to something that was removed
                with suppress(FileExistsError):  # another process was faster
                    place.touch(exist_ok=False)

    def show(self, names: Iterable[str]) -> None:
        """Put the files of the snapshot in the place of the empty ones."""
        for name in names:
            place, file = self._place(name), (self._snapshot.folder / name).resolve()
            if place.is_symlink() and place.resolve() == file:
                continue
            link = place.with_name(f".{uuid.uuid4().hex}.link")
            link.symlink_to(file)
            link.replace(place)

    def names_in(self, builder: DatasetBuilder, name: str) -> list[str]:
        """Return which files of the repository a builder reads. Raises DataError for files that lie elsewhere."""
        files: Collection[str] = [file for split in (builder.config.data_files or {}).values() for file in split]
        root = self.folder.resolve()
        if outside := [file for file in files if not Path(file).is_relative_to(root)]:
            raise DataError(
                f"the hub set {name!r} reads files outside of its repository: {outside[0]}",
                "use a set that holds its files itself, or download it as a file",
            )
        return sorted({str(Path(file).relative_to(root)) for file in files})

    def _place(self, name: str) -> Path:
        place = self.folder / name
        if not Path(os.path.normpath(place)).is_relative_to(self.folder):
            raise DataError(f"the hub lists a file outside of its repository: {name!r}", "choose another data set")
        return place


def _places_of(reference: Reference) -> tuple[Path, str | None]:
    """Return where the view of a repository goes, and where the library prepares it (None: its usual cache).

    The view lies at the same place every time, for the library knows by it what it has prepared before; views of other
    commits that nobody used for a month go. Where the cache cannot be written, both are temporary.
    """
    import datasets.config

    folder = assets_folder("views", reference.id.replace("/", "--")) / reference.commit
    prepared = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        prepared.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder), tempfile.TemporaryFile(dir=prepared):
            pass
    except OSError:
        temporary = tempfile.mkdtemp(prefix="finetune30-view-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary) / "view", str(Path(temporary) / "prepared")
    for other in folder.parent.iterdir():
        if other != folder and time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return folder, None


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
    if builder.hash != asked.commit or builder.config.name != (config or "default"):
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
    from tqdm import tqdm

    # A pool of threads takes tqdm's lock away when it ends if it found none, also from under another thread's pool.
    tqdm.get_lock()
    datasets.disable_progress_bars()
    try:
        return question(datasets)
    except (DatasetGenerationError, ImportError, OSError) as error:
        if isinstance(error, FileNotFoundError | ConnectionError):
            raise
        reason = first_line(error.__cause__ or error)
        remedy = "download the files, look at them, and give the one to use as a file"
        raise DataError(f"the files of the hub set {name!r} cannot be read: {reason}", remedy) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = " ".join(str(error).split())[:_LONGEST_REASON]
        if "Config name is missing" in said or "BuilderConfig" in said:
            raise DataError(
                f"the hub set {name!r}: {said}", "set data.dataset_config to one of the names above"
            ) from error
        raise DataError(
            f"the card of the hub set {name!r} cannot be used: {said}",
            "look at its page on the hub, or download the files and give the one to use as a file",
        ) from error
