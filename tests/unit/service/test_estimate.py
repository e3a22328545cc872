"""What a run will take is judged by runs that were computed alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.service.submitting.estimate import estimate_run
from finetune30.store import RunStore, open_store
from support.present import present


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return open_store(f"sqlite:///{tmp_path / 'runs.db'}")


def config_of(device: str | None = None, precision: str = "auto") -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "model": {"name": "starter"},
            "data": {"dataset_name": "starter", "train_samples": 100},
            "training": {"device": device, "precision": precision, "num_train_epochs": 1},
        }
    )


def finish(store: RunStore, config: ExperimentConfig, device: str, **metrics: Any) -> None:
    """Record a finished run that was carried out on a device."""
    run = store.create(config, kind="local", results_root=Path("results"))
    claim = present(store.claim(run.id, lease_seconds=60))
    store.describe(claim, device=device, precision="fp32")
    store.succeed(claim, metrics, "0" * 64)


def look(store: RunStore, *asked: str) -> tuple[Any, ...]:
    estimate = estimate_run(config_of(*asked), store)
    return estimate["memory_bytes"], estimate["seconds"], estimate["based_on_runs"]


def test_devices_and_precisions_are_not_mixed(store: RunStore) -> None:
    """Memory is that of the device on CUDA and that of the process on a CPU, and their speeds differ a hundredfold."""
    for _ in range(3):
        finish(store, config_of(), "cuda:0", peak_memory_bytes=300, train_samples_per_second=1000.0)
    assert look(store) == (300, 0.1, 3), "a GPU is what this machine finds"
    assert look(store, "cuda:0") == (300, 0.1, 3)
    assert look(store, "cpu") == (None, None, 0)
    finish(store, config_of("cpu"), "cpu", peak_memory_bytes=900, train_samples_per_second=10.0)
    assert look(store, "cpu") == (900, 10.0, 1)
    assert look(store) == (300, 0.1, 3)
    assert look(store, "cuda", "bf16") == (None, None, 0)
    finish(store, config_of(), "cpu", peak_memory_bytes=800, train_samples_per_second=20.0)
    assert look(store) == (850, pytest.approx(100 / 15), 2), "since then it finds none"
