"""Telling that memory ran out, on any device, and giving back what is not used."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import torch

# Options of glibc's mallopt, from its malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30
#: How allocators that raise a plain RuntimeError (or torch.AcceleratorError, which is one) word it: the CPU's on Linux
#: and Windows, CUDA's outside of PyTorch's own, Apple's (whose buffers have a largest size too), cuBLAS and cuDNN.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "invalid buffer size",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
#: The most that glibc allows; it is also what it would come to by itself.
_LARGEST_FROM_HEAP_BYTES = 32 << 20


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an out-of-memory error of CUDA, MPS or the CPU allocator from every other one."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def is_device_fault(error: BaseException) -> bool:
    """Tell a fault of a GPU (a launch that failed, memory with a broken bit), which another process may not meet."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def describe_out_of_memory(error: BaseException) -> str | None:
    """Return the first line of an out-of-memory error, None for any other error."""
    if not is_out_of_memory(error):
        return None
    return (str(error).splitlines() or [type(error).__name__])[0]


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc's malloc_trim; elsewhere nothing happens).

    Laying a model's weights out leaves holes of many MB between them, which count as this process's memory for good.
    """
    if trim := _c_function("malloc_trim"):
        trim(0)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next allocation (glibc's mallopt; elsewhere nothing happens).

    Else it gives the end of its heap back whenever a step's large activations are freed, and the next step meets every
    page of it as a new one: thousands of page faults a step at batch 16.
    """
    if mallopt := _c_function("mallopt"):
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP_BYTES)


def _c_function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def free_memory(device: str) -> None:
    """Give back what the device's allocator keeps: after an allocation failed, or a model was given up."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
    else:
        return_freed_memory()
