"""Telling that memory ran out, on any device, and giving back what is not used."""

from __future__ import annotations

import ctypes
import sys

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an out-of-memory error of CUDA, MPS or the CPU allocator from every other one."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()  # the CPU allocator's RuntimeError, as Linux and Windows word it
    return "can't allocate memory" in text or "not enough memory" in text


def describe_out_of_memory(error: BaseException) -> str | None:
    """Return the first line of an out-of-memory error, None for any other error."""
    if not is_out_of_memory(error):
        return None
    return (str(error).splitlines() or [type(error).__name__])[0]


def return_freed_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc's malloc_trim; elsewhere nothing happens).

    Laying a model's weights out leaves holes of many MB between them, which count as this process's memory for good.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
