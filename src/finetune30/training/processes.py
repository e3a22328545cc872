"""Several processes on one training: who am I, and sums over all of us.

A process that a launcher started meets the others (`peers`) before anything else; the group that adds numbers up is
formed when the device is known. Every sum waits in short steps and looks after the others meanwhile, so that waiting
for a lost one ends, and waiting for a slow one does not.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from finetune30.errors import DeviceError, Finetune30Error
from finetune30.training.leaving import leave_at_once_at_exit
from finetune30.training.peers import LOOK_SECONDS, Peers

_Number = TypeVar("_Number", bound=np.floating[Any])
#: Longer than any wait for a slow process: who is lost is known by its signs of life, not by the backend's clock.
_BACKEND_TIMEOUT = timedelta(days=7)
#: NCCL's own watchdog would end the process before the end of the attempt is recorded.
_NCCL_VARIABLES = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0", "TORCH_NCCL_ENABLE_MONITORING": "0"}
_GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
#: Wishes to stop, the weightier ones later.
_WISHES = (None, "paused", "released", "cancelled", "lost")
_BRIEF_SECONDS = 0.0002

_peers: Peers | None = None
_meeting_place = ""


def meet(peers: Peers | None, address: str = "") -> None:
    """Take the processes that this one met at an address as those of the training; None: it is alone."""
    global _peers, _meeting_place
    _peers, _meeting_place = peers, address


def join_processes(device: str | None) -> None:
    """Form the group with the processes that were met; alone, do nothing. Raises PeerLostError."""
    if _peers is None or _joined():
        return
    uses_cuda = device != "cpu" and torch.cuda.is_available()
    per_host = _peers.per_host
    os.environ.setdefault("LOCAL_RANK", str(_peers.local_rank))  # accelerate finds the GPU of this process by it
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // max(per_host)))
    for name, value in _NCCL_VARIABLES.items() if uses_cuda else ():
        os.environ.setdefault(name, value)
    spans_hosts = not uses_cuda and len(per_host) > 1
    if spans_hosts and _GLOO_INTERFACE not in os.environ and (interface := find_interface(_meeting_place)):
        os.environ[_GLOO_INTERFACE] = interface
    store = torch.distributed.PrefixStore("group", _peers.store)  # type: ignore[attr-defined]
    backend, rank, size = "nccl" if uses_cuda else "gloo", _peers.rank, _peers.world_size
    _guarded(
        lambda peers: peers.wait_for(
            lambda: torch.distributed.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=_BACKEND_TIMEOUT
            )
        )
    )


def require_own_device(device: str, named: str | None) -> None:
    """Raise DeviceError where the processes of this training would share a GPU, or one that cannot add up with others.

    `device` is the one that was chosen, `named` what the configuration says.
    """
    if _peers is None or _peers.world_size == 1:
        return
    if device == "mps":
        raise DeviceError(
            f"{_peers.world_size} processes cannot train together on Apple's GPU: nothing adds up numbers there",
            "set training.processes to 1, or training.device to cpu",
        )
    if device.startswith("cuda") and named is not None and ":" in named and max(_peers.per_host) > 1:
        raise DeviceError(
            f"training.device '{named}' puts {max(_peers.per_host)} processes on one GPU",
            "set training.device to cuda: each process takes a GPU of its own",
        )


def find_interface(address: str) -> str | None:
    """Return the network interface by which this host reaches an address; None where that cannot be told.

    gloo would listen on whatever address the host's own name has, which on many systems is one of loopback.
    """
    import socket

    import psutil

    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # of a datagram socket: nothing is sent
        mine = probe.getsockname()[0]
        for name, known in psutil.net_if_addrs().items():
            if any(entry.address == mine for entry in known):
                return str(name)
    return None


def describe_processes() -> dict[str, Any]:
    """Return what must be equal for an exact repetition: number, processes on each host, backend; nothing alone."""
    if _peers is None:
        return {}
    backend = torch.distributed.get_backend() if _joined() else None
    return {"processes": {"world_size": _peers.world_size, "per_host": _peers.per_host, "backend": backend}}


def world_size() -> int:
    """Return the number of processes."""
    return torch.distributed.get_world_size() if _joined() else 1


def rank() -> int:
    """Return the number of this process, from 0; process 0 reports and saves."""
    return torch.distributed.get_rank() if _joined() else 0


def sum_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes. Raises PeerLostError and what ended another process."""
    if _joined():
        tensor = tensor.clone()
        sum_in_place(tensor)
    return tensor


