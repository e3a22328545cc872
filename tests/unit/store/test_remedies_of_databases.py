"""What an error about the database says to do is done to the letter, and the records are then kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.service.runs.open_records import open_records
from finetune30.settings import load_settings
from finetune30.store.database import writing


def keep_a_run(output_dir: Path | None = None) -> str:
    """Record a run where settings and --output_dir say; return the folder of the database."""
    with open_records(load_settings(), output_dir) as records:
        run = records.store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
        assert records.store.get("latest").id == run.id
        return str(Path(str(records.store.engine.url.database)).parent)


def refusal(output_dir: Path | None = None) -> str:
    with pytest.raises(StorageError) as caught:
        keep_a_run(output_dir)
    return str(caught.value.remedy)


@pytest.mark.parametrize("named", ["FT30_DATABASE_URL", "FT30_RESULTS_FOLDER", "--output_dir"])
def test_a_folder_that_cannot_be_made_is_named_elsewhere(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    Path("file").write_text("in the way")

    def name(folder: str) -> Path | None:
        if named == "--output_dir":
            return Path(folder)
        monkeypatch.setenv(named, f"sqlite:///{folder}/runs.db" if named == "FT30_DATABASE_URL" else folder)
        return None

    assert refusal(name("file/below")) == (
        "check the permissions there, or name another place where this one was named: FT30_DATABASE_URL, "
        "FT30_RESULTS_FOLDER or --output_dir"
    )
    assert keep_a_run(name("another")) == "another"


def test_a_database_of_a_newer_version_stays_and_another_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_a_run()
    with open_records(load_settings()) as records, writing(records.store.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999_later'"))
    before = Path("results/experiments.db").read_bytes()
    assert refusal() == "update finetune30, or point FT30_DATABASE_URL at another database"
    monkeypatch.setenv("FT30_DATABASE_URL", "sqlite:///mine/other.db")
    assert keep_a_run() == "mine"
    assert Path("results/experiments.db").read_bytes() == before


def test_a_database_that_can_keep_no_log_is_kept_on_a_local_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # Files without shared memory, as those of network folders are: SQLite's locks by files.
    where = f"file:{Path.cwd()}/runs.db?vfs=unix-dotfile&uri=true"
    monkeypatch.setenv("FT30_DATABASE_URL", f"sqlite:///{where}")
    assert refusal() == "keep the database on a local disk, or use PostgreSQL through FT30_DATABASE_URL"
    monkeypatch.setenv("FT30_DATABASE_URL", f"sqlite:///{Path.cwd()}/local/runs.db")
    assert keep_a_run() == f"{Path.cwd()}/local"
