"""A store on a new SQLite file, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.store import Run, RunStore, open_store


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Lab:
    """A store, its clock and its results folder."""

    def __init__(self, database_url: str, results: Path) -> None:
        self.clock = Clock()
        self.results = results
        self.store: RunStore = open_store(database_url, self.clock)

    def create(self, name: str = "trial", **options: object) -> Run:
        options.setdefault("kind", "queued")
        return self.store.create(ExperimentConfig(experiment_name=name), results_root=self.results, **options)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(f"sqlite:///{tmp_path}/results/experiments.db", tmp_path / "results")
    yield lab
    lab.store.close()
