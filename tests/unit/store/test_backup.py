"""A back-up of the SQLite file, put back as docs/storage.md says."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from finetune30.config import ExperimentConfig
from finetune30.store import open_store
from finetune30.store.folder_marks import own_folders


def test_backup_is_put_back_with_its_runs_and_folders(tmp_path: Path) -> None:
    results, data, file = tmp_path / "results", tmp_path / "data", tmp_path / "results" / "experiments.db"
    store = open_store(f"sqlite:///{file}")
    own_folders(store, results, data)
    kept = store.create(ExperimentConfig(experiment_name="kept"), kind="queued", results_root=results)
    with sqlite3.connect(file) as source, sqlite3.connect(tmp_path / "copy.db") as copy:  # while something runs
        source.backup(copy)
    source.close()
    copy.close()
    later = store.create(ExperimentConfig(experiment_name="later"), kind="queued", results_root=results)
    store.close()
    for leftover in ("experiments.db-wal", "experiments.db-shm"):
        (results / leftover).unlink(missing_ok=True)
    (tmp_path / "copy.db").replace(file)
    again = open_store(f"sqlite:///{file}")
    folders, notes = own_folders(again, results, data)
    assert ([folder.kind for folder in folders], notes) == (["results", "data"], ())
    assert [run.id for run in again.queue()] == [kept.id]
    anew = again.create(ExperimentConfig(experiment_name="later"), kind="queued", results_root=results)
    assert anew.folder != later.folder
    assert (results / later.folder).is_dir()  # a run that the back-up does not know keeps its files
    again.close()
