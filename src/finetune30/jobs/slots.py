"""Places where a worker trains: one for each GPU or Apple GPU, a chosen number on the CPU.

A training takes a place for each of its processes, all of them or none, so that no two trainings wait for each other. A
GPU's place is a lock of this machine (`machine.device_locks`), which the attempt's process inherits.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from finetune30.machine.device_locks import close_locks, held_path, hold_until_end, take_lock
from finetune30.machine.gpus import find_gpus

#: Names the files that the processes of an attempt hold as long as they live.
_HELD_VARIABLE = "FT30_HELD_PLACES"


@dataclass(frozen=True)
class Slot:
    """The places of one training: their devices ("cpu", "mps", "cuda:GPU-…"), the file handles of their locks, the
    number of threads of each of its processes (None: not limited), and the files that those hold."""

    devices: tuple[str, ...]
    locks: tuple[int, ...] = ()
    threads: int | None = None
    held: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What an attempt in these places sees of the machine: its GPUs, or its share of the processors."""
        held = {_HELD_VARIABLE: os.pathsep.join(map(str, self.held))} if self.held else {}
        if self.devices[0].startswith("cuda:"):
            return {"CUDA_VISIBLE_DEVICES": ",".join(device.partition(":")[2] for device in self.devices), **held}
        if self.devices[0] == "cpu":  # also where torch knows of a GPU that was not found: nobody holds its lock
            held |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
        return held if self.threads is None else {**held, "OMP_NUM_THREADS": str(self.threads)}


@dataclass
class DeviceSlots:
    """The places of one worker; `busy` are the devices in use."""

    devices: tuple[str, ...]
    lock_folder: Path
    busy: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def free(self) -> int:
        """How many places this worker does not use."""
        return len(self.devices) - len(self.busy)

    def take(self, count: int = 1) -> Slot | None:
        """Take so many free places, all or none; None when there are not as many. Whoever takes gives back."""
        with self._guard:
            free = list(self.devices)
            for device in self.busy:
                free.remove(device)
            taken: list[str] = []
            locks: list[int] = []
            for device in free:
                if len(taken) == count:
                    break
                lock = None if device == "cpu" else take_lock(self.lock_folder, device)
                if device == "cpu" or lock is not None:
                    taken.append(device)
                    locks += [] if lock is None else [lock]
            if len(taken) < count:
                close_locks(locks)
                return None
            self.busy += taken
            held = tuple(held_path(self.lock_folder, device) for device in taken if device != "cpu")
            return Slot(tuple(taken), tuple(locks), self._threads(), held)

    def give_back(self, slot: Slot) -> None:
        """Free the places that were taken."""
        with self._guard:
            for device in slot.devices:
                self.busy.remove(device)
            close_locks(slot.locks)

    def _threads(self) -> int | None:
        """Two trainings that both want every processor are many times slower than two that share them."""
        if len(self.devices) == 1 or "OMP_NUM_THREADS" in os.environ:
            return None
        return max(1, (os.cpu_count() or 1) // len(self.devices))


def hold_places(environment: Mapping[str, str]) -> None:
    """Hold the places of the attempt that this process is one of, until it is gone."""
    for path in filter(None, environment.get(_HELD_VARIABLE, "").split(os.pathsep)):
        hold_until_end(Path(path))


def find_devices(concurrency: int | None) -> tuple[str, ...]:
    """Return the devices of this machine's places, without loading torch.

    One for every NVIDIA GPU, else one on Apple Silicon, else the CPU; `concurrency` limits the number of GPUs, and says
    how many places the CPU has (default 1).
    """
    devices = tuple(f"cuda:{name}" for name in find_gpus())
    if not devices and platform.system() == "Darwin" and platform.machine() == "arm64":
        devices = ("mps",)
    return devices[:concurrency] if devices else ("cpu",) * (concurrency or 1)
