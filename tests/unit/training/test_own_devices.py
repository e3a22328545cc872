"""Processes of one training each have a device of their own, on which they can add up their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.errors import DeviceError
from finetune30.training.processes import meet, require_own_device


@pytest.fixture
def among() -> Iterator[Callable[..., None]]:
    """Make this process one of so many on each host."""

    def met(*per_host: int) -> None:
        peers: Any = SimpleNamespace(world_size=sum(per_host), per_host=list(per_host))
        meet(peers)

    yield met
    meet(None)


def test_processes_of_one_host_do_not_share_a_gpu_that_is_named(among: Callable[..., None]) -> None:
    """NCCL would end both with words about a duplicate GPU."""
    among(2)
    with pytest.raises(DeviceError, match="'cuda:1' puts 2 processes on one GPU"):
        require_own_device("cuda:1", "cuda:1")
    require_own_device("cuda:1", "cuda")
    require_own_device("cuda:1", None)
    among(1, 1)
    require_own_device("cuda:1", "cuda:1")


def test_processes_cannot_add_up_on_apples_gpu(among: Callable[..., None]) -> None:
    among(2)
    with pytest.raises(DeviceError, match="2 processes cannot train together on Apple's GPU"):
        require_own_device("mps", None)
    require_own_device("cpu", "cpu")
    among(1)
    require_own_device("mps", None)
