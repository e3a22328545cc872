"""A GPU trains one thing at a time: workers and trainings at a terminal hold the same locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetune30.errors import ConflictError
from finetune30.jobs.slots import DeviceSlots, find_devices
from finetune30.machine import device_locks
from finetune30.machine.device_locks import held_gpus
from support.present import present


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs; nothing names which of them to use."""
    monkeypatch.setattr(device_locks, "find_gpus", lambda: ["GPU-0a", "GPU-1b"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("gpus")
def test_a_training_at_a_terminal_takes_a_gpu_that_no_worker_uses(tmp_path: Path) -> None:
    worker = DeviceSlots(("cuda:GPU-0a", "cuda:GPU-1b"), tmp_path)
    first = present(worker.take())
    assert first.environment["CUDA_VISIBLE_DEVICES"] == "GPU-0a"
    with held_gpus(None, folder=tmp_path):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1b"
        assert worker.take() is None
        with pytest.raises(ConflictError, match=r"needs 1 of the 2 GPUs .* hold 2"), held_gpus("cuda", folder=tmp_path):
            pass
        with held_gpus("cpu", folder=tmp_path):  # as the remedy says; or wait, as here, or hand it to the worker
            pass
    with held_gpus("cuda", folder=tmp_path):
        pass
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    present(worker.take())


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_named_is_the_one_that_is_held(tmp_path: Path) -> None:
    worker = DeviceSlots(("cuda:GPU-0a", "cuda:GPU-1b"), tmp_path)
    with held_gpus("cuda:1", folder=tmp_path):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ, "its number counts among all"
        taken = present(worker.take())
        assert taken.devices == ("cuda:GPU-0a",)
        worker.give_back(taken)
    with held_gpus(None, 2, folder=tmp_path):
        assert worker.take() is None


def test_a_place_on_the_cpu_sees_no_gpu_and_names_of_locks_are_names_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else as many trainings as there are places would share a GPU that was not found, without a lock."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    seen = present(DeviceSlots(find_devices(2), tmp_path).take()).environment
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["HIP_VISIBLE_DEVICES"]) == ("", "")
    slots = DeviceSlots(("cuda:MIG-GPU-8a/1/0",), tmp_path)
    slots.give_back(present(slots.take()))
    assert {path.name for path in tmp_path.iterdir()} == {"cuda-MIG-GPU-8a-1-0.lock", "cuda-MIG-GPU-8a-1-0.held"}
