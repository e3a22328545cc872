"""Workers and API on a host that does not share the folders: they do not start, and no run is begun anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune30
from finetune30.api.server import serve
from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.jobs.slots import DeviceSlots
from finetune30.jobs.worker import Worker
from finetune30.settings import Settings
from finetune30.store import RunStatus, RunStore, open_store
from finetune30.store.folder_marks import MARK


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        results_folder=tmp_path / "results",
        data_folder=tmp_path / "data",
        database_url=f"sqlite:///{tmp_path}/runs.db",
        redis_url="redis://127.0.0.1:9/0",
        api_port=1,
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[RunStore]:
    store = open_store(settings.resolved_database_url)
    yield store
    store.close()


def build(store: RunStore, settings: Settings, tmp_path: Path) -> Worker:
    return Worker(store, settings, "here", DeviceSlots(("cpu",), tmp_path / "locks"))


def test_worker_and_api_with_folders_of_their_own_do_not_start(
    store: RunStore, settings: Settings, tmp_path: Path
) -> None:
    build(store, settings, tmp_path)
    for key in ("results_folder", "data_folder"):
        apart = settings.model_copy(update={key: tmp_path / "apart"})
        with pytest.raises(StorageError, match="is not the one of this database"):
            build(store, apart, tmp_path)
        with pytest.raises(StorageError, match="is not the one of this database"):
            serve(apart, lambda _: None)
    assert not (tmp_path / "apart").exists()


def test_worker_whose_folder_went_away_takes_no_run(
    store: RunStore, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = build(store, settings, tmp_path)
    run = store.create(ExperimentConfig(), kind="queued", results_root=settings.results_folder)
    (settings.results_folder / MARK).unlink()
    with caplog.at_level(logging.WARNING):
        worker.take_message((run.id,))
    assert (store.get(run.id).status, store.get(run.id).attempt) == (RunStatus.QUEUED, 0)
    assert "it has no mark" in caplog.text


def test_a_message_of_a_later_version_gives_a_turn_and_its_version_is_told_once(
    store: RunStore, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = build(store, settings, tmp_path)
    run = store.create(ExperimentConfig(), kind="queued", results_root=settings.results_folder)
    (settings.results_folder / MARK).unlink()  # so that a turn ends where it begins
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            worker.take_message((run.id, {"later": 1}), "9.1.0")
        worker.take_message((run.id,), finetune30.__version__)
        worker.take_message((run.id,))
    assert caplog.text.count("it has no mark") == 4
    assert caplog.text.count("messages come from version '9.1.0' too") == 1
    assert "without a run id" not in caplog.text
