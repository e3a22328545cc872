"""Places where a worker trains: one for each GPU or Apple GPU, a chosen number on the CPU.

A training takes a place for each of its processes, all of them or none, so that no two trainings wait for each other. A
GPU's place is held through a lock on a file of this machine, which the attempt's process inherits: two workers on one
machine never train on one GPU at the same time, and a place is free again only when the process is really gone. The
processes that an attempt starts inherit nothing: they hold a second file of each place, at which whoever takes it
looks.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NVIDIA_SECONDS = 20.0
#: Names the files that the processes of an attempt hold as long as they live.
_HELD_VARIABLE = "FT30_HELD_PLACES"


@dataclass(frozen=True)
class Slot:
    """The places of one training: their devices ("cpu", "mps", "cuda:0"), the file handles of their locks, the number
    of threads of each of its processes (None: not limited), and the files that those hold."""

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
        return held if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}


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
                lock = None if device == "cpu" else self._lock(device)
                if device == "cpu" or lock is not None:
                    taken.append(device)
                    locks += [] if lock is None else [lock]
            if len(taken) < count:
                _close(locks)
                return None
            self.busy += taken
            held = tuple(self._path(device, "held") for device in taken if device != "cpu")
            return Slot(tuple(taken), tuple(locks), self._threads(), held)

    def give_back(self, slot: Slot) -> None:
        """Free the places that were taken."""
        with self._guard:
            for device in slot.devices:
                self.busy.remove(device)
            _close(slot.locks)

    def _threads(self) -> int | None:
        """Two trainings that both want every processor are many times slower than two that share them."""
        if len(self.devices) == 1 or "OMP_NUM_THREADS" in os.environ:
            return None
        return max(1, (os.cpu_count() or 1) // len(self.devices))

    def _lock(self, device: str) -> int | None:
        self.lock_folder.mkdir(parents=True, exist_ok=True)
        handle = _try_lock(self._path(device, "lock"))
        if handle is None:
            return None
        unheld = _try_lock(self._path(device, "held"))
        if unheld is None:  # a process of an attempt whose first one is gone
            os.close(handle)
            return None
        os.close(unheld)
        return handle

    def _path(self, device: str, kind: str) -> Path:
        return self.lock_folder / f"{device.replace(':', '-')}.{kind}"


def hold_places(environment: Mapping[str, str]) -> None:
    """Hold the places of the attempt that this process is one of, until it is gone."""
    for path in filter(None, environment.get(_HELD_VARIABLE, "").split(os.pathsep)):
        fcntl.flock(_open(Path(path)), fcntl.LOCK_SH)


def _try_lock(path: Path) -> int | None:
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _close(handles: Iterable[int]) -> None:
    for handle in handles:
        os.close(handle)


def default_lock_folder() -> Path:
    """Return the folder that all workers of this user on this machine share."""
    return Path(tempfile.gettempdir()) / f"finetune30-slots-{os.getuid()}"


def find_devices(concurrency: int | None) -> tuple[str, ...]:
    """Return the devices of this machine's places, without loading torch.

    One for every NVIDIA GPU, else one on Apple Silicon, else the CPU; `concurrency` limits the number of GPUs, and says
    how many places the CPU has (default 1).
    """
    devices = tuple(f"cuda:{index}" for index in _find_nvidia_gpus())
    if not devices and platform.system() == "Darwin" and platform.machine() == "arm64":
        devices = ("mps",)
    return devices[:concurrency] if devices else ("cpu",) * (concurrency or 1)


def _find_nvidia_gpus() -> list[str]:
    """Return the indices of the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() and part.strip() != "-1"]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.split() if done.returncode == 0 else []
