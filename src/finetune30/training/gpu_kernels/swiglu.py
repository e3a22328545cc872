"""The gate of Llama's MLP: y = silu(gate) * up, element by element, rounded once."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from finetune30.training.gpu_kernels.launching import wide_type

_BLOCK = 1024


class SwiGlu(torch.autograd.Function):
    """`gate` and `up` of one shape and type (bf16, fp32 or float64)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return the product in their shape and type; kept are both of them, not what silu made."""
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        if size := y.numel():
            _forward[(triton.cdiv(size, _BLOCK),)](gate, up, y, size, _BLOCK, wide_type(gate))
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of gate and up."""
        gate, up = ctx.saved_tensors
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        if size := gate.numel():
            grid = (triton.cdiv(size, _BLOCK),)
            _backward[grid](gradient.contiguous(), gate, up, of_gate, of_up, size, _BLOCK, wide_type(gate))
        return of_gate, of_up


@triton.jit
def _forward(gate, up, y, size, block: tl.constexpr, wide: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    opening = tl.load(gate + at, mask=inside, other=0.0).to(wide)
    value = tl.load(up + at, mask=inside, other=0.0).to(wide)
    tl.store(y + at, (opening / (1.0 + tl.exp(-opening)) * value).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    gradient,
    gate,
    up,
    of_gate,
    of_up,
    size,
    block: tl.constexpr,
    wide: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < size
    arriving = tl.load(gradient + at, mask=inside, other=0.0).to(wide)
    opening = tl.load(gate + at, mask=inside, other=0.0).to(wide)
    value = tl.load(up + at, mask=inside, other=0.0).to(wide)
    share = 1.0 / (1.0 + tl.exp(-opening))
    slope = share * (1.0 + opening * (1.0 - share))
    tl.store(of_gate + at, (arriving * value * slope).to(of_gate.dtype.element_ty), mask=inside)
    tl.store(of_up + at, (arriving * opening * share).to(of_up.dtype.element_ty), mask=inside)
