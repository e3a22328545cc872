"""What the compiled kernels are given and fill; sizes are multiples of `layout.LANES`, tensors contiguous.

Dropout masks are bytes, 0 or 1; the kernels multiply by 1 / (1 - p). A tape's tensors are what the kernels read again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.dropout import MaskSource


def draw_bytes(masks: MaskSource | None, shape: tuple[int, ...], probability: float) -> Tensor | None:
    """Return a mask of bytes, or None when nothing is dropped."""
    return masks.draw(shape, probability, torch.uint8) if masks is not None else None


def address(tensor: Tensor | None) -> int | None:
    """Return where a tensor's numbers begin; no tensor is a null pointer."""
    return None if tensor is None else tensor.data_ptr()


def clear_fillers(layout: PackedLayout, *tensors: Tensor) -> None:
    """Set the rows of fillers to zero, in tensors that have any."""
    if layout.total > layout.token_count:
        for tensor in tensors:
            tensor[layout.token_count :].zero_()


def sum_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which the kernels add up numbers of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32
