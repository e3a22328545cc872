"""Losses of tokens under a frozen vocabulary layer, chunk by chunk, with the gradient by hand.

Logits of a vocabulary of 50,000 take 200 kB a token in float32, more than all that the layers keep of it. So they are
made for a few hundred tokens, turned into loss and gradient (softmax minus one at the target, times the layer's
weight), and forgotten: what stays is of the size of the hidden states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: Logits that exist at one time, in numbers: 64 MiB in float32.
CHUNK_NUMBERS = 1 << 24
_LEAST_ROWS = 16

#: Turns logits into losses, flags and their own gradient, as `measure_plainly` does.
Measure = Callable[..., tuple[Tensor, Tensor]]


class TokenLosses(NamedTuple):
    """Of each token its loss and whether its target was the likeliest, (N,) each; the states' gradient (N, H), or None.

    Float32; float64 for float64 states.
    """

    losses: Tensor
    right: Tensor
    gradient: Tensor | None


def chunk_rows(vocabulary: int) -> int:
    """Return how many tokens' logits are made at a time."""
    return max(_LEAST_ROWS, CHUNK_NUMBERS // max(1, vocabulary))


def frozen_losses(
    states: Tensor,
    weight: Tensor,
    wanted: Tensor,
    factor: float = 1.0,
    *,
    keeps_gradient: bool,
    measure: Measure | None = None,
) -> TokenLosses:
    """Return losses of states (N, H) under logits `factor` * states @ weight.T; weight (V, H), wanted int64 (N,).

    `measure` takes logits as the product makes them; without one they are measured in the wide type.
    """
    wide = torch.promote_types(states.dtype, torch.float32)
    losses = torch.empty(len(states), dtype=wide, device=states.device)
    right = torch.empty_like(losses)
    # In fp16 what is small here would be lost before the loss scale is put on it.
    kept = torch.float32 if states.dtype == torch.float16 else states.dtype
    gradient = torch.empty_like(states, dtype=kept) if keeps_gradient else None
    size = chunk_rows(weight.shape[0])
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        logits = states[part] @ weight.T
        if measure is None:
            logits = logits.to(wide)
        found = (measure or measure_plainly)(logits, wanted[part], factor, keeps_gradient=keeps_gradient)
        losses[part], right[part] = found
        if gradient is not None:
            gradient[part] = (logits.to(weight.dtype) @ weight).to(gradient.dtype)
    return TokenLosses(losses, right, gradient)


def measure_plainly(logits: Tensor, wanted: Tensor, factor: float, *, keeps_gradient: bool) -> tuple[Tensor, Tensor]:
    """Return losses and whether the target was the likeliest, (n,) each, of float32 or float64 logits (n, V).

    The logits, counted `factor` times, are overwritten: with `keeps_gradient` by the gradient of each token's loss.
    """
    target = wanted[:, None]
    if factor != 1.0:
        logits *= factor
    right = (logits.argmax(dim=-1) == wanted).to(logits.dtype)
    logits -= logits.amax(dim=-1, keepdim=True)
    chosen = logits.gather(1, target).squeeze(1)
    total = logits.exp_().sum(dim=-1, keepdim=True)
    losses = total.squeeze(1).log() - chosen
    if keeps_gradient:
        logits /= total
        logits.scatter_add_(1, target, torch.full_like(target, -1, dtype=logits.dtype))
        if factor != 1.0:
            logits *= factor
    return losses, right
