"""What the machine has, and the two ceilings that speeds are held against: a product and a copy."""

from __future__ import annotations

import platform
import shutil
import statistics
import subprocess
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu_check.findings import Context
from benchmarks.gpu_check.timing import measure_product, seconds_of

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "triton", "bitsandbytes", "trl", "liger-kernel")


def check(context: Context) -> None:
    """Tell versions, driver and card; measure the ceilings."""
    import torch

    context.figure("Python", platform.python_version())
    context.figure("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    if context.on_gpu:
        sees = torch.cuda.is_available()
        build = f"{'yes' if sees else 'no'}, built for CUDA {torch.version.cuda}"
        context.assert_that(sees, "PyTorch sees a CUDA device", build, "yes")
        if not sees:
            return
        major, minor = torch.cuda.get_device_capability()
        context.figure("card", f"{torch.cuda.get_device_name()}, capability {major}.{minor}")
        context.figure("memory", f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB")
        context.figure("driver", _driver())
    context.figure("product, bfloat16", f"{measure_product(context):.3g} TFLOP/s")
    source = torch.zeros((4 << 30) if context.on_gpu else (16 << 20), dtype=torch.uint8, device=context.device)
    target = torch.empty_like(source)
    seconds = statistics.median([seconds_of(context.device, lambda: target.copy_(source)) for _ in range(6)][1:])
    context.figure("copy, read and written", f"{2 * len(source) / seconds / 1e12:.3g} TB/s")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not there"


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "nvidia-smi is not there"
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
