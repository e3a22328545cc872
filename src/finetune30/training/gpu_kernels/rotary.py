"""Rotary positions: the halves of every head turned by the angles of its place, one program a token.

With x = (a, b), cos = (c, C), sin = (s, S): y = (a c - b s, b C + a S), which is x * cos + rotate_half(x) * sin. Going
back, the same with the halves of the sine exchanged and turned the other way.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from finetune30.training.gpu_kernels.launching import block_of, warps_of, wide_type


class Rotary(torch.autograd.Function):
    """Heads (B, H, L, D) of bf16, fp32 or float64, D even; cos and sin (B or 1, L, D) without gradients."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the turned heads, laid out in memory as they come."""
        ctx.save_for_backward(cos, sin)
        return _turn(heads, cos, sin, backward=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the heads."""
        cos, sin = ctx.saved_tensors
        return _turn(gradient, cos, sin, backward=True), None, None


def _turn(heads: Tensor, cos: Tensor, sin: Tensor, *, backward: bool) -> Tensor:
    batch, count, length, size = heads.shape
    turned = torch.empty_like(heads)  # keeps a transposed layout, which attention transposes back
    if not heads.numel():
        return turned
    block_heads, block_half = block_of(count), block_of(size // 2)
    _turn_token[(length, batch)](
        heads,
        turned,
        cos,
        sin,
        *heads.stride(),
        *turned.stride(),
        *_strides(cos),
        *_strides(sin),
        count,
        size // 2,
        backward,
        block_heads,
        block_half,
        wide_type(heads, cos),
        num_warps=warps_of(block_heads * block_half),
    )
    return turned


def _strides(angles: Tensor) -> tuple[int, int, int]:
    """Return the strides of (B or 1, L, D); one row of positions serves every row of the batch."""
    batch, place, number = angles.stride()
    return (0 if angles.shape[0] == 1 else batch), place, number


@triton.jit
def _turn_token(
    heads,
    turned,
    cos,
    sin,
    from_batch,
    from_head,
    from_place,
    from_number,
    to_batch,
    to_head,
    to_place,
    to_number,
    cos_batch,
    cos_place,
    cos_number,
    sin_batch,
    sin_place,
    sin_number,
    count,
    half,
    backward: tl.constexpr,
    block_heads: tl.constexpr,
    block_half: tl.constexpr,
    wide: tl.constexpr,
):
    place, row = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    at = tl.arange(0, block_half)[None, :]
    head = tl.arange(0, block_heads)[:, None]
    in_half = at < half
    inside = in_half & (head < count)
    angles = cos + row * cos_batch + place * cos_place + at * cos_number
    cos_low = tl.load(angles, mask=in_half, other=0.0).to(wide)
    cos_high = tl.load(angles + half * cos_number, mask=in_half, other=0.0).to(wide)
    angles = sin + row * sin_batch + place * sin_place + at * sin_number
    sin_low = tl.load(angles, mask=in_half, other=0.0).to(wide)
    sin_high = tl.load(angles + half * sin_number, mask=in_half, other=0.0).to(wide)
    start = heads + row * from_batch + place * from_place + head * from_head + at * from_number
    low = tl.load(start, mask=inside, other=0.0).to(wide)
    high = tl.load(start + half * from_number, mask=inside, other=0.0).to(wide)
    if backward:
        new_low = low * cos_low + high * sin_high
        new_high = high * cos_high - low * sin_low
    else:
        new_low = low * cos_low - high * sin_low
        new_high = high * cos_high + low * sin_high
    end = turned + row * to_batch + place * to_place + head * to_head + at * to_number
    tl.store(end, new_low.to(turned.dtype.element_ty), mask=inside)
    tl.store(end + half * to_number, new_high.to(turned.dtype.element_ty), mask=inside)