def sum_in_place(tensor: torch.Tensor) -> None:
    """Replace a tensor by its sum over all processes; raises as `sum_tensor`."""
    _finish(lambda: torch.distributed.all_reduce(tensor, async_op=True))


def sum_array(array: NDArray[_Number], device: str) -> NDArray[_Number]:
    """Return the sum of an array over all processes."""
    if not _joined():
        return array
    result: NDArray[_Number] = sum_tensor(torch.from_numpy(array).to(device)).cpu().numpy()
    return result


def any_process(flag: bool, device: str) -> bool:
    """Tell whether the flag is set in any process, so that all take the same turn."""
    return flag if not _joined() else bool(sum_tensor(torch.tensor(float(flag), device=device)) > 0)


def agree_on_stop(wish: str | None, device: str) -> str | None:
    """Return the weightiest wish to stop of all processes, None to go on.

    Lost comes before cancelled, before released, before paused.
    """
    if not _joined():
        return wish
    wishes = torch.zeros(len(_WISHES), device=device)
    wishes[_WISHES.index(wish)] = 1.0
    weightiest: str | None = _WISHES[int(sum_tensor(wishes).nonzero().max())]
    return weightiest


def broadcast_bytes(content: bytes | None, device: str) -> bytes:
    """Return the bytes that process 0 gives."""
    mine = content if content is not None and rank() == 0 else b""
    return gather_bytes(mine, device)[0]


def gather_bytes(content: bytes, device: str) -> list[bytes]:
    """Return the bytes of every process, in order of rank."""
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=device)
    sizes[rank()] = len(content)
    ends = sum_tensor(sizes).cumsum(0).tolist()
    joined = torch.zeros(ends[-1], dtype=torch.uint8)
    begin = ends[rank()] - len(content)
    joined[begin : ends[rank()]] = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else 0
    whole = sum_tensor(joined.to(device)).cpu().numpy().tobytes()
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _finish(begin: Any) -> None:
    """Begin an operation of all processes and wait for its end, looking after the others."""

    def wait(peers: Peers) -> None:
        peers.enter()
        work = begin()
        if torch.distributed.get_backend() == "nccl":
            _wait_for_device(work, peers)
            return
        while True:
            try:
                work.wait(timedelta(seconds=LOOK_SECONDS))
                return
            except RuntimeError:
                if work.is_completed():
                    work.wait()  # raises again what broke it; nothing where it ended just now
                    return
            peers.require_all(waits=True)

    _guarded(wait)


def _wait_for_device(work: Any, peers: Peers) -> None:
    """Wait for what runs on a GPU without blocking there: a lost process would block it for good."""
    began = looked = time.monotonic()
    while not work.is_completed():
        now = time.monotonic()
        if now - looked > LOOK_SECONDS:
            peers.require_all(waits=True)
            looked = now
        if now - began > _BRIEF_SECONDS * 10:
            time.sleep(_BRIEF_SECONDS)
    work.wait()


def _guarded(act: Any) -> None:
    """Do something with the others; a broken connection is raised as the loss of whoever is behind it."""
    if _peers is None:
        raise RuntimeError("there are no other processes")
    try:
        act(_peers)
    except (Finetune30Error, KeyboardInterrupt) as error:
        leave_at_once_at_exit(error)
        raise
    except RuntimeError as error:
        explained = _peers.explain(error)
        leave_at_once_at_exit(explained)
        raise explained from error
