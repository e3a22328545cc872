"""Places where a worker trains: one training a GPU or Apple GPU, a chosen number on the CPU.

A GPU's place is held through a lock on a file of this machine, which the attempt's process inherits: two workers on one
machine never train on one GPU at the same time, and a place is free again only when the process is really gone.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_POLL_SECONDS = 0.5
_NVIDIA_SECONDS = 20.0


@dataclass(frozen=True)
class Slot:
    """One place: its device ("cpu", "mps", "cuda:0"), its lock's file handle if it has one, its number of threads."""

    device: str
    lock: int | None = None

    threads: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What an attempt in this place sees of the machine: its GPU, or its share of the processors."""
        if self.device.startswith("cuda:"):
            return {"CUDA_VISIBLE_DEVICES": self.device.partition(":")[2]}
        return {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}


@dataclass
class DeviceSlots:
    """The places of one worker; `busy` are the devices in use."""

    devices: tuple[str, ...]
    lock_folder: Path
    busy: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(self, give_up: threading.Event, *, wait: bool = True) -> Iterator[Slot | None]:
        """Hold a free place for the block; None when there is none (without `wait`) or `give_up` was set."""
        slot = self._try()
        while slot is None and wait and not give_up.wait(_POLL_SECONDS):
            slot = self._try()
        try:
            yield slot
        finally:
            if slot is not None:
                with self._guard:
                    self.busy.remove(slot.device)
                if slot.lock is not None:
                    os.close(slot.lock)

    def _try(self) -> Slot | None:
        with self._guard:
            free = list(self.devices)
            for device in self.busy:
                free.remove(device)
            for device in dict.fromkeys(free):
                lock = None if device == "cpu" else self._lock(device)
                if device == "cpu" or lock is not None:
                    self.busy.append(device)
                    return Slot(device, lock, self._threads())
        return None

    def _threads(self) -> int | None:
        """Two trainings that both want every processor are many times slower than two that share them."""
        if len(self.devices) == 1 or "OMP_NUM_THREADS" in os.environ:
            return None
        return max(1, (os.cpu_count() or 1) // len(self.devices))

    def _lock(self, device: str) -> int | None:
        self.lock_folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.lock_folder / f"{device.replace(':', '-')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle


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
