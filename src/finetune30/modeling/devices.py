"""Where a training runs and in which number format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune30.errors import DeviceError
from finetune30.modeling.heavy_imports import import_heavy

if TYPE_CHECKING:
    import torch

_SMALLEST_COMPUTE_CAPABILITY_WITH_BF16 = (8, 0)
#: Where NVIDIA's driver for Linux shows that there is a GPU.
_NVIDIA_PLACES = ("/proc/driver/nvidia/gpus", "/dev/nvidia0")


@dataclass(frozen=True)
class Placement:
    """A device ("cpu", "mps", "cuda:0") and a precision ("fp32", "bf16", "fp16"), with the reason for logs."""

    device: str
    precision: str
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the frozen base weights."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    @property
    def dtype_name(self) -> str:
        """The name of that type, as transformers takes it."""
        return {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[self.precision]


def choose_placement(device: str | None, precision: str, before: str | None = None) -> Placement:
    """Turn the configured device and precision into what this machine can do.

    `before`: the precision that `auto` was until now, for a run that is gone on with or repeated, maybe elsewhere.
    Raises DeviceError when a device or precision was named that the machine lacks.
    """
    import_heavy("torch")
    found = _find_device(device)
    supported = _supported_precisions(found)
    if precision == "auto":
        how = "detected" if device in (None, "auto") else "named"
        if before in supported:
            return Placement(found, before, f"{how} device, the precision that the run began with")
        return Placement(found, supported[0], f"{how} device, precision auto")
    if precision not in supported:
        raise DeviceError(
            f"precision '{precision}' is not supported on {found}; allowed here: auto, {', '.join(supported)}",
            f"set training.precision to {supported[0]} or auto",
        )
    return Placement(found, precision, "precision as configured")


def find_unused_gpu(placement: Placement, device: str | None) -> str | None:
    """Return why an NVIDIA GPU of this machine is not what was detected; None where there is none, or it is used.

    PyTorch calls a GPU not available that its driver, or the build of PyTorch, does not serve: without a word, the
    training would then run on the CPU.
    """
    import torch

    if device not in (None, "auto") or placement.device != "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    if not any(Path(place).exists() for place in _NVIDIA_PLACES):
        return None
    build = torch.version.cuda
    if build is None:
        return f"this PyTorch ({torch.__version__}) is a build without CUDA"
    return f"this PyTorch is built for CUDA {build}, which the driver does not serve (nvidia-smi shows its version)"


def synchronize(device: str) -> None:
    """Wait until the device has finished, so that a clock read afterwards is true."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of this process: what PyTorch took of the device on CUDA, resident memory elsewhere.

    What Metal holds for Apple's GPU need not be resident: there it counts where it is more, as it is now.
    """
    import resource
    import sys

    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_reserved())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(resident, torch.mps.driver_allocated_memory()) if device == "mps" else resident


def _find_device(device: str | None) -> str:
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = [*(["cuda"] if cuda else []), *(["mps"] if mps else []), "cpu"]
    if device in (None, "auto"):
        device = available[0]
    kind, _, index = str(device).partition(":")
    if kind not in available:
        raise DeviceError(
            f"device '{device}' is not available; this machine has: {', '.join(available)}",
            "set training.device to null to detect it, or name one of those",
        )
    if kind != "cuda":
        return kind
    number = int(index or _local_rank())
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f"device 'cuda:{number}' does not exist; there are {torch.cuda.device_count()} CUDA devices",
            "name a lower index or just cuda",
        )
    _require_kernels(number)
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def _require_kernels(number: int) -> None:
    """Raise DeviceError for a GPU that this PyTorch has no kernels for; else the first of them would end the run.

    Kernels built for a capability (sm_80) run on later ones of the same generation (8.6), and those that the driver
    compiles (compute_90) on all later ones.
    """
    import torch

    major, minor = torch.cuda.get_device_capability(number)
    built = torch.cuda.get_arch_list()
    for name in built:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        at = (int(digits[:-1]), int(digits[-1]))
        if (kind == "sm" and at[0] == major and at[1] <= minor) or (kind == "compute" and at <= (major, minor)):
            return
    raise DeviceError(
        f"device 'cuda:{number}' ({torch.cuda.get_device_name(number)}) has compute capability {major}.{minor}, and "
        f"this PyTorch ({torch.__version__}) has kernels for {', '.join(built)}",
        "install a build of PyTorch that has them (older GPUs: one for CUDA 12.6), or set training.device to cpu",
    )


def _local_rank() -> int:
    from accelerate import PartialState

    return int(PartialState().local_process_index)


def _supported_precisions(device: str) -> list[str]:
    """Return the precisions of a device, the best one first."""
    import torch

    if device.startswith("cuda"):
        bf16 = torch.cuda.get_device_capability() >= _SMALLEST_COMPUTE_CAPABILITY_WITH_BF16
        return ["bf16", "fp16", "fp32"] if bf16 else ["fp16", "fp32"]
    if device == "mps":
        # fp16 on MPS is left out: padded rows became NaN there in the field; bf16 is unmeasured, so not the first.
        return ["fp32", "bf16"]
    return ["bf16", "fp32"] if cpu_gains_by_bf16() else ["fp32", "bf16"]


def cpu_gains_by_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 matrices faster than float32 ones.

    So do Intel's with AMX tiles, and AMD's with AVX512-BF16 (Zen 4 and Zen 5: twice as fast, see docs/performance.md).
    Intel's with AVX512-BF16 alone take 0.5 to 0.6 times as many products a second by PyTorch's operators, and as many
    by the packed path's; everywhere else PyTorch's emulate it: correct, but slow.
    """
    import torch

    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    able = torch.cpu.get_capabilities()
    is_amd = str(able.get("cpu_name", "")).startswith("AMD")
    return bool(able.get("amx_bf16") or (able.get("avx512_bf16") and is_amd))
