"""Clocks that wait for the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.gpu_check.findings import Context


def seconds_of(device: str, action: Callable[[], object]) -> float:
    """Return the seconds that an action takes on a device ("cuda", "cuda:0", "cpu")."""
    from finetune30.modeling.devices import synchronize

    synchronize(device)
    started = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - started


def measure_product(context: Context) -> float:
    """Return TFLOP/s of a bfloat16 product, the median of five after one to warm up: the ceiling of all speeds."""
    import torch

    size = 8192 if context.on_gpu else 128
    left = torch.randn(size, size, device=context.device, dtype=torch.bfloat16)
    seconds = [seconds_of(context.device, lambda: left @ left) for _ in range(6)][1:]
    return 2 * size**3 / statistics.median(seconds) / 1e12
