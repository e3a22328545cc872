"""Root mean square norm with a frozen weight: y = w * round(x / sqrt(mean(x^2) + eps)), one program a row.

Rounded to the type of x before the weight, as transformers' models of Llama's form do.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from finetune30.training.gpu_kernels.launching import block_of, warps_of, wide_type


class RmsNorm(torch.autograd.Function):
    """Rows x (…, n) of bf16, fp32 or float64 under a weight (n,) without gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Return y (…, n) in the wider type of x and weight; kept are x and one factor a row."""
        x, weight = x.contiguous(), weight.contiguous()
        numbers = x.shape[-1]
        rows = x.numel() // numbers if numbers else 0
        y = torch.empty_like(x, dtype=torch.promote_types(x.dtype, weight.dtype))
        factors = torch.empty(rows, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        if rows:
            block = block_of(numbers)
            _forward[(rows,)](
                x, weight, y, factors, numbers, epsilon, block, wide_type(x, weight), num_warps=warps_of(block)
            )
        ctx.save_for_backward(x, weight, factors)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of x, in its type."""
        x, weight, factors = ctx.saved_tensors
        found = torch.empty_like(x)
        if len(factors):
            numbers = x.shape[-1]
            block = block_of(numbers)
            _backward[(len(factors),)](
                gradient.contiguous(),
                x,
                weight,
                factors,
                found,
                numbers,
                block,
                wide_type(x, weight),
                num_warps=warps_of(block),
            )
        return found, None, None


@triton.jit
def _forward(
    x,
    weight,
    y,
    factors,
    numbers,
    epsilon,
    block: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < numbers
    values = tl.load(x + row * numbers + at, mask=inside, other=0.0).to(wide)
    factor = 1.0 / tl.sqrt(tl.sum(values * values, axis=0) / numbers + epsilon)
    tl.store(factors + row, factor)
    scaled = (values * factor).to(x.dtype.element_ty).to(wide)
    scale = tl.load(weight + at, mask=inside, other=0.0).to(wide)
    tl.store(y + row * numbers + at, (scaled * scale).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    gradient,
    x,
    weight,
    factors,
    found,
    numbers,
    block: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < numbers
    factor = tl.load(factors + row)
    scaled = tl.load(x + row * numbers + at, mask=inside, other=0.0).to(wide) * factor
    scale = tl.load(weight + at, mask=inside, other=0.0).to(wide)
    arriving = tl.load(gradient + row * numbers + at, mask=inside, other=0.0).to(wide) * scale
    along = tl.sum(arriving * scaled, axis=0) / numbers
    result = (arriving - scaled * along) * factor
    tl.store(found + row * numbers + at, result.to(found.dtype.element_ty), mask=inside)
