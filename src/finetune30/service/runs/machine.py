"""What this machine has left: processors, memory, disk and GPUs, as the system tells it at this moment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

#: What is asked of each NVIDIA GPU; memory comes in MiB, temperature in degrees Celsius.
GPU_FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu")
#: A driver that hangs must not hang whoever asks.
GPU_SECONDS = 3.0
_MIB = 1024 * 1024


class Processors:
    """How busy the processors were between two looks; the first look has nothing to compare with."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def read(self) -> dict[str, Any]:
        """Return `cores`, `percent` (0-100; None at the first look), `load` (mean of a minute; None where unknown)."""
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts guests within user and nice already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._before = self._before, (idle, total)
        passed = total - before[1] if before else 0.0
        percent = None
        if before and passed > 0:
            percent = round(min(100.0, max(0.0, 100 * (1 - (idle - before[0]) / passed))), 1)
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        return {"cores": os.cpu_count(), "percent": percent, "load": load}


def read_memory() -> dict[str, int]:
    """Return `used_bytes` (what programs cannot have) and `total_bytes`."""
    import psutil

    memory = psutil.virtual_memory()
    return {"used_bytes": int(memory.total - memory.available), "total_bytes": int(memory.total)}


def read_disk(folder: Path) -> dict[str, int]:
    """Return `free_bytes` and `total_bytes` of the disk that holds a folder, which need not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def read_gpus() -> list[dict[str, Any]] | None:
    """Return what `nvidia-smi` says of each GPU, None where there is no NVIDIA driver or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GPU_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_gpus(done.stdout) if done.returncode == 0 else None


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """Return a tree for each line of `nvidia-smi`; what a card does not tell ("[N/A]", "[Not Supported]") is None."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(GPU_FIELDS):
            continue
        index, name, use, used, total, temperature = cells
        found.append(
            {
                "index": _whole(index),
                "name": name,
                "percent": _whole(use),
                "memory_used_bytes": _scaled(used),
                "memory_total_bytes": _scaled(total),
                "temperature_celsius": _whole(temperature),
            }
        )
    return found


def _whole(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _scaled(cell: str) -> int | None:
    mebibytes = _whole(cell)
    return None if mebibytes is None else mebibytes * _MIB
