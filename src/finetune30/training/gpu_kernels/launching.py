"""What every kernel is launched with: the type that it computes in, blocks that hold a row, warps that share one."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: The longest row that one program holds in its registers.
LONGEST_ROW = 32_768
_WARPS = ((2048, 4), (8192, 8), (LONGEST_ROW, 16))


def wide_type(*tensors: Tensor) -> tl.dtype:
    """Return what sums are made in: float32, and float64 where that is what comes in."""
    return tl.float64 if any(t.dtype == torch.float64 for t in tensors) else tl.float32


def block_of(numbers: int) -> int:
    """Return the power of two that holds so many numbers."""
    return int(triton.next_power_of_2(max(1, numbers)))


def warps_of(block: int) -> int:
    """Return how many warps share a block of so many numbers."""
    return next((warps for size, warps in _WARPS if block <= size), _WARPS[-1][1])
