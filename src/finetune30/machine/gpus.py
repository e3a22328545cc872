"""The NVIDIA GPUs of this machine, by names that mean the same everywhere; found without loading torch.

The driver counts GPUs by their place in the machine, CUDA by their speed unless it is told otherwise. So a GPU is known
by its UUID, which both take: two workers that name it in different ways still hold one lock.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_NVIDIA_SECONDS = 20.0
_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
_GPU = re.compile(r"^GPU \d+: (?P<name>.+) \(UUID: (?P<uuid>GPU-[0-9a-fA-F-]+)\)\s*$")
#: An instance of a GPU that is divided (MIG), below the line of that GPU.
_INSTANCE = re.compile(r"^\s+MIG .+\(UUID: (?P<uuid>MIG-[^)\s]+)\)\s*$")
_NAMED = re.compile(r"^(\d+|(GPU|MIG)-[0-9a-zA-Z/-]+)$")


class Gpu(NamedTuple):
    """A GPU by its model and UUID, with the instances that it is divided into."""

    name: str
    uuid: str
    instances: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """What trainings take of it: its instances, else all of it."""
        return self.instances or (self.uuid,)


def find_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs that this process may use: their UUIDs, or CUDA's numbers where only those can be known."""
    present = _list_gpus()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [part for gpu in present for part in gpu.parts]
    # CUDA's numbers are the driver's where it is told so, or where no GPU is faster than another.
    counts_alike = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in present}) < 2
    found = [_resolve(name, present, counts_alike=counts_alike) for name in _until_invalid(visible)]
    known = found if None not in found else found[: found.index(None)]
    return list(dict.fromkeys(name for name in known if name is not None))


def _until_invalid(visible: str) -> Iterator[str]:
    """Yield the entries of CUDA_VISIBLE_DEVICES up to the first that names nothing, as CUDA itself reads them."""
    for entry in visible.split(","):
        if not _NAMED.match(entry.strip()):
            return
        yield entry.strip()


def _resolve(name: str, present: Sequence[Gpu], *, counts_alike: bool) -> str | None:
    """Return the UUID of what is named, the name itself where that cannot be told, None where there is no such GPU."""
    if not present:
        return name
    if name.isdecimal():
        if int(name) >= len(present):
            return None
        return present[int(name)].parts[0] if counts_alike else name
    uuids = [uuid for gpu in present for uuid in (gpu.uuid, *gpu.instances)]
    meant = [uuid for uuid in uuids if uuid.startswith(name)]  # CUDA takes the beginning of one too
    return meant[0] if meant else name if name.startswith("MIG-GPU-") else None


def _list_gpus() -> list[Gpu]:
    """Return the GPUs in the driver's order, also where its program is missing or complains of one of them."""
    return parse_gpu_list(_ask_driver()) or list(_read_driver_folder(_DRIVER_FOLDER))


def _ask_driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def parse_gpu_list(text: str) -> list[Gpu]:
    """Return the GPUs that `nvidia-smi -L` lists."""
    found: list[Gpu] = []
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            found.append(Gpu(gpu["name"], gpu["uuid"]))
        elif found and (part := _INSTANCE.match(line)):
            found[-1] = found[-1]._replace(instances=(*found[-1].instances, part["uuid"]))
    return found


def _read_driver_folder(folder: Path) -> Iterator[Gpu]:
    """Yield the GPUs that the driver for Linux shows, by their place in the machine; instances are not shown there."""
    for place in sorted(folder.glob("*/information")):
        pairs = (line.partition(":") for line in place.read_text(encoding="utf-8", errors="replace").splitlines())
        told = {key.strip(): value.strip() for key, _, value in pairs}
        if (uuid := told.get("GPU UUID", "")).startswith("GPU-"):
            yield Gpu(told.get("Model", ""), uuid)
