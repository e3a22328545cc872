"""Telling that memory ran out, on any device."""

from __future__ import annotations

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
