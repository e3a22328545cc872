"""Deterministic kernels where they are cheap, and on request where they are not."""

from __future__ import annotations

import os

import torch


def apply_determinism(device: str, wanted: bool | None) -> bool:
    """Switch deterministic kernels on or off and return which.

    null means on for CPU and MPS, where it costs nothing measurable, and off for CUDA, where some kernels get slower.
    On CUDA cuBLAS also needs its workspace variable before the first call (PyTorch notes, "Reproducibility").
    """
    deterministic = (not device.startswith("cuda")) if wanted is None else wanted
    if deterministic and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    # The same switch as `use_deterministic_algorithms`, without its import of the compiler, which takes over a second.
    torch.set_deterministic_debug_mode(("warn" if device == "mps" else "error") if deterministic else "default")
    # Filling every fresh tensor with NaN helps to find reads of unset memory; it costs time and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return deterministic
