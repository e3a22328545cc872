"""Where the database and the results folder are, and opening both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from finetune30.errors import NotFoundError
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStore, open_store
from finetune30.store.folder_marks import require_run_folder


@dataclass(frozen=True)
class Records:
    """The runs of one results folder and the store that knows them."""

    store: RunStore
    results_root: Path

    def folder(self, run: Run) -> RunFolder:
        """Return the run's folder."""
        return RunFolder(self.results_root / run.folder)

    def require_folder(self, run: Run) -> RunFolder:
        """Return the run's folder. Raises StorageError where it is not there, which says where it was carried out."""
        return require_run_folder(self.store, self.results_root, run)


def locate_records(settings: Settings, output_dir: Path | str | None = None) -> tuple[str, Path]:
    """Return database URL and results folder: `output_dir` (of the configuration or a flag) else the settings'.

    A database URL of the settings always counts; without one the database lies in the results folder.
    """
    root = Path(output_dir) if output_dir is not None else settings.results_folder
    return settings.database_url or f"sqlite:///{(root / 'experiments.db').as_posix()}", root


@contextmanager
def open_records(settings: Settings, output_dir: Path | str | None = None) -> Iterator[Records]:
    """Open the store, settle runs whose process is gone, and close it afterwards. Raises StorageError."""
    database_url, root = locate_records(settings, output_dir)
    store = open_store(database_url)
    try:
        store.reconcile()
        yield Records(store, root)
    finally:
        store.close()


def has_records(settings: Settings, output_dir: Path | str | None = None) -> bool:
    """Tell whether there is a database to look at, without making one."""
    database = make_url(locate_records(settings, output_dir)[0])
    return database.get_backend_name() != "sqlite" or Path(database.database or "").is_file()


def require_records(settings: Settings, output_dir: Path | str | None = None) -> None:
    """Raise NotFoundError when nothing was ever run here, so that looking makes no empty database."""
    if not has_records(settings, output_dir):
        raise NotFoundError(
            f"no runs in {locate_records(settings, output_dir)[1]}",
            "start one with: ft30 train, or name the folder of the runs in FT30_RESULTS_FOLDER",
        )
