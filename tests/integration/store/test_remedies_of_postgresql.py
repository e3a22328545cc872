"""What is said about a PostgreSQL that does not answer is done to the letter, with a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.service.runs.open_records import open_records
from finetune30.settings import load_settings
from support.run_store_lab import new_postgresql_database
from support.services import free_port

pytestmark = pytest.mark.integration


def keep_a_run() -> str:
    """Record a run in the database of the settings; return the kind of database."""
    with open_records(load_settings()) as records:
        run = records.store.create(ExperimentConfig(), kind="queued", results_root=records.results_root)
        assert records.store.get("latest").id == run.id
        return records.store.engine.dialect.name


def refusal() -> str:
    with pytest.raises(StorageError) as caught:
        keep_a_run()
    return str(caught.value.remedy)


@pytest.mark.parametrize("wrong", ["port", "database"])
def test_the_right_address_of_a_server_that_runs_is_taken(
    postgresql: Any, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    right = new_postgresql_database(postgresql)
    of_nobody = f"postgresql://somebody:secret@127.0.0.1:{free_port()}/runs"
    monkeypatch.setenv("FT30_DATABASE_URL", of_nobody if wrong == "port" else right.replace("/test_", "/missing_"))
    assert refusal() == "check that PostgreSQL runs there and that FT30_DATABASE_URL is right"
    monkeypatch.setenv("FT30_DATABASE_URL", right)
    assert keep_a_run() == "postgresql"


def test_a_folder_that_can_keep_no_log_is_left_for_postgresql(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"file:{Path.cwd()}/runs.db?vfs=unix-dotfile&uri=true"  # as on a network folder
    monkeypatch.setenv("FT30_DATABASE_URL", f"sqlite:///{where}")
    assert refusal() == "keep the database on a local disk, or use PostgreSQL through FT30_DATABASE_URL"
    monkeypatch.setenv("FT30_DATABASE_URL", new_postgresql_database(postgresql))
    assert keep_a_run() == "postgresql"
