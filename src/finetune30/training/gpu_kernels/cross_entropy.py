"""Cross entropy of a chunk of logits, which become their own gradient in the same kernel, one program a token."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from finetune30.training.gpu_kernels.launching import block_of, warps_of, wide_type

#: Logits of a token that are read at a time.
_BLOCK = 4096


def measure_logits(logits: Tensor, wanted: Tensor, factor: float, *, keeps_gradient: bool) -> tuple[Tensor, Tensor]:
    """Return losses and whether the target was the likeliest, (n,) each in float32 (float64 for float64 logits).

    `logits` (n, V), contiguous, counted `factor` times; `wanted` int64 (n,) below V. With `keeps_gradient` the logits
    are overwritten by the gradient of each token's loss. Of several likeliest tokens the first one counts.
    """
    assert logits.is_contiguous()  # noqa: S101 - a product just made; others would be read in the wrong order
    wide = torch.promote_types(logits.dtype, torch.float32)
    losses = torch.empty(len(logits), dtype=wide, device=logits.device)
    right = torch.empty_like(losses)
    if len(logits):
        vocabulary = logits.shape[1]
        block = min(_BLOCK, block_of(vocabulary))
        _measure[(len(logits),)](
            logits,
            wanted.contiguous(),
            losses,
            right,
            vocabulary,
            factor,
            keeps_gradient,
            block,
            wide_type(logits),
            num_warps=warps_of(block),
        )
    return losses, right


@triton.jit
def _measure(
    logits,
    wanted,
    losses,
    right,
    vocabulary,
    factor,
    keeps_gradient: tl.constexpr,
    block: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    start_of_row = logits + row * vocabulary
    target = tl.load(wanted + row)
    chosen = tl.load(start_of_row + target).to(wide) * factor
    within = tl.arange(0, block)
    # Each place of the block keeps the largest of what it has seen, where, and its sum of exponentials.
    largest = tl.full((block,), float("-inf"), dtype=wide)
    total = tl.zeros((block,), dtype=wide)
    where = tl.zeros((block,), dtype=tl.int32)
    for start in range(0, vocabulary, block):
        at = start + within
        value = tl.load(start_of_row + at, mask=at < vocabulary, other=float("-inf")).to(wide) * factor
        above = value > largest
        where = tl.where(above, at, where)
        reached = tl.maximum(largest, value)
        # Where nothing was seen yet both are -inf, and their difference would be no number.
        total = total * tl.where(largest == reached, 1.0, tl.exp(largest - reached))
        total += tl.where(value == float("-inf"), 0.0, tl.exp(value - reached))
        largest = reached
    top = tl.max(largest, axis=0)
    likeliest = tl.min(tl.where(largest == top, where, vocabulary), axis=0)
    # A place that saw nothing adds 0 times 0, and one that saw no number makes the loss none, as it has to be.
    whole = tl.sum(total * tl.exp(largest - top), axis=0)
    tl.store(losses + row, tl.log(whole) + top - chosen)
    tl.store(right + row, (likeliest == target).to(wide))
    if keeps_gradient:
        for start in range(0, vocabulary, block):
            at = start + within
            inside = at < vocabulary
            value = tl.load(start_of_row + at, mask=inside, other=float("-inf")).to(wide) * factor
            share = tl.exp(value - top) / whole - tl.where(at == target, 1.0, 0.0)
            tl.store(start_of_row + at, (share * factor).to(logits.dtype.element_ty), mask=inside)
