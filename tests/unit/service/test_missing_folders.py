"""A run on record whose folder lies elsewhere: every look says so, and nothing begins anew in its place."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.service.execution.resume import resume_locally
from finetune30.service.runs.details import verify_run
from finetune30.service.runs.logs import follow_log
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import load_settings

LOOKS: tuple[Callable[[Records, Any], object], ...] = (
    lambda records, run: verify_run(records, run),
    lambda records, run: next(follow_log(records, run.id)),
    lambda records, run: resume_locally(run.id, load_settings(), {}),
)


def test_shared_folder_is_read_where_it_is_named(tmp_path: Path) -> None:
    settings = load_settings()
    with open_records(settings) as records:
        run = records.store.create(ExperimentConfig(), kind="queued", results_root=settings.results_folder)
        shared = tmp_path / "shared"
        shared.mkdir()
        shutil.move(settings.results_folder / run.folder, shared)
        with pytest.raises(StorageError) as caught:
            records.require_folder(run)
    assert "share that results folder with this host" in str(caught.value.remedy)
    named = settings.model_copy(update={"results_folder": shared, "database_url": settings.resolved_database_url})
    with open_records(named) as records:
        assert records.require_folder(run).path.parent == shared


@pytest.mark.parametrize("look", LOOKS)
def test_it_is_said_where_the_run_was_carried_out(look: Callable[[Records, Any], object]) -> None:
    settings = load_settings()
    with open_records(settings) as records:
        run = records.store.create(ExperimentConfig(), kind="queued", results_root=settings.results_folder)
        claim = records.store.claim(run.id, lease_seconds=60)
        assert claim is not None
        records.store.cancelled(claim)
        shutil.rmtree(settings.results_folder / run.folder)
        with pytest.raises(StorageError) as caught:
            look(records, records.store.get(run.id))
        assert f"its folder {run.folder} is not in results; its last attempt was process" in caught.value.message
        assert caught.value.message.endswith(f" on {socket.gethostname()}")
        assert not Path(settings.results_folder / run.folder).exists()
