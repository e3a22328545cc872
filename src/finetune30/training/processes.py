"""Several processes on one training, started by torchrun's launcher: who am I, and sums over all of us."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.floating[Any])


def join_processes(device: str | None) -> None:
    """Join the process group when a launcher started several processes; otherwise do nothing."""
    if torch.distributed.is_torchelastic_launched():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu" or not torch.cuda.is_available())


def world_size() -> int:
    """Return the number of processes."""
    return torch.distributed.get_world_size() if _joined() else 1


def rank() -> int:
    """Return the number of this process, from 0; process 0 reports and saves."""
    return torch.distributed.get_rank() if _joined() else 0


def sum_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes."""
    if _joined():
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor)
    return tensor


def sum_array(array: NDArray[_Number], device: str) -> NDArray[_Number]:
    """Return the sum of an array over all processes."""
    if not _joined():
        return array
    result: NDArray[_Number] = sum_tensor(torch.from_numpy(array).to(device)).cpu().numpy()
    return result


def any_process(flag: bool, device: str) -> bool:
    """Tell whether the flag is set in any process, so that all take the same turn."""
    return flag if not _joined() else bool(sum_tensor(torch.tensor(float(flag), device=device)) > 0)


def wait_for_all() -> None:
    """Wait until every process is here."""
    if _joined():
        torch.distributed.barrier()


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
